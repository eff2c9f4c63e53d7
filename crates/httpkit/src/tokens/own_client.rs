//! An application that the user registered: its refresh token is exchanged at the provider's token endpoint
//! (RFC 6749, section 6), without anybody in between.
//!
//! A service may answer with a new refresh token and end the sign-in when the old one comes again. So one run at a time
//! reads what is stored, exchanges it and stores what came of it; the next run finds the access token, too.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use larder_destination::{
    Advice, Error, ErrorKind, LONG_WAIT, Result, TokenLock, TokenStore, Tools, Wait as Pause,
    WaitListener,
};
use larder_options::Secret;
use reqwest::Url;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{Granted, KnownSecrets, LONGEST_LIFE, REPLY_BYTES, Source, Token, meaning};
use crate::client::Settings;
use crate::encode;
use crate::failure::{Call, Outcome};
use crate::request::{Request, Wait};
use crate::service::Service;

/// Access tokens for an application of the user's own.
pub(super) struct OwnClient {
    service: Service,
    known_secrets: Arc<KnownSecrets>,
    url: Url,
    client: Client,
    /// The refresh token of the options.
    given: Secret,
    store: Arc<dyn TokenStore>,
    key: String,
    waits: Arc<dyn WaitListener>,
}

/// An application as its provider knows it.
#[derive(Clone)]
pub(crate) struct Client {
    pub id: String,
    pub secret: Secret,
}

impl OwnClient {
    pub fn new(
        provider: &'static str,
        client: Client,
        given: Secret,
        url: Url,
        settings: &Settings,
        tools: &Tools,
    ) -> Result<Self> {
        let known_secrets = KnownSecrets::of(&[&client.secret, &given], &SIGN_IN);
        Ok(Self {
            service: Service::new(
                provider,
                settings,
                Arc::clone(&known_secrets) as _,
                meaning,
                tools,
            )?,
            key: key(provider, &client.id, &given),
            known_secrets,
            url,
            client,
            given,
            store: Arc::clone(&tools.tokens),
            waits: Arc::clone(&tools.waits),
        })
    }

    /// What is stored for the refresh token of the options, or that token itself.
    async fn stored(&self, call: &Call) -> Result<Stored> {
        let stored = self.with_store(call, |store, key| store.get(key)).await?;
        let stored = stored.map(|text| Stored::parse(&text));
        Ok(stored.unwrap_or_else(|| Stored::refresh(&self.given)))
    }

    /// Works with the store on a thread where waiting for the disk holds nobody up.
    async fn with_store<T: Send + 'static>(
        &self,
        call: &Call,
        work: impl FnOnce(&dyn TokenStore, &str) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (store, key) = (Arc::clone(&self.store), self.key.clone());
        let done = tokio::task::spawn_blocking(move || work(store.as_ref(), &key)).await;
        done.map_err(|error| {
            let text = "the stored sign-in could not be used";
            call.error(ErrorKind::Other, text).caused_by(error)
        })?
    }

    /// Tells of a wait for another run.
    fn tell(&self, call: &Call) {
        self.waits.waiting(&Pause {
            object: &call.name(),
            time: LONGEST_TURN,
            reason: "another run renews this sign-in",
        });
    }

    async fn exchange(&self, call: &Call, refresh: &Secret) -> Outcome<Granted> {
        self.known_secrets.add(refresh);
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.expose()),
            ("client_id", &self.client.id),
            ("client_secret", self.client.secret.expose()),
        ];
        // A public client has no secret and must not send an empty one.
        let fields = form.iter().filter(|(_, value)| !value.is_empty());
        let fields: Vec<_> = fields.copied().collect();
        let request =
            Request::new(reqwest::Method::POST, self.url.clone(), Wait::Short).form(&fields);
        // Once: a service that rotates tokens takes the old one that comes again for a stolen one, and ends the sign-in
        // (RFC 9700, section 4.14.2).
        let reply = self.service.send(call, &request).await?;
        Ok(reply.json(call, REPLY_BYTES).await?)
    }
}

