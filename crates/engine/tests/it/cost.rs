//! What operations cost, as assertions on recorded calls.

use larder_destination::Operation;
use larder_engine::ListRequest;
use larder_volume::VolumeKind::{Blocks, Index, List};

use crate::forge::Forge;
use crate::rig::Rig;

fn small(mut rig: Rig) -> Rig {
    rig.fill(1, 30, 60_000);
    rig.backup();
    rig
}

fn calls(rig: &Rig) -> Vec<Operation> {
    rig.journal.calls().iter().map(|c| c.operation).collect()
}

#[test]
fn an_unchanged_backup_lists_once_and_puts_nothing() {
    let mut rig = small(Rig::new());
    rig.journal.clear();
    let report = rig.backup();
    assert_eq!(report.version_time, None);
    assert_eq!(report.opened_files, 0);
    assert_eq!(calls(&rig), [Operation::List]);
    assert_eq!(report.common.backend_statistics.remote_calls, 1);
}

#[test]
fn an_unchanged_backup_with_samples_fetches_one_volume_of_each_kind() {
    let mut rig = small(Rig::new());
    rig.set("backup-test-samples", "1");
    rig.journal.clear();
    rig.backup();
    assert_eq!(rig.journal.count(Operation::List), 1);
    assert_eq!(rig.journal.count(Operation::Put), 0);
    let mut gets = rig.gets();
    gets.sort();
    assert_eq!(gets, [Blocks, Index, List]);
    assert_eq!(rig.journal.calls().len(), 4);
}

#[test]
fn the_default_is_one_sample_of_each_kind() {
    let mut rig = small(Rig::new());
    rig.values
        .unset("backup-test-samples", larder_options::Origin::CommandLine);
    rig.journal.clear();
    rig.backup();
    let mut gets = rig.gets();
    gets.sort();
    assert_eq!(gets, [Blocks, Index, List]);
}

#[test]
fn a_first_backup_puts_data_index_and_list_in_this_order() {
    let rig = small(Rig::new());
    use Operation::{List as Listing, Put};
    assert_eq!(calls(&rig), [Listing, Put, Put, Put, Listing]);
    assert_eq!(rig.puts(), [Blocks, Index, List]);
    rig.check_set("after the first backup");
}

#[test]
fn a_first_backup_creates_the_folder_once() {
    let store = larder_testkit::MemoryDestination::without_folder(Default::default());
    let rig = small(Rig::over(store));
    assert_eq!(rig.journal.count(Operation::CreateFolder), 1);
    assert_eq!(rig.puts(), [Blocks, Index, List]);
}

#[test]
fn a_change_puts_three_volumes() {
    let mut rig = small(Rig::encrypted("a passphrase"));
    rig.journal.clear();
    rig.write("changed", "something new");
    let report = rig.backup();
    assert_eq!(rig.puts(), [Blocks, Index, List]);
    assert_eq!(rig.gets(), []);
    assert_eq!(rig.journal.count(Operation::List), 2);
    assert_eq!(rig.journal.count(Operation::Delete), 0);
    assert_eq!(report.opened_files, 1);
    assert_eq!(rig.store.names().len(), 6);
}

#[test]
fn a_deleted_file_costs_only_a_list() {
    let mut rig = small(Rig::new());
    rig.set("skip-metadata", "true");
    rig.write("short-lived", "something");
    rig.backup();
    std::fs::remove_file(rig.source().join("short-lived")).unwrap();
    rig.journal.clear();
    let report = rig.backup();
    assert_eq!(report.deleted_files, 1);
    assert_eq!(rig.puts(), [List]);
}

#[test]
fn a_restore_fetches_the_list_and_each_needed_volume_once() {
    let mut rig = Rig::encrypted("a passphrase");
    rig.fill(2, 40, 3_000_000);
    rig.backup();
    let volumes = rig.names(Blocks).len();
    assert!(volumes >= 2, "only {volumes} volumes");
    rig.journal.clear();
    assert_eq!(rig.differences(0), Vec::<String>::new());
    let mut gets = rig.journal.names(Operation::Get);
    gets.sort();
    let mut wanted = rig.names(Blocks);
    wanted.extend(rig.names(List));
    wanted.sort();
    assert_eq!(gets, wanted);
    assert_eq!(rig.journal.count(Operation::List), 1);
}

#[test]
fn a_restore_of_one_file_fetches_only_its_volumes() {
    let mut rig = Rig::new();
    rig.fill(3, 40, 3_000_000);
    rig.backup();
    rig.write("late arrival", "short");
    rig.backup();
    let before = rig.names(Blocks).len();
    rig.journal.clear();
    let (target, _) = rig.try_restore_of(0, &["*late arrival"]).unwrap();
    assert_eq!(
        std::fs::read(target.join("late arrival")).unwrap(),
        b"short"
    );
    assert!(before >= 2);
    assert_eq!(rig.gets(), [List, Blocks]);
}

