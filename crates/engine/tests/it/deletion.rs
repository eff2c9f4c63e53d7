//! Deleting versions: by name and by rule, on its own and after a backup. Trouble at every call is met in the matrix.

use std::sync::Arc;

use larder_destination::{ErrorKind, Operation};
use larder_engine::{DeleteReport, Error};
use larder_testkit::Failure;
use larder_volume::VolumeKind::{Blocks, List};

use crate::doom::{Doom, Reach};
use crate::rig::{Rig, chain, differences_of};

/// So many versions, each with a file of its own that only it has.
fn with_versions(count: usize) -> Rig {
    let mut rig = Rig::new();
    // Here it is about lists.
    rig.set("no-auto-compact", "true");
    rig.fill(31, 6, 20_000);
    for number in 0..count {
        rig.write(
            "changes",
            larder_testkit::Rng::new(number as u64).bytes(3000),
        );
        rig.backup();
    }
    rig
}

fn delete(rig: &mut Rig) -> Result<DeleteReport, Error> {
    let run = rig.open()?;
    let outcome = run.delete();
    run.repository().close().expect("the catalog closes");
    outcome
}

/// The numbers of the versions that were deleted.
fn deleted(rig: &mut Rig) -> Vec<u64> {
    let report = delete(rig).unwrap();
    report.deleted_sets.iter().map(|set| set.number).collect()
}

/// Notes that the versions at these places, the oldest being 0, are no more.
fn without(rig: &mut Rig, places: &[usize]) {
    for place in places.iter().rev() {
        rig.versions.remove(*place);
    }
}

#[test]
fn named_versions_go_and_the_others_stay() {
    let mut rig = with_versions(4);
    let data = rig.names(Blocks);
    rig.set("version", "1,3");
    assert_eq!(deleted(&mut rig), [1, 3]);
    without(&mut rig, &[0, 2]);
    rig.values
        .unset("version", larder_options::Origin::CommandLine);
    rig.check_all("after two versions were deleted");
    rig.check_all_elsewhere("after two versions were deleted");
    // Nothing else is touched, and nothing is missed.
    assert_eq!(rig.names(Blocks), data);
    rig.log.clear();
    assert_eq!(rig.test_all().damaged(), 0);
    rig.write("changes", "x");
    rig.backup();
    assert_eq!(rig.log.complaints(), [""; 0]);
}

#[test]
fn a_version_that_is_not_there_is_an_error() {
    let mut rig = with_versions(2);
    rig.set("version", "7");
    let error = delete(&mut rig).unwrap_err();
    assert_eq!(error.id(), Some("NoSuchVersion"), "{}", chain(&error));
    assert_eq!(rig.names(List).len(), 2);
}

#[test]
fn a_rule_thins_out_after_each_backup_without_a_download() {
    let mut rig = Rig::new();
    rig.set("keep-versions", "2");
    for number in 0..4_u64 {
        rig.write("changes", larder_testkit::Rng::new(number).bytes(3000));
        let report = rig.backup();
        let number_deleted = usize::from(number >= 2);
        assert_eq!(report.deleted_sets.len(), number_deleted);
    }
    assert!(rig.gets().is_empty(), "{:?}", rig.gets());
    assert_eq!(rig.names(List).len(), 2);
    without(&mut rig, &[0, 1]);
    rig.check_all("after thinning out");
    rig.check_all_elsewhere("after thinning out");
}

#[test]
fn two_rules_are_refused_before_anything_is_stored() {
    let mut rig = with_versions(1);
    rig.set("keep-versions", "2");
    rig.set("keep-time", "1D");
    rig.write("changes", "x");
    let error = rig.try_backup().unwrap_err();
    let id = "MultipleRetentionOptionsNotSupported";
    assert_eq!(error.id(), Some(id), "{}", chain(&error));
    assert_eq!(rig.names(List).len(), 1);
}

#[test]
fn the_last_version_stays_unless_all_may_go() {
    let mut rig = with_versions(2);
    rig.set("version", "0-1");
    assert_eq!(deleted(&mut rig), [1]);
    assert_eq!(rig.log.count("PreventingLastFilesetRemoval"), 1);
    rig.set("version", "0");
    assert_eq!(deleted(&mut rig), [0; 0]);
    rig.set("allow-full-removal", "true");
    assert_eq!(deleted(&mut rig), [0]);
    assert!(rig.names(List).is_empty());
    // The next backup begins anew with the blocks that are there.
    let data = rig.names(Blocks).len();
    rig.values
        .unset("version", larder_options::Origin::CommandLine);
    rig.versions.clear();
    rig.backup();
    assert_eq!(rig.names(Blocks).len(), data);
    rig.check_all_elsewhere("after all versions were deleted");
}

