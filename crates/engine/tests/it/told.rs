//! What a run has to say: entries that nobody can restore, files that are refused, a module that changes.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use larder_destination::{
    About, Body, Clock, Destination, Download, ErrorKind, Existing, Operation, RemoteFile,
};
use larder_engine::{Event, Monitor, Outcome, Samples};
use larder_options::Origin;
use larder_testkit::Failure;
use larder_volume::VolumeKind::{Blocks, Index, List};

use crate::forge::Forge;
use crate::rig::{Log, Rig};

#[test]
fn entries_of_an_unknown_type_are_told_and_make_a_test_fail() {
    let mut rig = Rig::new();
    let mut forge = Forge::default();
    forge.folder("/src/").file("/src/good", "good");
    forge.raw_entry(r#"{"type":"Pipe","path":"/src/pipe","size":3}"#);
    forge.store(&rig.store);
    let (target, report) = rig.try_restore(0).expect("the rest");
    assert_eq!(
        std::fs::read(target.join("good")).expect("the good file"),
        b"good"
    );
    assert_eq!(report.common.parsed_result, Outcome::Warning);
    let complaints = rig.log.complaints().join("\n");
    assert!(
        complaints.contains("/src/pipe") && complaints.contains("Pipe"),
        "{complaints}"
    );
    rig.log.clear();
    let report = rig.test_all();
    assert_eq!(report.damaged(), 1, "{:#?}", report.verifications);
    // Each is named once, though a full test reads a list more than once.
    assert_eq!(
        rig.log.count("DamagedEntry"),
        1,
        "{:?}",
        rig.log.complaints()
    );
}

#[test]
fn a_junk_file_does_not_hide_that_a_version_vanished() {
    for junk in [
        "duplicati-20991231T000000Z.dlist.zip",
        "duplicati-i00ff.dindex.zip",
    ] {
        let mut rig = Rig::new();
        rig.write("a", "one");
        rig.backup();
        rig.write("a", "two, longer");
        rig.backup();
        let oldest = rig.names(List).remove(0);
        let _ = rig.store.remove(&oldest).expect("the list");
        rig.store.insert(junk, b"junk".as_slice());
        rig.log.clear();
        rig.try_backup().expect("it goes on");
        assert_eq!(
            rig.log.count("MissingVersion"),
            1,
            "{junk}: {:?}",
            rig.log.complaints()
        );
    }
}

#[test]
fn a_version_that_another_machine_deleted_is_no_loss() {
    let mut rig = Rig::new();
    rig.write("a", "one");
    rig.backup();
    rig.write("a", "two, longer");
    rig.backup();
    let oldest = rig.names(List).remove(0);
    let _ = rig.store.remove(&oldest).expect("the list");
    let mut other = rig.other_machine();
    other.write("a", "three, longer still");
    other.backup();
    rig.log.clear();
    rig.try_backup().expect("it goes on");
    assert_eq!(
        rig.log.count("MissingVersion"),
        0,
        "{:?}",
        rig.log.complaints()
    );
}

/// A set with two data files, on a machine that knows nothing of it.
fn two_data_files() -> Rig {
    let mut rig = Rig::new();
    rig.write("a", larder_testkit::Rng::new(1).bytes(5_000));
    rig.backup();
    rig.write("b", larder_testkit::Rng::new(2).bytes(5_000));
    rig.backup();
    rig.set("number-of-retries", "0");
    rig
}

#[test]
fn one_file_that_is_refused_costs_that_file_only() {
    // Whichever request is refused: the first one too, before anything was given.
    let mut found = 0;
    for nth in 0..8 {
        let mut rig = two_data_files();
        rig.lose_state();
        rig.plan.skip(Operation::Get, nth);
        rig.plan
            .push(Operation::Get, Failure::Before(ErrorKind::Denied));
        let run = rig.open().expect("it opens");
        let report = run.test(Samples::All).expect("the others are tested");
        assert!(report.verifications.len() >= 5, "{nth}: {report:#?}");
        assert!(report.damaged() <= 1, "{nth}: {report:#?}");
        found += report.damaged();
    }
    assert!(
        found >= 3,
        "{found}: a test asks for each file once at least"
    );
}

#[test]
fn a_destination_that_gives_nothing_stops_the_run() {
    let mut rig = two_data_files();
    rig.lose_state();
    for _ in 0..100 {
        rig.plan
            .push(Operation::Get, Failure::Before(ErrorKind::Denied));
    }
    let run = rig.open().expect("it opens");
    let error = run.test(Samples::All).expect_err("nothing can be read");
    assert_eq!(error.id(), Some("DestinationDenied"), "{error}");
}

#[test]
fn a_restore_says_which_file_of_the_destination_is_damaged_and_what_helps() {
    let mut rig = Rig::new();
    rig.write("a", "one");
    rig.backup();
    let list = rig.names(List).remove(0);
    let cut = rig.store.files()[&list].len() / 2;
    assert!(rig.store.truncate(&list, cut));
    let error = rig.try_restore(0).expect_err("the list is cut");
    assert_eq!(error.id(), Some("DamagedList"));
    assert!(!error.hint().is_empty());
}

#[test]
fn a_test_tells_one_loss_once() {
    let mut rig = two_data_files();
    let name = rig.names(Blocks).remove(0);
    let _ = rig.store.remove(&name).expect("a data file");
    for _ in 0..2 {
        rig.log.clear();
        let report = rig.test_all();
        let named = |text: &String| text.contains(&name);
        assert_eq!(
            rig.log.complaints().iter().filter(|t| named(t)).count(),
            0,
            "{:?}",
            rig.log.complaints()
        );
        let findings = report.verifications.iter().filter(|v| v.file == name);
        assert_eq!(
            findings.map(|v| v.findings.len()).sum::<usize>(),
            1,
            "{:#?}",
            report.verifications
        );
        assert_eq!(report.harm.iter().filter(|h| h.file == name).count(), 1);
    }
}

#[test]
fn a_notice_says_that_a_passphrase_does_nothing() {
    let mut rig = Rig::new();
    rig.write("a", "one");
    rig.passphrase = Some("secret".into());
    let report = rig.backup();
    assert_eq!(rig.log.count("NotEncrypted"), 1);
    assert_eq!(report.common.parsed_result, Outcome::Success);
}

#[test]
fn another_encryption_module_is_refused_unless_asked_for() {
    if std::process::Command::new("gpg")
        .arg("--version")
        .output()
        .is_err()
    {
        larder_testkit::pass_over("gpg", "it is not installed");
        return;
    }
    let mut rig = Rig::encrypted("secret");
    rig.write("a", "one");
    rig.set("encryption-module", "gpg");
    rig.backup();
    rig.write("a", "two, longer");
    rig.values.unset("encryption-module", Origin::CommandLine);
    let before = rig.store.names();
    let error = rig
        .try_backup()
        .expect_err("nobody asked for another module");
    assert_eq!(error.id(), Some("EncryptionChanged"), "{error}");
    assert!(
        error.hint().contains("--encryption-module=gpg"),
        "{}",
        error.hint()
    );
    assert_eq!(rig.store.names(), before);
    rig.set("encryption-module", "aes");
    let report = rig.backup();
    assert_eq!(rig.log.count("EncryptionModuleChanged"), 1);
    assert_eq!(report.common.parsed_result, Outcome::Success);
    rig.check_all("in two modules");
}

#[test]
fn the_limit_of_the_user_is_not_called_a_full_destination() {
    let mut rig = Rig::new();
    rig.write("a", larder_testkit::Rng::new(1).bytes(50_000));
    rig.set("quota-size", "20kb");
    rig.backup();
    let told: Vec<String> = rig.log.complaints();
    assert!(
        told.iter()
            .any(|text| text.contains("--quota-size is reached")),
        "{told:?}"
    );
    assert!(
        told.iter()
            .all(|text| !text.contains("destination is full")),
        "{told:?}"
    );
}

#[test]
fn excludes_that_leave_nothing_out_and_special_files_are_named_once() {
    let mut rig = Rig::new();
    rig.write("a.tmp", "one");
    rig.write("b", "two");
    let pipe = rig.source().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let run = rig.open().expect("it opens");
    let mut request = rig.request();
    let filters: Vec<_> = ["*.tmp", "*.tpm"]
        .map(|text| (larder_engine::source::Action::Exclude, text.to_owned()))
        .into();
    request.options.filter =
        larder_engine::source::Filter::parse(&filters, true).expect("good filters");
    let report = run.backup(&request).expect("a backup");
    assert_eq!(report.common.parsed_result, Outcome::Success);
    let texts = rig.log.texts().join("\n");
    assert!(
        texts.contains("1 exclude left nothing out: *.tpm"),
        "{texts}"
    );
    assert!(texts.contains("1 special file left out"), "{texts}");
}

/// A destination whose data files are listed and cannot be read.
struct Closed {
    store: Arc<dyn Destination>,
    /// With what a get ends.
    answer: ErrorKind,
    /// Whether the listing says that they lie in a cold tier.
    is_listed: bool,
}

#[async_trait]
impl Destination for Closed {
    fn about(&self) -> &About {
        self.store.about()
    }

    fn list(&self) -> BoxStream<'_, larder_destination::Result<RemoteFile>> {
        let files = self.store.list().map_ok(|mut file| {
            file.is_archived = self.is_listed && file.name.contains("dblock");
            file
        });
        files.boxed()
    }

    async fn get(&self, name: &str) -> larder_destination::Result<Download> {
        if name.contains("dblock") {
            let scheme = self.about().scheme;
            return Err(larder_destination::Error::new(
                self.answer.clone(),
                scheme,
                Operation::Get,
                "it is closed",
            ));
        }
        self.store.get(name).await
    }

    async fn put(
        &self,
        name: &str,
        body: Body,
        existing: Existing,
    ) -> larder_destination::Result<()> {
        self.store.put(name, body, existing).await
    }

    async fn delete(&self, name: &str) -> larder_destination::Result<()> {
        self.store.delete(name).await
    }

    async fn create_folder(&self) -> larder_destination::Result<()> {
        self.store.create_folder().await
    }
}

