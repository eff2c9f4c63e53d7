//! Blocks: which volume a block is read from, what a volume holds.

use std::collections::HashSet;

use larder_volume::{BlockRows, BlockTable, Hash};
use rusqlite::{Connection, OptionalExtension, params};

use crate::check::{pack_place, unpack_place};
use crate::wire::{from_stored, parse_hash, to_stored};
use crate::{Catalog, Error, Fingerprints, Result, blocklists, packed, volumes};

impl Catalog {
    /// The live volume a block is read from; `None` when no live volume has it.
    pub fn find_block(&self, hash: &Hash, size: u64) -> Result<Option<i64>> {
        let size = to_stored(size)?;
        let first = self.read(|conn| primary(conn, hash.as_bytes(), size))?;
        match first {
            Some(volume) if !self.is_dead(volume)? => Ok(Some(volume)),
            Some(_) => {
                let dead = self.dead_volumes()?;
                let others = self.read(|conn| copies(conn, hash.as_bytes(), size))?;
                Ok(others.into_iter().find(|volume| !dead.contains(volume)))
            }
            None => Ok(None),
        }
    }

    /// As [`Catalog::find_block`] for many blocks at once, in the order given: a third of the time each.
    pub fn find_blocks(&self, blocks: &(impl BlockRows + ?Sized)) -> Result<Vec<Option<i64>>> {
        let mut order: Vec<usize> = (0..blocks.count()).collect();
        order.sort_unstable_by_key(|at| blocks.row(*at));
        let mut found = vec![None; blocks.count()];
        self.in_one_read(|| {
            order.into_iter().try_for_each(|at| {
                if let (Some((hash, size)), Some(found)) = (blocks.row(at), found.get_mut(at)) {
                    *found = self.find_block(&hash, size)?;
                }
                Ok(())
            })
        })?;
        Ok(found)
    }

    /// Whether each of some blocks has a copy in a live volume that `is_good` is true of (volume, block).
    pub fn are_held(
        &self,
        blocks: &(impl BlockRows + ?Sized),
        is_good: impl Fn(i64, &(Hash, u64)) -> bool,
    ) -> Result<bool> {
        let dead = self.dead_volumes()?;
        let mut order: Vec<usize> = (0..blocks.count()).collect();
        order.sort_unstable_by_key(|at| blocks.row(*at));
        self.in_one_read(|| {
            self.read(|conn| {
                for block in order.into_iter().filter_map(|at| blocks.row(at)) {
                    let (hash, size) = (block.0.as_bytes(), to_stored(block.1)?);
                    let is_it = |volume: &i64| !dead.contains(volume) && is_good(*volume, &block);
                    // Who moved a block asks for the copy.
                    let is_held = copies(conn, hash, size)?.iter().any(is_it)
                        || primary(conn, hash, size)?.is_some_and(|first| is_it(&first));
                    if !is_held {
                        return Ok(false);
                    }
                }
                Ok(true)
            })
        })
    }

    /// Asks several questions in one read transaction, so that the database is locked and unlocked once, unless there is
    /// a transaction already.
    fn in_one_read<R>(&self, questions: impl FnOnce() -> Result<R>) -> Result<R> {
        let own = self.conn.is_autocommit();
        if own {
            self.read(|conn| Ok(conn.execute_batch("BEGIN DEFERRED")?))?;
        }
        let outcome = questions();
        if own && !self.conn.is_autocommit() {
            self.read(|conn| Ok(conn.execute_batch("ROLLBACK")?))?;
        }
        outcome
    }

    /// The sizes and volumes of all blocks with this hash that a live volume has, by size.
    pub fn find_blocks_by_hash(&self, hash: &Hash) -> Result<Vec<(u64, i64)>> {
        let sizes = self.read(|conn| {
            let mut statement =
                conn.prepare_cached("SELECT size FROM block WHERE hash = ?1 ORDER BY size")?;
            let sizes = statement.query_map(params![hash.as_bytes()], |row| row.get(0))?;
            Ok(sizes.collect::<rusqlite::Result<Vec<i64>>>()?)
        })?;
        let mut found = Vec::new();
        for size in sizes {
            let size = from_stored(size)?;
            found.extend(self.find_block(hash, size)?.map(|volume| (size, volume)));
        }
        Ok(found)
    }

