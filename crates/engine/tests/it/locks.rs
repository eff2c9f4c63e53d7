//! Object locks: what a backup needs is locked after it, and what is locked stays without any harm.

use std::collections::BTreeSet;
use std::sync::Arc;

use larder_destination::{Clock as _, ErrorKind, Operation};
use larder_engine::{DeleteReport, Error, LocksReport, PurgeRequest, Run};
use larder_options::Origin::CommandLine;
use larder_testkit::{Failure, MemoryDestination, MemoryOptions, Rng};
use larder_volume::VolumeKind::{Blocks, Index, List};

use crate::rig::{Rig, chain, later};

/// Seconds of a day.
const DAY: u64 = 86_400;

/// An empty set at a destination with locks.
fn rig() -> Rig {
    let options = MemoryOptions {
        locks: true,
        ..MemoryOptions::default()
    };
    let mut rig = Rig::over(MemoryDestination::with_options(options));
    rig.set("number-of-retries", "0");
    rig
}

/// So many versions, a minute apart and locked for a day, each with a file of its own.
fn with_versions(count: u64) -> Rig {
    let mut rig = rig();
    rig.set("remote-file-lock-duration", "1D");
    rig.fill(31, 6, 20_000);
    add_versions(&mut rig, 0..count);
    rig
}

fn add_versions(rig: &mut Rig, numbers: std::ops::Range<u64>) {
    for number in numbers {
        rig.write("changes", Rng::new(number).bytes(9000));
        let kept = format!("kept {number}");
        rig.write(&kept, Rng::new(1000 + number).bytes(2000));
        later(rig, 60);
        rig.backup();
    }
}

fn run<R>(rig: &mut Rig, work: impl FnOnce(&Run) -> Result<R, Error>) -> Result<R, Error> {
    let run = rig.open()?;
    let outcome = work(&run);
    run.repository().close().expect("the catalog closes");
    outcome
}

fn delete(rig: &mut Rig, versions: &str) -> DeleteReport {
    rig.set("version", versions);
    let report = run(rig, Run::delete).expect("a deletion");
    rig.values.unset("version", CommandLine);
    report
}

fn set_locks(rig: &mut Rig, option: &str, value: &str) -> Result<LocksReport, Error> {
    rig.set(option, value);
    let report = run(rig, Run::set_locks);
    rig.values.unset(option, CommandLine);
    report
}

/// The names of the files that are locked now.
fn locked(rig: &Rig) -> BTreeSet<String> {
    let now = rig.clock.seconds();
    let locks = rig.store.locks().into_iter();
    locks
        .filter(|(_, until)| *until > now)
        .map(|(name, _)| name)
        .collect()
}

/// What a restore of the newest version takes from the destination, without its indexes.
fn needed(rig: &Rig) -> BTreeSet<String> {
    let mut other = rig.fork();
    other.lose_state();
    other.values.unset("remote-file-lock-duration", CommandLine);
    other.journal.clear();
    assert_eq!(other.differences_of_newest(), [""; 0]);
    let names = other.journal.names(Operation::Get).into_iter();
    let indexes = other.names(Index);
    names.filter(|name| !indexes.contains(name)).collect()
}

#[test]
fn what_the_newest_version_needs_is_locked_anew_after_each_backup() {
    let mut rig = with_versions(3);
    let until = rig.clock.seconds() + DAY as i64;
    let newest = rig.newest_list();
    let needed = needed(&rig);
    let locks = rig.store.locks();
    for name in &needed {
        assert_eq!(locks.get(name), Some(&until), "{name}");
    }
    assert!(needed.contains(&newest));
    // The list of the version before keeps its lock and gets no other.
    let before = &rig.names(List)[1];
    assert!(locks[before] < until, "{}", locks[before]);
    // Each data file goes with its index.
    let of_now = |names: Vec<String>| {
        let of_now = names.iter().filter(|name| locks.get(*name) == Some(&until));
        of_now.count()
    };
    assert_eq!(of_now(rig.names(Blocks)), of_now(rig.names(Index)));
    // Also when nothing was to be stored.
    later(&rig, DAY / 2);
    let report = rig.backup();
    assert_eq!(report.version_time, None);
    let results = report.lock_results.expect("it locks");
    assert_eq!(results.volumes_updated, results.volumes_read);
    assert_eq!(report.common.backend_statistics.bytes_uploaded, 0);
    let locks = rig.store.locks();
    let until = rig.clock.seconds() + DAY as i64;
    assert!(needed.iter().all(|name| locks[name] == until));
    assert_eq!(rig.log.complaints(), [""; 0]);
    // Shorter ones take nothing away.
    rig.set("remote-file-lock-duration", "5s");
    rig.backup();
    assert_eq!(rig.store.locks(), locks);
}

