//! The HTTP side of every simulator: requests in, answers out, and whatever may go wrong between them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::faults::{Fault, Faults, Trouble};

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The host that was asked, without port.
    pub host: String,
    /// Host and port as the client wrote them.
    pub authority: String,
    /// True when it came over TLS.
    pub is_secure: bool,
    /// The path, percent-encoding kept.
    pub path: String,
    /// The decoded query.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as far as it arrived.
    pub body: Bytes,
    /// False when the connection broke before the whole body was there; nobody gets the answer then.
    pub is_whole: bool,
}

impl Request {
    /// A query parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name)?;
        Some(found.1.as_str())
    }

    /// A header, when it is there and printable.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The fields of a form in the body.
    #[must_use]
    pub fn form(&self) -> Vec<(String, String)> {
        pairs(&String::from_utf8_lossy(&self.body))
    }

    /// The same address on the same server with another path and query.
    #[must_use]
    pub fn sibling(&self, path_and_query: &str) -> String {
        let scheme = if self.is_secure { "https" } else { "http" };
        format!("{scheme}://{}{path_and_query}", self.authority)
    }
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Headers beside the length.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body in pieces.
    pub body: Vec<Bytes>,
}

impl Answer {
    /// An answer without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// An answer with a JSON document.
    #[must_use]
    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        Self::text(status, "application/json; charset=UTF-8", value.to_string())
    }

    /// An answer with text of a type.
    #[must_use]
    pub fn text(status: u16, content_type: &str, text: impl Into<Bytes>) -> Self {
        let mut answer = Self::empty(status).with(CONTENT_TYPE, content_type);
        answer.body.push(text.into());
        answer
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    fn len(&self) -> u64 {
        self.body.iter().map(|piece| piece.len() as u64).sum()
    }
}

/// A service that answers requests; called from many connections at once.
pub trait Simulator: Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, request: &Request) -> Answer;

    /// The body of a refusal that a fault orders, in the words of the service.
    fn refusal(&self, request: &Request, status: u16, reason: &str) -> Answer;

    /// What goes wrong with a request for which no fault is ordered, by its head alone.
    fn trouble(&self, request: &Request) -> Option<Trouble> {
        let _ = request;
        None
    }
}

/// One line of the journal.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Entry {
    /// The method.
    pub method: String,
    /// The host that was asked.
    pub host: String,
    /// The path.
    pub path: String,
    /// The decoded query.
    pub query: Vec<(String, String)>,
    /// Headers whose names tests look at; names in lower case, credentials as their SHA-256.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body that arrived.
    pub body_len: u64,
    /// SHA-256 of those in hexadecimal digits.
    pub body_sha256: String,
    /// Milliseconds since the server started.
    pub at: u64,
    /// The status that was answered; 0 when the connection was broken on purpose.
    pub status: u16,
}

impl Entry {
    /// A query parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name)?;
        Some(found.1.as_str())
    }

    /// One of the noted headers.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name)?;
        Some(found.1.as_str())
    }
}

/// A running server on a free port of 127.0.0.1; it ends with the runtime it was started on.
#[derive(Clone)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    simulator: Arc<dyn Simulator>,
    faults: Faults,
    journal: Mutex<Vec<Entry>>,
    begun: Instant,
    tls: Option<TlsAcceptor>,
}

impl Server {
    /// Starts a server on `listen`, e.g. `127.0.0.1:0`.
    ///
    /// With `tls` it is a proxy as well: `CONNECT host:443` is answered, the TLS handshake done with that certificate,
    /// and what comes through is answered by the simulator under the host's name. So clients with fixed hosts can be
    /// tried.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub async fn start(
        simulator: Arc<dyn Simulator>,
        listen: &str,
        tls: Option<TlsAcceptor>,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            simulator,
            faults: Faults::default(),
            journal: Mutex::default(),
            begun: Instant::now(),
            tls,
        });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A small answer must not wait for the acknowledgement of the one before it.
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve(TokioIo::new(stream), Arc::clone(&serving), false));
            }
        });
        Ok(Self { address, shared })
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Adds a fault; see [`Fault`].
    pub fn fault(&self, fault: Fault) {
        self.shared.faults.add(fault);
    }

    /// What was asked so far.
    #[must_use]
    pub fn journal(&self) -> Vec<Entry> {
        self.shared.journal().clone()
    }

    /// Takes what was asked so far and begins anew.
    #[must_use]
    pub fn take_journal(&self) -> Vec<Entry> {
        std::mem::take(&mut *self.shared.journal())
    }
}

