//! Forgetting volumes and versions with everything that hangs on them.

use rusqlite::{Connection, params};

use crate::{Catalog, Error, Result, blocks, filesets, links, segments, volumes};

impl Catalog {
    /// Forgets a volume with its blocks, blocklists, links and versions. Blocks and blocklists that another live volume
    /// holds too are taken over by that one.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no such volume.
    pub fn remove_volume(&self, id: i64) -> Result<()> {
        self.remove_volumes(&[id])
    }

    /// As [`Catalog::remove_volume`] for several at once: their blocks lie all over the tables, which are gone through once
    /// for many volumes and not once for each.
    pub fn remove_volumes(&self, ids: &[i64]) -> Result<()> {
        let dead = self.dead_volumes()?;
        self.dead.take();
        self.write(|conn| {
            for id in ids.iter().copied() {
                volumes::find(conn, id)?.ok_or(Error::Missing { what: "volume", id })?;
            }
            blocks::remove_volumes(conn, ids, &dead)?;
            for id in ids.iter().copied() {
                links::remove_of_volume(conn, id)?;
                for row in filesets::select(conn)? {
                    if row.volume == id {
                        remove_fileset(conn, row.id)?;
                    }
                }
                conn.prepare_cached("DELETE FROM volume WHERE id = ?1")?
                    .execute(params![id])?;
            }
            Ok(())
        })
    }

    /// Forgets a version. Entries that no other version has take room until their place is needed, or until
    /// [`Catalog::drop_unused_entries`].
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no such version.
    pub fn remove_fileset(&self, id: i64) -> Result<()> {
        self.write(|conn| {
            filesets::find(conn, id)?.ok_or(Error::Missing {
                what: "fileset",
                id,
            })?;
            remove_fileset(conn, id)
        })
    }
}

fn remove_fileset(conn: &Connection, id: i64) -> Result<()> {
    conn.prepare_cached("DELETE FROM fileset WHERE id = ?1")?
        .execute(params![id])?;
    segments::forget_version(conn, id)
}
