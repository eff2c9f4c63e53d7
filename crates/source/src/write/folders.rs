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
    /// Folders that are the user's word, sorted: links up to them are followed.
    bases: Vec<Vec<u8>>,
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
            bases: Vec::new(),
        }
    }

    pub(super) fn set_bases(&mut self, mut bases: Vec<Vec<u8>>) {
        bases.sort_unstable();
        bases.dedup();
        self.bases = bases;
    }

    /// How much of a path is the user's word: up to the base it lies in, or all of it when it leads to one.
    fn trusted(&self, rel: &[u8]) -> usize {
        if self.bases.is_empty() {
            return 0;
        }
        // A base that holds the path is one of its heads; the deepest counts.
        let mut end = rel.len();
        loop {
            let head = rel.get(..end).unwrap_or_default();
            if self
                .bases
                .binary_search_by(|base| base.as_slice().cmp(head))
                .is_ok()
            {
                return end;
            }
            match head.iter().rposition(|byte| *byte == b'/') {
                Some(at) => end = at,
                None => break,
            }
        }
        let leads = |base: &Vec<u8>| is_below(base, rel);
        let at = self.bases.partition_point(|base| base.as_slice() < rel);
        // Names that sort between a folder's name and what lies in it ("a.b" before "a/b") may stand in between.
        let near = self.bases.get(at..).unwrap_or_default().iter();
        if near.take_while(|base| base.starts_with(rel)).any(leads) {
            rel.len()
        } else {
            0
        }
    }

    /// Whether a link at this place is the user's own way.
    pub(super) fn follows(&self, rel: &[u8]) -> bool {
        !rel.is_empty() && self.trusted(rel) == rel.len()
    }

    /// The handle of a folder that exists; the empty path is the root.
    pub(super) fn open(&self, rel: &[u8]) -> io::Result<Arc<OwnedFd>> {
        let (base, rest) = self.nearest(rel);
        if rest.is_empty() {
            return Ok(base);
        }
        let trusted = self.trusted(rel);
        let done = rel.len() - rest.len();
        if trusted > done {
            let own = rel.get(done..trusted).unwrap_or_default();
            let handle = Arc::new(follow(base.as_fd(), own)?);
            self.keep(rel.get(..trusted).unwrap_or_default(), &handle);
            return self.open_below(rel, handle, rel.get(trusted + 1..).unwrap_or_default());
        }
        self.open_below(rel, base, rest)
    }

    /// Goes on from an open folder without following a link.
    fn open_below(
        &self,
        rel: &[u8],
        base: Arc<OwnedFd>,
        mut rest: &[u8],
    ) -> io::Result<Arc<OwnedFd>> {
        let mut handle: Option<OwnedFd> = None;
        while !rest.is_empty() {
            let (piece, tail) = if rest.len() > LONGEST {
                split_piece(rest)?
            } else {
                (rest, b"".as_slice())
            };
            let from = handle.as_ref().map_or_else(|| base.as_fd(), AsFd::as_fd);
            let before = rel.get(..rel.len() - rest.len()).unwrap_or_default();
            handle = Some(
                self.descend(from, piece)
                    .map_err(|error| explain(error, from, piece, before))?,
            );
            rest = tail;
        }
        let Some(handle) = handle.map(Arc::new) else {
            return Ok(base);
        };
        self.keep(rel, &handle);
        Ok(handle)
    }

    /// Creates a folder and those above it that are missing; gives what was created, from above.
    pub(super) fn create(&self, rel: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        if self.cache().entries.contains_key(rel) {
            return Ok(Vec::new());
        }
        // Mostly only the last one is missing.
        let (parent, name) = parent_and_name(rel);
        match self.open(parent) {
            Ok(handle) => {
                let made = make(&handle, name, rel, self.follows(rel))?;
                return Ok(made.then(|| rel.to_vec()).into_iter().collect());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let (mut end, mut made) = (0, Vec::new());
        for name in rel.split(|byte| *byte == b'/') {
            let start = if end == 0 { 0 } else { end + 1 };
            let above = self.open(rel.get(..end).unwrap_or_default())?;
            end = start + name.len();
            let path = rel.get(..end).unwrap_or_default();
            if make(&above, name, path, self.follows(path))? {
                made.push(path.to_vec());
            }
        }
        Ok(made)
    }

    /// Closes a folder and all below it, because it was removed or has another name now.
    pub(super) fn forget(&self, rel: &[u8]) {
        self.cache().entries.retain(|path, _| !is_below(path, rel));
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
    fn descend(&self, from: BorrowedFd<'_>, rel: &[u8]) -> Result<OwnedFd, Errno> {
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
                Err(error) => return Err(error),
            }
        }
        descend_by_component(from, rel)
    }
}

