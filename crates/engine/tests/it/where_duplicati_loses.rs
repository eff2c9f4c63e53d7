//! Situations in which a Duplicati loses good data, deletes the wrong thing or says the wrong thing (observed: a build of
//! August 2026). Here nothing is lost in any of them, and what was found is told.
//!
//! They are named after the command that does the harm there. "The set" is what one folder holds under one prefix.

use std::collections::BTreeSet;
use std::fs;

use larder_destination::Clock as _;
use larder_engine::source::Action;
use larder_engine::{Error, ListRequest, PurgeRequest, RepairReport, Run};
use larder_options::Origin::CommandLine;
use larder_testkit::Rng;
use larder_testkit::tree::Manifest;
use larder_volume::VolumeKind::{Blocks, List};

use crate::damage::silent_differences;
use crate::rig::{Rig, chain, differences_of};

/// Four versions a minute apart; each has a file of its own and changes another one.
fn four_versions() -> Rig {
    let mut rig = Rig::new();
    rig.fill(31, 5, 15_000);
    rig.write("folder/of all", Rng::new(50).bytes(4000));
    add_versions(&mut rig, 0..4);
    rig
}

fn add_versions(rig: &mut Rig, numbers: std::ops::Range<u64>) {
    for number in numbers {
        rig.write("changes", Rng::new(number).bytes(9000));
        let own = format!("only in {number}");
        rig.write(&own, Rng::new(100 + number).bytes(3000));
        backup(rig);
        fs::remove_file(rig.source().join(own)).expect("it was there");
    }
}

fn later(rig: &Rig, seconds: u64) {
    let now = u64::try_from(rig.clock.seconds()).expect("a time after 1970");
    rig.clock.set(now + seconds);
}

fn backup(rig: &mut Rig) {
    later(rig, 60);
    rig.backup();
}

/// Runs a command as a process of its own would, with further options.
fn run<R>(
    rig: &mut Rig,
    options: &[(&str, &str)],
    work: impl FnOnce(&Run) -> Result<R, Error>,
) -> R {
    later(rig, 60);
    let values = rig.values.clone();
    for (name, value) in options {
        rig.set(name, value);
    }
    let run = rig.open().expect("it opens");
    let outcome = work(&run);
    run.repository().close().expect("the catalog closes");
    rig.values = values;
    match outcome {
        Ok(done) => done,
        Err(error) => panic!("{}", chain(&error)),
    }
}

fn repair(rig: &mut Rig) -> RepairReport {
    run(rig, &[], |run| run.repair())
}

/// Another machine that knows the set as it is now.
fn second_machine(rig: &Rig) -> Rig {
    let mut other = rig.other_machine();
    repair(&mut other);
    other
}

/// All files that were there are still there, as they were.
fn assert_kept(
    rig: &Rig,
    before: &std::collections::BTreeMap<String, impl AsRef<[u8]>>,
    when: &str,
) {
    let now = rig.store.files();
    for (name, bytes) in before {
        let found = now.get(name);
        let found = found.unwrap_or_else(|| panic!("{when}: {name} was removed"));
        assert!(
            found.as_ref() == bytes.as_ref(),
            "{when}: {name} was changed"
        );
    }
}

/// Every version restores equal, here and on a machine that remembers nothing; nothing else is wrong with the set.
fn check(rig: &mut Rig, when: &str) {
    rig.check_all(when);
    rig.check_all_elsewhere(when);
    assert_eq!(rig.test_all().damaged(), 0, "{when}");
}

/// Drops versions by their numbers on a machine.
fn delete(rig: &mut Rig, numbers: &[usize]) {
    let list: Vec<String> = numbers.iter().map(usize::to_string).collect();
    let options = [
        ("version", list.join(",")),
        ("no-auto-compact", "true".into()),
    ];
    let options: Vec<(&str, &str)> = options.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let report = run(rig, &options, |run| run.delete());
    assert_eq!(report.deleted_sets.len(), numbers.len());
    let count = rig.versions.len();
    let mut place = 0;
    rig.versions.retain(|_| {
        place += 1;
        !numbers.contains(&(count - place))
    });
}

