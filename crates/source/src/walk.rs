//! Listing what lies below the sources, in the order of stored paths.
//!
//! Entries come in strictly ascending byte order of their stored path: the children of a folder
//! are sorted by name with the separator that folders (and links to folders) end with, so that
//! `a.txt` stands before `a/`, and everything below `a/` before `a0`.

mod folder;
mod options;
mod roots;

use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, fstat, statat};

use crate::attributes::{Attributes, Identity};
use crate::facts::{Facts, FileKind, special_name};
use crate::filter::{Action, Verdict};
use folder::{Child, Listed, Names, Xattrs, open_folder, read_names, reopen_parent};
use roots::{ReadyRoot, ready};

pub use options::{
    EXCLUSION_XATTRS, HardlinkPolicy, OwnDatabases, OwnFiles, SymlinkPolicy, WalkOptions,
};
pub use roots::Root;

/// One result of a walk.
#[derive(Debug)]
pub enum WalkItem {
    /// An entry to be backed up.
    Entry(WalkEntry),
    /// An entry that was left out, with everything below it.
    Skipped {
        /// Its stored path.
        path: Vec<u8>,
        /// What decided.
        why: SkipReason,
    },
    /// An entry that its folder had when it was read, and that was gone when the walk came to it, with everything below it.
    /// What is missing at a root is a problem.
    Vanished {
        /// Its stored path.
        path: Vec<u8>,
    },
    /// A filter took too many steps for a path and was passed over for it. The path itself follows, unless another filter
    /// left it out.
    FilterGaveUp {
        /// The stored path.
        path: Vec<u8>,
        /// The filter as it was given.
        filter: String,
    },
    /// An entry that could not be examined, or a folder that could not be read to its end. The walk
    /// goes on.
    Problem {
        /// Its stored path.
        path: Vec<u8>,
        /// What the system reported.
        error: io::Error,
    },
}

/// An entry to be backed up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WalkEntry {
    /// The path as it is stored: absolute, with a separator at the end of folders and of links to
    /// folders.
    pub path: Vec<u8>,
    /// The path to read from, without that separator.
    pub os_path: PathBuf,
    /// What is known from one look at it.
    pub facts: Facts,
}

/// Why an entry was left out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SkipReason {
    /// It is neither file nor folder nor link: "fifo", "socket", "block device", "character device".
    Special(&'static str),
    /// A filter excluded it, or no filter of a list that has only includes matched (`None`).
    Filter(Option<usize>),
    /// It has one of the attributes to exclude.
    Attribute,
    /// It carries an extended attribute that asks for exclusion.
    ExclusionXattr,
    /// It is a folder that contains a file named in [`WalkOptions::ignore_names`].
    Marker,
    /// It is a link and links are ignored.
    Symlink,
    /// It has several names, and the policy keeps the first or none.
    Hardlink,
    /// It is larger than allowed.
    TooLarge,
    /// It is a followed link that leads back to a folder it lies in.
    Loop,
    /// It is a folder without recorded entries, and those are left out.
    Empty,
    /// It is among [`WalkOptions::own_files`], or one of [`WalkOptions::own_databases`] or beside one.
    Own,
}

impl std::fmt::Display for SkipReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SkipReason::Special(kind) => return write!(f, "it is a {kind}"),
            SkipReason::Filter(Some(rule)) => {
                return write!(f, "filter number {} excludes it", rule + 1);
            }
            SkipReason::Filter(None) => "no filter includes it",
            SkipReason::Attribute => "it has an excluded attribute",
            SkipReason::ExclusionXattr => "an extended attribute asks for it",
            SkipReason::Marker => "it holds a file that marks folders to leave out",
            SkipReason::Symlink => "it is a symbolic link",
            SkipReason::Hardlink => "it is a further name of a file",
            SkipReason::TooLarge => "it is too large",
            SkipReason::Loop => "it leads back to a folder above it",
            SkipReason::Empty => "it is empty",
            SkipReason::Own => "the backup itself keeps it",
        })
    }
}

