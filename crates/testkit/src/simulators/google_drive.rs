//! Google Drive, version 3 of its interface, in memory.
//!
//! Facts: Google's reference of the Drive API v3 and its guides. What is enforced: credentials with their scopes, the
//! grammar of `q` and `fields`, unknown parameters, page tokens, shared drives with their parameters, duplicates of a
//! name, the pieces of resumable uploads, quotas. It counts because clients written by others work with it:
//! `scripts/prove/simulators`.

mod fields;
mod listing;
mod query;
mod uploads;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE};
use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::accounts::{AccountSettings, Accounts, Grant, google_error, oauth_error, reason};
use super::server::{Answer, Request, Simulator, hex};
use crate::rng::Rng;
use fields::Fields;
use listing::Page;
use uploads::Session;

/// How the service behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sign-in.
    pub accounts: AccountSettings,
    /// Entries of a page at most, whatever the client asks for.
    pub page_size: usize,
    /// Hands out the same page and token for ever.
    pub repeats_pages: bool,
    /// The first page is empty and has a token.
    pub begins_with_empty_page: bool,
    /// Bytes that the account may hold.
    pub quota: u64,
    /// Members of the shared drive may delete for good; without it they may only move files to the bin.
    pub may_delete_shared: bool,
    /// Stores the first byte of a file wrong.
    pub flips_a_byte: bool,
    /// Bytes that one request to an upload session stores at most.
    pub stores_at_most: Option<u64>,
    /// Downloads are refused as dangerous until the client insists.
    pub is_abusive: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            accounts: AccountSettings::default(),
            page_size: 1000,
            repeats_pages: false,
            begins_with_empty_page: false,
            quota: 15 << 30,
            may_delete_shared: true,
            flips_a_byte: false,
            stores_at_most: None,
            is_abusive: false,
        }
    }
}

/// The id of the shared drive that exists from the start.
pub const SHARED_DRIVE: &str = "0ASharedDriveUk9PVA";
const ROOT: &str = "0AMyDriveUk9PVA";
const FOLDER: &str = "application/vnd.google-apps.folder";

/// The simulator.
#[derive(Debug)]
pub struct GoogleDrive {
    drive: Mutex<Drive>,
    begun: Instant,
}

/// A file or folder.
#[derive(Clone, Debug)]
struct Item {
    id: String,
    name: String,
    mime: String,
    parent: String,
    drive: Option<String>,
    created: i64,
    modified: i64,
    is_trashed: bool,
    content: Vec<Bytes>,
    size: u64,
    md5: String,
    application: String,
}

/// What an upload is for.
#[derive(Clone, Debug)]
enum Target {
    New,
    File(String),
}

#[derive(Debug)]
struct Drive {
    settings: Settings,
    accounts: Accounts,
    items: BTreeMap<String, Item>,
    sessions: HashMap<String, Session>,
    pages: HashMap<String, Page>,
    promised_ids: HashSet<String>,
    time: i64,
    rng: Rng,
}

impl GoogleDrive {
    /// An empty My Drive and an empty shared drive.
    #[must_use]
    pub fn new(settings: Settings) -> Arc<Self> {
        let mut drive = Drive {
            accounts: Accounts::new(settings.accounts.clone(), 7),
            settings,
            items: BTreeMap::new(),
            sessions: HashMap::new(),
            pages: HashMap::new(),
            promised_ids: HashSet::new(),
            time: 1_780_000_000_000,
            rng: Rng::new(11),
        };
        for (id, name, shared) in [(ROOT, "My Drive", false), (SHARED_DRIVE, "Team", true)] {
            let item = Item {
                id: id.to_owned(),
                name: name.to_owned(),
                mime: FOLDER.to_owned(),
                parent: String::new(),
                drive: shared.then(|| id.to_owned()),
                created: drive.next_time(),
                modified: drive.time,
                is_trashed: false,
                content: Vec::new(),
                size: 0,
                md5: String::new(),
                application: String::new(),
            };
            drive.items.insert(id.to_owned(), item);
        }
        Arc::new(Self {
            drive: Mutex::new(drive),
            begun: Instant::now(),
        })
    }