/// 1, repair and backup: the local database is older than a compaction on another machine, and the newest version is the
/// same on both sides. There every data file that the compaction wrote is deleted.
#[test]
fn repair_with_a_catalog_from_before_a_compaction_elsewhere_deletes_nothing() {
    let mut rig = four_versions();
    delete(&mut rig, &[1, 2]);
    let mut other = second_machine(&rig);
    let old: BTreeSet<String> = rig.names(Blocks).into_iter().collect();
    let options = [("threshold", "5"), ("small-file-max-count", "1")];
    let report = run(&mut other, &options, |run| run.compact());
    assert!(report.results.uploaded_file_count >= 2, "{report:?}");
    let new: BTreeSet<String> = rig.names(Blocks).into_iter().collect();
    assert!(new.is_disjoint(&old), "all of them moved: {new:?}");
    let before = rig.store.files();
    for command in ["repair", "backup", "backup with auto-cleanup", "test"] {
        let mut machine = rig.fork();
        match command {
            "repair" => {
                let report = repair(&mut machine);
                assert_eq!(report.versions, 2);
                assert_eq!(report.volumes as usize, machine.store.names().len());
            }
            "test" => assert_eq!(machine.test_all().damaged(), 0),
            _ => {
                machine.set(
                    "auto-cleanup",
                    if command == "backup" { "false" } else { "true" },
                );
                // The last file of its own was removed since.
                backup(&mut machine);
            }
        }
        assert_kept(&machine, &before, command);
        // Data that moved is no loss.
        assert_eq!(machine.log.complaints(), [""; 0], "{command}");
        check(&mut machine, command);
        machine.check_set(command);
        machine.check_nothing_twice(command);
    }
}

/// 2, repair and backup: the local database belongs to another set whose newest version is newer than that at the
/// destination. There all files of the destination are deleted.
#[test]
fn repair_with_the_catalog_of_another_set_deletes_nothing() {
    for is_newer in [true, false] {
        let (mut set, mut stranger) = (four_versions(), Rig::new());
        stranger.write("strange", Rng::new(9).bytes(20_000));
        let by = if is_newer { 9_000_000 } else { 0 };
        later(&stranger, by);
        backup(&mut stranger);
        later(&set, 18_000_000);
        let before = set.store.files();
        for command in ["repair", "backup", "delete"] {
            let when = format!("{command}, newer: {is_newer}");
            let mut machine = set.fork_at(&set.store, Some(&stranger.state_folder()));
            match command {
                "repair" => assert_eq!(repair(&mut machine).versions, 4, "{when}"),
                "backup" => {
                    machine.use_source(&stranger);
                    backup(&mut machine);
                    assert_eq!(machine.names(List).len(), 5, "{when}");
                }
                _ => {
                    run(&mut machine, &[("keep-versions", "9")], |run| run.delete());
                }
            }
            let said = machine.log.texts().join("\n");
            let words = "the destination holds another backup than it describes";
            assert!(said.contains(words), "{when}: {said}");
            assert_kept(&machine, &before, &when);
            check(&mut machine, &when);
        }
        set.check_all("untouched");
    }
}

/// Two sets made apart, then brought into one folder: the files of the older one are added to those of the newer one.
fn two_sets_in_one_folder(blocksize_of_older: &str) -> (Rig, Rig) {
    let mut older = Rig::new();
    older.set("blocksize", blocksize_of_older);
    older.write("of the older set", Rng::new(7).bytes(20_000));
    backup(&mut older);
    older.write("of the older set", Rng::new(8).bytes(20_000));
    backup(&mut older);
    let mut newer = Rig::new();
    later(&newer, 10_000);
    newer.write("of the newer set", Rng::new(9).bytes(20_000));
    backup(&mut newer);
    for (name, bytes) in older.store.files() {
        newer.store.insert(&name, bytes);
    }
    (older, newer)
}

/// 3, repair: two sets share folder and prefix, and the versions of the other one are older. There the whole other set is
/// deleted. One folder and one prefix are one set here: the versions of both are listed, and all stay until somebody
/// deletes versions.
#[test]
fn repair_beside_another_set_takes_its_versions_in() {
    for command in ["repair", "backup"] {
        let (older, newer) = two_sets_in_one_folder("1kb");
        let mut machine = newer;
        let before = machine.store.files();
        let newest = machine.versions.clone();
        machine.versions = [older.versions.clone(), newest].concat();
        match command {
            "repair" => assert_eq!(repair(&mut machine).versions, 3),
            _ => {
                machine.write("later", "later");
                backup(&mut machine);
            }
        }
        let count = machine.versions.len();
        let listed = run(&mut machine, &[], |run| run.list_filesets());
        assert_eq!(
            listed.versions.len(),
            count,
            "who looks sees them: {command}"
        );
        assert_kept(&machine, &before, command);
        assert_eq!(machine.log.complaints(), [""; 0], "{command}");
        check(&mut machine, command);
    }
}