#[test]
fn too_short_a_lock_is_refused_before_anything_is_done() {
    for text in ["4s", "0s", "-1D"] {
        let mut rig = rig();
        rig.set("remote-file-lock-duration", text);
        let error = rig.try_backup().expect_err("it is too short");
        assert_eq!(error.id(), Some("OptionValidationError"), "{text}");
        assert_eq!(rig.plan.calls(), 0, "{text}");
    }
}

#[test]
fn a_destination_without_locks_gives_one_warning_and_keeps_the_backup() {
    let mut without = Rig::new();
    // A bucket that was made without locks tells only when it is asked.
    let bucket = rig();
    let plan = bucket.plan.clone();
    for _ in 0..100 {
        plan.push(Operation::Lock, Failure::Before(ErrorKind::Unsupported));
    }
    for (rig, calls) in [(&mut without, 0..1), (&mut { bucket }, 1..5)] {
        rig.set("remote-file-lock-duration", "1D");
        rig.fill(3, 4, 9000);
        let report = rig.backup();
        assert_eq!(rig.log.count("LocksUnsupported"), 1);
        assert_eq!(rig.log.complaints().len(), 1, "{:?}", rig.log.complaints());
        assert_eq!(report.lock_results.map(|r| r.volumes_updated), None);
        assert!(calls.contains(&rig.journal.count(Operation::Lock)));
        rig.check_all("without locks");
        rig.plan
            .push(Operation::Lock, Failure::Before(ErrorKind::Unsupported));
        let error = set_locks(rig, "version", "0").expect_err("it has none");
        assert_eq!(error.id(), Some("LocksUnsupported"), "{}", chain(&error));
    }
    let error = run(&mut without, Run::read_lock_info).expect_err("it has none");
    assert_eq!(error.id(), Some("LocksUnsupported"), "{}", chain(&error));
}

/// The backup is there, whatever happens while it is locked, and the next one locks all.
#[test]
fn trouble_with_locks_costs_no_version() {
    let mut base = with_versions(2);
    base.set("asynchronous-upload-limit", "1");
    later(&base, 60);
    base.write("changes", "x");
    let count = {
        let mut whole = base.fork();
        whole.backup();
        whole.journal.count(Operation::Lock)
    };
    assert!(count >= 5, "{count}");
    for failure in [
        Failure::Before(ErrorKind::Network),
        Failure::After(ErrorKind::Network),
        Failure::Before(ErrorKind::Denied),
        Failure::Before(ErrorKind::NotFound),
        Failure::Kill(Arc::new(|_, _| {})),
    ] {
        for n in 0..count {
            let when = format!("{failure:?} at lock {n}");
            let mut rig = base.fork();
            rig.plan.skip(Operation::Lock, n);
            rig.plan.push(Operation::Lock, failure.clone());
            let report = rig.backup();
            assert!(report.version_time.is_some(), "{when}");
            let results = report.lock_results.expect("some were locked");
            assert!(results.volumes_updated < results.volumes_read, "{when}");
            let told = rig.log.count("LocksFailed") + rig.log.count("Stopped");
            assert_eq!((told, rig.log.complaints().len()), (1, 1), "{when}");
            assert_eq!(rig.differences_of_newest(), [""; 0], "{when}");
            rig.log.clear();
            rig.plan.clear();
            let results = rig.backup().lock_results.expect("it locks");
            assert_eq!(results.volumes_updated, count as u64, "{when}");
            assert_eq!(rig.log.complaints(), [""; 0], "{when}");
        }
    }
}

