//! Making the database file as small as its content.

use rusqlite::Connection;

use crate::wire::from_stored;
use crate::{Catalog, Result};

/// How large the database file is, in bytes.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Shrunk {
    /// Before.
    pub before: u64,
    /// Afterwards.
    pub after: u64,
}

impl Catalog {
    /// Drops the entries that no version has any more, and gives all room that is not used back to the file system.
    ///
    /// The file is written anew: that takes a few seconds for each GiB, and meanwhile room for two more of its size, one in
    /// the folder that SQLite takes for temporary files (`TMPDIR`) and one beside the catalog. A kill at any moment leaves
    /// the catalog as it was before or as it is afterwards. While another process reads, the file is made shorter when this
    /// catalog is closed, or by the next that is.
    ///
    /// # Errors
    /// [`crate::Error::Misuse`] while entries are being taken in, or inside a transaction; [`crate::Error::Full`] when there
    /// is no room.
    pub fn vacuum(&self) -> Result<Shrunk> {
        let before = self.read(len)?;
        self.drop_unused_entries()?;
        self.files().mark_changed()?;
        self.read(|conn| Ok(conn.execute_batch("VACUUM")?))?;
        let after = self.read(|conn| {
            // Blocked by a reader it does nothing.
            conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            len(conn)
        })?;
        Ok(Shrunk { before, after })
    }
}

/// The length of the database.
fn len(conn: &Connection) -> Result<u64> {
    let figure = |name: &str| -> Result<u64> {
        let query = format!("PRAGMA {name}");
        from_stored(conn.query_row(&query, [], |row| row.get(0))?)
    };
    Ok(figure("page_count")?.saturating_mul(figure("page_size")?))
}
