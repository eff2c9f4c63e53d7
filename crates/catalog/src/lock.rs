//! The lock file beside the database: one writing process, or any number of reading ones.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::{Error, Result};

/// How a catalog is opened.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// For reading and writing; nobody else may have it open. A missing catalog is made, a damaged one replaced.
    Exclusive,
    /// For reading, together with other readers. A missing catalog is [`Error::Absent`], a damaged one
    /// [`Error::Damaged`], writing is [`Error::Misuse`].
    Shared,
}

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
        let _ = self.file.unlock();
    }
}

impl Lock {
    /// Takes the lock or says who has it.
    pub(crate) fn take(path: &Path, access: Access) -> Result<Lock> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        private(&mut options);
        let mut file = options.open(path).map_err(|error| Error::io(path, error))?;
        let outcome = match access {
            Access::Exclusive => file.try_lock(),
            Access::Shared => file.try_lock_shared(),
        };
        match outcome {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Busy {
                    pid: read_pid(&mut file),
                });
            }
            Err(TryLockError::Error(error)) => return Err(Error::io(path, error)),
        }
        if access == Access::Exclusive {
            // For the other side's message only, so a failure to write it is no reason to stop.
            let _ = write_pid(&mut file);
        }
        Ok(Lock { file })
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

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_being_started_does_not_keep_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = Lock::take(&path, Access::Exclusive).unwrap();
        let copy_of_the_child = lock.file.try_clone().unwrap();
        drop(lock);
        Lock::take(&path, Access::Exclusive).unwrap();
        drop(copy_of_the_child);
    }

    #[test]
    fn one_writer_or_many_readers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let writer = Lock::take(&path, Access::Exclusive).unwrap();
        let refused = Lock::take(&path, Access::Exclusive).unwrap_err();
        assert!(
            matches!(refused, Error::Busy { pid: Some(pid) } if pid == std::process::id()),
            "{refused}"
        );
        assert!(matches!(
            Lock::take(&path, Access::Shared),
            Err(Error::Busy { .. })
        ));
        drop(writer);
        let first = Lock::take(&path, Access::Shared).unwrap();
        let second = Lock::take(&path, Access::Shared).unwrap();
        assert!(matches!(
            Lock::take(&path, Access::Exclusive),
            Err(Error::Busy { .. })
        ));
        drop((first, second));
        Lock::take(&path, Access::Exclusive).unwrap();
    }
}
