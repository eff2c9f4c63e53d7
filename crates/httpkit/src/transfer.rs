//! Bodies on their way: progress of an upload, stall detection, and the length check of a download.

use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use larder_destination::{ErrorKind, Result};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::failure::{Call, timeout_error, too_slow, transport_error};

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

/// The same stream of `len` bytes, noting its progress.
///
/// Nobody asks a stream for its end when its length is known. So the last piece is held back until the source has come
/// to its end, or a source that is too long or breaks off there would pass for a good one.
pub(crate) fn outgoing(
    mut source: BoxStream<'static, std::io::Result<Bytes>>,
    len: u64,
    progress: &Progress,
) -> BoxStream<'static, std::io::Result<Bytes>> {
    let progress = progress.clone();
    let mut left = len;
    let mut last: Option<Bytes> = None;
    futures_util::stream::poll_fn(move |context| {
        loop {
            match source.poll_next_unpin(context) {
                Poll::Pending => {
                    progress.wait();
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(piece))) if piece.is_empty() => {}
                Poll::Ready(Some(Ok(piece))) => {
                    let Some(rest) = left.checked_sub(piece.len() as u64) else {
                        progress.fail();
                        return Poll::Ready(Some(Err(wrong_length())));
                    };
                    left = rest;
                    if left == 0 {
                        last = Some(piece);
                        continue;
                    }
                    progress.advance(piece.len() as u64);
                    return Poll::Ready(Some(Ok(piece)));
                }
                Poll::Ready(Some(Err(error))) => {
                    progress.fail();
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) if left > 0 => {
                    progress.fail();
                    return Poll::Ready(Some(Err(wrong_length())));
                }
                Poll::Ready(None) => {
                    let piece = last.take();
                    progress.advance(piece.as_ref().map_or(0, |piece| piece.len() as u64));
                    return Poll::Ready(piece.map(Ok));
                }
            }
        }
    })
    .fuse()
    .boxed()
}

fn wrong_length() -> std::io::Error {
    let text = "the content to send does not have the announced length";
    std::io::Error::new(std::io::ErrorKind::UnexpectedEof, text)
}

/// The same stream, whose pieces are written to a file as well.
pub(crate) fn copied(
    source: BoxStream<'static, Result<Bytes>>,
    call: Call,
    path: PathBuf,
) -> BoxStream<'static, Result<Bytes>> {
    let wrong = move |error: std::io::Error| {
        let text = "the file to write the reply to cannot be written";
        call.error(ErrorKind::Config, text).caused_by(error)
    };
    let state = (source, None::<File>, path, wrong);
    futures_util::stream::try_unfold(state, |(mut source, file, path, wrong)| async move {
        let mut file = match file {
            Some(file) => file,
            None => File::create(&path).await.map_err(&wrong)?,
        };
        let Some(piece) = source.next().await.transpose()? else {
            file.flush().await.map_err(&wrong)?;
            return Ok(None);
        };
        file.write_all(&piece).await.map_err(&wrong)?;
        Ok(Some((piece, (source, Some(file), path, wrong))))
    })
    .boxed()
}

/// A reply's body being read.
pub(crate) struct Incoming {
    pub(crate) response: reqwest::Response,
    pub(crate) received: u64,
    /// Announced length; fewer bytes are an error.
    pub(crate) len: Option<u64>,
    /// Longest wait for the next piece.
    pub(crate) stall: Option<Duration>,
    /// When the whole body has to be there, however steadily it drips.
    pub(crate) deadline: Option<Instant>,
    pub(crate) call: Call,
}

impl Incoming {
    /// The pieces as a stream.
    pub(crate) fn stream(self) -> BoxStream<'static, Result<Bytes>> {
        futures_util::stream::try_unfold(self, |mut this| async move {
            let piece = this.next_piece().await?;
            Ok(piece.map(|piece| (piece, this)))
        })
        .boxed()
    }

    /// The next piece, `None` at the end.
    pub(crate) async fn next_piece(&mut self) -> Result<Option<Bytes>> {
        let patience = self
            .stall
            .and_then(|stall| Instant::now().checked_add(stall));
        let (until, what) = match (self.deadline, patience) {
            (Some(deadline), Some(patience)) if deadline < patience => (Some(deadline), DRIPS),
            (_, Some(patience)) => (Some(patience), "the server sent nothing"),
            (deadline, None) => (deadline, DRIPS),
        };
        let piece = match until {
            None => self.response.chunk().await,
            Some(until) => match tokio::time::timeout_at(until, self.response.chunk()).await {
                Ok(piece) => piece,
                Err(_) if what == DRIPS => return Err(too_slow(&self.call)),
                Err(_) => {
                    let stall = self.stall.unwrap_or_default();
                    return Err(timeout_error(&self.call, what, stall));
                }
            },
        };
        let piece = piece.map_err(|error| transport_error(&self.call, error))?;
        match (&piece, self.len) {
            (Some(piece), _) => self.received += piece.len() as u64,
            (None, Some(len)) if len != self.received => {
                let text = format!("the download ended after {} of {len} bytes", self.received);
                return Err(self.call.error(ErrorKind::Network, text));
            }
            (None, _) => {}
        }
        Ok(piece)
    }
}

/// A reply that keeps coming, too slowly.
const DRIPS: &str = "the reply did not end";