#[test]
fn a_list_that_cannot_be_read_pushes_no_other_out() {
    let mut rig = with_versions(3);
    let newest = rig.newest_list();
    assert!(rig.store.truncate(&newest, 100));
    rig.lose_state();
    rig.set("keep-versions", "1");
    assert_eq!(deleted(&mut rig), [2]);
    let lists = rig.names(List);
    assert!(lists.contains(&newest) && lists.len() == 2, "{lists:?}");
    // By its number it may go.
    rig.values
        .unset("keep-versions", larder_options::Origin::CommandLine);
    rig.set("version", "0");
    assert_eq!(deleted(&mut rig), [0]);
    assert!(!rig.names(List).contains(&newest));
}

/// Whoever can write at the destination can store an old list once more; it must not count as a newer version.
#[test]
fn an_old_list_under_a_later_name_pushes_no_other_out() {
    let mut rig = with_versions(2);
    let lists = rig.names(List);
    let replayed = lists[0].replace(&lists[0][10..26], "20251010T000000Z");
    assert_ne!(replayed, lists[0]);
    rig.store
        .insert(&replayed, rig.store.files()[&lists[0]].clone());
    rig.set("keep-versions", "2");
    assert_eq!(deleted(&mut rig), [0; 0]);
    assert_eq!(
        rig.names(List),
        [lists[0].clone(), lists[1].clone(), replayed]
    );
}

#[test]
fn nothing_goes_while_the_newest_version_is_not_whole() {
    let mut rig = Rig::new();
    rig.write("once", larder_testkit::Rng::new(1).bytes(9_000));
    rig.backup();
    let first = rig.written_by(0, Blocks);
    let len = rig.store.files()[&first].len();
    rig.store.insert(&first, vec![0; len]);
    rig.set("keep-versions", "1");
    rig.set("backup-test-samples", "5");
    // The check after the backup finds that blocks of the unchanged file are damaged.
    rig.write("later", "x");
    rig.try_backup().unwrap();
    assert_eq!(rig.log.count("RetentionHeldBack"), 1);
    assert_eq!(rig.names(List).len(), 2);
    // The next backup stores them again; the first version alone lost its folder.
    rig.log.clear();
    rig.write("later", "y");
    rig.backup();
    assert_eq!(rig.log.count("RetentionHeldBack"), 0);
    assert_eq!(rig.names(List).len(), 1);
    rig.versions.drain(..rig.versions.len() - 1);
    rig.check_all_elsewhere("after the damaged blocks were stored again");
}

#[test]
fn a_dry_run_says_what_would_go() {
    let mut rig = with_versions(2);
    let files = rig.store.names();
    rig.set("version", "1");
    rig.set("dry-run", "true");
    let report = delete(&mut rig).unwrap();
    assert!(report.dryrun && report.deleted_sets.len() == 1);
    assert_eq!(rig.store.names(), files);
    let said = rig.log.texts().join("\n");
    assert!(said.contains("Would delete remote fileset: "), "{said}");
}

#[test]
fn a_version_whose_list_may_not_be_removed_stays() {
    let mut rig = with_versions(3);
    rig.set("version", "1,2");
    rig.set("number-of-retries", "0");
    rig.plan
        .push(Operation::Delete, Failure::Before(ErrorKind::Locked));
    // The oldest comes first.
    assert_eq!(deleted(&mut rig), [1]);
    assert_eq!(rig.log.count("ListNotRemoved"), 1);
    assert_eq!(rig.names(List).len(), 2);
    without(&mut rig, &[1]);
    let command_line = larder_options::Origin::CommandLine;
    rig.values.unset("version", command_line);
    rig.check_all("after one stayed");
    rig.try_backup().unwrap();
    assert_eq!(rig.names(List).len(), 2);
    rig.check_all_elsewhere("after one stayed");
}

