//! Reaching paths that are longer than the system accepts in one call.
//!
//! A path of more than `PATH_MAX` (4096) bytes cannot be named in a system call, but it can exist.
//! It is reached by opening its folders in pieces and naming the rest below the last handle.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

/// A path in a form that fits into one system call: relative to a folder handle when it is long.
pub(crate) struct Reach<'a> {
    base: Option<OwnedFd>,
    rest: &'a [u8],
}

impl<'a> Reach<'a> {
    /// Opens as many folders of `path` as needed so that the rest fits.
    pub(crate) fn of(path: &'a Path) -> io::Result<Reach<'a>> {
        let mut rest = path.as_os_str().as_bytes();
        let mut base: Option<OwnedFd> = None;
        while rest.len() > LONGEST {
            let (head, tail) = split_piece(rest)?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = match &base {
                Some(base) => openat(base, head, flags, Mode::empty()),
                None => openat(CWD, head, flags, Mode::empty()),
            }?;
            base = Some(opened);
            rest = tail;
        }
        Ok(Reach { base, rest })
    }

    /// The folder that [`Reach::rest`] is relative to.
    pub(crate) fn base(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        match &self.base {
            Some(base) => base.as_fd(),
            None => CWD,
        }
    }

    /// The part of the path to name below [`Reach::base`].
    pub(crate) fn rest(&self) -> &[u8] {
        self.rest
    }

    /// Whether a folder handle is needed.
    pub(crate) fn is_partial(&self) -> bool {
        self.base.is_some()
    }

    /// A path that leads to the same entry for calls that take no folder handle.
    pub(crate) fn alias(&self) -> PathBuf {
        match &self.base {
            Some(base) => handle_alias(base.as_raw_fd(), self.rest),
            None => PathBuf::from(OsStr::from_bytes(self.rest)),
        }
    }
}

/// The path below `/proc` that names the entry `name` of an open folder.
pub(crate) fn handle_alias(handle: i32, name: &[u8]) -> PathBuf {
    let mut path = PathBuf::from(format!("/proc/self/fd/{handle}"));
    if !name.is_empty() {
        path.push(OsStr::from_bytes(name));
    }
    path
}

/// Cuts a long path at the last separator that leaves a head short enough to be opened.
/// The tail never begins with a separator.
pub(crate) fn split_piece(path: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let limit = path.len().min(LONGEST);
    let head_len = path
        .iter()
        .take(limit)
        .rposition(|byte| *byte == b'/')
        .filter(|at| *at > 0);
    let Some(at) = head_len else {
        return Err(io::Error::from(io::ErrorKind::InvalidFilename));
    };
    let (head, tail) = path.split_at(at);
    let skip = tail.iter().take_while(|byte| **byte == b'/').count();
    Ok((head, tail.get(skip..).unwrap_or_default()))
}

/// Longest piece named in one call; a little below `PATH_MAX` so that a prefix for `/proc` fits.
pub(crate) const LONGEST: usize = 4000;
