//! What must not happen: writing with the wrong key, over somebody else's files, outside the target folder.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use larder_destination::{
    About, Body, Destination, Download, Existing, Extra, Leftovers, Operation, Ours, RemoteFile,
    Result,
};
use larder_engine::{Error, ListRequest, Repository, Samples};
use larder_testkit::{Failure, MemoryDestination, MemoryOptions, ReadOnly};
use larder_volume::VolumeKind::{Blocks, Index, List};

use crate::rig::{Rig, START, chain};

fn one_version(mut rig: Rig) -> Rig {
    rig.fill(51, 10, 20_000);
    rig.backup();
    rig.journal.clear();
    rig
}

/// Nothing was changed in the destination since the journal was cleared.
fn assert_nothing_written(rig: &Rig, when: &str) {
    for call in rig.journal.calls() {
        let harmless = matches!(
            call.operation,
            Operation::List | Operation::Get | Operation::Space
        );
        assert!(harmless, "{when}: {call}");
    }
}

fn refused(rig: &mut Rig, id: &str, when: &str) {
    let error = rig.try_backup().expect_err(when);
    assert_eq!(error.id(), Some(id), "{when}: {}", chain(&error));
    assert!(!error.hint().is_empty(), "{when}: no hint for {error}");
    assert_nothing_written(rig, when);
}

#[test]
fn an_emptied_destination_is_not_filled_again() {
    let mut rig = one_version(Rig::new());
    for name in rig.store.names() {
        let _ = rig.store.remove(&name).unwrap();
    }
    refused(&mut rig, "MissingRemoteFiles", "all files are gone");
    rig.store.insert("holiday.jpg", "a picture");
    refused(&mut rig, "MissingRemoteFiles", "only foreign files");
    let error = rig.try_restore(0).unwrap_err();
    assert_eq!(error.id(), Some("MissingRemoteFiles"));
    assert_nothing_written(&rig, "restore");
    // On purpose: without local state it is a new backup.
    rig.lose_state();
    rig.versions.clear();
    rig.backup();
    rig.check_all("after a new start");
}

#[test]
fn the_message_about_an_emptied_destination_names_other_prefixes() {
    let mut rig = one_version(Rig::new());
    for name in rig.store.names() {
        let content = rig.store.remove(&name).unwrap();
        rig.store
            .insert(&name.replace("duplicati-", "photos-"), content);
    }
    let error = rig.try_backup().unwrap_err();
    assert!(error.to_string().contains("photos"), "{error}");
}

/// An unmounted disk got an empty folder, which was then reported as an emptied backup.
#[test]
fn a_missing_folder_of_a_known_backup_is_not_created() {
    let mut rig = one_version(Rig::new());
    let gone = MemoryDestination::without_folder(MemoryOptions::default());
    let engine = rig.open_over(gone.shared(), true).unwrap();
    let error = engine.backup(&rig.request()).unwrap_err();
    assert_eq!(error.id(), Some("FolderMissing"), "{}", chain(&error));
    engine.repository().close().unwrap();
    let engine = rig.open_over(gone.shared(), true).unwrap();
    assert!(
        engine.backup(&rig.request()).is_err(),
        "the folder was created"
    );
    engine.repository().close().unwrap();
    rig.backup();
    rig.check_all("once the disk is back");
}

/// A disk that goes away in the middle of a first backup must not be replaced by a folder on the disk below it.
#[test]
fn a_folder_that_vanishes_during_a_first_backup_is_not_made_anew() {
    let mut rig = Rig::new();
    rig.set("concurrency-max-threads", "1");
    // A volume holds one of them.
    for number in 0..4 {
        let content = larder_testkit::Rng::new(number).bytes(700_000);
        rig.write(&format!("file {number}"), content);
    }
    rig.plan.skip(Operation::Put, 2);
    for _ in 0..9 {
        let gone = Failure::Before(larder_destination::ErrorKind::FolderMissing);
        rig.plan.push(Operation::Put, gone);
    }
    rig.journal.clear();
    let error = rig.try_backup().unwrap_err();
    assert_eq!(error.id(), Some("FolderMissing"), "{}", chain(&error));
    assert_eq!(rig.journal.count(Operation::CreateFolder), 0);
    assert!(rig.names(List).is_empty());
}

