//! The destination in terms of requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use larder_destination::{
    About, Body, Destination, Download, ErrorKind, Existing, Extra, Leftovers, Operation, Ours,
    RemoteFile, Rename, Result,
};
use larder_httpkit::objects::{Overlap, PartTags, Prefix, Tuning};
use larder_httpkit::{
    Algorithm, Call, Element, Hashes, Locks, Outcome, Page, Part, Session, checked, pages, rfc3339,
};

use crate::SCHEME;
use crate::api::{Api, HASHES, ListStyle, md5_of};

/// A prefix in a bucket.
pub(crate) struct Store {
    pub(crate) api: Arc<Api>,
    pub(crate) about: About,
    pub(crate) prefix: Prefix,
    /// The version of the list call, when the user insists on one.
    pub(crate) version: Option<String>,
    /// Lists without a delimiter.
    pub(crate) recursive: bool,
    /// Classes of objects that cannot be read at once.
    pub(crate) archive_classes: Vec<String>,
    pub(crate) location: Option<String>,
    pub(crate) tuning: Tuning,
    /// The server has refused version 2 of the list call, to encode names in listings, or to put under a condition.
    pub(crate) only_version_1: AtomicBool,
    pub(crate) only_plain_names: AtomicBool,
    pub(crate) no_conditions: AtomicBool,
    pub(crate) locks: Locks,
}

impl Store {
    /// A call on a file, with its key.
    pub(crate) fn on(&self, operation: Operation, name: &str) -> Result<(Call, String)> {
        let call = Call::on_file(SCHEME, operation, name)?;
        Ok((call, self.prefix.key(name)))
    }

    /// Refuses to touch an object that is locked.
    async fn check_unlocked(&self, call: &Call, key: &str) -> Result<()> {
        self.locks.check_unlocked(&*self.api, call, key).await
    }

    /// One page of the listing; a server that refuses the newer ways of asking is asked in the older ones, from then on.
    async fn page(&self, call: &Call, from: Option<Start>) -> Outcome<(Element, bool)> {
        loop {
            let style = ListStyle {
                version_2: match from {
                    Some(Start::Token(_)) => true,
                    Some(Start::Marker(_)) => false,
                    None => !self.only_version_1.load(Ordering::Relaxed),
                },
                encoded: !self.only_plain_names.load(Ordering::Relaxed),
                recursive: self.recursive,
            };
            let (prefix, cursor) = (self.prefix.as_str(), from.as_ref().map(Start::text));
            let failure = match self.api.list(call, style, prefix, cursor).await {
                Ok(page) => return Ok((page, style.version_2)),
                Err(failure) => failure,
            };
            let refused = failure.status == 501
                || (failure.status == 400 && *failure.kind() == ErrorKind::Other);
            if refused && style.version_2 && from.is_none() && self.version.is_none() {
                self.only_version_1.store(true, Ordering::Relaxed);
            } else if refused && style.encoded && from.is_none() {
                self.only_plain_names.store(true, Ordering::Relaxed);
            } else {
                return Err(failure);
            }
        }
    }

    /// The entries of a page that lie directly below the prefix.
    fn entries(&self, page: &Element) -> Vec<RemoteFile> {
        let entry = |entry: &Element| {
            let mut file = self.prefix.entry(name_of(entry))?;
            if !file.is_folder {
                let class = entry.text_of("StorageClass");
                let mut classes = self.archive_classes.iter();
                file.is_archived = classes.any(|known| known.eq_ignore_ascii_case(class));
                file.size = entry.text_of("Size").parse().ok();
                file.modified = rfc3339(entry.text_of("LastModified"));
            }
            Some(file)
        };
        page.children.iter().filter_map(entry).collect()
    }

    /// Sends a body in one request.
    async fn put_whole(&self, call: &Call, key: &str, body: Body, fresh: bool) -> Result<()> {
        let hashes = Hashes::of_body(call, &body, HASHES).await?;
        let outcome = self.api.put(call, key, body, &hashes, fresh).await;
        if let Err(failure) = &outcome
            && (failure.status, failure.kind()) == (0, &ErrorKind::Corrupt)
        {
            // What lies there now is damaged; that removing it may fail does not make things worse.
            let _ = self.api.delete(call, key).await;
        }
        Ok(outcome.map(drop)?)
    }

