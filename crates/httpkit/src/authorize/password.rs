//! User name and password: Basic (RFC 7617) or Digest, as the server asks.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use larder_destination::{ErrorKind, Random, Result};
use larder_options::Secret;
use reqwest::header::AUTHORIZATION;

use super::challenge::challenges;
use super::digest::Digest;
use super::{Authorize, authorization};
use crate::encode;
use crate::failure::Call;
use crate::refused::Refused;
use crate::request::Request;

/// Signs with a user name and a password.
///
/// Basic is sent at once, unless `digest_only`; a server that wants Digest only gets that from its first refusal on.
pub struct Password {
    user: String,
    password: Secret,
    digest_only: bool,
    random: Arc<dyn Random>,
    digest: Mutex<Option<Digest>>,
}

impl Password {
    /// Basic, or Digest where the server wants that.
    #[must_use]
    pub fn new(user: String, password: Secret, random: Arc<dyn Random>) -> Self {
        Self {
            user,
            password,
            digest_only: false,
            random,
            digest: Mutex::default(),
        }
    }

    /// Digest and nothing else: the password never leaves this machine.
    #[must_use]
    pub fn digest_only(mut self) -> Self {
        self.digest_only = true;
        self
    }

    fn digest(&self) -> std::sync::MutexGuard<'_, Option<Digest>> {
        self.digest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn basic(&self) -> String {
        let pair = format!("{}:{}", self.user, self.password.expose());
        encode::base64(pair.as_bytes())
    }
}

#[async_trait]
impl Authorize for Password {
    async fn sign(&self, _: &Call, request: &mut Request, _: i64) -> Result<()> {
        let target = request.target();
        let answer = self.digest().as_mut().map(|digest| {
            digest.answer(&self.user, &self.password, request.method.as_str(), &target)
        });
        match answer {
            Some(answer) => authorization(request, &answer),
            None if self.digest_only => {}
            None => authorization(request, &format!("Basic {}", self.basic())),
        }
        Ok(())
    }

    async fn refused(
        &self,
        call: &Call,
        sent: &Request,
        refused: &Refused,
        _: i64,
    ) -> Result<bool> {
        if refused.status != 401 {
            return Ok(false);
        }
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes).map_err(|error| {
            call.error(ErrorKind::Other, "there are no random numbers")
                .caused_by(error)
        })?;
        let offered = challenges(&refused.headers);
        let Some(fresh) = Digest::choose(&offered, &encode::hex(&bytes)) else {
            if self.digest_only {
                let text = "the server does not offer the Digest sign-in that was asked for, \
                            and the password is sent in no other way";
                return Err(call.error(ErrorKind::SignInNeeded, text));
            }
            return Ok(false);
        };
        let answered = sent
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
        if answered.is_some_and(|value| value.starts_with("Basic "))
            && offered.iter().any(|challenge| challenge.scheme == "basic")
        {
            // Basic would do: it is the password that is wrong.
            return Ok(false);
        }
        let mut known = self.digest();
        let answered_it = answered.is_some_and(|value| value.starts_with("Digest "));
        let worked_before = known.as_ref().is_some_and(|digest| digest.count > 1);
        let again = !answered_it || fresh.stale || worked_before;
        // Another transfer may have got a newer challenge meanwhile; any that the server gave is good.
        *known = Some(fresh);
        Ok(again)
    }

    fn is_ready(&self) -> bool {
        !self.digest_only || self.digest().is_some()
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.password.expose().to_owned(), self.basic()]
    }
}

#[cfg(test)]
mod tests {
    use larder_destination::{Operation, SystemRandom};
    use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
    use reqwest::{Method, StatusCode, Url};

    use super::*;
    use crate::request::Wait;

    const DIGEST: &str = "Digest realm=\"r\", nonce=\"one\", qop=\"auth\"";
    const STALE: &str = "Digest realm=\"r\", nonce=\"two\", qop=\"auth\", stale=true";
    const BASIC: &str = "Basic realm=\"r\"";

    fn password() -> Password {
        let random = Arc::new(SystemRandom);
        Password::new("u".into(), Secret::from("p w".to_owned()), random)
    }

    async fn signed(password: &Password) -> Result<(Request, String)> {
        let url = Url::parse("http://h/a%20b?x=1").expect("an address");
        let mut request = Request::new(Method::PUT, url, Wait::Short);
        let call = Call::new("test", Operation::Put);
        password.sign(&call, &mut request, 0).await?;
        let value = request.headers.get(AUTHORIZATION);
        let value = value.and_then(|value| value.to_str().ok());
        let value = value.unwrap_or_default().to_owned();
        Ok((request, value))
    }

    async fn refuse(password: &Password, sent: &Request, offers: &[&'static str]) -> Result<bool> {
        let mut headers = HeaderMap::new();
        for offer in offers {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(offer));
        }
        let refused = Refused {
            status: StatusCode::UNAUTHORIZED,
            headers,
            body: String::new(),
        };
        let call = Call::new("test", Operation::Put);
        password.refused(&call, sent, &refused, 0).await
    }

    #[tokio::test]
    async fn basic_is_sent_at_once_and_wrong_only_once() -> Result<()> {
        let password = password();
        let (request, value) = signed(&password).await?;
        assert_eq!(value, "Basic dTpwIHc=");
        assert!(!refuse(&password, &request, &[BASIC]).await?);
        assert!(!refuse(&password, &request, &[BASIC, DIGEST]).await?);
        Ok(())
    }

    #[tokio::test]
    async fn a_server_that_wants_digest_gets_it() -> Result<()> {
        let password = password();
        let (request, _) = signed(&password).await?;
        assert!(refuse(&password, &request, &[DIGEST]).await?);
        let (request, value) = signed(&password).await?;
        assert!(
            value.contains("uri=\"/a%20b?x=1\"") && value.contains("nc=00000001"),
            "{value}"
        );
        // The first answer was refused: the password is wrong.
        assert!(!refuse(&password, &request, &[DIGEST]).await?);
        Ok(())
    }

    #[tokio::test]
    async fn an_old_number_is_replaced_and_a_new_server_is_followed() -> Result<()> {
        let password = password().digest_only();
        assert!(!password.is_ready());
        let (request, value) = signed(&password).await?;
        assert_eq!(value, "");
        assert!(refuse(&password, &request, &[DIGEST, BASIC]).await?);
        assert!(password.is_ready());
        let (request, _) = signed(&password).await?;
        assert!(refuse(&password, &request, &[STALE]).await?);
        signed(&password).await?;
        let (request, value) = signed(&password).await?;
        assert!(
            value.contains("nonce=\"two\"") && value.contains("nc=00000002"),
            "{value}"
        );
        // It worked before, so a server that forgot the number without saying "stale" is asked once more.
        assert!(refuse(&password, &request, &[DIGEST]).await?);
        Ok(())
    }

    #[tokio::test]
    async fn digest_only_never_sends_the_password() -> Result<()> {
        let password = password().digest_only();
        let (request, _) = signed(&password).await?;
        let refused = refuse(&password, &request, &[BASIC]).await;
        assert!(refused.is_err_and(|error| *error.kind() == ErrorKind::SignInNeeded));
        Ok(())
    }
}
