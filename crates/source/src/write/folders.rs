//! Reaching folders below the target without following links, and keeping them open.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, statat};
use rustix::io::Errno;

use crate::deep::{LONGEST, split_piece};

/// The folders below a root, opened on demand.
#[derive(Debug)]
pub(super) struct Folders {
    root: Arc<OwnedFd>,
    open: Mutex<Cache>,
    /// Set when the system has no `openat2`.
    by_component: AtomicBool,
}

/// Open folders by relative path; the one used longest ago makes room.
#[derive(Debug, Default)]
struct Cache {
    entries: HashMap<Vec<u8>, (Arc<OwnedFd>, u64)>,
    clock: u64,
}

impl Folders {
    pub(super) fn new(root: OwnedFd) -> Folders {
        Folders {
            root: Arc::new(root),
            open: Mutex::default(),
            by_component: AtomicBool::new(false),
        }
    }

    /// The handle of a folder that exists; the empty path is the root.
    pub(super) fn open(&self, rel: &[u8]) -> io::Result<Arc<OwnedFd>> {
        let (base, rest) = self.nearest(rel);
        if rest.is_empty() {
            return Ok(base);
        }
        let mut handle: Option<OwnedFd> = None;
        let mut rest = rest;
        while !rest.is_empty() {
            let (piece, tail) = if rest.len() > LONGEST {
                split_piece(rest)?
            } else {
                (rest, b"".as_slice())
            };
            let from = handle.as_ref().map_or_else(|| base.as_fd(), AsFd::as_fd);
            handle = Some(self.descend(from, piece)?);
            rest = tail;
        }
        let Some(handle) = handle.map(Arc::new) else {
            return Ok(base);
        };
        self.keep(rel, &handle);
        Ok(handle)
    }

    /// Creates a folder and those above it that are missing.
    pub(super) fn create(&self, rel: &[u8]) -> io::Result<()> {
        if self.cache().entries.contains_key(rel) {
            return Ok(());
        }
        // Mostly only the last one is missing.
        let (parent, name) = parent_and_name(rel);
        match self.open(parent) {
            Ok(handle) => return make(&handle, name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut end = 0;
        for name in rel.split(|byte| *byte == b'/') {
            let start = if end == 0 { 0 } else { end + 1 };
            let above = self.open(rel.get(..end).unwrap_or_default())?;
            make(&above, name)?;
            end = start + name.len();
        }
        Ok(())
    }

    /// Closes a folder and all below it, because it was removed or has another name now.
    pub(super) fn forget(&self, rel: &[u8]) {
        let below = |path: &[u8]| {
            path.strip_prefix(rel)
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
        };
        self.cache().entries.retain(|path, _| !below(path));
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The deepest open folder on the way to `rel`, and the rest of the way.
    fn nearest<'a>(&self, rel: &'a [u8]) -> (Arc<OwnedFd>, &'a [u8]) {
        let mut cache = self.cache();
        cache.clock += 1;
        let now = cache.clock;
        let mut end = rel.len();
        while end > 0 {
            if let Some((handle, used)) =
                rel.get(..end).and_then(|head| cache.entries.get_mut(head))
            {
                *used = now;
                let rest = rel.get(end + 1..).unwrap_or_default();
                return (Arc::clone(handle), rest);
            }
            end = rel
                .get(..end)
                .and_then(|head| head.iter().rposition(|byte| *byte == b'/'))
                .unwrap_or(0);
        }
        (Arc::clone(&self.root), rel)
    }

    fn keep(&self, rel: &[u8], handle: &Arc<OwnedFd>) {
        let mut cache = self.cache();
        if cache.entries.len() >= OPEN_FOLDERS {
            let oldest = cache
                .entries
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(path, _)| path.clone());
            if let Some(path) = oldest {
                cache.entries.remove(&path);
            }
        }
        cache.clock += 1;
        let now = cache.clock;
        cache
            .entries
            .insert(rel.to_vec(), (Arc::clone(handle), now));
    }

    /// Opens a folder below another without following a link on the way.
    fn descend(&self, from: BorrowedFd<'_>, rel: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if !self.by_component.load(Ordering::Relaxed) {
            let resolve =
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match openat2(from, rel, flags, Mode::empty(), resolve) {
                Ok(handle) => return Ok(handle),
                // Filters for system calls that do not know it answer "not permitted".
                Err(Errno::NOSYS | Errno::PERM) => self.by_component.store(true, Ordering::Relaxed),
                // A rename at the same time; the way by components copes with it.
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(explain(error, from, rel)),
            }
        }
        descend_by_component(from, rel)
    }
}

