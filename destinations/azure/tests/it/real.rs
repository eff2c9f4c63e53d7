//! Against Azurite, and side by side with a client that others wrote. Each test makes its own container and leaves it
//! behind; the server's data is thrown away as a whole.

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::process::Command;
use std::sync::Arc;

use larder_destination::{Body, Destination, ErrorKind, Existing, Result};
use larder_testkit::pass_over;

use crate::{Test, kind, listing, names, open};

/// A container of its own on the server.
struct Fresh {
    container: String,
    sign_in: String,
    query: String,
}

impl Fresh {
    /// A container that does not exist; nothing, with a word about it, when there is no server.
    fn missing() -> Option<Self> {
        let Ok(url) = std::env::var("LARDER_TEST_AZURE_URL") else {
            let why = "LARDER_TEST_AZURE_URL is not set, see scripts/test-servers/azurite.sh";
            pass_over("azurite", why);
            return None;
        };
        let (start, query) = url.split_once('?').unwrap_or((&url, ""));
        let (sign_in, _) = start.rsplit_once('@').unwrap_or((start, ""));
        Some(Self {
            container: format!("it-{:016x}", RandomState::new().hash_one(0)),
            sign_in: sign_in.to_owned(),
            query: query.to_owned(),
        })
    }

    /// One that exists, when there is a server.
    async fn made() -> Result<Option<Self>> {
        let Some(fresh) = Self::missing() else {
            return Ok(None);
        };
        fresh.open("", "")?.create_folder().await?;
        Ok(Some(fresh))
    }

    fn url(&self, prefix: &str, options: &str) -> String {
        let Self {
            container,
            sign_in,
            query,
        } = self;
        format!("{sign_in}@{container}/{prefix}?{query}&{options}")
    }

    fn open(&self, prefix: &str, options: &str) -> Result<Arc<dyn Destination>> {
        open(&self.url(prefix, options))
    }

    /// The same signed in with a token that the other client made: `rights` in its letters, for so many hours.
    fn with_token(
        &self,
        rights: &str,
        hours: &str,
    ) -> std::result::Result<String, Box<dyn std::error::Error>> {
        let token = self.python(&["token", rights, hours])?;
        let token: String = larder_httpkit::encode::segment(token.trim());
        let account = self.sign_in.rsplit_once(':').map_or("", |(start, _)| start);
        let Self {
            container, query, ..
        } = self;
        Ok(format!(
            "{account}@{container}/t?{query}&azure-access-sas-token={token}"
        ))
    }