    /// Sends a body in parts.
    async fn put_in_parts(&self, call: &Call, key: &str, body: &Body, fresh: bool) -> Result<()> {
        let parts = Parts {
            api: Arc::clone(&self.api),
            key: key.to_owned(),
            id: self.api.create_upload(call, key).await?,
            len: body.len(),
            fresh,
            etags: PartTags::default(),
        };
        self.tuning
            .parts(body.len(), MOST_PARTS)
            .put(&self.api.service, call, body, Arc::new(parts))
            .await
    }
}

#[async_trait]
impl Destination for Store {
    fn about(&self) -> &About {
        &self.about
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        let call = Call::new(SCHEME, Operation::List);
        let overlap = Arc::new(Overlap::default());
        let deadline = self.api.service.list_deadline();
        pages(call.clone(), deadline, move |from: Option<Start>| {
            let (call, overlap) = (call.clone(), Arc::clone(&overlap));
            async move {
                let (page, version_2) = self.page(&call, from).await?;
                let next = next_page(&call, &page, version_2)?;
                let mut items = self.entries(&page);
                overlap.drop_from(&mut items);
                Ok(Page { items, next })
            }
        })
    }

    async fn get(&self, name: &str) -> Result<Download> {
        let (call, key) = &self.on(Operation::Get, name)?;
        let reply = self.api.get(call, key).await?;
        let md5 = md5_of(&reply);
        checked(reply.download(call.clone()), call, &[Algorithm::Md5], md5)
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        let (call, key) = &self.on(Operation::Put, name)?;
        let fresh = existing == Existing::Refuse;
        if !fresh {
            self.check_unlocked(call, key).await?;
        }
        // Other servers than Amazon's may overlook the condition that goes along.
        let asks = fresh && !self.about.abilities.exclusive_put;
        loop {
            if asks && self.api.head(call, key).await?.is_some() {
                return Err(call.exists());
            }
            let fresh = fresh && !self.no_conditions.load(Ordering::Relaxed);
            let stored = match body.len() > self.tuning.parts_above {
                true => self.put_in_parts(call, key, &body, fresh).await,
                false => self.put_whole(call, key, body.clone(), fresh).await,
            };
            match stored.as_ref().map_err(larder_destination::Error::kind) {
                Err(ErrorKind::Unsupported) if asks && fresh => {}
                _ => return stored,
            }
            self.no_conditions.store(true, Ordering::Relaxed);
        }
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let (call, key) = &self.on(Operation::Delete, name)?;
        self.check_unlocked(call, key).await?;
        Ok(self.api.delete(call, key).await?)
    }

    async fn create_folder(&self) -> Result<()> {
        let call = &Call::new(SCHEME, Operation::CreateFolder);
        let amazon = self.api.endpoint.amazon;
        let own = amazon.then(|| self.api.regions.current());
        // Amazon's oldest region is the one without a name.
        let wish = self.location.clone().or(own);
        let wish = wish.as_deref().filter(|region| *region != "us-east-1");
        let mut outcome = self.api.create_bucket(call, wish).await;
        let code = outcome.as_ref().err().map_or("", |failure| &failure.code);
        if wish.is_some() && !amazon && NO_LOCATION.contains(&code) {
            outcome = self.api.create_bucket(call, None).await;
        }
        match outcome {
            Err(failure) if failure.code == "BucketAlreadyOwnedByYou" => Ok(()),
            // SeaweedFS 4.48 says so also of an own bucket that has locks (observed); only the own one tells of them.
            Err(failure)
                if failure.code == "BucketAlreadyExists"
                    && self.locks.are_there(&*self.api, call).await? =>
            {
                Ok(())
            }
            other => Ok(other?),
        }
    }

    fn extra(&self) -> Extra<'_> {
        Extra {
            rename: Some(self),
            leftovers: Some(self),
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
        if old == new {
            // Copying onto itself is refused, and the removal would lose the file.
            let missing = || call.not_found();
            let found = self.api.head(call, old).await?;
            return found.map(drop).ok_or_else(missing);
        }
        self.check_unlocked(call, old).await?;
        self.check_unlocked(call, new).await?;
        self.api.copy(call, old, new).await?;
        Ok(self.api.delete(call, old).await?)
    }
}

