//! The protocol of Google Drive for the suite of troubles.

use larder_destination::ErrorKind;
use larder_destination::Operation::{CreateFolder, Delete, Get, List, Put};
use larder_testkit::misbehaviour::{self, Dialect};
use larder_testkit::simulators::Answer;
use serde_json::{Value, json};

static GOOGLE: Dialect = Dialect {
    provider: &larder_googledrive::PROVIDER,
    url: "googledrive://f?authid=IDkept:SECRETid&oauth-url=http://{server}/refresh&googledrive-api-url=http://{server}",
    secrets: &["IDkept:SECRETid", "ya29.access+token"],
    verb: |request| {
        let query = request.parameter("q").unwrap_or_default();
        match request.method.as_str() {
            "GET" if query.contains("mimeType='") => Some(CreateFolder),
            "GET" if !query.is_empty() && !query.contains("name=") => Some(List),
            "GET" if request.parameter("alt").is_some() => Some(Get),
            "PUT" => Some(Put),
            "DELETE" if request.parameter("upload_id").is_none() => Some(Delete),
            _ => None,
        }
    },
    good: |_, request| {
        let query = request.parameter("q").unwrap_or_default();
        let document: Value = match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/refresh") => json!({"access_token": "ya29.access+token", "expires": 3599}),
            ("GET", "/drive/v3/files") if query.contains("name='b'") => json!({"files": []}),
            ("GET", "/drive/v3/files") => json!({"files": [{"id": "1", "name": "a", "size": "1",
                "mimeType": "x/y", "md5Checksum": "9dd4e461268c8034f5c8564e155c67a6"}]}),
            ("POST", path) if path.starts_with("/upload") => {
                let address = request.sibling(&format!("{path}?upload_id=1"));
                return Some(Answer::empty(200).with(hyper::header::LOCATION, &address));
            }
            ("GET" | "DELETE", _) => return None,
            _ => json!({"id": "2", "name": "b", "size": "7",
                "md5Checksum": "9a0364b9e99bb480dd25e1f0284c8555"}),
        };
        Some(Answer::json(200, &document))
    },
    refusal: |status, code, message| {
        let error = json!({"errors": [{"reason": code}], "message": message});
        Answer::json(status, &json!({"error": error}))
    },
    page: Some(|next| Answer::json(200, &json!({"files": [], "nextPageToken": next}))),
    says: &[
        (Put, ErrorKind::Quota, 403, "storageQuotaExceeded"),
        (CreateFolder, ErrorKind::Denied, 403, "forbidden"),
    ],
    // An upload that is not known is begun anew under another name.
    also: &[(Put, 404, ErrorKind::Exists)],
    skips: "get: archived | Google Drive knows no cold tier for files
            delete: locked | Google's list of errors has none for a file that is locked
            create-folder: taken by another | folders of one name may lie beside each other",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_trouble_is_met_well() {
    misbehaviour::run(&GOOGLE).await.assert_fine();
}
