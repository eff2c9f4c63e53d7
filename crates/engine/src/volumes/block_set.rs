//! The blocks of a volume that is being written: in their order, and to be found.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashTable;
use larder_volume::{BlockTable, Hash};

use crate::budget::{Budget, Share};

/// The blocks of one volume. Memory: 46 to 51 bytes for each with SHA-256.
pub(crate) struct BlockSet {
    table: BlockTable,
    /// Places in the table.
    places: HashTable<u32>,
    hasher: RandomState,
    share: Share,
}

impl BlockSet {
    fn new(budget: &Budget) -> Self {
        Self {
            table: BlockTable::new(),
            places: HashTable::new(),
            hasher: RandomState::new(),
            share: budget.share(),
        }
    }

    /// Adds a block that is not there. Gives the bytes that it takes in memory.
    pub(crate) fn push(&mut self, hash: &Hash, size: u64) -> u64 {
        let Self {
            table,
            places,
            hasher,
            ..
        } = self;
        // No volume has four thousand million blocks; beyond, a block is stored twice at worst.
        if let Ok(place) = u32::try_from(table.len()) {
            let hash_of = |hash: &Hash, size: u64| hasher.hash_one((hash.as_bytes(), size));
            places.insert_unique(hash_of(hash, size), place, |at| {
                let block = table.get(*at as usize);
                block.map_or(0, |(hash, size)| hash_of(&hash, size))
            });
        }
        table.push(hash, size);
        self.hold(self.table.row_len() as u64 + PLACE_BYTES)
    }

    /// Counts further bytes that are kept as long as the blocks are; gives them back.
    pub(crate) fn hold(&mut self, bytes: u64) -> u64 {
        self.share.must_grow(bytes);
        bytes
    }

    /// Tells whether a block is there.
    pub(crate) fn contains(&self, hash: &Hash, size: u64) -> bool {
        let key = self.hasher.hash_one((hash.as_bytes(), size));
        let is_it = |at: &u32| self.table.get(*at as usize) == Some((*hash, size));
        self.places.find(key, is_it).is_some()
    }

    /// Takes all blocks out, in their order. They still count in the budget.
    pub(crate) fn take_table(&mut self) -> BlockTable {
        self.places = HashTable::new();
        std::mem::take(&mut self.table)
    }

    /// All of them in the order in which they were added.
    pub(crate) fn table(&self) -> &BlockTable {
        &self.table
    }
}

/// A [`BlockSet`] that its writer fills while others look into it.
#[derive(Clone)]
pub(crate) struct SharedBlocks(Arc<RwLock<BlockSet>>);

impl SharedBlocks {
    /// An empty set whose memory counts in a budget.
    pub(crate) fn new(budget: &Budget) -> Self {
        Self(Arc::new(RwLock::new(BlockSet::new(budget))))
    }

    /// To look into it, beside others.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, BlockSet> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To change it.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, BlockSet> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether both are the same set.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// What a place takes, about.
const PLACE_BYTES: u64 = 8;

#[cfg(test)]
mod tests {
    use larder_volume::HashAlgorithm;

    use super::*;

    #[test]
    fn blocks_are_found_and_keep_their_order() {
        let budget = Budget::new(0);
        let set = SharedBlocks::new(&budget);
        let block = |n: u32| (HashAlgorithm::Sha256.digest(&n.to_le_bytes()), u64::from(n));
        for n in 0..5000 {
            let (hash, size) = block(n);
            assert!(!set.read().contains(&hash, size));
            set.write().push(&hash, size);
        }
        let set = set.read();
        let all = (0..5000).map(block);
        assert!(all.clone().all(|(hash, size)| set.contains(&hash, size)));
        assert!(
            all.clone()
                .all(|(hash, size)| !set.contains(&hash, size + 1))
        );
        assert!(set.table().iter().eq(all));
    }
}
