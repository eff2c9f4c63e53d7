//! The client: settings, requests, replies.

use std::time::Duration;

use bytes::Bytes;
use larder_destination::{Body, Download, Error, ErrorKind, Result};
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};

use crate::failure::Call;
use crate::retry::RetryPolicy;
use crate::tls::{self, Trust};
use crate::transfer::{self, Progress};

/// How long to wait; `None` waits for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For connecting and for a small request as a whole.
    pub short: Option<Duration>,
    /// For one page of a listing.
    pub list: Option<Duration>,
    /// For a transfer in which no byte moves.
    pub stall: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            short: Some(Duration::from_secs(30)),
            list: Some(Duration::from_secs(600)),
            stall: Some(Duration::from_secs(30)),
        }
    }
}

/// Which proxy requests go through.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Proxy {
    /// The one named by the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`).
    #[default]
    Environment,
    /// None.
    Direct,
    /// The one at this address.
    Address(String),
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Environment => "Environment",
            Self::Direct => "Direct",
            // An address may hold a password.
            Self::Address(_) => "Address(..)",
        })
    }
}

/// Everything that shapes a [`Client`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which certificates are accepted.
    pub trust: Trust,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// Which proxy to use.
    pub proxy: Proxy,
    /// When to send an idempotent request again.
    pub retry: RetryPolicy,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Idle connections kept per server.
    pub idle_connections: usize,
    /// How long an idle connection is kept.
    pub idle_time: Duration,
    /// Sends small packets at once instead of collecting them (TCP_NODELAY).
    pub no_delay: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trust: Trust::default(),
            timeouts: Timeouts::default(),
            proxy: Proxy::default(),
            retry: RetryPolicy::default(),
            user_agent: concat!("larder/", env!("CARGO_PKG_VERSION")).to_owned(),
            idle_connections: 16,
            idle_time: Duration::from_secs(50),
            no_delay: true,
        }
    }
}

/// Which of the waits applies to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A small request: [`Timeouts::short`] until the reply's header.
    Short,
    /// A page of a listing, or other work of the server: [`Timeouts::list`] until the reply's header.
    List,
    /// A body on its way: [`Timeouts::stall`] since the last byte.
    Transfer,
}

/// What a request carries.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Nothing.
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// A destination's body, streamed; it is read from its first byte.
    Body(Body),
}

impl Payload {
    fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Body(body) => body.len(),
        }
    }
}

/// One request.
#[derive(Clone)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// The whole address. Never printed.
    pub url: Url,
    /// Headers beside those every request gets.
    pub headers: HeaderMap,
    /// The content.
    pub payload: Payload,
    /// How long to wait for the reply's header.
    pub wait: Wait,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing")
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .field("path", &self.url.path())
            .field("len", &self.payload.len())
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

/// Sends requests; cheap to clone, all clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    inner: reqwest::Client,
    timeouts: Timeouts,
    retry: RetryPolicy,
}

