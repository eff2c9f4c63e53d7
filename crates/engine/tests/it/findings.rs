//! What `test` finds, in each of its modes, and what others say of the same.

use std::os::unix::fs::PermissionsExt;

use larder_engine::{Error, PurgeRequest, Run, Samples, TestReport};
use larder_testkit::Rng;
use larder_volume::VolumeKind::{self, Blocks, Index, List};
use larder_volume::{Compression, VolumeName, VolumeTime};

use crate::rig::{Rig, START, chain, later};

fn try_run<R>(rig: &mut Rig, work: impl FnOnce(&Run) -> Result<R, Error>) -> Result<R, Error> {
    let run = rig.open().expect("it opens");
    let done = work(&run);
    run.repository().close().expect("the catalog closes");
    done
}

fn run<R>(rig: &mut Rig, work: impl FnOnce(&Run) -> Result<R, Error>) -> R {
    try_run(rig, work).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

/// Versions an hour apart, each with a file of its own.
fn versions(count: u64) -> Rig {
    let mut rig = Rig::new();
    rig.set("no-auto-compact", "true");
    for number in 0..count {
        rig.write(&format!("of {number}"), Rng::new(number).bytes(9000));
        later(&rig, 3600);
        rig.backup();
    }
    rig
}

/// File and kind of each finding, in order.
fn found(report: &TestReport) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    for checked in &report.verifications {
        let findings = checked.findings.iter();
        found.extend(findings.map(|finding| (checked.file.clone(), finding.kind)));
    }
    found
}

fn says(rig: &Rig, words: &str) -> bool {
    rig.log.texts().iter().any(|text| text.contains(words))
}

#[test]
fn an_old_list_under_a_later_name_is_found_and_the_other_versions_are_looked_at() {
    let mut rig = versions(3);
    let name = VolumeTime(i64::try_from(START).expect("a time") + 20_000);
    let name = VolumeName::list("duplicati", name, Compression::Zip, None);
    let first = rig.names(List).remove(0);
    let list = rig.store.files()[&first].clone();
    rig.store.insert(name.as_str(), list);
    later(&rig, 20_000);
    let report = rig.test_all();
    assert_eq!(found(&report), [(name.as_str().to_owned(), "Error")]);
    assert_eq!(report.harm.len(), 0, "{:?}", report.harm);

    let lost = rig.written_by(0, Blocks);
    let _ = rig.store.remove(&lost).expect("a data file");
    rig.log.clear();
    let report = run(&mut rig, Run::list_broken_files);
    let numbers: Vec<u64> = report.broken_files.iter().map(|v| v.number).collect();
    assert_eq!(numbers, [3, 2, 1]);
    assert!(says(&rig, "version 0 of "), "{:?}", rig.log.texts());
    assert!(says(&rig, "--version=0` gives it up"));

    let request = PurgeRequest {
        patterns: vec!["*/of 2".into()],
        filters: Vec::new(),
    };
    rig.log.clear();
    let report = run(&mut rig, |run| run.purge(&request));
    assert_eq!(report.rewritten_file_lists, 1);
    assert!(says(&rig, "--version=0` gives it up"));

    rig.log.clear();
    let report = run(&mut rig, Run::purge_broken_files);
    assert_eq!(report.rewritten_file_lists, 3, "{report:?}");
    assert!(says(&rig, "--version=0` gives it up"));
    rig.set("version", "0");
    run(&mut rig, Run::delete);
    rig.values
        .unset("version", larder_options::Origin::CommandLine);
    let report = rig.test_all();
    let is_renamed = |(file, _): &(String, _)| file == name.as_str();
    assert!(!found(&report).iter().any(is_renamed));
}

#[test]
fn an_old_list_that_a_backup_samples_is_a_warning() {
    let mut rig = versions(2);
    let name = VolumeTime(i64::try_from(START).expect("a time") + 20_000);
    let name = VolumeName::list("duplicati", name, Compression::Zip, None);
    let first = rig.names(List).remove(0);
    let list = rig.store.files()[&first].clone();
    rig.store.insert(name.as_str(), list);
    later(&rig, 20_000);
    rig.set("backup-test-samples", "10");
    rig.write("more", "new");
    let report = rig.backup();
    assert_eq!(report.common.errors, [""; 0]);
    assert!(rig.log.count("RenamedList") > 0);
}

#[test]
fn an_index_of_a_data_file_that_is_not_missed_any_more_is_no_finding() {
    for is_mended in [true, false] {
        let mut rig = versions(1);
        let lost = rig.written_by(0, Blocks);
        let index = rig.written_by(0, Index);
        let _ = rig.store.remove(&lost).expect("a data file");
        if !is_mended {
            rig.write("of 0", "another");
        }
        later(&rig, 3600);
        rig.backup();
        assert!(rig.store.names().contains(&index));
        for keep_state in [true, false] {
            if !keep_state {
                rig.lose_state();
            }
            rig.log.clear();
            let report = rig.test_all();
            let files: Vec<String> = found(&report).into_iter().map(|(file, _)| file).collect();
            assert_eq!(files.contains(&lost), !is_mended, "{files:?}");
            assert_eq!(rig.log.count("IndexOutlived"), usize::from(is_mended));
            assert_eq!(report.damaged() == 0, is_mended, "{files:?}");
        }
    }
}

#[test]
fn a_damaged_list_is_told_with_the_number_of_its_version() {
    let mut rig = versions(3);
    let list = rig.names(List).remove(1);
    assert!(rig.store.truncate(&list, 100));
    for _ in 0..2 {
        rig.log.clear();
        let report = run(&mut rig, Run::compact);
        assert!(report.results.held_back.is_some());
        let texts = rig.log.complaints().join("\n");
        assert!(texts.contains("larder delete … --version=1`"), "{texts}");
        assert!(!texts.contains("=N"), "{texts}");
    }
    let report = run(&mut rig, Run::list_broken_files);
    assert_eq!(report.broken_files.len(), 0);
    assert!(says(&rig, "`larder repair` stores its list again"));
}

