//! What is sent, and what the destination makes of answers: the kind of the error, and how often it asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use larder_destination::{Body, Destination, ErrorKind, Existing, Result, Tools};
use larder_httpkit::http::HeaderName;
use larder_httpkit::objects::Tuning;
use larder_testkit::misbehaviour::{self, Dialect};
use larder_testkit::simulators::{Answer, Fault, Request, Server, Simulator, Trouble};

use crate::dialect::KEY;
use crate::{Test, config, kind, listing, names, open};

/// The suite of troubles with a SAS token, which stands in each address.
static TOKEN: Dialect = Dialect {
    url: "azure://bkt/p?azure-access-sas-token=%3Fsig%3DSECRET%252Bsig&azure-blob-endpoint=http%3A%2F%2F{server}%2Facct",
    secrets: &["SECRET%2Bsig", "SECRET+sig"],
    skips: "create-folder: taken by another | the containers of an account belong to it alone
            create-folder: denied | its listing shows that the container is there
            create-folder: 403 | its listing shows that the container is there
            create-folder: 403 with the secrets | its listing shows that the container is there",
    ..KEY
};

#[tokio::test(flavor = "multi_thread")]
async fn every_trouble_is_met_well_with_a_token() {
    misbehaviour::run(&TOKEN).await.assert_fine();
}

/// A page of a listing: names with further properties.
pub fn list(next: &str, files: &[(&str, &str)]) -> Answer {
    let mut blobs = String::new();
    for (name, more) in files {
        let len = "<Content-Length>1</Content-Length>";
        blobs += &format!("<Blob><Name>{name}</Name><Properties>{len}{more}</Properties></Blob>");
    }
    let text = format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Blobs>{blobs}</Blobs>\
         <NextMarker>{next}</NextMarker></EnumerationResults>"
    );
    Answer::text(200, "application/xml", text)
}

/// A refusal as the service writes it.
pub fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let id = "RequestId:0\nTime:now";
    let text = format!("<Error><Code>{code}</Code><Message>{message}\n{id}</Message></Error>");
    let answer = Answer::text(status, "application/xml", text);
    match code {
        "" => answer,
        code => answer.with(header("x-ms-error-code"), code),
    }
}

fn no(status: u16, code: &str) -> Answer {
    refusal(status, code, "no.")
}

/// A refusal of the sign-in with the reason that it gives.
fn unproven(detail: &str) -> Answer {
    let text = format!(
        "<Error><Code>AuthenticationFailed</Code><Message>no.</Message>\
         <AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail></Error>"
    );
    Answer::text(403, "application/xml", text)
}

fn content(text: &str) -> Answer {
    Answer::text(200, "application/octet-stream", text.to_owned())
}

fn header(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

/// Gives one prepared answer for each request, and 418 after the last.
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    requests: Mutex<Vec<Request>>,
}

impl Script {
    async fn start(answers: Vec<Answer>) -> std::io::Result<(Arc<Self>, Server)> {
        let script = Arc::new(Self {
            answers: Mutex::new(answers.into()),
            requests: Mutex::default(),
        });
        let simulator = Arc::clone(&script) as Arc<dyn Simulator>;
        let server = Server::start(simulator, "127.0.0.1:0", None).await?;
        Ok((script, server))
    }

    /// What was asked so far.
    fn requests(&self) -> Vec<Request> {
        let requests = self.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Method, path and query of what was asked so far.
    fn lines(&self) -> Vec<String> {
        let line = |request: &Request| {
            let query = request.query.iter();
            let query: Vec<_> = query
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let mark = if query.is_empty() { "" } else { "?" };
            format!(
                "{} {}{mark}{}",
                request.method,
                request.path,
                query.join("&")
            )
        };
        self.requests().iter().map(line).collect()
    }
}

impl Simulator for Script {
    fn answer(&self, request: &Request) -> Answer {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(request.clone());
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.pop_front().unwrap_or_else(|| Answer::empty(418))
    }

