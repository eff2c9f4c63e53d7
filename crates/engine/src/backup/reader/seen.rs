//! Changes that a file's time and size do not show: what the file system alone sets.

use larder_catalog::Seen;
use larder_source::{Facts, FileKind};
use larder_volume::ticks_from_unix;

use super::Worker;

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

    /// True when a file is another one than was seen, or was changed in any way since. What was not seen is trusted.
    ///
    /// The device does not count: many file systems get another number at the next start of the machine.
    pub(super) fn is_another_inode(&self, last: Option<Seen>, facts: &Facts) -> bool {
        let (Some(last), Some(now)) = (last, self.seen(facts)) else {
            return false;
        };
        (last.ctime_ticks, last.inode) != (now.ctime_ticks, now.inode)
    }
}