/// What cannot be had now may be whole: it is not noted as a loss, and nothing is stored a second time.
#[test]
fn files_that_are_closed_are_no_damage() {
    for (answer, damaged) in [(ErrorKind::Archived, 0), (ErrorKind::Denied, 1)] {
        let mut rig = Rig::new();
        rig.write("a", larder_testkit::Rng::new(1).bytes(5_000));
        rig.backup();
        let closed = Closed {
            store: rig.store.shared(),
            answer: answer.clone(),
            is_listed: false,
        };
        let run = rig.open_over(Arc::new(closed), false).expect("it opens");
        let report = run.test(larder_engine::Samples::All).expect("a test");
        run.repository().close().expect("the catalog closes");
        assert_eq!(report.damaged(), damaged, "{answer:?}: {report:#?}");
        rig.log.clear();
        rig.backup();
        assert_eq!(rig.log.complaints(), [""; 0], "{answer:?}");
        assert_eq!(rig.names(larder_volume::VolumeKind::Blocks).len(), 1);
    }
}

#[test]
fn archived_volumes_fail_no_sample() {
    let mut rig = Rig::new();
    rig.set("backup-test-samples", "1");
    let way: Arc<dyn Destination> = Arc::new(Closed {
        store: rig.store.shared(),
        answer: ErrorKind::Archived,
        is_listed: true,
    });
    for content in ["one", "two, longer"] {
        rig.write("a", content);
        rig.clock.pause(std::time::Duration::from_secs(1));
        let run = rig.open_over(way.clone(), true).expect("it opens");
        let report = run.backup(&rig.request()).expect("a backup");
        run.repository().close().expect("the catalog closes");
        let outcome = report.common.parsed_result;
        assert_eq!(outcome, Outcome::Success, "{:?}", rig.log.complaints());
    }
    // What they hold cannot be restored now, and that is said without the word damage.
    let run = rig.open_over(way, false).expect("it opens");
    let target = rig.temp.path().join("cold");
    let report = run
        .restore(&larder_engine::RestoreRequest {
            patterns: Vec::new(),
            filters: Vec::new(),
            target: Some(target),
        })
        .expect("a restore");
    assert_eq!(report.broken_remote_files.len(), 1, "{report:#?}");
}