/// A walk over roots; an iterator that ends after the last entry of the last root.
///
/// Memory: the names in the folders on the current path, and with [`HardlinkPolicy::First`] the
/// identity of each file with several names. At most 65 folders are open at a time, whatever the
/// depth.
#[derive(Debug)]
pub struct Walk {
    options: WalkOptions,
    exclude_attributes: Attributes,
    identity: Identity,
    unresolved: Vec<Root>,
    roots: std::vec::IntoIter<ReadyRoot>,
    stack: Vec<Frame>,
    queue: VecDeque<WalkItem>,
    path: Vec<u8>,
    os_path: Vec<u8>,
    buffer: Vec<MaybeUninit<u8>>,
    xattrs: Xattrs,
    seen: HashSet<(u64, u64)>,
    own: Vec<OwnNames>,
    /// Rules that left something out.
    used_rules: HashSet<usize>,
}

/// A folder on the current path.
#[derive(Debug)]
struct Frame {
    /// `None` while too many folders are open.
    handle: Option<OwnedFd>,
    names: Names,
    next: usize,
    /// Lengths of the stored path (with separator) and of the path to read from (likewise).
    path_len: usize,
    os_len: usize,
    identity: (u64, u64),
    through_link: bool,
    /// The entry of this folder, held back until something in it is recorded.
    held: Option<WalkEntry>,
}

/// A folder about to be entered.
struct Entering {
    handle: OwnedFd,
    facts: Facts,
    through_link: bool,
    recorded: bool,
    is_root: bool,
}

/// Files to leave out. Their folder is known by its identity: a path may lead to one in several ways.
#[derive(Debug)]
struct OwnNames {
    folder: (u64, u64),
    begin_with: Vec<u8>,
    rest: fn(&[u8]) -> bool,
}

fn own_files(files: &[OwnFiles]) -> Vec<OwnNames> {
    files
        .iter()
        .filter_map(|own| {
            let stat = rustix::fs::stat(&own.folder).ok()?;
            let facts = Facts::from_stat(&stat, false);
            Some(OwnNames {
                folder: (facts.dev, facts.ino),
                begin_with: own.begins_with.clone(),
                rest: own.rest,
            })
        })
        .collect()
}

impl Walk {
    /// A walk over these paths, stored under the same names. They need not be sorted; one that lies
    /// in another is passed over (see [`crate::prepare_sources`] for the rules about that).
    pub fn new(roots: Vec<PathBuf>, options: WalkOptions) -> Walk {
        Walk::with_roots(roots.into_iter().map(Root::from).collect(), options)
    }

    /// A walk over roots that are stored under other names than they are read from, as for a
    /// snapshot. Filters see the stored names.
    pub fn with_roots(roots: Vec<Root>, options: WalkOptions) -> Walk {
        Walk {
            exclude_attributes: Attributes::parse(&options.exclude_attributes).0,
            identity: Identity::of_process(),
            unresolved: roots,
            roots: Vec::new().into_iter(),
            stack: Vec::new(),
            queue: VecDeque::new(),
            path: Vec::new(),
            os_path: Vec::new(),
            buffer: vec![MaybeUninit::uninit(); LISTING_BYTES],
            xattrs: Xattrs::default(),
            seen: HashSet::new(),
            own: own_files(&options.own_files),
            used_rules: HashSet::new(),
            options,
        }
    }

    fn problem(&mut self, error: impl Into<io::Error>) {
        self.queue.push_back(WalkItem::Problem {
            path: self.path.clone(),
            error: error.into(),
        });
    }

    /// What keeps an entry from being looked at that its folder had.
    fn missed(&mut self, error: impl Into<io::Error>) {
        let error = error.into();
        if error.kind() != io::ErrorKind::NotFound {
            return self.problem(error);
        }
        let path = self.path.clone();
        self.queue.push_back(WalkItem::Vanished { path });
    }

    /// The excludes that have left nothing out so far, as they were given; groups of rules are not among them.
    pub fn idle_excludes(&self) -> Vec<&str> {
        let filter = &self.options.filter;
        let rules = (0..filter.len()).filter(|rule| filter.action(*rule) == Some(Action::Exclude));
        rules
            .filter(|rule| !self.used_rules.contains(rule))
            .map(|rule| filter.text(rule))
            .filter(|text| !text.is_empty() && !text.starts_with('{'))
            .collect()
    }

