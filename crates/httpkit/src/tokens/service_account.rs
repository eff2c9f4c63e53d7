//! Service accounts of Google: a key signs an assertion, and the token endpoint gives an access token for it (RFC 7523;
//! Google's "Using OAuth 2.0 for Server to Server Applications").

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use larder_destination::{Advice, Config, Error, ErrorKind, Result, Tools};
use larder_options::{Opt, Secret};
use reqwest::Url;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::json;

use super::{Granted, KnownSecrets, REPLY_BYTES, Source, Token, meaning, secret};
use crate::client::Settings;
use crate::failure::Call;
use crate::request::{Request, Wait};
use crate::service::Service;

/// The key file of a service account.
pub struct ServiceKey {
    email: String,
    key_id: String,
    pair: RsaKeyPair,
    token_uri: String,
}

impl ServiceKey {
    /// Reads the file that Google's console gives out.
    ///
    /// Only keys of service accounts are taken: other kinds of credential files name programs to run and hosts to ask.
    ///
    /// # Errors
    /// A sentence that says what is wrong, without any part of the key.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let file: KeyFile =
            serde_json::from_str(text).map_err(|_| "is not a key file in JSON".to_owned())?;
        if file.kind != "service_account" {
            return Err("is not the key file of a service account".to_owned());
        }
        let key = PrivatePkcs8KeyDer::from_pem_slice(file.private_key.expose().as_bytes());
        let pair = key
            .ok()
            .and_then(|key| RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).ok());
        Ok(Self {
            email: file.client_email,
            key_id: file.private_key_id,
            pair: pair.ok_or("holds no usable RSA key")?,
            token_uri: file.token_uri,
        })
    }

    /// The key that the options name, as text or as a file; text is stronger.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with what is wrong.
    pub fn from_options(
        provider: &'static str,
        config: &Config,
        text: Opt<Secret>,
        file: Opt<String>,
    ) -> Result<Option<Self>> {
        let refuse = |option: &str, problem: &str| {
            Error::config(provider, format!("option --{option}: {problem}"))
        };
        let unusable = |error: larder_options::Error| Error::config(provider, error.to_string());
        let given = config.values.find(text).map_err(unusable)?;
        let path = config.values.find(file).map_err(unusable)?;
        let (option, content) = match (given.filter(|text| !text.is_empty()), path) {
            (Some(given), _) => (text.decl.name, given),
            (None, Some(path)) if !path.is_empty() => {
                let read = std::fs::read_to_string(config.working_folder.join(&path));
                let read = read.map_err(|error| {
                    refuse(file.decl.name, &format!("{path} cannot be read: {error}"))
                })?;
                (file.decl.name, read.into())
            }
            _ => return Ok(None),
        };
        let key = Self::parse(content.expose()).map_err(|problem| refuse(option, &problem))?;
        Ok(Some(key))
    }

    /// The account's e-mail address.
    #[must_use]
    pub fn email(&self) -> &str {
        &self.email
    }

    /// The token endpoint that the file names.
    #[must_use]
    pub fn token_uri(&self) -> &str {
        &self.token_uri
    }

    /// Claims signed with RS256 (RFC 7515).
    fn sign(&self, claims: &serde_json::Value) -> Option<String> {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": self.key_id});
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    client_email: String,
    #[serde(default)]
    private_key_id: String,
    #[serde(default, deserialize_with = "secret")]
    private_key: Secret,
    #[serde(default)]
    token_uri: String,
}

/// Access tokens for a service account.
pub(super) struct ServiceAccount {
    service: Service,
    key: ServiceKey,
    url: Url,
    scope: &'static str,
    /// The user for whom the account acts, where the domain's owner allows that.
    user: Option<String>,
}

impl ServiceAccount {
    pub fn new(
        provider: &'static str,
        key: ServiceKey,
        user: Option<String>,
        url: Url,
        scope: &'static str,
        settings: &Settings,
        tools: &Tools,
    ) -> Result<Self> {
        let known_secrets = KnownSecrets::of(&[], &KEY);
        Ok(Self {
            service: Service::new(provider, settings, known_secrets, meaning, tools)?,
            key,
            url,
            scope,
            user,
        })
    }
}

#[async_trait]
impl Source for ServiceAccount {
    async fn fetch(&self, call: &Call, now: i64, _: Option<&Secret>) -> Result<Token> {
        let mut claims = json!({
            "iss": self.key.email,
            "scope": self.scope,
            "aud": self.url.as_str(),
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
        });
        if let (Some(user), Some(claims)) = (&self.user, claims.as_object_mut()) {
            claims.insert("sub".to_owned(), json!(user));
        }
        let assertion = self.key.sign(&claims).ok_or_else(|| {
            call.error(
                ErrorKind::Config,
                "the key of the service account cannot sign",
            )
        })?;
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", &assertion),
        ];
        let request =
            Request::new(reqwest::Method::POST, self.url.clone(), Wait::Short).form(&form);
        let granted: Granted = self.service.json(call, &request, REPLY_BYTES).await?;
        Ok(Token::new(granted.access_token, now, granted.expires_in))
    }

    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }

    fn advice(&self) -> &'static Advice {
        &KEY
    }
}

const KEY: Advice = Advice {
    id: "SignInNeeded",
    help: "check in the service's console that this key of the service account is still valid, and the clock of this machine",
};
/// The longest that Google admits.
const ASSERTION_SECONDS: i64 = 3600;