#[async_trait]
impl Leftovers for Store {
    async fn remove_leftovers(&self, ours: Ours<'_>) -> Result<u64> {
        let call = &Call::new(SCHEME, Operation::RemoveLeftovers);
        let (service, prefix) = (&self.api.service, self.prefix.as_str());
        let begun = pages(call.clone(), service.list_deadline(), |from| async move {
            let page = self.api.uploads(call, prefix, from.as_ref()).await?;
            let next =
                ["NextKeyMarker", "NextUploadIdMarker"].map(|name| page.text_of(name).to_owned());
            Ok(Page {
                items: page.all("Upload").cloned().collect(),
                next: (page.text_of("IsTruncated") == "true").then_some(next),
            })
        });
        let is_left = |upload: &Element| {
            let file = self.prefix.entry(upload.text_of("Key"));
            let begun = rfc3339(upload.text_of("Initiated")).unwrap_or(i64::MAX);
            file.is_some_and(|file| !file.is_folder && ours(&file.name))
                && begun < service.server_now() - LEFTOVER_SECONDS
        };
        let left: Vec<Element> = begun
            .try_filter(|upload| std::future::ready(is_left(upload)))
            .try_collect()
            .await?;
        for upload in &left {
            let upload = (upload.text_of("Key"), upload.text_of("UploadId"));
            match self.api.abort_upload(call, upload).await {
                Err(failure) if failure.code != "NoSuchUpload" => return Err(failure.into()),
                _ => {}
            }
        }
        Ok(left.len() as u64)
    }
}

/// An upload in parts (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html>): the object appears
/// when all of them are there.
struct Parts {
    api: Arc<Api>,
    key: String,
    id: String,
    len: u64,
    fresh: bool,
    etags: PartTags,
}

impl Parts {
    fn upload(&self) -> (&str, &str) {
        (&self.key, &self.id)
    }
}

#[async_trait]
impl Session for Parts {
    async fn send(&self, call: &Call, part: &Part) -> Outcome<u64> {
        let body = Body::from_bytes(part.bytes.clone());
        let hashes = Hashes::of_body(call, &body, HASHES).await?;
        let (number, bytes) = (part.number + 1, part.bytes.clone());
        let etag = self
            .api
            .upload_part(call, self.upload(), number, bytes, &hashes)
            .await?;
        self.etags.keep(number, etag);
        Ok(part.end())
    }

    /// When the reply to a first attempt was lost, the second finds no upload any more; the object itself then tells
    /// whether the first one succeeded.
    async fn finish(&self, call: &Call) -> Result<()> {
        let etags = &self.etags.in_order();
        let complete = |attempt| async move {
            let complete = self
                .api
                .complete_upload(call, self.upload(), etags, self.fresh);
            match complete.await {
                Err(failure) if failure.code == "NoSuchUpload" && attempt > 0 => {
                    match self.api.head(call, &self.key).await? {
                        Some(found) if found == self.len => Ok(()),
                        _ => Err(failure),
                    }
                }
                other => other,
            }
        };
        Ok(self.api.service.repeat(call, complete).await?)
    }

    async fn abort(&self, call: &Call) {
        let _ = self.api.abort_upload(call, self.upload()).await;
    }
}

/// Where a page of a listing begins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Start {
    /// The server's token, in version 2.
    Token(String),
    /// After this name, in version 1.
    Marker(String),
}

impl Start {
    fn text(&self) -> &str {
        match self {
            Self::Token(text) | Self::Marker(text) => text,
        }
    }
}

fn next_page(call: &Call, page: &Element, version_2: bool) -> Result<Option<Start>> {
    let token = page.text_of("NextContinuationToken");
    let marker = page.child("NextMarker").map_or("", |marker| &marker.text);
    if page.text_of("IsTruncated") != "true" {
        return Ok(None);
    }
    if version_2 && !token.is_empty() {
        return Ok(Some(Start::Token(token.to_owned())));
    }
    // Some servers overlook the version asked for, and not all name a marker: it is the last name then.
    let last = page.children.iter().map(name_of).max().unwrap_or_default();
    match [marker, last].into_iter().find(|name| !name.is_empty()) {
        Some(name) => Ok(Some(Start::Marker(name.to_owned()))),
        None => {
            let text = "the listing breaks off without saying where to go on";
            Err(call.error(ErrorKind::Other, text))
        }
    }
}

/// The whole key of an object or of a folder in a listing; empty for what is neither.
fn name_of(entry: &Element) -> &str {
    let name = match entry.name.as_str() {
        "Contents" => entry.child("Key"),
        "CommonPrefixes" => entry.child("Prefix"),
        _ => None,
    };
    name.map_or("", |name| &name.text)
}

/// Answers of servers that know no locations.
#[rustfmt::skip]
const NO_LOCATION: &[&str] = &["InvalidLocationConstraint", "NotImplemented", "MalformedXML"];
/// Most parts of an upload (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const MOST_PARTS: u64 = 10_000;
/// An unfinished upload of this age belongs to no run that is still at work.
const LEFTOVER_SECONDS: i64 = 7 * 86_400;
