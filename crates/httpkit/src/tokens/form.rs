//! From options to a way of signing in.

use std::sync::Arc;

use larder_destination::{AskConsent, Config, Error, Place, Result, SignInWay, SignedIn, Tools};
use larder_options::engine::{AUTHID, OAUTH_URL};
use larder_options::{Group, Kind, Opt, OptionValue, Secret, Values, option_table};
use reqwest::Url;

use super::Tokens;
use super::authid::AuthId;
use super::own_client::{Client, OwnClient};
use super::service_account::{ServiceAccount, ServiceKey};
use super::sign_in::{Asked, Endpoints};
use crate::authorize::{Authorize, Bearer};
use crate::client::Settings;
use crate::service::is_local;

option_table! {
    pub OPTIONS = Group::Destination;
    OAUTH_CLIENT_ID: String = "oauth-client-id", Kind::Text,
        "Signs in with an application that you registered with the provider.",
        advanced: true,
        long: "It needs oauth-refresh-token, which the command sign-in gets.";
    OAUTH_CLIENT_SECRET: Secret = "oauth-client-secret", Kind::Password,
        "Sets the secret of the application in oauth-client-id.",
        advanced: true;
    OAUTH_REFRESH_TOKEN: Secret = "oauth-refresh-token", Kind::Password,
        "Sets the refresh token that the application in oauth-client-id got.",
        advanced: true,
        long: "When the provider replaces it, the new one is kept in the data folder.";
    OAUTH_ACCESS_TOKEN: Secret = "oauth-access-token", Kind::Password,
        "Sets an access token that is ready to use.",
        advanced: true,
        long: "Most end after an hour and cannot be renewed: for short tests and scripts.";
    OAUTH_AUTHORIZATION_URL: String = "oauth-authorization-url", Kind::Text,
        "Sets the address where a user agrees to a sign-in.",
        advanced: true,
        long: "Each provider has its own, which is the default.";
    OAUTH_DEVICE_URL: String = "oauth-device-url", Kind::Text,
        "Sets the address where a code for a sign-in on another device is to be had.",
        advanced: true,
        long: "Each provider has its own, which is the default.";
    OAUTH_TOKEN_URL: String = "oauth-token-url", Kind::Text,
        "Sets the address where tokens are renewed.",
        advanced: true,
        long: "Each provider has its own, which is the default.";
    .. &[AUTHID.decl, OAUTH_URL.decl];
}

/// What one provider's sign-in consists of.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// The scheme key of the provider.
    pub provider: &'static str,
    /// Its name at the AuthID service.
    pub authid_type: &'static str,
    /// The token endpoint.
    pub token_url: &'static str,
    /// The scope that service accounts and own clients ask for.
    pub scope: &'static str,
    /// The first sign-in of an own client.
    pub endpoints: Endpoints,
}

/// The ways of signing in, of which the options must name one.
enum Way {
    AuthId(Secret),
    Ready(Secret),
    OwnClient(Client, Secret),
    Service(Box<ServiceKey>, Option<String>),
}

impl Form {
    /// The sign-in that the options ask for. `service` is the key of a service account and the user it acts for, where
    /// the provider knows such.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](larder_destination::ErrorKind::Config) when none or several are given, with what to do.
    pub fn authorize(
        &self,
        values: &Values,
        service: Option<(ServiceKey, Option<String>)>,
        settings: &Settings,
        tools: &Tools,
    ) -> Result<Arc<dyn Authorize>> {
        let provider = self.provider;
        Ok(match self.way(values, service)? {
            Way::Ready(token) => Arc::new(Bearer::new(token)),
            Way::AuthId(id) => {
                let url = address_of(self.provider, values, OAUTH_URL)?;
                let link = self.link(values)?;
                Arc::new(Tokens::new(AuthId::new(
                    provider, id, url, link, settings, tools,
                )?))
            }
            Way::OwnClient(client, given) => {
                let url = self.endpoint(values, OAUTH_TOKEN_URL, self.token_url)?;
                let source = OwnClient::new(provider, client, given, url, settings, tools)?;
                Arc::new(Tokens::new(source))
            }
            Way::Service(key, user) => {
                let url = self.endpoint(values, OAUTH_TOKEN_URL, key.token_uri())?;
                let source =
                    ServiceAccount::new(provider, *key, user, url, self.scope, settings, tools)?;
                Arc::new(Tokens::new(source))
            }
        })
    }

    /// Signs a user in to an application of the user's own, for the refresh token that it needs from then on.
    ///
    /// # Errors
    /// Those of [`larder_destination::SignIn`].
    pub async fn sign_in(
        &self,
        config: &Config,
        tools: &Tools,
        way: SignInWay,
        user: &dyn AskConsent,
    ) -> Result<SignedIn> {
        let values = &config.values;
        let id = self.read(values, OAUTH_CLIENT_ID)?;
        let id = id.filter(|id| !id.is_empty()).ok_or_else(|| {
            let text = "option --oauth-client-id is missing: it names the application that you registered with the \
                        provider, and --oauth-client-secret its secret";
            Error::config(self.provider, text)
        })?;
        let secret = self.read(values, OAUTH_CLIENT_SECRET)?.unwrap_or_default();
        let Endpoints {
            authorization_url,
            device_url,
            ..
        } = self.endpoints;
        let device_url = match device_url {
            "" => None,
            usual => Some(self.endpoint(values, OAUTH_DEVICE_URL, usual)?),
        };
        let token_url = self.endpoint(values, OAUTH_TOKEN_URL, self.token_url)?;
        let settings = crate::options::settings(self.provider, values)?;
        let settings = settings.for_host(token_url.host_str().unwrap_or_default());
        let asked = Asked {
            provider: self.provider,
            client: Client { id, secret },
            authorization_url: self.endpoint(values, OAUTH_AUTHORIZATION_URL, authorization_url)?,
            device_url,
            token_url,
            scope: self.scope,
            endpoints: self.endpoints,
        };
        let option = OAUTH_REFRESH_TOKEN.decl.name;
        asked.sign_in(way, &settings, tools, user, option).await
    }

