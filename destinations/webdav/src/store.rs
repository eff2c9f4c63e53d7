//! The destination in terms of requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use larder_destination::{
    Abilities, About, Body, Capacity, Destination, Download, Error, ErrorKind, Existing, Extra,
    Leftovers, Limits, NameRules, Operation, Random, RemoteFile, Rename, Result, Space,
    TEMPORARY_PREFIX,
};
use larder_httpkit::http::Url;
use larder_httpkit::{Call, Failure, Outcome, encode};

use crate::SCHEME;
use crate::api::{Api, BASIC};
use crate::multistatus::Entry;

/// A folder on a WebDAV server.
pub(crate) struct Store {
    api: Api,
    about: About,
    folders: Vec<String>,
    random: Arc<dyn Random>,
    /// The server has refused to move a file: puts go to their name at once.
    cannot_move: AtomicBool,
}

impl Store {
    /// The store in a folder, which `folders` name from the outermost on.
    pub(crate) fn new(
        api: Api,
        folders: Vec<String>,
        display: String,
        random: Arc<dyn Random>,
    ) -> Self {
        let abilities = Abilities {
            // True of every server that can move files, but that shows only when one is put.
            atomic_put: false,
            exclusive_put: false,
            consistent_list: true,
            unique_names: true,
            checksummed_put: false,
        };
        let limits = Limits {
            names: NameRules {
                // Listings are XML, which cannot hold them.
                control_characters: false,
                ..NameRules::POSIX
            },
            ..Limits::default()
        };
        Self {
            api,
            about: About::new(SCHEME, display)
                .with_abilities(abilities)
                .with_limits(limits),
            folders,
            random,
            cannot_move: AtomicBool::new(false),
        }
    }

    /// The error of a request about a file: a missing folder is told from a missing file, which servers do not do.
    async fn explain(&self, call: &Call, failure: Box<Failure>) -> Error {
        // nginx answers 500 when the folder of a PUT is missing, others 403 (observed with nginx 1.22, rclone 1.60).
        if !matches!(failure.status, 403 | 404 | 409 | 410 | 500) {
            return failure.into();
        }
        match self.api.facts(call, &self.api.folder, BASIC).await {
            Ok(None) => folder_missing(call),
            Ok(Some(_)) if failure.status == 409 => {
                call.error(ErrorKind::Other, "the server answered 409 Conflict")
            }
            Ok(Some(_)) | Err(_) => failure.into(),
        }
    }

    /// Sends a body under a temporary name and moves it to its own.
    async fn put_and_move(
        &self,
        call: &Call,
        to: &Url,
        body: &Body,
        existing: Existing,
    ) -> Result<Moved> {
        let temporary = self.api.file(call, &self.temporary_name(call)?)?;
        let sent = self.api.put(call, &temporary, body.clone(), false).await;
        let sent = match sent {
            Ok(()) => self.check_size(call, &temporary, body.len()).await,
            Err(failure) => Err(self.explain(call, failure).await),
        };
        if let Err(error) = sent {
            self.discard(&temporary).await;
            return Err(error);
        }
        let overwrite = existing == Existing::Replace;
        let moved = self.rename_to(call, &temporary, to, overwrite, body.len());
        let Err(failure) = moved.await else {
            return Ok(Moved::Yes);
        };
        self.discard(&temporary).await;
        match failure.status {
            405 | 501 => Ok(Moved::Cannot),
            412 => Err(exists(call)),
            _ => Err(self.explain(call, failure).await),
        }
    }

    /// Sends a body to its name at once, for servers that cannot move.
    async fn put_directly(
        &self,
        call: &Call,
        to: &Url,
        body: Body,
        existing: Existing,
    ) -> Result<()> {
        let fresh = existing == Existing::Refuse;
        if fresh && self.api.facts(call, to, BASIC).await?.is_some() {
            return Err(exists(call));
        }
        let len = body.len();
        match self.api.put(call, to, body, fresh).await {
            Ok(()) => self.check_size(call, to, len).await,
            Err(failure) if failure.status == 412 => Err(exists(call)),
            Err(failure) => {
                let error = self.explain(call, failure).await;
                if fresh {
                    // Half a file may lie there, and it is ours: the name was free.
                    self.discard(to).await;
                }
                Err(error)
            }
        }
    }

