//! Uploads in pieces: sessions that are begun, fed and ended, and removed when they do not come to their end.
//!
//! Two kinds exist. Where pieces are numbered (S3), each may be sent again as it is, and several at a time. Where the
//! server keeps one offset (Google, Microsoft, Dropbox), a reply may be lost after the piece arrived: the session is
//! then asked how far it is, and the rest of the piece is sent from there.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use larder_destination::{Body, Error, ErrorKind, Result};

use crate::failure::{Call, Outcome};
use crate::service::Service;

/// One piece, in memory.
#[derive(Clone, Debug)]
pub struct Part {
    /// Counted from 0.
    pub number: u64,
    /// Where its first byte stands in the whole.
    pub offset: u64,
    /// Its content.
    pub bytes: Bytes,
    /// Length of the whole.
    pub total: u64,
}

impl Part {
    /// Where its last byte is followed by the next piece.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// True for the piece that ends the whole.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.end() == self.total
    }

    /// The `Content-Range` header for it: `bytes first-last/total`, or `bytes */total` when it has no bytes, with which
    /// services are asked how far they are.
    #[must_use]
    pub fn content_range(&self) -> String {
        match self.end().checked_sub(1) {
            Some(last) if !self.bytes.is_empty() => {
                format!("bytes {}-{last}/{}", self.offset, self.total)
            }
            _ => format!("bytes */{}", self.total),
        }
    }

    /// The same piece without its bytes.
    #[must_use]
    pub fn question(&self) -> Self {
        Self {
            bytes: Bytes::new(),
            ..self.clone()
        }
    }

    /// What is left of it from `offset` on; `None` when that lies outside.
    fn from(&self, offset: u64) -> Option<Self> {
        let skip = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        (skip <= self.bytes.len()).then(|| Self {
            offset,
            bytes: self.bytes.slice(skip..),
            ..self.clone()
        })
    }
}

/// An upload session that was begun.
#[async_trait]
pub trait Session: Send + Sync + 'static {
    /// Sends a piece once: up to where the server has the content now.
    ///
    /// # Errors
    /// Those of the request; asked again where that may help.
    async fn send(&self, call: &Call, part: &Part) -> Outcome<u64>;

    /// Asked after a piece failed and before it is sent again: up to where the server has the content. By default
    /// nothing of the piece arrived.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] when the session is lost, so that the engine takes another name.
    async fn resume(&self, call: &Call, part: &Part) -> Outcome<u64> {
        let _ = call;
        Ok(part.offset)
    }

    /// Makes the pieces a file. Called once, after the last piece.
    ///
    /// # Errors
    /// Those of the requests.
    async fn finish(&self, call: &Call) -> Result<()>;

    /// Removes what was sent. Called when the upload fails, and when the work on it is dropped. What cannot be removed
    /// stays with the service: the failure that led here is the one to report.
    async fn abort(&self, call: &Call);
}

/// How a body is cut and sent.
#[derive(Clone, Copy, Debug)]
pub struct Chunked {
    /// Length of all pieces but the last. At most this times `at_once` plus one is held in memory.
    pub part_len: u64,
    /// Pieces on their way at the same time; 1 where the order matters.
    pub at_once: usize,
}

impl Chunked {
    /// Sends a body through a session.
    ///
    /// # Errors
    /// The first failure; the session is removed then.
    pub async fn put(
        self,
        service: &Service,
        call: &Call,
        body: &Body,
        session: Arc<dyn Session>,
    ) -> Result<()> {
        let mut guard = Guard {
            call: call.clone(),
            session: Some(Arc::clone(&session)),
        };
        let sent = self.send_parts(service, call, body, session.as_ref()).await;
        let outcome = match sent {
            Ok(()) => session.finish(call).await,
            Err(error) => Err(error),
        };
        guard.session = None;
        if outcome.is_err() {
            // A service that wishes to be left alone is not waited for.
            let _ = tokio::time::timeout(LONGEST_ABORT, session.abort(call)).await;
        }
        outcome
    }