impl Shared {
    fn journal(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, request: &Request, status: u16) {
        let headers = NOTED.iter().filter_map(|name| {
            let value = request.header(name)?;
            let value = if SECRET.contains(name) {
                hex(&Sha256::digest(value))
            } else {
                value.to_owned()
            };
            Some(((*name).to_owned(), value))
        });
        let entry = Entry {
            method: request.method.to_string(),
            host: request.host.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            headers: headers.collect(),
            body_len: request.body.len() as u64,
            body_sha256: hex(&Sha256::digest(&request.body)),
            at: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            status,
        };
        self.journal().push(entry);
    }

    /// Faults are added by `POST /_fault` with a JSON document, the journal is read by `GET /_journal`.
    fn control(&self, request: &Request) -> Option<Answer> {
        match request.path.as_str() {
            "/_fault" => Some(match serde_json::from_slice(&request.body) {
                Ok(fault) => {
                    self.faults.add(fault);
                    Answer::empty(204)
                }
                Err(error) => Answer::text(400, "text/plain", error.to_string()),
            }),
            "/_journal" => Some(Answer::json(200, &serde_json::json!(*self.journal()))),
            _ => None,
        }
    }
}

type Body = UnsyncBoxBody<Bytes, Broken>;

/// The end of a connection that a fault ordered.
#[derive(Debug, thiserror::Error)]
#[error("the connection is broken on purpose")]
struct Broken;

async fn serve<I>(io: TokioIo<I>, shared: Arc<Shared>, is_secure: bool)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move {
            if request.method() == Method::CONNECT {
                return Ok(connect(request, shared));
            }
            respond(request, &shared, is_secure).await
        }
    });
    // A broken connection is the client's business or a fault that was ordered.
    let _ = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(io, service)
        .with_upgrades()
        .await;
}

/// Answers `CONNECT` and goes on below TLS.
fn connect(request: hyper::Request<Incoming>, shared: Arc<Shared>) -> hyper::Response<Body> {
    let Some(acceptor) = shared.tls.clone() else {
        return response(Answer::empty(405), None, None);
    };
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else {
            return;
        };
        if let Ok(stream) = acceptor.accept(TokioIo::new(upgraded)).await {
            // The type of a connection inside a connection inside ... ends here.
            let inner: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> =
                Box::pin(serve(TokioIo::new(stream), shared, true));
            inner.await;
        }
    });
    // The reply that opens a tunnel must not have a length.
    hyper::Response::new(StreamBody::new(futures_util::stream::empty()).boxed_unsync())
}

async fn respond(
    request: hyper::Request<Incoming>,
    shared: &Shared,
    is_secure: bool,
) -> Result<hyper::Response<Body>, Broken> {
    let (parts, body) = request.into_parts();
    let mut request = head(&parts.method, &parts.uri, parts.headers, is_secure);
    let trouble = if request.path.starts_with("/_") {
        None
    } else {
        let ordered = shared.faults.next(&request);
        ordered.or_else(|| shared.simulator.trouble(&request))
    };
    let limit = match trouble {
        Some(Trouble::CutRequest { after }) => Some(after),
        _ => None,
    };
    (request.body, request.is_whole) = collect(body, limit).await;
    if let Some(answer) = shared.control(&request) {
        return Ok(response(answer, None, None));
    }
    let answer = match &trouble {
        Some(Trouble::Refuse {
            status,
            reason,
            retry_after,
        }) => {
            let mut answer = shared.simulator.refusal(&request, *status, reason);
            if let Some(wait) = retry_after {
                answer = answer.with(hyper::header::RETRY_AFTER, wait);
            }
            answer
        }
        Some(Trouble::Html) => Answer::text(200, "text/html", "<html><body>Sign in</body></html>"),
        Some(Trouble::Endless { status }) => {
            shared.note(&request, *status);
            return Ok(endless(*status));
        }
        Some(Trouble::Stall { milliseconds }) => {
            shared.note(&request, 0);
            tokio::time::sleep(Duration::from_millis(*milliseconds)).await;
            return Err(Broken);
        }
        Some(Trouble::Close) => {
            shared.note(&request, 0);
            return Err(Broken);
        }
        _ => shared.simulator.answer(&request),
    };
    if !request.is_whole || matches!(trouble, Some(Trouble::LoseReply)) {
        shared.note(&request, 0);
        return Err(Broken);
    }
    shared.note(&request, answer.status.as_u16());
    let (cut, pause) = match trouble {
        Some(Trouble::CutReply { after }) => (Some(after), None),
        Some(Trouble::Slow { milliseconds }) => (None, Some(Duration::from_millis(milliseconds))),
        _ => (None, None),
    };
    Ok(response(answer, cut, pause))
}

