//! The calls of the service and their replies, without any meaning for backups.
//!
//! <https://learn.microsoft.com/en-us/rest/api/storageservices/blob-service-rest-api>. Everything about addresses ends here.

use std::time::Duration;

use bytes::Bytes;
use larder_destination::{Advice, Body, ErrorKind, Operation, Result};
use larder_httpkit::http::{Method, Url};
use larder_httpkit::{
    Algorithm, Call, Codes, Element, Hashes, Held, Meaning, Outcome, Payload, Refused, Reply,
    Request, Service, Wait, encode, format_http_date, http_date, kind_of, sentence, text_element,
};

/// One container of one account.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) service: Service,
    /// Server and account; no slash at its end.
    pub(crate) address: String,
    pub(crate) container: String,
    /// Access tier of new blobs.
    pub(crate) tier: Option<String>,
    /// How strict new locks are, as the service writes it.
    pub(crate) lock_mode: String,
}

/// What the headers of a reply tell of a blob.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub md5: Option<Vec<u8>>,
    pub copy_status: String,
    pub held: Held,
}

impl Facts {
    fn of(reply: &Reply) -> Self {
        let text = |name| reply.header(name).unwrap_or_default();
        Self {
            md5: md5_of(reply),
            copy_status: text("x-ms-copy-status").to_owned(),
            held: Held {
                until: match text("x-ms-immutability-policy-until-date") {
                    "" => None,
                    // What cannot be read keeps the file.
                    until => Some(http_date(until).unwrap_or(i64::MAX)),
                },
                has_hold: text("x-ms-legal-hold") == "true",
                is_strict: text("x-ms-immutability-policy-mode").eq_ignore_ascii_case("locked"),
            },
        }
    }
}

impl Api {
    /// List Blobs: one page of at most 5,000 names.
    pub(crate) async fn list(
        &self,
        call: &Call,
        prefix: &str,
        from: Option<&str>,
    ) -> Outcome<Element> {
        let mut query = vec![
            ("restype", "container"),
            ("comp", "list"),
            ("prefix", prefix),
            ("delimiter", "/"),
            ("maxresults", "5000"),
        ];
        query.extend(from.map(|from| ("marker", from)));
        let request = self.request(call, Method::GET, None, Wait::List)?;
        let request = request.query(&query);
        let root = "EnumerationResults";
        self.service.xml(call, &request, PAGE_BYTES, root).await
    }

    /// Get Blob, or the rest of it from a byte on while it has the same tag; the body is still to be read.
    pub(crate) async fn get(
        &self,
        call: &Call,
        key: &str,
        rest: Option<(u64, &str)>,
    ) -> Outcome<Reply> {
        let mut request = self.request(call, Method::GET, Some(key), Wait::Transfer)?;
        let Some((at, tag)) = rest else {
            return self.service.fetch(call, &request).await;
        };
        request = request.header("x-ms-range", &format!("bytes={at}-"));
        request = request.header("if-match", tag);
        let reply = self.service.fetch(call, &request).await?;
        let begin = format!("bytes {at}-");
        let range = reply.header("content-range").unwrap_or_default();
        if reply.status() != 206 || !range.starts_with(&begin) {
            let text = "the server did not send the part that was asked for";
            return Err(call.error(ErrorKind::Network, text).into());
        }
        Ok(reply)
    }