    /// Changes how the service behaves from now on.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        let mut drive = self.lock();
        change(&mut drive.settings);
        drive.accounts.settings = drive.settings.accounts.clone();
    }

    /// Ends all access tokens.
    pub fn expire_tokens(&self) {
        self.lock().accounts.expire_all();
    }

    /// Ends all upload sessions.
    pub fn end_sessions(&self) {
        self.lock().sessions.clear();
    }

    /// Puts a file or, without content, a folder into the folder `parent` (`root` is My Drive), as the user would in a
    /// browser; returns its id.
    pub fn add(&self, parent: &str, name: &str, content: Option<&[u8]>) -> String {
        self.add_by("browser", parent, name, content)
    }

    /// The same in the name of an application, which decides who sees it under the scope `drive.file`.
    pub fn add_by(
        &self,
        application: &str,
        parent: &str,
        name: &str,
        content: Option<&[u8]>,
    ) -> String {
        let mut drive = self.lock();
        let mime = if content.is_none() { FOLDER } else { OCTETS };
        let grant = Grant {
            application: application.to_owned(),
            scope: String::new(),
        };
        let metadata = json!({"name": name, "mimeType": mime, "parents": [parent]});
        let id = drive.create(&grant, &metadata);
        if let (Some(item), Some(content)) = (drive.items.get_mut(&id), content) {
            item.content = vec![Bytes::copy_from_slice(content)];
            item.size = content.len() as u64;
            item.md5 = md5(&item.content);
        }
        id
    }

    /// Ids of the folders on the way `path` below My Drive or the shared drive `root`, the root first.
    #[must_use]
    pub fn walk(&self, root: &str, path: &[&str]) -> Vec<String> {
        let drive = self.lock();
        let mut ids = vec![drive.resolve(root)];
        for name in path {
            let here = ids.last().cloned().unwrap_or_default();
            let next = drive.items.values().find(|item| {
                item.parent == here && item.name == *name && item.mime == FOLDER && !item.is_trashed
            });
            ids.extend(next.map(|item| item.id.clone()));
        }
        ids
    }

    /// Names and contents of what lies in a folder, bin excepted, in the order of creation.
    #[must_use]
    pub fn files(&self, folder: &str) -> Vec<(String, Vec<u8>)> {
        let drive = self.lock();
        let folder = drive.resolve(folder);
        let mut items: Vec<&Item> = drive
            .items
            .values()
            .filter(|item| item.parent == folder && !item.is_trashed)
            .collect();
        items.sort_by_key(|item| item.created);
        let content = |item: &Item| item.content.iter().flatten().copied().collect();
        items
            .into_iter()
            .map(|item| (item.name.clone(), content(item)))
            .collect()
    }

    /// Moves an item and what lies in it to the bin.
    pub fn trash(&self, id: &str) {
        self.lock().set_trashed(id, true);
    }

    /// Number of items in the bin.
    #[must_use]
    pub fn trashed(&self) -> usize {
        let drive = self.lock();
        drive.items.values().filter(|item| item.is_trashed).count()
    }

    fn lock(&self) -> MutexGuard<'_, Drive> {
        self.drive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Simulator for GoogleDrive {
    fn answer(&self, request: &Request) -> Answer {
        let now_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut drive = self.lock();
        match drive.accounts.answer(request, now_ms) {
            Some(answer) => answer,
            None => drive.answer(request, now_ms),
        }
    }

    fn refusal(&self, request: &Request, status: u16, text: &str) -> Answer {
        match request.path.as_str() {
            "/refresh" | "/offloaded/refresh" => reason(status, text),
            "/token" => oauth_error(status, text),
            _ => google_error(status, text, "The service refuses, as it was told to."),
        }
    }
}