/// The same for systems without `openat2`.
fn descend_by_component(from: BorrowedFd<'_>, rel: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut handle: Option<OwnedFd> = None;
    for name in rel.split(|byte| *byte == b'/') {
        let at = handle.as_ref().map_or(from, AsFd::as_fd);
        handle = Some(
            openat(at, name, flags, Mode::empty()).map_err(|error| explain(error, from, rel))?,
        );
    }
    handle.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Creates one folder; one that exists will do.
fn make(above: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match mkdirat(above, name, Mode::RWXU) {
        Err(Errno::EXIST) => {
            let stat = statat(above, name, AtFlags::SYMLINK_NOFOLLOW)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => Ok(()),
                FileType::Symlink => Err(link_in_the_way(name)),
                _ => Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!(
                        "\"{}\" exists and is no folder",
                        String::from_utf8_lossy(name)
                    ),
                )),
            }
        }
        other => Ok(other?),
    }
}

/// Turns "not a directory" and "too many links" into an error that names the link on the way.
pub(super) fn explain(error: Errno, from: BorrowedFd<'_>, rel: &[u8]) -> io::Error {
    if !matches!(error, Errno::LOOP | Errno::NOTDIR | Errno::XDEV) {
        return error.into();
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut handle: Option<OwnedFd> = None;
    let mut end = 0;
    for name in rel.split(|byte| *byte == b'/') {
        end += name.len();
        let at = handle.as_ref().map_or(from, AsFd::as_fd);
        let Ok(stat) = statat(at, name, AtFlags::SYMLINK_NOFOLLOW) else {
            break;
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return link_in_the_way(rel.get(..end).unwrap_or(rel));
        }
        let Ok(next) = openat(at, name, flags, Mode::empty()) else {
            break;
        };
        handle = Some(next);
        end += 1;
    }
    error.into()
}

fn link_in_the_way(path: &[u8]) -> io::Error {
    let path = String::from_utf8_lossy(path);
    io::Error::new(
        io::ErrorKind::NotADirectory,
        format!("\"{path}\" is a symbolic link, which is not followed"),
    )
}

/// Checks a relative path and takes the separator from its end.
pub(super) fn check(rel: &[u8]) -> io::Result<&[u8]> {
    let trimmed = rel.strip_suffix(b"/").unwrap_or(rel);
    let bad = |name: &[u8]| name.is_empty() || name == b"." || name == b".." || name.contains(&0);
    if trimmed.split(|byte| *byte == b'/').any(bad) {
        let text = String::from_utf8_lossy(rel);
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("path {text:?} does not lie below the target folder"),
        ));
    }
    Ok(trimmed)
}

/// Cuts off the last name; the parent of a single name is the empty path.
pub(super) fn parent_and_name(rel: &[u8]) -> (&[u8], &[u8]) {
    match rel.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (
            rel.get(..at).unwrap_or_default(),
            rel.get(at + 1..).unwrap_or_default(),
        ),
        None => (b"", rel),
    }
}

/// Folders kept open.
const OPEN_FOLDERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_below_are_accepted() {
        for good in ["a", "a/b", "a/b/", "..a", "a..", "...", " ", "a\\..\\b"] {
            assert!(check(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            "", "/", "/a", "a//b", "a//", "..", "../a", "a/..", "a/../b", ".", "a/./b", "a\0b",
        ] {
            let error = check(bad.as_bytes()).expect_err(bad);
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad}");
        }
    }

    #[test]
    fn the_way_by_components_refuses_links_as_well() -> io::Result<()> {
        let temp = tempfile::tempdir()?;
        std::fs::create_dir_all(temp.path().join("a/b/c"))?;
        std::os::unix::fs::symlink("b", temp.path().join("a/link"))?;
        let root = OwnedFd::from(std::fs::File::open(temp.path())?);
        let folders = Folders::new(root);
        for by_component in [false, true] {
            folders.by_component.store(by_component, Ordering::Relaxed);
            assert!(folders.descend(folders.root.as_fd(), b"a/b/c").is_ok());
            let error = folders
                .descend(folders.root.as_fd(), b"a/link/c")
                .expect_err("a link");
            assert!(
                error.to_string().contains("\"a/link\" is a symbolic link"),
                "{error}"
            );
        }
        Ok(())
    }

    #[test]
    fn few_folders_stay_open() -> io::Result<()> {
        let temp = tempfile::tempdir()?;
        let folders = Folders::new(OwnedFd::from(std::fs::File::open(temp.path())?));
        for n in 0..200 {
            let path = format!("a/{n}/b");
            folders.create(path.as_bytes())?;
            folders.open(path.as_bytes())?;
            assert!(folders.cache().entries.len() <= OPEN_FOLDERS);
        }
        folders.forget(b"a");
        assert!(folders.cache().entries.is_empty());
        Ok(())
    }
}
