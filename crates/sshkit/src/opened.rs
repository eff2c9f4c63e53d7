//! Files and folders that are open at the server.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, FuturesUnordered, Stream};
use futures_util::{FutureExt, StreamExt};
use larder_destination::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::failure::{Failure, Outcome, Status};
use crate::requests::Answer;
use crate::sftp::{FSYNC, Sftp};
use crate::wire::{self, Attributes, Entry, Packet, Reply};

/// A file or folder that is open at the server; dropping it closes it.
pub struct Opened {
    sftp: Arc<Sftp>,
    handle: Bytes,
    is_open: bool,
    /// A file that is to be removed unless it is finished.
    unfinished: Option<String>,
}

/// Why a body was not stored.
#[derive(Debug)]
pub enum Unwritten {
    /// The body broke off.
    Body(std::io::Error),
    /// The server did not take it.
    Server(Failure),
}

impl From<Failure> for Unwritten {
    fn from(failure: Failure) -> Self {
        Self::Server(failure)
    }
}

impl Opened {
    pub(crate) fn new(sftp: Arc<Sftp>, handle: Bytes, unfinished: Option<String>) -> Self {
        Self {
            sftp,
            handle,
            is_open: true,
            unfinished,
        }
    }

    /// The channel on which it was opened.
    #[must_use]
    pub fn sftp(&self) -> &Arc<Sftp> {
        &self.sftp
    }

    fn packet(&self, kind: u8) -> Packet {
        Packet::new(kind).bytes(&self.handle)
    }

    /// The next entries of a folder; nothing at its end.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn next_entries(&self) -> Outcome<Option<Vec<Entry>>> {
        let reading = self.packet(wire::READDIR);
        match self.sftp.requests.ask(self.sftp.times.list, reading).await {
            // Some servers say so at the end, in place of a status.
            Ok(Reply::Names(entries)) if entries.is_empty() => Ok(None),
            Ok(Reply::Names(entries)) => Ok(Some(entries)),
            Ok(_) => Err(Failure::strange()),
            Err(failure) if failure.is(Status::EOF) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// What is known of the file that is open.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn facts(&self) -> Outcome<Attributes> {
        let asking = self.packet(wire::FSTAT);
        match self
            .sftp
            .requests
            .ask(self.sftp.times.short, asking)
            .await?
        {
            Reply::Attributes(facts) => Ok(facts),
            _ => Err(Failure::strange()),
        }
    }

    /// The first `len` bytes in order, with several requests under way.
    pub fn read(self, len: u64) -> impl Stream<Item = Outcome<Bytes>> + Send {
        let this = Arc::new(self);
        let (pieces, answers) = mpsc::channel(UNDER_WAY);
        // A task of its own, so that no reader who pauses holds bytes that are under way for others.
        let asking = Arc::clone(&this);
        let task = Task(tokio::spawn(async move {
            let step = asking.sftp.read_bytes;
            for number in 0..len.div_ceil(u64::from(step)) {
                let at = number * u64::from(step);
                let wanted = u32::try_from(len - at).map_or(step, |left| step.min(left));
                let Ok(place) = pieces.reserve().await else {
                    return;
                };
                let asked = asking.ask_piece(at, wanted).await;
                let is_asked = asked.is_ok();
                place.send(asked.map(|answer| Piece { at, wanted, answer }));
                if !is_asked {
                    return;
                }
            }
        }));
        stream::unfold(
            Some((answers, this, task)),
            |state: Option<(mpsc::Receiver<Outcome<Piece>>, _, _)>| async move {
                let (mut answers, this, task) = state?;
                let piece = match answers.recv().await? {
                    Ok(piece) => this.read_piece(piece).await,
                    Err(failure) => Err(failure),
                };
                match piece {
                    Ok(piece) => Some((Ok(piece), Some((answers, this, task)))),
                    Err(failure) => Some((Err(failure), None)),
                }
            },
        )
    }

    async fn ask_piece(&self, at: u64, wanted: u32) -> Outcome<Answer> {
        let requests = &self.sftp.requests;
        let packet = self.packet(wire::READ).u64(at).u32(wanted);
        let asking = async {
            let bytes = take(&requests.shared.down, wanted).await?;
            requests.send(packet, Some(bytes)).await
        };
        requests.unless_silent(self.sftp.times.stall, asking).await
    }

