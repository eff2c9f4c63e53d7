//! Files in the destination or on this machine are deleted, cut, changed or replaced: a new backup works, the rest
//! restores, and a full test names what is lost.

use std::collections::BTreeSet;

use larder_destination::Operation;
use larder_engine::{ListRequest, RestoreReport, Samples, TestReport};
use larder_testkit::tree::Manifest;
use larder_volume::VolumeKind::{self, Blocks, Index, List};

use crate::rig::{Rig, chain, copy_folder};

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Damage {
    Delete,
    /// Cut to its first half.
    Truncate,
    /// Cut to nothing.
    Empty,
    /// One bit in the middle.
    Flip,
    /// Replaced by another file of the same kind.
    Swap,
    /// Replaced by bytes without meaning, of the same length.
    Garbage,
}

const ALL: [Damage; 6] = [
    Damage::Delete,
    Damage::Truncate,
    Damage::Empty,
    Damage::Flip,
    Damage::Swap,
    Damage::Garbage,
];

impl Damage {
    pub fn apply(self, rig: &Rig, name: &str) {
        let files = rig.store.files();
        let len = files[name].len();
        match self {
            Damage::Delete => drop(rig.store.remove(name).expect("it was there")),
            Damage::Truncate => assert!(rig.store.truncate(name, len / 2)),
            Damage::Empty => assert!(rig.store.truncate(name, 0)),
            Damage::Flip => assert!(len == 0 || rig.store.flip(name, len / 2)),
            Damage::Swap => {
                let ending = name.rsplit_once(".d").expect("a volume").1;
                let mut others = files.iter().filter(|(other, _)| {
                    other.as_str() != name && other.rsplit_once(".d").is_some_and(|o| o.1 == ending)
                });
                let other = others.next().expect("another file of this kind").1;
                rig.store.insert(name, other.clone());
            }
            Damage::Garbage => {
                let bytes = larder_testkit::Rng::new(7).bytes(len);
                rig.store.insert(name, bytes);
            }
        }
    }

    /// Whether a listing shows it.
    fn is_visible(self, rig: &Rig, name: &str, before: usize) -> bool {
        rig.store
            .files()
            .get(name)
            .is_none_or(|now| now.len() != before)
    }
}

/// Three versions; the second and third change some of what the first has.
fn three_versions(mut rig: Rig) -> Rig {
    rig.fill(31, 25, 200_000);
    rig.write("several blocks", larder_testkit::Rng::new(3).bytes(30_000));
    rig.backup();
    for seed in [1, 2] {
        rig.edit(seed, 6);
        rig.write(
            &format!("new {seed}"),
            larder_testkit::Rng::new(seed).bytes(9000),
        );
        rig.backup();
    }
    assert_eq!(rig.versions.len(), 3);
    rig
}

fn plain() -> Rig {
    three_versions(Rig::new())
}

fn encrypted() -> Rig {
    three_versions(Rig::encrypted("a passphrase"))
}

