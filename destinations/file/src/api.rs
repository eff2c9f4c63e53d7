//! The folder in terms of the operating system: blocking calls, and errors that say what they concern.
//!
//! No call here waits for anything but the file system: the few threads for blocking work must never all be taken by
//! calls that wait for each other.

use std::fs::{DirEntry, File, ReadDir};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use larder_destination::{Call, Error, ErrorKind, Existing, Random, RemoteFile, Result};
use larder_files::{NewFile, check_length, give_name, is_abandoned};
use larder_flat::{LEFTOVER_AGE, temporary_name};
use rustix::io::Errno;

/// What a call is about: the folder, or a file directly in it.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) folder: Arc<Path>,
    pub(crate) call: Call,
}

impl Subject {
    /// The path of the file; that of the folder when the call is about it.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(&self.call.object)
    }

    /// Turns an error of the file system into one of the destination.
    ///
    /// A missing file is looked at twice: when the folder is missing, that is the news, because a disk that is not
    /// mounted must never look like lost files.
    pub(crate) fn explain(&self, error: io::Error) -> Error {
        let name = &self.call.object;
        let kind = match ErrorKind::of_io(&error) {
            ErrorKind::NotFound if name.is_empty() || !self.folder.is_dir() => {
                ErrorKind::FolderMissing
            }
            ErrorKind::Other => match Errno::from_io_error(&error) {
                Some(Errno::IO | Errno::HOSTDOWN) => ErrorKind::Network,
                _ => ErrorKind::Other,
            },
            kind => kind,
        };
        let (message, object) = match kind {
            ErrorKind::FolderMissing => {
                let folder = self.folder.to_path_buf();
                ("the folder does not exist".to_owned(), folder)
            }
            ErrorKind::NotFound => return self.call.not_found().caused_by(error),
            _ => (error.to_string(), self.path()),
        };
        let explained = self
            .call
            .error(kind, message)
            .object(object.to_string_lossy());
        let explained = match explained.kind() {
            // A mounted server that is not there.
            ErrorKind::Network => explained.unanswered(),
            _ => explained,
        };
        explained.caused_by(error)
    }

    /// The content of a put could not be read.
    pub(crate) fn unreadable(&self, error: io::Error) -> Error {
        let message = format!("the content to store cannot be read: {error}");
        self.call.error(ErrorKind::Other, message).caused_by(error)
    }
}

/// True for the names of unfinished files: those that [`new_file`] gives, and those that Larder gave at first.
pub(crate) fn is_temporary(name: &str) -> bool {
    larder_flat::is_temporary(name) || is_former(name)
}

/// `<name>.<8 hex digits>.part`, where the name is one of a backup: others may be somebody else's unfinished files.
fn is_former(name: &str) -> bool {
    let parts = name
        .strip_suffix(".part")
        .and_then(|name| name.rsplit_once('.'));
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    parts.is_some_and(|(name, random)| {
        random.len() == 8
            && random.bytes().all(is_digit)
            && FORMER_NAMES.iter().any(|part| {
                name.split_once(part)
                    .is_some_and(|(front, ending)| front.contains('-') && !ending.is_empty())
            })
    })
}

/// In the names that were written then, between what is random or a time and the format.
const FORMER_NAMES: [&str; 3] = [".dblock.", ".dindex.", ".dlist."];

/// A listing under way.
pub(crate) struct Listing {
    on: Subject,
    entries: ReadDir,
}

impl Listing {
    pub(crate) fn open(on: &Subject) -> Result<Self> {
        let entries = std::fs::read_dir(&on.folder).map_err(|error| on.explain(error))?;
        Ok(Self {
            on: on.clone(),
            entries,
        })
    }

    /// The next files and folders; `None` at the end.
    pub(crate) fn next_batch(&mut self) -> Result<Option<Vec<RemoteFile>>> {
        let mut batch = Vec::new();
        for entry in self.entries.by_ref() {
            let found = entry.and_then(|entry| remote_file(&entry));
            batch.extend(found.map_err(|error| self.on.explain(error))?);
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
        modified: Some(facts.mtime()),
        is_folder: facts.is_dir(),
        is_archived: false,
    }))
}

/// The rest of a file that is read.
pub(crate) struct Reading {
    on: Subject,
    file: File,
    left: u64,
}

impl Reading {
    pub(crate) fn open(on: &Subject) -> Result<Self> {
        let (path, fail) = (on.path(), |error| on.explain(error));
        // Looking before opening keeps a named pipe from blocking the open for ever.
        if !std::fs::metadata(&path).map_err(fail)?.is_file() {
            return Err(on.call.error(ErrorKind::NotFound, "it is not a file"));
        }
        let file = File::open(&path).map_err(fail)?;
        Ok(Self {
            on: on.clone(),
            left: file.metadata().map_err(fail)?.len(),
            file,
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
        read.map_err(|error| self.on.explain(error))?;
        if (piece.len() as u64) < wanted {
            let message = "the file became shorter while it was read";
            return Err(self.on.call.error(ErrorKind::Corrupt, message));
        }
        self.left -= wanted;
        Ok(Some(Bytes::from(piece)).filter(|piece| !piece.is_empty()))
    }
}

/// Begins a file of `len` bytes under a temporary name.
pub(crate) fn new_file(on: &Subject, len: u64, random: &dyn Random) -> Result<NewFile> {
    loop {
        let temporary = on.folder.join(temporary_name(&on.call, random)?);
        match NewFile::create(temporary, len) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created.map_err(|error| on.explain(error)),
        }
    }
}

/// Makes a local file itself the new file; `false` when it lies on another file system.
pub(crate) fn move_here(source: &Path, on: &Subject, len: u64, existing: Existing) -> Result<bool> {
    let opened = File::open(source).and_then(|file| {
        file.sync_all()?;
        file.metadata()
    });
    let found = opened.map_err(|error| on.unreadable(error))?;
    let checked = check_length(len, found.len());
    let replaces = existing == Existing::Replace;
    match checked.and_then(|()| give_name(source, &on.path(), replaces)) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => Ok(false),
        Err(error) => Err(on.explain(error)),
        Ok(()) => Ok(true),
    }
}

/// Removes unfinished files that nobody writes any more; gives their number.
///
/// Nobody writes a file whose lock is free and that has not changed for a minute; where there are no locks, for a day.
/// The file system's own clock counts, as a new file shows it.
pub(crate) fn remove_leftovers(on: &Subject, random: &dyn Random) -> Result<u64> {
    let fail = |error| on.explain(error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&on.folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && entry.file_name().to_str().is_some_and(is_temporary) {
            found.push(entry.path());
        }
    }
    if found.is_empty() {
        return Ok(0);
    }
    let fresh = new_file(on, 0, random)?;
    let now = fresh.modified().map_err(fail)?;
    let is_left = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        // The former ones were not locked while they were written.
        let free = match name.is_some_and(is_former) {
            true => LEFTOVER_AGE,
            false => Duration::from_secs(60),
        };
        is_abandoned(path, now, free, LEFTOVER_AGE).unwrap_or(false)
    };
    // What vanishes meanwhile was finished or removed by another program.
    let removed = found
        .iter()
        .filter(|path| is_left(path) && std::fs::remove_file(path).is_ok());
    Ok(removed.count() as u64)
}

const BATCH: usize = 256;
const PIECE_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests;
