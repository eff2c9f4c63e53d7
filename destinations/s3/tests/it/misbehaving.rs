//! What the destination makes of a server that misbehaves: the kind of the error, and how often it asked.

use std::time::{Duration, Instant};

use larder_destination::{Body, ErrorKind, Existing, Operation, Result, Tools};
use larder_httpkit::objects::Tuning;

use crate::server::{Server, Step, empty, error, ok};
use crate::{names, open, open_tuned};

type Test = std::result::Result<(), Box<dyn std::error::Error>>;

const EMPTY_LIST: &str = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";

fn kind<T>(outcome: Result<T>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind().clone())
}

#[tokio::test]
async fn the_content_of_a_put_is_sent_once() -> Test {
    let server = Server::start(vec![error(500, "InternalError"), empty(200)]).await?;
    let store = open(&server.url(""))?;
    let put = || store.put("a", Body::from_bytes("content"), Existing::Replace);
    assert_eq!(kind(put().await), Some(ErrorKind::Network));
    put().await?;
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(
            (request.line.as_str(), request.body.as_slice()),
            ("PUT /bkt/p/a", b"content".as_slice())
        );
        assert_eq!(request.header("content-md5"), "mgNkuembtIDdJeHwKEyFVQ==");
        assert_eq!(request.header("content-length"), "7");
        assert_eq!(request.header("transfer-encoding"), "");
    }
    Ok(())
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused() -> Test {
    let server = Server::start(vec![
        Step::Answer(200, "", "x".into()),
        empty(404),
        error(412, "PreconditionFailed"),
        empty(404),
        empty(200),
    ])
    .await?;
    let store = open(&server.url(""))?;
    let put = || store.put("a", Body::from_bytes("content"), Existing::Refuse);
    assert_eq!(kind(put().await), Some(ErrorKind::Exists));
    assert_eq!(kind(put().await), Some(ErrorKind::Exists));
    put().await?;
    let requests = server.requests();
    let lines: Vec<_> = requests
        .iter()
        .map(|request| request.line.as_str())
        .collect();
    let (head, put) = ("HEAD /bkt/p/a", "PUT /bkt/p/a");
    assert_eq!(lines, [head, head, put, head, put]);
    assert_eq!(requests[4].header("if-none-match"), "*");
    assert!(
        !store.about().abilities.exclusive_put,
        "only Amazon is known to keep it"
    );
    Ok(())
}

#[tokio::test]
async fn a_server_that_knows_no_conditions_is_asked_without_from_then_on() -> Test {
    let server = Server::start(vec![
        empty(404),
        error(501, "NotImplemented"),
        empty(404),
        empty(200),
        empty(404),
        empty(200),
        Step::Answer(200, "", "x".into()),
    ])
    .await?;
    let store = open(&server.url(""))?;
    let put = |name| store.put(name, Body::from_bytes("content"), Existing::Refuse);
    put("a").await?;
    put("b").await?;
    assert_eq!(kind(put("a").await), Some(ErrorKind::Exists));
    let asked: Vec<_> = server
        .requests()
        .iter()
        .map(|request| format!("{} {}", request.line, request.header("if-none-match")))
        .collect();
    let (head, put) = ("HEAD /bkt/p/a ", "PUT /bkt/p/a ");
    let condition = "PUT /bkt/p/a *";
    let other = ["HEAD /bkt/p/b ", "PUT /bkt/p/b "];
    assert_eq!(
        asked,
        [head, condition, head, put, other[0], other[1], head]
    );
    // The name may have been taken in between.
    let server = Server::start(vec![
        empty(404),
        error(501, "NotImplemented"),
        Step::Answer(200, "", "x".into()),
    ])
    .await?;
    let store = open(&server.url(""))?;
    let outcome = store.put("a", Body::from_bytes("content"), Existing::Refuse);
    assert_eq!(kind(outcome.await), Some(ErrorKind::Exists));
    assert_eq!(server.requests().len(), 3);
    Ok(())
}

