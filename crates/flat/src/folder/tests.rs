//! The folder over a store in memory that can be told what goes wrong.

use std::collections::BTreeMap;
use std::sync::{Mutex as Locked, MutexGuard, PoisonError};

use async_trait::async_trait;
use larder_destination::{Download, SystemRandom};

use super::*;

#[derive(Default)]
struct Fake {
    files: Locked<BTreeMap<String, Stored>>,
    /// The verbs that were called.
    asked: Locked<Vec<&'static str>>,
    has_no_rename: bool,
    refuses_rename: Option<ErrorKind>,
    /// A rename over another file is refused.
    replaces_none: bool,
    is_missing: bool,
    /// What the next call of a verb answers, and what another program stored under a name just before it.
    trouble: Locked<Option<(&'static str, ErrorKind)>>,
    other: Locked<Option<(&'static str, Vec<u8>)>>,
    /// Bytes of a body that are kept, when it is not all.
    keeps: Option<usize>,
    /// The server's time, which new files get; without one it knows none.
    time: Option<i64>,
    /// The line holds for so many requests; of the one at which it breaks only the answer is lost, or all.
    holds: Locked<Option<(usize, Lost)>>,
}

/// What a file holds, and its time.
type Stored = (Vec<u8>, Option<i64>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Lost {
    Answer,
    Request,
}

fn lock<T>(mutex: &Locked<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fake {
    fn trouble(&self, call: &Call, verb: &'static str) -> Result<()> {
        lock(&self.asked).push(verb);
        let mut trouble = lock(&self.trouble);
        match trouble.take_if(|(on, _)| *on == verb) {
            Some((_, kind)) => {
                if let Some((name, content)) = lock(&self.other).take() {
                    self.add(name, content, self.time);
                }
                Err(call.error(kind, "trouble"))
            }
            None => Ok(()),
        }
    }

    /// What passes over the line.
    async fn answer<T>(&self, call: &Call, request: impl FnOnce() -> Result<T>) -> Result<T> {
        tokio::task::yield_now().await;
        let lost = {
            let mut holds = lock(&self.holds);
            match holds.as_mut() {
                None => None,
                Some((0, lost)) => Some(std::mem::replace(lost, Lost::Request)),
                Some((left, _)) => {
                    *left -= 1;
                    None
                }
            }
        };
        match lost {
            None => request(),
            Some(lost) => {
                if lost == Lost::Answer {
                    let _ = request();
                }
                Err(call.error(ErrorKind::Network, "the line broke"))
            }
        }
    }

    fn add(&self, name: &str, content: Vec<u8>, time: Option<i64>) {
        lock(&self.files).insert(name.to_owned(), (content, time));
    }

    /// All that was stored is two days older.
    fn grow_old(&self) {
        let mut all = lock(&self.files);
        let old: Vec<_> = std::mem::take(&mut *all).into_iter().collect();
        for (name, (content, _)) in old {
            let name = match Aside::parse(&name) {
                Some(found) => aside(NOW - 2 * DAY, &found.target),
                None => name,
            };
            all.insert(name, (content, Some(NOW - 2 * DAY)));
        }
    }

    /// The line is repaired once an answer was lost.
    fn repair(&self) {
        let mut holds = lock(&self.holds);
        holds.take_if(|holds| matches!(holds, (0, Lost::Request)));
    }

    fn asked(&self, verb: &str) -> usize {
        lock(&self.asked)
            .iter()
            .filter(|asked| **asked == verb)
            .count()
    }

    fn content(&self) -> Vec<(String, Vec<u8>)> {
        let files = lock(&self.files).clone().into_iter();
        files.map(|(name, (content, _))| (name, content)).collect()
    }

    fn remote(&self, name: &str) -> Option<RemoteFile> {
        let files = lock(&self.files);
        let (content, modified) = files.get(name)?;
        Some(RemoteFile {
            name: name.to_owned(),
            size: Some(content.len() as u64),
            modified: *modified,
            is_folder: content == b"folder",
            is_archived: false,
        })
    }
}

#[async_trait]
impl Files for Fake {
    async fn list(&self, call: &Call) -> Result<BoxStream<'_, Result<RemoteFile>>> {
        let names: Vec<String> = lock(&self.files).keys().cloned().collect();
        let files: Vec<_> = names.iter().filter_map(|name| self.remote(name)).collect();
        let files = self.answer(call, || Ok(files)).await?;
        Ok(stream::iter(files.into_iter().map(Ok)).boxed())
    }

    async fn get(&self, call: &Call, name: &str) -> Result<Download> {
        let files = lock(&self.files);
        let (content, _) = files.get(name).ok_or_else(|| call.not_found())?;
        Ok(Download::from_bytes(content.clone().into()))
    }

    async fn has_folder(&self, call: &Call) -> Result<bool> {
        self.answer(call, || Ok(!self.is_missing)).await
    }

    async fn find(&self, call: &Call, name: &str) -> Result<Option<RemoteFile>> {
        self.answer(call, || Ok(self.remote(name))).await
    }

    async fn send(&self, call: &Call, name: &str, body: Body, _: Existing) -> Result<()> {
        self.trouble(call, "send")?;
        let mut content = body.as_bytes().map(|b| b.to_vec()).unwrap_or_default();
        content.truncate(self.keeps.unwrap_or(usize::MAX));
        let add = || {
            self.add(name, content, self.time);
            Ok(())
        };
        self.answer(call, add).await
    }

    async fn rename(&self, call: &Call, renaming: &Renaming<'_>) -> Result<Renamed> {
        if let Some(kind) = &self.refuses_rename {
            return Err(call.error(kind.clone(), "no"));
        }
        if self.has_no_rename {
            lock(&self.asked).push("rename");
            return Ok(Renamed::Impossible);
        }
        self.trouble(call, "rename")?;
        let rename = || {
            let mut files = lock(&self.files);
            let refuses = self.replaces_none || renaming.existing == Existing::Refuse;
            if refuses && files.contains_key(renaming.to) {
                return Ok(Renamed::Taken);
            }
            let content = files
                .remove(renaming.from)
                .ok_or_else(|| call.not_found())?;
            files.insert(renaming.to.to_owned(), content);
            Ok(Renamed::Done)
        };
        self.answer(call, rename).await
    }

    async fn remove(&self, call: &Call, name: &str) -> Result<()> {
        self.trouble(call, "remove")?;
        let remove = || {
            let removed = lock(&self.files).remove(name);
            removed.map(drop).ok_or_else(|| call.not_found())
        };
        self.answer(call, remove).await
    }

    async fn make_folder(&self, _: &Call) -> Result<()> {
        Ok(())
    }
}

fn folder(files: Fake) -> Folder<Fake> {
    Folder::new(files, Arc::new(SystemRandom))
}

fn call(name: &str) -> Call {
    Call::on("x", Operation::Put, name)
}

fn kind(result: Result<()>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind().clone())
}

#[tokio::test]
async fn a_file_appears_whole_under_its_name_alone() -> Result<()> {
    let folder = folder(Fake::default());
    folder
        .put(&call("a"), Body::from_bytes("1"), Existing::Refuse)
        .await?;
    let again = folder
        .put(&call("a"), Body::from_bytes("2"), Existing::Refuse)
        .await;
    assert_eq!(kind(again), Some(ErrorKind::Exists));
    assert_eq!(folder.files().content(), [("a".into(), b"1".to_vec())]);
    folder
        .put(&call("a"), Body::from_bytes("3"), Existing::Replace)
        .await?;
    for verb in ["send", "rename"] {
        *lock(&folder.files().trouble) = Some((verb, ErrorKind::Network));
        let failed = folder
            .put(&call("b"), Body::from_bytes("4"), Existing::Refuse)
            .await;
        assert_eq!(kind(failed), Some(ErrorKind::Network), "{verb}");
    }
    assert_eq!(folder.files().content(), [("a".into(), b"3".to_vec())]);
    let name = "tmp.larder.0123456789abcdef";
    let hidden = folder
        .put(&call(name), Body::from_bytes("5"), Existing::Refuse)
        .await;
    assert_eq!(kind(hidden), Some(ErrorKind::Config));
    assert_eq!(
        kind(folder.rename(&call("a"), name).await),
        Some(ErrorKind::Config)
    );
    Ok(())
}

#[tokio::test]
async fn what_was_stored_is_compared() {
    for has_no_rename in [false, true] {
        let folder = folder(Fake {
            keeps: Some(2),
            has_no_rename,
            ..Fake::default()
        });
        let put = folder
            .put(&call("a"), Body::from_bytes("123"), Existing::Refuse)
            .await;
        assert_eq!(kind(put), Some(ErrorKind::Corrupt));
    }
}

#[tokio::test]
async fn a_server_that_cannot_rename_is_asked_once() -> Result<()> {
    let folder = folder(Fake {
        has_no_rename: true,
        ..Fake::default()
    });
    for name in ["a", "b"] {
        folder
            .put(&call(name), Body::from_bytes("1"), Existing::Refuse)
            .await?;
        let again = folder
            .put(&call(name), Body::from_bytes("2"), Existing::Refuse)
            .await;
        assert_eq!(kind(again), Some(ErrorKind::Exists));
        folder
            .put(&call(name), Body::from_bytes("3"), Existing::Replace)
            .await?;
    }
    let files = folder.files();
    assert_eq!(files.asked("rename"), 1);
    let expected = ["a", "b"].map(|name| (name.to_owned(), b"3".to_vec()));
    assert_eq!(files.content(), expected);
    Ok(())
}

/// Two machines choose one name in the same second. The version list of the other was deleted.
#[tokio::test]
async fn a_direct_put_that_fails_leaves_what_another_stored_meanwhile() -> Result<()> {
    let folder = folder(Fake {
        has_no_rename: true,
        ..Fake::default()
    });
    folder
        .put(&call("a"), Body::from_bytes("1"), Existing::Refuse)
        .await?;
    for theirs in ["their list", "x"] {
        let files = folder.files();
        lock(&files.files).clear();
        *lock(&files.trouble) = Some(("send", ErrorKind::Locked));
        *lock(&files.other) = Some(("list", theirs.into()));
        let put = folder
            .put(&call("list"), Body::from_bytes("ours"), Existing::Refuse)
            .await;
        assert_eq!(kind(put), Some(ErrorKind::Locked));
        assert_eq!(files.content(), [("list".into(), theirs.into())]);
    }
    Ok(())
}

#[tokio::test]
async fn a_rename_whose_answer_is_lost_is_looked_into() -> Result<()> {
    let files = Fake::default();
    let renaming = Renaming {
        from: "t",
        to: "a",
        existing: Existing::Refuse,
        len: Some(3),
    };
    let lost = renaming.has_happened(&files, &call("a")).await;
    assert_eq!(kind(lost.map(drop)), Some(ErrorKind::Exists));
    files.add("a", b"four".to_vec(), None);
    let another = renaming.has_happened(&files, &call("a")).await;
    assert_eq!(kind(another.map(drop)), Some(ErrorKind::Exists));
    files.add("a", b"123".to_vec(), None);
    assert!(renaming.has_happened(&files, &call("a")).await?);
    files.add("t", b"123".to_vec(), None);
    assert!(!renaming.has_happened(&files, &call("a")).await?);
    Ok(())
}

#[tokio::test]
async fn a_missing_folder_is_told_from_a_missing_file() -> Result<()> {
    for (is_missing, expected) in [
        (false, ErrorKind::NotFound),
        (true, ErrorKind::FolderMissing),
    ] {
        let folder = folder(Fake {
            is_missing,
            ..Fake::default()
        });
        assert_eq!(kind(folder.rename(&call("a"), "b").await), Some(expected));
    }
    let folder = folder(Fake::default());
    folder
        .put(&call("a"), Body::from_bytes("1"), Existing::Refuse)
        .await?;
    folder
        .put(&call("b"), Body::from_bytes("2"), Existing::Refuse)
        .await?;
    folder.rename(&call("a"), "a").await?;
    folder.rename(&call("a"), "b").await?;
    assert_eq!(folder.files().content(), [("b".into(), b"1".to_vec())]);
    Ok(())
}

#[tokio::test]
async fn what_vanishes_before_its_rename_is_told() {
    for (is_missing, expected) in [(false, ErrorKind::Other), (true, ErrorKind::FolderMissing)] {
        let folder = folder(Fake {
            is_missing,
            ..Fake::default()
        });
        *lock(&folder.files().trouble) = Some(("rename", ErrorKind::NotFound));
        let body = Body::from_bytes("1");
        let put = folder.put(&call("a"), body, Existing::Refuse).await;
        assert_eq!(kind(put), Some(expected));
    }
}

const DAY: i64 = 86_400;
const NOW: i64 = 1_700_000_000;

fn temporary(digit: &str) -> String {
    format!("tmp.larder.{}", digit.repeat(16))
}

fn aside(since: i64, target: &str) -> String {
    format!("{}.{since:x}.{target}", temporary("a"))
}

#[tokio::test]
async fn only_old_temporary_files_are_removed() -> Result<()> {
    let call = &Call::new("x", Operation::RemoveLeftovers);
    // By the server's clock, whatever the one here says; where it has none, nothing goes.
    for (time, removed) in [(Some(NOW), 2), (Some(NOW - 2 * DAY), 0), (None, 0)] {
        let folder = folder(Fake {
            time,
            ..Fake::default()
        });
        let files = folder.files();
        for (name, content, since) in [
            (temporary("1"), "x", Some(NOW - DAY - 1)),
            (temporary("2"), "x", Some(NOW - DAY + 1)),
            (temporary("3"), "folder", Some(0)),
            (temporary("4"), "x", None),
            ("tmp.larder.mine".to_owned(), "x", Some(0)),
            ("a".to_owned(), "new", Some(0)),
            // The time of their content is older.
            (aside(NOW - DAY - 1, "a"), "old", Some(0)),
            (aside(NOW - DAY + 1, "a"), "old", Some(0)),
        ] {
            files.add(&name, content.into(), since);
        }
        let before = files.content().len();
        assert_eq!(folder.remove_leftovers(call).await?, removed, "{time:?}");
        let left: Vec<String> = files.content().into_iter().map(|(name, _)| name).collect();
        assert_eq!(left.len() as u64 + removed, before as u64, "{left:?}");
        for stays in [temporary("2"), aside(NOW - DAY + 1, "a"), "a".into()] {
            assert!(left.contains(&stays), "{stays}: {left:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_was_moved_aside_finds_back_however_old_it_is() -> Result<()> {
    for by_listing in [true, false] {
        let folder = folder(Fake {
            time: Some(NOW),
            replaces_none: true,
            ..Fake::default()
        });
        let files = folder.files();
        files.add(&aside(5, "a"), b"old".to_vec(), Some(0));
        match by_listing {
            true => assert_eq!(listed(&folder).await?, ["a"]),
            false => {
                let call = &Call::new("x", Operation::RemoveLeftovers);
                assert_eq!(folder.remove_leftovers(call).await?, 0);
            }
        }
        assert_eq!(files.content(), [("a".to_owned(), b"old".to_vec())]);
    }
    Ok(())
}

/// A restore by an account that may only read, after a run that was killed.
#[tokio::test]
async fn what_cannot_be_moved_back_is_listed_and_read_where_it_is() -> Result<()> {
    let impossible = Fake {
        has_no_rename: true,
        ..Fake::default()
    };
    let kinds = [ErrorKind::Denied, ErrorKind::Unsupported, ErrorKind::Other];
    let refused = kinds.map(|kind| Fake {
        refuses_rename: Some(kind),
        ..Fake::default()
    });
    for fake in refused.into_iter().chain([impossible]) {
        let folder = folder(fake);
        let files = folder.files();
        let old = format!("{}.4.a", temporary("b"));
        files.add(&old, b"older".to_vec(), Some(0));
        files.add(&aside(5, "a"), b"old".to_vec(), Some(0));
        let older = format!("{}.3.a", temporary("c"));
        files.add(&older, b"oldest".to_vec(), Some(0));
        assert_eq!(listed(&folder).await?, ["a"]);
        let got = folder.get(&call("a"), "a").await?;
        assert_eq!(got.len, Some(3));
        assert_eq!(got.bytes().await?, b"old");
        assert!(folder.get(&call("b"), "b").await.is_err());
        // What has the name is read under it.
        files.add("a", b"new".to_vec(), None);
        assert_eq!(folder.get(&call("a"), "a").await?.bytes().await?, b"new");
        assert_eq!(files.content().len(), 4);
        // Each of the two goes when it is what has the name; nothing else does.
        folder.remove(&call("a"), "a").await?;
        assert!(files.remote(&aside(5, "a")).is_some());
        folder.remove(&call("a"), "a").await?;
        assert!(files.remote(&aside(5, "a")).is_none());
        assert!(folder.remove(&call("a"), "a").await.is_err());
        assert_eq!(files.content().len(), 2);
    }
    // A line that breaks is told.
    let folder = folder(Fake {
        refuses_rename: Some(ErrorKind::Network),
        ..Fake::default()
    });
    folder.files().add(&aside(5, "a"), b"old".to_vec(), None);
    assert!(listed(&folder).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_file_is_not_moved_back_over_another_one() -> Result<()> {
    let folder = folder(Fake::default());
    let files = folder.files();
    files.add("a", b"new".to_vec(), None);
    files.add(&aside(5, "a"), b"old".to_vec(), None);
    assert_eq!(listed(&folder).await?, ["a"]);
    assert!(files.content().contains(&("a".into(), b"new".to_vec())));
    Ok(())
}

async fn listed(folder: &Folder<Fake>) -> Result<Vec<String>> {
    let files = folder.list(&Call::new("x", Operation::List)).await?;
    files.map_ok(|file| file.name).try_collect().await
}

/// What there is once everything is over: one whole file under its name, the old one or the new one.
async fn check_after(folder: &Folder<Fake>, stored: bool, told: &str) -> Result<()> {
    assert_eq!(listed(folder).await?, ["a"], "{told}");
    let files = folder.files();
    let content = files.remote("a").and_then(|file| file.size);
    match stored {
        true => assert_eq!(content, Some(5), "{told}"),
        false => assert!(matches!(content, Some(3 | 5)), "{told}: {content:?}"),
    }
    files.grow_old();
    let call = &Call::new("x", Operation::RemoveLeftovers);
    folder.remove_leftovers(call).await?;
    let left: Vec<_> = files.content().into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, ["a"], "{told}");
    Ok(())
}

async fn with_old_file() -> Folder<Fake> {
    let folder = folder(Fake {
        replaces_none: true,
        time: Some(NOW),
        ..Fake::default()
    });
    folder.files().add("a", b"old".to_vec(), Some(0));
    folder
}

#[tokio::test]
async fn a_file_is_replaced_in_steps_and_a_line_that_breaks_at_any_of_them_loses_none() -> Result<()>
{
    let mut failures = 0;
    for after in 0..20 {
        for lost in [Lost::Answer, Lost::Request] {
            let folder = with_old_file().await;
            *lock(&folder.files().holds) = Some((after, lost));
            let new = Body::from_bytes("newer");
            let put = folder.put(&call("a"), new, Existing::Replace).await;
            failures += usize::from(put.is_err());
            *lock(&folder.files().holds) = None;
            check_after(&folder, put.is_ok(), &format!("{after} {lost:?} {put:?}")).await?;
        }
    }
    // Some of the twenty are behind the end.
    assert!((12..39).contains(&failures), "{failures}");
    Ok(())
}

/// A single answer is lost; the line holds before and after it.
#[tokio::test]
async fn what_happened_is_looked_for_when_one_answer_is_lost() -> Result<()> {
    for after in 0..20 {
        let folder = Arc::new(with_old_file().await);
        *lock(&folder.files().holds) = Some((after, Lost::Answer));
        let putting = Arc::clone(&folder);
        let putting = tokio::spawn(async move {
            let new = Body::from_bytes("newer");
            putting.put(&call("a"), new, Existing::Replace).await
        });
        while !putting.is_finished() {
            folder.files().repair();
            tokio::task::yield_now().await;
        }
        let put = putting.await;
        let is_stored = matches!(put, Ok(Ok(())));
        *lock(&folder.files().holds) = None;
        let is_new = folder
            .files()
            .remote("a")
            .is_some_and(|file| file.size == Some(5));
        assert_eq!(is_stored, is_new, "{after} {put:?}");
        check_after(&folder, is_stored, &format!("{after} {put:?}")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_put_that_is_given_up_at_any_moment_leaves_a_whole_file() -> Result<()> {
    for polls in 1..30 {
        let folder = with_old_file().await;
        let new = Body::from_bytes("newer");
        let about = call("a");
        let mut putting = Box::pin(folder.put(&about, new, Existing::Replace));
        for _ in 0..polls {
            if futures_util::poll!(&mut putting).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(putting);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        // Without the help of a listing: what was begun is finished.
        assert!(folder.files().remote("a").is_some(), "{polls}");
        check_after(&folder, false, &polls.to_string()).await?;
    }
    Ok(())
}
