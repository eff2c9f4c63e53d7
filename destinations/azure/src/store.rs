//! The destination in terms of requests.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use larder_destination::{
    Abilities, About, Body, Destination, Download, ErrorKind, Existing, Extra, Limits, Lock,
    NameRules, Operation, Random, RemoteFile, Rename, Result,
};
use larder_httpkit::objects::{PartTags, Prefix, Tuning};
use larder_httpkit::{
    Algorithm, Call, Element, Hashes, Held, LockCalls, Locks, Outcome, Page, Part, Service,
    Session, checked, encode, http_date, pages, resumed,
};

use crate::SCHEME;
use crate::api::{Api, MD5, md5_of};

/// A prefix in a container.
pub(crate) struct Store {
    api: Arc<Api>,
    about: About,
    prefix: Prefix,
    choices: Choices,
    locks: Locks,
}

/// What the options and the sign-in decide.
pub(crate) struct Choices {
    /// Access tiers of blobs that cannot be read at once.
    pub(crate) archive_tiers: Vec<String>,
    /// The sign-in is a SAS token, which may not be allowed what the account is.
    pub(crate) is_delegated: bool,
    /// How often a download that breaks off is read on.
    pub(crate) resumptions: u32,
    pub(crate) tuning: Tuning,
    pub(crate) random: Arc<dyn Random>,
}

impl Store {
    /// The store below a prefix.
    pub(crate) fn new(api: Api, prefix: Prefix, choices: Choices) -> Self {
        let display = format!("{SCHEME}://{}/{}", api.container, prefix.as_str());
        let about = About::new(SCHEME, display.trim_end_matches('/'));
        let abilities = Abilities {
            atomic_put: true,
            exclusive_put: true,
            // https://learn.microsoft.com/en-us/azure/storage/blobs/concurrency-manage
            consistent_list: true,
            unique_names: true,
            checksummed_put: true,
        };
        let limits = Limits {
            largest_file: Some(LARGEST_BYTES),
            names: NAMES,
            ..Limits::default()
        };
        Self {
            api: Arc::new(api),
            about: about.with_abilities(abilities).with_limits(limits),
            prefix,
            choices,
            locks: Locks::new(NO_LOCKS),
        }
    }

    /// A call on a file, with its key.
    fn on(&self, operation: Operation, name: &str) -> Result<(Call, String)> {
        let call = Call::on_file(SCHEME, operation, name)?;
        if !NAMES.allow(name) {
            let text = "the service does not keep names with a backslash or a control character, or a dot at the end";
            return Err(call.error(ErrorKind::Config, text));
        }
        Ok((call, self.prefix.key(name)))
    }

    /// The entries of a page that lie directly below the prefix.
    fn entries(&self, page: &Element) -> Vec<RemoteFile> {
        let entry = |entry: &Element| {
            let mut file = self.prefix.entry(&entry.child("Name")?.text)?;
            if let Some(facts) = entry.child("Properties").filter(|_| !file.is_folder) {
                let tier = facts.text_of("AccessTier");
                let mut tiers = self.choices.archive_tiers.iter();
                file.is_archived = tiers.any(|known| known.eq_ignore_ascii_case(tier));
                file.size = facts.text_of("Content-Length").parse().ok();
                file.modified = http_date(facts.text_of("Last-Modified"));
            }
            Some(file)
        };
        let blobs = page.child("Blobs").map(|blobs| blobs.children.as_slice());
        blobs.unwrap_or_default().iter().filter_map(entry).collect()
    }

    /// Sends a body in one request.
    async fn put_whole(&self, call: &Call, key: &str, body: Body, fresh: bool) -> Result<()> {
        let hashes = Hashes::of_body(call, &body, MD5).await?;
        let outcome = self.api.put(call, key, body, &hashes, fresh).await;
        if let Err(failure) = &outcome
            && (failure.status, failure.kind()) == (0, &ErrorKind::Corrupt)
        {
            // What lies there now is damaged; that removing it may fail does not make things worse.
            let _ = self.api.delete(call, key).await;
        }
        Ok(outcome?)
    }

