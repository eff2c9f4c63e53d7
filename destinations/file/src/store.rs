//! The destination itself: each call is blocking work on a thread for that, cut into pieces that wait for nothing.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryFutureExt, TryStreamExt};
use larder_destination::{
    Abilities, About, Body, Call, Capacity, Destination, Download, ErrorKind, Existing, Extra,
    Leftovers, Operation, Ours, Random, RemoteFile, Rename, Result, Space, Tools,
};
use larder_files::sync_folder;
use larder_flat::{ahead, blocking};

use crate::SCHEME;
use crate::api::{self, Listing, Reading, Subject};

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

    fn on(&self, call: Call) -> Subject {
        Subject {
            folder: Arc::clone(&self.path),
            call,
        }
    }

    fn on_folder(&self, operation: Operation) -> Subject {
        self.on(Call::new(SCHEME, operation))
    }

    fn on_file(&self, operation: Operation, name: &str) -> Result<Subject> {
        Ok(self.on(Call::on_file(SCHEME, operation, name)?))
    }

    /// A file with a name to be written: one of an unfinished file would never be listed.
    fn on_new_file(&self, operation: Operation, name: &str) -> Result<Subject> {
        let on = self.on_file(operation, name)?;
        match api::is_temporary(name) {
            true => {
                let text = "the name is that of a temporary file";
                Err(on.call.error(ErrorKind::Config, text))
            }
            false => Ok(on),
        }
    }

    /// Refuses to write when the marker is gone: the folder is not the one it was when it was opened.
    async fn check_marker(&self) -> Result<()> {
        let Some(marker) = self.settings.marker.clone() else {
            return Ok(());
        };
        work(self.on_folder(Operation::Put), move |on| {
            if on.folder.join(&marker).exists() {
                return Ok(());
            }
            let message = format!("the marker file {marker} is gone; is the disk still mounted?");
            let error = on.call.error(ErrorKind::FolderMissing, message);
            Err(error.object(on.folder.to_string_lossy()))
        })
        .await
    }
}

#[async_trait]
impl Destination for Folder {
    fn about(&self) -> &About {
        &self.about
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        let on = self.on_folder(Operation::List);
        let call = on.call.clone();
        let opened = work(on, Listing::open);
        let batches = opened.map_ok(|listing| ahead(call, listing, Listing::next_batch));
        let files = batches.try_flatten_stream();
        files
            .map_ok(|batch| stream::iter(batch.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    async fn get(&self, name: &str) -> Result<Download> {
        let on = self.on_file(Operation::Get, name)?;
        let call = on.call.clone();
        let reading = work(on, Reading::open).await?;
        Ok(Download {
            len: Some(reading.left()),
            stream: ahead(call, reading, Reading::next_piece),
        })
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        let on = self.on_new_file(Operation::Put, name)?;
        self.check_marker().await?;
        let source = body.as_file().filter(|_| !body.is_paced());
        let source = source.map(Path::to_path_buf);
        let len = body.len();
        if let (true, Some(source)) = (self.settings.moves, source.clone()) {
            let moving = move |on: &Subject| api::move_here(&source, on, len, existing);
            if work(on.clone(), moving).await? {
                return Ok(());
            }
        }
        let (random, target) = (Arc::clone(&self.random), on.clone());
        let mut new = work(on, move |on| {
            if existing == Existing::Refuse && on.path().symlink_metadata().is_ok() {
                return Err(on.explain(std::io::ErrorKind::AlreadyExists.into()));
            }
            api::new_file(on, len, random.as_ref())
        })
        .await?;
        // A future that is dropped on the way drops the new file, and that removes what was written.
        if let Some(source) = source {
            let opening = move |on: &Subject| File::open(source).map_err(|e| on.unreadable(e));
            let source = Arc::new(work(target.clone(), opening).await?);
            let mut is_more = true;
            while is_more {
                let source = Arc::clone(&source);
                let copying = move || Ok((new.copy_piece(&source)?, new));
                (is_more, new) = written(&target, copying).await?;
            }
        } else {
            let mut pieces = body.stream();
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(|error| target.unreadable(error))?;
                let writing = move || new.write(&piece).map(|()| new);
                new = written(&target, writing).await?;
            }
        }
        let checks_length = self.settings.checks_length;
        let (path, replaces) = (target.path(), existing == Existing::Replace);
        let finishing = move || new.finish(&path, replaces, checks_length);
        written(&target, finishing).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        work(self.on_file(Operation::Delete, name)?, |on| {
            std::fs::remove_file(on.path()).map_err(|error| on.explain(error))
        })
        .await
    }

    async fn create_folder(&self) -> Result<()> {
        work(self.on_folder(Operation::CreateFolder), |on| {
            if let Err(error) = std::fs::create_dir_all(&on.folder) {
                if on.folder.ancestors().any(Path::is_file) {
                    let message = "something of that name exists and is not a folder";
                    let error = on.call.error(ErrorKind::Exists, message);
                    return Err(error.object(on.folder.to_string_lossy()));
                }
                return Err(on.explain(error));
            }
            // The folder lasts when its parent is on the disk; what cannot be done there is no reason to stop.
            let _ = on.folder.parent().map(sync_folder);
            Ok(())
        })
        .await
    }

    fn extra(&self) -> Extra<'_> {
        Extra {
            space: Some(self),
            rename: Some(self),
            leftovers: Some(self),
            ..Extra::default()
        }
    }
}

#[async_trait]
impl Space for Folder {
    async fn space(&self) -> Result<Capacity> {
        work(self.on_folder(Operation::Space), |on| {
            // Asked of the folder as `folder/.`, because a file in its place has a file system as well.
            let facts = rustix::fs::statvfs(on.folder.join("."));
            let facts = facts.map_err(|error| on.explain(error.into()))?;
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
        let to = self.on_new_file(Operation::Rename, to)?.path();
        work(self.on_file(Operation::Rename, from)?, move |on| {
            let renamed = std::fs::rename(on.path(), to);
            let renamed = renamed.and_then(|()| sync_folder(&on.folder));
            renamed.map_err(|error| on.explain(error))
        })
        .await
    }
}

#[async_trait]
impl Leftovers for Folder {
    async fn remove_leftovers(&self, _: Ours<'_>) -> Result<u64> {
        let random = Arc::clone(&self.random);
        let on = self.on_folder(Operation::RemoveLeftovers);
        work(on, move |on| api::remove_leftovers(on, random.as_ref())).await
    }
}

/// Runs work on a thread where it may block.
async fn work<T: Send + 'static>(
    on: Subject,
    work: impl FnOnce(&Subject) -> Result<T> + Send + 'static,
) -> Result<T> {
    let call = on.call.clone();
    blocking(&call, move || work(&on)).await
}

/// The same with errors of the file system.
async fn written<T: Send + 'static>(
    on: &Subject,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let subject = on.clone();
    let work = move || work().map_err(|error| subject.explain(error));
    blocking(&on.call, work).await
}
