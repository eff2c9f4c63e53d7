//! Files that are sent under a temporary name and renamed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as Held, MutexGuard, PoisonError};

use futures_util::TryStreamExt;
use futures_util::stream::{self, BoxStream, StreamExt};
use larder_destination::{
    Body, Call, Download, Error, ErrorKind, Existing, Operation, Random, RemoteFile, Result,
};
use tokio::sync::Mutex;

use crate::NO_FOLDER;
use crate::files::{Files, Renamed, Renaming};
use crate::listing::bounded;
use crate::names::{Aside, LEFTOVER_AGE, check_new, is_temporary, temporary_name};
use crate::replace::{Found, Replacement, find_back};

/// One folder of a store.
pub(crate) struct Folder<F> {
    files: Arc<F>,
    random: Arc<dyn Random>,
    /// The server has refused to rename a file: puts go to their name at once.
    cannot_rename: AtomicBool,
    /// One file at a time is replaced where that takes several steps.
    replacing: Arc<Mutex<()>>,
    /// Files that cannot have their name back, from the name to the one that they are read from.
    aside: Held<HashMap<String, String>>,
}

impl<F: Files> Folder<F> {
    /// The folder whose files these are; `random` is for temporary names.
    pub fn new(files: F, random: Arc<dyn Random>) -> Self {
        Self {
            files: Arc::new(files),
            random,
            cannot_rename: AtomicBool::new(false),
            replacing: Arc::default(),
            aside: Held::default(),
        }
    }

    /// The store.
    pub fn files(&self) -> &F {
        &self.files
    }