fn head(method: &Method, uri: &Uri, headers: HeaderMap, is_secure: bool) -> Request {
    let authority = uri.authority().map(ToString::to_string).or_else(|| {
        let host = headers.get(HOST)?.to_str().ok()?;
        Some(host.to_owned())
    });
    let authority = authority.unwrap_or_default();
    let host = authority.split(':').next().unwrap_or_default().to_owned();
    Request {
        method: method.clone(),
        host,
        authority,
        is_secure,
        path: uri.path().to_owned(),
        query: pairs(uri.query().unwrap_or_default()),
        headers,
        body: Bytes::new(),
        is_whole: true,
    }
}

/// Reads a body; no more than `limit` bytes of it, after which the connection counts as broken.
async fn collect(mut body: Incoming, limit: Option<u64>) -> (Bytes, bool) {
    let mut all = BytesMut::new();
    let limit = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return (all.freeze(), false);
        };
        if let Ok(data) = frame.into_data() {
            all.extend_from_slice(&data);
        }
        if all.len() > limit {
            all.truncate(limit);
            return (all.freeze(), false);
        }
    }
    (all.freeze(), limit == usize::MAX)
}

/// The reply on the wire, broken off after `cut` bytes of its body, or in four pieces with pauses.
fn response(answer: Answer, cut: Option<u64>, pause: Option<Duration>) -> hyper::Response<Body> {
    let len = answer.len();
    let mut left = cut.unwrap_or(u64::MAX);
    let mut pieces: Vec<Result<Frame<Bytes>, Broken>> = Vec::new();
    let body = match pause {
        Some(_) => in_four(&answer.body.concat()),
        None => answer.body,
    };
    for mut piece in body {
        piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= piece.len() as u64;
        pieces.push(Ok(Frame::data(piece)));
    }
    if cut.is_some_and(|cut| cut < len) {
        pieces.push(Err(Broken));
    }
    let stream = futures_util::stream::iter(pieces).then(move |piece| async move {
        // What went before the break must reach the client.
        let pause = pause.or(piece.is_err().then_some(Duration::from_millis(20)));
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        piece
    });
    let mut response = hyper::Response::new(StreamBody::new(stream).boxed_unsync());
    *response.status_mut() = answer.status;
    response.headers_mut().extend(answer.headers);
    if answer.status != StatusCode::NO_CONTENT {
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(len));
    }
    response
}

fn in_four(body: &[u8]) -> Vec<Bytes> {
    let pieces = body.chunks(body.len().div_ceil(4).max(1));
    pieces.map(Bytes::copy_from_slice).collect()
}

/// A reply whose body does not end.
fn endless(status: u16) -> hyper::Response<Body> {
    let piece = Bytes::from(vec![b' '; 64 * 1024]);
    let pieces = futures_util::stream::repeat_with(move || Ok(Frame::data(piece.clone())));
    let mut response = hyper::Response::new(StreamBody::new(pieces).boxed_unsync());
    *response.status_mut() = Answer::empty(status).status;
    response
}

/// Decodes `a=b&c=d`.
fn pairs(text: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

/// Hexadecimal digits in lower case.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const NOTED: &[&str] = &[
    "authorization",
    "x-authid",
    "content-type",
    "content-range",
    "range",
    "x-upload-content-length",
    "user-agent",
];
const SECRET: &[&str] = &["authorization", "x-authid"];
