//! What depends on file systems that are not at hand, and names.

use std::fs;

use larder_destination::{Operation, SystemRandom, TEMPORARY_PREFIX};
use rustix::fs::FlockOperation;

use super::*;
use crate::SCHEME;

fn subject(folder: &Path, operation: Operation, name: &str) -> Subject {
    Subject {
        folder: folder.into(),
        call: Call::on(SCHEME, operation, name),
    }
}

#[test]
fn unfinished_files_are_known_by_their_names() {
    let present = format!("{TEMPORARY_PREFIX}0123456789abcdef");
    for (name, temporary) in [
        ("a", false),
        (&present, true),
        (&format!("{TEMPORARY_PREFIX}x"), false),
        ("duplicati-i1.dindex.zip.aes.6702b28a.part", true),
        ("a.part", false),
        ("film.mkv.6702b28a.part", false),
        ("my.dblock..6702b28a.part", false),
        ("a.0000000g.part", false),
        ("a.0000000.part", false),
        ("0000000a.part", false),
        ("a.DEADBEEF.part", false),
        ("a.deadbeef.part.x", false),
    ] {
        assert_eq!(is_temporary(name), temporary, "{name:?}");
    }
}

#[test]
fn error_numbers_are_sorted() {
    for (errno, kind) in [
        (Errno::NOSPC, ErrorKind::Quota),
        (Errno::DQUOT, ErrorKind::Quota),
        (Errno::ACCESS, ErrorKind::Denied),
        (Errno::PERM, ErrorKind::Denied),
        (Errno::ROFS, ErrorKind::Denied),
        (Errno::IO, ErrorKind::Network),
        (Errno::STALE, ErrorKind::Network),
        (Errno::HOSTDOWN, ErrorKind::Network),
        (Errno::HOSTUNREACH, ErrorKind::Network),
        (Errno::NETUNREACH, ErrorKind::Network),
        (Errno::NETDOWN, ErrorKind::Network),
        (Errno::TIMEDOUT, ErrorKind::Network),
        (Errno::NOTCONN, ErrorKind::Network),
        (Errno::CONNRESET, ErrorKind::Network),
        (Errno::CONNABORTED, ErrorKind::Network),
        (Errno::CONNREFUSED, ErrorKind::Network),
        (Errno::PIPE, ErrorKind::Network),
        (Errno::AGAIN, ErrorKind::Network),
        (Errno::BUSY, ErrorKind::Network),
        (Errno::ISDIR, ErrorKind::Exists),
        (Errno::EXIST, ErrorKind::Exists),
        (Errno::NOTEMPTY, ErrorKind::Exists),
        (Errno::NAMETOOLONG, ErrorKind::Other),
    ] {
        let error = subject(Path::new("/"), Operation::Put, "x").explain(errno.into());
        assert_eq!(*error.kind(), kind, "{errno}");
        assert_eq!(error.object_name(), "/x");
    }
}

#[test]
fn a_missing_folder_is_not_a_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let explain =
        |folder: &Path, name| subject(folder, Operation::Get, name).explain(Errno::NOENT.into());
    assert_eq!(*explain(folder.path(), "x").kind(), ErrorKind::NotFound);
    assert_eq!(*explain(&missing, "x").kind(), ErrorKind::FolderMissing);
    assert_eq!(*explain(&missing, "").kind(), ErrorKind::FolderMissing);
    let text = explain(folder.path(), "x").to_string();
    assert_eq!(text, "file get x: there is no such file");
}

#[test]
fn only_unfinished_files_that_nobody_writes_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let on = subject(path, Operation::RemoveLeftovers, "");
    let minutes = |age: u64| Duration::from_secs(age * 60);
    let make = |name: &str, age: Duration| {
        let file = File::create(path.join(name)).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.set_modified(modified - age).unwrap();
        file
    };
    let present = |digit: &str| format!("{TEMPORARY_PREFIX}{}", digit.repeat(16));
    drop(make(&present("1"), minutes(2)));
    drop(make(&present("2"), minutes(0)));
    drop(make("d-b1.dblock.zip.00000001.part", minutes(25 * 60)));
    drop(make("d-b2.dblock.zip.00000002.part", minutes(2)));
    drop(make("film.mkv.00000003.part", minutes(10_000)));
    drop(make("v.part", minutes(10_000)));
    drop(make("tmp.larder.mine", minutes(10_000)));
    let held = make(&present("3"), minutes(10_000));
    rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    assert_eq!(remove_leftovers(&on, &SystemRandom).unwrap(), 2);
    let mut names: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "d-b2.dblock.zip.00000002.part",
            "film.mkv.00000003.part",
            &present("2"),
            &present("3"),
            "tmp.larder.mine",
            "v.part"
        ]
    );
    drop(held);
    assert_eq!(remove_leftovers(&on, &SystemRandom).unwrap(), 1);
}