    /// Adds the account to a place: what tells it from others, never a secret.
    ///
    /// # Errors
    /// As [`Form::authorize`].
    pub fn identify(
        &self,
        place: Place,
        values: &Values,
        service: Option<(ServiceKey, Option<String>)>,
    ) -> Result<Place> {
        Ok(match self.way(values, service)? {
            Way::AuthId(id) => place.with_secret("account", &id),
            Way::Ready(token) => place.with_secret("account", &token),
            Way::OwnClient(_, token) => place.with_secret("account", &token),
            Way::Service(key, user) => {
                place.with("account", user.unwrap_or(key.email().to_owned()))
            }
        })
    }

    fn way(&self, values: &Values, service: Option<(ServiceKey, Option<String>)>) -> Result<Way> {
        let secret = |option: Opt<Secret>| {
            let found = self.read(values, option)?;
            Ok::<_, Error>(found.filter(|secret| !secret.is_empty()))
        };
        let client = self
            .read(values, OAUTH_CLIENT_ID)?
            .filter(|id| !id.is_empty());
        let given = secret(OAUTH_REFRESH_TOKEN)?;
        let mut ways = Vec::new();
        ways.extend(
            service.map(|(key, user)| (Way::Service(Box::new(key), user), "a service account")),
        );
        ways.extend(secret(AUTHID)?.map(|id| (Way::AuthId(id), "--authid")));
        ways.extend(secret(OAUTH_ACCESS_TOKEN)?.map(|t| (Way::Ready(t), "--oauth-access-token")));
        match (client, given) {
            (Some(id), Some(given)) => {
                let secret = secret(OAUTH_CLIENT_SECRET)?.unwrap_or_default();
                let client = Client { id, secret };
                ways.push((Way::OwnClient(client, given), "--oauth-client-id"));
            }
            (None, None) => {}
            _ => {
                let text = "options --oauth-client-id and --oauth-refresh-token belong together: the token was given \
                            out for that application; `larder sign-in` gets one";
                return Err(Error::config(self.provider, text));
            }
        }
        if let [_, _, ..] = ways.as_slice() {
            let names: Vec<&str> = ways.iter().map(|(_, name)| *name).collect();
            let text = format!(
                "there is more than one sign-in: {}; give one",
                names.join(", ")
            );
            return Err(Error::config(self.provider, text));
        }
        match ways.pop() {
            Some((way, _)) => Ok(way),
            None => {
                let text = format!(
                    "the sign-in is missing: give --authid, which is to be had at {}, or --oauth-client-id with what \
                     `larder sign-in` gives",
                    self.link(values)?
                );
                Err(Error::config(self.provider, text))
            }
        }
    }

    /// The page where a user gets an AuthID.
    fn link(&self, values: &Values) -> Result<String> {
        let mut url = address_of(self.provider, values, OAUTH_URL)?;
        url.set_path("");
        url.set_query(Some(&format!("type={}", self.authid_type)));
        Ok(url.into())
    }

    /// The address in an option, or the usual one.
    fn endpoint(&self, values: &Values, option: Opt<String>, usual: &str) -> Result<Url> {
        match self.read(values, option)?.filter(|text| !text.is_empty()) {
            Some(_) => address_of(self.provider, values, option),
            None => address(usual).ok_or_else(|| unsafe_address(self.provider, option)),
        }
    }

    fn read<T: OptionValue>(&self, values: &Values, option: Opt<T>) -> Result<Option<T>> {
        values
            .find(option)
            .map_err(|error| Error::config(self.provider, error.to_string()))
    }
}

/// An address with HTTPS, or with HTTP on this machine.
#[must_use]
pub fn address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_safe = match url.scheme() {
        "https" => true,
        "http" => url.host_str().is_some_and(is_local),
        _ => false,
    };
    is_safe.then_some(url)
}

/// The address in an option to which secrets go.
///
/// # Errors
/// [`ErrorKind::Config`](larder_destination::ErrorKind::Config) for one that is not encrypted and not on this machine.
pub fn address_of(provider: &'static str, values: &Values, option: Opt<String>) -> Result<Url> {
    let text = values
        .find(option)
        .map_err(|error| Error::config(provider, error.to_string()))?;
    address(text.unwrap_or_default().trim()).ok_or_else(|| unsafe_address(provider, option))
}

fn unsafe_address(provider: &'static str, option: Opt<String>) -> Error {
    let name = option.decl.name;
    Error::config(
        provider,
        format!("option --{name}: the address must begin with https://"),
    )
}
