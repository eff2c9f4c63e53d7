//! Changes that leave a file's time and size as they were, and changes of the inode that are none of the content.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, SystemTime};

use larder_destination::{Clock, Operation};

use crate::rig::{Rig, START};

/// Long before the first backup.
fn old_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(START - 1_000_000)
}

/// Waits until the file system gives a new change time.
fn let_time_pass() {
    std::thread::sleep(Duration::from_millis(30));
}

/// Writes a file with a given time.
fn write_dated(rig: &Rig, path: &str, content: &str, time: SystemTime) {
    rig.write(path, content);
    let file = File::options()
        .write(true)
        .open(rig.source().join(path))
        .unwrap();
    file.set_modified(time).unwrap();
}

/// A source with two files, backed up.
fn backed_up(mut rig: Rig) -> Rig {
    write_dated(&rig, "data", "first content", old_time());
    write_dated(&rig, "other", "another file", old_time());
    rig.backup();
    let_time_pass();
    rig
}

/// Changes the file's change time alone.
fn chmod_back_and_forth(rig: &Rig, path: &str) {
    let path = rig.source().join(path);
    let before = std::fs::metadata(&path).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(&path, before.permissions()).unwrap();
    let after = std::fs::metadata(&path).unwrap();
    assert_ne!(
        (before.ctime(), before.ctime_nsec()),
        (after.ctime(), after.ctime_nsec())
    );
}

fn versions_and_opened(rig: &mut Rig) -> (bool, u64) {
    let report = rig.backup();
    (report.version_time.is_some(), report.opened_files)
}

#[test]
fn other_content_under_the_same_time_and_size_is_stored() {
    for skip_metadata in ["false", "true"] {
        let mut rig = Rig::new();
        rig.set("skip-metadata", skip_metadata);
        let mut rig = backed_up(rig);
        write_dated(&rig, "data", "other content", old_time());
        let report = rig.backup();
        assert_eq!((report.modified_files, report.opened_files), (1, 1));
        let (target, _) = rig.try_restore_of(0, &["*data"]).unwrap();
        assert_eq!(
            std::fs::read(target.join("data")).unwrap(),
            b"other content"
        );
        assert_eq!(versions_and_opened(&mut rig), (false, 0));
    }
}

#[test]
fn a_file_put_in_the_place_of_another_is_stored() {
    let mut rig = backed_up(Rig::new());
    write_dated(&rig, "elsewhere", "other content", old_time());
    std::fs::rename(rig.source().join("elsewhere"), rig.source().join("data")).unwrap();
    let report = rig.backup();
    assert_eq!((report.modified_files, report.opened_files), (1, 1));
}

#[test]
fn a_new_change_time_alone_costs_one_reading_and_no_version() {
    let mut rig = backed_up(Rig::new());
    chmod_back_and_forth(&rig, "data");
    rig.journal.clear();
    assert_eq!(versions_and_opened(&mut rig), (false, 1));
    assert_eq!(rig.journal.count(Operation::Put), 0);
    assert_eq!(versions_and_opened(&mut rig), (false, 0));
    // What was noted in the run without a version is what the next change is found by.
    let_time_pass();
    write_dated(&rig, "data", "other content", old_time());
    assert_eq!(versions_and_opened(&mut rig), (true, 1));
}

#[test]
fn a_new_change_time_of_a_file_from_the_future_uploads_nothing() {
    let mut rig = Rig::new();
    // The year 2100.
    let future = SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800);
    write_dated(&rig, "data", "first content", future);
    rig.backup();
    let_time_pass();
    chmod_back_and_forth(&rig, "data");
    rig.journal.clear();
    assert_eq!(versions_and_opened(&mut rig), (false, 1));
    assert_eq!(rig.journal.count(Operation::Put), 0);
    assert_eq!(versions_and_opened(&mut rig), (false, 0));
}

#[test]
fn what_was_not_seen_is_trusted_once() {
    let mut rig = backed_up(Rig::new());
    rig.lose_state();
    chmod_back_and_forth(&rig, "data");
    assert_eq!(versions_and_opened(&mut rig), (false, 0));
    let_time_pass();
    write_dated(&rig, "data", "other content", old_time());
    assert_eq!(versions_and_opened(&mut rig), (true, 1));
}

#[test]
fn inodes_are_ignored_on_request() {
    for option in ["ignore-inode-changes", "check-filetime-only"] {
        let mut rig = backed_up(Rig::new());
        write_dated(&rig, "data", "other content", old_time());
        rig.set(option, "true");
        assert_eq!(versions_and_opened(&mut rig), (false, 0), "{option}");
        // Nothing was noted of what was not looked at.
        rig.set(option, "false");
        assert_eq!(versions_and_opened(&mut rig), (true, 1), "{option}");
    }
}

#[test]
fn a_dry_run_finds_the_change_and_notes_nothing() {
    let mut rig = backed_up(Rig::new());
    write_dated(&rig, "data", "other content", old_time());
    rig.set("dry-run", "true");
    assert_eq!(versions_and_opened(&mut rig), (false, 1));
    rig.set("dry-run", "false");
    assert_eq!(versions_and_opened(&mut rig), (true, 1));
}

/// What was changed after a run was begun may have been changed once more after it was read, within one step of the file
/// system's clock.
#[test]
fn what_changed_since_the_last_run_began_is_read_once_more() {
    let mut rig = Rig::new();
    write_dated(&rig, "data", "first content", old_time());
    let changed = std::fs::metadata(rig.source().join("data"))
        .unwrap()
        .ctime();
    rig.clock.set(u64::try_from(changed).unwrap() - 3);
    rig.backup();
    assert_eq!(
        versions_and_opened(&mut rig),
        (false, 0),
        "not yet in the past"
    );
    rig.clock.pause(Duration::from_secs(600));
    assert_eq!(versions_and_opened(&mut rig), (false, 1));
    // That run was begun long after the change.
    assert_eq!(versions_and_opened(&mut rig), (false, 0));
}