/// As before, but the blocks of the sets have other sizes, so that they cannot be one set.
#[test]
fn repair_beside_a_set_of_another_block_size_deletes_nothing() {
    for command in ["repair", "backup", "delete", "compact"] {
        let (mut older, mut machine) = two_sets_in_one_folder("4kb");
        let before = machine.store.files();
        let work = |run: &Run| match command {
            "repair" => run.repair().map(drop),
            "delete" => run.delete().map(drop),
            "compact" => run.compact().map(drop),
            _ => Ok(()),
        };
        machine.set("keep-versions", "1");
        machine.set("threshold", "0");
        if command == "backup" {
            machine.values.unset("keep-versions", CommandLine);
            machine.write("later", "later");
            let _ = machine.try_backup();
        } else {
            let run = machine.open().expect("it opens");
            // It may be refused.
            let _ = work(&run);
            run.repository().close().expect("the catalog closes");
        }
        machine.values.unset("keep-versions", CommandLine);
        assert_kept(&machine, &before, command);
        let said = machine.log.complaints().join("\n");
        let names = older.store.names();
        let is_named = names.iter().any(|name| said.contains(name));
        assert!(is_named, "{command}: {said}");
        // What belongs to the older one is still whole for who has only that.
        for name in machine.names(List) {
            if !older.names(List).contains(&name) {
                let _ = machine.store.remove(&name);
            }
        }
        let mut other = older.fork_at(&machine.store, None);
        other.check_all(command);
        assert_eq!(older.differences_of_newest(), [""; 0]);
    }
}

/// 4, backup --no-backend-verification and repair: the local database is lost. There the backup stores everything again
/// as a set of its own, and the repair deletes all that was there before.
#[test]
fn repair_after_a_backup_without_a_look_at_the_destination_keeps_the_old_versions() {
    let mut rig = four_versions();
    let before = rig.store.files();
    rig.lose_state();
    rig.set("no-backend-verification", "true");
    rig.write("new", Rng::new(77).bytes(2000));
    backup(&mut rig);
    rig.values.unset("no-backend-verification", CommandLine);
    let report = repair(&mut rig);
    assert_eq!(report.versions, 5);
    assert_kept(&rig, &before, "after the repair");
    assert_eq!(rig.log.complaints(), [""; 0]);
    // It knew what was there.
    rig.check_nothing_twice("after the repair");
    rig.check_set("after the repair");
    check(&mut rig, "after the repair");
}

/// 5, repair and backup: a list lies there that the local database does not know and that is older than the newest one.
/// There it is deleted unread.
#[test]
fn repair_takes_an_unknown_old_list_in() {
    for command in ["repair", "backup", "delete"] {
        let mut rig = four_versions();
        let list = rig.names(List).remove(1);
        let bytes = rig.store.remove(&list).expect("it was there");
        let held = rig.versions.remove(1);
        rig.lose_state();
        assert_eq!(repair(&mut rig).versions, 3);
        // Somebody brings it back.
        rig.store.insert(&list, bytes);
        rig.versions.insert(1, held);
        let before = rig.store.files();
        rig.log.clear();
        match command {
            "repair" => assert_eq!(repair(&mut rig).versions, 4),
            "backup" => backup(&mut rig),
            _ => {
                run(&mut rig, &[("keep-versions", "9")], |run| run.delete());
            }
        }
        assert_kept(&rig, &before, command);
        assert_eq!(rig.log.complaints(), [""; 0], "{command}");
        check(&mut rig, command);
    }
}

/// 6, repair: the local database is older than a purge of old versions on another machine. There the purged lists are
/// deleted and the old ones stored again, and the files come back.
#[test]
fn repair_with_a_catalog_from_before_a_purge_elsewhere_brings_nothing_back() {
    let mut rig = four_versions();
    let mut other = second_machine(&rig);
    let request = PurgeRequest {
        patterns: vec!["*/folder/of all".to_owned()],
        filters: Vec::new(),
    };
    let options = [("version", "1-3"), ("threshold", "0")];
    let report = run(&mut other, &options, |run| run.purge(&request));
    assert_eq!(report.rewritten_file_lists, 3);
    for held in rig.versions.iter_mut().take(3) {
        assert!(held.entries.remove(b"folder/of all".as_slice()).is_some());
    }
    let before = rig.store.files();
    for command in ["repair", "backup"] {
        let mut machine = rig.fork();
        match command {
            "repair" => assert_eq!(repair(&mut machine).versions, 4),
            _ => backup(&mut machine),
        }
        assert_kept(&machine, &before, command);
        let lists = machine.names(List).len();
        assert_eq!(lists, machine.versions.len(), "{command}");
        assert_eq!(machine.log.complaints(), [""; 0], "{command}");
        check(&mut machine, command);
    }
}