#[async_trait]
impl Source for OwnClient {
    /// Waits for other runs, which hold the lock for one exchange each.
    async fn lock(&self, call: &Call) -> Result<Option<TokenLock>> {
        let (begin, mut is_told) = (Instant::now(), false);
        loop {
            let lock = self.with_store(call, |store, key| store.try_lock(key));
            if let Some(lock) = lock.await? {
                return Ok(Some(lock));
            }
            if begin.elapsed() >= LONGEST_TURN {
                let text = "another run has been renewing this sign-in for two minutes";
                return Err(call.error(ErrorKind::Other, text).advice(&HANGING));
            }
            if begin.elapsed() >= LONG_WAIT && !is_told {
                is_told = true;
                self.tell(call);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn fetch(&self, call: &Call, _: i64, refused: Option<&Secret>) -> Result<Token> {
        let stored = self.stored(call).await?;
        // The lock may have been waited for.
        let now = self.service.now();
        if let Some(token) = stored.access_token(now, refused) {
            return Ok(token);
        }
        let refresh = stored.refresh_token;
        let granted = match self.exchange(call, &refresh).await {
            // A run that could have no lock may have rotated the token since it was read.
            Err(failure) if failure.code == "invalid_grant" => {
                let newer = self.stored(call).await?.refresh_token;
                if newer == refresh {
                    return Err(Error::from(failure));
                }
                self.exchange(call, &newer).await?
            }
            other => other?,
        };
        let token = Token::new(granted.access_token, now, granted.expires_in);
        if let Some(next) = granted.refresh_token.map(Secret::from)
            && next != refresh
        {
            self.known_secrets.add(&next);
            let stored = Stored::new(next, &token).text();
            // Stored before the access token is used: the old one may be worthless from now on.
            self.with_store(call, move |store, key| store.put(key, &stored))
                .await?;
        }
        Ok(token)
    }

    fn secrets(&self) -> Vec<String> {
        use crate::authorize::Authorize;
        self.known_secrets.secrets()
    }

    fn advice(&self) -> &'static Advice {
        &SIGN_IN
    }
}

/// What is stored of a sign-in that the service changed: a document in JSON, or a refresh token alone.
#[derive(Deserialize)]
struct Stored {
    #[serde(deserialize_with = "super::secret")]
    refresh_token: Secret,
    #[serde(default, deserialize_with = "super::secret")]
    access_token: Secret,
    /// When the access token is not used any more, in seconds since 1970 UTC.
    #[serde(default)]
    ends: i64,
}

impl Stored {
    fn new(refresh_token: Secret, access: &Token) -> Self {
        Self {
            refresh_token,
            access_token: access.text.clone(),
            ends: access.ends,
        }
    }

    fn refresh(token: &Secret) -> Self {
        Self {
            refresh_token: token.clone(),
            access_token: Secret::default(),
            ends: 0,
        }
    }

    fn parse(text: &Secret) -> Self {
        serde_json::from_str(text.expose()).unwrap_or_else(|_| Self::refresh(text))
    }

    fn text(&self) -> Secret {
        let open = json!({
            "refresh_token": self.refresh_token.expose(),
            "access_token": self.access_token.expose(),
            "ends": self.ends,
        });
        open.to_string().into()
    }

    /// The access token that another run got, while it is good.
    fn access_token(&self, now: i64, refused: Option<&Secret>) -> Option<Token> {
        let is_good = self.ends > now
            && self.ends - now <= LONGEST_LIFE
            && !self.access_token.is_empty()
            && refused != Some(&self.access_token);
        is_good.then(|| Token {
            text: self.access_token.clone(),
            ends: self.ends,
        })
    }
}

const HANGING: Advice = Advice {
    id: "DestinationBusy",
    help: "look whether another run of larder hangs, end it, and try again",
};
/// One renewal sends two requests at most, each for as long as --short-timeout allows.
const LONGEST_TURN: Duration = Duration::from_secs(120);
/// How often it is looked whether the lock is free.
const LOOK: Duration = Duration::from_millis(50);

pub(super) const SIGN_IN: Advice = Advice {
    id: "SignInNeeded",
    help: "sign in again: `larder sign-in` with the storage URL gives a new --oauth-refresh-token",
};

/// The name under which a refresh token is stored: one per application and token of the options, which stands for an
/// account.
fn key(provider: &str, client: &str, given: &Secret) -> String {
    let mut hash = Sha256::new();
    hash.update(b"larder token\0");
    hash.update(client.as_bytes());
    hash.update(b"\0");
    hash.update(given.expose().as_bytes());
    let digest = encode::hex(&hash.finalize());
    format!("{provider}-{}", digest.get(..24).unwrap_or(&digest))
}
