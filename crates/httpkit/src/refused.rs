//! An answer other than success, before it has got its meaning.

use larder_destination::{Advice, ErrorKind};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderValue};

use crate::encode;
use crate::failure::{Call, Failure, retry_after, status_error};
use crate::request::Request;
use crate::xml::Element;

/// A reply that is no success.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The beginning of the body, with secrets that it echoes redacted.
    pub body: String,
}

impl Refused {
    /// One header, when it is there and printable.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as a document in JSON.
    #[must_use]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.body).ok()
    }

    /// The body as a document in XML with `root` as its outermost element, whatever its name space.
    #[must_use]
    pub fn xml(&self, root: &str) -> Option<Element> {
        Element::parse(self.body.as_bytes(), root).ok()
    }

    /// The error as the provider's [`Dialect`] understands it, else by the status.
    #[must_use]
    pub fn failure(self, call: &Call, dialect: Dialect) -> Box<Failure> {
        let by_status = status_error(call, self.status, &self.headers);
        let (error, code, detail) = match dialect(call, &self) {
            Some(meaning) => {
                let kind = match meaning.kind {
                    Some(ErrorKind::Busy(None)) => ErrorKind::Busy(retry_after(&self.headers)),
                    Some(kind) => kind,
                    None => by_status.kind().clone(),
                };
                let words = sentence(&meaning.words);
                let error = if words.is_empty() {
                    call.error(kind, format!("the server answered {}", self.status))
                } else {
                    call.error(kind, words)
                };
                let error = match meaning.advice {
                    Some(advice) => error.advice(advice),
                    None => error,
                };
                (error, meaning.code, meaning.detail)
            }
            None => (by_status, String::new(), None),
        };
        let error = match self.request_id() {
            Some(id) => error.request_id(sentence(id)),
            None => error,
        };
        Box::new(Failure {
            error,
            status: self.status.as_u16(),
            code,
            detail,
            headers: self.headers,
            unreached: false,
        })
    }

    /// The id that the service gave to the request.
    fn request_id(&self) -> Option<&str> {
        REQUEST_ID_HEADERS
            .iter()
            .find_map(|name| self.header(name))
            .filter(|id| !id.is_empty() && id.len() <= LONGEST_ID)
    }
}

/// What a refusal means in the words of one service.
#[derive(Clone, Debug, Default)]
pub struct Meaning {
    /// The kind, when the service says more than its status. A busy service that names no wait here is asked for by the
    /// header of its reply.
    pub kind: Option<ErrorKind>,
    /// The service's sentence; empty for that of the status.
    pub words: String,
    /// The service's own code, for the provider.
    pub code: String,
    /// One more fact for the provider, such as the region to ask in.
    pub detail: Option<String>,
    /// What helps, where the kind alone does not tell.
    pub advice: Option<&'static Advice>,
}

