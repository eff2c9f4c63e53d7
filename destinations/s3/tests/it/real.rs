//! Against a real server. Each test makes its own bucket and leaves it behind; the server's data is thrown away as a
//! whole.

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use larder_destination::{Body, Destination, ErrorKind, Existing, Result};

use crate::{listing, names, open};

type Test = std::result::Result<(), Box<dyn std::error::Error>>;

/// The URL of the server for a bucket of its own; `None`, with a word about it, when there is no server.
#[expect(
    clippy::print_stderr,
    clippy::panic,
    reason = "a test says what it leaves out, or fails for it"
)]
fn server(test: &str) -> Option<(String, String)> {
    match std::env::var("LARDER_TEST_S3_URL") {
        Ok(url) => {
            let query = url
                .split_once('?')
                .map_or("", |(_, query)| query)
                .to_owned();
            let unique = RandomState::new().hash_one(test);
            Some((format!("it-{unique:016x}"), query))
        }
        Err(_) if std::env::var("LARDER_TEST_REQUIRE_ALL").is_ok_and(|value| value == "1") => {
            panic!("LARDER_TEST_S3_URL is not set, but no test may be left out")
        }
        Err(_) => {
            eprintln!(
                "left out: {test} (LARDER_TEST_S3_URL is not set, see scripts/test-servers/seaweedfs.sh)"
            );
            None
        }
    }
}

/// A fresh bucket with a prefix, when there is a server.
async fn fresh(test: &str) -> Result<Option<Fresh>> {
    let Some((bucket, query)) = server(test) else {
        return Ok(None);
    };
    let fresh = Fresh { bucket, query };
    fresh.open("pre fix/ü", "")?.create_folder().await?;
    Ok(Some(fresh))
}

struct Fresh {
    bucket: String,
    query: String,
}

impl Fresh {
    fn open(&self, prefix: &str, options: &str) -> Result<Arc<dyn Destination>> {
        open(&format!(
            "s3://{}/{prefix}?{}&{options}",
            self.bucket, self.query
        ))
    }
}

fn kind<T>(outcome: Result<T>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind().clone())
}

#[tokio::test]
async fn files_come_back_as_they_went() -> Test {
    let Some(fresh) = fresh("files_come_back_as_they_went").await? else {
        return Ok(());
    };
    let store = fresh.open("pre%20fix/%C3%BC", "")?;
    larder_destination::test(store.as_ref()).await?;
    assert!(listing(store.as_ref()).await?.is_empty());
    let mut file = tempfile::NamedTempFile::new()?;
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    file.write_all(&content)?;
    store
        .put(
            "volume.zip.aes",
            Body::from_file(file.path().to_owned(), content.len() as u64),
            Existing::Replace,
        )
        .await?;
    let download = store.get("volume.zip.aes").await?;
    assert_eq!(download.len, Some(content.len() as u64));
    assert!(download.bytes().await? == content);
    let files = listing(store.as_ref()).await?;
    assert_eq!(files.len(), 1);
    assert_eq!(
        (files[0].name.as_str(), files[0].size),
        ("volume.zip.aes", Some(content.len() as u64))
    );
    assert!(files[0].modified.is_some_and(|time| time > 1_700_000_000) && !files[0].is_folder);

    store
        .put("volume.zip.aes", Body::from_bytes(""), Existing::Replace)
        .await?;
    assert_eq!(store.get("volume.zip.aes").await?.bytes().await?, b"");
    store.delete("volume.zip.aes").await?;
    assert!(listing(store.as_ref()).await?.is_empty());
    assert_eq!(
        kind(store.get("volume.zip.aes").await),
        Some(ErrorKind::NotFound)
    );
    let again = kind(store.delete("volume.zip.aes").await);
    assert!(
        again.is_none() || again == Some(ErrorKind::NotFound),
        "{again:?}"
    );
    store.create_folder().await?;
    Ok(())
}

