//! What a remote file holds, against what a restore without it loses.

use std::collections::BTreeSet;
use std::path::Path;

use larder_engine::{AffectedReport, RestoreRequest};
use larder_testkit::MemoryDestination;
use larder_testkit::tree::Kind;
use larder_volume::VolumeKind::{Blocks, Index, List};

use crate::rig::Rig;
use crate::support::{Fixture, User, fixture};

fn affected(user: &User, names: &[String]) -> AffectedReport {
    let report = user.run(&["--full-result"], |run| run.affected(names));
    let report = report.unwrap_or_else(|error| panic!("{error}\n{}", user.log.text()));
    assert!(report.unreadable_versions.is_empty());
    report
}

fn of_rig(rig: &mut Rig, names: &[&str]) -> AffectedReport {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let run = rig.open().expect("opened");
    let report = run.affected(&names).expect("an answer");
    run.repository().close().expect("the catalog closes");
    report
}

/// Files of the newest version that a restore without a volume cannot write, and entries that get no metadata.
fn lost_by_restore(
    set: &Fixture,
    store: &MemoryDestination,
    volume: &str,
    to: &Path,
) -> (BTreeSet<String>, u64) {
    let store = store.snapshot();
    assert!(store.remove(volume).is_some());
    let user = set.user(&store, &["--number-of-retries=0", "--restore-permissions"]);
    let request = RestoreRequest {
        patterns: Vec::new(),
        filters: Vec::new(),
        target: Some(to.to_owned()),
    };
    let report = user.run(&[], |run| run.restore(&request));
    let report = report.unwrap_or_else(|error| panic!("{error}\n{}", user.log.text()));
    let broken = report.broken_remote_files.into_iter().collect();
    (broken, report.entries_without_metadata)
}

/// In one of the sets no index repeats the blocklists of large files.
#[test]
fn what_would_be_lost_is_what_a_restore_without_the_volume_loses() {
    for set in ["index-none", "released-2.3.0.4"].map(fixture) {
        let store = set.destination();
        let user = set.user(&store, &[]);
        let volumes: Vec<String> = (store.names().into_iter())
            .filter(|name| name.contains(".dblock."))
            .collect();
        assert!(!volumes.is_empty(), "{}", set.name);
        let newest = set
            .versions
            .last()
            .and_then(Option::as_ref)
            .expect("a tree");
        let links = newest.entries.values();
        let links = links
            .filter(|entry| matches!(entry.kind, Kind::Link { .. }))
            .count() as u64;
        let mut all_lost = BTreeSet::new();
        for volume in &volumes {
            let report = affected(&user, std::slice::from_ref(volume));
            assert_eq!(report.unclear_entries, 0, "{} {volume}", set.name);
            let newest = report.filesets.iter().find(|version| version.version == 0);
            let lost_count = newest.map_or(0, |version| version.lost_count);
            let lost: BTreeSet<String> = (report.files.iter())
                .filter(|file| file.would_be_lost)
                .map(|file| file.path.clone())
                .collect();
            let folder = tempfile::tempdir().expect("a folder");
            let (broken, without_metadata) = lost_by_restore(&set, &store, volume, folder.path());
            // A link whose metadata is lost, where its target stands, is in neither figure.
            let told = broken.len() as u64 + without_metadata;
            let range = told..=told + links;
            assert!(
                range.contains(&lost_count),
                "{} {volume}: {lost_count} {range:?}",
                set.name
            );
            let unforeseen: Vec<_> = broken.difference(&lost).collect();
            assert!(
                unforeseen.is_empty(),
                "{} {volume}: {unforeseen:?}",
                set.name
            );
            all_lost.extend(lost);
        }
        assert!(all_lost.len() > 20, "{}", set.name);
    }
}

