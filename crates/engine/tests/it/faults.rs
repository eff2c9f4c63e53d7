//! Calls that fail in ways of their own: what becomes of the file of a failed put, of a listing that ends too early, of a
//! deletion that is refused. That each call of each operation may fail or be the last one is shown by the matrix.

use std::sync::Arc;

use larder_destination::{ErrorKind, Operation};
use larder_engine::Error;
use larder_testkit::Failure;
use larder_volume::VolumeKind;

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
        let when = format!("{kind:?}: three puts failed");
        rig.plan.clear();
        // A list that arrived although nobody heard of it is a version.
        let mut elsewhere = rig.other_machine();
        elsewhere.expect_present_source_since(1);
        elsewhere.check_all(&when);
        rig.backup();
        rig.expect_present_source_since(1);
        rig.check_set(&when);
        rig.check_all(&when);
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
        // The newest version is not from here, so there is another, of the same blocks.
        assert!(rig.backup().version_time.is_some(), "{when}");
        assert_eq!(rig.puts(), [VolumeKind::List], "{when}");
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
