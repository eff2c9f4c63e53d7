//! Named settings that the engine wants to remember.

use rusqlite::{Connection, OptionalExtension, params};

use crate::check::RowCheck;
use crate::{Catalog, Result};

impl Catalog {
    /// Reads a setting.
    pub fn param(&self, key: &str) -> Result<Option<String>> {
        self.read(|conn| find(conn, key))
    }

    /// Stores a setting, replacing an earlier value.
    pub fn set_param(&self, key: &str, value: &str) -> Result<()> {
        self.write(|conn| set(conn, key, value))
    }

    /// Forgets a setting; unknown ones are no error.
    pub fn remove_param(&self, key: &str) -> Result<()> {
        self.write(|conn| remove(conn, key))
    }
}

/// Reads a setting over any connection.
pub(crate) fn find(conn: &Connection, key: &str) -> Result<Option<String>> {
    let mut statement = conn.prepare_cached("SELECT value, crc FROM param WHERE key = ?1")?;
    let row: Option<(String, i64)> = statement
        .query_row(params![key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    row.map(|(value, crc)| {
        RowCheck::new("param")
            .bytes(key.as_bytes())
            .bytes(value.as_bytes())
            .compare(crc, "setting")?;
        Ok(value)
    })
    .transpose()
}

/// Compares the checksums of all settings.
pub(crate) fn verify(conn: &Connection) -> Result<()> {
    let mut statement = conn.prepare("SELECT key FROM param")?;
    let keys = statement
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    keys.iter().try_for_each(|key| find(conn, key).map(drop))
}

/// Stores a setting over any connection.
fn set(conn: &Connection, key: &str, value: &str) -> Result<()> {
    let crc = RowCheck::new("param")
        .bytes(key.as_bytes())
        .bytes(value.as_bytes())
        .finish();
    conn.prepare_cached("INSERT OR REPLACE INTO param(key, value, crc) VALUES(?1, ?2, ?3)")?
        .execute(params![key, value, crc])?;
    Ok(())
}

/// Forgets a setting over any connection.
pub(crate) fn remove(conn: &Connection, key: &str) -> Result<()> {
    conn.prepare_cached("DELETE FROM param WHERE key = ?1")?
        .execute(params![key])?;
    Ok(())
}