/// With and without local state.
fn forks(rig: &Rig) -> [(Rig, &'static str); 2] {
    [
        (rig.fork(), "state kept"),
        (rig.fork_at(&rig.store, None), "state lost"),
    ]
}

/// What a restore left wrong without saying so.
pub fn silent_differences(
    held: &Manifest,
    target: &std::path::Path,
    report: &RestoreReport,
) -> Vec<String> {
    let found = Manifest::of(target).expect("a readable target");
    let broken: BTreeSet<&String> = report.broken_remote_files.iter().collect();
    let mut wrong = Vec::new();
    for (path, entry) in &held.entries {
        let text = String::from_utf8_lossy(path);
        if broken
            .iter()
            .any(|b| b.trim_end_matches('/').ends_with(text.as_ref()))
        {
            continue;
        }
        match found.entries.get(path).map(|e| &e.kind) {
            Some(kind) if *kind == entry.kind => {}
            other => wrong.push(format!("{text}: {:?} instead of {:?}", other, entry.kind)),
        }
    }
    wrong
}

/// Restores all versions; gives the numbers of those that are not whole.
fn restore_the_rest(rig: &mut Rig, damaged: &str, when: &str) -> BTreeSet<u64> {
    let mut hurt = BTreeSet::new();
    let lists = rig.names(List);
    for (version, list) in lists.iter().rev().enumerate() {
        // Versions by their lists, for one may be gone.
        let index = rig.written.iter().position(|names| names.contains(list));
        let index = index.expect("a list of this backup");
        match rig.try_restore(version) {
            Ok((target, report)) => {
                let wrong = silent_differences(&rig.versions[index], &target, &report);
                assert_eq!(wrong, Vec::<String>::new(), "{when}, version {version}");
                // Lost metadata leaves its file or folder there, and is told.
                let complaints = &report.common.warnings;
                let metadata = complaints.iter().any(|w| w.contains("[MissingMetadata]"));
                let errors = report.common.errors_actual_length > 0;
                if !report.broken_remote_files.is_empty() || metadata || errors {
                    hurt.insert(version as u64);
                }
                assert_eq!(report.broken_local_files, Vec::<String>::new(), "{when}");
                std::fs::remove_dir_all(target).unwrap();
            }
            Err(error) => {
                assert_eq!(list, damaged, "{when}: {}", chain(&error));
                assert!(chain(&error).contains(damaged), "{when}: {}", chain(&error));
                hurt.insert(version as u64);
            }
        }
    }
    hurt
}

fn findings<'r>(report: &'r TestReport, name: &str) -> Vec<&'r str> {
    report
        .verifications
        .iter()
        .filter(|v| v.file == name)
        .flat_map(|v| v.findings.iter().map(|f| f.kind))
        .collect()
}

/// One file is damaged; everything that must hold then.
fn check(base: &Rig, kind: VolumeKind, name: &str, damage: Damage) {
    let rig = base.fork();
    let before = rig.store.files()[name].len();
    damage.apply(&rig, name);
    let visible = damage.is_visible(&rig, name, before);
    let encrypted = rig.passphrase.is_some();
    for (mut fork, state) in forks(&rig) {
        let when = format!("{damage:?} of {name}, {state}, encrypted: {encrypted}");
        let kept = state == "state kept";

        // A full test names the damage and goes on.
        let mut testing = fork.fork();
        let report = testing.test_all();
        // Without local state nobody misses an index or a version, nor knows which list was meant to be where.
        let another = matches!(damage, Damage::Delete | Damage::Swap);
        let knowable = kept || kind == Blocks || !another;
        if !knowable && kind == List && damage == Damage::Swap {
            continue;
        }
        // A bit of a plain file may mean nothing.
        let may_be_harmless = damage == Damage::Flip && !encrypted && !kept && kind != Blocks;
        if !knowable {
            assert_eq!(report.damaged(), 0, "{when}: {report:#?}");
        } else if !may_be_harmless {
            assert!(!findings(&report, name).is_empty(), "{when}: {report:#?}");
        }
        let others = testing
            .store
            .names()
            .into_iter()
            .filter(|other| other != name);
        for other in others {
            assert!(
                report.verifications.iter().any(|v| v.file == other),
                "{when}: {other} was not tested"
            );
        }
        let named: BTreeSet<u64> = report
            .harm
            .iter()
            .flat_map(|h| h.versions.clone())
            .collect();
        let hurt = restore_the_rest(&mut testing, name, &when);
        assert_eq!(named, hurt, "{when}: harm told and harm seen: {report:#?}");
        if kind == Blocks && !hurt.is_empty() {
            let harm = report.harm.iter().find(|h| h.file == name);
            let harm = harm.unwrap_or_else(|| panic!("{when}: {:#?}", report.harm));
            assert!(harm.path_count > 0 && !harm.paths.is_empty(), "{when}");
        }

        // A backup works; what can be known to be missing is stored again.
        fork.write("one more", when.as_bytes());
        let outcome = fork.try_backup();
        if let Err(error) = outcome {
            panic!("{when}: the next backup failed: {}", chain(&error));
        }
        if kind != Blocks || visible {
            let newest = fork.versions.len() - 1;
            let (target, report) = fork.try_restore(0).unwrap();
            let wrong = silent_differences(&fork.versions[newest], &target, &report);
            assert_eq!(wrong, Vec::<String>::new(), "{when}: the new version");
            assert_eq!(report.broken_remote_files, Vec::<String>::new(), "{when}");
        }
        std::fs::remove_file(fork.source().join("one more")).unwrap();
    }
}

