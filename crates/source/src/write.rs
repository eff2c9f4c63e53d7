//! Writing files back below one folder.
//!
//! All work goes through handles of folders that were reached without following a link, so nothing
//! can be written outside, whatever stands in the target or is put there meanwhile.

mod apply;
mod folders;
mod sparse;
mod temporary;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, flock, fstat, openat, statat};
use rustix::io::Errno;

use crate::facts::Facts;
use crate::owners::Owners;
use folders::{Folders, check, explain, parent_and_name};

pub use apply::Restore;
pub use sparse::{allocate, write_sparse};
pub use temporary::{Replace, Temporary, is_temporary_name};

/// How [`TargetRoot::open_file`] treats a file that exists or does not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OpenHow {
    /// The file must not exist; it is created with access for the owner only.
    CreateNew,
    /// The file must exist; it is opened for reading and writing with its content untouched.
    Existing,
    /// Either of the two.
    CreateOrExisting,
    /// The file must exist; it is opened for reading only.
    ReadOnly,
}

/// One change of a target, as [`Watch`] hears of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// A folder is created.
    Folder,
    /// A temporary file is created or opened again.
    Create,
    /// Bytes are written to a temporary file, or its length is set.
    Write,
    /// A temporary file is brought onto the disk, because that was asked for.
    Sync,
    /// A temporary file or link gets its final name.
    Rename,
    /// A link is created.
    Link,
    /// Owner, permissions, attributes or times are set.
    Facts,
    /// A file or link is removed, be it one with a temporary name.
    Remove,
}

/// Hears of each step before it is taken, and may refuse it. Called from several threads.
pub trait Watch: Send + Sync {
    /// An error takes the place of the step: how a test stops a restore at any of them, or fills the disk.
    ///
    /// # Errors
    ///
    /// As the implementation likes.
    fn before(&self, step: Step, rel: &[u8]) -> io::Result<()>;
}

/// The folder that a restore writes into. May be shared between threads.
///
/// Relative paths are bytes with `/` between names; one separator at the end is allowed. Empty
/// names, `.`, `..` and NUL are refused with `InvalidInput`, as is a path of more than 2,000 names;
/// a link in the place of a folder is never followed, but an error that names it. Paths may be
/// longer than the system accepts in one call. About 64 folders are kept open.
pub struct TargetRoot {
    path: PathBuf,
    folders: Folders,
    owners: Mutex<Owners>,
    counter: AtomicU64,
    watch: Option<Arc<dyn Watch>>,
    /// Locked with others that write into the same folder; none where the system has no such locks.
    shared: Option<Shared>,
}

/// A handle that is locked together with others.
struct Shared(OwnedFd);

