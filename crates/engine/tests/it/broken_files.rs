//! Naming the files of which something is lost, and taking them out of the versions.

use larder_destination::Clock as _;
use larder_engine::{BrokenFilesReport, Error, PurgeReport};
use larder_testkit::Rng;
use larder_volume::VolumeKind::{Blocks, List};

use crate::rig::{Rig, chain, differences_of};

/// Three versions; the second alone has a file of its own, the first has one that all have.
fn three_versions() -> Rig {
    let mut rig = Rig::new();
    rig.fill(31, 4, 9000);
    rig.write("folder/of all", Rng::new(1).bytes(3000));
    backup(&mut rig);
    rig.write("only in the second", Rng::new(2).bytes(3000));
    backup(&mut rig);
    std::fs::remove_file(rig.source().join("only in the second")).unwrap();
    backup(&mut rig);
    rig
}

fn backup(rig: &mut Rig) {
    let now = u64::try_from(rig.clock.seconds()).expect("a time after 1970");
    rig.clock.set(now + 60);
    rig.backup();
}

fn list(rig: &mut Rig) -> BrokenFilesReport {
    let run = rig.open().expect("it opens");
    let outcome = run.list_broken_files();
    run.repository().close().expect("the catalog closes");
    match outcome {
        Ok(report) => report,
        Err(error) => panic!("{}", chain(&error)),
    }
}

fn try_purge(rig: &mut Rig) -> Result<PurgeReport, Error> {
    let run = rig.open()?;
    let outcome = run.purge_broken_files();
    run.repository().close().expect("the catalog closes");
    outcome
}

fn purge(rig: &mut Rig) -> PurgeReport {
    match try_purge(rig) {
        Ok(report) => report,
        Err(error) => panic!("{}", chain(&error)),
    }
}

/// Version and names below the source, as they are told.
fn told(rig: &Rig, report: &BrokenFilesReport) -> Vec<(u64, Vec<String>)> {
    let root = format!("{}/", rig.source().display());
    let names = |version: &larder_engine::BrokenVersion| {
        let files = version.files.iter();
        files.map(|file| file.path.replacen(&root, "", 1)).collect()
    };
    let versions = report.broken_files.iter();
    versions
        .map(|version| (version.number, names(version)))
        .collect()
}

#[test]
fn nothing_is_broken_in_a_whole_set() {
    let mut rig = three_versions();
    assert!(list(&mut rig).broken_files.is_empty());
    let lists = rig.names(List);
    assert_eq!(purge(&mut rig).rewritten_file_lists, 0);
    assert_eq!(rig.names(List), lists);
}

#[test]
fn a_lost_data_file_costs_what_is_named_and_no_more() {
    for keep_state in [true, false] {
        let mut rig = three_versions();
        let lost = rig.written_by(1, Blocks);
        let _ = rig.store.remove(&lost).unwrap();
        if !keep_state {
            rig.lose_state();
        }
        let report = list(&mut rig);
        // The root folder had a time of its own then.
        let expected = [(1, vec![String::new(), "only in the second".to_owned()])];
        assert_eq!(told(&rig, &report), expected, "{keep_state}");
        assert!(report.broken_files[0].files[0].only_metadata);
        assert!(!report.broken_files[0].files[1].only_metadata);
        let foretold = {
            rig.set("dry-run", "true");
            let lists = rig.names(List);
            let report = purge(&mut rig);
            assert_eq!(rig.names(List), lists);
            rig.set("dry-run", "false");
            report
        };
        let report = purge(&mut rig);
        for figures in [&foretold, &report] {
            assert_eq!(figures.rewritten_file_lists, 1);
            assert_eq!(
                (figures.removed_file_count, figures.removed_file_size),
                (1, 3000)
            );
            assert_eq!(figures.updated_file_count, 1);
        }
        rig.versions[1]
            .entries
            .remove(b"only in the second".as_slice());
        assert!(list(&mut rig).broken_files.is_empty());
        rig.log.clear();
        check_but_root(&mut rig, "after the purge");
        assert_eq!(rig.test_all().damaged(), 0, "{:?}", rig.log.complaints());
        backup(&mut rig);
        assert_eq!(rig.log.complaints(), [""; 0]);
        let mut other = rig.fork_at(&rig.store, None);
        check_but_root(&mut other, "elsewhere");
    }
}