    /// Sends a body in blocks. The service drops those that no list takes up: when another put of the name is whole, or
    /// after a week (<https://learn.microsoft.com/en-us/rest/api/storageservices/put-block>).
    async fn put_in_blocks(&self, call: &Call, key: &str, body: &Body, fresh: bool) -> Result<()> {
        if fresh && self.api.head(call, key).await?.is_some() {
            return Err(call.exists());
        }
        let mut upload = [0; 12];
        let filled = self.choices.random.fill(&mut upload);
        filled.map_err(|error| {
            let text = "the system gives no random bytes";
            call.error(ErrorKind::Other, text).caused_by(error)
        })?;
        let blocks = Blocks {
            api: Arc::clone(&self.api),
            key: key.to_owned(),
            upload: encode::hex(&upload),
            whole: Hashes::of_body(call, body, MD5).await?,
            fresh,
            ids: PartTags::default(),
        };
        self.choices
            .tuning
            .parts(body.len(), MOST_BLOCKS)
            .put(&self.api.service, call, body, Arc::new(blocks))
            .await
    }

    /// Refuses to touch a locked blob.
    async fn check_unlocked(&self, call: &Call, key: &str) -> Result<()> {
        self.locks.check_unlocked(&*self.api, call, key).await
    }
}

#[async_trait]
impl Destination for Store {
    fn about(&self) -> &About {
        &self.about
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        let call = Call::new(SCHEME, Operation::List);
        let deadline = self.api.service.list_deadline();
        pages(call.clone(), deadline, move |from: Option<String>| {
            let call = call.clone();
            async move {
                let page = self.api.list(&call, self.prefix.as_str(), from.as_deref());
                let page = page.await?;
                let next = page.text_of("NextMarker");
                Ok(Page {
                    items: self.entries(&page),
                    next: (!next.is_empty()).then(|| next.to_owned()),
                })
            }
        })
    }

    async fn get(&self, name: &str) -> Result<Download> {
        let (call, key) = self.on(Operation::Get, name)?;
        let reply = self.api.get(&call, &key, None).await?;
        let md5 = md5_of(&reply);
        let tag = reply.header("etag").map(str::to_owned);
        let mut download = reply.download(call.clone());
        if let Some(tag) = tag {
            let (api, call) = (Arc::clone(&self.api), call.clone());
            let rest = move |at| {
                let (api, call, key, tag) =
                    (Arc::clone(&api), call.clone(), key.clone(), tag.clone());
                async move {
                    let reply = api.get(&call, &key, Some((at, &tag))).await?;
                    Ok(reply.download(call))
                }
            };
            download = resumed(download, self.choices.resumptions, rest);
        }
        checked(download, &call, MD5, md5)
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        let (call, key) = &self.on(Operation::Put, name)?;
        let fresh = existing == Existing::Refuse;
        if !fresh {
            self.check_unlocked(call, key).await?;
        }
        match body.len() > self.choices.tuning.parts_above {
            true => self.put_in_blocks(call, key, &body, fresh).await,
            false => self.put_whole(call, key, body, fresh).await,
        }
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let (call, key) = &self.on(Operation::Delete, name)?;
        self.check_unlocked(call, key).await?;
        Ok(self.api.delete(call, key).await?)
    }

    async fn create_folder(&self) -> Result<()> {
        let call = &Call::new(SCHEME, Operation::CreateFolder);
        match self.api.create_container(call).await {
            Err(failure) if failure.code == "ContainerAlreadyExists" => Ok(()),
            // A token for the container may not create it; it is there when it can be listed.
            Err(failure) if self.choices.is_delegated && *failure.kind() == ErrorKind::Denied => {
                let listed = self.api.list(call, self.prefix.as_str(), None).await;
                listed.map(drop).map_err(|_| failure.into())
            }
            other => Ok(other?),
        }
    }

    fn extra(&self) -> Extra<'_> {
        Extra {
            rename: Some(self),
            lock: Some(self),
            ..Extra::default()
        }
    }
}

#[async_trait]
impl Rename for Store {
    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (_, new) = &self.on(Operation::Rename, to)?;
        let (call, old) = &self.on(Operation::Rename, from)?;
        self.check_unlocked(call, old).await?;
        if old == new {
            // The removal would lose the file.
            let found = self.api.head(call, old).await?;
            return found.map(drop).ok_or_else(|| call.not_found());
        }
        self.check_unlocked(call, new).await?;
        let mut facts = self.api.copy(call, old, new).await?;
        for _ in 0..MOST_LOOKS {
            if facts.copy_status != "pending" {
                break;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
            let found = self.api.head(call, new).await?;
            facts = found.ok_or_else(|| call.not_found())?;
        }
        if facts.copy_status != "success" {
            let text = format!("the service did not copy the file: {}", facts.copy_status);
            return Err(call.error(ErrorKind::Other, text));
        }
        Ok(self.api.delete(call, old).await?)
    }
}

