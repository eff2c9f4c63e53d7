//! Finds an entry by its name without keeping the names twice.

use std::hash::{BuildHasher, RandomState};

use super::ArchiveEntry;

/// An open-addressing hash table of positions in a list of entries.
pub(super) struct NameIndex {
    state: RandomState,
    /// Position + 1, or 0 for empty; a power of two, at most half full.
    slots: Vec<u32>,
}

impl NameIndex {
    /// Indexes `entries`; of equal names the first counts.
    pub(super) fn new(entries: &[ArchiveEntry]) -> Self {
        let mut index = NameIndex {
            state: RandomState::new(),
            slots: vec![0; entries.len().saturating_mul(2).max(2).next_power_of_two()],
        };
        for (number, entry) in (1u32..).zip(entries) {
            if let Err(slot) = index.probe(entries, &entry.name)
                && let Some(place) = index.slots.get_mut(slot)
            {
                *place = number;
            }
        }
        index
    }

    /// Returns the entry of that name among the `entries` that were indexed.
    pub(super) fn find<'a>(
        &self,
        entries: &'a [ArchiveEntry],
        name: &str,
    ) -> Option<&'a ArchiveEntry> {
        self.probe(entries, name).ok()
    }

    /// Returns the entry, or the free slot where it would belong.
    fn probe<'a>(
        &self,
        entries: &'a [ArchiveEntry],
        name: &str,
    ) -> Result<&'a ArchiveEntry, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = self.state.hash_one(name) as usize & mask;
        loop {
            let number = self.slots.get(slot).map_or(0, |number| *number as usize);
            let Some(entry) = number.checked_sub(1).and_then(|at| entries.get(at)) else {
                return Err(slot);
            };
            if entry.name == name {
                return Ok(entry);
            }
            slot = (slot + 1) & mask;
        }
    }
}
