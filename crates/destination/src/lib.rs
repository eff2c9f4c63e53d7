//! The seam between the engine and every storage provider.
//!
//! A destination is a flat folder of files with names chosen by the engine. The engine knows only this crate; a
//! provider knows only this crate, the options and, when it speaks HTTP, the shared HTTP client. Wrappers
//! ([`wrap`]) add throttling, recording, faults and read-only protection without any provider knowing.

mod body;
mod error;
mod provider;
mod url;
pub mod wrap;

pub use body::{Body, Download};
pub use error::{Error, ErrorKind, Fault, Operation, Result, RetryClass};
pub use provider::{Config, Provider};
pub use url::{Url, UrlError, is_secret_name};

use async_trait::async_trait;
use futures_util::stream::BoxStream;

/// One file or folder in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Name relative to the destination folder, no separator inside.
    pub name: String,
    /// Length in bytes; `None` when the provider does not tell.
    pub size: Option<u64>,
    /// Last change in seconds since 1970 UTC; `None` when unknown.
    pub modified: Option<i64>,
    /// True for sub-folders, which the engine passes over.
    pub is_folder: bool,
    /// True when the object lies in a cold tier and cannot be read at once.
    pub is_archived: bool,
}

/// Free and total bytes as the provider reports them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Space {
    /// Size of the whole store in bytes; `None` when unknown.
    pub total: Option<u64>,
    /// Bytes that may still be written; `None` when unknown.
    pub free: Option<u64>,
}

/// What a provider can do beyond the basic operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Abilities {
    /// [`Destination::rename`] works.
    pub rename: bool,
    /// [`Destination::space`] gives figures.
    pub space: bool,
    /// A successful `put` was verified by the server through a checksum of the content.
    pub checksummed_put: bool,
    /// A listing right after a `put` is certain to hold the new file.
    pub consistent_list: bool,
}

/// A folder on some storage service. All methods may be called concurrently.
///
/// Names are flat, mostly ASCII, without separators; a destination refuses names that would leave its folder with
/// [`ErrorKind::Config`]. Every method is cancel-safe: dropping its future leaves at most what a failure would leave.
#[async_trait]
pub trait Destination: Send + Sync {
    /// The scheme key under which the provider is known, e.g. `file`.
    fn scheme(&self) -> &'static str;

    /// The destination for people, without any secret, e.g. `file:///mnt/disk/backup`.
    fn display(&self) -> String;

    /// What this destination can do beyond the basic operations.
    fn abilities(&self) -> Abilities;

    /// Streams the direct children of the folder in any order, pages fetched as the stream is read.
    ///
    /// # Errors
    /// [`ErrorKind::FolderMissing`] when the folder, bucket or share does not exist, never an empty listing. An
    /// error ends the stream; what came before is not a complete listing.
    fn list(&self) -> BoxStream<'_, Result<RemoteFile>>;

    /// Opens a file for reading from its first byte.
    ///
    /// The stream ends after exactly [`Download::len`] bytes when that is known; a shorter one ends with an error.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a missing file, [`ErrorKind::FolderMissing`] for a missing folder.
    async fn get(&self, name: &str) -> Result<Download>;

    /// Stores a file, replacing one of the same name. The file appears whole or not at all.
    ///
    /// Exactly [`Body::len`] bytes must come from the body; another count is an error and leaves nothing behind.
    /// Putting again after a failure is the engine's business (under a new name).
    ///
    /// # Errors
    /// [`ErrorKind::FolderMissing`] when the folder does not exist, [`ErrorKind::Quota`] when it is full.
    async fn put(&self, name: &str, body: Body) -> Result<()>;

    /// Removes a file. May be repeated.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such file; some providers cannot tell and report success.
    async fn delete(&self, name: &str) -> Result<()>;

    /// Creates the folder with its parents; an existing one is success.
    async fn create_folder(&self) -> Result<()>;

    /// Checks that the folder can be reached with these credentials; changes nothing.
    ///
    /// # Errors
    /// As [`Destination::list`].
    async fn test(&self) -> Result<()>;

    /// Total and free space; only with [`Abilities::space`].
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] without the ability.
    async fn space(&self) -> Result<Space> {
        Err(Error::unsupported(self.scheme(), Operation::Space))
    }

    /// Renames a file; only with [`Abilities::rename`]. An existing target is replaced.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] without the ability.
    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let _ = (from, to);
        Err(Error::unsupported(self.scheme(), Operation::Rename))
    }
}
