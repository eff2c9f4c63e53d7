//! Every remote call of every operation fails once, in every way, or is the last one before the process dies;
//! afterwards nothing is lost and nobody has to repair anything.

use std::sync::{Arc, Mutex};

use larder_destination::{ErrorKind, Operation};
use larder_engine::{BackupReport, Cancel, Error};
use larder_testkit::Failure;
use larder_volume::VolumeKind;

use crate::doom::{Doom, Reach};
use crate::rig::{Rig, chain};

/// A source that was never backed up.
fn untouched() -> Rig {
    let rig = Rig::new();
    rig.fill(11, 12, 30_000);
    rig
}

/// A source that changed since its backup.
fn changed() -> Rig {
    let mut rig = untouched();
    rig.backup();
    rig.edit(12, 6);
    rig.write("new folder/new file", vec![7; 5000]);
    rig
}

/// A changed source with several volumes to come.
fn several_volumes() -> Rig {
    let mut rig = changed();
    rig.set("synchronous-upload", "true");
    rig.fill_more(13, 12, 2_600_000);
    rig
}

/// Calls of an undisturbed backup.
fn calls_of_a_backup(base: &Rig) -> u64 {
    let mut rig = base.fork();
    rig.backup();
    let calls = rig.plan.calls();
    assert!(calls >= 5, "{calls}");
    calls
}

/// What must hold after a disturbed run, whatever it said. `whole`: the local state was kept and nothing was torn, so
/// that the set is free of leftovers after the next run.
fn check_after(mut rig: Rig, known: usize, whole: bool, when: &str) {
    rig.plan.clear();
    rig.log.clear();
    // Every earlier version is there, and so is a new one whose list arrived.
    let mut elsewhere = rig.fork_at(&rig.store, None);
    elsewhere.expect_present_source_since(known);
    elsewhere.check_all(&format!("{when}: right after it"));
    // The next backup needs nobody's help.
    if let Err(error) = rig.try_backup() {
        panic!(
            "{when}: the next backup failed: {}\nfiles: {:#?}",
            chain(&error),
            rig.store.names()
        );
    }
    let new = rig.expect_present_source_since(known);
    assert!((1..=2).contains(&new), "{when}: {new} new versions");
    if whole {
        rig.check_set(when);
        rig.check_nothing_twice(when);
        assert_eq!(rig.log.complaints(), Vec::<String>::new(), "{when}");
    }
    rig.check_all(when);
    rig.check_all_elsewhere(when);
    // And then all is quiet.
    let again = rig.backup();
    assert_eq!(again.version_time, None, "{when}: a third run");
}

fn each_call_fails(base: &Rig, retries: &str, failure: impl Fn() -> Failure) {
    let calls = calls_of_a_backup(base);
    let known = base.versions.len();
    for n in 1..=calls {
        let mut rig = base.fork();
        rig.set("number-of-retries", retries);
        rig.plan.fail_at(n, failure());
        let outcome = rig.try_backup();
        let when = format!(
            "call {n} of {calls}, {:?}, retries {retries}, then {}",
            rig.plan.injected(),
            said(&outcome)
        );
        if retries != "0" {
            assert!(outcome.is_ok(), "{when}");
        }
        check_after(rig, known, true, &when);
    }
}

fn said(outcome: &Result<BackupReport, Error>) -> String {
    match outcome {
        Ok(report) => format!("{:?}", report.common.parsed_result),
        Err(error) => chain(error),
    }
}

#[test]
fn a_call_of_the_first_backup_fails_without_effect() {
    each_call_fails(&untouched(), "0", || Failure::Before(ErrorKind::Network));
    each_call_fails(&untouched(), "2", || Failure::Before(ErrorKind::Network));
}

#[test]
fn a_call_of_a_changed_backup_fails_without_effect() {
    each_call_fails(&changed(), "0", || Failure::Before(ErrorKind::Busy(None)));
    each_call_fails(&changed(), "2", || Failure::Before(ErrorKind::Network));
}