#[test]
fn a_wrong_passphrase_writes_nothing() {
    let mut base = one_version(Rig::encrypted("right"));
    // Leftovers that a run with the right passphrase would remove.
    base.write("more", "more");
    base.plan.push(
        Operation::Put,
        Failure::After(larder_destination::ErrorKind::Network),
    );
    base.backup();
    for lose in [false, true] {
        let mut rig = base.fork();
        if lose {
            rig.lose_state();
        }
        rig.passphrase = Some("wrong".to_owned());
        let when = format!("wrong passphrase, state lost: {lose}");
        refused(&mut rig, "WrongPassphrase", &when);
        refused(&mut rig, "WrongPassphrase", &format!("{when}, once more"));
        let error = rig.try_restore(0).unwrap_err();
        assert_eq!(error.id(), Some("WrongPassphrase"), "{when}");
        for operation in ["test", "repair", "list"] {
            let engine = rig.open().unwrap();
            let request = ListRequest {
                patterns: vec!["*".into()],
                ..ListRequest::default()
            };
            let outcome: std::result::Result<(), Error> = match operation {
                "test" => engine.test(Samples::All).map(|_| ()),
                "repair" => engine.repair().map(|_| ()),
                _ => engine.list(&request).map(|_| ()),
            };
            let error = outcome.expect_err(&when);
            assert_eq!(error.id(), Some("WrongPassphrase"), "{when}: {operation}");
            engine.repository().close().unwrap();
        }
        assert_nothing_written(&rig, &when);
        rig.passphrase = None;
        refused(&mut rig, "PassphraseMissing", "no passphrase");
        // No harm was done.
        rig.passphrase = Some("right".to_owned());
        rig.check_all(&when);
        rig.backup();
    }
}

#[test]
fn a_wrong_passphrase_is_seen_even_when_the_smallest_files_are_damaged() {
    for lose in [false, true] {
        let mut rig = one_version(Rig::encrypted("right"));
        for name in rig.names(Index) {
            assert!(rig.store.truncate(&name, 10));
        }
        if lose {
            rig.lose_state();
        }
        rig.passphrase = Some("wrong".to_owned());
        rig.write("new", "new");
        rig.try_backup().unwrap_err();
        assert_nothing_written(&rig, "damaged index, wrong passphrase");
        rig.passphrase = Some("right".to_owned());
        rig.backup();
        rig.check_all("with the right passphrase again");
    }
}

#[test]
fn a_clock_set_back_is_refused() {
    let mut rig = one_version(Rig::new());
    let _ = rig.store.remove(&rig.names(Index)[0]).unwrap();
    rig.write("new", "new");
    rig.clock.set(START - 3600);
    refused(&mut rig, "ClockSetBack", "an hour back");
    // A few seconds are waited for, and versions stay in order.
    rig.clock.set(START - 3);
    rig.backup();
    let lists = rig.names(List);
    assert_eq!(lists.len(), 2);
    rig.check_all("after a little wait");
    for n in 0..3 {
        rig.write("new", format!("{n}"));
        rig.clock.set(START + 1);
        rig.backup();
    }
    assert_eq!(rig.names(List).len(), 5);
    rig.check_all("several in the same second");
}

