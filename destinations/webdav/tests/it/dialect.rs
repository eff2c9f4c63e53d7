//! The protocol of WebDAV for the suite of troubles.

use larder_destination::{ErrorKind, Operation};
use larder_testkit::misbehaviour::{self, Dialect};
use larder_testkit::simulators::Answer;

static WEBDAV: Dialect = Dialect {
    provider: &larder_webdav::PROVIDER,
    url: "webdav://me:SECRETword@{server}/d",
    secrets: &["SECRETword"],
    verb: |request| match request.method.as_str() {
        "PROPFIND" if request.header("depth") == Some("1") => Some(Operation::List),
        "GET" => Some(Operation::Get),
        "PUT" => Some(Operation::Put),
        "DELETE" if request.path == "/d/a" => Some(Operation::Delete),
        // The folder is looked for before it is made, and this one exists.
        "PROPFIND" if request.path.trim_end_matches('/') == "/d" => Some(Operation::CreateFolder),
        _ => None,
    },
    good: |request| match (request.method.as_str(), request.path.as_str()) {
        ("PROPFIND", "/d/" | "/d") => Some(listing(&[("/d/", FOLDER), ("/d/a", ONE)])),
        ("PROPFIND", "/d/a") => Some(listing(&[("/d/a", ONE)])),
        ("PROPFIND", "/d/b") => Some(Answer::empty(404)),
        ("PROPFIND", path) => Some(listing(&[(path, SEVEN)])),
        _ => None,
    },
    refusal: |status, message| {
        let text = format!("<d:error xmlns:d=\"DAV:\"><d:message>{message}</d:message></d:error>");
        Answer::text(status, "application/xml", text)
    },
    page: None,
    says: &[
        (Operation::Put, ErrorKind::Quota, || Answer::empty(507)),
        (Operation::Delete, ErrorKind::Locked, || Answer::empty(423)),
        (Operation::CreateFolder, ErrorKind::Denied, || {
            Answer::empty(403)
        }),
    ],
    // The server lists the file and says that it is not there.
    also: &[(Operation::Get, 404, ErrorKind::Denied)],
    skips: "get: archived | WebDAV knows no cold tier for files
            create-folder: taken by another | a folder of a server belongs to nobody else
            list: cut once | it is read while it arrives, and what was given out is not taken back
            create-folder: 404 | what is not there yet is made, which is what the caller wants
            put: 404 | a folder that was just shown refuses a file, which no kind of error fits
            put: 429 with a wait of years | removing the temporary file waits too, five minutes",
};

const FOLDER: &str = "<d:resourcetype><d:collection/></d:resourcetype>";
const ONE: &str = "<d:getcontentlength>1</d:getcontentlength>";
const SEVEN: &str = "<d:getcontentlength>7</d:getcontentlength>";

fn listing(entries: &[(&str, &str)]) -> Answer {
    let mut text = "<d:multistatus xmlns:d=\"DAV:\">".to_owned();
    for (href, facts) in entries {
        text += &format!(
            "<d:response><d:href>{href}</d:href><d:propstat><d:prop>{facts}</d:prop></d:propstat></d:response>"
        );
    }
    Answer::text(207, "application/xml", text + "</d:multistatus>")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_trouble_is_met_well() {
    misbehaviour::run(&WEBDAV).await.assert_fine();
}
