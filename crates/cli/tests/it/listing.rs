//! `list`, `find` and `list-filesets`: shapes that scripts read (commands spec 1.4).

use super::support::Place;

/// A place with two versions.
fn two_versions() -> Place {
    let place = Place::with_backup();
    place.write("source/letter.txt", b"Dear reader, once more\n");
    place.write("source/new.txt", b"new");
    std::fs::remove_file(place.path("source/notes/one.txt")).expect("removed");
    place.backup(&[]).code(0);
    place
}

/// Replaces times by `T`.
fn without_times(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("20") {
        let candidate = rest.get(at..at + 26).unwrap_or_default();
        let is_time = candidate.ends_with("+00:00") && candidate.as_bytes().get(10) == Some(&b' ');
        let len = if is_time { 26 } else { 2 };
        out.push_str(&rest[..at]);
        out.push_str(if is_time { "T" } else { "20" });
        rest = &rest[at + len..];
    }
    out + rest
}

#[test]
fn versions() {
    let place = two_versions();
    let ran = place.on("list", [""; 0]).code(0);
    assert_eq!(
        without_times(&ran.out),
        "Listing filesets:\n0\t: T (3 files, 30 bytes)\n1\t: T (3 files, 21 bytes)\n"
    );
    assert_eq!(ran.err, "");
    let ran = place.on("list-filesets", [""; 0]).code(0);
    assert_eq!(
        without_times(&ran.out),
        "Listing filesets:\n0\t: T (6 files, 30 bytes)\n1\t: T (6 files, 21 bytes)\n"
    );
    let find = place.on("find", [""; 0]).code(0);
    assert!(find.out.starts_with("Listing filesets:\n0\t: "));
}

#[test]
fn files_of_one_version() {
    let place = two_versions();
    let root = place.text("source");
    let newest = format!(
        "Listing contents 0 (T):\n{root}/\n{root}/letter.txt (23 bytes)\n{root}/link\n{root}/new.txt (3 bytes)\n\
         {root}/notes/\n{root}/notes/two.txt (4 bytes)\n"
    );
    for args in [&["*"][..], &["0"], &["now"], &["*", "--version=0"]] {
        let ran = place.on("list", args).code(0);
        assert_eq!(without_times(&ran.out), newest, "{args:?}");
    }
    place
        .on("list", ["1"])
        .code(0)
        .says("Listing contents 1 (")
        .says("/notes/one.txt (4 bytes)\n");
    // A bare name means files of that name anywhere.
    let ran = place.on("list", ["letter.txt"]).code(0);
    assert_eq!(
        without_times(&ran.out),
        format!("Listing contents 0 (T):\n{root}/letter.txt (23 bytes)\n")
    );
    place
        .on("list", ["7"])
        .code(100)
        .fails_with("NoSuchVersion");
    place
        .on("list", ["*", "--version=0,9"])
        .code(0)
        .complains("Warning [SkipInvalidVersion]");
}

#[test]
fn files_of_several_versions() {
    let place = two_versions();
    let root = place.text("source");
    let expected = format!(
        "Listing files and versions:\n{root}/new.txt\n0\t: T 3 bytes\n1\t: T  - \n\n\
         {root}/notes/one.txt\n0\t: T  - \n1\t: T 4 bytes\n\n"
    );
    for (verb, args) in [
        ("find", &["*new.txt", "one.txt"][..]),
        ("list", &["*new.txt", "one.txt", "--all-versions"]),
        ("list", &["*new.txt", "one.txt", "--version=0,1"]),
    ] {
        let ran = place.on(verb, args).code(0);
        assert_eq!(without_times(&ran.out), expected, "{verb} {args:?}");
    }
    place
        .on("find", ["letter.txt", "--version=1"])
        .code(0)
        .says("Listing contents 1 (");
}

#[test]
fn nothing_found() {
    let place = two_versions();
    let ran = place.on("list", ["one.txt"]).code(0);
    let root = place.text("source");
    assert_eq!(
        without_times(&ran.out),
        format!(
            "No files matching, looking in all versions\nListing files and versions:\n{root}/notes/one.txt\n\
             0\t: T  - \n1\t: T 4 bytes\n\n"
        )
    );
    let ran = place.on("list", ["*.nothing"]).code(0);
    assert_eq!(
        ran.out,
        "No files matching, looking in all versions\nNo files matched expression\n"
    );
    let ran = place.on("find", ["*.nothing"]).code(0);
    assert_eq!(ran.out, "No files matched expression\n");
}

