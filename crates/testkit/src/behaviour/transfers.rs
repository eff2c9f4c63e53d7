//! Content: whole, in order, at the same time, and never in part.

use std::sync::Arc;

use futures_util::TryStreamExt;
use larder_destination::wrap::{RateLimit, Throttle};
use larder_destination::{Body, ErrorKind, Existing};

use super::cases::misannounced;
use super::*;
use crate::Rng;

pub(super) const CASES: &[Case] = &[
    case!("returns what was put, from memory", round_trip_memory),
    case!("returns what was put, from a file", round_trip_file),
    case!("replaces a file", replaces),
    case!("takes many puts and gets at once", concurrent),
    case!(
        "keeps one of several puts of the same name whole",
        concurrent_same_name
    ),
    case!("survives a get that is given up", dropped_get),
    case!("survives a listing that is given up", dropped_list),
    case!("stores nothing of a body that breaks off", short_body),
    case!("shows a put only when it is whole", visible_whole),
    case!(
        "stores a put that is given up whole or not at all",
        cancelled_put
    ),
    case!("lists many files exactly once", many_files),
];

/// Just above the size from which providers divide uploads.
const LARGE: usize = 5 * 1024 * 1024 + 1;

async fn round_trip_memory(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    for len in [0, 1, LARGE] {
        let content = Rng::new(len as u64).bytes(len);
        put(destination.as_ref(), "a", &content).await?;
        expect_content(destination.as_ref(), "a", &content).await?;
    }
    Ok(())
}

async fn round_trip_file(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    for len in [0, 1, LARGE] {
        let content = Rng::new(len as u64).bytes(len);
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), &content)?;
        destination
            .put(
                "a",
                Body::from_file(file.path().to_path_buf(), len as u64),
                Existing::Replace,
            )
            .await?;
        expect_content(destination.as_ref(), "a", &content).await?;
        check!(
            std::fs::read(file.path())? == content,
            "the file that was sent has changed"
        );
    }
    Ok(())
}

async fn replaces(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    for content in ["short", "a longer content than before", "", "end"] {
        put(destination.as_ref(), "a", content.as_bytes()).await?;
        expect_content(destination.as_ref(), "a", content.as_bytes()).await?;
        expect_names(destination.as_ref(), &["a"]).await?;
    }
    Ok(())
}

async fn concurrent(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    let files: Vec<(String, Vec<u8>)> = (0..16)
        .map(|number| (format!("file {number}"), Rng::new(number).bytes(200_000)))
        .collect();
    let puts = files
        .iter()
        .map(|(name, content)| put(destination.as_ref(), name, content));
    futures_util::future::try_join_all(puts).await?;
    let gets = files
        .iter()
        .map(|(name, content)| expect_content(destination.as_ref(), name, content));
    futures_util::future::try_join_all(gets).await?;
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    expect_names(destination.as_ref(), &names).await
}

async fn concurrent_same_name(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    let contents: Vec<Vec<u8>> = (1..=6_u8)
        .map(|number| vec![number; 300_000 + usize::from(number)])
        .collect();
    let puts = contents
        .iter()
        .map(|content| put(destination.as_ref(), "a", content));
    let mut stored = 0;
    for outcome in futures_util::future::join_all(puts).await {
        match outcome {
            Ok(()) => stored += 1,
            // A server that removes the old file before it moves the new one may trip over itself; it then has to say so.
            Err(error) if destination.about().abilities.atomic_put => return Err(error.into()),
            Err(_) => {}
        }
    }
    check!(stored > 0, "none of the puts succeeded");
    let found = destination.get("a").await?.bytes().await?;
    check!(
        contents.contains(&found),
        "the file of {} bytes is none of those that were put",
        found.len()
    );
    if destination.about().abilities.unique_names {
        return expect_names(destination.as_ref(), &["a"]).await;
    }
    // Where one name may stand for several files, each of them is whole.
    for file in listing(destination.as_ref(), |files| !files.is_empty()).await? {
        let is_whole = |len: u64| contents.iter().any(|content| content.len() as u64 == len);
        check!(
            file.name == "a" && file.size.is_none_or(is_whole),
            "the listing shows {} with {:?} bytes",
            file.name,
            file.size
        );
    }
    Ok(())
}

async fn dropped_list(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    for number in 0..20 {
        put(destination.as_ref(), &format!("file {number}"), b"x").await?;
    }
    for _ in 0..3 {
        let first = destination.list().try_next().await?;
        check!(
            first.is_some() || !destination.about().abilities.consistent_list,
            "the listing is empty"
        );
    }
    let files = listing(destination.as_ref(), |files| files.len() == 20).await?;
    check!(
        files.len() == 20,
        "the listing shows {} of 20 files",
        files.len()
    );
    Ok(())
}

async fn dropped_get(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    let content = Rng::new(1).bytes(LARGE);
    put(destination.as_ref(), "a", &content).await?;
    for _ in 0..3 {
        let mut download = destination.get("a").await?;
        check!(
            download.stream.try_next().await?.is_some(),
            "the stream is empty"
        );
    }
    expect_content(destination.as_ref(), "a", &content).await
}

