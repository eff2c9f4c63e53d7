//! Google's sign-in, as far as a program without a browser meets it, and the AuthID service in front of it.
//!
//! Token endpoint: RFC 6749 (refresh, code), RFC 7636 (PKCE), RFC 8628 (devices), RFC 7523 (service accounts, as
//! Google's "Using OAuth 2.0 for Server to Server Applications" profiles it).

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::Method;
use hyper::header::{HeaderName, LOCATION, WWW_AUTHENTICATE};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::server::{Answer, Request, hex};
use crate::rng::Rng;

/// What an access token may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The application it was given to; `drive.file` shows an application its own files only.
    pub application: String,
    /// Scopes separated by spaces.
    pub scope: String,
}

/// One AuthID that the service knows.
#[derive(Clone, Debug)]
pub struct AuthId {
    /// The text that users paste.
    pub id: String,
    /// Shows an application its own files only.
    pub is_limited: bool,
    /// What a refresh hands back as `v2_authid`; nothing when empty.
    pub second: String,
}

/// How the accounts behave.
#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// Seconds that a new access token is said to last.
    pub said_seconds: u64,
    /// Milliseconds that it really lasts.
    pub lasts_ms: u64,
    /// Requests that it is good for.
    pub requests: u32,
    /// Gives a new refresh token with every refresh and refuses the old one.
    pub rotates: bool,
    /// Takes an old refresh token that comes again for a stolen one, and ends the sign-in (RFC 9700, section 4.14.2).
    pub ends_reused: bool,
    /// The application's own client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Its first refresh token.
    pub refresh_token: String,
    /// What the AuthID service calls the storage service: the scheme key of its provider.
    pub authid_type: String,
    /// The AuthIDs that are known.
    pub authids: Vec<AuthId>,
    /// Refreshes per AuthID and hour before 503 is answered.
    pub authid_limit: u32,
    /// The AuthID service sends clients on to `/offloaded/refresh`.
    pub offloads: bool,
    /// E-mail address of the service account.
    pub service_email: String,
    /// Modulus and exponent of its public key, big-endian.
    pub service_key: (Vec<u8>, Vec<u8>),
    /// Times that the device flow is told to wait.
    pub device_waits: u32,
    /// The time in seconds since 1970; without it the times in a service account's assertion are not compared.
    pub clock: Option<fn() -> i64>,
}

/// A client id, a secret and an AuthID that the simulator knows from the start.
pub mod known {
    /// The application's client id.
    pub const CLIENT_ID: &str = "larder-client.apps.test";
    /// Its secret.
    pub const CLIENT_SECRET: &str = "client/secret+1";
    /// Its refresh token.
    pub const REFRESH_TOKEN: &str = "1//refresh";
    /// An AuthID of the first kind with limited access (`drive.file`).
    pub const AUTHID: &str = "0123456789abcdef0123456789abcd:Passw0rd+/=";
    /// An AuthID of the second kind, which a refresh with [`AUTHID`] hands back.
    pub const AUTHID_SECOND: &str = "v2:limited:1//limited";
    /// An AuthID of the second kind with full access.
    pub const AUTHID_FULL: &str = "v2:googledocs:1//full:token";
    /// The key file of the service account, made for these tests and used nowhere else.
    pub const SERVICE_ACCOUNT: &str = include_str!("service_account.json");
    /// Modulus of its key.
    pub(super) const SERVICE_MODULUS: &str = "bfc581894bb72c44c5126f4bd1cc1f2f4195db762c352066fc7aba46a3cae72ffc324d9cb158b14b461a99b22ba1f03ad4aad016df26b31312461b7cdf87b7eae6e7fcfbe6c91b7f6abb4da4ae6ed801c0950e0d4aae149ca7a5c9ca9acbf3140efc576d5dd8af58cfe321dd2ea03e7affe9a04624778dc0ab589c09383bbedecacf695ce0cf533c913466f868640193c14f479324a9b62d8d130a2ec4309a6e407047693b9ee9e759cfbf998dad5bea64728ddda7bf0eb7d01d44e4e1a2c1dba5b142569b87c8088373e03bc34b0465a243ad9c202aa92c859a1c52cffe7ee1f6222a653c14cb31552e035df6f578de28b2d4beeb5401ab36e0b7f8a38165e3";
}

