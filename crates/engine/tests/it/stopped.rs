//! A backup is stopped while its version list is on the way: whether the version exists is not known, and not denied.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use larder_destination::{
    About, Body, Destination, Download, ErrorKind, Existing, Operation, RemoteFile, Result,
};
use larder_engine::{BackupReport, Cancel, Event, Monitor};
use larder_testkit::{Failure, MemoryDestination};

use crate::rig::{Log, Rig};

/// Stores the version list, and the user stops the run before the answer comes.
struct Unanswered {
    inner: MemoryDestination,
    cancel: Arc<Mutex<Cancel>>,
}

#[async_trait]
impl Destination for Unanswered {
    fn about(&self) -> &About {
        self.inner.about()
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        self.inner.list()
    }

    async fn get(&self, name: &str) -> Result<Download> {
        self.inner.get(name).await
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        self.inner.put(name, body, existing).await?;
        if name.contains("dlist") {
            self.cancel.lock().expect("no panic").cancel();
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.inner.delete(name).await
    }

    async fn create_folder(&self) -> Result<()> {
        self.inner.create_folder().await
    }
}

/// What the run said, and whether the version is there all the same.
fn check_told(mut rig: Rig, report: &BackupReport) {
    assert!(report.common.interrupted && report.version_may_exist);
    assert_eq!(report.version_time, None);
    assert!(report.partial_backup, "something may have been stored");
    let complaints = rig.log.complaints().join("\n");
    assert!(
        complaints.contains("the new version may exist") && !complaints.contains("no new version"),
        "{complaints}"
    );
    let (target, _) = rig.try_restore(0).expect("the version is there");
    assert_eq!(std::fs::read(target.join("a")).expect("a"), b"one");
    // The next run takes it for what it is.
    let next = rig.try_backup().expect("a backup");
    assert_eq!((next.version_time, next.examined_files), (None, 1));
}

#[test]
fn a_run_stopped_while_the_list_is_sent_does_not_deny_the_version() {
    let mut rig = Rig::new();
    rig.write("a", "one");
    let cancel = Arc::new(Mutex::new(Cancel::new()));
    let destination = Unanswered {
        inner: rig.store.clone(),
        cancel: cancel.clone(),
    };
    let run = rig
        .open_over(Arc::new(destination), true)
        .expect("it opens");
    *cancel.lock().expect("no panic") = rig.cancel.clone();
    let report = run.backup(&rig.request()).expect("a report");
    run.repository().close().expect("closed");
    check_told(rig, &report);
}

/// Stops a run when it waits for its next attempt.
struct AtRetry(Arc<Log>, Cancel);

impl Monitor for AtRetry {
    fn event(&self, event: &Event) {
        if let Event::Message(message) = event
            && message.id == "RetryTransfer"
        {
            self.1.cancel();
        }
        self.0.event(event);
    }
}

#[test]
fn a_run_stopped_before_the_list_is_sent_again_does_not_deny_the_version() {
    let mut rig = Rig::new();
    rig.write("a", "one");
    rig.set("retry-delay", "1h");
    // A data file and its index, then the list.
    rig.plan.skip(Operation::Put, 2);
    rig.plan
        .push(Operation::Put, Failure::After(ErrorKind::Network));
    let run = rig.open().expect("it opens");
    let monitor = Arc::new(AtRetry(rig.log.clone(), rig.cancel.clone()));
    let run = (run.repository().run(monitor, rig.cancel.clone())).expect("a run");
    let report = run.backup(&rig.request()).expect("a report");
    run.repository().close().expect("closed");
    rig.plan.clear();
    check_told(rig, &report);
}

#[test]
fn a_run_stopped_before_the_list_is_sent_wrote_no_version() {
    let mut rig = Rig::new();
    rig.write("a", "one");
    let run = rig.open().expect("it opens");
    let token = rig.cancel.clone();
    rig.plan
        .fail_at(2, Failure::Watch(Arc::new(move |_, _| token.cancel())));
    let report = run.backup(&rig.request()).expect("a report");
    run.repository().close().expect("closed");
    assert!(report.common.interrupted && !report.version_may_exist);
    let complaints = rig.log.complaints().join("\n");
    assert!(
        complaints.contains("no new version was written"),
        "{complaints}"
    );
}