fn each_damage(base: &Rig, kind: VolumeKind, name: &str) {
    for damage in ALL {
        check(base, kind, name, damage);
    }
}

/// What is done to a file.
type Harm = fn(&std::path::Path);

#[test]
fn a_plain_data_file_is_damaged() {
    let rig = plain();
    each_damage(&rig, Blocks, &rig.written_by(0, Blocks));
}

#[test]
fn an_encrypted_data_file_is_damaged() {
    let rig = encrypted();
    each_damage(&rig, Blocks, &rig.written_by(0, Blocks));
}

#[test]
fn a_plain_index_is_damaged() {
    let rig = plain();
    each_damage(&rig, Index, &rig.written_by(0, Index));
}

#[test]
fn an_encrypted_index_is_damaged() {
    let rig = encrypted();
    each_damage(&rig, Index, &rig.written_by(0, Index));
}

#[test]
fn the_oldest_list_is_damaged() {
    for rig in [plain(), encrypted()] {
        each_damage(&rig, List, &rig.names(List)[0]);
    }
}

#[test]
fn the_newest_list_is_damaged() {
    for rig in [plain(), encrypted()] {
        each_damage(&rig, List, &rig.newest_list());
    }
}

#[test]
fn a_missing_index_is_written_anew_unasked() {
    for lose in [false, true] {
        let mut rig = plain();
        if lose {
            rig.lose_state();
        }
        let _ = rig.store.remove(&rig.written_by(0, Index)).unwrap();
        rig.journal.clear();
        let report = rig.backup();
        assert_eq!(report.version_time, None, "nothing changed in the source");
        assert_eq!(rig.puts(), [Index], "state lost: {lose}");
        rig.check_set("with the new index");
        rig.journal.clear();
        rig.backup();
        assert_eq!(rig.puts(), [], "once is enough");
        rig.check_all("with the new index");
        rig.check_all_elsewhere("with the new index");
    }
}

/// The blocklists of large files were left out of an index written by a machine that had learned them from indexes.
#[test]
fn an_index_written_anew_after_a_rebuild_repeats_the_blocklists() {
    let mut rig = plain();
    rig.lose_state();
    rig.backup();
    let index = rig.written_by(0, Index);
    let lists_in = |rig: &Rig, name: &str| {
        let content = rig.store.files()[name].to_vec();
        let archive = larder_volume::ArchiveReader::open(content, larder_volume::Compression::Zip);
        let archive = archive.unwrap();
        let lists = archive.entries().filter(|e| e.name.starts_with("list/"));
        lists.map(|e| e.name.to_string()).collect::<BTreeSet<_>>()
    };
    let before = lists_in(&rig, &index);
    assert!(!before.is_empty());
    let _ = rig.store.remove(&index).unwrap();
    let known = rig.names(Index);
    rig.backup();
    let new = rig
        .names(Index)
        .into_iter()
        .find(|name| !known.contains(name));
    assert_eq!(lists_in(&rig, &new.expect("a new index")), before);
}