    async fn send_parts(
        self,
        service: &Service,
        call: &Call,
        body: &Body,
        session: &dyn Session,
    ) -> Result<()> {
        let cut = Cut {
            call: call.clone(),
            stream: body.stream(),
            rest: Bytes::new(),
            next: 0,
            offset: 0,
            total: body.len(),
            part_len: self.part_len.max(1),
        };
        futures_util::stream::try_unfold(cut, Cut::next)
            .map(|part| async move {
                send_part(service, call, session, part?).await?;
                Ok(())
            })
            .buffered(self.at_once.max(1))
            .try_collect()
            .await
    }
}

/// Sends one piece to its end, from where the server has it.
async fn send_part(
    service: &Service,
    call: &Call,
    session: &dyn Session,
    part: Part,
) -> Outcome<()> {
    let mut at = part.offset;
    for _ in 0..MOST_ANSWERS {
        at = service
            .repeat(call, |attempt| {
                let part = &part;
                async move {
                    let from = if attempt > 0 {
                        session.resume(call, part).await?
                    } else {
                        at
                    };
                    if from == part.end() && attempt > 0 {
                        return Ok(from);
                    }
                    let rest = part.from(from).ok_or_else(|| lost(call))?;
                    let now = session.send(call, &rest).await?;
                    if now <= from && !rest.bytes.is_empty() && now >= part.offset {
                        let text = "the service took nothing of a piece of the upload";
                        return Err(call.error(ErrorKind::Network, text).into());
                    }
                    Ok(now)
                }
            })
            .await?;
        if at == part.end() {
            return Ok(());
        }
        if at < part.offset || at > part.end() {
            break;
        }
    }
    Err(lost(call).into())
}

/// The session has not what it should have. The engine begins a new one, under another name.
fn lost(call: &Call) -> Error {
    let text = "the service lost pieces of the upload that it had";
    call.error(ErrorKind::Exists, text)
}

/// A body being cut. It is read through its stream only, so that a speed limit holds.
struct Cut {
    call: Call,
    stream: BoxStream<'static, std::io::Result<Bytes>>,
    rest: Bytes,
    next: u64,
    offset: u64,
    total: u64,
    part_len: u64,
}

impl Cut {
    async fn next(mut self) -> Result<Option<(Part, Self)>> {
        let left = self.total - self.offset;
        // An empty body is one empty piece, since a session without any cannot be ended.
        if left == 0 && (self.next > 0 || self.total > 0) {
            return Ok(None);
        }
        let len = usize::try_from(left.min(self.part_len)).map_err(|_| {
            let text = "a piece does not fit into memory";
            self.call.error(ErrorKind::Unsupported, text)
        })?;
        let mut bytes = BytesMut::with_capacity(len);
        while bytes.len() < len {
            if self.rest.is_empty() {
                self.rest = self.piece().await?.ok_or_else(|| self.wrong_length())?;
            }
            let take = self.rest.len().min(len - bytes.len());
            bytes.extend_from_slice(&self.rest.split_to(take));
        }
        if self.offset + len as u64 == self.total {
            // Before the last piece is sent: it makes a file of them all where the server keeps one offset.
            self.end().await?;
        }
        let part = Part {
            number: self.next,
            offset: self.offset,
            bytes: bytes.freeze(),
            total: self.total,
        };
        self.next += 1;
        self.offset = part.end();
        Ok(Some((part, self)))
    }

    /// Makes sure that nothing is left over.
    async fn end(&mut self) -> Result<()> {
        while self.rest.is_empty() {
            match self.piece().await? {
                Some(piece) => self.rest = piece,
                None => return Ok(()),
            }
        }
        Err(self.wrong_length())
    }

    async fn piece(&mut self) -> Result<Option<Bytes>> {
        self.stream.try_next().await.map_err(|error| {
            self.call
                .error(ErrorKind::Other, "the content to send cannot be read")
                .caused_by(error)
        })
    }

    fn wrong_length(&self) -> Error {
        let text = "the content to send has not the announced length";
        self.call.error(ErrorKind::Other, text)
    }
}

/// How long the removal of a failed upload may hold up its error.
const LONGEST_ABORT: Duration = Duration::from_secs(10);
/// Most requests for one piece, when the server takes it bit by bit.
const MOST_ANSWERS: usize = 64;

/// Removes the session when the work on it is dropped.
struct Guard {
    call: Call,
    session: Option<Arc<dyn Session>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (Some(session), Ok(runtime)) =
            (self.session.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let call = self.call.clone();
        runtime.spawn(async move { session.abort(&call).await });
    }
}
