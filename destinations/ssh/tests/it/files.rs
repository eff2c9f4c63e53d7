//! What lies on the server afterwards, seen by others too.

use std::io::Write;
use std::process::{Command, Stdio};

use futures_util::TryStreamExt;
use larder_destination::{Body, ErrorKind, Existing};
use larder_testkit::Rng;

use crate::{
    ASKING, FOLDER, OPENSSH, PLAIN, Parts, RCLONE, Test, kind, names, printed, put, store, variable,
};

#[tokio::test]
async fn files_appear_whole_and_are_not_replaced_unasked() -> Test {
    for variable_name in [OPENSSH, PLAIN, ASKING, RCLONE] {
        let Some(url) = variable(variable_name) else {
            continue;
        };
        let store = store(&Parts::fresh(&url).ok_or("a URL")?.usual())?;
        let store = store.as_ref();
        let missing = Some(ErrorKind::FolderMissing);
        assert_eq!(
            kind(put(store, "a", "x", Existing::Refuse).await),
            missing,
            "{variable_name}"
        );
        store.create_folder().await?;
        store.create_folder().await?;
        put(store, "a", "first", Existing::Refuse).await?;
        let refused = put(store, "a", "second", Existing::Refuse).await;
        assert_eq!(kind(refused), Some(ErrorKind::Exists), "{variable_name}");
        assert_eq!(
            store.get("a").await?.bytes().await?,
            b"first",
            "{variable_name}"
        );
        put(store, "a", "third", Existing::Replace).await?;
        assert_eq!(
            store.get("a").await?.bytes().await?,
            b"third",
            "{variable_name}"
        );
        for existing in [Existing::Replace, Existing::Refuse] {
            let broken = Body::from_bytes("broken").cut_after(3);
            assert!(store.put("b", broken, existing).await.is_err());
        }
        assert_eq!(names(store).await?, ["a"], "{variable_name}");
        let rename = store.extra().rename.ok_or("it renames")?;
        rename.rename("a", "c d+e%").await?;
        assert_eq!(names(store).await?, ["c d+e%"], "{variable_name}");
        assert_eq!(
            kind(rename.rename("a", "f").await),
            Some(ErrorKind::NotFound),
            "{variable_name}"
        );
        store.delete("c d+e%").await?;
        assert_eq!(
            kind(store.delete("a").await),
            Some(ErrorKind::NotFound),
            "{variable_name}"
        );
        // What was cut is removed in the background.
        let leftovers = store.extra().leftovers.ok_or("it has leftovers")?;
        assert_eq!(
            leftovers.remove_leftovers(&|_| true).await?,
            0,
            "{variable_name}"
        );
    }
    Ok(())
}

/// Has OpenSSH's own client do what these lines say.
fn sftp(
    url: &str,
    folder: &str,
    lines: &str,
) -> std::result::Result<String, Box<dyn std::error::Error>> {
    let parts = Parts::of(url).ok_or("a URL")?;
    let key = tempfile::NamedTempFile::new()?;
    std::fs::copy(format!("{folder}/id_ed25519"), key.path())?;
    printed("chmod", &["600", &key.path().to_string_lossy()])?;
    let mut client = Command::new("sftp")
        .args([
            "-q",
            "-b",
            "-",
            "-P",
            &parts.port().ok_or("a port")?.to_string(),
        ])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "IdentitiesOnly=yes",
        ])
        .arg("-i")
        .arg(key.path())
        .arg(format!("{}@127.0.0.1", parts.user))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    client
        .stdin
        .take()
        .ok_or("a pipe")?
        .write_all(lines.as_bytes())?;
    let output = client.wait_with_output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(String::from_utf8_lossy(&output.stderr).into()),
    }
}

#[tokio::test]
async fn another_client_reads_what_was_stored_and_the_other_way_round() -> Test {
    let (Some(url), Some(folder)) = (variable(OPENSSH), variable(FOLDER)) else {
        return Ok(());
    };
    let content = Rng::new(1).bytes(7 * 1024 * 1024 + 13);
    let number = content
        .iter()
        .take(4)
        .fold(std::process::id(), |sum, byte| sum * 7 + u32::from(*byte));
    let place = format!("home/data/other {number}");
    let mut parts = Parts::of(&url).ok_or("a URL")?;
    parts.rest = format!("{}/other%20{number}", parts.rest);
    let store = store(&parts.usual())?;
    store.create_folder().await?;
    put(
        store.as_ref(),
        "of larder.zip",
        content.clone(),
        Existing::Refuse,
    )
    .await?;
    let own = tempfile::tempdir()?;
    let (got, sent) = (own.path().join("got"), own.path().join("sent"));
    std::fs::write(&sent, &content)?;
    let lines = format!(
        "cd \"{folder}/{place}\"\nls -1\nget \"of larder.zip\" \"{}\"\nput \"{}\" \"of sftp.zip\"\nmkdir inner\n\
         symlink \"of sftp.zip\" link\nsymlink nowhere dangling\n",
        got.display(),
        sent.display()
    );
    let listed = sftp(&url, &folder, &lines)?;
    assert!(
        listed.contains("of larder.zip") && !listed.contains("tmp.larder"),
        "{listed}"
    );
    assert_eq!(std::fs::read(got)?, content);
    assert_eq!(store.get("of sftp.zip").await?.bytes().await?, content);
    // Links are what they lead to.
    let mut files: Vec<_> = store.list().try_collect().await?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let len = Some(content.len() as u64);
    let seen: Vec<_> = files
        .iter()
        .map(|file| (file.name.as_str(), file.size, file.is_folder))
        .collect();
    assert_eq!(
        seen,
        [
            ("inner", None, true),
            ("link", len, false),
            ("of larder.zip", len, false),
            ("of sftp.zip", len, false)
        ]
    );
    // A file is no folder.
    let mut inside = Parts::of(&url).ok_or("a URL")?;
    inside.rest = format!("{}/of%20sftp.zip", parts.rest);
    let inside = crate::store(&inside.usual())?;
    assert_eq!(kind(names(inside.as_ref()).await), Some(ErrorKind::Config));
    assert_eq!(kind(inside.create_folder().await), Some(ErrorKind::Exists));
    Ok(())
}

