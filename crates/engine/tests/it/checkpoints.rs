//! Partial versions: of a run that lasts long, and of one that is asked to end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use larder_destination::{ErrorKind, Operation};
use larder_engine::{BackupReport, Cancel, Error, RestoreReport, Stopping};
use larder_testkit::Failure;
use larder_volume::VolumeKind::{Blocks, List};

use crate::doom::{Doom, Reach};
use crate::rig::{self, Rig, chain};
use crate::support::swept;
use crate::sweeps::files;

/// A job whose runs store partial versions all the time.
fn long_runs() -> Rig {
    let mut rig = Rig::new();
    rig.ticking = 10;
    rig.set("checkpoint-interval", "10s");
    for n in 0..40 {
        rig.write(&format!("{n:02}"), noise(n, 20_000));
    }
    for name in ["turns/in", "turns-1", "turns.txt"] {
        rig.write(name, noise(400, 100));
    }
    rig
}

/// Bytes that are like no other's.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

/// Changes, removes and adds files.
fn change(rig: &Rig) {
    for n in (0..40).step_by(4) {
        rig.write(&format!("{n:02}"), noise(n + 1000, 25_000));
    }
    for n in (1..40).step_by(4) {
        std::fs::remove_file(rig.source().join(format!("{n:02}"))).unwrap();
    }
    for n in 0..6 {
        rig.write(&format!("{n:02} new"), noise(n + 2000, 2000));
    }
    // A file becomes a folder, a folder a file, and one moves on.
    let source = rig.source();
    std::fs::remove_file(source.join("06")).unwrap();
    rig.write("06/inside", noise(3000, 100));
    std::fs::remove_dir_all(source.join("turns")).unwrap();
    rig.write("turns", noise(3001, 100));
    std::fs::rename(source.join("02"), source.join("z")).unwrap();
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn try_backup(rig: &mut Rig) -> Result<BackupReport, Error> {
    let run = rig.open()?;
    let outcome = run.backup(&rig.request());
    run.repository().close().unwrap();
    outcome
}

fn backup(rig: &mut Rig) -> BackupReport {
    try_backup(rig).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

/// What a version holds; every restore has to be without complaint.
fn restored(rig: &mut Rig, version: usize, when: &str) -> Files {
    let restored = rig.try_restore(version);
    content_of(restored, when)
}

fn content_of(restored: Result<(PathBuf, RestoreReport), Error>, when: &str) -> Files {
    let (target, report) = match restored {
        Ok(done) => done,
        Err(error) => panic!("{when}: {}", chain(&error)),
    };
    // Half a file at the destination is said.
    let mut warnings = report.common.warnings;
    warnings.retain(|_| !when.contains("Half"));
    assert_eq!(warnings, [""; 0], "{when}");
    assert_eq!(report.common.errors, [""; 0], "{when}");
    let held = files(&target);
    std::fs::remove_dir_all(&target).unwrap();
    held
}

/// Every file of a partial version is as it was or as it is, and all that was is there, but for what is of another kind now.
fn check_partial(held: &Files, old: &Files, new: &Files, when: &str) {
    for (path, content) in held {
        let known = old.get(path) == Some(content) || new.get(path) == Some(content);
        assert!(known, "{when}: {} is neither", path.display());
    }
    if held == new {
        return;
    }
    for path in old.keys() {
        let is_other = [Path::new("06"), Path::new("turns/in")].contains(&path.as_path());
        let is_there = held.contains_key(path) || is_other;
        assert!(is_there, "{when}: {} is not there", path.display());
    }
}

/// How many lists a run stored.
fn lists_put(rig: &Rig, since: usize) -> usize {
    let puts = rig.puts();
    puts.iter()
        .skip(since)
        .filter(|kind| **kind == List)
        .count()
}

#[test]
fn a_long_run_leaves_one_version_and_nothing_else() {
    let mut rig = long_runs();
    rig.log.slow_down();
    let first = backup(&mut rig);
    let put = lists_put(&rig, 0);
    assert!(put >= 2, "{put} lists");
    assert_eq!(rig.log.count("CheckpointStored"), put - 1);
    assert_eq!(rig.names(List).len(), 1);
    assert!(first.version_time.is_some() && !first.partial_backup);
    assert_eq!(rig.log.complaints(), [""; 0]);
    assert!(restored(&mut rig, 0, "first") == files(&rig.source()));
    // A run that changes something, with a version before it.
    change(&rig);
    for n in 0..40 {
        rig.write(&format!("later {n:02}"), noise(n + 4000, 1000));
    }
    let since = rig.puts().len();
    backup(&mut rig);
    assert!(lists_put(&rig, since) >= 2);
    assert_eq!(rig.names(List).len(), 2);
    assert!(restored(&mut rig, 0, "second") == files(&rig.source()));
    // Nothing changed: nothing is stored on the way.
    let since = rig.puts().len();
    assert_eq!(backup(&mut rig).version_time, None);
    assert_eq!(rig.puts().len(), since);
    assert_eq!(rig.log.complaints(), [""; 0]);
    assert_eq!(rig.test_all().common.errors, [""; 0]);
    // The same with another machine's eyes.
    assert!(restored(&mut rig.other_machine(), 0, "elsewhere") == files(&rig.source()));
}

/// Files that all wait for a worker, as a folder of videos does: they are handed back for a partial version.
#[test]
fn the_last_files_are_waited_for_with_partial_versions() {
    let mut rig = Rig::new();
    rig.ticking = 10;
    rig.set("checkpoint-interval", "10s");
    rig.set("concurrency-max-threads", "1");
    for n in 0..30 {
        rig.write(&format!("{n:02}"), noise(n, 30_000));
    }
    rig.log.slow_down();
    backup(&mut rig);
    // The walk is over at once.
    assert!(lists_put(&rig, 0) >= 2, "{}", lists_put(&rig, 0));
    assert!(restored(&mut rig, 0, "whole") == files(&rig.source()));
}

/// A partial version that cannot be stored, or be read back, costs the run nothing but that.
#[test]
fn a_partial_version_that_fails_does_not_end_the_run() {
    for kind in [ErrorKind::Denied, ErrorKind::Other] {
        let mut rig = long_runs();
        rig.set("number-of-retries", "0");
        rig.log.slow_down();
        // The partial ones are read back, then the whole one.
        rig.plan.push(Operation::Get, Failure::Before(kind.clone()));
        let report = backup(&mut rig);
        rig.plan.clear();
        assert!(report.version_time.is_some(), "{kind:?}");
        assert_eq!(rig.log.count("CheckpointFailed"), 1, "{kind:?}");
        assert_eq!(rig.names(List).len(), 1, "{kind:?}: all partial ones go");
        assert!(restored(&mut rig, 0, "whole") == files(&rig.source()));
    }
}

/// A whole version that arrived otherwise than it was sent takes no partial one away, is told, and holds rules back.
#[test]
fn a_whole_version_that_is_damaged_on_its_way_replaces_nothing() {
    let mut rig = Rig::new();
    rig.set("checkpoint-interval", "1h");
    rig.set("concurrency-max-threads", "1");
    rig.set("keep-versions", "1");
    rig.write("a", "one");
    backup(&mut rig);
    let old = files(&rig.source());
    for n in 0..120 {
        rig.write(&format!("x/{n:03}"), noise(n, 30_000));
    }
    rig.log.slow_down();
    // An hour passes with the first volume: one partial version. Then the whole one is read back.
    let clock = rig.clock.clone();
    let hour = move |_: Operation, _: &str| clock.set(rig::START + 5000);
    rig.plan
        .fail_at(rig.plan.calls() + 2, Failure::Watch(Arc::new(hour)));
    let store = rig.store.clone();
    let flip = move |_: Operation, name: &str| assert!(store.flip(name, 200));
    rig.plan
        .push(Operation::Get, Failure::Watch(Arc::new(flip)));
    let report = backup(&mut rig);
    assert_eq!(report.deleted_sets.len(), 0);
    assert!(rig.log.complaints().join(" ").contains("not what was sent"));
    assert_eq!(rig.log.count("CheckpointStored"), 1);
    assert_eq!(rig.names(List).len(), 3);
    let (oldest, _) = rig.try_restore(2).unwrap();
    assert!(files(&oldest) == old);
}

#[test]
fn no_partial_version_where_none_is_wanted() {
    for (option, value) in [
        ("checkpoint-interval", "0"),
        ("disable-synthetic-filelist", "true"),
        ("dry-run", "true"),
    ] {
        let mut rig = long_runs();
        rig.log.slow_down();
        rig.set(option, value);
        backup(&mut rig);
        assert_eq!(rig.log.count("CheckpointStored"), 0, "{option}");
        assert_eq!(lists_put(&rig, 0), usize::from(option != "dry-run"));
    }
}

/// A kill at any call: what the newest list names is there, and the next run ends the work and tidies up.
#[test]
fn a_long_run_is_killed_at_any_call() {
    let (mut partial, mut both, mut round) = (0, 0, 0);
    for keeps_state in [true, false] {
        for reach in [Reach::Not, Reach::Half, Reach::Whole] {
            // Without the local state half a list is what `hostile` and `unfinished` are about, and a call that did not
            // come is the one before that did.
            if reach != Reach::Whole && !keeps_state {
                continue;
            }
            let mut base = long_runs();
            let old = backup_first(&mut base);
            let new = files(&base.source());
            let calls = {
                let mut whole = base.fork();
                backup(&mut whole);
                whole.plan.calls()
            };
            // What arrives in full makes a difference at each call.
            let every = if reach == Reach::Whole { 2 } else { 5 };
            round += 1;
            for n in swept(1, every, round).take_while(|n| *n <= calls) {
                let when = format!("killed at {n} of {calls}, {reach:?}, state {keeps_state}");
                let mut rig = base.fork();
                rig.log.slow_down();
                let saved = rig.fast.path().join("saved");
                let doom = Arc::new(Doom::new(&rig, n, reach, saved.clone()));
                let run = rig.open_over(doom.clone(), true).unwrap();
                let _ = run.backup(&rig.request());
                drop(run);
                let Some(store) = doom.what_is_left() else {
                    continue;
                };
                let state = Some(saved.as_path()).filter(|_| keeps_state);
                let mut after = rig.fork_at(&store, state);
                let lists = after.readable_lists().len();
                assert!((1..=3).contains(&lists), "{when}: {lists} lists");
                // A look first, as a user would who is in need.
                let mut elsewhere = after.other_machine();
                let newest = content_of(elsewhere.restore_unasked(), &when);
                check_partial(&newest, &old, &new, &when);
                partial += usize::from(newest != old && newest != new);
                both += usize::from(lists == 3);
                backup(&mut after);
                assert!(restored(&mut after, 0, &when) == new, "{when}");
                // Newest first; half a list is no version.
                let readable = after.readable_lists();
                let names = after.names(List).into_iter().rev().enumerate();
                let lists: Vec<_> = names.filter(|(_, name)| readable.contains(name)).collect();
                for (number, name) in &lists[1..] {
                    let held = restored(&mut after, *number, &when);
                    match *name == readable[0] {
                        true => assert!(held == old, "{when}: the oldest"),
                        false => check_partial(&held, &old, &new, &when),
                    }
                }
                let lists = lists.len();
                let most = if keeps_state { 3 } else { 4 };
                assert!(lists <= most, "{when}: {lists} lists");
                let found = after.log.complaints();
                assert!(
                    reach == Reach::Half || found.is_empty(),
                    "{when}: {found:?}"
                );
            }
        }
    }
    assert!(partial > 0 && both > 0, "{partial} and {both}");
}

/// Makes the first version and changes the source. Gives what the version holds.
fn backup_first(rig: &mut Rig) -> Files {
    backup(rig);
    let old = files(&rig.source());
    change(rig);
    old
}

/// After an error at any call the next run ends the work.
#[test]
fn a_long_run_fails_at_any_call() {
    let mut base = long_runs();
    base.set("number-of-retries", "0");
    let old = backup_first(&mut base);
    let new = files(&base.source());
    let failures = [
        Failure::Before(ErrorKind::Network),
        Failure::After(ErrorKind::Network),
    ];
    for (round, failure) in (0..).zip(failures) {
        let mut partial = 0;
        for n in swept(1, 2, round) {
            let mut rig = base.fork();
            rig.log.slow_down();
            rig.plan.fail_at(n, failure.clone());
            let outcome = try_backup(&mut rig);
            partial += rig.log.count("CheckpointStored");
            if rig.plan.calls() < n {
                break;
            }
            let when = format!("{failure:?} at {n}: {}", outcome.is_ok());
            rig.plan.clear();
            check_partial(&restored(&mut rig, 0, &when), &old, &new, &when);
            backup(&mut rig);
            assert!(restored(&mut rig, 0, &when) == new, "{when}");
            assert!(rig.names(List).len() <= 3, "{when}");
        }
        assert!(partial > 0, "{failure:?}");
    }
}

/// Asks the run to stop, at each call in turn.
#[test]
fn a_run_that_is_asked_to_end_stores_what_it_read() {
    for is_first in [true, false] {
        let mut base = long_runs();
        base.set("checkpoint-interval", "0");
        base.set("concurrency-max-threads", "1");
        let mut old = Files::new();
        if !is_first {
            old = backup_first(&mut base);
        }
        // Many more, so that the end comes before the walk is through.
        for n in 0..300 {
            base.write(&format!("x/{n:03}"), noise(n + 5000, 8000));
        }
        let new = files(&base.source());
        let mut partial = 0;
        for n in swept(1, 3, u64::from(is_first)) {
            let mut rig = base.fork();
            rig.log.slow_down();
            let run = rig.open().unwrap();
            let asked = rig.cancel.clone();
            let ask = move |_: Operation, _: &str| {
                asked.stop();
            };
            rig.plan.fail_at(n, Failure::Watch(Arc::new(ask)));
            let outcome = run.backup(&rig.request());
            run.repository().close().unwrap();
            if rig.plan.calls() < n {
                break;
            }
            let when = format!("stop at {n}, first {is_first}");
            if let Ok(report) = &outcome
                && report.partial_backup
            {
                partial += 1;
                assert!(
                    report.common.interrupted && report.version_time.is_some(),
                    "{when}"
                );
                let held = restored(&mut rig, 0, &when);
                check_partial(&held, &old, &new, &when);
                assert!(held != new && held != old, "{when}");
                assert_eq!(rig.log.complaints().len(), 1, "{when}");
            }
            // It is marked, and the next run makes a whole one although nothing was changed since.
            let report = backup(&mut rig);
            if outcome.is_ok_and(|report| report.partial_backup) {
                assert!(report.version_time.is_some(), "{when}");
            }
            assert!(restored(&mut rig, 0, &when) == new, "{when}");
        }

        assert!(partial > 0, "first {is_first}: no partial version");
    }
}

#[test]
fn who_asks_twice_gets_no_version() {
    let mut rig = long_runs();
    rig.set("checkpoint-interval", "0");
    let run = rig.open().unwrap();
    let token: Cancel = rig.cancel.clone();
    let twice = move |_: Operation, _: &str| {
        if token.stop() == Stopping::AfterThisFile {
            assert_eq!(token.stop(), Stopping::Now);
        }
    };
    rig.plan.fail_at(2, Failure::Watch(Arc::new(twice)));
    let report = run.backup(&rig.request()).unwrap();
    run.repository().close().unwrap();
    assert!(report.common.interrupted && report.version_time.is_none());
    assert_eq!(rig.names(List), [""; 0]);
}

/// What the destination does not let go stays, once and without a complaint.
#[test]
fn a_destination_that_keeps_everything_gets_one_partial_version() {
    let mut rig = long_runs();
    rig.log.slow_down();
    for _ in 0..9 {
        rig.plan
            .push(Operation::Delete, Failure::Before(ErrorKind::Locked));
    }
    backup(&mut rig);
    assert_eq!(rig.log.complaints(), [""; 0]);
    // One that nothing took the place of, and one that may not go for the next.
    assert!((2..=3).contains(&rig.names(List).len()));
    assert!(restored(&mut rig, 0, "whole") == files(&rig.source()));
    rig.plan.clear();
    change(&rig);
    backup(&mut rig);
    assert_eq!(rig.log.complaints(), [""; 0]);
    assert!(restored(&mut rig, 0, "next") == files(&rig.source()));
}

/// Who asks for an end after that gets what was read, beside what stays.
#[test]
fn a_destination_that_keeps_everything_gets_one_more_at_the_end() {
    let mut base = long_runs();
    base.set("concurrency-max-threads", "1");
    for n in 0..300 {
        base.write(&format!("x/{n:03}"), noise(n + 5000, 8000));
    }
    let new = files(&base.source());
    let mut ended = 0;
    for n in swept(4, 6, 0) {
        let mut rig = base.fork();
        rig.log.slow_down();
        for _ in 0..9 {
            rig.plan
                .push(Operation::Delete, Failure::Before(ErrorKind::Locked));
        }
        let run = rig.open().unwrap();
        let token = rig.cancel.clone();
        let ask = move |_: Operation, _: &str| {
            let _ = token.stop();
        };
        rig.plan.fail_at(n, Failure::Watch(Arc::new(ask)));
        let report = run.backup(&rig.request()).unwrap();
        run.repository().close().unwrap();
        if rig.plan.calls() < n {
            break;
        }
        rig.plan.clear();
        if rig.log.count("CheckpointStays") == 0 || !report.common.interrupted {
            continue;
        }
        let before = restored(&mut rig, 1, "the one before");
        let held = restored(&mut rig, 0, "the last word");
        check_partial(&held, &Files::new(), &new, "the last word");
        let told = rig.log.complaints().join(" ");
        assert!(held.len() >= before.len(), "{n}: {told}");
        assert!(
            told.contains("what was read until then is a partial version"),
            "{n}: {told}"
        );
        // Nothing came to it when the end was asked for while the one before was sent.
        ended += usize::from(held.len() > before.len());
    }
    assert!(ended > 0);
}

/// A file that takes longer to read than the interval: the others go on, and none of them is forgotten.
#[test]
fn a_long_file_keeps_the_others_waiting_only_for_a_while() {
    let mut rig = Rig::new();
    rig.set("checkpoint-interval", "1s");
    rig.set("concurrency-max-threads", "3");
    rig.write("a long one", noise(1, 12 << 20));
    for n in 0..400 {
        rig.write(&format!("b/{n:03}"), noise(n + 10, 8000));
    }
    rig.ticking = 1;
    rig.log.slow_down();
    // Its volumes wait for the destination.
    for _ in 0..6 {
        let slow = |_: Operation, _: &str| std::thread::sleep(Duration::from_millis(700));
        rig.plan
            .push(Operation::Put, Failure::Watch(Arc::new(slow)));
    }
    let report = backup(&mut rig);
    assert!(report.version_time.is_some() && !report.partial_backup);
    assert_eq!(rig.log.complaints(), [""; 0]);
    assert!(restored(&mut rig, 0, "whole") == files(&rig.source()));
}

/// A partial version does not name what is nowhere, though the version before does.
#[test]
fn what_is_lost_is_in_no_partial_version() {
    let mut rig = long_runs();
    backup(&mut rig);
    let volume = rig.names(Blocks).remove(0);
    rig.store.remove(&volume).unwrap();
    // The files are still there, and so all can be stored again; some are not.
    for n in 20..40 {
        std::fs::remove_file(rig.source().join(format!("{n:02}"))).unwrap();
    }
    rig.write("00", noise(77, 100));
    for n in 0..30 {
        rig.write(&format!("new {n:02}"), noise(n + 6000, 100));
    }
    let (mut n, mut partial) = (0, 0);
    loop {
        n += 1;
        let mut rig = rig.fork();
        rig.log.slow_down();
        rig.plan.fail_at(n, Failure::Before(ErrorKind::Locked));
        let outcome = try_backup(&mut rig);
        if rig.plan.calls() < n {
            break;
        }
        rig.plan.clear();
        let lists = rig.names(List).len();
        if outcome.is_err() && lists > 1 {
            let (_, report) = rig.try_restore(0).unwrap();
            let broken = [report.broken_local_files, report.broken_remote_files];
            assert_eq!(
                broken, [[""; 0]; 2],
                "failed at {n}: {:?}",
                report.common.warnings
            );
            partial += 1;
        }
    }
    assert!(partial > 0);
}
