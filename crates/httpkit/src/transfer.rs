//! Bodies on their way: progress of an upload, stall detection, and the length check of a download.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use larder_destination::{Body, Download, ErrorKind, Result};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::failure::Call;

/// How far an upload has come, shared between the body stream and the watch over it.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Arc<watch::Sender<State>>);

#[derive(Clone, Copy, Debug)]
struct State {
    /// When the last byte was taken.
    moved: Instant,
    /// Bytes still to be taken.
    left: u64,
    /// The source has nothing ready, as under a speed limit: nobody but ourselves is slow.
    waiting: bool,
    /// The source could not be read.
    failed: bool,
}

impl Progress {
    pub(crate) fn new(len: u64) -> Self {
        let start = State {
            moved: Instant::now(),
            left: len,
            waiting: false,
            failed: false,
        };
        Self(Arc::new(watch::channel(start).0))
    }

    fn advance(&self, bytes: u64) {
        self.0.send_modify(|state| {
            state.moved = Instant::now();
            state.left = state.left.saturating_sub(bytes);
            state.waiting = false;
        });
    }

    fn wait(&self) {
        self.0.send_modify(|state| state.waiting = true);
    }

    fn fail(&self) {
        self.0.send_modify(|state| state.failed = true);
    }

    /// Bytes that were not taken yet.
    pub(crate) fn left(&self) -> u64 {
        self.0.borrow().left
    }

    /// True when the upload ended because its source could not be read.
    pub(crate) fn source_failed(&self) -> bool {
        self.0.borrow().failed
    }

    /// Completes when no byte was taken for `stall`, or no answer came within `stall + answer` after the last one.
    ///
    /// The extra time at the end covers what the system has buffered but not sent yet, and the work of the server.
    pub(crate) async fn stalled(&self, stall: Duration, answer: Duration) {
        loop {
            let State {
                moved,
                left,
                waiting,
                ..
            } = *self.0.borrow();
            if waiting {
                tokio::time::sleep(stall).await;
                continue;
            }
            let allowed = if left == 0 {
                stall.saturating_add(answer)
            } else {
                stall
            };
            let Some(end) = moved.checked_add(allowed) else {
                return std::future::pending().await;
            };
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

/// Streams `body` and notes its progress.
pub(crate) fn outgoing(
    body: &Body,
    progress: &Progress,
) -> BoxStream<'static, std::io::Result<Bytes>> {
    let progress = progress.clone();
    let mut source = body.stream();
    futures_util::stream::poll_fn(move |context| {
        let next = source.poll_next_unpin(context);
        match &next {
            Poll::Pending => progress.wait(),
            Poll::Ready(Some(Ok(piece))) => progress.advance(piece.len() as u64),
            Poll::Ready(Some(Err(_))) => progress.fail(),
            Poll::Ready(None) => {}
        }
        next
    })
    .boxed()
}

/// A download that ends with an error when nothing arrives for `stall` or fewer bytes than `len` come.
pub(crate) fn incoming(
    response: reqwest::Response,
    len: Option<u64>,
    stall: Option<Duration>,
    call: Call,
) -> Download {
    let state = Incoming {
        response,
        received: 0,
        len,
        stall,
        call,
    };
    Download {
        len,
        stream: futures_util::stream::try_unfold(state, Incoming::next).boxed(),
    }
}

struct Incoming {
    response: reqwest::Response,
    received: u64,
    len: Option<u64>,
    stall: Option<Duration>,
    call: Call,
}

impl Incoming {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        let Some(piece) = next_piece(&mut self.response, self.stall, &self.call).await? else {
            return match self.len {
                Some(len) if len != self.received => Err(self.call.error(
                    ErrorKind::Network,
                    format!("the download ended after {} of {len} bytes", self.received),
                )),
                _ => Ok(None),
            };
        };
        self.received += piece.len() as u64;
        Ok(Some((piece, self)))
    }
}

/// The next piece of a reply's body, waiting at most `stall` for it.
pub(crate) async fn next_piece(
    response: &mut reqwest::Response,
    stall: Option<Duration>,
    call: &Call,
) -> Result<Option<Bytes>> {
    let next = response.chunk();
    let piece = match stall {
        None => next.await,
        Some(stall) => match tokio::time::timeout(stall, next).await {
            Ok(piece) => piece,
            Err(_) => return Err(call.timeout_error("the server sent nothing", stall)),
        },
    };
    piece.map_err(|error| call.transport_error(error))
}
