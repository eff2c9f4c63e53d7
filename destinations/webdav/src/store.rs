//! What the server does with files, in terms of requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use larder_destination::{
    Abilities, About, Body, Call, Capacity, Download, Error, ErrorKind, Existing, Limits,
    NameRules, Operation, Random, RemoteFile, Result,
};
use larder_flat::{Files, NO_FOLDER, Renamed, Renaming, Store};
use larder_httpkit::http::Url;
use larder_httpkit::{Child, Children, Failure, Outcome, Site};

use crate::SCHEME;
use crate::api::{Api, BASIC, Entry, QUOTA};

/// What the server does with files.
pub(crate) struct Server {
    api: Api,
    site: Site,
    /// It wants to hear only the path of where a file is moved to.
    by_path: AtomicBool,
}

/// The store in the folder of `site`.
pub(crate) fn store(api: Api, site: Site, random: Arc<dyn Random>) -> Store<Server> {
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
    let server = Server {
        api,
        site,
        by_path: AtomicBool::new(false),
    };
    Store::new(
        server,
        about.with_abilities(abilities).with_limits(limits),
        random,
    )
}

impl Server {
    /// The error of a request about a file: a missing folder is told from a missing file, which servers do not do.
    async fn explain(&self, call: &Call, failure: Box<Failure>) -> Error {
        match failure.status {
            412 => return call.exists(),
            // nginx answers 500 when the folder of a PUT is missing, others 403 (observed with nginx 1.22, rclone 1.60).
            403 | 404 | 409 | 410 | 500 => {}
            _ => return failure.into(),
        }
        match self.has_folder(call).await {
            Ok(false) => call.folder_missing(NO_FOLDER),
            Ok(true) if failure.status == 409 => {
                call.error(ErrorKind::Other, "the server answered 409 Conflict")
            }
            Ok(true) | Err(_) => failure.into(),
        }
    }

    /// Moves a file, by its path alone where the server wants that.
    async fn move_once(&self, call: &Call, from: &Url, to: &Url, fresh: bool) -> Outcome<()> {
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
    }
}

#[async_trait]
impl Files for Server {
    async fn list(&self, call: &Call) -> Result<BoxStream<'_, Result<RemoteFile>>> {
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

    async fn get(&self, call: &Call, name: &str) -> Result<Download> {
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

    async fn has_folder(&self, call: &Call) -> Result<bool> {
        self.api.exists(call, &self.api.folder).await
    }

    async fn find(&self, call: &Call, name: &str) -> Result<Option<RemoteFile>> {
        let url = self.api.file(call, name)?;
        let found = self.api.facts(call, &url, BASIC).await?;
        Ok(found.map(|entry| entry.named(name.to_owned())))
    }

    async fn send(&self, call: &Call, name: &str, body: Body, existing: Existing) -> Result<()> {
        let url = self.api.file(call, name)?;
        let sent = self.api.put(call, &url, body, existing == Existing::Refuse);
        match sent.await {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.explain(call, failure).await),
        }
    }

    async fn rename(&self, call: &Call, renaming: &Renaming<'_>) -> Result<Renamed> {
        let from = &self.api.file(call, renaming.from)?;
        let to = &self.api.file(call, renaming.to)?;
        let fresh = renaming.existing == Existing::Refuse;
        let attempt = |number| async move {
            match number > 0 && renaming.has_happened(self, call).await? {
                true => Ok(()),
                false => self.move_once(call, from, to, fresh).await,
            }
        };
        match self.api.service.repeat(call, attempt).await {
            Ok(()) => Ok(Renamed::Done),
            Err(failure) if *failure.error.kind() == ErrorKind::Unsupported => {
                Ok(Renamed::Impossible)
            }
            // A put does without.
            Err(failure)
                if call.operation == Operation::Put && MISTAKEN.contains(&failure.status) =>
            {
                Ok(Renamed::Impossible)
            }
            Err(failure) => Err(self.explain(call, failure).await),
        }
    }

    async fn remove(&self, call: &Call, name: &str) -> Result<()> {
        let url = self.api.file(call, name)?;
        match self.api.delete(call, &url).await {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.explain(call, failure).await),
        }
    }

    async fn make_folder(&self, call: &Call) -> Result<()> {
        if self.has_folder(call).await? {
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

    async fn space(&self, call: &Call) -> Result<Option<Capacity>> {
        let facts = self.api.facts(call, &self.api.folder, QUOTA).await?;
        let facts = facts.ok_or_else(|| call.folder_missing(NO_FOLDER))?;
        let sum = |free: u64| facts.used.and_then(|used| used.checked_add(free));
        let is_told = facts.available.is_some() || facts.used.is_some();
        Ok(is_told.then(|| Capacity {
            total: facts.available.and_then(sum),
            free: facts.available,
        }))
    }

    async fn now(&self, _: &Call) -> Result<Option<i64>> {
        Ok(Some(self.api.service.server_now()))
    }
}

/// A resource of a listing; nothing for what does not lie directly in the folder.
fn remote_file(call: &Call, child: Child, entry: Entry) -> Result<Option<RemoteFile>> {
    let wrong = match child {
        Child::Named(name) => return Ok(Some(entry.named(name))),
        Child::Itself if !entry.is_folder => "what the URL names is a file, not a folder",
        Child::Strange => "the server lists what is not in the folder of the URL",
        Child::Itself | Child::Elsewhere => return Ok(None),
    };
    Err(call.error(ErrorKind::Config, wrong))
}

/// What servers answer to a `MOVE` to an address that is not their own, a proxy that ends TLS being in between. They
/// may know its path (RFC 4918, section 10.3).
const MISTAKEN: &[u16] = &[400, 403, 502];
