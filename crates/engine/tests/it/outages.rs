//! A network that is gone for a while and comes back (`--network-outage-limit`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use larder_destination::{
    About, Body, Clock as _, Destination, Download, Error, ErrorKind, Existing, Operation,
    RemoteFile, Result,
};
use larder_engine::Error as RunError;
use larder_testkit::MemoryDestination;
use tokio::time::Instant;

use crate::rig::{Rig, chain};

/// A destination that cannot be reached from one call on, for some time.
struct Gone {
    inner: MemoryDestination,
    from: u64,
    lasts: Duration,
    calls: AtomicU64,
    until: std::sync::OnceLock<Instant>,
    /// What is said then.
    error: fn(Operation) -> Error,
}

fn no_connection(operation: Operation) -> Error {
    let text = "could not connect to the server";
    Error::new(ErrorKind::Network, "memory", operation, text).unanswered()
}

/// The server is there, and in trouble.
fn bad_gateway(operation: Operation) -> Error {
    let text = "the server answered 502 Bad Gateway";
    Error::new(ErrorKind::Network, "memory", operation, text)
}

impl Gone {
    fn new(rig: &Rig, from: u64, lasts: Duration) -> Self {
        Self {
            inner: rig.store.clone(),
            from,
            lasts,
            calls: AtomicU64::new(0),
            until: std::sync::OnceLock::new(),
            error: no_connection,
        }
    }

