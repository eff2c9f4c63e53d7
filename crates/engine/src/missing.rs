//! Whether every block of an entry can be had.

use std::collections::{BTreeSet, HashSet};

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

/// What of an entry cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Its content, and perhaps its metadata.
    Content,
    /// Only its metadata: times, permissions, and where a link leads to.
    Metadata,
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
        let mut missing = 0;
        self.find_missing(waiting, &HashSet::new(), |_, _| {
            missing += 1;
            Ok(())
        })?;
        Ok(missing)
    }

    /// As [`Settled::count_missing`], and hands those entries to `found` with what of them cannot be had. Blocks that are
    /// `lost` count as missing.
    pub(crate) fn find_missing_of(
        &self,
        waiting: &mut Waiting,
        entry: FileEntry,
        lost: &HashSet<Key>,
        found: impl FnMut(FileEntry, Missing) -> Result<()>,
    ) -> Result<()> {
        waiting.entries.push(entry);
        if waiting.entries.len() < LOOKED_UP {
            return Ok(());
        }
        self.find_missing(waiting, lost, found)
    }

    /// The same for those that still wait.
    pub(crate) fn find_missing(
        &self,
        waiting: &mut Waiting,
        lost: &HashSet<Key>,
        mut found: impl FnMut(FileEntry, Missing) -> Result<()>,
    ) -> Result<()> {
        let format = self.format();
        let (mut keys, mut owners, mut doubtful) = (Vec::new(), Vec::new(), BTreeSet::new());
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
        let homes = self.catalog(|c| c.find_blocks(&keys))?;
        let unfound = owners.iter().zip(&keys).zip(homes);
        let unfound = unfound.filter(|((_, key), home)| home.is_none() || lost.contains(key));
        doubtful.extend(unfound.map(|((index, _), _)| *index));
        for (index, entry) in waiting.entries.drain(..).enumerate() {
            if !doubtful.contains(&index) {
                continue;
            }
            if let Some(missing) = self.missing_of(&entry, lost, &mut waiting.whole)? {
                found(entry, missing)?;
            }
        }
        Ok(())
    }

    /// What of an entry cannot be had, if anything.
    pub(crate) fn missing_of(
        &self,
        entry: &FileEntry,
        lost: &HashSet<Key>,
        whole: &mut WholeLists,
    ) -> Result<Option<Missing>> {
        let format = self.format();
        let metadata =
            self.missing_of_stream(entry.metadata(&format), entry.metahash, lost, whole)?;
        let content = self.missing_of_stream(entry.content(&format), entry.hash, lost, whole)?;
        Ok(match (content, metadata) {
            (Some(_), _) => Some(Missing::Content),
            (None, Some(_)) => Some(Missing::Metadata),
            (None, None) => None,
        })
    }

    /// The first block of an entry that is in no volume, or among the `lost` ones. Memory: one blocklist.
    pub(crate) fn first_missing(
        &self,
        entry: &FileEntry,
        lost: &HashSet<Key>,
        whole: &mut WholeLists,
    ) -> Result<Option<Key>> {
        let format = self.format();
        let metadata =
            self.missing_of_stream(entry.metadata(&format), entry.metahash, lost, whole)?;
        match metadata {
            None => self.missing_of_stream(entry.content(&format), entry.hash, lost, whole),
            found => Ok(found),
        }
    }

    /// The same of one of its streams, with the hash of all of it.
    fn missing_of_stream(
        &self,
        blocks: Blocks<'_>,
        full: Option<Hash>,
        lost: &HashSet<Key>,
        whole: &mut WholeLists,
    ) -> Result<Option<Key>> {
        let format = self.format();
        match blocks {
            Blocks::None => Ok(None),
            // What the list does not say nobody can restore.
            Blocks::Unknown => Ok(full.map(|hash| (hash, 0))),
            Blocks::One(hash, len) => self.missing(&[(hash, len)], lost),
            Blocks::Listed { lists, len } => {
                self.missing_of_lists(lists, len, &format, lost, whole)
            }
        }
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
