//! The AuthID service of Duplicati: `GET …/refresh` with the AuthID in a header gives an access token.
//!
//! Facts: the public source of the service (github.com/duplicati/oauth-handler) and of Duplicati's client. Only the
//! header is used, so that the AuthID appears in no log of addresses. The service counts the requests for an AuthID and, when
//! there were too many, wants an hour without any ("wait 60 minutes"): until then nothing is asked.

use std::sync::Mutex;

use async_trait::async_trait;
use larder_destination::{Advice, Clock, Error, ErrorKind, LONGEST_WAIT, Result, Tools};
use larder_options::Secret;
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{REPLY_BYTES, Source, Token};
use crate::authorize::Authorize;
use crate::client::Settings;
use crate::failure::{Call, wish};
use crate::refused::{Meaning, Refused};
use crate::request::{Redirects, Request, Wait};
use crate::service::Service;

/// Access tokens from an AuthID service.
pub(super) struct AuthId {
    service: Service,
    url: Url,
    id: Arc<Id>,
    link: String,
    clock: Arc<dyn Clock>,
    closed: Mutex<Option<Closed>>,
}

/// The service wants no request before this time, in seconds since 1970 UTC, and why.
#[derive(Clone, Debug)]
struct Closed {
    until: i64,
    words: String,
}

/// The AuthID in use. A refresh may hand out one of the second kind, which is used for the rest of the run.
struct Id {
    given: Secret,
    current: Mutex<Secret>,
}

impl AuthId {
    /// `id` at the service `url`; `link` is the page where the user gets another one.
    pub fn new(
        provider: &'static str,
        id: Secret,
        url: Url,
        link: String,
        settings: &Settings,
        tools: &Tools,
    ) -> Result<Self> {
        let id = Arc::new(Id {
            current: Mutex::new(id.clone()),
            given: id,
        });
        let signer: Arc<dyn Authorize> = Arc::clone(&id) as _;
        Ok(Self {
            service: Service::new(provider, settings, signer, meaning, tools)?,
            url,
            id,
            link,
            clock: Arc::clone(&tools.clock),
            closed: Mutex::default(),
        })
    }

    fn closed(&self) -> std::sync::MutexGuard<'_, Option<Closed>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error while the service wants no request.
    fn refusal(&self, call: &Call, now: i64) -> Option<Error> {
        let Closed { until, words } = self.closed().clone()?;
        let left = u64::try_from(until.saturating_sub(now)).ok()?;
        if left == 0 {
            return None;
        }
        // To the minute, and not too early.
        let time = jiff::Timestamp::from_second(until.saturating_add(59)).unwrap_or_default();
        let time = time.to_zoned(self.clock.zone()).strftime("%Y-%m-%d %H:%M");
        let text = format!("{words}; it may be asked again from {time} on, and not before");
        let error = call.error(ErrorKind::Busy(Some(Duration::from_secs(left))), text);
        Some(error.advice(&CLOSED))
    }
}

#[async_trait]
impl Source for AuthId {
    async fn fetch(&self, call: &Call, now: i64, _: Option<&Secret>) -> Result<Token> {
        if let Some(error) = self.refusal(call, now) {
            return Err(error);
        }
        // The service may send clients on to one of its workers. The header goes along, to HTTPS only.
        let request = Request::get(self.url.clone(), Wait::Short).follow(Redirects::Signed);
        let reply: Reply = self
            .service
            .json(call, &request, REPLY_BYTES)
            .await
            .map_err(|failure| match failure.kind() {
                ErrorKind::SignInNeeded => {
                    let words = failure.error.message().to_owned();
                    let text = format!("{words}; a new AuthID is to be had at {}", self.link);
                    call.error(ErrorKind::SignInNeeded, text)
                        .advice(&NEW_AUTHID)
                }
                ErrorKind::Busy(Some(wait)) if *wait > LONGEST_WAIT => {
                    let (now, wait) = (self.clock.seconds(), wait.as_secs());
                    *self.closed() = Some(Closed {
                        until: now.saturating_add(i64::try_from(wait).unwrap_or(i64::MAX)),
                        words: failure.error.message().to_owned(),
                    });
                    self.refusal(call, now).unwrap_or(failure.error)
                }
                _ => failure.error,
            })?;
        if let Some(second) = reply.v2_authid.filter(|id| !id.is_empty()) {
            *self.id.current() = second.into();
        }
        Ok(Token::new(reply.access_token, now, reply.expires))
    }