/// The codes of a service and what they mean.
pub type Codes = &'static [(ErrorKind, &'static [&'static str])];

/// The kind that a code means.
#[must_use]
pub fn kind_of(codes: Codes, code: &str) -> Option<ErrorKind> {
    let known = codes.iter().find(|(_, codes)| codes.contains(&code));
    known.map(|(kind, _)| kind.clone())
}

/// Gives a refusal its meaning; `None` leaves it to the status.
pub type Dialect = fn(&Call, &Refused) -> Option<Meaning>;

/// For services that say no more than their status.
#[must_use]
pub fn plain(_: &Call, _: &Refused) -> Option<Meaning> {
    None
}

/// A service's words fit for a message: one line, no full stop, at most 500 characters.
#[must_use]
pub fn sentence(text: &str) -> String {
    let line: String = text
        .chars()
        .take(LONGEST_SENTENCE)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    line.trim().trim_end_matches('.').to_owned()
}

/// Redacts what of `secrets` and of the request's sensitive headers appears in a server's text.
pub(crate) fn redact(text: String, request: &Request, secrets: &[String]) -> String {
    let sensitive = request
        .headers
        .values()
        .filter(|value| value.is_sensitive());
    let sent = sensitive.filter_map(|value| value.to_str().ok());
    let parts = sent.flat_map(|value| [value, value.split_once(' ').map_or("", |(_, rest)| rest)]);
    let mut hidden: Vec<String> = parts.map(str::to_owned).collect();
    hidden.extend(secrets.iter().cloned());
    hidden.extend(secrets.iter().map(|secret| encode::segment(secret)));
    hidden.retain(|secret| secret.len() >= SHORTEST_SECRET);
    // The longest first, so that no part of one stays behind.
    hidden.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
    hidden
        .iter()
        .fold(text, |text, secret| text.replace(secret.as_str(), "***"))
}

/// The headers of a reply without what must not be seen; some servers and proxies send back what they were sent.
pub(crate) fn redact_headers(
    mut headers: HeaderMap,
    request: &Request,
    secrets: &[String],
) -> HeaderMap {
    for value in headers.values_mut() {
        let Ok(text) = value.to_str() else {
            continue;
        };
        let safe = redact(text.to_owned(), request, secrets);
        if safe != text {
            *value = HeaderValue::from_str(&safe).unwrap_or(HeaderValue::from_static("***"));
        }
    }
    headers
}

/// Where services say how they call a request.
const REQUEST_ID_HEADERS: &[&str] = &[
    "x-request-id",
    "request-id",
    "x-amz-request-id",
    "x-ms-request-id",
    "x-guploader-uploadid",
    "x-trans-id",
];
const LONGEST_ID: usize = 200;
const LONGEST_SENTENCE: usize = 500;
/// Shorter texts appear everywhere by chance.
const SHORTEST_SECRET: usize = 4;

#[cfg(test)]
mod tests {
    use larder_destination::Operation;
    use proptest::prelude::*;
    use reqwest::Url;
    use reqwest::header::HeaderValue;

    use super::*;
    use crate::request::Wait;

    fn refused(status: u16, id: &'static str, body: &str) -> Refused {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", HeaderValue::from_static(id));
        Refused {
            status: StatusCode::from_u16(status).unwrap_or_default(),
            headers,
            body: body.to_owned(),
        }
    }

    fn in_json(_: &Call, refused: &Refused) -> Option<Meaning> {
        let document: serde_json::Value = refused.json()?;
        Some(Meaning {
            kind: (document["why"] == "full").then_some(ErrorKind::Quota),
            words: document["text"].as_str()?.to_owned(),
            code: document["why"].as_str()?.to_owned(),
            ..Meaning::default()
        })
    }

    #[test]
    fn the_service_s_words_win_over_the_status() {
        let call = Call::on("test", Operation::Put, "a");
        let text = r#"{"why":"full","text":"no\nroom."}"#;
        let failure = refused(403, "r1", text).failure(&call, in_json);
        assert_eq!(failure.kind(), &ErrorKind::Quota);
        assert_eq!((failure.code.as_str(), failure.status), ("full", 403));
        assert_eq!(
            failure.error.to_string(),
            "test put a: no room (request r1)"
        );
        let failure = refused(403, "r2", "<html>").failure(&call, in_json);
        assert_eq!(failure.kind(), &ErrorKind::Denied);
        assert_eq!(
            failure.error.to_string(),
            "test put a: the server answered 403 Forbidden (request r2)"
        );
    }

    proptest! {
        #[test]
        fn no_echo_of_a_secret_is_left(secret in "[a-zA-Z0-9+/=&]{4,20}", around in "\\PC{0,20}", more in "\\PC{0,20}") {
            let url = Url::parse("http://h/").expect("an address");
            let request = Request::get(url, Wait::Short);
            let text = format!("{around}{secret}{more}{}{around}", encode::segment(&secret));
            let redacted = redact(text, &request, std::slice::from_ref(&secret));
            prop_assert!(!redacted.contains(&secret), "{}", redacted);
        }
    }

    #[test]
    fn echoed_secrets_are_blotted_out() {
        let url = Url::parse("http://h/").expect("an address");
        let mut request = Request::get(url, Wait::Short);
        let mut value = HeaderValue::from_static("Basic dXNlcjpzM2NyJnQ=");
        value.set_sensitive(true);
        request.headers.insert("authorization", value);
        let text =
            "you sent Basic dXNlcjpzM2NyJnQ= that is dXNlcjpzM2NyJnQ= or s3cr&t or s3cr%26t, abc";
        let redacted = redact(text.to_owned(), &request, &["s3cr&t".into(), "abc".into()]);
        assert_eq!(redacted, "you sent *** that is *** or *** or ***, abc");
    }
}