    fn refusal(&self, _: &Request, status: u16, reason: &str) -> Answer {
        refusal(status, "", reason)
    }
}

/// A URL for the server, with more options behind it.
fn url(server: &Server, options: &str) -> String {
    let endpoint = server.address().replace(':', "%3A");
    format!("azure://acct:S0VZ@bkt/p?azure-blob-endpoint=http%3A%2F%2F{endpoint}&{options}")
}

async fn start(
    options: &str,
    answers: Vec<Answer>,
) -> std::result::Result<(Arc<Script>, Server, Arc<dyn Destination>), Box<dyn std::error::Error>> {
    let (script, server) = Script::start(answers).await?;
    let store = open(&url(&server, options))?;
    Ok((script, server, store))
}

#[tokio::test]
async fn the_content_of_a_put_is_sent_once_with_its_checksum() -> Test {
    let answers = vec![
        no(500, "InternalError"),
        Answer::empty(201),
        Answer::empty(201),
    ];
    let (script, _server, store) = start("azure-access-tier=Cool", answers).await?;
    let put = |existing| store.put("a b", Body::from_bytes("content"), existing);
    assert_eq!(kind(put(Existing::Refuse).await), Some(ErrorKind::Network));
    put(Existing::Refuse).await?;
    assert_eq!(script.lines(), ["PUT /acct/bkt/p/a%20b"; 2]);
    for request in script.requests() {
        assert_eq!(request.body, "content");
        for (name, value) in [
            ("content-md5", "mgNkuembtIDdJeHwKEyFVQ=="),
            ("content-length", "7"),
            ("if-none-match", "*"),
            ("x-ms-blob-type", "BlockBlob"),
            ("x-ms-access-tier", "Cool"),
            ("x-ms-version", "2021-12-02"),
        ] {
            assert_eq!(request.header(name), Some(value), "{name}");
        }
        let proof = request.header("authorization").unwrap_or_default();
        assert!(proof.starts_with("SharedKey acct:"), "{proof}");
    }
    Ok(())
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused_by_the_service() -> Test {
    for (status, code) in [(409, "BlobAlreadyExists"), (412, "ConditionNotMet")] {
        let (script, _server, store) = start("", vec![no(status, code)]).await?;
        let put = store.put("a", Body::from_bytes("content"), Existing::Refuse);
        assert_eq!(kind(put.await), Some(ErrorKind::Exists));
        assert_eq!(script.requests().len(), 1);
    }
    // A large file is looked for before it is sent.
    let (script, _server, store) = start("", vec![Answer::empty(200)]).await?;
    let put = store.put("a", large(), Existing::Refuse);
    assert_eq!(kind(put.await), Some(ErrorKind::Exists));
    assert_eq!(script.lines(), ["HEAD /acct/bkt/p/a"]);
    Ok(())
}

#[tokio::test]
async fn retries_are_governed_by_two_options() -> Test {
    for (options, requests) in [
        ("", 3),
        ("number-of-retries=1", 2),
        ("azure-internal-retries=1", 2),
        ("azure_internal_retries=0", 1),
        ("azure-internal-retries=100", 3),
    ] {
        let answers = (0..9).map(|_| no(500, "InternalError")).collect();
        let (script, _server, store) = start(options, answers).await?;
        assert_eq!(kind(names(store.as_ref()).await), Some(ErrorKind::Network));
        assert_eq!(script.requests().len(), requests, "{options}");
    }
    Ok(())
}

#[tokio::test]
async fn refusals_have_their_kinds_and_are_not_repeated() -> Test {
    for (status, code, expected) in [
        (403, "AuthenticationFailed", ErrorKind::SignInNeeded),
        (403, "AuthorizationFailure", ErrorKind::Denied),
        (403, "AccountIsDisabled", ErrorKind::Denied),
        (403, "InsufficientAccountPermissions", ErrorKind::Denied),
        (404, "ContainerNotFound", ErrorKind::FolderMissing),
        (404, "BlobNotFound", ErrorKind::NotFound),
        (404, "ResourceNotFound", ErrorKind::NotFound),
        (409, "BlobArchived", ErrorKind::Archived),
        (409, "BlobBeingRehydrated", ErrorKind::Archived),
        (409, "BlobImmutableDueToPolicy", ErrorKind::Locked),
        (412, "LeaseIdMissing", ErrorKind::Locked),
        (400, "InvalidResourceName", ErrorKind::Config),
        (400, "InvalidInput", ErrorKind::Other),
    ] {
        let (script, _server, store) = start("", vec![no(status, code)]).await?;
        let error = store.get("a").await.map(drop).err().ok_or("it was given")?;
        assert_eq!(error.kind(), &expected, "{code}");
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("azure get a: no ({code})")),
            "{text}"
        );
        assert_eq!(text.contains("firewall"), code == "AuthorizationFailure");
        assert_eq!(script.requests().len(), 1, "{code}");
    }
    let (_script, _server, store) = start("", vec![no(404, "ResourceNotFound")]).await?;
    let listed = kind(names(store.as_ref()).await);
    assert_eq!(listed, Some(ErrorKind::FolderMissing));
    Ok(())
}