/// All versions restore; of one the times of the root folder are lost.
fn check_but_root(rig: &mut Rig, when: &str) {
    for number in 0..rig.versions.len() {
        let (target, report) = rig.try_restore(number).unwrap();
        assert_eq!(report.common.errors, [""; 0], "{when}");
        let held = rig.versions[rig.versions.len() - 1 - number].clone();
        let found = larder_testkit::tree::Manifest::of(&target).unwrap();
        let mut differences = differences_of(&held, &found);
        differences.retain(|difference| !difference.starts_with("\"\": "));
        assert_eq!(differences, [""; 0], "{when}: {number}");
    }
}

#[test]
fn what_a_test_found_damaged_is_named_too() {
    let mut rig = three_versions();
    let bad = rig.written_by(1, Blocks);
    let len = rig.store.files()[&bad].len();
    rig.store.insert(&bad, vec![0; len]);
    assert!(list(&mut rig).broken_files.is_empty(), "nobody looked yet");
    assert_eq!(rig.test_all().damaged(), 1);
    let report = list(&mut rig);
    assert_eq!(told(&rig, &report)[0].1.len(), 2, "{report:?}");
    purge(&mut rig);
    assert!(list(&mut rig).broken_files.is_empty());
    // The damaged file is not needed any more, and gone with the compaction.
    assert!(!rig.names(Blocks).contains(&bad));
    assert_eq!(rig.test_all().damaged(), 0);
}

/// Where no index repeats the blocklists, which blocks a large file has is not known before they are read.
#[test]
fn a_large_file_whose_blocklist_no_index_repeats_is_named_too() {
    for policy in ["Lookup", "None"] {
        for keep_state in [true, false] {
            let mut rig = Rig::new();
            rig.set("index-file-policy", policy);
            let mut content = Rng::new(1).bytes(30_000);
            rig.write("large", &content);
            rig.write("other", "x");
            backup(&mut rig);
            content[20_000] ^= 1;
            rig.write("large", &content);
            backup(&mut rig);
            // The newer blocklist is in the data file that stays.
            let lost = rig.written_by(0, Blocks);
            let _ = rig.store.remove(&lost).unwrap();
            if !keep_state {
                rig.lose_state();
            }
            let when = format!("{policy}, state kept: {keep_state}");
            let report = list(&mut rig);
            let newest = report.broken_files.iter().find(|found| found.number == 0);
            let newest = newest.unwrap_or_else(|| panic!("{when}: {report:?}"));
            let is_large = |file: &larder_engine::BrokenFile| {
                file.path.ends_with("/large") && !file.only_metadata
            };
            assert!(newest.files.iter().any(is_large), "{when}: {newest:?}");
            purge(&mut rig);
            assert!(list(&mut rig).broken_files.is_empty(), "{when}");
            for version in 0..rig.names(List).len() {
                let (_, report) = rig.try_restore(version).unwrap();
                assert_eq!(report.broken_remote_files, [""; 0], "{when}: {version}");
            }
        }
    }
}

/// A data file is lost, and its index repeats the blocklist of a file whose blocks are all elsewhere.
#[test]
fn a_blocklist_that_only_an_index_has_stays() {
    let mut rig = Rig::new();
    rig.write("one block", vec![b'x'; 1024]);
    backup(&mut rig);
    let content = vec![b'x'; 32 << 10];
    rig.write("many of it", &content);
    backup(&mut rig);
    let lost = rig.written_by(1, Blocks);
    let _ = rig.store.remove(&lost).unwrap();
    rig.lose_state();
    purge(&mut rig);
    rig.set("threshold", "0");
    let run = rig.open().unwrap();
    run.compact().unwrap();
    run.repository().close().unwrap();
    let mut other = rig.fork_at(&rig.store, None);
    for (rig, place) in [(&mut rig, "here"), (&mut other, "elsewhere")] {
        let (target, report) = rig.try_restore(0).unwrap();
        assert_eq!(report.common.errors, [""; 0], "{place}");
        let found = std::fs::read(target.join("many of it"));
        assert!(found.expect(place) == content, "{place}");
    }
}

