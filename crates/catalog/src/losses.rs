//! Losses: volumes that are gone or damaged, remembered until they are mended.
//!
//! What is known of them cannot be read again from the destination, which makes this the only table that is more than a
//! cache. When the catalog is lost, a loss shows again as blocks that no volume has.

use larder_volume::{BlockRows, Hash, VolumeKind};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::check::RowCheck;
use crate::volumes::{kind_from_stored, kind_to_stored};
use crate::wire::{from_stored, parse_hash, to_stored};
use crate::{Catalog, Error, Result, packed};

/// A volume that was stored once and is not there any more, or not as it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    /// Its name at the destination.
    pub name: String,
    /// What it held.
    pub kind: VolumeKind,
    /// What happened to it.
    pub what: LossKind,
    /// When it was noticed, seconds since 1970.
    pub noticed: i64,
    /// Its length when it was stored, in bytes.
    pub size: Option<u64>,
    /// Its hash when it was stored.
    pub hash: Option<Hash>,
    /// For lists: the time of the version, seconds since 1970.
    pub version: Option<i64>,
    /// Files that versions lost with it, as far as they were counted.
    pub files: Option<u64>,
}

/// In which way a volume was lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LossKind {
    /// It is not listed any more.
    Gone,
    /// It is listed with this many bytes, which are not its own.
    Resized(u64),
    /// Its content is not what was stored; the text says what was found.
    Damaged(String),
}

impl Catalog {
    /// Notes a loss with the blocks the volume held, in place of what was noted of this name before.
    pub fn add_loss(&self, loss: &Loss, blocks: &(impl BlockRows + ?Sized)) -> Result<()> {
        self.write(|conn| {
            remove(conn, &loss.name)?;
            let (what, found, detail) = stored_kind(&loss.what)?;
            let kind = kind_to_stored(loss.kind);
            let size = loss.size.map(to_stored).transpose()?;
            let files = loss.files.map(to_stored).transpose()?;
            let hash = loss.hash.as_ref().map(Hash::as_bytes);
            let id = conn
                .prepare_cached(
                    "INSERT INTO loss(name, kind, what, found, detail, noticed, size, hash, version, files, crc) \
                     VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                )?
                .insert(params![
                    loss.name, kind, what, found, detail, loss.noticed, size, hash, loss.version, files, crc_of(loss)?
                ])?;
            let mut statement = conn.prepare_cached("INSERT INTO loss_block(loss, data) VALUES(?1, ?2)")?;
            packed::pack(id, blocks.rows(), &mut |data| {
                statement.execute(params![id, data])?;
                Ok(())
            })
        })
    }

    /// All losses, by name.
    pub fn losses(&self) -> Result<Vec<Loss>> {
        self.read(|conn| {
            let mut statement = conn.prepare_cached(&format!("{SELECT} ORDER BY name"))?;
            let mut rows = statement.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(parse(row)?);
            }
            Ok(found)
        })
    }

    /// The loss of this name.
    pub fn loss(&self, name: &str) -> Result<Option<Loss>> {
        self.read(|conn| {
            let mut statement = conn.prepare_cached(&format!("{SELECT} WHERE name = ?1"))?;
            let mut rows = statement.query(params![name])?;
            rows.next()?.map(parse).transpose()
        })
    }

    /// Whether a loss of this name is noted.
    pub fn has_loss(&self, name: &str) -> Result<bool> {
        self.read(|conn| Ok(id_of(conn, name)?.is_some()))
    }