/// What the catalog knows of the list that stays is not what lies there.
#[test]
fn the_newest_version_that_stays_is_looked_at_before_others_go() {
    for by_backup in [false, true] {
        let mut rig = with_versions(3);
        let newest = rig.newest_list();
        let len = rig.store.files()[&newest].len();
        rig.store.insert(&newest, vec![0; len]);
        rig.set("keep-versions", "1");
        let before = rig.versions.len();
        let gone: Vec<u64> = match by_backup {
            true => {
                let sets = rig.try_backup().unwrap().deleted_sets;
                sets.iter().map(|set| set.number).collect()
            }
            false => deleted(&mut rig),
        };
        assert_eq!(gone, [2], "by a backup: {by_backup}");
        assert_eq!(rig.versions.len(), before);
        // The newest one that can be read is still there.
        let (target, _) = rig.try_restore(1).unwrap();
        let found = larder_testkit::tree::Manifest::of(&target).unwrap();
        assert_eq!(differences_of(&rig.versions[1], &found), [""; 0]);
    }
}

#[test]
fn no_rule_lets_versions_go_while_the_newest_one_is_hurt() {
    let mut rig = with_versions(3);
    let last = rig.written_by(2, Blocks);
    let _ = rig.store.remove(&last).unwrap();
    rig.set("keep-versions", "1");
    for keep_state in [true, false] {
        if !keep_state {
            rig.lose_state();
        }
        let error = delete(&mut rig).unwrap_err();
        assert_eq!(error.id(), Some("RetentionHeldBack"), "{}", chain(&error));
        assert_eq!(rig.names(List).len(), 3);
    }
    // A backup stores again what is missed.
    rig.write("later", "x");
    rig.backup();
    assert_eq!(rig.names(List).len(), 1);
    newest_is_right(&mut rig);
}

/// Without blocklists the sets of the catalog alone tell what is missed.
#[test]
fn a_rule_waits_for_a_small_file_that_is_lost() {
    let mut rig = Rig::new();
    for number in 0..3 {
        rig.write("small", format!("content {number}"));
        rig.backup();
    }
    let last = rig.written_by(2, Blocks);
    let bytes = rig.store.remove(&last).unwrap();
    rig.set("keep-versions", "1");
    let error = delete(&mut rig).unwrap_err();
    assert_eq!(error.id(), Some("RetentionHeldBack"), "{}", chain(&error));
    rig.store.insert(&last, bytes);
    assert_eq!(deleted(&mut rig).len(), 2);
}

/// The list of the newest version cannot be read, and the version before it is hurt.
#[test]
fn a_hurt_version_pushes_no_whole_one_out() {
    let mut rig = with_versions(3);
    let newest = rig.newest_list();
    let len = rig.store.files()[&newest].len();
    rig.store.insert(&newest, vec![0; len]);
    let data = rig.written_by(1, Blocks);
    let _ = rig.store.remove(&data).unwrap();
    rig.set("keep-versions", "1");
    let error = delete(&mut rig).unwrap_err();
    assert_eq!(error.id(), Some("RetentionHeldBack"), "{}", chain(&error));
    assert_eq!(rig.names(List).len(), 3);
}

/// Nothing says what the newest version lacks but its own list.
#[test]
fn blocks_that_no_index_knows_are_missed() {
    let mut rig = with_versions(3);
    for kind in [Blocks, larder_volume::VolumeKind::Index] {
        let name = rig.written_by(2, kind);
        let _ = rig.store.remove(&name).unwrap();
    }
    rig.lose_state();
    rig.set("keep-versions", "1");
    let error = delete(&mut rig).unwrap_err();
    assert_eq!(error.id(), Some("RetentionHeldBack"), "{}", chain(&error));
    assert_eq!(rig.names(List).len(), 3);
    // Named versions go.
    let command_line = larder_options::Origin::CommandLine;
    rig.values.unset("keep-versions", command_line);
    rig.set("version", "2");
    assert_eq!(deleted(&mut rig), [2]);
}

/// No index says what blocklists hold, and one data file of a large file is gone.
#[test]
fn blocks_of_unknown_blocklists_are_missed() {
    let mut base = with_versions(2);
    base.set("concurrency-max-threads", "1");
    base.write("large", larder_testkit::Rng::new(1).bytes(2_600_000));
    let before = base.names(Blocks);
    base.backup();
    for index in base.names(larder_volume::VolumeKind::Index) {
        let _ = base.store.remove(&index).unwrap();
    }
    base.lose_state();
    base.set("keep-versions", "1");
    let mut data = base.names(Blocks);
    data.retain(|name| !before.contains(name));
    assert_eq!(data.len(), 3);
    for lost in data {
        let mut rig = base.fork();
        let _ = rig.store.remove(&lost).unwrap();
        let error = delete(&mut rig).unwrap_err();
        assert_eq!(error.id(), Some("RetentionHeldBack"), "{}", chain(&error));
        assert_eq!(rig.names(List).len(), 3);
    }
}

