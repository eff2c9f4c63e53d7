//! Getting space back: what goes and what stays. Trouble at every call is met in the matrix.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use larder_destination::{
    About, Body, Clock as _, Destination, Download, ErrorKind, Existing, Operation, RemoteFile,
    Result as Given,
};
use larder_engine::{CompactReport, Error};
use larder_options::Origin::CommandLine;
use larder_testkit::{Failure, MemoryDestination, Rng};
use larder_volume::VolumeKind::{Blocks, Index, List};
use larder_volume::{Compression, Packed};

use crate::rig::{Rig, chain, later};

type Change = Box<dyn Fn(&MemoryDestination) + Send + Sync>;

/// Changes the destination before one of its listings.
struct BetweenListings {
    inner: MemoryDestination,
    /// Listings until then.
    left: AtomicI64,
    change: Change,
}

#[async_trait]
impl Destination for BetweenListings {
    fn about(&self) -> &About {
        self.inner.about()
    }

    fn list(&self) -> BoxStream<'_, Given<RemoteFile>> {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            (self.change)(&self.inner);
        }
        self.inner.list()
    }

    async fn get(&self, name: &str) -> Given<Download> {
        self.inner.get(name).await
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Given<()> {
        self.inner.put(name, body, existing).await
    }

    async fn delete(&self, name: &str) -> Given<()> {
        self.inner.delete(name).await
    }

    async fn create_folder(&self) -> Given<()> {
        self.inner.create_folder().await
    }
}

/// Versions that each add a file and lose that of the version before; each has a data file of its own.
fn with_versions(count: u64) -> Rig {
    let mut rig = Rig::new();
    rig.fill(31, 6, 20_000);
    add_versions(&mut rig, 0..count);
    rig
}

fn add_versions(rig: &mut Rig, numbers: std::ops::Range<u64>) {
    for number in numbers {
        rig.write("changes", Rng::new(number).bytes(9000));
        rig.write(
            &format!("kept {number}"),
            Rng::new(1000 + number).bytes(2000),
        );
        rig.backup();
    }
}

fn compact(rig: &mut Rig) -> Result<CompactReport, Error> {
    let run = rig.open()?;
    let outcome = run.compact();
    run.repository().close().expect("the catalog closes");
    outcome
}

fn compacted(rig: &mut Rig) -> CompactReport {
    match compact(rig) {
        Ok(report) => report,
        Err(error) => panic!("the compaction failed: {}", chain(&error)),
    }
}

/// Deletes versions by their numbers without compacting.
fn delete(rig: &mut Rig, numbers: &str) {
    let values = rig.values.clone();
    rig.set("version", numbers);
    rig.set("no-auto-compact", "true");
    let run = rig.open().expect("it opens");
    let report = run.delete().expect("a deletion");
    run.repository().close().expect("the catalog closes");
    rig.values = values;
    let count = rig.versions.len();
    for set in report.deleted_sets.iter() {
        let number = usize::try_from(set.number).expect("a number");
        rig.versions.remove(count - 1 - number);
    }
}

fn a_day_later(rig: &Rig) {
    let now = u64::try_from(rig.clock.seconds()).expect("a time after 1970");
    rig.clock.set(now + 90_000);
}

/// Every version restores, here and elsewhere, and the set keeps its rules.
fn check(rig: &mut Rig, when: &str) {
    rig.check_set(when);
    rig.check_nothing_twice(when);
    rig.check_all(when);
    rig.check_all_elsewhere(when);
}

/// The blocks of all data files, packed as they are.
fn packed_blocks(rig: &Rig) -> std::collections::BTreeMap<String, Packed> {
    let mut found = std::collections::BTreeMap::new();
    for name in rig.names(Blocks) {
        let bytes = rig.store.files()[&name].to_vec();
        let archive = larder_volume::ArchiveReader::open(bytes, Compression::Zip).expect("a zip");
        for entry in archive.entries().filter(|entry| entry.name != "manifest") {
            let packed = archive.read_packed(entry, 1 << 20).expect("a block");
            found.insert(entry.name.to_string(), packed);
        }
    }
    found
}

