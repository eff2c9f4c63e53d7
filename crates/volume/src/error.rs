//! The error of this crate: what is wrong with bytes, and never where they came from.
//!
//! Callers know the name of the file that was read and add it; this layer names the field or the place inside.

use std::io;

/// What reading or writing a stored file can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes do not follow the format.
    #[error("malformed {what}: {detail}")]
    Malformed {
        /// The kind of thing being read, for example `file list`.
        what: &'static str,
        /// What is wrong with it, and where.
        detail: String,
    },
    /// The first check of an encrypted stream failed, which only the passphrase and the header enter.
    #[error("wrong passphrase, or the file's header is damaged")]
    WrongPassword,
    /// Contents do not match their checksum or authentication code.
    #[error("altered or damaged data: {0}")]
    Tampered(String),
    /// A valid form that this program does not read or write.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// A value differs from the one required.
    #[error("{field} is {found}, expected {expected}")]
    Mismatch {
        /// The name of the value.
        field: &'static str,
        /// The value required.
        expected: String,
        /// The value met.
        found: String,
    },
    /// Something is larger than the bound set against hostile or damaged input.
    #[error("{what} is larger than {limit}")]
    TooLarge {
        /// The name of what is too large, with its unit.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// The reader or writer underneath failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes a [`Error::Malformed`].
    pub(crate) fn malformed(what: &'static str, detail: impl Into<String>) -> Self {
        Error::Malformed {
            what,
            detail: detail.into(),
        }
    }
}

impl From<Error> for io::Error {
    /// Keeps an inner I/O error as it is; everything else becomes invalid data with the error as its source.
    fn from(error: Error) -> Self {
        match error {
            Error::Io(inner) => inner,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        }
    }
}
