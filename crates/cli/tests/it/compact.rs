//! `compact`, and what `delete` and `backup` free afterwards.

use super::support::Place;

/// Three versions, the middle one with a large file of its own.
fn three_versions() -> Place {
    let place = Place::with_source();
    place.write("source/letter.txt", b"first");
    place.backup(&[]).code(0);
    place.write_noise("source/large", 3_000_000, 1);
    place.backup(&[]).code(0);
    std::fs::remove_file(place.path("source/large")).expect("a file to remove");
    place.backup(&[]).code(0);
    place
}

#[test]
fn space_that_no_version_needs_comes_back() {
    let place = three_versions();
    place
        .on::<&str>("compact", [])
        .code(0)
        .says("Nothing to compact: ");
    place
        .on("delete", ["--version=1", "--no-auto-compact"])
        .code(0);
    let files = place.snapshot("destination");
    let ran = place.on("compact", ["--dry-run"]).code(0);
    ran.says("[Dryrun]: Would delete remote file: duplicati-b")
        .says("would be removed, ");
    assert_eq!(place.snapshot("destination"), files);
    let ran = place.on("compact", ["--json"]).code(0);
    let json = ran.json();
    assert_eq!(json["MainOperation"], "Compact");
    assert_eq!(json["DeletedFileCount"], 2, "{json}");
    assert_eq!(json["DownloadedFileCount"], 0, "{json}");
    assert_eq!(json["Dryrun"], false, "{json}");
    assert!(json["VacuumResults"].is_null(), "{json}");
    assert_eq!(place.stored_with("dblock").len(), 2);
    assert_eq!(place.stored_with("dindex").len(), 2);
    place.restore("out", &["--version=1"]).code(0);
    let text = std::fs::read(place.path("out").join("letter.txt")).expect("a text");
    assert_eq!(text, b"first");
    place.on("test", ["all"]).code(0);
}

#[test]
fn a_deletion_frees_space_and_says_so() {
    let place = three_versions();
    let ran = place.on("delete", ["--version=1", "--json"]).code(0);
    let json = ran.json();
    assert_eq!(json["CompactResults"]["DeletedFileCount"], 2, "{json}");
    assert_eq!(place.stored_with("dblock").len(), 2);
    place.write("source/letter.txt", b"fourth");
    let ran = place
        .backup(&["--small-file-max-count=1", "--json"])
        .code(0);
    let json = ran.json();
    assert_eq!(json["CompactResults"]["DownloadedFileCount"], 3, "{json}");
    assert_eq!(place.stored_with("dblock").len(), 1);
    place.restore("out", &[]).code(0);
    place.on("test", ["all"]).code(0);
}

#[test]
fn a_compaction_that_is_held_back_says_why() {
    let place = three_versions();
    let list = place.stored_with("dlist").remove(0);
    std::fs::write(place.path("destination").join(list), b"x").expect("a file");
    place
        .on::<&str>("compact", [])
        .code(2)
        .complains("no space is freed, since the version list ");
    assert_eq!(place.stored_with("dblock").len(), 3);
}
