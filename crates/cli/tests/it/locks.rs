//! Object locks: what a destination says that has none. What they do is tested in the engine, over one in memory.

use super::support::Place;

const DURATION: &str = "--remote-file-lock-duration=30D";

#[test]
fn a_disk_has_no_locks_and_the_backup_is_made_all_the_same() {
    let place = Place::with_source();
    place
        .backup(&[DURATION])
        .code(2)
        .complains("Warning [LocksUnsupported]: ")
        .complains("has no object locks, so --remote-file-lock-duration protects nothing there");
    place.restore("out", &[]).code(0);
    let ran = place.backup(&[DURATION, "--dry-run"]).code(2);
    ran.complains("Warning [LocksUnsupported]: ");
    // What only reads does not mind.
    place.on("list", [DURATION]).code(0);
    let ran = place.on("set-locks", [DURATION, "--version=0"]).code(100);
    ran.fails_with("LocksUnsupported")
        .complains("has no object locks, so no file in it can be locked");
    for verb in ["read-lock-info", "readlockinfo"] {
        let ran = place.on(verb, [""; 0]).code(100);
        ran.fails_with("LocksUnsupported");
    }
    let ran = place.on("read-lock-info", ["--json"]).code(100).json();
    assert_eq!(ran["MainOperation"], "ReadLockInfo");
    assert_eq!(ran["Error"]["Id"], "LocksUnsupported");
}

#[test]
fn locks_need_a_duration_and_versions() {
    let place = Place::with_backup();
    for (options, missing) in [
        (&["--version=0"][..], "--remote-file-lock-duration"),
        (&[DURATION][..], "one of --version, --time and"),
        (&[DURATION, "--all-versions=false"], "one of --version"),
        (&[DURATION, "--version=0", "x"], ""),
    ] {
        let ran = place.on("set-locks", options.to_vec()).code(200);
        assert!(ran.err.contains(missing), "{}", ran.err);
    }
    place.on("read-lock-info", ["x"]).code(200);
    for short in ["4s", "0s"] {
        let option = format!("--remote-file-lock-duration={short}");
        place
            .backup(&[&option])
            .code(100)
            .fails_with("OptionValidationError");
    }
    // Duplicati's options for its own notes of locks.
    let ran = place.on("repair", ["--repair-refresh-lock-info"]).code(0);
    assert!(!ran.err.contains("Warning"), "{}", ran.err);
}