#[test]
fn a_damaged_index_is_replaced_by_a_new_one() {
    let mut rig = plain();
    assert!(rig.store.truncate(&rig.written_by(1, Index), 40));
    rig.journal.clear();
    rig.backup();
    assert_eq!(rig.puts(), [Index]);
    rig.journal.clear();
    rig.backup();
    assert_eq!(rig.puts(), [], "once is enough");
    rig.check_all("with the new index");
    rig.check_all_elsewhere("with the new index");
}

#[test]
fn blocks_of_a_missing_data_file_are_stored_again_from_the_source() {
    for lose in [false, true] {
        let mut rig = plain();
        rig.write("in the source still", vec![5; 3000]);
        rig.backup();
        let lost = rig.written_by(0, Blocks);
        let _ = rig.store.remove(&lost).unwrap();
        if lose {
            rig.lose_state();
        }
        rig.journal.clear();
        let report = rig.backup();
        assert_eq!(report.version_time, None, "the source is as before");
        assert_eq!(rig.puts(), [Blocks, Index], "state lost: {lose}");
        assert!(
            rig.log.complaints().iter().any(|c| c.contains(&lost)),
            "{:?}",
            rig.log.complaints()
        );
        // What the source still has is whole again, in old versions too.
        assert_eq!(rig.differences(0), Vec::<String>::new());
        // What it has not any more is named, with the file that held it.
        let report = rig.test_all();
        let harm = report.harm.iter().find(|h| h.file == lost);
        let harm = harm.unwrap_or_else(|| panic!("{:#?}", report.harm));
        assert!(!harm.versions.contains(&0), "{harm:?}");
        assert!(harm.versions.contains(&3), "{harm:?}");
        let hurt = restore_the_rest(&mut rig, "", "after the blocks were stored again");
        assert_eq!(hurt, harm.versions.iter().copied().collect());
        // Now it is known that nothing is missing; the next run does not look again.
        rig.journal.clear();
        rig.backup();
        assert_eq!(rig.journal.calls().len(), 1);
        assert_eq!(rig.log.count("CheckingBlocks"), 1);
    }
}

#[test]
fn a_dry_run_does_not_forget_that_blocks_are_missing() {
    let mut rig = plain();
    let _ = rig.store.remove(&rig.written_by(0, Blocks)).unwrap();
    let values = rig.values.clone();
    rig.set("dry-run", "true");
    rig.backup();
    rig.values = values;
    rig.backup();
    assert_eq!(rig.differences(0), Vec::<String>::new());
}

#[test]
fn all_lists_are_damaged_and_a_backup_is_made_all_the_same() {
    for damage in [Damage::Truncate, Damage::Flip] {
        for lose in [false, true] {
            let mut rig = encrypted();
            for list in rig.names(List) {
                damage.apply(&rig, &list);
            }
            if lose {
                rig.lose_state();
            }
            let blocks = rig.names(Blocks);
            rig.write("one more", "to have a reason");
            let report = rig.backup();
            assert!(report.version_time.is_some());
            // The blocks are known from the indexes: only the new ones are stored.
            assert!(rig.names(Blocks).len() <= blocks.len() + 1);
            let (target, report) = rig.try_restore(0).unwrap();
            let held = rig.versions.last().unwrap();
            assert_eq!(
                silent_differences(held, &target, &report),
                Vec::<String>::new()
            );
            assert_eq!(report.broken_remote_files, Vec::<String>::new());
        }
    }
}

#[test]
fn one_damaged_list_does_not_end_a_listing() {
    for lose in [false, true] {
        let mut rig = plain();
        assert!(rig.store.truncate(&rig.names(List)[1], 60));
        if lose {
            rig.lose_state();
        }
        let engine = rig.open().unwrap();
        let report = engine.list_filesets().unwrap();
        assert_eq!(report.versions.len(), 3);
        assert!(report.common.errors_actual_length + report.common.warnings_actual_length > 0);
        let request = ListRequest {
            patterns: vec!["*several blocks".into()],
            all_versions: true,
            ..ListRequest::default()
        };
        let report = engine.list(&request).unwrap();
        let files = report.files.to_vec().expect("what was found");
        assert_eq!(files.len(), 1);
        let sizes = &files[0].sizes;
        assert!(sizes[0].is_some() && sizes[1].is_none() && sizes[2].is_some());
        engine.repository().close().unwrap();
    }
}

