//! Files under temporary names, and what ended programs left of them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FlockOperation, flock};
use rustix::io::Errno;

use crate::{rename_new, sync_folder};

/// A new file of known length on its way to its name. It goes when it is dropped before it has that.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    path: PathBuf,
    len: u64,
    written: u64,
    is_named: bool,
}

impl NewFile {
    /// Begins a file of `len` bytes under this path, which is a temporary one. It is locked until it is closed, so that
    /// others see that it is no leftover. Not all mounts have locks.
    ///
    /// # Errors
    /// `AlreadyExists` when something has the name, or what the system reports.
    pub fn create(path: PathBuf, len: u64) -> io::Result<Self> {
        let file = File::create_new(&path)?;
        let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
        Ok(Self {
            file,
            path,
            len,
            written: 0,
            is_named: false,
        })
    }

    /// Appends a piece.
    ///
    /// # Errors
    /// `InvalidInput` when it becomes longer than announced, or what the system reports.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)?;
        self.count(piece.len() as u64)
    }

    /// Appends the next 8 MiB of another file; `false` at its end. Where the system can, the bytes do not pass this program.
    ///
    /// # Errors
    /// As [`NewFile::write`].
    pub fn copy_piece(&mut self, source: &File) -> io::Result<bool> {
        let copied = io::copy(&mut source.take(COPY_BYTES), &mut self.file)?;
        self.count(copied)?;
        Ok(copied > 0)
    }

    fn count(&mut self, more: u64) -> io::Result<()> {
        self.written += more;
        check_length(self.len, self.written.max(self.len))
    }

    /// Forces the content to the disk, and gives the file its name as [`give_name`] does. With `checks_length` the file
    /// system is asked how long the file has become.
    ///
    /// # Errors
    /// `InvalidInput` when bytes are missing; `InvalidData` when the file system holds another number; those of
    /// [`give_name`]. The file is gone then, or has its name when only the last step failed.
    pub fn finish(mut self, name: &Path, replaces: bool, checks_length: bool) -> io::Result<()> {
        check_length(self.len, self.written)?;
        self.file.sync_all()?;
        let (len, found) = match checks_length {
            true => (self.len, self.file.metadata()?.len()),
            false => (self.len, self.len),
        };
        if found != len {
            let text = format!("{len} bytes were written, but the file system holds {found}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        rename(&self.path, name, replaces)?;
        self.is_named = true;
        sync_above(name)
    }

    /// When the file was written last, by the clock of the file system.
    ///
    /// # Errors
    /// What the system reports.
    pub fn modified(&self) -> io::Result<SystemTime> {
        self.file.metadata()?.modified()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_named {
            // Should that fail, a later run removes the file.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Gives a file another name, over another file only with `replaces`, and forces that to the disk.
///
/// # Errors
/// `AlreadyExists` when something has the name and is not to be replaced; what the system reports.
pub fn give_name(from: &Path, to: &Path, replaces: bool) -> io::Result<()> {
    rename(from, to, replaces)?;
    sync_above(to)
}

fn rename(from: &Path, to: &Path, replaces: bool) -> io::Result<()> {
    match replaces {
        true => std::fs::rename(from, to),
        false => rename_new(CWD, from, to),
    }
}

fn sync_above(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_folder)
}

/// Whether content has the length that was announced.
///
/// # Errors
/// `InvalidInput` for another one.
pub fn check_length(len: u64, found: u64) -> io::Result<()> {
    if found == len {
        return Ok(());
    }
    let text = format!("the content to store has {found} bytes instead of {len}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// Whether nobody writes a temporary file any more: its lock is free, and it has not changed for `free` at `now`. Where
/// there are no locks, it is `unknown` that counts. `now` should come from the clock of the same file system.
///
/// # Errors
/// What the system reports, `NotFound` when it vanished.
pub fn is_abandoned(
    path: &Path,
    now: SystemTime,
    free: Duration,
    unknown: Duration,
) -> io::Result<bool> {
    let file = File::open(path)?;
    let age = now.duration_since(file.metadata()?.modified()?);
    let needed = match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => free,
        Err(Errno::AGAIN) => return Ok(false),
        Err(_) => unknown,
    };
    Ok(age.is_ok_and(|age| age > needed))
}

const COPY_BYTES: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_there_once_it_has_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let (temporary, name) = (folder.path().join("t"), folder.path().join("n"));
        let create = || NewFile::create(temporary.clone(), 6);
        drop(create().unwrap());
        assert!(!temporary.exists(), "dropped without a name");
        for (content, replaces) in [("first.", false), ("second", true)] {
            let mut new = create().unwrap();
            assert_eq!(create().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            new.write(content.as_bytes()).unwrap();
            new.finish(&name, replaces, true).unwrap();
            assert_eq!(fs::read_to_string(&name).unwrap(), content);
        }
        let mut new = create().unwrap();
        assert!(new.copy_piece(&File::open(&name).unwrap()).unwrap());
        let taken = new.finish(&name, false, true).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&name).unwrap(), "second");
        assert!(!temporary.exists(), "its name was taken");
    }

    #[test]
    fn another_length_than_announced_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (temporary, name) = (folder.path().join("t"), folder.path().join("n"));
        let mut new = NewFile::create(temporary.clone(), 3).unwrap();
        new.write(b"12").unwrap();
        let short = new.finish(&name, false, true).unwrap_err();
        let mut new = NewFile::create(temporary.clone(), 3).unwrap();
        let long = new.write(b"1234").unwrap_err();
        drop(new);
        let mut new = NewFile::create(temporary.clone(), 3).unwrap();
        new.write(b"123").unwrap();
        new.file.set_len(2).unwrap();
        let lost = new.finish(&name, false, true).unwrap_err();
        let kinds = [short, long, lost].map(|error| error.kind());
        let input = io::ErrorKind::InvalidInput;
        assert_eq!(kinds, [input, input, io::ErrorKind::InvalidData]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_written_or_young_is_not_abandoned() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        let held = NewFile::create(path.clone(), 0).unwrap();
        let written = held.modified().unwrap();
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        let at = |age| is_abandoned(&path, written + age, minute, hour).unwrap();
        assert!(!at(hour * 9), "it is locked");
        flock(&held.file, FlockOperation::Unlock).unwrap();
        assert!(at(minute * 2));
        assert!(!at(minute / 2));
        drop(held);
        let gone = is_abandoned(&path, written, minute, hour).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }
}