#[test]
fn what_no_version_uses_goes_without_a_download() {
    let mut rig = Rig::new();
    rig.write("changes", Rng::new(1).bytes(9000));
    rig.backup();
    rig.write("changes", Rng::new(2).bytes(9000));
    rig.backup();
    let first = rig.written_by(0, Blocks);
    let values = rig.values.clone();
    rig.set("version", "1");
    // The metadata of the folder and of nothing else is used on.
    rig.set("threshold", "100");
    rig.journal.clear();
    let run = rig.open().unwrap();
    let report = run.delete().unwrap();
    run.repository().close().unwrap();
    rig.values = values;
    rig.versions.remove(0);
    let results = report.compact_results.expect("it was looked");
    assert_eq!(results.downloaded_file_count, 0);
    // The list that stays was looked at.
    assert_eq!(rig.gets(), [List]);
    assert!(
        results.data_files == 2 && results.wasted_size > 0,
        "{results:?}"
    );
    // Its folder's metadata may have been the same.
    if results.deleted_file_count > 0 {
        assert!(!rig.names(Blocks).contains(&first));
    }
    check(&mut rig, "after a deletion");
}

#[test]
fn whole_data_files_go_with_their_indexes() {
    let mut rig = with_versions(1);
    // A version with a data file that has nothing of use to the next one.
    rig.write("once", Rng::new(7).bytes(50_000));
    rig.backup();
    std::fs::remove_file(rig.source().join("once")).unwrap();
    rig.backup();
    let (data, index) = (rig.written_by(1, Blocks), rig.written_by(1, Index));
    delete(&mut rig, "1");
    rig.set("threshold", "100");
    rig.journal.clear();
    let report = compacted(&mut rig);
    assert_eq!(rig.log.complaints(), [""; 0]);
    assert!(rig.gets().is_empty(), "{:?}", rig.gets());
    assert_eq!(rig.journal.names(Operation::Delete), [data, index]);
    assert_eq!(report.results.deleted_file_count, 2);
    assert!(report.results.deleted_file_size > 50_000);
    check(&mut rig, "after a compaction");
    assert_eq!(rig.test_all().damaged(), 0);
    // Nothing is left to do.
    let report = compacted(&mut rig);
    assert_eq!(report.results.deleted_file_count, 0);
    assert_eq!(report.results.held_back, None);
}

#[test]
fn wasteful_data_files_are_joined_and_blocks_stay_as_they_are() {
    let mut rig = with_versions(6);
    delete(&mut rig, "1-4");
    let before = packed_blocks(&rig);
    let data = rig.names(Blocks);
    rig.set("threshold", "20");
    let report = compacted(&mut rig);
    let results = &report.results;
    assert!(results.downloaded_file_count >= 2, "{results:?}");
    assert_eq!(results.uploaded_file_count, 2, "one pair: {results:?}");
    assert!(results.deleted_file_size > results.uploaded_file_size);
    assert!(rig.names(Blocks).len() < data.len());
    check(&mut rig, "after joining");
    for (name, packed) in packed_blocks(&rig) {
        assert!(before[&name] == packed, "{name} was packed anew");
    }
    rig.log.clear();
    assert_eq!(rig.test_all().damaged(), 0);
    rig.write("changes", "x");
    rig.backup();
    assert_eq!(rig.log.complaints(), [""; 0]);
    assert_eq!(compacted(&mut rig).results.deleted_file_count, 0);
}

#[test]
fn small_data_files_are_joined_by_a_backup() {
    let mut rig = with_versions(3);
    rig.set("small-file-max-count", "3");
    rig.journal.clear();
    add_versions(&mut rig, 3..4);
    assert_eq!(rig.names(Blocks).len(), 1);
    check(&mut rig, "after four");
    add_versions(&mut rig, 4..5);
    assert_eq!(rig.names(Blocks).len(), 2);
    rig.set("no-auto-compact", "true");
    rig.set("small-file-max-count", "1");
    add_versions(&mut rig, 5..6);
    assert_eq!(rig.names(Blocks).len(), 3);
    // An interval holds for what runs do by themselves.
    rig.set("no-auto-compact", "false");
    rig.set("auto-compact-interval", "1D");
    add_versions(&mut rig, 6..7);
    assert_eq!(rig.names(Blocks).len(), 4);
    a_day_later(&rig);
    add_versions(&mut rig, 7..8);
    assert_eq!(rig.names(Blocks).len(), 1);
    check(&mut rig, "after a day");
}

