//! Lines that break, stand still, and come back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use larder_destination::{Destination, ErrorKind, Existing};
use larder_testkit::{Rng, TcpLine};
use tokio::time::{Instant, timeout};

use crate::{ASKING, OPENSSH, PLAIN, Parts, Test, names, put, store, variable};

/// A store behind a line, with its folder.
async fn behind(
    url: &str,
    query: &str,
) -> std::result::Result<(TcpLine, Arc<dyn Destination>), Box<dyn std::error::Error>> {
    let mut parts = Parts::fresh(url).ok_or("a URL")?;
    parts.query += query;
    let target = parts.port().ok_or("a port")?;
    let line = TcpLine::to(target).await?;
    let (old, new) = (format!(":{target}"), format!(":{}", line.port()));
    parts.rest = parts.rest.replacen(&old, &new, 1);
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
            line.cut_after(after);
            let error = put(store.as_ref(), "b", content.clone(), Existing::Refuse)
                .await
                .err()
                .ok_or("it was stored")?;
            assert_eq!(error.kind(), &ErrorKind::Network, "{error:?}");
            assert!(error.is_unanswered(), "{error:?}");
            assert_eq!(names(store.as_ref()).await?, ["a"], "{round}");
            line.cut_after(after);
            let got = async { store.get("a").await?.bytes().await }.await;
            let error = got.err().ok_or("it was read")?;
            assert_eq!(error.kind(), &ErrorKind::Network, "{error:?}");
            // An old file stays whole when the new one does not arrive.
            line.cut_after(after);
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
            line.cut_after(u64::MAX);
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
    let (line, store) = behind(&url, "&ssh-operation-timeout=2s").await?;
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
    let (line, store) = behind(
        &url,
        "&ssh-keepalive=1s&short-timeout=10m&read-write-timeout=10m",
    )
    .await?;
    let content = Rng::new(4).bytes(8 << 20);
    put(store.as_ref(), "a", content, Existing::Refuse).await?;
    let mut download = store.get("a").await?;
    download.stream.try_next().await?;
    line.stop();
    // Nothing but the keep-alive can end this wait.
    let got = timeout(Duration::from_secs(20), download.bytes()).await?;
    let error = got.err().ok_or("it was read")?;
    assert!(error.is_unanswered(), "{error:?}");
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
        assert_eq!(line.connections(), 1, "{variable_name}");
    }
    Ok(())
}

/// Four transfers on a line of 1 Mbit/s: the answers come late, but the line is never silent.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_line_is_not_given_up() -> Test {
    let Some(url) = variable(OPENSSH) else {
        return Ok(());
    };
    let query = "&short-timeout=2s&list-timeout=2s&read-write-timeout=2s";
    let (line, store) = behind(&url, query).await?;
    names(store.as_ref()).await?;
    line.slow_down(128 * 1024);
    let begun = Instant::now();
    let work = (0..4_u8).map(|number| {
        let store = Arc::clone(&store);
        async move {
            let (name, content) = (format!("f{number}"), Rng::new(5).bytes(320 * 1024));
            put(store.as_ref(), &name, content.clone(), Existing::Refuse).await?;
            Ok::<_, larder_destination::Error>((name, content))
        }
    });
    let stored = futures_util::future::try_join_all(work).await?;
    assert!(
        begun.elapsed() > Duration::from_secs(8),
        "the line was not slow"
    );
    let work = stored.into_iter().map(|(name, content)| {
        let store = Arc::clone(&store);
        async move {
            assert_eq!(store.get(&name).await?.bytes().await?, content);
            Ok::<_, larder_destination::Error>(())
        }
    });
    futures_util::future::try_join_all(work).await?;
    assert_eq!(line.connections(), 1);
    Ok(())
}
