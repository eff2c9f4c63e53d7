//! The destination in terms of requests.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use larder_destination::{
    Abilities, Body, Destination, Download, Error, ErrorKind, Operation, RemoteFile, Result,
};
use larder_httpkit::{Call, Payload, RetryPolicy};

use crate::api::{Api, ListStyle, Outcome};
use crate::digest::Digests;
use crate::replies::ListBucketResult;
use crate::{SCHEME, Tuning};

/// How listings are made and read.
#[derive(Debug)]
pub(crate) struct Listing {
    /// `v1` or `v2` when the user insists.
    pub version: Option<String>,
    /// Without a delimiter.
    pub recursive: bool,
    /// Classes of objects that cannot be read at once.
    pub archive_classes: Vec<String>,
}

/// A prefix in a bucket.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) api: Arc<Api>,
    bucket: String,
    prefix: String,
    listing: Listing,
    location: Option<String>,
    pub(crate) tuning: Tuning,
    /// The server has refused version 2 of the list call.
    only_version_1: AtomicBool,
    /// The server has refused to encode names in listings.
    only_plain_names: AtomicBool,
}

impl Store {
    /// The store behind `prefix`, which is empty or ends with a slash.
    pub(crate) fn new(
        api: Arc<Api>,
        bucket: String,
        prefix: String,
        listing: Listing,
        location: Option<String>,
        tuning: Tuning,
    ) -> Self {
        let only_version_1 = AtomicBool::new(listing.version.as_deref() == Some("v1"));
        let only_plain_names = AtomicBool::new(false);
        Self {
            api,
            bucket,
            prefix,
            listing,
            location,
            tuning,
            only_version_1,
            only_plain_names,
        }
    }

    pub(crate) fn retry(&self) -> RetryPolicy {
        self.api.client().retry()
    }

