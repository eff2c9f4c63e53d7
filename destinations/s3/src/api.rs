//! The calls of the service and their replies, without any meaning for backups.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>. Everything about
//! addresses and regions ends here.

use std::sync::Arc;

use bytes::Bytes;
use larder_destination::{Advice, Body, ErrorKind, Operation, Result};
use larder_httpkit::authorize::Regions;
use larder_httpkit::http::{Method, Url};
use larder_httpkit::objects::etag_md5;
use larder_httpkit::{
    Algorithm, Call, Codes, Element, Hashes, Meaning, Outcome, Payload, Redirects, Refused, Reply,
    Request, Service, Wait, encode, kind_of, sentence, text_element, unreadable,
};

use crate::endpoint::Endpoint;

/// One bucket on one server.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) service: Service,
    pub(crate) bucket: String,
    /// Where the bucket is found at first; the service moves requests to the right region.
    pub(crate) endpoint: Endpoint,
    pub(crate) regions: Arc<Regions>,
    /// Storage class of new objects.
    pub(crate) class: Option<String>,
    /// The signatures are those of servers that may have object locks.
    pub(crate) knows_locks: bool,
    /// The mode of new locks, in capitals.
    pub(crate) lock_mode: String,
    /// Which redirects are followed.
    pub(crate) redirects: Redirects,
}

/// Which form of the list call is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListStyle {
    /// Version 2 of the call.
    pub version_2: bool,
    /// Names in the reply are percent-encoded.
    pub encoded: bool,
    /// Without a delimiter.
    pub recursive: bool,
}

impl Api {
    /// `ListObjectsV2` or `ListObjects`: one page of at most 1,000 names.
    pub(crate) async fn list(
        &self,
        call: &Call,
        style: ListStyle,
        prefix: &str,
        from: Option<&str>,
    ) -> Outcome<Element> {
        let mut query = vec![("prefix", prefix), ("max-keys", "1000")];
        query.extend(style.version_2.then_some(("list-type", "2")));
        query.extend((!style.recursive).then_some(("delimiter", "/")));
        query.extend(style.encoded.then_some(("encoding-type", "url")));
        query.extend(from.map(|from| match style.version_2 {
            true => ("continuation-token", from),
            false => ("marker", from),
        }));
        let request = self.request(call, Method::GET, None, Wait::List)?;
        let request = request.query(&query);
        let page = self.xml(call, &request, "ListBucketResult").await?;
        if !page.text_of("EncodingType").eq_ignore_ascii_case("url") {
            return Ok(page);
        }
        // Names are written as in forms, where `+` is a blank.
        let page = page.map_texts(&["Key", "Prefix", "NextMarker"], encode::decode_form);
        let problem = "a name in the listing is not UTF-8";
        Ok(page.ok_or_else(|| unreadable(call, problem))?)
    }

    /// `GetObject`; the body is still to be read.
    pub(crate) async fn get(&self, call: &Call, key: &str) -> Outcome<Reply> {
        let request = self.request(call, Method::GET, Some(key), Wait::Transfer)?;
        self.service.fetch(call, &request).await
    }

    /// `HeadObject`: the object's length, when it is there.
    pub(crate) async fn head(&self, call: &Call, key: &str) -> Outcome<Option<u64>> {
        let request = self.request(call, Method::HEAD, Some(key), Wait::Short)?;
        let reply = self.service.fetch(call, &request.also(&[404])).await?;
        let len = reply.header("content-length").unwrap_or_default().parse();
        Ok((reply.status() != 404).then(|| len.unwrap_or(0)))
    }

    /// `PutObject`; with `fresh` only when no object has the name yet, where the server knows that condition.
    pub(crate) async fn put(
        &self,
        call: &Call,
        key: &str,
        body: Body,
        hashes: &Hashes,
        fresh: bool,
    ) -> Outcome<String> {
        let request = self.request(call, Method::PUT, Some(key), Wait::Transfer)?;
        let request = self.created(request).body(body).hashed(hashes);
        let request = request.header_if(fresh, "if-none-match", "*");
        verified(call, &self.service.send(call, &request).await?, hashes)
    }

