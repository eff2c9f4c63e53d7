//! `destination test`: does everything once that a backup does, with files of its own, and says what came of it.

use std::time::Instant;

use futures_util::StreamExt as _;
use larder_engine::{Random as _, SystemRandom};
use larder_options::SizeUnit;
use larder_options::value::{format_size, parse_size};
use larder_registry::destination::{
    self as remote, Body, Destination, ErrorKind, Existing, RemoteFile,
};

use super::failed;
use crate::failure::Failure;
use crate::terminal::{note, print};

/// Sizes of the files; the last is that of the largest, which can be chosen.
const SIZES: &[u64] = &[0, 1, 1000, 100_000, 1 << 20];
/// The largest file unless another is named: above what services take in one piece.
const LARGEST: u64 = 10 << 20;

/// One file of the test.
struct File {
    name: String,
    content: Vec<u8>,
}

/// Tests a destination with files up to `largest`; whatever happens, they are removed again.
pub async fn run(store: &dyn Destination, largest: &str) -> Result<(), Failure> {
    let largest = match largest {
        "" => LARGEST,
        text => parse_size(text, SizeUnit::Bytes)
            .map_err(|error| Failure::usage(format!("the size of the largest file: {error}")))?,
    };
    tell(store);
    let created = connect(store).await?;
    let files = make_files(largest)?;
    let tested = test(store, &files).await;
    let mut left = Vec::new();
    for file in &files {
        match store.delete(&file.name).await {
            Err(error) if *error.kind() != ErrorKind::NotFound => left.push(file.name.as_str()),
            _ => {}
        }
    }
    if !left.is_empty() {
        note(&format!(
            "Warning: the test could not remove {}",
            left.join(", ")
        ));
    }
    if created {
        note("The folder did not exist and was created; it stays.");
    }
    tested?;
    expect_listing(store, &files, 0).await?;
    print(&format!("{:<28}done", "remove the files"));
    print("The destination works.");
    Ok(())
}

/// Says what the destination promises.
fn tell(store: &dyn Destination) {
    let about = store.about();
    print(&format!("Destination: {}", about.display));
    let abilities = about.abilities;
    for (sentence, holds) in [
        ("a file appears whole or not at all", abilities.atomic_put),
        ("two programs cannot take one name", abilities.exclusive_put),
        ("a listing shows changes at once", abilities.consistent_list),
        ("a name stands for one file", abilities.unique_names),
        (
            "the service checks what it stores",
            abilities.checksummed_put,
        ),
    ] {
        print(&format!(
            "  {sentence:<38}{}",
            if holds { "yes" } else { "not promised" }
        ));
    }
}

/// Lists the folder, and creates it when it is missing; true when it was.
async fn connect(store: &dyn Destination) -> Result<bool, Failure> {
    let created = match remote::test(store).await {
        Err(error) if *error.kind() == ErrorKind::FolderMissing => {
            store.create_folder().await.map_err(failed)?;
            remote::test(store).await.map_err(failed)?;
            true
        }
        tested => tested.map(|()| false).map_err(failed)?,
    };
    print(&format!("{:<28}done", "connect and list"));
    Ok(created)
}

fn make_files(largest: u64) -> Result<Vec<File>, Failure> {
    let random = |bytes: &mut [u8]| {
        SystemRandom
            .fill(bytes)
            .map_err(|error| Failure::general(format!("the random number source failed: {error}")))
    };
    let mut id = [0_u8; 6];
    random(&mut id)?;
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let sizes = SIZES
        .iter()
        .copied()
        .filter(|size| *size < largest)
        .chain([largest]);
    sizes
        .enumerate()
        .map(|(number, size)| {
            let mut content = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
            random(&mut content)?;
            Ok(File {
                name: format!("larder-test-{id}-{number}"),
                content,
            })
        })
        .collect()
}

async fn test(store: &dyn Destination, files: &[File]) -> Result<(), Failure> {
    let begun = Instant::now();
    for file in files {
        let body = Body::from_bytes(file.content.clone());
        store
            .put(&file.name, body, Existing::Refuse)
            .await
            .map_err(failed)?;
    }
    print(&format!(
        "{:<28}{}",
        format!("store {} files", files.len()),
        speed(files, begun)
    ));
    expect_listing(store, files, files.len()).await?;
    print(&format!("{:<28}done", "list them with their sizes"));
    let begun = Instant::now();
    for file in files {
        let content = store
            .get(&file.name)
            .await
            .map_err(failed)?
            .bytes()
            .await
            .map_err(failed)?;
        if content != file.content {
            return Err(wrong(format!("{} came back with other content", file.name)));
        }
    }
    print(&format!(
        "{:<28}{}",
        "fetch and compare them",
        speed(files, begun)
    ));
    if let Some(file) = files.first() {
        match store
            .put(&file.name, Body::from_bytes("x"), Existing::Refuse)
            .await
        {
            Err(error) if *error.kind() == ErrorKind::Exists => {}
            Err(error) => return Err(failed(error)),
            Ok(()) => {
                return Err(wrong(format!(
                    "{} was replaced although it existed",
                    file.name
                )));
            }
        }
        print(&format!("{:<28}done", "refuse to replace a file"));
    }
    Ok(())
}

/// Checks that the listing shows so many of the files, each with its size; asks again where listings may be late.
async fn expect_listing(
    store: &dyn Destination,
    files: &[File],
    expected: usize,
) -> Result<(), Failure> {
    let attempts = if store.about().abilities.consistent_list {
        1
    } else {
        10
    };
    let mut shown = Vec::new();
    for attempt in 0..attempts {
        if attempt > 0 {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        shown = listing(store).await?;
        shown.retain(|found| files.iter().any(|file| file.name == found.name));
        if shown.len() == expected {
            break;
        }
    }
    if shown.len() != expected {
        return Err(wrong(format!(
            "the listing shows {} files of {expected}",
            shown.len()
        )));
    }
    for found in shown {
        let file = files.iter().find(|file| file.name == found.name);
        let len = file.map(|file| file.content.len() as u64);
        if found.size.is_some() && found.size != len {
            return Err(wrong(format!(
                "the listing shows {} with another size",
                found.name
            )));
        }
    }
    Ok(())
}

async fn listing(store: &dyn Destination) -> Result<Vec<RemoteFile>, Failure> {
    let mut files = Vec::new();
    let mut stream = store.list();
    while let Some(file) = stream.next().await {
        files.push(file.map_err(failed)?);
    }
    Ok(files)
}

fn wrong(message: String) -> Failure {
    Failure::known(
        "DestinationTestFailed",
        message,
        "do not store backups there before this is mended",
    )
}

fn speed(files: &[File], begun: Instant) -> String {
    let bytes: usize = files.iter().map(|file| file.content.len()).sum();
    let seconds = begun.elapsed().as_secs_f64().max(0.001);
    let rate = bytes as f64 / seconds;
    format!(
        "{} in {seconds:.1} s, {}/s",
        format_size(bytes as u64),
        format_size(rate as u64)
    )
}
