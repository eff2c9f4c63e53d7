//! `restore`: output and exit codes.

use super::support::Place;

#[test]
fn everything_comes_back() {
    let place = Place::with_backup();
    let ran = place.restore("out", &[]).code(0);
    assert_eq!(ran.err, "");
    let lines: Vec<&str> = ran
        .out
        .lines()
        .filter(|line| !line.contains("Downloading"))
        .collect();
    assert!(lines[0].starts_with("Restore started at 20"), "{}", ran.out);
    let duration = lines.last().copied().unwrap_or_default();
    assert!(
        duration.starts_with("Duration of restore: 00:00:"),
        "{duration}"
    );
    assert_eq!(
        &lines[1..lines.len() - 1],
        [
            "Checking remote backup ...",
            "  Listing remote folder ...",
            "Reading version lists ...",
            "Checking existing target files ...",
            "  3 files need to be restored (21 bytes)",
            "Restoring files ...",
            "Applying times and permissions ...",
            &format!("Restored 3 (21 bytes) files to {}", place.text("out")),
        ]
    );
    let content = std::fs::read(place.path("out/notes/two.txt")).expect("restored");
    assert_eq!(content, b"two\n");
    let link = std::fs::read_link(place.path("out/link")).expect("a link");
    assert_eq!(link.to_str(), Some("letter.txt"));
    place
        .restore("out", &[])
        .code(0)
        .says("3 files (21 bytes) were right already");
}

#[test]
fn patterns_choose() {
    let place = Place::with_backup();
    place.restore("one", &["one.txt"]).code(0);
    assert_eq!(place.snapshot("one").len(), 2);
    place
        .restore("none", &["*nothing*"])
        .code(100)
        .fails_with("EmptyRestoreOperation");
    assert!(!place.path("none").exists());
}

#[test]
fn original_places() {
    let place = Place::with_backup();
    std::fs::remove_dir_all(place.path("source/notes")).expect("removed");
    place
        .on("restore", ["*"])
        .code(0)
        .says("files to original location");
    assert!(place.path("source/notes/one.txt").exists());
}

#[test]
fn existing_files_are_kept_unless_told_otherwise() {
    let place = Place::with_backup();
    place.write("out/letter.txt", b"mine");
    place.restore("out", &["letter.txt"]).code(0);
    assert_eq!(
        std::fs::read(place.path("out/letter.txt")).expect("a file"),
        b"mine"
    );
    assert_eq!(place.snapshot("out").len(), 3, "beside it, with a date");
    place.restore("out", &["letter.txt", "--overwrite"]).code(0);
    assert_eq!(
        std::fs::read(place.path("out/letter.txt")).expect("a file"),
        b"Dear reader,\n"
    );
}

#[test]
fn lost_data_is_named_and_the_rest_restored() {
    let place = Place::with_backup();
    place.write("source/second.txt", b"in another volume");
    let first = place.stored_with("dblock");
    place.backup(&[]).code(0);
    std::fs::remove_file(place.path(&format!("destination/{}", first[0]))).expect("removed");
    let ran = place
        .restore("out", &[])
        .code(2)
        .complains("files could not be restored:")
        .complains("/letter.txt");
    assert!(!ran.err.contains("second.txt"), "{}", ran.err);
    assert_eq!(
        std::fs::read(place.path("out/second.txt")).expect("restored"),
        b"in another volume"
    );
}

#[test]
fn without_the_local_database() {
    let place = Place::with_backup();
    place.lose_state();
    place.restore("out", &["--no-local-db"]).code(0);
    assert!(place.path("out/letter.txt").exists());
    assert!(!place.path("state").exists());
}
