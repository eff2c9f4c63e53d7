//! A file of the destination is damaged, and then somebody deletes versions, compacts or purges: that may be refused, and
//! it costs nothing more than the damage did. The next backup works, and a test names what is damaged.

use std::collections::{BTreeMap, BTreeSet};

use larder_engine::{Error, PurgeRequest};
use larder_testkit::Rng;
use larder_testkit::tree::Manifest;
use larder_volume::VolumeKind::{self, Blocks, Index, List};
use larder_volume::VolumeName;

use crate::damage::{Damage, silent_differences};
use crate::rig::{Rig, chain, differences_of, later};

/// Who tidies up.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tidying {
    /// The oldest version goes, and what it alone used.
    Delete,
    Compact,
    /// `secret` goes from all versions.
    Purge,
}

/// What each version gives, by its place: the paths that a restore does not give right. Nothing for a version of which
/// nothing is to be had.
type Given = BTreeMap<usize, Option<BTreeSet<String>>>;

/// Four versions an hour apart: blocks of all ages are used, and some of each age are not.
fn four_versions(mut rig: Rig) -> Rig {
    rig.set("threshold", "5");
    rig.set("small-file-max-count", "2");
    rig.fill(31, 8, 30_000);
    rig.write("secret", Rng::new(70).bytes(3000));
    rig.write("large", Rng::new(71).bytes(50_000));
    for number in 0..4 {
        rig.write("changes", Rng::new(number).bytes(9000));
        rig.write(&format!("of {number}"), Rng::new(80 + number).bytes(3000));
        rig.set("no-auto-compact", "true");
        later(&rig, 3600);
        rig.backup();
    }
    rig.set("no-auto-compact", "false");
    rig
}

fn time_of(list: &str) -> i64 {
    let name = VolumeName::parse(list, false).expect("a list");
    name.time().expect("a time").0
}

/// Restores all versions. A list that a purge has written is a second or so later than the one before it.
fn given(rig: &mut Rig, times: &[i64], when: &str) -> Given {
    let mut found = Given::new();
    let lists = rig.names(List);
    for (number, list) in lists.iter().rev().enumerate() {
        let time = time_of(list);
        let place = times.iter().rposition(|of| *of <= time).expect("a version");
        let Ok((target, report)) = rig.try_restore(number) else {
            found.insert(place, None);
            continue;
        };
        let mut held = rig.versions[place].clone();
        let tree = Manifest::of(&target).expect("a readable target");
        if !tree.entries.contains_key(b"secret".as_slice()) {
            held.entries.remove(b"secret".as_slice());
        }
        let wrong = silent_differences(&held, &target, &report);
        assert_eq!(
            wrong, [""; 0],
            "{when}: version {place} is wrong and nobody says so"
        );
        let mut lost: BTreeSet<String> = differences_of(&held, &tree).into_iter().collect();
        // The path stands before the colon.
        lost = lost
            .iter()
            .map(|text| text.rsplit_once("\": ").unwrap_or((text, "")).0.to_owned())
            .collect();
        std::fs::remove_dir_all(&target).expect("the target");
        found.insert(place, Some(lost));
    }
    found
}

fn tidy(rig: &mut Rig, tidying: Tidying) -> Result<(), Error> {
    later(rig, 90_000);
    let values = rig.values.clone();
    if tidying == Tidying::Delete {
        let oldest = rig.names(List).len() - 1;
        rig.set("version", &oldest.to_string());
    }
    let run = rig.open()?;
    let outcome = match tidying {
        Tidying::Delete => run.delete().map(drop),
        Tidying::Compact => run.compact().map(drop),
        Tidying::Purge => {
            let request = PurgeRequest {
                patterns: vec!["*/secret".to_owned()],
                filters: Vec::new(),
            };
            run.purge(&request).map(drop)
        }
    };
    run.repository().close().expect("the catalog closes");
    rig.values = values;
    outcome
}

