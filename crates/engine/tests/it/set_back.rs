//! Destinations that are set back to an earlier state, and lists that come and go in listings: what was stored is missed, and
//! what this machine removed is no work of others.

use larder_destination::{ErrorKind, Operation};
use larder_engine::Error;
use larder_testkit::{Failure, Listing, MemoryDestination, MemoryOptions};
use larder_volume::VolumeKind::{Blocks, List};

use crate::rig::Rig;

/// Versions, each with a file of its own.
fn with_versions(count: u64) -> Rig {
    let mut rig = Rig::new();
    for number in 0..count {
        rig.write("changes", larder_testkit::Rng::new(number).bytes(3000));
        rig.backup();
    }
    rig.log.clear();
    rig.journal.clear();
    rig
}

fn run<T>(
    rig: &mut Rig,
    work: impl FnOnce(&larder_engine::Run) -> Result<T, Error>,
) -> Result<T, Error> {
    let run = rig.open()?;
    let outcome = work(&run);
    run.repository().close().expect("the catalog closes");
    outcome
}

/// A snapshot of the destination comes back, with versions that were deleted since and without the newest.
#[test]
fn a_destination_that_was_set_back_loses_no_version_without_a_word() {
    let mut rig = with_versions(4);
    let before = rig.store.files();
    rig.set("keep-versions", "3");
    rig.write("changes", "the newest");
    rig.backup();
    let newest = rig.newest_list();
    for name in rig.store.names() {
        let _ = rig.store.remove(&name);
    }
    for (name, content) in before {
        rig.store.insert(&name, content);
    }
    rig.log.clear();
    rig.journal.clear();
    rig.write("changes", "one more");
    rig.backup();
    assert_eq!(rig.log.count("VersionsDeletedElsewhere"), 0);
    let complaints = rig.log.complaints();
    assert!(
        complaints.iter().any(|told| told.contains(&newest)),
        "{complaints:#?}"
    );
    assert_eq!(rig.journal.count(Operation::Delete), 0);
    let report = run(&mut rig, |run| run.repair()).unwrap();
    assert_eq!(report.lists_written, 1);
    // Both that came back, and what the source does not have any more is lost with the newest.
    assert_eq!(rig.readable_lists().len(), 6);
    let differences = rig.differences_of_newest();
    let is_told = |told: &String| told.contains("MissingDataFile");
    assert!(differences.iter().all(is_told), "{differences:#?}");
}

/// What this machine had begun to remove stays, also when another one wrote since.
#[test]
fn a_doubt_holds_removals_back_whoever_wrote() {
    let mut rig = with_versions(4);
    rig.set("number-of-retries", "0");
    rig.set("version", "3");
    rig.plan
        .push(Operation::Delete, Failure::Before(ErrorKind::Network));
    assert!(run(&mut rig, |run| run.delete()).is_err());
    rig.plan.clear();
    rig.values
        .unset("version", larder_options::Origin::CommandLine);
    let going = rig.names(List)[0].clone();
    let known = rig.names(Blocks);
    let mut other = rig.other_machine();
    other.write("changes", "of another machine");
    other.backup();
    rig.store.hide(known.into_iter().take(3));
    rig.journal.clear();
    rig.write("changes", "once more");
    rig.try_backup().unwrap();
    assert_eq!(rig.journal.count(Operation::Delete), 0);
    assert!(rig.store.names().contains(&going));
    rig.store.hide([]);
    rig.try_backup().unwrap();
    assert_eq!(rig.journal.names(Operation::Delete), [going]);
}

/// The newest list is not listed, so number 1 is another version than the user saw.
#[test]
fn numbers_that_shifted_are_asked_for_again() {
    let mut rig = with_versions(4);
    let newest = rig.newest_list();
    rig.store.hide([newest.clone()]);
    rig.set("version", "1");
    let refused = run(&mut rig, |run| run.delete()).unwrap_err();
    assert_eq!(refused.id(), Some("VersionNumbersChanged"));
    assert!(refused.to_string().contains(&newest), "{refused}");
    assert_eq!(rig.journal.count(Operation::Delete), 0);
    rig.store.hide([]);
    let report = run(&mut rig, |run| run.delete()).unwrap();
    assert_eq!(report.deleted_sets.len(), 1);
    rig.versions.remove(2);
    rig.check_all("the one that was meant");
}