    fn secrets(&self) -> Vec<String> {
        self.id.secrets()
    }

    fn advice(&self) -> &'static Advice {
        &NEW_AUTHID
    }
}

impl Id {
    fn current(&self) -> std::sync::MutexGuard<'_, Secret> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Authorize for Id {
    async fn sign(&self, call: &Call, request: &mut Request, _: i64) -> Result<()> {
        let id = self.current().clone();
        let mut value = HeaderValue::from_str(id.expose().trim()).map_err(|_| {
            call.error(
                ErrorKind::Config,
                "the AuthID holds characters that none has",
            )
        })?;
        value.set_sensitive(true);
        request.headers.insert("x-authid", value);
        Ok(())
    }

    fn secrets(&self) -> Vec<String> {
        let current = self.current().expose().to_owned();
        vec![self.given.expose().to_owned(), current]
    }
}

#[derive(Deserialize)]
struct Reply {
    access_token: String,
    #[serde(default)]
    expires: i64,
    v2_authid: Option<String>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    error: String,
}

/// What the service means: it tells the reason in a header, or in its document.
fn meaning(_: &Call, refused: &Refused) -> Option<Meaning> {
    let reason = match refused.header("x-reason") {
        Some(reason) => reason.to_owned(),
        None => refused
            .json::<Problem>()
            .map(|problem| problem.error)
            .unwrap_or_default(),
    };
    let status = refused.status.as_u16();
    let wait = wish(&refused.headers).or_else(|| minutes_in(&reason));
    let busy = |wait: Duration| Some(ErrorKind::Busy(Some(wait.min(A_DAY))));
    let (kind, words) = match status {
        503 if reason.is_empty() => (
            busy(wait.unwrap_or(LONGEST_WAIT)),
            "the AuthID service has no room for today's requests, try again in a few hours"
                .to_owned(),
        ),
        503 => (
            busy(wait.unwrap_or(AN_HOUR)),
            format!("the AuthID service refuses: {reason}"),
        ),
        408 => (None, String::new()),
        429 => (wait.and_then(busy), String::new()),
        400..=499 => (
            Some(ErrorKind::SignInNeeded),
            format!("the AuthID was refused: {reason}"),
        ),
        _ if reason.contains("invalid_grant") => (
            Some(ErrorKind::SignInNeeded),
            "the provider does not accept the AuthID any more".to_owned(),
        ),
        _ if reason.is_empty() => return None,
        _ => (None, format!("the AuthID service answered: {reason}")),
    };
    Some(Meaning {
        kind,
        words: words.trim_end_matches([':', ' ']).to_owned(),
        ..Meaning::default()
    })
}

/// The wait in a sentence as "Too many requests for this key, wait 60 minutes".
fn minutes_in(reason: &str) -> Option<Duration> {
    let (_, rest) = reason.split_once("wait ")?;
    let (number, unit) = rest.split_once(' ')?;
    let minutes: u64 = number.parse().ok()?;
    unit.starts_with("minute")
        .then(|| Duration::from_secs(minutes.saturating_mul(60)))
}

const NEW_AUTHID: Advice = Advice {
    id: "SignInNeeded",
    help: "get a new AuthID at the address that is named, and give it as --authid",
};
const CLOSED: Advice = Advice {
    id: "DestinationBusy",
    help: "wait until then, or give a --retry-delay that is as long; with --oauth-client-id no such service stands in between",
};
const AN_HOUR: Duration = Duration::from_secs(3600);
/// No wish is longer.
const A_DAY: Duration = Duration::from_secs(86_400);
