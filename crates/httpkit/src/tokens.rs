//! Access tokens that run out and are renewed: OAuth 2 in the ways that storage services offer it.
//!
//! | way | for |
//! | --- | --- |
//! | an AuthID | users of Duplicati: a service keeps the refresh token and hands out access tokens |
//! | an own client | users who registered an application with the provider themselves; nobody stands in between |
//! | a service account | servers without a user: a key signs for itself |
//!
//! [`Tokens`] is the part that all share: one renewal at a time per account, some time before the end, and once more
//! when the service refuses a token. Where a renewal uses up what it was made with, other runs are kept out for as long.
//! [`Form::authorize`] chooses the way from the options; [`Form::sign_in`] gets the
//! refresh token that an own client needs.

mod authid;
mod form;
mod loopback;
mod own_client;
mod service_account;
mod sign_in;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use larder_destination::{Advice, ErrorKind, Result, TokenLock};
use larder_options::Secret;
use reqwest::StatusCode;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;

use crate::authorize::{Authorize, authorization};
use crate::failure::Call;
use crate::refused::{Meaning, Refused};
use crate::request::Request;

pub use form::{Form, OPTIONS, address, address_of};
pub use service_account::ServiceKey;
pub use sign_in::Endpoints;

/// An access token and when it ends, in seconds since 1970 UTC.
#[derive(Clone)]
pub(crate) struct Token {
    text: Secret,
    ends: i64,
}

impl Token {
    /// A token that the service gave at `now` for `seconds`. It is renewed [`MARGIN`] before its end, or after half of a
    /// very short life.
    fn new(text: String, now: i64, seconds: i64) -> Self {
        let seconds = seconds.clamp(0, LONGEST_LIFE);
        Self {
            text: text.into(),
            ends: now + seconds - MARGIN.min(seconds / 2),
        }
    }
}

/// Where new access tokens come from.
#[async_trait]
pub(crate) trait Source: Send + Sync + 'static {
    /// Waits until no other run renews this sign-in, where that matters; what it gives is held until the new token is there.
    async fn lock(&self, call: &Call) -> Result<Option<TokenLock>> {
        let _ = call;
        Ok(None)
    }

    /// A new token, other than the one that the service has refused. Runs to its end even when the transfer that wanted it
    /// is given up.
    async fn fetch(&self, call: &Call, now: i64, refused: Option<&Secret>) -> Result<Token>;

    /// What must not appear in any message.
    fn secrets(&self) -> Vec<String>;

    /// What helps when the service refuses the sign-in for good.
    fn advice(&self) -> &'static Advice;
}

/// Signs with access tokens, and renews them.
pub struct Tokens(Arc<Shared>);

struct Shared {
    source: Box<dyn Source>,
    current: Mutex<Current>,
    /// Held during a renewal, so that many transfers need one.
    renewing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Current {
    token: Option<Token>,
    /// The one that the service refused last.
    refused: Option<Secret>,
}

impl Tokens {
    pub(crate) fn new(source: impl Source) -> Self {
        Self(Arc::new(Shared {
            source: Box::new(source),
            current: Mutex::default(),
            renewing: Arc::default(),
        }))
    }
}

impl Shared {
    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn valid(&self, now: i64) -> Option<Secret> {
        let token = self.current().token.clone()?;
        (token.ends > now).then_some(token.text)
    }

    /// The token of a renewal. Who gives up leaves the queue, for this program's transfers as for other runs.
    async fn renewed(self: &Arc<Self>, call: &Call, now: i64) -> Result<Secret> {
        let turn = Arc::clone(&self.renewing).lock_owned().await;
        if let Some(token) = self.valid(now) {
            return Ok(token);
        }
        let lock = self.source.lock(call).await?;
        // On a task of its own: a refresh token that was rotated must be stored although nobody waits any more.
        let (shared, renewed) = (Arc::clone(self), call.clone());
        let renewal = tokio::spawn(async move {
            let _held = (turn, lock);
            shared.renew(&renewed, now).await
        });
        renewal.await.map_err(|error| {
            call.error(ErrorKind::Other, "the renewal of the sign-in broke off")
                .caused_by(error)
        })?
    }