#[tokio::test]
async fn a_file_that_shrinks_is_damaged_and_what_is_no_file_is_not_listed() -> Test {
    let (Some(url), Some(folder)) = (variable(OPENSSH), variable(FOLDER)) else {
        return Ok(());
    };
    let number = std::process::id();
    let mut parts = Parts::of(&url).ok_or("a URL")?;
    parts.rest = format!("{}/shrinking%20{number}", parts.rest);
    let store = store(&parts.usual())?;
    store.create_folder().await?;
    let content = Rng::new(2).bytes(8 << 20);
    put(store.as_ref(), "a", content, Existing::Refuse).await?;
    let place = format!("{folder}/home/data/shrinking {number}");
    printed("mkfifo", &[&format!("{place}/pipe")])?;
    assert_eq!(names(store.as_ref()).await?, ["a"]);
    let mut download = store.get("a").await?;
    download.stream.try_next().await?;
    let file = std::fs::File::options()
        .write(true)
        .open(format!("{place}/a"))?;
    file.set_len(1 << 20)?;
    let got = download.bytes().await;
    assert_eq!(kind(got), Some(ErrorKind::Corrupt));
    // What is killed between the two steps of a replacement, as another run finds it.
    let aside = format!("{place}/tmp.larder.0123456789abcdef.6553f100.lost");
    std::fs::write(&aside, "old")?;
    assert_eq!(names(store.as_ref()).await?, ["a", "lost"]);
    assert_eq!(std::fs::read(format!("{place}/lost"))?, b"old");
    Ok(())
}

#[tokio::test]
async fn a_relative_folder_lies_in_the_home_of_the_user() -> Test {
    let Some(url) = variable(OPENSSH) else {
        return Ok(());
    };
    let mut parts = Parts::of(&url).ok_or("a URL")?;
    let absolute = store(&parts.usual())?;
    put(absolute.as_ref(), "relative", "x", Existing::Replace).await?;
    parts.rest = format!("127.0.0.1:{}/data", parts.port().ok_or("a port")?);
    parts.query += "&ssh-relative-path=true";
    assert!(
        names(store(&parts.usual())?.as_ref())
            .await?
            .contains(&"relative".to_owned())
    );
    // The home itself.
    parts.rest = format!("127.0.0.1:{}", parts.port().ok_or("a port")?);
    let home = store(&parts.usual())?;
    assert!(names(home.as_ref()).await?.contains(&"data".to_owned()));
    put(home.as_ref(), "at home", "x", Existing::Replace).await?;
    assert_eq!(home.get("at home").await?.bytes().await?, b"x");
    Ok(())
}

#[tokio::test]
async fn a_full_disk_is_told() -> Test {
    let (Some(url), Some(folder)) = (variable(OPENSSH), variable(FOLDER)) else {
        return Ok(());
    };
    let place = format!("{folder}/home/data/full");
    std::fs::create_dir_all(&place)?;
    if printed(
        "mount",
        &[
            "-t",
            "tmpfs",
            "-o",
            "size=1m,mode=777",
            "larder-test",
            &place,
        ],
    )
    .is_err()
    {
        larder_testkit::pass_over("mount", "a small disk cannot be mounted here");
        return Ok(());
    }
    let mut parts = Parts::of(&url).ok_or("a URL")?;
    parts.rest += "/full";
    let full = store(&parts.usual())?;
    let outcome = put(full.as_ref(), "a", vec![7; 3 << 20], Existing::Refuse).await;
    let left = names(full.as_ref()).await;
    // What was written goes in the background.
    let mut small = Ok(());
    for _ in 0..50 {
        small = put(full.as_ref(), "b", "small", Existing::Refuse).await;
        if small.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    printed("umount", &["-l", &place])?;
    assert_eq!(kind(outcome), Some(ErrorKind::Quota));
    assert!(left?.is_empty());
    Ok(small?)
}