#[test]
fn one_bad_block_costs_only_what_needs_it() {
    let mut rig = Rig::new();
    for n in 0..50 {
        rig.write(&format!("{n:02}"), larder_testkit::Rng::new(n).bytes(5000));
    }
    rig.backup();
    let name = rig.written_by(0, Blocks);
    // Random content is stored as it is. A bit elsewhere might hurt nobody, such as one in an entry's time.
    let (content, volume) = (
        larder_testkit::Rng::new(25).bytes(5000),
        &rig.store.files()[&name],
    );
    let mut places = volume.windows(64);
    let at = places.position(|part| part == &content[..64]).unwrap();
    assert!(rig.store.flip(&name, at + 10));
    for (mut rig, state) in forks(&rig) {
        let (target, report) = rig.try_restore(0).unwrap();
        assert_eq!(report.broken_remote_files.len(), 1, "{state}: {report:#?}");
        let held = &rig.versions[0];
        assert_eq!(
            silent_differences(held, &target, &report),
            Vec::<String>::new()
        );
    }
}

#[test]
fn what_one_volume_lost_is_taken_from_another_that_has_it_too() {
    let mut rig = Rig::new();
    rig.fill(5, 20, 100_000);
    rig.write("several blocks", larder_testkit::Rng::new(3).bytes(30_000));
    rig.backup();
    let mut twin = Rig::new();
    twin.use_source(&rig);
    twin.backup();
    for kind in [Blocks, Index] {
        for name in twin.names(kind) {
            rig.store.insert(&name, twin.store.files()[&name].clone());
        }
    }
    assert_eq!(rig.names(Blocks).len(), 2);
    for name in rig.names(Blocks) {
        for damage in ALL {
            for (mut fork, state) in forks(&rig) {
                damage.apply(&fork, &name);
                let (target, report) = fork.try_restore(0).unwrap();
                let when = format!("{damage:?} {name}, {state}");
                assert_eq!(report.broken_remote_files, Vec::<String>::new(), "{when}");
                assert_eq!(report.common.errors, Vec::<String>::new(), "{when}");
                let wrong = silent_differences(&fork.versions[0], &target, &report);
                assert_eq!(wrong, Vec::<String>::new(), "{when}");
            }
        }
    }
}

#[test]
fn several_kinds_of_damage_are_found_in_one_test() {
    let mut rig = encrypted();
    let gone = rig.written_by(0, Blocks);
    let flipped = rig.written_by(1, Blocks);
    let index = rig.written_by(2, Index);
    let list = rig.names(List)[0].clone();
    let _ = rig.store.remove(&gone).unwrap();
    Damage::Flip.apply(&rig, &flipped);
    Damage::Garbage.apply(&rig, &index);
    Damage::Truncate.apply(&rig, &list);
    let report = rig.test_all();
    for name in [&gone, &flipped, &index, &list] {
        assert!(!findings(&report, name).is_empty(), "{name}: {report:#?}");
    }
    assert_eq!(
        report.damaged(),
        4 + lists_with_holes(&report, &rig),
        "{report:#?}"
    );
    assert!(report.harm.len() >= 2);
}

/// Lists that are whole themselves but tell of blocks that are gone.
fn lists_with_holes(report: &TestReport, rig: &Rig) -> usize {
    let whole: Vec<String> = rig.names(List).into_iter().skip(1).collect();
    let damaged = report
        .verifications
        .iter()
        .filter(|v| !v.findings.is_empty());
    damaged.filter(|v| whole.contains(&v.file)).count()
}