#[test]
fn lists_may_be_cut_down() {
    let place = two_versions();
    let root = place.text("source");
    let ran = place
        .on(
            "list",
            [format!("{root}/notes/*").as_str(), "--list-folder-contents"],
        )
        .code(0);
    assert_eq!(
        without_times(&ran.out),
        format!("Listing contents 0 (T):\n{root}/notes/two.txt (4 bytes)\n")
    );
    let ran = place.on("list", ["*.txt", "--list-prefix-only"]).code(0);
    assert_eq!(
        without_times(&ran.out),
        format!("Listing contents 0 (T):\n{root}/\n")
    );
    place
        .on("list", ["*", "--list-sets-only"])
        .code(0)
        .says("Listing filesets:\n0\t: ");
}

#[test]
fn filters_list_too() {
    let place = two_versions();
    let ran = place.on("list", ["--include=*two*"]).code(0);
    assert_eq!(
        without_times(&ran.out),
        format!(
            "Listing contents 0 (T):\n{}/notes/two.txt (4 bytes)\n",
            place.text("source")
        )
    );
}

#[test]
fn control_files_are_listed_and_restored() {
    let place = Place::with_source();
    place.write("setup.conf", b"how it was made");
    place.backup(&["--control-files=setup.conf"]).code(0);
    let ran = place.on("list", ["--control-files"]).code(0);
    assert_eq!(
        without_times(&ran.out),
        "Listing contents 0 (T):\nsetup.conf (15 bytes)\n"
    );
    place
        .restore("out", &["--control-files"])
        .code(0)
        .says("Restored 1 (15 bytes) file to ");
    assert_eq!(
        std::fs::read(place.path("out/setup.conf")).expect("restored"),
        b"how it was made"
    );
    place.restore("out", &["--control-files"]).code(2);
    place
        .on("restore", ["--control-files"])
        .code(100)
        .fails_with("NoRestorePath");
}

/// Both had one name in the version, and one was lost.
#[test]
fn control_files_of_one_name_are_both_kept() {
    for container in ["zip", "tgz"] {
        let place = Place::with_source();
        place.write("setup.conf", b"the first");
        place.write("etc/setup.conf", b"the second one");
        let container = format!("--compression-module={container}");
        place
            .backup(&["--control-files=setup.conf:etc/setup.conf", &container])
            .code(0)
            .complains("etc/setup.conf is kept under the name \"setup (2).conf\"");
        let ran = place.on("list", ["--control-files"]).code(0);
        assert_eq!(
            without_times(&ran.out),
            "Listing contents 0 (T):\nsetup.conf (9 bytes)\nsetup (2).conf (14 bytes)\n"
        );
        place.restore("out", &["--control-files"]).code(0);
        for (name, content) in [
            ("setup.conf", "the first"),
            ("setup (2).conf", "the second one"),
        ] {
            let path = place.path(&format!("out/{name}"));
            assert_eq!(std::fs::read_to_string(path).expect("restored"), content);
        }
    }
}

#[test]
fn lists_need_no_passphrase_once_the_versions_are_known() {
    let place = two_versions();
    place.run(["list", &place.url()]).code(0).says("0\t: ");
    // The catalog knows the files of a version that was read before.
    place
        .run(["list", &place.url(), "*"])
        .code(0)
        .says("letter.txt");
    place.lose_state();
    place
        .run(["list", &place.url(), "*"])
        .code(100)
        .fails_with("PassphraseMissing");
}

#[test]
fn a_place_without_backup() {
    let place = Place::new();
    place
        .on("list", [""; 0])
        .code(100)
        .fails_with("FolderMissing");
    std::fs::create_dir(place.path("destination")).expect("a folder");
    place
        .on("list", [""; 0])
        .code(100)
        .fails_with("EmptyRemoteLocation");
    place.write("destination/other-20240101T000000Z.dlist.zip.aes", b"x");
    place
        .on("list", [""; 0])
        .code(100)
        .complains("it holds backups with the prefix other");
}
