//! Where the cases find fresh folders.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use larder_destination::{Destination, Error, Operation, Tools, Url};
use larder_options::Values;
use larder_testkit::behaviour::Site;
use larder_testkit::{MemoryDestination, MemoryOptions};

/// The destination in memory, with pages so small that every case crosses them.
pub struct Memory(MemoryOptions);

impl Default for Memory {
    fn default() -> Self {
        Self(MemoryOptions {
            page: 100,
            ..MemoryOptions::default()
        })
    }
}

#[async_trait]
impl Site for Memory {
    async fn empty(&self) -> Result<Arc<dyn Destination>, Error> {
        Ok(MemoryDestination::with_options(self.0).shared())
    }

    async fn missing(&self) -> Result<Arc<dyn Destination>, &'static str> {
        Ok(MemoryDestination::without_folder(self.0).shared())
    }
}

/// Local folders below a temporary one, reached through names that need care in URLs.
pub struct LocalFolder {
    root: tempfile::TempDir,
    count: AtomicU32,
}

impl LocalFolder {
    pub fn create() -> Option<Self> {
        Some(Self {
            root: tempfile::tempdir().ok()?,
            count: AtomicU32::new(0),
        })
    }

    fn open_next(&self) -> Result<Arc<dyn Destination>, Error> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let path = self.root.path().join(format!("a b+c%20 \u{fc}/{number}"));
        open(&path.to_string_lossy(), self.root.path())
    }
}

#[async_trait]
impl Site for LocalFolder {
    async fn empty(&self) -> Result<Arc<dyn Destination>, Error> {
        let destination = self.open_next()?;
        destination.create_folder().await?;
        Ok(destination)
    }

    async fn missing(&self) -> Result<Arc<dyn Destination>, &'static str> {
        self.open_next().map_err(|_| "the folder cannot be opened")
    }
}

/// A service named by a URL: each case gets its own prefix, and another bucket where one has to be missing.
pub struct Remote {
    url: String,
    count: AtomicU32,
    run: u64,
}

impl Remote {
    pub fn new(url: String) -> Self {
        Self {
            url,
            count: AtomicU32::new(0),
            run: RandomState::new().hash_one(0),
        }
    }

    fn name(&self) -> String {
        format!(
            "larder-{:08x}-{}",
            self.run >> 32,
            self.count.fetch_add(1, Ordering::Relaxed)
        )
    }

    /// The URL with `folder` at the end of its path.
    fn below(&self, folder: &str) -> String {
        let (start, query) = match self.url.split_once('?') {
            Some((start, query)) => (start, format!("?{query}")),
            None => (self.url.as_str(), String::new()),
        };
        format!("{}/a%20b/{folder}{query}", start.trim_end_matches('/'))
    }

    /// The URL with another bucket.
    fn elsewhere(&self, bucket: &str) -> Option<String> {
        let url = Url::parse(&self.url, Path::new("/")).ok()?;
        let host = url.host()?;
        let start = self.url.find("://")? + 3;
        let authority = self.url.get(start..)?.split(['/', '?']).next()?;
        let at = start + authority.rfind('@').map_or(0, |at| at + 1);
        let rest = self.url.get(at..)?.strip_prefix(host)?;
        Some(format!("{}{bucket}{rest}", self.url.get(..at)?))
    }
}

#[async_trait]
impl Site for Remote {
    async fn empty(&self) -> Result<Arc<dyn Destination>, Error> {
        let destination = open(&self.below(&self.name()), Path::new("/"))?;
        destination.create_folder().await?;
        Ok(destination)
    }

    async fn missing(&self) -> Result<Arc<dyn Destination>, &'static str> {
        let Some(url) = self.elsewhere(&self.name()) else {
            return Err("the URL has no bucket to replace");
        };
        open(&url, Path::new("/")).map_err(|error| match error.operation() {
            Operation::Open => "the URL with another bucket cannot be opened",
            _ => "the service does not answer",
        })
    }
}

fn open(url: &str, working_folder: &Path) -> Result<Arc<dyn Destination>, Error> {
    let opened = larder_registry::open(url, &Values::new(), working_folder, &Tools::system())?;
    Ok(opened.destination)
}

/// A service named by a URL: each case gets its own folder.
pub struct Folders(Remote);

impl Folders {
    pub fn new(url: String) -> Self {
        Self(Remote::new(url))
    }

    fn open(&self) -> Result<Arc<dyn Destination>, Error> {
        open(&self.0.below(&self.0.name()), Path::new("/"))
    }
}

#[async_trait]
impl Site for Folders {
    async fn empty(&self) -> Result<Arc<dyn Destination>, Error> {
        let destination = self.open()?;
        destination.create_folder().await?;
        Ok(destination)
    }

    async fn missing(&self) -> Result<Arc<dyn Destination>, &'static str> {
        self.open().map_err(|_| "the URL cannot be opened")
    }
}
