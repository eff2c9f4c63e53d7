//! The guard of the sources: which of them look lost, by what the previous version has of them.
//!
//! An unmounted disk, a folder that was emptied by mistake and a program that encrypts all files look like the wish of the
//! user otherwise, and the versions that still have the files grow old and go (docs/decisions/0026).

use std::sync::atomic::{AtomicU64, Ordering};

use larder_source::{FileKind, Found, Root, WalkItem};
use larder_volume::{EntryKind, FileEntry};

use super::counters::bump;
use crate::guarded::{GuardReason, GuardedSource};
use crate::report::BackupReport;

/// Files that a source must have had for shares to be looked at: of a few, many may change at once for good reasons.
const LEAST_FILES: u64 = 100;
/// Files that must be other ones for no version to be made in the midst of a walk.
const LEAST_REPLACED: u64 = 10;

/// From which shares on a source is guarded, in percent; 0 is never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) lost: u64,
    pub(super) changed: u64,
}

/// A source that the user named.
#[derive(Debug)]
pub(super) struct Source {
    /// Its stored path, with a separator at the end.
    key: Vec<u8>,
    /// The source that it lies in.
    outer: Option<usize>,
    found: Found,
    /// Files of the previous version in it, counted before the walk; only when it matters.
    known: AtomicU64,
    /// Files of the previous version in it, as far as the walk came.
    had: AtomicU64,
    /// Those of them that are gone.
    lost: AtomicU64,
    /// Files that the previous version does not have.
    new: AtomicU64,
    /// Those of them that have other content.
    changed: AtomicU64,
    /// What the walk met in it now that is no folder and no link.
    met: AtomicU64,
    /// Files and links of the previous version that cannot be in what is found at its path.
    missed: AtomicU64,
    /// Why what the previous version has of it stays.
    kept: Option<GuardReason>,
    /// The user said beforehand that it may be missing.
    is_expected: bool,
}

impl Source {
    fn new(root: &Root) -> Self {
        let mut key = root.stored.clone();
        if !key.ends_with(b"/") {
            key.push(b'/');
        }
        Self {
            key,
            outer: None,
            found: Found::at(&root.os_path),
            known: AtomicU64::new(0),
            had: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            new: AtomicU64::new(0),
            changed: AtomicU64::new(0),
            met: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            kept: None,
            is_expected: false,
        }
    }

    /// Its path without a separator at the end; nothing for the root of the file system.
    fn top(&self) -> &[u8] {
        self.key.strip_suffix(b"/").unwrap_or(&self.key)
    }

    /// Whether what is found at its path cannot be what the previous version has below it.
    fn is_suspect(&self) -> bool {
        match self.found {
            Found::Nothing | Found::EmptyFolder | Found::NoFolder => true,
            Found::Folder | Found::Unknown => false,
        }
    }

    /// What the paths of its entries begin with, those of others perhaps, too.
    pub(super) fn prefix(&self) -> &[u8] {
        match self.found {
            Found::Nothing => self.top(),
            Found::EmptyFolder | Found::Folder | Found::NoFolder | Found::Unknown => &self.key,
        }
    }

    /// Notes an entry of the previous version, when it is of this source. A folder is nothing that could be missed.
    pub(super) fn look_at(&self, entry: &FileEntry) {
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
    fn told(&self) -> Option<GuardedSource> {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let path = match self.top() {
            b"" => b"/",
            top => top,
        };
        Some(GuardedSource {
            path: String::from_utf8_lossy(path).into_owned(),
            reason: self.kept?,
            files_before: get(&self.had),
            files_lost: get(&self.lost),

            files_changed: get(&self.changed),
            files_new: get(&self.new),
        })
    }

    /// Why it looks lost now that all of it was walked. A file that is gone is no loss when a new one came in its place: most
    /// often it is the same under another name.
    fn reason(&self, limits: Limits) -> Option<GuardReason> {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (had, lost, new) = (get(&self.had), get(&self.lost), get(&self.new));
        let exceeds = |part: u64, limit: u64| {
            limit > 0 && had >= LEAST_FILES && part.saturating_mul(100) > had.saturating_mul(limit)
        };
        let has_none = limits.lost > 0
            && self.found == Found::Folder
            && had > 0
            && lost == had
            && get(&self.met) == 0;
        if has_none || exceeds(lost.saturating_sub(new), limits.lost) {
            return Some(GuardReason::Lost);
        }
        // A program that encrypts files may give them other names.
        let changed = get(&self.changed) + lost.min(new);
        exceeds(changed, limits.changed).then_some(GuardReason::Changed)
    }

    /// Whether so much of what was met so far is not as it was that it may be guarded for that in the end. What is gone may
    /// be met later under another name, and what is new may be what will be gone.
    fn is_changing(&self, limit: u64) -> bool {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let other = get(&self.changed) + get(&self.lost).max(get(&self.new));
        limit > 0
            && get(&self.known) >= LEAST_FILES
            && other >= LEAST_REPLACED
            && other.saturating_mul(100) > get(&self.had).saturating_mul(limit)
    }
}

/// Counts what becomes of the previous version's files in each source, and knows whose list is kept.
#[derive(Debug)]
pub(crate) struct Guard {
    /// In ascending order of their keys.
    sources: Vec<Source>,
    limits: Limits,
}

impl Guard {
    pub(super) fn new<'r>(roots: impl Iterator<Item = &'r Root>, limits: Limits) -> Self {
        let mut sources: Vec<Source> = roots.map(Source::new).collect();
        sources.sort_by(|a, b| a.key.cmp(&b.key));
        sources.dedup_by(|later, earlier| later.key == earlier.key);
        let mut guard = Self { sources, limits };
        for place in 0..guard.sources.len() {
            let Some(source) = guard.sources.get(place) else {
                break;
            };
            let outer = place.checked_sub(1);
            let outer = outer.and_then(|last| guard.holding(last, &source.key));
            if let Some(source) = guard.sources.get_mut(place) {
                source.outer = outer;
            }
        }
        guard
    }