/// The newest version restores as it was.
fn newest_is_right(rig: &mut Rig) {
    let (target, _) = rig.try_restore(0).unwrap();
    let found = larder_testkit::tree::Manifest::of(&target).unwrap();
    let held = rig.versions.last().unwrap();
    assert_eq!(differences_of(held, &found), [""; 0]);
}

#[test]
fn a_span_that_keeps_nothing_is_refused() {
    let mut rig = with_versions(2);
    for age in ["0", "0s", "-1D", "now"] {
        rig.set("keep-time", age);
        let error = delete(&mut rig).unwrap_err();
        assert_eq!(error.id(), Some("OptionValidationError"), "{age}");
    }
    assert_eq!(rig.names(List).len(), 2);
}

/// Whoever stops a deletion keeps the rest.
#[test]
fn a_deletion_that_is_stopped_keeps_the_other_versions() {
    let mut rig = with_versions(4);
    rig.set("keep-versions", "1");
    // Of the deletions the second.
    rig.plan.skip(Operation::Delete, 1);
    rig.plan
        .push(Operation::Delete, Failure::Before(ErrorKind::Cancelled));
    rig.set("number-of-retries", "0");
    let _ = delete(&mut rig);
    rig.plan.clear();
    let command_line = larder_options::Origin::CommandLine;
    rig.values.unset("keep-versions", command_line);
    rig.try_backup().unwrap();
    // The one that was begun is gone, the third was never asked for.
    assert_eq!(rig.names(List).len(), 2);
}

/// As above, of a list that another machine stored, so that its hash is not known here.
#[test]
fn a_version_that_was_dropped_stays_dropped() {
    for reach in [Reach::Not, Reach::Whole] {
        let mut base = with_versions(3);
        base.lose_state();
        base.set("version", "1");
        let mut whole = base.fork();
        delete(&mut whole).unwrap();
        let calls = whole.plan.calls();
        // The last call removes the list.
        let rig = base.fork();
        let saved = rig.fast.path().join("saved");
        let doom = Arc::new(Doom::new(&rig, calls, reach, saved.clone()));
        let mut rig = rig;
        let run = rig.open_over(doom.clone(), true).unwrap();
        let _ = run.delete();
        drop(run);
        let mut after = rig.fork_at(&doom.what_is_left().unwrap(), Some(saved.as_path()));
        let command_line = larder_options::Origin::CommandLine;
        after.values.unset("version", command_line);
        without(&mut after, &[1]);
        after.try_backup().unwrap();
        assert_eq!(after.names(List).len(), 2, "{reach:?}");
        after.check_all(&format!("{reach:?}"));
    }
}

/// A put of the list whose reply is lost leaves two files of one version; neither counts twice.
#[test]
fn what_is_left_of_a_put_pushes_no_version_out() {
    let mut rig = with_versions(2);
    rig.set("keep-versions", "2");
    rig.set("number-of-retries", "1");
    rig.write("changes", "x");
    let puts = rig.puts().len();
    rig.backup();
    // Of the same backup again, with the reply to the last put lost.
    let more = rig.puts().len() - puts;
    let oldest = rig.names(List).remove(0);
    rig.write("changes", "y");
    rig.plan.skip(Operation::Put, more - 1);
    rig.plan
        .push(Operation::Put, Failure::After(ErrorKind::Network));
    let report = rig.backup();
    assert_eq!(report.deleted_sets.len(), 1, "{report:?}");
    assert!(!rig.names(List).contains(&oldest));
    rig.write("changes", "z");
    rig.set("keep-versions", "9");
    rig.backup();
    assert_eq!(rig.names(List).len(), 3);
}

#[test]
fn the_last_good_version_stays_beside_a_damaged_one() {
    let mut rig = with_versions(2);
    assert!(rig.store.truncate(&rig.newest_list(), 100));
    rig.lose_state();
    rig.test_all();
    let lists = rig.names(List);
    rig.set("version", "1");
    assert_eq!(deleted(&mut rig), [0; 0]);
    assert_eq!(rig.log.count("PreventingLastFilesetRemoval"), 1);
    assert_eq!(rig.names(List), lists);
    rig.set("version", "0-1");
    assert_eq!(deleted(&mut rig), [0]);
    assert_eq!(rig.names(List), lists[..1]);
}

