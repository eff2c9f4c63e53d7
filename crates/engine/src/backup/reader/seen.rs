//! Changes that a file's time and size do not show: what the file system alone sets.

use larder_catalog::Seen;
use larder_source::{Facts, FileKind, WalkEntry};
use larder_volume::ticks_from_unix;

use super::Worker;

/// What a time without a fraction may be off: FAT counts two seconds, other file systems one or less.
const COARSE_STEP_SECONDS: i64 = 2;

impl Worker<'_, '_> {
    /// What is noted of a file beside its entry.
    pub(super) fn seen(&self, facts: &Facts) -> Option<Seen> {
        let wanted = facts.kind == FileKind::File && !self.shared.run.settings.ignore_inode_changes;
        wanted.then(|| Seen {
            ctime_ticks: ticks_from_unix(facts.ctime.0, facts.ctime.1),
            inode: facts.ino,
            device: facts.dev,
        })
    }

    /// True when a file may have other content although its time, size and metadata are the same.
    pub(super) fn may_hide_a_change(&self, last: Option<Seen>, entry: &WalkEntry) -> bool {
        let facts = &entry.facts;
        self.is_another_inode(last, facts)
            || facts.kind == FileKind::File && self.is_too_new(last.is_some(), entry)
    }

    /// True when a file was changed after the last run was begun, so perhaps before it was read and once more after that,
    /// within one step of the file system's clock (two seconds on FAT, one on ext3, some milliseconds on others).
    ///
    /// Where the change time was noted it decides, since no program can set it. Times in the future say nothing.
    fn is_too_new(&self, was_seen: bool, entry: &WalkEntry) -> bool {
        let facts = &entry.facts;
        let changed = if was_seen { facts.ctime } else { facts.mtime };
        let step = if changed.1 == 0 {
            COARSE_STEP_SECONDS
        } else {
            0
        };
        let now = self.shared.run.started().0;
        let last_read = self.shared.guard.last_read(&entry.path);
        last_read.is_some_and(|begun| changed.0 >= begun - step && changed.0 <= now)
    }

    /// True when a file is another one than was seen, or was changed in any way since. What was not seen is trusted.
    ///
    /// The device does not count: many file systems get another number at the next start of the machine.
    fn is_another_inode(&self, last: Option<Seen>, facts: &Facts) -> bool {
        let (Some(last), Some(now)) = (last, self.seen(facts)) else {
            return false;
        };
        (last.ctime_ticks, last.inode) != (now.ctime_ticks, now.inode)
    }
}
