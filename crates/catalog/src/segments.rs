//! The tables of the entries: segments by path, versions by slot.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::check::RowCheck;
use crate::segment::{OwnedRow, PackedSegment, Segment, pack};
use crate::slots::SlotSet;
use crate::wire::{from_stored, parse_hash, to_stored};
use crate::{Error, Result};
use larder_volume::Hash;

/// A version whose entries are stored.
#[derive(Copy, Clone, PartialEq, Debug)]
pub(crate) struct EntryVersion {
    pub(crate) slot: u64,
    pub(crate) fileset: i64,
    pub(crate) entries: u64,
    /// Hash of the list volume they were read from or written to.
    pub(crate) list: Option<Hash>,
}

impl EntryVersion {
    fn crc(&self) -> Result<i64> {
        Ok(RowCheck::new("entry_version")
            .int(to_stored(self.slot)?)
            .int(self.fileset)
            .int(to_stored(self.entries)?)
            .bytes(self.list.as_ref().map(Hash::as_bytes).unwrap_or_default())
            .finish())
    }

    fn parse(row: &Row) -> Result<EntryVersion> {
        let list = row.get_ref(3)?.as_blob_or_null()?;
        let version = EntryVersion {
            slot: from_stored(row.get(0)?)?,
            fileset: row.get(1)?,
            entries: from_stored(row.get(2)?)?,
            list: list.map(parse_hash).transpose()?,
        };
        match version.crc()? == row.get::<_, i64>(4)? {
            true => Ok(version),
            false => Err(Error::damaged(
                "the checksum of a version's entries does not match",
            )),
        }
    }
}

/// All versions whose entries are stored.
pub(crate) fn versions(conn: &Connection) -> Result<Vec<EntryVersion>> {
    let mut statement = conn.prepare_cached(&format!("{SELECT_VERSION} ORDER BY slot"))?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(EntryVersion::parse(row)?);
    }
    Ok(found)
}

/// The entries of a version, when they are stored.
pub(crate) fn version_of(conn: &Connection, fileset: i64) -> Result<Option<EntryVersion>> {
    let mut statement = conn.prepare_cached(&format!("{SELECT_VERSION} WHERE fileset = ?1"))?;
    let mut rows = statement.query(params![fileset])?;
    rows.next()?.map(EntryVersion::parse).transpose()
}

/// The slots of all versions whose entries are stored.
pub(crate) fn slots(conn: &Connection) -> Result<SlotSet> {
    let slots = versions(conn)?.into_iter().map(|version| version.slot);
    Ok(SlotSet::new(slots.collect()))
}

/// Gives out a slot that was never used; to be called inside a transaction.
pub(crate) fn next_slot(conn: &Connection) -> Result<u64> {
    let last: Option<(i64, i64)> = conn
        .prepare_cached("SELECT last, crc FROM entry_slot WHERE id = 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let check = |last: i64| RowCheck::new("entry_slot").int(last);
    let slot = match last {
        Some((last, crc)) => {
            check(last).compare(crc, "slot")?;
            last + 1
        }
        None => 1,
    };
    conn.prepare_cached("INSERT OR REPLACE INTO entry_slot(id, last, crc) VALUES(1, ?1, ?2)")?
        .execute(params![slot, check(slot).finish()])?;
    from_stored(slot)
}

/// Notes that the entries of a version are complete, in place of earlier ones.
pub(crate) fn put_version(conn: &Connection, version: &EntryVersion) -> Result<()> {
    forget_version(conn, version.fileset)?;
    conn.prepare_cached(
        "INSERT INTO entry_version(slot, fileset, entries, list, crc) VALUES(?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        to_stored(version.slot)?,
        version.fileset,
        to_stored(version.entries)?,
        version.list.as_ref().map(Hash::as_bytes),
        version.crc()?
    ])?;
    Ok(())
}

/// Forgets which entries a version has; rows of no other version are dropped when their segment is written again.
pub(crate) fn forget_version(conn: &Connection, fileset: i64) -> Result<()> {
    conn.prepare_cached("DELETE FROM entry_version WHERE fileset = ?1")?
        .execute(params![fileset])?;
    Ok(())
}

/// Loads the segment in which a path would be; false when there are no segments at all.
///
/// The content is that of one moment. To read on, seek the upper bound: segments may have been split meanwhile.
pub(crate) fn seek(conn: &Connection, path: &[u8], segment: &mut Segment) -> Result<bool> {
    let mut statement = conn.prepare_cached(
        "SELECT id, first, data FROM segment WHERE first <= ?1 ORDER BY first DESC LIMIT 1",
    )?;
    let mut rows = statement.query(params![path])?;
    match rows.next()? {
        Some(row) => load(row, segment)?,
        None if is_empty(conn)? => return Ok(false),
        None => return Err(missing()),
    }
    match segment.covers(path) {
        true => Ok(true),
        false => Err(missing()),
    }
}

