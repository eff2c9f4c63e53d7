//! The destination itself: each call is one piece of blocking work on a thread for that.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use larder_destination::{
    Abilities, About, Body, Capacity, Destination, Download, Error, ErrorKind, Existing, Extra,
    Operation, RemoteFile, Rename, Result, Space,
};
use tokio::sync::mpsc;

use crate::SCHEME;
use crate::errors::{explain, marker_missing};
use crate::names;
use crate::read;
use crate::write::{self, Content, Put};

/// A folder of the local file system.
pub struct Folder {
    about: About,
    path: Arc<Path>,
    settings: Settings,
    has_swept: AtomicBool,
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
    pub(crate) fn new(path: PathBuf, settings: Settings) -> Self {
        let abilities = Abilities {
            atomic_put: true,
            exclusive_put: true,
            consistent_list: true,
            unique_names: true,
            checksummed_put: false,
        };
        Self {
            about: About::new(SCHEME, format!("file://{}", path.display()))
                .with_abilities(abilities),
            path: path.into(),
            settings,
            has_swept: AtomicBool::new(false),
        }
    }

    /// Runs blocking work with the folder's path and the checked name.
    async fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        name: &str,
        work: impl FnOnce(&Path, &str) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (path, name) = (Arc::clone(&self.path), name.to_owned());
        let joined = tokio::task::spawn_blocking(move || work(&path, &name)).await;
        joined.unwrap_or_else(|error| {
            Err(Error::new(
                ErrorKind::Other,
                SCHEME,
                operation,
                error.to_string(),
            ))
        })
    }

    fn check(
        operation: Operation,
        name: &str,
        checked: std::result::Result<(), &'static str>,
    ) -> Result<()> {
        checked.map_err(|why| Error::new(ErrorKind::Config, SCHEME, operation, why).object(name))
    }
}

#[async_trait]
impl Destination for Folder {
    fn about(&self) -> &About {
        &self.about
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        read::list(self.path.to_path_buf())
    }

    async fn get(&self, name: &str) -> Result<Download> {
        Self::check(Operation::Get, name, names::check(name))?;
        let opened = self.run(Operation::Get, name, read::open).await?;
        Ok(opened.into_download())
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        Self::check(Operation::Put, name, names::check_new(name))?;
        let mut stream = None;
        let content = match (body.as_bytes(), body.as_file()) {
            _ if body.is_paced() => stream_content(&mut stream),
            (Some(bytes), _) => Content::Memory(bytes.clone()),
            (_, Some(file)) if self.settings.moves => Content::Movable(file.to_path_buf()),
            (_, Some(file)) => Content::File(file.to_path_buf()),
            (None, None) => stream_content(&mut stream),
        };
        let (len, checks_length, marker) = (
            body.len(),
            self.settings.checks_length,
            self.settings.marker.clone(),
        );
        let sweeps = !self.has_swept.swap(true, Ordering::Relaxed);
        let cancel = CancelOnDrop(Arc::default());
        let is_cancelled = Arc::clone(&cancel.0);
        let written = self.run(Operation::Put, name, move |folder, name| {
            if let Some(marker) = marker.filter(|marker| !folder.join(marker).exists()) {
                return Err(marker_missing(Operation::Put, folder, &marker));
            }
            Put {
                folder,
                name,
                len,
                existing,
                checks_length,
                is_cancelled,
            }
            .run(content, sweeps)
        });
        let sent = async {
            let Some(sender) = stream else { return };
            let mut pieces = body.stream();
            while let Some(piece) = pieces.next().await {
                // A writer that is gone has reported why.
                if sender.send(piece).await.is_err() {
                    return;
                }
            }
        };
        let (written, ()) = tokio::join!(written, sent);
        written
    }

    async fn delete(&self, name: &str) -> Result<()> {
        Self::check(Operation::Delete, name, names::check(name))?;
        self.run(Operation::Delete, name, |folder, name| {
            let removed = std::fs::remove_file(folder.join(name));
            removed.map_err(|error| explain(error, Operation::Delete, folder, name))
        })
        .await
    }

    async fn create_folder(&self) -> Result<()> {
        self.run(Operation::CreateFolder, "", |folder, _| {
            let created = std::fs::create_dir_all(folder);
            created.map_err(|error| explain_create(error, folder))?;
            // The folder lasts when its parent is on the disk; what cannot be done there is no reason to stop.
            let _ = folder.parent().map(write::sync_folder);
            Ok(())
        })
        .await
    }
    fn extra(&self) -> Extra<'_> {
        Extra {
            space: Some(self),
            rename: Some(self),
            leftovers: None,
        }
    }
}

#[async_trait]
impl Space for Folder {
    async fn space(&self) -> Result<Capacity> {
        self.run(Operation::Space, "", |folder, _| {
            // Asked of the folder as `folder/.`, because a file in its place has a file system as well.
            let facts = rustix::fs::statvfs(folder.join("."));
            let facts =
                facts.map_err(|error| explain(error.into(), Operation::Space, folder, ""))?;
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
        Self::check(Operation::Rename, from, names::check(from))?;
        Self::check(Operation::Rename, to, names::check_new(to))?;
        let to = to.to_owned();
        self.run(Operation::Rename, from, move |folder, from| {
            let renamed = std::fs::rename(folder.join(from), folder.join(to));
            let renamed = renamed.and_then(|()| write::sync_folder(folder));
            renamed.map_err(|error| explain(error, Operation::Rename, folder, from))
        })
        .await
    }
}

/// Tells the writing thread to give up when the future of the put is dropped.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn stream_content(sender: &mut Option<mpsc::Sender<std::io::Result<bytes::Bytes>>>) -> Content {
    let (send, receive) = mpsc::channel(4);
    *sender = Some(send);
    Content::Stream(receive)
}

fn explain_create(error: std::io::Error, folder: &Path) -> Error {
    use rustix::io::Errno;
    if matches!(
        Errno::from_io_error(&error),
        Some(Errno::EXIST | Errno::NOTDIR)
    ) {
        let message = "something of that name exists and is not a folder";
        let error = Error::new(ErrorKind::Exists, SCHEME, Operation::CreateFolder, message)
            .caused_by(error);
        return error.object(folder.display().to_string());
    }
    explain(error, Operation::CreateFolder, folder, "")
}