#[test]
fn a_restore_without_local_state_fetches_no_volume_twice() {
    let mut rig = small(Rig::encrypted("a passphrase"));
    rig.lose_state();
    rig.journal.clear();
    assert_eq!(rig.differences(0), Vec::<String>::new());
    let mut gets = rig.journal.names(Operation::Get);
    gets.sort();
    assert_eq!(gets, rig.store.names());
}

#[test]
fn listing_needs_no_data_and_no_index() {
    let mut rig = small(Rig::new());
    rig.edit(1, 5);
    rig.backup();
    for lose in [false, true] {
        if lose {
            rig.lose_state();
        }
        rig.journal.clear();
        let engine = rig.open().unwrap();
        assert_eq!(engine.list_filesets().unwrap().versions.len(), 2);
        engine.repository().close().unwrap();
        assert_eq!(rig.journal.count(Operation::List), 1);
        let mut gets = rig.journal.names(Operation::Get);
        gets.sort();
        // Known versions cost nothing; unknown lists are read once each.
        assert_eq!(gets, if lose { rig.names(List) } else { Vec::new() });
        rig.journal.clear();
        let engine = rig.open().unwrap();
        let request = ListRequest {
            patterns: vec!["*".into()],
            ..ListRequest::default()
        };
        assert!(engine.list(&request).unwrap().files.to_vec().unwrap().len() > 30);
        engine.repository().close().unwrap();
        // The list was read, now or by an earlier command; of two read at once only one is kept.
        let gets = rig.gets();
        assert!(gets.is_empty() || lose && gets == [List], "{gets:?}");
        rig.journal.clear();
        let engine = rig.open().unwrap();
        assert!(engine.list(&request).unwrap().files.to_vec().unwrap().len() > 30);
        assert_eq!(rig.gets(), [], "state lost: {lose}");
        engine.repository().close().unwrap();
        // A version that somebody looked into is not yet one whose blocks were looked up.
        rig.journal.clear();
        rig.backup();
        assert_eq!(rig.gets().contains(&List), lose, "{:?}", rig.gets());
    }
}

#[test]
fn a_rebuild_fetches_all_indexes_and_the_newest_list_only() {
    for mut rig in [Rig::new(), Rig::encrypted("a passphrase")] {
        rig.fill(4, 40, 2_000_000);
        rig.backup();
        for seed in 0..2 {
            rig.edit(seed, 5);
            rig.backup();
        }
        rig.lose_state();
        rig.journal.clear();
        let engine = rig.open().unwrap();
        let report = engine.repair().unwrap();
        engine.repository().close().unwrap();
        assert!(report.rebuilt);
        assert_eq!(report.versions, 3);
        let mut gets = rig.journal.names(Operation::Get);
        gets.sort();
        let mut wanted = rig.names(Index);
        wanted.push(rig.newest_list());
        wanted.sort();
        assert_eq!(gets, wanted);
        assert_eq!(rig.journal.count(Operation::List), 1);
        assert_eq!(rig.journal.count(Operation::Put), 0);
        rig.journal.clear();
        let report = rig.backup();
        assert_eq!(report.version_time, None, "nothing changed");
        assert_eq!(rig.journal.calls().len(), 1, "{:?}", rig.journal.calls());
    }
}

/// A listing kept every path in memory, with a size for each version, and then once more as text.
#[test]
fn what_a_listing_finds_lies_in_files() {
    let mut forge = Forge::default();
    let many = 60_000;
    for n in 0..many {
        forge.folder(format!("/s/{n:05}{}/", "x".repeat(240)));
    }
    let mut rig = Rig::new();
    forge.store(&rig.store);
    let request = ListRequest {
        patterns: vec!["*".into()],
        all_versions: true,
        ..ListRequest::default()
    };
    let state = rig.state_folder();
    let spilled = || {
        let files = std::fs::read_dir(&state).expect("the state");
        let files = files.map(|file| file.expect("a file"));
        let files = files.filter(|file| file.file_name().to_string_lossy().contains(".sort-"));
        files
            .map(|file| file.metadata().expect("facts").len())
            .sum::<u64>()
    };
    // From the list, then from the catalog.
    for from_list in [true, false] {
        rig.journal.clear();
        let run = rig.open().expect("it opens");
        let report = run.list(&request).expect("a listing");
        run.repository().close().expect("closed");
        assert_eq!(rig.gets().contains(&List), from_list);
        assert!(spilled() > 250 * many, "{} bytes", spilled());
        let (mut last, mut count) = (String::new(), 0);
        let outcome = report.files.each(|file| {
            assert!(file.path > last && file.sizes == [Some(-1)]);
            last = file.path;
            count += 1;
            Ok(())
        });
        outcome.expect("what was found");
        assert_eq!(count, many);
        drop(report);
        assert_eq!(spilled(), 0);
    }
}
