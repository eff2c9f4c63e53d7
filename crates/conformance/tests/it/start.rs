//! Where the cases find fresh folders: below the URL of a server, of a simulator or of this computer, or in memory.

use std::any::Any;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use larder_destination::{Destination, Error, Place, Tools, Url};
use larder_options::Values;
use larder_testkit::behaviour::{Folders, Places};
use larder_testkit::{MemoryDestination, MemoryOptions};

/// How the suite gets at one provider.
pub struct Site {
    /// The first scheme key of the provider.
    pub scheme: &'static str,
    /// What it runs on.
    pub start: Start,
    /// How a folder that does not exist is found.
    pub missing: Missing,
    /// Cases that are not run.
    pub skips: &'static [Skip],
}

/// What the suite runs on.
pub enum Start {
    /// Servers that run already, named by variables.
    Server,
    /// Something that this process starts: a folder, a simulator.
    Here(fn() -> Starting),
}

/// Something on its way to be started.
pub type Starting = Pin<Box<dyn Future<Output = std::io::Result<Started>> + Send>>;

/// Something that was started.
pub struct Started {
    /// A storage URL, below which the cases make folders.
    pub url: String,
    /// Ends it when dropped.
    pub keep: Box<dyn Any + Send + Sync>,
}

/// Where a folder is that does not exist but can be created.
pub enum Missing {
    /// Below the URL.
    Folder,
    /// In another host part of the URL, such as a bucket: folders in it exist as soon as they are named.
    Host,
}

/// A case that is not run, and why.
pub struct Skip {
    /// The `WHICH` of the server's variable; empty for all servers of the provider.
    pub server: &'static str,
    /// The name of the case.
    pub case: &'static str,
    /// The reason, a sentence.
    pub reason: &'static str,
}

/// Folders below a storage URL.
pub struct BelowUrl {
    url: String,
    missing: &'static Missing,
    count: AtomicU32,
    run: u64,
    _keep: Box<dyn Any + Send + Sync>,
}

impl BelowUrl {
    pub fn new(started: Started, missing: &'static Missing) -> Self {
        Self {
            url: started.url,
            missing,
            count: AtomicU32::new(0),
            run: RandomState::new().hash_one(0),
            _keep: started.keep,
        }
    }

    fn name(&self) -> String {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        format!("larder-{:08x}-{number}", self.run >> 32)
    }

    /// The URL with `folder` at the end of its path.
    fn below(&self, folder: &str) -> String {
        let (start, query) = split_query(&self.url);
        format!("{}/a%20b/{folder}{query}", start.trim_end_matches('/'))
    }

    /// The URL with another host part.
    fn elsewhere(&self, host: &str) -> Option<String> {
        let start = self.url.find("://")? + 3;
        let authority = self.url.get(start..)?.split(['/', '?']).next()?;
        let at = start + authority.rfind('@').map_or(0, |at| at + 1);
        let rest = self.url.get(start + authority.len()..)?;
        Some(format!("{}{host}{rest}", self.url.get(..at)?))
    }

    fn place(url: &str) -> Result<Place, Error> {
        let configured = larder_registry::configure(url, &Values::new(), Path::new("/"))?;
        (configured.found.provider.identity)(&configured.config)
    }

    fn spellings(&self) -> Result<Places, Error> {
        let (start, query) = split_query(&self.url);
        let start = start.trim_end_matches('/');
        let (scheme, rest) = start.split_once("://").unwrap_or(("", start));
        let with_place = |url: String| Ok::<_, Error>((url.clone(), Self::place(&url)?));
        let mut places = Places::default();
        for same in [
            format!("{start}/x/place-1{query}"),
            format!("{start}/x/place-1/{query}"),
            format!("{start}/%78/place%2D1{query}"),
            format!("{}://{rest}/x/place-1{query}", scheme.to_uppercase()),
        ] {
            places.same.push(with_place(same)?);
        }
        for other in [
            format!("{start}/x/place-2{query}"),
            format!("{start}/x{query}"),
            format!("{start}/x/place-1/place-1{query}"),
        ] {
            places.others.push(with_place(other)?);
        }
        if matches!(self.missing, Missing::Host)
            && let Some(url) = self.elsewhere("another-host")
        {
            places.others.push(with_place(format!(
                "{}/x/place-1{query}",
                split_query(&url).0.trim_end_matches('/')
            ))?);
        }
        Ok(places)
    }
}

fn split_query(url: &str) -> (&str, String) {
    match url.split_once('?') {
        Some((start, query)) => (start, format!("?{query}")),
        None => (url, String::new()),
    }
}

fn open(url: &str) -> Result<Arc<dyn Destination>, Error> {
    let opened = larder_registry::open(url, &Values::new(), Path::new("/"), &Tools::system())?;
    Ok(opened.destination)
}

#[async_trait]
impl Folders for BelowUrl {
    async fn empty(&self) -> Result<Arc<dyn Destination>, Error> {
        let destination = open(&self.below(&self.name()))?;
        destination.create_folder().await?;
        Ok(destination)
    }

    async fn missing(&self) -> Result<Arc<dyn Destination>, &'static str> {
        let url = match self.missing {
            Missing::Folder => Some(self.below(&self.name())),
            Missing::Host => self.elsewhere(&self.name()),
        };
        let url = url.ok_or("the URL has no host to replace")?;
        open(&url).map_err(|_| "the URL of a missing folder cannot be opened")
    }

    async fn nested(
        &self,
        name: &str,
    ) -> Result<(Arc<dyn Destination>, Arc<dyn Destination>), &'static str> {
        let folder = self.name();
        let outer = open(&self.below(&folder)).map_err(|_| "the outer folder cannot be opened")?;
        let inner = open(&self.below(&format!("{folder}/{name}")));
        let inner = inner.map_err(|_| "the inner folder cannot be opened")?;
        let created = outer.create_folder().await;
        created.map_err(|_| "the outer folder cannot be created")?;
        Ok((outer, inner))
    }

    fn places(&self) -> Result<Places, &'static str> {
        self.spellings()
            .map_err(|_| "a spelling of its URL cannot be read")
    }

    fn secrets(&self) -> Vec<String> {
        let Ok(url) = Url::parse(&self.url, Path::new("/")) else {
            return Vec::new();
        };
        let password = url.password().map(|password| password.expose().to_owned());
        let provider = larder_registry::find(url.scheme()).map(|found| found.provider.options);
        let tables = [provider.unwrap_or_default(), larder_options::engine::TABLE];
        let is_secret = |name: &str| {
            larder_options::find_decl(name, &tables).is_some_and(|decl| decl.is_secret())
        };
        let options = url.query().iter().filter(|(name, _)| is_secret(name));
        password
            .into_iter()
            .chain(options.filter_map(|(_, value)| value.clone()))
            .collect()
    }
}

/// The destination in memory, with pages so small that every case crosses them.
pub struct Memory;

impl Memory {
    fn options() -> MemoryOptions {
        MemoryOptions {
            page: 100,
            ..MemoryOptions::default()
        }
    }
}

#[async_trait]
impl Folders for Memory {
    async fn empty(&self) -> Result<Arc<dyn Destination>, Error> {
        Ok(MemoryDestination::with_options(Self::options()).shared())
    }

    async fn missing(&self) -> Result<Arc<dyn Destination>, &'static str> {
        Ok(MemoryDestination::without_folder(Self::options()).shared())
    }
}
