//! Which index volume describes which block volume.

use std::collections::HashSet;

use larder_volume::VolumeKind;
use rusqlite::{Connection, params};

use crate::check::RowCheck;
use crate::volumes::{find, select};
use crate::{Catalog, Error, Result, VolumeRow};

impl Catalog {
    /// Notes that index volume `index` describes block volume `blocks`; repeating it is no error.
    ///
    /// # Errors
    /// [`Error::Missing`] when one of them is unknown.
    pub fn link_index(&self, index: i64, blocks: i64) -> Result<()> {
        self.write(|conn| {
            for id in [index, blocks] {
                find(conn, id)?.ok_or(Error::Missing { what: "volume", id })?;
            }
            let crc = RowCheck::new("index_link").int(index).int(blocks).finish();
            conn.prepare_cached("INSERT OR IGNORE INTO index_link(index_volume, block_volume, crc) VALUES(?1, ?2, ?3)")?
                .execute(params![index, blocks, crc])?;
            Ok(())
        })
    }

    /// Forgets what an index volume describes; an unknown one is no error.
    pub fn unlink_index(&self, index: i64) -> Result<()> {
        self.write(|conn| {
            conn.prepare_cached("DELETE FROM index_link WHERE index_volume = ?1")?
                .execute(params![index])?;
            Ok(())
        })
    }

    /// All pairs (index volume, block volume).
    pub fn index_links(&self) -> Result<Vec<(i64, i64)>> {
        self.read(links)
    }

    /// The live block volumes that no live index volume describes.
    pub fn volumes_without_index(&self) -> Result<Vec<VolumeRow>> {
        self.read(|conn| {
            let mut volumes = select(conn, "ORDER BY id")?;
            volumes.retain(|row| row.state.is_live());
            let indexes: HashSet<i64> = volumes
                .iter()
                .filter(|row| row.kind == VolumeKind::Index)
                .map(|row| row.id)
                .collect();
            let described: HashSet<i64> = links(conn)?
                .into_iter()
                .filter(|link| indexes.contains(&link.0))
                .map(|link| link.1)
                .collect();
            volumes.retain(|row| row.kind == VolumeKind::Blocks && !described.contains(&row.id));
            Ok(volumes)
        })
    }
}

/// Forgets the links of a volume.
pub(crate) fn remove_of_volume(conn: &Connection, id: i64) -> Result<()> {
    conn.prepare_cached("DELETE FROM index_link WHERE index_volume = ?1")?
        .execute(params![id])?;
    conn.prepare_cached("DELETE FROM index_link WHERE block_volume = ?1")?
        .execute(params![id])?;
    Ok(())
}

/// Compares all checksums and looks for the volumes.
pub(crate) fn verify(conn: &Connection, known: &HashSet<i64>) -> Result<()> {
    match links(conn)?
        .iter()
        .any(|link| !known.contains(&link.0) || !known.contains(&link.1))
    {
        true => Err(Error::damaged(
            "an index link names a volume that is not there",
        )),
        false => Ok(()),
    }
}

fn links(conn: &Connection) -> Result<Vec<(i64, i64)>> {
    let mut statement = conn
        .prepare_cached("SELECT index_volume, block_volume, crc FROM index_link ORDER BY 1, 2")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let link: (i64, i64) = (row.get(0)?, row.get(1)?);
        RowCheck::new("index_link")
            .int(link.0)
            .int(link.1)
            .compare(row.get(2)?, "link")?;
        found.push(link);
    }
    Ok(found)
}