    /// The innermost source that holds a path with a separator at its end, from one on and the ones around it.
    fn holding(&self, from: usize, path: &[u8]) -> Option<usize> {
        let mut place = Some(from);
        while let Some(source) = place.and_then(|place| self.sources.get(place)) {
            if path.starts_with(&source.key) {
                return place;
            }
            place = source.outer;
        }
        None
    }

    /// The innermost source that an entry belongs to.
    fn innermost(&self, path: &[u8]) -> Option<usize> {
        if path.ends_with(b"/") {
            let next = self.sources.partition_point(|s| s.key.as_slice() <= path);
            return self.holding(next.checked_sub(1)?, path);
        }
        // A source that is a file has a key with a separator, too.
        let mut path = path.to_vec();
        path.push(b'/');
        self.innermost(&path)
    }

    /// The sources that an entry belongs to, the innermost first.
    fn each_of(&self, path: &[u8], mut with: impl FnMut(&Source)) {
        let mut place = self.innermost(path);
        while let Some(source) = place.and_then(|place| self.sources.get(place)) {
            with(source);
            place = source.outer;
        }
    }

    /// An entry of the previous version was met, whatever became of it.
    pub(super) fn had(&self, entry: &FileEntry) {
        if entry.kind == EntryKind::File {
            self.each_of(&entry.path, |source| bump(&source.had, 1));
        }
    }

    /// An entry of the previous version is gone.
    pub(super) fn lost(&self, entry: &FileEntry) {
        if entry.kind == EntryKind::File {
            self.each_of(&entry.path, |source| bump(&source.lost, 1));
        }
    }

    /// An entry is in the source that the previous version does not have.
    pub(super) fn added(&self, now: &FileEntry) {
        if now.kind == EntryKind::File {
            self.each_of(&now.path, |source| bump(&source.new, 1));
        }
    }

    /// An entry is another one than in the previous version.
    pub(super) fn changed(&self, before: &FileEntry, now: &FileEntry) {
        let content = |entry: &FileEntry| (entry.size, entry.hash);
        if now.kind == EntryKind::File && content(before) != content(now) {
            self.each_of(&now.path, |source| bump(&source.changed, 1));
        }
    }

    /// Whether what a walk met goes into the new version, or what the previous one has of it stays.
    pub(super) fn lets_pass(&self, item: &WalkItem) -> bool {
        let (path, is_file) = match item {
            WalkItem::Entry(entry) => (&entry.path, entry.facts.kind == FileKind::File),
            // That it is there is what counts.
            WalkItem::Skipped { path, .. } => (path, true),
            WalkItem::Vanished { path }
            | WalkItem::FilterGaveUp { path, .. }
            | WalkItem::Problem { path, .. } => (path, false),
        };
        if is_file {
            self.each_of(path, |source| bump(&source.met, 1));
        }
        !self.keeps(path)
    }

    /// Whether what the previous version has of this entry stays.
    pub(super) fn keeps(&self, path: &[u8]) -> bool {
        let mut is_kept = false;
        if self.sources.iter().any(|source| source.kept.is_some()) {
            self.each_of(path, |source| is_kept |= source.kept.is_some());
        }
        is_kept
    }