    fn skip(&mut self, why: SkipReason) {
        if let SkipReason::Filter(Some(rule)) = why {
            self.used_rules.insert(rule);
        }
        self.queue.push_back(WalkItem::Skipped {
            path: self.path.clone(),
            why,
        });
    }

    /// The entry at the current path.
    fn entry(&self, facts: Facts) -> WalkEntry {
        let os_path = self
            .os_path
            .strip_suffix(b"/")
            .filter(|path| !path.is_empty())
            .unwrap_or(&self.os_path);
        WalkEntry {
            path: self.path.clone(),
            os_path: PathBuf::from(OsStr::from_bytes(os_path)),
            facts,
        }
    }

    /// Records an entry, and before it the folders that were held back.
    fn record(&mut self, entry: WalkEntry) {
        if self.options.exclude_empty_folders {
            for frame in &mut self.stack {
                self.queue.extend(frame.held.take().map(WalkItem::Entry));
            }
        }
        self.queue.push_back(WalkItem::Entry(entry));
    }

    fn start_root(&mut self, root: ReadyRoot) {
        self.path = root.stored;
        self.os_path = root.os_path.as_os_str().as_bytes().to_vec();
        let facts = match root.facts {
            Ok(facts) => facts,
            Err(error) => return self.problem(error),
        };
        match facts.kind {
            FileKind::Special(what) => self.skip(SkipReason::Special(what)),
            FileKind::Folder => {
                if !self.os_path.ends_with(b"/") {
                    self.os_path.push(b'/');
                }
                let evaluation = self.options.filter.evaluate(&self.path);
                let recorded =
                    !self.options.filter.only_includes() || evaluation.verdict == Verdict::Included;
                match open_folder(rustix::fs::CWD, &root.os_path, true) {
                    Ok(handle) => self.enter(Entering {
                        handle,
                        facts,
                        through_link: true,
                        recorded,
                        is_root: true,
                    }),
                    Err(error) => {
                        if recorded {
                            let entry = self.entry(facts);
                            self.record(entry);
                        }
                        self.problem(error);
                    }
                }
            }
            FileKind::File | FileKind::Symlink { .. } => {
                let entry = self.entry(facts);
                self.record(entry);
            }
        }
    }

    /// Reads the names in a folder, records its entry and makes it the current one.
    fn enter(&mut self, folder: Entering) {
        let identity = (folder.facts.dev, folder.facts.ino);
        if self.options.symlinks == SymlinkPolicy::Follow
            && self.stack.iter().any(|frame| frame.identity == identity)
        {
            return self.skip(SkipReason::Loop);
        }
        let follow = self.options.symlinks == SymlinkPolicy::Follow;
        let (names, failure) = read_names(&folder.handle, &mut self.buffer, follow);
        let failure = match failure {
            // A folder that is removed while it is open has no names any more.
            Some(error) if error.kind() == io::ErrorKind::NotFound && !folder.is_root => {
                return self.missed(error);
            }
            other => other,
        };
        if !folder.is_root && names.any_file_named(&self.options.ignore_names) {
            return self.skip(SkipReason::Marker);
        }
        let mut held = None;
        // Its time changes whenever the backup writes there, so that no run would find everything unchanged.
        let changes_by_itself = self.own.iter().any(|own| own.folder == identity);
        if let Some(rule) = &self.options.own_databases {
            let found = folder::databases(&folder.handle, &names, rule);
            self.own.extend(found.into_iter().map(|name| OwnNames {
                folder: identity,
                begin_with: name,
                rest: rule.rest,
            }));
        }
        if folder.recorded && !changes_by_itself {
            let entry = self.entry(folder.facts);
            if self.options.exclude_empty_folders && !folder.is_root && failure.is_none() {
                held = Some(entry);
            } else {
                self.record(entry);
            }
        }
        if let Some(error) = failure {
            self.problem(error);
        }
        if let Some(frame) = self
            .stack
            .len()
            .checked_sub(OPEN_FOLDERS)
            .and_then(|at| self.stack.get_mut(at))
        {
            frame.handle = None;
        }
        self.stack.push(Frame {
            handle: Some(folder.handle),
            names,
            next: 0,
            path_len: self.path.len(),
            os_len: self.os_path.len(),
            identity,
            through_link: folder.through_link,
            held,
        });
    }

