//! Whether what an entry uses is stored already.

use larder_volume::{EntryKind, FileEntry, Hash};

use super::super::counters::bump;
use super::{Shared, Worker};
use crate::Result;
use crate::notes::Presence;

/// What the catalog says about the blocks of an entry; the later counts when two meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stored {
    /// All are stored.
    Whole,
    /// The catalog cannot tell.
    Unclear,
    /// At least one is nowhere.
    NotAll,
}

/// Which blocks count as stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::backup) enum Counts {
    /// Also those that this run is going to send.
    OnItsWay,
    /// Those of volumes that were sent.
    Sent,
}

impl Worker<'_, '_> {
    /// True when an unchanged entry need not be read again.
    pub(super) fn may_rest_on(&self, previous: &FileEntry) -> Result<bool> {
        Ok(match self.shared.stored(previous, Counts::OnItsWay)? {
            Stored::Whole => true,
            // Reading it again costs no upload when nothing is missing.
            Stored::Unclear => self.shared.presence == Presence::Seen,
            Stored::NotAll => {
                bump(&self.shared.counters.without_blocks, 1);
                false
            }
        })
    }
}

impl Shared<'_> {
    /// Whether every block that an entry uses is stored.
    pub(super) fn stored(&self, entry: &FileEntry, counts: Counts) -> Result<Stored> {
        let format = self.store.format;
        let of_block = |hash: Option<Hash>| hash.filter(|_| format.block_hash == format.file_hash);
        let metadata = self.stream_stored(
            entry.metasize,
            entry.metablockhash.or(of_block(entry.metahash)),
            &entry.metablocklists,
            counts,
        )?;
        if entry.kind != EntryKind::File {
            return Ok(metadata);
        }
        let content = self.stream_stored(
            entry.size,
            entry.blockhash.or(of_block(entry.hash)),
            &entry.blocklists,
            counts,
        )?;
        Ok(metadata.max(content))
    }

    fn stream_stored(
        &self,
        size: u64,
        only: Option<Hash>,
        lists: &[Hash],
        counts: Counts,
    ) -> Result<Stored> {
        let (store, run) = (self.store, self.run);
        let has = |hash, len| match counts {
            Counts::OnItsWay => store.has(hash, len),
            Counts::Sent => store.is_sent(hash, len),
        };
        if size == 0 {
            return Ok(Stored::Whole);
        }
        if lists.is_empty() {
            return Ok(match only {
                Some(hash) if has(hash, size)? => Stored::Whole,
                Some(_) => Stored::NotAll,
                None => Stored::Unclear,
            });
        }
        let (mut left, width) = (size, store.format.block_hash.len());
        let mut stored = Stored::Whole;
        for list in lists {
            let mut is_held = false;
            for (len, _) in run.catalog(|c| c.find_blocks_by_hash(list))? {
                is_held |= has(*list, len)?;
            }
            if !is_held {
                return Ok(Stored::NotAll);
            }
            let Some(bytes) = run.catalog(|c| c.blocklist(list))? else {
                // No index repeats it: what it names is not known.
                stored = Stored::Unclear;
                continue;
            };
            for raw in bytes.chunks(width) {
                let Ok(hash) = Hash::from_bytes(raw) else {
                    return Ok(Stored::Unclear);
                };
                let len = left.min(store.format.blocksize);
                left -= len;
                if stored == Stored::Whole && !has(hash, len)? {
                    return Ok(Stored::NotAll);
                }
            }
        }
        Ok(if left == 0 { stored } else { Stored::Unclear })
    }
}
