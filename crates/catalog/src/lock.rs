//! The lock file beside the database: one process writes at a time. Readers need no lock.
//!
//! The writer holds an advisory lock and writes into the file who it is and, when it has examined the catalog, that it
//! is ready. A reader looks whether there is a writer: beside one that is ready the catalog was examined already; without
//! one the reader examines it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use crate::{Error, Result};

/// Holds the advisory lock until dropped; the system releases it when the process dies.
///
/// The file stays behind on purpose: removing it would let two processes lock two different files of one name.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Closing the file would not do: a program that another thread starts at this moment holds a copy of the handle
    /// until it runs.
    fn drop(&mut self) {
        // The next writer is not ready before it says so.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

impl Lock {
    /// Takes the lock or says who has it. Waits a moment for a reader that looks.
    pub(crate) fn take(path: &Path) -> Result<Lock> {
        let mut file = open(path)?;
        let mut left = LOOKS;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(Error::io(path, error)),
            }
            let Some(less) = left.checked_sub(1) else {
                let pid = state(&mut file).and_then(|state| state.0);
                return Err(Error::Busy { pid });
            };
            left = less;
            std::thread::sleep(LOOK);
        }
        let lock = Lock { file };
        lock.set_preparing();
        Ok(lock)
    }

    /// Tells readers who is at work, and that the catalog is not to be had yet.
    pub(crate) fn set_preparing(&self) {
        // For the other side's message only, so a failure to write it is no reason to stop.
        let _ = self.write(&format!("{}\n", std::process::id()));
    }

    /// Tells readers that the catalog was examined.
    pub(crate) fn set_ready(&self) -> std::io::Result<()> {
        let mut file = &self.file;
        file.seek(SeekFrom::End(0))?;
        file.write_all(READY.as_bytes())
    }

    fn write(&self, text: &str) -> std::io::Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(text.as_bytes())
    }
}

/// Who writes to a catalog.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Writer {
    /// Nobody.
    None,
    /// A process that is still examining the catalog.
    Preparing(Option<u32>),
    /// A process that has examined it.
    Ready(Option<u32>),
}

/// Looks who writes to a catalog; makes no lock file.
pub(crate) fn writer(path: &Path) -> Result<Writer> {
    let mut options = OpenOptions::new();
    let mut file = match options.read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Writer::None),
        Err(error) => return Err(Error::io(path, error)),
    };
    match file.try_lock_shared() {
        Ok(()) => {
            let _ = file.unlock();
            Ok(Writer::None)
        }
        Err(TryLockError::WouldBlock) => Ok(match state(&mut file) {
            Some((pid, true)) => Writer::Ready(pid),
            Some((pid, false)) => Writer::Preparing(pid),
            None => Writer::Preparing(None),
        }),
        Err(TryLockError::Error(error)) => Err(Error::io(path, error)),
    }
}

/// Lets only the owner read a new file: the catalog names the files of its user.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let opened = private(&mut options).open(path);
    opened.map_err(|error| Error::io(path, error))
}

/// What the lock file says: the process, and whether it is ready.
fn state(file: &mut File) -> Option<(Option<u32>, bool)> {
    let mut text = String::new();
    file.take(64).read_to_string(&mut text).ok()?;
    let pid = text.lines().next().and_then(|line| line.parse().ok());
    Some((pid, text.ends_with(READY)))
}

const READY: &str = "ready\n";
/// How often a writer tries again when it meets a reader that looks,
const LOOKS: u32 = 50;
/// and how long it waits in between.
const LOOK: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_being_started_does_not_keep_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = Lock::take(&path).unwrap();
        let copy_of_the_child = lock.file.try_clone().unwrap();
        drop(lock);
        Lock::take(&path).unwrap();
        drop(copy_of_the_child);
    }

    #[test]
    fn one_writer_and_whoever_looks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert_eq!(writer(&path).unwrap(), Writer::None);
        assert!(!path.exists());
        let me = Some(std::process::id());
        for _ in 0..2 {
            let lock = Lock::take(&path).unwrap();
            let refused = Lock::take(&path).unwrap_err();
            assert!(
                matches!(refused, Error::Busy { pid } if pid == me),
                "{refused}"
            );
            assert_eq!(writer(&path).unwrap(), Writer::Preparing(me));
            lock.set_ready().unwrap();
            assert_eq!(writer(&path).unwrap(), Writer::Ready(me));
            drop(lock);
            assert_eq!(writer(&path).unwrap(), Writer::None);
        }
    }
}
