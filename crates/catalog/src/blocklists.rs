//! Blocklists: the bytes of blocks that list the blocks of a large file.

use larder_volume::Hash;
use rusqlite::{Connection, OptionalExtension, params};

use crate::check::RowCheck;
use crate::wire::{parse_hash, to_stored};
use crate::{Catalog, Error, Result};

impl Catalog {
    /// Stores a blocklist; `volume` is the block volume that holds it, when known.
    ///
    /// The caller has checked that `data` has this hash. Of a known blocklist only a missing volume is filled in.
    pub fn add_blocklist(&self, hash: &Hash, data: &[u8], volume: Option<i64>) -> Result<()> {
        self.write(|conn| add(conn, hash, data, volume))
    }

    /// The bytes of a blocklist.
    pub fn blocklist(&self, hash: &Hash) -> Result<Option<Vec<u8>>> {
        self.read(|conn| find(conn, hash))
    }

    /// The blocklists a volume holds, with their bytes, in the order they were added.
    pub fn blocklists_of_volume(&self, volume: i64) -> Result<Vec<(Hash, Vec<u8>)>> {
        self.read(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT hash, volume, crc, data FROM blocklist WHERE volume = ?1 ORDER BY id",
            )?;
            let mut rows = statement.query(params![volume])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let (hash, data) = parse(row)?;
                found.push((parse_hash(hash)?, data.to_vec()));
            }
            Ok(found)
        })
    }
}

/// The bytes of a blocklist.
pub(crate) fn find(conn: &Connection, hash: &Hash) -> Result<Option<Vec<u8>>> {
    let mut statement =
        conn.prepare_cached("SELECT hash, volume, crc, data FROM blocklist WHERE hash = ?1")?;
    let mut rows = statement.query(params![hash.as_bytes()])?;
    rows.next()?
        .map(|row| parse(row).map(|(_, data)| data.to_vec()))
        .transpose()
}

/// Stores a blocklist over any connection.
pub(crate) fn add(conn: &Connection, hash: &Hash, data: &[u8], volume: Option<i64>) -> Result<()> {
    let added = conn
        .prepare_cached(
            "INSERT INTO blocklist(hash, volume, crc, data) VALUES(?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )?
        .execute(params![hash.as_bytes(), volume, crc_of(hash.as_bytes(), volume, data), data])?;
    if added == 0 && volume.is_some() {
        let known: Option<Option<i64>> = conn
            .prepare_cached("SELECT volume FROM blocklist WHERE hash = ?1")?
            .query_row(params![hash.as_bytes()], |row| row.get(0))
            .optional()?;
        if known == Some(None) {
            set_volume(conn, hash.as_bytes(), volume, data)?;
        }
    }
    Ok(())
}

/// Gives the blocklists of a volume that goes away to the volume that holds their block now, or drops them.
pub(crate) fn leave_volume(
    conn: &Connection,
    volume: i64,
    find_block: impl Fn(&[u8], i64) -> Result<Option<i64>>,
) -> Result<()> {
    let lists: Vec<(Vec<u8>, Vec<u8>)> = {
        let mut statement =
            conn.prepare_cached("SELECT hash, volume, crc, data FROM blocklist WHERE volume = ?1")?;
        let mut rows = statement.query(params![volume])?;
        let mut lists = Vec::new();
        while let Some(row) = rows.next()? {
            let (hash, data) = parse(row)?;
            lists.push((hash.to_vec(), data.to_vec()));
        }
        lists
    };
    for (hash, data) in lists {
        match find_block(&hash, to_stored(data.len() as u64)?)? {
            Some(other) => set_volume(conn, &hash, Some(other), &data)?,
            None => {
                conn.prepare_cached("DELETE FROM blocklist WHERE hash = ?1")?
                    .execute(params![hash])?;
            }
        }
    }
    Ok(())
}

/// Compares all checksums.
pub(crate) fn verify(conn: &Connection) -> Result<()> {
    let mut statement = conn.prepare("SELECT hash, volume, crc, data FROM blocklist")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        parse_hash(parse(row)?.0)?;
    }
    Ok(())
}

fn set_volume(conn: &Connection, hash: &[u8], volume: Option<i64>, data: &[u8]) -> Result<()> {
    conn.prepare_cached("UPDATE blocklist SET volume = ?2, crc = ?3 WHERE hash = ?1")?
        .execute(params![hash, volume, crc_of(hash, volume, data)])?;
    Ok(())
}

fn parse<'a>(row: &'a rusqlite::Row) -> Result<(&'a [u8], &'a [u8])> {
    let (hash, data) = (row.get_ref(0)?.as_blob()?, row.get_ref(3)?.as_blob()?);
    let stored: i64 = row.get(2)?;
    if crc_of(hash, row.get(1)?, data) != stored {
        return Err(Error::damaged(
            "the checksum of a blocklist row does not match",
        ));
    }
    Ok((hash, data))
}

fn crc_of(hash: &[u8], volume: Option<i64>, data: &[u8]) -> i64 {
    RowCheck::new("blocklist")
        .bytes(hash)
        .optional(volume)
        .bytes(data)
        .finish()
}