#[async_trait]
impl LockCalls for Api {
    fn service(&self) -> &Service {
        &self.service
    }

    async fn has_locks(&self, call: &Call) -> Outcome<bool> {
        match self.has_versions_locked(call).await {
            // Without a code for the container, since its reply has no body.
            Err(failure) if failure.status == 404 => {
                Err(call.folder_missing("the container does not exist").into())
            }
            other => other,
        }
    }

    async fn held(&self, call: &Call, key: &str) -> Outcome<Held> {
        let facts = self.head(call, key).await?;
        Ok(facts.ok_or_else(|| call.not_found())?.held)
    }

    async fn hold(&self, call: &Call, key: &str, until: i64, is_strict: bool) -> Outcome<()> {
        let mode = match is_strict {
            true => "locked",
            false => &self.lock_mode,
        };
        self.put_policy(call, key, until, mode).await
    }
}

#[async_trait]
impl Lock for Store {
    async fn lock(&self, name: &str, until: i64) -> Result<()> {
        let (call, key) = &self.on(Operation::Lock, name)?;
        self.locks.lock(&*self.api, call, key, until).await
    }

    async fn locked_until(&self, name: &str) -> Result<Option<i64>> {
        let (call, key) = &self.on(Operation::LockedUntil, name)?;
        self.locks.locked_until(&*self.api, call, key).await
    }
}

/// An upload in blocks: the blob appears when all of them are there.
struct Blocks {
    api: Arc<Api>,
    key: String,
    /// Tells the blocks from those that another upload puts under the same name.
    upload: String,
    whole: Hashes,
    fresh: bool,
    ids: PartTags,
}

#[async_trait]
impl Session for Blocks {
    async fn send(&self, call: &Call, part: &Part) -> Outcome<u64> {
        let body = Body::from_bytes(part.bytes.clone());
        let hashes = Hashes::of_body(call, &body, MD5).await?;
        // All ids of a blob must have the same length.
        let id = encode::base64(format!("{}-{:06}", self.upload, part.number).as_bytes());
        let bytes = part.bytes.clone();
        self.api
            .put_block(call, &self.key, &id, bytes, &hashes)
            .await?;
        self.ids.keep(part.number, id);
        Ok(part.end())
    }

    /// When the reply to a first attempt was lost, the second finds a blob of the name: the same content is its own.
    async fn finish(&self, call: &Call) -> Result<()> {
        let ids = &self.ids.in_order();
        let commit = |attempt| async move {
            let commit = self
                .api
                .put_block_list(call, &self.key, ids, &self.whole, self.fresh);
            match commit.await {
                Err(failure) if *failure.kind() == ErrorKind::Exists && attempt > 0 => {
                    let facts = self.api.head(call, &self.key).await?.unwrap_or_default();
                    let md5 = facts.md5.unwrap_or_default();
                    match md5 == self.whole.get(Algorithm::Md5) {
                        true => Ok(()),
                        false => Err(failure),
                    }
                }
                other => other,
            }
        };
        Ok(self.api.service.repeat(call, commit).await?)
    }

    /// There is no call that removes blocks: the service does it.
    async fn abort(&self, _: &Call) {}
}

/// What the service keeps (<https://learn.microsoft.com/en-us/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata>):
/// it advises against a dot at the end, and takes a backslash for a slash. Listings are XML, without control characters.
const NAMES: NameRules = NameRules {
    refused: "\\",
    refused_at_end: ".",
    control_characters: false,
    ..NameRules::POSIX
};
/// Most blocks of a blob, and the longest (<https://learn.microsoft.com/en-us/azure/storage/blobs/scalability-targets>).
const MOST_BLOCKS: u64 = 50_000;
const LARGEST_BYTES: u64 = MOST_BLOCKS * (4_000 << 20);
/// A copy within an account is usually done at once; else it is looked at so often, at most.
const MOST_LOOKS: u32 = 300;
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// What to say of a container without locks.
const NO_LOCKS: &str =
    "the container was made without version-level immutability, so its files cannot be locked";
