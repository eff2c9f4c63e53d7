//! The folder through the trait; what every destination must do is tested by `conformance`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use larder_destination::wrap::{Failure, FaultPlan, Faults, RateLimit, Throttle};
use larder_destination::{
    Body, Destination, ErrorKind, Existing, Operation, RemoteFile, TEMPORARY_PREFIX, Tools, Url,
};
use larder_options::{Origin, Values};

use super::*;

fn open_with(url: &str, options: &[(&str, &str)]) -> Result<Arc<dyn Destination>> {
    let mut values = Values::new();
    for (name, value) in options {
        values.set(name, Some(value), Origin::CommandLine);
    }
    let working_folder = PathBuf::from("/work folder");
    let url = Url::parse(url, &working_folder).unwrap();
    let config = Config::with_options(url, values, working_folder, TABLE);
    Ok((PROVIDER.open)(&config, &Tools::system())?.destination)
}

fn open_folder(path: &Path) -> Arc<dyn Destination> {
    open_with(path.to_str().unwrap(), &[]).unwrap()
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error.kind().clone(),
    }
}

async fn list(destination: &dyn Destination) -> Result<Vec<RemoteFile>> {
    let mut files: Vec<_> = destination.list().try_collect().await?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn entries(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn urls_lead_to_folders() {
    for (url, display) in [
        ("file:///mnt/a%20b", "file:///mnt/a b"),
        ("sub/dir", "file:///work folder/sub/dir"),
        ("file://sub/dir", "file:///work folder/sub/dir"),
        ("file://user:secret@/mnt/x", "file:///mnt/x"),
    ] {
        assert_eq!(open_with(url, &[]).unwrap().about().display, display);
    }
    let Err(error) = open_with("\\\\server\\share", &[]) else {
        panic!("a network path was opened")
    };
    assert_eq!(*error.kind(), ErrorKind::Config);
    assert!(
        error
            .to_string()
            .contains("not supported on this system yet"),
        "{error}"
    );
}

#[tokio::test]
async fn every_way_of_sending_stores_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let plain = open_folder(folder.path());
    let limit = || Arc::new(RateLimit::new(1 << 40));
    let throttled = Throttle::new(open_folder(folder.path()), limit(), limit());
    for len in [0, 1, 1 << 20, (1 << 20) + 1, 9_000_001] {
        let bytes = content(len);
        let source = folder.path().join("source");
        fs::write(&source, &bytes).unwrap();
        let bodies = [
            Body::from_bytes(bytes.clone()),
            Body::from_file(source.clone(), len as u64),
        ];
        for body in bodies {
            plain
                .put("a", body.clone(), Existing::Replace)
                .await
                .unwrap();
            throttled.put("b", body, Existing::Replace).await.unwrap();
            for name in ["a", "b"] {
                assert!(
                    fs::read(folder.path().join(name)).unwrap() == bytes,
                    "{len}"
                );
                let download = plain.get(name).await.unwrap();
                assert_eq!(download.len, Some(len as u64));
                assert!(download.bytes().await.unwrap() == bytes, "{len}");
            }
        }
        assert_eq!(entries(folder.path()), ["a", "b", "source"]);
    }
}

#[tokio::test]
async fn a_body_of_another_length_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let source = tempfile::NamedTempFile::new().unwrap();
    fs::write(source.path(), content(100)).unwrap();
    let destination = open_folder(folder.path());
    destination
        .put("old", Body::from_bytes("old"), Existing::Replace)
        .await
        .unwrap();
    for body in [
        Body::from_file(source.path().to_path_buf(), 101),
        Body::from_file(source.path().to_path_buf(), 99),
        Body::from_file(folder.path().join("missing"), 99),
        Body::from_file(source.path().to_path_buf(), 100).cut_after(50),
        Body::from_bytes(content(100)).cut_after(100),
    ] {
        for name in ["old", "new"] {
            assert_eq!(
                kind(destination.put(name, body.clone(), Existing::Replace).await),
                ErrorKind::Other
            );
        }
    }
    assert_eq!(entries(folder.path()), ["old"]);
    assert_eq!(fs::read(folder.path().join("old")).unwrap(), b"old");
}

