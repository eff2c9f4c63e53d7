//! What a backup counts.

use std::sync::atomic::{AtomicU64, Ordering};

use larder_volume::EntryKind;

/// Counters of a backup, shared by all threads.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) examined_files: AtomicU64,
    pub(crate) examined_bytes: AtomicU64,
    pub(crate) opened_files: AtomicU64,
    pub(crate) opened_bytes: AtomicU64,
    pub(crate) added: [AtomicU64; 3],
    pub(crate) modified: [AtomicU64; 3],
    pub(crate) deleted: [AtomicU64; 3],
    pub(crate) added_bytes: AtomicU64,
    pub(crate) modified_bytes: AtomicU64,
    pub(crate) too_large: AtomicU64,
    pub(crate) skipped: AtomicU64,
    pub(crate) with_error: AtomicU64,
    /// Entries whose blocks were in no data file any more.
    pub(crate) without_blocks: AtomicU64,
}

impl Counters {
    /// True when something was found that the previous version does not have so.
    pub(crate) fn any_change(&self) -> bool {
        let groups = [&self.added, &self.modified, &self.deleted];
        let mut all = groups.into_iter().flatten();
        all.any(|counter| counter.load(Ordering::Relaxed) > 0)
    }
}

/// Position of a kind in the counters.
pub(crate) fn slot(kind: EntryKind) -> usize {
    match kind {
        EntryKind::File => 0,
        EntryKind::Folder => 1,
        EntryKind::Symlink => 2,
    }
}

pub(crate) fn bump(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
