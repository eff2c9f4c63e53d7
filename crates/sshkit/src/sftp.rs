//! Requests of SFTP, version 3 (draft-ietf-secsh-filexfer-02), with the extensions of OpenSSH (its `PROTOCOL`, section 4).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Buf;
use larder_destination::Capacity;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::failure::{Failure, Outcome, Status};
use crate::opened::Opened;
use crate::requests::{Requests, Shared};
use crate::wire::{self, Attributes, Packet, Reply};

/// How long the line may be silent while something is waited for; no bound where there is none. A wait ends, too, when for
/// ten times that only the keep-alive moved, and nothing of any answer.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// For an answer.
    pub short: Option<Duration>,
    /// For a part of a listing, and for what the server does with a whole file: bringing it to its disk, renaming it.
    pub list: Option<Duration>,
    /// In a transfer.
    pub stall: Option<Duration>,
}

/// A channel on which SFTP is spoken. Any number of requests may be under way.
pub struct Sftp {
    pub(crate) requests: Requests,
    pub(crate) times: Times,
    pub(crate) read_bytes: u32,
    pub(crate) write_bytes: usize,
    pub(crate) fsync: bool,
    posix_rename: AtomicBool,
    statvfs: bool,
    /// Keeps the connection as long as the channel is used.
    _connection: Option<Arc<dyn Send + Sync>>,
}

/// For what something is opened.
#[derive(Clone, Debug)]
pub enum How {
    /// To be listed.
    List,
    /// To be read.
    Read,
    /// To be written from its beginning.
    Create {
        /// It must not be there yet.
        fresh: bool,
        /// It goes again unless it is finished.
        goes: bool,
    },
}

