//! The folder over a store in memory that can be told what goes wrong.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::stream;
use larder_destination::SystemRandom;

use super::*;

#[derive(Default)]
struct Fake {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    /// The verbs that were called.
    asked: Mutex<Vec<&'static str>>,
    has_no_rename: bool,
    is_missing: bool,
    /// What the next call of a verb answers, and what another program stored under a name just before it.
    trouble: Mutex<Option<(&'static str, ErrorKind)>>,
    other: Mutex<Option<(&'static str, Vec<u8>)>>,
    /// Bytes of a body that are kept, when it is not all.
    keeps: Option<usize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fake {
    fn trouble(&self, call: &Call, verb: &'static str) -> Result<()> {
        lock(&self.asked).push(verb);
        let mut trouble = lock(&self.trouble);
        match trouble.take_if(|(on, _)| *on == verb) {
            Some((_, kind)) => {
                if let Some((name, content)) = lock(&self.other).take() {
                    lock(&self.files).insert(name.to_owned(), content);
                }
                Err(call.error(kind, "trouble"))
            }
            None => Ok(()),
        }
    }

    fn asked(&self, verb: &str) -> usize {
        lock(&self.asked)
            .iter()
            .filter(|asked| **asked == verb)
            .count()
    }

    fn content(&self) -> Vec<(String, Vec<u8>)> {
        lock(&self.files).clone().into_iter().collect()
    }
}

#[async_trait]
impl Files for Fake {
    async fn has_folder(&self, _: &Call) -> Result<bool> {
        Ok(!self.is_missing)
    }

    async fn find(&self, _: &Call, name: &str) -> Result<Option<RemoteFile>> {
        let files = lock(&self.files);
        Ok(files
            .get(name)
            .map(|content| listed(name, content.len(), 0)))
    }

    async fn send(&self, call: &Call, name: &str, body: Body, _: Existing) -> Result<()> {
        self.trouble(call, "send")?;
        let mut content = body.as_bytes().map(|b| b.to_vec()).unwrap_or_default();
        content.truncate(self.keeps.unwrap_or(usize::MAX));
        lock(&self.files).insert(name.to_owned(), content);
        Ok(())
    }

    async fn rename(&self, call: &Call, renaming: &Renaming<'_>) -> Result<()> {
        if self.has_no_rename {
            lock(&self.asked).push("rename");
            return Err(call.error(ErrorKind::Unsupported, "it cannot rename"));
        }
        self.trouble(call, "rename")?;
        let mut files = lock(&self.files);
        if renaming.existing == Existing::Refuse && files.contains_key(renaming.to) {
            return Err(call.exists());
        }
        let content = files
            .remove(renaming.from)
            .ok_or_else(|| call.not_found())?;
        files.insert(renaming.to.to_owned(), content);
        Ok(())
    }

    async fn remove(&self, call: &Call, name: &str) -> Result<()> {
        self.trouble(call, "remove")?;
        let removed = lock(&self.files).remove(name);
        removed.map(drop).ok_or_else(|| call.not_found())
    }
}

fn listed(name: &str, len: usize, modified: i64) -> RemoteFile {
    RemoteFile {
        name: name.to_owned(),
        size: Some(len as u64),
        modified: Some(modified),
        is_folder: false,
        is_archived: false,
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
    lock(&files.files).insert("a".to_owned(), b"four".to_vec());
    let another = renaming.has_happened(&files, &call("a")).await;
    assert_eq!(kind(another.map(drop)), Some(ErrorKind::Exists));
    lock(&files.files).insert("a".to_owned(), b"123".to_vec());
    assert!(renaming.has_happened(&files, &call("a")).await?);
    lock(&files.files).insert("t".to_owned(), b"123".to_vec());
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
async fn only_old_temporary_files_are_removed() -> Result<()> {
    let folder = folder(Fake::default());
    let temporary = |digit: &str| format!("tmp.larder.{}", digit.repeat(16));
    let (day, now) = (86_400, 1_000_000);
    let all = [
        (temporary("1"), now - day - 1),
        (temporary("2"), now - day + 1),
        (temporary("3"), now - 2 * day),
        ("tmp.larder.mine".to_owned(), 0),
        ("a".to_owned(), 0),
    ];
    for (name, _) in &all {
        lock(&folder.files().files).insert(name.clone(), Vec::new());
    }
    // This one vanished since it was listed.
    lock(&folder.files().files).remove(&temporary("3"));
    let mut entries: Vec<_> = all
        .iter()
        .map(|(name, time)| Ok(listed(name, 0, *time)))
        .collect();
    entries.push(Ok(RemoteFile {
        is_folder: true,
        ..listed(&temporary("4"), 0, 0)
    }));
    entries.push(Ok(RemoteFile {
        modified: None,
        ..listed(&temporary("5"), 0, 0)
    }));
    let call = Call::new("x", Operation::RemoveLeftovers);
    assert_eq!(
        folder
            .remove_leftovers(&call, stream::iter(entries), now)
            .await?,
        2
    );
    let left: Vec<String> = folder
        .files()
        .content()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        left,
        ["a".to_owned(), temporary("2"), "tmp.larder.mine".to_owned()]
    );
    assert_eq!(folder.files().asked("remove"), 2);
    Ok(())
}