const OCTETS: &str = "application/octet-stream";
const FILES: &str = "/drive/v3/files";
const UPLOADS: &str = "/upload/drive/v3/files";
/// Parameters that every call takes.
const COMMON: &[&str] = &[
    "alt",
    "fields",
    "prettyPrint",
    "quotaUser",
    "supportsAllDrives",
    "keepRevisionForever",
    "enforceSingleParent",
];

impl Drive {
    fn answer(&mut self, request: &Request, now_ms: u64) -> Answer {
        if request.path.starts_with(UPLOADS)
            && let Some(session) = request.parameter("upload_id")
        {
            // The address of a session is a credential; a wrong one beside it is still refused.
            if request.header("authorization").is_some()
                && let Err(refusal) = self.accounts.check(request, now_ms)
            {
                return refusal;
            }
            return match request.method {
                Method::PUT | Method::POST => self.resume(request, session),
                Method::DELETE => {
                    self.sessions.remove(session);
                    Answer::empty(499)
                }
                _ => not_found("Upload"),
            };
        }
        let grant = match self.accounts.check(request, now_ms) {
            Ok(grant) => grant,
            Err(refusal) => return refusal,
        };
        if !grant.scope.split(' ').any(|scope| SCOPES.contains(&scope)) {
            let text = "Request had insufficient authentication scopes.";
            return google_error(403, "insufficientPermissions", text);
        }
        self.route(request, grant)
    }

    fn route(&mut self, request: &Request, grant: Grant) -> Answer {
        let (path, is_upload) = match request.path.strip_prefix(UPLOADS) {
            Some(rest) => (rest, true),
            None => match request.path.strip_prefix(FILES) {
                Some(rest) => (rest, false),
                None => return self.route_others(request, &grant),
            },
        };
        let id = path.strip_prefix('/').unwrap_or_default();
        let own: &[&str] = match (is_upload, &request.method, id) {
            (true, ..) => &["uploadType"],
            (false, &Method::GET, "") => listing::PARAMETERS,
            (false, &Method::GET, "generateIds") => &["count", "space", "type"],
            (false, &Method::GET, _) => &["acknowledgeAbuse"],
            (false, &Method::PATCH, _) => &["addParents", "removeParents"],
            _ => &[],
        };
        if let Some(refusal) = unknown_parameter(request, own) {
            return refusal;
        }
        match (is_upload, &request.method, id) {
            (true, &Method::POST, "") => self.upload(request, grant, Target::New),
            (true, &Method::PATCH, id) => self.upload(request, grant, Target::File(id.to_owned())),
            (false, &Method::GET, "") => self.list(request, &grant),
            (false, &Method::POST, "") => self.create_plain(request, &grant),
            (false, &Method::GET, "generateIds") => self.promise_ids(request),
            (false, &Method::GET, id) => self.get(request, &grant, id),
            (false, &Method::PATCH, id) => self.patch(request, &grant, id),
            (false, &Method::DELETE, id) => self.delete(request, &grant, id),
            _ => not_found("Method"),
        }
    }

    fn route_others(&self, request: &Request, grant: &Grant) -> Answer {
        let shared = json!({"kind": "drive#drive", "id": SHARED_DRIVE, "name": "Team"});
        let about = "/drive/v3/about";
        match (&request.method, request.path.as_str()) {
            (&Method::GET, path) if path == about => {
                let Some(fields) = request.parameter("fields") else {
                    let text = "The 'fields' parameter is required for this method.";
                    return bad_request("required", text);
                };
                let reply = json!({
                    "kind": "drive#about",
                    "user": {"displayName": "User", "emailAddress": "user@example.com"},
                    "storageQuota": {
                        "limit": self.settings.quota.to_string(),
                        "usage": self.used().to_string(),
                        "usageInDrive": self.used().to_string(),
                        "usageInDriveTrash": "0",
                    },
                });
                picked(Some(fields), reply)
            }
            (&Method::GET, "/drive/v3/drives") => {
                let drives = json!({"kind": "drive#driveList", "drives": [shared]});
                picked(request.parameter("fields"), drives)
            }
            (&Method::GET, path) if path == format!("/drive/v3/drives/{SHARED_DRIVE}") => {
                let _ = grant;
                picked(request.parameter("fields"), shared)
            }
            _ => not_found("Method"),
        }
    }

