//! Reading the names in one folder, sorted as the walk needs them.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, flistxattr, fstat, listxattr, llistxattr, openat,
    statat,
};
use rustix::io::Errno;

use crate::deep::{LONGEST, Reach};
use crate::facts::{Facts, FileKind};
use crate::reader::{fill, xattr_names};
use crate::walk::{EXCLUSION_XATTRS, OwnDatabases};

/// What the listing of a folder says about a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Listed {
    File,
    Folder,
    Link,
    LinkToFolder,
    Special(FileType),
}

impl Listed {
    fn of(kind: FileType) -> Listed {
        match kind {
            FileType::RegularFile => Listed::File,
            FileType::Directory => Listed::Folder,
            FileType::Symlink => Listed::Link,
            other => Listed::Special(other),
        }
    }

    fn ends_with_separator(self) -> bool {
        matches!(self, Listed::Folder | Listed::LinkToFolder)
    }
}

/// A name's kind; `through_link` when a followed link stands there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Child {
    pub(super) listed: Listed,
    pub(super) through_link: bool,
}

/// The names in a folder in ascending order, with the separator where the stored path has one.
/// All names stand in one buffer.
#[derive(Debug, Default)]
pub(super) struct Names {
    text: Vec<u8>,
    items: Vec<Item>,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    start: usize,
    len: usize,
    child: Child,
}

impl Names {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn at(&self, index: usize) -> Option<(&[u8], Child)> {
        let item = self.items.get(index)?;
        Some((self.text_of(item), item.child))
    }

    fn text_of(&self, item: &Item) -> &[u8] {
        self.text
            .get(item.start..item.start + item.len)
            .unwrap_or_default()
    }

    fn push(&mut self, name: &[u8], child: Child) {
        let start = self.text.len();
        self.text.extend_from_slice(name);
        if child.listed.ends_with_separator() {
            self.text.push(b'/');
        }
        self.items.push(Item {
            start,
            len: self.text.len() - start,
            child,
        });
    }

    fn sort(&mut self) {
        let mut items = std::mem::take(&mut self.items);
        items.sort_unstable_by(|a, b| self.text_of(a).cmp(self.text_of(b)));
        self.items = items;
    }

    /// Whether one of the names is there and not a folder.
    pub(super) fn any_file_named(&self, names: &[String]) -> bool {
        names.iter().filter(|name| !name.is_empty()).any(|name| {
            let found = self
                .items
                .binary_search_by(|item| self.text_of(item).cmp(name.as_bytes()));
            found.is_ok()
        })
    }
}

/// The names in a folder that are databases of this program.
pub(super) fn databases(handle: &OwnedFd, names: &Names, rule: &OwnDatabases) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    for item in &names.items {
        let name = names.text_of(item);
        let mut endings = rule.companions.iter();
        let Some(stem) = endings.find_map(|ending| name.strip_suffix(ending.as_bytes())) else {
            continue;
        };
        if stem.is_empty() || found.iter().any(|known| known == stem) {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut head = [0; OwnDatabases::HEAD_LEN];
        let read = openat(handle, stem, flags, Mode::empty())
            .and_then(|file| rustix::io::read(&file, &mut head));
        if read.is_ok_and(|len| (rule.is_head)(head.get(..len).unwrap_or_default())) {
            found.push(stem.to_vec());
        }
    }
    found
}

/// Reads all names of an open folder. On an error, those read so far are returned beside it.
pub(super) fn read_names(
    handle: &OwnedFd,
    buffer: &mut [MaybeUninit<u8>],
    follow: bool,
) -> (Names, Option<io::Error>) {
    let mut names = Names::default();
    let mut failure = None;
    let mut listing = RawDir::new(handle, buffer);
    while let Some(entry) = listing.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(Errno::INTR) => continue,
            Err(error) => {
                failure = Some(error.into());
                break;
            }
        };
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        names.push(name, classify(handle, name, entry.file_type(), follow));
    }
    names.sort();
    (names, failure)
}

