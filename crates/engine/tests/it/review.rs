//! Runs that fail inside, versions that rest on what is not there, and times that tell too little.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use larder_destination::ErrorKind;
use larder_engine::{
    Cancel, ListRequest, Random, Repository, RestoreRequest, Samples, Setup, SystemRandom,
};
use larder_testkit::Failure;
use larder_volume::VolumeKind::{self, Blocks, Index};

use crate::forge::Forge;
use crate::rig::{Rig, chain};

/// Randomness that runs out.
struct Ending(AtomicUsize);

impl Random for Ending {
    fn fill(&self, buffer: &mut [u8]) -> std::io::Result<()> {
        if self.0.fetch_add(1, Ordering::SeqCst) < 1 {
            return SystemRandom.fill(buffer);
        }
        Err(std::io::Error::other("no more randomness"))
    }
}

/// A volume that cannot be begun while several threads work on one large file: the run ends, and says why.
#[test]
fn a_failure_in_the_middle_of_a_file_ends_the_run() {
    let rig = Rig::new();
    rig.write("large", larder_testkit::Rng::new(1).bytes(6 << 20));
    let engine = Repository::open(Setup {
        destination: rig.store.shared(),
        values: rig.values.clone(),
        passphrase: None,
        state_path: rig.state().to_owned(),
        clock: rig.clock.clone(),
        random: Arc::new(Ending(AtomicUsize::new(0))),
        writes: true,
        runtime: crate::rig::runtime(),
        foreign_database: None,
    })
    .unwrap()
    .run(rig.log.clone(), Cancel::new())
    .unwrap();
    let request = rig.request();
    let (done, waiting) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(engine.backup(&request).map(drop)));
    let outcome = waiting.recv_timeout(Duration::from_secs(60));
    let error = outcome.expect("the run ends").expect_err("no randomness");
    assert!(chain(&error).contains("no more randomness"), "{error}");
}

/// Local state and a data file with its index are lost together: nothing tells that blocks are missing but the list.
#[test]
fn a_version_after_a_rebuild_rests_only_on_stored_blocks() {
    let mut rig = Rig::new();
    rig.write("file", larder_testkit::Rng::new(2).bytes(5_000));
    rig.backup();
    for kind in [Blocks, Index] {
        for name in rig.names(kind) {
            rig.store.remove(&name).unwrap();
        }
    }
    rig.lose_state();
    rig.write("new file", "new");
    rig.backup();
    rig.check_all_elsewhere("after the loss");
    // Looked up once; from then on nothing is suspected.
    rig.log.clear();
    rig.backup();
    assert_eq!(rig.log.count("CheckingBlocks"), 0);
}

/// Without metadata only whole seconds are remembered; a change in the second of the backup must not be missed.
#[test]
fn a_change_in_the_second_of_the_backup_is_seen_without_metadata() {
    let mut rig = Rig::new();
    rig.set("skip-metadata", "true");
    let now = std::time::UNIX_EPOCH + Duration::from_secs(crate::rig::START + 1);
    let write = |rig: &Rig, text: &str, nanos: u32| {
        rig.write("file", text);
        let file = std::fs::File::options()
            .write(true)
            .open(rig.source().join("file"))
            .unwrap();
        file.set_modified(now + Duration::from_nanos(nanos.into()))
            .unwrap();
    };
    write(&rig, "before", 100_000_000);
    rig.backup();
    write(&rig, "after!", 900_000_000);
    let report = rig.backup();
    assert_eq!(report.modified_files, 1);
    // Later runs begin after that second and need not read it again once a version says so.
    rig.write("other", "something");
    rig.backup();
    let report = rig.backup();
    assert_eq!(report.version_time, None);
}

/// The newest list is damaged and nothing changed since: the state is stored again all the same.
#[test]
fn a_damaged_newest_list_is_replaced_by_a_new_version() {
    let mut rig = Rig::new();
    rig.write("file", "content");
    rig.backup();
    rig.set("upload-unchanged-backups", "true");
    rig.backup();
    rig.set("upload-unchanged-backups", "false");
    let newest = rig.newest_list();
    let len = rig.store.files()[&newest].len();
    assert!(rig.store.flip(&newest, len / 2));
    assert!(rig.store.truncate(&newest, len / 2));
    rig.lose_state();
    let report = rig.backup();
    assert!(report.version_time.is_some());
    rig.versions.remove(1);
    assert_eq!(rig.differences(0), Vec::<String>::new());
}

