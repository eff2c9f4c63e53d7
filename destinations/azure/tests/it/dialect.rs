//! The protocol of Azure Blob Storage for the suite of troubles.

use larder_destination::ErrorKind;
use larder_destination::Operation::{CreateFolder, Delete, Get, List, Put};
use larder_testkit::misbehaviour::{self, Dialect};
use larder_testkit::simulators::Answer;

use crate::misbehaving::{list, refusal};

pub const KEY: Dialect = Dialect {
    provider: &larder_azure::PROVIDER,
    url: "azure://acct:U0VDUkVUa2V5@bkt/p?azure-blob-endpoint=http%3A%2F%2F{server}",
    secrets: &["U0VDUkVUa2V5"],
    verb: |request| match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/acct/bkt" | "/bkt") => Some(List),
        ("GET", _) => Some(Get),
        ("PUT", "/acct/bkt" | "/bkt") => Some(CreateFolder),
        ("PUT", _) => Some(Put),
        ("DELETE", _) => Some(Delete),
        _ => None,
    },
    good: |verb, request| match request.method.as_str() {
        _ if verb == Some(List) => Some(list("", &[("p/a", "")])),
        "HEAD" => Some(Answer::empty(200)),
        _ => None,
    },
    refusal: |status, code, message| {
        let code = match status {
            _ if !code.is_empty() => code,
            401 => "NoAuthenticationInformation",
            403 => "AuthorizationPermissionMismatch",
            404 => "ContainerNotFound",
            409 => "LeaseIdMissing",
            429 | 503 => "ServerBusy",
            500 => "InternalError",
            _ => "",
        };
        refusal(status, code, message)
    },
    page: Some(|next| list(next, &[])),
    says: &[
        (Get, ErrorKind::Archived, 409, "BlobArchived"),
        (Put, ErrorKind::Quota, 507, ""),
        (Delete, ErrorKind::Locked, 409, "BlobImmutableDueToPolicy"),
        (CreateFolder, ErrorKind::Denied, 403, "AccountIsDisabled"),
    ],
    also: &[],
    skips: "create-folder: taken by another | the containers of an account belong to it alone",
};

static DIALECT: Dialect = KEY;

#[tokio::test(flavor = "multi_thread")]
async fn every_trouble_is_met_well() {
    misbehaviour::run(&DIALECT).await.assert_fine();
}