#[tokio::test]
async fn the_number_of_retries_governs() -> Test {
    for (retries, requests) in [(0, 1), (1, 2), (5, 3)] {
        let server = Server::start(vec![empty(500); 9]).await?;
        let store = open(&server.url(&format!("number-of-retries={retries}")))?;
        assert_eq!(kind(store.delete("a").await), Some(ErrorKind::Network));
        assert_eq!(server.requests().len(), requests, "{retries}");
    }
    Ok(())
}

#[tokio::test]
async fn own_uploads_are_ended_a_week_after_they_were_begun() -> Test {
    let upload = |key: &str, id: &str, begun: &str| {
        format!(
            "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>{begun}</Initiated></Upload>"
        )
    };
    let page = |more: &str, uploads: &[String]| {
        let root = "ListMultipartUploadsResult";
        ok(&format!("<{root}>{more}{}</{root}>", uploads.concat()))
    };
    let next = "<IsTruncated>true</IsTruncated><NextKeyMarker>p/k</NextKeyMarker>\
                <NextUploadIdMarker>u9</NextUploadIdMarker>";
    let days_ago = |days: i64| {
        let (now, _) = larder_destination::Clock::now(&larder_destination::SystemClock);
        jiff::Timestamp::from_second(now - days * 86_400).map(|time| time.to_string())
    };
    let old = &days_ago(8)?;
    let server = Server::start(vec![
        page(
            next,
            &[
                upload("p/a", "u1", old),
                upload("p/b", "u2", "9999-01-01T00:00:00Z"),
                upload("p/e", "u6", &days_ago(6)?),
            ],
        ),
        page(
            "",
            &[
                upload("p/f/c", "u3", old),
                upload("p2", "u4", old),
                upload("p/d", "u5", old),
                // Another program may be at work on it.
                upload("p/theirs", "u7", old),
                upload("p", "u8", old),
                upload("q/a", "u9", old),
            ],
        ),
        empty(204),
        error(404, "NoSuchUpload"),
    ])
    .await?;
    let store = open(&server.url(""))?;
    let leftovers = store.extra().leftovers.ok_or("it has leftovers")?;
    assert_eq!(
        leftovers.remove_leftovers(&|name| name != "theirs").await?,
        2
    );
    assert_eq!(
        server.lines(),
        [
            "GET /bkt?uploads=&prefix=p%2F",
            "GET /bkt?uploads=&prefix=p%2F&key-marker=p%2Fk&upload-id-marker=u9",
            "DELETE /bkt/p/a?uploadId=u1",
            "DELETE /bkt/p/d?uploadId=u5",
        ]
    );
    Ok(())
}

#[tokio::test]
async fn an_echoed_key_is_not_shown() -> Test {
    let echo = "<Error><Code>X</Code><Message>key is s3cret-key-value here</Message></Error>";
    let server = Server::start(vec![Step::Answer(403, "", echo.into())]).await?;
    let url = server.url("").replace("AK:SK@", "AK:s3cret-key-value@");
    let error = open(&url)?
        .get("a")
        .await
        .map(drop)
        .err()
        .ok_or("it was given")?;
    assert_eq!(error.to_string(), "s3 get a: key is *** here (X)");
    Ok(())
}

#[tokio::test]
async fn a_damaged_download_is_corrupt() -> Test {
    let wrong = "ETag: \"00000000000000000000000000000000\"\r\n";
    let server = Server::start(vec![
        Step::Answer(200, wrong, "x".into()),
        Step::Answer(200, "ETag: \"0-2\"\r\n", "x".into()),
    ])
    .await?;
    let store = open(&server.url(""))?;
    assert_eq!(
        kind(store.get("a").await?.bytes().await),
        Some(ErrorKind::Corrupt)
    );
    assert_eq!(store.get("a").await?.bytes().await?, b"x");
    Ok(())
}