impl Drop for Shared {
    /// Closing the handle would not do: a program that another thread starts at this moment holds a copy of it until it
    /// runs.
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl std::fmt::Debug for TargetRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TargetRoot")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl TargetRoot {
    /// Opens the target folder; creates it and its parents if it does not exist. The path itself
    /// may lead through links: it is the user's word.
    ///
    /// # Errors
    ///
    /// The folder cannot be created or opened, or is no folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = match openat(rustix::fs::CWD, path, flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                std::fs::create_dir_all(path)?;
                openat(rustix::fs::CWD, path, flags, Mode::empty())
            }
            other => other,
        }?;
        Ok(TargetRoot {
            path: path.to_owned(),
            folders: Folders::new(handle),
            owners: Mutex::new(Owners::default()),
            counter: AtomicU64::new(0),
            watch: None,
            shared: share(path),
        })
    }

    /// Names folders below this one that belong to the user, as the folder itself does: links at these places and on
    /// the way to them are followed, those below them are not. Paths as everywhere, relative.
    ///
    /// # Errors
    ///
    /// A path does not lie below this folder.
    pub fn with_bases(mut self, bases: impl IntoIterator<Item = Vec<u8>>) -> io::Result<Self> {
        let mut own = Vec::new();
        for base in bases {
            own.push(check(&base)?.to_vec());
        }
        self.folders.set_bases(own);
        Ok(self)
    }

    /// Whether no other restore has this folder as its target just now. Where the system cannot tell, it is. Takes a few
    /// milliseconds.
    pub fn is_alone(&self) -> bool {
        let Some(Shared(shared)) = &self.shared else {
            return true;
        };
        // Twice: whoever looks has no lock for a moment, and another one may look then.
        self.looks_alone(shared) && {
            std::thread::sleep(2 * LOOK);
            self.looks_alone(shared)
        }
    }

    fn looks_alone(&self, shared: &OwnedFd) -> bool {
        let exclusive = flock(shared, FlockOperation::NonBlockingLockExclusive);
        // Back to what others may have as well, since the attempt took that away.
        let _ = lock_with_others(shared);
        !matches!(exclusive, Err(Errno::WOULDBLOCK))
    }

    /// Lets somebody hear of each step.
    #[must_use]
    pub fn with_watch(mut self, watch: Option<Arc<dyn Watch>>) -> Self {
        self.watch = watch;
        self
    }

    /// Tells whoever hears of the steps.
    ///
    /// # Errors
    ///
    /// Theirs, in place of the step.
    pub fn watch(&self, step: Step, rel: &[u8]) -> io::Result<()> {
        match &self.watch {
            Some(watch) => watch.before(step, rel),
            None => Ok(()),
        }
    }

    /// The path given to [`TargetRoot::open`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a folder and the missing folders above it, with access for the owner only; gives those that were
    /// created, from above. It is no error when all exist.
    ///
    /// # Errors
    ///
    /// Something else stands there (`AlreadyExists`) or in the place of a folder above.
    pub fn create_folder(&self, rel: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        self.watch(Step::Folder, rel)?;
        self.folders.create(check(rel)?)
    }

    /// Opens a regular file. The folders above must exist.
    ///
    /// A file that exists but whose permissions forbid its owner to write is made writable for the
    /// owner when it is opened for writing; to read it, nothing is changed.
    ///
    /// # Errors
    ///
    /// `NotFound` and `AlreadyExists` as `how` says, `InvalidInput` if it is not a regular file.
    pub fn open_file(&self, rel: &[u8], how: OpenHow) -> io::Result<File> {
        let (folder, name) = self.parent(rel)?;
        let created = match how {
            OpenHow::CreateNew | OpenHow::CreateOrExisting => {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                openat(&*folder, name, flags, Mode::RUSR | Mode::WUSR).map(File::from)
            }
            OpenHow::Existing | OpenHow::ReadOnly => Err(Errno::EXIST),
        };
        match created {
            Err(Errno::EXIST) if how != OpenHow::CreateNew => open_existing(&folder, name, how),
            other => Ok(other?),
        }
    }

    /// The facts of an entry, without following it; `None` if there is none.
    ///
    /// # Errors
    ///
    /// A link stands in the place of a folder above, or the system refuses to look.
    pub fn stat(&self, rel: &[u8]) -> io::Result<Option<Facts>> {
        let (folder, name) = match self.parent(rel) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let stat = match statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        };
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        let leads_to_folder = || {
            statat(&*folder, name, AtFlags::NO_AUTOMOUNT)
                .is_ok_and(|target| FileType::from_raw_mode(target.st_mode) == FileType::Directory)
        };
        Ok(Some(Facts::from_stat(&stat, is_link && leads_to_folder())))
    }

    /// The target text of a link.
    ///
    /// # Errors
    ///
    /// `NotFound`, or `InvalidInput` if it is no link.
    pub fn read_symlink(&self, rel: &[u8]) -> io::Result<Vec<u8>> {
        let (folder, name) = self.parent(rel)?;
        Ok(rustix::fs::readlinkat(&*folder, name, Vec::new())?.into_bytes())
    }

    /// Creates a symbolic link with any target text. With `replace`, a file or link that exists is
    /// replaced in one step, and an empty folder is removed first; a folder with content is an error.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` without `replace`, `DirectoryNotEmpty`, or a target that is empty, too long
    /// or contains NUL.
    pub fn create_symlink(&self, rel: &[u8], target: &[u8], replace: bool) -> io::Result<()> {
        self.watch(Step::Link, rel)?;
        let (folder, name) = self.parent(rel)?;
        match rustix::fs::symlinkat(target, &*folder, name) {
            Err(Errno::EXIST) if replace => {}
            other => return Ok(other?),
        }
        let stat = statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            rustix::fs::unlinkat(&*folder, name, AtFlags::REMOVEDIR)?;
            self.folders.forget(check(rel)?);
            return Ok(rustix::fs::symlinkat(target, &*folder, name)?);
        }
        loop {
            let number = self.counter.fetch_add(1, Ordering::Relaxed);
            let temporary =
                temporary::temporary_name(&[name, b"/", &number.to_be_bytes()].concat());
            match rustix::fs::symlinkat(target, &*folder, temporary.as_slice()) {
                Err(Errno::EXIST) => continue,
                other => other?,
            }
            let renamed = self.watch(Step::Rename, rel).and_then(|()| {
                rustix::fs::renameat(&*folder, temporary.as_slice(), &*folder, name)?;
                Ok(())
            });
            if renamed.is_err() && self.watch(Step::Remove, rel).is_ok() {
                let _ = rustix::fs::unlinkat(&*folder, temporary.as_slice(), AtFlags::empty());
            }
            return renamed;
        }
    }

    /// Removes a file, a link or an empty folder.
    ///
    /// # Errors
    ///
    /// `NotFound`, `DirectoryNotEmpty`, or what the system reports.
    pub fn remove(&self, rel: &[u8]) -> io::Result<()> {
        self.watch(Step::Remove, rel)?;
        let (folder, name) = self.parent(rel)?;
        match rustix::fs::unlinkat(&*folder, name, AtFlags::empty()) {
            // Linux says "is a directory", POSIX "not permitted".
            Err(error @ (Errno::ISDIR | Errno::PERM)) => {
                let stat = statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                    return Err(error.into());
                }
                rustix::fs::unlinkat(&*folder, name, AtFlags::REMOVEDIR)?;
                self.folders.forget(check(rel)?);
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// The handle of the folder that holds an entry, and the name of the entry.
    fn parent<'a>(&self, rel: &'a [u8]) -> io::Result<(std::sync::Arc<OwnedFd>, &'a [u8])> {
        let (parent, name) = parent_and_name(check(rel)?);
        Ok((self.folders.open(parent)?, name))
    }
}