/// A set of volumes of another size must not be written anew as a whole because nobody says how large they are.
#[test]
fn volumes_of_any_size_count_as_full_when_no_size_is_given() {
    let mut rig = Rig::new();
    rig.set("concurrency-max-threads", "1");
    rig.write("large", Rng::new(1).bytes(8 << 20));
    rig.backup();
    let data = rig.names(Blocks);
    assert!(data.len() > 7, "{}", data.len());
    rig.values.unset("dblock-size", CommandLine);
    for keep_state in [true, false] {
        if !keep_state {
            rig.lose_state();
        }
        let results = compacted(&mut rig).results;
        assert_eq!(results.deleted_file_count, 0, "{keep_state}: {results:?}");
    }
    assert_eq!(rig.names(Blocks), data);
    rig.set("dblock-size", "6mb");
    compacted(&mut rig);
    assert_eq!(rig.names(Blocks).len(), 2);
    check(&mut rig, "in larger volumes");
}

#[test]
fn a_dry_run_tells_the_plan_and_fetches_nothing() {
    let mut rig = with_versions(6);
    delete(&mut rig, "1-4");
    let files = rig.store.names();
    rig.set("threshold", "20");
    rig.set("dry-run", "true");
    rig.journal.clear();
    let report = compacted(&mut rig);
    assert_eq!(rig.store.names(), files);
    assert!(rig.gets().is_empty(), "{:?}", rig.gets());
    assert!(report.results.dryrun && report.results.deleted_file_count >= 4);
    let said = rig.log.texts().join("\n");
    for words in ["Would download remote file: ", "Would delete remote file: "] {
        assert!(said.contains(words), "{said}");
    }
    let foretold = report.results;
    rig.set("dry-run", "false");
    let done = compacted(&mut rig).results;
    assert_eq!(
        (foretold.deleted_file_count, foretold.downloaded_file_count),
        (done.deleted_file_count, done.downloaded_file_count)
    );
    assert_eq!(foretold.deleted_file_size, done.deleted_file_size);
}

#[test]
fn nothing_goes_while_a_list_cannot_be_read() {
    for (damage, keep_state) in [("cut", true), ("cut", false), ("gone", true)] {
        let mut rig = with_versions(6);
        delete(&mut rig, "1-2");
        let list = rig.names(List).remove(0);
        match damage {
            "cut" => assert!(rig.store.truncate(&list, 100)),
            _ => drop(rig.store.remove(&list).unwrap()),
        }
        if !keep_state {
            rig.lose_state();
        }
        rig.set("threshold", "1");
        let files = rig.store.names();
        let report = compacted(&mut rig);
        assert!(report.results.held_back.is_some(), "{damage} {keep_state}");
        assert_eq!(rig.log.count("CompactHeldBack"), 1);
        assert_eq!(rig.store.names(), files, "{damage} {keep_state}");
    }
}

#[test]
fn a_damaged_data_file_stays_and_the_others_go() {
    let mut rig = with_versions(6);
    delete(&mut rig, "1-4");
    let bad = rig.written_by(2, Blocks);
    let len = rig.store.files()[&bad].len();
    rig.store.insert(&bad, vec![0; len]);
    rig.set("threshold", "20");
    let report = compacted(&mut rig);
    assert_eq!(report.results.files_left_alone, 1);
    assert!(rig.names(Blocks).contains(&bad));
    assert!(report.results.deleted_file_count > 0);
    assert!(rig.log.count("DamagedVolume") >= 1);
    // What it hurts is told, and what the sources have is stored again; then it goes as well.
    rig.write("changes", "x");
    rig.try_backup().unwrap();
    rig.log.clear();
    let report = compacted(&mut rig);
    assert_eq!(rig.log.complaints(), [""; 0]);
    assert!(report.results.deleted_file_count >= 2, "{report:?}");
    assert!(!rig.names(Blocks).contains(&bad));
    check(&mut rig, "after the damaged one went");
    assert_eq!(rig.test_all().damaged(), 0);
}