    /// All live volumes that hold a block, the one it is normally read from first.
    pub fn volumes_of_block(&self, hash: &Hash, size: u64) -> Result<Vec<i64>> {
        let size = to_stored(size)?;
        let dead = self.dead_volumes()?;
        self.read(|conn| {
            let mut found: Vec<i64> = primary(conn, hash.as_bytes(), size)?.into_iter().collect();
            found.extend(copies(conn, hash.as_bytes(), size)?);
            found.retain(|volume| !dead.contains(volume));
            Ok(found)
        })
    }

    /// Notes that a volume holds these blocks, in one transaction.
    ///
    /// A block that another live volume has is remembered as an extra copy; one that only volumes being deleted have is
    /// read from this volume from now on. Repeating a block is no error.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no such volume, [`Error::Misuse`] when it is no block volume.
    pub fn add_blocks(&self, volume: i64, blocks: &(impl BlockRows + ?Sized)) -> Result<()> {
        let dead = self.dead_volumes()?;
        self.write(|conn| {
            volumes::require_blocks(conn, volume)?;
            let mut order: Vec<usize> = (0..blocks.count()).collect();
            order.sort_unstable_by_key(|at| blocks.row(*at));
            let mut accepted = vec![false; blocks.count()];
            let mut inserter = Inserter::new(conn, volume, &dead)?;
            for at in order {
                if let (Some((hash, size)), Some(accepted)) = (blocks.row(at), accepted.get_mut(at))
                {
                    *accepted = inserter.insert(hash.as_bytes(), to_stored(size)?)?;
                }
            }
            let kept = blocks
                .rows()
                .zip(&accepted)
                .filter(|(_, accepted)| **accepted)
                .map(|(block, _)| block);
            put_list(conn, volume, kept)
        })
    }

    /// Lets blocks be read from another live volume that holds them, when they are read from `volume` now. Only copies
    /// count that `is_good` is true of (volume, block). Gives how many are read from elsewhere from now on.
    pub fn read_elsewhere(
        &self,
        volume: i64,
        blocks: impl IntoIterator<Item = (Hash, u64)>,
        is_good: impl Fn(i64, &(Hash, u64)) -> bool,
    ) -> Result<u64> {
        let dead = self.dead_volumes()?;
        let mut moved = 0;
        self.write(|conn| {
            for block in blocks {
                let (hash, size) = (block.0.as_bytes(), to_stored(block.1)?);
                if primary(conn, hash, size)? != Some(volume) {
                    continue;
                }
                let others = copies(conn, hash, size)?;
                let mut good = others
                    .into_iter()
                    .filter(|other| !dead.contains(other) && is_good(*other, &block));
                if let Some(other) = good.next() {
                    remove_copy(conn, hash, size, other)?;
                    set_primary(conn, hash, size, other)?;
                    add_copy(conn, hash, size, volume)?;
                    moved += 1;
                }
            }
            Ok(())
        })?;
        Ok(moved)
    }

    /// The blocks of a volume in the order they were added.
    pub fn blocks_of_volume(&self, volume: i64) -> Result<BlockTable> {
        self.read(|conn| of_volume(conn, volume))
    }

    /// Number of different blocks, including those that only volumes being deleted have.
    pub fn block_count(&self) -> Result<u64> {
        self.read(|conn| {
            from_stored(conn.query_row("SELECT count(*) FROM block", [], |row| row.get(0))?)
        })
    }

