//! Requests of SFTP, version 3 (draft-ietf-secsh-filexfer-02), with the extensions of OpenSSH.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, FuturesUnordered, Stream};
use futures_util::{FutureExt, StreamExt};
use larder_destination::{Body, Call, Capacity, Error, ErrorKind, Result};
use russh_sftp::client::error::Error as Wrong;
use russh_sftp::client::{Config, RawSftpSession};
use russh_sftp::protocol::{File, FileAttributes, OpenFlags, Packet, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// How long the server may take; no bound where there is none.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// For an answer.
    pub short: Option<Duration>,
    /// For a part of a listing.
    pub list: Option<Duration>,
    /// In a transfer until something moves.
    pub stall: Option<Duration>,
}

/// A request that failed.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The server said so.
    Status(StatusCode, String),
    /// No answer came.
    Lost(String),
    /// The file ended after so many bytes, before the length that the server told.
    Short(u64),
    /// The answer makes no sense.
    Strange(String),
}

/// What a request gives.
pub type Outcome<T> = std::result::Result<T, Failure>;

impl Failure {
    /// True for this answer of the server.
    #[must_use]
    pub fn is(&self, code: StatusCode) -> bool {
        matches!(self, Self::Status(found, _) if *found == code)
    }

    /// True when the connection is of no more use.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Lost(_))
    }

    /// The error where nothing more is to be found out. What is missing is the folder, unless somebody knows better.
    #[must_use]
    pub fn into_error(self, call: &Call) -> Error {
        let (code, text) = match self {
            Self::Status(code, text) => (code, text),
            Self::Lost(text) => return call.error(ErrorKind::Network, text).unanswered(),
            Self::Short(at) => {
                let text =
                    format!("the file became shorter while it was read: it ends after {at} bytes");
                return call.error(ErrorKind::Corrupt, text);
            }
            Self::Strange(text) => return call.error(ErrorKind::Other, text),
        };
        let kind = match code {
            StatusCode::NoSuchFile => {
                return call.folder_missing("the folder does not exist on the server");
            }
            StatusCode::PermissionDenied => ErrorKind::Denied,
            StatusCode::OpUnsupported => ErrorKind::Unsupported,
            _ => ErrorKind::Other,
        };
        call.error(kind, format!("the server answered: {text}"))
    }
}

impl From<Wrong> for Failure {
    fn from(error: Wrong) -> Self {
        match error {
            Wrong::Status(status) => match status.status_code {
                StatusCode::NoConnection | StatusCode::ConnectionLost => {
                    Self::Lost(LOST.to_owned())
                }
                code if status.error_message.trim().is_empty() => {
                    Self::Status(code, code.to_string())
                }
                code => Self::Status(code, status.error_message),
            },
            Wrong::Timeout => Self::Lost(LATE.to_owned()),
            Wrong::IO(text) => Self::Lost(format!("the connection was lost: {text}")),
            // The text is about channels inside this program, which end with the connection.
            Wrong::UnexpectedBehavior(_) => Self::Lost(LOST.to_owned()),
            Wrong::Limited(_) | Wrong::UnexpectedPacket => {
                Self::Strange("the server answers in a way that is not SFTP".to_owned())
            }
        }
    }
}

/// A channel on which SFTP is spoken. Any number of requests may be under way.
pub struct Sftp {
    raw: RawSftpSession,
    posix_rename: bool,
    fsync: bool,
    statvfs: bool,
    read_bytes: u32,
    write_bytes: usize,
    times: Times,
    is_dead: AtomicBool,
}