#[test]
fn the_figures_of_the_destination_are_those_of_the_destination() {
    let mut rig = Rig::new();
    let check = |rig: &mut Rig, when: &str| {
        let report = rig.backup();
        let figures = report.common.backend_statistics;
        let names = rig.store.names();
        let lists = names.iter().filter(|name| name.contains("dlist")).count();
        assert_eq!(
            (figures.known_file_count, figures.known_filesets),
            (names.len() as u64, lists as u64),
            "{when}"
        );
        assert_eq!(figures.known_file_size, rig.store.total_len(), "{when}");
    };
    rig.write("a", larder_testkit::Rng::new(1).bytes(5_000));
    check(&mut rig, "first");
    rig.write("b", larder_testkit::Rng::new(2).bytes(5_000));
    rig.plan
        .push(Operation::Put, Failure::Before(ErrorKind::Network));
    check(&mut rig, "after an upload that was repeated");
    rig.write("c", larder_testkit::Rng::new(3).bytes(5_000));
    check(&mut rig, "third");
    rig.lose_state();
    check(&mut rig, "after the catalog was lost");
    rig.write("d", larder_testkit::Rng::new(4).bytes(5_000));
    check(&mut rig, "and again");
}

#[test]
fn a_wrong_passphrase_fetches_nothing_twice() {
    let mut rig = Rig::encrypted("right");
    rig.write("a", "one");
    rig.backup();
    rig.lose_state();
    rig.passphrase = Some("wrong".into());
    rig.journal.clear();
    let error = rig.try_restore(0).expect_err("the passphrase is wrong");
    assert_eq!(error.id(), Some("WrongPassphrase"));
    let mut asked = rig.journal.names(Operation::Get);
    let all = asked.len();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), all, "{asked:?}");
}