    /// Moves a file of `len` bytes. Before it is tried again, it is found out whether it happened.
    async fn rename_to(
        &self,
        call: &Call,
        from: &Url,
        to: &Url,
        overwrite: bool,
        len: u64,
    ) -> Outcome<()> {
        let attempt = |number| async move {
            if number > 0 && self.api.facts(call, from, BASIC).await?.is_none() {
                let found = self.api.facts(call, to, BASIC).await?;
                return if found.is_some_and(|facts| facts.size == Some(len)) {
                    Ok(())
                } else {
                    let text = "the server lost the file while it moved it";
                    Err(call.error(ErrorKind::Exists, text).into())
                };
            }
            self.api.rename(call, from, to, overwrite).await
        };
        self.api.service.repeat(call, attempt).await
    }

    async fn check_size(&self, call: &Call, url: &Url, len: u64) -> Result<()> {
        let found = self.api.facts(call, url, BASIC).await?;
        match found.and_then(|facts| facts.size) {
            Some(size) if size != len => {
                let text = format!("the server has {size} bytes of the {len} that were sent");
                Err(call.error(ErrorKind::Corrupt, text))
            }
            _ => Ok(()),
        }
    }

    /// Removes what a failed put left; that failure is the one to report.
    async fn discard(&self, url: &Url) {
        let call = Call::new(SCHEME, Operation::Delete);
        let _ = self.api.delete(&call, url).await;
    }

    fn temporary_name(&self, call: &Call) -> Result<String> {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes).map_err(|error| {
            call.error(ErrorKind::Other, "there are no random numbers")
                .caused_by(error)
        })?;
        Ok(format!("{TEMPORARY_PREFIX}{}", encode::hex(&bytes)))
    }

    async fn entries(&self, call: &Call) -> Result<BoxStream<'_, Result<RemoteFile>>> {
        let own = decoded(self.api.folder.path());
        let entries = match self.api.list(call).await {
            Ok(entries) => entries,
            Err(failure) if matches!(failure.status, 404 | 409 | 410) => {
                return Err(folder_missing(call));
            }
            Err(failure) => return Err(failure.into()),
        };
        let call = call.clone();
        let files = entries.try_filter_map(move |entry| {
            let file = remote_file(&call, &own, entry);
            async move { file }
        });
        Ok(files.boxed())
    }
}

#[async_trait]
impl Destination for Store {
    fn about(&self) -> &About {
        &self.about
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        let call = Call::new(SCHEME, Operation::List);
        stream::once(async move { self.entries(&call).await })
            .try_flatten()
            .try_filter(|file| {
                let shown = !file.name.starts_with(TEMPORARY_PREFIX);
                async move { shown }
            })
            .boxed()
    }