async fn short_body(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    put(destination.as_ref(), "old", b"old").await?;
    let content = Rng::new(2).bytes(LARGE);
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), &content)?;
    let len = content.len() as u64;
    let bodies = [
        (
            "a body without any byte",
            Body::from_bytes(content.clone()).cut_after(0),
        ),
        (
            "a body that breaks off in the middle",
            Body::from_bytes(content.clone()).cut_after(len / 2),
        ),
        (
            "a body that breaks off at its end",
            Body::from_bytes(content.clone()).cut_after(len),
        ),
        ("a file that is too short", misannounced(&file, len + 1)),
        ("a file that is too long", misannounced(&file, len - 1)),
    ];
    let is_atomic = destination.about().abilities.atomic_put;
    for (what, body) in bodies {
        for (name, existing) in [
            ("old", Existing::Replace),
            ("new", Existing::Replace),
            ("new", Existing::Refuse),
        ] {
            if !is_atomic && name == "old" {
                continue;
            }
            let result = destination.put(name, body.clone(), existing).await;
            check!(result.is_err(), "put of {what} succeeded");
            if !is_atomic {
                expect_torn(destination.as_ref(), "new", len).await?;
                continue;
            }
            expect_names(destination.as_ref(), &["old"])
                .await
                .map_err(|stop| format!("after {what}: {stop}"))?;
            expect_content(destination.as_ref(), "old", b"old").await?;
            expect_error("get", destination.get("new").await, &[ErrorKind::NotFound])?;
        }
    }
    expect_content(destination.as_ref(), "old", b"old").await
}

/// Where a put is not atomic, what a broken one leaves is shorter than announced, so that its size gives it away.
/// Removes it.
async fn expect_torn(destination: &dyn Destination, name: &str, len: u64) -> Outcome {
    let files = listing(destination, |_| true).await?;
    if let Some(file) = files.iter().find(|file| file.name == name) {
        check!(
            file.size.is_some_and(|size| size < len),
            "a broken put left {:?} of {len} bytes",
            file.size
        );
        destination.delete(name).await?;
    }
    Ok(())
}

async fn visible_whole(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    if !destination.about().abilities.atomic_put {
        return Err(Stop::LeftOut(
            "it does not promise that a put appears whole",
        ));
    }
    let content = Rng::new(3).bytes(600_000);
    // Slow enough that several listings fall into the put.
    let slow = slowed(&destination, 400_000);
    let mut sending =
        std::pin::pin!(slow.put("a", Body::from_bytes(content.clone()), Existing::Replace));
    loop {
        tokio::select! {
            sent = &mut sending => break sent?,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        let files: Vec<RemoteFile> = destination.list().try_collect().await?;
        for file in files {
            check!(
                file.name == "a",
                "during a put the listing shows {}",
                file.name
            );
            let is_whole = file.size.is_none_or(|size| size == content.len() as u64);
            check!(
                is_whole,
                "during a put the listing shows {:?} bytes",
                file.size
            );
        }
        match destination.get("a").await {
            Ok(download) => {
                let found = download.bytes().await?;
                check!(
                    found == content,
                    "during a put {} bytes could be read",
                    found.len()
                );
            }
            Err(error) => {
                check!(
                    *error.kind() == ErrorKind::NotFound,
                    "get failed with {:?}: {error}",
                    error.kind()
                );
            }
        }
    }
    expect_content(destination.as_ref(), "a", &content).await
}

async fn cancelled_put(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    let content = Rng::new(4).bytes(LARGE);
    for milliseconds in [0, 5, 50] {
        let slow = slowed(&destination, 1_000_000);
        let sending = slow.put("a", Body::from_bytes(content.clone()), Existing::Replace);
        let given_up = tokio::time::timeout(Duration::from_millis(milliseconds), sending).await;
        check!(given_up.is_err(), "the put was too fast to be given up");
        // Whatever still runs in the background gets the time to end.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let files: Vec<RemoteFile> = destination.list().try_collect().await?;
        for file in files {
            check!(
                file.name == "a",
                "a put that was given up left {}",
                file.name
            );
            if destination.about().abilities.atomic_put {
                expect_content(destination.as_ref(), "a", &content).await?;
            } else {
                expect_torn(destination.as_ref(), "a", content.len() as u64 + 1).await?;
            }
        }
    }
    put(destination.as_ref(), "a", b"after").await?;
    expect_content(destination.as_ref(), "a", b"after").await
}

fn slowed(destination: &Arc<dyn Destination>, bytes_per_second: u64) -> Throttle {
    let none = Arc::new(RateLimit::new(0));
    Throttle::new(
        Arc::clone(destination),
        Arc::new(RateLimit::new(bytes_per_second)),
        none,
    )
}

async fn many_files(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    let expected: Vec<String> = (0..MANY)
        .map(|number| format!("file-{number:05}.zip"))
        .collect();
    for some in expected.chunks(AT_ONCE) {
        let puts = some
            .iter()
            .map(|name| put(destination.as_ref(), name, name.as_bytes()));
        futures_util::future::try_join_all(puts).await?;
    }
    let files = listing(destination.as_ref(), |files| files.len() == MANY).await?;
    let found = files.iter().map(|file| &file.name);
    check!(
        found.eq(expected.iter()),
        "the listing shows {} files instead of {MANY}",
        files.len()
    );
    for some in expected.chunks(AT_ONCE) {
        let deletes = some.iter().map(|name| destination.delete(name));
        futures_util::future::try_join_all(deletes).await?;
    }
    expect_names(destination.as_ref(), &[]).await
}

/// More than fit into one page of any known service.
const MANY: usize = 1500;