/// The same with a version that another machine deleted and whose space it freed: there it is stored again without its
/// blocks.
#[test]
fn repair_with_a_catalog_from_before_a_deletion_elsewhere_brings_nothing_back() {
    let mut rig = four_versions();
    let mut other = second_machine(&rig);
    delete(&mut other, &[2]);
    let options = [("threshold", "1"), ("small-file-max-count", "1")];
    let report = run(&mut other, &options, |run| run.compact());
    assert!(report.results.uploaded_file_count >= 2, "{report:?}");
    rig.versions.clone_from(&other.versions);
    let before = rig.store.files();
    for command in ["repair", "backup"] {
        let mut machine = rig.fork();
        match command {
            "repair" => assert_eq!(repair(&mut machine).versions, 3),
            _ => backup(&mut machine),
        }
        assert_kept(&machine, &before, command);
        let lists = machine.names(List).len();
        assert_eq!(lists, machine.versions.len(), "{command}");
        assert_eq!(machine.log.complaints(), [""; 0], "{command}");
        check(&mut machine, command);
    }
}

/// When nothing but the list is gone, a deletion elsewhere cannot be told from a loss: it is told as missing, and a repair
/// says that it brings it back, whole.
#[test]
fn repair_says_which_version_it_brings_back() {
    let mut rig = four_versions();
    let mut other = second_machine(&rig);
    delete(&mut other, &[2]);
    let before = rig.store.files();
    let list = run(&mut rig, &[], |run| run.list_filesets());
    assert_eq!(list.versions.len(), 3);
    assert_eq!(rig.log.count("MissingVersion"), 1, "{:?}", rig.log.texts());
    let said = rig.log.complaints().join("\n");
    assert!(said.contains("larder repair"), "{said}");
    let report = repair(&mut rig);
    assert_eq!((report.versions, report.lists_written), (4, 1));
    assert_eq!(rig.log.count("ListStoredAgain"), 1);
    assert_kept(&rig, &before, "after the repair");
    check(&mut rig, "after the repair");
}

/// 7, purge-broken-files: a data file is lost and the files are unchanged on the disk. There they are removed from all
/// versions. A backup stores them again first, and then nothing is left to purge.
#[test]
fn purge_broken_files_after_a_backup_takes_nothing_that_the_disk_has() {
    for keep_state in [true, false] {
        let mut rig = Rig::new();
        rig.write("unchanged", Rng::new(1).bytes(40_000));
        backup(&mut rig);
        for number in 0..3 {
            rig.write("changes", Rng::new(10 + number).bytes(3000));
            backup(&mut rig);
        }
        let lost = rig.written_by(0, Blocks);
        let _ = rig.store.remove(&lost).expect("it was there");
        if !keep_state {
            rig.lose_state();
        }
        let when = format!("state kept: {keep_state}");
        rig.log.clear();
        let broken = run(&mut rig, &[], |run| run.list_broken_files());
        assert_eq!(broken.broken_files.len(), 4, "{when}");
        rig.log.clear();
        later(&rig, 60);
        rig.try_backup().expect("a backup");
        assert!(rig.log.count("MissingDataFile") >= 1, "{when}");
        let lists = rig.names(List);
        let report = run(&mut rig, &[], |run| run.purge_broken_files());
        // The times that the folder had are nowhere else.
        assert_eq!(report.removed_file_count, 0, "{when}: {report:?}");
        assert_eq!(report.removed_entry_count, 0, "{when}: {report:?}");
        assert_eq!(rig.names(List).len(), lists.len(), "{when}");
        let mut other = rig.fork_at(&rig.store, None);
        for (rig, place) in [(&mut rig, "here"), (&mut other, "elsewhere")] {
            rig.check_all(&format!("{when}, {place}"));
        }
    }
}

/// 8, purge --exclude without an include: there everything but that is purged from all versions.
#[test]
fn purge_with_only_excludes_changes_nothing() {
    let mut rig = four_versions();
    let before = rig.store.files();
    let request = PurgeRequest {
        patterns: Vec::new(),
        filters: vec![(Action::Exclude, "*/folder/*".to_owned())],
    };
    let engine = rig.open().expect("it opens");
    let error = engine.purge(&request).expect_err("it is refused");
    engine.repository().close().expect("the catalog closes");
    assert_eq!(error.id(), Some("PurgeWithoutInclude"), "{}", chain(&error));
    assert!(error.hint().contains("--include"), "{}", error.hint());
    assert_eq!(rig.store.names().len(), before.len());
    assert_kept(&rig, &before, "refused");
    check(&mut rig, "refused");
}