impl Default for AccountSettings {
    fn default() -> Self {
        let authid = |id: &str, is_limited: bool, second: &str| AuthId {
            id: id.to_owned(),
            is_limited,
            second: second.to_owned(),
        };
        Self {
            said_seconds: 3599,
            lasts_ms: 3_599_000,
            requests: u32::MAX,
            rotates: false,
            ends_reused: false,
            client_id: known::CLIENT_ID.to_owned(),
            client_secret: known::CLIENT_SECRET.to_owned(),
            refresh_token: known::REFRESH_TOKEN.to_owned(),
            authid_type: "a-drive".to_owned(),
            authids: vec![
                authid(known::AUTHID, true, known::AUTHID_SECOND),
                authid(known::AUTHID_SECOND, true, ""),
                authid(known::AUTHID_FULL, false, ""),
            ],
            authid_limit: u32::MAX,
            offloads: false,
            service_email: "svc@proj.iam.gserviceaccount.com".to_owned(),
            service_key: (unhex(known::SERVICE_MODULUS), vec![1, 0, 1]),
            device_waits: 1,
            clock: None,
        }
    }
}

#[derive(Debug)]
struct Token {
    grant: Grant,
    ends_ms: u64,
    requests: u32,
}

#[derive(Debug)]
struct Code {
    challenge: String,
    redirect: String,
    scope: String,
}

/// The accounts: who may do what.
#[derive(Debug)]
pub(super) struct Accounts {
    pub settings: AccountSettings,
    tokens: HashMap<String, Token>,
    refresh: HashMap<String, Grant>,
    /// Refresh tokens that were replaced.
    spent: HashSet<String>,
    codes: HashMap<String, Code>,
    devices: HashMap<String, (String, u32)>,
    refreshes: HashMap<String, u32>,
    rng: Rng,
}

const DRIVE: &str = "https://www.googleapis.com/auth/drive";
const JWT_GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const X_REASON: HeaderName = HeaderName::from_static("x-reason");

impl Accounts {
    pub fn new(settings: AccountSettings, seed: u64) -> Self {
        let own = Grant {
            application: settings.client_id.clone(),
            scope: DRIVE.to_owned(),
        };
        Self {
            refresh: HashMap::from([(settings.refresh_token.clone(), own)]),
            settings,
            tokens: HashMap::new(),
            spent: HashSet::new(),
            codes: HashMap::new(),
            devices: HashMap::new(),
            refreshes: HashMap::new(),
            rng: Rng::new(seed),
        }
    }

    /// Answers requests to the sign-in services; `None` for all others.
    pub fn answer(&mut self, request: &Request, now_ms: u64) -> Option<Answer> {
        let path = request.path.as_str();
        Some(match (&request.method, path) {
            (&Method::GET, "/refresh") if self.settings.offloads => {
                Answer::empty(302).with(LOCATION, &request.sibling("/offloaded/refresh"))
            }
            (&Method::GET, "/refresh" | "/offloaded/refresh") => self.authid(request, now_ms),
            (&Method::POST, "/token" | "/oauth2/v3/token" | "/oauth2/v4/token") => {
                self.token(request, now_ms)
            }
            (&Method::GET, "/o/oauth2/v2/auth" | "/o/oauth2/auth") => self.consent(request),
            (&Method::POST, "/device/code") => self.device(request),
            (&Method::GET, "/tokeninfo") => {
                match self
                    .tokens
                    .get(request.parameter("access_token").unwrap_or_default())
                {
                    Some(token) => Answer::json(200, &json!({"scope": token.grant.scope})),
                    None => oauth_error(400, "invalid_token"),
                }
            }
            _ => return None,
        })
    }

    /// What the bearer of a request may do, or the refusal.
    pub fn check(&mut self, request: &Request, now_ms: u64) -> Result<Grant, Answer> {
        let bearer = request
            .header("authorization")
            .and_then(|value| value.strip_prefix("Bearer "));
        let Some(bearer) = bearer else {
            return Err(unauthorized("required", "Login Required."));
        };
        match self.tokens.get_mut(bearer) {
            Some(token) if token.ends_ms > now_ms && token.requests > 0 => {
                token.requests -= 1;
                Ok(token.grant.clone())
            }
            _ => Err(unauthorized("authError", "Invalid Credentials")),
        }
    }

    /// A new access token for `grant`.
    pub fn issue(&mut self, grant: Grant, now_ms: u64) -> String {
        let text = format!("ya29.{}", hex(&self.rng.bytes(20)));
        let token = Token {
            grant,
            ends_ms: now_ms.saturating_add(self.settings.lasts_ms),
            requests: self.settings.requests,
        };
        self.tokens.insert(text.clone(), token);
        text
    }

    /// Ends all access tokens that were given out.
    pub fn expire_all(&mut self) {
        self.tokens.clear();
    }

