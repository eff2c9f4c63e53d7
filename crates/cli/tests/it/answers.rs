//! Sentences that must say what is so: numbers with their nouns, versions that cannot be read, what was left out.

use super::support::{PASSPHRASE, Place};

/// Cuts a file of the destination in half.
fn cut(place: &Place, name: &str) {
    let path = place.path(&format!("destination/{name}"));
    let content = std::fs::read(&path).expect("the file");
    std::fs::write(&path, &content[..content.len() / 2]).expect("written");
}

#[test]
fn one_of_something_has_no_plural() {
    let place = Place::with_backup();
    place.write("out/letter.txt", b"mine");
    place
        .restore("out", &["letter.txt"])
        .code(0)
        .says("  1 file needs to be restored (")
        .says("Restored 1 (13 bytes) file to")
        .says("1 existing file was kept; the restored one stands beside it");
    place.restore("out", &["letter.txt", "--overwrite"]).code(0);
    place
        .restore("out", &["letter.txt"])
        .code(0)
        .says("1 file (13 bytes) was right already");
    place
        .restore("new", &["one.txt", "--dry-run"])
        .code(0)
        .says("would restore 1 file and fetch 1 data file for that");
    place.on("list", ["*two.txt"]).code(0);
}

#[test]
fn a_version_that_cannot_be_read_is_shown_as_that() {
    let place = Place::with_backup();
    place.write("source/letter.txt", b"changed");
    place.backup(&[]).code(0);
    let newest = place.stored_with("dlist").pop().expect("a list");
    cut(&place, &newest);
    // Made by nobody, at the end of the calendar.
    let junk = "duplicati-99991231T235959Z.dlist.zip.aes";
    place.write(&format!("destination/{junk}"), b"junk");
    place.lose_state();
    let ran = place.on("list", [""; 0]).code(2);
    assert!(
        ran.out
            .contains("0\t: 9999-12-31 23:59:59 +00:00 (its list cannot be read)"),
        "{}",
        ran.out
    );
    assert_eq!(ran.out.matches("cannot be read").count(), 2, "{}", ran.out);
    assert!(
        !ran.out.contains("1970") && !ran.out.contains("(0 files"),
        "{}",
        ran.out
    );
    let ran = place.on("find", ["*letter.txt"]).code(2);
    assert_eq!(
        ran.out.matches("(its list cannot be read)").count(),
        2,
        "{}",
        ran.out
    );
    assert_eq!(
        ran.err.matches("Error [DamagedList]").count(),
        2,
        "{}",
        ran.err
    );
    let ran = place.on("list", ["--json"]).code(2);
    assert_eq!(ran.json()["Versions"][0]["IsUnreadable"], true);
    assert!(ran.json()["Versions"][2].get("IsUnreadable").is_none());
    let ran = place.on("test", ["all"]).code(3);
    let said =
        format!("{newest} is the list of version 1: nothing of this version can be restored");
    assert!(ran.out.contains(&said), "{}", ran.out);
    assert!(!ran.out.contains("hurts 0"), "{}", ran.out);
    place
        .restore("out", &["--version=1"])
        .code(100)
        .fails_with("DamagedList")
        .complains("larder list-filesets");
}

#[test]
fn a_list_that_was_replaced_in_place_is_named_with_what_helps() {
    let place = Place::with_backup();
    let first = place.stored_with("dlist").pop().expect("a list");
    place.write("source/letter.txt", b"changed");
    place.backup(&[]).code(0);
    let second = place.stored_with("dlist").pop().expect("a list");
    let older = std::fs::read(place.path(&format!("destination/{first}"))).expect("the list");
    place.write(&format!("destination/{second}"), &older);
    place
        .restore("out", &["--version=0"])
        .code(100)
        .fails_with("DamagedList")
        .complains("larder list-filesets");
}

#[test]
fn repair_says_what_it_stores_again() {
    let place = Place::with_backup();
    place.write("source/letter.txt", b"changed");
    place.backup(&[]).code(0);
    let oldest = place.stored_with("dlist").remove(0);
    std::fs::remove_file(place.path(&format!("destination/{oldest}"))).expect("removed");
    place.write("source/letter.txt", b"again");
    place.backup(&[]).code(2).complains("MissingVersion");
    place
        .on("repair", ["--dry-run"])
        .code(0)
        .says("Would write 1 lost version list");
    assert_eq!(place.stored_with("dlist").len(), 2);
    place
        .on("repair", [""; 0])
        .code(0)
        .says("Wrote 1 lost version list");
    assert_eq!(place.stored_with("dlist").len(), 3);
    place.restore("out", &["--version=2"]).code(0);
    let ran = place.on("repair", [""; 0]).code(0);
    assert!(ran.out.contains("is up to date") && !ran.err.contains("MissingVersion"));
}

