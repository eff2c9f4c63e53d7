//! What only real servers can show: sign-ins, certificates, moves, and folders that are made on the way.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use larder_destination::{Body, Destination, ErrorKind, Existing, Result};

use crate::{Test, kind, names, open};

const APACHE: &str = "LARDER_TEST_WEBDAV_URL";
const DIGEST: &str = "LARDER_TEST_WEBDAV_DIGEST_URL";
const TLS: &str = "LARDER_TEST_WEBDAV_TLS_URL";
const ALL: &[&str] = &[
    APACHE,
    DIGEST,
    TLS,
    "LARDER_TEST_WEBDAV_NGINX_URL",
    "LARDER_TEST_WEBDAV_LIGHTTPD_URL",
    "LARDER_TEST_WEBDAV_WSGIDAV_URL",
];

/// The URL in a variable; without one the test says so and ends, or fails where nothing may be left out.
fn url(variable: &str) -> std::result::Result<Option<String>, String> {
    match std::env::var(variable) {
        Ok(url) => Ok(Some(url)),
        Err(_) if std::env::var_os("LARDER_TEST_REQUIRE_ALL").is_some_and(|value| value == "1") => {
            Err(format!("{variable} is not set"))
        }
        Err(_) => {
            // Shown by the harness with --nocapture.
            let mut out = std::io::stderr();
            let _ = std::io::Write::write_all(
                &mut out,
                format!("left out: {variable} is not set\n").as_bytes(),
            );
            Ok(None)
        }
    }
}

/// A folder that does not exist yet, three levels below the URL.
fn fresh(url: &str) -> String {
    let (start, query) = url.split_once('?').unwrap_or((url, ""));
    let number = RandomState::new().hash_one(0);
    format!(
        "{}/t%20{number:016x}/b+c/%C3%BC%25?{query}",
        start.trim_end_matches('/')
    )
}

fn store(url: &str) -> Result<Arc<dyn Destination>> {
    Ok(open(url)?.destination)
}

async fn put(
    store: &dyn Destination,
    name: &str,
    text: &'static str,
    existing: Existing,
) -> Result<()> {
    store.put(name, Body::from_bytes(text), existing).await
}