impl Sftp {
    /// Begins to speak SFTP.
    pub(crate) async fn start<S>(stream: S, times: Times) -> Outcome<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = Config {
            // Times are kept here, where it shows whether anything moves.
            request_timeout_secs: u64::MAX,
            ..Config::default()
        };
        let raw = RawSftpSession::new_with_config(stream, config);
        let version = raw.init().await?;
        let offers = |name: &str| version.extensions.contains_key(name);
        let mut sftp = Self {
            posix_rename: offers(POSIX_RENAME),
            fsync: offers("fsync@openssh.com"),
            statvfs: offers("statvfs@openssh.com"),
            read_bytes: SURE_BYTES,
            write_bytes: SURE_BYTES as usize,
            times,
            is_dead: AtomicBool::new(false),
            raw,
        };
        if offers("limits@openssh.com")
            && let Ok(limits) = sftp.raw.limits().await
        {
            let piece = |limit: u64| {
                u32::try_from(limit)
                    .unwrap_or(u32::MAX)
                    .clamp(1, PIECE_BYTES)
            };
            if limits.max_read_len > 0 {
                sftp.read_bytes = piece(limits.max_read_len);
            }
            if limits.max_write_len > 0 {
                sftp.write_bytes = piece(limits.max_write_len) as usize;
            }
        }
        Ok(sftp)
    }

    /// False once no answer can be expected any more.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.is_dead.load(Ordering::Relaxed)
    }

    /// True when [`Sftp::rename_over`] is to be had.
    #[must_use]
    pub fn renames_over(&self) -> bool {
        self.posix_rename
    }

    /// Waits for an answer, so long and no longer.
    async fn ask<T, E: Into<Failure>>(
        &self,
        limit: Option<Duration>,
        answer: impl Future<Output = std::result::Result<T, E>>,
    ) -> Outcome<T> {
        let answer = match limit {
            None => answer.await.map_err(Into::into),
            Some(limit) => match timeout(limit, answer).await {
                Ok(answer) => answer.map_err(Into::into),
                Err(_) => Err(Failure::Lost(LATE.to_owned())),
            },
        };
        if answer.as_ref().is_err_and(Failure::is_loss) {
            self.is_dead.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// What is at a path, links followed; nothing when nothing is.
    ///
    /// # Errors
    /// Those of the request, as for all that follow.
    pub async fn stat(&self, path: &str) -> Outcome<Option<FileAttributes>> {
        match self.ask(self.times.short, self.raw.stat(path)).await {
            Ok(found) => Ok(Some(found.attrs)),
            Err(failure) if failure.is(StatusCode::NoSuchFile) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Removes a file.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn remove(&self, path: &str) -> Outcome<()> {
        self.ask(self.times.short, self.raw.remove(path))
            .await
            .map(drop)
    }

    /// Makes a folder; its parent has to be there.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn make_folder(&self, path: &str) -> Outcome<()> {
        let making = self.raw.mkdir(path, FileAttributes::empty());
        self.ask(self.times.short, making).await.map(drop)
    }

    /// Renames; whether another file of the name is refused depends on the server.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn rename(&self, from: &str, to: &str) -> Outcome<()> {
        self.ask(self.times.short, self.raw.rename(from, to))
            .await
            .map(drop)
    }

    /// Renames in one step, another file of the name is replaced.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn rename_over(&self, from: &str, to: &str) -> Outcome<()> {
        let mut paths = Vec::new();
        for path in [from, to] {
            let len = u32::try_from(path.len()).unwrap_or(u32::MAX);
            paths.extend_from_slice(&len.to_be_bytes());
            paths.extend_from_slice(path.as_bytes());
        }
        let asking = self.raw.extended(POSIX_RENAME, paths);
        match self.ask(self.times.short, asking).await? {
            Packet::Status(status) if status.status_code == StatusCode::Ok => Ok(()),
            Packet::Status(status) => Err(Wrong::Status(status).into()),
            _ => Err(Wrong::UnexpectedPacket.into()),
        }
    }

    /// How much room there is where the path is; nothing when the server does not tell.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn space(&self, path: &str) -> Outcome<Option<Capacity>> {
        if !self.statvfs {
            return Ok(None);
        }
        let facts = self.ask(self.times.short, self.raw.statvfs(path)).await?;
        Ok(Some(Capacity {
            total: facts.blocks.checked_mul(facts.fragment_size),
            free: facts.blocks_avail.checked_mul(facts.fragment_size),
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
            let none = FileAttributes::empty();
            let create = OpenFlags::WRITE | OpenFlags::CREATE;
            let raw = &sftp.raw;
            let opening = match how {
                How::List => raw.opendir(path.as_str()).boxed(),
                How::Read => raw.open(path.as_str(), OpenFlags::READ, none).boxed(),
                How::Create { fresh: true } => raw
                    .open(path.as_str(), create | OpenFlags::EXCLUDE, none)
                    .boxed(),
                How::Create { fresh: false } => raw
                    .open(path.as_str(), create | OpenFlags::TRUNCATE, none)
                    .boxed(),
            };
            let handle = sftp.ask(sftp.times.short, opening).await?.handle;
            Ok(Opened {
                sftp,
                handle,
                is_open: true,
                unfinished: None,
            })
        });
        opening
            .await
            .unwrap_or_else(|error| Err(Failure::Strange(error.to_string())))
    }
}