#[test]
fn all_paths_that_a_damage_hurts_are_counted_and_named_on_request() {
    let mut rig = Rig::new();
    for n in 0..150_u64 {
        rig.write(&format!("f{n:03}"), larder_testkit::Rng::new(n).bytes(100));
    }
    rig.backup();
    let name = rig.names(Blocks).remove(0);
    let _ = rig.store.remove(&name).expect("a data file");
    for (full, named) in [("false", 100), ("true", 151)] {
        rig.set("full-result", full);
        let report = rig.test_all();
        let harm: Vec<_> = report
            .harm
            .iter()
            .map(|h| (&h.file, h.path_count))
            .collect();
        // The folder lost its metadata with them.
        assert_eq!(harm, [(&name, 151)]);
        assert_eq!(report.harm[0].paths.len(), named);
    }
}

#[test]
fn volumes_that_another_machine_replaced_are_neither_asked_for_nor_warned_of() {
    let mut rig = Rig::new();
    rig.write("a", larder_testkit::Rng::new(1).bytes(5_000));
    rig.backup();
    rig.write("b", larder_testkit::Rng::new(2).bytes(5_000));
    rig.backup();
    // What a compaction elsewhere does: the same blocks in other volumes.
    let own: Vec<String> = [Blocks, Index].map(|kind| rig.names(kind)).concat();
    for name in &own {
        let content = rig.store.remove(name).expect("a volume");
        if name.contains("dblock") {
            rig.store
                .insert(&name.replace(&name[11..19], "01234567"), content);
        }
    }
    rig.journal.clear();
    rig.log.clear();
    let (_, report) = rig.try_restore(0).expect("a restore");
    let asked = rig.journal.names(Operation::Get);
    assert!(asked.iter().all(|name| !own.contains(name)), "{asked:?}");
    assert_eq!(report.broken_remote_files, Vec::<String>::new());
    assert_eq!(
        report.common.parsed_result,
        Outcome::Success,
        "{:?}",
        rig.log.complaints()
    );
}