    fn create_plain(&mut self, request: &Request, grant: &Grant) -> Answer {
        let Ok(metadata) = serde_json::from_slice::<Value>(&request.body) else {
            return bad_request("parseError", "Parse Error");
        };
        if let Err(refusal) = self.check_target(request, grant, &Target::New, &metadata) {
            return refusal;
        }
        let id = self.create(grant, &metadata);
        self.describe(request, &id)
    }

    /// Whether a new file may be made, or an existing one changed.
    fn check_target(
        &self,
        request: &Request,
        grant: &Grant,
        target: &Target,
        metadata: &Value,
    ) -> Result<(), Answer> {
        match target {
            Target::File(id) => {
                let item = self.find(request, grant, id)?;
                if metadata.get("parents").is_some() {
                    let text = "The parents field is not directly writable in update requests. Use the addParents and removeParents parameters instead.";
                    return Err(google_error(403, "fieldNotWritable", text));
                }
                if item.mime == FOLDER {
                    return Err(bad_request("badRequest", "A folder has no content."));
                }
            }
            Target::New => {
                if let Some(id) = metadata["id"].as_str() {
                    if self.items.contains_key(id) {
                        let text = "A file already exists with the provided ID.";
                        return Err(google_error(409, "fileIdInUse", text));
                    }
                    if !self.promised_ids.contains(id) {
                        return Err(bad_request(
                            "invalid",
                            "The provided file ID is not usable.",
                        ));
                    }
                }
                let parents = metadata["parents"].as_array().map_or(0, Vec::len);
                if parents > 1 {
                    let text = "A shared drive item must have exactly one parent.";
                    return Err(google_error(400, "teamDrivesParentLimit", text));
                }
                let parent = metadata["parents"][0].as_str().unwrap_or("root");
                let parent = self.find(request, grant, parent)?;
                if parent.mime != FOLDER {
                    let text = "The specified parent is not a folder.";
                    return Err(google_error(403, "parentNotAFolder", text));
                }
            }
        }
        Ok(())
    }

    /// Makes an item from its metadata, which was checked.
    fn create(&mut self, grant: &Grant, metadata: &Value) -> String {
        let id = match metadata["id"].as_str() {
            Some(id) => id.to_owned(),
            None => self.random("1"),
        };
        let parent = self.resolve(metadata["parents"][0].as_str().unwrap_or("root"));
        let now = self.next_time();
        let item = Item {
            id: id.clone(),
            name: metadata["name"].as_str().unwrap_or("Untitled").to_owned(),
            mime: metadata["mimeType"].as_str().unwrap_or(OCTETS).to_owned(),
            drive: self.items.get(&parent).and_then(|item| item.drive.clone()),
            parent,
            created: now,
            modified: now,
            is_trashed: false,
            content: Vec::new(),
            size: 0,
            md5: md5(&[]),
            application: grant.application.clone(),
        };
        self.items.insert(id.clone(), item);
        id
    }

    fn get(&self, request: &Request, grant: &Grant, id: &str) -> Answer {
        let item = match self.find(request, grant, id) {
            Ok(item) => item,
            Err(refusal) => return refusal,
        };
        if request.parameter("alt") != Some("media") {
            return self.describe(request, &item.id);
        }
        if item.mime == FOLDER {
            let text = "Only files with binary content can be downloaded.";
            return google_error(403, "fileNotDownloadable", text);
        }
        if self.settings.is_abusive && request.parameter("acknowledgeAbuse") != Some("true") {
            let text = "This file has been identified as malware or spam and cannot be downloaded.";
            return google_error(403, "cannotDownloadAbusiveFile", text);
        }
        let range = request.header("range").and_then(|text| {
            let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
            let last = last
                .parse()
                .unwrap_or(u64::MAX)
                .min(item.size.saturating_sub(1));
            Some((first.parse::<u64>().ok()?, last))
        });
        match range {
            None => {
                let mut answer = Answer::empty(200).with(CONTENT_TYPE, &item.mime);
                answer.body.clone_from(&item.content);
                answer
            }
            Some((first, last)) if first <= last => {
                let mut answer = Answer::empty(206).with(CONTENT_TYPE, &item.mime).with(
                    CONTENT_RANGE,
                    &format!("bytes {first}-{last}/{}", item.size),
                );
                answer.body = slice(&item.content, first, last - first + 1);
                answer
            }
            Some(_) => google_error(
                416,
                "requestedRangeNotSatisfiable",
                "Request range not satisfiable",
            ),
        }
    }

