//! Requests of the Drive API v3 and their replies as typed values.
//!
//! Source: Google's reference of the Drive API v3 and its guides "Upload file data", "Download and export files",
//! "Implement shared drive support" and "Resolve errors".

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use larder_destination::{Body, Capacity, Download, ErrorKind, Result};
use larder_drives::{Drive, Node, few};
use larder_httpkit::http::{Method, StatusCode, Url};
use larder_httpkit::{
    Call, Chunked, Codes, Meaning, Outcome, Page, Part, Refused, Reply, Request, Service, Session,
    Wait, encode, kind_of, rfc3339, rfc3339_milliseconds, tokens, unreadable,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Google Drive as one sign-in sees it.
pub(crate) struct Api {
    pub service: Service,
    pub base: Url,
    /// The id of the shared drive; `None` for My Drive.
    pub shared_drive: Option<String>,
}

/// A file or folder as the service describes it. `size` comes as text, and only for files with bytes of their own.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Item {
    pub id: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    mime_type: String,
    size: Option<String>,
    #[serde(default)]
    created_time: String,
    #[serde(default)]
    modified_time: String,
    #[serde(default)]
    md5_checksum: String,
}

impl Item {
    pub fn is_folder(&self) -> bool {
        self.mime_type == FOLDER
    }

    pub fn size(&self) -> Option<u64> {
        self.size.as_deref()?.parse().ok()
    }

    /// Seconds since 1970 UTC.
    pub fn modified(&self) -> Option<i64> {
        rfc3339(&self.modified_time)
    }