    /// The blocks that a lost volume held, as far as they were known; none for an unknown name.
    pub fn lost_blocks(&self, name: &str) -> Result<Vec<(Hash, u64)>> {
        self.read(|conn| {
            let Some(id) = id_of(conn, name)? else {
                return Ok(Vec::new());
            };
            let mut statement =
                conn.prepare_cached("SELECT data FROM loss_block WHERE loss = ?1 ORDER BY id")?;
            let mut rows = statement.query(params![id])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                packed::unpack(id, row.get_ref(0)?.as_blob()?, &mut |hash, size| {
                    found.push((hash, size));
                })?;
            }
            Ok(found)
        })
    }

    /// The blocks that a lost volume held and that no live volume has now.
    pub fn blocks_still_lost(&self, name: &str) -> Result<Vec<(Hash, u64)>> {
        let blocks = self.lost_blocks(name)?;
        let found = self.find_blocks(&blocks)?;
        let pairs = blocks.into_iter().zip(found);
        Ok(pairs
            .filter(|(_, volume)| volume.is_none())
            .map(|(block, _)| block)
            .collect())
    }

    /// Forgets a loss: it is mended, or nothing needs it any more. Unknown ones are no error.
    pub fn remove_loss(&self, name: &str) -> Result<()> {
        self.write(|conn| remove(conn, name))
    }
}

/// Compares all checksums.
pub(crate) fn verify(conn: &Connection) -> Result<()> {
    let mut statement = conn.prepare(SELECT)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        parse(row)?;
    }
    let mut statement = conn.prepare("SELECT loss, data FROM loss_block")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        packed::unpack(row.get(0)?, row.get_ref(1)?.as_blob()?, &mut |_, _| {})?;
    }
    Ok(())
}

fn id_of(conn: &Connection, name: &str) -> Result<Option<i64>> {
    let mut statement = conn.prepare_cached("SELECT id FROM loss WHERE name = ?1")?;
    Ok(statement
        .query_row(params![name], |row| row.get(0))
        .optional()?)
}

fn remove(conn: &Connection, name: &str) -> Result<()> {
    if let Some(id) = id_of(conn, name)? {
        conn.prepare_cached("DELETE FROM loss_block WHERE loss = ?1")?
            .execute(params![id])?;
        conn.prepare_cached("DELETE FROM loss WHERE id = ?1")?
            .execute(params![id])?;
    }
    Ok(())
}

/// The stored form: number, length found, text.
fn stored_kind(what: &LossKind) -> Result<(i64, Option<i64>, Option<&str>)> {
    Ok(match what {
        LossKind::Gone => (0, None, None),
        LossKind::Resized(found) => (1, Some(to_stored(*found)?), None),
        LossKind::Damaged(detail) => (2, None, Some(detail)),
    })
}

fn parse(row: &Row) -> Result<Loss> {
    let (what, found, detail): (i64, Option<i64>, Option<String>) =
        (row.get(2)?, row.get(3)?, row.get(4)?);
    let what = match (what, found, detail) {
        (0, None, None) => LossKind::Gone,
        (1, Some(found), None) => LossKind::Resized(from_stored(found)?),
        (2, None, Some(detail)) => LossKind::Damaged(detail),
        _ => return Err(Error::damaged("a loss is of no known kind")),
    };
    let size: Option<i64> = row.get(6)?;
    let files: Option<i64> = row.get(9)?;
    let hash = row.get_ref(7)?.as_blob_or_null()?;
    let loss = Loss {
        name: row.get(0)?,
        kind: kind_from_stored(row.get(1)?)?,
        what,
        noticed: row.get(5)?,
        size: size.map(from_stored).transpose()?,
        hash: hash.map(parse_hash).transpose()?,
        version: row.get(8)?,
        files: files.map(from_stored).transpose()?,
    };
    match crc_of(&loss)? == row.get::<_, i64>(10)? {
        true => Ok(loss),
        false => Err(Error::damaged("the checksum of a loss does not match")),
    }
}

fn crc_of(loss: &Loss) -> Result<i64> {
    let (what, found, detail) = stored_kind(&loss.what)?;
    Ok(RowCheck::new("loss")
        .bytes(loss.name.as_bytes())
        .int(kind_to_stored(loss.kind))
        .int(what)
        .optional(found)
        .bytes(detail.unwrap_or_default().as_bytes())
        .int(loss.noticed)
        .optional(loss.size.map(to_stored).transpose()?)
        .bytes(loss.hash.as_ref().map(Hash::as_bytes).unwrap_or_default())
        .optional(loss.version)
        .optional(loss.files.map(to_stored).transpose()?)
        .finish())
}

const SELECT: &str =
    "SELECT name, kind, what, found, detail, noticed, size, hash, version, files, crc FROM loss";