    /// The key of a file; names that would lie elsewhere are refused.
    fn key(&self, call: &Call, name: &str) -> Result<String> {
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(call.error(ErrorKind::Config, "this is not the name of a file"));
        }
        Ok(format!("{}{name}", self.prefix))
    }

    /// One page; a server that refuses the newer ways of asking is asked in the older ones, from then on.
    async fn page(
        &self,
        call: &Call,
        from: Option<&Start>,
        max_keys: u32,
    ) -> Result<(ListBucketResult, ListStyle)> {
        loop {
            let style = ListStyle {
                version_2: match from {
                    Some(Start::Token(_)) => true,
                    Some(Start::Marker(_)) => false,
                    None => !self.only_version_1.load(Ordering::Relaxed),
                },
                encoded: !self.only_plain_names.load(Ordering::Relaxed),
            };
            let failure = match self.page_once(call, style, from, max_keys).await {
                Ok(page) => return Ok((page, style)),
                Err(failure) => failure,
            };
            let refused = failure.status == 501
                || (failure.status == 400 && *failure.error.kind() == ErrorKind::Other);
            let insists = self.listing.version.is_some();
            if refused && style.version_2 && from.is_none() && !insists {
                self.only_version_1.store(true, Ordering::Relaxed);
            } else if refused && style.encoded && from.is_none() {
                self.only_plain_names.store(true, Ordering::Relaxed);
            } else {
                return Err(failure.into());
            }
        }
    }

    async fn page_once(
        &self,
        call: &Call,
        style: ListStyle,
        from: Option<&Start>,
        max_keys: u32,
    ) -> Outcome<ListBucketResult> {
        let from = from.map(Start::text);
        let delimiter = !self.listing.recursive;
        self.api
            .list_page(call, style, &self.prefix, delimiter, from, max_keys)
            .await
    }

    /// The next page of a listing as entries, and where to go on.
    async fn next_page(&self, mut walk: Walk) -> Result<Option<(Vec<Result<RemoteFile>>, Walk)>> {
        if walk.ended {
            return Ok(None);
        }
        let call = &walk.call;
        let from = walk.from.as_ref();
        let (page, style) = self
            .retry()
            .run(|_| self.page(call, from, PAGE_KEYS))
            .await?;
        let next = match (
            page.is_truncated,
            style.version_2,
            &page.next_continuation_token,
        ) {
            (false, _, _) => None,
            (true, true, Some(token)) => Some(Start::Token(token.clone())),
            // Some servers overlook the version asked for, and not all name a marker.
            (true, _, _) => {
                let marker = page.next_marker.as_deref().or(page.last_name());
                let lost = || {
                    call.error(
                        ErrorKind::Other,
                        "the listing breaks off without saying where to go on",
                    )
                };
                Some(Start::Marker(marker.ok_or_else(lost)?.to_owned()))
            }
        };
        if next.is_some() && next == walk.from {
            return Err(call.error(
                ErrorKind::Other,
                "the server repeats the same page of the listing",
            ));
        }
        let mut names = HashSet::new();
        let mut entries = Vec::new();
        for entry in self.entries(&page) {
            // Pages may overlap; neighbours are as far as that goes.
            if names.insert(entry.name.clone()) && !walk.names.contains(&entry.name) {
                entries.push(Ok(entry));
            }
        }
        walk.ended = next.is_none();
        walk.from = next;
        walk.names = names;
        Ok(Some((entries, walk)))
    }

    /// The entries of a page that lie directly below the prefix.
    fn entries(&self, page: &ListBucketResult) -> Vec<RemoteFile> {
        let folders = page.common_prefixes.iter().filter_map(|folder| {
            let name = folder.prefix.strip_prefix(&self.prefix)?;
            folder_entry(name.strip_suffix('/').unwrap_or(name))
        });
        let files = page.contents.iter().filter_map(|object| {
            let name = object
                .key
                .strip_prefix(&self.prefix)
                .filter(|name| !name.is_empty())?;
            if let Some((folder, _)) = name.split_once('/') {
                return folder_entry(folder);
            }
            let time = object
                .last_modified
                .as_deref()
                .and_then(|text| text.parse::<jiff::Timestamp>().ok());
            let class = object.storage_class.as_deref().unwrap_or_default();
            let classes = &self.listing.archive_classes;
            Some(RemoteFile {
                name: name.to_owned(),
                size: object.size,
                modified: time.map(jiff::Timestamp::as_second),
                is_folder: false,
                is_archived: classes
                    .iter()
                    .any(|archive| archive.eq_ignore_ascii_case(class)),
            })
        });
        folders.chain(files).collect()
    }

    /// Sends a body in one request.
    async fn put_whole(&self, call: &Call, key: &str, body: &Body) -> Result<()> {
        let digests = &Digests::of_body(call, body).await?;
        let stored = self
            .retry()
            .run(|_| async move {
                let payload = Payload::Body(body.clone());
                let stored = self.api.put(call, key, payload, digests).await?;
                if stored.encrypted || digests.agrees_with(&stored.etag) {
                    return Ok(());
                }
                Err(call.error(
                    ErrorKind::Corrupt,
                    "the server's checksum is not that of what was sent",
                ))
            })
            .await;
        if stored
            .as_ref()
            .is_err_and(|error| *error.kind() == ErrorKind::Corrupt)
        {
            // What lies there now is damaged; that removing it may fail does not make things worse.
            let _ = self.api.delete(call, key).await;
        }
        stored
    }

    /// Looks for one object without reading it: its length when it is there.
    pub(crate) async fn find(&self, call: &Call, key: &str) -> Result<Option<u64>> {
        let style = ListStyle {
            version_2: false,
            encoded: !self.only_plain_names.load(Ordering::Relaxed),
        };
        let page = self
            .retry()
            .run(|_| async { Ok(self.api.list_page(call, style, key, false, None, 1).await?) })
            .await?;
        Ok(page
            .contents
            .iter()
            .find(|object| object.key == key)
            .and_then(|object| object.size))
    }
}