#[test]
fn a_version_whose_list_is_locked_stays_until_the_lock_is_over() {
    for by_rule in [false, true] {
        let mut rig = with_versions(3);
        let lists = rig.names(List);
        let until = rig.store.locks()[&lists[0]];
        rig.log.clear();
        let report = match by_rule {
            false => {
                let report = delete(&mut rig, "1,2");
                assert_eq!(report.kept_sets, 2);
                report.deleted_sets
            }
            true => {
                rig.set("keep-versions", "1");
                rig.backup().deleted_sets
            }
        };
        assert!(report.is_empty(), "{report:?}");
        assert_eq!(rig.names(List), lists);
        let complaints = rig.log.complaints();
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        let end = jiff::Timestamp::from_second(until).expect("a time");
        assert!(
            complaints[0].starts_with("[VersionsLocked] 2 versions stay, ")
                && complaints[0].contains(&format!("until {end}")),
            "{complaints:?}"
        );
        assert_eq!(rig.journal.count(Operation::Delete), 0);
        rig.check_all("nothing went");
        // The locks of the first two are over, those of the newest are not.
        later(&rig, DAY - 60);
        rig.log.clear();
        let report = match by_rule {
            false => delete(&mut rig, "2").deleted_sets,
            true => rig.backup().deleted_sets,
        };
        assert!(!report.is_empty());
        for _ in report {
            rig.versions.remove(0);
        }
        assert_eq!(rig.log.complaints(), [""; 0]);
        rig.check_all("one went");
        rig.check_all_elsewhere("one went");
    }
}

#[test]
fn a_dry_run_says_what_stays_and_what_would_be_locked() {
    let mut rig = with_versions(2);
    rig.values.unset("remote-file-lock-duration", CommandLine);
    rig.set("dry-run", "true");
    assert!(delete(&mut rig, "1").deleted_sets.is_empty());
    assert_eq!(rig.log.count("VersionsLocked"), 1);
    rig.set("remote-file-lock-duration", "30D");
    let locks = rig.store.locks();
    rig.log.clear();
    rig.journal.clear();
    rig.backup();
    let texts = rig.log.texts().join("\n");
    assert!(texts.contains("Would lock all files that the newest version needs, until"));
    let report = set_locks(&mut rig, "all-versions", "true").expect("a dry run");
    assert!(report.dryrun && report.results.volumes_updated > 3);
    assert_eq!(rig.store.locks(), locks);
    assert_eq!(rig.journal.count(Operation::Lock), 0);
}

/// Nothing is copied that could not go afterwards.
#[test]
fn a_compaction_leaves_locked_data_files_alone_and_takes_them_later() {
    let mut rig = with_versions(6);
    rig.values.unset("remote-file-lock-duration", CommandLine);
    rig.set("no-auto-compact", "true");
    rig.set("threshold", "20");
    // The lists may go, the data may not.
    for list in rig.names(List) {
        assert!(rig.store.set_lock(&list, None));
    }
    assert_eq!(delete(&mut rig, "1-4").deleted_sets.len(), 4);
    rig.versions.drain(1..5);
    let data = rig.names(Blocks);
    let kept: BTreeSet<String> = locked(&rig);
    rig.journal.clear();
    rig.log.clear();
    for _ in 0..2 {
        let report = run(&mut rig, Run::compact).expect("a compaction");
        assert!(report.results.files_locked > 1, "{:?}", report.results);
        assert_eq!(report.results.deleted_file_count, 0);
    }
    assert_eq!(rig.log.count("VolumesLocked"), 2);
    assert_eq!(rig.log.complaints(), [""; 0]);
    assert_eq!(rig.gets(), []);
    for operation in [Operation::Put, Operation::Delete] {
        assert_eq!(rig.journal.count(operation), 0, "{operation}");
    }
    assert_eq!(locked(&rig), kept);
    // One alone is free and not worth the while: nothing goes for it either.
    assert!(rig.store.set_lock(&data[0], None));
    let report = run(&mut rig, Run::compact).expect("a compaction");
    assert_eq!(report.results.downloaded_file_count, 0);
    rig.check_all("all locked");
    later(&rig, DAY);
    let report = run(&mut rig, Run::compact).expect("a compaction");
    assert!(report.results.downloaded_file_count > 1);
    assert_eq!(report.results.files_locked, 0);
    assert!(rig.names(Blocks).len() < data.len());
    assert_eq!(rig.log.complaints(), [""; 0]);
    rig.check_set("later");
    rig.check_all("later");
    rig.check_all_elsewhere("later");
}

/// Where the destination does not tell, it refuses.
#[test]
fn a_destination_that_does_not_tell_of_its_locks_keeps_files_all_the_same() {
    let mut rig = with_versions(6);
    rig.set("no-auto-compact", "true");
    rig.set("threshold", "20");
    for list in rig.names(List) {
        assert!(rig.store.set_lock(&list, None));
    }
    delete(&mut rig, "1-4");
    rig.versions.drain(1..5);
    let data = rig.names(Blocks);
    for _ in 0..1000 {
        rig.plan
            .push(Operation::LockedUntil, Failure::Before(ErrorKind::Denied));
    }
    rig.log.clear();
    let report = run(&mut rig, Run::compact).expect("a compaction");
    assert_eq!(report.results.deleted_file_count, 0);
    let stored = rig.names(Blocks);
    assert!(data.iter().all(|name| stored.contains(name)));
    assert!(rig.log.count("VolumeNotRemoved") > 1);
    assert_eq!(rig.log.complaints(), [""; 0]);
    rig.check_all("refused");
    rig.check_all_elsewhere("refused");
}

