//! What an answer other than success means.

use larder_destination::{Error, ErrorKind};
use larder_httpkit::http::{HeaderMap, StatusCode};
use larder_httpkit::{Call, retry_after};

use crate::replies::ErrorReply;

/// A request that did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The error for the caller.
    pub error: Error,
    /// The status; 0 when there was no reply.
    pub status: u16,
    /// The service's own code; empty when there is none.
    pub code: String,
    headers: HeaderMap,
    region: Option<String>,
}

impl From<Error> for Box<Failure> {
    fn from(error: Error) -> Self {
        Box::new(Failure {
            error,
            status: 0,
            code: String::new(),
            headers: HeaderMap::new(),
            region: None,
        })
    }
}

impl From<Box<Failure>> for Error {
    fn from(failure: Box<Failure>) -> Self {
        failure.error
    }
}

impl Failure {
    /// Gives a refusal its kind, by the service's code where it sent one, else by the status.
    ///
    /// `about_bucket` tells what a bare 404 misses.
    pub(crate) fn refused(
        call: &Call,
        status: StatusCode,
        headers: HeaderMap,
        reply: Option<ErrorReply>,
        about_bucket: bool,
    ) -> Self {
        let reply = reply.unwrap_or_default();
        let region = reply
            .region
            .filter(|region| !region.is_empty())
            .or_else(|| {
                Some(
                    headers
                        .get("x-amz-bucket-region")?
                        .to_str()
                        .ok()?
                        .to_owned(),
                )
            });
        let by_status = call.status_error(status, &headers);
        let error = match kind_of(&reply.code, &headers) {
            Some(kind) => call.error(kind, words(&reply.code, &reply.message)),
            None if status == StatusCode::NOT_FOUND && about_bucket => {
                call.error(ErrorKind::FolderMissing, "the bucket does not exist")
            }
            None if reply.code.is_empty() => by_status,
            None => call.error(by_status.kind().clone(), words(&reply.code, &reply.message)),
        };
        Self {
            error,
            status: status.as_u16(),
            code: reply.code,
            headers,
            region,
        }
    }

    /// One header of the reply.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The region to use instead, when the request failed because of it.
    pub(crate) fn right_region(&self) -> Option<String> {
        let wrong = self.status == 301
            || matches!(
                self.code.as_str(),
                "AuthorizationHeaderMalformed"
                    | "PermanentRedirect"
                    | "IllegalLocationConstraintException"
            );
        self.region.clone().filter(|_| wrong)
    }
}

/// The kinds of the service's codes
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList>), and of codes seen elsewhere.
fn kind_of(code: &str, headers: &HeaderMap) -> Option<ErrorKind> {
    Some(match code {
        "NoSuchBucket" => ErrorKind::FolderMissing,
        "NoSuchKey" => ErrorKind::NotFound,
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => ErrorKind::Denied,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "InvalidToken"
        | "InvalidSecurity"
        | "NotSignedUp" => ErrorKind::SignInNeeded,
        "InvalidObjectState" => ErrorKind::Archived,
        // MinIO's code, and one that several gateways use.
        "XMinioStorageFull" | "QuotaExceeded" => ErrorKind::Quota,
        "BadDigest" | "XAmzContentSHA256Mismatch" | "InvalidDigest" | "IncompleteBody" => {
            ErrorKind::Corrupt
        }
        "SlowDown" | "ServiceUnavailable" => ErrorKind::Busy(retry_after(headers)),
        "OperationAborted" => ErrorKind::Busy(None),
        "InternalError" | "RequestTimeout" => ErrorKind::Network,
        "NotImplemented" => ErrorKind::Unsupported,
        "BucketAlreadyExists" => ErrorKind::Exists,
        "RequestTimeTooSkewed"
        | "AuthorizationHeaderMalformed"
        | "PermanentRedirect"
        | "TemporaryRedirect"
        | "InvalidLocationConstraint"
        | "IllegalLocationConstraintException"
        | "InvalidBucketName"
        | "InvalidStorageClass" => ErrorKind::Config,
        _ => return None,
    })
}

/// The service's sentence without a full stop, with its code.
fn words(code: &str, message: &str) -> String {
    let message: String = message
        .chars()
        .take(500)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let message = message.trim().trim_end_matches('.');
    let hint = if code == "RequestTimeTooSkewed" {
        "the clock of this machine is wrong: "
    } else {
        ""
    };
    if message.is_empty() {
        format!("{hint}{code}")
    } else {
        format!("{hint}{message} ({code})")
    }
}

#[cfg(test)]
mod tests {
    use larder_destination::Operation;

    use super::*;

    fn refused(status: u16, code: &str, about_bucket: bool) -> ErrorKind {
        let call = Call::on("s3", Operation::Get, "x");
        let reply = (!code.is_empty()).then(|| ErrorReply {
            code: code.into(),
            message: "words.".into(),
            ..ErrorReply::default()
        });
        let status = StatusCode::from_u16(status).unwrap_or_default();
        Failure::refused(&call, status, HeaderMap::new(), reply, about_bucket)
            .error
            .kind()
            .clone()
    }

    #[test]
    fn code_comes_before_status() {
        for (status, code, about_bucket, kind) in [
            (404, "NoSuchBucket", false, ErrorKind::FolderMissing),
            (404, "NoSuchKey", false, ErrorKind::NotFound),
            (404, "", false, ErrorKind::NotFound),
            (404, "", true, ErrorKind::FolderMissing),
            (403, "AccessDenied", false, ErrorKind::Denied),
            (403, "SignatureDoesNotMatch", false, ErrorKind::SignInNeeded),
            (403, "InvalidObjectState", false, ErrorKind::Archived),
            (403, "", false, ErrorKind::Denied),
            (400, "RequestTimeout", false, ErrorKind::Network),
            (400, "BadDigest", false, ErrorKind::Corrupt),
            (400, "Unheard", false, ErrorKind::Other),
            (409, "OperationAborted", true, ErrorKind::Busy(None)),
            (503, "SlowDown", false, ErrorKind::Busy(None)),
            (507, "", false, ErrorKind::Quota),
            (200, "InternalError", false, ErrorKind::Network),
        ] {
            assert_eq!(refused(status, code, about_bucket), kind, "{status} {code}");
        }
    }

    #[test]
    fn words_of_the_server_are_shown_on_one_line() {
        assert_eq!(
            words("SlowDown", "Please\nslow down."),
            "Please slow down (SlowDown)"
        );
        assert_eq!(words("X", ""), "X");
    }
}