    async fn get(&self, name: &str) -> Result<Download> {
        let call = &Call::on(SCHEME, Operation::Get, name);
        let url = self.api.file(call, name)?;
        let failure = match self.api.get(call, &url).await {
            Ok(reply) => return Ok(reply.download(call.clone())),
            Err(failure) => failure,
        };
        if failure.status == 404 && self.api.facts(call, &url, BASIC).await?.is_some() {
            let text = "the server lists the file and refuses to give it out: it may block names with this ending";
            return Err(call.error(ErrorKind::Denied, text));
        }
        Err(self.explain(call, failure).await)
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        let call = &Call::on(SCHEME, Operation::Put, name);
        let url = self.api.file(call, name)?;
        if !self.cannot_move.load(Ordering::Relaxed) {
            match self.put_and_move(call, &url, &body, existing).await? {
                Moved::Yes => return Ok(()),
                Moved::Cannot => self.cannot_move.store(true, Ordering::Relaxed),
            }
        }
        self.put_directly(call, &url, body, existing).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let call = &Call::on(SCHEME, Operation::Delete, name);
        let url = self.api.file(call, name)?;
        match self.api.delete(call, &url).await {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.explain(call, failure).await),
        }
    }

    async fn create_folder(&self) -> Result<()> {
        let call = &Call::new(SCHEME, Operation::CreateFolder);
        if self
            .api
            .facts(call, &self.api.folder, BASIC)
            .await?
            .is_some()
        {
            return Ok(());
        }
        let mut made = self.folders.len();
        // Upwards until one can be made, then down again.
        while let Some(folders) = self.folders.get(..made) {
            match self.api.create(call, folders).await {
                Ok(()) => break,
                Err(failure) if failure.status == 405 => break,
                Err(failure) if matches!(failure.status, 404 | 409) && made > 1 => made -= 1,
                Err(failure) => return Err(failure.into()),
            }
        }
        for depth in made + 1..=self.folders.len() {
            let folders = self.folders.get(..depth).unwrap_or_default();
            match self.api.create(call, folders).await {
                Err(failure) if failure.status != 405 => return Err(failure.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn extra(&self) -> Extra<'_> {
        Extra {
            space: Some(self),
            rename: Some(self),
            leftovers: Some(self),
        }
    }
}

#[async_trait]
impl Space for Store {
    async fn space(&self) -> Result<Capacity> {
        let call = &Call::new(SCHEME, Operation::Space);
        let facts = self.api.quota(call).await?;
        let facts = facts.ok_or_else(|| folder_missing(call))?;
        if facts.available.is_none() && facts.used.is_none() {
            let text = "the server does not tell how much room there is";
            return Err(call.error(ErrorKind::Unsupported, text));
        }
        let sum = |free: u64| facts.used.and_then(|used| used.checked_add(free));
        Ok(Capacity {
            total: facts.available.and_then(sum),
            free: facts.available,
        })
    }
}

#[async_trait]
impl Rename for Store {
    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let call = &Call::on(SCHEME, Operation::Rename, from);
        let (old, new) = (self.api.file(call, from)?, self.api.file(call, to)?);
        let Some(facts) = self.api.facts(call, &old, BASIC).await? else {
            let missing = call.error(ErrorKind::NotFound, "there is no such file");
            let folder = self.api.facts(call, &self.api.folder, BASIC).await?;
            return Err(folder.map_or_else(|| folder_missing(call), |_| missing));
        };
        if old == new {
            return Ok(());
        }
        let len = facts.size.unwrap_or(u64::MAX);
        let Err(failure) = self.rename_to(call, &old, &new, true, len).await else {
            return Ok(());
        };
        Err(self.explain(call, failure).await)
    }
}

#[async_trait]
impl Leftovers for Store {
    async fn remove_leftovers(&self) -> Result<u64> {
        let call = Call::new(SCHEME, Operation::RemoveLeftovers);
        let oldest = self.api.service.now() - LEFTOVER_SECONDS;
        let mut entries = self.entries(&call).await?;
        let mut names = Vec::new();
        while let Some(file) = entries.try_next().await? {
            let is_old = file.modified.is_some_and(|modified| modified < oldest);
            if is_old && !file.is_folder && file.name.starts_with(TEMPORARY_PREFIX) {
                names.push(file.name);
            }
        }
        for name in &names {
            let url = self.api.file(&call, name)?;
            match self.api.delete(&call, &url).await {
                Err(failure) if failure.status != 404 => return Err(failure.into()),
                _ => {}
            }
        }
        Ok(names.len() as u64)
    }
}

/// What became of a move.
enum Moved {
    Yes,
    Cannot,
}

/// A resource of a listing; nothing for the folder itself.
fn remote_file(call: &Call, own: &str, entry: Entry) -> Result<Option<RemoteFile>> {
    let href = entry.href.as_str();
    // An address of the form scheme://server/path: only the path says something, since a proxy may stand in between.
    let path = match href.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => href,
    };
    let path = decoded(path);
    let is_own = path.trim_end_matches('/') == own.trim_end_matches('/');
    if is_own && !entry.facts.is_folder {
        let text = "what the URL names is a file, not a folder";
        return Err(call.error(ErrorKind::Config, text));
    }
    let name = path.trim_end_matches('/').rsplit('/').next();
    let Some(name) = name.filter(|name| !name.is_empty() && !is_own) else {
        return Ok(None);
    };
    Ok(Some(RemoteFile {
        name: name.to_owned(),
        // lighttpd gives folders a length (observed with 1.4.69).
        size: entry.facts.size.filter(|_| !entry.facts.is_folder),
        modified: entry.facts.modified,
        is_folder: entry.facts.is_folder,
        is_archived: false,
    }))
}

/// A path without its encoding; `+` is a plus sign in it. What is no UTF-8 stays as it is.
fn decoded(path: &str) -> String {
    encode::decode(path).unwrap_or_else(|| path.to_owned())
}

fn folder_missing(call: &Call) -> Error {
    call.error(
        ErrorKind::FolderMissing,
        "the folder does not exist on the server",
    )
}

fn exists(call: &Call) -> Error {
    call.error(ErrorKind::Exists, "a file of this name exists already")
}

/// A temporary file of this age belongs to no run that is still at work.
const LEFTOVER_SECONDS: i64 = 86_400;