/// 9, backup: all data files have a flipped bit. There a backup ends well as long as it has stored something new, which
/// it then looks at instead.
#[test]
fn backup_over_damaged_data_files_finds_one_of_them_in_time() {
    let mut rig = four_versions();
    let damaged = rig.names(Blocks);
    for name in &damaged {
        assert!(rig.store.flip(name, 60));
    }
    rig.set("backup-test-samples", "1");
    let mut told = Vec::new();
    for round in 0..3 {
        rig.write("new", Rng::new(200 + round).bytes(2000));
        rig.log.clear();
        later(&rig, 60);
        rig.try_backup().expect("a backup");
        told.push(rig.log.complaints().join("\n"));
    }
    let is_told = |said: &String| damaged.iter().any(|name| said.contains(name));
    assert!(told.iter().any(is_told), "{told:#?}");
    let report = rig.test_all();
    assert_eq!(report.damaged(), damaged.len());
    // After that all is stored again that the disk has.
    rig.try_backup().expect("a backup");
    let (target, report) = rig.try_restore(0).expect("a restore");
    assert_eq!(report.broken_remote_files, [""; 0]);
    let found = Manifest::of(&target).expect("a tree");
    let held = rig.versions.last().expect("a version");
    assert_eq!(differences_of(held, &found), [""; 0]);
}

/// 10, restore: one data file is damaged or gone. There the restore ends at the first one, or does not even begin.
#[test]
fn restore_with_one_bad_data_file_gives_all_the_rest() {
    for is_gone in [true, false] {
        for keep_state in [true, false] {
            let mut rig = Rig::new();
            rig.fill(31, 10, 30_000);
            backup(&mut rig);
            rig.write("hurt", Rng::new(1).bytes(9000));
            backup(&mut rig);
            let bad = rig.written_by(1, Blocks);
            match is_gone {
                true => drop(rig.store.remove(&bad)),
                false => {
                    let len = rig.store.files()[&bad].len();
                    rig.store.insert(&bad, Rng::new(3).bytes(len));
                }
            }
            if !keep_state {
                rig.lose_state();
            }
            let when = format!("gone: {is_gone}, state kept: {keep_state}");
            let (target, report) = rig
                .try_restore_of(0, &["*/file 00001*"])
                .expect("a restore");
            assert!(report.restored_files >= 1, "{when}");
            assert_eq!(report.broken_remote_files, [""; 0], "{when}");
            drop(target);
            let (target, report) = rig.try_restore(0).expect("a restore");
            assert_eq!(report.broken_remote_files.len(), 1, "{when}: {report:?}");
            assert!(report.broken_remote_files[0].ends_with("/hurt"), "{when}");
            let held = &rig.versions[1];
            let wrong = silent_differences(held, &target, &report);
            assert_eq!(wrong, [""; 0], "{when}");
            let said = rig.log.complaints().join("\n");
            assert!(said.contains(&bad), "{when}: {said}");
            // The version before is whole.
            let (target, report) = rig.try_restore(1).expect("a restore");
            assert_eq!(report.broken_remote_files, [""; 0], "{when}");
            let found = Manifest::of(&target).expect("a tree");
            assert_eq!(differences_of(&rig.versions[0], &found), [""; 0], "{when}");
        }
    }
}

/// 11, list and find --all-versions: a file was only in older versions, and the local database is there. There its sizes
/// are shown under the newest versions.
#[test]
fn list_shows_sizes_under_the_versions_that_have_them() {
    let mut rig = Rig::new();
    for number in 0..5_usize {
        rig.write("always", "x".repeat(1 + number));
        let only = rig.source().join("only in 1 and 2");
        match number {
            1 | 2 => rig.write("only in 1 and 2", "y".repeat(100 * number)),
            _ => drop(fs::remove_file(only)),
        }
        backup(&mut rig);
    }
    for keep_state in [true, false] {
        if !keep_state {
            rig.lose_state();
        }
        let request = ListRequest {
            patterns: vec!["*".to_owned()],
            all_versions: true,
            ..ListRequest::default()
        };
        let report = run(&mut rig, &[], |run| run.list(&request));
        let numbers: Vec<u64> = report
            .versions
            .iter()
            .map(|version| version.version)
            .collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
        let files = report.files.to_vec().expect("few");
        let sizes = |name: &str| {
            let found = files.iter().find(|file| file.path.ends_with(name));
            found.expect(name).sizes.clone()
        };
        // The newest stands first.
        let some = Some;
        assert_eq!(
            sizes("/only in 1 and 2"),
            [None, None, some(200), some(100), None]
        );
        assert_eq!(
            sizes("/always"),
            [some(5), some(4), some(3), some(2), some(1)]
        );
    }
}