#[test]
fn what_another_volume_has_too_is_used_but_not_lost() {
    let mut rig = Rig::new();
    rig.fill(11, 8, 40_000);
    rig.backup();
    let first = rig.names(Blocks).remove(0);
    let index = rig.names(Index).remove(0);
    // The volume goes, the next backup stores everything again, and the volume comes back.
    let taken = [&first, &index].map(|name| (name.clone(), rig.store.remove(name).expect("there")));
    rig.edit(3, 4);
    rig.backup();
    let gone = of_rig(&mut rig, &[&first]);
    assert!(gone.remote_volumes[0].is_gone);
    for (name, content) in taken {
        rig.store.insert(&name, content);
    }
    let second = rig.names(Blocks).into_iter().find(|name| *name != first);
    let second = second.expect("another one");
    let of_first = of_rig(&mut rig, &[&first]);
    let volume = &of_first.remote_volumes[0];
    assert!(!volume.is_gone && volume.blocks > 40, "{volume:?}");
    // What only the first version has was not stored again.
    let only_here = volume.blocks - volume.blocks_elsewhere;
    assert!(only_here > 0 && only_here < volume.blocks / 2, "{volume:?}");
    assert!(of_first.lost_files_actual_length > 0);
    assert!(of_first.lost_files_actual_length < of_first.files_actual_length);
    let newest = &of_first.filesets[0];
    assert_eq!((newest.version, newest.lost_count), (0, 0));
    assert!(newest.file_count > 8, "{newest:?}");
    // Without both nothing is left.
    let of_both = of_rig(&mut rig, &[&first, &second]);
    assert_eq!(
        of_both.lost_files_actual_length,
        of_both.files_actual_length
    );
    assert_eq!(
        of_both.filesets[0].lost_count,
        of_both.filesets[0].file_count
    );
    assert_eq!(of_both.remote_volumes[0].blocks_elsewhere, 0);
    // It reads; nothing is changed.
    let before = rig.store.files();
    rig.journal.clear();
    of_rig(&mut rig, &[&first]);
    assert!(rig.store.files() == before);
    assert_eq!(rig.gets(), []);
}

#[test]
fn a_damaged_copy_does_not_count_as_another() {
    let mut rig = Rig::new();
    rig.fill(12, 8, 40_000);
    rig.backup();
    let first = rig.names(Blocks).remove(0);
    let index = rig.names(Index).remove(0);
    let taken = [&first, &index].map(|name| (name.clone(), rig.store.remove(name).expect("there")));
    // A change would give the folder another time, which only one of them has.
    rig.set("upload-unchanged-backups", "true");
    rig.backup();
    for (name, content) in taken {
        rig.store.insert(&name, content);
    }
    let mut others = rig.names(Blocks);
    others.retain(|name| *name != first);
    let of_first = of_rig(&mut rig, &[&first]);
    assert_eq!(of_first.lost_files_actual_length, 0, "{of_first:#?}");
    for other in &others {
        let len = rig.store.files()[other].len();
        for offset in (0..len).step_by(50) {
            assert!(rig.store.flip(other, offset));
        }
    }
    assert!(rig.test_all().damaged() > 0);
    let report = of_rig(&mut rig, &[&first]);
    assert!(report.lost_files_actual_length > 8, "{report:?}");
}

#[test]
fn a_list_has_all_entries_of_its_version() {
    let mut rig = Rig::new();
    rig.fill(13, 5, 5_000);
    rig.backup();
    rig.write("more", "1");
    rig.backup();
    let lists = rig.names(List);
    rig.lose_state();
    for (list, version) in lists.iter().zip([1, 0]) {
        let report = of_rig(&mut rig, &[list]);
        let [only] = report.filesets.as_slice() else {
            panic!("{report:?}");
        };
        let entries = rig.versions[usize::from(version == 0)].entries.len() as u64 + 1;
        assert_eq!(
            (only.version, only.file_count, only.lost_count),
            (version, entries, entries)
        );
        assert_eq!(report.files_actual_length, entries);
        assert_eq!(report.remote_volumes[0].version, Some(version));
    }
}