    async fn renew(&self, call: &Call, now: i64) -> Result<Secret> {
        let refused = self.current().refused.clone();
        let token = self.source.fetch(call, now, refused.as_ref()).await?;
        let text = token.text.clone();
        self.current().token = Some(token);
        Ok(text)
    }
}

#[async_trait]
impl Authorize for Tokens {
    async fn sign(&self, call: &Call, request: &mut Request, now: i64) -> Result<()> {
        let token = match self.0.valid(now) {
            Some(token) => token,
            None => self.0.renewed(call, now).await?,
        };
        authorization(request, &format!("Bearer {}", token.expose()));
        Ok(())
    }

    async fn refused(&self, _: &Call, sent: &Request, refused: &Refused, _: i64) -> Result<bool> {
        if refused.status != StatusCode::UNAUTHORIZED {
            return Ok(false);
        }
        let header = sent.headers.get(AUTHORIZATION);
        let used = header.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let mut current = self.0.current();
        // Another transfer may have renewed it meanwhile.
        let is_this = |token: &mut Token| Some(token.text.expose()) == used;
        if let Some(token) = current.token.take_if(is_this) {
            current.refused = Some(token.text);
        }
        Ok(used.is_some())
    }

    fn secrets(&self) -> Vec<String> {
        self.0.source.secrets()
    }

    fn advice(&self) -> Option<&'static Advice> {
        Some(self.0.source.advice())
    }
}

/// Signs nothing, but knows what the answers of a token endpoint must not echo into a message.
pub(crate) struct KnownSecrets {
    known: Mutex<Vec<String>>,
    advice: &'static Advice,
}

impl KnownSecrets {
    fn of(secrets: &[&Secret], advice: &'static Advice) -> Arc<Self> {
        let known_secrets = Self {
            known: Mutex::default(),
            advice,
        };
        for secret in secrets {
            known_secrets.add(secret);
        }
        Arc::new(known_secrets)
    }

    fn add(&self, secret: &Secret) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.push(secret.expose().to_owned());
    }
}

#[async_trait]
impl Authorize for KnownSecrets {
    async fn sign(&self, _: &Call, _: &mut Request, _: i64) -> Result<()> {
        Ok(())
    }

    fn secrets(&self) -> Vec<String> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn advice(&self) -> Option<&'static Advice> {
        Some(self.advice)
    }
}

/// A reply of a token endpoint (RFC 6749, section 5.1).
#[derive(Deserialize)]
pub(crate) struct Granted {
    access_token: String,
    #[serde(default = "an_hour")]
    expires_in: i64,
    refresh_token: Option<String>,
}

/// A refusal of a token endpoint (RFC 6749, section 5.2).
#[derive(Deserialize)]
struct Denied {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// What a token endpoint means by a refusal.
pub(crate) fn meaning(_: &Call, refused: &Refused) -> Option<Meaning> {
    let denied: Denied = refused.json()?;
    let is_final = refused.status.is_client_error() && refused.status.as_u16() != 429;
    let words = match denied.error_description.as_str() {
        "" => format!("the sign-in was refused: {}", denied.error),
        text => format!("the sign-in was refused: {text} ({})", denied.error),
    };
    Some(Meaning {
        kind: is_final.then_some(ErrorKind::SignInNeeded),
        words,
        code: denied.error,
        ..Meaning::default()
    })
}

fn secret<'de, D: serde::Deserializer<'de>>(source: D) -> std::result::Result<Secret, D::Error> {
    String::deserialize(source).map(Secret::from)
}

fn an_hour() -> i64 {
    3600
}

/// Seconds before its end from which a token is not used any more.
const MARGIN: i64 = 30;
/// No token is kept longer, whatever the service says.
const LONGEST_LIFE: i64 = 7 * 86_400;
/// Replies of token endpoints are small.
const REPLY_BYTES: usize = 64 << 10;
