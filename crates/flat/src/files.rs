//! What a store has to offer.

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use larder_destination::{Body, Call, Capacity, Download, ErrorKind, Existing, RemoteFile, Result};

/// What a store has to offer: what the requests of its protocol do, on files in one folder.
///
/// [`Store`](crate::Store) makes a destination of it. The name in each method is that of a file in the folder.
#[async_trait]
pub trait Files: Send + Sync + 'static {
    /// Streams what lies in the folder, temporary files too, each once.
    ///
    /// # Errors
    /// [`ErrorKind::FolderMissing`], those of the requests.
    async fn list(&self, call: &Call) -> Result<BoxStream<'_, Result<RemoteFile>>>;

    /// Opens a file for reading. The stream is an error when it has another length than was announced.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::FolderMissing`], those of the requests.
    async fn get(&self, call: &Call, name: &str) -> Result<Download>;

    /// Whether the folder is there.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when a file has its name, those of the request.
    async fn has_folder(&self, call: &Call) -> Result<bool>;

    /// What is known of a file; nothing when it is not there.
    ///
    /// # Errors
    /// Those of the request.
    async fn find(&self, call: &Call, name: &str) -> Result<Option<RemoteFile>>;

    /// Sends a body, once. Half of it may be stored after a failure.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] with [`Existing::Refuse`] where the store itself refuses a name that is taken,
    /// [`ErrorKind::FolderMissing`], those of the request.
    async fn send(&self, call: &Call, name: &str, body: Body, existing: Existing) -> Result<()>;

    /// Gives a file another name. After a lost answer it may ask again, when [`Renaming::has_happened`] says no.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] with [`Existing::Refuse`], [`ErrorKind::NotFound`] when there is no such file,
    /// [`ErrorKind::FolderMissing`], those of the request.
    async fn rename(&self, call: &Call, renaming: &Renaming<'_>) -> Result<Renamed>;

    /// Removes a file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none, [`ErrorKind::FolderMissing`], those of the request.
    async fn remove(&self, call: &Call, name: &str) -> Result<()>;

    /// Makes the folder and its parents where they are not there.
    ///
    /// # Errors
    /// Those of the requests.
    async fn make_folder(&self, call: &Call) -> Result<()>;

    /// How much room there is; nothing when the server does not tell.
    ///
    /// # Errors
    /// [`ErrorKind::FolderMissing`], those of the request.
    async fn space(&self, _: &Call) -> Result<Option<Capacity>> {
        Ok(None)
    }

    /// The server's time in seconds since 1970 UTC, where its answers tell it; otherwise a new file shows it.
    ///
    /// # Errors
    /// Those of the request.
    async fn now(&self, _: &Call) -> Result<Option<i64>> {
        Ok(None)
    }
}

/// What became of a rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renamed {
    /// The file has its new name.
    Done,
    /// A file has that name, and the server does not replace it. It was looked for.
    Taken,
    /// The server has no renames at all.
    Impossible,
}

/// A file that is to get another name.
#[derive(Clone, Copy, Debug)]
pub struct Renaming<'n> {
    /// The name that it has.
    pub from: &'n str,
    /// The name that it is to have.
    pub to: &'n str,
    /// What becomes of a file that has this name.
    pub existing: Existing,
    /// Its length in bytes, where the store tells it.
    pub len: Option<u64>,
}

impl Renaming<'_> {
    /// Whether a rename happened whose answer was lost.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] when the file is gone and another one has the name; those of the requests.
    pub async fn has_happened<F: Files + ?Sized>(&self, files: &F, call: &Call) -> Result<bool> {
        if files.find(call, self.from).await?.is_some() {
            return Ok(false);
        }
        let found = files.find(call, self.to).await?;
        match found.is_some_and(|found| found.size == self.len) {
            true => Ok(true),
            false => Err(call.error(
                ErrorKind::Exists,
                "the server lost the file while it renamed it",
            )),
        }
    }
}
