//! What is lost at the destination is told by every run until it is mended.

use larder_engine::ListRequest;
use larder_volume::VolumeKind::{Blocks, List};

use crate::rig::Rig;

/// Two versions: the first has a file that the sources lost since.
fn two_versions() -> (Rig, String) {
    let mut rig = Rig::new();
    rig.write("gone", larder_testkit::Rng::new(1).bytes(9_000));
    rig.write("kept", larder_testkit::Rng::new(2).bytes(9_000));
    rig.backup();
    let first = rig.names(Blocks).remove(0);
    std::fs::remove_file(rig.source().join("gone")).unwrap();
    rig.backup();
    (rig, first)
}

/// Runs each command once and says how often it told of a loss with this id.
fn told(rig: &mut Rig, id: &str) -> Vec<usize> {
    let mut counts = Vec::new();
    rig.log.clear();
    rig.try_backup().unwrap();
    counts.push(rig.log.count(id));
    rig.log.clear();
    let run = rig.open().unwrap();
    run.list(&ListRequest::default()).unwrap();
    drop(run);
    counts.push(rig.log.count(id));
    rig.log.clear();
    let run = rig.open().unwrap();
    run.repair().unwrap();
    drop(run);
    counts.push(rig.log.count(id));
    counts
}

#[test]
fn a_lost_data_file_is_told_until_it_is_back() {
    let (mut rig, name) = two_versions();
    let content = rig.store.remove(&name).unwrap();
    // The first backup stores again what the source still has; what it has not is missed for good.
    for _ in 0..2 {
        let counts = told(&mut rig, "MissingDataFile");
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
    let complaint = rig.log.complaints().join("\n");
    assert!(
        // The folder had another time then.
        complaint.contains(&name) && complaint.contains("it costs 2 files or folders of 1 version"),
        "{complaint}"
    );
    rig.store.insert(&name, content);
    told(&mut rig, "MissingDataFile");
    assert_eq!(told(&mut rig, "MissingDataFile"), [0, 0, 0]);
    rig.check_all("after the file came back");
}

#[test]
fn a_lost_data_file_that_no_version_needs_any_more_is_no_loss() {
    let mut rig = Rig::new();
    rig.write("file", larder_testkit::Rng::new(1).bytes(9_000));
    rig.backup();
    let name = rig.names(Blocks).remove(0);
    let _ = rig.store.remove(&name).unwrap();
    told(&mut rig, "MissingDataFile");
    // All that it held was stored again.
    assert_eq!(told(&mut rig, "MissingDataFile"), [0, 0, 0]);
}

#[test]
fn a_version_that_vanished_is_told_until_repair_took_note() {
    let (mut rig, _) = two_versions();
    let oldest = rig.names(List).remove(0);
    let _ = rig.store.remove(&oldest).unwrap();
    assert_eq!(told(&mut rig, "MissingVersion"), [1, 1, 1]);
    assert_eq!(told(&mut rig, "MissingVersion"), [0, 0, 0]);
}

/// A list sorts before the data files, and has no cost of its own.
#[test]
fn a_lost_data_file_is_told_beside_a_lost_list() {
    let (mut rig, name) = two_versions();
    rig.write("later", "x");
    rig.backup();
    let _ = rig.store.remove(&name).unwrap();
    let newest = rig.names(List).pop().unwrap();
    let _ = rig.store.remove(&newest).unwrap();
    rig.log.clear();
    let run = rig.open().unwrap();
    run.list(&ListRequest::default()).unwrap();
    drop(run);
    assert_eq!(rig.log.count("MissingVersion"), 1);
    for _ in 0..2 {
        let counts = told(&mut rig, "MissingDataFile");
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
}

#[test]
fn without_any_list_no_loss_is_taken_for_harmless() {
    let (mut rig, name) = two_versions();
    let content = rig.store.remove(&name).unwrap();
    let lists: Vec<_> = rig.names(List);
    let kept: Vec<_> = lists
        .iter()
        .map(|list| (list.clone(), rig.store.remove(list).unwrap()))
        .collect();
    let run = rig.open().unwrap();
    let _ = run.list_filesets();
    drop(run);
    for (list, bytes) in kept {
        rig.store.insert(&list, bytes);
    }
    let counts = told(&mut rig, "MissingDataFile");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    drop(content);
}