#[test]
fn an_undamaged_set_passes_the_test() {
    for mut rig in [plain(), encrypted()] {
        for _ in 0..2 {
            let report = rig.test_all();
            assert_eq!(report.damaged(), 0, "{report:#?}");
            assert_eq!(report.harm.len(), 0);
            let tested: Vec<_> = report
                .verifications
                .iter()
                .map(|v| v.file.clone())
                .collect();
            assert_eq!(tested, rig.store.names());
            rig.lose_state();
        }
    }
}

/// What every command does with a state that cannot be used: the same as with none, unasked.
fn works_with_state(rig: &mut Rig, when: &str) {
    let engine = rig
        .open()
        .unwrap_or_else(|error| panic!("{when}: {}", chain(&error)));
    let lists = engine.list_filesets();
    assert_eq!(
        lists
            .unwrap_or_else(|e| panic!("{when}: {}", chain(&e)))
            .versions
            .len(),
        3
    );
    engine.repository().close().unwrap();
    let differences = rig.differences(0);
    assert_eq!(differences, Vec::<String>::new(), "{when}");
    rig.journal.clear();
    let report = rig.try_backup();
    let report = report.unwrap_or_else(|error| panic!("{when}: {}", chain(&error)));
    assert_eq!(report.version_time, None, "{when}");
    assert_eq!(rig.journal.count(Operation::Put), 0, "{when}");
    assert_eq!(rig.journal.count(Operation::Delete), 0, "{when}");
}

#[test]
fn the_local_state_is_deleted_truncated_or_foreign() {
    let base = plain();
    let name = base.state().file_name().unwrap().to_owned();
    let kinds: [(&str, Harm); 8] = [
        ("deleted", |path| std::fs::remove_file(path).unwrap()),
        ("emptied", |path| std::fs::write(path, "").unwrap()),
        ("cut", |path| cut(path, 2)),
        ("cut within the header", |path| {
            std::fs::write(path, "SQLite").unwrap()
        }),
        ("a text", |path| {
            std::fs::write(path, "this is no database".repeat(500)).unwrap()
        }),
        ("without checksum", |path| {
            std::fs::remove_file(path.with_extension("sqlite.sum")).unwrap()
        }),
        ("with a foreign checksum", |path| {
            std::fs::write(path.with_extension("sqlite.sum"), "nonsense").unwrap()
        }),
        ("with a cut checksum", |path| {
            cut(&path.with_extension("sqlite.sum"), 2)
        }),
    ];
    for (what, damage) in kinds {
        let mut rig = base.fork();
        damage(&rig.state_folder().join(&name));
        works_with_state(&mut rig, &format!("the local state is {what}"));
    }
}

fn cut(path: &std::path::Path, part: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len / part).unwrap();
}

#[test]
fn a_bit_of_the_local_state_is_flipped() {
    let base = plain();
    let len = std::fs::metadata(base.state()).unwrap().len();
    let mut random = larder_testkit::Rng::new(42);
    for n in 0..30 {
        let at = match n {
            0..10 => random.below(200),
            _ => random.below(len),
        };
        // With the checksum file it is seen at once, without it by examination or when the row is read.
        let with_sum = n % 2 == 0;
        let mut rig = base.fork();
        let mut bytes = std::fs::read(rig.state()).unwrap();
        bytes[usize::try_from(at).unwrap()] ^= 1 << random.below(8);
        std::fs::write(rig.state(), bytes).unwrap();
        if !with_sum {
            let _ = std::fs::remove_file(rig.state().with_extension("sqlite.sum"));
        }
        works_with_state(
            &mut rig,
            &format!("bit flipped at {at}, checksum: {with_sum}"),
        );
    }
}

