//! Servers that cannot move, lose replies, answer oddly, or are something else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use larder_destination::{Body, ErrorKind, Existing, Operation, Result, RetryClass};
use larder_testkit::simulators::{Answer, Fault, Request, Server, Simulator, Trouble};

use crate::{Test, kind, multistatus, names, open};

/// A folder `/d/` with files in it, on a server that can be told to lack verbs.
#[derive(Default)]
struct Folder {
    files: Mutex<Vec<(String, Vec<u8>)>>,
    lacks: &'static [&'static str],
    /// What a verb that it lacks gets, instead of 405.
    lacks_as: Option<u16>,
    /// What a move to a whole address gets: a proxy has another scheme than this server.
    is_behind_proxy: Option<u16>,
    missing: bool,
    /// What another program stores under the name of the next put just before that, which is then refused with 423.
    rival: Mutex<Option<Vec<u8>>>,
    /// Files are taken and not kept.
    forgets: AtomicBool,
}

impl Folder {
    fn files(&self) -> std::sync::MutexGuard<'_, Vec<(String, Vec<u8>)>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listing(&self, name: Option<&str>) -> Answer {
        let mut entries = Vec::new();
        if name.is_none() {
            let folder = "<d:resourcetype><d:collection/></d:resourcetype>";
            entries.push(("http://proxy.example/d/".to_owned(), folder.to_owned()));
        }
        for (known, content) in self.files().iter() {
            if name.is_none_or(|name| name == known) {
                let len = format!("<d:getcontentlength>{}</d:getcontentlength>", content.len());
                entries.push((format!("/d/{known}"), len));
            }
        }
        multistatus(&entries)
    }
}

impl Simulator for Folder {
    fn answer(&self, request: &Request) -> Answer {
        let method = request.method.as_str();
        if self.lacks.contains(&method) {
            return Answer::empty(self.lacks_as.unwrap_or(405));
        }
        let name = request
            .path
            .strip_prefix("/d/")
            .unwrap_or_default()
            .to_owned();
        if self.missing {
            return Answer::empty(if method == "PUT" { 500 } else { 404 });
        }
        let mut files = self.files();
        let mut rival = self.rival.lock().unwrap_or_else(PoisonError::into_inner);
        if method == "PUT"
            && let Some(content) = rival.take()
        {
            files.push((name, content));
            return Answer::empty(423);
        }
        let at = files.iter().position(|(known, _)| *known == name);
        match (method, at) {
            ("PROPFIND", _) if name.is_empty() => {
                drop(files);
                self.listing(None)
            }
            ("PROPFIND", Some(_)) => {
                drop(files);
                self.listing(Some(&name))
            }
            ("PUT", Some(_)) if request.header("if-none-match") == Some("*") => Answer::empty(412),
            ("PUT", at) => {
                if let Some(at) = at {
                    files.remove(at);
                }
                if !self.forgets.load(Ordering::Relaxed) {
                    files.push((name, request.body.to_vec()));
                }
                Answer::empty(201)
            }
            ("GET", Some(at)) => Answer::text(200, "application/octet-stream", files[at].1.clone()),
            ("DELETE", Some(at)) => {
                files.remove(at);
                Answer::empty(204)
            }
            ("MOVE", Some(at)) => {
                let to = request.header("destination").unwrap_or_default();
                if let Some(status) = self.is_behind_proxy.filter(|_| to.contains("://")) {
                    return Answer::empty(status);
                }
                let to = to.rsplit('/').next().unwrap_or_default().to_owned();
                let taken = files.iter().position(|(known, _)| *known == to);
                match (taken, request.header("overwrite")) {
                    (Some(_), Some("F")) => Answer::empty(412),
                    (taken, _) => {
                        files[at].0 = to;
                        if let Some(taken) = taken {
                            files.remove(taken);
                        }
                        Answer::empty(201)
                    }
                }
            }
            _ => Answer::empty(404),
        }
    }

