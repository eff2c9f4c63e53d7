//! Which blocks the versions use, and how much of each volume that is.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use larder_volume::{EntryKind, FileEntry, Hash};
use rusqlite::Connection;

use crate::cursor::required;
use crate::parallel::each_mapped;
use crate::segment::Segment;
use crate::slots::SlotSet;
use crate::wire::{from_stored, parse_hash, to_stored};
use crate::{Catalog, Fingerprints, Result, blocklists, blocks, packed, volumes};

/// How the streams of a backup are cut into blocks; fixed for its life.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct BlockRules {
    /// Bytes of a block.
    pub blocksize: u64,
    /// Bytes of a block hash.
    pub hash_len: usize,
    /// Blocks and whole streams are hashed with one algorithm, so the hash of a stream of one block is that of the block.
    pub one_algorithm: bool,
}

/// The blocks that some versions use; see [`Catalog::used_blocks`].
pub struct UsedBlocks {
    prints: Fingerprints,
    sum: Sum,
    /// Blocklists whose content the catalog does not have.
    unknown_lists: Vec<Hash>,
    unclear: u64,
}

impl UsedBlocks {
    /// False when the block is surely not in use; true when it is, or, about as likely as two equal 64-bit random
    /// numbers, looks like one that is.
    pub fn contains(&self, hash: &Hash, size: u64) -> bool {
        self.prints.contains(hash, size)
    }

    /// Number of different blocks.
    pub fn len(&self) -> u64 {
        self.prints.len()
    }

    /// Tells whether no block is in use.
    pub fn is_empty(&self) -> bool {
        self.prints.is_empty()
    }

    /// Tells whether nothing but these blocks is in use. Otherwise no block may be taken for unused.
    pub fn is_complete(&self) -> bool {
        self.unknown_lists.is_empty() && self.unclear == 0 && !self.prints.is_unknown()
    }

    /// Blocklists that have to be read before it is complete (a thousand at most).
    pub fn unknown_lists(&self) -> &[Hash] {
        &self.unknown_lists
    }

    /// Number of streams of which the entry does not tell the blocks.
    pub fn unclear(&self) -> u64 {
        self.unclear
    }
}

/// A sum over blocks, with a secret key: two sets of blocks with the same sum are the same, but for one case in 2^64.
#[derive(Clone, Default)]
struct Sum {
    key: RandomState,
    total: u64,
}

impl Sum {
    fn add(&mut self, hash: &Hash, size: u64) {
        let one = self.key.hash_one((hash.as_bytes(), size));
        self.total = self.total.wrapping_add(one);
    }

    /// A sum over nothing with the same key.
    fn emptied(&self) -> Self {
        Self {
            key: self.key.clone(),
            total: 0,
        }
    }
}

/// How much of a block volume is in use.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct VolumeUsage {
    /// The volume.
    pub volume: i64,
    /// Blocks in it.
    pub blocks: u64,
    /// Bytes of these blocks, uncompressed.
    pub bytes: u64,
    /// Those that are in use and read from this volume.
    pub used_blocks: u64,
    /// Bytes of these.
    pub used_bytes: u64,
    /// Those that are in use and read from another volume.
    pub used_copies: u64,
}

impl Catalog {
    /// Finds the blocks that the entries of these versions use: those of contents, of metadata, and blocklists.
    ///
    /// What removing a version frees is what the versions that are left do not use. Reads all entries once, however many
    /// versions there are; memory is at most 16 bytes per block.
    ///
    /// # Errors
    /// [`crate::Error::Missing`] when the entries of one of the versions are not stored.
    pub fn used_blocks(&self, filesets: &[i64], rules: BlockRules) -> Result<UsedBlocks> {
        self.read(|conn| {
            let slots = filesets
                .iter()
                .map(|fileset| required(conn, *fileset).map(|version| version.slot))
                .collect::<Result<Vec<_>>>()?;
            let slots = SlotSet::new(slots);
            let mut search = Search {
                conn,
                rules,
                used: UsedBlocks {
                    prints: Fingerprints::with_room(0, u64::MAX),
                    sum: Sum::default(),
                    unknown_lists: Vec::new(),
                    unclear: 0,
                },
                found: Vec::new(),
            };
            let streams = |segment: &mut Segment| {
                let mut found = Vec::new();
                while let Some(row) = segment.next()? {
                    if slots.meets(row.runs) {
                        found.extend(rules.streams(row.entry()?));
                    }
                }
                Ok(found)
            };
            each_mapped(conn, streams, |found| {
                found.iter().try_for_each(|stream| search.stream(stream))?;
                search.flush();
                Ok(())
            })?;
            Ok(search.used)
        })
    }

