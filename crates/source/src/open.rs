//! Opening the content of a source file.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use crate::deep::Reach;

/// Opens a regular file for reading without following a link in the last part of its path.
///
/// The access time is left alone where the system allows it (`O_NOATIME` needs the owner or root).
/// A pipe or device that was put in the place of the file after the walk is refused and cannot
/// block.
///
/// # Errors
///
/// What the system reports, and `InvalidInput` for anything that is not a regular file.
pub fn open_for_read(path: &Path) -> io::Result<File> {
    open(path, OFlags::NOFOLLOW)
}

/// Like [`open_for_read`], but follows a link, for [`crate::SymlinkPolicy::Follow`].
///
/// # Errors
///
/// As for [`open_for_read`].
pub fn open_for_read_following(path: &Path) -> io::Result<File> {
    open(path, OFlags::empty())
}

fn open(path: &Path, extra: OFlags) -> io::Result<File> {
    let reach = Reach::of(path)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY | extra;
    let handle = match openat(
        reach.base(),
        reach.rest(),
        flags | OFlags::NOATIME,
        Mode::empty(),
    ) {
        Err(Errno::PERM) => openat(reach.base(), reach.rest(), flags, Mode::empty()),
        other => other,
    }?;
    let kind = FileType::from_raw_mode(fstat(&handle)?.st_mode);
    if kind != FileType::RegularFile {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file any more",
        ));
    }
    Ok(File::from(handle))
}