    pub fn node(&self) -> Node {
        Node {
            id: self.id.clone(),
            size: self.size(),
            hash: encode::unhex(&self.md5_checksum).unwrap_or_default(),
            made: rfc3339_milliseconds(&self.created_time).unwrap_or(i64::MIN),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listing {
    next_page_token: Option<String>,
    files: Vec<Item>,
}

impl Api {
    /// One page of the items that fulfil `query`.
    pub async fn page(
        &self,
        call: &Call,
        query: &str,
        token: Option<String>,
    ) -> Outcome<Page<Item, String>> {
        let fields = format!("nextPageToken,files({ITEM})");
        let mut pairs = vec![("q", query), ("fields", &fields), ("spaces", "drive")];
        if let Some(drive) = &self.shared_drive {
            pairs.extend([
                ("corpora", "drive"),
                ("driveId", drive),
                ("includeItemsFromAllDrives", "true"),
                ("supportsAllDrives", "true"),
            ]);
        }
        if let Some(token) = &token {
            pairs.push(("pageToken", token));
        }
        let mut listing = self.listing(call, &pairs, "1000").await;
        if let Err(failure) = &listing
            && (failure.status, failure.kind()) == (0, &ErrorKind::Other)
        {
            // Which is how a reply ends that is too long.
            listing = self.listing(call, &pairs, "100").await;
        }
        let listing: Listing = listing.map_err(|failure| match failure.status {
            404 => {
                let text = "the folder or drive is unknown, or this sign-in does not see it";
                call.folder_missing(text).into()
            }
            _ => failure,
        })?;
        Ok(Page {
            items: listing.files,
            next: listing.next_page_token.filter(|token| !token.is_empty()),
        })
    }

    async fn listing(&self, call: &Call, pairs: &[(&str, &str)], size: &str) -> Outcome<Listing> {
        let pairs = [pairs, &[("pageSize", size)]].concat();
        let request = Request::get(self.url(FILES), Wait::List).query(&pairs);
        self.service.json(call, &request, PAGE_BYTES).await
    }

    /// All items that fulfil `query`: for names, of which there are few.
    async fn all(&self, call: &Call, query: &str) -> Result<Vec<Item>> {
        let deadline = self.service.list_deadline();
        let page = |token| self.page(call, query, token);
        few(call, larder_httpkit::pages(call.clone(), deadline, page)).await
    }

    pub async fn download(&self, call: &Call, id: &str) -> Outcome<Download> {
        let url = self.file(id);
        let mut pairs = vec![("alt", "media"), ("supportsAllDrives", "true")];
        let request = Request::get(url.clone(), Wait::Transfer).query(&pairs);
        let reply = match self.service.fetch(call, &request).await {
            // What a scanner takes for dangerous is an encrypted volume; who stored it may insist.
            Err(failure) if failure.code == "cannotDownloadAbusiveFile" => {
                pairs.push(("acknowledgeAbuse", "true"));
                let request = Request::get(url, Wait::Transfer).query(&pairs);
                self.service.fetch(call, &request).await?
            }
            other => other?,
        };
        Ok(reply.download(call.clone()))
    }

    /// Removes a file; false when there was none.
    pub async fn delete(&self, call: &Call, id: &str) -> Outcome<bool> {
        let pairs = [("supportsAllDrives", "true")];
        let url = self.file(id);
        let request = Request::new(Method::DELETE, url.clone(), Wait::Short).query(&pairs);
        let outcome = match self.service.fetch(call, &request).await {
            // Some members of a shared drive may only move files to its bin.
            Err(failure)
                if failure.code == "insufficientFilePermissions" && self.shared_drive.is_some() =>
            {
                let request = Request::new(Method::PATCH, url, Wait::Short).query(&pairs);
                let request = request.json(&json!({"trashed": true}));
                self.service.fetch(call, &request).await
            }
            other => other,
        };
        match outcome {
            Err(failure) if *failure.kind() == ErrorKind::NotFound => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// Space of the account; a limit that is not named is none.
    pub async fn capacity(&self, call: &Call) -> Outcome<Capacity> {
        let url = self.url("drive/v3/about");
        let request = Request::get(url, Wait::Short).query(&[("fields", "storageQuota")]);
        let about: Value = self.service.json(call, &request, SMALL_BYTES).await?;
        let number = |name: &str| about["storageQuota"][name].as_str()?.parse::<u64>().ok();
        let (total, used) = (number("limit"), number("usage"));
        let free = total
            .zip(used)
            .map(|(total, used)| total.saturating_sub(used));
        Ok(Capacity { total, free })
    }

    /// Begins an upload: of a new file in `folder`, or of new content for the file `over`.
    async fn begin(&self, call: &Call, folder: &str, over: Option<&str>, len: u64) -> Outcome<Url> {
        let (method, path, metadata) = match over {
            None => (
                Method::POST,
                UPLOADS.to_owned(),
                json!({"name": call.object, "parents": [folder]}),
            ),
            Some(id) => (
                Method::PATCH,
                format!("{UPLOADS}/{}", encode::segment(id)),
                json!({}),
            ),
        };
        let request = Request::new(method, self.url(&path), Wait::Short)
            .query(&[
                ("uploadType", "resumable"),
                ("supportsAllDrives", "true"),
                ("fields", ITEM),
            ])
            .header("x-upload-content-type", OCTETS)
            .header("x-upload-content-length", &len.to_string())
            .json(&metadata);
        // A session that is begun twice costs nothing: nobody sees it.
        let reply = self.service.fetch(call, &request).await?;
        // Whoever has the address may write the file, so it must not travel in the clear.
        let address = reply.header("location").and_then(tokens::address);
        Ok(address.ok_or_else(|| unreadable(call, "it names no safe address for the upload"))?)
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{path}"));
        url
    }

    fn file(&self, id: &str) -> Url {
        self.url(&format!("{FILES}/{}", encode::segment(id)))
    }
}

#[async_trait]
impl Drive for Api {
    async fn folders(&self, call: &Call, parent: &str, name: &str) -> Result<Vec<String>> {
        let query = format!("{} and mimeType='{FOLDER}'", named(parent, name));
        let items = self.all(call, &query).await?;
        Ok(items.into_iter().map(|item| item.id).collect())
    }

    async fn make_folder(&self, call: &Call, parent: &str, name: &str) -> Result<String> {
        let request = Request::new(Method::POST, self.url(FILES), Wait::Short)
            .query(&[("supportsAllDrives", "true"), ("fields", "id")])
            .json(&json!({"name": name, "mimeType": FOLDER, "parents": [parent]}));
        // Sent once: a second one would be a second folder.
        let reply = self.service.send(call, &request).await?;
        Ok(item(call, reply).await?.id)
    }

    async fn files(&self, call: &Call, folder: &str, name: &str) -> Result<Vec<Node>> {
        let query = format!("{} and mimeType!='{FOLDER}'", named(folder, name));
        let items = self.all(call, &query).await?;
        Ok(items.iter().map(Item::node).collect())
    }
}

/// Sends a body through an upload session and gives the file that came of it.
pub(crate) async fn upload(
    api: &Arc<Api>,
    call: &Call,
    folder: &str,
    over: Option<&str>,
    body: &Body,
) -> Result<Item> {
    let upload = Arc::new(Upload {
        api: Arc::clone(api),
        address: api.begin(call, folder, over, body.len()).await?,
        stored: OnceLock::new(),
    });
    let session: Arc<dyn Session> = Arc::clone(&upload) as _;
    PIECES.put(&api.service, call, body, session).await?;
    let stored = upload.stored.get().cloned();
    stored.ok_or_else(|| unreadable(call, "it does not describe the file that was stored"))
}

/// A resumable upload. Its address is good for a week, with or without a sign-in.
struct Upload {
    api: Arc<Api>,
    address: Url,
    stored: OnceLock<Item>,
}

impl Upload {
    /// Sends a piece or, without bytes, a question; gives up to where the service has the content.
    async fn put(&self, call: &Call, part: &Part, wait: Wait) -> Outcome<u64> {
        let request = Request::new(Method::PUT, self.address.clone(), wait)
            .bytes(OCTETS, part.bytes.clone())
            .header("content-range", &part.content_range())
            .also(&[308]);
        let reply = match self.api.service.send(call, &request).await {
            Err(failure) if matches!(failure.status, 404 | 410) => {
                let text = "the service has lost the upload";
                return Err(call.error(ErrorKind::Exists, text).into());
            }
            other => other?,
        };
        if reply.status() == StatusCode::PERMANENT_REDIRECT {
            // Without the header nothing is stored yet.
            let last = reply.header("range").and_then(|text| {
                let (_, last) = text.strip_prefix("bytes=")?.split_once('-')?;
                last.parse::<u64>().ok()
            });
            return Ok(last.map_or(0, |last| last.saturating_add(1)));
        }
        let _ = self.stored.set(item(call, reply).await?);
        Ok(part.total)
    }
}

#[async_trait]
impl Session for Upload {
    async fn send(&self, call: &Call, part: &Part) -> Outcome<u64> {
        self.put(call, part, Wait::Transfer).await
    }

    async fn resume(&self, call: &Call, part: &Part) -> Outcome<u64> {
        self.put(call, &part.question(), Wait::Short).await
    }

    async fn finish(&self, _: &Call) -> Result<()> {
        Ok(())
    }

    async fn abort(&self, call: &Call) {
        let request = Request::new(Method::DELETE, self.address.clone(), Wait::Short).also(&[499]);
        // What is not removed ends by itself after a week.
        let _ = self.api.service.send(call, &request).await;
    }
}

async fn item(call: &Call, reply: Reply) -> Outcome<Item> {
    let bytes = reply.bytes(call, SMALL_BYTES).await?;
    let item = serde_json::from_slice(&bytes);
    Ok(item.map_err(|_| unreadable(call, "it describes no file"))?)
}

/// The query for what is called `name` in a folder.
fn named(folder: &str, name: &str) -> String {
    format!("{} and name='{}'", within(folder), quoted(name))
}

/// The query for everything in a folder.
pub(crate) fn within(folder: &str) -> String {
    format!("'{}' in parents and trashed=false", quoted(folder))
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}

/// What Google means by a refusal.
pub(crate) fn meaning(_: &Call, refused: &Refused) -> Option<Meaning> {
    let document: Value = refused.json()?;
    let problem = document.get("error")?;
    let reason = problem["errors"][0]["reason"].as_str()?;
    let message = problem["message"].as_str().unwrap_or_default();
    Some(Meaning {
        kind: kind_of(REASONS, reason),
        words: format!("{} ({reason})", message.trim_end_matches('.')),
        code: reason.to_owned(),
        ..Meaning::default()
    })
}

/// Google's guide "Resolve errors". The limits of a day pass by themselves; a folder with too many files does not.
#[rustfmt::skip]
const REASONS: Codes = &[
    (ErrorKind::Busy(None), &[
        "userRateLimitExceeded", "rateLimitExceeded", "sharingRateLimitExceeded", "dailyLimitExceeded",
        "downloadQuotaExceeded",
    ]),
    (ErrorKind::Quota, &["storageQuotaExceeded", "teamDriveFileLimitExceeded", "numChildrenInNonRootLimitExceeded"]),
];

const FILES: &str = "drive/v3/files";
const UPLOADS: &str = "upload/drive/v3/files";
const FOLDER: &str = "application/vnd.google-apps.folder";
const OCTETS: &str = "application/octet-stream";
/// What is asked of every item.
const ITEM: &str = "id,name,mimeType,size,createdTime,modifiedTime,md5Checksum";
/// A thousand items with names as programs give them take less than half of it; a hundred with the longest, less too.
const PAGE_BYTES: usize = 4 << 20;
const SMALL_BYTES: usize = 64 << 10;
/// Pieces must be multiples of 256 KiB and come in order. Two are held in memory.
const PIECES: Chunked = Chunked {
    part_len: 8 << 20,
    at_once: 1,
};