/// Does something once, when the walk leaves out an entry: what comes behind that was listed and not yet looked at.
struct AtSkipped {
    log: Arc<Log>,
    act: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Monitor for AtSkipped {
    fn event(&self, event: &Event) {
        if let Event::Message(message) = event
            && message.id == "PathSkipped"
            && let Some(act) = self.act.lock().expect("no panic").take()
        {
            act();
        }
        self.log.event(event);
    }
}

/// A file that vanished before the walk looked at it was an error and stayed in the version; a moment later, when it was
/// to be read, it was a warning and left the version.
#[test]
fn what_vanishes_before_it_is_looked_at_leaves_the_version() {
    let mut rig = Rig::new();
    for name in ["b file", "c folder/x", "d stays"] {
        rig.write(name, name);
    }
    let fifo = rig.source().join("a fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("a FIFO");
    rig.backup();
    rig.clock.pause(std::time::Duration::from_secs(1));
    let run = rig.open().expect("it opens");
    let source = rig.source();
    let monitor = AtSkipped {
        log: rig.log.clone(),
        act: Mutex::new(Some(Box::new(move || {
            std::fs::remove_file(source.join("b file")).expect("removed");
            std::fs::remove_dir_all(source.join("c folder")).expect("removed");
        }))),
    };
    let again = run.repository().run(Arc::new(monitor), rig.cancel.clone());
    let report = again
        .expect("a run")
        .backup(&rig.request())
        .expect("it runs");
    run.repository().close().expect("closed");
    assert_eq!(report.files_with_error, 0, "{:?}", rig.log.complaints());
    assert_eq!((report.deleted_files, report.deleted_folders), (2, 1));
    assert_eq!(report.common.parsed_result, Outcome::Warning);
    let warned = rig.log.count("PathProcessingErrorNotFound");
    assert_eq!(warned, 2, "{:?}", rig.log.complaints());
    let (target, _) = rig.try_restore(0).expect("a restore");
    let names = std::fs::read_dir(&target).expect("a folder");
    let names: Vec<_> = names.map(|e| e.expect("an entry").file_name()).collect();
    assert_eq!(names, ["d stays"]);
}

/// A filter that takes too long was an error of the file, and what was deleted below stayed in each new version.
#[test]
fn a_filter_that_gives_up_is_told_and_keeps_nothing() {
    let mut rig = Rig::new();
    let folder = "a".repeat(200);
    rig.write(&format!("{folder}/x"), "x");
    rig.write(&format!("{folder}/y"), "y");
    rig.backup();
    std::fs::remove_file(rig.source().join(&folder).join("x")).expect("removed");
    rig.clock.pause(std::time::Duration::from_secs(1));
    let filters = [(
        larder_engine::source::Action::Exclude,
        r"[.*/(?=a)(a|a|aa|aaa)*(?!x)b\1]".to_owned(),
    )];
    let mut request = rig.request();
    request.options.filter =
        larder_engine::source::Filter::parse(&filters, true).expect("a filter");
    let run = rig.open().expect("it opens");
    let report = run.backup(&request).expect("a backup");
    run.repository().close().expect("closed");
    let complaints = rig.log.complaints().join("\n");
    assert!(complaints.contains("too many steps"), "{complaints}");
    assert_eq!((report.files_with_error, report.deleted_files), (0, 1));
    assert_eq!(report.common.parsed_result, Outcome::Warning);
    let (target, _) = rig.try_restore(0).expect("a restore");
    let names = crate::sweeps::files(&target);
    let names: Vec<_> = names.keys().filter_map(|path| path.file_name()).collect();
    assert_eq!(names, ["y"]);
}