/// Loads the segment with this id.
pub(crate) fn read(conn: &Connection, id: i64, segment: &mut Segment) -> Result<()> {
    let mut statement = conn.prepare_cached("SELECT id, first, data FROM segment WHERE id = ?1")?;
    let mut rows = statement.query(params![id])?;
    rows.next()?
        .ok_or_else(missing)
        .and_then(|row| load(row, segment))
}

/// The ids of all segments, in path order.
pub(crate) fn ids(conn: &Connection) -> Result<Vec<i64>> {
    let mut statement = conn.prepare_cached("SELECT id FROM segment ORDER BY first")?;
    let ids = statement.query_map([], |row| row.get(0))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// Hands all segments to `take` in path order, and sees that none is missing.
pub(crate) fn each(
    conn: &Connection,
    mut take: impl FnMut(&mut Segment) -> Result<()>,
) -> Result<()> {
    let mut segment = Segment::default();
    let mut from = Some(Vec::new());
    while let Some(path) = from {
        if !seek(conn, &path, &mut segment)? {
            return Ok(());
        }
        take(&mut segment)?;
        from = segment.upper.take();
    }
    Ok(())
}

/// Makes the first segment, which covers all paths, when there is none.
pub(crate) fn make_first(conn: &Connection) -> Result<()> {
    if is_empty(conn)? {
        for one in pack(b"", None, &[]) {
            insert(conn, &one)?;
        }
    }
    Ok(())
}

/// A changed segment on its way into the table.
pub(crate) struct Rewritten {
    /// The segment whose place it takes.
    id: i64,
    parts: Vec<PackedSegment>,
}

impl Rewritten {
    /// Packs the new rows of a segment.
    pub(crate) fn new(segment: &Segment, rows: &[OwnedRow]) -> Rewritten {
        Rewritten {
            id: segment.id,
            parts: pack(&segment.first, segment.upper.as_deref(), rows),
        }
    }

    /// Bytes it takes.
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.data.len()).sum()
    }

    /// Writes it; to be called inside a transaction. Gives ids and row numbers of the segments that it became.
    pub(crate) fn store(&self, conn: &Connection) -> Result<Vec<(i64, (usize, usize))>> {
        let mut stored = Vec::with_capacity(self.parts.len());
        for (number, part) in self.parts.iter().enumerate() {
            let id = match number {
                0 => {
                    conn.prepare_cached("UPDATE segment SET data = ?2 WHERE id = ?1")?
                        .execute(params![self.id, part.data])?;
                    self.id
                }
                _ => insert(conn, part)?,
            };
            stored.push((id, part.rows));
        }
        Ok(stored)
    }
}

/// Compares all checksums, the bounds, the order, and the number of entries of each version.
pub(crate) fn verify(conn: &Connection) -> Result<()> {
    let versions = versions(conn)?;
    let slots = slots(conn)?;
    let mut counts = vec![0u64; versions.len()];
    let mut last: Option<Vec<u8>> = None;
    let mut segments = 0;
    each(conn, |segment| {
        segments += 1;
        while let Some(row) = segment.next()? {
            row.entry()?;
            if last.as_deref().is_some_and(|last| last > row.path) {
                return Err(Error::damaged("the entries are out of order"));
            }
            last.get_or_insert_default().clear();
            last.get_or_insert_default().extend_from_slice(row.path);
            for run in row.runs {
                for slot in slots.range(run.0, run.1) {
                    let at = versions.binary_search_by_key(slot, |version| version.slot);
                    if let Some(count) = at.ok().and_then(|at| counts.get_mut(at)) {
                        *count += 1;
                    }
                }
            }
        }
        Ok(())
    })?;
    if segments != ids(conn)?.len() {
        return Err(Error::damaged("there are segments that nothing leads to"));
    }
    let mut pairs = versions.iter().zip(&counts);
    match pairs.all(|(version, count)| version.entries == *count) {
        true => Ok(()),
        false => Err(Error::damaged("the entries of a version are not complete")),
    }
}

fn load(row: &Row, segment: &mut Segment) -> Result<()> {
    let (first, data) = (row.get_ref(1)?.as_blob()?, row.get_ref(2)?.as_blob()?);
    segment.load(row.get(0)?, first, data)
}

fn insert(conn: &Connection, part: &PackedSegment) -> Result<i64> {
    Ok(conn
        .prepare_cached("INSERT INTO segment(first, data) VALUES(?1, ?2)")?
        .insert(params![part.first, part.data])?)
}

fn is_empty(conn: &Connection) -> Result<bool> {
    Ok(!conn
        .prepare_cached("SELECT 1 FROM segment LIMIT 1")?
        .exists([])?)
}

pub(crate) fn missing() -> Error {
    Error::damaged("a segment of the entries is missing")
}

const SELECT_VERSION: &str = "SELECT slot, fileset, entries, list, crc FROM entry_version";