/// For what something is opened.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// To be listed.
    List,
    /// To be read.
    Read,
    /// To be written from its beginning; a `fresh` one must not be there yet.
    Create {
        /// Whether it must be a new one.
        fresh: bool,
    },
}

/// A file or folder that is open at the server; dropping it closes it.
pub struct Opened {
    sftp: Arc<Sftp>,
    handle: String,
    is_open: bool,
    /// A file that is to be removed unless it is finished.
    unfinished: Option<String>,
}

impl Opened {
    /// The same that goes, with what is written, unless it is finished.
    #[must_use]
    pub fn unless_finished(mut self, path: String) -> Self {
        self.unfinished = Some(path);
        self
    }

    /// The next entries of a folder; nothing at its end.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn next_entries(&self) -> Outcome<Option<Vec<File>>> {
        let reading = self.sftp.raw.readdir(self.handle.as_str());
        match self.sftp.ask(self.sftp.times.list, reading).await {
            Ok(names) => Ok(Some(names.files)),
            Err(failure) if failure.is(StatusCode::Eof) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The channel on which it was opened.
    #[must_use]
    pub fn sftp(&self) -> &Arc<Sftp> {
        &self.sftp
    }

    /// What is known of the file that is open.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn facts(&self) -> Outcome<FileAttributes> {
        let asking = self.sftp.raw.fstat(self.handle.as_str());
        Ok(self.sftp.ask(self.sftp.times.short, asking).await?.attrs)
    }

    /// The first `len` bytes in order, with several requests under way.
    pub fn read(self, len: u64) -> impl Stream<Item = Outcome<Bytes>> + Send {
        let step = u64::from(self.sftp.read_bytes);
        let this = Arc::new(self);
        let file = Arc::clone(&this);
        let pieces = (0..len.div_ceil(step)).map(move |number| {
            let at = number * step;
            let file = Arc::clone(&file);
            async move { file.read_piece(at, step.min(len - at)).await }
        });
        let pieces = stream::iter(pieces).buffered(UNDER_WAY).boxed();
        stream::unfold(Some((pieces, this)), |state| async move {
            let (mut pieces, this) = state?;
            let next = pieces.next().map(Ok::<_, Failure>);
            match this.sftp.ask(this.sftp.times.stall, next).await {
                Ok(None) => None,
                Ok(Some(Ok(piece))) => Some((Ok(piece), Some((pieces, this)))),
                Ok(Some(Err(failure))) | Err(failure) => Some((Err(failure), None)),
            }
        })
    }

    /// So many bytes from an offset. A server may give fewer at a time.
    async fn read_piece(&self, mut at: u64, len: u64) -> Outcome<Bytes> {
        let end = at + len;
        let mut piece = Vec::new();
        while at < end {
            let wanted = u32::try_from(end - at).unwrap_or(self.sftp.read_bytes);
            let reading = self.sftp.raw.read(self.handle.as_str(), at, wanted);
            let data = match self.sftp.ask(None, reading).await {
                Err(failure) if failure.is(StatusCode::Eof) => {
                    return Err(Failure::Short(at));
                }
                data => data?.data,
            };
            if data.is_empty() || data.len() as u64 > end - at {
                return Err(Wrong::UnexpectedPacket.into());
            }
            at += data.len() as u64;
            match piece.is_empty() {
                true => piece = data,
                false => piece.extend_from_slice(&data),
            }
        }
        Ok(Bytes::from(piece))
    }