/// A volume that was cut is stored again by a backup; the rest of it must go at some time.
#[test]
fn a_data_file_that_was_found_damaged_goes_when_nothing_of_it_is_missed() {
    let mut rig = with_versions(3);
    let bad = rig.written_by(2, Blocks);
    let len = rig.store.files()[&bad].len();
    rig.store.insert(&bad, vec![0; len]);
    assert_eq!(rig.test_all().damaged(), 1);
    let report = compacted(&mut rig);
    assert_eq!(report.results.deleted_file_count, 0, "it is missed");
    rig.try_backup().unwrap();
    rig.log.clear();
    compacted(&mut rig);
    assert!(!rig.names(Blocks).contains(&bad));
    assert_eq!(rig.log.complaints(), [""; 0]);
    assert_eq!(rig.test_all().damaged(), 0);
    check(&mut rig, "after the mend");
}

#[test]
fn what_may_not_be_removed_stays_and_costs_nothing() {
    let mut rig = with_versions(6);
    delete(&mut rig, "1-4");
    rig.set("threshold", "20");
    rig.set("number-of-retries", "0");
    let data = rig.names(Blocks);
    rig.plan
        .push(Operation::Delete, Failure::Before(ErrorKind::Locked));
    compacted(&mut rig);
    rig.plan.clear();
    assert_eq!(rig.log.count("VolumeNotRemoved"), 1);
    assert_eq!(rig.log.complaints(), [""; 0]);
    let stayed = rig
        .names(Blocks)
        .into_iter()
        .filter(|name| data.contains(name));
    assert!(stayed.count() >= 1);
    rig.check_all("one stayed");
    rig.check_all_elsewhere("one stayed");
    // It is tried again; what it holds is looked at where it is read from.
    rig.journal.clear();
    compacted(&mut rig);
    assert_eq!(rig.gets(), [Blocks]);
    check(&mut rig, "then it went");
}

/// Another machine may have stored them a minute ago for a version that comes next.
#[test]
fn nothing_goes_while_another_machine_may_be_at_work() {
    let mut rig = with_versions(2);
    let list = rig.newest_list();
    // Nothing but the list is missing of the last version.
    let bytes = rig.store.files()[&list].clone();
    let _ = rig.store.remove(&list).unwrap();
    let held = rig.versions.pop().unwrap();
    let data = rig.names(Blocks);
    let mut other = rig.other_machine();
    other.set("threshold", "1");
    // Files in memory are of the year 2023.
    other.clock.set(1_700_000_100);
    let report = compacted(&mut other);
    assert_eq!(report.results.deleted_file_count, 0);
    assert_eq!(other.names(Blocks), data);
    let why = report.results.held_back.expect("a reason");
    assert!(why.contains("another machine may be at work"), "{why}");
    // It arrives after all.
    rig.store.insert(&list, bytes);
    rig.versions.push(held);
    rig.check_all_elsewhere("after the list came");
    let _ = rig.store.remove(&list).unwrap();
    rig.versions.pop();
    other.clock.set(1_700_000_100 + 90_000);
    compacted(&mut other);
    assert_eq!(rig.names(Blocks).len(), 1);
    rig.check_all_elsewhere("a day later");
}

/// A backup whose list is sent, with an answer that gets lost, and that is not there yet.
fn backup_without_answer(rig: &mut Rig, seed: u64) -> (String, bytes::Bytes) {
    rig.write("changes", Rng::new(seed).bytes(9000));
    // Those of its data and its index go through.
    let goes = || Failure::Watch(Arc::new(|_, _| ()));
    [goes(), goes(), Failure::After(ErrorKind::Network)]
        .into_iter()
        .for_each(|put| rig.plan.push(Operation::Put, put));
    rig.set("number-of-retries", "0");
    rig.try_backup().unwrap_err();
    let list = rig.newest_list();
    let bytes = rig.store.remove(&list).unwrap();
    (list, bytes)
}

