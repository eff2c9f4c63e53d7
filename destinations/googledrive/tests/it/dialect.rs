//! Every trouble for every verb.

use larder_destination::Operation;
use larder_testkit::misbehaviour::{self, Dialect};
use larder_testkit::simulators::{Answer, Request};
use serde_json::json;

use super::*;

struct Google;

const TOKEN: &str = "ya29.access+token";

impl Dialect for Google {
    fn open(&self, server: &str) -> Result<Arc<dyn Destination>> {
        let mut options = vec![("short-timeout", "1"), ("read-write-timeout", "1")];
        // It bounds whole listings, in which pauses are made.
        options.push(("list-timeout", "8"));
        options.extend(FULL);
        let config = config(server, "f", &options);
        Ok((larder_googledrive::PROVIDER.open)(&config, &Tools::system())?.destination)
    }

    fn secrets(&self) -> Vec<String> {
        vec![known::AUTHID_FULL.to_owned(), TOKEN.to_owned()]
    }

    fn verb(&self, request: &Request) -> Option<Operation> {
        let query = request.parameter("q").unwrap_or_default();
        match request.method.as_str() {
            "GET" if query.contains("mimeType='") => Some(Operation::CreateFolder),
            "GET" if !query.is_empty() && !query.contains("name=") => Some(Operation::List),
            "GET" if request.parameter("alt").is_some() => Some(Operation::Get),
            "PUT" => Some(Operation::Put),
            "DELETE" if request.parameter("upload_id").is_none() => Some(Operation::Delete),
            _ => None,
        }
    }

    fn good(&self, request: &Request) -> Answer {
        let query = request.parameter("q").unwrap_or_default();
        let file = json!({"id": "1", "name": "a", "size": "1", "mimeType": "x/y",
            "createdTime": "2026-01-01T00:00:00Z", "md5Checksum": "9dd4e461268c8034f5c8564e155c67a6"});
        let stored = json!({"id": "2", "name": "b", "size": "7", "md5Checksum": "9a0364b9e99bb480dd25e1f0284c8555"});
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/refresh") => {
                Answer::json(200, &json!({"access_token": TOKEN, "expires": 3599}))
            }
            ("GET", "/drive/v3/files") if query.contains("name='b'") => {
                Answer::json(200, &json!({"files": []}))
            }
            ("GET", "/drive/v3/files") => Answer::json(200, &json!({"files": [file]})),
            ("GET", _) => Answer::text(200, "application/octet-stream", "x"),
            ("POST", path) if path.starts_with("/upload") => {
                let address = request.sibling(&format!("{path}?upload_id=1"));
                Answer::empty(200).with(hyper::header::LOCATION, &address)
            }
            ("DELETE", _) => Answer::empty(204),
            _ => Answer::json(200, &stored),
        }
    }

    fn refusal(&self, status: u16, message: &str) -> Answer {
        Answer::json(
            status,
            &json!({"error": {"errors": [{"reason": "test"}], "message": message}}),
        )
    }

    /// An upload that is not known is begun anew under another name.
    fn also(&self, verb: Operation, status: u16) -> &'static [ErrorKind] {
        match (verb, status) {
            (Operation::Put, 404) => &[ErrorKind::Exists],
            _ => &[],
        }
    }

    fn page(&self, next: usize) -> Option<Answer> {
        Some(Answer::json(
            200,
            &json!({"files": [], "nextPageToken": next.to_string()}),
        ))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_trouble_for_every_verb() {
    let summary = misbehaviour::run(Arc::new(Google)).await;
    assert!(summary.failed.is_empty(), "{summary}");
    assert!(summary.passed.len() > 90, "{summary}");
}
