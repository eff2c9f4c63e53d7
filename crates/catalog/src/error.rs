//! The one error type of this crate.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Result of a catalog operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a catalog operation did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file contradicts itself, or was not loaded to its end. Nothing from it may be used any more:
    /// [`crate::Catalog::replace`] it and rebuild it from the destination.
    #[error("the catalog is damaged: {detail}")]
    Damaged {
        /// What does not fit.
        detail: String,
    },
    /// Another process (or another part of this one) holds the catalog.
    #[error("the catalog is in use{}", pid.map(|pid| format!(" by process {pid}")).unwrap_or_default())]
    Busy {
        /// The process that holds it, when it could be learnt.
        pid: Option<u32>,
    },
    /// There is no catalog at this path and the access does not allow making one.
    #[error("there is no catalog at {}", path.display())]
    Absent {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The volume that holds the catalog has no room left.
    #[error("no space left for the catalog")]
    Full,
    /// A volume of this name is known already.
    #[error("the catalog already has a volume named {name}")]
    Exists {
        /// The name.
        name: String,
    },
    /// An id names no row.
    #[error("the catalog has no {what} with id {id}")]
    Missing {
        /// Kind of thing: "volume", "fileset".
        what: &'static str,
        /// The id asked for.
        id: i64,
    },
    /// The caller broke a rule of this crate (a bug in this program).
    #[error("catalog used wrongly: {0}")]
    Misuse(&'static str),
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// SQLite failed for a reason outside this crate (memory, input or output).
    #[error("catalog database: {0}")]
    Database(#[source] rusqlite::Error),
}

impl Error {
    /// Makes a damage report.
    pub(crate) fn damaged(detail: impl Into<String>) -> Error {
        Error::Damaged {
            detail: detail.into(),
        }
    }

    /// Adds the path to an input or output error; no space left becomes [`Error::Full`].
    pub(crate) fn io(path: &Path, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::StorageFull => Error::Full,
            _ => Error::Io {
                path: path.to_owned(),
                source,
            },
        }
    }

    /// Tells whether the catalog must be thrown away.
    pub fn is_damage(&self) -> bool {
        matches!(self, Error::Damaged { .. })
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        use rusqlite::Error as Sql;
        match &error {
            Sql::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TypeMismatch => {
                    Error::damaged(error.to_string())
                }
                // Our statements are fixed and tested: if one cannot be compiled, the stored schema is not ours.
                ErrorCode::Unknown => Error::damaged(error.to_string()),
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Error::Busy { pid: None },
                ErrorCode::DiskFull => Error::Full,
                // A page that should be there is not: the file was cut.
                _ if failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ => {
                    Error::damaged(error.to_string())
                }
                _ => Error::Database(error),
            },
            Sql::SqlInputError { .. }
            | Sql::FromSqlConversionFailure(..)
            | Sql::IntegralValueOutOfRange(..)
            | Sql::InvalidColumnType(..)
            | Sql::InvalidColumnIndex(..)
            | Sql::InvalidColumnName(..)
            | Sql::QueryReturnedNoRows
            | Sql::Utf8Error(..) => Error::damaged(error.to_string()),
            // The library's errors and codes may grow; only what is known for damage throws a catalog away.
            _ => Error::Database(error),
        }
    }
}

impl From<rusqlite::types::FromSqlError> for Error {
    fn from(error: rusqlite::types::FromSqlError) -> Error {
        Error::damaged(error.to_string())
    }
}
