//! What depends on file systems that are not at hand, and names.

use std::fs;

use larder_destination::SystemRandom;

use super::*;

#[test]
fn names_stay_in_the_folder() {
    for name in ["", ".", "..", "../x", "a/b", "/etc/x", "a/", "x\0"] {
        assert!(check_name(name).is_err(), "{name:?}");
    }
    let present = format!("{TEMPORARY_PREFIX}0123456789abcdef");
    for (name, temporary) in [
        ("a", false),
        ("...", false),
        ("..a", false),
        ("a b+%#&~!()'", false),
        ("\u{fc}", false),
        (".hidden", false),
        (&present, true),
        (&present[1..], false),
        (&present.to_uppercase(), false),
        (&format!("{present}0"), false),
        (&format!("{TEMPORARY_PREFIX}x"), false),
        (TEMPORARY_PREFIX, false),
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
        assert!(check_name(name).is_ok(), "{name:?}");
        assert_eq!(is_temporary(name), temporary, "{name:?}");
        assert_eq!(check_new_name(name).is_err(), temporary, "{name:?}");
    }
}

/// The ways of a file system without the first, or without the first two.
#[test]
fn no_way_to_give_a_name_replaces_a_file() {
    for way in [
        |from: &Path, to: &Path| give_name(from, to, Existing::Refuse),
        link_name,
        reserve_name,
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        let refused = way(&from, &to).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).unwrap(), b"old");
        assert_eq!(fs::read(&from).unwrap(), b"new");
        fs::remove_file(&to).unwrap();
        way(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"new");
        assert!(!from.exists());
        // A name whose source is gone is not left behind empty.
        fs::remove_file(&to).unwrap();
        assert!(way(&from, &to).is_err());
        assert!(!to.exists());
    }
}

#[test]
fn answers_that_a_call_is_missing_are_known() {
    for (errno, unknown) in [
        (Errno::INVAL, true),
        (Errno::NOSYS, true),
        (Errno::OPNOTSUPP, true),
        (Errno::PERM, true),
        (Errno::EXIST, false),
        (Errno::NOSPC, false),
        (Errno::IO, false),
    ] {
        assert_eq!(is_unknown(&errno.into()), unknown, "{errno}");
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
        let error = explain(errno.into(), Operation::Put, Path::new("/"), "x");
        assert_eq!(*error.kind(), kind, "{errno}");
        assert_eq!(error.object_name(), "/x");
    }
}

#[test]
fn a_missing_folder_is_not_a_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let explain = |folder: &Path, name| explain(Errno::NOENT.into(), Operation::Get, folder, name);
    assert_eq!(*explain(folder.path(), "x").kind(), ErrorKind::NotFound);
    assert_eq!(*explain(&missing, "x").kind(), ErrorKind::FolderMissing);
    assert_eq!(*explain(&missing, "").kind(), ErrorKind::FolderMissing);
    let text = explain(folder.path(), "x").to_string();
    assert_eq!(text, "file get x: there is no such file");
}

#[test]
fn only_unfinished_files_that_nobody_writes_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path: Arc<Path> = folder.path().into();
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
    assert_eq!(remove_leftovers(&path, &SystemRandom).unwrap(), 2);
    let mut names: Vec<_> = fs::read_dir(&path)
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
    assert_eq!(remove_leftovers(&path, &SystemRandom).unwrap(), 1);
}