    /// Get Blob Properties, when it is there.
    pub(crate) async fn head(&self, call: &Call, key: &str) -> Outcome<Option<Facts>> {
        let request = self.request(call, Method::HEAD, Some(key), Wait::Short)?;
        match self.service.fetch(call, &request).await {
            Ok(reply) => Ok(Some(Facts::of(&reply))),
            // Without a code, the container is what may be missing.
            Err(failure) if *failure.kind() == ErrorKind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Get Container Properties: whether its blobs can be locked.
    pub(crate) async fn has_versions_locked(&self, call: &Call) -> Outcome<bool> {
        let request = self.request(call, Method::HEAD, None, Wait::Short)?;
        let request = request.query(&[("restype", "container")]);
        let reply = self.service.fetch(call, &request).await?;
        let versioned = reply.header("x-ms-immutable-storage-with-versioning-enabled");
        Ok(versioned.is_some_and(|text| text.eq_ignore_ascii_case("true")))
    }

    /// Set Blob Immutability Policy.
    pub(crate) async fn put_policy(
        &self,
        call: &Call,
        key: &str,
        until: i64,
        mode: &str,
    ) -> Outcome<()> {
        let request = self.request(call, Method::PUT, Some(key), Wait::Short)?;
        let request = request
            .query(&[("comp", "immutabilityPolicies")])
            .header(
                "x-ms-immutability-policy-until-date",
                &format_http_date(until),
            )
            .header("x-ms-immutability-policy-mode", mode);
        self.service.fetch(call, &request).await.map(drop)
    }

    /// Put Blob; with `fresh` only when no blob has the name yet.
    pub(crate) async fn put(
        &self,
        call: &Call,
        key: &str,
        body: Body,
        hashes: &Hashes,
        fresh: bool,
    ) -> Outcome<()> {
        let request = self.request(call, Method::PUT, Some(key), Wait::Transfer)?;
        let request = self.created(request, fresh).body(body).hashed(hashes);
        let request = request.header("content-type", CONTENT_TYPE);
        let request = request.header("x-ms-blob-type", "BlockBlob");
        let reply = self.service.send(call, &request).await?;
        Ok(hashes.check(call, Algorithm::Md5, md5_of(&reply).as_deref())?)
    }

    /// Put Block: a part that no listing shows.
    pub(crate) async fn put_block(
        &self,
        call: &Call,
        key: &str,
        id: &str,
        bytes: Bytes,
        hashes: &Hashes,
    ) -> Outcome<()> {
        let mut request = self.request(call, Method::PUT, Some(key), Wait::Transfer)?;
        request.payload = Payload::Bytes(bytes);
        let request = request.query(&[("comp", "block"), ("blockid", id)]);
        let reply = self.service.send(call, &request.hashed(hashes)).await?;
        Ok(hashes.check(call, Algorithm::Md5, md5_of(&reply).as_deref())?)
    }

    /// Put Block List: makes a blob of the blocks in this order. The service keeps an MD5 of the whole only when it is told.
    pub(crate) async fn put_block_list(
        &self,
        call: &Call,
        key: &str,
        ids: &[String],
        whole: &Hashes,
        fresh: bool,
    ) -> Outcome<()> {
        let blocks: String = ids.iter().map(|id| text_element("Latest", id)).collect();
        let text =
            format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{blocks}</BlockList>");
        let hashes = Hashes::of(text.as_bytes(), MD5);
        let request = self.request(call, Method::PUT, Some(key), Wait::List)?;
        let request = self.created(request, fresh).query(&[("comp", "blocklist")]);
        let request = request
            .bytes("application/xml", text)
            .hashed(&hashes)
            .header("x-ms-blob-content-type", CONTENT_TYPE)
            .header("x-ms-blob-content-md5", &whole.base64(Algorithm::Md5));
        self.service.send(call, &request).await.map(drop)
    }

    /// Copy Blob within the container: how far it is.
    pub(crate) async fn copy(&self, call: &Call, from: &str, to: &str) -> Outcome<Facts> {
        let source = self.request(call, Method::GET, Some(from), Wait::Short)?;
        let request = self.request(call, Method::PUT, Some(to), Wait::List)?;
        let request = self.created(request, false);
        let request = request.header("x-ms-copy-source", source.url.as_str());
        Ok(Facts::of(&self.service.fetch(call, &request).await?))
    }

    /// Delete Blob, with what snapshots others made of it.
    pub(crate) async fn delete(&self, call: &Call, key: &str) -> Outcome<()> {
        let request = self.request(call, Method::DELETE, Some(key), Wait::Short)?;
        let request = request.header("x-ms-delete-snapshots", "include");
        self.service.fetch(call, &request).await.map(drop)
    }

    /// Create Container.
    pub(crate) async fn create_container(&self, call: &Call) -> Outcome<()> {
        let request = self.request(call, Method::PUT, None, Wait::Short)?;
        let request = request.query(&[("restype", "container")]);
        self.service.fetch(call, &request).await.map(drop)
    }

    fn created(&self, request: Request, fresh: bool) -> Request {
        let request = request.header_if(fresh, "if-none-match", "*");
        match &self.tier {
            Some(tier) => request.header("x-ms-access-tier", tier),
            None => request,
        }
    }

    /// A request about a blob, or about the container without a key.
    fn request(
        &self,
        call: &Call,
        method: Method,
        key: Option<&str>,
        wait: Wait,
    ) -> Result<Request> {
        let mut address = format!("{}/{}", self.address, encode::path(&self.container));
        if let Some(key) = key {
            address = format!("{address}/{}", encode::path(key));
        }
        // Some names, such as `..`, do not survive in an address.
        let url = Url::parse(&address)
            .ok()
            .filter(|url| address.ends_with(url.path()))
            .ok_or_else(|| {
                let text = "server, container or name cannot be put into an address";
                call.error(ErrorKind::Config, text)
            })?;
        Ok(Request::new(method, url, wait).header("x-ms-version", VERSION))
    }
}

/// The MD5 of the content that a reply names.
pub(crate) fn md5_of(reply: &Reply) -> Option<Vec<u8>> {
    encode::unbase64(reply.header("content-md5")?)
}

/// What a refusal means, by the service's own codes. Replies to HEAD have the code in a header only.
pub(crate) fn meaning(call: &Call, refused: &Refused) -> Option<Meaning> {
    let reply = refused.xml("Error").unwrap_or_default();
    let code = match refused.header("x-ms-error-code") {
        Some(code) => code,
        None => reply.text_of("Code"),
    };
    let mut kind = kind_of(CODES, code);
    let is_missing = code == "ResourceNotFound" || (code.is_empty() && refused.status == 404);
    if is_missing && !ON_FILES.contains(&call.operation) {
        kind = Some(ErrorKind::FolderMissing);
    }
    let detail = reply.text_of("AuthenticationErrorDetail");
    // The request's id and the time follow on lines of their own.
    let message = reply.text_of("Message").lines().next().unwrap_or_default();
    let mut words = match (sentence(message), code) {
        (words, "") => words,
        (words, code) if words.is_empty() => code.to_owned(),
        (words, code) => format!("{words} ({code})"),
    };
    if CLOCK.iter().any(|said| detail.contains(said)) {
        kind = Some(ErrorKind::Config);
        words = format!("the clock of this machine is wrong: {}", sentence(detail));
    } else if detail.contains(OUTSIDE_ITS_TIME) {
        words = format!(
            "the SAS token is not valid now: {} ({code})",
            sentence(detail)
        );
    }
    if code == "AuthorizationFailure" {
        words +=
            ": the SAS token does not allow it, or the account's firewall keeps this machine out";
    }
    let is_container = kind == Some(ErrorKind::FolderMissing);
    if is_container && words.is_empty() {
        words = "the container does not exist".to_owned();
    }
    Some(Meaning {
        kind,
        words,
        code: code.to_owned(),
        advice: is_container.then_some(&NO_CONTAINER),
        ..Meaning::default()
    })
}

/// <https://learn.microsoft.com/en-us/rest/api/storageservices/common-rest-api-error-codes> and
/// <https://learn.microsoft.com/en-us/rest/api/storageservices/blob-service-error-codes>. Nothing there is said of an account
/// that is full.
#[rustfmt::skip]
const CODES: Codes = &[
    (ErrorKind::FolderMissing, &["ContainerNotFound", "ContainerDisabled"]),
    (ErrorKind::NotFound, &["BlobNotFound", "ResourceNotFound"]),
    (ErrorKind::SignInNeeded, &[
        "AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation",
    ]),
    (ErrorKind::Denied, &[
        // Of a SAS token that does not allow the call, and of a firewall (observed by users of the service's own clients).
        "AuthorizationFailure", "AccountIsDisabled", "InsufficientAccountPermissions", "AuthorizationPermissionMismatch",
        "AuthorizationProtocolMismatch", "AuthorizationResourceTypeMismatch", "AuthorizationServiceMismatch",
        "AuthorizationSourceIPMismatch", "KeyBasedAuthenticationNotPermitted", "UnauthorizedBlobOverwrite",
    ]),
    (ErrorKind::Archived, &["BlobArchived", "BlobBeingRehydrated"]),
    (ErrorKind::Locked, &[
        "BlobImmutableDueToPolicy", "BlobImmutableDueToLegalHold", "LeaseIdMissing", "LeaseAlreadyPresent",
    ]),
    // Others put blocks under this name at the same time, or left some whose ids are longer: another name helps.
    (ErrorKind::Exists, &[
        "BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet", "InvalidBlockList", "InvalidBlockId",
        "InvalidBlobOrBlock",
    ]),
    (ErrorKind::Corrupt, &["Md5Mismatch", "InvalidMd5"]),
    (ErrorKind::Busy(None), &[
        "ServerBusy", "SystemInUse", "AccountBeingCreated", "PendingCopyOperation", "SnapshotOperationRateExceeded",
    ]),
    // "The removal takes at least 30 seconds" (Delete Container).
    (ErrorKind::Busy(Some(Duration::from_secs(30))), &["ContainerBeingDeleted"]),
    (ErrorKind::Network, &["InternalError", "OperationTimedOut"]),
    (ErrorKind::Config, &[
        "InvalidResourceName", "InvalidUri", "OutOfRangeInput", "InvalidBlobTier", "BlobTierInadequateForContentLength",
        "BlobAccessTierNotSupportedForAccountType", "FeatureVersionMismatch", "InvalidBlobType",
    ]),
    (ErrorKind::Unsupported, &[
        "UnsupportedHeader", "UnsupportedHttpVerb", "UnsupportedQueryParameter", "BlobOperationNotSupported",
    ]),
];

/// Operations that ask for a file which may be missing.
const ON_FILES: &[Operation] = &[
    Operation::Get,
    Operation::Delete,
    Operation::Rename,
    Operation::Lock,
    Operation::LockedUntil,
];
/// What the service says of a date that is too far from its own (observed by its users; the page above names no code).
const CLOCK: &[&str] = &["date header too old", "Date header"];
/// What it says of a token before its begin or after its end.
const OUTSIDE_ITS_TIME: &str = "time frame";
const NO_CONTAINER: Advice = Advice {
    id: "FolderMissing",
    help: "check the container's name in the URL and the account; a backup creates a missing container, unless a SAS token \
           does not allow that",
};
/// The first version that knows the tier Cold.
const VERSION: &str = "2021-12-02";
const CONTENT_TYPE: &str = "application/octet-stream";
/// What the service checks uploads against.
pub(crate) const MD5: &[Algorithm] = &[Algorithm::Md5];
/// Longest accepted document, a page of a listing: 5,000 names of up to 1,024 characters with some 1,500 bytes of properties.
const PAGE_BYTES: usize = 32 << 20;