/// How long somebody looks whether others have the same target at most,
const LOOK: std::time::Duration = std::time::Duration::from_millis(1);
/// and how often one waits for that.
const LOOKS: u32 = 200;

/// Takes the lock that all who write into a folder have together. Only one that looks just now is in the way, or a program
/// that is no restore and keeps the lock; then it is not taken.
///
/// # Errors
///
/// The file system has no such locks.
fn lock_with_others(handle: &OwnedFd) -> rustix::io::Result<()> {
    for _ in 0..LOOKS {
        match flock(handle, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOOK),
            other => return other,
        }
    }
    Ok(())
}

/// A handle of the target folder that all who write into it lock together.
fn share(path: &Path) -> Option<Shared> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = openat(rustix::fs::CWD, path, flags, Mode::empty()).ok()?;
    lock_with_others(&handle).ok()?;
    Some(Shared(handle))
}

/// Opens a regular file that exists. It is looked at first because opening a device or a pipe can
/// have effects, and again afterwards in case it was replaced in between.
fn open_existing(folder: &OwnedFd, name: &[u8], how: OpenHow) -> io::Result<File> {
    let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    regular(FileType::from_raw_mode(stat.st_mode))?;
    let access = if how == OpenHow::ReadOnly {
        OFlags::RDONLY
    } else {
        OFlags::RDWR
    };
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let handle = match openat(folder, name, flags, Mode::empty()) {
        Err(Errno::ACCESS)
            if how != OpenHow::ReadOnly && stat.st_uid == rustix::process::geteuid().as_raw() =>
        {
            let mode = Mode::from_raw_mode(stat.st_mode) | Mode::RUSR | Mode::WUSR;
            apply::change_mode(folder.as_fd(), name, mode)?;
            openat(folder, name, flags, Mode::empty())
        }
        other => other,
    }
    .map_err(|error| explain(error, folder.as_fd(), name, b""))?;
    regular(FileType::from_raw_mode(fstat(&handle)?.st_mode))?;
    Ok(File::from(handle))
}

fn regular(kind: FileType) -> io::Result<()> {
    if kind == FileType::RegularFile {
        return Ok(());
    }
    let what = match kind {
        FileType::Directory => "folder",
        FileType::Symlink => "symbolic link",
        other => crate::facts::special_name(other),
    };
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("a {what} stands in the place of the file"),
    ))
}

#[cfg(test)]
mod tests;
