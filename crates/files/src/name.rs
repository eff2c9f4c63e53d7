//! Names that are given in one step, replace nothing, and last.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, linkat, openat, renameat, renameat_with, unlinkat,
};
use rustix::io::Errno;
use rustix::path::Arg;

/// Gives a file another name that must be free. Both are relative to `folder` unless they are absolute.
///
/// It is one step where the file system can do that, or a second name and the removal of the first, or the name is taken by
/// an empty file that the rename replaces. None of them ever replaces what somebody else put there. A kill may leave both
/// names in the second case, and the empty file in the third, which its size gives away.
///
/// # Errors
/// `AlreadyExists` when something has the name; `NotFound` when the file or the folder is missing; what the system reports.
/// The file keeps its name then.
pub fn rename_new(folder: impl AsFd, from: impl Arg + Copy, to: impl Arg + Copy) -> io::Result<()> {
    let folder = folder.as_fd();
    match renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
        // NFS, some FUSE mounts and old kernels do not know the flag, but links, which never replace anything.
        Err(errno) if is_unknown(errno) => link_new(folder, from, to),
        renamed => Ok(renamed?),
    }
}

fn link_new(folder: BorrowedFd<'_>, from: impl Arg + Copy, to: impl Arg + Copy) -> io::Result<()> {
    match linkat(folder, from, folder, to, AtFlags::empty()) {
        // FAT and some network mounts have no links.
        Err(errno) if is_unknown(errno) => reserve_new(folder, from, to),
        linked => {
            linked?;
            Ok(unlinkat(folder, from, AtFlags::empty())?)
        }
    }
}

fn reserve_new(
    folder: BorrowedFd<'_>,
    from: impl Arg + Copy,
    to: impl Arg + Copy,
) -> io::Result<()> {
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    drop(openat(folder, to, create, Mode::RUSR | Mode::WUSR)?);
    let renamed = renameat(folder, from, folder, to).inspect_err(|_| {
        // The error that counts is that of the rename.
        let _ = unlinkat(folder, to, AtFlags::empty());
    });
    Ok(renamed?)
}

/// True for the answers of file systems that do not have a call.
fn is_unknown(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::PERM | Errno::MLINK
    )
}

/// Makes changes of names in the folder survive a power failure.
///
/// Some mounts cannot do that for folders and say `EINVAL` (or one of its kin); a folder that may be written but not
/// read cannot be opened for it. Both are taken as they are.
///
/// # Errors
/// `NotFound` when there is no such folder, or what the system reports.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::BADF | Errno::ACCESS) => Ok(()),
            Some(errno) if is_unknown(errno) => Ok(()),
            _ => Err(error),
        },
        Ok(()) => Ok(()),
    }
}

/// A path in its one spelling: without `.`, `..` and links as far as it exists. What lies below is taken as it is written.
#[must_use]
pub fn resolve(path: &Path) -> PathBuf {
    let (mut existing, mut below) = (path, Vec::new());
    let mut resolved = loop {
        if let Ok(resolved) = existing.canonicalize() {
            break resolved;
        }
        let (Some(last), Some(above)) = (existing.components().next_back(), existing.parent())
        else {
            return path.to_path_buf();
        };
        below.push(last);
        existing = above;
    };
    for part in below.into_iter().rev() {
        match part {
            Component::ParentDir => drop(resolved.pop()),
            part => resolved.push(part),
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::CWD;

    use super::*;

    /// The ways of a file system without the first, or without the first two.
    #[test]
    fn no_way_to_give_a_name_replaces_a_file() {
        for way in [
            |from: &Path, to: &Path| rename_new(CWD, from, to),
            |from: &Path, to: &Path| link_new(CWD, from, to),
            |from: &Path, to: &Path| reserve_new(CWD, from, to),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (from, to) = (folder.path().join("from"), folder.path().join("to"));
            fs::write(&from, "new").unwrap();
            fs::write(&to, "old").unwrap();
            let refused = way(&from, &to).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&to).unwrap(), b"old");
            assert_eq!(fs::read(&from).unwrap(), b"new");
            fs::remove_file(&to).unwrap();
            way(&from, &to).unwrap();
            assert_eq!(fs::read(&to).unwrap(), b"new");
            assert!(!from.exists());
            // A name whose source is gone is not left behind empty.
            fs::remove_file(&to).unwrap();
            let missing = way(&from, &to).unwrap_err();
            assert_eq!(missing.kind(), io::ErrorKind::NotFound);
            assert!(!to.exists());
        }
    }

    #[test]
    fn names_are_relative_to_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("from"), "new").unwrap();
        let handle = File::open(folder.path()).unwrap();
        rename_new(&handle, b"from".as_slice(), b"to".as_slice()).unwrap();
        assert_eq!(fs::read(folder.path().join("to")).unwrap(), b"new");
    }

    #[test]
    fn answers_that_a_call_is_missing_are_known() {
        for (errno, unknown) in [
            (Errno::INVAL, true),
            (Errno::NOSYS, true),
            (Errno::OPNOTSUPP, true),
            (Errno::PERM, true),
            (Errno::EXIST, false),
            (Errno::NOSPC, false),
            (Errno::IO, false),
        ] {
            assert_eq!(is_unknown(errno), unknown, "{errno}");
        }
    }

    #[test]
    fn a_folder_that_is_missing_cannot_be_made_to_last() {
        let folder = tempfile::tempdir().unwrap();
        sync_folder(folder.path()).unwrap();
        let missing = sync_folder(&folder.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