    /// Calls `f` with every block that a live volume has (hash, size, volume it is read from), ordered by hash.
    pub fn each_block(&self, f: &mut dyn FnMut(&Hash, u64, i64)) -> Result<()> {
        let dead = self.dead_volumes()?;
        self.read(|conn| {
            scan(conn, |hash, size, volume| {
                let volume = match dead.contains(&volume) {
                    false => Some(volume),
                    true => copies(conn, hash, size)?
                        .into_iter()
                        .find(|volume| !dead.contains(volume)),
                };
                if let Some(volume) = volume {
                    f(&parse_hash(hash)?, from_stored(size)?, volume);
                }
                Ok(())
            })
        })
    }

    /// Loads the fingerprints of all blocks, or a set that knows nothing above 64 million of them.
    pub fn fingerprints(&self) -> Result<Fingerprints> {
        self.fingerprints_up_to(MOST_FINGERPRINTS)
    }

    /// As [`Catalog::fingerprints`] with another limit; memory is at most 12 bytes per block.
    pub fn fingerprints_up_to(&self, most: u64) -> Result<Fingerprints> {
        let count = self.block_count()?;
        if count > most {
            return Ok(Fingerprints::unknown());
        }
        self.read(|conn| {
            let mut set = Fingerprints::with_room(count, most);
            each_list(conn, &mut |volume, data| {
                packed::unpack(volume, data, &mut |hash, size| set.insert(&hash, size))
            })?;
            Ok(set)
        })
    }
}

/// Inserts blocks of one volume, best in ascending order.
pub(crate) struct Inserter<'c> {
    conn: &'c Connection,
    volume: i64,
    dead: &'c HashSet<i64>,
    insert: rusqlite::CachedStatement<'c>,
}

