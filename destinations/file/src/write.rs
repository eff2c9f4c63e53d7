//! Writing, whole or not at all, in terms of the operating system.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use larder_destination::{Error, ErrorKind, Existing, Operation, Result};
use rustix::io::Errno;
use tokio::sync::mpsc::Receiver;

use crate::SCHEME;
use crate::errors::explain;
use crate::names;

/// Where the bytes of a put come from.
pub(crate) enum Content {
    Memory(Bytes),
    File(PathBuf),
    /// As [`Content::File`], but the file itself becomes the target when it lies on the same file system.
    Movable(PathBuf),
    /// Pieces of a stream; a stream that ends early was given up.
    Stream(Receiver<io::Result<Bytes>>),
}

/// One put.
pub(crate) struct Put<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) name: &'a str,
    pub(crate) len: u64,
    pub(crate) existing: Existing,
    pub(crate) checks_length: bool,
    pub(crate) is_cancelled: Arc<AtomicBool>,
}

impl Put<'_> {
    /// Writes the content under a temporary name and renames it, so that the target is never seen in part.
    ///
    /// When `sweeps` is set, temporary files of earlier runs that are older than a day are removed first.
    pub(crate) fn run(&self, content: Content, sweeps: bool) -> Result<()> {
        if let Content::Movable(source) = &content
            && self.move_here(source)?
        {
            return Ok(());
        }
        let (mut temporary, path) = self.create_temporary()?;
        if sweeps {
            remove_stale(self.folder, &temporary);
        }
        let written = self.fill(&mut temporary, content).and_then(|()| {
            drop(temporary);
            self.give_name(&path)
        });
        if written.is_err() {
            // Should that fail too, a later run removes the file.
            let _ = std::fs::remove_file(&path);
        }
        written?;
        sync_folder(self.folder).map_err(|error| self.explain(error))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "two programs that write at once must not meet under one temporary name"
    )]
    fn create_temporary(&self) -> Result<(File, PathBuf)> {
        loop {
            let mut random = [0_u8; 4];
            getrandom::fill(&mut random).map_err(|error| self.explain(io::Error::other(error)))?;
            let path = self
                .folder
                .join(names::temporary(self.name, u32::from_ne_bytes(random)));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((file, path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(explain(error, Operation::Put, self.folder, ""));
                }
                Err(error) => return Err(self.explain(error)),
            }
        }
    }

    fn fill(&self, target: &mut File, content: Content) -> Result<()> {
        let written = match content {
            Content::Memory(bytes) => {
                for piece in bytes.chunks(PIECE_BYTES) {
                    self.check_cancelled()?;
                    target
                        .write_all(piece)
                        .map_err(|error| self.explain(error))?;
                }
                bytes.len() as u64
            }
            Content::File(source) | Content::Movable(source) => self.copy(&source, target)?,
            Content::Stream(pieces) => self.receive(pieces, target)?,
        };
        if written != self.len {
            return Err(self.short(written));
        }
        self.check_cancelled()?;
        target.sync_all().map_err(|error| self.explain(error))?;
        if self.checks_length {
            let found = target
                .metadata()
                .map_err(|error| self.explain(error))?
                .len();
            if found != self.len {
                let message = format!(
                    "{} bytes were written, but the file system holds {found}",
                    self.len
                );
                return Err(
                    Error::new(ErrorKind::Corrupt, SCHEME, Operation::Put, message)
                        .object(self.name),
                );
            }
        }
        Ok(())
    }

    fn copy(&self, source: &Path, target: &mut File) -> Result<u64> {
        let source = File::open(source).map_err(|error| self.unreadable(error))?;
        let mut written = 0;
        loop {
            self.check_cancelled()?;
            // Between two files the kernel copies, without this program touching the bytes.
            let copied = io::copy(&mut (&source).take(PIECE_BYTES as u64), target);
            match copied.map_err(|error| self.explain(error))? {
                0 => return Ok(written),
                copied => written += copied,
            }
            if written > self.len {
                return Ok(written);
            }
        }
    }

    fn receive(&self, mut pieces: Receiver<io::Result<Bytes>>, target: &mut File) -> Result<u64> {
        let mut written = 0;
        while let Some(piece) = pieces.blocking_recv() {
            let piece = piece.map_err(|error| self.unreadable(error))?;
            written += piece.len() as u64;
            if written > self.len {
                return Ok(written);
            }
            target
                .write_all(&piece)
                .map_err(|error| self.explain(error))?;
        }
        Ok(written)
    }

    fn give_name(&self, temporary: &Path) -> Result<()> {
        self.check_cancelled()?;
        self.rename(temporary).map_err(|error| self.explain(error))
    }

    /// Moves a whole file to its name, in one step and over another file only where that is wanted.
    fn rename(&self, from: &Path) -> io::Result<()> {
        let to = self.folder.join(self.name);
        if self.existing == Existing::Replace {
            return std::fs::rename(from, to);
        }
        let moved = rustix::fs::renameat_with(
            rustix::fs::CWD,
            from,
            rustix::fs::CWD,
            &to,
            rustix::fs::RenameFlags::NOREPLACE,
        );
        match moved {
            // File systems without that flag (NFS, some FUSE) have links, which never replace anything.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                match std::fs::hard_link(from, &to) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        // Neither flag nor links (FAT on some systems): looked up right before.
                        if to.try_exists()? {
                            return Err(Errno::EXIST.into());
                        }
                        std::fs::rename(from, to)
                    }
                    linked => linked.and_then(|()| std::fs::remove_file(from)),
                }
            }
            other => Ok(other?),
        }
    }

    /// Makes the source itself the target; `false` when it lies on another file system.
    fn move_here(&self, source: &Path) -> Result<bool> {
        let file = File::open(source).map_err(|error| self.unreadable(error))?;
        let found = file
            .metadata()
            .map_err(|error| self.unreadable(error))?
            .len();
        if found != self.len {
            return Err(self.short(found));
        }
        file.sync_all().map_err(|error| self.unreadable(error))?;
        self.check_cancelled()?;
        match self.rename(source) {
            Ok(()) => {}
            Err(error) if Errno::from_io_error(&error) == Some(Errno::XDEV) => return Ok(false),
            Err(error) => return Err(self.explain(error)),
        }
        sync_folder(self.folder).map_err(|error| self.explain(error))?;
        Ok(true)
    }

    fn check_cancelled(&self) -> Result<()> {
        if !self.is_cancelled.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Cancelled,
            SCHEME,
            Operation::Put,
            "the put was given up",
        )
        .object(self.name))
    }

    fn explain(&self, error: io::Error) -> Error {
        explain(error, Operation::Put, self.folder, self.name)
    }

    fn unreadable(&self, error: io::Error) -> Error {
        let message = format!("the content to store cannot be read: {error}");
        Error::new(ErrorKind::Other, SCHEME, Operation::Put, message)
            .object(self.name)
            .caused_by(error)
    }

    fn short(&self, found: u64) -> Error {
        let message = format!(
            "the content to store has {found} bytes instead of {}",
            self.len
        );
        Error::new(ErrorKind::Other, SCHEME, Operation::Put, message).object(self.name)
    }
}

/// Makes changes of names in the folder survive a power failure.
///
/// Some mounts cannot do that for folders and say `EINVAL` (or one of its kin); a folder that may be written but not
/// read cannot be opened for it. Both are taken as they are.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    match synced {
        Err(error)
            if matches!(
                Errno::from_io_error(&error),
                Some(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS | Errno::BADF | Errno::ACCESS)
            ) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

/// Removes temporary files that are a day older than `fresh`, whose time is that of the file system's own clock.
fn remove_stale(folder: &Path, fresh: &File) {
    let Ok(now) = fresh.metadata().and_then(|facts| facts.modified()) else {
        return;
    };
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_str().is_some_and(names::is_temporary) {
            continue;
        }
        let modified = entry.metadata().and_then(|facts| facts.modified());
        let age = modified
            .ok()
            .and_then(|modified| now.duration_since(modified).ok());
        if age.is_some_and(|age| age > STALE_AFTER) {
            // Another program may have been faster; nothing depends on it.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

const PIECE_BYTES: usize = 8 << 20;
const STALE_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