#[test]
fn other_ways_to_name_versions_delete_nothing() {
    let mut rig = with_versions(3);
    rig.set("all-versions", "true");
    rig.set("version", "2");
    assert_eq!(deleted(&mut rig), [2]);
    let command_line = larder_options::Origin::CommandLine;
    rig.values.unset("version", command_line);
    rig.set("retention-policy", ",");
    assert_eq!(deleted(&mut rig), [0; 0]);
    assert_eq!(rig.names(List).len(), 2);
}

/// No complaint, but not without a trace either.
#[test]
fn versions_that_another_machine_deleted_are_named() {
    let mut rig = with_versions(4);
    let mut other = rig.other_machine();
    other.set("keep-versions", "1");
    other.write("changes", "of the other one");
    other.backup();
    rig.versions = vec![other.versions.pop().expect("its version")];
    rig.log.clear();
    rig.backup();
    assert_eq!(rig.log.complaints(), [""; 0]);
    assert_eq!(rig.log.count("VersionsDeletedElsewhere"), 1);
    rig.check_all("what is left");
}

/// Files in memory are of the beginning of this day.
const WRITTEN: u64 = 1_700_000_000;

/// On a machine that sees the files for the first time, those of the last day may be another one's.
#[test]
fn what_a_full_removal_leaves_is_told_and_goes_later() {
    let mut rig = with_versions(2);
    rig.set("no-auto-compact", "false");
    rig.lose_state();
    rig.clock.set(WRITTEN + 1000);
    rig.set("version", "0-1");
    rig.set("allow-full-removal", "true");
    assert_eq!(deleted(&mut rig), [0, 1]);
    assert!(!rig.names(Blocks).is_empty());
    assert_eq!(rig.log.count("DataFilesStay"), 1);
    rig.values
        .unset("version", larder_options::Origin::CommandLine);
    let run = |rig: &mut Rig, work: &dyn Fn(&larder_engine::Run) -> Result<(), Error>| {
        let run = rig.open()?;
        let done = work(&run);
        run.repository().close().expect("the catalog closes");
        done
    };
    run(&mut rig, &|run| run.repair().map(drop)).expect("nothing to repair");
    run(&mut rig, &|run| run.compact().map(drop)).expect("nothing goes");
    assert!(!rig.names(Blocks).is_empty());
    let test = run(&mut rig, &|run| {
        run.test(larder_engine::Samples::All).map(drop)
    });
    let error = test.unwrap_err();
    assert!(chain(&error).contains("all versions were deleted"));
    rig.clock.set(WRITTEN + 3 * 24 * 3600);
    run(&mut rig, &|run| run.compact().map(drop)).expect("all goes");
    assert_eq!(rig.store.names(), [""; 0]);
}

/// Nobody can bring back what never was.
#[test]
fn a_stopped_first_backup_is_told_as_such() {
    let mut base = Rig::new();
    base.set("number-of-retries", "0");
    base.write("a", "letter");
    let mut stopped = None;
    for call in 1..20 {
        let mut rig = base.fork();
        rig.plan.fail_at(call, Failure::Before(ErrorKind::Network));
        if rig.try_backup().is_ok() {
            break;
        }
        rig.plan.clear();
        if !rig.names(Blocks).is_empty() && rig.names(List).is_empty() {
            stopped = Some(rig);
        }
    }
    let mut rig = stopped.expect("a backup without a list");
    let told = |rig: &mut Rig| {
        let run = rig.open().expect("it opens");
        let error = run.test(larder_engine::Samples::All).unwrap_err();
        run.repository().close().expect("the catalog closes");
        assert_eq!(error.id(), Some("EmptyRemoteLocation"));
        (chain(&error), error.hint())
    };
    let (text, help) = told(&mut rig);
    assert!(text.contains("no version was finished yet"), "{text}");
    assert_eq!(help, "run `larder backup`: it goes on where it stopped");
    // Another machine cannot tell.
    let (text, help) = told(&mut rig.fork_at(&rig.store, None));
    assert!(!text.contains("finished"), "{text}");
    assert!(help.contains("when there were versions"), "{help}");
    rig.backup();
    let list = rig.newest_list();
    let _ = rig.store.remove(&list).expect("a list");
    let (text, help) = told(&mut rig);
    assert!(!text.contains("finished"), "{text}");
    assert!(help.starts_with("bring the version lists back"), "{help}");
}