    /// `DeleteObject`; a missing object is success for most servers.
    pub(crate) async fn delete(&self, call: &Call, key: &str) -> Outcome<()> {
        let request = self.request(call, Method::DELETE, Some(key), Wait::Short)?;
        self.service.fetch(call, &request).await.map(drop)
    }

    /// `CopyObject` within the bucket.
    pub(crate) async fn copy(&self, call: &Call, from: &str, to: &str) -> Outcome<()> {
        let source = format!("/{}/{}", encode::path(&self.bucket), encode::path(from));
        let request = self.request(call, Method::PUT, Some(to), Wait::List)?;
        let request = &self.created(request).header("x-amz-copy-source", &source);
        let copy = |_| self.checked(call, request);
        self.service.repeat(call, copy).await
    }

    /// `CreateBucket`, in `location` when one is given.
    pub(crate) async fn create_bucket(&self, call: &Call, location: Option<&str>) -> Outcome<()> {
        let mut request = self.request(call, Method::PUT, None, Wait::List)?;
        request.redirects = Redirects::Signed;
        if let Some(location) = location {
            let wish = text_element("LocationConstraint", location);
            request = document_in(request, &wish, "CreateBucketConfiguration");
        }
        self.service.fetch(call, &request).await.map(drop)
    }

    /// `CreateMultipartUpload`: the id of the upload.
    pub(crate) async fn create_upload(&self, call: &Call, key: &str) -> Outcome<String> {
        let request = self.request(call, Method::POST, Some(key), Wait::Short)?;
        let request = self.created(request).query(&[("uploads", "")]);
        let root = "InitiateMultipartUploadResult";
        let begun = self.xml(call, &request, root).await?;
        match begun.text_of("UploadId") {
            "" => Err(unreadable(call, "it names no upload").into()),
            id => Ok(id.to_owned()),
        }
    }

    /// `UploadPart`; `number` counts from 1.
    pub(crate) async fn upload_part(
        &self,
        call: &Call,
        (key, id): (&str, &str),
        number: u64,
        bytes: Bytes,
        hashes: &Hashes,
    ) -> Outcome<String> {
        let number = number.to_string();
        let mut request = self.request(call, Method::PUT, Some(key), Wait::Transfer)?;
        request.payload = Payload::Bytes(bytes);
        let query = [("partNumber", number.as_str()), ("uploadId", id)];
        let request = request.query(&query).hashed(hashes);
        verified(call, &self.service.send(call, &request).await?, hashes)
    }

    /// `CompleteMultipartUpload` with the entity tags of the parts in order.
    pub(crate) async fn complete_upload(
        &self,
        call: &Call,
        (key, id): (&str, &str),
        etags: &[String],
        fresh: bool,
    ) -> Outcome<()> {
        let mut parts = String::new();
        for (number, etag) in (1..).zip(etags) {
            let etag = text_element("ETag", etag);
            parts += &format!("<Part><PartNumber>{number}</PartNumber>{etag}</Part>");
        }
        let request = self.request(call, Method::POST, Some(key), Wait::List)?;
        let request = request.query(&[("uploadId", id)]);
        let request = document_in(request, &parts, "CompleteMultipartUpload");
        let request = request.header_if(fresh, "if-none-match", "*");
        self.checked(call, &request).await
    }

    /// `AbortMultipartUpload`.
    pub(crate) async fn abort_upload(&self, call: &Call, (key, id): (&str, &str)) -> Outcome<()> {
        let request = self.request(call, Method::DELETE, Some(key), Wait::Short)?;
        let request = request.query(&[("uploadId", id)]);
        self.service.fetch(call, &request).await.map(drop)
    }

