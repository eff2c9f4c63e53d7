//! Indexes that nobody needs go with a compaction, and no others; data files that lack one are named by a test.

use larder_engine::CompactReport;
use larder_testkit::Rng;
use larder_volume::VolumeKind::{Blocks, Index};

use crate::rig::{Rig, chain};

/// Two versions with a data file each, that a compaction leaves as they are.
fn two_versions(mut rig: Rig) -> Rig {
    rig.set("threshold", "100");
    rig.set("small-file-max-count", "50");
    rig.write("old", Rng::new(1).bytes(20_000));
    rig.backup();
    rig.write("new", Rng::new(2).bytes(20_000));
    rig.backup();
    rig
}

fn a_day_later(rig: &Rig) {
    use larder_destination::Clock as _;
    let now = u64::try_from(rig.clock.seconds()).expect("a time after 1970");
    rig.clock.set(now + 90_000);
}

fn compacted(rig: &mut Rig) -> CompactReport {
    a_day_later(rig);
    let run = rig.open().expect("it opens");
    let outcome = run.compact();
    run.repository().close().expect("the catalog closes");
    outcome.unwrap_or_else(|error| panic!("the compaction failed: {}", chain(&error)))
}

/// Puts other bytes of the same number in the place of an index. With its state kept a machine notices it by a test.
fn spoil(rig: &mut Rig, index: &str, keep_state: bool, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = rig.store.files()[index].to_vec();
    change(&mut bytes);
    rig.store.insert(index, bytes);
    match keep_state {
        true => assert_eq!(rig.test_all().damaged(), 1),
        false => rig.lose_state(),
    }
}

#[test]
fn a_damaged_index_goes_once_there_is_another() {
    for encrypted in [false, true] {
        for keep_state in [true, false] {
            let when = format!("encrypted: {encrypted}, state kept: {keep_state}");
            let mut rig = two_versions(match encrypted {
                true => Rig::encrypted("secret"),
                false => Rig::new(),
            });
            let index = rig.written_by(0, Index);
            spoil(&mut rig, &index, keep_state, |bytes| bytes.fill(7));
            let before = rig.names(Index).len();
            rig.backup();
            assert_eq!(rig.names(Index).len(), before + 1, "{when}");
            assert!(rig.names(Index).contains(&index), "{when}");
            let plan = {
                rig.set("dry-run", "true");
                let plan = compacted(&mut rig).results;
                rig.set("dry-run", "false");
                plan
            };
            let results = compacted(&mut rig).results;
            assert_eq!(
                (plan.deleted_file_count, results.deleted_file_count),
                (1, 1),
                "{when}"
            );
            assert!(!rig.names(Index).contains(&index), "{when}");
            assert_eq!(rig.test_all().damaged(), 0, "{when}");
            if !encrypted {
                rig.check_set(&when);
            }
            rig.check_all(&when);
            rig.check_all_elsewhere(&when);
        }
    }
}

#[test]
fn a_damaged_index_stays_while_there_is_no_other() {
    for keep_state in [true, false] {
        let mut rig = two_versions(Rig::new());
        let index = rig.written_by(0, Index);
        spoil(&mut rig, &index, keep_state, |bytes| bytes.fill(7));
        rig.set("index-file-policy", "None");
        rig.backup();
        let files = rig.store.names();
        assert_eq!(compacted(&mut rig).results.deleted_file_count, 0);
        assert_eq!(rig.store.names(), files, "state kept: {keep_state}");
    }
}

/// Somebody used another passphrase once, or the beginning of the file is damaged: that cannot be told apart.
#[test]
fn an_index_that_may_have_another_passphrase_stays() {
    for keep_state in [true, false] {
        let mut rig = two_versions(Rig::encrypted("secret"));
        let index = rig.written_by(0, Index);
        spoil(&mut rig, &index, keep_state, |bytes| {
            let mut at = 5;
            loop {
                let len = usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
                at += 2 + len;
                if len == 0 {
                    break;
                }
            }
            bytes[at + 10] ^= 1;
        });
        rig.backup();
        assert_eq!(compacted(&mut rig).results.deleted_file_count, 0);
        assert!(
            rig.names(Index).contains(&index),
            "state kept: {keep_state}"
        );
    }
}

/// What was damaged on its way only is taken in again.
#[test]
fn an_index_that_is_whole_again_is_used_again() {
    for keep_state in [true, false] {
        let mut rig = two_versions(Rig::new());
        let index = rig.written_by(0, Index);
        let whole = rig.store.files()[&index].to_vec();
        spoil(&mut rig, &index, keep_state, |bytes| bytes.fill(7));
        rig.backup();
        rig.store.insert(&index, whole);
        assert_eq!(compacted(&mut rig).results.deleted_file_count, 0);
        rig.backup();
        assert_eq!(rig.test_all().damaged(), 0, "state kept: {keep_state}");
        assert!(rig.names(Index).contains(&index));
    }
}

#[test]
fn the_index_of_a_lost_data_file_goes_when_no_version_misses_it() {
    for keep_state in [true, false] {
        let mut rig = two_versions(Rig::new());
        let _ = rig.store.remove(&rig.written_by(1, Blocks)).unwrap();
        if !keep_state {
            rig.lose_state();
        }
        // The version misses what the index tells of.
        let index = rig.written_by(1, Index);
        compacted(&mut rig);
        assert!(
            rig.names(Index).contains(&index),
            "state kept: {keep_state}"
        );
        let run = rig.open().expect("it opens");
        run.purge_broken_files().expect("a purge");
        run.repository().close().expect("the catalog closes");
        compacted(&mut rig);
        assert!(
            !rig.names(Index).contains(&index),
            "state kept: {keep_state}"
        );
        assert_eq!(rig.test_all().damaged(), 0, "state kept: {keep_state}");
        let mut elsewhere = rig.fork_at(&rig.store, None);
        assert_eq!(
            elsewhere.test_all().damaged(),
            0,
            "state kept: {keep_state}"
        );
    }
}

#[test]
fn a_test_names_data_files_without_an_index() {
    for keep_state in [true, false] {
        let mut rig = two_versions(Rig::new());
        let _ = rig.store.remove(&rig.written_by(1, Index)).unwrap();
        if !keep_state {
            rig.lose_state();
        }
        // The run that misses the index names it.
        rig.test_all();
        rig.log.clear();
        assert_eq!(rig.test_all().damaged(), 0);
        assert_eq!(rig.log.count("MissingIndex"), 1, "state kept: {keep_state}");
        assert_eq!(rig.log.complaints(), [""; 0], "state kept: {keep_state}");
        let run = rig.open().expect("it opens");
        assert_eq!(run.repair().expect("a repair").indexes_written, 1);
        run.repository().close().expect("the catalog closes");
        rig.log.clear();
        rig.test_all();
        assert_eq!(rig.log.count("MissingIndex"), 0, "state kept: {keep_state}");
    }
}