    fn refusal(&self, _: &Request, status: u16, reason: &str) -> Answer {
        let text = format!(
            "<d:error xmlns:d=\"DAV:\" xmlns:s=\"http://sabredav.org/ns\"><s:message>{reason}.</s:message></d:error>"
        );
        Answer::text(status, "application/xml", text)
    }
}

async fn start(folder: Folder) -> std::io::Result<(Arc<Folder>, Server)> {
    let folder = Arc::new(folder);
    let simulator = Arc::clone(&folder) as Arc<dyn Simulator>;
    let server = Server::start(simulator, "127.0.0.1:0", None).await?;
    Ok((folder, server))
}

fn url(server: &Server, options: &str) -> String {
    format!("webdav://u:p-w-d@{}/d?{options}", server.address())
}

fn content() -> Body {
    Body::from_bytes("content")
}

#[tokio::test]
async fn a_server_that_lists_more_than_the_folder_changes_nothing() -> Test {
    let (folder, server) = start(Folder::default()).await?;
    let store = open(&url(&server, ""))?.destination;
    folder.files().push(("a".to_owned(), b"x".to_vec()));
    folder.files().push(("sub/b".to_owned(), b"y".to_vec()));
    assert_eq!(names(store.as_ref()).await?, ["a"]);
    Ok(())
}

#[tokio::test]
async fn a_server_that_cannot_move_gets_files_directly() -> Test {
    let (folder, server) = start(Folder {
        lacks: &["MOVE"],
        ..Folder::default()
    })
    .await?;
    let store = open(&url(&server, ""))?.destination;
    for name in ["a", "b"] {
        store.put(name, content(), Existing::Refuse).await?;
        let again = store.put(name, content(), Existing::Refuse).await;
        assert_eq!(kind(again), Some(ErrorKind::Exists));
        store.put(name, content(), Existing::Replace).await?;
    }
    assert_eq!(names(store.as_ref()).await?, ["a", "b"]);
    assert_eq!(folder.files().len(), 2, "temporary files are gone");
    let moves = server
        .journal()
        .iter()
        .filter(|entry| entry.method == "MOVE")
        .count();
    assert_eq!(moves, 1, "it is asked once");
    let broken = store
        .put("c", content().cut_after(2), Existing::Refuse)
        .await;
    assert!(broken.is_err());
    assert_eq!(names(store.as_ref()).await?, ["a", "b"]);
    Ok(())
}

