//! The protocol of S3 for the suite of troubles.

use larder_destination::ErrorKind;
use larder_destination::Operation::{CreateFolder, Delete, Get, List, Put};
use larder_testkit::misbehaviour::{self, Dialect};
use larder_testkit::simulators::Answer;

static S3: Dialect = Dialect {
    provider: &larder_s3::PROVIDER,
    url: "s3://AKID:SECRETkey@bkt/p?s3-server-name={server}",
    secrets: &["SECRETkey"],
    verb: |request| match (request.method.as_str(), request.path.as_str()) {
        _ if request.query.iter().any(|(name, _)| name == "object-lock") => None,
        ("GET", "/bkt" | "/bkt/") => Some(List),
        ("GET", _) => Some(Get),
        ("PUT", "/bkt" | "/bkt/") => Some(CreateFolder),
        ("PUT", _) => Some(Put),
        ("DELETE", _) => Some(Delete),
        _ => None,
    },
    good: |verb, _| match verb {
        Some(List) => Some(list(
            "",
            "<Contents><Key>p/a</Key><Size>1</Size></Contents>",
        )),
        None => Some(refusal(404, "ObjectLockConfigurationNotFoundError", "")),
        _ => None,
    },
    refusal,
    page: Some(|next| list(next, "")),
    says: &[
        (Get, ErrorKind::Archived, 403, "InvalidObjectState"),
        (Put, ErrorKind::Quota, 403, "QuotaExceeded"),
        (CreateFolder, ErrorKind::Denied, 403, "AccessDenied"),
        (CreateFolder, ErrorKind::Exists, 409, "BucketAlreadyExists"),
    ],
    also: &[],
    skips: "delete: locked | the service deletes what is locked behind a marker; what is locked is asked before",
};

fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let code = match (code, status) {
        ("", 403) => "AccessDenied",
        ("", 404) => "NoSuchBucket",
        ("", 500) => "InternalError",
        ("", _) => "InvalidRequest",
        (code, _) => code,
    };
    let text = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Answer::text(status, "application/xml", text)
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