#[test]
fn a_repair_that_leaves_something_missed_ends_with_3() {
    let place = Place::with_backup();
    place.write_noise("source/large", 300_000, 1);
    place.backup(&[]).code(0);
    std::fs::remove_file(place.path("source/large")).expect("removed");
    place.backup(&[]).code(0);
    for name in place.stored_with("dblock") {
        let path = place.path(&format!("destination/{name}"));
        if std::fs::metadata(&path).expect("a file").len() > 200_000 {
            std::fs::remove_file(path).expect("removed");
        }
    }
    place
        .on("repair", [""; 0])
        .code(3)
        .complains("MissingDataFile")
        .says(
            "1 damaged or missing file is still missed: `larder list-broken-files` names the files",
        );
}

#[test]
fn encryption_is_not_switched_off_by_a_variable_that_is_not_set() {
    let place = Place::with_source();
    place
        .backup(&["--no-encryption="])
        .code(100)
        .fails_with("OptionValidationError")
        .complains("--no-encryption=false");
    assert!(!place.path("destination").exists(), "nothing is stored");
    // Said on purpose it is done, and told.
    place
        .backup(&["--no-encryption"])
        .code(0)
        .complains("a passphrase is given, but --no-encryption is too");
    let args = ["backup", &place.url(), "source", "--no-encryption="];
    let ran = place.run(args).code(1);
    assert!(!ran.err.contains("NotEncrypted") && !ran.err.contains(PASSPHRASE));
}

#[test]
fn a_source_that_is_no_file_is_told() {
    let place = Place::with_source();
    let pipe = place.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    place
        .on("backup", ["source", "pipe"])
        .code(2)
        .complains("Warning [SourceIsSpecial]: the source ")
        .complains("is a FIFO, which holds nothing to back up");
}

#[test]
fn a_catalog_of_an_earlier_run_is_not_backed_up() {
    let place = Place::with_source();
    place.write("source/db.sqlite.foreign-1", b"of the user");
    place.write("source/db.sqlitex", b"of the user");
    place.write("source/sums.sum", b"of the user");
    place.write("source/sums", b"of the user");
    place.backup(&["--dbpath=source/db.sqlite"]).code(0);
    // The folder itself was left out while its time changed with the catalog in it.
    place.backup(&["--dbpath=other.sqlite"]).code(0);
    place.backup(&["--dbpath=other.sqlite"]).code(1);
    let ran = place.on("list", ["*"]).code(0);
    for name in ["db.sqlite.foreign-1", "db.sqlitex", "sums.sum", "sums"] {
        assert!(
            ran.out.contains(&format!("/source/{name} (")),
            "{name}: {}",
            ran.out
        );
    }
    for name in [
        "db.sqlite (",
        "db.sqlite.sum",
        "db.sqlite.lock",
        "db.sqlite-wal",
    ] {
        assert!(!ran.out.contains(name), "{name}: {}", ran.out);
    }
}

#[test]
fn each_attempt_against_a_dead_server_is_told() {
    let place = Place::new();
    // Nobody listens there.
    let url = "webdav://127.0.0.1:1/x?use-ssl=false";
    let ran = place.run([
        "list",
        url,
        "--no-encryption",
        "--number-of-retries=2",
        "--retry-delay=0s",
    ]);
    assert_eq!(ran.code, 100);
    let said = format!("{}{}", ran.out, ran.err);
    for attempt in ["attempt 1 of 3", "attempt 2 of 3"] {
        assert!(said.contains(attempt), "{said}");
    }
    ran.fails_with("HostUnreachable").complains("What helps: ");
}

#[test]
fn a_span_that_leads_into_the_future_gets_a_hint() {
    let place = Place::with_backup();
    place
        .on("list", ["*", "--time=1D"])
        .complains("write -1D for the past");
    let ran = place.on("list", ["*", "--time=2999-12-01T00:00:00"]);
    assert!(
        ran.err.contains("TimeInFuture") && !ran.err.contains("for the past"),
        "{}",
        ran.err
    );
}