#[test]
fn lost_metadata_is_told_apart_from_lost_content() {
    let mut rig = versions(1);
    rig.write("of 1", Rng::new(70).bytes(9000));
    let path = rig.source().join("of 0");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    later(&rig, 3600);
    rig.backup();
    let lost = rig.written_by(1, Blocks);
    let _ = rig.store.remove(&lost).expect("a data file");
    let report = rig.test_all();
    let [harm] = &*report.harm else {
        panic!("{:?}", report.harm);
    };
    let ends = |path: &String, name: &str| path.ends_with(name);
    assert!(harm.paths.iter().any(|path| ends(path, "/of 1")));
    assert!(harm.paths.iter().any(|path| ends(path, "/of 0")));
    assert!(harm.metadata_paths.iter().any(|path| ends(path, "/of 0")));
    assert!(!harm.metadata_paths.iter().any(|path| ends(path, "/of 1")));
    assert_eq!(harm.metadata_count + 1, harm.path_count);
}

/// What happened to a file of the first run.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    None,
    /// A byte in its middle is another one.
    Flipped(VolumeKind),
    Gone(VolumeKind),
}

/// What is found of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    Nothing,
    /// It is another one: how it is told depends on what the byte is for.
    Damage,
    Missing,
}

use Of::{Damage, Missing, Nothing};

/// What each mode finds of the file, in the order of [`MODES`].
const FOUND: [(Trouble, [Of; 5]); 7] = [
    (Trouble::None, [Nothing; 5]),
    (
        Trouble::Flipped(Blocks),
        [Damage, Damage, Damage, Nothing, Nothing],
    ),
    (Trouble::Flipped(Index), [Damage; 5]),
    (
        Trouble::Flipped(List),
        [Damage, Damage, Damage, Damage, Nothing],
    ),
    (Trouble::Gone(Blocks), [Missing; 5]),
    // A backup or a repair writes it anew.
    (
        Trouble::Gone(Index),
        [Nothing, Missing, Nothing, Nothing, Nothing],
    ),
    (Trouble::Gone(List), [Missing; 5]),
];

/// Which modes find in the lists that a data file is gone.
const LISTS_LACK: [bool; 5] = [true, true, false, true, false];

/// Samples, and `--full-remote-verification`. Ten of each kind are all, but not everything is looked up for them.
const MODES: [(Samples, &str); 5] = [
    (Samples::Count(10), "True"),
    (Samples::All, "True"),
    (Samples::Count(10), "False"),
    (Samples::Count(10), "ListAndIndexes"),
    (Samples::Count(10), "IndexesOnly"),
];

#[test]
fn each_mode_finds_what_it_looks_at() {
    let rig = versions(2);
    for (trouble, expected) in FOUND {
        for (place, (samples, depth)) in MODES.into_iter().enumerate() {
            let when = format!("{trouble:?}, {samples:?}, {depth}");
            let mut fork = rig.fork();
            fork.set("full-remote-verification", depth);
            let name = match trouble {
                Trouble::None => String::new(),
                Trouble::Flipped(kind) | Trouble::Gone(kind) => rig.written_by(0, kind),
            };
            match trouble {
                Trouble::None => {}
                Trouble::Flipped(_) => {
                    let middle = fork.store.files()[&name].len() / 2;
                    assert!(fork.store.flip(&name, middle));
                }
                Trouble::Gone(_) => drop(fork.store.remove(&name).expect("a file")),
            }
            let report = run(&mut fork, |run| run.test(samples));
            let (of_it, others): (Vec<_>, Vec<_>) = found(&report)
                .into_iter()
                .partition(|(file, _)| *file == name);
            let of_it: Vec<&str> = of_it.into_iter().map(|(_, kind)| kind).collect();
            match expected[place] {
                Nothing => assert_eq!(of_it, [""; 0], "{when}"),
                Missing => assert_eq!(of_it, ["Missing"], "{when}"),
                Damage => {
                    let is_damage = |kind: &&str| matches!(*kind, "Modified" | "Error");
                    assert!(!of_it.is_empty(), "{when}");
                    assert!(of_it.iter().all(is_damage), "{when}: {of_it:?}");
                }
            }
            let of_lists: Vec<(String, &str)> = match trouble {
                Trouble::Gone(Blocks) if LISTS_LACK[place] => {
                    let lists = rig.names(List).into_iter();
                    lists.map(|list| (list, "Missing")).collect()
                }
                _ => Vec::new(),
            };
            assert_eq!(others, of_lists, "{when}");
            let is_found = expected[place] != Nothing;
            assert_eq!(report.damaged() > 0, is_found, "{when}");
        }
    }
}

#[test]
fn a_number_of_samples_is_so_many_of_each_kind() {
    for (depth, expected) in [
        ("True", [1, 1, 1]),
        ("False", [1, 1, 1]),
        ("ListAndIndexes", [1, 1, 0]),
        ("IndexesOnly", [0, 1, 0]),
    ] {
        let mut rig = versions(2);
        rig.set("full-remote-verification", depth);
        let report = run(&mut rig, |run| run.test(Samples::Count(1)));
        let count = |kind| {
            let names = report.verifications.iter().map(|v| &v.file);
            let parsed = names.filter_map(|name| VolumeName::parse(name, false));
            parsed.filter(|name| name.kind() == kind).count()
        };
        assert_eq!([List, Index, Blocks].map(count), expected, "{depth}");
    }
}
