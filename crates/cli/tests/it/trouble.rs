//! What goes wrong around a backup: each a clear sentence and exit code, nothing lost, and the next run just works.

use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use larder_testkit::tree::{CompareOptions, compare};

use super::support::{Place, Ran, as_plain_user, open_to_all};

/// A small file system of its own in a folder of the place; gone with this value.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// `None` where nothing can be mounted.
    fn mount(place: &Place, folder: &str, size: &str) -> Option<Self> {
        let folder = place.path(folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "larder-test"])
            .arg(&folder)
            .output();
        if done.is_ok_and(|output| output.status.success()) {
            return Some(Self { folder });
        }
        larder_testkit::pass_over("mount", "nothing can be mounted here");
        None
    }

    fn remount(&self, option: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{option}")])
            .arg(&self.folder)
            .status();
        assert!(status.is_ok_and(|s| s.success()), "remount,{option}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}

fn restored_as_source(place: &Place, to: &str) {
    place.restore(to, &["--restore-permissions"]).code(0);
    let differences = compare(
        &place.path("source"),
        &place.path(to),
        &CompareOptions {
            owners: false,
            // What Duplicati's format keeps of a time.
            mtime_unit_ns: 100,
            ..CompareOptions::backed_up()
        },
    );
    assert!(differences.is_empty(), "{differences:?}");
}

#[test]
fn a_full_destination_loses_nothing() {
    let place = Place::with_source();
    let Some(disk) = SmallDisk::mount(&place, "destination", "2m") else {
        return;
    };
    let options = ["--dblock-size=1mb", "--blocksize=100kb", "--retry-delay=0s"];
    place
        .backup(&[&options[..], &["--quota-disable"]].concat())
        .code(0);
    place.write_noise("source/noise", 5_000_000, 1);
    let ran = place
        .backup(&options)
        .code(100)
        .fails_with("DestinationFull")
        .complains("What helps: free space in the destination");
    assert!(!ran.err.contains("panick"), "{}", ran.err);
    assert_eq!(place.stored_with("dlist").len(), 1, "no new version");
    place.restore("before", &[]).code(0);
    assert!(place.path("before/letter.txt").exists());
    // Again, and without local state: still full, still nothing lost.
    place.lose_state();
    place
        .backup(&options)
        .code(100)
        .fails_with("DestinationFull");
    place.restore("again", &["--version=0"]).code(0);
    disk.remount("size=40m");
    place
        .backup(&[&options[..], &["--quota-disable"]].concat())
        .code(0);
    restored_as_source(&place, "after");
    place.on("test", ["all"]).code(0);
}

#[test]
fn a_destination_that_cannot_be_written() {
    let place = Place::with_backup();
    let full = |verb: &str, args: &[&str]| place.full(verb, args);
    place.write("source/letter.txt", b"changed");
    let before = place.snapshot("destination");
    if rustix::process::geteuid().is_root() {
        // The other user gets state of its own.
        open_to_all(&place.path("state"));
        place.lose_state();
    } else {
        std::fs::set_permissions(
            place.path("destination"),
            std::fs::Permissions::from_mode(0o555),
        )
        .expect("permissions");
    }
    let Some(ran) = as_plain_user(&place, &full("backup", &["source"])) else {
        return;
    };
    ran.code(100)
        .fails_with("DestinationDenied")
        .complains("check the permissions of the destination folder");
    for (verb, args) in [
        ("list", &[][..]),
        ("find", &["*"]),
        ("test", &["all"]),
        ("restore", &["--restore-path=out"]),
    ] {
        let ran = as_plain_user(&place, &full(verb, args)).expect("it ran before");
        ran.code(0);
    }
    assert!(place.path("out/letter.txt").exists());
    assert!(place.snapshot("destination") == before);
}

#[test]
fn a_destination_folder_that_was_removed() {
    let place = Place::with_backup();
    std::fs::remove_dir_all(place.path("destination")).expect("removed");
    let ran = place.backup(&[]).code(100).fails_with("FolderMissing");
    let at = ran
        .err
        .find("if the folder was removed on purpose, remove ");
    let rest = &ran.err[at.expect("advice")..];
    let state = rest.split("remove ").nth(1).expect("the local state");
    let state = state.split(" and start anew").next().expect("its path");
    assert!(!place.path("destination").exists());
    std::fs::remove_file(state).expect("the advice names a file");
    place.backup(&[]).code(0);
}

#[test]
fn a_look_by_root_leaves_the_backup_to_its_user() {
    let place = Place::with_source();
    for folder in ["destination", "state", "state/larder"] {
        std::fs::create_dir_all(place.path(folder)).expect("a folder");
        open_to_all(&place.path(folder));
    }
    let backup = place.full("backup", ["source"]);
    let Some(ran) = as_plain_user(&place, &backup) else {
        return;
    };
    ran.code(0);
    // By root, where the tests are root's; its files in the local state are closed to others.
    place.on::<&str>("list", []).code(0);
    place.write("source/letter.txt", b"changed");
    let ran = as_plain_user(&place, &backup).expect("it ran before");
    ran.code(0);
}

#[test]
fn root_makes_nothing_in_the_state_of_somebody_else() {
    if !rustix::process::geteuid().is_root() {
        return larder_testkit::pass_over("root", "files cannot be given away");
    }
    let place = Place::with_source();
    for folder in ["destination", "state"] {
        std::fs::create_dir_all(place.path(folder)).expect("a folder");
        std::os::unix::fs::chown(place.path(folder), Some(65534), Some(65534)).expect("given");
    }
    open_to_all(place.path("").as_path());
    place.on::<&str>("list", []).code(100);
    assert!(!place.path("state/larder").exists());
    let backup = place.full("backup", ["source"]);
    let Some(ran) = as_plain_user(&place, &backup) else {
        return;
    };
    ran.code(0);
    // The local catalog alone is gone, as one is told to remove it.
    let state = std::fs::read_dir(place.path("state/larder")).expect("a folder");
    for file in state.flatten().map(|entry| entry.path()) {
        if file.extension().is_some_and(|ending| ending == "sqlite") {
            std::fs::remove_file(file).expect("removed");
        }
    }
    place.on::<&str>("list", []).code(0);
    place.write("source/letter.txt", b"changed");
    let ran = as_plain_user(&place, &backup).expect("it ran before");
    ran.code(0);
}

#[test]
fn a_file_system_mounted_for_reading_only() {
    let place = Place::with_source();
    let Some(disk) = SmallDisk::mount(&place, "destination", "20m") else {
        return;
    };
    place.backup(&["--quota-disable"]).code(0);
    disk.remount("ro");
    place.write("source/letter.txt", b"changed");
    place.backup(&[]).code(100).fails_with("DestinationDenied");
    place.restore("out", &[]).code(0);
    disk.remount("rw");
    place.backup(&["--quota-disable"]).code(0);
}

#[test]
fn no_room_for_the_local_catalog() {
    let place = Place::with_source();
    let Some(disk) = SmallDisk::mount(&place, "state", "300k") else {
        return;
    };
    for n in 0..3000 {
        place.write(&format!("source/many/{n}"), format!("{n}").as_bytes());
    }
    place
        .backup(&[])
        .code(100)
        .fails_with("LocalCatalogFailed")
        .complains(&place.text("state"));
    // Reading does without it.
    if !place.stored_with("dlist").is_empty() {
        place.on("list", [""; 0]).code(0);
    }
    disk.remount("size=40m");
    place.backup(&[]).code(0);
    restored_as_source(&place, "after");
    drop(disk);
}

#[test]
fn missing_sources() {
    let place = Place::with_source();
    place
        .on("backup", ["nowhere"])
        .code(100)
        .fails_with("NoSources")
        .complains("the source nowhere does not exist; what the last version has of it, if anything, is kept");
    place
        .on("backup", ["nowhere", "source", "--abort-if-source-missing"])
        .code(100)
        .fails_with("SourceIsMissing");
    assert!(place.stored_with("dlist").is_empty());
    place
        .on("backup", ["nowhere", "source", "--allow-missing-source"])
        .code(0);
    place
        .on("backup", ["nowhere", "source"])
        .code(2)
        .complains("Warning [SourceIsMissing]");
    std::fs::create_dir(place.path("hollow")).expect("a folder");
    place
        .on("backup", ["hollow", "source", "--prevent-empty-source"])
        .code(100)
        .fails_with("SourceIsEmpty");
}

#[test]
fn a_source_that_looks_lost() {
    let place = Place::with_source();
    place.write("disk/photo.jpg", b"a picture");
    let both = |more: &[&str]| place.on("backup", [&["source", "disk"], more].concat());
    both(&[]).code(0);
    std::fs::rename(place.path("disk"), place.path("away")).expect("moved");
    place.write("source/letter.txt", b"changed");
    // Whoever wants to hear of it beforehand.
    both(&["--dry-run"])
        .code(51)
        .complains("Warning [SourceGuarded]")
        .complains("would be kept");
    let ran = both(&["--keep-versions=1", "--json"]).code(51);
    let guarded = &ran.json()["GuardedSources"];
    let expected = serde_json::json!([{
        "Path": place.text("disk"), "Reason": "Missing",
        "FilesBefore": 1, "FilesLost": 1, "FilesChanged": 0, "FilesNew": 0,
    }]);
    assert_eq!(guarded, &expected);
    assert_eq!(place.stored_with("dlist").len(), 2, "nothing is deleted");
    both(&["--keep-versions=1"])
        .code(51)
        .says("Backup finished without a new version, since nothing else changed; a source looks lost")
        .complains(&format!(
            "Warning [SourceGuarded]: the source {} is missing, which had 1 file",
            place.text("disk")
        ))
        .complains("if it may be away at times, --allow-missing-source keeps")
        .complains("does not exist; what the last version has of it, if anything, is kept")
        .complains("no old version is deleted and no space is freed");
    place.restore("out", &[]).code(0);
    let kept = std::fs::read(place.path("out/disk/photo.jpg"));
    assert_eq!(kept.expect("it is kept"), b"a picture");
    // One that may be missing.
    let ran = both(&["--allow-missing-source"]).code(1);
    assert_eq!(ran.err, "");
    // It is gone for good.
    both(&["--accept-source-changes", "--keep-versions=1"])
        .code(2)
        .complains("does not exist; the new version is without it");
    assert_eq!(place.stored_with("dlist").len(), 1);
    place.on("backup", ["source"]).code(1);
}

#[test]
fn a_disk_that_is_not_mounted() {
    let place = Place::with_backup();
    std::fs::rename(place.path("destination"), place.path("elsewhere")).expect("moved");
    place
        .backup(&[])
        .code(100)
        .fails_with("FolderMissing")
        .complains("mount the disk");
    assert!(
        !place.path("destination").exists(),
        "it is not created anew"
    );
    // The mount point is there, the disk is not.
    std::fs::create_dir(place.path("destination")).expect("a folder");
    let at_once = "--retry-delay=0s";
    place
        .backup(&[at_once])
        .code(100)
        .fails_with("MissingRemoteFiles");
    assert!(place.stored().is_empty());
    place.on("list", [at_once]).code(100);
    std::fs::remove_dir(place.path("destination")).expect("removed");
    std::fs::rename(place.path("elsewhere"), place.path("destination")).expect("moved");
    place.backup(&[]).code(1);
}

#[test]
fn two_runs_at_once() {
    let place = Place::with_source();
    place.backup(&["--blocksize=100kb"]).code(0);
    place.write_noise("source/noise", 3_000_000, 5);
    let mut first = place
        .command(place.full(
            "backup",
            [
                "source",
                "--throttle-upload=700kb",
                "--dblock-size=1mb",
                "--blocksize=100kb",
            ],
        ))
        .spawn()
        .expect("it starts");
    let mut out = BufReader::new(first.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("Uploading") {
        line.clear();
        assert!(
            out.read_line(&mut line).expect("a line") > 0,
            "it ended early"
        );
    }
    let ran = place.backup(&[]).code(100).fails_with("BackupInUse");
    assert!(
        ran.err
            .contains(&format!("another run (process {})", first.id())),
        "{}",
        ran.err
    );
    // Reading goes on all the same.
    place.on("list", [""; 0]).code(0).says("Listing filesets:");
    place.restore("meanwhile", &[]).code(0);
    std::io::copy(&mut out, &mut std::io::sink()).expect("read to the end");
    Ran::of(first.wait_with_output().expect("it ends")).code(0);
    restored_as_source(&place, "after");
    place.backup(&[]).code(1);
}

#[test]
fn an_old_list_under_a_name_of_the_future_stops_no_backup() {
    let place = Place::with_backup();
    let list = place.stored_with("dlist");
    // The time of a version is in its name, and in its manifest the time when it was made.
    let future = "duplicati-20991231T235959Z.dlist.zip.aes";
    std::fs::copy(
        place.path(&format!("destination/{}", list[0])),
        place.path(&format!("destination/{future}")),
    )
    .expect("copied");
    place.write("source/letter.txt", b"changed");
    place
        .backup(&[])
        .code(2)
        .complains("made earlier than its name says");
    place
        .restore("out", &[])
        .code(2)
        .complains("made earlier than its name says");
    std::fs::remove_file(place.path(&format!("destination/{future}"))).expect("removed");
    place.backup(&[]).code(1);
    restored_as_source(&place, "after");
}

/// An older list under the name of a newer one would make an old version of the newest: `repair` stores the right one again.
#[test]
fn repair_takes_no_older_list_for_a_version() {
    let place = Place::with_backup();
    let first = place.stored_with("dlist").pop().expect("a list");
    place.write("source/letter.txt", b"changed");
    place.write(
        "source/one more with a long name",
        b"so that the length differs",
    );
    place.backup(&[]).code(0);
    let second = place.stored_with("dlist").pop().expect("a list");
    let older = std::fs::read(place.path(&format!("destination/{first}"))).expect("the list");
    place.write(&format!("destination/{second}"), &older);
    let ran = place.on("repair", [""; 0]);
    assert!(ran.out.contains("Wrote 1 lost version list"), "{}", ran.out);
    restored_as_source(&place, "out");
    place.on("test", ["all"]).code(0);
}

/// Nor a copy of a newer one, under the name of an older.
#[test]
fn repair_takes_no_copy_of_another_list_for_a_version() {
    let place = Place::with_backup();
    let first = place.stored_with("dlist").pop().expect("a list");
    place.write("source/letter.txt", b"changed");
    place.write(
        "source/one more with a long name",
        b"so that the length differs",
    );
    place.backup(&[]).code(0);
    let second = place.stored_with("dlist").pop().expect("a list");
    let newer = std::fs::read(place.path(&format!("destination/{second}"))).expect("the list");
    place.write(&format!("destination/{first}"), &newer);
    place.on("list", [""; 0]).complains("RemoteSizeChanged");
    let ran = place.on("repair", [""; 0]);
    assert!(ran.out.contains("Wrote 1 lost version list"), "{}", ran.out);
    place.restore("out", &["--version=1"]).code(0);
    let letter = std::fs::read(place.path("out/letter.txt")).expect("restored");
    assert_ne!(letter, b"changed");
    restored_as_source(&place, "newest");
}

/// A version that nobody knows any more is lost: that is said once, and no later run speaks of it.
#[test]
fn repair_that_gives_a_version_up_ends_with_3() {
    let place = Place::with_backup();
    place.write("source/letter.txt", b"changed");
    place.backup(&[]).code(0);
    place.lose_state();
    place.on("repair", [""; 0]).code(0);
    let oldest = place.stored_with("dlist").remove(0);
    std::fs::remove_file(place.path(&format!("destination/{oldest}"))).expect("removed");
    let ran = place.on("repair", [""; 0]).code(3);
    assert!(ran.out.contains("1 version is gone"), "{}", ran.out);
    place.on("repair", [""; 0]).code(0);
}

/// The drive with the only source is away, and the user says that it may be.
#[test]
fn the_only_source_may_be_away() {
    let place = Place::with_backup();
    std::fs::rename(place.path("source"), place.path("away")).expect("moved");
    place.backup(&[]).code(51);
    place.backup(&["--allow-missing-source"]).code(1);
    std::fs::rename(place.path("away"), place.path("source")).expect("moved");
    place.backup(&[]).code(1);
    restored_as_source(&place, "out");
}

#[test]
fn a_target_that_cannot_be_written() {
    let place = Place::with_backup();
    open_to_all(&place.path("state/larder"));
    place.lose_state();
    std::fs::create_dir(place.path("closed")).expect("a folder");
    std::fs::set_permissions(place.path("closed"), std::fs::Permissions::from_mode(0o500))
        .expect("permissions");
    let args = place.full("restore", ["--restore-path=closed/inner"]);
    let Some(ran) = as_plain_user(&place, &args) else {
        return;
    };
    let ran = ran.code(100);
    assert!(ran.err.contains("closed"), "{}", ran.err);
}

#[test]
fn volumes_of_another_backup_in_the_same_folder() {
    let place = Place::with_backup();
    let url = place.url();
    let before = place.snapshot("destination");
    place
        .run([
            "backup",
            &url,
            "source",
            "--passphrase=another",
            "--prefix=second",
        ])
        .code(0);
    place
        .run(["list", &url, "*", "--passphrase=another", "--prefix=second"])
        .code(0)
        .says("letter.txt");
    for (path, content) in before {
        assert!(std::fs::read(&path).is_ok_and(|now| now == content) || path.is_dir());
    }
    place
        .run(["backup", &url, "source", "--passphrase=x", "--prefix=a-b"])
        .code(100)
        .fails_with("PrefixCannotContainHyphens");
    place
        .backup(&["--blocksize=10kb"])
        .code(100)
        .fails_with("ParameterMismatch");
}

/// A restore sets the permissions just before it gives the final name. Another one could not open the file then, and
/// removed it.
#[test]
fn an_unfinished_file_that_is_closed_and_in_use_stays() {
    let place = Place::with_backup();
    place.lose_state();
    let target = place.path("out");
    std::fs::create_dir(&target).expect("a folder");
    open_to_all(&target);
    let root = larder_engine::source::TargetRoot::open(&target).expect("a target");
    let name = root.temporary_path(b"letter.txt").expect("a name");
    drop(root);
    let path = target.join(std::ffi::OsStr::from_bytes(&name));
    let open = std::fs::File::create_new(&path).expect("a file");
    open.lock().expect("a lock");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(65_534), None).expect("root may");
    }
    let closed = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(&path, closed).expect("permissions");
    let args = place.full("restore", ["--restore-path=out"]);
    let Some(ran) = as_plain_user(&place, &args) else {
        return;
    };
    ran.code(2)
        .complains("letter.txt: another restore is writing this file");
    let facts = std::fs::metadata(&path).expect("it is there");
    assert_eq!(facts.ino(), open.metadata().expect("facts").ino());
    assert_eq!(facts.mode() & 0o777, 0);
    drop(open);
    let ran = as_plain_user(&place, &args).expect("it ran before");
    ran.code(0);
    assert!(!path.exists() && target.join("letter.txt").exists());
}