    /// Writes a body from the beginning of the file, with several requests under way.
    ///
    /// # Errors
    /// [`Unwritten::Body`] when the body breaks off, [`Unwritten::Server`] with what the server says.
    pub async fn write(&self, body: &Body) -> std::result::Result<(), Unwritten> {
        let mut under_way = FuturesUnordered::new();
        let (mut at, mut chunks) = (0_u64, body.stream());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(Unwritten::Body)?;
            for piece in chunk.chunks(self.sftp.write_bytes) {
                under_way.push(
                    self.sftp
                        .raw
                        .write(self.handle.as_str(), at, piece.to_vec()),
                );
                at += piece.len() as u64;
                // The first look at a request sends it.
                while let Some(Some(done)) = under_way.next().now_or_never() {
                    self.written(async { done }).await?;
                }
                while under_way.len() >= UNDER_WAY {
                    self.written(
                        under_way
                            .next()
                            .map(|done| done.unwrap_or(Err(Wrong::Timeout))),
                    )
                    .await?;
                }
            }
        }
        while !under_way.is_empty() {
            self.written(
                under_way
                    .next()
                    .map(|done| done.unwrap_or(Err(Wrong::Timeout))),
            )
            .await?;
        }
        match at == body.len() {
            true => Ok(()),
            false => Err(Unwritten::Body(std::io::ErrorKind::UnexpectedEof.into())),
        }
    }

    async fn written<T>(
        &self,
        answer: impl Future<Output = std::result::Result<T, Wrong>>,
    ) -> std::result::Result<(), Unwritten> {
        let written = self.sftp.ask(self.sftp.times.stall, answer).await;
        written.map(drop).map_err(Unwritten::Server)
    }

    /// Has the server bring the content to its disk, where it can, and closes the file.
    ///
    /// # Errors
    /// Those of the requests; the file is no good then.
    pub async fn finish(mut self) -> Outcome<()> {
        if self.sftp.fsync {
            let syncing = self.sftp.raw.fsync(self.handle.as_str());
            match self.sftp.ask(self.sftp.times.stall, syncing).await {
                Err(failure) if !failure.is(StatusCode::OpUnsupported) => return Err(failure),
                _ => {}
            }
        }
        self.is_open = false;
        let closing = self.sftp.raw.close(self.handle.as_str());
        self.sftp.ask(self.sftp.times.stall, closing).await?;
        self.unfinished = None;
        Ok(())
    }
}

/// Why a body was not written whole.
#[derive(Debug)]
pub enum Unwritten {
    /// The body broke off.
    Body(std::io::Error),
    /// The server did not take it.
    Server(Failure),
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
        let handle = self.is_open.then(|| std::mem::take(&mut self.handle));
        let unfinished = self.unfinished.take();
        runtime.spawn(async move {
            if let Some(handle) = handle {
                let _ = sftp.ask(sftp.times.short, sftp.raw.close(handle)).await;
            }
            if let Some(path) = unfinished {
                let _ = sftp.remove(&path).await;
            }
        });
    }
}

/// Waits so long and no longer for a step on the way to the server.
pub(crate) async fn within<T>(
    call: &Call,
    limit: Option<Duration>,
    step: impl Future<Output = T>,
) -> Result<T> {
    match limit {
        None => Ok(step.await),
        Some(limit) => timeout(limit, step)
            .await
            .map_err(|_| call.error(ErrorKind::Network, LATE).unanswered()),
    }
}

const LATE: &str = "the server did not answer in time";
const LOST: &str = "the connection to the server was lost";
const POSIX_RENAME: &str = "posix-rename@openssh.com";
/// What every server takes in one request (draft-ietf-secsh-filexfer-02, section 3).
const SURE_BYTES: u32 = 32 * 1024;
/// More gains nothing.
const PIECE_BYTES: u32 = 64 * 1024;
/// Requests of one transfer.
const UNDER_WAY: usize = 32;