#[tokio::test]
async fn a_container_that_is_being_deleted_is_waited_for() -> Test {
    let answers = vec![
        no(409, "ContainerBeingDeleted"),
        no(409, "ContainerAlreadyExists"),
    ];
    let (_script, _server, store) = start("number-of-retries=0", answers).await?;
    let wish = Duration::from_secs(30);
    let created = kind(store.create_folder().await);
    assert_eq!(created, Some(ErrorKind::Busy(Some(wish))));
    store.create_folder().await?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_once_and_told() -> Test {
    let old = "Request date header too old: 'Sun, 06 Nov 1994 08:00:00 GMT'";
    let skewed = |date: &str| unproven(old).with(header("date"), date);
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let answers = vec![skewed(date), list("", &[]), skewed(date)];
    let (script, _server, store) = start("", answers).await?;
    assert!(names(store.as_ref()).await?.is_empty());
    let sent = script.requests()[1].header("x-ms-date").map(str::to_owned);
    assert!(sent.is_some_and(|sent| sent.starts_with("Sun, 06 Nov 1994 08:49")));
    let error = names(store.as_ref()).await.err().ok_or("it was listed")?;
    assert_eq!(error.kind(), &ErrorKind::Config);
    assert!(
        error
            .to_string()
            .contains("the clock of this machine is wrong"),
        "{error}"
    );
    assert_eq!(
        script.requests().len(),
        3,
        "what was corrected is not the reason"
    );
    Ok(())
}

#[tokio::test]
async fn a_wrong_key_and_a_token_that_is_over_say_what_to_do() -> Test {
    let (_script, server) = Script::start(vec![
        unproven("The MAC signature found in the HTTP request 'x' is not the same"),
        unproven("Signature not valid in the specified time frame: Start [a] - Expiry [b]"),
    ])
    .await?;
    let store = open(&url(&server, ""))?;
    let error = names(store.as_ref()).await.err().ok_or("it was listed")?;
    assert_eq!(error.kind(), &ErrorKind::SignInNeeded);
    assert!(
        error
            .advised()
            .is_some_and(|advice| advice.help.contains("access key"))
    );
    let token = "azure-access-sas-token=sv%3D1%26sig%3Dabcd%252B";
    let store = open(&url(&server, token))?;
    let error = names(store.as_ref()).await.err().ok_or("it was listed")?;
    assert_eq!(error.kind(), &ErrorKind::SignInNeeded);
    assert!(error.to_string().contains("Expiry [b]"), "{error}");
    assert!(
        error
            .advised()
            .is_some_and(|advice| advice.help.contains("SAS token"))
    );
    Ok(())
}

#[tokio::test]
async fn a_token_that_may_not_create_the_container_finds_it() -> Test {
    let denied = || no(403, "AuthorizationFailure");
    let answers = vec![
        denied(),
        list("", &[]),
        denied(),
        no(404, "ContainerNotFound"),
    ];
    let token = "azure-access-sas-token=%3Fsv%3D1%26sig%3Dabcd%252B";
    let (script, _server, store) = start(token, answers).await?;
    store.create_folder().await?;
    assert_eq!(kind(store.create_folder().await), Some(ErrorKind::Denied));
    assert_eq!(
        script.lines()[..2],
        [
            "PUT /acct/bkt?restype=container&sv=1&sig=abcd+",
            "GET /acct/bkt?restype=container&comp=list&prefix=p/&delimiter=/&maxresults=5000&sv=1&sig=abcd+",
        ]
    );
    assert_eq!(script.requests()[0].header("authorization"), None);
    Ok(())
}

#[tokio::test]
async fn pages_are_read_until_none_is_named_and_tiers_are_told() -> Test {
    let cold =
        "<AccessTier>Cold</AccessTier><Last-Modified>Sun, 06 Nov 1994 08:49:37 GMT</Last-Modified>";
    let archive = "<AccessTier>archive</AccessTier>";
    let pages = || {
        vec![
            list("m/1", &[("p/ a ", cold), ("q/b", "")]),
            list("m2", &[]),
            list("", &[("p/c", archive), ("p/d/e", "")]),
        ]
    };
    for (options, archived) in [
        ("", [true, true]),
        ("azure-archive-classes=Archive", [false, true]),
        ("azure-archive-classes=hot,cold", [true, false]),
    ] {
        let (script, _server, store) = start(options, pages()).await?;
        let files = listing(store.as_ref()).await?;
        let found: Vec<_> = files
            .iter()
            .map(|file| (file.name.as_str(), file.is_folder))
            .collect();
        assert_eq!(found, [(" a ", false), ("c", false), ("d", true)]);
        assert_eq!(
            (files[0].size, files[0].modified),
            (Some(1), Some(784_111_777))
        );
        assert_eq!(
            [files[0].is_archived, files[1].is_archived],
            archived,
            "{options}"
        );
        let markers: Vec<_> = script
            .requests()
            .iter()
            .map(|r| r.parameter("marker").map(str::to_owned))
            .collect();
        assert_eq!(markers, [None, Some("m/1".into()), Some("m2".into())]);
    }
    Ok(())
}

#[tokio::test]
async fn a_damaged_transfer_is_corrupt() -> Test {
    let wrong = "AAAAAAAAAAAAAAAAAAAAAA==";
    let answers = vec![
        content("x").with(header("content-md5"), wrong),
        Answer::empty(201).with(header("content-md5"), wrong),
        Answer::empty(202),
        no(400, "Md5Mismatch"),
    ];
    let (script, _server, store) = start("", answers).await?;
    assert_eq!(
        kind(store.get("a").await?.bytes().await),
        Some(ErrorKind::Corrupt)
    );
    let put = || store.put("a", Body::from_bytes("content"), Existing::Refuse);
    assert_eq!(kind(put().await), Some(ErrorKind::Corrupt));
    assert_eq!(kind(put().await), Some(ErrorKind::Corrupt));
    let (put, delete) = ("PUT /acct/bkt/p/a", "DELETE /acct/bkt/p/a");
    assert_eq!(
        script.lines()[1..],
        [put, delete, put],
        "only a file that lies there is removed"
    );
    Ok(())
}

#[tokio::test]
async fn a_download_that_breaks_off_goes_on_from_there() -> Test {
    let whole = || content("0123456789").with(header("etag"), "\"t\"");
    let rest = |range: &str| {
        let mut rest = content("456789").with(header("content-range"), range);
        rest.status = larder_httpkit::http::StatusCode::PARTIAL_CONTENT;
        rest
    };
    for (second, expected) in [
        (rest("bytes 4-9/10"), None),
        (rest("bytes 3-9/10"), Some(ErrorKind::Network)),
        (no(412, "ConditionNotMet"), Some(ErrorKind::Network)),
    ] {
        let (script, server, store) = start("", vec![whole(), second]).await?;
        server.fault(Fault::next("GET", "p/a", Trouble::CutReply { after: 4 }));
        let read = store.get("a").await?.bytes().await;
        if expected.is_none() {
            assert_eq!(read.as_deref().ok(), Some(b"0123456789".as_slice()));
        }
        assert_eq!(kind(read), expected);
        let asked = script.requests();
        let asked = asked.last().ok_or("nothing was asked")?;
        assert_eq!(asked.header("x-ms-range"), Some("bytes=4-"));
        assert_eq!(asked.header("if-match"), Some("\"t\""));
    }
    Ok(())
}

/// Four blocks and a bit.
fn large() -> Body {
    Body::from_bytes(vec![7_u8; (4 << 20) + 5])
}

#[tokio::test]
async fn a_large_file_appears_with_its_last_request() -> Test {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answers = vec![no(404, "BlobNotFound")];
        let answers = answers
            .into_iter()
            .chain((0..6).map(|_| Answer::empty(201)));
        let (script, _server, store) = start("azure-access-tier=Cool", answers.collect()).await?;
        store.put("a", large(), Existing::Refuse).await?;
        let requests = script.requests();
        assert_eq!(requests.len(), 7);
        let mut blocks: Vec<_> = requests[1..6].iter().collect();
        blocks.sort_by_key(|request| request.parameter("blockid").map(str::to_owned));
        let lens: Vec<_> = blocks.iter().map(|request| request.body.len()).collect();
        assert_eq!(lens, [1 << 20, 1 << 20, 1 << 20, 1 << 20, 5]);
        assert!(
            blocks
                .iter()
                .all(|request| request.header("content-md5").is_some())
        );
        let own: Vec<_> = blocks
            .iter()
            .filter_map(|request| request.parameter("blockid"))
            .collect();
        assert!(own.iter().all(|id| id.len() == own[0].len()), "{own:?}");
        let commit = requests.last().ok_or("no request")?;
        let text = String::from_utf8_lossy(&commit.body).into_owned();
        let listed: String = own
            .iter()
            .map(|id| format!("<Latest>{id}</Latest>"))
            .collect();
        assert!(
            text.ends_with(&format!("<BlockList>{listed}</BlockList>")),
            "{text}"
        );
        let md5 = commit.header("x-ms-blob-content-md5");
        assert_eq!(
            md5,
            Some(larder_httpkit::encode::base64(&md5_of_large()).as_str())
        );
        assert_eq!(commit.header("if-none-match"), Some("*"));
        assert_eq!(commit.header("x-ms-access-tier"), Some("Cool"));
        ids.push(own[0].to_owned());
    }
    assert_ne!(ids[0], ids[1], "two uploads of one name do not mix");
    Ok(())
}