#[test]
fn encryption_is_not_changed_by_the_way() {
    let mut rig = one_version(Rig::encrypted("secret"));
    rig.write("new", "new");
    rig.set("no-encryption", "true");
    refused(&mut rig, "EncryptionChanged", "encrypted to plain");
    rig.lose_state();
    refused(
        &mut rig,
        "EncryptionChanged",
        "encrypted to plain, no state",
    );
    let mut rig = one_version(Rig::new());
    rig.write("new", "new");
    rig.values
        .unset("no-encryption", larder_options::Origin::CommandLine);
    rig.passphrase = Some("secret".to_owned());
    refused(&mut rig, "EncryptionChanged", "plain to encrypted");
    rig.lose_state();
    refused(
        &mut rig,
        "EncryptionChanged",
        "plain to encrypted, no state",
    );
}

#[test]
fn fixed_parameters_are_not_changed_by_the_way() {
    for (option, value) in [
        ("blocksize", "2kb"),
        ("block-hash-algorithm", "SHA512"),
        ("file-hash-algorithm", "MD5"),
    ] {
        let mut rig = one_version(Rig::new());
        rig.write("new", "new");
        rig.set(option, value);
        refused(&mut rig, "ParameterMismatch", option);
        rig.lose_state();
        refused(&mut rig, "ParameterMismatch", option);
    }
}

/// The blocks of a first run that was killed are kept, so its parameters are as fixed as those of a whole one.
#[test]
fn fixed_parameters_hold_from_the_first_upload_on() {
    for lose in [false, true] {
        let mut rig = Rig::new();
        rig.fill(51, 10, 20_000);
        rig.plan
            .fail_after(3, Failure::Before(larder_destination::ErrorKind::Denied));
        rig.try_backup().unwrap_err();
        rig.plan.clear();
        assert_eq!(rig.store.names().len(), 2);
        if lose {
            rig.lose_state();
        }
        rig.journal.clear();
        rig.set("blocksize", "2kb");
        refused(&mut rig, "ParameterMismatch", "after a killed first run");
        rig.set("blocksize", "1kb");
        rig.backup();
        rig.check_all("after a killed first run");
    }
}

/// Changes listings on their way, and has unfinished uploads under all of [`UPLOADS`].
struct Listed {
    inner: MemoryDestination,
    change: fn(RemoteFile) -> Vec<RemoteFile>,
    /// The uploads that were to be ended.
    ours: Mutex<Vec<&'static str>>,
}

const UPLOADS: &[&str] = &[
    "duplicati-b0123456789abcdef0123456789abcdef.dblock.zip.aes",
    "duplicati-20240101T000000Z.dlist.zip",
    "other-b0123456789abcdef0123456789abcdef.dblock.zip.aes",
    "duplicati-verification.json",
    "duplicati-holiday.mp4",
    "holiday.mp4",
];

#[async_trait]
impl Destination for Listed {
    fn about(&self) -> &About {
        self.inner.about()
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        let change = self.change;
        self.inner
            .list()
            .flat_map(move |file| {
                let files: Vec<Result<RemoteFile>> = match file {
                    Ok(file) => change(file).into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error)],
                };
                futures_util::stream::iter(files)
            })
            .boxed()
    }

    async fn get(&self, name: &str) -> Result<Download> {
        self.inner.get(name).await
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        self.inner.put(name, body, existing).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.inner.delete(name).await
    }

    async fn create_folder(&self) -> Result<()> {
        self.inner.create_folder().await
    }

    fn extra(&self) -> Extra<'_> {
        Extra {
            leftovers: Some(self),
            ..self.inner.extra()
        }
    }
}

#[async_trait]
impl Leftovers for Listed {
    async fn remove_leftovers(&self, ours: Ours<'_>) -> Result<u64> {
        let found = UPLOADS.iter().filter(|name| ours(name));
        self.ours.lock().unwrap().extend(found);
        Ok(0)
    }
}