    fn authid(&mut self, request: &Request, now_ms: u64) -> Answer {
        let Some(id) = request.header("x-authid") else {
            return reason(400, "No authid in query");
        };
        if request.parameter("authid").is_some() {
            return reason(400, "a secret does not belong into the address");
        }
        let found = self.settings.authids.iter().find(|known| known.id == id);
        let Some(found) = found.cloned() else {
            let same_key = id.split(':').next().is_some_and(|key| {
                let key = format!("{key}:");
                self.settings
                    .authids
                    .iter()
                    .any(|known| known.id.starts_with(&key))
            });
            return if same_key && !id.starts_with("v2:") {
                reason(400, "Invalid authid password")
            } else if id.starts_with("v2:") {
                let service = &self.settings.authid_type;
                let text =
                    format!("Authentication provider for {service} gave error: invalid_grant");
                reason(500, &text)
            } else {
                reason(404, "No such key")
            };
        };
        let count = self.refreshes.entry(found.id.clone()).or_default();
        *count += 1;
        if *count > self.settings.authid_limit {
            return reason(503, "Ratelimited, wait 60 minutes");
        }
        let scope = match found.is_limited {
            false => DRIVE.to_owned(),
            true => format!("{DRIVE}.file"),
        };
        let grant = Grant {
            application: "duplicati".to_owned(),
            scope,
        };
        let token = self.issue(grant, now_ms);
        let mut reply = json!({
            "access_token": token,
            "expires": self.settings.said_seconds,
            "type": self.settings.authid_type,
        });
        if !found.second.is_empty() {
            reply["v2_authid"] = json!(found.second);
        }
        Answer::json(200, &reply)
    }

    fn token(&mut self, request: &Request, now_ms: u64) -> Answer {
        let content_type = request.header("content-type").unwrap_or_default();
        if !content_type.starts_with("application/x-www-form-urlencoded") {
            return oauth_error(400, "invalid_request");
        }
        let form: HashMap<String, String> = request.form().into_iter().collect();
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        let grant_type = field("grant_type");
        if grant_type == JWT_GRANT {
            return self.service_account(request, field("assertion"), now_ms);
        }
        let is_client = field("client_id") == self.settings.client_id
            && field("client_secret") == self.settings.client_secret;
        if !is_client {
            return oauth_error(401, "invalid_client");
        }
        let scope = match grant_type {
            "refresh_token" => return self.refresh(field("refresh_token"), now_ms),
            "authorization_code" => match self.codes.remove(field("code")) {
                Some(code)
                    if code.redirect == field("redirect_uri")
                        && code.challenge == challenge(field("code_verifier")) =>
                {
                    code.scope
                }
                _ => return oauth_error(400, "invalid_grant"),
            },
            DEVICE_GRANT => match self.devices.get_mut(field("device_code")) {
                Some((_, waits)) if *waits > 0 => {
                    *waits -= 1;
                    return oauth_error(428, "authorization_pending");
                }
                Some((scope, _)) => scope.clone(),
                None => return oauth_error(400, "invalid_grant"),
            },
            _ => return oauth_error(400, "unsupported_grant_type"),
        };
        let grant = Grant {
            application: self.settings.client_id.clone(),
            scope,
        };
        let refresh = self.new_refresh(grant.clone());
        self.tokens_reply(grant, Some(refresh), now_ms)
    }

    fn refresh(&mut self, given: &str, now_ms: u64) -> Answer {
        let Some(grant) = self.refresh.get(given).cloned() else {
            if self.settings.ends_reused && self.spent.contains(given) {
                self.refresh.clear();
                self.expire_all();
            }
            return oauth_error(400, "invalid_grant");
        };
        let next = self.settings.rotates.then(|| {
            self.refresh.remove(given);
            self.spent.insert(given.to_owned());
            self.new_refresh(grant.clone())
        });
        self.tokens_reply(grant, next, now_ms)
    }

    fn new_refresh(&mut self, grant: Grant) -> String {
        let text = format!("1//{}", hex(&self.rng.bytes(12)));
        self.refresh.insert(text.clone(), grant);
        text
    }

    fn tokens_reply(&mut self, grant: Grant, refresh: Option<String>, now_ms: u64) -> Answer {
        let mut reply = json!({
            "expires_in": self.settings.said_seconds,
            "token_type": "Bearer",
            "scope": grant.scope,
        });
        reply["access_token"] = json!(self.issue(grant, now_ms));
        if let Some(refresh) = refresh {
            reply["refresh_token"] = json!(refresh);
        }
        Answer::json(200, &reply)
    }