/// The server stores it only after a compact.
#[test]
fn a_list_of_an_interrupted_run_that_comes_late_finds_what_it_uses() {
    let mut rig = with_versions(2);
    let known = rig.newest_list();
    let (list, bytes) = backup_without_answer(&mut rig, 77);
    assert_ne!(list, known, "the list was sent");
    let data = rig.names(Blocks);
    rig.set("threshold", "1");
    let report = compacted(&mut rig);
    let why = report.results.held_back.expect("a reason");
    assert!(why.contains(&list), "{why}");
    assert_eq!(rig.log.complaints(), [""; 0]);
    assert_eq!(rig.names(Blocks), data);
    // It arrives after all.
    let without = rig.fork();
    rig.store.insert(&list, bytes);
    assert_eq!(rig.other_machine().test_all().damaged(), 0);
    // Or it never does.
    let mut rig = without;
    later(&rig, 3600);
    let report = compacted(&mut rig);
    assert_eq!(report.results.held_back, None);
    assert!(rig.names(Blocks).len() < data.len());
    rig.check_all_elsewhere("an hour later");
}

#[test]
fn each_list_that_may_arrive_is_waited_for() {
    let mut rig = with_versions(2);
    let (first, _) = backup_without_answer(&mut rig, 77);
    let (second, bytes) = backup_without_answer(&mut rig, 78);
    assert_ne!(first, second);
    rig.set("threshold", "1");
    assert!(compacted(&mut rig).results.held_back.is_some());
    rig.store.insert(&second, bytes);
    let why = compacted(&mut rig).results.held_back.expect("a reason");
    assert!(why.contains(&first), "{why}");
    later(&rig, 3600);
    assert_eq!(compacted(&mut rig).results.held_back, None);
}

/// It stores partial versions on its way, so that all its volumes are in use. What it goes on with may be in old ones.
#[test]
fn nothing_goes_while_the_partial_version_of_another_machine_is_young() {
    let mut rig = with_versions(6);
    delete(&mut rig, "1-4");
    let (list, data) = (rig.newest_list(), rig.names(Blocks));
    let partial = crate::forge::as_partial(&rig.store.files()[&list]);
    rig.store.insert(&list, partial);
    let mut other = rig.other_machine();
    other.set("threshold", "1");
    other.clock.set(1_700_000_100);
    let report = compacted(&mut other);
    let why = report.results.held_back.expect("a reason");
    assert!(
        why.contains(&list) && why.contains("another machine may be at work"),
        "{why}"
    );
    assert_eq!(other.names(Blocks), data);
    other.clock.set(1_700_000_100 + 90_000);
    compacted(&mut other);
    assert!(other.names(Blocks).len() < data.len());
    rig.check_all_elsewhere("a day later");
}

/// An index that does not tell all that is in its data file.
#[test]
fn blocks_that_no_index_knows_of_are_not_lost() {
    let mut rig = with_versions(6);
    delete(&mut rig, "1-4");
    let index = rig.written_by(0, Index);
    let bytes = rig.store.files()[&index].to_vec();
    rig.store
        .insert(&index, crate::forge::with_fewer_blocks(&index, &bytes));
    rig.lose_state();
    a_day_later(&rig);
    rig.set("threshold", "20");
    compacted(&mut rig);
    rig.check_all("after a compaction with a poor index");
    rig.check_all_elsewhere("after a compaction with a poor index");
    assert_eq!(rig.test_all().damaged(), 0);
}

#[test]
fn a_run_does_no_more_than_it_may_and_the_next_goes_on() {
    let mut rig = with_versions(8);
    delete(&mut rig, "1-6");
    rig.set("threshold", "20");
    rig.set("concurrency-max-threads", "1");
    rig.set("compact-max-bytes", "1b");
    let mut rounds = 0;
    loop {
        let results = compacted(&mut rig).results;
        if results.deleted_file_count == 0 {
            break;
        }
        assert!(results.downloaded_file_count <= 1, "{results:?}");
        check(&mut rig, "in between");
        rounds += 1;
        assert!(rounds < 20, "it does not end");
    }
    assert!(rounds > 1);
    assert!(rig.log.count("CompactBudgetUsed") > 0);
}

