//! The folder in terms of the operating system: blocking calls, and errors that say what they concern.
//!
//! No call here waits for anything but the file system: the few threads for blocking work must never all be taken by
//! calls that wait for each other.

use std::fs::{DirEntry, File, Metadata, ReadDir};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use larder_destination::{
    Error, ErrorKind, Existing, Operation, Random, RemoteFile, Result, TEMPORARY_PREFIX,
};
use rustix::fs::{CWD, FlockOperation, RenameFlags};
use rustix::io::Errno;

use crate::SCHEME;

/// Says why a name cannot stand for a file directly in the folder.
pub(crate) fn check_name(name: &str) -> std::result::Result<(), &'static str> {
    match name {
        "" => Err("the name is empty"),
        "." | ".." => Err("the name leads out of the folder"),
        _ if name.contains('/') => Err("the name leads out of the folder"),
        _ if name.contains('\0') => Err("the name holds a NUL character"),
        _ => Ok(()),
    }
}

/// As [`check_name`], for names to be written: one of an unfinished file would never be listed.
pub(crate) fn check_new_name(name: &str) -> std::result::Result<(), &'static str> {
    match is_temporary(name) {
        true => Err("the name is that of a temporary file"),
        false => check_name(name),
    }
}

/// True for the names of unfinished files: those that [`NewFile`] gives, and those that Larder gave at first.
pub(crate) fn is_temporary(name: &str) -> bool {
    let random = name.strip_prefix(TEMPORARY_PREFIX);
    random.map_or_else(|| is_former(name), |random| is_hex(random, 16))
}

/// `<name>.<8 hex digits>.part`, where the name is one of a backup: others may be somebody else's unfinished files.
fn is_former(name: &str) -> bool {
    let parts = name
        .strip_suffix(".part")
        .and_then(|name| name.rsplit_once('.'));
    parts.is_some_and(|(name, random)| {
        is_hex(random, 8)
            && FORMER_NAMES.iter().any(|part| {
                name.split_once(part)
                    .is_some_and(|(front, ending)| front.contains('-') && !ending.is_empty())
            })
    })
}

/// In the names that were written then, between what is random or a time and the format.
const FORMER_NAMES: [&str; 3] = [".dblock.", ".dindex.", ".dlist."];

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A listing under way.
pub(crate) struct Listing {
    folder: Arc<Path>,
    entries: ReadDir,
}

impl Listing {
    pub(crate) fn open(folder: &Arc<Path>) -> Result<Self> {
        match std::fs::read_dir(folder) {
            Ok(entries) => Ok(Self {
                folder: Arc::clone(folder),
                entries,
            }),
            Err(error) => Err(explain(error, Operation::List, folder, "")),
        }
    }

    /// The next files and folders; `None` at the end.
    pub(crate) fn next_batch(&mut self) -> Result<Option<Vec<RemoteFile>>> {
        let mut batch = Vec::new();
        for entry in self.entries.by_ref() {
            let found = entry.and_then(|entry| remote_file(&entry));
            batch.extend(found.map_err(|error| explain(error, Operation::List, &self.folder, ""))?);
            if batch.len() == BATCH {
                break;
            }
        }
        Ok(Some(batch).filter(|batch| !batch.is_empty()))
    }
}

/// What the listing says of an entry; `None` for what is neither file nor folder, or unfinished.
fn remote_file(entry: &DirEntry) -> io::Result<Option<RemoteFile>> {
    let name = entry.file_name().to_string_lossy().into_owned();
    if is_temporary(&name) {
        return Ok(None);
    }
    let facts = match std::fs::metadata(entry.path()) {
        Err(error) => {
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            return match Errno::from_io_error(&error) {
                // A link that leads nowhere or in a circle, or a file that was just deleted.
                Some(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => Ok(None),
                // A link to where this user may not look. For all others it is the folder that may not be entered.
                Some(Errno::ACCESS | Errno::PERM) if is_link => Ok(None),
                _ => Err(error),
            };
        }
        Ok(facts) => facts,
    };
    Ok((facts.is_file() || facts.is_dir()).then(|| RemoteFile {
        name,
        size: facts.is_file().then_some(facts.len()),
        modified: seconds(&facts),
        is_folder: facts.is_dir(),
        is_archived: false,
    }))
}

fn seconds(facts: &Metadata) -> Option<i64> {
    match facts.modified().ok()?.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).ok(),
        Err(before) => {
            let before = before.duration();
            let whole = i64::try_from(before.as_secs()).ok()?;
            Some(-whole - i64::from(before.subsec_nanos() > 0))
        }
    }
}

