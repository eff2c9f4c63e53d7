//! The seam between the engine and every storage provider.
//!
//! A destination is a flat folder of files with names chosen by the engine. The engine knows only this crate; a
//! provider knows only this crate, the options and, when it speaks HTTP, the shared HTTP client. Wrappers
//! ([`wrap`]) add throttling, recording, faults and read-only protection without any provider knowing.

mod about;
mod body;
mod error;
mod extra;
mod place;
mod provider;
mod sign_in;
mod tools;
mod url;
pub mod wrap;

pub use about::{Abilities, About, Limits, NameRules};
pub use body::{Body, Download};
pub use error::{Advice, Error, ErrorKind, Fault, Operation, Result, RetryClass};
pub use extra::{Capacity, Extra, Leftovers, Rename, Space};
pub use place::Place;
pub use provider::{Config, Opened, Provider, UrlForm};
pub use sign_in::{AskConsent, Consent, SignIn, SignInWay, SignedIn};
pub use tools::{
    Clock, FixedClock, LONG_WAIT, LONGEST_WAIT, MemoryTokens, Notice, Random, SystemClock,
    SystemRandom, TokenStore, Tools, Unheard, Wait, WaitListener,
};
pub use url::{Url, UrlError, is_secret_name};

use async_trait::async_trait;
use futures_util::StreamExt;
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

/// What becomes of a file that has the name already, in a [`Destination::put`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the put fails with [`ErrorKind::Exists`].
    Refuse,
    /// It is replaced.
    Replace,
}

/// The beginning of every temporary name that a provider gives to a file on its way to its name.
///
/// Duplicati takes everything after the third dot of a volume's name for the ending of an encryption, so
/// `….dindex.zip.aes.1234.part` is a volume to it (observed with 2.0.9 to 2.3). No name with this beginning is a
/// volume under any prefix, since a volume's name has a `-` before its first dot.
pub const TEMPORARY_PREFIX: &str = "tmp.larder.";

/// A folder on some storage service. All methods may be called concurrently.
///
/// Names are flat, mostly ASCII, without separators; a destination refuses names that would leave its folder with
/// [`ErrorKind::Config`]. Every method is cancel-safe: dropping its future leaves at most what a failure would leave.
#[async_trait]
pub trait Destination: Send + Sync {
    /// What it is, can do and does not take.
    fn about(&self) -> &About;

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

    /// Stores a file. With [`Abilities::atomic_put`] it appears whole or not at all.
    ///
    /// Exactly [`Body::len`] bytes must come from the body; another count is an error and leaves nothing behind.
    /// Putting again after a failure is the engine's business (under a new name), since the file may have arrived.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] for a name that is taken, with [`Existing::Refuse`]: the other file is untouched.
    /// [`ErrorKind::FolderMissing`] when the folder does not exist, [`ErrorKind::Quota`] when it is full.
    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()>;

    /// Removes a file. May be repeated.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such file; some providers cannot tell and report success.
    async fn delete(&self, name: &str) -> Result<()>;

    /// Creates the folder with its parents; an existing one is success.
    async fn create_folder(&self) -> Result<()>;

    /// The further verbs that it has.
    fn extra(&self) -> Extra<'_> {
        Extra::default()
    }
}

/// Checks that the folder can be reached with these credentials; changes nothing. Costs the first page of a listing.
///
/// # Errors
/// As [`Destination::list`].
pub async fn test(destination: &dyn Destination) -> Result<()> {
    destination.list().next().await.transpose().map(drop)
}