#[test]
fn unfinished_uploads_of_others_are_left_alone() {
    let mut rig = one_version(Rig::new());
    let way = Arc::new(Listed {
        inner: rig.store.clone(),
        ours: Mutex::default(),
        change: |file| vec![file],
    });
    for (prefix, expected) in [("duplicati", &UPLOADS[..2]), ("other", &UPLOADS[2..3])] {
        rig.set("prefix", prefix);
        let engine = rig.open_over(way.clone(), true).unwrap();
        engine.backup(&rig.request()).unwrap();
        engine.repository().close().unwrap();
        assert_eq!(std::mem::take(&mut *way.ours.lock().unwrap()), expected);
        rig.lose_state();
    }
}

#[test]
fn a_name_that_is_listed_twice_stops_nothing() {
    let mut rig = one_version(Rig::new());
    let before = rig.store.files();
    let doubled = Arc::new(Listed {
        inner: rig.store.clone(),
        ours: Mutex::default(),
        change: |file| vec![file.clone(), file],
    });
    let engine = rig.open_over(doubled, true).unwrap();
    let report = engine.backup(&rig.request()).unwrap();
    assert_eq!(report.common.warnings, Vec::<String>::new());
    engine.repository().close().unwrap();
    assert_eq!(rig.store.files(), before);
    // Of different sizes, it is told; what is read is verified in any case.
    let odd = Arc::new(Listed {
        inner: rig.store.clone(),
        ours: Mutex::default(),
        change: |file| {
            let size = file.size.map(|size| size + 1);
            vec![file.clone(), RemoteFile { size, ..file }]
        },
    });
    for lose in [false, true] {
        if lose {
            rig.lose_state();
        }
        let engine = rig.open_over(odd.clone(), true).unwrap();
        let report = engine.backup(&rig.request()).unwrap();
        let told = report.common.warnings.iter();
        let told = told.filter(|text| text.contains("DuplicateRemoteFiles"));
        assert_eq!(told.count(), 3, "{:?}", report.common.warnings);
        engine.repository().close().unwrap();
        assert_eq!(rig.store.files(), before, "state lost: {lose}");
    }
    // Double names of others are none of our business.
    rig.store.insert("holiday.jpg", "a picture");
    let doubled = Arc::new(Listed {
        inner: rig.store.clone(),
        ours: Mutex::default(),
        change: |file| match file.name.starts_with("duplicati") {
            true => vec![file],
            false => vec![file.clone(), file],
        },
    });
    let engine = rig.open_over(doubled, true).unwrap();
    engine.backup(&rig.request()).unwrap();
    engine.repository().close().unwrap();
}

/// Some services do not tell sizes; then an upload that was under way is not taken for whole.
#[test]
fn without_sizes_in_listings_nothing_unfinished_is_relied_on() {
    let sizeless = |rig: &Rig| {
        Arc::new(Listed {
            inner: rig.store.clone(),
            ours: Mutex::default(),
            change: |file| vec![RemoteFile { size: None, ..file }],
        })
    };
    let mut rig = Rig::new();
    rig.fill(52, 10, 20_000);
    // The data file is torn and the run dies before it hears of it.
    rig.plan.skip(Operation::Put, 0);
    rig.plan.push(
        Operation::Put,
        Failure::After(larder_destination::ErrorKind::Denied),
    );
    rig.try_backup().unwrap_err();
    let name = rig.names(Blocks)[0].clone();
    assert!(rig.store.truncate(&name, 5000));
    let destination = sizeless(&rig);
    let engine = rig.open_over(destination, true).unwrap();
    engine.backup(&rig.request()).unwrap();
    engine.repository().close().unwrap();
    rig.expect_present_source_since(0);
    rig.check_set("made without sizes");
    rig.check_all("made without sizes");
    let destination = sizeless(&rig);
    let engine = rig.open_over(destination, true).unwrap();
    let report = engine.backup(&rig.request()).unwrap();
    assert_eq!(report.version_time, None);
    assert_eq!(engine.test(Samples::All).unwrap().damaged(), 0);
    engine.repository().close().unwrap();
}