    /// The tops of the sources whose list is kept.
    pub(super) fn kept_tops(&self) -> Vec<Vec<u8>> {
        let kept = self.sources.iter().filter(|source| source.kept.is_some());
        kept.map(|source| source.top().to_vec()).collect()
    }

    /// The sources of which has to be known before the walk what the previous version has of them: something else is found
    /// at their paths, or it matters how many files they had.
    pub(super) fn to_look_at(&self) -> impl Iterator<Item = &Source> {
        let counts = self.limits.changed > 0;
        (self.sources.iter()).filter(move |source| counts || source.is_suspect())
    }

    /// Keeps the sources of which something was missed, and gives what is told of them. One that is missing may have been
    /// expected to be.
    pub(super) fn keep_missed(&mut self, may_be_missing: bool) -> Vec<(GuardedSource, bool)> {
        let mut told = Vec::new();
        for source in &mut self.sources {
            if source.missed.load(Ordering::Relaxed) == 0 {
                continue;
            }
            source.kept = Some(match source.found {
                Found::Nothing => GuardReason::Missing,
                Found::NoFolder => GuardReason::NoFolder,
                Found::EmptyFolder | Found::Folder | Found::Unknown => GuardReason::Empty,
            });
            source.is_expected = may_be_missing && source.found == Found::Nothing;
            source.had = AtomicU64::new(source.lost.load(Ordering::Relaxed));
            told.extend(source.told().map(|told| (told, source.is_expected)));
        }
        told
    }

    /// Keeps the sources that look lost after a walk, and gives what is told of them. Of sources in others those inside come first:
    /// what is lost with them is not missed in the ones around them any more.
    pub(super) fn keep_lost(&mut self) -> Vec<GuardedSource> {
        let reasons = self.sources.iter().map(|source| match source.kept {
            Some(_) => None,
            None => source.reason(self.limits),
        });
        let mut reasons: Vec<Option<GuardReason>> = reasons.collect();
        let mut holds_lost = vec![false; reasons.len()];
        for (place, source) in self.sources.iter().enumerate().rev() {
            let Some(reason) = reasons.get_mut(place) else {
                continue;
            };
            let holds = holds_lost.get(place).copied().unwrap_or_default();
            if holds {
                *reason = None;
            }
            let is_lost = holds || reason.is_some();
            let outer = source.outer.and_then(|outer| holds_lost.get_mut(outer));
            if let Some(outer) = outer.filter(|_| is_lost) {
                *outer = true;
            }
        }
        let mut told = Vec::new();
        for (source, reason) in self.sources.iter_mut().zip(reasons) {
            if reason.is_some() {
                source.kept = reason;
                told.extend(source.told());
            }
        }
        told
    }

    /// Whether a source has lost its content so far, so that a version that is made in the midst of a walk had less to
    /// compare the next run with. What is gone stays in such a version.
    pub(super) fn is_changing(&self) -> bool {
        let limit = self.limits.changed;
        let mut open = self.sources.iter().filter(|source| source.kept.is_none());
        open.any(|source| source.is_changing(limit))
    }

    /// Counts from the beginning, for another walk.
    pub(super) fn count_anew(&mut self) {
        for source in &mut self.sources {
            source.had = AtomicU64::new(0);
            source.met = AtomicU64::new(0);
            if source.kept.is_none() {
                source.lost = AtomicU64::new(0);
                source.new = AtomicU64::new(0);
                source.changed = AtomicU64::new(0);
            }
        }
    }

    /// Whether the list of any source is kept.
    pub(super) fn keeps_any(&self) -> bool {
        self.sources.iter().any(|source| source.kept.is_some())
    }

    /// The sources whose list is kept, but for those that may be missing.
    pub(super) fn guarded(&self) -> Vec<GuardedSource> {
        let kept = self.sources.iter().filter(|source| !source.is_expected);
        kept.filter_map(Source::told).collect()
    }

