//! The protocol of S3 for the suite of troubles.

use larder_destination::{ErrorKind, Operation};
use larder_testkit::misbehaviour::{self, Dialect};
use larder_testkit::simulators::{Answer, Request};

static S3: Dialect = Dialect {
    provider: &larder_s3::PROVIDER,
    url: "s3://AKID:SECRETkey@bkt/p?s3-server-name={server}",
    secrets: &["SECRETkey"],
    verb,
    good: |request| {
        let file = "<Contents><Key>p/a</Key><Size>1</Size></Contents>";
        (verb(request) == Some(Operation::List)).then(|| list("", file))
    },
    refusal: |status, message| {
        let code = match status {
            403 => "AccessDenied",
            404 => "NoSuchBucket",
            409 => "OperationAborted",
            429 | 503 => "SlowDown",
            500 => "InternalError",
            _ => "InvalidRequest",
        };
        error(status, code, message)
    },
    page: Some(|next| list(&next.to_string(), "")),
    says: &[
        (Operation::Get, ErrorKind::Archived, || {
            error(403, "InvalidObjectState", "no")
        }),
        (Operation::Put, ErrorKind::Quota, || {
            error(403, "QuotaExceeded", "no")
        }),
        (Operation::CreateFolder, ErrorKind::Denied, || {
            error(403, "AccessDenied", "no")
        }),
        (Operation::CreateFolder, ErrorKind::Exists, || {
            error(409, "BucketAlreadyExists", "no")
        }),
    ],
    also: &[],
    skips: "delete: locked | object locks need versions, and a delete then only adds a marker",
};

fn error(status: u16, code: &str, message: &str) -> Answer {
    let text = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Answer::text(status, "application/xml", text)
}

fn verb(request: &Request) -> Option<Operation> {
    Some(match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/bkt" | "/bkt/") => Operation::List,
        ("GET", _) => Operation::Get,
        ("PUT", "/bkt" | "/bkt/") => Operation::CreateFolder,
        ("PUT", _) => Operation::Put,
        ("DELETE", _) => Operation::Delete,
        _ => return None,
    })
}

fn list(next: &str, files: &str) -> Answer {
    let is_more = !next.is_empty();
    let text = format!(
        "<ListBucketResult><IsTruncated>{is_more}</IsTruncated>\
         <NextContinuationToken>{next}</NextContinuationToken>{files}</ListBucketResult>"
    );
    Answer::text(200, "application/xml", text)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_trouble_is_met_well() {
    misbehaviour::run(&S3).await.assert_fine();
}
