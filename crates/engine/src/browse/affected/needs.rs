//! Which entries need blocks of some volumes.

use std::collections::{BTreeSet, HashMap};

use larder_catalog::{Catalog, Fingerprints, Result};
use larder_volume::{Blocks, FileEntry, Format, Hash};

/// The blocks of some volumes.
pub(super) struct Held {
    pub(super) all: Fingerprints,
    /// Those of which no other volume has a good copy.
    pub(super) only: Fingerprints,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// Whether an entry needs these blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) is_used: bool,
    /// It needs one of which no other volume has a good copy.
    pub(super) is_lost: bool,
    /// Not all of its blocks are known.
    pub(super) is_unclear: bool,
}

impl Verdict {
    fn join(&mut self, other: Self) {
        self.is_used |= other.is_used;
        self.is_lost |= other.is_lost;
        self.is_unclear |= other.is_unclear;
    }
}

/// Answers for one entry after the other.
pub(super) struct Need<'a> {
    catalog: &'a Catalog,
    held: &'a Held,
    format: Format,
    /// Answers for blocklists: a sparse file names one of them a thousand times, and many states of a file name most of its
    /// lists.
    lists: HashMap<Hash, Verdict>,
}

/// Answers for blocklists that are remembered; some 8 MiB.
const REMEMBERED: usize = 1 << 16;

impl<'a> Need<'a> {
    pub(super) fn new(catalog: &'a Catalog, held: &'a Held, format: Format) -> Self {
        Self {
            catalog,
            held,
            format,
            lists: HashMap::new(),
        }
    }

    /// The answer for an entry.
    pub(super) fn of(&mut self, entry: &FileEntry) -> Result<Verdict> {
        let mut verdict = Verdict::default();
        if self.held.is_empty() {
            return Ok(verdict);
        }
        let format = self.format;
        for blocks in [entry.metadata(&format), entry.content(&format)] {
            match blocks {
                Blocks::None => {}
                Blocks::One(hash, len) => verdict.join(self.block(&hash, len)?),
                Blocks::Unknown => verdict.is_unclear = true,
                Blocks::Listed { lists, len } => {
                    let last = lists.len().saturating_sub(1);
                    let of_full_list = format
                        .blocksize
                        .saturating_mul(format.hashes_per_blocklist());
                    for (at, list) in lists.iter().enumerate() {
                        let span = match at == last {
                            // The last list is shorter, and so is the last block in it.
                            true => len.saturating_sub(of_full_list.saturating_mul(at as u64)),
                            false => of_full_list,
                        };
                        verdict.join(self.list(list, span)?);
                    }
                }
            }
        }
        Ok(verdict)
    }

    /// A block; of some old lists the length is not known, which is 0 here.
    fn block(&self, hash: &Hash, len: u64) -> Result<Verdict> {
        let mut verdict = Verdict::default();
        if len > 0 {
            verdict.is_used = self.held.all.contains(hash, len);
            verdict.is_lost = verdict.is_used && self.held.only.contains(hash, len);
            return Ok(verdict);
        }
        for (size, _) in self.catalog.find_blocks_by_hash(hash)? {
            verdict.join(self.block(hash, size)?);
        }
        Ok(verdict)
    }

    /// A blocklist and the blocks that it names for so many bytes.
    fn list(&mut self, list: &Hash, span: u64) -> Result<Verdict> {
        let full = self.format.hashes_per_blocklist();
        let is_full = span == self.format.blocksize.saturating_mul(full);
        if is_full && let Some(known) = self.lists.get(list) {
            return Ok(*known);
        }
        let Some(bytes) = self.catalog.blocklist(list)? else {
            let mut verdict = self.block(list, 0)?;
            verdict.is_unclear = true;
            return Ok(verdict);
        };
        let mut verdict = self.block(list, bytes.len() as u64)?;
        let mut left = span;
        for raw in bytes.chunks(self.format.block_hash.len()) {
            let len = left.min(self.format.blocksize);
            left -= len;
            match Hash::from_bytes(raw) {
                Ok(hash) if len > 0 => verdict.join(self.block(&hash, len)?),
                _ => verdict.is_unclear = true,
            }
        }
        verdict.is_unclear |= left > 0;
        if is_full && self.lists.len() < REMEMBERED {
            self.lists.insert(*list, verdict);
        }
        Ok(verdict)
    }
}

/// Adds those blocklists of an entry whose content the catalog does not know.
pub(super) fn unknown_lists(
    catalog: &Catalog,
    entry: &FileEntry,
    format: &Format,
    unknown: &mut BTreeSet<Hash>,
) -> Result<()> {
    for blocks in [entry.metadata(format), entry.content(format)] {
        let Blocks::Listed { lists, .. } = blocks else {
            continue;
        };
        let mut last = None;
        for list in lists {
            // A sparse file names one of them a thousand times.
            if last.replace(list) != Some(list)
                && !unknown.contains(list)
                && catalog.blocklist(list)?.is_none()
            {
                unknown.insert(*list);
            }
        }
    }
    Ok(())
}
