//! Arguments that were meant otherwise than they were typed, and options that must not be passed over.

use super::support::{PASSPHRASE, Place};

#[test]
fn an_empty_argument_is_not_the_working_folder() {
    let place = Place::with_source();
    let url = place.url();
    let passphrase = format!("--passphrase={PASSPHRASE}");
    for args in [
        &["backup", &url, ""][..],
        &["backup", &url, "source", ""],
        &["backup", "", "source"],
        &["restore", &url, ""],
        &["list", &url, ""],
        &["test-filters", ""],
    ] {
        place
            .run([args, &[&passphrase]].concat())
            .code(200)
            .complains("an argument is empty");
    }
    place.write("parameters", b"--source=\n");
    let ran = place.run([
        "backup",
        &url,
        "source",
        &passphrase,
        "--parameters-file=parameters",
    ]);
    ran.code(200).complains("an argument is empty");
    assert!(!place.path("destination").exists());
    // An empty target would be the place where the files lie now.
    let place = Place::with_backup();
    for option in ["--restore-path=", "--restore-path"] {
        place
            .on("restore", [option, "--overwrite"])
            .code(100)
            .complains("option --restore-path names no folder");
    }
}

#[test]
fn a_deleted_working_folder_is_not_the_root() {
    let place = Place::with_source();
    let run = |arguments: &str| {
        let script = format!(
            "mkdir -p gone && cd gone && rmdir ../gone && exec {} {arguments} --passphrase={PASSPHRASE}",
            env!("CARGO_BIN_EXE_larder")
        );
        let command = std::process::Command::new("sh");
        let output = place.prepared(command, ["-c", &script]).output();
        super::support::Ran::of(output.expect("sh runs"))
    };
    let (url, source) = (place.url(), place.text("source"));
    for arguments in [
        format!("backup destination {source}"),
        format!("backup {url} source"),
        format!("backup file://destination {source}"),
    ] {
        run(&arguments).code(100).fails_with("NoWorkingFolder");
    }
    assert!(!place.path("destination").exists());
    run(&format!("backup {url} {source}")).code(0);
    run(&format!("restore {url} --restore-path=out"))
        .code(100)
        .fails_with("NoWorkingFolder");
}

#[test]
fn a_slip_in_a_yes_or_no_switches_nothing_off() {
    let place = Place::with_source();
    for option in [
        "--no-encryption=flase",
        "--dry-run=ture",
        "--full-remote-verification=nope",
    ] {
        place
            .backup(&[option])
            .code(100)
            .fails_with("OptionValidationError");
    }
    assert!(!place.path("destination").exists());
    let place = Place::with_backup();
    place
        .on("list", ["--control-files=ys"])
        .code(100)
        .complains("\"ys\" is neither yes nor no");
}

#[test]
fn what_changes_the_meaning_of_a_backup_and_is_not_built_stops_it() {
    let place = Place::with_source();
    let url = place.url();
    place
        .run([
            "backup",
            &url,
            "source",
            "--passphrase=$BackupKey",
            "--secret-provider=env://",
        ])
        .code(100)
        .fails_with("OptionNotImplemented")
        .complains("the names of secrets would be used as the secrets");
    place
        .backup(&["--run-script-before-required=/bin/false"])
        .code(100)
        .fails_with("OptionNotImplemented");
    assert!(!place.path("destination").exists());
    let place = Place::with_backup();
    place
        .on("list", ["--run-script-before-required=/bin/false"])
        .code(100)
        .fails_with("OptionNotImplemented");
}

#[test]
fn what_asks_for_nothing_is_no_warning() {
    let place = Place::with_source();
    let silent = [
        "--backup-name=Photos",
        "--backup-id=DB-1",
        "--machine-name=nas",
        "--no-auto-compact",
        "--usn-policy=off",
        "--keep-versions=0",
        "--retention-policy=",
        "--auto-update=false",
        "--send-mail-to=",
        "--send-mail-level=Warning,Error",
        "--send-http-level=Warning,Error,Fatal",
        "--run-script-timeout=90s",
        "--full-block-verification",
        "--concurrency-compressors=2",
    ];
    let ran = place.backup(&silent).code(0);
    assert_eq!(ran.err, "");
    // What does not apply is told.
    place.write("source/new", b"1");
    place
        .backup(&["--restore-path=x", "--version=0"])
        .code(2)
        .complains("option --restore-path has no effect on backup, it belongs to restore")
        .complains("option --version has no effect on backup");
    // A file of parameters is for several commands.
    place.write("source/new", b"2");
    place.write("parameters", b"--restore-path=x\n--overwrite\n");
    place.backup(&["--parameters-file=parameters"]).code(0);
}

