//! The protocol of S3 for the suite of troubles.

use std::sync::Arc;

use larder_destination::{Destination, Operation, Result};
use larder_testkit::misbehaviour::{self, Dialect};
use larder_testkit::simulators::{Answer, Request};

use crate::open;

struct S3;

impl Dialect for S3 {
    fn open(&self, server: &str) -> Result<Arc<dyn Destination>> {
        let server = server.replace(':', "%3A");
        open(&format!(
            "s3://AKID:SECRETkey@bkt/p?s3-server-name={server}&short-timeout=1&list-timeout=4&read-write-timeout=1"
        ))
    }

    fn secrets(&self) -> Vec<String> {
        vec!["SECRETkey".to_owned()]
    }

    fn verb(&self, request: &Request) -> Option<Operation> {
        Some(match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/bkt" | "/bkt/") => Operation::List,
            ("GET", _) => Operation::Get,
            ("PUT", "/bkt" | "/bkt/") => Operation::CreateFolder,
            ("PUT", _) => Operation::Put,
            ("DELETE", _) => Operation::Delete,
            _ => return None,
        })
    }

    fn good(&self, request: &Request) -> Answer {
        match self.verb(request) {
            Some(Operation::List) => list("", "<Contents><Key>p/a</Key><Size>1</Size></Contents>"),
            Some(Operation::Get) => Answer::text(200, "application/octet-stream", "x"),
            Some(Operation::Delete) => Answer::empty(204),
            Some(_) => Answer::empty(200),
            None => Answer::empty(404),
        }
    }

    fn refusal(&self, status: u16, message: &str) -> Answer {
        let code = match status {
            403 => "AccessDenied",
            404 => "NoSuchBucket",
            409 => "OperationAborted",
            429 | 503 => "SlowDown",
            500 => "InternalError",
            _ => "InvalidRequest",
        };
        let text = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
        Answer::text(status, "application/xml", text)
    }

    fn page(&self, next: usize) -> Option<Answer> {
        Some(list(
            &format!("<NextContinuationToken>{next}</NextContinuationToken>"),
            "",
        ))
    }
}

fn list(next: &str, files: &str) -> Answer {
    let is_more = !next.is_empty();
    let text = format!(
        "<ListBucketResult><IsTruncated>{is_more}</IsTruncated>{next}{files}</ListBucketResult>"
    );
    Answer::text(200, "application/xml", text)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_trouble_is_met_well() {
    misbehaviour::run(Arc::new(S3)).await.assert_fine();
}