/// The rest of a file that is read.
pub(crate) struct Reading {
    file: File,
    left: u64,
    folder: Arc<Path>,
    name: String,
}

impl Reading {
    pub(crate) fn open(folder: &Arc<Path>, name: &str) -> Result<Self> {
        let path = folder.join(name);
        let fail = |error| explain(error, Operation::Get, folder, name);
        // Looking before opening keeps a named pipe from blocking the open for ever.
        if !std::fs::metadata(&path).map_err(fail)?.is_file() {
            return Err(error(
                ErrorKind::NotFound,
                Operation::Get,
                name,
                "it is not a file",
            ));
        }
        let file = File::open(&path).map_err(fail)?;
        Ok(Self {
            left: file.metadata().map_err(fail)?.len(),
            file,
            folder: Arc::clone(folder),
            name: name.to_owned(),
        })
    }

    /// Bytes that are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// The next piece of the file; `None` at its end.
    pub(crate) fn next_piece(&mut self) -> Result<Option<Bytes>> {
        let wanted = self.left.min(PIECE_BYTES);
        let mut piece = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
        let read = (&self.file).take(wanted).read_to_end(&mut piece);
        read.map_err(|error| explain(error, Operation::Get, &self.folder, &self.name))?;
        if (piece.len() as u64) < wanted {
            let message = "the file became shorter while it was read";
            return Err(error(
                ErrorKind::Corrupt,
                Operation::Get,
                &self.name,
                message,
            ));
        }
        self.left -= wanted;
        Ok(Some(Bytes::from(piece)).filter(|piece| !piece.is_empty()))
    }
}

/// A file on its way to its name. It lies under a temporary one until [`NewFile::finish`], and goes when it is dropped.
pub(crate) struct NewFile {
    file: File,
    temporary: PathBuf,
    is_named: bool,
    folder: Arc<Path>,
    name: String,
    len: u64,
    written: u64,
}

