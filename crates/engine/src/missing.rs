//! Whether every block of an entry can be had.

use std::collections::HashSet;

use larder_volume::{Blocks, FileEntry, Format, Hash, blocks_of};

use crate::Result;
use crate::phases::Settled;

/// A block: its hash and its length, 0 where that is not known.
type Key = (Hash, u64);

/// Full blocklists whose blocks were all found. A sparse file names one of them a thousand times.
#[derive(Default)]
pub(crate) struct WholeLists(HashSet<Hash>);

/// Blocklists remembered so; 4 MiB.
const REMEMBERED: usize = 1 << 16;

/// Entries that wait to be looked up together: one question to the catalog for many is several times faster.
#[derive(Default)]
pub(crate) struct Waiting {
    entries: Vec<FileEntry>,
    whole: WholeLists,
}

/// Entries looked up together, about 300 bytes each.
const LOOKED_UP: usize = 2048;

impl Settled<'_> {
    /// Adds an entry to those that wait; gives how many of them use a block that is in no volume, once they are enough.
    pub(crate) fn count_missing(&self, waiting: &mut Waiting, entry: FileEntry) -> Result<u64> {
        waiting.entries.push(entry);
        if waiting.entries.len() < LOOKED_UP {
            return Ok(0);
        }
        self.count_rest(waiting)
    }

    /// The same for those that still wait.
    pub(crate) fn count_rest(&self, waiting: &mut Waiting) -> Result<u64> {
        let format = self.format();
        let (mut keys, mut owners, mut doubtful) = (Vec::new(), Vec::new(), HashSet::new());
        for (index, entry) in waiting.entries.iter().enumerate() {
            for blocks in [entry.metadata(&format), entry.content(&format)] {
                match blocks {
                    Blocks::None => {}
                    Blocks::One(hash, len) => {
                        keys.push((hash, len));
                        owners.push(index);
                    }
                    Blocks::Listed { .. } | Blocks::Unknown => {
                        doubtful.insert(index);
                    }
                }
            }
        }
        let found = self.catalog(|c| c.find_blocks(&keys))?;
        let unfound = owners
            .iter()
            .zip(found)
            .filter(|(_, found)| found.is_none());
        doubtful.extend(unfound.map(|(index, _)| *index));
        let mut missing = 0;
        for index in doubtful {
            if let Some(entry) = waiting.entries.get(index)
                && self
                    .first_missing(entry, &HashSet::new(), &mut waiting.whole)?
                    .is_some()
            {
                missing += 1;
            }
        }
        waiting.entries.clear();
        Ok(missing)
    }

    /// The first block of an entry that is in no volume, or among the `lost` ones. Memory: one blocklist.
    pub(crate) fn first_missing(
        &self,
        entry: &FileEntry,
        lost: &HashSet<Key>,
        whole: &mut WholeLists,
    ) -> Result<Option<Key>> {
        let format = self.format();
        let streams = [
            (entry.metadata(&format), entry.metahash),
            (entry.content(&format), entry.hash),
        ];
        for (blocks, full) in streams {
            let missing = match blocks {
                Blocks::None => None,
                // What the list does not say nobody can restore.
                Blocks::Unknown => full.map(|hash| (hash, 0)),
                Blocks::One(hash, len) => self.missing(&[(hash, len)], lost)?,
                Blocks::Listed { lists, len } => {
                    self.missing_of_lists(lists, len, &format, lost, whole)?
                }
            };
            if missing.is_some() {
                return Ok(missing);
            }
        }
        Ok(None)
    }

    /// Hands those blocklists of an entry to `take` whose content the catalog does not know, so that nothing is known of
    /// their blocks.
    pub(crate) fn unknown_lists(
        &self,
        entry: &FileEntry,
        mut take: impl FnMut(Hash),
    ) -> Result<()> {
        let format = self.format();
        for blocks in [entry.metadata(&format), entry.content(&format)] {
            let Blocks::Listed { lists, .. } = blocks else {
                continue;
            };
            let mut last = None;
            for list in lists {
                // A sparse file names one of them a thousand times.
                if last.replace(list) != Some(list)
                    && self.catalog(|c| c.blocklist(list))?.is_none()
                {
                    take(*list);
                }
            }
        }
        Ok(())
    }

    fn missing_of_lists(
        &self,
        lists: &[Hash],
        len: u64,
        format: &Format,
        lost: &HashSet<Key>,
        whole: &mut WholeLists,
    ) -> Result<Option<Key>> {
        let of_full_list = format
            .blocksize
            .saturating_mul(format.hashes_per_blocklist());
        let mut left = len;
        for list in lists {
            self.cancel.check()?;
            let span = left.min(of_full_list);
            left -= span;
            let is_full = span == of_full_list;
            if is_full && whole.0.contains(list) {
                continue;
            }
            let missing = match self.catalog(|c| c.blocklist(list))? {
                Some(bytes) => match keys_of(&bytes, span, format) {
                    Some(keys) => self.missing(&keys, lost)?,
                    None => Some((*list, 0)),
                },
                // Not repeated by an index: at least the list itself must exist.
                None => self.missing(&[(*list, 0)], lost)?,
            };
            if missing.is_some() {
                return Ok(missing);
            }
            if is_full && whole.0.len() < REMEMBERED {
                whole.0.insert(*list);
            }
        }
        Ok(None)
    }

    /// The first of some blocks that cannot be had.
    fn missing(&self, keys: &[Key], lost: &HashSet<Key>) -> Result<Option<Key>> {
        let found = self.catalog(|c| c.find_blocks(keys))?;
        for (key, volume) in keys.iter().zip(found) {
            if lost.contains(key) {
                return Ok(Some(*key));
            }
            if volume.is_some() {
                continue;
            }
            let any = match key.1 {
                0 => self.catalog(|c| c.find_blocks_by_hash(&key.0))?,
                _ => Vec::new(),
            };
            match any.first() {
                Some((size, _)) if !lost.contains(&(key.0, *size)) => {}
                Some((size, _)) => return Ok(Some((key.0, *size))),
                None => return Ok(Some(*key)),
            }
        }
        Ok(None)
    }
}

/// The blocks that a blocklist names for so many bytes; `None` when it names more or fewer.
fn keys_of(bytes: &[u8], span: u64, format: &Format) -> Option<Vec<Key>> {
    let width = format.block_hash.len();
    let count = blocks_of(span, format.blocksize);
    if !bytes.len().is_multiple_of(width) || (bytes.len() / width) as u64 != count {
        return None;
    }
    let mut left = span;
    let keys = bytes.chunks_exact(width).map(|raw| {
        let len = left.min(format.blocksize);
        left -= len;
        Hash::from_bytes(raw).ok().map(|hash| (hash, len))
    });
    keys.collect()
}
