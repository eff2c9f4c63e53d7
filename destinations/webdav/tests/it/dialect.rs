//! The protocol of WebDAV for the suite of troubles.

use larder_destination::ErrorKind;
use larder_destination::Operation::{CreateFolder, Delete, Get, List, Put};
use larder_testkit::misbehaviour::{self, Dialect};
use larder_testkit::simulators::Answer;

use crate::multistatus;

static WEBDAV: Dialect = Dialect {
    provider: &larder_webdav::PROVIDER,
    url: "webdav://me:SECRETword@{server}/d",
    secrets: &["SECRETword"],
    verb: |request| match request.method.as_str() {
        "PROPFIND" if request.header("depth") == Some("1") => Some(List),
        "GET" => Some(Get),
        "PUT" => Some(Put),
        "DELETE" if request.path == "/d/a" => Some(Delete),
        // The folder is looked for before it is made, and this one exists.
        "PROPFIND" if request.path.trim_end_matches('/') == "/d" => Some(CreateFolder),
        _ => None,
    },
    good: |_, request| match (request.method.as_str(), request.path.as_str()) {
        ("PROPFIND", "/d/" | "/d") => Some(multistatus(&[("/d/", FOLDER), ("/d/a", ONE)])),
        ("PROPFIND", "/d/a") => Some(multistatus(&[("/d/a", ONE)])),
        ("PROPFIND", "/d/b") => Some(Answer::empty(404)),
        ("PROPFIND", path) => Some(multistatus(&[(path, SEVEN)])),
        _ => None,
    },
    refusal: |status, _, message| {
        let text = format!("<d:error xmlns:d=\"DAV:\"><d:message>{message}</d:message></d:error>");
        Answer::text(status, "application/xml", text)
    },
    page: None,
    says: &[
        (Put, ErrorKind::Quota, 507, ""),
        (Delete, ErrorKind::Locked, 423, ""),
        (CreateFolder, ErrorKind::Denied, 403, ""),
    ],
    // The server lists the file and says that it is not there.
    also: &[(Get, 404, ErrorKind::Denied)],
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

#[tokio::test(flavor = "multi_thread")]
async fn every_trouble_is_met_well() {
    misbehaviour::run(&WEBDAV).await.assert_fine();
}