/// The state of a process that was killed: a database with a log beside it.
#[test]
fn the_log_beside_the_local_state_is_damaged() {
    let mut rig = plain();
    let open = rig.state_folder();
    let saved = rig.fast.path().join("saved");
    // Copied while a run that wrote is not closed.
    let engine = rig.open().unwrap();
    engine.backup(&rig.request()).unwrap();
    copy_folder(&open, &saved);
    engine.repository().close().unwrap();
    let log = |folder: &std::path::Path| folder.join("catalog.sqlite-wal");
    assert!(log(&saved).exists());
    let kinds: [(&str, Harm); 6] = [
        ("kept", |_| {}),
        ("deleted", |path| std::fs::remove_file(path).unwrap()),
        ("cut", |path| cut(path, 2)),
        ("emptied", |path| cut(path, u64::MAX)),
        ("garbage", |path| {
            let len = std::fs::metadata(path).unwrap().len();
            std::fs::write(
                path,
                larder_testkit::Rng::new(1).bytes(usize::try_from(len).unwrap()),
            )
            .unwrap();
        }),
        ("flipped", |path| {
            let mut bytes = std::fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 4;
            }
            std::fs::write(path, bytes).unwrap();
        }),
    ];
    for (what, damage) in kinds {
        let mut fork = rig.fork_at(&rig.store, Some(&saved));
        damage(&log(&fork.state_folder()));
        works_with_state(&mut fork, &format!("the log of the local state is {what}"));
    }
}

/// A damaged row is met in the middle of an operation: it starts again with a new catalog.
#[test]
fn samples_are_taken_from_what_is_there_after_the_state_was_lost() {
    let mut rig = plain();
    rig.set("backup-test-samples", "2");
    rig.lose_state();
    let report = rig.backup();
    let results = report.test_results.expect("samples");
    assert_eq!(results.verifications.len(), 6);
    assert_eq!(results.damaged(), 0);
    let engine = rig.open().unwrap();
    let report = engine.test(Samples::Count(1)).unwrap();
    assert_eq!(report.verifications.len(), 3);
    engine.repository().close().unwrap();
}

/// The last block of a file was looked for with the length of a whole one when an earlier blocklist was not known.
#[test]
fn a_set_without_blocklists_in_its_indexes_passes_the_test() {
    for policy in ["Lookup", "None"] {
        let mut rig = Rig::new();
        rig.set("index-file-policy", policy);
        let mut random = larder_testkit::Rng::new(1);
        // Three blocklists; the second version adds one that a machine may know alone.
        let mut content = random.bytes(70_000);
        rig.write("large", &content);
        rig.backup();
        content.truncate(65_600);
        rig.write("large", &content);
        rig.backup();
        let mut elsewhere = rig.fork_at(&rig.store, None);
        for version in [0, 1] {
            assert_eq!(elsewhere.differences(version), Vec::<String>::new());
            let report = elsewhere.test_all();
            assert_eq!(report.damaged(), 0, "{policy}: {report:#?}");
        }
        let report = rig.fork_at(&rig.store, None).test_all();
        assert_eq!(report.damaged(), 0, "{policy}: {report:#?}");
    }
}

/// What a blocklist names was not looked up when no index repeats it.
#[test]
fn a_missing_data_file_is_named_without_blocklists_in_the_indexes() {
    let mut rig = Rig::new();
    rig.set("index-file-policy", "Lookup");
    rig.set("concurrency-max-threads", "1");
    rig.write("large", larder_testkit::Rng::new(1).bytes(1_500_000));
    rig.backup();
    rig.write("small", "small");
    rig.backup();
    let volumes: Vec<_> = rig.written[0]
        .iter()
        .filter(|n| n.contains(".dblock."))
        .collect();
    assert_eq!(volumes.len(), 2);
    for lost in volumes {
        let mut rig = rig.fork_at(&rig.store, None);
        let _ = rig.store.remove(lost).unwrap();
        let report = rig.test_all();
        let harm = report.harm.iter().find(|h| h.file == *lost);
        let harm = harm.unwrap_or_else(|| panic!("{lost}: {report:#?}"));
        assert_eq!(harm.versions, [0, 1]);
        assert!(harm.paths.iter().any(|path| path.ends_with("/large")));
    }
}