#[test]
fn the_reply_to_a_call_of_the_first_backup_is_lost() {
    each_call_fails(&untouched(), "0", || Failure::After(ErrorKind::Network));
    each_call_fails(&untouched(), "2", || Failure::After(ErrorKind::Network));
}

#[test]
fn the_reply_to_a_call_of_a_changed_backup_is_lost() {
    each_call_fails(&changed(), "0", || Failure::After(ErrorKind::Other));
    each_call_fails(&changed(), "2", || Failure::After(ErrorKind::Other));
}

#[test]
fn a_call_breaks_off_in_the_middle() {
    each_call_fails(&untouched(), "0", || Failure::Cut(100));
    each_call_fails(&changed(), "2", || Failure::Cut(1));
}

#[test]
fn a_call_is_refused_for_good() {
    each_call_fails(&changed(), "0", || Failure::Before(ErrorKind::Quota));
    each_call_fails(&untouched(), "0", || Failure::Before(ErrorKind::Denied));
}

#[test]
fn the_folder_is_missing_at_one_call() {
    each_call_fails(&untouched(), "0", || {
        Failure::Before(ErrorKind::FolderMissing)
    });
    each_call_fails(&changed(), "0", || {
        Failure::Before(ErrorKind::FolderMissing)
    });
}

#[test]
fn the_connection_is_gone_from_one_call_on() {
    for base in [untouched(), changed()] {
        let calls = calls_of_a_backup(&base);
        for n in 0..calls {
            let mut rig = base.fork();
            rig.plan.fail_after(n, Failure::After(ErrorKind::Network));
            let outcome = rig.try_backup();
            let when = format!("connection lost after call {n}: {}", said(&outcome));
            assert!(outcome.is_err() || n + 1 >= calls, "{when}");
            check_after(rig, base.versions.len(), true, &when);
        }
    }
}

#[test]
fn a_run_is_stopped_at_any_call() {
    for base in [untouched(), several_volumes()] {
        let calls = calls_of_a_backup(&base);
        for n in 1..=calls {
            let mut rig = base.fork();
            let cancel: Arc<Mutex<Cancel>> = Arc::default();
            let token = cancel.clone();
            rig.plan.fail_at(
                n,
                Failure::Watch(Arc::new(move |_, _| token.lock().unwrap().cancel())),
            );
            let engine = rig.open().unwrap();
            *cancel.lock().unwrap() = rig.cancel.clone();
            let outcome = engine.backup(&rig.request());
            engine.repository().close().unwrap();
            if let Ok(report) = &outcome {
                let version = &report.version_time;
                assert!(report.common.interrupted == version.is_none(), "call {n}");
            }
            let when = format!("stopped at call {n} of {calls}: {}", said(&outcome));
            check_after(rig, base.versions.len(), true, &when);
        }
    }
}

/// Ends the world at each call of a backup and goes on with the local state or without it.
fn killed_at_any_call(base: &Rig, reach: Reach, keep_state: bool) {
    let calls = calls_of_a_backup(base);
    for n in 1..=calls {
        let mut rig = base.fork();
        let saved = rig.fast.path().join("saved");
        let doom = Arc::new(Doom::new(&rig, n, reach, saved.clone()));
        rig.clock.set(crate::rig::START + 1000);
        let engine = rig.open_over(doom.clone(), true).unwrap();
        let _ = engine.backup(&rig.request());
        drop(engine);
        let Some(store) = doom.what_is_left() else {
            // How blocks spread over volumes depends on which worker is quicker.
            assert!(n + 2 >= calls, "call {n} of {calls} did not come");
            break;
        };
        let after = rig.fork_at(&store, keep_state.then_some(saved.as_path()));
        let when = format!("killed at call {n} of {calls}, {reach:?}, state kept: {keep_state}");
        let whole = keep_state || reach != Reach::Half;
        check_after(after, base.versions.len(), whole, &when);
    }
}

