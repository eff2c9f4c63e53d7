//! From a failed transfer or an HTTP status to the error of all destinations.

use std::error::Error as StdError;
use std::time::Duration;

use larder_destination::{Error, ErrorKind, Operation};
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::date::http_date;
use crate::tls::UntrustedCertificate;

/// What is being attempted, for the texts and kinds of errors.
#[derive(Clone, Debug)]
pub struct Call {
    /// The scheme key of the provider.
    pub provider: &'static str,
    /// The operation asked for by the engine.
    pub operation: Operation,
    /// The file concerned; empty when the whole destination is.
    pub object: String,
}

impl Call {
    /// A call on the whole destination.
    #[must_use]
    pub fn new(provider: &'static str, operation: Operation) -> Self {
        Self {
            provider,
            operation,
            object: String::new(),
        }
    }

    /// A call on one file.
    #[must_use]
    pub fn on(provider: &'static str, operation: Operation, object: &str) -> Self {
        Self {
            provider,
            operation,
            object: object.to_owned(),
        }
    }

    /// An error of this call.
    #[must_use]
    pub fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::new(kind, self.provider, self.operation, message).object(self.object.clone())
    }

    /// The error for a status that the provider gives no better meaning to.
    ///
    /// 404 is [`ErrorKind::NotFound`]; a provider that can tell a missing folder from a missing file does so before.
    #[must_use]
    pub fn status_error(&self, status: StatusCode, headers: &HeaderMap) -> Error {
        self.error(
            status_kind(status, headers),
            format!("the server answered {status}"),
        )
    }

    /// The error for a request or reply that broke off; the URL is removed from the cause.
    #[must_use]
    pub(crate) fn transport_error(&self, error: reqwest::Error) -> Error {
        let error = error.without_url();
        if let Some(untrusted) = find_untrusted(&error) {
            return self.error(
                ErrorKind::Untrusted(untrusted.fingerprint.clone()),
                untrusted.to_string(),
            );
        }
        let (kind, message) = if error.is_builder() {
            (ErrorKind::Config, "the address of the server is not valid")
        } else if error.is_timeout() {
            (ErrorKind::Network, "the server did not answer in time")
        } else if error.is_dns() {
            (
                ErrorKind::Network,
                "the name of the server could not be resolved",
            )
        } else if error.is_connect() {
            (ErrorKind::Network, "could not connect to the server")
        } else {
            (ErrorKind::Network, "the connection broke off")
        };
        self.error(kind, message).caused_by(error)
    }

    /// The error for a wait that took too long.
    #[must_use]
    pub(crate) fn timeout_error(&self, what: &str, waited: Duration) -> Error {
        self.error(
            ErrorKind::Network,
            format!("{what} for {} seconds", waited.as_secs_f64()),
        )
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
/// date says nothing.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    let sent = http_date(headers.get(DATE)?.to_str().ok()?)?;
    let until = http_date(text)?;
    Some(Duration::from_secs(
        u64::try_from(until.saturating_sub(sent)).unwrap_or(0),
    ))
}

/// Finds our verifier's refusal among the causes of an error.
///
/// An `io::Error` hides the error it wraps from `source()`, so that one is opened by hand.
fn find_untrusted<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a UntrustedCertificate> {
    let mut next: Option<&'a (dyn StdError + 'static)> = Some(error);
    while let Some(current) = next {
        if let Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) =
            current.downcast_ref::<rustls::Error>()
            && let Some(found) = other.0.downcast_ref::<UntrustedCertificate>()
        {
            return Some(found);
        }
        next = match current
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
        {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => current.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
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
        let error = Call::on("s3", Operation::Get, "a.zip")
            .status_error(StatusCode::INTERNAL_SERVER_ERROR, &HeaderMap::new());
        assert_eq!(
            error.to_string(),
            "s3 get a.zip: the server answered 500 Internal Server Error"
        );
    }
}
