//! From a failed transfer or an HTTP status to the error of all destinations.

use std::error::Error as StdError;
use std::time::Duration;

pub use larder_destination::Call;
use larder_destination::{Advice, Error, ErrorKind, LONGEST_WAIT};
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::date::http_date;
use crate::tls::UntrustedCertificate;

/// Result of one request.
pub type Outcome<T> = std::result::Result<T, Box<Failure>>;

/// A request that did not succeed, with what a provider may want to look at before it gives up.
#[derive(Debug)]
pub struct Failure {
    /// The error for the caller.
    pub error: Error,
    /// The status; 0 when there was no reply.
    pub status: u16,
    /// The service's own code; empty when there is none.
    pub code: String,
    /// One more fact that the service named, as the provider's dialect understood it.
    pub detail: Option<String>,
    /// The headers of the reply.
    pub headers: HeaderMap,
    /// True when the server was not reached at all: asking again at once gives the same.
    pub unreached: bool,
}

impl Failure {
    /// One header of the reply.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        self.error.kind()
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

impl From<Error> for Box<Failure> {
    fn from(error: Error) -> Self {
        Box::new(Failure {
            error,
            status: 0,
            code: String::new(),
            detail: None,
            headers: HeaderMap::new(),
            unreached: false,
        })
    }
}

impl From<Box<Failure>> for Error {
    fn from(failure: Box<Failure>) -> Self {
        failure.error
    }
}

/// The error for a status that the provider gives no better meaning to.
///
/// 404 is [`ErrorKind::NotFound`]; a provider that can tell a missing folder from a missing file does so before.
pub(crate) fn status_error(call: &Call, status: StatusCode, headers: &HeaderMap) -> Error {
    let text = format!("the server answered {status}");
    call.error(status_kind(status, headers), text)
}

/// The error for a request or reply that broke off; the URL is removed from the cause.
pub(crate) fn transport_error(call: &Call, error: reqwest::Error) -> Error {
    transport_failure(call, error).error
}

/// As [`transport_error`], with whether the server was reached.
pub(crate) fn transport_failure(call: &Call, error: reqwest::Error) -> Box<Failure> {
    let error = error.without_url();
    if let Some(untrusted) = find_untrusted(&error) {
        let kind = ErrorKind::Untrusted(untrusted.fingerprint.clone());
        return call.error(kind, untrusted.to_string()).into();
    }
    let trouble = Trouble::of(&error);
    let mut failure = Box::<Failure>::from(trouble.error(call).caused_by(error));
    failure.unreached = matches!(
        trouble,
        Trouble::Address | Trouble::Name | Trouble::Connection | Trouble::Tls
    );
    failure
}

/// The error for a reply that keeps coming but not to its end in time.
pub(crate) fn too_slow(call: &Call) -> Error {
    let text = "the reply of the server did not end in the time that is allowed";
    call.error(ErrorKind::Network, text)
        .advice(Trouble::Time.advice())
}

/// The error for a wait that took too long.
pub(crate) fn timeout_error(call: &Call, what: &str, waited: Duration) -> Error {
    let text = format!("{what} for {} seconds", waited.as_secs_f64());
    call.error(ErrorKind::Network, text)
        .advice(Trouble::Time.advice())
        .unanswered()
}

/// What keeps an exchange from coming to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Address,
    Name,
    Connection,
    Tls,
    Time,
    Broken,
}

impl Trouble {
    fn of(error: &reqwest::Error) -> Self {
        if error.is_builder() {
            Self::Address
        } else if error.is_dns() {
            Self::Name
        } else if causes(error).any(|cause| cause.is::<rustls::Error>()) {
            Self::Tls
        } else if error.is_timeout() && !error.is_connect() {
            Self::Time
        } else if error.is_connect() {
            Self::Connection
        } else {
            Self::Broken
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Address => "the address of the server is not valid",
            Self::Name => "the name of the server could not be resolved",
            Self::Connection => "could not connect to the server",
            Self::Tls => "no encrypted connection could be agreed on with the server",
            Self::Time => "the server did not answer in time",
            Self::Broken => "the connection broke off",
        }
    }

    fn advice(self) -> &'static Advice {
        match self {
            Self::Address => &Advice {
                id: "InvalidDestination",
                help: "check the server's name and port in the URL",
            },
            Self::Name => &Advice {
                id: "HostNotFound",
                help: "check the server's name in the URL, and that this machine is online",
            },
            Self::Connection => &Advice {
                id: "HostUnreachable",
                help: "check the server's name and port in the URL, and that it runs and nothing on the way blocks it",
            },
            Self::Tls => &Advice {
                id: "TlsFailed",
                help: "check that this port speaks TLS; if it does not, leave out --use-ssl",
            },
            Self::Time => &Advice {
                id: "ConnectionTimedOut",
                help: "try again later; if it happens often, raise --short-timeout, --list-timeout or \
                       --read-write-timeout",
            },
            Self::Broken => &Advice {
                id: "ConnectionLost",
                help: "try again; if it happens often, look for the cause in the network or at the server",
            },
        }
    }

    fn error(self, call: &Call) -> Error {
        let kind = match self {
            Self::Address => ErrorKind::Config,
            Self::Name | Self::Connection | Self::Tls | Self::Time | Self::Broken => {
                ErrorKind::Network
            }
        };
        let error = call.error(kind, self.words()).advice(self.advice());
        match self {
            // A server that cannot agree on an encryption is there.
            Self::Address | Self::Tls => error,
            Self::Name | Self::Connection | Self::Time | Self::Broken => error.unanswered(),
        }
    }
}

