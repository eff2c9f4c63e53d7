//! The first sign-in of an application that the user registered: the user agrees, and a refresh token comes of it.
//!
//! In a browser on this machine (RFC 8252 with PKCE, RFC 7636), or anywhere with a code (RFC 8628).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use larder_destination::{
    Advice, AskConsent, Consent, ErrorKind, Operation, Result, SignInWay, SignedIn, Tools,
};
use larder_options::Secret;
use reqwest::{Method, Url};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::loopback::{LONGEST_CONSENT, Loopback};
use super::own_client::Client;
use super::{Granted, KnownSecrets, REPLY_BYTES, meaning};
use crate::client::Settings;
use crate::failure::{Call, Outcome};
use crate::request::{Request, Wait};
use crate::service::Service;

/// The addresses and scopes of one provider's sign-in.
#[derive(Clone, Copy, Debug)]
pub struct Endpoints {
    /// Where a user agrees in a browser.
    pub authorization_url: &'static str,
    /// Further parameters of that address, such as those without which no refresh token is given.
    pub parameters: &'static [(&'static str, &'static str)],
    /// Where a code for another machine is to be had; empty when the provider has no such way.
    pub device_url: &'static str,
    /// The scope that can be asked for there.
    pub device_scope: &'static str,
    /// What that scope lacks beside the usual one, as a sentence for the user; empty when nothing.
    pub device_lacks: &'static str,
}

/// What a sign-in needs, from the options.
pub(super) struct Asked {
    pub provider: &'static str,
    pub client: Client,
    pub authorization_url: Url,
    pub device_url: Option<Url>,
    pub token_url: Url,
    pub scope: &'static str,
    pub endpoints: Endpoints,
}

impl Asked {
    /// Signs in; `option` is the one that takes the refresh token.
    pub(super) async fn sign_in(
        &self,
        way: SignInWay,
        settings: &Settings,
        tools: &Tools,
        user: &dyn AskConsent,
        option: &'static str,
    ) -> Result<SignedIn> {
        let call = &Call::new(self.provider, Operation::SignIn);
        let known_secrets = KnownSecrets::of(&[&self.client.secret], &WRONG_CLIENT);
        let signer = Arc::clone(&known_secrets) as _;
        let exchange = Exchange {
            asked: self,
            call,
            service: Service::new(self.provider, settings, signer, meaning, tools)?,
            known_secrets,
        };
        let whole = async {
            match way {
                SignInWay::Browser => exchange.in_a_browser(tools, user).await,
                SignInWay::Device => exchange.with_a_code(user).await,
            }
        };
        let longest = match way {
            SignInWay::Browser => LONGEST_CONSENT,
            SignInWay::Device => LONGEST_CODE,
        };
        // The time-outs of requests may be switched off.
        let granted = tokio::time::timeout(longest + LONGEST_ANSWERS, whole).await;
        let granted = granted.map_err(|_| call.error(ErrorKind::Network, SLOW))??;
        let text = "the service gave no refresh token, so the sign-in would end within the hour";
        let value = granted.refresh_token.filter(|token| !token.is_empty());
        let value = value.ok_or_else(|| call.error(ErrorKind::SignInNeeded, text))?;
        Ok(SignedIn {
            option,
            value: value.into(),
        })
    }
}

/// A sign-in under way.
struct Exchange<'a> {
    asked: &'a Asked,
    call: &'a Call,
    service: Service,
    known_secrets: Arc<KnownSecrets>,
}