#[test]
fn one_store_has_one_identity() -> Result<()> {
    let place = |url: &str| (larder_s3::PROVIDER.identity)(&crate::config(url)?);
    let first = place("s3://AK:SK@b/p?s3-server-name=Host%3A80")?;
    assert_eq!(first, place("s3://AK:other@b/p/?s3-server-name=host")?);
    for other in [
        "s3://AK:SK@b/p",
        "s3://AK2:SK@b/p?s3-server-name=host",
        "s3://AK:SK@b/p2?s3-server-name=host",
        "s3://AK:SK@B/p?s3-server-name=host",
        "s3://AK:SK@b/p?s3-server-name=host2",
    ] {
        assert_ne!(first, place(other)?, "{other}");
    }
    let amazon = place("s3://AK:SK@b/p")?;
    assert_eq!(
        amazon,
        place("s3://AK:SK@b/p?s3-location-constraint=eu-west-1&use-ssl=true")?
    );
    assert!(!first.to_string().contains("SK"));
    Ok(())
}

#[test]
fn plain_http_to_another_machine_is_told() -> Result<()> {
    let ids = |url: &str| -> Result<Vec<&str>> {
        let opened = larder_s3::open(&crate::config(url)?, Tuning::default(), &Tools::system())?;
        Ok(opened.notices.iter().map(|notice| notice.id).collect())
    };
    assert_eq!(
        ids("s3://AK:SK@b/p?s3-server-name=far.example")?,
        ["UnencryptedConnection"]
    );
    assert!(ids("s3://AK:SK@b/p?s3-server-name=127.0.0.1%3A9")?.is_empty());
    assert!(ids("s3://AK:SK@b/p?s3-server-name=far.example&use-ssl=true")?.is_empty());
    Ok(())
}

#[tokio::test]
async fn every_verb_survives_one_fault() -> Test {
    let server = Server::start(vec![
        empty(502),
        ok(EMPTY_LIST),
        empty(500),
        ok("x"),
        Step::Close,
        empty(204),
        empty(504),
        empty(200),
        empty(500),
        ok(EMPTY_LIST),
    ])
    .await?;
    let store = open(&server.url(""))?;
    assert!(names(store.as_ref()).await?.is_empty());
    assert_eq!(store.get("a").await?.bytes().await?, b"x");
    store.delete("a").await?;
    store.create_folder().await?;
    larder_destination::test(store.as_ref()).await?;
    assert_eq!(server.requests().len(), 10);
    Ok(())
}

#[tokio::test]
async fn retries_end() -> Test {
    let server = Server::start(vec![empty(500); 20]).await?;
    let store = open(&server.url("s3-ext-maxerrorretry=2"))?;
    assert_eq!(kind(store.delete("a").await), Some(ErrorKind::Network));
    assert_eq!(server.requests().len(), 3);
    Ok(())
}

