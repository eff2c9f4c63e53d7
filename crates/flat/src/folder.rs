//! Files that are sent under a temporary name and renamed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::{Stream, TryStreamExt};
use larder_destination::{
    Body, Call, Error, ErrorKind, Existing, Operation, Random, RemoteFile, Result,
};

use crate::names::{LEFTOVER_AGE, check_new, is_temporary, temporary_name};

/// What a store has to offer: what one request of its protocol does, on files in one folder.
#[async_trait]
pub trait Files: Send + Sync {
    /// Whether the folder is there.
    ///
    /// # Errors
    /// Those of the request.
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
    /// [`ErrorKind::Unsupported`] when the server has no renames, [`ErrorKind::Exists`] with [`Existing::Refuse`],
    /// [`ErrorKind::FolderMissing`], those of the request.
    async fn rename(&self, call: &Call, renaming: &Renaming<'_>) -> Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none, [`ErrorKind::FolderMissing`], those of the request.
    async fn remove(&self, call: &Call, name: &str) -> Result<()>;
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
    pub async fn has_happened(&self, files: &impl Files, call: &Call) -> Result<bool> {
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

/// One folder of a store.
pub struct Folder<F> {
    files: F,
    random: Arc<dyn Random>,
    /// The server has refused to rename a file: puts go to their name at once.
    cannot_rename: AtomicBool,
}

impl<F: Files> Folder<F> {
    /// The folder whose files these are; `random` is for temporary names.
    pub fn new(files: F, random: Arc<dyn Random>) -> Self {
        Self {
            files,
            random,
            cannot_rename: AtomicBool::new(false),
        }
    }

    /// The store.
    pub fn files(&self) -> &F {
        &self.files
    }

    /// Stores the file that the call is about. It appears when it is whole, unless the server cannot rename; then half a
    /// file may be left after a failure.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] for a name that is taken, with [`Existing::Refuse`]; [`ErrorKind::Corrupt`] when the server
    /// has something else than was sent; those of the requests.
    pub async fn put(&self, call: &Call, body: Body, existing: Existing) -> Result<()> {
        check_new(call, &call.object)?;
        let can_rename = !self.cannot_rename.load(Ordering::Relaxed);
        if can_rename && self.put_and_rename(call, &body, existing).await? {
            return Ok(());
        }
        self.put_directly(call, body, existing).await?;
        self.cannot_rename.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Sends a body under a temporary name and renames it; false when the server cannot rename.
    async fn put_and_rename(&self, call: &Call, body: &Body, existing: Existing) -> Result<bool> {
        let temporary = temporary_name(call, self.random.as_ref())?;
        let renaming = Renaming {
            from: &temporary,
            to: &call.object,
            existing,
            len: Some(body.len()),
        };
        let sent = self.send(call, &temporary, body.clone(), Existing::Replace);
        let mut stored = sent.await;
        if stored.is_ok() {
            stored = self.files.rename(call, &renaming).await;
        }
        let Err(error) = stored else {
            return Ok(true);
        };
        // The failure above is the one to report.
        let removing = Call::new(call.provider, Operation::Delete);
        let _ = self.files.remove(&removing, &temporary).await;
        match error.kind() {
            ErrorKind::Unsupported => Ok(false),
            _ => Err(error),
        }
    }

    /// Sends a body to its name at once, for servers that cannot rename.
    ///
    /// After a failure nothing is removed, although half a file may lie there: it may as well be one that another program
    /// stored since the name was free. The engine, which knows what it sent, finds out.
    async fn put_directly(&self, call: &Call, body: Body, existing: Existing) -> Result<()> {
        let name = &call.object;
        if existing == Existing::Refuse && self.files.find(call, name).await?.is_some() {
            return Err(call.exists());
        }
        self.send(call, name, body, existing).await
    }

    /// Sends a body and asks for its size, since not every server sends a checksum. It need not tell the size, but it must
    /// have the file.
    async fn send(&self, call: &Call, name: &str, body: Body, existing: Existing) -> Result<()> {
        let len = body.len();
        self.files.send(call, name, body, existing).await?;
        let text = match self.files.find(call, name).await? {
            None => "the server took the file and says that it is not there".to_owned(),
            Some(found) => match found.size.filter(|size| *size != len) {
                Some(size) => format!("the server has {size} bytes of the {len} that were sent"),
                None => return Ok(()),
            },
        };
        Err(call.error(ErrorKind::Corrupt, text))
    }

    /// Renames the file that the call is about; another one of the new name is replaced.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] or [`ErrorKind::FolderMissing`] when there is no such file; those of the requests.
    pub async fn rename(&self, call: &Call, to: &str) -> Result<()> {
        check_new(call, to)?;
        let from = &call.object;
        let Some(found) = self.files.find(call, from).await? else {
            return Err(self.missing(call).await);
        };
        if from == to {
            return Ok(());
        }
        let renaming = Renaming {
            from,
            to,
            existing: Existing::Replace,
            len: found.size,
        };
        self.files.rename(call, &renaming).await
    }

    /// Removes the temporary files among those listed that have been there for [`LEFTOVER_AGE`]; gives their number. `now`
    /// is the server's time in seconds since 1970 UTC.
    ///
    /// # Errors
    /// Those of the listing and the requests.
    pub async fn remove_leftovers(
        &self,
        call: &Call,
        listed: impl Stream<Item = Result<RemoteFile>>,
        now: i64,
    ) -> Result<u64> {
        let oldest = now.saturating_sub_unsigned(LEFTOVER_AGE.as_secs());
        let is_left = |file: &RemoteFile| {
            let is_old = file.modified.is_some_and(|modified| modified < oldest);
            is_old && !file.is_folder && is_temporary(&file.name)
        };
        let left = listed.try_filter(|file| std::future::ready(is_left(file)));
        let left: Vec<RemoteFile> = left.try_collect().await?;
        for file in &left {
            match self.files.remove(call, &file.name).await {
                Err(error) if *error.kind() == ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        Ok(left.len() as u64)
    }

    /// The error for a file that is not there: its folder is looked for, which may be what is missing.
    pub async fn missing(&self, call: &Call) -> Error {
        match self.files.has_folder(call).await {
            Ok(true) => call.not_found(),
            Ok(false) => call.folder_missing("the folder does not exist on the server"),
            Err(error) => error,
        }
    }
}

#[cfg(test)]
mod tests;
