//! The wrappers around a shelf in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::*;
use crate::{
    About, Body, Destination, Download, Error, ErrorKind, Existing, Extra, Lock, Operation,
    RemoteFile, Rename, Result,
};

/// The simplest destination that keeps the contract.
struct Shelf {
    about: About,
    files: Mutex<BTreeMap<String, Bytes>>,
    locks: Mutex<BTreeMap<String, i64>>,
}

impl Default for Shelf {
    fn default() -> Self {
        Self {
            about: About::new("shelf", "shelf://"),
            files: Mutex::default(),
            locks: Mutex::default(),
        }
    }
}

#[async_trait]
impl Destination for Shelf {
    fn about(&self) -> &About {
        &self.about
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        let files: Vec<_> = self
            .files
            .lock()
            .unwrap()
            .iter()
            .map(|(name, bytes)| Ok(file(name, bytes)))
            .collect();
        stream::iter(files).boxed()
    }

    async fn get(&self, name: &str) -> Result<Download> {
        let bytes = self.files.lock().unwrap().get(name).cloned();
        bytes
            .map(Download::from_bytes)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "shelf", Operation::Get, "none"))
    }

    async fn put(&self, name: &str, body: Body, _existing: Existing) -> Result<()> {
        let pieces: Vec<Bytes> = body.stream().try_collect().await.map_err(|error| {
            Error::new(ErrorKind::Other, "shelf", Operation::Put, error.to_string())
        })?;
        self.files
            .lock()
            .unwrap()
            .insert(name.to_owned(), pieces.concat().into());
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.files.lock().unwrap().remove(name);
        Ok(())
    }

    async fn create_folder(&self) -> Result<()> {
        Ok(())
    }
    fn extra(&self) -> Extra<'_> {
        Extra {
            rename: Some(self),
            lock: Some(self),
            ..Extra::default()
        }
    }
}

#[async_trait]
impl Rename for Shelf {
    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut shelf = self.files.lock().unwrap();
        let bytes = shelf.remove(from).unwrap_or_default();
        shelf.insert(to.to_owned(), bytes);
        Ok(())
    }
}

#[async_trait]
impl Lock for Shelf {
    async fn lock(&self, name: &str, until: i64) -> Result<()> {
        self.locks.lock().unwrap().insert(name.to_owned(), until);
        Ok(())
    }

    async fn locked_until(&self, name: &str) -> Result<Option<i64>> {
        Ok(self.locks.lock().unwrap().get(name).copied())
    }
}

fn file(name: &str, bytes: &Bytes) -> RemoteFile {
    let size = Some(bytes.len() as u64);
    RemoteFile {
        name: name.to_owned(),
        size,
        modified: None,
        is_folder: false,
        is_archived: false,
    }
}

async fn shelf_with(name: &str, content: &[u8]) -> Arc<Shelf> {
    let shelf = Arc::new(Shelf::default());
    shelf
        .put(name, Body::from_bytes(content.to_vec()), Existing::Replace)
        .await
        .unwrap();
    shelf
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind().clone()
}

async fn content(destination: &dyn Destination, name: &str) -> Result<Vec<u8>> {
    destination.get(name).await?.bytes().await
}

async fn names(destination: &dyn Destination) -> Result<Vec<String>> {
    destination
        .list()
        .map_ok(|file| file.name)
        .try_collect()
        .await
}

#[tokio::test]
async fn a_read_only_destination_cannot_be_changed() {
    let shelf = shelf_with("a", b"abc").await;
    let safe = ReadOnly::new(shelf.clone());
    assert_eq!(content(&safe, "a").await.unwrap(), b"abc");
    assert_eq!(names(&safe).await.unwrap(), ["a"]);
    assert!(safe.extra().rename.is_none());
    // Locks are told of and not made.
    shelf.lock("a", 7).await.unwrap();
    let verb = safe.extra().lock.unwrap();
    assert_eq!(verb.locked_until("a").await.unwrap(), Some(7));
    assert_eq!(kind(verb.lock("a", 8).await), ErrorKind::Denied);
    assert_eq!(shelf.locked_until("a").await.unwrap(), Some(7));
    assert_eq!(
        kind(
            safe.put("b", Body::from_bytes("x"), Existing::Replace)
                .await
        ),
        ErrorKind::Denied
    );
    assert_eq!(kind(safe.delete("a").await), ErrorKind::Denied);
    assert_eq!(kind(safe.create_folder().await), ErrorKind::Denied);
    assert_eq!(names(shelf.as_ref()).await.unwrap(), ["a"]);
    let message = safe.delete("a").await.unwrap_err().to_string();
    assert_eq!(
        message,
        "shelf delete a: this command opens the destination for reading only"
    );
}

