//! The protocol of WebDAV for the suite of troubles.

use std::sync::Arc;

use larder_destination::{Destination, ErrorKind, Operation, Result};
use larder_testkit::misbehaviour::{self, Dialect};
use larder_testkit::simulators::{Answer, Request};

use crate::open;

struct WebDav;

impl Dialect for WebDav {
    fn open(&self, server: &str) -> Result<Arc<dyn Destination>> {
        let options = "short-timeout=1&list-timeout=4&read-write-timeout=1";
        let opened = open(&format!("webdav://me:SECRETword@{server}/d?{options}"));
        Ok(opened?.destination)
    }

    fn secrets(&self) -> Vec<String> {
        vec!["SECRETword".to_owned()]
    }

    fn verb(&self, request: &Request) -> Option<Operation> {
        Some(match request.method.as_str() {
            "PROPFIND" if request.header("depth") == Some("1") => Operation::List,
            "GET" => Operation::Get,
            "PUT" => Operation::Put,
            "DELETE" if request.path == "/d/a" => Operation::Delete,
            // The folder is looked for before it is made, and this one exists.
            "PROPFIND" if request.path.trim_end_matches('/') == "/d" => Operation::CreateFolder,
            _ => return None,
        })
    }

    fn good(&self, request: &Request) -> Answer {
        match (request.method.as_str(), request.path.as_str()) {
            ("PROPFIND", "/d/" | "/d") => listing(&[("/d/", None), ("/d/a", Some(1))]),
            ("PROPFIND", "/d/a") => listing(&[("/d/a", Some(1))]),
            ("PROPFIND", "/d/b") => Answer::empty(404),
            ("PROPFIND", path) => listing(&[(path, Some(7))]),
            ("GET", _) => Answer::text(200, "application/octet-stream", "x"),
            ("PUT" | "MOVE" | "MKCOL", _) => Answer::empty(201),
            ("DELETE", _) => Answer::empty(204),
            _ => Answer::empty(405),
        }
    }

    fn also(&self, verb: Operation, status: u16) -> &'static [ErrorKind] {
        match (verb, status) {
            // The server lists the file and says that it is not there.
            (Operation::Get, 404) => &[ErrorKind::Denied],
            _ => &[],
        }
    }

    fn skips(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "list: cut once",
                "the listing is read while it arrives, and what was given out cannot be taken back",
            ),
            (
                "create-folder: 404",
                "what is not there yet is made, which is what the caller wants",
            ),
            (
                "put: 404",
                "the server refuses a file in a folder that it has just shown, which no kind of error fits",
            ),
            (
                "put: 429 with a wait of years",
                "removing the temporary file waits as the server wishes, five minutes at most",
            ),
        ]
    }

    fn refusal(&self, status: u16, message: &str) -> Answer {
        let text = format!("<d:error xmlns:d=\"DAV:\"><d:message>{message}</d:message></d:error>");
        Answer::text(status, "application/xml", text)
    }
}

fn listing(entries: &[(&str, Option<u64>)]) -> Answer {
    let entry = |(href, len): &(&str, Option<u64>)| {
        let facts = match len {
            Some(len) => format!("<d:resourcetype/><d:getcontentlength>{len}</d:getcontentlength>"),
            None => "<d:resourcetype><d:collection/></d:resourcetype>".to_owned(),
        };
        format!(
            "<d:response><d:href>{href}</d:href><d:propstat><d:prop>{facts}</d:prop>\
             <d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>"
        )
    };
    let entries: String = entries.iter().map(entry).collect();
    let text = format!("<d:multistatus xmlns:d=\"DAV:\">{entries}</d:multistatus>");
    Answer::text(207, "application/xml", text)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_trouble_is_met_well() {
    misbehaviour::run(Arc::new(WebDav)).await.assert_fine();
}
