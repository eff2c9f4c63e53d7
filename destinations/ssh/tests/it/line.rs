//! Lines that break, stand still, and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt;
use larder_destination::{Destination, ErrorKind, Existing};
use larder_testkit::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use crate::{ASKING, OPENSSH, PLAIN, Parts, Test, names, put, store, variable};

/// Stands between this program and the server.
#[derive(Clone, Default)]
struct Line {
    /// Ends all connections when it changes.
    cuts: Arc<AtomicU64>,
    /// So many of the first connections pass nothing on.
    still: Arc<AtomicU64>,
    /// Cut once so many more bytes have passed; counted down.
    left: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
}

impl Line {
    /// A line to the server of the URL, and the URL through it.
    async fn to(parts: &mut Parts) -> std::io::Result<Self> {
        let target = parts.port().unwrap_or_default();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        parts.rest = parts
            .rest
            .replacen(&format!(":{target}"), &format!(":{port}"), 1);
        let line = Self::default();
        line.left.store(u64::MAX, Ordering::SeqCst);
        let this = line.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(("127.0.0.1", target)).await else {
                    return;
                };
                let number = this.connections.fetch_add(1, Ordering::SeqCst);
                let (near, far) = (near.into_split(), far.into_split());
                tokio::spawn(this.clone().pass(number, near.0, far.1));
                tokio::spawn(this.clone().pass(number, far.0, near.1));
            }
        });
        Ok(line)
    }

    async fn pass(
        self,
        number: u64,
        mut from: tokio::net::tcp::OwnedReadHalf,
        mut to: tokio::net::tcp::OwnedWriteHalf,
    ) {
        let cuts = self.cuts.load(Ordering::SeqCst);
        let mut buffer = vec![0; 16 * 1024];
        loop {
            if self.cuts.load(Ordering::SeqCst) != cuts {
                return;
            }
            let read = match timeout(Duration::from_millis(5), from.read(&mut buffer)).await {
                Err(_) => continue,
                Ok(Ok(0) | Err(_)) => return,
                Ok(Ok(read)) => read,
            };
            while number < self.still.load(Ordering::SeqCst)
                && self.cuts.load(Ordering::SeqCst) == cuts
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let left = self.left.load(Ordering::SeqCst).saturating_sub(read as u64);
            self.left.store(left, Ordering::SeqCst);
            if left == 0 {
                self.left.store(u64::MAX, Ordering::SeqCst);
                self.cut();
                return;
            }
            if to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }

    /// The connections that there are stand still.
    fn stop(&self) {
        let number = self.connections.load(Ordering::SeqCst);
        self.still.store(number, Ordering::SeqCst);
    }

    fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::SeqCst);
    }
}

/// A store behind a line, with its folder.
async fn behind(
    url: &str,
    query: &str,
) -> std::result::Result<(Line, Arc<dyn Destination>), Box<dyn std::error::Error>> {
    let mut parts = Parts::fresh(url).ok_or("a URL")?;
    parts.query += query;
    let line = Line::to(&mut parts).await?;
    let store = store(&parts.usual())?;
    store.create_folder().await?;
    Ok((line, store))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_made_again() -> Test {
    for variable_name in [OPENSSH, PLAIN, ASKING] {
        let Some(url) = variable(variable_name) else {
            continue;
        };
        let (line, store) = behind(&url, "").await?;
        put(store.as_ref(), "a", "a", Existing::Refuse).await?;
        for _ in 0..3 {
            line.cut();
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(names(store.as_ref()).await?, ["a"]);
            line.cut();
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(store.get("a").await?.bytes().await?, b"a");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_is_cut_fails_and_leaves_nothing_that_looks_whole() -> Test {
    for variable_name in [OPENSSH, PLAIN] {
        let Some(url) = variable(variable_name) else {
            continue;
        };
        let (line, store) = behind(&url, "").await?;
        let content = Rng::new(3).bytes(4 << 20);
        put(store.as_ref(), "a", content.clone(), Existing::Refuse).await?;
        for (round, after) in [1_u64, 100_000, 2 << 20, 4 << 20].into_iter().enumerate() {
            line.left.store(after, Ordering::SeqCst);
            let error = put(store.as_ref(), "b", content.clone(), Existing::Refuse)
                .await
                .err()
                .ok_or("it was stored")?;
            assert_eq!(error.kind(), &ErrorKind::Network, "{error:?}");
            assert!(error.is_unanswered(), "{error:?}");
            assert_eq!(names(store.as_ref()).await?, ["a"], "{round}");
            line.left.store(after, Ordering::SeqCst);
            let got = async { store.get("a").await?.bytes().await }.await;
            let error = got.err().ok_or("it was read")?;
            assert_eq!(error.kind(), &ErrorKind::Network, "{error:?}");
            // An old file stays whole when the new one does not arrive.
            line.left.store(after, Ordering::SeqCst);
            assert!(
                put(
                    store.as_ref(),
                    "a",
                    "new".repeat(2 << 20),
                    Existing::Replace
                )
                .await
                .is_err()
            );
            line.left.store(u64::MAX, Ordering::SeqCst);
            assert_eq!(store.get("a").await?.bytes().await?, content);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_is_given_up() -> Test {
    let Some(url) = variable(OPENSSH) else {
        return Ok(());
    };
    let (line, store) = behind(&url, "&ssh-operation-timeout=1s").await?;
    put(store.as_ref(), "a", vec![1; 3 << 20], Existing::Refuse).await?;
    let mut download = store.get("a").await?;
    download.stream.try_next().await?;
    line.stop();
    let begun = Instant::now();
    let error = download.bytes().await.err().ok_or("it was read")?;
    assert!(error.is_unanswered(), "{error:?}");
    // Another connection is made at once, although the old one still stands.
    assert_eq!(names(store.as_ref()).await?, ["a"]);
    assert!(begun.elapsed() < Duration::from_secs(20));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_noticed_by_keepalive() -> Test {
    let Some(url) = variable(OPENSSH) else {
        return Ok(());
    };
    let (line, store) = behind(&url, "&ssh-keepalive=1s&short-timeout=10m").await?;
    names(store.as_ref()).await?;
    line.stop();
    // Nothing but the keep-alive can end this wait.
    let listed = timeout(Duration::from_secs(20), names(store.as_ref())).await?;
    assert!(listed.is_err_and(|error| error.is_unanswered()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_operations_share_one_connection() -> Test {
    for variable_name in [OPENSSH, ASKING] {
        let Some(url) = variable(variable_name) else {
            continue;
        };
        let (line, store) = behind(&url, "").await?;
        let work = (0..12_u8).map(|number| {
            let store = Arc::clone(&store);
            async move {
                let (name, content) = (format!("f{number}"), vec![number; 500_000]);
                put(store.as_ref(), &name, content.clone(), Existing::Refuse).await?;
                assert_eq!(store.get(&name).await?.bytes().await?, content);
                names(store.as_ref()).await
            }
        });
        futures_util::future::try_join_all(work).await?;
        assert_eq!(names(store.as_ref()).await?.len(), 12);
        assert_eq!(
            line.connections.load(Ordering::SeqCst),
            1,
            "{variable_name}"
        );
    }
    Ok(())
}
