//! Remote volumes and their states.

use std::collections::HashSet;

use larder_volume::{Hash, VolumeKind, VolumeName};
use rusqlite::{Connection, ErrorCode, Row, params};

use crate::check::RowCheck;
use crate::wire::{from_stored, parse_hash, to_stored};
use crate::{Catalog, Error, Result};

/// What is known about a remote file. The numbers are those of Duplicati's verification file (docs/format).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Ord, PartialOrd, Debug)]
pub enum VolumeState {
    /// Its name is reserved, its content is being built.
    Temporary = 0,
    /// Its upload was about to start.
    Uploading = 1,
    /// Its upload succeeded.
    Uploaded = 2,
    /// It was seen in a listing with the right size.
    Verified = 3,
    /// Its deletion was about to start.
    Deleting = 4,
    /// It is gone; the name must not be used again for a while.
    Deleted = 5,
}

impl VolumeState {
    /// Tells whether blocks of such a volume may be relied on (in this run at least).
    pub fn is_live(self) -> bool {
        match self {
            VolumeState::Temporary
            | VolumeState::Uploading
            | VolumeState::Uploaded
            | VolumeState::Verified => true,
            VolumeState::Deleting | VolumeState::Deleted => false,
        }
    }

    fn from_stored(value: i64) -> Result<Self> {
        [
            VolumeState::Temporary,
            VolumeState::Uploading,
            VolumeState::Uploaded,
            VolumeState::Verified,
            VolumeState::Deleting,
            VolumeState::Deleted,
        ]
        .into_iter()
        .find(|state| *state as i64 == value)
        .ok_or_else(|| Error::damaged(format!("{value} is no volume state")))
    }
}

/// A remote file as the catalog knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VolumeRow {
    /// Id in this catalog; not used again after the volume was removed.
    pub id: i64,
    /// Remote name.
    pub name: String,
    /// What it holds.
    pub kind: VolumeKind,
    /// Its state.
    pub state: VolumeState,
    /// Remote size in bytes, when known.
    pub size: Option<u64>,
    /// Hash of the remote bytes, when known.
    pub hash: Option<Hash>,
    /// How often it was picked as a sample and found good.
    pub verified: u32,
    /// For lists: the time of the version, seconds since 1970, taken from the name.
    pub time: Option<i64>,
}

impl Catalog {
    /// All volumes in the order they were added.
    pub fn volumes(&self) -> Result<Vec<VolumeRow>> {
        self.read(|conn| select(conn, "ORDER BY id"))
    }

    /// The volume with this id.
    pub fn volume(&self, id: i64) -> Result<Option<VolumeRow>> {
        self.read(|conn| find(conn, id))
    }

    /// The volume with this name.
    pub fn volume_named(&self, name: &str) -> Result<Option<VolumeRow>> {
        self.read(|conn| {
            let mut statement = conn.prepare_cached(&format!("{SELECT} WHERE name = ?1"))?;
            let mut rows = statement.query(params![name])?;
            rows.next()?.map(parse).transpose()
        })
    }

    /// Notes a new volume and returns its id.
    ///
    /// # Errors
    /// [`Error::Exists`] when the name is known, in whatever state.
    pub fn add_volume(
        &self,
        name: &str,
        kind: VolumeKind,
        state: VolumeState,
        size: Option<u64>,
        hash: Option<Hash>,
    ) -> Result<i64> {
        let mut row = VolumeRow {
            id: 0,
            name: name.to_owned(),
            kind,
            state,
            size,
            hash,
            verified: 0,
            time: time_of(name),
        };
        self.dead.take();
        self.write(|conn| {
            conn.prepare_cached(
                "INSERT INTO volume(name, kind, state, verified, crc) VALUES(?1, 0, 0, 0, 0)",
            )?
            .execute(params![name])
            .map_err(|error| exists(error, name))?;
            row.id = conn.last_insert_rowid();
            store(conn, &row)?;
            Ok(row.id)
        })
    }

    /// Changes the state of a volume; size and hash are changed when given and kept when `None`.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no such volume.
    pub fn set_volume(
        &self,
        id: i64,
        state: VolumeState,
        size: Option<u64>,
        hash: Option<Hash>,
    ) -> Result<()> {
        self.alter_volume(id, |row| {
            row.state = state;
            row.size = size.or(row.size);
            row.hash = hash.or(row.hash);
        })
    }

    /// Gives a volume another name (an upload is repeated under a new one); the time of a list follows.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no such volume, [`Error::Exists`] when the name is known.
    pub fn rename_volume(&self, id: i64, new_name: &str) -> Result<()> {
        self.alter_volume(id, |row| {
            row.name = new_name.to_owned();
            row.time = time_of(new_name);
        })
    }

    /// Counts one more successful verification of a volume.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no such volume.
    pub fn count_verification(&self, id: i64) -> Result<()> {
        self.alter_volume(id, |row| row.verified = row.verified.saturating_add(1))
    }