#[tokio::test]
async fn a_missing_folder_is_never_a_missing_file() {
    let parent = tempfile::tempdir().unwrap();
    let not_a_folder = parent.path().join("file");
    fs::write(&not_a_folder, "").unwrap();
    for path in [parent.path().join("missing"), not_a_folder] {
        let destination = open_folder(&path);
        assert_eq!(
            kind(list(destination.as_ref()).await),
            ErrorKind::FolderMissing
        );
        assert_eq!(kind(destination.get("a").await), ErrorKind::FolderMissing);
        assert_eq!(
            kind(
                destination
                    .put("a", Body::from_bytes("a"), Existing::Replace)
                    .await
            ),
            ErrorKind::FolderMissing
        );
        assert_eq!(
            kind(destination.delete("a").await),
            ErrorKind::FolderMissing
        );
        assert_eq!(
            kind(
                destination
                    .extra()
                    .rename
                    .expect("it renames")
                    .rename("a", "b")
                    .await
            ),
            ErrorKind::FolderMissing
        );
        assert_eq!(
            kind(larder_destination::test(destination.as_ref()).await),
            ErrorKind::FolderMissing
        );
        assert_eq!(
            kind(destination.extra().space.expect("it knows").space().await),
            ErrorKind::FolderMissing
        );
    }
    assert_eq!(
        kind(
            open_folder(&parent.path().join("file"))
                .create_folder()
                .await
        ),
        ErrorKind::Exists
    );
    assert_eq!(
        kind(
            open_folder(&parent.path().join("file/below"))
                .create_folder()
                .await
        ),
        ErrorKind::Exists
    );
    open_folder(&parent.path().join("a/b/c"))
        .create_folder()
        .await
        .unwrap();
    assert!(parent.path().join("a/b/c").is_dir());
}

#[tokio::test]
async fn listings_pass_over_what_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("file"), "12345").unwrap();
    fs::create_dir(path("sub")).unwrap();
    std::os::unix::fs::symlink("nowhere", path("dangling")).unwrap();
    std::os::unix::fs::symlink("circle", path("circle")).unwrap();
    std::os::unix::fs::symlink("file", path("link")).unwrap();
    fs::write(path("d-b1.dblock.zip.01234567.part"), "").unwrap();
    let socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    let destination = open_folder(folder.path());
    let found = list(destination.as_ref()).await.unwrap();
    let shown: Vec<_> = found
        .iter()
        .map(|file| (file.name.as_str(), file.size, file.is_folder))
        .collect();
    assert_eq!(
        shown,
        [
            ("file", Some(5), false),
            ("link", Some(5), false),
            ("sub", None, true)
        ]
    );
    assert!(
        found
            .iter()
            .all(|file| file.modified.is_some_and(|time| time > 1_600_000_000))
    );
    assert_eq!(kind(destination.get("sub").await), ErrorKind::NotFound);
    assert_eq!(kind(destination.get("socket").await), ErrorKind::NotFound);
    assert_eq!(
        kind(
            destination
                .put("sub", Body::from_bytes("x"), Existing::Replace)
                .await
        ),
        ErrorKind::Exists
    );
    drop(socket);
}

#[tokio::test]
async fn unfinished_files_are_neither_listed_nor_written_and_can_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let names = [
        format!("{TEMPORARY_PREFIX}00000000000000aa"),
        "d-i1.dindex.zip.aes.6702b28a.part".to_owned(),
    ];
    for name in &names {
        let file = fs::File::create(folder.path().join(name)).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.set_modified(modified - Duration::from_secs(90_000))
            .unwrap();
    }
    let destination = open_folder(folder.path());
    assert!(list(destination.as_ref()).await.unwrap().is_empty());
    for name in &names {
        let put = destination.put(name, Body::from_bytes("x"), Existing::Replace);
        assert_eq!(kind(put.await), ErrorKind::Config);
    }
    let leftovers = destination.extra().leftovers.unwrap();
    assert_eq!(leftovers.remove_leftovers(&|_| false).await.unwrap(), 2);
    assert_eq!(entries(folder.path()), [""; 0]);
}

/// Sixteen writers that wait for their turn must not take all threads that could read what they wait for.
#[test]
fn many_slow_puts_of_files_do_not_block_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let source = tempfile::NamedTempFile::new().unwrap();
    fs::write(source.path(), content(600_000)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let ended = runtime.block_on(async {
        let limit = Arc::new(RateLimit::new(20_000_000));
        let slow = Throttle::new(open_folder(folder.path()), limit.clone(), limit);
        let names: Vec<_> = (0..16).map(|number| format!("file {number}")).collect();
        let puts = names.iter().map(|name| {
            let body = Body::from_file(source.path().to_path_buf(), 600_000);
            slow.put(name, body, Existing::Refuse)
        });
        let all = async {
            futures_util::future::try_join_all(puts).await?;
            let gets = names.iter().map(|name| async {
                let mut download = slow.get(name).await?;
                // Somebody who reads a little of each before going on.
                download.stream.try_next().await?;
                Ok::<_, Error>(download)
            });
            let downloads = futures_util::future::try_join_all(gets).await?;
            list(&slow).await?;
            futures_util::future::try_join_all(downloads.into_iter().map(|d| d.bytes())).await
        };
        tokio::time::timeout(Duration::from_secs(60), all).await
    });
    ended.expect("it stands still").unwrap();
    assert_eq!(entries(folder.path()).len(), 16);
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused_however_it_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::write(&source, "new").unwrap();
    fs::write(folder.path().join("file"), "old").unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
    let before = entries(folder.path());
    let moves = [
        ("use-move-for-put", "true"),
        ("disable-streaming-transfers", "true"),
    ];
    let url = folder.path().to_str().unwrap();
    for destination in [open_folder(folder.path()), open_with(url, &moves).unwrap()] {
        for name in ["file", "folder", "link"] {
            for body in [Body::from_bytes("new"), Body::from_file(source.clone(), 3)] {
                let put = destination.put(name, body, Existing::Refuse).await;
                assert_eq!(kind(put), ErrorKind::Exists, "{name}");
            }
        }
    }
    assert_eq!(entries(folder.path()), before);
    assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"old");
}

