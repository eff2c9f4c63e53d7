//! `--dry-run` changes nothing, here or there.

use super::support::{Place, Ran};

#[test]
fn of_a_first_backup() {
    let place = Place::with_source();
    let ran = place
        .backup(&["--dry-run"])
        .code(1)
        .says("[Dryrun]: would create the remote folder")
        .says(&format!(
            "[Dryrun]: would store the new {}/letter.txt\n",
            place.text("source")
        ))
        .says("  Files added: 3\n")
        .says("Dry run completed; nothing was stored");
    assert!(!ran.out.contains("Uploading file"), "{}", ran.out);
    assert!(!place.path("destination").exists());
    assert!(!place.path("state").exists());
    let left: Vec<_> = std::fs::read_dir(place.path(""))
        .expect("the place")
        .map(|e| e.expect("an entry").file_name())
        .collect();
    assert_eq!(left, ["source"], "no temporary folder stays");
}

#[test]
fn of_everything_else() {
    let place = Place::with_backup();
    place.write("source/letter.txt", b"changed");
    let index = place.stored_with("dindex");
    std::fs::remove_file(place.path(&format!("destination/{}", index[0]))).expect("removed");
    let (state, stored) = (place.snapshot("state"), place.snapshot("destination"));
    place
        .backup(&["--dry-run"])
        .code(1)
        .says("Files changed: 1")
        .says(&format!(
            "[Dryrun]: would store the changed {}/letter.txt\n",
            place.text("source")
        ));
    place.on("repair", ["--dry-run"]).code(0);
    place
        .restore("out", &["--dry-run"])
        .code(0)
        .says(&format!(
            "[Dryrun]: would restore {}/notes/one.txt (4 bytes",
            place.text("out")
        ))
        .says("would restore 3 files");
    assert!(!place.path("out").exists());
    assert!(place.snapshot("state") == state, "the local state changed");
    assert!(
        place.snapshot("destination") == stored,
        "the destination changed"
    );
    // And what it did not do is done afterwards.
    place.backup(&[]).code(0).says("Files changed: 1");
    place.restore("out", &[]).code(0);
    assert_eq!(
        std::fs::read(place.path("out/letter.txt")).expect("restored"),
        b"changed"
    );
}

/// Each kind of line that a dry run of a restore has.
#[test]
fn of_a_restore_into_a_folder_that_holds_something() {
    let place = Place::with_backup();
    place.write("out/letter.txt", b"Dear reader,\n");
    place.write("out/notes/one.txt", b"another one\n");
    let before = place.snapshot("out");
    let out = |name: &str| place.text(&format!("out/{name}"));
    let from = "(4 bytes, parts in 1 data file)\n";
    let ran = place
        .restore("out", &["--dry-run"])
        .code(0)
        .says(&format!(
            "[Dryrun]: {} is right already\n",
            out("letter.txt")
        ))
        .says(&format!(
            "[Dryrun]: would create the link {}\n",
            out("link")
        ))
        .says(&format!(
            "[Dryrun]: would restore {} {from}",
            out("notes/two.txt")
        ))
        .says("[Dryrun]: would restore 2 files and fetch 1 data file for that\n");
    let kept = format!(
        "[Dryrun]: would keep {} and restore to {}.20",
        out("notes/one.txt"),
        out("notes/one")
    );
    let lines = |ran: &Ran, begin: &str| {
        let lines = ran.out.lines().filter(|line| line.starts_with(begin));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let kept = lines(&ran, &kept);
    assert!(
        matches!(&*kept, [line] if line.ends_with(".txt (4 bytes, parts in 1 data file)")),
        "{kept:?}\n{}",
        ran.out
    );
    assert_eq!(lines(&ran, "[Dryrun]: would create the folder").len(), 0);
    place
        .restore("out", &["--dry-run", "--overwrite"])
        .code(0)
        .says(&format!(
            "[Dryrun]: would replace {} {from}",
            out("notes/one.txt")
        ));
    place.restore("new", &["--dry-run"]).code(0).says(&format!(
        "[Dryrun]: would create the folder {}",
        place.text("new/notes")
    ));
    for data in place.stored_with("dblock") {
        std::fs::remove_file(place.path(&format!("destination/{data}"))).expect("removed");
    }
    let ran = place.restore("new", &["--dry-run"]);
    let cannot = format!("[Dryrun]: cannot restore {}", place.text("new/"));
    assert_eq!(lines(&ran, &cannot).len(), 3, "{}", ran.out);
    assert!(place.snapshot("out") == before && !place.path("new").exists());
}

#[test]
fn lost_blocks_are_not_taken_for_complete() {
    let place = Place::with_backup();
    let data = place.stored_with("dblock");
    std::fs::remove_file(place.path(&format!("destination/{}", data[0]))).expect("removed");
    place.backup(&["--dry-run"]);
    place.backup(&[]);
    place.restore("out", &[]).code(0);
    assert!(place.path("out/letter.txt").exists());
}