    /// The report of a backup, with them.
    pub(super) fn noted(&self, report: BackupReport) -> BackupReport {
        BackupReport {
            guarded_sources: self.guarded(),
            ..report
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const LIMITS: Limits = Limits {
        lost: 90,
        changed: 50,
    };

    fn guard(paths: &[&str]) -> Guard {
        let roots: Vec<Root> = paths.iter().map(|p| Root::from(PathBuf::from(p))).collect();
        let mut guard = Guard::new(roots.iter(), LIMITS);
        // Nothing of it need be there.
        for source in &mut guard.sources {
            source.found = Found::Folder;
        }
        guard
    }

    fn file(path: &str) -> FileEntry {
        FileEntry {
            size: 1,
            ..FileEntry::new(EntryKind::File, path)
        }
    }

    /// The files that a source had, those lost of them and changed, the new ones, and what was met.
    fn reason([had, lost, changed, new, met]: [u64; 5]) -> Option<GuardReason> {
        let mut guard = guard(&["/a"]);
        (0..had).for_each(|_| guard.had(&file("/a/file")));
        (0..lost).for_each(|_| guard.lost(&file("/a/file")));
        let other = FileEntry {
            size: 2,
            ..file("/a/file")
        };
        (0..changed).for_each(|_| guard.changed(&file("/a/file"), &other));
        (0..new).for_each(|_| guard.added(&file("/a/file")));
        let path = b"/a/file".to_vec();
        let item = WalkItem::Skipped {
            path,
            why: larder_source::SkipReason::TooLarge,
        };
        (0..met).for_each(|_| assert!(guard.lets_pass(&item)));
        guard.keep_lost();
        guard.guarded().first().map(|source| source.reason)
    }

    #[test]
    fn shares_and_numbers_decide() {
        use GuardReason::{Changed, Lost};
        for (counts, expected) in [
            ([0, 0, 0, 0, 0], None),
            ([100, 90, 0, 0, 10], None),
            ([100, 91, 0, 0, 9], Some(Lost)),
            ([99, 91, 0, 0, 8], None),
            ([100, 0, 50, 0, 100], None),
            ([100, 0, 51, 0, 100], Some(Changed)),
            ([99, 0, 99, 0, 99], None),
            // Others came in their place: so many, too many, or as many.
            ([100, 92, 0, 1, 9], Some(Lost)),
            ([100, 92, 0, 2, 10], None),
            ([1000, 1000, 0, 50, 50], Some(Lost)),
            ([100, 50, 0, 200, 250], None),
            // All have other names, and perhaps other content.
            ([100, 100, 0, 100, 100], Some(Changed)),
            ([100, 40, 11, 40, 100], Some(Changed)),
            ([100, 40, 10, 40, 100], None),
            // None of what it had, and nothing else.
            ([1, 1, 0, 0, 0], Some(Lost)),
            ([1, 1, 0, 1, 1], None),
            ([99, 99, 0, 1, 1], None),
            // One that cannot be read is not lost.
            ([2, 1, 0, 0, 0], None),
        ] {
            assert_eq!(reason(counts), expected, "{counts:?}");
        }
    }

    #[test]
    fn an_entry_belongs_to_the_sources_around_it() {
        let guard = guard(&["/a", "/a.b", "/a/x", "/a/x/y", "/file", "/a/z/"]);
        let found = |path: &str| {
            let mut keys = Vec::new();
            guard.each_of(path.as_bytes(), |source| {
                keys.push(String::from_utf8_lossy(source.top()).into_owned());
            });
            keys
        };
        assert_eq!(found("/a/b"), ["/a"]);
        assert_eq!(found("/a/"), ["/a"]);
        assert_eq!(found("/a.b/c"), ["/a.b"]);
        assert_eq!(found("/a/x/y/z"), ["/a/x/y", "/a/x", "/a"]);
        assert_eq!(found("/a/xy"), ["/a"]);
        assert_eq!(found("/a/z/z"), ["/a/z", "/a"]);
        assert_eq!(found("/file"), ["/file"]);
        assert!(found("/file2").is_empty() && found("/").is_empty());
        let all = super::tests::guard(&["/", "/a"]);
        all.had(&file("/a/b"));
        all.had(&file("/c"));
        let had = all.sources.iter().map(|s| s.had.load(Ordering::Relaxed));
        assert_eq!(had.collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn a_source_inside_is_kept_before_the_one_around_it() {
        let mut guard = guard(&["/", "/mnt/disk"]);
        for number in 0..2000 {
            let path = format!("/mnt/disk/{number}");
            guard.had(&file(&path));
            guard.lost(&file(&path));
        }
        assert_eq!(guard.keep_lost().len(), 1);
        assert!(guard.keeps(b"/mnt/disk/1") && !guard.keeps(b"/mnt/"));
        assert_eq!(guard.kept_tops(), [b"/mnt/disk"]);
        guard.count_anew();
        assert!(guard.keep_lost().is_empty());
    }
    /// Each of them lost nearly all, and only the innermost is to be kept.
    #[test]
    fn what_is_lost_in_the_innermost_source_is_none_of_all_around_it() {
        let mut guard = guard(&["/", "/mnt", "/mnt/disk"]);
        for number in 0..2000 {
            let path = format!("/mnt/disk/{number}");
            guard.had(&file(&path));
            guard.lost(&file(&path));
        }
        guard.keep_lost();
        assert_eq!(guard.kept_tops(), [b"/mnt/disk"]);
    }
}
