//! Stores that know files by ids instead of paths: Google Drive, Box, pCloud, Mega and their like.
//!
//! A [`Tree`] stands between a provider's requests ([`Drive`]) and its destination. It finds the folder of a path and
//! makes it, remembers the ids of the files that a listing showed, and is the one place that tells a missing file from a
//! missing folder. What it remembers is a cache: an id that the service does not know any more is dropped and looked up
//! once again.

mod memo;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::{Stream, StreamExt, TryStreamExt};
use larder_destination::{Call, Error, ErrorKind, Result};

use memo::Memo;

/// What a store has to offer.
#[async_trait]
pub trait Drive: Send + Sync {
    /// Ids of the folders called `name` in the folder `parent`.
    ///
    /// # Errors
    /// [`ErrorKind::FolderMissing`] when there is no `parent`.
    async fn folders(&self, call: &Call, parent: &str, name: &str) -> Result<Vec<String>>;

    /// Makes a folder and gives its id. One that exists by now is found, where the store refuses a second.
    ///
    /// # Errors
    /// Those of the request.
    async fn make_folder(&self, call: &Call, parent: &str, name: &str) -> Result<String>;

    /// The files called `name` in `folder`, in any order.
    ///
    /// # Errors
    /// [`ErrorKind::FolderMissing`] when there is no `folder`.
    async fn files(&self, call: &Call, folder: &str, name: &str) -> Result<Vec<Node>>;
}

/// A file of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Bytes; `None` when the store does not tell.
    pub size: Option<u64>,
    /// The store's hash of the content; empty when there is none.
    pub hash: Vec<u8>,
    /// When it was made: of several files of one name the newest counts. Any measure that grows.
    pub made: i64,
}

/// One folder of a store, and the files in it that are known.
///
/// Holds about 270 bytes for each file of the folder, once it was listed, and 16 MiB at most.
pub struct Tree<D> {
    drive: Arc<D>,
    root: String,
    path: Vec<String>,
    folder: Mutex<Option<String>>,
    files: Mutex<Memo>,
    /// Held while folders are made, so that two transfers do not make two of one name.
    making: tokio::sync::Mutex<()>,
}

impl<D: Drive> Tree<D> {
    /// The folder `path` below the folder with the id `root`; empty parts do not count.
    #[must_use]
    pub fn new(drive: Arc<D>, root: impl Into<String>, path: &str) -> Self {
        let parts = path.split('/').filter(|part| !part.is_empty());
        Self {
            drive,
            root: root.into(),
            path: parts.map(str::to_owned).collect(),
            folder: Mutex::default(),
            files: Mutex::default(),
            making: tokio::sync::Mutex::default(),
        }
    }

    /// The store.
    #[must_use]
    pub fn drive(&self) -> &Arc<D> {
        &self.drive
    }

    /// The id of the folder, from memory when it was found before.
    ///
    /// # Errors
    /// [`ErrorKind::FolderMissing`]; [`ErrorKind::Config`] when several folders have one name.
    pub async fn folder(&self, call: &Call) -> Result<String> {
        let known = lock(&self.folder).clone();
        match known {
            Some(id) => Ok(id),
            None => self.find_folder(call).await,
        }
    }

    /// The id of the folder as the service knows it now: to be used before a listing, since one of a folder that was
    /// moved away may be empty instead of refused.
    ///
    /// # Errors
    /// As [`Tree::folder`].
    pub async fn find_folder(&self, call: &Call) -> Result<String> {
        self.forget_folder();
        let mut id = self.root.clone();
        for depth in 0..self.path.len() {
            id = self.child(call, &id, depth).await?.ok_or_else(|| {
                let path = self.path_to(depth);
                let text =
                    format!("the folder {path} does not exist, or this sign-in does not see it");
                call.folder_missing(text)
            })?;
        }
        *lock(&self.folder) = Some(id.clone());
        Ok(id)
    }

    /// Makes the folder with its parents, as far as they do not exist, and gives its id.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when several folders have one name; those of the requests.
    pub async fn make_folder(&self, call: &Call) -> Result<String> {
        let _one_at_a_time = self.making.lock().await;
        self.forget_folder();
        let mut id = self.root.clone();
        for (depth, name) in self.path.iter().enumerate() {
            id = match self.child(call, &id, depth).await? {
                Some(child) => child,
                None => self.drive.make_folder(call, &id, name).await?,
            };
        }
        *lock(&self.folder) = Some(id.clone());
        Ok(id)
    }

