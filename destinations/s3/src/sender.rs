//! From a call to a signed request on the wire, and from a refusal to an error.
//!
//! Everything about addresses, regions, clocks, redirects and signatures ends here.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use larder_destination::{ErrorKind, Result};
use larder_httpkit::http::{HeaderMap, HeaderName, HeaderValue, Method, Url};
use larder_httpkit::{Call, Client, Payload, Reply, RetryPolicy, Wait, http_date};

use crate::digest::Digests;
use crate::endpoint::Endpoint;
use crate::refusal::Failure;
use crate::replies::ErrorReply;
use crate::sign::{
    Credentials, EMPTY_PAYLOAD, Scope, Signable, SignatureVersion, UNSIGNED_PAYLOAD,
};
use crate::{sign, sign2};

/// Result of one request.
pub(crate) type Outcome<T> = std::result::Result<T, Box<Failure>>;

/// What is fixed for the life of a [`Sender`].
#[derive(Debug)]
pub(crate) struct Account {
    /// The key pair.
    pub credentials: Credentials,
    /// The service name in signatures.
    pub service: String,
    /// The bucket.
    pub bucket: String,
    /// Which signatures are made.
    pub signature: SignatureVersion,
    /// Whether bodies are part of the signature.
    pub sign_payload: bool,
    /// Storage class of new objects.
    pub storage_class: Option<String>,
    /// Whether redirects to another server are followed.
    pub follow_redirects: bool,
}

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    /// The bucket.
    Bucket,
    /// An object in it.
    Object(&'a str),
}

/// One request before it gets an address and a signature.
pub(crate) struct Request<'a> {
    method: Method,
    target: Target<'a>,
    query: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
    payload: Payload,
    payload_hash: String,
    wait: Wait,
}

impl<'a> Request<'a> {
    /// A request without query, headers and content.
    pub(crate) fn new(method: Method, target: Target<'a>, wait: Wait) -> Self {
        Self {
            method,
            target,
            query: Vec::new(),
            headers: Vec::new(),
            payload: Payload::Empty,
            payload_hash: EMPTY_PAYLOAD.to_owned(),
            wait,
        }
    }

    /// Adds a query parameter.
    pub(crate) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Adds a header; its name must be in lower case.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds content with its hashes.
    pub(crate) fn body(mut self, payload: Payload, digests: &Digests) -> Self {
        self.payload = payload;
        self.payload_hash.clone_from(&digests.sha256_hex);
        self.header("content-md5", digests.md5_base64())
    }

    /// Adds a document in XML.
    pub(crate) fn document(self, text: String) -> Self {
        let digests = Digests::of(text.as_bytes());
        self.body(Payload::Bytes(Bytes::from(text)), &digests)
            .header("content-type", "application/xml")
    }
}

/// Sends requests about one bucket.
#[derive(Debug)]
pub(crate) struct Sender {
    client: Client,
    retry: RetryPolicy,
    account: Account,
    endpoint: RwLock<Arc<Endpoint>>,
    /// Seconds that the server's clock is ahead of ours, as far as it complained.
    skew: AtomicI64,
}

impl Sender {
    /// A sender for the bucket of `account`.
    pub(crate) fn new(
        client: Client,
        retry: RetryPolicy,
        account: Account,
        endpoint: Endpoint,
    ) -> Self {
        let endpoint = RwLock::new(Arc::new(endpoint));
        Self {
            client,
            retry,
            account,
            endpoint,
            skew: AtomicI64::new(0),
        }
    }

    /// Whose bucket it is, and how requests about it are made.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// When requests are worth repeating.
    pub(crate) fn retry(&self) -> RetryPolicy {
        self.retry
    }