#[test]
fn killed_in_the_first_backup_before_a_call_arrives() {
    killed_at_any_call(&untouched(), Reach::Not, true);
    killed_at_any_call(&untouched(), Reach::Not, false);
}

#[test]
fn killed_in_the_first_backup_after_a_call_was_done() {
    killed_at_any_call(&untouched(), Reach::Whole, true);
    killed_at_any_call(&untouched(), Reach::Whole, false);
}

#[test]
fn killed_in_the_first_backup_while_a_file_is_sent() {
    killed_at_any_call(&untouched(), Reach::Half, true);
    killed_at_any_call(&untouched(), Reach::Half, false);
}

#[test]
fn killed_in_a_changed_backup_before_a_call_arrives() {
    killed_at_any_call(&changed(), Reach::Not, true);
    killed_at_any_call(&changed(), Reach::Not, false);
}

#[test]
fn killed_in_a_changed_backup_after_a_call_was_done() {
    killed_at_any_call(&changed(), Reach::Whole, true);
    killed_at_any_call(&changed(), Reach::Whole, false);
}

#[test]
fn killed_in_a_changed_backup_while_a_file_is_sent() {
    killed_at_any_call(&changed(), Reach::Half, true);
    killed_at_any_call(&changed(), Reach::Half, false);
}

#[test]
fn killed_after_one_of_several_volumes_was_stored() {
    killed_at_any_call(&several_volumes(), Reach::Whole, true);
}

#[test]
fn killed_while_one_of_several_volumes_is_sent() {
    killed_at_any_call(&several_volumes(), Reach::Half, true);
}

#[test]
fn killed_before_one_of_several_volumes_and_the_local_state_is_lost() {
    killed_at_any_call(&several_volumes(), Reach::Not, false);
}

#[test]
fn a_failed_put_gets_a_new_name_and_the_old_one_is_removed_by_the_next_run() {
    for kind in [VolumeKind::Blocks, VolumeKind::Index, VolumeKind::List] {
        let mut rig = changed();
        let skip = [VolumeKind::Blocks, VolumeKind::Index, VolumeKind::List]
            .iter()
            .position(|k| *k == kind)
            .unwrap();
        rig.plan.skip(Operation::Put, skip);
        rig.plan
            .push(Operation::Put, Failure::After(ErrorKind::Network));
        rig.journal.clear();
        let report = rig.backup();
        assert_eq!(report.common.backend_statistics.retry_attempts, 1);
        let puts = rig.journal.names(Operation::Put);
        assert_eq!(puts.len(), 4, "{puts:?}");
        let (old, new) = (&puts[skip], &puts[skip + 1]);
        assert_ne!(old, new);
        assert!(rig.store.names().contains(old), "the reply was lost");
        if kind == VolumeKind::Blocks {
            let index = &puts[2];
            let content = rig.store.files()[index].clone();
            let text = String::from_utf8_lossy(&content).into_owned();
            assert!(text.contains(new.as_str()) && !text.contains(old.as_str()));
        }
        // Readers on this machine do not see the leftover; a reader elsewhere sees a whole set.
        let lists = rig.names(VolumeKind::List).len();
        let engine = rig.open().unwrap();
        let seen = engine.list_filesets().unwrap().versions.len();
        engine.repository().close().unwrap();
        assert_eq!(seen, 2, "{kind:?}: of {lists} lists");
        rig.journal.clear();
        assert_eq!(rig.backup().version_time, None);
        assert_eq!(rig.journal.names(Operation::Delete), [old.as_str()]);
        assert!(!rig.store.names().contains(old));
        rig.check_set("after the leftover was removed");
        rig.check_all("after the leftover was removed");
        rig.check_all_elsewhere("after the leftover was removed");
    }
}

