//! The one HTTP client of all destinations.
//!
//! A provider describes a request ([`Outgoing`]), sends it through a [`Client`] and gets a [`Reply`]. Everything that
//! must be the same for all providers lives here: which certificates are trusted ([`Trust`]), how long to wait
//! ([`Timeouts`]), which proxy to use, what a failed transfer or status means ([`Call`]), and when an idempotent
//! request is sent again ([`RetryPolicy`]). Providers add only what their service says in its own words.
//!
//! No URL with a query, password or token is ever put into an error or a `Debug` output.

mod client;
mod date;
mod failure;
pub mod options;
mod retry;
mod tls;
mod transfer;

pub use client::{Client, Outgoing, Payload, Proxy, Reply, Settings, Timeouts, Wait};
pub use date::http_date;
pub use failure::{Call, retry_after};
pub use retry::RetryPolicy;
pub use tls::{Fingerprint, Trust};

/// Methods, headers and status codes, as the HTTP library below names them.
pub mod http {
    pub use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
    pub use reqwest::{Method, StatusCode, Url};
}