    /// The endpoint in use, which may have moved to the right region since the start.
    pub(crate) fn endpoint(&self) -> Arc<Endpoint> {
        self.endpoint
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sends a request whose success may turn out to be an error in the body (copy, complete): the server answers
    /// early to keep the connection alive.
    pub(crate) async fn checked(&self, call: &Call, request: &Request<'_>) -> Outcome<()> {
        let reply = self.send(call, request).await?;
        let (status, headers) = (reply.status(), reply.headers().clone());
        let xml = reply.bytes(call, DOCUMENT_BYTES).await?;
        match ErrorReply::parse(&xml) {
            Some(error) => {
                let about_bucket = matches!(request.target, Target::Bucket);
                Err(Box::new(Failure::refused(
                    call,
                    status,
                    headers,
                    Some(error),
                    about_bucket,
                )))
            }
            None => Ok(()),
        }
    }

    /// Sends a request; a wrong region, a wrong clock and a redirect are corrected once each.
    pub(crate) async fn send(&self, call: &Call, request: &Request<'_>) -> Outcome<Reply> {
        let (mut region_tried, mut clock_tried) = (false, false);
        let mut redirect: Option<Url> = None;
        loop {
            let endpoint = self.endpoint();
            let outgoing = self.outgoing(call, &endpoint, request, redirect.as_ref())?;
            let reply = self
                .client
                .send(call, outgoing)
                .await
                .map_err(|failure| failure.error)?;
            let status = reply.status();
            if status.is_success() {
                return Ok(reply);
            }
            let headers = reply.headers().clone();
            // A body that cannot be read takes nothing from what the status says.
            let xml = reply.bytes(call, DOCUMENT_BYTES).await.unwrap_or_default();
            let about_bucket = matches!(request.target, Target::Bucket);
            let failure =
                Failure::refused(call, status, headers, ErrorReply::parse(&xml), about_bucket);
            if let Some(region) = failure.right_region().filter(|_| !region_tried) {
                region_tried = true;
                self.move_to(&endpoint, &region);
            } else if failure.code == "RequestTimeTooSkewed" && !clock_tried {
                clock_tried = true;
                let Some(date) = failure.header("date").and_then(http_date) else {
                    return Err(Box::new(failure));
                };
                self.skew.store(date - now(), Ordering::Relaxed);
            } else if let Some(to) = self
                .redirect(&failure, request, &endpoint)
                .filter(|_| redirect.is_none())
            {
                redirect = Some(to);
            } else {
                return Err(Box::new(failure));
            }
        }
    }

    /// Uses the right region from now on, unless another request has changed the endpoint meanwhile.
    fn move_to(&self, seen: &Arc<Endpoint>, region: &str) {
        let mut endpoint = self
            .endpoint
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(seen, &endpoint) {
            *endpoint = Arc::new(seen.in_region(region));
        }
    }

    /// The address a redirect leads to, when it may be followed; never from https to http.
    fn redirect(
        &self,
        failure: &Failure,
        request: &Request<'_>,
        endpoint: &Endpoint,
    ) -> Option<Url> {
        let creates_bucket =
            request.method == Method::PUT && matches!(request.target, Target::Bucket);
        let wanted = match failure.status {
            307 => self.account.follow_redirects || creates_bucket,
            301 | 302 | 308 => self.account.follow_redirects,
            _ => false,
        };
        let to = wanted.then(|| failure.header("location"))??;
        let to = Url::parse(to).ok()?;
        (to.scheme() == "https" || (to.scheme() == "http" && !endpoint.tls)).then_some(to)
    }

    fn outgoing(
        &self,
        call: &Call,
        endpoint: &Endpoint,
        request: &Request<'_>,
        redirect: Option<&Url>,
    ) -> Result<larder_httpkit::Request> {
        let bucket = &self.account.bucket;
        let (host, path) = match (redirect, request.target) {
            (Some(url), _) => (host_of(url), url.path().to_owned()),
            (None, Target::Bucket) => endpoint.bucket(bucket),
            (None, Target::Object(key)) => endpoint.object(bucket, key),
        };
        let tls = redirect.map_or(endpoint.tls, |url| url.scheme() == "https");
        let query = sign::canonical_query(&request.query);
        let mark = if query.is_empty() { "" } else { "?" };
        let address = format!(
            "{}://{host}{path}{mark}{query}",
            if tls { "https" } else { "http" }
        );
        let url = Url::parse(&address)
            .ok()
            .filter(|url| url.path() == path && host_of(url) == host)
            .ok_or_else(|| {
                call.error(
                    ErrorKind::Config,
                    "server, bucket or name cannot be put into an address",
                )
            })?;
        let headers = self.signed_headers(endpoint, request, &host, &path, &query)?;
        let mut outgoing = larder_httpkit::Request::new(request.method.clone(), url, request.wait);
        outgoing.headers = header_map(call, headers)?;
        outgoing.payload = request.payload.clone();
        Ok(outgoing)
    }

    /// All headers of a request, with the signature among them.
    fn signed_headers(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        host: &str,
        path: &str,
        query: &str,
    ) -> Result<Vec<(&'static str, String)>> {
        let account = &self.account;
        let seconds = now() + self.skew.load(Ordering::Relaxed);
        let mut headers = request.headers.clone();
        let authorization = match account.signature {
            SignatureVersion::V4 => {
                let date = sign::amz_date(seconds);
                let payload_hash = if account.sign_payload {
                    &request.payload_hash
                } else {
                    UNSIGNED_PAYLOAD
                };
                headers.push(("x-amz-date", date.clone()));
                headers.push(("x-amz-content-sha256", payload_hash.to_owned()));
                let mut signed: Vec<_> = headers
                    .iter()
                    .map(|(name, value)| (*name, value.as_str()))
                    .collect();
                signed.push(("host", host));
                let scope = Scope {
                    region: &endpoint.region,
                    service: &account.service,
                    date: &date,
                };
                let signable = Signable {
                    method: request.method.as_str(),
                    path,
                    query,
                    headers: &signed,
                    payload_hash,
                };
                sign::authorization(&account.credentials, scope, &signable)
            }
            SignatureVersion::V2 => {
                headers.push(("date", sign2::http_date(seconds)));
                let resource =
                    sign2::resource(&account.bucket, path, endpoint.path_style, &request.query);
                sign2::authorization(
                    &account.credentials,
                    request.method.as_str(),
                    &headers,
                    &resource,
                )
            }
        };
        headers.push(("authorization", authorization));
        Ok(headers)
    }
}

fn header_map(call: &Call, headers: Vec<(&'static str, String)>) -> Result<HeaderMap> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let mut value = HeaderValue::from_str(&value).map_err(|_| {
            call.error(
                ErrorKind::Config,
                format!("the value of the header {name} has characters it must not have"),
            )
        })?;
        value.set_sensitive(name == "authorization");
        map.insert(HeaderName::from_static(name), value);
    }
    Ok(map)
}

fn host_of(url: &Url) -> String {
    match (url.host_str().unwrap_or_default(), url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    }
}

/// The present time in seconds since 1970 UTC; signatures are made for it.
#[expect(
    clippy::disallowed_methods,
    reason = "a signature holds the time of its request"
)]
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Longest accepted document other than a listing.
pub(crate) const DOCUMENT_BYTES: usize = 1 << 20;
