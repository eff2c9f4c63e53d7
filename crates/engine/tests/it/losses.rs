//! What is lost at the destination is told by every run until it is mended.

use larder_destination::{ErrorKind, Operation};
use larder_engine::ListRequest;
use larder_testkit::Failure;
use larder_volume::VolumeKind::{Blocks, List};

use crate::rig::{Rig, chain, differences_of};

/// One version of one file.
fn one_version() -> Rig {
    let mut rig = Rig::new();
    rig.write("file", larder_testkit::Rng::new(1).bytes(9_000));
    rig.backup();
    rig
}

/// Two versions: the first has a file that the sources lost since.
fn two_versions() -> (Rig, String) {
    let mut rig = Rig::new();
    rig.write("gone", larder_testkit::Rng::new(1).bytes(9_000));
    rig.write("kept", larder_testkit::Rng::new(2).bytes(9_000));
    rig.backup();
    let first = rig.names(Blocks).remove(0);
    std::fs::remove_file(rig.source().join("gone")).unwrap();
    rig.backup();
    (rig, first)
}

/// Runs each command once and says how often it told of a loss with this id.
fn told(rig: &mut Rig, id: &str) -> Vec<usize> {
    let mut counts = Vec::new();
    rig.log.clear();
    rig.try_backup().unwrap();
    counts.push(rig.log.count(id));
    rig.log.clear();
    let run = rig.open().unwrap();
    run.list(&ListRequest::default()).unwrap();
    drop(run);
    counts.push(rig.log.count(id));
    rig.log.clear();
    let run = rig.open().unwrap();
    run.repair().unwrap();
    drop(run);
    counts.push(rig.log.count(id));
    counts
}