/// Two machines choose one name in the same second. The version list of the other one was deleted.
#[tokio::test]
async fn a_direct_put_that_fails_leaves_what_another_stored_meanwhile() -> Test {
    let (folder, server) = start(Folder {
        lacks: &["MOVE"],
        ..Folder::default()
    })
    .await?;
    let store = open(&url(&server, ""))?.destination;
    store.put("a", content(), Existing::Refuse).await?;
    for (name, theirs) in [("b", "half"), ("c", "content"), ("d", "a longer list")] {
        let rival = Some(theirs.as_bytes().to_vec());
        *folder.rival.lock().unwrap_or_else(PoisonError::into_inner) = rival;
        let put = store.put(name, content(), Existing::Refuse).await;
        assert_eq!(kind(put), Some(ErrorKind::Locked));
        let stored = folder.files().iter().any(|(known, _)| known == name);
        assert!(stored, "{theirs}");
    }
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_taken_and_not_kept_is_no_success() -> Test {
    for lacks in [&[][..], &["MOVE"]] {
        let (folder, server) = start(Folder {
            lacks,
            ..Folder::default()
        })
        .await?;
        let store = open(&url(&server, ""))?.destination;
        // From here on a server without `MOVE` gets files directly.
        store.put("a", content(), Existing::Refuse).await?;
        folder.forgets.store(true, Ordering::Relaxed);
        for existing in [Existing::Refuse, Existing::Replace] {
            let put = store.put("b", content(), existing).await;
            let error = put.err().ok_or("it was stored")?;
            assert_eq!(error.kind(), &ErrorKind::Corrupt, "{lacks:?}: {error}");
            assert_eq!(error.retry_class(), RetryClass::Backoff);
        }
        assert_eq!(names(store.as_ref()).await?, ["a"]);
    }
    Ok(())
}

#[tokio::test]
async fn a_server_behind_a_proxy_hears_the_path_and_then_no_move() -> Test {
    let asked = |server: &Server| {
        let journal = server.take_journal();
        let count = |verb: &str| journal.iter().filter(|entry| entry.method == verb).count();
        (count("PUT"), count("MOVE"))
    };
    for status in [400, 403, 502] {
        let (folder, server) = start(Folder {
            is_behind_proxy: Some(status),
            ..Folder::default()
        })
        .await?;
        let store = open(&url(&server, ""))?.destination;
        for name in ["a", "b"] {
            store.put(name, content(), Existing::Refuse).await?;
        }
        assert_eq!(names(store.as_ref()).await?, ["a", "b"], "{status}");
        assert_eq!(asked(&server), (2, 3), "{status}: it is learned once");
        drop(folder);
        let (folder, server) = start(Folder {
            lacks: &["MOVE"],
            lacks_as: Some(status),
            ..Folder::default()
        })
        .await?;
        let store = open(&url(&server, "number-of-retries=0"))?.destination;
        for name in ["a", "b"] {
            store.put(name, content(), Existing::Refuse).await?;
        }
        assert_eq!(names(store.as_ref()).await?, ["a", "b"], "{status}");
        assert_eq!(folder.files().len(), 2, "temporary files are gone");
        assert_eq!(asked(&server), (3, 2), "{status}: it is learned once");
    }
    Ok(())
}

#[tokio::test]
async fn a_move_whose_answer_is_lost_is_looked_into() -> Test {
    for (trouble, moves) in [(Trouble::LoseReply, 1), (Trouble::Close, 2)] {
        let (folder, server) = start(Folder::default()).await?;
        let store = open(&url(&server, ""))?.destination;
        server.fault(Fault::next("MOVE", "", trouble));
        store.put("a", content(), Existing::Refuse).await?;
        let asked = server
            .journal()
            .iter()
            .filter(|entry| entry.method == "MOVE")
            .count();
        assert_eq!(asked, moves);
        assert_eq!(
            folder.files().as_slice(),
            [("a".into(), b"content".to_vec())]
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_content_of_a_put_is_sent_once() -> Test {
    let (folder, server) = start(Folder::default()).await?;
    let store = open(&url(&server, ""))?.destination;
    let refuse = |status: u16| Trouble::Refuse {
        status,
        reason: "no room".into(),
        retry_after: None,
    };
    for (status, expected) in [
        (500, ErrorKind::Network),
        (507, ErrorKind::Quota),
        (413, ErrorKind::Quota),
        (423, ErrorKind::Locked),
        (403, ErrorKind::Denied),
    ] {
        drop(server.take_journal());
        server.fault(Fault::next("PUT", "", refuse(status)));
        let error = store
            .put("a", content(), Existing::Refuse)
            .await
            .err()
            .ok_or("stored")?;
        assert_eq!(error.kind(), &expected);
        assert!(
            error.to_string().starts_with("webdav put a: no room ("),
            "{error}"
        );
        let puts = server
            .journal()
            .iter()
            .filter(|entry| entry.method == "PUT")
            .count();
        assert_eq!(puts, 1);
    }
    assert!(folder.files().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_missing_folder_is_told_from_a_missing_file() -> Test {
    let (_, server) = start(Folder {
        missing: true,
        ..Folder::default()
    })
    .await?;
    let store = open(&url(&server, ""))?.destination;
    let missing = Some(ErrorKind::FolderMissing);
    assert_eq!(kind(names(store.as_ref()).await), missing);
    assert_eq!(kind(store.get("a").await.map(drop)), missing);
    assert_eq!(kind(store.delete("a").await), missing);
    assert_eq!(
        kind(store.put("a", content(), Existing::Refuse).await),
        missing
    );
    let (_, server) = start(Folder::default()).await?;
    let store = open(&url(&server, ""))?.destination;
    let missing = Some(ErrorKind::NotFound);
    assert_eq!(kind(store.get("a").await.map(drop)), missing);
    assert_eq!(kind(store.delete("a").await), missing);
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_listed_but_kept_back_is_named_so() -> Test {
    let (_, server) = start(Folder::default()).await?;
    let store = open(&url(&server, ""))?.destination;
    store.put("a", content(), Existing::Refuse).await?;
    let hidden = Trouble::Refuse {
        status: 404,
        reason: String::new(),
        retry_after: None,
    };
    server.fault(Fault::next("GET", "", hidden));
    let error = store.get("a").await.map(drop).err().ok_or("it was given")?;
    assert_eq!(error.kind(), &ErrorKind::Denied);
    assert!(
        error
            .to_string()
            .contains("may block names with this ending"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn something_else_than_webdav_is_no_empty_folder() -> Test {
    let (_, server) = start(Folder::default()).await?;
    let store = open(&url(&server, "number-of-retries=0"))?.destination;
    server.fault(Fault::next("PROPFIND", "", Trouble::Html));
    let error = names(store.as_ref()).await.err().ok_or("it was listed")?;
    assert!(
        error
            .to_string()
            .contains("not a document of the kind multistatus"),
        "{error}"
    );
    let (_, server) = start(Folder {
        lacks: &["PROPFIND"],
        ..Folder::default()
    })
    .await?;
    let store = open(&url(&server, ""))?.destination;
    let error = names(store.as_ref()).await.err().ok_or("it was listed")?;
    assert_eq!(
        (error.kind(), error.operation()),
        (&ErrorKind::Unsupported, Operation::List)
    );
    assert!(
        error.to_string().contains("may not speak WebDAV here"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn what_is_set_up_wrong_is_told_before_anything_is_sent() -> Test {
    for (url, words) in [
        ("webdav:///path", "names no server"),
        ("webdav://h/a/../b", ". or .. as a folder"),
        (
            "webdav://h/a?force-digest-authentication=true",
            "needs a user name",
        ),
        (
            "webdav://u:p@h/a?integrated-authentication=true",
            "not available on this system",
        ),
        (
            "webdav://h/a?accept-specified-ssl-hash=12",
            "neither a SHA-1 nor a SHA-256",
        ),
    ] {
        let error = open(url).map(drop).err().ok_or(url)?;
        assert_eq!(error.kind(), &ErrorKind::Config, "{url}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let opened = open("webdav://u:p-w-d@Far.Example:8080/a%20b/c")?;
    let about = opened.destination.about();
    assert_eq!(about.display, "webdav://far.example:8080/a b/c");
    let notice = opened
        .notices
        .first()
        .map(|notice| (notice.id, notice.text.contains("p-w-d")));
    assert_eq!(notice, Some(("UnencryptedConnection", false)));
    Ok(())
}

#[test]
fn one_store_has_one_identity() -> Result<()> {
    let place = |url: &str| (larder_webdav::PROVIDER.identity)(&crate::config(url)?);
    let first = place("webdav://u:p@Host/a//b/")?;
    assert_eq!(first, place("webdav://u:other@host:80/a/b")?);
    assert_eq!(first, place("webdav://u:p@host/a/b?use-ssl=true")?);
    for other in [
        "webdav://v:p@host/a/b",
        "webdav://u:p@host:81/a/b",
        "webdav://u:p@host/a/B",
        "webdav://host/a/b",
    ] {
        assert_ne!(first, place(other)?, "{other}");
    }
    assert!(!first.to_string().contains("p@"));
    Ok(())
}