impl<'c> Inserter<'c> {
    /// Prepares for a volume.
    pub(crate) fn new(conn: &'c Connection, volume: i64, dead: &'c HashSet<i64>) -> Result<Self> {
        let insert = conn.prepare_cached(
            "INSERT INTO block(hash, size, place) VALUES(?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )?;
        Ok(Inserter {
            conn,
            volume,
            dead,
            insert,
        })
    }

    /// Changes the volume.
    pub(crate) fn set_volume(&mut self, volume: i64) {
        self.volume = volume;
    }

    /// Inserts one block; false when the volume had it already.
    pub(crate) fn insert(&mut self, hash: &[u8], size: i64) -> Result<bool> {
        let place = pack_place(hash, size, self.volume)?;
        if self.insert.execute(params![hash, size, place])? == 1 {
            return Ok(true);
        }
        let first = primary(self.conn, hash, size)?
            .ok_or_else(|| Error::damaged("a block is there and not there"))?;
        if first == self.volume {
            return Ok(false);
        }
        if !self.dead.contains(&first) {
            return add_copy(self.conn, hash, size, self.volume);
        }
        let was_copy = remove_copy(self.conn, hash, size, self.volume)?;
        set_primary(self.conn, hash, size, self.volume)?;
        add_copy(self.conn, hash, size, first)?;
        Ok(!was_copy)
    }
}

/// Appends blocks to the packed list of a volume.
pub(crate) fn put_list(
    conn: &Connection,
    volume: i64,
    blocks: impl IntoIterator<Item = (Hash, u64)>,
) -> Result<()> {
    let mut statement =
        conn.prepare_cached("INSERT INTO volume_block(volume, data) VALUES(?1, ?2)")?;
    packed::pack(volume, blocks, &mut |data| {
        statement.execute(params![volume, data])?;
        Ok(())
    })
}

/// The blocks of a volume in the order they were added.
pub(crate) fn of_volume(conn: &Connection, volume: i64) -> Result<BlockTable> {
    let mut statement =
        conn.prepare_cached("SELECT data FROM volume_block WHERE volume = ?1 ORDER BY id")?;
    let mut rows = statement.query(params![volume])?;
    let mut found = BlockTable::new();
    while let Some(row) = rows.next()? {
        packed::unpack(volume, row.get_ref(0)?.as_blob()?, &mut |hash, size| {
            found.push(&hash, size)
        })?;
    }
    Ok(found)
}

/// Takes the blocks of volumes away; blocks with another copy move there, a live one if there is one.
pub(crate) fn remove_volumes(
    conn: &Connection,
    volumes: &[i64],
    dead: &HashSet<i64>,
) -> Result<()> {
    let mut left = volumes;
    while !left.is_empty() {
        // As many as memory allows.
        let (mut lists, mut count) = (Vec::new(), 0);
        while let Some((volume, rest)) = left.split_first().filter(|_| count < BLOCKS_AT_ONCE) {
            let blocks = of_volume(conn, *volume)?;
            count += blocks.len();
            lists.push((*volume, blocks));
            left = rest;
        }
        remove_lists(conn, &lists, dead)?;
    }
    for volume in volumes {
        conn.prepare_cached("DELETE FROM volume_block WHERE volume = ?1")?
            .execute(params![volume])?;
        blocklists::leave_volume(conn, *volume, |hash, size| primary(conn, hash, size))?;
    }
    Ok(())
}

fn remove_lists(conn: &Connection, lists: &[(i64, BlockTable)], dead: &HashSet<i64>) -> Result<()> {
    let places = lists.iter().zip(0_u32..).flat_map(|((_, blocks), list)| {
        let all = (0..blocks.len()).filter_map(|at| u32::try_from(at).ok());
        all.map(move |at| (list, at))
    });
    let row = |place: &(u32, u32)| {
        let (volume, blocks) = lists.get(place.0 as usize)?;
        Some((blocks.get(place.1 as usize)?, *volume))
    };
    let mut order: Vec<(u32, u32)> = places.collect();
    order.sort_unstable_by_key(row);
    for ((hash, size), volume) in order.iter().filter_map(row) {
        let (hash, size) = (hash.as_bytes(), to_stored(size)?);
        let others = copies(conn, hash, size)?;
        if others.contains(&volume) {
            remove_copy(conn, hash, size, volume)?;
            continue;
        }
        match others
            .iter()
            .find(|other| !dead.contains(other))
            .or(others.first())
        {
            Some(other) => {
                remove_copy(conn, hash, size, *other)?;
                set_primary(conn, hash, size, *other)?;
            }
            None => {
                conn.prepare_cached("DELETE FROM block WHERE hash = ?1 AND size = ?2")?
                    .execute(params![hash, size])?;
            }
        }
    }
    Ok(())
}

/// Compares all checksums, and the blocks by hash with the blocks by volume.
pub(crate) fn verify(conn: &Connection, known: &HashSet<i64>) -> Result<()> {
    let mut by_hash = Tally::default();
    let mut stranger = None;
    scan(conn, |hash, size, volume| {
        by_hash.add(hash, size, volume);
        if !known.contains(&volume) {
            stranger = Some(volume);
        }
        Ok(())
    })?;
    each_copy(conn, |hash, size, volume| {
        by_hash.add(hash, size, volume);
        Ok(())
    })?;
    let mut by_volume = Tally::default();
    each_list(conn, &mut |volume, data| {
        if !known.contains(&volume) {
            stranger = Some(volume);
        }
        let mut large = false;
        packed::unpack(volume, data, &mut |hash, size| match to_stored(size) {
            Ok(size) => by_volume.add(hash.as_bytes(), size, volume),
            Err(_) => large = true,
        })?;
        if large {
            Err(Error::damaged("a block size is out of range"))
        } else {
            Ok(())
        }
    })?;
    if let Some(volume) = stranger {
        return Err(Error::damaged(format!(
            "there are blocks of volume {volume}, which is not there"
        )));
    }
    if by_hash != by_volume {
        return Err(Error::damaged(
            "the blocks by hash and the blocks by volume differ",
        ));
    }
    Ok(())
}

/// A fingerprint of a set of (hash, size, volume) that does not depend on its order.
#[derive(Default, PartialEq, Eq)]
struct Tally {
    count: u64,
    sum: u64,
}

impl Tally {
    fn add(&mut self, hash: &[u8], size: i64, volume: i64) {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&volume.to_le_bytes());
        hasher.update(&size.to_le_bytes());
        hasher.update(hash);
        let head = hash
            .first_chunk::<8>()
            .map_or(0, |head| u64::from_le_bytes(*head));
        self.count += 1;
        self.sum = self
            .sum
            .wrapping_add(head ^ (u64::from(hasher.finalize()) << 32));
    }
}