/// Without an index the blocks are learnt from the data file itself, where one bad block must not cost the others.
#[test]
fn a_bad_block_costs_its_file_only_without_an_index_too() {
    let mut rig = Rig::new();
    rig.set("index-file-policy", "None");
    for number in 0..6_u64 {
        rig.write(
            &format!("{number}"),
            larder_testkit::Rng::new(number).bytes(900),
        );
    }
    rig.backup();
    let volume = rig.written_by(0, VolumeKind::Blocks);
    let content = rig.store.files()[&volume].to_vec();
    // Random bytes are stored as they are.
    let wanted = larder_testkit::Rng::new(3).bytes(900);
    let at = content.windows(900).position(|window| window == wanted);
    assert!(rig.store.flip(&volume, at.expect("the block") + 450));
    rig.lose_state();
    let (target, report) = rig.try_restore(0).expect("a restore");
    assert_eq!(report.broken_remote_files.len(), 1, "{report:?}");
    assert!(report.broken_remote_files[0].ends_with("/3"), "{report:?}");
    assert_eq!(std::fs::read_dir(target).expect("the target").count(), 5);
    let told = rig.log.complaints();
    let told = told.iter().filter(|line| line.contains("DamagedBlock"));
    assert_eq!(told.count(), 1, "{:?}", rig.log.complaints());
}

/// A data file of another length than its index says is a loss after a rebuild as well: told by every run, fetched once.
#[test]
fn a_cut_data_file_is_a_loss_after_a_rebuild() {
    let mut rig = Rig::encrypted("secret");
    rig.fill(5, 10, 20_000);
    rig.backup();
    let volume = rig.written_by(0, VolumeKind::Blocks);
    let len = rig.store.files()[&volume].len();
    assert!(rig.store.truncate(&volume, len - 100));
    rig.lose_state();
    for run in 0..3 {
        rig.log.clear();
        rig.journal.clear();
        let engine = rig.open().expect("an engine");
        engine.list_filesets().expect("the versions");
        let report = engine.test(Samples::Count(0)).expect("a test");
        engine.repository().close().expect("closed");
        let found = report.verifications.iter();
        let found = found.filter(|v| v.file == volume && !v.findings.is_empty());
        assert_eq!(found.count(), 1, "run {run}: {:?}", rig.log.complaints());
        let fetched = rig
            .journal
            .calls()
            .iter()
            .filter(|call| format!("{call:?}").contains(&volume))
            .count();
        assert!(
            run == 0 || fetched == 0,
            "run {run}: {:?}",
            rig.journal.calls()
        );
    }
}

/// A list that vanishes while all are looked through costs its own version only.
#[test]
fn a_list_that_cannot_be_had_does_not_end_a_search() {
    let mut rig = Rig::new();
    rig.write("file", "one");
    rig.backup();
    for text in ["two, longer", "three", "four and last"] {
        rig.write("file", text);
        rig.backup();
    }
    let search = |rig: &mut Rig| {
        rig.lose_state();
        let engine = rig.open().expect("an engine");
        engine.list(&ListRequest {
            patterns: vec!["*".into()],
            all_versions: true,
            ..ListRequest::default()
        })
    };
    search(&mut rig).expect("nothing is wrong yet");
    let calls = rig.journal.calls().len() as u64;
    let mut told = 0;
    // The first call is the listing.
    for at in 2..=calls {
        rig.plan.clear();
        rig.log.clear();
        rig.plan.reset_calls();
        rig.plan.fail_at(at, Failure::Before(ErrorKind::NotFound));
        let report =
            search(&mut rig).unwrap_or_else(|error| panic!("call {at}: {}", chain(&error)));
        let files = report.files.to_vec().expect("what was found");
        let found = files.iter().any(|file| file.path.ends_with("/file"));
        assert!(found, "call {at}");
        told += rig.log.count("DamagedList");
    }
    assert!(told > 0, "no list was missed");
}

/// New folders and files without metadata of their own are as open as those that other programs make.
#[test]
fn what_has_no_metadata_gets_the_modes_of_new_files() {
    use std::os::unix::fs::PermissionsExt;
    let mut rig = Rig::new();
    rig.write("private/deep/file", "content");
    let closed = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(rig.source().join("private"), closed).expect("a mode");
    rig.backup();
    let made = rig.temp.path().join("made");
    std::fs::create_dir(&made).expect("a folder");
    std::fs::write(made.join("file"), "").expect("a file");
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path)
            .expect("an entry")
            .permissions()
            .mode()
            & 0o7777
    };
    let (folder, file) = (mode(&made), mode(&made.join("file")));
    rig.set("dont-compress-restore-paths", "true");
    let (target, _) = rig.try_restore_of(0, &["*/file"]).expect("a restore");
    let source = target.join(rig.source().strip_prefix("/").expect("a root"));
    assert_eq!(mode(&source.join("private")), folder);
    assert_eq!(mode(&source.join("private/deep")), folder);
    rig.set("skip-metadata", "true");
    let (target, _) = rig.try_restore(0).expect("a restore");
    let source = target.join(rig.source().strip_prefix("/").expect("a root"));
    assert_eq!(mode(&source.join("private")), folder);
    assert_eq!(mode(&source.join("private/deep/file")), file);
}

