//! The destination itself: each call is blocking work on a thread for that, cut into pieces that wait for nothing.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryFutureExt, TryStreamExt};
use larder_destination::{
    Abilities, About, Body, Capacity, Destination, Download, Error, ErrorKind, Existing, Extra,
    Leftovers, Operation, Random, RemoteFile, Rename, Result, Space, Tools,
};

use crate::SCHEME;
use crate::api::{self, Listing, NewFile, Reading, explain, sync_folder};

/// A folder of the local file system.
pub struct Folder {
    about: About,
    path: Arc<Path>,
    settings: Settings,
    random: Arc<dyn Random>,
}

/// What the options say.
pub(crate) struct Settings {
    /// Move local files instead of copying them.
    pub(crate) moves: bool,
    /// Ask for the length after writing.
    pub(crate) checks_length: bool,
    /// A file that has to lie in the folder as long as it is written to.
    pub(crate) marker: Option<String>,
}

impl Folder {
    pub(crate) fn new(path: &Path, settings: Settings, tools: &Tools) -> Self {
        let abilities = Abilities {
            atomic_put: true,
            exclusive_put: true,
            consistent_list: true,
            unique_names: true,
            checksummed_put: false,
        };
        let display = format!("file://{}", path.display());
        Self {
            about: About::new(SCHEME, display).with_abilities(abilities),
            path: path.into(),
            settings,
            random: Arc::clone(&tools.random),
        }
    }

    /// Refuses to write when the marker is gone: the folder is not the one it was when it was opened.
    fn check_marker(&self) -> Result<()> {
        let marker = self.settings.marker.as_deref();
        let Some(marker) = marker.filter(|marker| !self.path.join(marker).exists()) else {
            return Ok(());
        };
        let message = format!("the marker file {marker} is gone; is the disk still mounted?");
        let folder = self.path.to_string_lossy();
        Err(api::error(
            ErrorKind::FolderMissing,
            Operation::Put,
            &folder,
            message,
        ))
    }
}