fn md5_of_large() -> Vec<u8> {
    use larder_httpkit::{Algorithm, Hashes};
    let bytes = vec![7_u8; (4 << 20) + 5];
    Hashes::of(&bytes, &[Algorithm::Md5])
        .get(Algorithm::Md5)
        .to_vec()
}

#[tokio::test]
async fn a_large_file_that_breaks_off_is_never_made_one() -> Test {
    let answers = || (0..9).map(|_| Answer::empty(201)).collect();
    let (script, _server, store) = start("", answers()).await?;
    let broken = large().cut_after(3 << 20);
    assert!(store.put("a", broken, Existing::Replace).await.is_err());
    let (given_up, server, store) = start("", answers()).await?;
    server.fault(Fault::next(
        "PUT",
        "blockid",
        Trouble::Stall {
            milliseconds: 60_000,
        },
    ));
    let put = store.put("a", large(), Existing::Replace);
    assert!(
        tokio::time::timeout(Duration::from_secs(1), put)
            .await
            .is_err()
    );
    for script in [script, given_up] {
        assert!(
            script
                .lines()
                .iter()
                .all(|line| !line.contains("blocklist")),
            "{:?}",
            script.lines()
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_lost_reply_at_the_end_of_an_upload_is_looked_into() -> Test {
    let own = larder_httpkit::encode::base64(&md5_of_large());
    for (md5, expected) in [(own.as_str(), None), ("AAAA", Some(ErrorKind::Exists))] {
        let answers = vec![no(404, "BlobNotFound")].into_iter();
        let answers = answers.chain((0..6).map(|_| Answer::empty(201)));
        let end = [
            no(409, "BlobAlreadyExists"),
            Answer::empty(200).with(header("content-md5"), md5),
        ];
        let (script, server, store) = start("", answers.chain(end).collect()).await?;
        server.fault(Fault::next("PUT", "blocklist", Trouble::LoseReply));
        let put = store.put("a", large(), Existing::Refuse).await;
        assert_eq!(kind(put), expected);
        assert_eq!(script.requests().len(), 9);
    }
    Ok(())
}

#[tokio::test]
async fn a_copy_is_waited_for_and_its_source_goes_last() -> Test {
    let status = |code, status: &str| Answer::empty(code).with(header("x-ms-copy-status"), status);
    let answers = |end: &str| {
        vec![
            Answer::empty(200),
            status(202, "pending"),
            status(200, end),
            Answer::empty(202),
        ]
    };
    let token = "azure-access-sas-token=sv%3D1%26sig%3Dabcd%252B";
    for (options, end, expected) in [
        ("", "success", None),
        (token, "success", None),
        ("", "failed", Some(ErrorKind::Other)),
    ] {
        let (script, server, store) = start(options, answers(end)).await?;
        let rename = store.extra().rename.ok_or("it renames")?;
        assert_eq!(kind(rename.rename("a b", "c").await), expected);
        let requests = script.requests();
        let methods: Vec<_> = requests
            .iter()
            .map(|request| request.method.as_str())
            .collect();
        let all = ["HEAD", "PUT", "HEAD", "DELETE"];
        assert_eq!(methods, all[..if expected.is_none() { 4 } else { 3 }]);
        let proof = if options.is_empty() {
            ""
        } else {
            "?sv=1&sig=abcd%2B"
        };
        let source = format!("http://{}/acct/bkt/p/a%20b{proof}", server.address());
        assert_eq!(
            requests[1].header("x-ms-copy-source"),
            Some(source.as_str())
        );
    }
    Ok(())
}

/// What the properties of a container say of locks.
fn container(has_locks: &str) -> Answer {
    let name = header("x-ms-immutable-storage-with-versioning-enabled");
    Answer::empty(200).with(name, has_locks)
}

/// What the properties of a blob say of its lock.
fn blob(until: &str, mode: &str, hold: &str) -> Answer {
    Answer::empty(200)
        .with(header("x-ms-immutability-policy-until-date"), until)
        .with(header("x-ms-immutability-policy-mode"), mode)
        .with(header("x-ms-legal-hold"), hold)
}

const PAST: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const FUTURE: &str = "Fri, 31 Dec 9999 23:59:59 GMT";

#[tokio::test]
async fn what_is_locked_is_not_touched() -> Test {
    for (until, hold, is_locked) in [
        (PAST, "", false),
        (FUTURE, "", true),
        ("soon", "", true),
        (PAST, "true", true),
    ] {
        let locked = || blob(until, "unlocked", hold);
        let answers = vec![container("true"), locked(), Answer::empty(202)];
        let (script, _server, store) = start("", answers).await?;
        let deleted = kind(store.delete("a").await);
        assert_eq!(
            deleted,
            is_locked.then_some(ErrorKind::Locked),
            "{until} {hold}"
        );
        let asked = [
            "HEAD /acct/bkt?restype=container",
            "HEAD /acct/bkt/p/a",
            "DELETE /acct/bkt/p/a",
        ];
        assert_eq!(script.lines(), asked[..if is_locked { 2 } else { 3 }]);
        let (script, _server, store) =
            start("", vec![container("true"), locked(), Answer::empty(201)]).await?;
        let put = store
            .put("a", Body::from_bytes("x"), Existing::Replace)
            .await;
        assert_eq!(
            kind(put),
            is_locked.then_some(ErrorKind::Locked),
            "{until} {hold}"
        );
        assert_eq!(script.requests().len(), if is_locked { 2 } else { 3 });
    }
    // Elsewhere it costs one question for all.
    let answers = vec![container("false"), Answer::empty(202), Answer::empty(202)];
    let (script, _server, store) = start("", answers).await?;
    store.delete("a").await?;
    store.delete("b").await?;
    assert_eq!(script.requests().len(), 3);
    // A token that may not ask for the container may be allowed to ask for the blob.
    let denied = || no(403, "AuthorizationFailure");
    for (until, is_locked) in [(PAST, false), (FUTURE, true)] {
        let answers = vec![denied(), blob(until, "unlocked", ""), Answer::empty(202)];
        let (_script, _server, store) = start("", answers).await?;
        let expected = is_locked.then_some(ErrorKind::Locked);
        assert_eq!(kind(store.delete("a").await), expected);
    }
    Ok(())
}

#[tokio::test]
async fn locks_are_made_in_the_mode_that_is_asked_for_and_never_shorter() -> Test {
    let mode = "azure-blob-immutability-policy-mode";
    for (options, known, sent) in [
        (String::new(), blob(PAST, "", ""), Some("unlocked")),
        (format!("{mode}=Locked"), blob(PAST, "", ""), Some("locked")),
        (
            format!("{mode}=mutable"),
            blob(PAST, "", ""),
            Some("mutable"),
        ),
        (String::new(), blob(PAST, "Locked", ""), Some("locked")),
        (String::new(), blob(FUTURE, "unlocked", ""), None),
        // A hold may end tomorrow.
        (String::new(), blob("", "", "true"), Some("unlocked")),
    ] {
        let answers = vec![container("true"), known, Answer::empty(200)];
        let (script, _server, store) = start(&options, answers).await?;
        let lock = store.extra().lock.ok_or("it locks")?;
        lock.lock("a", 4_102_444_800).await?;
        let request = script.requests().get(2).cloned();
        assert_eq!(
            request
                .as_ref()
                .and_then(|r| r.header("x-ms-immutability-policy-mode")),
            sent
        );
        if let Some(request) = request {
            assert_eq!(request.parameter("comp"), Some("immutabilityPolicies"));
            let until = request.header("x-ms-immutability-policy-until-date");
            assert_eq!(until, Some("Fri, 01 Jan 2100 00:00:00 GMT"));
        }
    }
    let answers = vec![
        container("true"),
        blob(PAST, "", ""),
        blob("", "", "true"),
        no(404, "BlobNotFound"),
    ];
    let (_script, _server, store) = start("", answers).await?;
    let lock = store.extra().lock.ok_or("it locks")?;
    assert_eq!(lock.locked_until("a").await?, Some(784_111_777));
    assert_eq!(lock.locked_until("a").await?, Some(i64::MAX));
    assert_eq!(
        kind(lock.locked_until("a").await),
        Some(ErrorKind::NotFound)
    );
    let (_script, _server, store) = start("", vec![container("")]).await?;
    let lock = store.extra().lock.ok_or("it locks")?;
    assert_eq!(kind(lock.lock("a", 1).await), Some(ErrorKind::Unsupported));
    Ok(())
}

#[test]
fn one_store_has_one_identity() -> Result<()> {
    let place = |url: &str| (larder_azure::PROVIDER.identity)(&config(url)?);
    let first = place("azure://acct:S0VZ@bkt/p")?;
    for same in [
        "azure://acct:T1RIRVI%3D@BKT/p/",
        "azure://acct@bkt/p?azure-access-sas-token=sig%3Dx",
        "azure://bkt/p?azure_account_name=Acct&azure-access-key=S0VZ",
        "azure://bkt/p?azure-blob-endpoint=https%3A%2F%2Facct.blob.core.windows.net%3A443&azure-access-sas-token=sig%3Dx",
        "azure:///p?azure-blob-container_name=bkt&auth-username=acct",
    ] {
        assert_eq!(place(same)?, first, "{same}");
    }
    for other in [
        "azure://acct:S0VZ@bkt/q",
        "azure://acct:S0VZ@bkt//p",
        "azure://acct:S0VZ@bkt2/p",
        "azure://acct2:S0VZ@bkt/p",
        "azure://acct:S0VZ@bkt/p?azure-blob-endpoint=http%3A%2F%2F127.0.0.1%3A1",
    ] {
        assert_ne!(place(other)?, first, "{other}");
    }
    Ok(())
}

#[test]
fn plain_http_to_another_machine_is_told() -> Result<()> {
    let ids = |options: &str| -> Result<Vec<&str>> {
        let config = config(&format!("azure://acct:S0VZ@bkt/p?{options}"))?;
        let opened = larder_azure::open(&config, Tuning::default(), &Tools::system())?;
        Ok(opened.notices.iter().map(|notice| notice.id).collect())
    };
    let far = "azure-blob-endpoint=http%3A%2F%2Ffar.example";
    assert_eq!(ids(far)?, ["UnencryptedConnection"]);
    assert_eq!(ids("use-ssl=false")?, ["UnencryptedConnection"]);
    assert_eq!(
        ids("accept-any-ssl-certificate=true")?,
        ["AnyCertificateAccepted"]
    );
    for fine in [
        "",
        "azure-blob-endpoint=http%3A%2F%2F127.0.0.1%3A9",
        &format!("{far}&use-ssl=true"),
    ] {
        assert!(ids(fine)?.is_empty(), "{fine}");
    }
    Ok(())
}