#[tokio::test]
async fn the_journal_tells_what_was_called() {
    let recorder = Recorder::new(Arc::new(Shelf::default()));
    let journal = recorder.journal();
    recorder
        .put("a", Body::from_bytes("four"), Existing::Replace)
        .await
        .unwrap();
    recorder
        .put("b", Body::from_bytes("x").cut_after(0), Existing::Replace)
        .await
        .unwrap_err();
    content(&recorder, "a").await.unwrap();
    content(&recorder, "c").await.unwrap_err();
    drop(recorder.get("a").await.unwrap());
    names(&recorder).await.unwrap();
    recorder
        .extra()
        .rename
        .unwrap()
        .rename("a", "z")
        .await
        .unwrap();
    let lock = recorder.extra().lock.unwrap();
    lock.lock("z", 7).await.unwrap();
    assert_eq!(lock.locked_until("z").await.unwrap(), Some(7));
    recorder.delete("z").await.unwrap();
    assert_eq!(
        journal.to_string(),
        "put a 4\nput b 0 (Other)\nget a 4\nget c 0 (NotFound)\nget a 0 (open)\nlist 1\nrename a\nlock z\nlocked-until z\ndelete z\n"
    );
    assert_eq!(
        (
            journal.count(Operation::Put),
            journal.amount(Operation::Put)
        ),
        (2, 4)
    );
    assert_eq!(journal.names(Operation::Get), ["a", "c", "a"]);
    journal.clear();
    crate::test(&recorder).await.unwrap();
    assert_eq!(journal.calls().len(), 1);
}

#[tokio::test]
async fn a_call_that_outlives_clear_is_not_confused_with_another() {
    let recorder = Recorder::new(shelf_with("a", b"abc").await);
    let journal = recorder.journal();
    let download = recorder.get("a").await.unwrap();
    journal.clear();
    recorder.delete("a").await.unwrap();
    download.bytes().await.unwrap();
    assert_eq!(journal.to_string(), "delete a\n");
}

#[tokio::test]
async fn queued_faults_hit_their_operation() {
    let plan = FaultPlan::new();
    let faults = Faults::new(shelf_with("a", b"abcdef").await, plan.clone());
    plan.push(Operation::Put, Failure::Before(ErrorKind::Quota));
    plan.push(Operation::Put, Failure::After(ErrorKind::Network));
    plan.push(Operation::Put, Failure::Cut(2));
    assert_eq!(
        kind(
            faults
                .put("b", Body::from_bytes("b"), Existing::Replace)
                .await
        ),
        ErrorKind::Quota
    );
    assert_eq!(names(&faults).await.unwrap(), ["a"]);
    assert_eq!(
        kind(
            faults
                .put("b", Body::from_bytes("b"), Existing::Replace)
                .await
        ),
        ErrorKind::Network
    );
    assert_eq!(names(&faults).await.unwrap(), ["a", "b"]);
    assert_eq!(
        kind(
            faults
                .put("c", Body::from_bytes("ccc"), Existing::Replace)
                .await
        ),
        ErrorKind::Other
    );
    assert_eq!(names(&faults).await.unwrap(), ["a", "b"]);
    faults
        .put("c", Body::from_bytes("ccc"), Existing::Replace)
        .await
        .unwrap();

    plan.skip(Operation::Get, 1);
    plan.push(Operation::Get, Failure::Cut(2));
    plan.push(Operation::Get, Failure::EndEarly(2));
    plan.push(Operation::Get, Failure::Flip(5));
    assert_eq!(content(&faults, "a").await.unwrap(), b"abcdef");
    assert_eq!(kind(content(&faults, "a").await), ErrorKind::Network);
    assert_eq!(content(&faults, "a").await.unwrap(), b"ab");
    assert_eq!(content(&faults, "a").await.unwrap(), b"abcdeg");

    plan.push(Operation::List, Failure::Cut(1));
    plan.push(Operation::List, Failure::EndEarly(1));
    assert_eq!(kind(names(&faults).await), ErrorKind::Network);
    assert_eq!(names(&faults).await.unwrap(), ["a"]);
    plan.push(Operation::Lock, Failure::Before(ErrorKind::Unsupported));
    plan.push(Operation::LockedUntil, Failure::After(ErrorKind::Network));
    let lock = faults.extra().lock.unwrap();
    assert_eq!(kind(lock.lock("a", 7).await), ErrorKind::Unsupported);
    assert_eq!(kind(lock.locked_until("a").await), ErrorKind::Network);
    assert_eq!(lock.locked_until("a").await.unwrap(), None);
    assert_eq!(plan.injected().len(), 10);
}

