//! Loading a catalog from scratch after a rebuild.

use std::collections::HashSet;
use std::sync::Arc;

use larder_volume::{BlockRows, BlockTable, Hash};
use rusqlite::Connection;

use crate::blocks::{self, Inserter};
use crate::catalog::transact;
use crate::entries::Staging;
use crate::files::{Files, LOG, SIDE_CACHE_KIB};
use crate::sort::Sorter;
use crate::wire::to_stored;
use crate::{Catalog, Error, Result, blocklists, handles, params, volumes};

impl Catalog {
    /// Starts to load blocks and blocklists in bulk, in any order.
    ///
    /// Volumes, links and versions are added to the catalog itself meanwhile. Until [`BulkLoader::finish`] the catalog is
    /// marked as half-made: if the process ends before, the next opening replaces it; when the loader is dropped, every
    /// call says from then on that it is damaged.
    ///
    /// # Errors
    /// [`Error::Misuse`] when a writer or loader of this catalog exists already.
    pub fn bulk(&self) -> Result<BulkLoader> {
        let staging = Staging::begin(self.files())?;
        self.durable(|catalog| catalog.set_param(RUNNING, "1"))?;
        let conn = staging.0.connect(SIDE_CACHE_KIB)?;
        conn.execute_batch("PRAGMA synchronous=OFF")?;
        Ok(BulkLoader {
            blocks: Sorter::new(staging.0.spill(), BLOCK_MEMORY),
            conn,
            dead: self.dead_volumes()?,
            seen: HashSet::new(),
            waiting: Vec::new(),
            waiting_len: 0,
            unfinished: Unfinished(Some(Arc::clone(&staging.0))),
            staging,
        })
    }
}

/// Takes the blocks that a rebuild reads; memory stays below about 40 MiB whatever comes.
///
/// Blocks are sorted outside the database and inserted in order at the end, which is what makes it quick. It
/// writes over a connection of its own: do not use it inside [`Catalog::durable`].
pub struct BulkLoader {
    blocks: Sorter,
    conn: Connection,
    dead: HashSet<i64>,
    /// Volumes that have blocks already.
    seen: HashSet<i64>,
    /// What goes into the database with the next transaction.
    waiting: Vec<Waiting>,
    waiting_len: usize,
    unfinished: Unfinished,
    // Last: the lock must outlive the connection.
    staging: Staging,
}

/// Keeps a catalog from being used that a loader left half-made.
struct Unfinished(Option<Arc<Files>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(files) = &self.0 {
            files.set_half_made();
        }
    }
}

enum Waiting {
    Blocks(i64, BlockTable),
    Blocklist(Hash, Vec<u8>, Option<i64>),
}

/// What [`BulkLoader::finish`] stored.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct BulkTotals {
    /// Different blocks that were new.
    pub blocks: u64,
    /// Further copies of blocks in other volumes.
    pub copies: u64,
}

impl BulkLoader {
    /// Takes blocks of a volume. The same block in several volumes is kept as a copy; the same block twice in one volume,
    /// even in several calls (two index files may describe one volume), counts once.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no such volume, [`Error::Misuse`] when it is no block volume, [`Error::Busy`]
    /// inside [`Catalog::durable`].
    pub fn add_blocks(&mut self, volume: i64, blocks: &(impl BlockRows + ?Sized)) -> Result<()> {
        let mut known: HashSet<(Hash, u64)> = HashSet::new();
        if self.seen.contains(&volume) {
            // Its earlier blocks may still be waiting.
            self.flush()?;
        } else {
            volumes::require_blocks(&self.conn, volume)?;
            self.seen.insert(volume);
        }
        known.extend(blocks::of_volume(&self.conn, volume)?.iter());
        let repeats = repeats(blocks);
        let mut fresh = BlockTable::new();
        for (block, repeats) in blocks.rows().zip(repeats) {
            if repeats || known.contains(&block) {
                continue;
            }
            let (hash, size) = block;
            fresh.push(&hash, size);
            let mut key = [0u8; 72];
            let len = block_key(&mut key, &hash, to_stored(size)?);
            self.blocks
                .push(key.get(..len).unwrap_or_default(), &volume.to_le_bytes())?;
        }
        self.wait(
            fresh.len() * fresh.row_len(),
            Waiting::Blocks(volume, fresh),
        )
    }

    /// Takes a blocklist; see [`Catalog::add_blocklist`].
    pub fn add_blocklist(&mut self, hash: &Hash, data: &[u8], volume: Option<i64>) -> Result<()> {
        self.wait(
            data.len() + size_of::<Hash>(),
            Waiting::Blocklist(*hash, data.to_vec(), volume),
        )
    }