    /// Leaves the current folder and makes sure that the one above can be used again.
    fn leave(&mut self) {
        let Some(mut left) = self.stack.pop() else {
            return;
        };
        self.path.truncate(left.path_len);
        if left.held.take().is_some() {
            self.skip(SkipReason::Empty);
        }
        let Some(parent) = self.stack.last_mut() else {
            return;
        };
        if parent.handle.is_some() {
            return;
        }
        self.os_path.truncate(parent.os_len);
        let below = left.handle.filter(|_| !left.through_link);
        let reopened = reopen_parent(
            below.as_ref(),
            Path::new(OsStr::from_bytes(&self.os_path)),
            parent.identity,
        );
        match reopened {
            Ok(handle) => parent.handle = Some(handle),
            Err(error) => {
                // Without the folder, the rest of its names cannot be looked at.
                parent.next = parent.names.len();
                self.path.truncate(parent.path_len);
                self.problem(error);
            }
        }
    }

    /// Examines the next name of the current folder.
    fn step(&mut self) {
        let Some(frame) = self.stack.last_mut() else {
            return;
        };
        let Some((name, child)) = frame.names.at(frame.next) else {
            return self.leave();
        };
        frame.next += 1;
        let (path_len, os_len) = (frame.path_len, frame.os_len);
        self.path.truncate(path_len);
        self.path.extend_from_slice(name);
        self.os_path.truncate(os_len);
        self.os_path.extend_from_slice(name);
        // The handle is lent out of the frame so that the walk can be changed meanwhile.
        let Some(handle) = frame.handle.take() else {
            return;
        };
        let at = self.stack.len() - 1;
        self.visit(&handle, path_len, child);
        if let Some(frame) = self.stack.get_mut(at) {
            frame.handle = Some(handle);
        }
    }

    /// True for a name of the current folder that the backup itself keeps there.
    fn is_own(&self, name: &[u8]) -> bool {
        let folder = self.stack.last().map(|frame| frame.identity);
        self.own.iter().any(|own| {
            let rest = name.strip_prefix(own.begin_with.as_slice());
            folder == Some(own.folder) && rest.is_some_and(own.rest)
        })
    }

    fn visit(&mut self, parent: &OwnedFd, path_len: usize, child: Child) {
        if self.is_own(self.path.get(path_len..).unwrap_or_default()) {
            return self.skip(SkipReason::Own);
        }
        if let Listed::Special(kind) = child.listed
            && matches!(
                kind,
                rustix::fs::FileType::BlockDevice | rustix::fs::FileType::CharacterDevice
            )
        {
            return self.skip(SkipReason::Special(special_name(kind)));
        }
        let evaluation = self.options.filter.evaluate(&self.path);
        if let Some(rule) = evaluation.gave_up {
            self.queue.push_back(WalkItem::FilterGaveUp {
                path: self.path.clone(),
                filter: self.options.filter.text(rule).to_owned(),
            });
        }
        let mut recorded = true;
        if evaluation.verdict == Verdict::Excluded {
            let passage = evaluation.rule.is_none() && child.listed == Listed::Folder;
            if !passage {
                return self.skip(SkipReason::Filter(evaluation.rule));
            }
            recorded = false;
        }
        if child.listed == Listed::Folder {
            return self.visit_folder(parent, path_len, child, recorded);
        }
        let name = self.path.get(path_len..).unwrap_or_default();
        let name = name.strip_suffix(b"/").unwrap_or(name);
        let flags = if child.through_link {
            AtFlags::empty()
        } else {
            AtFlags::SYMLINK_NOFOLLOW
        };
        let target_is_folder = child.listed == Listed::LinkToFolder;
        let facts = match statat(parent, name, flags) {
            Ok(stat) => Facts::from_stat(&stat, target_is_folder),
            Err(error) => return self.missed(error),
        };
        let is_link = matches!(facts.kind, FileKind::Symlink { .. });
        if facts.kind == FileKind::Folder || (target_is_folder && !is_link) {
            return self.problem(io::Error::other(
                "replaced by something else while it was examined",
            ));
        }
        if let FileKind::Special(what) = facts.kind {
            return self.skip(SkipReason::Special(what));
        }
        match self.reason_to_skip(path_len, &facts, None) {
            Some(why) => self.skip(why),
            None => {
                let entry = self.entry(facts);
                self.record(entry);
            }
        }
    }