#[tokio::test]
async fn files_appear_whole_and_are_not_replaced_unasked() -> Test {
    for variable in ALL {
        let Some(url) = url(variable)? else { continue };
        let store = store(&fresh(&url))?;
        let store = store.as_ref();
        let missing = Some(ErrorKind::FolderMissing);
        assert_eq!(
            kind(put(store, "a", "x", Existing::Refuse).await),
            missing,
            "{variable}"
        );
        store.create_folder().await?;
        store.create_folder().await?;
        put(store, "a", "first", Existing::Refuse).await?;
        let refused = put(store, "a", "second", Existing::Refuse).await;
        assert_eq!(kind(refused), Some(ErrorKind::Exists), "{variable}");
        assert_eq!(store.get("a").await?.bytes().await?, b"first", "{variable}");
        put(store, "a", "third", Existing::Replace).await?;
        assert_eq!(store.get("a").await?.bytes().await?, b"third", "{variable}");
        let broken = Body::from_bytes("broken").cut_after(3);
        assert!(store.put("b", broken, Existing::Replace).await.is_err());
        assert_eq!(names(store).await?, ["a"], "{variable}");
        let rename = store.extra().rename.ok_or("it renames")?;
        rename.rename("a", "c d+e%").await?;
        assert_eq!(names(store).await?, ["c d+e%"], "{variable}");
        assert_eq!(
            kind(rename.rename("a", "f").await),
            Some(ErrorKind::NotFound),
            "{variable}"
        );
        store.delete("c d+e%").await?;
        assert_eq!(
            kind(store.delete("a").await),
            Some(ErrorKind::NotFound),
            "{variable}"
        );
        // Nothing is left of the temporary names, and nothing younger than a day would be touched.
        let leftovers = store.extra().leftovers.ok_or("it has leftovers")?;
        assert_eq!(
            leftovers.remove_leftovers(&|_| true).await?,
            0,
            "{variable}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_shown() -> Test {
    for variable in ALL {
        let Some(url) = url(variable)? else { continue };
        let (start, rest) = url.split_once('@').ok_or("no sign-in in the URL")?;
        let user = start.rsplit_once(':').map_or(start, |(user, _)| user);
        let wrong = store(&format!("{user}:not-the-password@{rest}"))?;
        for outcome in [
            names(wrong.as_ref()).await.map(drop),
            wrong.get("a").await.map(drop),
            put(wrong.as_ref(), "a", "x", Existing::Refuse).await,
        ] {
            let error = outcome.err().ok_or("it was let in")?;
            assert_eq!(
                error.kind(),
                &ErrorKind::SignInNeeded,
                "{variable}: {error}"
            );
            assert!(
                !format!("{error:?}").contains("not-the-password"),
                "{error:?}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn digest_is_never_weakened() -> Test {
    let Some(url) = url(APACHE)? else {
        return Ok(());
    };
    // This server offers Basic only.
    let strict = store(&format!("{url}?force-digest-authentication=true"))?;
    let error = names(strict.as_ref()).await.err().ok_or("it was let in")?;
    assert_eq!(error.kind(), &ErrorKind::SignInNeeded);
    assert!(
        error
            .to_string()
            .contains("does not offer the Digest sign-in"),
        "{error}"
    );
    // And this one Digest only, which is found out by itself.
    let Some(url) = self::url(DIGEST)? else {
        return Ok(());
    };
    let (plain, _) = url.split_once('?').ok_or("no option in the URL")?;
    assert!(names(store(plain)?.as_ref()).await.is_ok());
    Ok(())
}

#[tokio::test]
async fn an_unknown_certificate_is_refused_with_its_hash() -> Test {
    let Some(url) = url(TLS)? else { return Ok(()) };
    let (start, query) = url.split_once('?').ok_or("no options in the URL")?;
    let hash = query
        .rsplit_once('=')
        .map(|(_, hash)| hash.to_ascii_lowercase());
    let refused = names(store(&format!("{start}?use-ssl=true"))?.as_ref()).await;
    assert_eq!(kind(refused), hash.map(ErrorKind::Untrusted));
    let any = open(&format!(
        "{start}?use-ssl=true&accept-any-ssl-certificate=true"
    ))?;
    assert_eq!(
        any.notices.first().map(|notice| notice.id),
        Some("AnyCertificateAccepted")
    );
    assert!(names(any.destination.as_ref()).await.is_ok());
    Ok(())
}

#[tokio::test]
async fn a_file_is_no_folder() -> Test {
    for variable in ALL {
        let Some(url) = url(variable)? else { continue };
        let folder = fresh(&url);
        let store = store(&folder)?;
        store.create_folder().await?;
        put(store.as_ref(), "file", "x", Existing::Refuse).await?;
        let (start, query) = folder.split_once('?').ok_or("a query")?;
        let inside = self::store(&format!("{start}/file?{query}"))?;
        // Apache answers 400 to a file's name with a slash, lighttpd 403, others 404, or they show the file.
        assert!(names(inside.as_ref()).await.is_err(), "{variable}");
    }
    Ok(())
}

#[tokio::test]
async fn listings_are_written_where_asked() -> Test {
    let Some(url) = url(APACHE)? else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("listing.xml");
    for more in ["", "&use-extended-propfind=true"] {
        let store = store(&format!(
            "{url}?debug-propfind-file={}{more}",
            file.display()
        ))?;
        names(store.as_ref()).await?;
        let text = std::fs::read_to_string(&file)?;
        assert!(
            text.contains("multistatus") && text.trim_end().ends_with('>'),
            "{text}"
        );
    }
    Ok(())
}