impl NewFile {
    /// Begins a file of `len` bytes.
    pub(crate) fn create(
        folder: &Arc<Path>,
        name: &str,
        len: u64,
        random: &dyn Random,
    ) -> Result<Self> {
        let fail = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => explain(error, Operation::Put, folder, ""),
            _ => explain(error, Operation::Put, folder, name),
        };
        loop {
            let mut number = [0_u8; 8];
            random.fill(&mut number).map_err(fail)?;
            let number = u64::from_ne_bytes(number);
            let temporary = folder.join(format!("{TEMPORARY_PREFIX}{number:016x}"));
            let file = match File::create_new(&temporary) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                created => created.map_err(fail)?,
            };
            // Held as long as the file is written, so that others see that it is no leftover. Not all mounts have locks.
            let _ = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
            return Ok(Self {
                file,
                temporary,
                is_named: false,
                folder: Arc::clone(folder),
                name: name.to_owned(),
                len,
                written: 0,
            });
        }
    }

    /// Appends a piece.
    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<()> {
        self.written += piece.len() as u64;
        check_length(&self.name, self.len, self.written.max(self.len))?;
        self.file
            .write_all(piece)
            .map_err(|error| self.explain(error))
    }

    /// Appends the next piece of a local file; `false` at its end.
    pub(crate) fn copy_piece(&mut self, source: &File) -> Result<bool> {
        // Between two files the kernel copies, without this program touching the bytes.
        let copied = io::copy(&mut source.take(COPY_BYTES), &mut self.file);
        let copied = copied.map_err(|error| self.explain(error))?;
        self.written += copied;
        check_length(&self.name, self.len, self.written.max(self.len))?;
        Ok(copied > 0)
    }

    /// Forces the content to the disk, gives the file its name, and forces that to the disk as well.
    ///
    /// With `checks_length` the file system is asked how long the file has become.
    pub(crate) fn finish(mut self, existing: Existing, checks_length: bool) -> Result<()> {
        check_length(&self.name, self.len, self.written)?;
        self.file.sync_all().map_err(|error| self.explain(error))?;
        let found = match checks_length {
            true => self
                .file
                .metadata()
                .map_err(|error| self.explain(error))?
                .len(),
            false => self.len,
        };
        if found != self.len {
            let message = format!(
                "{} bytes were written, but the file system holds {found}",
                self.len
            );
            return Err(error(
                ErrorKind::Corrupt,
                Operation::Put,
                &self.name,
                message,
            ));
        }
        give_name(&self.temporary, &self.folder.join(&self.name), existing)
            .map_err(|error| self.explain(error))?;
        self.is_named = true;
        sync_folder(&self.folder).map_err(|error| self.explain(error))
    }

    /// The name that it is to have.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn explain(&self, error: io::Error) -> Error {
        explain(error, Operation::Put, &self.folder, &self.name)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_named {
            // Should that fail, a later run removes the file.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Makes a local file itself the new file; `false` when it lies on another file system.
pub(crate) fn move_here(
    source: &Path,
    folder: &Path,
    name: &str,
    len: u64,
    existing: Existing,
) -> Result<bool> {
    let opened = File::open(source).and_then(|file| {
        file.sync_all()?;
        file.metadata()
    });
    let found = opened.map_err(|error| unreadable(name, error))?;
    check_length(name, len, found.len())?;
    match give_name(source, &folder.join(name), existing).and_then(|()| sync_folder(folder)) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => Ok(false),
        Err(error) => Err(explain(error, Operation::Put, folder, name)),
        Ok(()) => Ok(true),
    }
}

/// Moves a whole file to its name in one step, and over another file only where that is wanted.
fn give_name(from: &Path, to: &Path, existing: Existing) -> io::Result<()> {
    if existing == Existing::Replace {
        return std::fs::rename(from, to);
    }
    let renamed = rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE);
    match renamed.map_err(io::Error::from) {
        // NFS, some FUSE mounts and old kernels do not know the flag, but links, which never replace anything.
        Err(error) if is_unknown(&error) => link_name(from, to),
        renamed => renamed,
    }
}

fn link_name(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::hard_link(from, to) {
        // FAT and some network mounts have no links.
        Err(error) if is_unknown(&error) => reserve_name(from, to),
        linked => linked.and_then(|()| std::fs::remove_file(from)),
    }
}

/// Takes the name with an empty file, which the rename then replaces. It works everywhere and never replaces the file
/// of another; a kill between the two leaves the empty file, which its size gives away.
fn reserve_name(from: &Path, to: &Path) -> io::Result<()> {
    File::create_new(to)?;
    std::fs::rename(from, to).inspect_err(|_| {
        // The error that counts is that of the rename.
        let _ = std::fs::remove_file(to);
    })
}

/// True for the answers of file systems that do not have a call.
fn is_unknown(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(
        errno,
        Some(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::PERM | Errno::MLINK)
    )
}

/// Makes changes of names in the folder survive a power failure.
///
/// Some mounts cannot do that for folders and say `EINVAL` (or one of its kin); a folder that may be written but not
/// read cannot be opened for it. Both are taken as they are.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if is_unknown(&error) || error.kind() == io::ErrorKind::PermissionDenied => {
            Ok(())
        }
        Err(error) if Errno::from_io_error(&error) == Some(Errno::BADF) => Ok(()),
        synced => synced,
    }
}

