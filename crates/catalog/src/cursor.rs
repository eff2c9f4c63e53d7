//! Reading the stored entries in path order, over a connection of its own.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use crate::catalog::{Files, SIDE_CACHE_KIB};
use crate::codec::{ChunkReader, StoredEntry};
use crate::{Catalog, Error, Result, entries};

impl Catalog {
    /// Reads the stored entries in ascending order of their path bytes.
    ///
    /// The cursor sees the entries as they are now, whatever is written meanwhile, and holds one chunk in memory. While it
    /// exists the write-ahead log cannot be emptied, so do not keep it longer than needed.
    pub fn previous_entries(&self) -> Result<EntryCursor> {
        self.files()
            .guard(EntryCursor::open(Arc::clone(self.files())))
    }
}

/// Gives the stored entries one after the other; see [`Catalog::previous_entries`]. After an error it ends.
pub struct EntryCursor {
    // Before `files`: the connection must be closed while the lock is held.
    conn: Connection,
    files: Arc<Files>,
    walk: EntryWalk,
}

impl EntryCursor {
    fn open(files: Arc<Files>) -> Result<EntryCursor> {
        let conn = files.connect(SIDE_CACHE_KIB)?;
        // The first read fixes what the transaction sees.
        conn.execute_batch("BEGIN DEFERRED")?;
        let walk = EntryWalk::start(&conn)?;
        Ok(EntryCursor { conn, files, walk })
    }

    /// Number of entries not yet given.
    pub fn remaining(&self) -> u64 {
        self.walk.remaining
    }
}

impl Iterator for EntryCursor {
    type Item = Result<StoredEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.walk.next(&self.conn).transpose();
        if let Some(Err(_)) = &next {
            self.walk.done = true;
        }
        next.map(|item| self.files.guard(item))
    }
}

/// Steps through the chunks of the entries; the transaction around it is the caller's.
struct EntryWalk {
    chunk: ChunkReader,
    last_id: i64,
    remaining: u64,
    done: bool,
}

impl EntryWalk {
    fn start(conn: &Connection) -> Result<EntryWalk> {
        let remaining = entries::head(conn)?.map_or(0, |head| head.entries);
        Ok(EntryWalk {
            chunk: ChunkReader::empty(),
            last_id: i64::MIN,
            remaining,
            done: false,
        })
    }

    fn next(&mut self, conn: &Connection) -> Result<Option<StoredEntry>> {
        while !self.done {
            if let Some(entry) = self.chunk.next()? {
                self.remaining = self
                    .remaining
                    .checked_sub(1)
                    .ok_or_else(|| Error::damaged("there are too many entries"))?;
                return Ok(Some(entry));
            }
            let mut statement = conn.prepare_cached(
                "SELECT id, first, data FROM entry_chunk WHERE id > ?1 ORDER BY id LIMIT 1",
            )?;
            let mut rows = statement.query(params![self.last_id])?;
            match rows.next()? {
                Some(row) => {
                    self.last_id = row.get(0)?;
                    self.chunk
                        .load(row.get_ref(1)?.as_blob()?, row.get_ref(2)?.as_blob()?)?;
                }
                None => self.done = true,
            }
        }
        match self.remaining {
            0 => Ok(None),
            // Cleared so that it is reported once.
            _ => {
                self.remaining = 0;
                Err(Error::damaged("there are entries missing"))
            }
        }
    }
}

/// Compares all checksums, the number of entries and their order.
pub(crate) fn verify(conn: &Connection) -> Result<()> {
    let stray = conn
        .query_row("SELECT 1 FROM entry_chunk LIMIT 1", [], |_| Ok(()))
        .optional()?
        .is_some();
    if stray && entries::head(conn)?.is_none() {
        return Err(Error::damaged("there are entries of no version"));
    }
    let mut walk = EntryWalk::start(conn)?;
    let mut last: Option<Vec<u8>> = None;
    while let Some(stored) = walk.next(conn)? {
        if last.as_ref().is_some_and(|last| *last >= stored.entry.path) {
            return Err(Error::damaged("the entries are out of order"));
        }
        last = Some(stored.entry.path);
    }
    Ok(())
}