    /// `ListMultipartUploads`: one page of those below a prefix, from a key and an upload on.
    pub(crate) async fn uploads(
        &self,
        call: &Call,
        prefix: &str,
        from: Option<&[String; 2]>,
    ) -> Outcome<Element> {
        let mut query = vec![("uploads", ""), ("prefix", prefix)];
        if let Some([key, id]) = from {
            query.extend([("key-marker", &**key), ("upload-id-marker", &**id)]);
        }
        let request = self.request(call, Method::GET, None, Wait::List)?;
        let request = request.query(&query);
        self.xml(call, &request, "ListMultipartUploadsResult").await
    }

    /// `GetObjectLockConfiguration`. A server that does not know it may answer with a listing, which says no.
    pub(crate) async fn has_object_lock(&self, call: &Call) -> Outcome<bool> {
        let request = self.request(call, Method::GET, None, Wait::Short)?;
        let request = request.query(&[("object-lock", "")]);
        let reply = self.service.fetch(call, &request).await?;
        let document = reply.as_refused(call, PAGE_BYTES).await?;
        let found = document.xml("ObjectLockConfiguration");
        Ok(found.is_some_and(|found| found.text_of("ObjectLockEnabled") == "Enabled"))
    }

    /// `GetObjectRetention` or `GetObjectLegalHold`: what is asked for, and the document that tells it.
    pub(crate) async fn about_object(
        &self,
        call: &Call,
        key: &str,
        name: &str,
        root: &str,
    ) -> Outcome<Element> {
        let request = self.request(call, Method::GET, Some(key), Wait::Short)?;
        self.xml(call, &request.query(&[(name, "")]), root).await
    }

    /// `PutObjectRetention`.
    pub(crate) async fn put_retention(&self, call: &Call, key: &str, wish: &str) -> Outcome<()> {
        let request = self.request(call, Method::PUT, Some(key), Wait::Short)?;
        let request = request.query(&[("retention", "")]);
        let request = document_in(request, wish, "Retention");
        self.service.fetch(call, &request).await.map(drop)
    }

    fn created(&self, request: Request) -> Request {
        let request = request.header("content-type", "application/octet-stream");
        match &self.class {
            Some(class) => request.header("x-amz-storage-class", class),
            None => request,
        }
    }

    /// Sends a request whose success may turn out to be an error in the body (copy, complete): the server answers
    /// early to keep the connection alive.
    async fn checked(&self, call: &Call, request: &Request) -> Outcome<()> {
        let reply = self.service.send(call, request).await?;
        let refused = reply.as_refused(call, PAGE_BYTES).await?;
        match refused.xml("Error") {
            Some(_) => Err(refused.failure(call, meaning)),
            None => Ok(()),
        }
    }

    async fn xml(&self, call: &Call, request: &Request, root: &str) -> Outcome<Element> {
        self.service.xml(call, request, PAGE_BYTES, root).await
    }

    /// A request about an object, or about the bucket without a key.
    fn request(
        &self,
        call: &Call,
        method: Method,
        key: Option<&str>,
        wait: Wait,
    ) -> Result<Request> {
        let (host, path) = self.endpoint.place(&self.bucket, key);
        let scheme = self.endpoint.server.scheme();
        // Some names, such as `..`, do not survive in an address.
        let url = Url::parse(&format!("{scheme}://{host}{path}"))
            .ok()
            .filter(|url| url.path() == path)
            .ok_or_else(|| {
                let text = "server, bucket or name cannot be put into an address";
                call.error(ErrorKind::Config, text)
            })?;
        Ok(Request::new(method, url, wait).follow(self.redirects))
    }
}

fn document_in(request: Request, content: &str, root: &str) -> Request {
    let text = format!("<{root} xmlns=\"{NAMESPACE}\">{content}</{root}>");
    let hashes = Hashes::of(text.as_bytes(), HASHES);
    request.bytes("application/xml", text).hashed(&hashes)
}

/// The entity tag of what was stored, when it agrees with the content.
fn verified(call: &Call, reply: &Reply, hashes: &Hashes) -> Outcome<String> {
    hashes.check(call, Algorithm::Md5, md5_of(reply).as_deref())?;
    Ok(reply.header("etag").unwrap_or_default().to_owned())
}