#[test]
fn all_attempts_of_a_put_fail() {
    for kind in [VolumeKind::Blocks, VolumeKind::Index, VolumeKind::List] {
        let mut rig = changed();
        let skip = match kind {
            VolumeKind::Blocks => 0,
            VolumeKind::Index => 1,
            VolumeKind::List => 2,
        };
        rig.plan.skip(Operation::Put, skip);
        for _ in 0..3 {
            rig.plan
                .push(Operation::Put, Failure::After(ErrorKind::Network));
        }
        let error = rig.try_backup().unwrap_err();
        assert!(matches!(error, Error::Destination(_)), "{error}");
        check_after(rig, 1, true, &format!("{kind:?}: three puts failed"));
    }
}

#[test]
fn a_call_fails_while_the_local_state_is_rebuilt() {
    let mut base = changed();
    base.backup();
    let calls = {
        let mut rig = base.fork_at(&base.store, None);
        rig.check_all("undisturbed");
        let mut rig = base.fork_at(&base.store, None);
        assert_eq!(rig.differences(0), Vec::<String>::new());
        rig.plan.calls()
    };
    for n in 1..=calls {
        for failure in [
            Failure::Before(ErrorKind::Network),
            Failure::Cut(50),
            Failure::Before(ErrorKind::Cancelled),
        ] {
            let mut rig = base.fork_at(&base.store, None);
            rig.set("number-of-retries", "0");
            rig.plan.fail_at(n, failure);
            let _ = rig.try_restore(0);
            let when = format!("rebuilding, call {n} of {calls}: {:?}", rig.plan.injected());
            rig.plan.clear();
            rig.check_all(&when);
            rig.journal.clear();
            assert_eq!(rig.backup().version_time, None, "{when}");
            assert_eq!(rig.puts(), [], "{when}");
        }
    }
}

#[test]
fn a_call_fails_while_news_of_another_machine_is_read() {
    let mut base = changed();
    let mut other = base.other_machine();
    other.backup();
    base.versions.clone_from(&other.versions);
    let calls = {
        let mut rig = base.fork();
        assert_eq!(rig.differences(0), Vec::<String>::new());
        rig.plan.calls()
    };
    for n in 1..=calls {
        let mut rig = base.fork();
        rig.set("number-of-retries", "0");
        rig.plan.fail_at(n, Failure::Before(ErrorKind::Network));
        let _ = rig.try_restore(0);
        rig.plan.clear();
        let when = format!("reading news, call {n} of {calls}");
        rig.check_all(&when);
        rig.journal.clear();
        assert_eq!(rig.backup().version_time, None, "{when}");
        assert_eq!(rig.puts(), [], "{when}");
    }
}

#[test]
fn a_download_is_disturbed_once() {
    let mut base = changed();
    base.backup();
    for encrypted in [false, true] {
        let base = if encrypted {
            let mut rig = Rig::encrypted("secret");
            rig.fill(3, 10, 20_000);
            rig.backup();
            rig
        } else {
            base.fork()
        };
        for failure in [
            Failure::Flip(300),
            Failure::Cut(10),
            Failure::EndEarly(10),
            Failure::After(ErrorKind::Network),
            Failure::Before(ErrorKind::Busy(None)),
        ] {
            for n in 1..=3 {
                let mut rig = base.fork();
                rig.set("number-of-retries", "1");
                rig.plan.fail_at(n, failure.clone());
                let differences = rig.differences(0);
                assert!(
                    differences.is_empty(),
                    "{:?}: {differences:?} {:?}",
                    rig.plan.injected(),
                    rig.log.complaints()
                );
            }
        }
    }
}

#[test]
fn a_listing_that_ends_too_early_harms_nothing() {
    for n in 1..=4 {
        let mut rig = changed();
        rig.backup();
        rig.edit(20, 3);
        rig.plan.push(Operation::List, Failure::EndEarly(n));
        let _ = rig.try_backup();
        let when = format!("a listing of {n} files only");
        rig.plan.clear();
        rig.backup();
        rig.expect_present_source_since(2);
        rig.check_all(&when);
        rig.check_all_elsewhere(&when);
    }
}

