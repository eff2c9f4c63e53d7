//! What only some services offer, as small traits beside [`Destination`](crate::Destination).
//!
//! A destination gives out the ones that it has; there is no flag that could say otherwise. A wrapper gives out itself
//! where it has something to add, or nothing where it forbids.

use async_trait::async_trait;

use crate::Result;

/// The further verbs of a destination.
#[derive(Clone, Copy, Default)]
pub struct Extra<'d> {
    /// It knows how much room there is.
    pub space: Option<&'d dyn Space>,
    /// It can rename files.
    pub rename: Option<&'d dyn Rename>,
    /// It may hold pieces of uploads that were never finished.
    pub leftovers: Option<&'d dyn Leftovers>,
    /// It can lock files against deletion.
    pub lock: Option<&'d dyn Lock>,
}

/// Total and free bytes as the service reports them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Capacity {
    /// Size of the whole store in bytes; `None` when unknown.
    pub total: Option<u64>,
    /// Bytes that may still be written; `None` when unknown.
    pub free: Option<u64>,
}

/// A store that knows how much room there is.
#[async_trait]
pub trait Space: Send + Sync {
    /// Total and free space (`tells its space`).
    ///
    /// # Errors
    /// [`ErrorKind::FolderMissing`](crate::ErrorKind::FolderMissing) when the folder does not exist (`tells a missing folder
    /// from missing files`), [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) when this server of a kind that may
    /// tell does not (`tells its space`).
    async fn space(&self) -> Result<Capacity>;
}

/// A store that renames files in one step.
#[async_trait]
pub trait Rename: Send + Sync {
    /// Renames a file; an existing target is replaced (`renames`).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when there is no such file (`renames`).
    async fn rename(&self, from: &str, to: &str) -> Result<()>;
}

/// A store in which broken uploads leave pieces that no listing shows.
#[async_trait]
pub trait Leftovers: Send + Sync {
    /// Removes pieces of uploads that cannot be under way any more; gives their number (`removes leftovers and nothing else`).
    /// To be called by runs that write.
    ///
    /// Where a temporary name tells that this program began an upload, a day without an end is enough, or less when nobody
    /// holds it. Where an upload has the name that its file will have (parts in an object store), it is ended a week after
    /// it was begun, and only when the name lies directly in the folder and is one of `ours`: all others belong to
    /// somebody else, who may still be at work on them.
    ///
    /// # Errors
    /// Those of the calls needed. Nothing that could be a finished file is ever touched (`removes leftovers and nothing
    /// else`).
    async fn remove_leftovers(&self, ours: Ours<'_>) -> Result<u64>;
}

/// A store that keeps files until a time, whoever wants them to go.
///
/// * A locked file is neither deleted, nor replaced by a put or a rename, nor renamed itself: each gives
///   [`ErrorKind::Locked`](crate::ErrorKind::Locked) and leaves all files as they were (`keeps a locked file`). That holds
///   also where the service would hide it behind a marker or a newer version and keep the old one (`keeps a locked file`).
/// * It is read and listed as any other (`keeps a locked file`).
/// * Once the time is over it goes as any other (`lets a file go whose lock is over`).
#[async_trait]
pub trait Lock: Send + Sync {
    /// Locks a file until `until`, in seconds since 1970, or a little longer (`keeps a locked file`). A lock that lasts longer
    /// stays (`never makes a lock shorter`). May be repeated (`never makes a lock shorter`).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when there is no such file (`keeps a locked file`),
    /// [`ErrorKind::FolderMissing`](crate::ErrorKind::FolderMissing) when the folder does not exist (`tells a missing folder
    /// from missing files`), [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) when this folder of a kind that may have
    /// locks has none, such as a bucket that was made without them (`keeps a locked file`).
    async fn lock(&self, name: &str, until: i64) -> Result<()>;

    /// Until when a file is locked, in seconds since 1970; `None`, or a time that is over, when it is not (`keeps a locked
    /// file`). A hold without an end is [`i64::MAX`].
    ///
    /// # Errors
    /// Those of [`Lock::lock`] (`keeps a locked file`).
    async fn locked_until(&self, name: &str) -> Result<Option<i64>>;
}

/// Tells whether a file of this name would belong to the caller.
pub type Ours<'o> = &'o (dyn Fn(&str) -> bool + Send + Sync);