impl Sftp {
    /// Begins to speak SFTP.
    pub(crate) async fn start<S>(
        stream: S,
        times: Times,
        shared: Shared,
        connection: Option<Arc<dyn Send + Sync>>,
    ) -> Outcome<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (requests, extensions) = Requests::start(stream, shared).await?;
        let offers = |name: &str| extensions.iter().any(|known| known == name);
        let mut sftp = Self {
            posix_rename: AtomicBool::new(offers(POSIX_RENAME)),
            fsync: offers(FSYNC),
            statvfs: offers(STATVFS),
            read_bytes: SURE_BYTES,
            write_bytes: SURE_BYTES as usize,
            times,
            requests,
            _connection: connection,
        };
        if offers(LIMITS) {
            sftp.ask_for_limits().await?;
        }
        Ok(sftp)
    }

    async fn ask_for_limits(&mut self) -> Outcome<()> {
        let asking = self
            .requests
            .ask(self.times.short, Packet::extended(LIMITS));
        let mut limits = match asking.await {
            Ok(Reply::Extended(limits)) => limits,
            Err(failure) if failure.is_loss() => return Err(failure),
            _ => return Ok(()),
        };
        // Packets, reads, writes, open files; 0 is no limit.
        let mut next = || limits.try_get_u64().ok().filter(|limit| *limit > 0);
        let piece = |limit: u64| u32::try_from(limit).unwrap_or(u32::MAX).min(PIECE_BYTES);
        let (_, read, write) = (next(), next(), next());
        self.read_bytes = read.map_or(self.read_bytes, piece);
        self.write_bytes = write.map_or(self.write_bytes, |limit| piece(limit) as usize);
        Ok(())
    }

    /// False once no answer can be expected any more.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.requests.is_alive()
    }

    /// True when [`Sftp::rename_over`] is to be had.
    #[must_use]
    pub fn renames_over(&self) -> bool {
        self.posix_rename.load(Ordering::Relaxed)
    }

    /// What is at a path, links followed; nothing when nothing is.
    ///
    /// # Errors
    /// Those of the request, as for all that follow.
    pub async fn stat(&self, path: &str) -> Outcome<Option<Attributes>> {
        let packet = Packet::new(wire::STAT).text(path);
        match self.requests.ask(self.times.short, packet).await {
            Ok(Reply::Attributes(found)) => Ok(Some(found)),
            Ok(_) => Err(Failure::strange()),
            Err(failure) if failure.is_missing() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Removes a file.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn remove(&self, path: &str) -> Outcome<()> {
        let packet = Packet::new(wire::REMOVE).text(path);
        self.requests.tell(self.times.short, packet).await
    }

    /// Makes a folder; its parent has to be there.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn make_folder(&self, path: &str) -> Outcome<()> {
        let packet = Packet::new(wire::MKDIR).text(path).u32(0);
        self.requests.tell(self.times.short, packet).await
    }

    /// Renames; whether another file of the name is refused depends on the server.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn rename(&self, from: &str, to: &str) -> Outcome<()> {
        let packet = Packet::new(wire::RENAME).text(from).text(to);
        self.requests.tell(self.times.list, packet).await
    }

    /// Renames in one step, another file of the name is replaced. A server that offers it and then does not know it is not
    /// asked again.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn rename_over(&self, from: &str, to: &str) -> Outcome<()> {
        let packet = Packet::extended(POSIX_RENAME).text(from).text(to);
        let renamed = self.requests.tell(self.times.list, packet).await;
        let is_unknown = |failure: &Failure| failure.is(Status::OP_UNSUPPORTED);
        if renamed.as_ref().is_err_and(is_unknown) {
            self.posix_rename.store(false, Ordering::Relaxed);
        }
        renamed
    }

    /// How much room there is where the path is; nothing when the server does not tell.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn space(&self, path: &str) -> Outcome<Option<Capacity>> {
        if !self.statvfs {
            return Ok(None);
        }
        let packet = Packet::extended(STATVFS).text(path);
        let Reply::Extended(mut facts) = self.requests.ask(self.times.short, packet).await? else {
            return Err(Failure::strange());
        };
        // Size of a block, of a fragment, then fragments: all, free, free for this user.
        let mut next = || facts.try_get_u64().map_err(|_| Failure::strange());
        let (_, fragment, all, _, free) = (next()?, next()?, next()?, next()?, next()?);
        Ok(Some(Capacity {
            total: all.checked_mul(fragment),
            free: free.checked_mul(fragment),
        }))
    }

    /// Opens a file, or a folder to be listed.
    ///
    /// Runs to its end also when nobody waits any more, so that nothing stays open at the server.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn open(self: &Arc<Self>, path: &str, how: How) -> Outcome<Opened> {
        let (sftp, path) = (Arc::clone(self), path.to_owned());
        let opening = tokio::spawn(async move {
            let packet = match how {
                How::List => Packet::new(wire::OPENDIR).text(&path),
                How::Read => Packet::new(wire::OPEN).text(&path).u32(READ).u32(0),
                How::Create { fresh, .. } => {
                    let flags = CREATE | if fresh { EXCLUSIVE } else { TRUNCATE };
                    Packet::new(wire::OPEN).text(&path).u32(flags).u32(0)
                }
            };
            let opened = sftp.requests.ask(sftp.times.short, packet).await?;
            let Reply::Handle(handle) = opened else {
                return Err(Failure::strange());
            };
            let goes = matches!(how, How::Create { goes: true, .. });
            Ok(Opened::new(sftp, handle, goes.then_some(path)))
        });
        let opened = opening.await;
        opened.unwrap_or_else(|error| Err(Failure::Strange(error.to_string())))
    }
}

/// `SSH_FXF_READ` (draft-ietf-secsh-filexfer-02, section 6.3).
const READ: u32 = 0x01;
/// `SSH_FXF_WRITE` and `SSH_FXF_CREAT`.
const CREATE: u32 = 0x02 | 0x08;
/// `SSH_FXF_TRUNC`.
const TRUNCATE: u32 = 0x10;
/// `SSH_FXF_EXCL`.
const EXCLUSIVE: u32 = 0x20;
const POSIX_RENAME: &str = "posix-rename@openssh.com";
pub(crate) const FSYNC: &str = "fsync@openssh.com";
const STATVFS: &str = "statvfs@openssh.com";
const LIMITS: &str = "limits@openssh.com";
/// What every server takes in one request (draft-ietf-secsh-filexfer-02, section 3).
const SURE_BYTES: u32 = 32 * 1024;
/// More gains nothing.
const PIECE_BYTES: u32 = 64 * 1024;
