use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use larder_destination::{About, Body, Download};

use super::*;

/// Gives far more than any file has.
struct Endless {
    about: About,
    announced: Option<u64>,
    given: Arc<AtomicU64>,
}

type Given<T> = larder_destination::Result<T>;

#[async_trait]
impl Destination for Endless {
    fn about(&self) -> &About {
        &self.about
    }

    fn list(&self) -> BoxStream<'_, Given<RemoteFile>> {
        stream::empty().boxed()
    }

    async fn get(&self, _: &str) -> Given<Download> {
        let given = Arc::clone(&self.given);
        let pieces = stream::iter(0..1000).map(move |_| {
            given.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::from_static(&[0; 1000]))
        });
        Ok(Download {
            len: self.announced,
            stream: pieces.boxed(),
        })
    }

    async fn put(&self, _: &str, _: Body, _: Existing) -> Given<()> {
        Ok(())
    }

    async fn delete(&self, _: &str) -> Given<()> {
        Ok(())
    }

    async fn create_folder(&self) -> Given<()> {
        Ok(())
    }
}

/// Takes a body piece by piece, and notes what the progress says meanwhile.
struct Piecewise {
    about: About,
    progress: Arc<Progress>,
    seen: Arc<Mutex<Vec<u64>>>,
    fails: bool,
}

#[async_trait]
impl Destination for Piecewise {
    fn about(&self) -> &About {
        &self.about
    }

    fn list(&self) -> BoxStream<'_, Given<RemoteFile>> {
        stream::empty().boxed()
    }

    async fn get(&self, _: &str) -> Given<Download> {
        Err(RemoteError::new(
            ErrorKind::NotFound,
            "test",
            Operation::Get,
            "x",
        ))
    }

    async fn put(&self, _: &str, body: Body, _: Existing) -> Given<()> {
        let mut pieces = body.stream();
        while pieces.next().await.is_some() {
            let now = self.progress.bytes_sent.load(Ordering::Relaxed);
            self.seen.lock().unwrap().push(now);
        }
        match self.fails {
            true => Err(RemoteError::new(
                ErrorKind::Network,
                "test",
                Operation::Put,
                "x",
            )),
            false => Ok(()),
        }
    }

    async fn delete(&self, _: &str) -> Given<()> {
        Ok(())
    }

    async fn create_folder(&self) -> Given<()> {
        Ok(())
    }
}

#[test]
fn the_bytes_of_a_put_count_while_they_go() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for fails in [false, true] {
        let reporter = Arc::new(Reporter::new(Arc::new(Silent), Vec::new()));
        let (progress, seen) = (Arc::clone(&reporter.progress), Arc::default());
        let destination = Piecewise {
            about: About::new("test", "test"),
            progress: Arc::clone(&progress),
            seen: Arc::clone(&seen),
            fails,
        };
        let retry = RetrySettings {
            retries: 0,
            delay: Duration::ZERO,
            exponential: false,
            outage_limit: Duration::ZERO,
        };
        let remote = Remote::new(
            Arc::new(destination),
            runtime.handle().clone(),
            retry,
            false,
            TempFolder::default(),
            reporter,
            Cancel::new(),
        );
        let len: u64 = 1 << 20;
        let data = VolumeData::Memory(Bytes::from(vec![1; 1 << 20]));
        let outcome = remote.put_once("v", &data, Existing::Refuse);
        assert_eq!(outcome.is_err(), fails);
        let seen = seen.lock().unwrap().clone();
        assert!(seen.len() > 2 && seen[0] < len / 2, "{seen:?}");
        assert!(seen.is_sorted() && seen.last() == Some(&len), "{seen:?}");
        let sent = progress.bytes_sent.load(Ordering::Relaxed);
        assert_eq!(sent, if fails { 0 } else { len });
    }
}

struct Silent;
impl crate::Monitor for Silent {
    fn event(&self, _: &crate::Event) {}
}

#[test]
fn a_reply_that_is_too_long_is_left_at_once() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (announced, expected) in [(Some(2500), None), (None, Some(2500))] {
        let given = Arc::new(AtomicU64::new(0));
        let destination = Endless {
            about: About::new("test", "test"),
            announced,
            given: Arc::clone(&given),
        };
        let retry = RetrySettings {
            retries: 0,
            delay: Duration::ZERO,
            exponential: false,
            outage_limit: Duration::ZERO,
        };
        let remote = Remote::new(
            Arc::new(destination),
            runtime.handle().clone(),
            retry,
            false,
            TempFolder::default(),
            Arc::new(Reporter::new(Arc::new(Silent), Vec::new())),
            Cancel::new(),
        );
        let error = remote.get("v", expected).unwrap_err();
        assert!(error.to_string().contains("more than 2500"), "{error}");
        assert_eq!(given.load(Ordering::Relaxed), 3);
    }
}

#[test]
fn a_pause_that_must_be_kept_is_kept_whole_or_not_at_all() {
    let next = |delay: u64, attempt, class| {
        let settings = RetrySettings {
            retries: 2,
            delay: Duration::from_secs(delay),
            exponential: false,
            outage_limit: Duration::ZERO,
        };
        settings.next(attempt, class).map(|wait| wait.as_secs())
    };
    let later = RetryClass::Later(Duration::from_secs(3600));
    assert_eq!(next(10, 1, later), None);
    assert_eq!(next(3599, 1, later), None);
    assert_eq!(next(3600, 1, later), Some(3600));
    assert_eq!(next(7200, 2, later), Some(7200));
    assert_eq!(next(7200, 3, later), None);
    let after = RetryClass::After(Duration::from_secs(60));
    assert_eq!(next(10, 2, after), Some(60));
    assert_eq!(next(10, 3, after), None);
    assert_eq!(next(10, 1, RetryClass::Never), None);
}

#[test]
fn doubling_ends_at_five_minutes_and_never_below_the_users_own_delay() {
    let pauses = |delay: u64, exponential: bool, class: RetryClass| {
        let settings = RetrySettings {
            retries: 5,
            delay: Duration::from_secs(delay),
            exponential,
            outage_limit: Duration::ZERO,
        };
        [1, 2, 5, 6, 11, 40, u32::MAX].map(|n| settings.pause(n, class).as_secs())
    };
    let backoff = RetryClass::Backoff;
    assert_eq!(pauses(10, false, backoff), [10; 7]);
    assert_eq!(pauses(10, true, backoff), [10, 20, 160, 300, 300, 300, 300]);
    assert_eq!(pauses(0, true, backoff), [0; 7]);
    assert_eq!(pauses(900, true, backoff), [900; 7]);
    let wish = RetryClass::After(Duration::from_secs(3600));
    assert_eq!(pauses(10, true, wish), [300; 7]);
    assert_eq!(pauses(900, false, wish), [900; 7]);
}