    /// The folder at `depth` of the path, in its parent.
    async fn child(&self, call: &Call, parent: &str, depth: usize) -> Result<Option<String>> {
        let Some(name) = self.path.get(depth) else {
            return Ok(None);
        };
        let mut found = self.drive.folders(call, parent, name).await?;
        if let [_, _, ..] = found.as_slice() {
            let path = self.path_to(depth);
            let text = format!("there is more than one folder called {path}: rename or merge them");
            return Err(call.error(ErrorKind::Config, text));
        }
        Ok(found.pop())
    }

    fn path_to(&self, depth: usize) -> String {
        let parts: Vec<&str> = self
            .path
            .iter()
            .take(depth + 1)
            .map(String::as_str)
            .collect();
        parts.join("/")
    }

    fn forget_folder(&self) {
        *lock(&self.folder) = None;
    }

    /// Remembers a file that a listing showed.
    pub fn note(&self, name: &str, node: Node) {
        lock(&self.files).note(name, node);
    }

    /// Forgets all files: a listing begins.
    pub fn forget_files(&self) {
        lock(&self.files).clear();
    }

    /// From now on `name` is these files.
    pub fn keep(&self, name: &str, nodes: Vec<Node>) {
        lock(&self.files).keep(name, nodes);
    }

    /// Asks the service for the files called `name`, the newest first, and remembers them.
    ///
    /// # Errors
    /// As [`Tree::folder`].
    pub async fn look_up(&self, call: &Call, name: &str) -> Result<Vec<Node>> {
        let folder = self.folder(call).await?;
        let mut nodes = match self.drive.files(call, &folder, name).await {
            Err(error) if *error.kind() == ErrorKind::FolderMissing => {
                let folder = self.find_folder(call).await?;
                self.drive.files(call, &folder, name).await?
            }
            other => other?,
        };
        nodes.sort_by_key(|node| std::cmp::Reverse(node.made));
        self.keep(name, nodes.clone());
        Ok(nodes)
    }

    /// Does something with the files called `name`, the newest first. When `work` answers that they are not there any
    /// more, they are looked up, and it is called once again.
    ///
    /// # Errors
    /// Those of [`Tree::missing`] when there is no such file; those of `work`.
    pub async fn with_files<T, F, W>(&self, call: &Call, name: &str, work: F) -> Result<T>
    where
        F: Fn(Vec<Node>) -> W,
        W: Future<Output = Result<T>>,
    {
        let mut known = lock(&self.files).get(name);
        if !known.is_empty() {
            known.sort_by_key(|node| std::cmp::Reverse(node.made));
            match work(known).await {
                Err(error) if *error.kind() == ErrorKind::NotFound => self.keep(name, Vec::new()),
                other => return other,
            }
        }
        let found = self.look_up(call, name).await?;
        if found.is_empty() {
            return Err(self.missing(call).await);
        }
        match work(found).await {
            Err(error) if *error.kind() == ErrorKind::NotFound => {
                self.keep(name, Vec::new());
                Err(self.missing(call).await)
            }
            other => other,
        }
    }

    /// The error of a request that named the folder: when the service does not know what it names, that is what is
    /// missing.
    pub async fn explain(&self, call: &Call, error: Error) -> Error {
        if *error.kind() != ErrorKind::NotFound {
            return error;
        }
        match self.find_folder(call).await {
            Ok(_) => {
                let text = "the service does not know the folder that it has just named";
                call.folder_missing(text).caused_by(error)
            }
            Err(missing) => missing,
        }
    }

    /// The error for a file that the service does not know: its folder is looked for, which may be what is missing.
    pub async fn missing(&self, call: &Call) -> Error {
        match self.find_folder(call).await {
            Ok(_) => call.not_found(),
            Err(error) => error,
        }
    }
}

/// Collects what has one name, of which there are few.
///
/// # Errors
/// [`ErrorKind::Config`] for more than a thousand: a list of them has no bound. Those of the stream.
pub async fn few<T>(call: &Call, items: impl Stream<Item = Result<T>>) -> Result<Vec<T>> {
    let items: Vec<T> = items.take(MOST_OF_A_NAME + 1).try_collect().await?;
    if items.len() > MOST_OF_A_NAME {
        let text = format!(
            "more than {MOST_OF_A_NAME} files or folders have one name: remove those that do not belong there"
        );
        return Err(call.error(ErrorKind::Config, text));
    }
    Ok(items)
}

/// Files or folders of one name that are dealt with.
const MOST_OF_A_NAME: usize = 1_000;

/// The content of a lock, also after a panic elsewhere: what is cached is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