/// Damage that one test found is not forgotten by the next, which looks at other volumes.
#[test]
fn known_damage_is_a_finding_of_every_test() {
    let mut rig = Rig::new();
    rig.write("file", larder_testkit::Rng::new(9).bytes(900));
    rig.backup();
    let volume = rig.written_by(0, VolumeKind::Blocks);
    let wanted = larder_testkit::Rng::new(9).bytes(900);
    let content = rig.store.files()[&volume].to_vec();
    let at = content.windows(900).position(|window| window == wanted);
    assert!(rig.store.flip(&volume, at.expect("the block") + 450));
    assert_eq!(rig.test_all().damaged(), 1);
    rig.journal.clear();
    let engine = rig.open().expect("an engine");
    let report = engine.test(Samples::Count(0)).expect("a test");
    engine.repository().close().expect("closed");
    assert_eq!(report.damaged(), 1, "{report:?}");
    assert_eq!(report.common.parsed_result, larder_engine::Outcome::Error);
}

/// Duplicati names control files without their folders, so a list may hold two entries of one name.
#[test]
fn two_control_files_of_one_name_are_both_listed_and_restored() {
    let mut rig = Rig::new();
    let mut forge = Forge::default();
    forge.folder("/a/").file("/a/f", "f");
    forge
        .control_file("x.conf", "first")
        .control_file("x.conf", "the second");
    forge.store(&rig.store);
    let run = rig.open().expect("the engine opens");
    let listed = run
        .list_control_files(&ListRequest::default())
        .expect("a list");
    let mut found = Vec::new();
    let each = listed.files.each(|file| {
        found.push((file.path, file.sizes));
        Ok(())
    });
    each.expect("all files");
    let wanted = [("x.conf", vec![Some(5)]), ("x (2).conf", vec![Some(10)])];
    let wanted = wanted.map(|(name, sizes)| (name.to_owned(), sizes));
    assert_eq!(found, wanted);
    let target = rig.temp.path().join("restored");
    let request = RestoreRequest {
        patterns: Vec::new(),
        filters: Vec::new(),
        target: Some(target.clone()),
    };
    let report = run.restore_control_files(&request).expect("a restore");
    run.repository().close().expect("the catalog closes");
    assert_eq!((report.restored_files, report.common.errors.len()), (2, 0));
    for (name, content) in [("x.conf", "first"), ("x (2).conf", "the second")] {
        let found = std::fs::read_to_string(target.join(name)).expect("a file");
        assert_eq!(found, content);
    }
}

/// What is fetched and does not stay in memory goes where `--tempdir` says, whichever program calls.
#[test]
fn what_is_fetched_lies_in_the_folder_for_temporary_files() {
    let mut rig = Rig::new();
    rig.write("f", "f");
    rig.backup();
    // A version list longer than what of one is held in memory.
    let name = "duplicati-20240101T000000Z.dlist.zip";
    rig.store.insert(name, vec![0; 17 << 20]);
    let list = |rig: &mut Rig| {
        let run = rig.open().expect("the engine opens");
        let listed = run.list_filesets();
        run.repository().close().expect("the catalog closes");
        listed
    };
    rig.set("tempdir", "/nowhere/at all");
    let error = list(&mut rig).expect_err("no folder");
    assert_eq!(
        error.id(),
        Some("TemporaryFolderFailed"),
        "{}",
        chain(&error)
    );
    assert!(
        chain(&error).contains(" /nowhere/at all "),
        "{}",
        chain(&error)
    );
    assert!(error.hint().contains("--tempdir=…"), "{}", error.hint());
    let folder = rig.temp.path().join("temporary");
    std::fs::create_dir(&folder).expect("a folder");
    rig.set("tempdir", folder.to_str().expect("text"));
    let listed = list(&mut rig).expect("a list");
    assert!(listed.versions.iter().any(|version| version.is_unreadable));
}

/// It was moved away without a word about where to.
#[test]
fn a_foreign_file_in_the_place_of_the_catalog_is_named_with_its_new_place() {
    let mut rig = Rig::new();
    rig.write("f", "f");
    rig.backup();
    std::fs::write(rig.state(), "somebody's notes").expect("a file");
    rig.log.clear();
    rig.backup();
    let state = rig.state().display().to_string();
    let kept = format!("{state}.foreign-1");
    assert_eq!(
        std::fs::read(&kept).expect("it is kept"),
        b"somebody's notes"
    );
    let texts = rig.log.texts();
    let told = texts.iter().filter(|text| text.contains(&kept));
    let told: Vec<_> = told.collect();
    assert!(
        matches!(&*told, [text] if text.contains(&format!("{state} ")) && text.contains("built anew")),
        "{texts:#?}"
    );
    assert_eq!(rig.log.count("CatalogReplaced"), 1);
}