#[tokio::test]
async fn the_wish_of_a_busy_server_is_honoured() -> Test {
    let busy = |wait| Step::Answer(503, wait, "<Error><Code>SlowDown</Code></Error>".into());
    let server = Server::start(vec![busy("Retry-After: 1\r\n"), ok(EMPTY_LIST)]).await?;
    let begin = Instant::now();
    larder_destination::test(open(&server.url(""))?.as_ref()).await?;
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.requests().len(), 2);

    let server = Server::start(vec![busy("Retry-After: 3600\r\n")]).await?;
    let hour = Some(ErrorKind::Busy(Some(Duration::from_secs(300))));
    assert_eq!(
        kind(larder_destination::test(open(&server.url(""))?.as_ref()).await),
        hour
    );
    assert_eq!(server.requests().len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_cut_download_is_an_error_and_a_cut_page_is_asked_for_again() -> Test {
    let server = Server::start(vec![
        Step::Cut {
            announced: 100,
            sent: "only this",
        },
        Step::Cut {
            announced: 1000,
            sent: "<ListBucketResult>",
        },
        ok(EMPTY_LIST),
    ])
    .await?;
    let store = open(&server.url(""))?;
    let download = store.get("a").await?;
    assert_eq!(download.len, Some(100));
    assert_eq!(kind(download.bytes().await), Some(ErrorKind::Network));
    assert_eq!(server.requests().len(), 1);
    assert!(names(store.as_ref()).await?.is_empty());
    assert_eq!(server.requests().len(), 3);
    Ok(())
}

#[tokio::test]
async fn no_more_than_the_announced_length_is_delivered() -> Test {
    let server = Server::start(vec![Step::Cut {
        announced: 4,
        sent: "content",
    }])
    .await?;
    let download = open(&server.url(""))?.get("a").await?;
    assert_eq!(download.len, Some(4));
    assert_eq!(download.bytes().await?, b"cont");
    Ok(())
}

#[tokio::test]
async fn refusals_are_not_repeated() -> Test {
    for (status, code, expected) in [
        (403, "SignatureDoesNotMatch", ErrorKind::SignInNeeded),
        (403, "InvalidAccessKeyId", ErrorKind::SignInNeeded),
        (403, "AccessDenied", ErrorKind::Denied),
        (403, "InvalidObjectState", ErrorKind::Archived),
        (404, "NoSuchBucket", ErrorKind::FolderMissing),
        (404, "NoSuchKey", ErrorKind::NotFound),
        (400, "NoWaitListener", ErrorKind::Other),
        (507, "XMinioStorageFull", ErrorKind::Quota),
    ] {
        let server = Server::start(vec![error(status, code)]).await?;
        let store = open(&server.url(""))?;
        let refused = store.get("a").await.map(drop);
        let text = refused
            .as_ref()
            .map_err(ToString::to_string)
            .err()
            .unwrap_or_default();
        assert_eq!(text, format!("s3 get a: no ({code})"));
        assert_eq!(kind(refused), Some(expected), "{code}");
        assert_eq!(server.requests().len(), 1, "{code}");
    }
    Ok(())
}

#[tokio::test]
async fn the_right_region_is_learned_once() -> Test {
    let moved = Step::Answer(301, "x-amz-bucket-region: eu-north-7\r\n", String::new());
    let malformed =
        "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-north-7</Region></Error>";
    for first in [moved.clone(), Step::Answer(400, "", malformed.into())] {
        let server = Server::start(vec![first, ok(EMPTY_LIST), ok("x")]).await?;
        let store = open(&server.url("s3-location-constraint=us-west-1"))?;
        larder_destination::test(store.as_ref()).await?;
        store.get("a").await?;
        let scopes: Vec<_> = server
            .requests()
            .iter()
            .map(|request| {
                request
                    .header("authorization")
                    .contains("/eu-north-7/s3/aws4_request")
            })
            .collect();
        assert_eq!(scopes, [false, true, true]);
    }
    let server = Server::start(vec![moved.clone(), moved]).await?;
    assert!(
        larder_destination::test(open(&server.url(""))?.as_ref())
            .await
            .is_err()
    );
    assert_eq!(server.requests().len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_once() -> Test {
    let skewed = Step::Answer(
        403,
        "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        "<Error><Code>RequestTimeTooSkewed</Code></Error>".into(),
    );
    let server = Server::start(vec![skewed.clone(), ok(EMPTY_LIST), skewed]).await?;
    let store = open(&server.url(""))?;
    larder_destination::test(store.as_ref()).await?;
    let date = |at: usize| {
        server
            .requests()
            .get(at)
            .map(|request| request.header("x-amz-date").to_owned())
    };
    assert!(date(1).is_some_and(|date| date.starts_with("19941106T0849")));
    assert_eq!(
        kind(larder_destination::test(store.as_ref()).await),
        Some(ErrorKind::Config)
    );
    // A clock that was corrected already is not what is wrong.
    assert_eq!(server.requests().len(), 3);
    Ok(())
}

#[tokio::test]
async fn a_server_that_stands_still_is_given_up() -> Test {
    let quick = "short-timeout=1&list-timeout=1&read-write-timeout=1&s3-ext-maxerrorretry=0";
    let server = Server::start(vec![
        Step::StallBeforeAnswer,
        Step::StallInBody {
            announced: 100,
            sent: "begin",
        },
        Step::StallBeforeReading,
        Step::StallBeforeAnswer,
    ])
    .await?;
    let store = open(&server.url(quick))?;
    let begin = Instant::now();
    assert_eq!(
        kind(larder_destination::test(store.as_ref()).await),
        Some(ErrorKind::Network)
    );
    assert_eq!(
        kind(store.get("a").await?.bytes().await),
        Some(ErrorKind::Network)
    );
    let large = Body::from_bytes(vec![0_u8; 64 << 20]);
    assert_eq!(
        kind(store.put("a", large, Existing::Replace).await),
        Some(ErrorKind::Network)
    );
    assert_eq!(
        kind(
            store
                .put("a", Body::from_bytes("x"), Existing::Replace)
                .await
        ),
        Some(ErrorKind::Network)
    );
    assert!(
        begin.elapsed() < Duration::from_secs(15),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(server.requests().len(), 4);
    Ok(())
}

#[tokio::test]
async fn a_wrong_checksum_is_corrupt_and_removed() -> Test {
    let wrong = Step::Answer(
        200,
        "ETag: \"00000000000000000000000000000000\"\r\n",
        String::new(),
    );
    let server = Server::start(vec![wrong, empty(204)]).await?;
    let store = open(&server.url("s3-ext-maxerrorretry=1"))?;
    assert_eq!(
        kind(
            store
                .put("a", Body::from_bytes("x"), Existing::Replace)
                .await
        ),
        Some(ErrorKind::Corrupt)
    );
    assert_eq!(server.lines(), ["PUT /bkt/p/a", "DELETE /bkt/p/a"]);
    Ok(())
}

#[tokio::test]
async fn a_short_source_sends_nothing() -> Test {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), "four")?;
    let server = Server::start(vec![]).await?;
    let store = open(&server.url(""))?;
    for len in [3, 5] {
        let refused = store
            .put(
                "a",
                Body::from_file(file.path().to_owned(), len),
                Existing::Replace,
            )
            .await;
        assert!(refused.is_err_and(|error| error.operation() == Operation::Put));
    }
    assert!(server.requests().is_empty());
    Ok(())
}

#[tokio::test]
async fn old_servers_are_listed_with_version_1() -> Test {
    let page = |truncated: bool, more: &str| {
        ok(&format!(
            "<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{more}</ListBucketResult>"
        ))
    };
    let server = Server::start(vec![
        error(501, "NotImplemented"),
        page(true, "<Contents><Key>p/a</Key></Contents><CommonPrefixes><Prefix>p/f/</Prefix></CommonPrefixes>"),
        page(true, "<Contents><Key>p/f!</Key></Contents><Contents><Key>p/a</Key></Contents>"),
        page(false, "<Contents><Key>p/z</Key></Contents><Contents><Key>other/z</Key></Contents>"),
        ok(EMPTY_LIST),
    ])
    .await?;
    let store = open(&server.url(""))?;
    assert_eq!(names(store.as_ref()).await?, ["a", "f", "f!", "z"]);
    larder_destination::test(store.as_ref()).await?;
    let lines = server.lines();
    assert!(lines[0].contains("list-type=2"));
    assert!(
        lines[1..].iter().all(|line| !line.contains("list-type")),
        "{lines:?}"
    );
    assert!(lines[2].contains("marker=p%2Ff%2F"), "{lines:?}");
    assert!(lines[3].contains("marker=p%2Ff%21"), "{lines:?}");
    Ok(())
}

#[tokio::test]
async fn a_repeated_page_ends_the_listing_with_an_error() -> Test {
    let page = ok(
        "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>\
         <Contents><Key>p/a</Key></Contents></ListBucketResult>",
    );
    let server = Server::start(vec![page; 20]).await?;
    assert_eq!(
        kind(names(open(&server.url(""))?.as_ref()).await),
        Some(ErrorKind::Other)
    );
    assert_eq!(server.requests().len(), 2);
    Ok(())
}

#[tokio::test]
async fn something_else_than_a_listing_is_no_empty_folder() -> Test {
    let server = Server::start(vec![ok("<html>welcome</html>"); 9]).await?;
    let store = open(&server.url("s3-ext-maxerrorretry=0"))?;
    assert!(names(store.as_ref()).await.is_err());
    assert!(larder_destination::test(store.as_ref()).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_bucket_that_is_ours_already_is_success() -> Test {
    let server = Server::start(vec![
        error(409, "BucketAlreadyOwnedByYou"),
        error(409, "BucketAlreadyExists"),
        error(400, "InvalidLocationConstraint"),
        empty(200),
    ])
    .await?;
    let store = open(&server.url(""))?;
    store.create_folder().await?;
    assert_eq!(kind(store.create_folder().await), Some(ErrorKind::Exists));
    open(&server.url("s3-location-constraint=eu-west-1"))?
        .create_folder()
        .await?;
    let requests = server.requests();
    assert!(requests.iter().all(|request| request.line == "PUT /bkt"));
    let bodies: Vec<_> = requests
        .iter()
        .map(|request| String::from_utf8_lossy(&request.body))
        .collect();
    assert!(
        bodies[2].contains("<LocationConstraint>eu-west-1</LocationConstraint>"),
        "{bodies:?}"
    );
    assert!(bodies[0].is_empty() && bodies[3].is_empty());
    Ok(())
}

#[tokio::test]
async fn a_redirect_while_creating_a_bucket_is_followed() -> Test {
    let right = Server::start(vec![empty(200)]).await?;
    let location: &'static str = format!("Location: http://{}/bkt\r\n", right.address).leak();
    let server = Server::start(vec![Step::Answer(307, location, String::new()); 2]).await?;
    let store = open(&server.url(""))?;
    store.create_folder().await?;
    assert_eq!(right.lines(), ["PUT /bkt"]);
    assert!(
        larder_destination::test(store.as_ref()).await.is_err(),
        "other redirects are followed only when asked for"
    );
    assert_eq!(right.requests().len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_failed_copy_does_not_remove_the_source() -> Test {
    let server = Server::start(vec![ok("<Error><Code>AccessDenied</Code></Error>")]).await?;
    let store = open(&server.url(""))?;
    assert_eq!(
        kind(
            store
                .extra()
                .rename
                .expect("it renames")
                .rename("a b", "c")
                .await
        ),
        Some(ErrorKind::Denied)
    );
    let requests = server.requests();
    assert_eq!(server.lines(), ["PUT /bkt/p/c"]);
    assert_eq!(requests[0].header("x-amz-copy-source"), "/bkt/p/a%20b");
    Ok(())
}

const UPLOAD: &str =
    "<InitiateMultipartUploadResult><UploadId>u/1</UploadId></InitiateMultipartUploadResult>";

fn in_parts(
    server: &Server,
    options: &str,
) -> Result<std::sync::Arc<dyn larder_destination::Destination>> {
    let tuning = Tuning {
        first_pause: Duration::from_millis(20),
        parts_above: 10,
        part_bytes: 1 << 20,
        parts_at_once: 1,
    };
    open_tuned(&server.url(options), tuning)
}

#[tokio::test]
async fn parts_are_repeated_one_by_one_and_a_late_error_is_seen() -> Test {
    let late = ok("<?xml version=\"1.0\"?>\n<Error><Code>InternalError</Code></Error>");
    let server = Server::start(vec![
        ok(UPLOAD),
        empty(500),
        empty(200),
        empty(200),
        late,
        ok("<CompleteMultipartUploadResult/>"),
    ])
    .await?;
    let body = Body::from_bytes(vec![1_u8; (1 << 20) + 5]);
    in_parts(&server, "s3-storage-class=GLACIER")?
        .put("a", body, Existing::Replace)
        .await?;
    assert_eq!(
        server.lines(),
        [
            "POST /bkt/p/a?uploads=",
            "PUT /bkt/p/a?partNumber=1&uploadId=u%2F1",
            "PUT /bkt/p/a?partNumber=1&uploadId=u%2F1",
            "PUT /bkt/p/a?partNumber=2&uploadId=u%2F1",
            "POST /bkt/p/a?uploadId=u%2F1",
            "POST /bkt/p/a?uploadId=u%2F1",
        ]
    );
    let requests = server.requests();
    assert_eq!(requests[0].header("x-amz-storage-class"), "GLACIER");
    assert_eq!(
        (requests[2].body.len(), requests[3].body.len()),
        (1 << 20, 5)
    );
    Ok(())
}

#[tokio::test]
async fn a_failed_upload_in_parts_is_removed() -> Test {
    let server = Server::start(vec![
        ok(UPLOAD),
        empty(200),
        error(403, "AccessDenied"),
        empty(204),
    ])
    .await?;
    let body = Body::from_bytes(vec![1_u8; (1 << 20) + 5]);
    assert_eq!(
        kind(
            in_parts(&server, "")?
                .put("a", body, Existing::Replace)
                .await
        ),
        Some(ErrorKind::Denied)
    );
    assert_eq!(
        server.lines().last().map(String::as_str),
        Some("DELETE /bkt/p/a?uploadId=u%2F1")
    );
    Ok(())
}

#[tokio::test]
async fn a_dropped_upload_in_parts_is_removed() -> Test {
    let server = Server::start(vec![ok(UPLOAD), Step::StallBeforeAnswer, empty(204)]).await?;
    let store = in_parts(&server, "")?;
    let put = store.put(
        "a",
        Body::from_bytes(vec![1_u8; 1 << 20]),
        Existing::Replace,
    );
    assert!(
        tokio::time::timeout(Duration::from_millis(500), put)
            .await
            .is_err()
    );
    for _ in 0..50 {
        if server.requests().len() == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        server.lines().last().map(String::as_str),
        Some("DELETE /bkt/p/a?uploadId=u%2F1")
    );
    Ok(())
}

#[tokio::test]
async fn a_lost_reply_at_the_end_of_an_upload_is_looked_into() -> Test {
    let found = |size: usize| Step::Answer(200, "", "x".repeat(size));
    for (size, stored) in [(11, true), (12, false)] {
        let server = Server::start(vec![
            ok(UPLOAD),
            empty(200),
            Step::Close,
            error(404, "NoSuchUpload"),
            found(size),
            empty(204),
        ])
        .await?;
        let outcome = in_parts(&server, "")?
            .put("a", Body::from_bytes("eleven byte"), Existing::Replace)
            .await;
        assert_eq!(outcome.is_ok(), stored, "{outcome:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_network_error() -> Test {
    let address = {
        let server = std::net::TcpListener::bind("127.0.0.1:0")?;
        server.local_addr()?.to_string().replace(':', "%3A")
    };
    let store = open(&format!(
        "s3://AK:SK@bkt/p?s3-server-name={address}&s3-ext-maxerrorretry=1"
    ))?;
    let refused = larder_destination::test(store.as_ref()).await;
    assert_eq!(
        refused
            .as_ref()
            .map_err(ToString::to_string)
            .err()
            .as_deref(),
        Some("s3 list: could not connect to the server")
    );
    assert_eq!(kind(refused), Some(ErrorKind::Network));
    Ok(())
}

#[tokio::test]
async fn version_2_signatures_are_made_on_request() -> Test {
    let server = Server::start(vec![ok("x")]).await?;
    open(&server.url("s3-ext-signatureversion=2"))?
        .get("a")
        .await?;
    let requests = server.requests();
    assert!(requests[0].header("authorization").starts_with("AWS AK:"));
    assert!(requests[0].header("date").ends_with("GMT"));
    Ok(())
}
