//! Reading the entries of one version in path order, over a connection of its own.

use std::sync::Arc;

use larder_volume::Hash;
use rusqlite::Connection;

use crate::codec::StoredEntry;
use crate::files::{Files, SIDE_CACHE_KIB};
use crate::segment::Segment;
use crate::segments::{self, EntryVersion};
use crate::{Catalog, Error, Result, slots};

impl Catalog {
    /// The newest version whose entries are stored, if any. The engine compares it with the newest of
    /// [`Catalog::filesets`].
    pub fn previous(&self) -> Result<Option<i64>> {
        let stored = self.read(segments::versions)?;
        let mut ids = self.filesets()?.into_iter().map(|row| row.id);
        Ok(ids.find(|id| stored.iter().any(|version| version.fileset == *id)))
    }

    /// The versions whose entries are stored.
    pub fn filesets_with_entries(&self) -> Result<Vec<i64>> {
        let stored = self.read(segments::versions)?;
        Ok(stored.into_iter().map(|version| version.fileset).collect())
    }

    /// Tells whether the entries of a version are stored, and from the list with this hash, as far as both hashes are known.
    pub fn has_entries(&self, fileset: i64, list: Option<&Hash>) -> Result<bool> {
        let stored = self.read(|conn| segments::version_of(conn, fileset))?;
        Ok(stored.is_some_and(|version| match (list, &version.list) {
            (Some(listed), Some(stored)) => listed == stored,
            _ => true,
        }))
    }

    /// Reads the entries of [`Catalog::previous`]; none when there is no such version.
    pub fn previous_entries(&self) -> Result<EntryCursor> {
        let previous = self.previous()?;
        self.files()
            .guard(EntryCursor::open(self.files(), previous))
    }

    /// Reads the entries of a version in ascending order of their path bytes.
    ///
    /// The cursor is not disturbed by the entries of other versions being taken in or dropped, and holds one segment in
    /// memory.
    ///
    /// # Errors
    /// [`Error::Missing`] when the entries of this version are not stored; from the cursor itself, too, when the version
    /// is removed while it is read.
    pub fn entries(&self, fileset: i64) -> Result<EntryCursor> {
        self.files()
            .guard(EntryCursor::open(self.files(), Some(fileset)))
    }
}

/// Gives the entries of a version one after the other; see [`Catalog::entries`]. After an error it ends.
pub struct EntryCursor {
    // Before `files`: the connection is closed before the lock is released.
    conn: Connection,
    walk: EntryWalk,
    files: Arc<Files>,
}

impl EntryCursor {
    fn open(files: &Arc<Files>, fileset: Option<i64>) -> Result<EntryCursor> {
        let conn = files.connect(SIDE_CACHE_KIB)?;
        let version = fileset
            .map(|fileset| required(&conn, fileset))
            .transpose()?;
        Ok(EntryCursor {
            conn,
            walk: EntryWalk::new(version),
            files: Arc::clone(files),
        })
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
            self.walk = EntryWalk::new(None);
        }
        next.map(|item| self.files.guard(item))
    }
}

/// The entries of a version, which must be stored.
pub(crate) fn required(conn: &Connection, fileset: i64) -> Result<EntryVersion> {
    segments::version_of(conn, fileset)?.ok_or(Error::Missing {
        what: "list of entries of the fileset",
        id: fileset,
    })
}

/// Steps through the segments for one version.
struct EntryWalk {
    version: Option<EntryVersion>,
    segment: Segment,
    /// Where the next segment begins; `None` after the last.
    from: Option<Vec<u8>>,
    /// The path given last: a segment that was split since may begin before it.
    last: Option<Vec<u8>>,
    remaining: u64,
}

impl EntryWalk {
    fn new(version: Option<EntryVersion>) -> EntryWalk {
        EntryWalk {
            version,
            segment: Segment::default(),
            from: version.map(|_| Vec::new()),
            last: None,
            remaining: version.map_or(0, |version| version.entries),
        }
    }

    fn next(&mut self, conn: &Connection) -> Result<Option<StoredEntry>> {
        let Some(version) = self.version else {
            return Ok(None);
        };
        loop {
            while let Some(row) = self.segment.next()? {
                let given = self.last.as_deref();
                if !slots::contains(row.runs, version.slot)
                    || given.is_some_and(|last| last >= row.path)
                {
                    continue;
                }
                let stored = row.stored()?;
                self.last.get_or_insert_default().clear();
                self.last
                    .get_or_insert_default()
                    .extend_from_slice(row.path);
                self.remaining = match self.remaining.checked_sub(1) {
                    Some(remaining) => remaining,
                    None => return Err(incomplete(conn, &version)),
                };
                return Ok(Some(stored));
            }
            let Some(from) = self.from.take() else {
                break;
            };
            if segments::seek(conn, &from, &mut self.segment)? {
                self.from = self.segment.upper.take();
            }
        }
        match self.remaining {
            0 => Ok(None),
            _ => Err(incomplete(conn, &version)),
        }
    }
}

/// Why a version has not as many entries as it should: it was removed, or the catalog is damaged.
pub(crate) fn incomplete(conn: &Connection, version: &EntryVersion) -> Error {
    match required(conn, version.fileset) {
        Ok(found) if found.slot == version.slot => {
            Error::damaged("the entries of a version are not complete")
        }
        Ok(_) => Error::Missing {
            what: "list of entries of the fileset",
            id: version.fileset,
        },
        Err(error) => error,
    }
}