#[test]
fn two_runs_with_one_local_state_exclude_each_other() {
    let mut rig = one_version(Rig::new());
    let first = rig.open().unwrap();
    let Err(error) = rig.open() else {
        panic!("two engines with one state");
    };
    assert_eq!(error.id(), Some("BackupInUse"), "{error}");
    first.backup(&rig.request()).unwrap();
    first.repository().close().unwrap();
    rig.backup();
    // One that was dropped without being closed does not lock anybody out.
    drop(rig.open().unwrap());
    rig.backup();
    rig.check_all("after all that");
}

/// A reader beside a writer reads what the writer knows, not the destination again.
#[test]
fn a_copy_of_the_catalog_is_read_beside_a_running_backup() {
    let mut rig = one_version(Rig::new());
    let writer = rig.open().unwrap();
    writer.backup(&rig.request()).unwrap();
    let copy = rig.fast.path().join("copy/catalog.sqlite");
    std::fs::create_dir(copy.parent().unwrap()).unwrap();
    Repository::copy_catalog(rig.state(), &copy).unwrap();
    let own = rig.state().to_owned();
    rig.use_state(copy);
    rig.journal.clear();
    let reader = rig.open().unwrap();
    let versions = reader.list_filesets().unwrap().versions;
    assert_eq!(versions.len(), 1);
    assert_eq!(reader.test(Samples::Count(0)).unwrap().damaged(), 0);
    let fetched = rig.journal.count(Operation::Get);
    assert_eq!(fetched, 0, "{:?}", rig.journal.calls());
    reader.repository().close().unwrap();
    rig.write("later", "content");
    writer.backup(&rig.request()).unwrap();
    writer.repository().close().unwrap();
    rig.use_state(own);
    let report = rig.backup();
    assert_eq!(report.version_time, None, "the reader disturbed nothing");
}

#[test]
fn what_belongs_to_others_is_not_touched() {
    let mut rig = Rig::new();
    rig.fill(53, 10, 20_000);
    let foreign = [
        "photos-20240101T000000Z.dlist.zip",
        "photos-b0123456789abcdef0123456789abcdef.dblock.zip",
        "photos-ifedcba9876543210fedcba9876543210.dindex.zip",
        "duplicati-verification.json",
        "duplicati-b0123456789abcdef0123456789abcdef.dblock.zip.par2",
        "duplicati-20240101T000000Z.dlist.zip.par2",
        "duplicati-bxyz.dblock.zip",
        "holiday.jpg",
        "Duplicati-20240101T000000Z.dlist.zip",
    ];
    for name in foreign {
        rig.store.insert(name, format!("content of {name}"));
    }
    let mut other = rig.other_machine();
    other.set("prefix", "photos2");
    other.use_source(&rig);
    rig.backup();
    other.backup();
    rig.edit(1, 4);
    other.backup();
    rig.backup();
    for machine in [&mut rig, &mut other] {
        let engine = machine.open().unwrap();
        assert_eq!(engine.list_filesets().unwrap().versions.len(), 2);
        assert_eq!(engine.test(Samples::All).unwrap().damaged(), 0);
        engine.repair().unwrap();
        engine.repository().close().unwrap();
        machine.lose_state();
        machine.backup();
        for operation in [Operation::Delete, Operation::Rename] {
            assert_eq!(machine.journal.count(operation), 0);
        }
        for operation in [Operation::Get, Operation::Put] {
            for name in machine.journal.names(operation) {
                assert!(!foreign.contains(&name.as_str()), "{operation} {name}");
            }
        }
    }
    for name in foreign {
        let content = rig.store.files().get(name).cloned();
        assert_eq!(content, Some(format!("content of {name}").into()), "{name}");
    }
}

