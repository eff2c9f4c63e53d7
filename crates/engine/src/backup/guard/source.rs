//! One source under the guard: what is found at its path, what becomes of its files, and whether it looks lost.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_source::{Found, Root, file_system_of};
use larder_volume::{EntryKind, FileEntry};

use super::super::counters::bump;
use super::super::source_notes::SourceNote;
use crate::guarded::{GuardReason, GuardedSource};

/// Files that a source must have had for shares to be looked at: of a few, many may change at once for good reasons.
const LEAST_FILES: u64 = 100;
/// When all that it had is gone, so many are enough, and half as many new ones are what something wrote to a mount point.
const FEW_FILES: u64 = 10;
/// Files that must be other ones for no version to be made in the midst of a walk.
const LEAST_REPLACED: u64 = 10;

/// From which shares on a source is guarded, in percent; 0 is never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) lost: u64,
    pub(crate) changed: u64,
}

impl Limits {
    /// From none.
    pub(crate) const NONE: Self = Self {
        lost: 0,
        changed: 0,
    };
}

/// A source that the user named.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its stored path, with a separator at the end.
    pub(super) key: Vec<u8>,
    /// The source that it lies in.
    pub(super) outer: Option<usize>,
    pub(super) found: Found,
    /// Where it is read from.
    place: PathBuf,
    /// The number of its file system, where it can be told.
    file_system: Option<u64>,
    /// Files of the previous version in it, counted before the walk; only when it matters.
    pub(super) known: AtomicU64,
    /// Files of the previous version in it, as far as the walk came.
    pub(super) had: AtomicU64,
    /// Those of them that are gone.
    pub(super) lost: AtomicU64,
    /// Files that the previous version does not have.
    pub(super) new: AtomicU64,
    /// Those of them that have other content.
    pub(super) changed: AtomicU64,
    /// What the walk met in it now that is no folder and no link.
    pub(super) met: AtomicU64,
    /// Files and links of the previous version that cannot be in what is found at its path.
    pub(super) missed: AtomicU64,
    /// Why what the previous version has of it stays.
    pub(super) kept: Option<GuardReason>,
    /// The user said beforehand that it may be missing.
    pub(super) is_expected: bool,
    /// A hash of the filters that it is read by now.
    pub(super) filters: String,
    /// What the last whole version noted of it.
    pub(super) note: Option<SourceNote>,
}

impl Source {
    pub(super) fn new(root: &Root) -> Self {
        let mut key = root.stored.clone();
        if !key.ends_with(b"/") {
            key.push(b'/');
        }
        Self {
            key,
            outer: None,
            found: Found::at(&root.os_path),
            place: root.os_path.clone(),
            file_system: file_system_of(&root.os_path),
            known: AtomicU64::new(0),
            had: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            new: AtomicU64::new(0),
            changed: AtomicU64::new(0),
            met: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            kept: None,
            is_expected: false,
            filters: String::new(),
            note: None,
        }
    }

    /// Whether the previous version has it by other filters: what those leave out is no loss.
    pub(super) fn has_other_filters(&self) -> bool {
        let mut note = self.note.iter();
        note.any(|note| note.filters != self.filters)
    }

    /// Files in whose place others came, as far as can be told.
    fn replaced(&self) -> u64 {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        match self.has_other_filters() {
            true => 0,
            false => get(&self.lost).min(get(&self.new)),
        }
    }

    /// Its path without a separator at the end; nothing for the root of the file system.
    pub(super) fn top(&self) -> &[u8] {
        self.key.strip_suffix(b"/").unwrap_or(&self.key)
    }

    /// Its path for people.
    pub(super) fn shown(&self) -> String {
        let path = match self.top() {
            b"" => b"/",
            top => top,
        };
        String::from_utf8_lossy(path).into_owned()
    }

    /// Whether what is found at its path cannot be what the previous version has below it.
    pub(super) fn is_suspect(&self) -> bool {
        match self.found {
            Found::Nothing | Found::EmptyFolder | Found::NoFolder => true,
            Found::Folder | Found::Unknown => false,
        }
    }

    /// Whether it went away since the run began: a disk that is pulled out or unmounted leaves nothing at its path, or the
    /// folder that it was mounted on.
    pub(super) fn went_away(&self) -> bool {
        self.found == Found::Folder
            && self.file_system.is_some()
            && match Found::at(&self.place) {
                Found::Nothing | Found::NoFolder | Found::EmptyFolder => true,
                Found::Unknown => false,
                Found::Folder => file_system_of(&self.place) != self.file_system,
            }
    }

    /// What the paths of its entries begin with, those of others perhaps, too.
    pub(crate) fn prefix(&self) -> &[u8] {
        match self.found {
            Found::Nothing => self.top(),
            Found::EmptyFolder | Found::Folder | Found::NoFolder | Found::Unknown => &self.key,
        }
    }

    /// Notes an entry of the previous version, when it is of this source. A folder is nothing that could be missed.
    pub(crate) fn look_at(&self, entry: &FileEntry) {
        let is_file = u64::from(entry.kind == EntryKind::File);
        if self.is_suspect() && self.misses(&entry.path) {
            bump(&self.missed, u64::from(entry.kind != EntryKind::Folder));
            bump(&self.lost, is_file);
        }
        bump(&self.known, is_file);
    }

    /// Whether an entry of the previous version is of this source and cannot be in what is found at its path.
    fn misses(&self, path: &[u8]) -> bool {
        let is_below = path.len() > self.key.len() && path.starts_with(&self.key);
        is_below || (self.found == Found::Nothing && path == self.top())
    }

    /// What is told of it when it is kept.
    pub(super) fn told(&self) -> Option<GuardedSource> {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some(GuardedSource {
            path: self.shown(),
            reason: self.kept?,
            files_before: get(&self.had),
            files_lost: get(&self.lost),
            files_changed: get(&self.changed),
            files_new: get(&self.new),
        })
    }

    /// Why it looks lost now that all of it was walked. A file that is gone is no loss when a new one came in its place: most
    /// often it is the same under another name.
    pub(super) fn reason(&self, limits: Limits) -> Option<GuardReason> {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (had, lost, new) = (get(&self.had), get(&self.lost), get(&self.new));
        let exceeds = |part: u64, limit: u64| {
            limit > 0 && had >= LEAST_FILES && part.saturating_mul(100) > had.saturating_mul(limit)
        };
        if had > 0 && lost > 0 && self.went_away() {
            return Some(GuardReason::WentAway);
        }
        let of_lost = match self.has_other_filters() {
            true => 0,
            false => limits.lost,
        };
        let has_none = of_lost > 0
            && self.found == Found::Folder
            && had > 0
            && lost == had
            && (get(&self.met) == 0 || (had >= FEW_FILES && new.saturating_mul(2) < had));
        if has_none || exceeds(lost.saturating_sub(new), of_lost) {
            return Some(GuardReason::Lost);
        }
        // A program that encrypts files may give them other names.
        let changed = get(&self.changed) + self.replaced();
        exceeds(changed, limits.changed).then_some(GuardReason::Changed)
    }

    /// Whether so much of what was met so far is not as it was that it may be guarded for that in the end. What is gone may
    /// be met later under another name, and what is new may be what will be gone.
    pub(super) fn is_changing(&self, limit: u64) -> bool {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let other = get(&self.changed) + get(&self.lost).max(get(&self.new));
        limit > 0
            && get(&self.known) >= LEAST_FILES
            && other >= LEAST_REPLACED
            && other.saturating_mul(100) > get(&self.had).saturating_mul(limit)
    }
}