    /// What the other client says.
    fn python(
        &self,
        arguments: &[&str],
    ) -> std::result::Result<String, Box<dyn std::error::Error>> {
        let program = std::env::var("LARDER_TEST_AZURE_PYTHON")?;
        let mut command = Command::new(program);
        let output = command
            .args(["-c", PYTHON, &self.container])
            .args(arguments)
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// The other client: `token`, `look` at a blob, `write` one in blocks, `uncommitted` blocks.
const PYTHON: &str = r#"
import datetime, hashlib, os, sys
from azure.storage.blob import BlobServiceClient, generate_container_sas
container, verb, *rest = sys.argv[1:]
account, key = os.environ["LARDER_TEST_AZURE_ACCOUNT"], os.environ["LARDER_TEST_AZURE_KEY"]
service = BlobServiceClient(f"{os.environ['LARDER_TEST_AZURE_ENDPOINT']}/{account}", {"account_name": account, "account_key": key},
                            max_single_put_size=1024, max_block_size=1 << 20)
if verb == "token":
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=float(rest[1]))
    print(generate_container_sas(account, container, account_key=key, permission=rest[0], expiry=until))
else:
    blob = service.get_blob_client(container, rest[0])
    if verb == "look":
        content = blob.download_blob().readall()
        facts = blob.get_blob_properties()
        stored = bytes(facts.content_settings.content_md5 or b"")
        print(len(content), hashlib.sha256(content).hexdigest(), stored == hashlib.md5(content).digest(), facts.blob_tier)
    elif verb == "write":
        blob.upload_blob(b"x" * int(rest[1]))
    elif verb == "uncommitted":
        blob.stage_block("a longer id than ours, which the service minds", b"left over")
"#;

/// A file of so many bytes that are not all alike.
fn made_file(len: usize) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    let content: Vec<u8> = (0..=len / 4)
        .flat_map(|n| (n as u32).wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    file.write_all(&content[..len])?;
    Ok(file)
}

/// What Azurite says of a wrong key and of a token that is over: AuthorizationFailure. The service itself says
/// AuthenticationFailed, and that code of what a token does not allow.
const REFUSED: ErrorKind = ErrorKind::Denied;

#[tokio::test]
async fn another_client_reads_what_was_put_and_is_read() -> Test {
    let Some(fresh) = Fresh::made().await? else {
        return Ok(());
    };
    let store = fresh.open("pre%20fix/%C3%BC", "azure-access-tier=Cool")?;
    larder_destination::test(store.as_ref()).await?;
    assert!(names(store.as_ref()).await?.is_empty());
    // In one piece and in blocks.
    for len in [0, 1, 2_000_000, 12_000_001] {
        let file = made_file(len)?;
        let name = format!("volume-{len}.zip.aes");
        let body = Body::from_file(file.path().to_owned(), len as u64);
        store.put(&name, body, Existing::Refuse).await?;
        let content = std::fs::read(file.path())?;
        let sha256 = larder_httpkit::Hashes::of(&content, &[larder_httpkit::Algorithm::Sha256]);
        let sha256 = sha256.hex(larder_httpkit::Algorithm::Sha256);
        let seen = fresh.python(&["look", &format!("pre fix/ü/{name}")])?;
        assert_eq!(seen.trim(), format!("{len} {sha256} True Cool"));
        let download = store.get(&name).await?;
        assert_eq!(download.len, Some(len as u64));
        assert!(download.bytes().await? == content, "{len}");
    }
    let files = listing(store.as_ref()).await?;
    let sizes: Vec<_> = files.iter().filter_map(|file| file.size).collect();
    assert_eq!(sizes, [0, 1, 12_000_001, 2_000_000]);
    let is_now = |file: &larder_destination::RemoteFile| {
        file.modified.is_some_and(|time| time > 1_700_000_000)
    };
    assert!(files.iter().all(is_now));
    // It names no checksum for a blob of blocks.
    fresh.python(&["write", "pre fix/ü/theirs", "3000000"])?;
    let theirs = store.get("theirs").await?.bytes().await?;
    assert!(theirs == vec![b'x'; 3_000_000]);
    Ok(())
}

#[tokio::test]
async fn blocks_of_others_and_of_broken_uploads_do_no_harm() -> Test {
    let Some(fresh) = Fresh::made().await? else {
        return Ok(());
    };
    let store = fresh.open("b", "")?;
    let file = made_file(5_000_000)?;
    let body = || Body::from_file(file.path().to_owned(), 5_000_000);
    assert!(
        store
            .put("a", body().cut_after(4_000_000), Existing::Refuse)
            .await
            .is_err()
    );
    assert!(
        names(store.as_ref()).await?.is_empty(),
        "blocks are not listed"
    );
    assert_eq!(kind(store.get("a").await), Some(ErrorKind::NotFound));
    store.put("a", body(), Existing::Refuse).await?;
    assert!(store.get("a").await?.bytes().await? == std::fs::read(file.path())?);
    // Under the name where another program left longer ids, a put fails so that another name is tried.
    fresh.python(&["uncommitted", "b/c"])?;
    let put = kind(store.put("c", body(), Existing::Refuse).await);
    assert!(put.is_none() || put == Some(ErrorKind::Exists), "{put:?}");
    store.put("d", body(), Existing::Refuse).await?;
    Ok(())
}

#[tokio::test]
async fn a_token_does_what_it_allows_and_no_more() -> Test {
    let Some(fresh) = Fresh::made().await? else {
        return Ok(());
    };
    let store = open(&fresh.with_token("racwdl", "1")?)?;
    store.create_folder().await?;
    for (name, len) in [("small", 5), ("large", 4_000_000)] {
        let file = made_file(len)?;
        let body = Body::from_file(file.path().to_owned(), len as u64);
        store.put(name, body, Existing::Refuse).await?;
        assert!(store.get(name).await?.bytes().await? == std::fs::read(file.path())?);
    }
    let rename = store.extra().rename.ok_or("it renames")?;
    rename.rename("small", "a b+c").await?;
    assert_eq!(names(store.as_ref()).await?, ["a b+c", "large"]);
    let put = |store: Arc<dyn Destination>| async move {
        store
            .put("x", Body::from_bytes("x"), Existing::Refuse)
            .await
    };
    let reader = open(&fresh.with_token("rl", "1")?)?;
    assert_eq!(names(reader.as_ref()).await?.len(), 2);
    assert_eq!(
        kind(put(Arc::clone(&reader)).await),
        Some(ErrorKind::Denied)
    );
    assert_eq!(kind(reader.delete("large").await), Some(ErrorKind::Denied));
    let over = fresh.with_token("racwdl", "-1")?;
    for outcome in [
        kind(names(open(&over)?.as_ref()).await),
        kind(put(open(&over)?).await),
    ] {
        assert_eq!(outcome, Some(REFUSED));
    }
    store.delete("large").await?;
    assert_eq!(kind(store.delete("large").await), Some(ErrorKind::NotFound));
    Ok(())
}

#[tokio::test]
async fn a_missing_container_is_a_missing_folder() -> Test {
    let Some(fresh) = Fresh::missing() else {
        return Ok(());
    };
    let store = fresh.open("p", "")?;
    let expected = Some(ErrorKind::FolderMissing);
    let large = Body::from_bytes(vec![1_u8; 4 << 20]);
    assert_eq!(
        kind(larder_destination::test(store.as_ref()).await),
        expected
    );
    assert_eq!(kind(store.get("a").await), expected);
    assert_eq!(kind(store.delete("a").await), expected);
    for existing in [Existing::Refuse, Existing::Replace] {
        for body in [Body::from_bytes("x"), large.clone()] {
            assert_eq!(kind(store.put("a", body, existing).await), expected);
        }
    }
    store.create_folder().await?;
    store.create_folder().await?;
    store.put("a", large, Existing::Refuse).await?;
    assert_eq!(kind(store.get("b").await), Some(ErrorKind::NotFound));
    let lock = store.extra().lock.ok_or("it locks")?;
    assert_eq!(
        kind(lock.lock("a", i64::MAX).await),
        Some(ErrorKind::Unsupported)
    );
    Ok(())
}

#[tokio::test]
async fn wrong_keys_are_refused() -> Test {
    let Some(fresh) = Fresh::made().await? else {
        return Ok(());
    };
    let account = fresh
        .sign_in
        .rsplit_once(':')
        .map_or("", |(start, _)| start);
    let url = fresh
        .url("p", "")
        .replace(&fresh.sign_in, &format!("{account}:S0VZ"));
    let store = open(&url)?;
    let expected = Some(REFUSED);
    let large = Body::from_bytes(vec![1_u8; 4 << 20]);
    assert_eq!(kind(names(store.as_ref()).await), expected);
    assert_eq!(kind(store.get("a").await), expected);
    assert_eq!(
        kind(store.put("a", large, Existing::Refuse).await),
        expected
    );
    assert_eq!(kind(store.delete("a").await), expected);
    assert_eq!(kind(store.create_folder().await), expected);
    Ok(())
}

#[tokio::test]
async fn what_lies_in_the_archive_is_listed_and_not_read() -> Test {
    let Some(fresh) = Fresh::made().await? else {
        return Ok(());
    };
    let store = fresh.open("p", "azure-access-tier=Archive")?;
    store
        .put("a", Body::from_bytes("x"), Existing::Refuse)
        .await?;
    store
        .put("b", Body::from_bytes(vec![1_u8; 4 << 20]), Existing::Refuse)
        .await?;
    assert!(
        listing(store.as_ref())
            .await?
            .iter()
            .all(|file| file.is_archived)
    );
    for name in ["a", "b"] {
        assert_eq!(kind(store.get(name).await), Some(ErrorKind::Archived));
    }
    let all = fresh.open("p", "azure-archive-classes=Hot")?;
    assert!(
        listing(all.as_ref())
            .await?
            .iter()
            .all(|file| !file.is_archived)
    );
    store.delete("a").await?;
    Ok(())
}

#[tokio::test]
async fn large_puts_of_one_name_at_the_same_time_leave_one_of_them_whole() -> Test {
    let Some(fresh) = Fresh::made().await? else {
        return Ok(());
    };
    let store = fresh.open("p", "")?;
    let put = |byte: u8| {
        let store = Arc::clone(&store);
        async move {
            let body = Body::from_bytes(vec![byte; 5_000_000]);
            store.put("a", body, Existing::Refuse).await
        }
    };
    let outcomes = futures_util::future::join_all((1..=4).map(put)).await;
    let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(stored <= 1, "{outcomes:?}");
    for outcome in outcomes {
        let outcome = kind(outcome);
        assert!(
            outcome.is_none() || outcome == Some(ErrorKind::Exists),
            "{outcome:?}"
        );
    }
    if stored == 1 {
        let content = store.get("a").await?.bytes().await?;
        assert!(content.len() == 5_000_000 && content.iter().all(|byte| *byte == content[0]));
    }
    Ok(())
}