#[test]
fn containers_and_methods_change_on_the_way() {
    for (from, to) in [("zip", "tzstd"), ("tzstd", "zip"), ("tgz", "tgz")] {
        let mut rig = Rig::new();
        rig.set("compression-module", from);
        rig.fill(31, 6, 20_000);
        rig.write("large", Rng::new(5).bytes(90_000));
        add_versions(&mut rig, 0..5);
        delete(&mut rig, "1-3");
        rig.set("compression-module", to);
        rig.set("threshold", "5");
        let report = compacted(&mut rig);
        assert!(report.results.downloaded_file_count > 1, "{from} to {to}");
        rig.check_all(&format!("{from} to {to}"));
        rig.check_all_elsewhere(&format!("{from} to {to}"));
        assert_eq!(rig.test_all().damaged(), 0, "{from} to {to}");
    }
}

#[test]
fn encrypted_sets_and_sets_without_indexes_are_compacted() {
    for policy in ["Full", "Lookup", "None"] {
        let mut rig = Rig::encrypted("a passphrase");
        rig.set("index-file-policy", policy);
        rig.fill(31, 6, 20_000);
        rig.write("large", Rng::new(5).bytes(90_000));
        add_versions(&mut rig, 0..5);
        delete(&mut rig, "1-3");
        rig.lose_state();
        a_day_later(&rig);
        rig.set("threshold", "5");
        let report = compacted(&mut rig);
        assert!(
            report.results.deleted_file_count > 1,
            "{policy}: {report:?}"
        );
        rig.check_all(policy);
        rig.check_all_elsewhere(policy);
        assert_eq!(rig.test_all().damaged(), 0, "{policy}");
    }
}

#[test]
fn a_set_without_versions_is_left_alone() {
    let mut rig = with_versions(1);
    let list = rig.newest_list();
    let _ = rig.store.remove(&list).unwrap();
    for keep_state in [true, false] {
        if !keep_state {
            rig.lose_state();
        }
        let error = compact(&mut rig).unwrap_err();
        assert_eq!(error.id(), Some("EmptyRemoteLocation"), "{}", chain(&error));
        assert_eq!(rig.names(Blocks).len(), 1);
    }
}

#[test]
fn all_goes_with_the_last_version() {
    let mut rig = with_versions(2);
    rig.set("version", "0-1");
    rig.set("allow-full-removal", "true");
    let run = rig.open().unwrap();
    run.delete().unwrap();
    run.repository().close().unwrap();
    assert_eq!(rig.store.names(), [""; 0]);
    rig.values.unset("version", CommandLine);
    rig.versions.clear();
    rig.backup();
    check(&mut rig, "a new beginning");
}

/// Encrypted data must not go out in clear in the place of what is removed.
#[test]
fn an_encrypted_set_gets_no_plain_volumes() {
    let mut rig = Rig::encrypted("a passphrase");
    rig.fill(31, 6, 20_000);
    add_versions(&mut rig, 0..5);
    delete(&mut rig, "1-3");
    rig.set("threshold", "5");
    rig.set("no-encryption", "true");
    let files = rig.store.names();
    let error = compact(&mut rig).unwrap_err();
    assert_eq!(error.id(), Some("EncryptionChanged"), "{}", chain(&error));
    assert_eq!(rig.store.names(), files);
}

/// A block lies in two volumes, and one of them is damaged without anybody knowing: the other one must not go.
#[test]
fn the_only_good_copy_stays() {
    for damaged in 0..2 {
        for keep_state in [true, false] {
            let mut rig = Rig::new();
            rig.write("file", Rng::new(1).bytes(20_000));
            rig.backup();
            let first = [rig.written_by(0, Blocks), rig.written_by(0, Index)];
            let kept = first.clone().map(|name| rig.store.remove(&name).unwrap());
            rig.lose_state();
            rig.write("other", "x");
            rig.backup();
            for (name, bytes) in first.iter().zip(kept) {
                rig.store.insert(name, bytes);
            }
            if !keep_state {
                rig.lose_state();
            }
            // Both are known, and then one of them is spoilt.
            rig.write("other", "y");
            rig.backup();
            a_day_later(&rig);
            let name = match damaged {
                0 => first[0].clone(),
                _ => rig.written_by(1, Blocks),
            };
            let len = rig.store.files()[&name].len();
            rig.store.insert(&name, vec![0; len]);
            rig.set("threshold", "0");
            rig.set("small-file-max-count", "0");
            for _ in 0..3 {
                compacted(&mut rig);
            }
            let mut other = rig.fork_at(&rig.store, None);
            let (target, _) = other.try_restore(0).unwrap();
            let file = std::fs::read(target.join("file")).expect("the file");
            assert!(file == Rng::new(1).bytes(20_000), "{damaged} {keep_state}");
        }
    }
}

