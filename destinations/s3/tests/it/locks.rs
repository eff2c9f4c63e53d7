//! What is asked about locks, and what becomes of the answers. The cases of `larder_testkit::behaviour` run against a real
//! server with locks.

use larder_destination::{Body, ErrorKind, Existing, Result};

use crate::open;
use crate::server::{Server, Step, empty, error, ok};

type Test = std::result::Result<(), Box<dyn std::error::Error>>;

fn retention(mode: &str, until: &str) -> Step {
    ok(&format!(
        "<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>"
    ))
}

fn hold(status: &str) -> Step {
    ok(&format!("<LegalHold><Status>{status}</Status></LegalHold>"))
}

fn none() -> Step {
    error(404, "NoSuchObjectLockConfiguration")
}

fn kind(outcome: Result<()>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind().clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_locked_is_neither_deleted_nor_replaced() -> Test {
    for locked in [
        vec![retention("GOVERNANCE", "2999-01-01T00:00:00.000Z"), none()],
        vec![none(), hold("ON")],
    ] {
        let server = Server::start_with_locks(locked.clone()).await?;
        let deleted = open(&server.url(""))?.delete("a").await;
        assert_eq!(kind(deleted), Some(ErrorKind::Locked));
        assert!(server.lines().iter().all(|line| line.starts_with("GET ")));
        let server = Server::start_with_locks(locked).await?;
        let body = Body::from_bytes("new");
        let replaced = open(&server.url(""))?
            .put("a", body, Existing::Replace)
            .await;
        assert_eq!(kind(replaced), Some(ErrorKind::Locked));
        assert!(server.lines().iter().all(|line| line.starts_with("GET ")));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_locked_goes() -> Test {
    for unlocked in [
        vec![none(), none()],
        vec![retention("COMPLIANCE", "2001-01-01T00:00:00Z"), hold("OFF")],
        // Who may not ask leaves the decision to the service.
        vec![error(403, "AccessDenied"), error(403, "AccessDenied")],
    ] {
        let mut steps = unlocked;
        steps.push(empty(204));
        let count = steps.len();
        let server = Server::start_with_locks(steps).await?;
        open(&server.url(""))?.delete("a").await?;
        let lines = server.lines();
        assert_eq!(
            (lines.len(), lines[count - 1].as_str()),
            (count, "DELETE /bkt/p/a")
        );
    }
    Ok(())
}

/// What servers without locks answer, and those that do not tell everybody.
#[tokio::test(flavor = "multi_thread")]
async fn who_tells_nothing_about_the_bucket_is_asked_about_the_object() -> Test {
    let denied = || error(403, "AccessDenied");
    let until = |year: u32| retention("GOVERNANCE", &format!("{year}-01-01T00:00:00Z"));
    for (bucket, object, is_locked) in [
        (ok("<ListBucketResult/>"), vec![], false),
        (error(501, "NotImplemented"), vec![], false),
        (error(400, "InvalidRequest"), vec![], false),
        (denied(), vec![until(2999), none()], true),
        (denied(), vec![until(2001), none()], false),
        (denied(), vec![until(2999), denied()], true),
        (denied(), vec![denied(), hold("ON")], true),
        (denied(), vec![denied(), denied()], false),
        (
            denied(),
            vec![error(400, "InvalidRequest"), error(400, "InvalidRequest")],
            false,
        ),
    ] {
        let story = format!("{bucket:?} {object:?}");
        let mut steps = object;
        steps.push(empty(204));
        let server = Server::start_with(bucket, steps).await?;
        let deleted = open(&server.url("number-of-retries=0"))?.delete("a").await;
        let expected = is_locked.then_some(ErrorKind::Locked);
        assert_eq!(kind(deleted), expected, "{story}");
    }
    Ok(())
}

/// Its newest version is the marker of a deletion.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_before_is_not_locked() -> Test {
    let marker = || error(405, "MethodNotAllowed");
    let server = Server::start_with_locks(vec![marker(), marker(), empty(204)]).await?;
    open(&server.url(""))?.delete("a").await?;
    Ok(())
}

/// Gateways of long ago do not agree on how to sign the question.
#[tokio::test(flavor = "multi_thread")]
async fn with_old_signatures_nothing_is_asked() -> Test {
    let refuses = error(403, "SignatureDoesNotMatch");
    let server = Server::start_with(refuses, vec![empty(204)]).await?;
    open(&server.url("s3-ext-signatureversion=2"))?
        .delete("a")
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_may_not_become_stricter_is_made_longer() -> Test {
    let held = retention("GOVERNANCE", "2999-01-01T00:00:00Z");
    let steps = vec![held, none(), error(403, "AccessDenied"), empty(200)];
    let server = Server::start_with_locks(steps).await?;
    let store = open(&server.url("s3-lock-mode=Compliance"))?;
    let verb = store.extra().lock.ok_or("no locks")?;
    verb.lock("a", 32_503_680_000).await?;
    let last = server.requests().pop().map(|request| request.body);
    let last = String::from_utf8_lossy(&last.unwrap_or_default()).into_owned();
    assert!(
        last.contains("GOVERNANCE") && last.contains("3000-01-01"),
        "{last}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_made_longer_and_never_weaker() -> Test {
    let (soon, end) = ("2999-01-01T00:00:00Z", 32_503_680_000);
    for (held, options, wish) in [
        (none(), "", Some("GOVERNANCE")),
        (none(), "s3-lock-mode=compliance", Some("COMPLIANCE")),
        (retention("COMPLIANCE", soon), "", Some("COMPLIANCE")),
        (retention("GOVERNANCE", soon), "", Some("GOVERNANCE")),
        // One that is over binds nobody.
        (
            retention("COMPLIANCE", "2001-01-01T00:00:00Z"),
            "",
            Some("GOVERNANCE"),
        ),
        (retention("GOVERNANCE", "3000-01-01T00:00:00Z"), "", None),
    ] {
        let server = Server::start_with_locks(vec![held, none(), empty(200)]).await?;
        let store = open(&server.url(options))?;
        store.extra().lock.ok_or("no locks")?.lock("a", end).await?;
        let put = server
            .requests()
            .into_iter()
            .find(|request| request.line.starts_with("PUT "));
        let body = put.map(|put| String::from_utf8_lossy(&put.body).into_owned());
        let told = wish.map(|mode| {
            format!(
                "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{mode}</Mode>\
                 <RetainUntilDate>3000-01-01T00:00:00Z</RetainUntilDate></Retention>"
            )
        });
        assert_eq!(body, told);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_locks_says_so() -> Test {
    let server = Server::start(Vec::new()).await?;
    let store = open(&server.url(""))?;
    let verb = store.extra().lock.ok_or("no locks")?;
    assert_eq!(kind(verb.lock("a", 5).await), Some(ErrorKind::Unsupported));
    let asked = verb.locked_until("a").await.map(drop);
    assert_eq!(kind(asked), Some(ErrorKind::Unsupported));
    assert!(server.lines().is_empty());
    Ok(())
}