#[tokio::test]
async fn every_call_after_the_nth_fails() {
    let plan = FaultPlan::new();
    let faults = Faults::new(shelf_with("a", b"abc").await, plan.clone());
    plan.fail_after(2, Failure::Before(ErrorKind::Network));
    plan.fail_at(1, Failure::Before(ErrorKind::Denied));
    assert_eq!(kind(crate::test(&faults).await), ErrorKind::Denied);
    crate::test(&faults).await.unwrap();
    assert_eq!(kind(crate::test(&faults).await), ErrorKind::Network);
    assert_eq!(kind(faults.delete("a").await), ErrorKind::Network);
    plan.clear();
    crate::test(&faults).await.unwrap();
    assert_eq!(plan.calls(), 5);
}

#[tokio::test]
async fn hooks_are_called() {
    let plan = FaultPlan::new();
    let faults = Faults::new(shelf_with("a", b"abc").await, plan.clone());
    let count = Arc::new(AtomicU32::new(0));
    let hook: Hook = {
        let count = Arc::clone(&count);
        Arc::new(move |operation, name| {
            assert_eq!((operation, name), (Operation::Delete, "a"));
            count.fetch_add(1, Ordering::Relaxed);
        })
    };
    plan.push(Operation::Delete, Failure::Kill(Arc::clone(&hook)));
    plan.push(Operation::Delete, Failure::Watch(hook));
    assert_eq!(kind(faults.delete("a").await), ErrorKind::Cancelled);
    assert_eq!(names(&faults).await.unwrap(), ["a"]);
    faults.delete("a").await.unwrap();
    assert!(names(&faults).await.unwrap().is_empty());
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn chance_repeats_with_its_seed() {
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let plan = FaultPlan::new();
        let faults = Faults::new(Arc::new(Shelf::default()), plan.clone());
        plan.fail_by_chance(
            seed,
            300,
            vec![
                Failure::Before(ErrorKind::Network),
                Failure::After(ErrorKind::Busy(None)),
            ],
        );
        let mut results = Vec::new();
        for _ in 0..200 {
            results.push(
                crate::test(&faults)
                    .await
                    .err()
                    .map(|error| error.kind().clone()),
            );
        }
        let failed = results.iter().flatten().count();
        assert!((30..=90).contains(&failed), "{failed}");
        runs.push(results);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test(start_paused = true)]
async fn transfers_are_slowed_in_both_directions() {
    let (upload, download) = (
        Arc::new(RateLimit::new(1000)),
        Arc::new(RateLimit::new(500)),
    );
    let slow = Throttle::new(Arc::new(Shelf::default()), Arc::clone(&upload), download);
    let start = tokio::time::Instant::now();
    slow.put("a", Body::from_bytes(vec![7; 20_000]), Existing::Replace)
        .await
        .unwrap();
    let after_put = start.elapsed().as_secs_f64();
    assert!((18.0..=21.0).contains(&after_put), "{after_put}");
    assert_eq!(content(&slow, "a").await.unwrap(), vec![7; 20_000]);
    let after_get = start.elapsed().as_secs_f64() - after_put;
    assert!((37.0..=41.0).contains(&after_get), "{after_get}");
    upload.set(0);
    let start = tokio::time::Instant::now();
    slow.put("b", Body::from_bytes(vec![7; 20_000]), Existing::Replace)
        .await
        .unwrap();
    assert!(start.elapsed().as_secs_f64() < 0.1);
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test may use the system's folder"
)]
async fn a_body_streams_what_it_announced() {
    let folder = std::env::temp_dir().join(format!("larder-body-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("content");
    let content: Vec<u8> = (0..700_001_u32)
        .map(|number| number.to_le_bytes()[1])
        .collect();
    std::fs::write(&path, &content).unwrap();
    for (len, fits) in [
        (700_001, true),
        (700_000, false),
        (700_002, false),
        (0, false),
    ] {
        let pieces: std::io::Result<Vec<Bytes>> = Body::from_file(path.clone(), len)
            .stream()
            .try_collect()
            .await;
        assert_eq!(pieces.is_ok(), fits, "{len}");
        if let Ok(pieces) = pieces {
            assert_eq!(pieces.concat(), content);
        }
    }
    for body in [
        Body::from_file(path.clone(), 700_001),
        Body::from_bytes(content.clone()),
    ] {
        for cut in [0, 1, 300_000, 700_001, 900_000] {
            let body = body.clone().cut_after(cut);
            assert!(body.as_bytes().is_none() && body.as_file().is_none());
            let pieces: Vec<_> = body.stream().collect().await;
            assert!(pieces.last().unwrap().is_err());
            let got: Vec<u8> = pieces.into_iter().flatten().flatten().collect();
            assert_eq!(
                got,
                content[..usize::try_from(cut).unwrap().min(content.len())]
            );
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