#[test]
fn metadata_may_be_kept_as_a_reason() {
    let mut rig = three_versions();
    let lost = rig.written_by(1, Blocks);
    let _ = rig.store.remove(&lost).unwrap();
    rig.set("disable-replace-missing-metadata", "true");
    let report = purge(&mut rig);
    assert_eq!(
        (report.removed_entry_count, report.updated_file_count),
        (2, 0)
    );
}

#[test]
fn a_version_of_which_nothing_is_left_is_deleted() {
    let mut rig = Rig::new();
    rig.write("one", Rng::new(1).bytes(3000));
    backup(&mut rig);
    std::fs::remove_file(rig.source().join("one")).unwrap();
    rig.write("two", Rng::new(2).bytes(3000));
    backup(&mut rig);
    let lost = rig.written_by(0, Blocks);
    let _ = rig.store.remove(&lost).unwrap();
    rig.set("disable-replace-missing-metadata", "true");
    let report = purge(&mut rig);
    assert_eq!(report.deleted_sets.len(), 1, "{report:?}");
    assert_eq!(rig.names(List).len(), 1);
    rig.versions.remove(0);
    rig.check_all("after the first went");
    rig.check_all_elsewhere("after the first went");
    // The last one stays, whatever it has lost.
    let lost = rig.written_by(1, Blocks);
    let _ = rig.store.remove(&lost).unwrap();
    let error = try_purge(&mut rig).unwrap_err();
    assert_eq!(error.id(), Some("AllFilesetsBroken"), "{}", chain(&error));
    assert_eq!(rig.names(List).len(), 1);
}

/// What an index leaves out is in the data file all the same.
#[test]
fn files_that_a_poor_index_hides_are_not_broken() {
    let mut rig = three_versions();
    for index in rig.names(larder_volume::VolumeKind::Index) {
        let bytes = rig.store.files()[&index].to_vec();
        let poor = crate::forge::with_fewer_blocks(&index, &bytes);
        rig.store.insert(&index, poor);
    }
    rig.lose_state();
    assert!(list(&mut rig).broken_files.is_empty());
    rig.lose_state();
    let lists = rig.names(List);
    assert_eq!(purge(&mut rig).rewritten_file_lists, 0);
    assert_eq!(rig.names(List), lists);
    rig.check_all("nothing was taken out");
}

/// A lost data file that no version uses is no loss once the blocklists were read.
#[test]
fn what_no_version_uses_is_not_missed_without_repeated_blocklists() {
    let mut rig = Rig::new();
    rig.set("index-file-policy", "Lookup");
    rig.write("large", Rng::new(1).bytes(30_000));
    backup(&mut rig);
    rig.write("large", Rng::new(2).bytes(30_000));
    // The folder gets a new time as well.
    rig.write("new", "new");
    backup(&mut rig);
    rig.lose_state();
    let values = rig.values.clone();
    rig.set("version", "1");
    rig.set("no-auto-compact", "true");
    let run = rig.open().unwrap();
    run.delete().unwrap();
    run.repository().close().unwrap();
    rig.values = values;
    rig.versions.remove(0);
    let lost = rig.written_by(0, Blocks);
    let _ = rig.store.remove(&lost).unwrap();
    rig.log.clear();
    assert!(list(&mut rig).broken_files.is_empty());
    rig.log.clear();
    rig.check_all("after a look at all files");
    assert_eq!(rig.log.complaints(), [""; 0]);
}
