//! Shared access signatures of Azure Storage: a query made by somebody who has the key, which every address gets.
//!
//! <https://learn.microsoft.com/en-us/rest/api/storageservices/delegate-access-with-shared-access-signature>

use async_trait::async_trait;
use larder_destination::{Advice, Result};
use larder_options::Secret;
use reqwest::header::{HeaderName, HeaderValue};

use super::Authorize;
use crate::encode;
use crate::failure::Call;
use crate::request::Request;

/// Adds the token to each address, and to the address that a copy is made from.
#[derive(Debug)]
pub struct Sas {
    given: Secret,
    /// As it stands in addresses.
    token: Secret,
}

impl Sas {
    /// Takes a token with or without the `?` before it, its values encoded or not; nothing when it is no token.
    #[must_use]
    pub fn new(given: &Secret) -> Option<Self> {
        let text = given.expose().trim().trim_start_matches('?');
        let parts = text.split('&').filter(|part| !part.is_empty());
        let encoded: Option<Vec<String>> = parts
            .map(|part| {
                let (name, value) = part.split_once('=')?;
                // Where it was decoded on its way, plus signs may have become blanks.
                let plain = || encode::segment(&value.replace(' ', "+"));
                let is_encoded = value.contains('%') && encode::decode(value).is_some();
                let value = if is_encoded {
                    value.to_owned()
                } else {
                    plain()
                };
                Some(format!("{name}={value}"))
            })
            .collect();
        let token = encoded?.join("&");
        let sas = Self {
            given: Secret::from(text.to_owned()),
            token: Secret::from(token),
        };
        sas.signature().is_some().then_some(sas)
    }

    /// The part that proves something, as it stands in addresses.
    fn signature(&self) -> Option<&str> {
        let mut parts = self.token.expose().split('&');
        let signature = parts.find_map(|part| part.strip_prefix("sig="))?;
        Some(signature).filter(|signature| !signature.is_empty())
    }
}

#[async_trait]
impl Authorize for Sas {
    async fn sign(&self, _: &Call, request: &mut Request, _: i64) -> Result<()> {
        let token = self.token.expose();
        let query = match request.url.query() {
            Some(query) if !query.is_empty() => format!("{query}&{token}"),
            _ => token.to_owned(),
        };
        request.url.set_query(Some(&query));
        if let Some(source) = request.headers.get_mut(COPY_SOURCE) {
            let address = source.to_str().unwrap_or_default();
            let proven = HeaderValue::from_str(&format!("{address}?{token}"));
            match proven {
                Ok(proven) => *source = proven,
                Err(_) => request.unsendable = Some("x-ms-copy-source"),
            }
            source.set_sensitive(true);
        }
        Ok(())
    }

    fn advice(&self) -> Option<&'static Advice> {
        Some(&RUN_OUT)
    }

    fn secrets(&self) -> Vec<String> {
        let signature = self.signature().unwrap_or_default();
        let mut secrets = vec![
            self.given.expose().to_owned(),
            self.token.expose().to_owned(),
            signature.to_owned(),
        ];
        secrets.extend(encode::decode(signature));
        secrets
    }
}

const COPY_SOURCE: HeaderName = HeaderName::from_static("x-ms-copy-source");
const RUN_OUT: Advice = Advice {
    id: "SignInNeeded",
    help: "check the SAS token: its time may be over, or it is for another account or container; in a URL, & is written \
           %26, = is %3D and % is %25",
};

#[cfg(test)]
mod tests {
    use larder_destination::Operation;
    use reqwest::Url;

    use super::*;
    use crate::request::Wait;

    async fn signed(token: &str, url: &str) -> Option<Request> {
        let sas = Sas::new(&Secret::new(token))?;
        let mut request = Request::get(Url::parse(url).ok()?, Wait::Short)
            .header("x-ms-copy-source", "http://h/c/from");
        let call = Call::new("test", Operation::List);
        sas.sign(&call, &mut request, 0).await.ok()?;
        Some(request)
    }

    #[tokio::test]
    async fn every_address_gets_the_token_in_one_spelling() {
        let right = "sv=2021-12-02&se=2030-01-01T00%3A00%3A00Z&sig=a%2Bb%2F%3D";
        for token in [
            right,
            "?sv=2021-12-02&se=2030-01-01T00%3A00%3A00Z&sig=a%2Bb%2F%3D",
            "sv=2021-12-02&se=2030-01-01T00:00:00Z&sig=a+b/=",
            " sv=2021-12-02&se=2030-01-01T00:00:00Z&sig=a b/=&",
        ] {
            let plain = signed(token, "http://h/c/x").await.expect("a token");
            assert_eq!(plain.url.query(), Some(right), "{token}");
            let list = signed(token, "http://h/c?comp=list")
                .await
                .expect("a token");
            let query = format!("comp=list&{right}");
            assert_eq!(list.url.query(), Some(query.as_str()), "{token}");
            let source = list.headers.get("x-ms-copy-source").expect("it was set");
            let address = format!("http://h/c/from?{right}");
            assert_eq!(source.to_str().ok(), Some(address.as_str()));
            assert!(source.is_sensitive());
        }
    }

    #[test]
    fn what_is_no_token_is_none() {
        for text in ["", "?", "sv=1", "sv=1&sig=", "AccountKey"] {
            assert!(Sas::new(&Secret::new(text)).is_none(), "{text}");
        }
    }

    #[test]
    fn all_spellings_are_secret() {
        let sas = Sas::new(&Secret::new("?sv=1&sig=a b/")).expect("a token");
        assert_eq!(
            sas.secrets(),
            ["sv=1&sig=a b/", "sv=1&sig=a%2Bb%2F", "a%2Bb%2F", "a+b/"]
        );
        assert!(!format!("{sas:?}").contains("a%2B"));
    }
}
