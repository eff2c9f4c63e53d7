//! `--soft-delete-prefix`: what would be deleted stays under another name.

use larder_destination::{ErrorKind, Operation};
use larder_testkit::Failure;
use larder_volume::VolumeKind::List;

use crate::rig::Rig;

/// Three versions, of which the next run keeps one. Gives what is stored.
fn about_to_delete(copies: bool) -> Rig {
    let mut rig = Rig::new();
    rig.set("no-auto-compact", "true");
    for content in ["one", "two", "three"] {
        rig.write("a", content);
        rig.backup();
    }
    rig.set("keep-versions", "1");
    rig.set("soft-delete-prefix", "old-");
    rig.set("prevent-backend-rename", &copies.to_string());
    rig
}

fn delete(rig: &mut Rig) -> Result<usize, larder_engine::Error> {
    let run = rig.open()?;
    let outcome = run.delete();
    run.repository().close().expect("closed");
    outcome.map(|report| report.deleted_sets.len())
}

#[test]
fn a_deleted_list_stays_under_another_name() {
    for copies in [false, true] {
        let mut rig = about_to_delete(copies);
        let before = rig.store.files();
        let lists = rig.names(List);
        // One was moved aside before, under the same name.
        rig.store.insert(&format!("old-{}", lists[0]), "older");
        assert_eq!(delete(&mut rig).expect("it deletes"), 2);
        let after = rig.store.files();
        assert_eq!(rig.names(List), lists[2..]);
        assert_eq!(after[&format!("old-{}", lists[0])], "older");
        assert_eq!(after[&format!("old-{}", lists[1])], before[&lists[1]]);
        let other = format!("old-{}.", lists[0]);
        let moved = after.iter().find(|(name, _)| name.starts_with(&other));
        let (name, bytes) = moved.expect("with digits behind it");
        assert_eq!((name.len(), bytes), (other.len() + 6, &before[&lists[0]]));
        // Nobody minds them afterwards.
        rig.write("a", "four");
        rig.backup();
        assert_eq!(rig.test_all().common.errors, [""; 0]);
        assert_eq!(rig.log.complaints(), [""; 0]);
    }
}

/// At no moment is a file under neither name.
#[test]
fn a_move_that_fails_loses_nothing() {
    for copies in [false, true] {
        let mut base = about_to_delete(copies);
        base.set("number-of-retries", "0");
        let before = base.store.files();
        for failure in [
            Failure::Before(ErrorKind::Network),
            Failure::After(ErrorKind::Network),
        ] {
            let mut n = 0;
            loop {
                n += 1;
                let mut rig = base.fork();
                rig.plan.fail_at(n, failure.clone());
                let _ = delete(&mut rig);
                if rig.plan.calls() < n {
                    break;
                }
                rig.plan.clear();
                let stored = rig.store.files();
                for (name, bytes) in &before {
                    let aside = format!("old-{name}");
                    let kept = |found: &str| stored.get(found) == Some(bytes);
                    assert!(
                        kept(name) || kept(&aside),
                        "{failure:?} at {n}: {name} is gone"
                    );
                }
                delete(&mut rig).expect("the next run goes on");
                assert_eq!(rig.names(List).len(), 1, "{failure:?} at {n}");
            }
            assert!(n > 4, "{n} calls");
        }
    }
}

#[test]
fn what_would_move_files_elsewhere_is_refused_before_anything_is_done() {
    let mut rig = about_to_delete(false);
    let calls = rig.plan.calls();
    // Another folder, and the names of another backup.
    for prefix in ["old/", "old"] {
        rig.set("soft-delete-prefix", prefix);
        assert!(delete(&mut rig).is_err(), "{prefix}");
    }
    assert_eq!(rig.plan.calls(), calls);
}

/// Neither the file nor a copy of it piles up where nothing may be removed.
#[test]
fn what_may_not_be_removed_leaves_no_copy() {
    let mut rig = about_to_delete(true);
    let before = rig.store.files();
    for _ in 0..2 {
        rig.plan
            .push(Operation::Delete, Failure::Before(ErrorKind::Locked));
        // The copy may.
        rig.plan.skip(Operation::Delete, 1);
    }
    let _ = delete(&mut rig);
    rig.plan.clear();
    assert!(rig.store.files() == before);
}