    /// Ids of the volumes whose blocks do not count, from memory when known.
    pub(crate) fn dead_volumes(&self) -> Result<HashSet<i64>> {
        if self.dead.borrow().is_none() {
            let rows = self.read(|conn| select(conn, "WHERE state >= 4"))?;
            let dead = rows
                .into_iter()
                .filter(|row| !row.state.is_live())
                .map(|row| row.id)
                .collect();
            self.dead.replace(Some(dead));
        }
        Ok(self.dead.borrow().clone().unwrap_or_default())
    }

    /// Tells whether the blocks of a volume do not count.
    pub(crate) fn is_dead(&self, id: i64) -> Result<bool> {
        if let Some(dead) = self.dead.borrow().as_ref() {
            return Ok(dead.contains(&id));
        }
        Ok(self.dead_volumes()?.contains(&id))
    }

    fn alter_volume(&self, id: i64, change: impl FnOnce(&mut VolumeRow)) -> Result<()> {
        self.dead.take();
        self.write(|conn| {
            let mut row = find(conn, id)?.ok_or(Error::Missing { what: "volume", id })?;
            change(&mut row);
            store(conn, &row)
        })
    }
}

/// The volume with this id.
pub(crate) fn find(conn: &Connection, id: i64) -> Result<Option<VolumeRow>> {
    let mut statement = conn.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
    let mut rows = statement.query(params![id])?;
    rows.next()?.map(parse).transpose()
}

/// Refuses what is no known block volume.
pub(crate) fn require_blocks(conn: &Connection, id: i64) -> Result<()> {
    match find(conn, id)? {
        None => Err(Error::Missing { what: "volume", id }),
        Some(row) if row.kind != VolumeKind::Blocks => Err(Error::Misuse(
            "blocks are added to a volume that holds none",
        )),
        Some(_) => Ok(()),
    }
}

/// Compares all checksums and gives the ids.
pub(crate) fn verify(conn: &Connection) -> Result<HashSet<i64>> {
    Ok(select(conn, "")?.into_iter().map(|row| row.id).collect())
}

/// The volumes that the rest of a query selects.
pub(crate) fn select(conn: &Connection, rest: &str) -> Result<Vec<VolumeRow>> {
    let mut statement = conn.prepare_cached(&format!("{SELECT} {rest}"))?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(parse(row)?);
    }
    Ok(found)
}

fn store(conn: &Connection, row: &VolumeRow) -> Result<()> {
    let size = row.size.map(to_stored).transpose()?;
    let hash = row.hash.as_ref().map(Hash::as_bytes);
    let (kind, state) = (kind_to_stored(row.kind), row.state as i64);
    conn.prepare_cached(
        "UPDATE volume SET name = ?2, kind = ?3, state = ?4, size = ?5, hash = ?6, verified = ?7, time = ?8, crc = ?9 \
         WHERE id = ?1",
    )?
    .execute(params![row.id, row.name, kind, state, size, hash, row.verified, row.time, crc_of(row)?])
    .map_err(|error| exists(error, &row.name))?;
    Ok(())
}

fn crc_of(row: &VolumeRow) -> Result<i64> {
    Ok(RowCheck::new("volume")
        .int(row.id)
        .bytes(row.name.as_bytes())
        .int(kind_to_stored(row.kind))
        .int(row.state as i64)
        .optional(row.size.map(to_stored).transpose()?)
        .bytes(row.hash.as_ref().map(Hash::as_bytes).unwrap_or_default())
        .int(i64::from(row.verified))
        .optional(row.time)
        .finish())
}

fn parse(row: &Row) -> Result<VolumeRow> {
    let hash = row
        .get_ref(5)?
        .as_blob_or_null()?
        .map(parse_hash)
        .transpose()?;
    let size: Option<i64> = row.get(4)?;
    let volume = VolumeRow {
        id: row.get(0)?,
        name: row.get(1)?,
        kind: kind_from_stored(row.get(2)?)?,
        state: VolumeState::from_stored(row.get(3)?)?,
        size: size.map(from_stored).transpose()?,
        hash,
        verified: row.get(6)?,
        time: row.get(7)?,
    };
    let stored: i64 = row.get(8)?;
    if crc_of(&volume)? != stored {
        return Err(Error::damaged(format!(
            "the checksum of the row of volume {} does not match",
            volume.id
        )));
    }
    Ok(volume)
}

/// The number of a kind of volume.
pub(crate) fn kind_to_stored(kind: VolumeKind) -> i64 {
    match kind {
        VolumeKind::Blocks => 0,
        VolumeKind::List => 1,
        VolumeKind::Index => 2,
    }
}

/// The kind of volume with this number.
pub(crate) fn kind_from_stored(value: i64) -> Result<VolumeKind> {
    match value {
        0 => Ok(VolumeKind::Blocks),
        1 => Ok(VolumeKind::List),
        2 => Ok(VolumeKind::Index),
        _ => Err(Error::damaged(format!("{value} is no kind of volume"))),
    }
}

fn time_of(name: &str) -> Option<i64> {
    Some(VolumeName::parse(name, true)?.time()?.0)
}

fn exists(error: rusqlite::Error, name: &str) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => Error::Exists {
            name: name.to_owned(),
        },
        _ => error.into(),
    }
}

const SELECT: &str = "SELECT id, name, kind, state, size, hash, verified, time, crc FROM volume";
