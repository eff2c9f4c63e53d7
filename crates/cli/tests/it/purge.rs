//! `purge`, `list-broken-files` and `purge-broken-files`.

use super::support::Place;

fn two_versions() -> Place {
    let place = Place::with_source();
    place.write("source/secret", b"the secret");
    place.backup(&[]).code(0);
    // Lists have the time of their second.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    place.write("source/letter.txt", b"second");
    place.backup(&[]).code(0);
    place
}

#[test]
fn files_go_from_all_versions() {
    let place = two_versions();
    let before = place.snapshot("destination");
    place
        .on("purge", ["*/secret", "--dry-run"])
        .code(0)
        .says("would take out ")
        .says("Would take 2 entries (20 bytes) out of 2 versions");
    assert_eq!(place.snapshot("destination"), before);
    let ran = place.on("purge", ["*/secret", "--json"]).code(0);
    let json = ran.json();
    assert_eq!(json["MainOperation"], "PurgeFiles", "{json}");
    assert_eq!(json["RemovedFileCount"], 2, "{json}");
    assert_eq!(json["RewrittenFileLists"], 2, "{json}");
    for version in ["--version=0", "--version=1"] {
        let out = format!("out{version}");
        place.restore(&out, &[version]).code(0);
        assert!(!place.path(&out).join("secret").exists());
        assert!(place.path(&out).join("letter.txt").exists());
    }
    place.on("test", ["all"]).code(0);
    place
        .on("purge", ["*/secret"])
        .code(0)
        .says("Nothing was found to take out");
}

#[test]
fn a_purge_needs_something_to_take_out() {
    let place = two_versions();
    let before = place.snapshot("destination");
    place
        .on::<&str>("purge", [])
        .code(200)
        .complains("purge needs the paths");
    place
        .on("purge", ["*/secret", "--include=*/letter.txt"])
        .code(200)
        .complains("either paths or filters");
    place
        .on("purge", ["--exclude=*/secret"])
        .code(100)
        .fails_with("PurgeWithoutInclude");
    place
        .on("purge", ["*"])
        .code(100)
        .fails_with("PurgeWouldRemoveEntireFileset");
    assert_eq!(place.snapshot("destination"), before);
}

#[test]
fn broken_files_are_named_and_taken_out() {
    let place = two_versions();
    place
        .on::<&str>("list-broken-files", [])
        .code(0)
        .says("No broken files found");
    let data = place.stored_with("dblock");
    let newest = data.iter().max_by_key(|name| {
        let path = place.path("destination").join(name);
        std::fs::metadata(path)
            .and_then(|m| m.modified())
            .expect("a time")
    });
    std::fs::remove_file(place.path("destination").join(newest.expect("a file"))).expect("gone");
    let letter = place.text("source/letter.txt");
    place
        .on::<&str>("list-broken-files", [])
        .code(0)
        .says("Fileset 0\t: ")
        .says("(1 match(es))")
        .says(&format!("\t{letter} (6 bytes)"));
    let ran = place.on("list-broken-files", ["--json"]).code(0);
    let json = ran.json();
    assert_eq!(json["BrokenFiles"][0]["Item1"], 0, "{json}");
    assert_eq!(
        json["BrokenFiles"][0]["Item3"][0]["Path"],
        letter.as_str(),
        "{json}"
    );
    place
        .on("purge-broken-files", ["--dry-run"])
        .code(0)
        .says("Would take 1 entry (6 bytes) out of 1 version");
    place
        .on::<&str>("purge-broken-files", [])
        .code(0)
        .says("Took 1 entry (6 bytes) out of 1 version");
    place
        .on::<&str>("list-broken-files", [])
        .code(0)
        .says("No broken files found");
    place.on("test", ["all"]).code(0);
    place.backup(&[]).code(0).says("Files added: 1");
}