#[test]
fn one_folder_is_one_place() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().canonicalize().unwrap();
    fs::create_dir_all(root.join("x/sub")).unwrap();
    std::os::unix::fs::symlink(root.join("x"), root.join("link")).unwrap();
    let place = |path: &str| {
        let url = format!("file://{}/{path}", root.display());
        let url = Url::parse(&url, Path::new("/")).unwrap();
        let config = Config::with_options(url, Values::new(), PathBuf::from("/"), TABLE);
        (PROVIDER.identity)(&config).unwrap()
    };
    // `d` does not exist yet: its place must stay when it is created.
    let spellings = [
        "x/d",
        "x/d/",
        "x//d",
        "x/./d",
        "x/d/.",
        "x/sub/../d",
        "x/none/../d",
        "link/d",
        "link/sub/../d",
        "link/sub/../../x/d",
    ];
    for spelling in spellings {
        assert_eq!(place(spelling), place("x/d"), "{spelling}");
    }
    let before = place("x/d");
    fs::create_dir(root.join("x/d")).unwrap();
    for spelling in spellings {
        if spelling != "x/none/../d" {
            assert_eq!(place(spelling), before, "{spelling}");
        }
    }
    assert_ne!(place("x/D"), before);
    assert_ne!(place("x"), before);
}

#[cfg(unix)]
#[test]
fn alternatives_are_divided() {
    for (text, expected) in [
        ("", &[][..]),
        ("/a;/b c; d ;", &["/a", "/b c", "d"]),
        ("/a:/b:c", &["/a", "/b", "c"]),
        ("/a:/b;/c", &["/a", "/b", "/c"]),
        ("E:\\b;/a;*:\\x", &["E:\\b", "/a", "*:\\x"]),
    ] {
        assert_eq!(divided(text), expected, "{text}");
    }
}

#[test]
fn the_first_fitting_folder_is_chosen() {
    let root = tempfile::tempdir().unwrap();
    let folder = |name: &str| root.path().join(name);
    for name in ["b", "c"] {
        fs::create_dir(folder(name)).unwrap();
    }
    fs::write(folder("c").join("mark"), "").unwrap();
    let chosen = |names: &[&str], marker| {
        let candidates: Vec<_> = names.iter().map(|name| folder(name)).collect();
        choose(&candidates, marker)
            .map(Path::to_path_buf)
            .map_err(|error| error.to_string())
    };
    assert_eq!(chosen(&["a"], None), Ok(folder("a")));
    assert_eq!(chosen(&["a", "b", "c"], None), Ok(folder("b")));
    assert_eq!(chosen(&["a", "x"], None), Ok(folder("a")));
    assert_eq!(chosen(&["a", "b", "c"], Some("mark")), Ok(folder("c")));
    let error = chosen(&["a", "b"], Some("mark")).unwrap_err();
    assert!(
        error.contains(&folder("a").display().to_string()),
        "{error}"
    );
    assert!(error.contains("marker file mark"), "{error}");
    chosen(&["a", "c"], Some("../mark")).unwrap_err();
}

#[tokio::test]
async fn a_dropped_put_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let limit = Arc::new(RateLimit::new(1000));
    let slow = Throttle::new(
        open_folder(folder.path()),
        limit,
        Arc::new(RateLimit::new(0)),
    );
    let put = slow.put("a", Body::from_bytes(content(1 << 20)), Existing::Replace);
    tokio::time::timeout(Duration::from_millis(100), put)
        .await
        .unwrap_err();
    for _ in 0..200 {
        if entries(folder.path()).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", entries(folder.path()));
}

