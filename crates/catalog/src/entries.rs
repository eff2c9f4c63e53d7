//! Writing the entries of the newest version.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};

use crate::catalog::transact;
use crate::check::RowCheck;
use crate::codec::{ChunkBuilder, ChunkReader, StoredEntry, encode_fields};
use crate::files::{Files, SIDE_CACHE_KIB};
use crate::sort::Sorter;
use crate::wire::{from_stored, to_stored};
use crate::{Catalog, Error, Result, filesets};

impl Catalog {
    /// The version whose entries are stored, if any. The engine compares it with the newest of [`Catalog::filesets`].
    pub fn previous(&self) -> Result<Option<i64>> {
        self.read(|conn| {
            let Some(head) = head(conn)? else {
                return Ok(None);
            };
            Ok(filesets::find(conn, head.fileset)?.map(|row| row.id))
        })
    }

    /// Starts to collect the entries of a new version; the stored ones stay until [`EntryWriter::finish`].
    ///
    /// # Errors
    /// [`Error::Misuse`] when a writer or loader of this catalog exists already.
    pub fn begin_entries(&self) -> Result<EntryWriter> {
        let staging = Staging::begin(self.files())?;
        self.read(|conn| prune(conn, self.files()))?;
        let sorter = Sorter::new(staging.0.spill(), WRITER_MEMORY);
        Ok(EntryWriter {
            staging,
            sorter,
            fields: Vec::new(),
        })
    }

    /// Notes exact modification times (path, ticks) of stored entries; returns how many of the paths were found.
    ///
    /// For a backup in which nothing but times changed, so that the entries need not be written again.
    pub fn update_entry_times<P: AsRef<[u8]>>(&self, times: &[(P, i64)]) -> Result<u64> {
        let mut times: Vec<PathTime> = times
            .iter()
            .map(|(path, ticks)| (path.as_ref(), *ticks))
            .collect();
        times.sort_by_key(|(path, _)| *path);
        self.write(|conn| {
            let Some(head) = head(conn)? else {
                return Ok(0);
            };
            let mut found = 0;
            let mut rest = times.as_slice();
            while let Some((path, _)) = rest.first() {
                let Some(chunk) = chunk_of(conn, &head, path)? else {
                    rest = rest.split_first().map_or(&[], |(_, rest)| rest);
                    continue;
                };
                let (count, left) = update_chunk(conn, &head, &chunk, rest)?;
                found += count;
                rest = left;
            }
            Ok(found)
        })
    }
}

/// Collects the entries of a version, then puts them in place of the stored ones at once.
///
/// Entries are kept outside the database until then, in memory or in a temporary file of its own, so a backup that reads
/// the stored entries, or another thread that uses the catalog, is not held up. Dropping the writer discards them.
pub struct EntryWriter {
    // Before `staging`, so that the temporary file is gone when the next writer may begin.
    sorter: Sorter,
    staging: Staging,
    fields: Vec<u8>,
}

/// What [`EntryWriter::finish`] stored.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct EntryTotals {
    /// Entries stored.
    pub entries: u64,
    /// Entries left out because an earlier one had the same path.
    pub duplicates: u64,
}

impl EntryWriter {
    /// Takes an entry. Ascending order of the path bytes is cheapest; any order works.
    pub fn add(&mut self, entry: &StoredEntry) -> Result<()> {
        self.fields.clear();
        encode_fields(&mut self.fields, entry);
        self.sorter.push(&entry.entry.path, &self.fields)
    }

    /// Replaces the stored entries by the collected ones, as those of version `fileset`.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no such version; [`Error::Busy`] when called inside [`Catalog::durable`].
    pub fn finish(self, fileset: i64) -> Result<EntryTotals> {
        let conn = self.staging.0.connect(SIDE_CACHE_KIB)?;
        let Self {
            sorter, staging, ..
        } = self;
        staging
            .0
            .guard(transact(&conn, |conn| swap(conn, fileset, sorter)))
    }