    /// The bytes of one piece. A server may give fewer at a time.
    async fn read_piece(&self, piece: Piece) -> Outcome<Bytes> {
        let (requests, limit) = (&self.sftp.requests, self.sftp.times.stall);
        let wanted = usize::try_from(piece.wanted).unwrap_or(usize::MAX);
        let mut answer = requests.answer(limit, piece.answer).await;
        let mut all = Vec::new();
        loop {
            let at = piece.at + all.len() as u64;
            let data = match answer {
                Ok(Reply::Data(data)) => data,
                Ok(_) => return Err(Failure::strange()),
                Err(failure) if failure.is(Status::EOF) => return Err(Failure::Short(at)),
                Err(failure) => return Err(failure),
            };
            if data.is_empty() || data.len() > wanted - all.len() {
                return Err(Failure::strange());
            }
            if all.is_empty() && data.len() == wanted {
                return Ok(data);
            }
            all.extend_from_slice(&data);
            let left = u32::try_from(wanted - all.len()).unwrap_or(u32::MAX);
            if left == 0 {
                return Ok(Bytes::from(all));
            }
            let at = piece.at + all.len() as u64;
            let packet = self.packet(wire::READ).u64(at).u32(left);
            answer = requests.ask(limit, packet).await;
        }
    }

    /// Writes a body from the beginning of the file, with several requests under way, has the server bring it to its disk,
    /// where it can, and closes the file. Dropping the future gives it up.
    ///
    /// # Errors
    /// [`Unwritten::Body`] when the body breaks off, [`Unwritten::Server`] with what the server says; the file is no good
    /// then.
    pub async fn store(self, body: &Body) -> std::result::Result<(), Unwritten> {
        let body = body.clone();
        // A task of its own, so that a caller who pauses holds no bytes that are under way for others.
        let mut task = Task(tokio::spawn(async move {
            self.write(&body).await?;
            Ok(self.finish().await?)
        }));
        let stored = (&mut task.0).await;
        stored.unwrap_or_else(|error| Err(Failure::Strange(error.to_string()).into()))
    }

    async fn write(&self, body: &Body) -> std::result::Result<(), Unwritten> {
        let (requests, limit) = (&self.sftp.requests, self.sftp.times.stall);
        let mut under_way = FuturesUnordered::new();
        let (mut at, mut chunks) = (0_u64, body.stream());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(Unwritten::Body)?;
            for piece in chunk.chunks(self.sftp.write_bytes) {
                let packet = self.packet(wire::WRITE).u64(at).bytes(piece);
                let len = u32::try_from(piece.len()).unwrap_or(u32::MAX);
                let sending = async {
                    let bytes = take(&requests.shared.up, len).await?;
                    requests.send(packet, Some(bytes)).await
                };
                let answer = requests.unless_silent(limit, sending).await?;
                under_way.push(requests.answer(limit, answer));
                at += piece.len() as u64;
                while let Some(Some(done)) = under_way.next().now_or_never() {
                    done?;
                }
            }
        }
        while let Some(done) = under_way.next().await {
            done?;
        }
        match at == body.len() {
            true => Ok(()),
            false => Err(Unwritten::Body(std::io::ErrorKind::UnexpectedEof.into())),
        }
    }

    async fn finish(mut self) -> Outcome<()> {
        let (sftp, limit) = (Arc::clone(&self.sftp), self.sftp.times.list);
        if sftp.fsync {
            let syncing = Packet::extended(FSYNC).bytes(&self.handle);
            match sftp.requests.tell(limit, syncing).await {
                Err(failure) if !failure.is(Status::OP_UNSUPPORTED) => return Err(failure),
                _ => {}
            }
        }
        let closing = self.packet(wire::CLOSE);
        self.is_open = false;
        sftp.requests.tell(limit, closing).await?;
        self.unfinished = None;
        Ok(())
    }
}

/// A piece of a file that was asked for.
struct Piece {
    at: u64,
    wanted: u32,
    answer: Answer,
}

/// Takes so many bytes of those that may be under way.
async fn take(budget: &Arc<Semaphore>, bytes: u32) -> Outcome<OwnedSemaphorePermit> {
    let taken = Arc::clone(budget).acquire_many_owned(bytes).await;
    // It is never closed.
    taken.map_err(|_| Failure::lost())
}

/// A task that ends when nobody waits for it any more.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if !self.is_open && self.unfinished.is_none() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let sftp = Arc::clone(&self.sftp);
        let closing = self.is_open.then(|| self.packet(wire::CLOSE));
        let unfinished = self.unfinished.take();
        runtime.spawn(async move {
            if let Some(closing) = closing {
                let _ = sftp.requests.tell(sftp.times.short, closing).await;
            }
            if let Some(path) = unfinished {
                let _ = sftp.remove(&path).await;
            }
        });
    }
}

/// Pieces of a file that are asked for before the first is taken.
const UNDER_WAY: usize = 32;
