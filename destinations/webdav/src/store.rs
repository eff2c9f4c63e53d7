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
use larder_httpkit::{Call, Child, Children, Failure, Outcome, Site, random_name};

use crate::SCHEME;
use crate::api::{Api, BASIC, Entry, QUOTA};

/// A folder on a WebDAV server.
pub(crate) struct Store {
    api: Api,
    about: About,
    site: Site,
    random: Arc<dyn Random>,
    /// The server has refused to move a file: puts go to their name at once.
    cannot_move: AtomicBool,
    /// The server wants to hear only the path of where a file is moved to.
    by_path: AtomicBool,
}

impl Store {
    /// The store in the folder of `site`.
    pub(crate) fn new(api: Api, site: Site, random: Arc<dyn Random>) -> Self {
        let abilities = Abilities {
            // True of every server that can move files, but that shows only when one is put.
            atomic_put: false,
            exclusive_put: false,
            consistent_list: true,
            unique_names: true,
            checksummed_put: false,
        };
        let names = NameRules {
            // Listings are XML, which cannot hold them.
            control_characters: false,
            ..NameRules::POSIX
        };
        let limits = Limits {
            names,
            ..Limits::default()
        };
        let about = About::new(SCHEME, site.display());
        Self {
            api,
            about: about.with_abilities(abilities).with_limits(limits),
            site,
            random,
            cannot_move: AtomicBool::new(false),
            by_path: AtomicBool::new(false),
        }
    }

    /// The error of a request about a file: a missing folder is told from a missing file, which servers do not do.
    async fn explain(&self, call: &Call, failure: Box<Failure>) -> Error {
        // nginx answers 500 when the folder of a PUT is missing, others 403 (observed with nginx 1.22, rclone 1.60).
        if !matches!(failure.status, 403 | 404 | 409 | 410 | 500) {
            return failure.into();
        }
        match self.api.exists(call, &self.api.folder).await {
            Ok(false) => call.folder_missing(NO_FOLDER),
            Ok(true) if failure.status == 409 => {
                call.error(ErrorKind::Other, "the server answered 409 Conflict")
            }
            Ok(true) | Err(_) => failure.into(),
        }
    }

    /// Sends a body under a temporary name and moves it to its own; false when the server cannot move.
    async fn put_and_move(&self, call: &Call, to: &Url, body: &Body, fresh: bool) -> Result<bool> {
        let temporary = random_name(self.random.as_ref(), TEMPORARY_PREFIX).map_err(|error| {
            call.error(ErrorKind::Other, "there are no random numbers")
                .caused_by(error)
        })?;
        let temporary = self.api.file(call, &temporary)?;
        let mut sent = self.send(call, &temporary, body.clone(), false).await;
        let is_stored = sent.is_ok();
        if is_stored {
            sent = self
                .rename_to(call, &temporary, to, fresh, body.len())
                .await;
        }
        let Err(failure) = sent else {
            return Ok(true);
        };
        self.discard(&temporary).await;
        match failure.status {
            405 | 501 => Ok(false),
            status if is_stored && MISTAKEN.contains(&status) => Ok(false),
            412 => Err(call.exists()),
            _ => Err(self.explain(call, failure).await),
        }
    }

    /// Sends a body to its name at once, for servers that cannot move.
    ///
    /// After a failure nothing is removed, although half a file may lie there: it may as well be one that another program
    /// stored since the name was free. The engine, which knows what it sent, finds out.
    async fn put_directly(&self, call: &Call, to: &Url, body: Body, fresh: bool) -> Result<()> {
        if fresh && self.api.exists(call, to).await? {
            return Err(call.exists());
        }
        let Err(failure) = self.send(call, to, body, fresh).await else {
            return Ok(());
        };
        if failure.status == 412 {
            return Err(call.exists());
        }
        Err(self.explain(call, failure).await)
    }

    /// Sends a body and asks for its size, since no server sends a checksum.
    async fn send(&self, call: &Call, to: &Url, body: Body, fresh: bool) -> Outcome<()> {
        let len = body.len();
        self.api.put(call, to, body, fresh).await?;
        let found = self.api.facts(call, to, BASIC).await?;
        match found.and_then(|facts| facts.size) {
            Some(size) if size != len => {
                let text = format!("the server has {size} bytes of the {len} that were sent");
                Err(call.error(ErrorKind::Corrupt, text).into())
            }
            _ => Ok(()),
        }
    }

    /// Moves a file of `len` bytes. Before it is tried again, it is found out whether it happened.
    async fn rename_to(
        &self,
        call: &Call,
        from: &Url,
        to: &Url,
        fresh: bool,
        len: u64,
    ) -> Outcome<()> {
        let attempt = |number| async move {
            if number > 0 && !self.api.exists(call, from).await? {
                let found = self.api.facts(call, to, BASIC).await?;
                return if found.is_some_and(|facts| facts.size == Some(len)) {
                    Ok(())
                } else {
                    let text = "the server lost the file while it moved it";
                    Err(call.error(ErrorKind::Exists, text).into())
                };
            }
            let by_path = self.by_path.load(Ordering::Relaxed);
            let place = if by_path { to.path() } else { to.as_str() };
            let mut moved = self.api.rename(call, from, place, fresh).await;
            let status = moved.as_ref().err().map_or(0, |failure| failure.status);
            if !by_path && MISTAKEN.contains(&status) && self.api.exists(call, from).await? {
                moved = self.api.rename(call, from, to.path(), fresh).await;
                self.by_path.fetch_or(moved.is_ok(), Ordering::Relaxed);
            }
            // Apache removes the target first; two moves to one name then meet there (observed with 2.4).
            let is_missing = moved.as_ref().is_err_and(|failure| failure.status == 404);
            if is_missing && self.api.exists(call, from).await? {
                let text = "another file took the name at this moment";
                return Err(call.error(ErrorKind::Network, text).into());
            }
            moved
        };
        self.api.service.repeat(call, attempt).await
    }