/// Leftovers that may not be deleted (object lock, append-only credentials) must not end every later backup.
#[test]
fn a_leftover_that_cannot_be_deleted_stops_no_backup() {
    let mut rig = changed();
    rig.plan
        .push(Operation::Put, Failure::After(ErrorKind::Network));
    rig.backup();
    rig.write("more", "more");
    rig.plan
        .push(Operation::Delete, Failure::Before(ErrorKind::Denied));
    let report = rig.backup();
    assert!(report.version_time.is_some());
    rig.check_all("with an undeletable leftover");
    rig.write("still more", "more");
    rig.backup();
    rig.check_set("once it may be deleted");
}

/// The rows of a vanished volume are gone after this run; that its blocks are missing must not be forgotten with it.
#[test]
fn a_failure_while_cleaning_up_does_not_hide_that_blocks_are_missing() {
    let mut rig = changed();
    rig.plan.skip(Operation::Put, 2);
    rig.plan
        .push(Operation::Put, Failure::After(ErrorKind::Network));
    rig.backup();
    let first = rig.names(VolumeKind::Blocks);
    for name in &first {
        let _ = rig.store.remove(name).expect("it is there");
    }
    rig.set("number-of-retries", "0");
    rig.plan.skip(Operation::List, 1);
    rig.plan
        .push(Operation::Delete, Failure::Kill(Arc::new(|_, _| {})));
    rig.plan
        .push(Operation::Put, Failure::Before(ErrorKind::Network));
    let _ = rig.try_backup();
    rig.plan.clear();
    rig.write("one more", "to have a new version");
    rig.backup();
    assert_eq!(rig.differences(0), Vec::<String>::new());
}

/// Runs something and gives up on it after a while.
fn within<R: Send + 'static>(seconds: u64, work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    wait.recv_timeout(std::time::Duration::from_secs(seconds))
        .ok()
}

/// One worker was done and waited for the other, which had left at the sight of the failure.
#[test]
fn a_backup_does_not_hang_after_a_failed_upload() {
    let ended = within(60, || {
        let mut rig = Rig::new();
        let mut random = larder_testkit::Rng::new(1);
        for n in 0..47 {
            rig.write(&format!("a{n:02}"), "");
        }
        for n in 0..30 {
            rig.write(&format!("b{n:02}"), random.bytes(100_000));
        }
        rig.plan
            .push(Operation::Put, Failure::Before(ErrorKind::Quota));
        rig.try_backup().map(|_| ())
    });
    let outcome = ended.expect("the backup hangs");
    assert!(outcome.is_err());
}

#[test]
fn a_list_that_cannot_be_written_is_not_reported_as_stopped_by_the_user() {
    let mut rig = Rig::new();
    rig.fill(5, 150, 100_000);
    rig.set("control-files", "/nowhere/at/all");
    match rig.try_backup() {
        Err(error) => assert!(chain(&error).contains("/nowhere/at/all"), "{error}"),
        Ok(report) => panic!("interrupted: {}", report.common.interrupted),
    }
}

/// Half a volume of a killed run that the destination does not delete now: nothing may rest on its blocks.
#[test]
fn the_blocks_of_half_a_volume_that_stays_are_stored_again() {
    let mut rig = Rig::new();
    rig.write("file", larder_testkit::Rng::new(1).bytes(20_000));
    let store = rig.store.clone();
    let half = Failure::Kill(Arc::new(move |_, name: &str| {
        store.insert(name, vec![0_u8; 5_000]);
    }));
    rig.plan.push(Operation::Put, half);
    rig.try_backup().expect_err("it was killed");
    rig.plan.clear();
    assert_eq!(rig.names(VolumeKind::Blocks).len(), 1);
    rig.set("number-of-retries", "0");
    let refused = Failure::Before(ErrorKind::Denied);
    rig.plan.push(Operation::Delete, refused);
    rig.backup();
    assert_eq!(rig.names(VolumeKind::Blocks).len(), 2);
    assert_eq!(rig.differences(0), Vec::<String>::new());
    rig.check_all_elsewhere("beside half a volume");
}
