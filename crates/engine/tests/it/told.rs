//! What a run has to say: entries that nobody can restore, files that are refused, a module that changes.

use larder_destination::{ErrorKind, Operation};
use larder_engine::{Outcome, Samples};
use larder_options::Origin;
use larder_testkit::Failure;
use larder_volume::VolumeKind::{Blocks, List};

use crate::forge::Forge;
use crate::rig::Rig;

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