#[test]
fn another_machine_wrote_meanwhile() {
    let mut first = one_version(Rig::new());
    let mut second = first.other_machine();
    for round in 0..3 {
        first.edit(round, 4);
        second.versions.clone_from(&first.versions);
        second.backup();
        first.versions.clone_from(&second.versions);
        // Every kind of command of the first knows about it at once.
        let engine = first.open().unwrap();
        let versions = engine.list_filesets().unwrap().versions;
        assert_eq!(versions.len(), first.versions.len());
        engine.repository().close().unwrap();
        first.check_all("after another machine's backup");
        first.journal.clear();
        let report = first.backup();
        // The newest one is not from here, so there is another, of the same blocks.
        assert!(report.version_time.is_some());
        assert_eq!(first.puts(), [List]);
        first.edit(100 + round, 4);
        first.backup();
        assert_eq!(first.test_all().damaged(), 0);
    }
    assert_eq!(first.log.complaints(), Vec::<String>::new());
    assert_eq!(second.log.complaints(), Vec::<String>::new());
    first.check_set("written by two");
    first.check_nothing_twice("written by two");
    first.check_all_elsewhere("written by two");
}

#[test]
fn another_machine_removed_a_version_and_copied_blocks_meanwhile() {
    let mut first = one_version(Rig::new());
    first.edit(1, 5);
    first.backup();
    first.edit(2, 5);
    first.backup();
    // What delete does elsewhere: the oldest list is gone, and blocks are in another file as well.
    let mut second = Rig::new();
    second.use_source(&first);
    second.set("upload-unchanged-backups", "true");
    second.backup();
    let (blocks, index, list) = (
        second.written_by(0, Blocks),
        second.written_by(0, Index),
        first.names(List).remove(0),
    );
    let files = second.store.files();
    for name in [&blocks, &index] {
        first.store.insert(name, files[name].clone());
    }
    let _ = first.store.remove(&list).unwrap();
    first.versions.remove(0);
    first.written.remove(0);
    let unused = first.test_all();
    assert_eq!(
        unused.damaged(),
        0,
        "what another program removed is not missed: {unused:#?}"
    );
    first.journal.clear();
    assert_eq!(first.backup().version_time, None);
    assert_eq!(first.puts(), []);
    first.check_all("after versions were removed elsewhere");
}

#[test]
fn a_read_only_destination_says_so_and_loses_nothing() {
    let mut rig = one_version(Rig::new());
    rig.write("new", "new");
    let protected = Arc::new(ReadOnly::new(rig.store.shared()));
    let before = rig.store.files();
    let engine = rig.open_over(protected, true).unwrap();
    let error = engine.backup(&rig.request()).unwrap_err();
    assert_eq!(error.id(), Some("DestinationDenied"), "{}", chain(&error));
    engine.repository().close().unwrap();
    assert_eq!(rig.store.files(), before);
    rig.check_all("after a refused backup");
    rig.backup();
    rig.check_all("once it may be written");
}

#[test]
fn a_full_destination_says_so_and_loses_nothing() {
    let store = MemoryDestination::with_options(MemoryOptions {
        capacity: Some(60_000),
        ..MemoryOptions::default()
    });
    let mut rig = one_version(Rig::over(store));
    rig.write("too much", larder_testkit::Rng::new(1).bytes(100_000));
    let error = rig.try_backup().unwrap_err();
    assert_eq!(error.id(), Some("DestinationFull"), "{}", chain(&error));
    rig.check_all("with a full destination");
    std::fs::remove_file(rig.source().join("too much")).unwrap();
    rig.write("enough", "enough");
    rig.backup();
    rig.check_all("with less to store");
    rig.check_set("with less to store");
}

#[test]
fn no_source_is_no_backup() {
    let mut rig = one_version(Rig::new());
    let engine = rig.open().unwrap();
    let mut request = rig.request();
    request.sources.clear();
    let error = engine.backup(&request).unwrap_err();
    assert_eq!(error.id(), Some("NoSources"));
    engine.repository().close().unwrap();
    assert_nothing_written(&rig, "no source");
}

