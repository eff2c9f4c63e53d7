//! The client: settings, one exchange, its reply.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use larder_destination::{Body, Download, Error, ErrorKind, Result};
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::failure::{Call, Outcome, timeout_error, transport_failure};
use crate::refused::Refused;
use crate::request::{Payload, Request, Wait};
use crate::retry::RetryPolicy;
use crate::service::{parse_json, unreadable};
use crate::tls::{self, Trust};
use crate::transfer::{self, Progress};
use crate::xml::Element;

/// How long to wait; `None` waits for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For connecting, and for a small request and its reply as a whole.
    pub short: Option<Duration>,
    /// For a listing as a whole.
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

impl Proxy {
    /// The one at a host, which may say its scheme; port 0 is the usual one.
    #[must_use]
    pub fn at(host: &str, port: i64) -> Self {
        let scheme = if host.contains("://") { "" } else { "http://" };
        let port = match port {
            0 => String::new(),
            port => format!(":{port}"),
        };
        Self::Address(format!("{scheme}{host}{port}"))
    }
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

impl Settings {
    /// The same for a server of this name: no proxy stands before one on this machine.
    #[must_use]
    pub fn for_host(mut self, host: &str) -> Self {
        if crate::service::is_local(host) {
            self.proxy = Proxy::Direct;
        }
        self
    }
}

/// Sends requests; cheap to clone, all clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    inner: reqwest::Client,
    timeouts: Timeouts,
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
        })
    }

    /// When the listing that begins now has to be at its end.
    pub(crate) fn list_deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.timeouts.list?)
    }

    /// Sends one request once and waits for the header of the reply, whatever its status.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`] with the hash of the certificate; [`ErrorKind::Network`] when the exchange broke off
    /// or took too long; [`ErrorKind::Other`] when the body could not be read or has another length than announced.
    pub async fn send(&self, call: &Call, request: Request) -> Outcome<Reply> {
        if let Some(name) = request.unsendable {
            let text = format!("the value of the header {name} has characters it must not have");
            return Err(call.error(ErrorKind::Config, text).into());
        }
        let wait = request.wait;
        let begin = Instant::now();
        let progress = Progress::new(request.payload.len());
        let exchange = self.inner.execute(on_the_wire(request, &progress));
        let response = match (wait, self.limit(wait)) {
            (_, None) => exchange.await,
            (Wait::Transfer, Some(stall)) => {
                let answer = self.timeouts.short.unwrap_or(stall);
                tokio::select! {
                    response = exchange => response,
                    () = progress.stalled(stall, answer) => {
                        return Err(timeout_error(call, "no byte moved", stall).into());
                    }
                }
            }
            (Wait::Short | Wait::List, Some(limit)) => {
                match tokio::time::timeout(limit, exchange).await {
                    Ok(response) => response,
                    Err(_) => {
                        let what = "the server did not answer";
                        return Err(timeout_error(call, what, limit).into());
                    }
                }
            }
        };
        if progress.source_failed() {
            let error = call.error(ErrorKind::Other, "the content to send cannot be read");
            return Err(match response {
                Ok(_) => error.into(),
                Err(cause) => error.caused_by(cause.without_url()).into(),
            });
        }
        let response = response.map_err(|error| transport_failure(call, error))?;
        if response.status().is_success() && progress.left() > 0 {
            let text = "the server answered before it had the whole content";
            return Err(call.error(ErrorKind::Network, text).into());
        }
        let deadline = match wait {
            Wait::Short | Wait::List => self.limit(wait).and_then(|limit| begin.checked_add(limit)),
            Wait::Transfer => None,
        };
        Ok(Reply {
            response,
            stall: self.timeouts.stall,
            short: self.timeouts.short,
            deadline,
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

/// The request as the library below wants it; its body notes how far it has come.
fn on_the_wire(request: Request, progress: &Progress) -> reqwest::Request {
    let Request {
        method,
        url,
        mut headers,
        payload,
        tap,
        ..
    } = request;
    let has_body = matches!(method, Method::PUT | Method::POST | Method::PATCH);
    let len = payload.len();
    let stream = |body: &Body| {
        let source = match &tap {
            Some(tap) => tap.listen(body.stream(), body.len()),
            None => body.stream(),
        };
        reqwest::Body::wrap_stream(transfer::outgoing(source, body.len(), progress))
    };
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
    request
}

/// The reply to one request, its body not read yet.
#[derive(Debug)]
pub struct Reply {
    response: reqwest::Response,
    stall: Option<Duration>,
    short: Option<Duration>,
    /// When the whole reply has to be there.
    deadline: Option<Instant>,
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

    /// Reads the whole body, which must not be longer than `max` bytes; reading ends at the first byte too many.
    ///
    /// # Errors
    /// [`ErrorKind::Network`] when it breaks off, stalls or takes longer than the request may, [`ErrorKind::Other`]
    /// when it is too long.
    pub async fn bytes(self, call: &Call, max: usize) -> Result<Vec<u8>> {
        let mut reading = self.reading(call);
        let mut all = Vec::new();
        while let Some(piece) = reading.next_piece().await? {
            if all.len() + piece.len() > max {
                let text = format!("the reply is longer than {max} bytes");
                return Err(call.error(ErrorKind::Other, text));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// Reads the body as a document in JSON of at most `max` bytes.
    ///
    /// # Errors
    /// As [`Reply::bytes`]; [`ErrorKind::Network`] when it is something else.
    pub async fn json<T: DeserializeOwned>(self, call: &Call, max: usize) -> Result<T> {
        let body = self.bytes(call, max).await?;
        parse_json(&body).map_err(|problem| unreadable(call, &problem))
    }

    /// Reads the body as a document in XML of at most `max` bytes with `root` as its outermost element.
    ///
    /// # Errors
    /// As [`Reply::bytes`]; [`ErrorKind::Network`] when it is something else.
    pub async fn element(self, call: &Call, max: usize, root: &str) -> Result<Element> {
        let body = self.bytes(call, max).await?;
        Element::parse(&body, root).map_err(|problem| unreadable(call, &problem))
    }

    /// Reads the reply as if it were a refusal: some services tell of a failure in the body of a success.
    ///
    /// # Errors
    /// As [`Reply::bytes`].
    pub async fn as_refused(self, call: &Call, max: usize) -> Result<Refused> {
        let (status, headers) = (self.status(), self.headers().clone());
        let body = self.bytes(call, max).await?;
        Ok(Refused {
            status,
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    /// Reads up to `max` bytes of the body; what breaks off is left out.
    pub(crate) async fn beginning(self, call: &Call, max: usize) -> Vec<u8> {
        let mut reading = self.reading(call);
        let mut all = Vec::new();
        while all.len() < max
            && let Ok(Some(piece)) = reading.next_piece().await
        {
            all.extend_from_slice(&piece);
        }
        all.truncate(max);
        all
    }

    /// The body as it arrives, to be read to its end within the time that the request may take.
    ///
    /// # Errors
    /// As [`Reply::bytes`], as an item of the stream.
    #[must_use]
    pub fn stream(self, call: &Call) -> BoxStream<'static, Result<Bytes>> {
        self.reading(call).stream()
    }

    /// As [`Reply::stream`], and writes what passes by to a file, from its beginning.
    ///
    /// # Errors
    /// As [`Reply::stream`]; [`ErrorKind::Config`] when the file cannot be written, since it was asked for.
    #[must_use]
    pub fn stream_copied(self, call: &Call, path: PathBuf) -> BoxStream<'static, Result<Bytes>> {
        transfer::copied(self.stream(call), call.clone(), path)
    }

    /// Hands the body over as it arrives, for as long as it moves; see [`Download`] for the length check.
    #[must_use]
    pub fn download(self, call: Call) -> Download {
        let len = self
            .header("content-length")
            .and_then(|text| text.parse().ok());
        let reading = transfer::Incoming {
            len,
            deadline: None,
            ..self.unlimited(&call)
        };
        Download {
            len,
            stream: reading.stream(),
        }
    }

    /// A document: it has a deadline of its own when the request had none.
    fn reading(self, call: &Call) -> transfer::Incoming {
        let own = self
            .short
            .and_then(|short| Instant::now().checked_add(short));
        let deadline = self.deadline.or(own);
        transfer::Incoming {
            deadline,
            ..self.unlimited(call)
        }
    }

    fn unlimited(self, call: &Call) -> transfer::Incoming {
        transfer::Incoming {
            response: self.response,
            received: 0,
            len: None,
            stall: self.stall,
            deadline: None,
            call: call.clone(),
        }
    }
}