    /// Streams the files that are whole. One that was moved aside, and whose place is free, finds back: the run that would
    /// have put another there was ended. Where this user may only read, it is named as if it had, and read from where it is.
    ///
    /// # Errors
    /// Those of [`Files::list`]; [`ErrorKind::Other`] when it has no end. Eight bytes are held for each file.
    pub async fn list(&self, call: &Call) -> Result<BoxStream<'_, Result<RemoteFile>>> {
        let entries = bounded(call, self.files.list(call).await?);
        let state = (entries, Vec::new(), call.clone());
        let files = stream::try_unfold(state, async |(mut entries, mut asides, call)| {
            while let Some(file) = entries.try_next().await? {
                match Aside::parse(&file.name) {
                    Some(aside) if asides.len() < MOST_ASIDES => asides.push(aside),
                    Some(_) => {}
                    None if is_temporary(&file.name) => {}
                    None => return Ok(Some((file, (entries, asides, call)))),
                }
            }
            // The youngest of a name is the one that was there last.
            asides.sort_by_key(|aside: &Aside| aside.since);
            while let Some(aside) = asides.pop() {
                let _one = self.replacing.lock().await;
                let file = match find_back(&*self.files, &call, &aside).await? {
                    Found::Back(file) => file,
                    Found::Aside(file) => {
                        asides.retain(|other| other.target != aside.target);
                        self.held().insert(aside.target, aside.name);
                        file
                    }
                    Found::Nothing => continue,
                };
                return Ok(Some((file, (entries, asides, call))));
            }
            Ok(None)
        });
        Ok(files.boxed())
    }

    /// Opens a file for reading, also one that a listing could not move back.
    ///
    /// # Errors
    /// Those of [`Files::get`].
    pub async fn get(&self, call: &Call, name: &str) -> Result<Download> {
        let got = self.files.get(call, name).await;
        match self.instead_of(name, &got) {
            Some(aside) => self.files.get(call, &aside).await,
            None => got,
        }
    }

    /// Removes a file, also one that a listing could not move back.
    ///
    /// # Errors
    /// Those of [`Files::remove`].
    pub async fn remove(&self, call: &Call, name: &str) -> Result<()> {
        let removed = self.files.remove(call, name).await;
        match self.instead_of(name, &removed) {
            Some(aside) => self.files.remove(call, &aside).await,
            None => removed,
        }
    }

    /// The name under which a file lies that is not there under its own.
    fn instead_of<T>(&self, name: &str, answer: &Result<T>) -> Option<String> {
        let error = answer.as_ref().err()?;
        let is_missing = *error.kind() == ErrorKind::NotFound;
        is_missing.then(|| self.held().get(name).cloned())?
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, String>> {
        // Each change is whole.
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
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
        if can_rename && self.put_and_rename(call, &body, existing).await? == Renamed::Done {
            return Ok(());
        }
        self.put_directly(call, body, existing).await?;
        self.cannot_rename.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Sends a body under a temporary name and renames it; [`Renamed::Impossible`] when the server cannot rename.
    async fn put_and_rename(
        &self,
        call: &Call,
        body: &Body,
        existing: Existing,
    ) -> Result<Renamed> {
        let temporary = temporary_name(call, self.random.as_ref())?;
        let renaming = Renaming {
            from: &temporary,
            to: &call.object,
            existing,
            len: Some(body.len()),
        };
        let sent = self.send(call, &temporary, body.clone(), Existing::Replace);
        let stored = match sent.await {
            Ok(()) => self.give_name(call, &renaming).await,
            Err(error) => Err(error),
        };
        if matches!(stored, Ok(Renamed::Done)) {
            return stored;
        }
        // The failure above is the one to report.
        let removing = Call::new(call.provider, Operation::Delete);
        let _ = self.files.remove(&removing, &temporary).await;
        match stored {
            Err(error) if *error.kind() == ErrorKind::NotFound => Err(self.vanished(call).await),
            stored => stored,
        }
    }

    /// Renames a file, in several steps where the server replaces none in one.
    async fn give_name(&self, call: &Call, renaming: &Renaming<'_>) -> Result<Renamed> {
        let renamed = self.files.rename(call, renaming).await?;
        if renamed != Renamed::Taken {
            return Ok(renamed);
        }
        if renaming.existing == Existing::Refuse {
            return Err(call.exists());
        }
        let since = self.now(call).await?.unwrap_or(0);
        let files = Arc::clone(&self.files);
        let random = Arc::clone(&self.random);
        let replacement = Replacement::new(files, random, call, renaming, since);
        let one = Arc::clone(&self.replacing).lock_owned().await;
        // Goes on when nobody waits any more: between its steps no file has the name.
        let replacing = tokio::spawn(async move {
            let replaced = replacement.run().await;
            drop(one);
            replaced
        });
        let replaced = replacing.await;
        let lost = |error: tokio::task::JoinError| call.error(ErrorKind::Other, error.to_string());
        replaced.map_err(lost)?.map(|()| Renamed::Done)
    }

    /// The error for a temporary file that is not there when it is to get its name.
    async fn vanished(&self, call: &Call) -> Error {
        match self.files.has_folder(call).await {
            Ok(true) => call.error(
                ErrorKind::Other,
                "what was sent is gone before it got its name: something on the server removes files whose names begin \
                 with tmp.larder.",
            ),
            Ok(false) => call.folder_missing(NO_FOLDER),
            Err(error) => error,
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
    /// [`ErrorKind::NotFound`] or [`ErrorKind::FolderMissing`] when there is no such file, [`ErrorKind::Unsupported`] when
    /// the server cannot rename; those of the requests.
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
        match self.give_name(call, &renaming).await? {
            Renamed::Done => Ok(()),
            Renamed::Taken | Renamed::Impossible => {
                Err(Error::unsupported(call.provider, Operation::Rename).object(from))
            }
        }
    }

    /// Removes the temporary files that have been there for [`LEFTOVER_AGE`] by the server's clock; gives their number.
    /// Where the server has no times, all stay.
    ///
    /// # Errors
    /// Those of the listing and the requests.
    pub async fn remove_leftovers(&self, call: &Call) -> Result<u64> {
        let entries = bounded(call, self.files.list(call).await?);
        let is_left =
            |file: &RemoteFile| is_temporary(&file.name) || Aside::parse(&file.name).is_some();
        let left = entries
            .try_filter(|file| std::future::ready(!file.is_folder && is_left(file)))
            .take(MOST_LEFTOVERS);
        let left: Vec<RemoteFile> = left.try_collect().await?;
        if left.is_empty() {
            return Ok(0);
        }
        let Some(now) = self.now(call).await? else {
            return Ok(0);
        };
        let oldest = now.saturating_sub_unsigned(LEFTOVER_AGE.as_secs());
        let mut removed = 0;
        for file in left {
            let aside = Aside::parse(&file.name);
            let since = match &aside {
                // Its own time is that of its content.
                Some(aside) => i64::try_from(aside.since).ok(),
                None => file.modified,
            };
            if since.is_none_or(|since| since >= oldest) {
                continue;
            }
            if let Some(aside) = aside {
                let _one = self.replacing.lock().await;
                let is_needed = self.files.find(call, &aside.target).await?.is_none();
                if is_needed {
                    find_back(&*self.files, call, &aside).await?;
                    continue;
                }
            }
            match self.files.remove(call, &file.name).await {
                Err(error) if *error.kind() == ErrorKind::NotFound => {}
                gone => gone?,
            }
            removed += 1;
        }
        Ok(removed)
    }

    /// The server's time; an empty file shows it where nothing else does. Nothing where files have no times.
    async fn now(&self, call: &Call) -> Result<Option<i64>> {
        if let Some(now) = self.files.now(call).await? {
            return Ok(Some(now));
        }
        let name = temporary_name(call, self.random.as_ref())?;
        let empty = Body::from_bytes("");
        let sent = self.files.send(call, &name, empty, Existing::Replace);
        sent.await?;
        let found = self.files.find(call, &name).await;
        // A file that stays is a leftover.
        let removing = Call::new(call.provider, Operation::Delete);
        let _ = self.files.remove(&removing, &name).await;
        Ok(found?.and_then(|found| found.modified))
    }

    /// The error for a file that is not there: its folder is looked for, which may be what is missing.
    pub async fn missing(&self, call: &Call) -> Error {
        match self.files.has_folder(call).await {
            Ok(true) => call.not_found(),
            Ok(false) => call.folder_missing(NO_FOLDER),
            Err(error) => error,
        }
    }
}

/// More files that were moved aside are left for the next listing.
const MOST_ASIDES: usize = 1000;
/// More leftovers are left for the next time.
const MOST_LEFTOVERS: usize = 100_000;

#[cfg(test)]
mod tests;