/// A list that lags for several runs is not taken for one that another machine deleted.
#[test]
fn a_list_that_is_hidden_while_another_machine_writes_stays_a_version() {
    let mut rig = with_versions(3);
    rig.set("threshold", "0");
    let mut other = rig.other_machine();
    let hidden = rig.names(List)[1].clone();
    rig.store.hide([hidden]);
    for round in 0..3 {
        other.write("changes", format!("of another machine {round}"));
        other.try_backup().unwrap();
        rig.write("changes", format!("from here {round}"));
        rig.try_backup().unwrap();
    }
    rig.store.hide([]);
    let test = run(&mut rig, |run| run.test(larder_engine::Samples::All)).unwrap();
    assert_eq!(test.damaged(), 0);
    assert_eq!(rig.readable_lists().len(), 9);
}

/// A listing that still shows a list after its removal makes no loss of it where listings lag. Elsewhere it came back.
#[test]
fn a_list_that_was_removed_and_shows_up_again_is_not_missed() {
    for lags in [true, false] {
        let mut rig = Rig::over(MemoryDestination::with_options(MemoryOptions {
            listing: if lags {
                Listing::Late(1)
            } else {
                Listing::Current
            },
            ..MemoryOptions::default()
        }));
        for number in 0..3 {
            rig.write("changes", format!("{number}"));
            rig.backup();
        }
        let list = rig.names(List)[0].clone();
        let content = rig.store.files()[&list].clone();
        rig.set("version", "2");
        run(&mut rig, |run| run.delete()).unwrap();
        rig.values
            .unset("version", larder_options::Origin::CommandLine);
        rig.store.insert(&list, content);
        rig.try_backup().unwrap();
        let _ = rig.store.remove(&list);
        rig.log.clear();
        rig.try_backup().unwrap();
        assert_eq!(rig.log.complaints().is_empty(), lags);
    }
}

/// Who was refused a removal misses the version when it goes all the same.
#[test]
fn a_version_that_was_refused_removal_is_missed_when_it_vanishes() {
    let mut rig = with_versions(3);
    let list = rig.names(List)[0].clone();
    // It was never read from here.
    rig.lose_state();
    rig.set("version", "2");
    rig.plan
        .push(Operation::Delete, Failure::Before(ErrorKind::Locked));
    run(&mut rig, |run| run.delete()).unwrap();
    rig.values
        .unset("version", larder_options::Origin::CommandLine);
    rig.try_backup().unwrap();
    let _ = rig.store.remove(&list);
    rig.log.clear();
    rig.try_backup().unwrap();
    assert!(rig.log.count("MissingVersion") > 0);
}

/// A list that was never read here and is not listed for a while, with another machine at work.
#[test]
fn an_unread_list_that_is_hidden_stays_a_version() {
    let mut rig = with_versions(3);
    rig.set("threshold", "0");
    let hidden = rig.names(List)[0].clone();
    rig.lose_state();
    rig.try_backup().unwrap();
    let mut other = rig.other_machine();
    rig.store.hide([hidden]);
    for round in 0..2 {
        other.write("changes", format!("of another machine {round}"));
        other.try_backup().unwrap();
        rig.write("changes", format!("from here {round}"));
        rig.try_backup().unwrap();
        assert_eq!(rig.log.count("VersionsDeletedElsewhere"), 0);
    }
    rig.store.hide([]);
    let test = run(&mut rig, |run| run.test(larder_engine::Samples::All)).unwrap();
    assert_eq!(test.damaged(), 0);
}

/// The run was cut off before the list went, and meanwhile nothing may be removed any more.
#[test]
fn a_dropped_list_that_may_not_go_is_a_version_again() {
    let mut rig = with_versions(3);
    rig.set("number-of-retries", "0");
    rig.set("version", "2");
    rig.plan
        .push(Operation::Delete, Failure::Before(ErrorKind::Network));
    assert!(run(&mut rig, |run| run.delete()).is_err());
    rig.plan.clear();
    rig.values
        .unset("version", larder_options::Origin::CommandLine);
    rig.set("threshold", "0");
    rig.plan
        .push(Operation::Delete, Failure::Before(ErrorKind::Locked));
    run(&mut rig, |run| run.compact()).unwrap();
    assert_eq!(rig.log.count("LeftoverNotRemoved"), 1);
    rig.check_all("it stays a version");
}