/// The MD5 of the content that an entity tag is: not in uploads in parts, nor under keys that the server does not hold.
pub(crate) fn md5_of(reply: &Reply) -> Option<Vec<u8>> {
    let kind = reply
        .header("x-amz-server-side-encryption")
        .unwrap_or_default();
    let key = reply.header("x-amz-server-side-encryption-customer-algorithm");
    etag_md5(reply.header("etag")?).filter(|_| key.is_none() && !kind.starts_with("aws:kms"))
}

/// What a refusal means, by the service's own codes.
pub(crate) fn meaning(call: &Call, refused: &Refused) -> Option<Meaning> {
    let reply = refused.xml("Error").unwrap_or_default();
    let code = reply.text_of("Code");
    if code.is_empty() && refused.status == 404 && BUCKET.contains(&call.operation) {
        // A bare 404 says no more than that what was asked for is missing.
        return Some(Meaning {
            kind: Some(ErrorKind::FolderMissing),
            words: "the bucket does not exist".to_owned(),
            advice: Some(&NO_BUCKET),
            ..Meaning::default()
        });
    }
    let words = match (sentence(reply.text_of("Message")), code) {
        (words, code) if words.is_empty() => code.to_owned(),
        (words, "RequestTimeTooSkewed") => {
            format!("the clock of this machine is wrong: {words} ({code})")
        }
        (words, code) => format!("{words} ({code})"),
    };
    Some(Meaning {
        kind: kind_of(CODES, code),
        words,
        code: code.to_owned(),
        advice: match code {
            "NoSuchBucket" => Some(&NO_BUCKET),
            "SignatureDoesNotMatch" | "InvalidAccessKeyId" => Some(&WRONG_KEY),
            _ => None,
        },
        ..Meaning::default()
    })
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList>, and some seen elsewhere:
/// `XMinioStorageFull` with MinIO, `QuotaExceeded` with several gateways.
#[rustfmt::skip]
const CODES: Codes = &[
    (ErrorKind::FolderMissing, &["NoSuchBucket"]),
    (ErrorKind::NotFound, &["NoSuchKey"]),
    (ErrorKind::Denied, &["AccessDenied", "AllAccessDisabled", "AccountProblem"]),
    (ErrorKind::SignInNeeded, &[
        "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidSecurity", "NotSignedUp",
    ]),
    (ErrorKind::Archived, &["InvalidObjectState"]),
    (ErrorKind::Quota, &["XMinioStorageFull", "QuotaExceeded"]),
    (ErrorKind::Corrupt, &["BadDigest", "XAmzContentSHA256Mismatch", "InvalidDigest", "IncompleteBody"]),
    (ErrorKind::Busy(None), &["SlowDown", "ServiceUnavailable", "OperationAborted"]),
    (ErrorKind::Network, &["InternalError", "RequestTimeout"]),
    (ErrorKind::Unsupported, &["NotImplemented"]),
    (ErrorKind::Exists, &["BucketAlreadyExists", "PreconditionFailed", "ConditionalRequestConflict"]),
    (ErrorKind::Config, &[
        "RequestTimeTooSkewed", "AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect",
        "InvalidLocationConstraint", "IllegalLocationConstraintException", "InvalidBucketName", "InvalidStorageClass",
    ]),
];

/// What the service checks uploads against.
pub(crate) const HASHES: &[Algorithm] = &[Algorithm::Md5, Algorithm::Sha256];
/// Operations that ask for the bucket itself.
const BUCKET: &[Operation] = &[
    Operation::List,
    Operation::CreateFolder,
    Operation::RemoveLeftovers,
];
const NO_BUCKET: Advice = Advice {
    id: "FolderMissing",
    help: "check the bucket's name in the URL and the server (--s3-server-name); a backup creates a missing bucket",
};
const WRONG_KEY: Advice = Advice {
    id: "SignInNeeded",
    help: "check key id and secret key; in a URL, + is written %2B, / is %2F and = is %3D",
};
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
/// Longest accepted document, a page of a listing: 1,000 keys of 1,024 bytes, each percent-encoded and with its properties.
const PAGE_BYTES: usize = 16 << 20;