/// The same for systems without `openat2`.
fn descend_by_component(from: BorrowedFd<'_>, rel: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut handle: Option<OwnedFd> = None;
    for name in rel.split(|byte| *byte == b'/') {
        let at = handle.as_ref().map_or(from, AsFd::as_fd);
        handle = Some(openat(at, name, flags, Mode::empty())?);
    }
    handle.ok_or(Errno::INVAL)
}

/// Opens a folder along links, because it is the user's word.
fn follow(from: BorrowedFd<'_>, rel: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(from, rel, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOTDIR => explain(error, from, rel, b""),
        other => other.into(),
    })
}

/// Whether a path is `above` or lies below it.
fn is_below(path: &[u8], above: &[u8]) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// Creates one folder; one that exists will do, then the answer is false. A link to a folder will do where it is the
/// user's own.
fn make(above: &OwnedFd, name: &[u8], path: &[u8], follows: bool) -> io::Result<bool> {
    match mkdirat(above, name, Mode::RWXU) {
        Err(Errno::EXIST) => {
            let flags = if follows {
                AtFlags::empty()
            } else {
                AtFlags::SYMLINK_NOFOLLOW
            };
            let stat = statat(above, name, flags)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => Ok(false),
                FileType::Symlink => Err(link_in_the_way(path)),
                _ => Err(file_in_the_way(path, io::ErrorKind::AlreadyExists)),
            }
        }
        Err(error) => Err(error.into()),
        Ok(()) => Ok(true),
    }
}

/// Turns "not a directory" and "too many links" into an error that names the link on the way.
/// `before` is the path that `from` was reached by, with the separator.
pub(super) fn explain(error: Errno, from: BorrowedFd<'_>, rel: &[u8], before: &[u8]) -> io::Error {
    let whole = |end: usize| [before, rel.get(..end).unwrap_or(rel)].concat();
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
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {}
            FileType::Symlink => return link_in_the_way(&whole(end)),
            _ if end < rel.len() || error == Errno::NOTDIR => {
                return file_in_the_way(&whole(end), io::ErrorKind::NotADirectory);
            }
            _ => {}
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

fn file_in_the_way(path: &[u8], kind: io::ErrorKind) -> io::Error {
    let path = String::from_utf8_lossy(path);
    io::Error::new(
        kind,
        format!("\"{path}\" exists and is no folder; move it away or restore to another folder"),
    )
}

/// Checks a relative path and takes the separator from its end.
pub(super) fn check(rel: &[u8]) -> io::Result<&[u8]> {
    let trimmed = rel.strip_suffix(b"/").unwrap_or(rel);
    let names = 1 + trimmed.iter().filter(|byte| **byte == b'/').count();
    if names > MOST_NAMES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidFilename,
            format!("the path has {names} names, of which at most {MOST_NAMES} are restored"),
        ));
    }
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

/// Most names in a path: what fits into the longest path of one system call. A hostile list could else have folders
/// made below folders for minutes.
const MOST_NAMES: usize = 2000;
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
            let from = folders.root.as_fd();
            let error = folders.descend(from, b"a/link/c").expect_err("a link");
            let error = explain(error, from, b"a/link/c", b"top/");
            assert!(
                error
                    .to_string()
                    .contains("\"top/a/link\" is a symbolic link"),
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
