//! Options that change what a command does as a whole.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use larder_engine::{Error, RestoreReport, RestoreRequest};
use larder_volume::VolumeKind::{Blocks, List};

use crate::rig::{Rig, chain};

fn restore(
    rig: &mut Rig,
    patterns: &[&str],
    target: Option<&Path>,
) -> Result<RestoreReport, Error> {
    let engine = rig.open()?;
    let outcome = engine.restore(&RestoreRequest {
        patterns: patterns.iter().map(|p| (*p).to_owned()).collect(),
        filters: Vec::new(),
        target: target.map(Path::to_owned),
    });
    engine.repository().close().expect("the catalog closes");
    outcome
}

/// Two versions: `same` stays, `other` changes, `new` comes.
fn two_versions() -> Rig {
    let mut rig = Rig::new();
    rig.write("same", "as it was");
    rig.write("other", "first");
    rig.backup();
    rig.write("other", "second");
    rig.write("new", "second");
    rig.backup();
    rig
}

/// The paths and contents of all files below a folder; the first part of the path is the number of the version.
fn held(folder: &Path) -> BTreeSet<(usize, String, String)> {
    let mut found = BTreeSet::new();
    let versions: BTreeSet<_> = std::fs::read_dir(folder)
        .expect("a restored folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    for (number, version) in versions.iter().enumerate() {
        let name = version.file_name().unwrap().to_string_lossy().into_owned();
        let (day, time) = name.split_once('-').expect("date and time");
        assert!(day.len() == 8 && time.len() == 6, "{name}");
        assert!(
            !name.bytes().any(|b| b != b'-' && !b.is_ascii_digit()),
            "{name}"
        );
        for file in std::fs::read_dir(version).expect("a version") {
            let file = file.expect("an entry").path();
            let content = std::fs::read_to_string(&file).expect("a text");
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            found.insert((number, name, content));
        }
    }
    found
}

fn expected(files: &[(usize, &str, &str)]) -> BTreeSet<(usize, String, String)> {
    let owned = |(n, name, text): &(usize, &str, &str)| (*n, (*name).into(), (*text).into());
    files.iter().map(owned).collect()
}

#[test]
fn all_versions_are_restored_side_by_side() {
    let mut rig = two_versions();
    rig.set("restore-all-files", "true");
    let target = rig.temp.path().join("all");
    let report = restore(&mut rig, &[], Some(&target)).unwrap();
    assert_eq!(report.restored_files, 5);
    assert_eq!(
        held(&target),
        expected(&[
            (0, "other", "first"),
            (0, "same", "as it was"),
            (1, "new", "second"),
            (1, "other", "second"),
            (1, "same", "as it was"),
        ])
    );

    rig.set("restore-all-files", "Unique");
    let target = rig.temp.path().join("unique");
    let report = restore(&mut rig, &[], Some(&target)).unwrap();
    // `same` is left out the second time; two files of one version with one content both stay.
    assert_eq!(report.restored_files, 4);
    let found = held(&target);
    let files = [
        (0, "other", "first"),
        (0, "same", "as it was"),
        (1, "new", "second"),
        (1, "other", "second"),
    ];
    assert_eq!(found, expected(&files));

    // Only the chosen versions, and only those that have what is selected.
    rig.set("restore-all-files", "true");
    let target = rig.temp.path().join("new only");
    restore(&mut rig, &["*/new"], Some(&target)).unwrap();
    assert_eq!(held(&target), expected(&[(0, "new", "second")]));
    rig.set("version", "1");
    let target = rig.temp.path().join("oldest");
    assert_eq!(
        restore(&mut rig, &[], Some(&target))
            .unwrap()
            .restored_files,
        2
    );
    let nothing = restore(&mut rig, &["*/new"], Some(&target)).unwrap_err();
    assert!(
        chain(&nothing).contains("matches no file"),
        "{}",
        chain(&nothing)
    );
    let nowhere = restore(&mut rig, &[], None).unwrap_err();
    assert!(
        chain(&nowhere).contains("original places"),
        "{}",
        chain(&nowhere)
    );
}

