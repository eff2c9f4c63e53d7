//! Filesets: the versions of the backup.

use rusqlite::{Connection, Row, params};

use crate::check::RowCheck;
use crate::wire::{from_stored, to_stored};
use crate::{Catalog, Error, Result, volumes};

/// How much a version holds.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Number of files.
    pub files: u64,
    /// Number of folders.
    pub folders: u64,
    /// Number of symbolic links.
    pub symlinks: u64,
    /// Sum of the file sizes in bytes.
    pub bytes: u64,
}

/// A version of the backup.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct FilesetRow {
    /// Id in this catalog; not used again after the version was removed.
    pub id: i64,
    /// The list volume it is stored in.
    pub volume: i64,
    /// Its time, seconds since 1970.
    pub time: i64,
    /// False when the backup was stopped or interrupted.
    pub is_full: bool,
    /// What it holds.
    pub counts: Counts,
}

impl Catalog {
    /// Notes a version and returns its id.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no such volume.
    pub fn add_fileset(
        &self,
        volume: i64,
        time: i64,
        is_full: bool,
        counts: Counts,
    ) -> Result<i64> {
        self.write(|conn| {
            volumes::find(conn, volume)?.ok_or(Error::Missing {
                what: "volume",
                id: volume,
            })?;
            conn.prepare_cached(
                "INSERT INTO fileset(volume, time, is_full, files, folders, symlinks, bytes, crc) \
                 VALUES(0, 0, 0, 0, 0, 0, 0, 0)",
            )?
            .execute([])?;
            let id = conn.last_insert_rowid();
            store(
                conn,
                &FilesetRow {
                    id,
                    volume,
                    time,
                    is_full,
                    counts,
                },
            )?;
            Ok(id)
        })
    }

    /// All versions, the newest first. Those whose lists are gone or going are none.
    pub fn filesets(&self) -> Result<Vec<FilesetRow>> {
        let dead = self.dead_volumes()?;
        let mut rows = self.read(select)?;
        rows.retain(|row| !dead.contains(&row.volume));
        Ok(rows)
    }

    /// The version of a list, also when that is gone.
    pub fn fileset_of(&self, volume: i64) -> Result<Option<FilesetRow>> {
        let rows = self.read(select)?;
        Ok(rows.into_iter().find(|row| row.volume == volume))
    }
}

/// The version with this id.
pub(crate) fn find(conn: &Connection, id: i64) -> Result<Option<FilesetRow>> {
    let mut statement = conn.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
    let mut rows = statement.query(params![id])?;
    rows.next()?.map(parse).transpose()
}

/// Compares all checksums.
pub(crate) fn verify(conn: &Connection) -> Result<()> {
    for row in select(conn)? {
        if volumes::find(conn, row.volume)?.is_none() {
            return Err(Error::damaged(format!(
                "version {} lies in a volume that is not there",
                row.id
            )));
        }
    }
    Ok(())
}

/// All versions, the newest first.
pub(crate) fn select(conn: &Connection) -> Result<Vec<FilesetRow>> {
    let mut statement = conn.prepare_cached(&format!("{SELECT} ORDER BY time DESC, id DESC"))?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(parse(row)?);
    }
    Ok(found)
}

fn store(conn: &Connection, row: &FilesetRow) -> Result<()> {
    let counts = stored_counts(&row.counts)?;
    let [files, folders, symlinks, bytes] = counts;
    conn.prepare_cached(
        "UPDATE fileset SET volume = ?2, time = ?3, is_full = ?4, files = ?5, folders = ?6, symlinks = ?7, bytes = ?8, \
         crc = ?9 WHERE id = ?1",
    )?
    .execute(params![row.id, row.volume, row.time, row.is_full, files, folders, symlinks, bytes, crc_of(row)?])?;
    Ok(())
}

fn parse(row: &Row) -> Result<FilesetRow> {
    let count = |at: usize| -> Result<u64> { from_stored(row.get(at)?) };
    let is_full: i64 = row.get(3)?;
    let fileset = FilesetRow {
        id: row.get(0)?,
        volume: row.get(1)?,
        time: row.get(2)?,
        is_full: is_full == 1,
        counts: Counts {
            files: count(4)?,
            folders: count(5)?,
            symlinks: count(6)?,
            bytes: count(7)?,
        },
    };
    let stored: i64 = row.get(8)?;
    if is_full & !1 != 0 || crc_of(&fileset)? != stored {
        return Err(Error::damaged(format!(
            "the checksum of the row of version {} does not match",
            fileset.id
        )));
    }
    Ok(fileset)
}

fn crc_of(row: &FilesetRow) -> Result<i64> {
    let check = RowCheck::new("fileset")
        .int(row.id)
        .int(row.volume)
        .int(row.time)
        .int(i64::from(row.is_full));
    Ok(stored_counts(&row.counts)?
        .into_iter()
        .fold(check, RowCheck::int)
        .finish())
}

fn stored_counts(counts: &Counts) -> Result<[i64; 4]> {
    Ok([
        to_stored(counts.files)?,
        to_stored(counts.folders)?,
        to_stored(counts.symlinks)?,
        to_stored(counts.bytes)?,
    ])
}

const SELECT: &str =
    "SELECT id, volume, time, is_full, files, folders, symlinks, bytes, crc FROM fileset";