    fn visit_folder(&mut self, parent: &OwnedFd, path_len: usize, child: Child, recorded: bool) {
        let name = self.path.get(path_len..).unwrap_or_default();
        let name = name.strip_suffix(b"/").unwrap_or(name);
        let opened = open_folder(
            parent.as_fd(),
            Path::new(OsStr::from_bytes(name)),
            child.through_link,
        );
        let stat = match &opened {
            Ok(handle) => fstat(handle),
            Err(_) if child.through_link => statat(parent, name, AtFlags::empty()),
            Err(_) => statat(parent, name, AtFlags::SYMLINK_NOFOLLOW),
        };
        let facts = match stat {
            Ok(stat) => Facts::from_stat(&stat, false),
            Err(error) => return self.missed(error),
        };
        if facts.kind != FileKind::Folder {
            return self.problem(io::Error::other(
                "replaced by something else while it was examined",
            ));
        }
        let handle = opened.as_ref().ok().map(AsFd::as_fd);
        if let Some(why) = self.reason_to_skip(path_len, &facts, handle) {
            return self.skip(why);
        }
        match opened {
            Ok(handle) => {
                self.enter(Entering {
                    handle,
                    facts,
                    through_link: child.through_link,
                    recorded,
                    is_root: false,
                });
            }
            Err(error) => {
                if recorded {
                    let entry = self.entry(facts);
                    self.record(entry);
                }
                self.problem(error);
            }
        }
    }

    /// The tests that need the facts of an entry. Those for links and size come last, as does the
    /// one for hard links, so that a name that is left out for another reason is not "the first".
    fn reason_to_skip(
        &mut self,
        path_len: usize,
        facts: &Facts,
        handle: Option<BorrowedFd<'_>>,
    ) -> Option<SkipReason> {
        if !self.exclude_attributes.is_empty() {
            let name = self.path.get(path_len..).unwrap_or_default();
            if Attributes::of(name, facts, &self.identity).intersects(self.exclude_attributes) {
                return Some(SkipReason::Attribute);
            }
        }
        let follow = self.options.symlinks == SymlinkPolicy::Follow;
        if self.options.exclusion_xattrs
            && self
                .xattrs
                .ask_exclusion(&self.os_path, facts, handle, follow)
        {
            return Some(SkipReason::ExclusionXattr);
        }
        if matches!(facts.kind, FileKind::Symlink { .. })
            && self.options.symlinks == SymlinkPolicy::Ignore
        {
            return Some(SkipReason::Symlink);
        }
        if facts.kind != FileKind::File {
            return None;
        }
        if self
            .options
            .max_size
            .is_some_and(|max| max > 0 && facts.size > max)
        {
            return Some(SkipReason::TooLarge);
        }
        let first_seen = |seen: &mut HashSet<(u64, u64)>| seen.insert((facts.dev, facts.ino));
        match self.options.hardlinks {
            HardlinkPolicy::None if facts.nlink > 1 => Some(SkipReason::Hardlink),
            HardlinkPolicy::First if facts.nlink > 1 && !first_seen(&mut self.seen) => {
                Some(SkipReason::Hardlink)
            }
            _ => None,
        }
    }
}

impl Iterator for Walk {
    type Item = WalkItem;

    fn next(&mut self) -> Option<WalkItem> {
        if !self.unresolved.is_empty() {
            let roots = std::mem::take(&mut self.unresolved);
            self.roots = ready(roots, self.options.symlinks).into_iter();
        }
        loop {
            if let Some(item) = self.queue.pop_front() {
                return Some(item);
            }
            if self.stack.is_empty() {
                let root = self.roots.next()?;
                self.start_root(root);
            } else {
                self.step();
            }
        }
    }
}

/// Folders kept open; those above are opened again on the way back.
const OPEN_FOLDERS: usize = 64;
/// Bytes of names taken from the system in one call.
const LISTING_BYTES: usize = 1 << 16;