#[test]
fn paths_are_taken_as_they_were_meant() {
    let place = Place::with_source();
    let home = place.path("home");
    std::fs::create_dir_all(home.join("sub")).expect("folders");
    std::fs::write(home.join("sub/at-home"), b"home").expect("written");
    place.write("a$HOME/odd", b"odd");
    let passphrase = format!("--passphrase={PASSPHRASE}");
    // Shells do not expand a ~ behind an equals sign or in quotes.
    place
        .run([
            "backup",
            "~/backup",
            "~/sub",
            "a$HOME",
            &passphrase,
            "--log-file=~/log",
        ])
        .code(0)
        .says("Files added: 2");
    assert!(home.join("backup").is_dir() && home.join("log").is_file());
    assert!(!place.path("~").exists());
    for url in [
        "~/backup",
        "file://~/backup",
        &format!("file://localhost{}", home.join("backup").display()),
    ] {
        place.run(["list", url, &passphrase]).code(0).says("0\t: ");
    }
    place
        .run([
            "restore",
            "~/backup",
            "at-home",
            "--restore-path=~/out",
            &passphrase,
        ])
        .code(0);
    assert!(home.join("out/at-home").is_file());
    for url in ["file:relative", "s3:bucket/x", "file:///tmp/q?x"] {
        place
            .run(["backup", url, "source", &passphrase])
            .code(100)
            .fails_with("InvalidDestination");
        assert!(!place.path(url).exists());
    }
}

#[test]
fn what_stands_at_dbpath_and_is_no_catalog_stays() {
    let place = Place::with_backup();
    place.write(
        "notes.txt",
        b"my notes, which are longer than the head of a database is: seventy-two bytes.",
    );
    for verb in ["list", "repair"] {
        place
            .on(verb, ["--dbpath=notes.txt"])
            .code(100)
            .fails_with("NotACatalog");
    }
    place
        .backup(&["--dbpath=notes.txt"])
        .code(100)
        .fails_with("NotACatalog");
    let names: Vec<_> = std::fs::read_dir(place.path(""))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name.to_string_lossy().contains("notes"))
        .collect();
    assert_eq!(names, ["notes.txt"]);
    // A catalog of ours that is damaged is built anew, and so is an empty file.
    place.write("empty.sqlite", b"");
    place.on("list", ["--dbpath=empty.sqlite"]).code(0);
    place.on("list", ["--dbpath=own.sqlite"]).code(0);
    let mut bytes = std::fs::read(place.path("own.sqlite")).expect("a catalog");
    bytes[..100].fill(b'x');
    place.write("own.sqlite", &bytes);
    place
        .on("list", ["--dbpath=own.sqlite"])
        .code(0)
        .says("0\t: ")
        .complains("own.sqlite.foreign-1");
    let kept = std::fs::read(place.path("own.sqlite.foreign-1")).expect("it is kept");
    assert!(kept == bytes);
}

#[test]
fn repair_makes_no_folder() {
    let place = Place::new();
    place
        .on("repair", [""; 0])
        .code(100)
        .fails_with("FolderMissing");
    assert!(!place.path("destination").exists());
}

#[test]
fn a_size_that_cannot_be_is_refused_before_anything_is_made() {
    let place = Place::with_source();
    place
        .backup(&["--dblock-size=10kb"])
        .code(100)
        .fails_with("OptionValidationError")
        .complains("option --dblock-size: 10.00 KiB is too small, 1.00 MiB is used")
        .complains("at least two blocks of 1.00 MiB are needed");
    place
        .backup(&["--dblock-size=1mb", "--blocksize=1mb"])
        .code(100)
        .fails_with("OptionValidationError")
        .complains("--dblock-size: 1.00 MiB is too small, at least two blocks of 1.00 MiB");
    place
        .backup(&["--dblock-size=1.5gb"])
        .code(100)
        .complains("only whole numbers are understood, write 1536mb");
    assert!(!place.path("destination").exists());
    place.backup(&["--aes-version=3"]).code(0);
}

#[test]
fn wrong_use_names_the_help_of_its_command() {
    let place = Place::new();
    place
        .run(["backup"])
        .code(200)
        .complains("What helps: see `larder help backup`");
    place
        .run(["list", "file:///x", "--exclude", "*.tmp"])
        .code(200)
        .complains("What helps: see `larder help list`");
}