    fn patch(&mut self, request: &Request, grant: &Grant, id: &str) -> Answer {
        let id = match self.find(request, grant, id) {
            Ok(item) => item.id.clone(),
            Err(refusal) => return refusal,
        };
        let Ok(metadata) = serde_json::from_slice::<Value>(&request.body) else {
            return bad_request("parseError", "Parse Error");
        };
        if metadata.get("parents").is_some() {
            return google_error(403, "fieldNotWritable", "parents is not directly writable");
        }
        let target = request.parameter("addParents").map(|id| self.resolve(id));
        if let Some(item) = self.items.get_mut(&id) {
            if let Some(name) = metadata["name"].as_str() {
                item.name = name.to_owned();
            }
            if let Some(parent) = target {
                item.parent = parent;
            }
        }
        if let Some(is_trashed) = metadata["trashed"].as_bool() {
            self.set_trashed(&id, is_trashed);
        }
        self.describe(request, &id)
    }

    fn delete(&mut self, request: &Request, grant: &Grant, id: &str) -> Answer {
        let item = match self.find(request, grant, id) {
            Ok(item) => item,
            Err(refusal) => return refusal,
        };
        if item.drive.is_some() && !self.settings.may_delete_shared {
            let text = "The user does not have sufficient permissions for this file.";
            return google_error(403, "insufficientFilePermissions", text);
        }
        for id in self.with_descendants(&item.id.clone()) {
            self.items.remove(&id);
        }
        Answer::empty(204)
    }

    fn promise_ids(&mut self, request: &Request) -> Answer {
        let count = request.parameter("count").map_or(Ok(10), str::parse);
        let Some(count) = count.ok().filter(|count| (1..=1000).contains(count)) else {
            return bad_request("invalidParameter", "Invalid value for count");
        };
        let ids: Vec<String> = (0..count).map(|_: u32| self.random("1p")).collect();
        self.promised_ids.extend(ids.iter().cloned());
        let reply = json!({"kind": "drive#generatedIds", "space": "drive", "ids": ids});
        picked(request.parameter("fields"), reply)
    }

    /// The item of an id, when this application may see it and the request admits shared drives where needed.
    fn find(&self, request: &Request, grant: &Grant, id: &str) -> Result<&Item, Answer> {
        let item = self.items.get(&self.resolve(id));
        let supports_all = request.parameter("supportsAllDrives") == Some("true");
        match item {
            Some(item)
                if self.is_visible(item, grant) && (item.drive.is_none() || supports_all) =>
            {
                Ok(item)
            }
            _ => Err(not_found(id)),
        }
    }

    fn is_visible(&self, item: &Item, grant: &Grant) -> bool {
        item.parent.is_empty()
            || grant.scope.split(' ').any(|scope| scope == SCOPES[0])
            || item.application == grant.application
    }

    fn describe(&self, request: &Request, id: &str) -> Answer {
        match self.items.get(id) {
            Some(item) => {
                let fields = request
                    .parameter("fields")
                    .unwrap_or("kind,id,name,mimeType");
                picked(Some(fields), item.describe())
            }
            None => not_found(id),
        }
    }

    fn resolve(&self, id: &str) -> String {
        if id == "root" { ROOT } else { id }.to_owned()
    }

