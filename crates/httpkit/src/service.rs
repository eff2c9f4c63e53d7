//! One account at one service: builds, signs, sends, reads bounded replies, understands refusals, keeps the pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use larder_destination::{Clock, ErrorKind, LONGEST_WAIT, Random, Result, Tools};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, LOCATION};
use serde::de::DeserializeOwned;

use crate::authorize::Authorize;
use crate::client::{Client, Reply, Settings};
use crate::date::http_date;
use crate::failure::{Call, Failure, Outcome};
use crate::pace::Pace;
use crate::refused::{Dialect, Refused, redact, redact_headers};
use crate::request::{Redirects, Request};
use crate::retry::RetryPolicy;
use crate::xml::Element;

/// Sends the requests of one account to one service; to be shared by all its transfers.
pub struct Service {
    client: Client,
    authorize: Arc<dyn Authorize>,
    dialect: Dialect,
    retry: RetryPolicy,
    pace: Pace,
    clock: Arc<dyn Clock>,
    /// Seconds by which the server's clock is ahead of ours, by the last date that it sent.
    ahead: AtomicI64,
    random: Arc<dyn Random>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// A service; opens no connection.
    ///
    /// # Errors
    /// Those of [`Client::new`].
    pub fn new(
        provider: &'static str,
        settings: &Settings,
        authorize: Arc<dyn Authorize>,
        dialect: Dialect,
        tools: &Tools,
    ) -> Result<Self> {
        Ok(Self {
            client: Client::new(provider, settings)?,
            authorize,
            dialect,
            retry: settings.retry,
            pace: Pace::new(Arc::clone(&tools.waits)),
            clock: Arc::clone(&tools.clock),
            ahead: AtomicI64::new(0),
            random: Arc::clone(&tools.random),
        })
    }

    /// False when a large body should not be sent before a small request has shown how to sign.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.authorize.is_ready()
    }

    /// Seconds since 1970 UTC.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.clock.seconds()
    }

    /// Seconds since 1970 UTC by the server's clock, as far as it has told: for ages of what lies there.
    #[must_use]
    pub fn server_now(&self) -> i64 {
        self.now()
            .saturating_add(self.ahead.load(Ordering::Relaxed))
    }

    /// When the listing that begins now has to be at its end.
    #[must_use]
    pub fn list_deadline(&self) -> Option<tokio::time::Instant> {
        self.client.list_deadline()
    }

    /// Sends a request once; a sign-in that has run out is renewed, and redirects are followed as the request says.
    ///
    /// # Errors
    /// The refusal with its meaning, or what kept the exchange from its end.
    pub async fn send(&self, call: &Call, request: &Request) -> Outcome<Reply> {
        let (mut renewals, mut hops) = (0, 0);
        let mut url = request.url.clone();
        loop {
            let mut signed = Request {
                url: self.located(&url),
                ..request.clone()
            };
            let host = signed.host();
            self.pace.wait(call, &host).await;
            if request.redirects != Redirects::Unsigned
                || signed.url.host_str() == self.located(&request.url).host_str()
            {
                self.authorize.sign(call, &mut signed, self.now()).await?;
            }
            if let Some(value) = signed.headers.get_mut(AUTHORIZATION) {
                value.set_sensitive(true);
            }
            let reply = self.client.send(call, signed.clone()).await?;
            if let Some(date) = reply.header("date").and_then(http_date) {
                let ahead = date.saturating_sub(self.now());
                self.ahead.store(ahead, Ordering::Relaxed);
            }
            let status = reply.status();
            if status.is_success() || request.also.contains(&status.as_u16()) {
                return Ok(reply);
            }
            if let Some(to) = redirect(&reply, &signed).filter(|_| hops < MOST_HOPS) {
                hops += 1;
                url = to;
                continue;
            }
            let secrets = self.authorize.secrets();
            let headers = redact_headers(reply.headers().clone(), &signed, &secrets);
            // A body that cannot be read takes nothing from what the status says.
            let body = reply.beginning(call, REFUSAL_BYTES).await;
            let body = String::from_utf8_lossy(&body).into_owned();
            let refused = Refused {
                status,
                headers,
                body: redact(body, &signed, &secrets),
            };
            if renewals < MOST_RENEWALS
                && self
                    .authorize
                    .refused(call, &signed, &refused, self.now())
                    .await?
            {
                renewals += 1;
                continue;
            }
            let failure = self.advised(refused.failure(call, self.dialect));
            // A longer wish is not one to wait for here.
            if let ErrorKind::Busy(Some(wish)) = failure.kind()
                && *wish <= LONGEST_WAIT
            {
                self.pace.hold(&host, *wish);
            }
            return Err(failure);
        }
    }

    /// Adds what the way of signing in knows to help against the refusal of a sign-in.
    fn advised(&self, failure: Box<Failure>) -> Box<Failure> {
        let is_refused = *failure.kind() == ErrorKind::SignInNeeded;
        let known = self.authorize.advice();
        match known.filter(|_| is_refused && failure.error.advised().is_none()) {
            Some(advice) => Box::new(Failure {
                error: failure.error.advice(advice),
                ..*failure
            }),
            None => failure,
        }
    }

    fn located(&self, url: &Url) -> Url {
        let mut url = url.clone();
        self.authorize.locate(&mut url);
        url
    }

    /// Sends a request that may be sent twice without harm, again where that may help.
    ///
    /// # Errors
    /// That of the last attempt.
    pub async fn fetch(&self, call: &Call, request: &Request) -> Outcome<Reply> {
        self.repeat(call, |_| self.send(call, request)).await
    }

    /// As [`Service::fetch`], and reads the reply as a document in JSON of at most `max` bytes.
    ///
    /// # Errors
    /// As [`Service::fetch`]; [`ErrorKind::Network`] when the reply is something else.
    pub async fn json<T: DeserializeOwned>(
        &self,
        call: &Call,
        request: &Request,
        max: usize,
    ) -> Outcome<T> {
        self.document(call, request, max, parse_json).await
    }

    /// As [`Service::json`] for a document in XML with `root` as its outermost element.
    ///
    /// # Errors
    /// As [`Service::json`].
    pub async fn xml(
        &self,
        call: &Call,
        request: &Request,
        max: usize,
        root: &str,
    ) -> Outcome<Element> {
        self.document(call, request, max, |bytes| Element::parse(bytes, root))
            .await
    }

    async fn document<T>(
        &self,
        call: &Call,
        request: &Request,
        max: usize,
        read: impl Fn(&[u8]) -> std::result::Result<T, String>,
    ) -> Outcome<T> {
        let read = &read;
        self.repeat(call, |_| async move {
            let reply = self.send(call, request).await?;
            let bytes = reply.bytes(call, max).await?;
            Ok(read(&bytes).map_err(|problem| unreadable(call, &problem))?)
        })
        .await
    }

    /// Calls `attempt` with 0, 1, 2 … until it succeeds, fails for good, or the attempts are used up.
    ///
    /// # Errors
    /// That of the last attempt.
    pub async fn repeat<T, F>(&self, call: &Call, mut attempt: impl FnMut(u32) -> F) -> Outcome<T>
    where
        F: Future<Output = Outcome<T>>,
    {
        let mut number = 0;
        loop {
            let failure = match attempt(number).await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            let pause = self.retry.pause(number, &failure, self.random.as_ref());
            let Some(pause) = pause else {
                return Err(failure);
            };
            let reason = failure.error.to_string();
            self.pace.pause(call, pause, &reason).await;
            number += 1;
        }
    }
}