#[tokio::test]
async fn finished_volumes_may_be_moved() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    let url = folder.path().to_str().unwrap();
    let body = || Body::from_file(source.clone(), 4);
    fs::write(&source, "four").unwrap();
    let copies = open_with(url, &[("use-move-for-put", "true")]).unwrap();
    copies.put("a", body(), Existing::Replace).await.unwrap();
    assert_eq!(entries(folder.path()), ["a", "source"]);
    let moves = open_with(
        url,
        &[
            ("use-move-for-put", "true"),
            ("disable-streaming-transfers", "true"),
        ],
    )
    .unwrap();
    assert_eq!(
        kind(
            moves
                .put("b", Body::from_file(source.clone(), 5), Existing::Replace)
                .await
        ),
        ErrorKind::Other
    );
    moves.put("b", body(), Existing::Replace).await.unwrap();
    assert_eq!(entries(folder.path()), ["a", "b"]);
    assert_eq!(fs::read(folder.path().join("b")).unwrap(), b"four");
}

/// A source on a mount that does not answer held up all other transfers and their time-outs.
#[tokio::test]
async fn a_source_that_opens_slowly_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    let destination = open_folder(folder.path());
    let body = Body::from_file(pipe.clone(), 4);
    // A pipe cannot be opened for reading before somebody opens it for writing.
    let (ask, asked) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        let answer = asked.recv_timeout(Duration::from_secs(10));
        fs::write(pipe, "four").unwrap();
        answer
    });
    let others = async {
        for _ in 0..50 {
            let pause = || std::thread::sleep(Duration::from_millis(10));
            tokio::task::spawn_blocking(pause).await.unwrap();
        }
        let _ = ask.send(());
    };
    let (stored, ()) = tokio::join!(destination.put("a", body, Existing::Replace), others);
    stored.unwrap();
    let answer = writer.join().unwrap();
    assert!(answer.is_ok(), "nothing else went on while it was opened");
    assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"four");
}

#[tokio::test]
async fn a_marker_that_vanishes_stops_writing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let options = [
        ("alternate-target-paths", path),
        ("alternate-destination-marker", "mark"),
    ];
    assert_eq!(kind(open_with("/nowhere", &options)), ErrorKind::Config);
    fs::write(folder.path().join("mark"), "").unwrap();
    let destination = open_with("/nowhere", &options).unwrap();
    assert_eq!(destination.about().display, format!("file://{path}"));
    destination
        .put("a", Body::from_bytes("a"), Existing::Replace)
        .await
        .unwrap();
    fs::remove_file(folder.path().join("mark")).unwrap();
    assert_eq!(
        kind(
            destination
                .put("b", Body::from_bytes("b"), Existing::Replace)
                .await
        ),
        ErrorKind::FolderMissing
    );
    assert_eq!(entries(folder.path()), ["a"]);
}

#[tokio::test]
async fn long_listings_and_dropped_streams_work() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..1500 {
        fs::write(folder.path().join(format!("{number:04}")), "").unwrap();
    }
    let destination = open_folder(folder.path());
    assert_eq!(list(destination.as_ref()).await.unwrap().len(), 1500);
    let mut first = destination.list();
    assert!(first.try_next().await.unwrap().is_some());
    drop(first);
    fs::write(folder.path().join("big"), content(8 << 20)).unwrap();
    let mut download = destination.get("big").await.unwrap();
    assert!(download.stream.try_next().await.unwrap().is_some());
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big");
    fs::write(&path, content(64 << 20)).unwrap();
    let destination = open_folder(folder.path());
    let download = destination.get("big").await.unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1000)
        .unwrap();
    assert_eq!(kind(download.bytes().await), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_lost_reply_leaves_the_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    let plan = FaultPlan::new();
    let faults = Faults::new(open_folder(folder.path()), plan.clone());
    plan.push(Operation::Put, Failure::After(ErrorKind::Network));
    assert_eq!(
        kind(
            faults
                .put("a", Body::from_bytes("a"), Existing::Replace)
                .await
        ),
        ErrorKind::Network
    );
    plan.push(Operation::Put, Failure::Cut(3));
    assert_eq!(
        kind(
            faults
                .put("b", Body::from_bytes("bbbbb"), Existing::Replace)
                .await
        ),
        ErrorKind::Other
    );
    assert_eq!(entries(folder.path()), ["a"]);
}

#[test]
fn declarations_are_sound() {
    for decl in TABLE {
        assert!(
            decl.help.ends_with('.') && !decl.help.contains("; "),
            "{}",
            decl.name
        );
        assert!(decl.default.is_none() || !decl.is_secret(), "{}", decl.name);
    }
    let values = Values::new();
    assert!(larder_options::check(&values, &[TABLE]).is_empty());
}