/// Finds out what the listing does not tell: kinds it leaves open, and where links lead. When that
/// fails, the name is taken for a file, and the look at the entry reports the failure.
fn classify(handle: &OwnedFd, name: &[u8], kind: FileType, follow: bool) -> Child {
    let mut kind = kind;
    if kind == FileType::Unknown {
        kind = match statat(handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(_) => FileType::RegularFile,
        };
    }
    if kind != FileType::Symlink {
        return Child {
            listed: Listed::of(kind),
            through_link: false,
        };
    }
    let target = statat(handle, name, AtFlags::NO_AUTOMOUNT)
        .map(|stat| FileType::from_raw_mode(stat.st_mode));
    match target {
        Ok(target) if follow => Child {
            listed: Listed::of(target),
            through_link: true,
        },
        Ok(FileType::Directory) => Child {
            listed: Listed::LinkToFolder,
            through_link: false,
        },
        _ => Child {
            listed: Listed::Link,
            through_link: false,
        },
    }
}

/// Opens a folder for listing. A root may be of any length and may be a link.
pub(super) fn open_folder(base: BorrowedFd<'_>, path: &Path, follow: bool) -> io::Result<OwnedFd> {
    let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    if path.as_os_str().len() <= LONGEST {
        return Ok(openat(base, path, flags, Mode::empty())?);
    }
    let reach = Reach::of(path)?;
    Ok(openat(reach.base(), reach.rest(), flags, Mode::empty())?)
}

/// Opens a folder again that was closed while one below it was walked: through the folder below if
/// that is still in it, else by its path. What is found must be the same folder as before.
pub(super) fn reopen_parent(
    below: Option<&OwnedFd>,
    path: &Path,
    identity: (u64, u64),
) -> io::Result<OwnedFd> {
    let same = |handle: &OwnedFd| {
        fstat(handle).is_ok_and(|stat| {
            let facts = Facts::from_stat(&stat, false);
            (facts.dev, facts.ino) == identity
        })
    };
    let above = below
        .and_then(|below| open_folder(below.as_fd(), Path::new(".."), false).ok())
        .filter(same);
    if let Some(handle) = above {
        return Ok(handle);
    }
    let handle = open_folder(rustix::fs::CWD, path, true)?;
    if same(&handle) {
        Ok(handle)
    } else {
        Err(io::Error::other("moved away while it was read"))
    }
}

/// Looks for the extended attributes that ask for exclusion.
#[derive(Debug, Default)]
pub(super) struct Xattrs {
    list: Vec<u8>,
    /// The device that was last seen to have no extended attributes.
    without: Option<u64>,
}

impl Xattrs {
    /// Whether the entry carries one of [`EXCLUSION_XATTRS`]. Costs one system call; failures count
    /// as no.
    pub(super) fn ask_exclusion(
        &mut self,
        path: &[u8],
        facts: &Facts,
        handle: Option<BorrowedFd<'_>>,
        follow: bool,
    ) -> bool {
        if self.without == Some(facts.dev) {
            return false;
        }
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let follow = follow && !matches!(facts.kind, FileKind::Symlink { .. });
        let listed = match handle {
            Some(handle) => fill(&mut self.list, |room| flistxattr(handle, room)),
            None => {
                let path = Path::new(OsStr::from_bytes(path));
                let Ok(reach) = Reach::of(path) else {
                    return false;
                };
                let alias = reach.is_partial().then(|| reach.alias());
                let path = alias.as_deref().unwrap_or(path);
                fill(&mut self.list, |room| {
                    if follow {
                        listxattr(path, room)
                    } else {
                        llistxattr(path, room)
                    }
                })
            }
        };
        match listed {
            Ok(len) => xattr_names(self.list.get(..len).unwrap_or_default()).any(|name| {
                EXCLUSION_XATTRS
                    .iter()
                    .any(|known| known.as_bytes() == name)
            }),
            Err(Errno::NOTSUP | Errno::NOSYS) => {
                self.without = Some(facts.dev);
                false
            }
            Err(_) => false,
        }
    }
}