/// Reads a document in JSON; what is wrong with it, in words.
pub(crate) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> std::result::Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| {
        // Not what stands there, which may be a token.
        let (line, column) = (error.line(), error.column());
        format!("it is not the document expected here (line {line}, column {column})")
    })
}

/// A reply that is not what the service should send; asking again may help.
#[must_use]
pub fn unreadable(call: &Call, problem: &str) -> larder_destination::Error {
    let text = format!("the reply of the server cannot be read: {problem}");
    call.error(ErrorKind::Network, text)
}

/// Where a redirect leads to, when it may be followed; never from https to http.
fn redirect(reply: &Reply, request: &Request) -> Option<Url> {
    if !matches!(reply.status().as_u16(), 301 | 302 | 307 | 308) {
        return None;
    }
    let to = reply.headers().get(LOCATION)?.to_str().ok()?;
    let to = request.url.join(to).ok()?;
    let from = &request.url;
    let keeps_tls = to.scheme() == "https" || (to.scheme() == "http" && from.scheme() == "http");
    let allowed = match request.redirects {
        Redirects::Refuse => false,
        Redirects::SameHost => {
            // A port that is not said is the scheme's own: from http to https both change together.
            (to.host_str(), to.port()) == (from.host_str(), from.port())
        }
        Redirects::Signed | Redirects::Unsigned => true,
    };
    (keeps_tls && allowed).then_some(to)
}

/// True for a server on this machine, to which plain HTTP is no risk.
#[must_use]
pub fn is_local(host: &str) -> bool {
    let name = host.trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Refusals are read up to here.
const REFUSAL_BYTES: usize = 64 << 10;
/// Redirects that one request follows.
const MOST_HOPS: u32 = 3;
/// How often one request is signed anew after a refusal: once for a stale sign-in and once for a wrong clock, say.
const MOST_RENEWALS: u32 = 2;