/// Copies that nobody needs go once the others were looked at.
#[test]
fn what_is_stored_twice_goes_when_the_other_copy_was_checked() {
    let mut rig = Rig::new();
    rig.write("file", Rng::new(1).bytes(20_000));
    rig.backup();
    let first = [rig.written_by(0, Blocks), rig.written_by(0, Index)];
    let kept = first.clone().map(|name| rig.store.remove(&name).unwrap());
    rig.lose_state();
    rig.write("other", "x");
    rig.backup();
    for (name, bytes) in first.iter().zip(kept) {
        rig.store.insert(name, bytes);
    }
    rig.lose_state();
    a_day_later(&rig);
    rig.set("small-file-max-count", "0");
    for _ in 0..3 {
        compacted(&mut rig);
    }
    // And then there is nothing more to do.
    let results = compacted(&mut rig).results;
    assert_eq!(
        (results.uploaded_file_count, results.deleted_file_count),
        (0, 0)
    );
    check(&mut rig, "after the second copy went");
    assert_eq!(rig.test_all().damaged(), 0);
}

/// What others do between two listings of a run: they store a version, or one of the lists is not listed for a moment.
#[test]
fn nothing_goes_when_the_destination_changes_meanwhile() {
    let stored: Change = Box::new(|store| {
        store.insert("duplicati-20251009T230000Z.dlist.zip", vec![1; 100]);
    });
    let hidden: Change = Box::new(|store| {
        let lists = store
            .names()
            .into_iter()
            .filter(|name| name.contains("dlist"));
        for list in lists.take(1) {
            drop(store.remove(&list));
        }
    });
    for (what, change) in [("another list", stored), ("a list less", hidden)] {
        let mut rig = with_versions(6);
        delete(&mut rig, "1-4");
        // The catalog knows one version, as after a rebuild.
        rig.lose_state();
        a_day_later(&rig);
        rig.set("threshold", "5");
        let data = rig.names(Blocks);
        let between = BetweenListings {
            inner: rig.store.clone(),
            left: AtomicI64::new(1),
            change,
        };
        let run = rig.open_over(Arc::new(between), true).unwrap();
        let results = run.compact().unwrap().results;
        run.repository().close().unwrap();
        assert!(results.held_back.is_some(), "{what}: {results:?}");
        assert_eq!(results.deleted_file_count, 0, "{what}");
        assert!(
            data.iter().all(|name| rig.names(Blocks).contains(name)),
            "{what}"
        );
    }
}

/// One volume is wasteful, and a block of it is read from another one that is not: neither stays in work for ever.
#[test]
fn copies_do_not_make_endless_work() {
    let mut rig = Rig::new();
    rig.write("file", Rng::new(1).bytes(20_000));
    rig.write("gone soon", Rng::new(2).bytes(20_000));
    rig.backup();
    let first = [rig.written_by(0, Blocks), rig.written_by(0, Index)];
    let kept = first.clone().map(|name| rig.store.remove(&name).unwrap());
    rig.lose_state();
    std::fs::remove_file(rig.source().join("gone soon")).unwrap();
    rig.write("other", Rng::new(3).bytes(20_000));
    rig.backup();
    for (name, bytes) in first.iter().zip(kept) {
        rig.store.insert(name, bytes);
    }
    rig.lose_state();
    delete(&mut rig, "1");
    a_day_later(&rig);
    rig.set("threshold", "0");
    let mut last = None;
    for _ in 0..4 {
        last = Some(compacted(&mut rig).results);
        rig.check_all("in between");
    }
    let last = last.expect("four runs");
    assert_eq!(
        (last.uploaded_file_count, last.downloaded_file_count),
        (0, 0),
        "{last:?}"
    );
    check(&mut rig, "at the end");
}
