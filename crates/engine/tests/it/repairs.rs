//! Every remote call of a repair fails once, or is the last one before the process dies: no version is lost, and the next
//! repair ends right.

use std::sync::Arc;

use larder_destination::ErrorKind;
use larder_engine::{Cancel, Error};
use larder_testkit::Failure;
use larder_volume::VolumeKind::Index;

use crate::doom::{Doom, Reach};
use crate::rig::{Rig, chain};

/// Two versions of which all index files are gone.
fn without_indexes(keep_state: bool) -> Rig {
    let mut rig = Rig::new();
    rig.fill(21, 12, 30_000);
    rig.backup();
    rig.edit(22, 6);
    rig.backup();
    for name in rig.names(Index) {
        let _ = rig.store.remove(&name).expect("it was listed");
    }
    if !keep_state {
        rig.lose_state();
    }
    rig
}

fn repair(rig: &mut Rig) -> Result<u64, Error> {
    let run = rig.open()?;
    let outcome = run.repair();
    run.repository().close().expect("the catalog closes");
    outcome.map(|report| report.indexes_written)
}

fn calls_of_a_repair(base: &Rig) -> u64 {
    let mut rig = base.fork();
    repair(&mut rig).expect("a repair");
    let calls = rig.plan.calls();
    assert!(calls >= 3, "{calls}");
    calls
}

fn check_after(mut rig: Rig, when: &str) {
    rig.plan.clear();
    rig.check_all_elsewhere(&format!("{when}: right after it"));
    if let Err(error) = repair(&mut rig) {
        panic!("{when}: the next repair failed: {}", chain(&error));
    }
    assert_eq!(repair(&mut rig).expect("a third repair"), 0, "{when}");
    rig.check_set(when);
    rig.check_all(when);
}

#[test]
fn a_call_of_a_repair_fails() {
    for keep_state in [true, false] {
        let base = without_indexes(keep_state);
        let calls = calls_of_a_repair(&base);
        for failure in [
            Failure::Before(ErrorKind::Network),
            Failure::After(ErrorKind::Network),
            Failure::Cut(100),
        ] {
            for n in 1..=calls {
                let mut rig = base.fork();
                rig.set("number-of-retries", "0");
                rig.plan.fail_at(n, failure.clone());
                let outcome = repair(&mut rig);
                let when = format!(
                    "call {n} of {calls}, {failure:?}, state kept: {keep_state}, then {outcome:?}"
                );
                check_after(rig, &when);
            }
        }
    }
}

#[test]
fn a_repair_is_killed_at_any_call() {
    for keep_state in [true, false] {
        let base = without_indexes(keep_state);
        let calls = calls_of_a_repair(&base);
        for reach in [Reach::Not, Reach::Half, Reach::Whole] {
            for n in 1..=calls {
                let mut rig = base.fork();
                let saved = rig.fast.path().join("saved");
                let doom = Arc::new(Doom::new(&rig, n, reach, saved.clone()));
                let run = rig.open_over(doom.clone(), true).expect("it opens");
                let _ = run.repair();
                drop(run);
                let store = doom.what_is_left();
                let store = store.unwrap_or_else(|| panic!("call {n} of {calls} did not come"));
                let after = rig.fork_at(&store, Some(saved.as_path()));
                check_after(after, &format!("killed at call {n} of {calls}, {reach:?}"));
            }
        }
    }
}

#[test]
fn trouble_on_the_way_is_not_called_damage() {
    let mut rig = Rig::new();
    rig.fill(23, 12, 30_000);
    rig.backup();
    rig.set("number-of-retries", "0");
    for kind in [
        ErrorKind::Network,
        ErrorKind::SignInNeeded,
        ErrorKind::Denied,
    ] {
        rig.plan.reset_calls();
        rig.plan.fail_after(2, Failure::Before(kind.clone()));
        rig.log.clear();
        let run = rig.open().expect("it opens");
        let error = run.test(larder_engine::Samples::All).expect_err("no way");
        run.repository().close().expect("the catalog closes");
        assert!(
            matches!(&error, Error::Destination(error) if *error.kind() == kind),
            "{}",
            chain(&error)
        );
        let said = rig.log.complaints().join("\n");
        assert!(!said.to_lowercase().contains("damage"), "{said}");
        rig.plan.clear();
    }
}

/// A process that lives on used the half-built catalog of a run that failed: it knew index files, and none of their blocks.
#[test]
fn a_run_in_the_same_process_uses_no_half_built_catalog() {
    let mut base = Rig::new();
    base.set("number-of-retries", "0");
    base.set("concurrency-max-threads", "1");
    for round in 0..3_u8 {
        base.write(&format!("file {round}"), vec![round; 3000]);
        base.backup();
    }
    let mut failed = 0;
    for call in 1.. {
        let mut rig = base.fork_at(&base.store, None);
        let run = rig.open().expect("it opens");
        rig.plan.fail_at(call, Failure::Before(ErrorKind::Network));
        if run.backup(&rig.request()).is_ok() {
            break;
        }
        failed += 1;
        let when = format!("after a failure at call {call}");
        // A block that is taken for new is stored once more.
        rig.write("file 3", vec![0; 3000]);
        let again = run.repository().run(rig.log.clone(), Cancel::new());
        let again = again.expect("a run").backup(&rig.request());
        assert!(again.expect(&when).version_time.is_some(), "{when}");
        run.repository().close().expect("closed");
        rig.check_nothing_twice(&when);
        rig.log.clear();
        rig.open().expect("it opens");
        let texts = rig.log.texts();
        assert_eq!(rig.log.count("CatalogReplaced"), 0, "{when}: {texts:?}");
    }
    assert!(failed > 4, "{failed}");
}