/// Removes unfinished files that nobody writes any more; gives their number.
///
/// Nobody writes a file whose lock is free and that has not changed for a minute; where there are no locks, for a day.
/// The file system's own clock counts, as a new file shows it.
pub(crate) fn remove_leftovers(folder: &Arc<Path>, random: &dyn Random) -> Result<u64> {
    let fail = |error| explain(error, Operation::RemoveLeftovers, folder, "");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && entry.file_name().to_str().is_some_and(is_temporary) {
            found.push(entry.path());
        }
    }
    if found.is_empty() {
        return Ok(0);
    }
    let fresh = NewFile::create(folder, "", 0, random)?;
    let now = fresh.file.metadata().map_err(fail)?;
    // What vanishes meanwhile was finished or removed by another program.
    let removed = found.iter().filter(|path| {
        is_abandoned(path, &now).unwrap_or(false) && std::fs::remove_file(path).is_ok()
    });
    Ok(removed.count() as u64)
}

fn is_abandoned(path: &Path, now: &Metadata) -> io::Result<bool> {
    let file = File::open(path)?;
    let age = now.modified()?.duration_since(file.metadata()?.modified()?);
    let is_former = path
        .file_name()
        .is_some_and(|name| name.to_str().is_some_and(is_former));
    let needed = match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        // Those were not locked while they were written.
        Ok(()) if is_former => Duration::from_secs(24 * 60 * 60),
        Ok(()) => Duration::from_secs(60),
        Err(Errno::AGAIN) => return Ok(false),
        Err(_) => Duration::from_secs(24 * 60 * 60),
    };
    Ok(age.is_ok_and(|age| age > needed))
}

/// Turns an error of the file system into one of the destination.
///
/// A missing file is looked at twice: when the folder is missing, that is the news, because a disk that is not mounted
/// must never look like lost files.
pub(crate) fn explain(error: io::Error, operation: Operation, folder: &Path, name: &str) -> Error {
    let mut kind = kind_of(&error);
    if kind == ErrorKind::NotFound && (name.is_empty() || !folder.is_dir()) {
        kind = ErrorKind::FolderMissing;
    }
    let (message, object) = match kind {
        ErrorKind::FolderMissing => ("the folder does not exist".to_owned(), folder.to_owned()),
        ErrorKind::NotFound => ("there is no such file".to_owned(), PathBuf::from(name)),
        _ if name.is_empty() => (error.to_string(), folder.to_owned()),
        _ => (error.to_string(), folder.join(name)),
    };
    self::error(kind, operation, &object.to_string_lossy(), message).caused_by(error)
}

fn kind_of(error: &io::Error) -> ErrorKind {
    use io::ErrorKind as Io;
    match error.kind() {
        Io::NotFound | Io::NotADirectory => ErrorKind::NotFound,
        Io::StorageFull | Io::QuotaExceeded => ErrorKind::Quota,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Denied,
        Io::AlreadyExists | Io::IsADirectory | Io::DirectoryNotEmpty => ErrorKind::Exists,
        Io::TimedOut | Io::StaleNetworkFileHandle | Io::WouldBlock | Io::ResourceBusy => {
            ErrorKind::Network
        }
        Io::HostUnreachable | Io::NetworkUnreachable | Io::NetworkDown => ErrorKind::Network,
        Io::NotConnected | Io::ConnectionAborted | Io::ConnectionReset => ErrorKind::Network,
        Io::ConnectionRefused | Io::BrokenPipe => ErrorKind::Network,
        _ => match Errno::from_io_error(error) {
            Some(Errno::IO | Errno::HOSTDOWN) => ErrorKind::Network,
            _ => ErrorKind::Other,
        },
    }
}

/// The content of a put could not be read.
pub(crate) fn unreadable(name: &str, error: io::Error) -> Error {
    let message = format!("the content to store cannot be read: {error}");
    self::error(ErrorKind::Other, Operation::Put, name, message).caused_by(error)
}

fn check_length(name: &str, len: u64, found: u64) -> Result<()> {
    if found == len {
        return Ok(());
    }
    let message = format!("the content to store has {found} bytes instead of {len}");
    Err(error(ErrorKind::Other, Operation::Put, name, message))
}

pub(crate) fn error(
    kind: ErrorKind,
    operation: Operation,
    object: &str,
    message: impl Into<String>,
) -> Error {
    Error::new(kind, SCHEME, operation, message).object(object)
}

const BATCH: usize = 256;
const PIECE_BYTES: u64 = 1 << 20;
const COPY_BYTES: u64 = 8 << 20;

#[cfg(test)]
mod tests;