    /// Checks an assertion as Google describes it: RS256, issuer, audience, at most an hour.
    fn service_account(&mut self, request: &Request, assertion: &str, now_ms: u64) -> Answer {
        let parts: Vec<&str> = assertion.split('.').collect();
        let &[header, claims, signature] = parts.as_slice() else {
            return oauth_error(400, "invalid_grant");
        };
        let parse = |part: &str| -> Option<Value> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let (Some(head), Some(claim)) = (parse(header), parse(claims)) else {
            return oauth_error(400, "invalid_grant");
        };
        let (n, e) = &self.settings.service_key;
        let signed = format!("{header}.{claims}");
        let is_signed = URL_SAFE_NO_PAD.decode(signature).is_ok_and(|signature| {
            RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature)
                .is_ok()
        });
        let audience = claim["aud"].as_str().unwrap_or_default();
        let ours = [
            "https://oauth2.googleapis.com/token".to_owned(),
            "https://www.googleapis.com/oauth2/v4/token".to_owned(),
            request.sibling(&request.path),
        ];
        let (begin, end) = (claim["iat"].as_i64(), claim["exp"].as_i64());
        let is_timely = match (begin, end, self.settings.clock) {
            (Some(begin), Some(end), Some(clock)) => {
                end > begin && end - begin <= 3600 && (clock() - begin).abs() < 300
            }
            (Some(begin), Some(end), None) => end > begin && end - begin <= 3600,
            _ => false,
        };
        let scope = claim["scope"].as_str().unwrap_or_default();
        let is_right = head["alg"] == "RS256"
            && is_signed
            && claim["iss"] == json!(self.settings.service_email)
            && ours.iter().any(|ours| ours == audience)
            && is_timely;
        if !is_right {
            return oauth_error(400, "invalid_grant");
        }
        if !scope.contains("/auth/") {
            return oauth_error(400, "invalid_scope");
        }
        let grant = Grant {
            application: self.settings.service_email.clone(),
            scope: scope.to_owned(),
        };
        self.tokens_reply(grant, None, now_ms)
    }

    /// The page on which a user agrees; this user always does, at once.
    fn consent(&mut self, request: &Request) -> Answer {
        let parameter = |name| request.parameter(name).unwrap_or_default().to_owned();
        let redirect = parameter("redirect_uri");
        let is_loopback = ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"]
            .iter()
            .any(|start| redirect.starts_with(start));
        let is_fine = parameter("client_id") == self.settings.client_id
            && parameter("response_type") == "code"
            && parameter("code_challenge_method") == "S256"
            && parameter("code_challenge").len() == 43
            && is_loopback;
        if !is_fine {
            return Answer::text(400, "text/html", "Error 400: invalid_request");
        }
        let code = format!("4/{}", hex(&self.rng.bytes(12)));
        let separator = if redirect.contains('?') { '&' } else { '?' };
        let state: String =
            form_urlencoded::byte_serialize(parameter("state").as_bytes()).collect();
        let escaped: String = form_urlencoded::byte_serialize(code.as_bytes()).collect();
        let location = format!("{redirect}{separator}state={state}&code={escaped}");
        let code_entry = Code {
            challenge: parameter("code_challenge"),
            redirect,
            scope: parameter("scope"),
        };
        self.codes.insert(code, code_entry);
        Answer::empty(302).with(LOCATION, &location)
    }

    fn device(&mut self, request: &Request) -> Answer {
        let form: HashMap<String, String> = request.form().into_iter().collect();
        if form.get("client_id") != Some(&self.settings.client_id) {
            return oauth_error(401, "invalid_client");
        }
        let scope = form.get("scope").cloned().unwrap_or_default();
        // Google's list for limited-input devices has no other scope of Drive.
        if scope != format!("{DRIVE}.file") {
            return oauth_error(400, "invalid_scope");
        }
        let code = hex(&self.rng.bytes(16));
        self.devices
            .insert(code.clone(), (scope, self.settings.device_waits));
        let reply = json!({
            "device_code": code,
            "user_code": "GQVQ-JKEC",
            "verification_url": "https://www.google.com/device",
            "expires_in": 1800,
            "interval": 1,
        });
        Answer::json(200, &reply)
    }
}

/// The refusal of a token endpoint.
pub(super) fn oauth_error(status: u16, error: &str) -> Answer {
    let description = match error {
        "invalid_grant" => "Token has been expired or revoked.",
        "invalid_client" => "The OAuth client was not found.",
        _ => "Bad Request",
    };
    Answer::json(
        status,
        &json!({"error": error, "error_description": description}),
    )
}

/// The refusal of the AuthID service.
pub(super) fn reason(status: u16, text: &str) -> Answer {
    let answer = Answer::json(status, &json!({"error": text}));
    if text.is_empty() {
        answer
    } else {
        answer.with(X_REASON, text)
    }
}

/// A refusal in the form that all of Google's storage services share.
pub(super) fn google_error(status: u16, reason: &str, message: &str) -> Answer {
    let domain = match reason {
        "userRateLimitExceeded" | "rateLimitExceeded" | "dailyLimitExceeded" => "usageLimits",
        _ => "global",
    };
    Answer::json(
        status,
        &json!({"error": {
            "errors": [{"domain": domain, "reason": reason, "message": message}],
            "code": status,
            "message": message,
        }}),
    )
}

fn unauthorized(reason: &str, message: &str) -> Answer {
    google_error(401, reason, message).with(
        WWW_AUTHENTICATE,
        "Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\"",
    )
}

fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|digit| u8::try_from(digit.to_digit(16)?).ok())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect()
}
