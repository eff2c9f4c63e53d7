//! The guard of the sources: which of them look lost, by what the previous version has of them.
//!
//! An unmounted disk, a folder that was emptied by mistake and a program that encrypts all files look like the wish of the
//! user otherwise, and the versions that still have the files grow old and go (docs/decisions/0026).

mod source;

use std::sync::atomic::{AtomicU64, Ordering};

use larder_source::{FileKind, Found, Root, WalkItem, WalkOptions};
use larder_volume::{EntryKind, FileEntry};

pub(super) use self::source::{Limits, Source};
use super::counters::bump;
use super::source_notes::{SourceNote, SourceNotes, hash_of_filters};
use crate::guarded::{GuardReason, GuardedSource};
use crate::report::BackupReport;

/// Counts what becomes of the previous version's files in each source, and knows whose list is kept.
#[derive(Debug)]
pub(crate) struct Guard {
    /// In ascending order of their keys.
    sources: Vec<Source>,
    limits: Limits,
    /// The user takes all sources as they are.
    accepts: bool,
    /// When the sources were read last that have no time of their own.
    last_read: Option<i64>,
    /// Others made the newest version.
    is_beside_others: bool,
    /// Of a source that looks lost nothing is known any more.
    lacks_any: bool,
}

impl Guard {
    pub(super) fn new<'r>(roots: impl Iterator<Item = &'r Root>, limits: Limits) -> Self {
        let mut sources: Vec<Source> = roots.map(Source::new).collect();
        sources.sort_by(|a, b| a.key.cmp(&b.key));
        sources.dedup_by(|later, earlier| later.key == earlier.key);
        let mut guard = Self {
            sources,
            limits,
            accepts: false,
            last_read: None,
            is_beside_others: false,
            lacks_any: false,
        };
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

    /// The same, of a run that takes the sources as they are.
    pub(super) fn accepting(mut self, accepts: bool) -> Self {
        if accepts {
            self.accepts = true;
            self.limits = Limits::NONE;
        }
        self
    }

    /// The same beside a newest version that others made.
    pub(super) fn beside_others(mut self) -> Self {
        self.is_beside_others = true;
        self
    }

    /// The version that has what is kept, for people.
    pub(super) fn whose(&self) -> &'static str {
        match self.is_beside_others {
            true => "the last version from here",
            false => "the last version",
        }
    }

    /// The same, with what is known of earlier runs: when the sources were read last, and what was noted of each.
    pub(super) fn knowing(
        mut self,
        last_read: Option<i64>,
        notes: &SourceNotes,
        options: &WalkOptions,
    ) -> Self {
        self.last_read = last_read;
        let keys: Vec<Vec<u8>> = self.sources.iter().map(|s| s.key.clone()).collect();
        for source in &mut self.sources {
            let keys = keys.iter().map(Vec::as_slice);
            let inner = keys.filter(|key| key.starts_with(&source.key) && *key != source.key);
            source.filters = hash_of_filters(options, inner);
            source.note = notes.find(&source.key);
        }
        self
    }

    /// When the last run was begun that read an entry, in seconds since 1970.
    pub(super) fn last_read(&self, path: &[u8]) -> Option<i64> {
        let own = |source: &Source| source.note.as_ref().and_then(|note| note.read);
        let mut last = self.last_read;
        if self.sources.iter().any(|source| own(source).is_some()) {
            self.each_of(path, |source| {
                last = own(source).into_iter().chain(last).min();
            });
        }
        last
    }

    /// When the last run was begun that read the sources which have no time of their own.
    pub(super) fn last_read_of_most(&self) -> Option<i64> {
        self.last_read
    }

    /// What the next run has to know of each source; `all_was_read` but for those that are kept.
    pub(super) fn notes(&self, all_was_read: bool) -> SourceNotes {
        let mut notes = SourceNotes::default();
        for source in &self.sources {
            let before = source.note.as_ref();
            let read = before.and_then(|note| note.read);
            let note = match self.keeps(&source.key) {
                true => SourceNote {
                    filters: before.map_or(&source.filters, |note| &note.filters).clone(),
                    read: read.or(self.last_read.filter(|_| all_was_read)),
                },
                false => SourceNote {
                    filters: source.filters.clone(),
                    read: read.filter(|_| !all_was_read),
                },
            };
            notes.add(&source.key, &note);
        }
        notes
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

    /// The same for what is compared with the previous version: one of a source that was read by other filters then says
    /// nothing of the sources around it.
    fn each_compared(&self, path: &[u8], mut with: impl FnMut(&Source)) {
        let mut place = self.innermost(path);
        while let Some(source) = place.and_then(|place| self.sources.get(place)) {
            with(source);
            place = source.outer.filter(|_| !source.has_other_filters());
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
            self.each_compared(&entry.path, |source| bump(&source.lost, 1));
        }
    }

    /// An entry is in the source that the previous version does not have.
    pub(super) fn added(&self, now: &FileEntry) {
        if now.kind == EntryKind::File {
            self.each_compared(&now.path, |source| bump(&source.new, 1));
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
        let sources = self.sources.iter().filter(|_| !self.accepts);
        sources.filter(move |source| counts || source.is_suspect())
    }

    /// The sources of which something was missed.
    pub(super) fn missed(&self) -> impl Iterator<Item = String> {
        let is_missed = |source: &&Source| source.missed.load(Ordering::Relaxed) > 0;
        self.sources.iter().filter(is_missed).map(Source::shown)
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

    /// The sources that went away while they were read, and of which nothing was known.
    pub(super) fn cut_short(&self) -> Vec<String> {
        let had_none = |source: &&Source| {
            source.kept.is_none() && source.had.load(Ordering::Relaxed) == 0 && source.went_away()
        };
        let cut = self.sources.iter().filter(had_none);
        cut.map(Source::shown).collect()
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

    /// Nothing can be kept of a source that looks lost.
    pub(super) fn note_lacking(&mut self) {
        self.lacks_any = true;
    }

    /// Whether old versions may be all that there is of a source.
    pub(super) fn holds_back(&self) -> bool {
        self.lacks_any || !self.guarded().is_empty()
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
            ([99, 99, 0, 1, 1], Some(Lost)),
            ([99, 99, 0, 49, 49], Some(Lost)),
            ([99, 99, 0, 50, 50], None),
            ([9, 9, 0, 1, 1], None),
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
