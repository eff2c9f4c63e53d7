//! `vacuum` and `--auto-vacuum`: the local catalog becomes as small as its content.

use super::support::Place;

/// A backup whose catalog has room that it does not use: most of the files of the only version that is left are gone.
fn with_room() -> Place {
    let place = Place::with_source();
    for number in 0..4000 {
        let name = format!("source/many/a rather long name of a file {number}");
        place.write(&name, format!("{number}").as_bytes());
    }
    place.backup(&["--blocksize=1kb"]).code(0);
    std::fs::remove_dir_all(place.path("source/many")).expect("removed");
    place.backup(&["--accept-source-changes"]).code(0);
    place.on("delete", ["--version=1"]).code(0);
    place
}

fn catalog_len(place: &Place) -> u64 {
    let folder = std::fs::read_dir(place.path("state/larder")).expect("the data folder");
    let lens = folder.filter_map(|entry| {
        let entry = entry.expect("an entry");
        let is_catalog = entry.file_name().to_string_lossy().ends_with(".sqlite");
        is_catalog.then(|| entry.metadata().expect("facts").len())
    });
    lens.sum()
}

#[test]
fn the_catalog_becomes_smaller_and_nothing_else_changes() {
    let place = with_room();
    let stored = place.snapshot("destination");
    let before = catalog_len(&place);
    // A dry run says the same and changes nothing.
    let state = place.snapshot("state");
    let ran = place.on("vacuum", ["--dry-run", "--json"]).code(0);
    let would = ran.json();
    assert_eq!(would["Dryrun"], true);
    assert_eq!(would["SizeBefore"], before);
    assert!(place.snapshot("state") == state);
    place
        .on("vacuum", ["--dry-run"])
        .code(0)
        .says("The local catalog had ")
        .says(" and would have ");
    // No passphrase is needed, and no destination.
    std::fs::rename(place.path("destination"), place.path("away")).expect("renamed");
    let ran = place.run(["vacuum", &place.url()]).code(0);
    let ran = ran.says("The local catalog had ").says(" and has now ");
    assert_eq!(ran.out.lines().count(), 1, "{}", ran.out);
    std::fs::rename(place.path("away"), place.path("destination")).expect("renamed");
    let after = catalog_len(&place);
    assert!(after < before * 3 / 4, "{before} {after}");
    assert_eq!(would["SizeAfter"], after);
    assert!(place.snapshot("destination") == stored);
    // The catalog is used as it is: nothing is read again.
    let listed = place.on("find", ["letter.txt", "--json"]).code(0).json();
    assert_eq!(listed["BackendStatistics"]["FilesDownloaded"], 0);
    assert_eq!(listed["Files"][0]["Sizes"][0], 13);
    place.backup(&[]).code(1);
    place.restore("out", &[]).code(0);
}

#[test]
fn without_a_catalog_it_says_so_and_makes_none() {
    let place = Place::with_backup();
    place.lose_state();
    let ran = place.on("vacuum", [""; 0]).code(0);
    assert_eq!(
        ran.out,
        "There is no local catalog of this backup here, so none is made smaller\n"
    );
    let ran = place.on("vacuum", ["--json"]).code(0).json();
    assert_eq!(ran["DatabasePath"], serde_json::Value::Null);
    assert_eq!(ran["SizeAfter"], 0);
    let missing = format!("--dbpath={}", place.text("elsewhere/catalog"));
    place
        .on("vacuum", [missing])
        .code(0)
        .says("There is no local catalog");
    assert!(!place.path("state").exists() && !place.path("elsewhere").exists());
    place.on("vacuum", ["x"]).code(200);
    // Somebody's file is left alone.
    place.write("letter", b"dear");
    let other = format!("--dbpath={}", place.text("letter"));
    place
        .on("vacuum", [other])
        .code(100)
        .fails_with("NotACatalog");
    assert_eq!(std::fs::read(place.path("letter")).expect("there"), b"dear");
}

#[test]
fn a_backup_makes_the_catalog_smaller_when_it_is_due() {
    let place = with_room();
    let before = catalog_len(&place);
    place.backup(&[]).code(1);
    assert!(catalog_len(&place) >= before);
    place
        .backup(&["--auto-vacuum", "--auto-vacuum-interval=7D"])
        .code(1);
    let after = catalog_len(&place);
    assert!(after < before * 3 / 4, "{before} {after}");
    // Not again within a week.
    let room = |place: &Place, options: &[&str]| {
        place.write("source/large list", &vec![b'x'; 5_000_000]);
        for number in 0..4000 {
            let name = format!("source/many/another long name of a file {number}");
            place.write(&name, b"");
        }
        place.backup(options).code(0);
        std::fs::remove_dir_all(place.path("source/many")).expect("removed");
        place
            .backup(&[options, &["--accept-source-changes"]].concat())
            .code(0);
        place.on("delete", ["--version=1"]).code(0);
        place.backup(options).code(1);
        catalog_len(place)
    };
    let long = room(&place, &["--auto-vacuum", "--auto-vacuum-interval=7D"]);
    assert!(long > after * 5 / 4, "{after} {long}");
    place.backup(&["--auto-vacuum"]).code(1);
    assert!(catalog_len(&place) < long * 4 / 5);
}
