//! The tables, and how an empty catalog is made.
//!
//! | Table | One row is | Size |
//! | --- | --- | --- |
//! | `param` | a named setting the engine wants to remember | tens |
//! | `volume` | a remote file and its state | thousands |
//! | `index_link` | "this index volume describes that block volume" | thousands |
//! | `block` | a block: (hash, size) to the volume it is read from | millions |
//! | `block_copy` | a further volume that holds a block | few |
//! | `volume_block` | up to 4096 blocks of a volume in the order they were added, packed | blocks / 4096 |
//! | `blocklist` | the bytes of a blocklist block | one per large file |
//! | `fileset` | a version | hundreds |
//! | `entry_slot` | the last slot given out (at most one row) | 1 |
//! | `entry_version` | a version whose entries are stored, under its slot | hundreds |
//! | `segment` | the entries of all versions in a stretch of the path order, packed | files / 200 |
//! | `loss` | a volume that is gone or damaged | few |
//! | `loss_block` | up to 4096 blocks of a lost volume, packed | few |
//!
//! `block` is the only table that is large and in random order, so its rows are small: a `WITHOUT ROWID` tree whose value
//! is one integer, volume and row checksum together (`place`). A second index by volume would double it; `volume_block`
//! gives the blocks of a volume at a fraction of that cost, and the two are compared when a catalog is examined.
//! How the entries of all versions share segments: [`crate::entries`] and docs/decisions/0012-all-versions-in-the-catalog.md.
//!
//! `crc` is the row checksum everywhere else; packed blobs begin with theirs. All tables are `STRICT`, which lets SQLite's
//! own check find values of the wrong type.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::{Error, Result};

/// `application_id` in the file header: "LARD".
pub(crate) const APPLICATION_ID: u32 = 0x4c41_5244;

/// `user_version` in the file header. A catalog of another version is replaced: reading the destination again is always
/// possible and simpler to get right than a migration. A version worth migrating would be handled in `open`.
pub(crate) const VERSION: u32 = 2;

/// Page size of every catalog.
pub(crate) const PAGE_LEN: u64 = 4096;

