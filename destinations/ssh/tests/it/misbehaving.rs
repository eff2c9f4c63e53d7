//! Servers that are rare, odd, or in trouble.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::TryStreamExt;
use larder_destination::{Destination, ErrorKind, Existing, Result};
use larder_testkit::simulators::sftp::{
    OPEN, OPENDIR, READDIR, RENAME, STAT, Scripted, Step, entries, handle, key_text, lock, status,
};
use tokio::time::timeout;

use crate::{Test, encoded, kind, names, put};

/// A server with a store in its folder, opened with these further options.
trait Start: Sized {
    async fn start(
        self,
        query: &str,
    ) -> std::result::Result<(Arc<Self>, Arc<dyn Destination>), Box<dyn std::error::Error>>;
}

impl Start for Scripted {
    async fn start(
        self,
        query: &str,
    ) -> std::result::Result<(Arc<Self>, Arc<dyn Destination>), Box<dyn std::error::Error>> {
        let (server, port) = self.listen().await?;
        let query = format!("ssh-accept-any-fingerprints=true{query}");
        let url = format!("ssh://ann:pw@127.0.0.1:{port}/data?{query}");
        Ok((server, crate::store(&url)?))
    }
}

#[tokio::test]
async fn a_line_that_breaks_while_sftp_begins_is_trouble_of_the_line() -> Test {
    for (step, kind, is_unanswered) in [
        (Step::Cut, ErrorKind::Network, true),
        (Step::Goodbye, ErrorKind::Network, true),
        (Step::Refused, ErrorKind::Unsupported, false),
    ] {
        let (_, store) = Scripted {
            subsystem: Mutex::new(vec![step, step, Step::Taken]),
            ..Scripted::default()
        }
        .start("")
        .await?;
        let error = names(store.as_ref()).await.err().ok_or("it was listed")?;
        assert_eq!(error.kind(), &kind, "{step:?}: {error:?}");
        assert_eq!(error.is_unanswered(), is_unanswered, "{step:?}: {error:?}");
    }
    // The next operation tries again.
    let (_, store) = Scripted {
        subsystem: Mutex::new(vec![Step::Cut, Step::Taken]),
        ..Scripted::default()
    }
    .start("")
    .await?;
    assert!(names(store.as_ref()).await.is_err());
    assert!(names(store.as_ref()).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_listing_that_never_says_its_end_ends() -> Test {
    let file = |name| (name, Some(0o100_644), 1);
    // No names is the end; the same ones again and again are not a listing.
    let (server, store) = Scripted {
        script: Box::new(|asked| (asked.kind == READDIR).then(|| entries([]))),
        ..Scripted::default()
    }
    .start("")
    .await?;
    assert!(names(store.as_ref()).await?.is_empty());
    assert_eq!(server.asked(READDIR), 1);
    for (batch, told) in [
        (vec![file("a"), file("b")], "repeats the same part"),
        (vec![file("."), file("..")], "has no end"),
    ] {
        let (_, store) = Scripted {
            script: Box::new(move |asked| {
                (asked.kind == READDIR).then(|| entries(batch.iter().copied()))
            }),
            ..Scripted::default()
        }
        .start("")
        .await?;
        let error = names(store.as_ref()).await.err().ok_or("it ended")?;
        assert!(error.to_string().contains(told), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_listing_as_a_whole_has_an_end_in_time() -> Test {
    let count = AtomicUsize::new(0);
    let (_, store) = Scripted {
        script: Box::new(move |asked| {
            (asked.kind == READDIR).then(|| {
                std::thread::sleep(Duration::from_millis(50));
                let name = count.fetch_add(1, Ordering::Relaxed).to_string();
                entries([(name.as_str(), Some(0o100_644), 1)])
            })
        }),
        ..Scripted::default()
    }
    .start("&list-timeout=1s")
    .await?;
    let listing = timeout(Duration::from_secs(20), names(store.as_ref()));
    let error = listing.await?.err().ok_or("it ended")?;
    assert!(error.is_unanswered(), "{error:?}");
    let told = format!("{error:?}");
    assert!(told.contains("--list-timeout"), "{told}");
    Ok(())
}

const LINK: Option<u32> = Some(0o120_777);
const FILE: Option<u32> = Some(0o100_644);

#[tokio::test]
async fn a_link_whose_target_cannot_be_looked_at_ends_the_listing() -> Test {
    // Of links that lead nowhere, and where this user may not look, nothing is lost.
    for (code, listed) in [
        (2, Some(vec!["a"])),
        (10, Some(vec!["a"])),
        (3, Some(vec!["a"])),
        (4, None),
        (5, None),
    ] {
        let (_, store) = Scripted {
            script: Box::new(move |asked| match (asked.kind, asked.text.as_str()) {
                (READDIR, _) if asked.is_first => {
                    Some(entries([("a", FILE, 1), ("volume", LINK, 1)]))
                }
                (STAT, "/data/volume") => Some(status(code)),
                _ => None,
            }),
            ..Scripted::default()
        }
        .start("")
        .await?;
        match (names(store.as_ref()).await, listed) {
            (Ok(found), Some(listed)) => assert_eq!(found, listed, "{code}"),
            (Err(error), None) => assert!(error.to_string().contains("volume"), "{error}"),
            other => panic!("{code}: {other:?}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_has_no_type_is_a_file_only_when_the_server_says_so() -> Test {
    // What opening it as a folder answers, then as a file.
    for (as_folder, as_file, listed) in [
        (status(2), status(4), true),
        (status(19), status(4), true),
        (status(4), handle("volume"), true),
        (status(3), handle("volume"), true),
        (status(3), status(3), true),
        (status(4), status(4), false),
        (status(4), status(2), false),
    ] {
        let told = format!("{as_folder:?} {as_file:?}");
        let (_, store) = Scripted {
            script: Box::new(move |asked| match (asked.kind, asked.text.as_str()) {
                (READDIR, _) if asked.is_first => Some(entries([("volume", None, 1)])),
                (OPENDIR, "/data/volume") => Some(as_folder.clone()),
                (OPEN, "/data/volume") => Some(as_file.clone()),
                _ => None,
            }),
            ..Scripted::default()
        }
        .start("")
        .await?;
        let files: Result<Vec<_>> = store.list().try_collect().await;
        match files {
            Ok(files) => {
                assert!(listed, "{told}: {files:?}");
                assert_eq!(files.len(), 1, "{told}");
                assert!(files.iter().all(|file| !file.is_folder), "{told}");
            }
            Err(error) => {
                assert!(!listed, "{told}: {error}");
                assert!(error.to_string().contains("volume"), "{told}: {error}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_left_out_and_not_asked_for() -> Test {
    let (server, store) = Scripted {
        script: Box::new(|asked| {
            let strange = ["", ".", "..", "/etc/passwd", "../up", "in/side", "a\0b"];
            let strange = strange.map(|name| (name, LINK, 1));
            let all = strange
                .into_iter()
                .chain([("a", FILE, 1), ("..b", FILE, 1)]);
            (asked.kind == READDIR && asked.is_first).then(|| entries(all))
        }),
        ..Scripted::default()
    }
    .start("")
    .await?;
    assert_eq!(names(store.as_ref()).await?, ["..b", "a"]);
    assert_eq!(server.asked(STAT), 0);
    Ok(())
}

/// The options of a key that the server does not know.
fn unknown_key() -> String {
    format!("&ssh-key={}", encoded(&key_text(2)))
}

#[tokio::test]
async fn a_line_that_breaks_during_the_sign_in_may_be_tried_again() -> Test {
    // The key is refused, or the line breaks at it; then the line breaks at the password.
    for (of_key, of_password) in [(Step::Refused, Step::Cut), (Step::Cut, Step::Taken)] {
        let told = format!("{of_key:?} {of_password:?}");
        let (server, store) = Scripted {
            key: Mutex::new(vec![of_key, Step::Refused]),
            passwords: Mutex::new(vec![of_password, Step::Taken]),
            ..Scripted::default()
        }
        .start(&unknown_key())
        .await?;
        let error = names(store.as_ref()).await.err().ok_or("it was let in")?;
        assert_eq!(error.kind(), &ErrorKind::Network, "{told}: {error:?}");
        assert!(error.is_unanswered(), "{told}: {error:?}");
        assert!(names(store.as_ref()).await?.is_empty(), "{told}");
        assert!(*lock(&server.attempts) >= 1, "{told}");
    }
    Ok(())
}

#[tokio::test]
async fn a_refusal_is_the_last_word_also_as_a_goodbye() -> Test {
    // The first attempt asks for the methods.
    for (most_attempts, told) in [(10, "the server refused"), (2, "ended the connection")] {
        let (server, store) = Scripted {
            key: Mutex::new(vec![Step::Refused]),
            passwords: Mutex::new(vec![Step::Refused, Step::Taken]),
            most_attempts,
            ..Scripted::default()
        }
        .start(&unknown_key())
        .await?;
        for _ in 0..2 {
            let error = names(store.as_ref()).await.err().ok_or("it was let in")?;
            assert_eq!(error.kind(), &ErrorKind::SignInNeeded, "{error:?}");
            assert!(error.to_string().contains(told), "{error}");
        }
        assert!(*lock(&server.attempts) <= 1);
    }
    Ok(())
}

const POSIX_RENAME: &str = "posix-rename@openssh.com";

#[tokio::test]
async fn an_extension_that_is_only_offered_is_done_without() -> Test {
    let (server, store) = Scripted {
        extensions: &[POSIX_RENAME],
        ..Scripted::default()
    }
    .start("")
    .await?;
    for content in ["old", "new"] {
        put(store.as_ref(), "a", content, Existing::Replace).await?;
        assert_eq!(server.content(), [("a".into(), content.into())]);
    }
    assert_eq!(server.asked_for(POSIX_RENAME), 1);
    Ok(())
}

#[tokio::test]
async fn a_server_that_cannot_rename_gets_no_file_at_its_name() -> Test {
    let (server, store) = Scripted {
        script: Box::new(|asked| (asked.kind == RENAME).then(|| status(8))),
        ..Scripted::default()
    }
    .start("")
    .await?;
    server.put("a", "old");
    for existing in [Existing::Replace, Existing::Refuse] {
        let put = put(store.as_ref(), "b", "new", existing).await;
        let error = put.err().ok_or("it was stored")?;
        assert_eq!(error.kind(), &ErrorKind::Unsupported, "{error:?}");
        assert!(error.to_string().contains("cannot rename"), "{error}");
    }
    let replaced = put(store.as_ref(), "a", "new", Existing::Replace).await;
    assert_eq!(kind(replaced), Some(ErrorKind::Unsupported));
    // Nothing is left of it, not even under a temporary name.
    assert_eq!(server.content(), [("a".into(), "old".into())]);
    Ok(())
}