    /// Puts everything in place and makes it durable.
    ///
    /// # Errors
    /// After any error the catalog stays marked as half-made.
    pub fn finish(mut self) -> Result<BulkTotals> {
        self.flush()?;
        let files = Arc::clone(&self.staging.0);
        files.guard(self.load())
    }

    fn load(self) -> Result<BulkTotals> {
        let Self {
            blocks,
            conn,
            dead,
            mut unfinished,
            staging,
            ..
        } = self;
        let mut totals = BulkTotals::default();
        insert_blocks(&conn, &dead, blocks, &mut totals)?;
        // Nothing was flushed so far. Move what can be moved, flush both files, and only then call it complete.
        conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        let (database, log) = (&staging.0.path, staging.0.side(LOG));
        handles::with_file(database, std::fs::File::sync_all)
            .map_err(|error| Error::io(database, error))?;
        std::fs::File::open(&log)
            .and_then(|file| file.sync_all())
            .map_err(|error| Error::io(&log, error))?;
        conn.execute_batch("PRAGMA synchronous=FULL")?;
        transact(&conn, |conn| params::remove(conn, RUNNING))?;
        unfinished.0 = None;
        Ok(totals)
    }

    fn wait(&mut self, len: usize, item: Waiting) -> Result<()> {
        self.waiting.push(item);
        self.waiting_len += len;
        if self.waiting_len >= WAITING_MEMORY {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_len = 0;
        if waiting.is_empty() {
            return Ok(());
        }
        let flushed = transact(&self.conn, |conn| {
            waiting.iter().try_for_each(|item| match item {
                Waiting::Blocks(volume, list) => blocks::put_list(conn, *volume, list.iter()),
                Waiting::Blocklist(hash, data, volume) => {
                    blocklists::add(conn, hash, data, *volume)
                }
            })
        });
        self.staging.0.guard(flushed)
    }
}

/// Tells of each block whether it came before. Memory: 5 bytes per block.
fn repeats(blocks: &(impl BlockRows + ?Sized)) -> Vec<bool> {
    let count = blocks.count();
    let mut order: Vec<u32> = (0..).take(count).collect();
    let block = |at: u32| blocks.row(at as usize);
    order.sort_unstable_by_key(|at| (block(*at), *at));
    let mut repeats = vec![false; count];
    for pair in order.windows(2) {
        if let [first, second] = *pair
            && block(first) == block(second)
            && let Some(repeats) = repeats.get_mut(second as usize)
        {
            *repeats = true;
        }
    }
    repeats
}

/// Inserts the sorted blocks, some per transaction: the mark on the catalog covers for atomicity.
fn insert_blocks(
    conn: &Connection,
    dead: &HashSet<i64>,
    mut blocks: Sorter,
    totals: &mut BulkTotals,
) -> Result<()> {
    let mut inserter = Inserter::new(conn, 0, dead)?;
    let mut last = Vec::new();
    let mut pending = 0;
    let outcome = blocks.each(|key, payload| {
        let (hash, size) = split_block_key(key)?;
        let volume = payload
            .try_into()
            .map(i64::from_le_bytes)
            .map_err(|_| Error::Misuse("a block without volume"))?;
        if pending == 0 {
            conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        }
        inserter.set_volume(volume);
        let added = inserter.insert(hash, size)?;
        let repeated = last == key;
        last.clear();
        last.extend_from_slice(key);
        totals.blocks += u64::from(added && !repeated);
        totals.copies += u64::from(added && repeated);
        pending += 1;
        if pending == BATCH {
            pending = 0;
            conn.prepare_cached("COMMIT")?.execute([])?;
        }
        Ok(())
    });
    match outcome {
        Ok(()) if pending == 0 => Ok(()),
        Ok(()) => Ok(conn.execute_batch("COMMIT")?),
        Err(error) => {
            if !conn.is_autocommit() {
                let _ = conn.execute_batch("ROLLBACK");
            }
            Err(error)
        }
    }
}

/// Hash and size as one key that orders like (hash, size); gives its length.
fn block_key(key: &mut [u8; 72], hash: &Hash, size: i64) -> usize {
    let bytes = hash.as_bytes();
    key.iter_mut()
        .zip(bytes.iter().chain(&size.to_be_bytes()))
        .for_each(|(to, from)| *to = *from);
    bytes.len() + 8
}

fn split_block_key(key: &[u8]) -> Result<(&[u8], i64)> {
    let (hash, size) = key
        .split_last_chunk::<8>()
        .ok_or(Error::Misuse("a block key is too short"))?;
    Ok((hash, i64::from_be_bytes(*size)))
}

/// Setting that marks a catalog as half-made.
pub(crate) const RUNNING: &str = "catalog.bulk";
const BLOCK_MEMORY: usize = 12 << 20;
const WAITING_MEMORY: usize = 4 << 20;
const BATCH: u32 = 50_000;
