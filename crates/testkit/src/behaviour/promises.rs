//! What becomes of a file that is there already: the promise that no version is ever replaced by another.

use larder_destination::{Body, ErrorKind, Existing};

use super::*;

pub(super) const CASES: &[Case] = &[
    case!("stores a new name that must be new", stores_new),
    case!("refuses a name that is taken", refuses_taken),
    case!("gives a name that must be new to one of many", one_of_many),
    case!("takes a name again after it was deleted", takes_again),
    case!("keeps a file whose replacement breaks off", keeps_replaced),
    case!("survives deletes and folders that are given up", given_up),
];

async fn put_new(destination: &dyn Destination, name: &str, content: &[u8]) -> Result<(), Error> {
    let body = Body::from_bytes(content.to_vec());
    destination.put(name, body, Existing::Refuse).await
}

async fn stores_new(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    let large = crate::Rng::new(5).bytes(5 * 1024 * 1024 + 1);
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), &large)?;
    let body = Body::from_file(file.path().to_path_buf(), large.len() as u64);
    put_new(destination.as_ref(), "empty", b"").await?;
    put_new(destination.as_ref(), "small", b"x").await?;
    destination.put("large", body, Existing::Refuse).await?;
    expect_names(destination.as_ref(), &["empty", "large", "small"]).await?;
    expect_content(destination.as_ref(), "small", b"x").await?;
    expect_content(destination.as_ref(), "large", &large).await
}

/// The other file stays as it is, whatever its content, and however large the new one is.
async fn refuses_taken(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    let large = crate::Rng::new(6).bytes(5 * 1024 * 1024 + 1);
    for (name, old) in [("a", &b"old"[..]), ("empty", b""), ("large", &large)] {
        put_new(destination.as_ref(), name, old).await?;
        for new in [&b"new"[..], b"", &large] {
            let put = put_new(destination.as_ref(), name, new).await;
            expect_error(&format!("put of {name}"), put, &[ErrorKind::Exists])?;
            expect_content(destination.as_ref(), name, old).await?;
        }
    }
    expect_names(destination.as_ref(), &["a", "empty", "large"]).await
}

/// Two machines that back up at the same moment: with `exclusive_put` exactly one has the name.
async fn one_of_many(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    let abilities = destination.about().abilities;
    for round in 0..3 {
        let name = format!("name-{round}");
        let contents: Vec<Vec<u8>> = (1..=4_u8)
            .map(|n| vec![n; 200_000 + usize::from(n)])
            .collect();
        let puts = contents
            .iter()
            .map(|content| put_new(destination.as_ref(), &name, content));
        let mut stored = Vec::new();
        for (outcome, content) in futures_util::future::join_all(puts)
            .await
            .into_iter()
            .zip(&contents)
        {
            match outcome {
                Ok(()) => stored.push(content),
                Err(error) => expect_error("put", Err::<(), _>(error), &[ErrorKind::Exists])?,
            }
        }
        check!(
            stored.len() == 1 || (stored.len() > 1 && !abilities.exclusive_put),
            "{} of {} puts had the name",
            stored.len(),
            contents.len()
        );
        let found = destination.get(&name).await?.bytes().await?;
        check!(
            stored.contains(&&found),
            "the file is none that was said to be stored"
        );
        if abilities.exclusive_put && abilities.unique_names {
            let files = listing(destination.as_ref(), |files| files.len() == round + 1).await?;
            check!(
                files.len() == round + 1,
                "the listing shows {} files",
                files.len()
            );
        }
    }
    Ok(())
}

async fn takes_again(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    for content in [&b"first"[..], b"second"] {
        put_new(destination.as_ref(), "a", content).await?;
        expect_content(destination.as_ref(), "a", content).await?;
        destination.delete("a").await?;
        expect_error("get", destination.get("a").await, &[ErrorKind::NotFound])?;
    }
    expect_names(destination.as_ref(), &[]).await
}

async fn keeps_replaced(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    if !destination.about().abilities.atomic_put {
        return Err(Stop::LeftOut(
            "it does not promise that a put appears whole",
        ));
    }
    let content = crate::Rng::new(7).bytes(6 * 1024 * 1024);
    put(destination.as_ref(), "a", b"old").await?;
    let body = Body::from_bytes(content).cut_after(5 * 1024 * 1024 + 5);
    let broken = destination.put("a", body, Existing::Replace).await;
    check!(broken.is_err(), "put of a body that breaks off succeeded");
    expect_content(destination.as_ref(), "a", b"old").await
}

/// What is given up was done, or not; it can be done again, and nothing else is touched.
async fn given_up(bench: Bench) -> Outcome {
    let destination = bench.empty().await?;
    put(destination.as_ref(), "kept", b"kept").await?;
    for pause in GIVEN_UP {
        put(destination.as_ref(), "a", b"a").await?;
        let _ = tokio::time::timeout(pause, destination.delete("a")).await;
        // Whatever still runs in the background gets the time to end.
        tokio::time::sleep(Duration::from_millis(300)).await;
        match destination.get("a").await {
            Ok(download) => {
                let found = download.bytes().await?;
                check!(found == b"a", "{} bytes of the file are left", found.len());
                destination.delete("a").await?;
            }
            Err(error) => expect_error("get", Err::<(), _>(error), &[ErrorKind::NotFound])?,
        }
        expect_names(destination.as_ref(), &["kept"]).await?;
    }
    expect_content(destination.as_ref(), "kept", b"kept").await?;
    let missing = bench.missing().await?;
    for pause in GIVEN_UP {
        let _ = tokio::time::timeout(pause, missing.create_folder()).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    missing.create_folder().await?;
    expect_names(missing.as_ref(), &[]).await
}

/// When a call is given up: at once, or while it is at work.
const GIVEN_UP: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(5),
];