    fn reach(&self, operation: Operation) -> Result<()> {
        if 1 + self.calls.fetch_add(1, Ordering::SeqCst) < self.from {
            return Ok(());
        }
        let now = Instant::now();
        match now < *self.until.get_or_init(|| now + self.lasts) {
            true => Err((self.error)(operation)),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Destination for Gone {
    fn about(&self) -> &About {
        self.inner.about()
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        let reached = async move { self.reach(Operation::List) }.into_stream();
        reached
            .flat_map(|reached| match reached {
                Ok(()) => self.inner.list(),
                Err(error) => stream::iter([Err(error)]).boxed(),
            })
            .boxed()
    }

    async fn get(&self, name: &str) -> Result<Download> {
        self.reach(Operation::Get)?;
        self.inner.get(name).await
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        self.reach(Operation::Put)?;
        self.inner.put(name, body, existing).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.reach(Operation::Delete)?;
        self.inner.delete(name).await
    }

    async fn create_folder(&self) -> Result<()> {
        self.reach(Operation::CreateFolder)?;
        self.inner.create_folder().await
    }
}

/// A runtime whose time goes on when nobody has anything to do, and never waits.
struct Hurried {
    handle: tokio::runtime::Handle,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Hurried {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        let runtime = runtime.expect("a runtime");
        let handle = runtime.handle().clone();
        let (end, ended) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let _ = runtime.block_on(ended);
        });
        Self {
            handle,
            end: Some(end),
            thread: Some(thread),
        }
    }
}

impl Drop for Hurried {
    fn drop(&mut self) {
        drop(self.end.take());
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Two versions, and a source that has changed since.
fn changed() -> Rig {
    let mut rig = Rig::new();
    rig.set("number-of-retries", "0");
    for content in ["one", "two"] {
        rig.write("file", content);
        rig.backup();
    }
    rig.write("file", "three");
    rig
}

fn backup(rig: &mut Rig, gone: Gone) -> std::result::Result<(), RunError> {
    let held = larder_testkit::tree::Manifest::of(&rig.source()).expect("a readable source");
    rig.clock.pause(Duration::from_secs(1));
    let run = rig.open_over(Arc::new(gone), true)?;
    let outcome = run.backup(&rig.request());
    run.repository().close().expect("the catalog closes");
    if outcome.is_ok() {
        rig.versions.push(held);
    }
    outcome.map(drop)
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn an_hour_without_a_network_is_survived_at_every_call() {
    let time = Hurried::new();
    let base = changed();
    let calls = {
        let mut rig = base.fork();
        rig.backup();
        rig.plan.calls()
    };
    for call in 2..=calls {
        let mut rig = base.fork();
        rig.runtime = time.handle.clone();
        rig.set("network-outage-limit", "2h");
        let begun = std::time::Instant::now();
        let gone = Gone::new(&rig, call, HOUR);
        if let Err(error) = backup(&mut rig, gone) {
            panic!("call {call}: {}", chain(&error));
        }
        assert!(begun.elapsed() < HOUR / 60, "it waited");
        let told = rig.log.count("NetworkOutage");
        assert!((2..=62).contains(&told), "call {call}: {told} messages");
        assert_eq!(rig.log.count("NetworkBack"), 1, "call {call}");
        assert_eq!(rig.log.complaints(), [""; 0], "call {call}");
        rig.runtime = crate::rig::runtime();
        // What failed puts may have left goes.
        rig.write("file", "four");
        rig.backup();
        rig.check_set("after an outage");
        rig.check_all("after an outage");
    }
}

#[test]
fn an_outage_that_lasts_longer_than_allowed_ends_the_run() {
    let time = Hurried::new();
    for (limit, survives) in [("59m", false), ("61m", true), ("0s", false)] {
        let mut rig = changed();
        rig.runtime = time.handle.clone();
        rig.set("network-outage-limit", limit);
        let gone = Gone::new(&rig, 2, HOUR);
        let outcome = backup(&mut rig, gone);
        assert_eq!(outcome.is_ok(), survives, "{limit}");
        assert_eq!(rig.log.count("NetworkOutage") > 0, limit != "0s", "{limit}");
        rig.runtime = crate::rig::runtime();
        rig.backup();
        rig.check_all(limit);
    }
}

#[test]
fn what_a_server_answers_is_no_outage_nor_is_one_that_never_answered() {
    let time = Hurried::new();
    for (from, error) in [
        (1, no_connection as fn(Operation) -> Error),
        (2, bad_gateway),
    ] {
        let mut rig = changed();
        rig.runtime = time.handle.clone();
        rig.set("network-outage-limit", "2h");
        let mut gone = Gone::new(&rig, from, HOUR);
        gone.error = error;
        assert!(backup(&mut rig, gone).is_err(), "from call {from}");
        assert_eq!(rig.log.count("NetworkOutage"), 0, "from call {from}");
    }
}

/// In real seconds.
#[test]
fn a_run_goes_on_soon_after_the_network_is_back() {
    let mut rig = changed();
    rig.set("network-outage-limit", "1m");
    let begun = std::time::Instant::now();
    let gone = Gone::new(&rig, 2, Duration::from_millis(1500));
    if let Err(error) = backup(&mut rig, gone) {
        panic!("{}", chain(&error));
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1500), "{took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert_eq!(rig.log.count("NetworkBack"), 1);
}

/// In real seconds.
#[test]
fn a_run_that_waits_for_the_network_is_stopped_at_once() {
    let mut rig = changed();
    rig.set("network-outage-limit", "1h");
    let gone = Gone::new(&rig, 2, HOUR);
    let run = rig.open_over(Arc::new(gone), true).expect("it opens");
    let (cancel, log) = (rig.cancel.clone(), rig.log.clone());
    let stopper = std::thread::spawn(move || {
        while log.count("NetworkOutage") == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        // In the middle of a pause.
        std::thread::sleep(Duration::from_millis(1200));
        cancel.cancel();
        std::time::Instant::now()
    });
    let _ = run.backup(&rig.request());
    let ended = std::time::Instant::now();
    run.repository().close().expect("the catalog closes");
    let stopped = stopper.join().expect("no panic");
    let took = ended.saturating_duration_since(stopped);
    assert!(took < Duration::from_millis(700), "{took:?}");
    rig.backup();
    rig.check_all("after it was stopped");
}