/// Name and definition of every table and index.
pub(crate) const TABLES: &[(&str, &str)] = &[
    (
        "param",
        "CREATE TABLE param(key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL, crc INTEGER NOT NULL) \
         STRICT, WITHOUT ROWID",
    ),
    (
        "volume",
        "CREATE TABLE volume(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, kind INTEGER NOT NULL, \
         state INTEGER NOT NULL, size INTEGER, hash BLOB, verified INTEGER NOT NULL, time INTEGER, \
         crc INTEGER NOT NULL) STRICT",
    ),
    (
        "index_link",
        "CREATE TABLE index_link(index_volume INTEGER NOT NULL, block_volume INTEGER NOT NULL, crc INTEGER NOT NULL, \
         PRIMARY KEY(index_volume, block_volume)) STRICT, WITHOUT ROWID",
    ),
    (
        "index_link_block",
        "CREATE INDEX index_link_block ON index_link(block_volume)",
    ),
    (
        "block",
        "CREATE TABLE block(hash BLOB NOT NULL, size INTEGER NOT NULL, place INTEGER NOT NULL, \
         PRIMARY KEY(hash, size)) STRICT, WITHOUT ROWID",
    ),
    (
        "block_copy",
        "CREATE TABLE block_copy(hash BLOB NOT NULL, size INTEGER NOT NULL, place INTEGER NOT NULL, \
         PRIMARY KEY(hash, size, place)) STRICT, WITHOUT ROWID",
    ),
    (
        "volume_block",
        "CREATE TABLE volume_block(id INTEGER PRIMARY KEY, volume INTEGER NOT NULL, data BLOB NOT NULL) STRICT",
    ),
    (
        "volume_block_volume",
        "CREATE INDEX volume_block_volume ON volume_block(volume)",
    ),
    (
        "blocklist",
        "CREATE TABLE blocklist(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, volume INTEGER, \
         crc INTEGER NOT NULL, data BLOB NOT NULL) STRICT",
    ),
    (
        "blocklist_volume",
        "CREATE INDEX blocklist_volume ON blocklist(volume)",
    ),
    (
        "fileset",
        "CREATE TABLE fileset(id INTEGER PRIMARY KEY AUTOINCREMENT, volume INTEGER NOT NULL, time INTEGER NOT NULL, \
         is_full INTEGER NOT NULL, files INTEGER NOT NULL, folders INTEGER NOT NULL, symlinks INTEGER NOT NULL, \
         bytes INTEGER NOT NULL, crc INTEGER NOT NULL) STRICT",
    ),
    (
        "entry_slot",
        "CREATE TABLE entry_slot(id INTEGER PRIMARY KEY CHECK(id = 1), last INTEGER NOT NULL, crc INTEGER NOT NULL) STRICT",
    ),
    (
        "entry_version",
        "CREATE TABLE entry_version(slot INTEGER PRIMARY KEY, fileset INTEGER NOT NULL UNIQUE, entries INTEGER NOT NULL, \
         list BLOB, crc INTEGER NOT NULL) STRICT",
    ),
    (
        "segment",
        "CREATE TABLE segment(id INTEGER PRIMARY KEY, first BLOB NOT NULL UNIQUE, data BLOB NOT NULL) STRICT",
    ),
    (
        "loss",
        "CREATE TABLE loss(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, kind INTEGER NOT NULL, \
         what INTEGER NOT NULL, found INTEGER, detail TEXT, noticed INTEGER NOT NULL, size INTEGER, hash BLOB, \
         version INTEGER, files INTEGER, crc INTEGER NOT NULL) STRICT",
    ),
    (
        "loss_block",
        "CREATE TABLE loss_block(id INTEGER PRIMARY KEY, loss INTEGER NOT NULL, data BLOB NOT NULL) STRICT",
    ),
    (
        "loss_block_loss",
        "CREATE INDEX loss_block_loss ON loss_block(loss)",
    ),
];

/// Makes an empty catalog under another name and moves it into place, so that a half-made one is never met.
pub(crate) fn create(path: &Path, building: &Path) -> Result<()> {
    // SQLite would take the permissions of an existing file; make it private before it has content.
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    crate::lock::private(&mut options)
        .open(building)
        .map_err(|error| Error::io(building, error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(building, flags)?;
    conn.execute_batch(&format!(
        "PRAGMA page_size={PAGE_LEN}; PRAGMA encoding='UTF-8'; PRAGMA auto_vacuum=NONE; PRAGMA journal_mode=MEMORY; \
         PRAGMA synchronous=FULL; BEGIN; PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={VERSION};"
    ))?;
    for (_, definition) in TABLES {
        conn.execute_batch(definition)?;
    }
    conn.execute_batch("COMMIT; PRAGMA journal_mode=WAL;")?;
    conn.close().map_err(|(_, error)| error)?;
    std::fs::rename(building, path).map_err(|error| Error::io(path, error))?;
    crate::sums::sync_folder(path)
}

/// Compares the stored definitions with [`TABLES`], in whatever order: [`Catalog::vacuum`](crate::Catalog::vacuum) changes it.
pub(crate) fn compare(conn: &Connection) -> Result<()> {
    let mut statement =
        conn.prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")?;
    let mut rows = statement.query([])?;
    let mut missing: BTreeMap<&str, &str> = TABLES.iter().copied().collect();
    while let Some(row) = rows.next()? {
        let (name, sql) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
        // Made by SQLite itself for AUTOINCREMENT.
        if name == "sqlite_sequence" {
            continue;
        }
        if missing.remove(name) != Some(sql) {
            return Err(Error::damaged(format!(
                "the definition of {name:?} is not ours"
            )));
        }
    }
    match missing.first_key_value() {
        Some((name, _)) => Err(Error::damaged(format!("the table {name} is missing"))),
        None => Ok(()),
    }
}
