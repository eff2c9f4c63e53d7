//! An application that the user registered: its refresh token is exchanged at the provider's token endpoint
//! (RFC 6749, section 6), without anybody in between.

use std::sync::Arc;

use async_trait::async_trait;
use larder_destination::{Advice, Error, ErrorKind, Result, TokenStore, Tools};
use larder_options::Secret;
use reqwest::Url;
use sha2::{Digest, Sha256};

use super::{Granted, KnownSecrets, REPLY_BYTES, Source, Token, meaning};
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
        })
    }

    /// The refresh token to use: one that was rotated is stored under the one it came from.
    fn refresh_token(&self) -> Result<Secret> {
        let stored = self.store.get(&self.key)?;
        Ok(stored.unwrap_or_else(|| self.given.clone()))
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
    async fn fetch(&self, call: &Call, now: i64) -> Result<Token> {
        let refresh = self.refresh_token()?;
        let granted = match self.exchange(call, &refresh).await {
            // Another run may have rotated the token since it was read.
            Err(failure) if failure.code == "invalid_grant" => {
                let newer = self.refresh_token()?;
                if newer == refresh {
                    return Err(Error::from(failure));
                }
                self.exchange(call, &newer).await?
            }
            other => other?,
        };
        if let Some(next) = granted.refresh_token.map(Secret::from)
            && next != refresh
        {
            self.known_secrets.add(&next);
            // Stored before the access token is used: the old one may be worthless from now on.
            store(call, &self.store, &self.key, &next).await?;
        }
        Ok(Token::new(granted.access_token, now, granted.expires_in))
    }

    fn secrets(&self) -> Vec<String> {
        use crate::authorize::Authorize;
        self.known_secrets.secrets()
    }

    fn advice(&self) -> &'static Advice {
        &SIGN_IN
    }
}

/// Keeps a refresh token; the disk is waited for on a thread where that may take time.
async fn store(call: &Call, tokens: &Arc<dyn TokenStore>, key: &str, token: &Secret) -> Result<()> {
    let (tokens, key, token) = (Arc::clone(tokens), key.to_owned(), token.clone());
    let stored = tokio::task::spawn_blocking(move || tokens.put(&key, &token)).await;
    stored.map_err(|error| {
        call.error(ErrorKind::Other, "the sign-in could not be stored")
            .caused_by(error)
    })?
}

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