fn folder_entry(name: &str) -> Option<RemoteFile> {
    (!name.is_empty()).then(|| RemoteFile {
        name: name.to_owned(),
        size: None,
        modified: None,
        is_folder: true,
        is_archived: false,
    })
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// A listing under way. Holds the names of one page.
struct Walk {
    call: Call,
    from: Option<Start>,
    names: HashSet<String>,
    ended: bool,
}

#[async_trait]
impl Destination for Store {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    fn display(&self) -> String {
        let prefix = self.prefix.strip_suffix('/').unwrap_or(&self.prefix);
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!("{SCHEME}://{}{slash}{prefix}", self.bucket)
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            rename: true,
            space: false,
            checksummed_put: true,
            // Since 2020 with Amazon (https://aws.amazon.com/s3/consistency/); other servers promise nothing.
            consistent_list: self.api.endpoint().amazon,
        }
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        let walk = Walk {
            call: Call::new(SCHEME, Operation::List),
            from: None,
            names: HashSet::new(),
            ended: false,
        };
        stream::try_unfold(walk, |walk| self.next_page(walk))
            .map_ok(stream::iter)
            .try_flatten()
            .boxed()
    }

    async fn get(&self, name: &str) -> Result<Download> {
        let call = &Call::on(SCHEME, Operation::Get, name);
        let key = &self.key(call, name)?;
        let reply = self
            .retry()
            .run(|_| async move { Ok(self.api.get(call, key).await?) })
            .await?;
        Ok(reply.download(call.clone()))
    }

    async fn put(&self, name: &str, body: Body) -> Result<()> {
        let call = &Call::on(SCHEME, Operation::Put, name);
        let key = &self.key(call, name)?;
        if body.len() > self.tuning.multipart_above {
            self.put_in_parts(call, key, &body).await
        } else {
            self.put_whole(call, key, &body).await
        }
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let call = &Call::on(SCHEME, Operation::Delete, name);
        let key = &self.key(call, name)?;
        self.retry()
            .run(|_| async move { Ok(self.api.delete(call, key).await?) })
            .await
    }

    async fn create_folder(&self) -> Result<()> {
        let call = &Call::new(SCHEME, Operation::CreateFolder);
        let endpoint = self.api.endpoint();
        // Amazon's oldest region is the one without a name.
        let wish = match &self.location {
            None if endpoint.amazon => Some(endpoint.region.as_str()),
            other => other.as_deref(),
        };
        let wish = wish.filter(|region| *region != "us-east-1");
        self.retry()
            .run(|_| async move {
                let mut outcome = self.api.create_bucket(call, wish).await;
                let refuses_location = |failure: &crate::refusal::Failure| {
                    matches!(
                        failure.code.as_str(),
                        "InvalidLocationConstraint" | "NotImplemented" | "MalformedXML"
                    )
                };
                if wish.is_some()
                    && !self.api.endpoint().amazon
                    && outcome
                        .as_ref()
                        .is_err_and(|failure| refuses_location(failure))
                {
                    outcome = self.api.create_bucket(call, None).await;
                }
                match outcome {
                    Err(failure) if failure.code == "BucketAlreadyOwnedByYou" => Ok(()),
                    other => Ok(other?),
                }
            })
            .await
    }

    async fn test(&self) -> Result<()> {
        let call = &Call::new(SCHEME, Operation::Test);
        self.retry()
            .run(|_| self.page(call, None, 1))
            .await
            .map(drop)
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let call = &Call::on(SCHEME, Operation::Rename, from);
        let (old, new) = (&self.key(call, from)?, &self.key(call, to)?);
        if old == new {
            // Copying onto itself is refused, and the removal would lose the file.
            let missing = || call.error(ErrorKind::NotFound, "there is no such file");
            return self.find(call, old).await?.map(drop).ok_or_else(missing);
        }
        let work = |_| async move { Ok::<_, Error>(self.api.copy(call, old, new).await?) };
        self.retry().run(work).await?;
        self.retry()
            .run(|_| async move { Ok(self.api.delete(call, old).await?) })
            .await
    }
}

/// Most names that servers put on one page.
const PAGE_KEYS: u32 = 1000;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use larder_destination::{Config, Url};
    use larder_options::Values;

    use super::*;

    fn store(url: &str) -> Result<Arc<dyn Destination>> {
        let url = Url::parse(url, Path::new("/"))
            .map_err(|error| Error::config(SCHEME, error.to_string()))?;
        let config = Config::with_options(
            url,
            Values::new(),
            PathBuf::from("/"),
            crate::PROVIDER.options,
        );
        crate::open(&config, Tuning::default())
    }

    #[tokio::test]
    async fn names_that_leave_the_folder_are_refused_before_anything_is_sent() -> Result<()> {
        let store = store("s3://AK:SK@b/p?s3-server-name=127.0.0.1%3A1")?;
        for name in ["", ".", "..", "a/b", "/a", "a\0"] {
            let refused = [
                store.delete(name).await,
                store.get(name).await.map(drop),
                store.put(name, Body::from_bytes("x")).await,
                store.rename("a", name).await,
                store.rename(name, "a").await,
            ];
            for outcome in refused {
                assert!(
                    outcome.is_err_and(|error| *error.kind() == ErrorKind::Config),
                    "{name:?}"
                );
            }
        }
        Ok(())
    }

    #[test]
    fn only_amazon_promises_consistent_listings() -> Result<()> {
        assert!(store("s3://AK:SK@b/p")?.abilities().consistent_list);
        assert!(
            !store("s3://AK:SK@b/p?s3-server-name=h")?
                .abilities()
                .consistent_list
        );
        Ok(())
    }
}