#[test]
fn a_lost_data_file_is_told_until_it_is_back() {
    let (mut rig, name) = two_versions();
    let content = rig.store.remove(&name).unwrap();
    // The first backup stores again what the source still has; what it has not is missed for good.
    for _ in 0..2 {
        let counts = told(&mut rig, "MissingDataFile");
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
    let complaint = rig.log.complaints().join("\n");
    assert!(
        // The folder had another time then.
        complaint.contains(&name) && complaint.contains("it costs 2 files or folders of 1 version"),
        "{complaint}"
    );
    rig.store.insert(&name, content);
    told(&mut rig, "MissingDataFile");
    assert_eq!(told(&mut rig, "MissingDataFile"), [0, 0, 0]);
    rig.check_all("after the file came back");
}

#[test]
fn a_lost_data_file_that_no_version_needs_any_more_is_no_loss() {
    let mut rig = one_version();
    let name = rig.names(Blocks).remove(0);
    let _ = rig.store.remove(&name).unwrap();
    told(&mut rig, "MissingDataFile");
    // All that it held was stored again.
    assert_eq!(told(&mut rig, "MissingDataFile"), [0, 0, 0]);
}

#[test]
fn a_version_that_vanished_is_told_until_repair_took_note() {
    let (mut rig, _) = two_versions();
    let oldest = rig.names(List).remove(0);
    let _ = rig.store.remove(&oldest).unwrap();
    // The catalog knows all of it, so the repair stores it again.
    assert_eq!(told(&mut rig, "MissingVersion"), [1, 1, 0]);
    assert_eq!(told(&mut rig, "MissingVersion"), [0, 0, 0]);
    assert_eq!(rig.names(List).len(), 2);
    rig.check_all_elsewhere("after a repair");
}

#[test]
fn when_all_lists_are_gone_a_repair_stores_them_again_or_a_backup_helps() {
    let (mut rig, _) = two_versions();
    for list in rig.names(List) {
        let _ = rig.store.remove(&list).unwrap();
    }
    let mut known = rig.fork();
    let run = known.open().unwrap();
    assert_eq!(run.repair().unwrap().lists_written, 2);
    run.repository().close().unwrap();
    known.check_all("after a repair");
    known.check_all_elsewhere("after a repair");
    rig.lose_state();
    let run = rig.open().unwrap();
    let error = run.repair().unwrap_err();
    drop(run);
    let text = format!("{}; {}", chain(&error), error.hint());
    assert!(text.contains("without a version list"), "{text}");
    assert!(text.contains("run a backup"), "{text}");
    rig.log.clear();
    assert!(rig.backup().version_time.is_some());
    assert_eq!(rig.log.count("MissingVersion"), 0);
    newest_restores(&mut rig);
    // The blocks were kept.
    assert_eq!(rig.names(Blocks).len(), 2);
}

/// A list sorts before the data files, and has no cost of its own.
#[test]
fn a_lost_data_file_is_told_beside_a_lost_list() {
    let (mut rig, name) = two_versions();
    rig.write("later", "x");
    rig.backup();
    let _ = rig.store.remove(&name).unwrap();
    let newest = rig.names(List).pop().unwrap();
    let _ = rig.store.remove(&newest).unwrap();
    rig.log.clear();
    let run = rig.open().unwrap();
    run.list(&ListRequest::default()).unwrap();
    drop(run);
    assert_eq!(rig.log.count("MissingVersion"), 1);
    for _ in 0..2 {
        let counts = told(&mut rig, "MissingDataFile");
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
}

#[test]
fn without_any_list_no_loss_is_taken_for_harmless() {
    let (mut rig, name) = two_versions();
    let content = rig.store.remove(&name).unwrap();
    let lists: Vec<_> = rig.names(List);
    let kept: Vec<_> = lists
        .iter()
        .map(|list| (list.clone(), rig.store.remove(list).unwrap()))
        .collect();
    let run = rig.open().unwrap();
    let _ = run.list_filesets();
    drop(run);
    for (list, bytes) in kept {
        rig.store.insert(&list, bytes);
    }
    let counts = told(&mut rig, "MissingDataFile");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    drop(content);
}

#[test]
fn a_lost_data_file_is_told_after_the_local_state_was_lost_too() {
    let (mut rig, name) = two_versions();
    let _ = rig.store.remove(&name).unwrap();
    rig.lose_state();
    for _ in 0..2 {
        let counts = told(&mut rig, "MissingDataFile");
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
}

/// What a compact of another program does: the blocks lie in a file of another name.
#[test]
fn data_that_moved_is_not_missed() {
    let (mut rig, name) = two_versions();
    let content = rig.store.remove(&name).unwrap();
    let moved = name.replace(&name[11..19], "01234567");
    assert_ne!(moved, name);
    rig.store.insert(&moved, content);
    rig.log.clear();
    let run = rig.open().unwrap();
    run.list(&ListRequest::default()).unwrap();
    drop(run);
    let run = rig.open().unwrap();
    let report = run.test(larder_engine::Samples::All).unwrap();
    let broken: Vec<_> = report
        .verifications
        .iter()
        .filter(|checked| !checked.findings.is_empty())
        .collect();
    // The index of the old name is stale, and that is all.
    assert!(
        broken.iter().all(|checked| !checked.file.contains("dlist")),
        "{broken:#?}"
    );
    drop(run);
    let told = rig.log.complaints();
    assert_eq!(rig.log.count("MissingDataFile"), 0, "{told:?}");
    rig.check_all("after data moved");
}

#[test]
fn another_set_at_the_same_place_is_read_as_what_it_is() {
    let mut rig = Rig::new();
    rig.write("file", "content");
    rig.backup();
    for name in rig.store.names() {
        let _ = rig.store.remove(&name).unwrap();
    }
    let mut other = Rig::new();
    other.set("blocksize", "2kb");
    other.write("file", larder_testkit::Rng::new(5).bytes(7_000));
    other.backup();
    for (name, bytes) in other.store.files() {
        rig.store.insert(&name, bytes);
    }
    // Options of this machine would say otherwise.
    rig.set("blocksize", "2kb");
    let run = rig.open().unwrap();
    let report = run.test(larder_engine::Samples::All).unwrap();
    assert_eq!(report.damaged(), 0, "{report:#?}");
    run.repository().close().unwrap();
    rig.backup();
    assert_eq!(rig.test_all().damaged(), 0);
}

#[test]
fn the_remains_of_a_failed_put_are_no_damage() {
    let mut rig = Rig::new();
    rig.set("backup-test-samples", "100");
    rig.set("number-of-retries", "1");
    rig.set("retry-delay", "0s");
    rig.write("file", larder_testkit::Rng::new(1).bytes(9_000));
    rig.plan
        .push(Operation::Put, Failure::After(ErrorKind::Network));
    let report = rig.backup();
    assert_eq!(report.common.errors_actual_length, 0, "{report:#?}");
    rig.check_all("after a put whose reply was lost");
}

#[test]
fn a_list_that_another_machine_stored_under_a_failed_name_stays() {
    let mut rig = Rig::new();
    rig.write("file", "first");
    rig.backup();
    let mut other = rig.other_machine();
    rig.write("file", "second");
    rig.set("number-of-retries", "0");
    // The list is the last put of a run.
    rig.plan.skip(Operation::Put, 2);
    rig.plan
        .push(Operation::Put, Failure::Before(ErrorKind::Network));
    rig.try_backup().unwrap_err();
    rig.plan.clear();
    let before = rig.names(List);
    let (second, _) = larder_engine::Clock::now(rig.clock.as_ref());
    other.clock.set(u64::try_from(second).unwrap() - 1);
    other.write("of the other", "x");
    other.backup();
    let theirs: Vec<_> = rig
        .names(List)
        .into_iter()
        .filter(|name| !before.contains(name))
        .collect();
    assert_eq!(theirs.len(), 1, "{theirs:?}");
    rig.try_backup().unwrap();
    assert!(rig.names(List).contains(&theirs[0]), "it was deleted");
}

#[test]
fn a_damage_is_told_until_the_content_was_read_and_is_whole() {
    let (mut rig, name) = two_versions();
    let whole = rig.store.files()[&name].clone();
    let mut damaged = whole.to_vec();
    // Most of both files: only one is in the sources still.
    let eighth = damaged.len() / 8;
    damaged[eighth..7 * eighth].fill(0);
    rig.store.insert(&name, damaged);
    rig.test_all();
    let is_told = |rig: &mut Rig| {
        rig.log.clear();
        rig.try_backup().unwrap();
        rig.log.count("MissingDataFile") > 0
    };
    assert!(is_told(&mut rig));
    // Nothing is compared here, so nothing is known.
    rig.set("full-remote-verification", "False");
    rig.set("skip-file-hash-checks", "true");
    rig.test_all();
    assert!(is_told(&mut rig));
    rig.store.insert(&name, whole);
    rig.test_all();
    assert!(is_told(&mut rig));
    rig.set("full-remote-verification", "True");
    rig.test_all();
    assert!(!is_told(&mut rig));
}

/// One version whose only data file has 200 wrong bytes, as a test found out.
fn found_damaged() -> Rig {
    let mut rig = one_version();
    let name = rig.names(Blocks).remove(0);
    let mut damaged = rig.store.files()[&name].to_vec();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 200].fill(0);
    rig.store.insert(&name, damaged);
    rig.test_all();
    rig
}

#[test]
fn blocks_that_were_found_damaged_are_stored_again() {
    let mut rig = found_damaged();
    assert!(rig.backup().version_time.is_none());
    assert_eq!(rig.names(Blocks).len(), 2);
    rig.check_all("after the blocks were stored again");
    rig.check_all_elsewhere("after the blocks were stored again");
    assert_eq!(told(&mut rig, "MissingDataFile"), [0, 0, 0]);
    // Once is enough.
    assert_eq!(rig.names(Blocks).len(), 2);
}

#[test]
fn a_new_file_does_not_rest_on_damaged_blocks() {
    let mut rig = found_damaged();
    let content = std::fs::read(rig.source().join("file")).unwrap();
    std::fs::remove_file(rig.source().join("file")).unwrap();
    rig.write("copy", content);
    rig.backup();
    rig.check_all("a new file with the content of a damaged one");
    rig.check_all_elsewhere("a new file with the content of a damaged one");
}

/// Puts 50 wrong bytes into the middle of a stored file.
fn damage(rig: &Rig, name: &str) {
    let mut bytes = rig.store.files()[name].to_vec();
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle..middle + 50] {
        *byte ^= 0x55;
    }
    rig.store.insert(name, bytes);
}

/// Restores the newest version and compares it.
fn newest_restores(rig: &mut Rig) {
    let (target, _) = rig.try_restore(0).unwrap();
    let found = larder_testkit::tree::Manifest::of(&target).unwrap();
    let differences = differences_of(rig.versions.last().unwrap(), &found);
    assert_eq!(differences, [""; 0]);
}

#[test]
fn a_list_that_a_test_found_damaged_is_told_and_followed_by_a_whole_version() {
    let mut rig = one_version();
    let list = rig.newest_list();
    let whole = rig.store.files()[&list].clone();
    damage(&rig, &list);
    rig.test_all();
    // Nothing has changed, and still there must be a version that can be restored.
    assert!(rig.backup().version_time.is_some());
    assert_ne!(rig.newest_list(), list);
    newest_restores(&mut rig);
    newest_restores(&mut rig.fork_at(&rig.store, None));
    // Once is enough, and the old one is told until it is whole again.
    assert!(rig.backup().version_time.is_none());
    let mut mended = rig.fork();
    let report = rig.test_all();
    assert!(report.damaged() > 0);
    rig.store.insert(&list, whole);
    rig.test_all();
    assert_eq!(told(&mut rig, "DamagedList"), [0, 0, 0]);
    // Or a repair stores it again.
    assert_eq!(told(&mut mended, "DamagedList"), [1, 1, 0]);
    assert_eq!(told(&mut mended, "DamagedList"), [0, 0, 0]);
    assert_eq!(mended.test_all().damaged(), 0);
}

#[test]
fn a_damaged_list_that_was_removed_is_stored_again_by_repair() {
    let (mut rig, _) = two_versions();
    let oldest = rig.names(List).remove(0);
    damage(&rig, &oldest);
    rig.test_all();
    let _ = rig.store.remove(&oldest).unwrap();
    assert_eq!(told(&mut rig, "MissingVersion"), [1, 1, 0]);
    assert_eq!(told(&mut rig, "MissingVersion"), [0, 0, 0]);
    assert_eq!(told(&mut rig, "DamagedList"), [0, 0, 0]);
    assert_eq!(rig.names(List).len(), 2);
    rig.check_all_elsewhere("after a repair");
}

/// Restores in full and passes over that files failed.
fn restore(rig: &mut Rig) {
    let outcome = rig.try_restore(0);
    let told = rig.log.complaints();
    assert!(!told.is_empty(), "{:?}", outcome.map(|(_, report)| report));
}

#[test]
fn blocks_that_a_restore_found_damaged_are_stored_again() {
    let mut rig = one_version();
    damage(&rig, &rig.names(Blocks).remove(0));
    restore(&mut rig);
    rig.log.clear();
    let run = rig.open().unwrap();
    run.list(&ListRequest::default()).unwrap();
    drop(run);
    assert_eq!(rig.log.count("MissingDataFile"), 1);
    rig.backup();
    rig.check_all("after the blocks were stored again");
    rig.check_all_elsewhere("after the blocks were stored again");
    assert_eq!(told(&mut rig, "MissingDataFile"), [0, 0, 0]);
}

#[test]
fn a_volume_that_a_restore_could_not_open_is_stored_again() {
    let mut rig = one_version();
    let name = rig.names(Blocks).remove(0);
    let len = rig.store.files()[&name].len();
    rig.store.insert(&name, vec![0; len]);
    restore(&mut rig);
    rig.backup();
    rig.check_all("after the volume was stored again");
    rig.check_all_elsewhere("after the volume was stored again");
    assert_eq!(told(&mut rig, "MissingDataFile"), [0, 0, 0]);
}

#[test]
fn a_list_that_a_restore_found_damaged_is_told_and_followed_by_a_whole_version() {
    let mut rig = one_version();
    let list = rig.newest_list();
    let whole = rig.store.files()[&list].clone();
    damage(&rig, &list);
    assert!(rig.try_restore(0).is_err());
    assert!(rig.backup().version_time.is_some());
    let mut mended = rig.fork();
    assert_eq!(told(&mut mended, "DamagedList"), [1, 1, 0]);
    assert_eq!(told(&mut mended, "DamagedList"), [0, 0, 0]);
    // A restore that reads it to its end knows that it is back.
    rig.store.insert(&list, whole);
    rig.try_restore(1).unwrap();
    assert_eq!(told(&mut rig, "DamagedList"), [0, 0, 0]);
}

/// The first block of a data file is damaged, the blocks are stored again, and then they are damaged there too.
#[test]
fn blocks_that_are_bad_in_both_of_their_volumes_are_stored_once_more() {
    let mut rig = found_damaged();
    rig.backup();
    let names = rig.names(Blocks);
    assert_eq!(names.len(), 2);
    for name in &names {
        let len = rig.store.files()[name].len();
        rig.store.insert(name, vec![0; len]);
    }
    restore(&mut rig);
    rig.log.clear();
    rig.backup();
    assert!(rig.log.count("MissingDataFile") > 0);
    rig.check_all_elsewhere("after the blocks were stored once more");
    assert_eq!(told(&mut rig, "MissingDataFile"), [0, 0, 0]);
}

/// Bytes behind a volume change nothing of what is in it.
#[test]
fn what_a_volume_of_another_length_still_has_is_restored() {
    let (mut rig, name) = two_versions();
    let whole = rig.store.files()[&name].clone();
    let mut longer = whole.to_vec();
    longer.extend(*b"0123456789");
    rig.store.insert(&name, longer);
    for version in 0..2 {
        let (target, report) = rig.try_restore(version).unwrap();
        assert!(report.broken_remote_files.is_empty(), "{report:?}");
        let found = larder_testkit::tree::Manifest::of(&target).unwrap();
        let held = &rig.versions[rig.versions.len() - 1 - version];
        assert_eq!(differences_of(held, &found), [""; 0]);
    }
    // The old index says what the volume had; one that says something else helps nobody.
    let indexes = rig.names(larder_volume::VolumeKind::Index).len();
    rig.set("backup-test-samples", "5");
    for _ in 0..3 {
        rig.log.clear();
        rig.try_backup().unwrap();
        assert_eq!(rig.log.complaints(), [""; 0]);
    }
    assert_eq!(rig.names(larder_volume::VolumeKind::Index).len(), indexes);
    assert!(rig.test_all().damaged() > 0);
    rig.store.insert(&name, whole);
    assert_eq!(told(&mut rig, "MissingDataFile"), [0, 0, 0]);
    assert_eq!(rig.test_all().damaged(), 0);
    rig.check_all_elsewhere("after it has its length again");
}

/// A data file is gone, its blocks are stored again, and its index stays.
#[test]
fn backups_after_a_mended_loss_end_well() {
    let mut rig = one_version();
    let _ = rig.store.remove(&rig.names(Blocks)[0]).unwrap();
    rig.set("backup-test-samples", "5");
    rig.try_backup().unwrap();
    for _ in 0..3 {
        rig.log.clear();
        rig.try_backup().unwrap();
        assert_eq!(rig.log.complaints(), [""; 0]);
    }
    rig.check_all_elsewhere("after the blocks were stored again");
}

#[test]
fn a_list_that_was_damaged_before_the_catalog_was_built_is_told() {
    let (mut rig, _) = two_versions();
    let oldest = rig.names(List).remove(0);
    let whole = rig.store.files()[&oldest].clone();
    damage(&rig, &oldest);
    rig.lose_state();
    rig.test_all();
    assert_eq!(told(&mut rig, "DamagedList"), [1, 1, 1]);
    rig.store.insert(&oldest, whole);
    // A test looks at damaged lists beside its samples.
    let run = rig.open().unwrap();
    run.test(larder_engine::Samples::Count(1)).unwrap();
    drop(run);
    assert_eq!(told(&mut rig, "DamagedList"), [0, 0, 0]);
}

/// A list whose hash alone is wrong, and a test that ends before all was looked at.
#[test]
fn a_test_that_ends_early_forgets_no_damaged_list() {
    let mut rig = one_version();
    let list = rig.newest_list();
    let mut bytes = rig.store.files()[&list].to_vec();
    // The time of the first entry of the archive.
    bytes[10] ^= 1;
    rig.store.insert(&list, bytes);
    rig.test_all();
    rig.set("number-of-retries", "0");
    rig.set("concurrency-max-threads", "1");
    // The list twice, the index.
    rig.plan.skip(Operation::Get, 3);
    rig.plan
        .push(Operation::Get, Failure::Before(ErrorKind::Network));
    let run = rig.open().unwrap();
    assert!(run.test(larder_engine::Samples::All).is_err());
    drop(run);
    rig.plan.clear();
    assert!(rig.backup().version_time.is_some());
}

#[test]
fn a_test_of_a_set_without_lists_is_no_success() {
    let (mut rig, _) = two_versions();
    for list in rig.names(List) {
        let _ = rig.store.remove(&list).unwrap();
    }
    for _ in 0..2 {
        let run = rig.open().unwrap();
        let error = run.test(larder_engine::Samples::All).unwrap_err();
        drop(run);
        assert_eq!(error.id(), Some("EmptyRemoteLocation"));
        rig.lose_state();
    }
}

/// What is mended is over for whoever only makes backups, though the bad copy lies there still.
#[test]
fn backups_after_a_mended_damage_end_well() {
    let mut rig = found_damaged();
    rig.set("backup-test-samples", "5");
    rig.backup();
    for _ in 0..3 {
        rig.log.clear();
        let report = rig.try_backup().unwrap();
        assert_eq!(report.common.parsed_result, larder_engine::Outcome::Success);
        assert_eq!(rig.log.complaints(), [""; 0]);
    }
    // A restore takes the good copies.
    rig.try_restore(0).unwrap();
    assert_eq!(rig.log.complaints(), [""; 0]);
}

#[test]
fn an_older_version_never_goes_over_newer_files_unasked() {
    let mut rig = Rig::new();
    for text in ["old", "new"] {
        rig.write("file", text);
        rig.backup();
    }
    assert!(rig.store.truncate(&rig.newest_list(), 100));
    rig.lose_state();
    // An empty folder gets the older version, which is told.
    rig.log.clear();
    let (target, report) = rig.restore_unasked().unwrap();
    assert_eq!(report.restored_files, 1);
    assert_eq!(rig.log.count("OlderVersionRestored"), 1);
    let file = target.join("file");
    std::fs::write(&file, "newer still").unwrap();
    let run = rig.open().unwrap();
    let request = larder_engine::RestoreRequest {
        patterns: Vec::new(),
        filters: Vec::new(),
        target: Some(target),
    };
    let error = run.restore(&request).unwrap_err();
    assert_eq!(error.id(), Some("DamagedList"), "{}", chain(&error));
    assert!(error.hint().contains("--version=1"), "{}", error.hint());
    assert_eq!(std::fs::read_to_string(file).unwrap(), "newer still");
}

/// What a data file costs is not known while the list of the version that used it is gone too.
#[test]
fn a_data_file_that_was_lost_with_its_list_is_told_when_the_list_is_back() {
    let (mut rig, name) = two_versions();
    let oldest = rig.names(List).remove(0);
    let _ = rig.store.remove(&name).unwrap();
    let list = rig.store.remove(&oldest).unwrap();
    // The first backup stores again what the sources still have.
    rig.try_backup().unwrap();
    rig.log.clear();
    rig.try_backup().unwrap();
    assert_eq!(rig.log.count("MissingVersion"), 1);
    assert_eq!(rig.log.count("MissingDataFile"), 1);
    rig.store.insert(&oldest, list);
    for _ in 0..2 {
        let counts = told(&mut rig, "MissingDataFile");
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
    let complaint = rig.log.complaints().join("\n");
    assert!(
        complaint.contains("it costs 2 files or folders of 1 version"),
        "{complaint}"
    );
}

/// Once nothing is unknown any more the cost is counted, and what costs nothing is over.
#[test]
fn a_cost_is_counted_again_when_lists_are_known() {
    let (mut rig, name) = two_versions();
    let oldest = rig.names(List).remove(0);
    let _ = rig.store.remove(&name).unwrap();
    let _ = rig.store.remove(&oldest).unwrap();
    rig.try_backup().unwrap();
    // Repair stores the list again, so it is known what it misses.
    for _ in 0..2 {
        let counts = told(&mut rig, "MissingDataFile");
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
    let complaint = rig.log.complaints().join("\n");
    assert!(complaint.contains("it costs "), "{complaint}");
    // With the version goes who missed the file.
    rig.set("version", "1-9");
    let run = rig.open().unwrap();
    run.delete().unwrap();
    run.repository().close().unwrap();
    let command_line = larder_options::Origin::CommandLine;
    rig.values.unset("version", command_line);
    assert_eq!(told(&mut rig, "MissingDataFile"), [0, 0, 0]);
}

#[test]
fn a_damaged_index_is_followed_by_another_one() {
    for rig in [Rig::new(), Rig::encrypted("a passphrase")] {
        let mut rig = rig;
        rig.write("file", larder_testkit::Rng::new(1).bytes(9_000));
        rig.backup();
        let index = rig.names(larder_volume::VolumeKind::Index).remove(0);
        damage(&rig, &index);
        rig.set("backup-test-samples", "5");
        rig.try_backup().unwrap();
        assert!(rig.log.count("TestFailed") > 0);
        for _ in 0..3 {
            rig.log.clear();
            rig.try_backup().unwrap();
            assert_eq!(rig.log.complaints(), [""; 0]);
        }
        assert_eq!(rig.names(larder_volume::VolumeKind::Index).len(), 2);
        rig.check_all_elsewhere("with a damaged index");
        assert_eq!(rig.test_all().damaged(), 1);
        let _ = rig.store.remove(&index).unwrap();
        // That it is gone is told once.
        rig.test_all();
        assert_eq!(rig.test_all().damaged(), 0);
    }
}

/// A large file has blocks in three data files, of which one holds nothing else; all are gone, and two come back.
#[test]
fn what_a_file_lacks_beside_another_loss_is_told_when_that_is_over() {
    let mut rig = Rig::new();
    rig.set("concurrency-max-threads", "1");
    rig.write("large", larder_testkit::Rng::new(1).bytes(2_600_000));
    rig.backup();
    let data = rig.names(Blocks);
    assert_eq!(data.len(), 3);
    std::fs::remove_file(rig.source().join("large")).unwrap();
    rig.backup();
    for lost in &data {
        let mut rig = rig.fork();
        let kept: Vec<_> = data
            .iter()
            .map(|name| (name, rig.store.remove(name).unwrap()))
            .collect();
        let counts = told(&mut rig, "MissingDataFile");
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
        for (name, content) in kept.iter().filter(|(name, _)| *name != lost) {
            rig.store.insert(name, content.clone());
        }
        for _ in 0..2 {
            let counts = told(&mut rig, "MissingDataFile");
            assert!(counts.iter().all(|count| *count > 0), "{lost}: {counts:?}");
        }
        assert!(rig.log.complaints().join("\n").contains(lost));
        for (name, content) in kept {
            rig.store.insert(name, content);
        }
        told(&mut rig, "MissingDataFile");
        assert_eq!(told(&mut rig, "MissingDataFile"), [0, 0, 0]);
    }
}

/// The metadata of a large file lies in another data file than its content, which is gone.
#[test]
fn a_large_file_whose_metadata_lies_elsewhere_is_counted() {
    let mut rig = Rig::new();
    rig.write("large", larder_testkit::Rng::new(1).bytes(100_000));
    rig.backup();
    let first = rig.names(Blocks).remove(0);
    let file = rig.source().join("large");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, mode).unwrap();
    rig.backup();
    // The third version does without it.
    std::fs::remove_file(&file).unwrap();
    rig.write("other", "x");
    rig.backup();
    let _ = rig.store.remove(&first).unwrap();
    told(&mut rig, "MissingDataFile");
    let counts = told(&mut rig, "MissingDataFile");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    let complaint = rig.log.complaints().join("\n");
    // In each version the file and its folder.
    let cost = "it costs 4 files or folders of 2 versions";
    assert!(complaint.contains(cost), "{complaint}");
}

#[test]
fn a_list_of_another_length_is_stored_again_by_repair() {
    for is_gone in [false, true] {
        let (mut rig, _) = two_versions();
        let oldest = rig.names(List).remove(0);
        assert!(rig.store.truncate(&oldest, 100));
        rig.try_backup().unwrap();
        if is_gone {
            let _ = rig.store.remove(&oldest).unwrap();
        }
        assert_eq!(told(&mut rig, "DamagedList"), [1, 1, 0], "{is_gone}");
        for id in ["DamagedList", "MissingVersion"] {
            assert_eq!(told(&mut rig, id), [0, 0, 0], "{is_gone}");
        }
        assert_eq!(rig.names(List).len(), 2, "{is_gone}");
        rig.check_all_elsewhere("after a repair");
    }
}

/// The newer blocklist of a file is there, and no index repeats it; most of its blocks are lost.
#[test]
fn a_large_file_whose_blocklist_no_index_repeats_is_stored_again() {
    for policy in ["Lookup", "None"] {
        for keep_state in [true, false] {
            let mut rig = Rig::new();
            rig.set("index-file-policy", policy);
            let mut content = larder_testkit::Rng::new(1).bytes(30_000);
            rig.write("large", &content);
            rig.backup();
            content[20_000] ^= 1;
            rig.write("large", &content);
            rig.backup();
            let lost = rig.written_by(0, Blocks);
            let _ = rig.store.remove(&lost).unwrap();
            if !keep_state {
                rig.lose_state();
            }
            rig.write("new", "new");
            rig.try_backup().unwrap();
            let (target, report) = rig.try_restore(0).unwrap();
            let when = format!("{policy}, state kept: {keep_state}");
            assert_eq!(report.broken_remote_files, [""; 0], "{when}");
            let found = std::fs::read(target.join("large")).expect(&when);
            assert!(found == content, "{when}");
        }
    }
}