#[tokio::test]
async fn names_with_special_characters() -> Test {
    let Some(fresh) = fresh("names_with_special_characters").await? else {
        return Ok(());
    };
    let store = fresh.open("a%2Bb%20%26%20c", "")?;
    // No backslash: SeaweedFS takes it for a separator.
    let wanted: &[&str] = &[
        "a b.zip",
        "a+b",
        "c%d",
        "c%20d",
        "e#f",
        "g&h=i",
        "j~k",
        "l!m(n)'o'*",
        "é€𝄞",
        "q;r:s@t,u",
        "v$w^x`y|z",
        "<tag>&amp;\"q\"",
        "[b]{c}",
        "..x",
        ".hidden",
        "x..",
        "ends with space ",
        "question?mark",
    ];
    for name in wanted {
        store
            .put(
                name,
                Body::from_bytes(name.as_bytes().to_vec()),
                Existing::Replace,
            )
            .await?;
    }
    let mut sorted: Vec<_> = wanted.iter().map(ToString::to_string).collect();
    sorted.sort();
    assert_eq!(names(store.as_ref()).await?, sorted);
    let version_1 = fresh.open("a%2Bb%20%26%20c", "s3-list-api-version=v1")?;
    assert_eq!(names(version_1.as_ref()).await?, sorted);
    for name in wanted {
        assert_eq!(
            store.get(name).await?.bytes().await?,
            name.as_bytes(),
            "{name}"
        );
        store
            .extra()
            .rename
            .expect("it renames")
            .rename(name, &format!("{name}2"))
            .await?;
        assert_eq!(
            kind(store.get(name).await),
            Some(ErrorKind::NotFound),
            "{name}"
        );
        store.delete(&format!("{name}2")).await?;
    }
    assert!(listing(store.as_ref()).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn more_files_than_fit_on_a_page() -> Test {
    let Some(fresh) = fresh("more_files_than_fit_on_a_page").await? else {
        return Ok(());
    };
    let store = fresh.open("many", "")?;
    let name = |number: usize| format!("duplicati-b{number:05}.dblock.zip.aes");
    stream::iter(0..1_100)
        .map(|number| {
            let store = Arc::clone(&store);
            async move {
                store
                    .put(
                        &name(number),
                        Body::from_bytes(vec![1_u8; number % 7]),
                        Existing::Replace,
                    )
                    .await
            }
        })
        .buffer_unordered(16)
        .try_collect::<Vec<()>>()
        .await?;
    fresh
        .open("many/sub", "")?
        .put("inner", Body::from_bytes("x"), Existing::Replace)
        .await?;
    fresh
        .open("many2", "")?
        .put("sibling", Body::from_bytes("x"), Existing::Replace)
        .await?;
    for options in ["", "s3-list-api-version=v1", "s3-recursive-list=true"] {
        let files = listing(fresh.open("many", options)?.as_ref()).await?;
        assert_eq!(files.len(), 1_101, "{options}");
        for (number, file) in files.iter().take(1_100).enumerate() {
            let expected = (name(number), Some((number % 7) as u64), false);
            assert_eq!(
                (file.name.clone(), file.size, file.is_folder),
                expected,
                "{options}"
            );
        }
        let folder = files.last();
        assert!(
            folder.is_some_and(|file| file.name == "sub" && file.is_folder),
            "{options}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_large_file_goes_in_parts() -> Test {
    let Some(fresh) = fresh("a_large_file_goes_in_parts").await? else {
        return Ok(());
    };
    let store = fresh.open("big", "")?;
    let mut file = tempfile::NamedTempFile::new()?;
    let mut state = 1_u64;
    let len = 120_u64 << 20;
    let block = |state: &mut u64| -> Vec<u8> {
        (0..1 << 17)
            .flat_map(|_| {
                *state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                state.to_le_bytes()
            })
            .collect()
    };
    for _ in 0..120 {
        file.write_all(&block(&mut state))?;
    }
    store
        .put(
            "large",
            Body::from_file(file.path().to_owned(), len),
            Existing::Replace,
        )
        .await?;
    assert_eq!(
        listing(store.as_ref())
            .await?
            .first()
            .and_then(|file| file.size),
        Some(len)
    );
    let mut download = store.get("large").await?.stream;
    let (mut state, mut rest, mut received) = (1_u64, Vec::new(), 0_u64);
    while let Some(piece) = download.try_next().await? {
        received += piece.len() as u64;
        rest.extend_from_slice(&piece);
        while rest.len() >= 1 << 20 {
            let expected = block(&mut state);
            assert!(
                rest[..1 << 20] == expected[..],
                "differs before byte {received}"
            );
            rest.drain(..1 << 20);
        }
    }
    assert_eq!((received, rest.len()), (len, 0));
    Ok(())
}

#[tokio::test]
async fn wrong_keys_need_a_sign_in() -> Test {
    let Some(fresh) = fresh("wrong_keys_need_a_sign_in").await? else {
        return Ok(());
    };
    for options in ["auth-username=nobody", "aws-secret-access-key=wrong"] {
        // The last of two equal options in a URL counts; the user name is beaten by the provider's own option.
        let query = fresh.query.replace("aws-access-key-id=", "x-was=");
        let query = if options.starts_with("auth") {
            query
        } else {
            fresh.query.clone()
        };
        let store = open(&format!("s3://{}/p?{query}&{options}", fresh.bucket))?;
        let expected = Some(ErrorKind::SignInNeeded);
        assert_eq!(
            kind(larder_destination::test(store.as_ref()).await),
            expected,
            "test {options}"
        );
        assert_eq!(
            kind(listing(store.as_ref()).await),
            expected,
            "list {options}"
        );
        assert_eq!(kind(store.get("a").await), expected, "get {options}");
        assert_eq!(
            kind(
                store
                    .put("a", Body::from_bytes("x"), Existing::Replace)
                    .await
            ),
            expected,
            "put {options}"
        );
        assert_eq!(
            kind(
                store
                    .put(
                        "a",
                        Body::from_bytes(vec![1_u8; 5 << 20]),
                        Existing::Replace
                    )
                    .await
            ),
            expected,
            "put {options}"
        );
        assert_eq!(kind(store.delete("a").await), expected, "delete {options}");
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_bucket_is_a_missing_folder() -> Test {
    let Some((bucket, query)) = server("a_missing_bucket_is_a_missing_folder") else {
        return Ok(());
    };
    let store = open(&format!("s3://{bucket}/p?{query}"))?;
    let expected = Some(ErrorKind::FolderMissing);
    assert_eq!(
        kind(larder_destination::test(store.as_ref()).await),
        expected
    );
    assert_eq!(kind(listing(store.as_ref()).await), expected);
    assert_eq!(kind(store.get("a").await), expected);
    assert_eq!(
        kind(
            store
                .put("a", Body::from_bytes("x"), Existing::Replace)
                .await
        ),
        expected
    );
    assert_eq!(
        kind(
            store
                .put(
                    "a",
                    Body::from_bytes(vec![1_u8; 5 << 20]),
                    Existing::Replace
                )
                .await
        ),
        expected
    );
    store.create_folder().await?;
    larder_destination::test(store.as_ref()).await?;
    store
        .put("a", Body::from_bytes("x"), Existing::Replace)
        .await?;
    store.create_folder().await?;
    assert_eq!(names(store.as_ref()).await?, ["a"]);
    Ok(())
}

#[tokio::test]
async fn renaming_replaces_and_keeps_itself() -> Test {
    let Some(fresh) = fresh("renaming_replaces_and_keeps_itself").await? else {
        return Ok(());
    };
    let store = fresh.open(
        "r",
        "s3-storage-class=STANDARD_IA&s3-archive-classes=standard_ia",
    )?;
    store
        .put("a", Body::from_bytes("from a"), Existing::Replace)
        .await?;
    store
        .put("b", Body::from_bytes("from b"), Existing::Replace)
        .await?;
    store
        .extra()
        .rename
        .expect("it renames")
        .rename("a", "b")
        .await?;
    assert_eq!(names(store.as_ref()).await?, ["b"]);
    store
        .extra()
        .rename
        .expect("it renames")
        .rename("b", "b")
        .await?;
    assert_eq!(store.get("b").await?.bytes().await?, b"from a");
    assert_eq!(
        kind(
            store
                .extra()
                .rename
                .expect("it renames")
                .rename("gone", "c")
                .await
        ),
        Some(ErrorKind::NotFound)
    );
    assert_eq!(
        kind(
            store
                .extra()
                .rename
                .expect("it renames")
                .rename("gone", "gone")
                .await
        ),
        Some(ErrorKind::NotFound)
    );
    assert!(
        listing(store.as_ref())
            .await?
            .iter()
            .all(|file| file.is_archived)
    );
    Ok(())
}