    /// Whether live volumes hold all of these blocks, as their lists say. False also when that is not sure: about once in a
    /// hundred times with a million blocks. Reads the lists of all volumes once; memory is about
    /// a byte for each block in use.
    pub fn has_all(&self, used: &UsedBlocks) -> Result<bool> {
        let dead = self.dead_volumes()?;
        let prints = &used.prints;
        let mut seen = vec![false; prints.places()];
        let (mut count, mut sum) = (0, used.sum.emptied());
        let (mut listed, mut places) = (Vec::new(), Vec::new());
        self.read(|conn| {
            blocks::each_list(conn, &mut |volume, data| {
                if dead.contains(&volume) {
                    return Ok(());
                }
                listed.clear();
                packed::unpack(volume, data, &mut |hash, size| listed.push((hash, size)))?;
                prints.places_of(&listed, &mut places);
                for ((hash, size), place) in listed.iter().zip(&places) {
                    let place = place.and_then(|at| seen.get_mut(at));
                    if let Some(seen) = place.filter(|seen| !**seen) {
                        *seen = true;
                        count += 1;
                        sum.add(hash, *size);
                    }
                }
                Ok(())
            })
        })?;
        Ok(count == prints.len() && sum.total == used.sum.total && used.is_complete())
    }

    /// Tells for every live block volume how much of it is in use. A block that is read from another volume is not.
    pub fn volume_usage(&self, used: &UsedBlocks) -> Result<Vec<VolumeUsage>> {
        let dead = self.dead_volumes()?;
        self.read(|conn| {
            let copies = Copies::load(conn, &dead)?;
            let mut usages: Vec<VolumeUsage> = volumes::select(conn, "ORDER BY id")?
                .into_iter()
                .filter(|row| row.kind == larder_volume::VolumeKind::Blocks && row.state.is_live())
                .map(|row| VolumeUsage {
                    volume: row.id,
                    ..VolumeUsage::default()
                })
                .collect();
            let (mut listed, mut places) = (Vec::new(), Vec::new());
            blocks::each_list(conn, &mut |volume, data| {
                let Ok(at) = usages.binary_search_by_key(&volume, |usage| usage.volume) else {
                    return Ok(());
                };
                let Some(usage) = usages.get_mut(at) else {
                    return Ok(());
                };
                listed.clear();
                packed::unpack(volume, data, &mut |hash, size| listed.push((hash, size)))?;
                used.prints.places_of(&listed, &mut places);
                for ((hash, size), place) in listed.iter().zip(&places) {
                    usage.blocks += 1;
                    usage.bytes = usage.bytes.saturating_add(*size);
                    // What is not known may be in use.
                    if place.is_none() && !used.prints.is_unknown() {
                        continue;
                    }
                    if copies.is_copy(conn, hash, *size, volume)? {
                        usage.used_copies += 1;
                    } else {
                        usage.used_blocks += 1;
                        usage.used_bytes = usage.used_bytes.saturating_add(*size);
                    }
                }
                Ok(())
            })?;
            Ok(usages)
        })
    }
}

/// Collects the blocks of entries.
struct Search<'c> {
    conn: &'c Connection,
    rules: BlockRules,
    used: UsedBlocks,
    /// Blocks that are not in the set yet.
    found: Vec<(Hash, u64)>,
}

/// What an entry says about the blocks of a content or of metadata.
struct Stream {
    size: u64,
    /// The block, when it is just one.
    only: Option<Hash>,
    lists: Vec<Hash>,
}