/// What a status means when the provider says nothing more precise.
fn status_kind(status: StatusCode, headers: &HeaderMap) -> ErrorKind {
    match status.as_u16() {
        401 | 407 => ErrorKind::SignInNeeded,
        403 => ErrorKind::Denied,
        404 | 410 => ErrorKind::NotFound,
        409 | 412 => ErrorKind::Exists,
        423 => ErrorKind::Locked,
        425 | 429 | 503 | 509 => ErrorKind::Busy(retry_after(headers)),
        501 | 505 => ErrorKind::Unsupported,
        507 => ErrorKind::Quota,
        408 | 500..=599 => ErrorKind::Network,
        _ => ErrorKind::Other,
    }
}

/// How long the server asks to wait (`Retry-After`, RFC 9110, section 10.2.3): seconds, or a date.
///
/// A date is compared with the reply's own `Date`, so that a wrong local clock does no harm; without that header a
/// date says nothing. At most [`LONGEST_WAIT`], whatever the server wishes.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    wish(headers).map(|wish| wish.min(LONGEST_WAIT))
}

/// The same as the server says it, for one that means it.
pub(crate) fn wish(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().unwrap_or(u64::MAX)
    } else {
        let sent = http_date(headers.get(DATE)?.to_str().ok()?)?;
        let until = http_date(text)?;
        u64::try_from(until.saturating_sub(sent)).unwrap_or(0)
    };
    Some(Duration::from_secs(seconds))
}

/// Finds our verifier's refusal among the causes of an error.
fn find_untrusted<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a UntrustedCertificate> {
    causes(error).find_map(|cause| match cause.downcast_ref::<rustls::Error>() {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) => {
            other.0.downcast_ref::<UntrustedCertificate>()
        }
        // The library's errors may grow; ours comes in this form only.
        _ => None,
    })
}

/// An error and what caused it.
///
/// An `io::Error` hides the error it wraps from `source()`, so that one is opened by hand.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |current: &&'a (dyn StdError + 'static)| {
        let current: &'a (dyn StdError + 'static) = *current;
        let inner = current
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        match inner {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => current.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use larder_destination::Operation;
    use reqwest::header::HeaderValue;

    use super::*;

    fn headers(pairs: &[(reqwest::header::HeaderName, &str)]) -> HeaderMap {
        let text =
            |value: &str| HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect()
    }

    #[test]
    fn reads_seconds_and_dates() {
        let date = (DATE, "Sun, 06 Nov 1994 08:49:37 GMT");
        let later = (RETRY_AFTER, "Sun, 06 Nov 1994 08:50:07 GMT");
        let sooner = (RETRY_AFTER, "Sun, 06 Nov 1994 08:00:00 GMT");
        assert_eq!(
            retry_after(&headers(&[(RETRY_AFTER, "120")])),
            Some(Duration::from_secs(120))
        );
        assert_eq!(
            retry_after(&headers(&[date.clone(), later.clone()])),
            Some(Duration::from_secs(30))
        );
        assert_eq!(retry_after(&headers(&[date, sooner])), Some(Duration::ZERO));
        for wish in ["3153600000", "4294967296", "99999999999999999999999"] {
            let capped = retry_after(&headers(&[(RETRY_AFTER, wish)]));
            assert_eq!(capped, Some(LONGEST_WAIT), "{wish}");
        }
        assert_eq!(retry_after(&headers(&[later])), None);
        assert_eq!(retry_after(&headers(&[(RETRY_AFTER, "soon")])), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn every_status_has_a_kind() {
        let kind =
            |code| StatusCode::from_u16(code).map(|status| status_kind(status, &HeaderMap::new()));
        for (code, expected) in [
            (400, ErrorKind::Other),
            (401, ErrorKind::SignInNeeded),
            (403, ErrorKind::Denied),
            (404, ErrorKind::NotFound),
            (408, ErrorKind::Network),
            (423, ErrorKind::Locked),
            (429, ErrorKind::Busy(None)),
            (500, ErrorKind::Network),
            (501, ErrorKind::Unsupported),
            (503, ErrorKind::Busy(None)),
            (507, ErrorKind::Quota),
            (509, ErrorKind::Busy(None)),
        ] {
            assert_eq!(kind(code).ok(), Some(expected), "{code}");
        }
    }

    #[test]
    fn text_names_provider_operation_and_object() {
        let call = Call::on("s3", Operation::Get, "a.zip");
        let error = status_error(&call, StatusCode::INTERNAL_SERVER_ERROR, &HeaderMap::new());
        assert_eq!(
            error.to_string(),
            "s3 get a.zip: the server answered 500 Internal Server Error"
        );
        assert!(!error.is_unanswered());
    }
}
