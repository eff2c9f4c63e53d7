//! Hashes and sizes of many blocks in little memory.

use std::fmt;

use crate::Hash;

/// Blocks in an order: a slice of them, or a [`BlockTable`].
pub trait BlockRows {
    /// Their number.
    fn count(&self) -> usize;

    /// The block at a place.
    fn row(&self, at: usize) -> Option<(Hash, u64)>;

    /// All of them in their order.
    fn rows(&self) -> impl Iterator<Item = (Hash, u64)> + '_ {
        (0..self.count()).filter_map(|at| self.row(at))
    }
}

impl BlockRows for [(Hash, u64)] {
    fn count(&self) -> usize {
        self.len()
    }

    fn row(&self, at: usize) -> Option<(Hash, u64)> {
        self.get(at).copied()
    }
}

impl<const N: usize> BlockRows for [(Hash, u64); N] {
    fn count(&self) -> usize {
        N
    }

    fn row(&self, at: usize) -> Option<(Hash, u64)> {
        self.get(at).copied()
    }
}

impl BlockRows for Vec<(Hash, u64)> {
    fn count(&self) -> usize {
        self.len()
    }

    fn row(&self, at: usize) -> Option<(Hash, u64)> {
        self.get(at).copied()
    }
}

impl BlockRows for BlockTable {
    fn count(&self) -> usize {
        self.len()
    }

    fn row(&self, at: usize) -> Option<(Hash, u64)> {
        self.get(at)
    }
}

/// A growing list of blocks: 41 bytes each with SHA-256, where a pair of [`struct@Hash`] and size takes 80. A volume of the
/// usual size has up to a quarter of a million.
#[derive(Clone, Default)]
pub struct BlockTable {
    /// Length of the longest hash; all rows have room for it.
    width: usize,
    /// The length of the hash, the hash, the size.
    rows: Vec<u8>,
}

impl BlockTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a block at the end.
    pub fn push(&mut self, hash: &Hash, size: u64) {
        let bytes = hash.as_bytes();
        if bytes.len() > self.width {
            self.widen(bytes.len());
        }
        let padding = self.width - bytes.len();
        // No hash is longer than 64 bytes.
        self.rows.push(bytes.len() as u8);
        self.rows.extend_from_slice(bytes);
        self.rows.extend(std::iter::repeat_n(0, padding));
        self.rows.extend_from_slice(&size.to_le_bytes());
    }

    /// The block at a place.
    pub fn get(&self, at: usize) -> Option<(Hash, u64)> {
        let start = at.checked_mul(self.row_len())?;
        parse_row(self.rows.get(start..)?.get(..self.row_len())?)
    }

    /// Tells whether the block at a place is this one.
    pub fn is_at(&self, at: usize, hash: &Hash, size: u64) -> bool {
        self.get(at) == Some((*hash, size))
    }

    /// All blocks in their order.
    pub fn iter(&self) -> impl Iterator<Item = (Hash, u64)> + '_ {
        self.rows.chunks_exact(self.row_len()).filter_map(parse_row)
    }

    /// The number of blocks.
    pub fn len(&self) -> usize {
        self.rows.len() / self.row_len()
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes that a block takes.
    pub fn row_len(&self) -> usize {
        1 + self.width + SIZE_LEN
    }

    fn widen(&mut self, width: usize) {
        let wider = Self {
            width,
            rows: Vec::new(),
        };
        let narrow = std::mem::replace(self, wider);
        self.extend(narrow.iter());
    }
}

fn parse_row(row: &[u8]) -> Option<(Hash, u64)> {
    let (len, rest) = row.split_first()?;
    let (hash, size) = rest.split_last_chunk::<SIZE_LEN>()?;
    let hash = Hash::from_bytes(hash.get(..usize::from(*len))?).ok()?;
    Some((hash, u64::from_le_bytes(*size)))
}

impl Extend<(Hash, u64)> for BlockTable {
    fn extend<I: IntoIterator<Item = (Hash, u64)>>(&mut self, blocks: I) {
        for (hash, size) in blocks {
            self.push(&hash, size);
        }
    }
}

impl FromIterator<(Hash, u64)> for BlockTable {
    fn from_iter<I: IntoIterator<Item = (Hash, u64)>>(blocks: I) -> Self {
        let mut table = Self::new();
        table.extend(blocks);
        table
    }
}

impl From<Vec<(Hash, u64)>> for BlockTable {
    fn from(blocks: Vec<(Hash, u64)>) -> Self {
        blocks.into_iter().collect()
    }
}

impl PartialEq for BlockTable {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for BlockTable {}

impl fmt::Debug for BlockTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

const SIZE_LEN: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::HashAlgorithm;

    #[test]
    fn a_usual_block_takes_41_bytes() {
        let blocks = (0..1000_u32).map(|n| (HashAlgorithm::Sha256.digest(&n.to_le_bytes()), 7));
        let table: BlockTable = blocks.collect();
        assert_eq!((table.len(), table.row_len()), (1000, 41));
        assert_eq!(table.rows.len(), 41_000);
    }

    proptest! {
        /// Whatever lengths the hashes have, and in whatever order they come.
        #[test]
        fn blocks_come_back_in_their_order(blocks: Vec<(u16, u64, u8)>) {
            let block = |(seed, size, kind): &(u16, u64, u8)| {
                let algorithm = HashAlgorithm::ALL[usize::from(*kind) % HashAlgorithm::ALL.len()];
                (algorithm.digest(&seed.to_le_bytes()), *size)
            };
            let blocks: Vec<_> = blocks.iter().map(block).collect();
            let table = BlockTable::from(blocks.clone());
            prop_assert_eq!(table.len(), blocks.len());
            prop_assert_eq!(table.iter().collect::<Vec<_>>(), blocks.clone());
            for (at, block) in blocks.iter().enumerate() {
                prop_assert_eq!(table.row(at), blocks.row(at));
                prop_assert!(table.is_at(at, &block.0, block.1));
                prop_assert!(!table.is_at(at, &block.0, block.1 ^ 1));
            }
            prop_assert_eq!(table.get(blocks.len()), None);
            prop_assert_eq!(table.is_empty(), blocks.is_empty());
        }
    }
}
