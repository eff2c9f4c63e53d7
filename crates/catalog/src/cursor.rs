//! Reading the stored entries in path order, over a connection of its own.

use std::sync::{Arc, PoisonError};

use rusqlite::{Connection, params};

use crate::codec::{ChunkReader, StoredEntry};
use crate::files::{Files, SIDE_CACHE_KIB};
use crate::{Catalog, Error, Result, entries};

impl Catalog {
    /// Reads the stored entries in ascending order of their path bytes.
    ///
    /// The cursor gives the entries of the version that is stored now, even when another takes its place meanwhile, and
    /// holds one chunk in memory. ([`Catalog::update_entry_times`] shows in chunks it has not reached yet.)
    pub fn previous_entries(&self) -> Result<EntryCursor> {
        self.files().guard(EntryCursor::open(self.files()))
    }
}

/// Gives the stored entries one after the other; see [`Catalog::previous_entries`]. After an error it ends.
pub struct EntryCursor {
    // In this order: the connection is closed, the chunks may be deleted, the lock may be released.
    conn: Connection,
    walk: EntryWalk,
    claim: Claim,
}

impl EntryCursor {
    fn open(files: &Arc<Files>) -> Result<EntryCursor> {
        let conn = files.connect(SIDE_CACHE_KIB)?;
        let claim = Claim::take(files);
        let walk = EntryWalk::start(&conn)?;
        Ok(EntryCursor { conn, walk, claim })
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
            self.walk.stop();
        }
        next.map(|item| self.claim.0.guard(item))
    }
}

/// Keeps chunks from being deleted while it exists.
struct Claim(Arc<Files>);

impl Claim {
    fn take(files: &Arc<Files>) -> Claim {
        // Waits for a deletion under way; the head read afterwards is of chunks that stay.
        *files.cursors.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Claim(Arc::clone(files))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut cursors = self
            .0
            .cursors
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *cursors = cursors.saturating_sub(1);
    }
}

/// Steps through the chunks that are current when it starts.
struct EntryWalk {
    chunk: ChunkReader,
    /// Chunks not yet read: those after the first of these up to the second.
    chunks: (i64, i64),
    remaining: u64,
}

impl EntryWalk {
    fn start(conn: &Connection) -> Result<EntryWalk> {
        let (chunks, remaining) = match entries::head(conn)? {
            Some(head) => (
                (head.first_chunk.saturating_sub(1), head.last_chunk),
                head.entries,
            ),
            None => ((0, 0), 0),
        };
        Ok(EntryWalk {
            chunk: ChunkReader::empty(),
            chunks,
            remaining,
        })
    }

    fn next(&mut self, conn: &Connection) -> Result<Option<StoredEntry>> {
        loop {
            if let Some(entry) = self.chunk.next()? {
                self.remaining = self
                    .remaining
                    .checked_sub(1)
                    .ok_or_else(|| Error::damaged("there are too many entries"))?;
                return Ok(Some(entry));
            }
            let (after, last) = self.chunks;
            if after >= last {
                break;
            }
            let mut statement = conn.prepare_cached(
                "SELECT id, first, data FROM entry_chunk WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT 1",
            )?;
            let mut rows = statement.query(params![after, last])?;
            let Some(row) = rows.next()? else {
                break;
            };
            self.chunks.0 = row.get(0)?;
            self.chunk
                .load(row.get_ref(1)?.as_blob()?, row.get_ref(2)?.as_blob()?)?;
        }
        match self.remaining {
            0 => Ok(None),
            _ => Err(Error::damaged("there are entries missing")),
        }
    }

    /// Gives nothing more.
    fn stop(&mut self) {
        *self = EntryWalk {
            chunk: ChunkReader::empty(),
            chunks: (0, 0),
            remaining: 0,
        };
    }
}

/// Compares all checksums, the number of entries and their order.
pub(crate) fn verify(conn: &Connection) -> Result<()> {
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
