//! `delete`, and what a backup does with a rule for old versions.

use super::support::{PASSPHRASE, Place};

/// Three versions that differ in one file.
fn three_versions() -> Place {
    let place = Place::with_source();
    for text in ["first", "second", "third"] {
        place.write("source/letter.txt", text.as_bytes());
        place.backup(&[]).code(0);
    }
    place
}

#[test]
fn versions_go_and_are_named_as_duplicati_names_them() {
    let place = three_versions();
    let before = place.snapshot("destination");
    let ran = place.on("delete", ["--version=1", "--dry-run"]).code(0);
    ran.says("[Dryrun]: Would delete remote fileset: duplicati-")
        .says("[Dryrun]: 1 remote fileset(s) would be deleted")
        .says("[Dryrun]: Remove --dry-run to actually delete files")
        .says("The following filesets would be deleted:\n1: 20");
    assert_eq!(place.snapshot("destination"), before);
    let ran = place.on("delete", ["--version=1"]).code(0);
    ran.says("These filesets were deleted:\n1: 20");
    assert_eq!(place.stored_with("dlist").len(), 2);
    // With its data.
    assert_eq!(place.stored_with("dblock").len(), 2);
    for (version, text) in [("--version=0", "third"), ("--version=1", "first")] {
        let out = format!("out{version}");
        place.restore(&out, &[version]).code(0);
        let file = place.path(&out).join("letter.txt");
        assert_eq!(std::fs::read_to_string(file).expect("a text"), text);
    }
    place
        .on("delete", ["--keep-versions=5"])
        .code(0)
        .says("No filesets matched the criteria.");
}

#[test]
fn a_deletion_needs_a_rule() {
    let place = three_versions();
    place
        .on::<&str>("delete", [])
        .code(200)
        .complains("delete needs one of --version, --keep-versions, --keep-time and");
    place
        .on("delete", ["--version=9"])
        .code(100)
        .fails_with("NoSuchVersion");
    place
        .on("delete", ["--keep-versions=1", "--keep-time=1D"])
        .code(100)
        .fails_with("MultipleRetentionOptionsNotSupported");
    for rule in [
        "--retention-policy=abc",
        "--retention-policy=1W:2W",
        "--keep-time=abc",
    ] {
        place
            .on("delete", [rule])
            .code(100)
            .fails_with("OptionValidationError");
    }
    place
        .on("delete", ["--version=0", "--keep-versoins=1"])
        .code(100)
        .fails_with("UnsupportedOption");
    assert_eq!(place.stored_with("dlist").len(), 3);
}

#[test]
fn a_backup_lets_old_versions_go() {
    let place = three_versions();
    place.write("source/letter.txt", b"fourth");
    let ran = place.backup(&["--keep-versions=2", "--json"]).code(0);
    let sets = ran.json()["DeletedSets"].clone();
    assert_eq!(sets.as_array().map(Vec::len), Some(2), "{sets}");
    assert_eq!(place.stored_with("dlist").len(), 2);
    // Also when nothing has changed.
    place.backup(&["--keep-versions=1"]).code(1);
    assert_eq!(place.stored_with("dlist").len(), 1);
    place.restore("out", &[]).code(0);
    let url = place.url();
    let passphrase = format!("--passphrase={PASSPHRASE}");
    place.lose_state();
    place.run(["test", &url, "all", &passphrase]).code(0);
}
