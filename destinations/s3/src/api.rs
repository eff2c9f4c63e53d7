//! The calls of the service and their replies, without any meaning for backups.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>. Everything about
//! addresses and regions ends here.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use larder_destination::{Advice, Body, ErrorKind, Result};
use larder_httpkit::authorize::Aws4;
use larder_httpkit::http::{Method, Url};
use larder_httpkit::{
    Algorithm, Call, Element, Failure, Hashes, Meaning, Outcome, Payload, Redirects, Refused,
    Reply, Request, Service, Wait, encode, retry_after, sentence, unreadable,
};
use quick_xml::escape::escape;

use crate::endpoint::Endpoint;

/// One bucket on one server.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) service: Service,
    /// The signature whose region may have to move.
    pub(crate) aws4: Option<Arc<Aws4>>,
    pub(crate) bucket: String,
    /// Where the bucket is found; it may have moved to the right region since the start.
    pub(crate) endpoint: RwLock<Arc<Endpoint>>,
    /// Storage class of new objects.
    pub(crate) class: Option<String>,
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
    /// The endpoint in use.
    pub(crate) fn endpoint(&self) -> Arc<Endpoint> {
        let endpoint = self.endpoint.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&endpoint)
    }

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
        let mut page = self.document(call, request, "ListBucketResult").await?;
        let problem = || unreadable(call, "a name in the listing is not UTF-8");
        decode_names(&mut page).ok_or_else(problem)?;
        Ok(page)
    }

    /// `GetObject`; the body is still to be read.
    pub(crate) async fn get(&self, call: &Call, key: &str) -> Outcome<Reply> {
        let request = self.request(call, Method::GET, Some(key), Wait::Transfer)?;
        self.fetch(call, request).await
    }

    /// `HeadObject`: the object's length, when it is there.
    pub(crate) async fn head(&self, call: &Call, key: &str) -> Outcome<Option<u64>> {
        let request = self.request(call, Method::HEAD, Some(key), Wait::Short)?;
        let reply = self.fetch(call, request.also(&[404])).await?;
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
        verified(call, &self.send(call, request).await?, hashes)
    }

    /// `DeleteObject`; a missing object is success for most servers.
    pub(crate) async fn delete(&self, call: &Call, key: &str) -> Outcome<()> {
        let request = self.request(call, Method::DELETE, Some(key), Wait::Short)?;
        self.fetch(call, request).await.map(drop)
    }

    /// `CopyObject` within the bucket.
    pub(crate) async fn copy(&self, call: &Call, from: &str, to: &str) -> Outcome<()> {
        let source = format!("/{}/{}", encode::path(&self.bucket), encode::path(from));
        let request = self.request(call, Method::PUT, Some(to), Wait::List)?;
        let request = &self.created(request).header("x-amz-copy-source", &source);
        let copy = |_| self.checked(call, request.clone());
        self.service.repeat(call, copy).await
    }

    /// `CreateBucket`, in `location` when one is given.
    pub(crate) async fn create_bucket(&self, call: &Call, location: Option<&str>) -> Outcome<()> {
        let mut request = self.request(call, Method::PUT, None, Wait::List)?;
        request.redirects = Redirects::Signed;
        if let Some(location) = location {
            let location = escape(location);
            request = document_in(
                request,
                format!("<LocationConstraint>{location}</LocationConstraint>"),
                "CreateBucketConfiguration",
            );
        }
        self.fetch(call, request).await.map(drop)
    }

    /// `CreateMultipartUpload`: the id of the upload.
    pub(crate) async fn create_upload(&self, call: &Call, key: &str) -> Outcome<String> {
        let request = self.request(call, Method::POST, Some(key), Wait::Short)?;
        let request = self.created(request).query(&[("uploads", "")]);
        let root = "InitiateMultipartUploadResult";
        let begun = self.document(call, request, root).await?;
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
        verified(call, &self.send(call, request).await?, hashes)
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
            let etag = escape(etag.as_str());
            parts += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        }
        let request = self.request(call, Method::POST, Some(key), Wait::List)?;
        let request = request.query(&[("uploadId", id)]);
        let request = document_in(request, parts, "CompleteMultipartUpload");
        self.checked(call, request.header_if(fresh, "if-none-match", "*"))
            .await
    }

    /// `AbortMultipartUpload`.
    pub(crate) async fn abort_upload(&self, call: &Call, (key, id): (&str, &str)) -> Outcome<()> {
        let request = self.request(call, Method::DELETE, Some(key), Wait::Short)?;
        let request = request.query(&[("uploadId", id)]);
        self.fetch(call, request).await.map(drop)
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
        let root = "ListMultipartUploadsResult";
        self.document(call, request.query(&query), root).await
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
    async fn checked(&self, call: &Call, request: Request) -> Outcome<()> {
        let reply = self.send(call, request).await?;
        let refused = reply.as_refused(call, PAGE_BYTES).await?;
        match refused.xml("Error") {
            Some(_) => Err(refused.failure(call, meaning)),
            None => Ok(()),
        }
    }

    /// As [`Api::fetch`], and reads the reply.
    async fn document(&self, call: &Call, request: Request, root: &str) -> Outcome<Element> {
        let request = &request;
        let read = |_| async move {
            let reply = self.send(call, request.clone()).await?;
            Ok(reply.element(call, PAGE_BYTES, root).await?)
        };
        self.service.repeat(call, read).await
    }

    /// As [`Api::send`], again where that may help.
    async fn fetch(&self, call: &Call, request: Request) -> Outcome<Reply> {
        let send = |_| self.send(call, request.clone());
        self.service.repeat(call, send).await
    }

    /// Sends a request once; when it is the region that is wrong, again to the right one, from then on.
    async fn send(&self, call: &Call, mut request: Request) -> Outcome<Reply> {
        let seen = self.endpoint();
        let mut outcome = self.service.send(call, &request).await;
        let region = outcome
            .as_ref()
            .err()
            .and_then(|failure| right_region(failure));
        if let Some(region) = region {
            let moved = self.move_to(&seen, region);
            let host = request.url.host_str().unwrap_or_default();
            let host = host.replacen(seen.server_name(), moved.server_name(), 1);
            if request.url.set_host(Some(&host)).is_ok() {
                outcome = self.service.send(call, &request).await;
            }
        }
        outcome.map_err(|mut failure| {
            // A bare 404 says no more than that what was asked for is missing.
            let about_bucket = request.url.path() == seen.bucket(&self.bucket).1;
            if failure.status == 404 && failure.code.is_empty() && about_bucket {
                let error = call.error(ErrorKind::FolderMissing, "the bucket does not exist");
                failure.error = error.advice(&NO_BUCKET);
            }
            failure
        })
    }

    /// The endpoint in the right region, unless another request has changed it meanwhile.
    fn move_to(&self, seen: &Arc<Endpoint>, region: &str) -> Arc<Endpoint> {
        let endpoint = self.endpoint.write();
        let mut endpoint = endpoint.unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(seen, &endpoint) {
            *endpoint = Arc::new(seen.in_region(region));
            if let Some(aws4) = &self.aws4 {
                aws4.move_to(region);
            }
        }
        Arc::clone(&endpoint)
    }

    /// A request about an object, or about the bucket without a key.
    fn request(
        &self,
        call: &Call,
        method: Method,
        key: Option<&str>,
        wait: Wait,
    ) -> Result<Request> {
        let endpoint = self.endpoint();
        let (host, path) = match key {
            None => endpoint.bucket(&self.bucket),
            Some(key) => endpoint.object(&self.bucket, key),
        };
        let scheme = if endpoint.tls { "https" } else { "http" };
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

fn document_in(request: Request, content: String, root: &str) -> Request {
    let text = format!("<{root} xmlns=\"{NAMESPACE}\">{content}</{root}>");
    let hashes = Hashes::of(text.as_bytes(), HASHES);
    request.bytes("application/xml", text).hashed(&hashes)
}

/// The entity tag of what was stored, when it agrees with the content; one that cannot be an MD5 says nothing.
fn verified(call: &Call, reply: &Reply, hashes: &Hashes) -> Outcome<String> {
    let etag = reply.header("etag").unwrap_or_default();
    match md5_of(reply) {
        Some(md5) if md5 != hashes.get(Algorithm::Md5) => {
            let text = "the server's checksum is not that of what was sent";
            Err(call.error(ErrorKind::Corrupt, text).into())
        }
        _ => Ok(etag.to_owned()),
    }
}

/// The MD5 of the content that an entity tag is: not in uploads in parts, nor under keys that the server does not hold.
pub(crate) fn md5_of(reply: &Reply) -> Option<Vec<u8>> {
    let kind = reply
        .header("x-amz-server-side-encryption")
        .unwrap_or_default();
    let key = reply.header("x-amz-server-side-encryption-customer-algorithm");
    let md5 = encode::unhex(reply.header("etag")?.trim().trim_matches('"'))?;
    (md5.len() == 16 && key.is_none() && !kind.starts_with("aws:kms")).then_some(md5)
}

/// Undoes the encoding of names in a listing, where the server encoded them; `+` is a blank there, as in forms.
fn decode_names(page: &mut Element) -> Option<()> {
    if page.text_of("EncodingType").eq_ignore_ascii_case("url") {
        let marker = page
            .children
            .iter_mut()
            .filter(|child| child.name == "NextMarker");
        for name in marker {
            name.text = encode::decode_form(&name.text)?;
        }
        let entries = page
            .children
            .iter_mut()
            .flat_map(|child| &mut child.children);
        for name in entries.filter(|field| matches!(field.name.as_str(), "Key" | "Prefix")) {
            name.text = encode::decode_form(&name.text)?;
        }
    }
    Some(())
}

/// What a refusal means, by the service's own codes
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList>) and some seen elsewhere.
pub(crate) fn meaning(_: &Call, refused: &Refused) -> Option<Meaning> {
    let reply = refused.xml("Error").unwrap_or_default();
    let (code, region) = (reply.text_of("Code"), reply.text_of("Region"));
    let header = refused.header("x-amz-bucket-region").unwrap_or_default();
    let words = match (sentence(reply.text_of("Message")), code) {
        (words, code) if words.is_empty() => code.to_owned(),
        (words, "RequestTimeTooSkewed") => {
            format!("the clock of this machine is wrong: {words} ({code})")
        }
        (words, code) => format!("{words} ({code})"),
    };
    Some(Meaning {
        kind: kind_of(code, refused),
        words,
        code: code.to_owned(),
        detail: [region, header]
            .into_iter()
            .find(|region| !region.is_empty())
            .map(str::to_owned),
        advice: match code {
            "NoSuchBucket" => Some(&NO_BUCKET),
            "SignatureDoesNotMatch" | "InvalidAccessKeyId" => Some(&WRONG_KEY),
            _ => None,
        },
    })
}

fn kind_of(code: &str, refused: &Refused) -> Option<ErrorKind> {
    Some(match code {
        "NoSuchBucket" => ErrorKind::FolderMissing,
        "NoSuchKey" => ErrorKind::NotFound,
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => ErrorKind::Denied,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "InvalidToken"
        | "InvalidSecurity"
        | "NotSignedUp" => ErrorKind::SignInNeeded,
        "InvalidObjectState" => ErrorKind::Archived,
        // MinIO's code, and one that several gateways use.
        "XMinioStorageFull" | "QuotaExceeded" => ErrorKind::Quota,
        "BadDigest" | "XAmzContentSHA256Mismatch" | "InvalidDigest" | "IncompleteBody" => {
            ErrorKind::Corrupt
        }
        "SlowDown" | "ServiceUnavailable" => ErrorKind::Busy(retry_after(&refused.headers)),
        "OperationAborted" => ErrorKind::Busy(None),
        "InternalError" | "RequestTimeout" => ErrorKind::Network,
        "NotImplemented" => ErrorKind::Unsupported,
        "BucketAlreadyExists" | "PreconditionFailed" | "ConditionalRequestConflict" => {
            ErrorKind::Exists
        }
        "RequestTimeTooSkewed"
        | "AuthorizationHeaderMalformed"
        | "PermanentRedirect"
        | "TemporaryRedirect"
        | "InvalidLocationConstraint"
        | "IllegalLocationConstraintException"
        | "InvalidBucketName"
        | "InvalidStorageClass" => ErrorKind::Config,
        _ => return None,
    })
}

/// The region to use instead, when a request failed because of it.
fn right_region(failure: &Failure) -> Option<&str> {
    let wrong = failure.status == 301
        || matches!(
            failure.code.as_str(),
            "AuthorizationHeaderMalformed"
                | "PermanentRedirect"
                | "IllegalLocationConstraintException"
        );
    failure.detail.as_deref().filter(|_| wrong)
}

/// What the service checks uploads against.
pub(crate) const HASHES: &[Algorithm] = &[Algorithm::Md5, Algorithm::Sha256];
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