#[async_trait]
impl Destination for Folder {
    fn about(&self) -> &About {
        &self.about
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        let folder = Arc::clone(&self.path);
        let opened = blocking(Operation::List, move || Listing::open(&folder));
        let batches = opened.map_ok(|listing| ahead(Operation::List, listing, Listing::next_batch));
        let files = batches.try_flatten_stream();
        files
            .map_ok(|batch| stream::iter(batch.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    async fn get(&self, name: &str) -> Result<Download> {
        check(Operation::Get, name, api::check_name)?;
        let (folder, name) = (Arc::clone(&self.path), name.to_owned());
        let reading = blocking(Operation::Get, move || Reading::open(&folder, &name)).await?;
        Ok(Download {
            len: Some(reading.left()),
            stream: ahead(Operation::Get, reading, Reading::next_piece),
        })
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        check(Operation::Put, name, api::check_new_name)?;
        self.check_marker()?;
        let source = body
            .as_file()
            .filter(|_| !body.is_paced())
            .map(Path::to_path_buf);
        let (folder, name, len) = (Arc::clone(&self.path), name.to_owned(), body.len());
        if let (true, Some(source)) = (self.settings.moves, source.clone()) {
            let (folder, name) = (Arc::clone(&folder), name.clone());
            let moving = move || api::move_here(&source, &folder, &name, len, existing);
            if blocking(Operation::Put, moving).await? {
                return Ok(());
            }
        }
        let (random, taken) = (Arc::clone(&self.random), folder.join(&name));
        let mut new = blocking(Operation::Put, move || {
            if existing == Existing::Refuse && taken.symlink_metadata().is_ok() {
                let error = std::io::ErrorKind::AlreadyExists.into();
                return Err(explain(error, Operation::Put, &folder, &name));
            }
            NewFile::create(&folder, &name, len, random.as_ref())
        })
        .await?;
        // A future that is dropped on the way drops the new file, and that removes what was written.
        if let Some(source) = source {
            let opened = File::open(source);
            let source = Arc::new(opened.map_err(|error| api::unreadable(new.name(), error))?);
            let mut is_more = true;
            while is_more {
                let source = Arc::clone(&source);
                let copying = move || Ok((new.copy_piece(&source)?, new));
                (is_more, new) = blocking(Operation::Put, copying).await?;
            }
        } else {
            let mut pieces = body.stream();
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(|error| api::unreadable(new.name(), error))?;
                let writing = move || new.write(&piece).map(|()| new);
                new = blocking(Operation::Put, writing).await?;
            }
        }
        let checks_length = self.settings.checks_length;
        blocking(Operation::Put, move || new.finish(existing, checks_length)).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        check(Operation::Delete, name, api::check_name)?;
        let (folder, name) = (Arc::clone(&self.path), name.to_owned());
        blocking(Operation::Delete, move || {
            let removed = std::fs::remove_file(folder.join(&name));
            removed.map_err(|error| explain(error, Operation::Delete, &folder, &name))
        })
        .await
    }

    async fn create_folder(&self) -> Result<()> {
        let folder = Arc::clone(&self.path);
        blocking(Operation::CreateFolder, move || {
            if let Err(error) = std::fs::create_dir_all(&folder) {
                let is_in_the_way = folder.ancestors().any(Path::is_file);
                let error = explain(error, Operation::CreateFolder, &folder, "");
                let message = "something of that name exists and is not a folder";
                let folder = folder.to_string_lossy();
                return Err(match is_in_the_way {
                    true => {
                        api::error(ErrorKind::Exists, Operation::CreateFolder, &folder, message)
                    }
                    false => error,
                });
            }
            // The folder lasts when its parent is on the disk; what cannot be done there is no reason to stop.
            let _ = folder.parent().map(sync_folder);
            Ok(())
        })
        .await
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
impl Space for Folder {
    async fn space(&self) -> Result<Capacity> {
        let folder = Arc::clone(&self.path);
        blocking(Operation::Space, move || {
            // Asked of the folder as `folder/.`, because a file in its place has a file system as well.
            let facts = rustix::fs::statvfs(folder.join("."));
            let facts =
                facts.map_err(|error| explain(error.into(), Operation::Space, &folder, ""))?;
            Ok(Capacity {
                total: facts.f_blocks.checked_mul(facts.f_frsize),
                free: facts.f_bavail.checked_mul(facts.f_frsize),
            })
        })
        .await
    }
}

#[async_trait]
impl Rename for Folder {
    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        check(Operation::Rename, from, api::check_name)?;
        check(Operation::Rename, to, api::check_new_name)?;
        let (folder, from, to) = (Arc::clone(&self.path), from.to_owned(), to.to_owned());
        blocking(Operation::Rename, move || {
            let renamed = std::fs::rename(folder.join(&from), folder.join(to));
            let renamed = renamed.and_then(|()| sync_folder(&folder));
            renamed.map_err(|error| explain(error, Operation::Rename, &folder, &from))
        })
        .await
    }
}

#[async_trait]
impl Leftovers for Folder {
    async fn remove_leftovers(&self) -> Result<u64> {
        let (folder, random) = (Arc::clone(&self.path), Arc::clone(&self.random));
        let removing = move || api::remove_leftovers(&folder, random.as_ref());
        blocking(Operation::RemoveLeftovers, removing).await
    }
}

fn check(
    operation: Operation,
    name: &str,
    rule: fn(&str) -> std::result::Result<(), &'static str>,
) -> Result<()> {
    rule(name).map_err(|why| api::error(ErrorKind::Config, operation, name, why))
}

/// Runs work on a thread where it may block.
async fn blocking<T: Send + 'static>(
    operation: Operation,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| Err(lost(operation, &error)))
}

/// Streams what `next` gives until it gives nothing, one step ahead of the reader.
fn ahead<S: Send + 'static, T: Send + 'static>(
    operation: Operation,
    state: S,
    next: fn(&mut S) -> Result<Option<T>>,
) -> BoxStream<'static, Result<T>> {
    let step = move |mut state: S| tokio::task::spawn_blocking(move || (next(&mut state), state));
    stream::unfold(Some(step(state)), move |running| async move {
        match running?.await {
            Ok((Ok(Some(item)), state)) => Some((Ok(item), Some(step(state)))),
            Ok((Ok(None), _)) => None,
            Ok((Err(error), _)) => Some((Err(error), None)),
            Err(error) => Some((Err(lost(operation, &error)), None)),
        }
    })
    .boxed()
}

/// The thread of some work panicked, or the runtime ends.
fn lost(operation: Operation, error: &tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Other, SCHEME, operation, error.to_string())
}