/// Temporary files of other programs were taken for volumes with an unknown encryption.
#[test]
fn files_named_like_volumes_but_for_their_ending_are_passed_over() {
    let mut rig = one_version(Rig::encrypted("secret"));
    let strays = [
        "duplicati-20990101T000000Z.dlist.zip.aes.tmp",
        "duplicati-b0123456789abcdef0123456789abcdef.dblock.zip.aes.partial",
        "duplicati-ifedcba9876543210fedcba9876543210.dindex.zip.filepart",
    ];
    for name in strays {
        rig.store.insert(name, "half of something");
    }
    for lose in [false, true] {
        if lose {
            rig.lose_state();
        }
        rig.journal.clear();
        rig.write("new", format!("{lose}"));
        rig.backup();
        for name in rig.journal.names(Operation::Get) {
            assert!(!strays.contains(&name.as_str()), "{name}");
        }
        assert_nothing_removed(&rig);
        assert!(rig.log.count("UnknownEnding") >= strays.len());
    }
    let engine = rig.open().unwrap();
    assert_eq!(engine.list_filesets().unwrap().versions.len(), 3);
    engine.repository().close().unwrap();
    assert_eq!(rig.test_all().damaged(), 0);
}

fn assert_nothing_removed(rig: &Rig) {
    assert_eq!(rig.journal.count(Operation::Delete), 0);
}

/// There is no remote lock (format spec 15.11), so this is not to be done; but nothing may be lost by it.
#[test]
fn another_machine_writes_in_the_middle_of_a_run() {
    let base = one_version(Rig::new());
    base.edit(1, 5);
    let calls = {
        let mut rig = base.fork();
        rig.backup();
        rig.plan.calls()
    };
    for n in 1..=calls {
        let mut first = base.fork();
        let mut second = first.other_machine();
        second.use_own_source();
        second.fill(60, 8, 20_000);
        second.clock = Arc::new(larder_engine::FixedClock::new(START + 3));
        let waiting = Arc::new(std::sync::Mutex::new(Some(second)));
        let hand_over = waiting.clone();
        first.plan.fail_at(
            n,
            Failure::Watch(Arc::new(move |_, _| {
                let mut second = hand_over.lock().unwrap();
                let rig = second.take().map(|mut rig| {
                    let run = std::thread::spawn(move || {
                        rig.backup();
                        rig
                    });
                    run.join().expect("the other machine's backup")
                });
                *second = rig;
            })),
        );
        let when = format!("another machine's whole backup before call {n}");
        first.backup();
        let second = waiting.lock().unwrap().take().expect("the other machine");
        // A data file may have two indexes now, which is allowed (format spec 4).
        let mut third = base.fork_at(&first.store, None);
        assert_eq!(third.test_all().damaged(), 0, "{when}");
        for (list, held) in [
            (second.written_by(1, List), &second.versions[1]),
            (base.written_by(0, List), &base.versions[0]),
            (
                first.newest_list_but(&second.written_by(1, List)),
                &first.versions[1],
            ),
        ] {
            let version = third
                .names(List)
                .iter()
                .rev()
                .position(|name| *name == list);
            let (target, _) = third.try_restore(version.expect(&when)).expect(&when);
            let found = larder_testkit::tree::Manifest::of(&target).unwrap();
            let differences = crate::rig::differences_of(held, &found);
            assert_eq!(differences, Vec::<String>::new(), "{when}, {list}");
        }
        // Both go on.
        first.clock.set(START + 200);
        first.write("afterwards", "afterwards");
        first.backup();
        let (target, report) = first.try_restore(0).expect(&when);
        assert_eq!(report.broken_remote_files, Vec::<String>::new());
        let found = larder_testkit::tree::Manifest::of(&target).unwrap();
        let held = first.versions.last().unwrap();
        assert_eq!(
            crate::rig::differences_of(held, &found),
            Vec::<String>::new(),
            "{when}"
        );
    }
}
