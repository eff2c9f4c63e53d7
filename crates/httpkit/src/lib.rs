//! What all destinations with HTTP are built from.
//!
//! A provider makes one [`Service`] when it is opened: from the [`Settings`] that the shared [`options`] give, a way to
//! sign in ([`authorize`]), and a [`Dialect`], the function that gives the service's refusals their meaning. Then each
//! of its verbs is a [`Request`] with a [`Call`] that names it in errors:
//!
//! | need | here |
//! | --- | --- |
//! | send once, or again where that may help | [`Service::send`], [`Service::fetch`], [`Service::repeat`] |
//! | a bounded reply as typed value | [`Service::json`], [`Service::xml`] and [`Element`] |
//! | a long document, record by record | [`records`] |
//! | a server and a folder from the URL, a server from an option | [`Site`], [`Server`] |
//! | names in a listing of whole paths | [`Children`] |
//! | a listing in pages | [`pages()`] |
//! | a download that goes on where it broke off | [`resumed`] |
//! | an upload in pieces | [`Chunked`], [`Session`] |
//! | keys below a prefix, for object stores | [`objects`] |
//! | access tokens that run out | [`tokens`] |
//! | content hashes | [`Hashes`] before, [`Tap`] beside an upload, [`checked`] beside a download |
//! | text in addresses | [`encode`] |
//!
//! What must be the same for all lives below: which certificates are trusted ([`Trust`]), how long to wait
//! ([`Timeouts`]), which proxy to use, what a broken exchange means, when a request is repeated ([`RetryPolicy`]), and
//! that a server's wish to be left alone holds for all transfers of an account.
//!
//! No URL with a query, password or token is ever put into an error or a `Debug` output, and what of them a server
//! echoes is redacted.

pub mod authorize;
mod chunked;
mod client;
mod date;
pub mod encode;
mod failure;
mod hash;
mod locks;
pub mod objects;
pub mod options;
mod pace;
mod pages;
mod refused;
mod request;
mod resume;
mod retry;
mod server;
mod service;
mod site;
mod tls;
pub mod tokens;
mod transfer;
mod xml;

pub use authorize::Authorize;
pub use chunked::{Chunked, Part, Session};
pub use client::{Client, Proxy, Reply, Settings, Timeouts};
pub use date::{format_http_date, format_rfc3339, http_date, rfc3339, rfc3339_milliseconds};
pub use failure::{Call, Failure, Outcome, retry_after};
pub use hash::{Algorithm, Hashes, Tap, checked};
pub use locks::{Held, LockCalls, Locks};
pub use pages::{MOST_PAGES, Page, pages};
pub use refused::{Codes, Dialect, Meaning, Refused, kind_of, plain, sentence};
pub use request::{Payload, Redirects, Request, Wait};
pub use resume::resumed;
pub use retry::{RETRIES_OF_REQUESTS, RetryPolicy};
pub use server::Server;
pub use service::{Service, is_local, unreadable};
pub use site::{Child, Children, Site};
pub use tls::{Fingerprint, Trust};
pub use xml::{Element, records, text_element};

/// Methods, headers and status codes, as the HTTP library below names them.
pub mod http {
    pub use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
    pub use reqwest::{Method, StatusCode, Url};
}