impl BlockRules {
    /// The streams of an entry that have blocks.
    fn streams(self, entry: FileEntry) -> impl Iterator<Item = Stream> {
        let of_block = |hash: Option<Hash>| hash.filter(|_| self.one_algorithm);
        let metadata = Stream {
            size: entry.metasize,
            only: entry.metablockhash.or(of_block(entry.metahash)),
            lists: entry.metablocklists,
        };
        let content = match entry.kind {
            EntryKind::File => Some(Stream {
                size: entry.size,
                only: entry.blockhash.or(of_block(entry.hash)),
                lists: entry.blocklists,
            }),
            EntryKind::Folder | EntryKind::Symlink => None,
        };
        let streams = [Some(metadata), content].into_iter().flatten();
        streams.filter(|stream| stream.size > 0)
    }
}

impl Search<'_> {
    fn stream(&mut self, stream: &Stream) -> Result<()> {
        let Stream {
            size,
            only,
            ref lists,
        } = *stream;
        if lists.is_empty() {
            match only.filter(|_| size <= self.rules.blocksize) {
                Some(hash) => self.found.push((hash, size)),
                None => self.used.unclear += 1,
            }
            return Ok(());
        }
        let width = self.rules.hash_len.max(1) as u64;
        let per_list = (self.rules.blocksize / width).max(1);
        let mut left = size;
        for list in lists {
            let count = left.div_ceil(self.rules.blocksize.max(1)).min(per_list);
            if count == 0 {
                self.used.unclear += 1;
                return Ok(());
            }
            if self.found.len() >= AT_ONCE {
                self.flush();
            }
            self.found.push((*list, count * width));
            left = self.blocks_of(list, count, left)?;
        }
        self.used.unclear += u64::from(left > 0);
        Ok(())
    }

    /// Takes the blocks that were found into the set.
    fn flush(&mut self) {
        let UsedBlocks { prints, sum, .. } = &mut self.used;
        prints.insert_all(&self.found, |hash, size| sum.add(hash, size));
        self.found.clear();
    }

    /// Adds the blocks that a blocklist names; gives how many bytes of the stream come after them.
    fn blocks_of(&mut self, list: &Hash, count: u64, left: u64) -> Result<u64> {
        let blocksize = self.rules.blocksize;
        let after = left.saturating_sub(count.saturating_mul(blocksize));
        let Some(bytes) = blocklists::find(self.conn, list)? else {
            let unknown = &mut self.used.unknown_lists;
            if unknown.len() < UNKNOWN_LISTS && !unknown.contains(list) {
                unknown.push(*list);
            }
            return Ok(after);
        };
        let mut left = left;
        let mut found = 0;
        for raw in bytes.chunks(self.rules.hash_len.max(1)) {
            let len = left.min(blocksize);
            left -= len;
            found += 1;
            self.found.push((parse_hash(raw)?, len));
        }
        self.used.unclear += u64::from(found != count);
        Ok(after)
    }
}

/// The blocks that several volumes hold.
struct Copies<'d> {
    prints: Fingerprints,
    dead: &'d HashSet<i64>,
}

impl<'d> Copies<'d> {
    fn load(conn: &Connection, dead: &'d HashSet<i64>) -> Result<Self> {
        let mut prints = Fingerprints::with_room(0, u64::MAX);
        blocks::each_copy(conn, |hash, size, _| {
            prints.insert(&parse_hash(hash)?, from_stored(size)?);
            Ok(())
        })?;
        Ok(Copies { prints, dead })
    }

    /// Tells whether the block is read from another volume than this one.
    fn is_copy(&self, conn: &Connection, hash: &Hash, size: u64, volume: i64) -> Result<bool> {
        if self.prints.is_empty() || !self.prints.contains(hash, size) {
            return Ok(false);
        }
        let (hash, size) = (hash.as_bytes(), to_stored(size)?);
        let first = blocks::primary(conn, hash, size)?.filter(|first| !self.dead.contains(first));
        let home = match first {
            Some(first) => Some(first),
            // As a block is looked up: from the first live one.
            None => {
                let mut others = blocks::copies(conn, hash, size)?.into_iter();
                others.find(|other| !self.dead.contains(other))
            }
        };
        Ok(home.is_some_and(|home| home != volume))
    }
}

/// Blocks that are taken into the set together, with those of one blocklist more.
const AT_ONCE: usize = 4096;
/// Unknown blocklists that are named.
const UNKNOWN_LISTS: usize = 1000;