#[test]
fn two_versions_of_one_local_time_are_restored_into_two_folders() {
    let mut rig = Rig::new();
    let zone = jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    rig.clock.set_zone(zone);
    // 25 October 2026, 02:30 in summer time; an hour later it is 02:30 again.
    let first = 1_792_888_200;
    for (time, content) in [(first, "first"), (first + 3600, "second")] {
        // A backup waits for a second.
        rig.clock.set(time - 1);
        rig.write("file", content);
        rig.backup();
    }
    rig.set("restore-all-files", "true");
    let target = rig.temp.path().join("all");
    restore(&mut rig, &[], Some(&target)).unwrap();
    for (folder, content) in [("20261025-023000", "first"), ("20261025-023000+", "second")] {
        let file = target.join(folder).join("file");
        assert_eq!(std::fs::read_to_string(file).unwrap(), content, "{folder}");
    }
}

#[test]
fn a_damaged_list_does_not_keep_other_versions_from_being_restored() {
    let mut rig = two_versions();
    rig.set("restore-all-files", "true");
    let oldest = rig.names(List)[0].clone();
    assert!(rig.store.truncate(&oldest, 20));
    rig.lose_state();
    let target = rig.temp.path().join("rest");
    let report = restore(&mut rig, &[], Some(&target)).unwrap();
    assert_eq!(report.restored_files, 3);
    assert!(report.common.errors_actual_length > 0);
}

/// A destination that lists all names in capitals, as some old file systems do.
fn shout(rig: &Rig) {
    for name in rig.store.names() {
        let content = rig.store.remove(&name).expect("it was listed");
        rig.store.insert(&name.to_ascii_uppercase(), content);
    }
}

#[test]
fn names_in_another_case_are_the_same_names() {
    for passphrase in [None, Some("a passphrase")] {
        let mut rig = passphrase.map_or_else(Rig::new, Rig::encrypted);
        rig.fill(3, 10, 50_000);
        rig.write("several blocks", larder_testkit::Rng::new(3).bytes(30_000));
        rig.backup();
        shout(&rig);
        rig.set("case-insensitive-remote", "true");
        let data_files = rig.names_in_any_case(Blocks).len();
        assert_eq!(
            rig.differences_of_newest(),
            Vec::<String>::new(),
            "state kept"
        );
        rig.lose_state();
        assert_eq!(
            rig.differences_of_newest(),
            Vec::<String>::new(),
            "state lost"
        );
        rig.write("small", "a change");
        rig.backup();
        shout(&rig);
        assert_eq!(
            rig.differences_of_newest(),
            Vec::<String>::new(),
            "continued"
        );
        assert_eq!(rig.names_in_any_case(Blocks).len(), data_files + 1);
        let report = rig.test_all();
        assert_eq!(report.damaged(), 0, "{report:#?}");
    }
}

/// A program in the place of gpg.
fn fake_gpg(rig: &mut Rig, script: &str) {
    let path = rig.temp.path().join("gpg");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a program");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a program");
    rig.set("encryption-module", "gpg");
    rig.set("gpg-program-path", path.to_str().expect("a plain path"));
}

#[test]
fn a_gpg_that_does_not_end_is_ended() {
    let mut rig = Rig::encrypted("a passphrase");
    rig.write("file", "content");
    fake_gpg(&mut rig, "exec sleep 600");
    let engine = rig.open().unwrap();
    let (cancel, request) = (rig.cancel.clone(), rig.request());
    let begun = Instant::now();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(500));
            cancel.cancel();
        });
        engine.backup(&request)
    });
    assert!(outcome.unwrap().common.interrupted);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn gpg_gets_no_passphrase_of_two_lines() {
    let mut rig = Rig::encrypted("two\nlines");
    rig.write("file", "content");
    fake_gpg(&mut rig, "exec cat");
    let error = rig.try_backup().unwrap_err();
    assert!(chain(&error).contains("one line"), "{}", chain(&error));
    assert_eq!(rig.store.names(), Vec::<String>::new());
}