impl Client {
    /// A client for `provider`; opens no connection. Redirects are answers like others, never followed by themselves.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a proxy address that is none.
    pub fn new(provider: &'static str, settings: &Settings) -> Result<Self> {
        let config = |text: &str, error: Box<dyn std::error::Error + Send + Sync>| {
            Error::config(provider, text).caused_by(error)
        };
        let tls = tls::client_config(&settings.trust)
            .map_err(|error| config("TLS could not be set up", error.into()))?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(&settings.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .pool_max_idle_per_host(settings.idle_connections)
            .pool_idle_timeout(settings.idle_time)
            .tcp_nodelay(settings.no_delay);
        if let Some(short) = settings.timeouts.short {
            builder = builder.connect_timeout(short);
        }
        builder = match &settings.proxy {
            Proxy::Environment => builder,
            Proxy::Direct => builder.no_proxy(),
            Proxy::Address(address) => {
                builder.proxy(reqwest::Proxy::all(address.as_str()).map_err(|error| {
                    config(
                        "the address of the proxy is not valid",
                        error.without_url().into(),
                    )
                })?)
            }
        };
        let inner = builder.build().map_err(|error| {
            config(
                "the HTTP client could not be set up",
                error.without_url().into(),
            )
        })?;
        Ok(Self {
            inner,
            timeouts: settings.timeouts,
            retry: settings.retry,
        })
    }

    /// When idempotent requests are repeated.
    #[must_use]
    pub fn retry(&self) -> RetryPolicy {
        self.retry
    }

    /// Sends one request once and waits for the header of the reply, whatever its status.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`] with the hash of the certificate; [`ErrorKind::Network`] when the exchange broke off
    /// or took too long; [`ErrorKind::Other`] when the body could not be read or has another length than announced.
    pub async fn send(&self, call: &Call, outgoing: Outgoing) -> Result<Reply> {
        let Outgoing {
            method,
            url,
            mut headers,
            payload,
            wait,
        } = outgoing;
        let has_body = matches!(method, Method::PUT | Method::POST | Method::PATCH);
        let progress = Progress::new(payload.len());
        let len = payload.len();
        let stream = |body: &Body| reqwest::Body::wrap_stream(transfer::outgoing(body, &progress));
        let body = match payload {
            Payload::Empty => has_body.then(|| reqwest::Body::from(Bytes::new())),
            // In one piece nobody could tell how far they have come.
            Payload::Bytes(bytes) => Some(stream(&Body::from_bytes(bytes))),
            Payload::Body(body) => Some(stream(&body)),
        };
        if body.is_some() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
        }
        let mut request = reqwest::Request::new(method, url);
        *request.headers_mut() = headers;
        *request.body_mut() = body;
        let exchange = self.inner.execute(request);
        let response = match (wait, self.limit(wait)) {
            (_, None) => exchange.await,
            (Wait::Transfer, Some(stall)) => {
                let answer = self.timeouts.short.unwrap_or(stall);
                tokio::select! {
                    response = exchange => response,
                    () = progress.stalled(stall, answer) => {
                        return Err(call.timeout_error("no byte moved", stall));
                    }
                }
            }
            (Wait::Short | Wait::List, Some(limit)) => {
                match tokio::time::timeout(limit, exchange).await {
                    Ok(response) => response,
                    Err(_) => return Err(call.timeout_error("the server did not answer", limit)),
                }
            }
        };
        if progress.source_failed() {
            let error = call.error(ErrorKind::Other, "the content to send cannot be read");
            return Err(match response {
                Ok(_) => error,
                Err(cause) => error.caused_by(cause.without_url()),
            });
        }
        let response = response.map_err(|error| call.transport_error(error))?;
        if response.status().is_success() && progress.left() > 0 {
            let text = "the server answered before it had the whole content";
            return Err(call.error(ErrorKind::Network, text));
        }
        Ok(Reply {
            response,
            stall: self.timeouts.stall,
        })
    }

    fn limit(&self, wait: Wait) -> Option<Duration> {
        match wait {
            Wait::Short => self.timeouts.short,
            Wait::List => self.timeouts.list,
            Wait::Transfer => self.timeouts.stall,
        }
    }
}

/// The reply to one request, its body not read yet.
#[derive(Debug)]
pub struct Reply {
    response: reqwest::Response,
    stall: Option<Duration>,
}

impl Reply {
    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// All headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// One header, when it is there and printable.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Reads the whole body, which must not be longer than `max` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Network`] when it breaks off or stalls, [`ErrorKind::Other`] when it is too long.
    pub async fn bytes(mut self, call: &Call, max: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = transfer::next_piece(&mut self.response, self.stall, call).await? {
            if all.len() + piece.len() > max {
                return Err(call.error(
                    ErrorKind::Other,
                    format!("the reply is longer than {max} bytes"),
                ));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// Hands the body over as it arrives; see [`Download`] for the length check.
    #[must_use]
    pub fn download(self, call: Call) -> Download {
        let len = self
            .header("content-length")
            .and_then(|text| text.parse().ok());
        transfer::incoming(self.response, len, self.stall, call)
    }
}