/// Hands every further copy of a block (hash, size, volume) to `take`.
pub(crate) fn each_copy(
    conn: &Connection,
    mut take: impl FnMut(&[u8], i64, i64) -> Result<()>,
) -> Result<()> {
    let mut statement = conn.prepare("SELECT hash, size, place FROM block_copy")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (hash, size): (&[u8], i64) = (row.get_ref(0)?.as_blob()?, row.get(1)?);
        take(hash, size, unpack_place(hash, size, row.get(2)?)?)?;
    }
    Ok(())
}

fn scan(conn: &Connection, mut take: impl FnMut(&[u8], i64, i64) -> Result<()>) -> Result<()> {
    let mut statement =
        conn.prepare_cached("SELECT hash, size, place FROM block ORDER BY hash, size")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (hash, size): (&[u8], i64) = (row.get_ref(0)?.as_blob()?, row.get(1)?);
        take(hash, size, unpack_place(hash, size, row.get(2)?)?)?;
    }
    Ok(())
}

/// Hands the packed lists of all volumes to `take`.
pub(crate) fn each_list(
    conn: &Connection,
    take: &mut dyn FnMut(i64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut statement = conn.prepare_cached("SELECT volume, data FROM volume_block ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(row.get(0)?, row.get_ref(1)?.as_blob()?)?;
    }
    Ok(())
}

/// The volume a block is read from, in whatever state.
pub(crate) fn primary(conn: &Connection, hash: &[u8], size: i64) -> Result<Option<i64>> {
    let place = conn
        .prepare_cached("SELECT place FROM block WHERE hash = ?1 AND size = ?2")?
        .query_row(params![hash, size], |row| row.get(0))
        .optional()?;
    place
        .map(|place| unpack_place(hash, size, place))
        .transpose()
}

fn set_primary(conn: &Connection, hash: &[u8], size: i64, volume: i64) -> Result<()> {
    conn.prepare_cached("UPDATE block SET place = ?3 WHERE hash = ?1 AND size = ?2")?
        .execute(params![hash, size, pack_place(hash, size, volume)?])?;
    Ok(())
}

/// The further volumes of a block, in whatever state.
pub(crate) fn copies(conn: &Connection, hash: &[u8], size: i64) -> Result<Vec<i64>> {
    let mut statement = conn.prepare_cached(
        "SELECT place FROM block_copy WHERE hash = ?1 AND size = ?2 ORDER BY place",
    )?;
    let mut rows = statement.query(params![hash, size])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(unpack_place(hash, size, row.get(0)?)?);
    }
    Ok(found)
}

fn add_copy(conn: &Connection, hash: &[u8], size: i64, volume: i64) -> Result<bool> {
    let added = conn
        .prepare_cached(
            "INSERT INTO block_copy(hash, size, place) VALUES(?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )?
        .execute(params![hash, size, pack_place(hash, size, volume)?])?;
    Ok(added == 1)
}

fn remove_copy(conn: &Connection, hash: &[u8], size: i64, volume: i64) -> Result<bool> {
    let removed = conn
        .prepare_cached("DELETE FROM block_copy WHERE hash = ?1 AND size = ?2 AND place = ?3")?
        .execute(params![hash, size, pack_place(hash, size, volume)?])?;
    Ok(removed == 1)
}

const MOST_FINGERPRINTS: u64 = 64 << 20;
/// Blocks that are removed in one go; 50 bytes of memory each.
const BLOCKS_AT_ONCE: usize = 500_000;