fn check(base: &Rig, name: &str, kind: VolumeKind, damage: Damage) {
    let times: Vec<i64> = base.names(List).iter().map(|list| time_of(list)).collect();
    let rig = base.fork();
    damage.apply(&rig, name);
    let damaged = rig.store.files().get(name).cloned();
    // Without local state nobody knows which of two lists was meant to be where.
    let is_unknowable = kind == List && damage == Damage::Swap;
    for keep_state in [true, false] {
        if is_unknowable && !keep_state {
            continue;
        }
        let state = rig.state_folder();
        let start =
            |rig: &Rig| rig.fork_at(&rig.store, Some(state.as_path()).filter(|_| keep_state));
        let what = format!("{damage:?} of {name}, state kept: {keep_state}");
        let before = given(&mut start(&rig), &times, &what);
        for tidying in [Tidying::Delete, Tidying::Compact, Tidying::Purge] {
            let mut fork = start(&rig);
            let outcome = tidy(&mut fork, tidying);
            let when = format!("{what}, then {tidying:?}, {:?}", outcome.as_ref().err());
            assert!(!matches!(outcome, Err(Error::Bug(_))), "{when}");
            let mut elsewhere = fork.fork_at(&fork.store, None);
            for (machine, place) in [(&mut fork, "here"), (&mut elsewhere, "elsewhere")] {
                if is_unknowable && place == "elsewhere" {
                    continue;
                }
                let after = given(machine, &times, &when);
                for (version, lost_before) in &before {
                    let oldest = before.keys().next();
                    let may_go = tidying == Tidying::Delete && oldest == Some(version);
                    let Some(lost_before) = lost_before else {
                        continue;
                    };
                    match after.get(version) {
                        None => assert!(may_go, "{when}: version {version} is gone {place}"),
                        Some(lost) => {
                            let lost = lost.as_ref();
                            let lost = lost.unwrap_or_else(|| {
                                panic!("{when}: version {version} cannot be restored {place}")
                            });
                            let more: Vec<_> = lost.difference(lost_before).collect();
                            assert!(more.is_empty(), "{when}: {version} {place}: {more:?}");
                        }
                    }
                }
            }
            // What is still there as it was damaged is named.
            if kind == Blocks
                && damaged.is_some()
                && fork.store.files().get(name) == damaged.as_ref()
            {
                let report = fork.test_all();
                let found = report.verifications.iter().find(|v| v.file == name);
                let is_named = found.is_some_and(|found| !found.findings.is_empty());
                assert!(is_named, "{when}: {report:#?}");
            }
            fork.write("one more", when.as_bytes());
            if let Err(error) = fork.try_backup() {
                panic!("{when}: the next backup failed: {}", chain(&error));
            }
            let (target, report) = fork.try_restore(0).expect("a restore");
            let held = fork.versions.last().expect("a version");
            let wrong = silent_differences(held, &target, &report);
            assert_eq!(wrong, [""; 0], "{when}: the new version");
            if kind != Blocks || damage != Damage::Flip {
                assert_eq!(
                    report.broken_remote_files, [""; 0],
                    "{when}: the new version"
                );
            }
            std::fs::remove_file(fork.source().join("one more")).expect("it was there");
        }
    }
}

fn each(kind: VolumeKind, which: usize) {
    let base = four_versions(Rig::new());
    let name = base.written_by(which, kind);
    for damage in [Damage::Delete, Damage::Truncate, Damage::Flip, Damage::Swap] {
        check(&base, &name, kind, damage);
    }
}

#[test]
fn a_damaged_data_file_costs_no_more_after_tidying() {
    each(Blocks, 0);
}

#[test]
fn a_damaged_index_costs_no_more_after_tidying() {
    each(Index, 1);
}

#[test]
fn a_damaged_list_costs_no_more_after_tidying() {
    each(List, 0);
    each(List, 3);
}