    /// Removes what a failed put left; that failure is the one to report.
    async fn discard(&self, url: &Url) {
        let call = Call::new(SCHEME, Operation::Delete);
        let _ = self.api.delete(&call, url).await;
    }

    async fn entries(&self, call: &Call) -> Result<BoxStream<'_, Result<RemoteFile>>> {
        match self.api.list(call).await {
            Ok(entries) => {
                let (call, mut children) =
                    (call.clone(), Children::of(&self.site.folders.join("/")));
                let files = entries.try_filter_map(move |entry| {
                    let child = children.take(&entry.path, entry.is_folder);
                    std::future::ready(remote_file(&call, child, entry))
                });
                Ok(files.boxed())
            }
            Err(failure) if matches!(failure.status, 404 | 409 | 410) => {
                Err(call.folder_missing(NO_FOLDER))
            }
            Err(failure) => Err(failure.into()),
        }
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
            .try_filter(|file| std::future::ready(!file.name.starts_with(TEMPORARY_PREFIX)))
            .boxed()
    }

    async fn get(&self, name: &str) -> Result<Download> {
        let call = &Call::on(SCHEME, Operation::Get, name);
        let url = self.api.file(call, name)?;
        let failure = match self.api.get(call, &url).await {
            Ok(reply) => return Ok(reply.download(call.clone())),
            Err(failure) => failure,
        };
        if failure.status == 404 && self.api.exists(call, &url).await? {
            let text = "the server lists the file and refuses to give it out: it may block names with this ending";
            return Err(call.error(ErrorKind::Denied, text));
        }
        Err(self.explain(call, failure).await)
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        let call = &Call::on(SCHEME, Operation::Put, name);
        let url = self.api.file(call, name)?;
        let fresh = existing == Existing::Refuse;
        let can_move = !self.cannot_move.load(Ordering::Relaxed);
        if can_move && self.put_and_move(call, &url, &body, fresh).await? {
            return Ok(());
        }
        self.put_directly(call, &url, body, fresh).await?;
        self.cannot_move.store(true, Ordering::Relaxed);
        Ok(())
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
        if self.api.exists(call, &self.api.folder).await? {
            return Ok(());
        }
        // The upper ones may be closed to us; only whether the last can be made counts. 405 says that it is there.
        let mut made = Ok(());
        for depth in 1..=self.site.folders.len() {
            made = self.api.create(call, &self.site.path(depth)).await;
        }
        match made {
            Err(failure) if failure.status != 405 => Err(failure.into()),
            _ => Ok(()),
        }
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
        let facts = self.api.facts(call, &self.api.folder, QUOTA).await?;
        let facts = facts.ok_or_else(|| call.folder_missing(NO_FOLDER))?;
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
            return Err(match self.api.exists(call, &self.api.folder).await? {
                true => call.not_found(),
                false => call.folder_missing(NO_FOLDER),
            });
        };
        if old == new {
            return Ok(());
        }
        let len = facts.size.unwrap_or(u64::MAX);
        let Err(failure) = self.rename_to(call, &old, &new, false, len).await else {
            return Ok(());
        };
        Err(self.explain(call, failure).await)
    }
}

#[async_trait]
impl Leftovers for Store {
    async fn remove_leftovers(&self) -> Result<u64> {
        let call = Call::new(SCHEME, Operation::RemoveLeftovers);
        let mut entries = self.entries(&call).await?;
        let oldest = self.api.service.server_now() - LEFTOVER_SECONDS;
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

/// A resource of a listing; nothing for what does not lie directly in the folder.
fn remote_file(call: &Call, child: Child, entry: Entry) -> Result<Option<RemoteFile>> {
    let wrong = match child {
        Child::Named(name) => {
            return Ok(Some(RemoteFile {
                name,
                // lighttpd gives folders a length (observed with 1.4.69).
                size: entry.size.filter(|_| !entry.is_folder),
                modified: entry.modified,
                is_folder: entry.is_folder,
                is_archived: false,
            }));
        }
        Child::Itself if !entry.is_folder => "what the URL names is a file, not a folder",
        Child::Strange => "the server lists what is not in the folder of the URL",
        Child::Itself | Child::Elsewhere => return Ok(None),
    };
    Err(call.error(ErrorKind::Config, wrong))
}

const NO_FOLDER: &str = "the folder does not exist on the server";
/// What servers answer to a `MOVE` to an address that is not their own, a proxy that ends TLS being in between. They
/// may know its path (RFC 4918, section 10.3).
const MISTAKEN: &[u16] = &[400, 403, 502];
/// A temporary file of this age belongs to no run that is still at work.
const LEFTOVER_SECONDS: i64 = 86_400;
