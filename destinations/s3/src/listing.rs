//! Listing a prefix: pages, the ways different servers want to be asked, and what counts as an entry.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use larder_destination::{ErrorKind, Operation, RemoteFile, Result};
use larder_httpkit::Call;

use crate::SCHEME;
use crate::api::{Api, ListStyle};
use crate::replies::ListBucketResult;
use crate::sender::Outcome;

/// What the user wants of listings.
#[derive(Debug)]
pub(crate) struct Rules {
    /// `v1` or `v2` when the user insists.
    pub version: Option<String>,
    /// Without a delimiter.
    pub recursive: bool,
    /// Classes of objects that cannot be read at once.
    pub archive_classes: Vec<String>,
}

/// The listing of one prefix.
#[derive(Debug)]
pub(crate) struct Listing {
    api: Arc<Api>,
    prefix: String,
    rules: Rules,
    /// The server has refused version 2 of the list call.
    only_version_1: AtomicBool,
    /// The server has refused to encode names in listings.
    only_plain_names: AtomicBool,
}

impl Listing {
    /// Lists `prefix`, which is empty or ends with a slash.
    pub(crate) fn new(api: Arc<Api>, prefix: String, rules: Rules) -> Self {
        let only_version_1 = AtomicBool::new(rules.version.as_deref() == Some("v1"));
        Self {
            api,
            prefix,
            rules,
            only_version_1,
            only_plain_names: AtomicBool::new(false),
        }
    }

    /// All entries directly below the prefix, page by page.
    pub(crate) fn entries(&self) -> BoxStream<'_, Result<RemoteFile>> {
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

    /// Looks for one object without reading it: its length when it is there.
    pub(crate) async fn find(&self, call: &Call, key: &str) -> Result<Option<u64>> {
        let style = ListStyle {
            version_2: false,
            encoded: !self.only_plain_names.load(Ordering::Relaxed),
        };
        let page = self
            .api
            .retry()
            .run(|_| async { Ok(self.api.list_page(call, style, key, false, None, 1).await?) })
            .await?;
        Ok(page
            .contents
            .iter()
            .find(|object| object.key == key)
            .and_then(|object| object.size))
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
            let insists = self.rules.version.is_some();
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
        let delimiter = !self.rules.recursive;
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
            .api
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
        for entry in self.entries_of(&page) {
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
    fn entries_of(&self, page: &ListBucketResult) -> Vec<RemoteFile> {
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
            let classes = &self.rules.archive_classes;
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

/// Most names that servers put on one page.
const PAGE_KEYS: u32 = 1000;
