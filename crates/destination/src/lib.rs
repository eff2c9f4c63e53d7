//! The seam between the engine and every storage provider.
//!
//! A destination is a flat folder of files with names chosen by the engine. The engine knows only this crate; a
//! provider knows only this crate, the options and, when it speaks HTTP, the shared HTTP client. Wrappers
//! ([`wrap`]) add throttling, recording, faults and read-only protection without any provider knowing.

mod about;
mod body;
mod call;
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
pub use call::Call;
pub use error::{Advice, Error, ErrorKind, Fault, Operation, Result, RetryClass};
pub use extra::{Capacity, Extra, Leftovers, Lock, Ours, Rename, Space};
pub use place::Place;
pub use provider::{Config, Opened, Provider, UrlForm};
pub use sign_in::{AskConsent, Consent, SignIn, SignInWay, SignedIn};
pub use tools::{
    Clock, FixedClock, LONG_WAIT, LONGEST_WAIT, MemoryTokens, NoWaitListener, Notice, Random,
    SystemClock, SystemRandom, TokenLock, TokenStore, Tools, Wait, WaitListener,
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

/// A folder on some storage service.
///
/// What stands in parentheses names the case that holds a sentence: in `larder_testkit::behaviour` or, with a verb before a
/// colon, in `larder_testkit::misbehaviour`; `cargo xtask contract` demands one for each sentence.
///
/// * All methods may be called concurrently (`takes many puts and gets at once`).
/// * Every method is cancel-safe: dropping its future leaves at most what a failure would leave (`stores a put that is given
///   up whole or not at all`; `survives deletes and folders that are given up`).
/// * Names are flat, mostly ASCII, without separators (`keeps the names of volumes`). What else a name may hold is told by
///   [`Limits::names`], and another name is refused or kept as it is (`keeps unusual names, or refuses them`).
/// * A name that would lead out of the folder gives [`ErrorKind::Config`] (`refuses names that lead out of the folder`).
/// * A missing folder is told from a missing file: every method but `create_folder` gives [`ErrorKind::FolderMissing`]
///   (`tells a missing folder from missing files`).
#[async_trait]
pub trait Destination: Send + Sync {
    /// What it is, can do and does not take; never a secret (`has a name and shows no secret`).
    fn about(&self) -> &About;

    /// Streams the direct children of the folder in any order, pages fetched as the stream is read (`list: pages given up`).
    ///
    /// * Each comes exactly once, however many there are (`lists many files exactly once`).
    /// * A file has its name and size, and its time where that is known (`lists names, sizes and times`).
    /// * A sub-folder is shown as one, and nothing of what is in it (`shows a folder as one and not what is in it`).
    /// * No file is an empty listing (`lists an empty folder as empty`); no folder never is (`tells a missing folder from
    ///   missing files`).
    /// * A stream that is dropped halfway does no harm, and the folder may be listed again at any time (`survives a listing
    ///   that is given up`).
    ///
    /// # Errors
    /// [`ErrorKind::FolderMissing`] when the folder, bucket or share does not exist (`tells a missing folder from missing
    /// files`). An error ends the stream; what came before is not a complete listing (`list: cut inside`).
    fn list(&self) -> BoxStream<'_, Result<RemoteFile>>;

    /// Opens a file for reading from its first byte (`returns what was put, from memory`). May be repeated (`survives a get
    /// that is given up`).
    ///
    /// * The bytes are those of the last put that succeeded (`returns what was put, from memory`; `returns what was put,
    ///   from a file`).
    /// * The stream ends after exactly [`Download::len`] bytes when that is known; a shorter one ends with an error (`get:
    ///   cut`).
    /// * A stream that is dropped halfway does no harm (`survives a get that is given up`).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a missing file (`says not found for a missing file`), [`ErrorKind::FolderMissing`] for
    /// a missing folder (`tells a missing folder from missing files`), [`ErrorKind::Archived`] for a file in a cold tier
    /// (`get: archived`).
    async fn get(&self, name: &str) -> Result<Download>;

    /// Stores a file (`returns what was put, from a file`). Not to be repeated under the same name after a failure: the file may have arrived. The engine puts
    /// again under a new name.
    ///
    /// * With [`Abilities::atomic_put`] it appears whole or not at all (`shows a put only when it is whole`), also when the
    ///   put is given up (`stores a put that is given up whole or not at all`).
    /// * Exactly [`Body::len`] bytes must come from the body; another count is an error and leaves nothing behind
    ///   (`stores nothing of a body that breaks off`; `put: short source`).
    /// * [`Existing::Refuse`] takes a free name (`stores a new name that must be new`), also one that was free again
    ///   (`takes a name again after it was deleted`), and with [`Abilities::exclusive_put`] gives it to one of several
    ///   puts at the same time (`gives a name that must be new to one of many`).
    /// * [`Existing::Replace`] puts the new content in the place of the old (`replaces a file`); with
    ///   [`Abilities::atomic_put`] a failure leaves the old file whole (`keeps a file whose replacement breaks off`). Of
    ///   several at the same time one stays, whole (`keeps one of several puts of the same name whole`).
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] for a name that is taken, with [`Existing::Refuse`]: the other file is untouched (`refuses a
    /// name that is taken`). [`ErrorKind::FolderMissing`] when the folder does not exist (`tells a missing folder from missing
    /// files`), [`ErrorKind::Quota`] when it is full (`put: full`), [`ErrorKind::Locked`] instead of replacing a file that the
    /// service keeps (`keeps a locked file`).
    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()>;

    /// Removes a file for good (`deletes`). May be repeated (`delete: 500 once`); after a failure the file is there, or gone
    /// (`survives deletes and folders that are given up`).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such file; some providers cannot tell and report success (`does not lose
    /// other files when deleting what is not there`). No other file is touched (`deletes`). [`ErrorKind::FolderMissing`] when
    /// the folder does not exist (`tells a missing folder from missing files`), [`ErrorKind::Locked`] when the service keeps
    /// the file (`delete: locked`).
    async fn delete(&self, name: &str) -> Result<()>;

    /// Creates the folder with its parents (`creates a folder`); an existing one is success and keeps its files (`creates
    /// an existing folder without harm`). May be repeated; a failure may leave some of the parents (`survives deletes and
    /// folders that are given up`).
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when that is not allowed (`create-folder: denied`), [`ErrorKind::Exists`] for a bucket that
    /// belongs to somebody else (`create-folder: taken by another`).
    async fn create_folder(&self) -> Result<()>;

    /// The further verbs that it has (`renames`; `tells its space`; `removes leftovers and nothing else`; `keeps a locked
    /// file`).
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