impl Exchange<'_> {
    async fn in_a_browser(&self, tools: &Tools, user: &dyn AskConsent) -> Result<Granted> {
        let (verifier, state) = (random(self.call, tools)?, random(self.call, tools)?);
        self.known_secrets.add(&verifier);
        let loopback = Loopback::begin(self.call, state.expose()).await?;
        let redirect = &loopback.address().to_owned();
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose()));
        let mut address = self.asked.authorization_url.clone();
        address
            .query_pairs_mut()
            .append_pair("client_id", &self.asked.client.id)
            .append_pair("redirect_uri", redirect)
            .append_pair("response_type", "code")
            .append_pair("scope", self.asked.scope)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("state", state.expose())
            .extend_pairs(self.asked.endpoints.parameters);
        user.ask(&Consent::Browser {
            address: address.as_str(),
        });
        let code = loopback.code(self.call).await?;
        self.known_secrets.add(&code);
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("code_verifier", verifier.expose()),
            ("redirect_uri", redirect),
        ];
        Ok(self.token(&fields).await?)
    }

    async fn with_a_code(&self, user: &dyn AskConsent) -> Result<Granted> {
        let url = self.asked.device_url.clone().ok_or_else(|| {
            let text = "this service has no sign-in with a code; leave out --device";
            self.call.error(ErrorKind::Unsupported, text)
        })?;
        let form = [
            ("client_id", self.asked.client.id.as_str()),
            ("scope", self.asked.endpoints.device_scope),
        ];
        let request = Request::new(Method::POST, url, Wait::Short).form(&form);
        let begun: DeviceCode = self.service.json(self.call, &request, REPLY_BYTES).await?;
        self.known_secrets.add(&begun.device_code);
        user.ask(&Consent::Device {
            address: &begun.verification_uri,
            code: &begun.user_code,
            lacks: self.asked.endpoints.device_lacks,
        });
        let lasts = Duration::from_secs(begun.expires_in).min(LONGEST_CODE);
        match tokio::time::timeout(lasts, self.poll(&begun)).await {
            Ok(granted) => Ok(granted?),
            Err(_) => Err(self.call.error(ErrorKind::Network, LATE)),
        }
    }

    /// Asks until the user has decided (RFC 8628, section 3.5).
    async fn poll(&self, begun: &DeviceCode) -> Outcome<Granted> {
        let fields = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", begun.device_code.expose()),
        ];
        let mut pause = Duration::from_secs(begun.interval.clamp(1, 60));
        loop {
            tokio::time::sleep(pause).await;
            match self.token(&fields).await {
                Err(failure) if failure.code == "authorization_pending" => {}
                Err(failure) if failure.code == "slow_down" => pause += SLOWER,
                // The user is still at it, so a line that is cut for a moment ends nothing.
                Err(failure) if failure.status == 0 && *failure.kind() == ErrorKind::Network => {}
                other => return other,
            }
        }
    }

    /// Asks the token endpoint once: what is exchanged there is good for one time only.
    async fn token(&self, fields: &[(&str, &str)]) -> Outcome<Granted> {
        let client = &self.asked.client;
        let own = [
            ("client_id", client.id.as_str()),
            ("client_secret", client.secret.expose()),
        ];
        // A public client has no secret and must not send an empty one.
        let fields = fields
            .iter()
            .chain(&own)
            .filter(|(_, text)| !text.is_empty());
        let fields: Vec<_> = fields.copied().collect();
        let url = self.asked.token_url.clone();
        let request = Request::new(Method::POST, url, Wait::Short).form(&fields);
        let reply = self.service.send(self.call, &request).await?;
        Ok(reply.json(self.call, REPLY_BYTES).await?)
    }
}

/// A text that nobody can guess, of 43 characters (RFC 7636, section 4.1).
fn random(call: &Call, tools: &Tools) -> Result<Secret> {
    let mut bytes = [0; 32];
    tools.random.fill(&mut bytes).map_err(|error| {
        call.error(ErrorKind::Other, "there are no random numbers")
            .caused_by(error)
    })?;
    Ok(URL_SAFE_NO_PAD.encode(bytes).into())
}

/// The answer of a device endpoint (RFC 8628, section 3.2; Google says `verification_url`).
#[derive(Deserialize)]
struct DeviceCode {
    #[serde(deserialize_with = "super::secret")]
    device_code: Secret,
    user_code: String,
    #[serde(alias = "verification_url")]
    verification_uri: String,
    expires_in: u64,
    #[serde(default = "five")]
    interval: u64,
}

fn five() -> u64 {
    5
}

const WRONG_CLIENT: Advice = Advice {
    id: "SignInNeeded",
    help: "check --oauth-client-id and --oauth-client-secret, and begin the sign-in anew",
};
/// The user did not come in time.
pub(super) const LATE: &str = "nobody agreed in time: begin the sign-in anew";
const SLOW: &str = "the service did not answer in time: begin the sign-in anew";
/// No code is waited for longer, whatever the service says.
const LONGEST_CODE: Duration = Duration::from_secs(1800);
/// What the answers of the service may take beside the wait for the user.
const LONGEST_ANSWERS: Duration = Duration::from_secs(120);
/// Added to the pause when the service asks for that (RFC 8628, section 3.5).
const SLOWER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::client::{Proxy, Timeouts};

    struct Nobody;

    impl AskConsent for Nobody {
        fn ask(&self, _: &Consent<'_>) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_never_answers_ends_the_sign_in()
    -> std::result::Result<(), Box<dyn std::error::Error>> {
        let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
        let url = Url::parse(&format!("http://{}/", silent.local_addr()?))?;
        let asked = Asked {
            provider: "test",
            client: Client {
                id: "id".to_owned(),
                secret: Secret::default(),
            },
            authorization_url: url.clone(),
            device_url: Some(url.clone()),
            token_url: url,
            scope: "all",
            endpoints: Endpoints {
                authorization_url: "",
                parameters: &[],
                device_url: "",
                device_scope: "some",
                device_lacks: "",
            },
        };
        let settings = Settings {
            timeouts: Timeouts {
                short: None,
                list: None,
                stall: None,
            },
            proxy: Proxy::Direct,
            ..Settings::default()
        };
        let (tools, begin) = (Tools::system(), Instant::now());
        let signing_in = asked.sign_in(SignInWay::Device, &settings, &tools, &Nobody, "option");
        let ended = tokio::time::timeout(2 * LONGEST_CODE, signing_in).await;
        let error = ended?.map(drop).expect_err("nobody answered");
        assert_eq!(error.kind(), &ErrorKind::Network);
        assert!(error.to_string().ends_with(SLOW), "{error}");
        assert!(begin.elapsed() >= LONGEST_CODE);
        Ok(())
    }
}