    fn with_descendants(&self, id: &str) -> Vec<String> {
        let mut ids = vec![id.to_owned()];
        let mut at = 0;
        while let Some(parent) = ids.get(at).cloned() {
            let children = self.items.values().filter(|item| item.parent == parent);
            ids.extend(children.map(|item| item.id.clone()));
            at += 1;
        }
        ids
    }

    fn set_trashed(&mut self, id: &str, is_trashed: bool) {
        for id in self.with_descendants(id) {
            if let Some(item) = self.items.get_mut(&id) {
                item.is_trashed = is_trashed;
            }
        }
    }

    fn used(&self) -> u64 {
        self.items.values().map(|item| item.size).sum()
    }

    fn over_quota(&self, more: u64) -> Option<Answer> {
        let text = "The user's Drive storage quota has been exceeded.";
        (self.used().saturating_add(more) > self.settings.quota)
            .then(|| google_error(403, "storageQuotaExceeded", text))
    }

    /// Times of creation differ, so that the newest of several can be told.
    fn next_time(&mut self) -> i64 {
        self.time += 1;
        self.time
    }

    fn random(&mut self, start: &str) -> String {
        format!("{start}{}", hex(&self.rng.bytes(14)))
    }
}

/// Full access, then access to the application's own files.
const SCOPES: [&str; 2] = [
    "https://www.googleapis.com/auth/drive",
    "https://www.googleapis.com/auth/drive.file",
];

impl Item {
    fn describe(&self) -> Value {
        let mut value = json!({
            "kind": "drive#file",
            "id": self.id,
            "name": self.name,
            "mimeType": self.mime,
            "createdTime": date(self.created),
            "modifiedTime": date(self.modified),
            "trashed": self.is_trashed,
            "parents": [self.parent],
            "capabilities": {"canDownload": true},
        });
        if self.mime != FOLDER {
            value["size"] = json!(self.size.to_string());
            value["md5Checksum"] = json!(self.md5);
        }
        if let Some(drive) = &self.drive {
            value["driveId"] = json!(drive);
            value["teamDriveId"] = json!(drive);
        }
        value
    }
}

fn picked(fields: Option<&str>, value: Value) -> Answer {
    // Clients send an empty parameter too, which the service takes for none.
    let Some(fields) = fields.filter(|fields| !fields.is_empty()) else {
        return Answer::json(200, &value);
    };
    match Fields::parse(fields) {
        Some(fields) => Answer::json(200, &fields.pick(value)),
        None => bad_request("invalidParameter", "Invalid field selection"),
    }
}

fn unknown_parameter(request: &Request, own: &[&str]) -> Option<Answer> {
    let is_known = |name: &String| COMMON.contains(&name.as_str()) || own.contains(&name.as_str());
    let (unknown, _) = request.query.iter().find(|(name, _)| !is_known(name))?;
    let text = format!(
        "Invalid JSON payload received. Unknown name \"{unknown}\": Cannot bind query parameter."
    );
    Some(bad_request("badRequest", &text))
}

fn bad_request(reason: &str, text: &str) -> Answer {
    google_error(400, reason, text)
}

fn not_found(id: &str) -> Answer {
    google_error(404, "notFound", &format!("File not found: {id}."))
}

fn date(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map(|time| format!("{time:.3}"))
        .unwrap_or_default()
}

fn md5(content: &[Bytes]) -> String {
    let mut hash = Md5::new();
    for piece in content {
        hash.update(piece);
    }
    hex(&hash.finalize())
}

fn slice(content: &[Bytes], mut skip: u64, mut take: u64) -> Vec<Bytes> {
    let mut slices = Vec::new();
    for piece in content {
        let len = piece.len() as u64;
        if skip >= len {
            skip -= len;
            continue;
        }
        let end = (skip + take).min(len);
        let index = |at| usize::try_from(at).unwrap_or(piece.len());
        slices.push(piece.slice(index(skip)..index(end)));
        take -= end - skip;
        skip = 0;
        if take == 0 {
            break;
        }
    }
    slices
}
