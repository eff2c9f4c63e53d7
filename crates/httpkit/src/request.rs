//! One request before it is signed and sent.

use std::sync::Arc;

use bytes::Bytes;
use larder_destination::Body;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use crate::encode;
use crate::hash::{Algorithm, Hashes, Tap};

/// Which of the waits applies to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A small request and its reply as a whole: [`Timeouts::short`](crate::Timeouts::short).
    Short,
    /// A page of a listing and its reply as a whole, or other work of the server: [`Timeouts::list`](crate::Timeouts::list).
    List,
    /// A body on its way: [`Timeouts::stall`](crate::Timeouts::stall) since the last byte.
    Transfer,
}

/// Which redirects are followed; method, headers and content are kept. Never followed is one from https to http.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirects {
    /// None: a redirect is a refusal.
    Refuse,
    /// Those to the same host name and port; the request is signed anew.
    SameHost,
    /// All of them; the request is signed anew. Only for signatures that prove a secret without showing it.
    Signed,
    /// All of them; on another host the request goes without any sign-in.
    Unsigned,
}

/// What a request carries.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Nothing.
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// A destination's body, streamed; it is read from its first byte at each attempt.
    Body(Body),
}

impl Payload {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Body(body) => body.len(),
        }
    }
}

/// One request. No part of it is ever printed but method, host and path.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The whole address.
    pub url: Url,
    /// Headers beside those that every request gets.
    pub headers: HeaderMap,
    /// The content.
    pub payload: Payload,
    /// SHA-256 of the content in hexadecimal digits, for signatures that cover it; those of an empty content need none.
    pub content_sha256: Option<String>,
    /// How long to wait.
    pub wait: Wait,
    /// Which redirects are followed.
    pub redirects: Redirects,
    /// Statuses outside 200–299 that are no refusal here.
    pub also: &'static [u16],
    /// Hashes the content while it is sent.
    pub tap: Option<Arc<Tap>>,
    /// The first header whose value cannot be sent; the request is then refused before it leaves.
    pub(crate) unsendable: Option<&'static str>,
}

impl Request {
    /// A request without headers and content.
    #[must_use]
    pub fn new(method: Method, url: Url, wait: Wait) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            payload: Payload::Empty,
            content_sha256: None,
            wait,
            redirects: Redirects::Refuse,
            also: &[],
            tap: None,
            unsendable: None,
        }
    }

    /// A request that reads: `GET`.
    #[must_use]
    pub fn get(url: Url, wait: Wait) -> Self {
        Self::new(Method::GET, url, wait)
    }

    /// Adds a header; its name must be in lower case.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => {
                self.headers.insert(HeaderName::from_static(name), value);
            }
            Err(_) => self.unsendable = Some(name),
        }
        self
    }

    /// Adds a header when `given`.
    #[must_use]
    pub fn header_if(self, given: bool, name: &'static str, value: &str) -> Self {
        if given {
            self.header(name, value)
        } else {
            self
        }
    }

    /// Names the content's MD5 in `Content-MD5`, and its SHA-256 to signatures.
    #[must_use]
    pub fn hashed(mut self, hashes: &Hashes) -> Self {
        self.content_sha256 = Some(hashes.hex(Algorithm::Sha256));
        self.header("content-md5", &hashes.base64(Algorithm::Md5))
    }

    /// Replaces the query.
    #[must_use]
    pub fn query<N: AsRef<str>, V: AsRef<str>>(mut self, pairs: &[(N, V)]) -> Self {
        let query = encode::query(pairs);
        self.url
            .set_query(Some(query.as_str()).filter(|query| !query.is_empty()));
        self
    }

    /// Adds content in memory.
    #[must_use]
    pub fn bytes(mut self, content_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        self.payload = Payload::Bytes(bytes.into());
        self.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self
    }

    /// Adds a document in JSON.
    #[must_use]
    pub fn json<T: serde::Serialize>(self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.bytes("application/json", bytes),
            Err(_) => Self {
                unsendable: Some("content-type"),
                ..self
            },
        }
    }

    /// Adds a form.
    #[must_use]
    pub fn form<N: AsRef<str>, V: AsRef<str>>(self, pairs: &[(N, V)]) -> Self {
        self.bytes("application/x-www-form-urlencoded", encode::form(pairs))
    }

    /// Adds a streamed body.
    #[must_use]
    pub fn body(mut self, body: Body) -> Self {
        self.payload = Payload::Body(body);
        self
    }

    /// Follows these redirects.
    #[must_use]
    pub fn follow(mut self, redirects: Redirects) -> Self {
        self.redirects = redirects;
        self
    }

    /// Takes these statuses as no refusal.
    #[must_use]
    pub fn also(mut self, statuses: &'static [u16]) -> Self {
        self.also = statuses;
        self
    }

    /// Hashes the content while it is sent.
    #[must_use]
    pub fn tapped(mut self, tap: &Arc<Tap>) -> Self {
        self.tap = Some(Arc::clone(tap));
        self
    }

    /// Path and query as they are sent.
    #[must_use]
    pub fn target(&self) -> String {
        match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        }
    }

    /// Host and port as the `Host` header has them.
    #[must_use]
    pub fn host(&self) -> String {
        host_of(&self.url)
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .field("path", &self.url.path())
            .field("len", &self.payload.len())
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

/// Host and port of an address, the port only when it is not the usual one.
pub(crate) fn host_of(url: &Url) -> String {
    match (url.host_str().unwrap_or_default(), url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    }
}