    /// As [`EntryWriter::finish`], over the connection of the catalog: may be part of a [`Catalog::durable`].
    pub fn finish_in(self, catalog: &Catalog, fileset: i64) -> Result<EntryTotals> {
        if !Arc::ptr_eq(catalog.files(), &self.staging.0) {
            return Err(Error::Misuse("entries are finished in another catalog"));
        }
        catalog.write(|conn| swap(conn, fileset, self.sorter))
    }
}

/// The right to collect entries; only one at a time, so that nobody's work is overwritten unnoticed.
pub(crate) struct Staging(pub(crate) Arc<Files>);

impl Staging {
    pub(crate) fn begin(files: &Arc<Files>) -> Result<Staging> {
        files.mark_changed()?;
        if files.staging.swap(true, Ordering::AcqRel) {
            return Err(Error::Misuse("entries are being written already"));
        }
        Ok(Staging(Arc::clone(files)))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.0.staging.store(false, Ordering::Release);
    }
}

/// Whose entries are stored, how many, and in which chunks.
pub(crate) struct EntryHead {
    pub(crate) fileset: i64,
    pub(crate) entries: u64,
    pub(crate) first_chunk: i64,
    pub(crate) last_chunk: i64,
}

impl EntryHead {
    fn crc(&self) -> Result<i64> {
        let check = RowCheck::new("entry_head")
            .int(self.fileset)
            .int(to_stored(self.entries)?);
        Ok(check.int(self.first_chunk).int(self.last_chunk).finish())
    }
}

/// Reads the head.
pub(crate) fn head(conn: &Connection) -> Result<Option<EntryHead>> {
    let mut statement = conn.prepare_cached(
        "SELECT fileset, entries, first_chunk, last_chunk, crc FROM entry_head WHERE id = 1",
    )?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let head = EntryHead {
        fileset: row.get(0)?,
        entries: from_stored(row.get(1)?)?,
        first_chunk: row.get(2)?,
        last_chunk: row.get(3)?,
    };
    match head.crc()? == row.get::<_, i64>(4)? {
        true => Ok(Some(head)),
        false => Err(Error::damaged(
            "the checksum of the entry head does not match",
        )),
    }
}

/// Forgets the stored entries; their chunks stay until [`prune`].
pub(crate) fn clear(conn: &Connection) -> Result<()> {
    conn.prepare_cached("DELETE FROM entry_head")?.execute([])?;
    Ok(())
}

/// Deletes chunks that are not current, unless a cursor may be reading them or a transaction is open.
pub(crate) fn prune(conn: &Connection, files: &Files) -> Result<()> {
    let cursors = files.cursors.lock().unwrap_or_else(PoisonError::into_inner);
    if *cursors > 0 || !conn.is_autocommit() {
        return Ok(());
    }
    let (first, last) = head(conn)?.map_or((0, -1), |head| (head.first_chunk, head.last_chunk));
    let stray = "SELECT 1 FROM entry_chunk WHERE id < ?1 OR id > ?2 LIMIT 1";
    if conn.prepare_cached(stray)?.exists(params![first, last])? {
        transact(conn, |conn| {
            conn.prepare_cached("DELETE FROM entry_chunk WHERE id < ?1 OR id > ?2")?
                .execute(params![first, last])?;
            Ok(())
        })?;
    }
    Ok(())
}