#[test]
fn a_locked_list_is_not_replaced_and_nothing_is_stored_for_it() {
    let mut rig = with_versions(2);
    let request = PurgeRequest {
        patterns: vec!["*/changes".to_owned()],
        filters: Vec::new(),
    };
    let files = rig.store.names();
    rig.journal.clear();
    let report = run(&mut rig, |run| run.purge(&request)).expect("a purge");
    assert_eq!(report.rewritten_file_lists, 0);
    assert_eq!(rig.log.count("ListNotReplaced"), 2);
    assert_eq!(rig.store.names(), files);
    assert_eq!(rig.journal.count(Operation::Put), 0);
    rig.check_all("nothing changed");
    later(&rig, 2 * DAY);
    rig.log.clear();
    let report = run(&mut rig, |run| run.purge(&request)).expect("a purge");
    assert_eq!(report.rewritten_file_lists, 2);
    assert_eq!(rig.log.complaints(), [""; 0]);
}

/// A move aside is no way around a lock.
#[test]
fn what_is_locked_is_not_moved_aside() {
    for (tells, copies) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut rig = with_versions(2);
        rig.set("soft-delete-prefix", "old-");
        rig.set("prevent-backend-rename", &copies.to_string());
        if !tells {
            rig.plan
                .push(Operation::LockedUntil, Failure::Before(ErrorKind::Denied));
        }
        let files = rig.store.files();
        assert!(delete(&mut rig, "1").deleted_sets.is_empty());
        let warned = rig.log.count("VersionsLocked") + rig.log.count("ListNotRemoved");
        assert_eq!(warned, 1, "tells: {tells}, copies: {copies}");
        assert!(rig.store.files() == files);
        rig.check_all("nothing moved");
    }
}

#[test]
fn older_versions_are_locked_on_request_and_locks_are_told() {
    let mut rig = with_versions(4);
    later(&rig, 2 * DAY);
    let report = run(&mut rig, Run::read_lock_info).expect("it tells");
    let files = rig.store.names().len() as u64;
    assert_eq!(report.results.volumes_read, files);
    assert_eq!((report.locked_volumes, report.first_end), (0, None));
    let now = rig.clock.seconds();
    let report = set_locks(&mut rig, "version", "2").expect("it locks");
    let results = report.results;
    assert_eq!(results.volumes_read, results.volumes_updated);
    assert_eq!(report.last_end, Some(now + DAY as i64));
    let (lists, found) = (rig.names(List), locked(&rig));
    assert_eq!(found.len() as u64, results.volumes_updated);
    assert!(found.contains(&lists[1]) && !found.contains(&lists[0]) && !found.contains(&lists[3]));
    // What only others use is free.
    assert!(rig.names(Blocks).iter().any(|name| !found.contains(name)));
    // Another machine asks; its catalog knows nothing.
    let mut other = rig.other_machine();
    let told = run(&mut other, Run::read_lock_info).expect("it tells");
    assert_eq!(told.locked_volumes, results.volumes_updated);
    assert_eq!(told.first_end, Some(now + DAY as i64));
    // All versions: everything that is of use.
    let report = set_locks(&mut rig, "all-versions", "true").expect("it locks");
    assert_eq!(locked(&rig).len() as u64, report.results.volumes_updated);
    assert!(lists.iter().all(|list| locked(&rig).contains(list)));
    // One that is not there any more is an error, and the others are locked.
    let mut other = rig.fork();
    other.plan.skip(Operation::Lock, 2);
    other
        .plan
        .push(Operation::Lock, Failure::Before(ErrorKind::NotFound));
    let again = set_locks(&mut other, "all-versions", "true").expect("a report");
    assert_eq!(
        again.results.volumes_updated + 1,
        again.results.volumes_read
    );
    assert_eq!(other.log.count("LocksFailed"), 1);
    rig.values.unset("remote-file-lock-duration", CommandLine);
    let error = set_locks(&mut rig, "version", "0").expect_err("for how long");
    assert_eq!(error.id(), Some("OptionValidationError"));
}