/// Replaces the stored entries; to be called inside a transaction.
pub(crate) fn swap(conn: &Connection, fileset: i64, sorter: Sorter) -> Result<EntryTotals> {
    filesets::find(conn, fileset)?.ok_or(Error::Missing {
        what: "fileset",
        id: fileset,
    })?;
    let collected = sorter.len();
    let mut chunks: Option<(i64, i64)> = None;
    let mut totals = EntryTotals::default();
    let mut chunk = ChunkBuilder::default();
    let mut last: Option<Vec<u8>> = None;
    let mut insert = conn.prepare_cached("INSERT INTO entry_chunk(first, data) VALUES(?1, ?2)")?;
    let mut put = |first: &[u8], data: &[u8]| -> Result<()> {
        let id = insert.insert(params![first, data])?;
        chunks = Some((chunks.map_or(id, |chunks| chunks.0), id));
        Ok(())
    };
    sorter.drain(|path, fields| {
        match &mut last {
            Some(last) if last == path => return Ok(()),
            Some(last) => {
                last.clear();
                last.extend_from_slice(path);
            }
            None => last = Some(path.to_vec()),
        }
        totals.entries += 1;
        if chunk.add(path, fields)
            && let Some((first, data)) = chunk.take()
        {
            put(first, data)?;
        }
        Ok(())
    })?;
    if let Some((first, data)) = chunk.take() {
        put(first, data)?;
    }
    let (first_chunk, last_chunk) = chunks.unwrap_or((0, -1));
    let head = EntryHead {
        fileset,
        entries: totals.entries,
        first_chunk,
        last_chunk,
    };
    conn.prepare_cached(
        "INSERT OR REPLACE INTO entry_head(id, fileset, entries, first_chunk, last_chunk, crc) \
         VALUES(1, ?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        fileset,
        to_stored(head.entries)?,
        first_chunk,
        last_chunk,
        head.crc()?
    ])?;
    totals.duplicates = collected - totals.entries;
    Ok(totals)
}

/// A path and its modification time in ticks.
type PathTime<'t> = (&'t [u8], i64);

/// A stored chunk.
struct Chunk {
    id: i64,
    first: Vec<u8>,
    data: Vec<u8>,
}

/// The chunk in which a path would be.
fn chunk_of(conn: &Connection, head: &EntryHead, path: &[u8]) -> Result<Option<Chunk>> {
    let mut statement = conn.prepare_cached(
        "SELECT id, first, data FROM entry_chunk WHERE first <= ?1 AND id BETWEEN ?2 AND ?3 ORDER BY first DESC LIMIT 1",
    )?;
    let chunk = statement
        .query_row(params![path, head.first_chunk, head.last_chunk], |row| {
            Ok(Chunk {
                id: row.get(0)?,
                first: row.get(1)?,
                data: row.get(2)?,
            })
        })
        .optional()?;
    Ok(chunk)
}

/// Applies those of the (sorted) times that fall into a chunk; gives how many were found and those that come after.
fn update_chunk<'t>(
    conn: &Connection,
    head: &EntryHead,
    chunk: &Chunk,
    times: &'t [PathTime<'t>],
) -> Result<(u64, &'t [PathTime<'t>])> {
    let mut reader = ChunkReader::empty();
    reader.load(&chunk.first, &chunk.data)?;
    let mut builder = ChunkBuilder::default();
    let mut fields = Vec::new();
    let mut found = 0;
    let mut rest = times;
    while let Some(mut stored) = reader.next()? {
        let path = stored.entry.path.as_slice();
        while let Some((_, after)) = rest.split_first().filter(|(time, _)| time.0 < path) {
            rest = after;
        }
        // Of several times for one path the last one given counts.
        while let Some((time, after)) = rest.split_first().filter(|(time, _)| time.0 == path) {
            stored.mtime_ticks = Some(time.1);
            found += 1;
            rest = after;
        }
        fields.clear();
        encode_fields(&mut fields, &stored);
        builder.add(&stored.entry.path, &fields);
    }
    // What lies between the last entry of this chunk and the first of the next is in neither.
    let next: Option<Vec<u8>> = conn
        .prepare_cached(
            "SELECT first FROM entry_chunk WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT 1",
        )?
        .query_row(params![chunk.id, head.last_chunk], |row| row.get(0))
        .optional()?;
    while let Some((_, after)) = rest
        .split_first()
        .filter(|(time, _)| next.as_deref().is_none_or(|next| time.0 < next))
    {
        rest = after;
    }
    if found > 0
        && let Some((_, data)) = builder.take()
    {
        conn.prepare_cached("UPDATE entry_chunk SET data = ?2 WHERE id = ?1")?
            .execute(params![chunk.id, data])?;
    }
    Ok((found, rest))
}

/// Buffer of an entry writer; about 80,000 entries fit before a temporary file is needed.
const WRITER_MEMORY: usize = 16 << 20;
