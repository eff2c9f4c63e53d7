//! Wrong use of the command line: exit code 200, or 100 for values that cannot be used (commands spec 1.2, 2.1).

use super::support::{PASSPHRASE, Place};

#[test]
fn wrong_command_lines_are_refused_with_200() {
    let place = Place::new();
    let url = place.url();
    let rows: &[(&[&str], &str)] = &[
        (&["frobnicate", &url], "Command not supported: frobnicate"),
        (&["bakcup", &url], "did you mean `larder backup`?"),
        (&["sync", &url], "the command sync is not in this version"),
        (&["SYNC", &url], "is not in this version"),
        (
            &["backup"],
            "backup needs a storage URL and at least one source",
        ),
        (
            &["backup", &url],
            "backup needs a storage URL and at least one source",
        ),
        (&["list"], "the command list needs a storage URL"),
        (&["restore"], "needs a storage URL"),
        (&["test", &url, "1", "2"], "takes one argument at most"),
        (&["test", &url, "some"], "some is no number of samples"),
        (&["repair", &url, "x"], "takes no argument"),
        (&["list-filesets", &url, "x"], "takes no argument"),
        (
            &["list-filesets", &url, "--version=1"],
            "leave --version and --time out",
        ),
        (
            &["list-filesets", &url, "--time=1D"],
            "leave --version and --time out",
        ),
        (&["test-filters"], "test-filters needs at least one source"),
        (&["completion"], "bash, zsh or fish"),
        (
            &["list", &url, "--main-action=x"],
            "--main-action is reserved",
        ),
        (
            &["list", &url, "--exclude"],
            "option --exclude needs its value behind an equals sign: --exclude=…",
        ),
    ];
    for (args, complaint) in rows {
        let ran = place.run(*args).code(200).complains(complaint);
        assert_eq!(ran.out, "", "{args:?}");
        assert!(!ran.err.contains("ErrorID"), "{args:?}");
    }
    assert!(!place.path("destination").exists());
}

#[test]
fn values_that_cannot_be_used_are_refused_with_100_and_a_sentence() {
    let place = Place::with_source();
    let url = place.url();
    for (option, sentence) in [
        (
            "--dblock-size=abc",
            "option --dblock-size: \"abc\" is not a valid size: expected a whole number, like 50mb",
        ),
        (
            "--blocksize=1xb",
            "the unit must be one of b, kb, mb, gb, tb",
        ),
        ("--retry-delay=10x", "option --retry-delay: "),
        ("--version=a", "option --version: "),
        ("--time=yesteryear", "option --time: "),
        ("--encryption-module=rot13", "\"rot13\" is none of aes, gpg"),
    ] {
        let ran = place
            .run(["backup", &url, "source", "--passphrase=x", option])
            .code(100)
            .fails_with("OptionValidationError")
            .complains(sentence);
        assert!(!ran.err.contains("panick"), "{}", ran.err);
        assert!(ran.err.lines().count() <= 4, "{}", ran.err);
    }
    place
        .run(["backup", &url, "source", "--passphrase=x", "--exclude=[(]"])
        .code(100)
        .fails_with("InvalidFilter");
    place
        .run(["list", "nosuch://host/x"])
        .code(100)
        .fails_with("InvalidDestination")
        .complains("nown are azure, file");
}

#[test]
fn options_may_stand_anywhere_and_in_any_case() {
    let place = Place::with_backup();
    let passphrase = format!("--PASSPHRASE={PASSPHRASE}");
    place
        .run([passphrase.as_str(), "LIST", &place.url(), "letter.txt"])
        .code(0)
        .says("letter.txt (13 bytes)");
}

#[test]
fn unknown_options_are_told_once_and_the_run_goes_on() {
    let place = Place::with_source();
    let ran = place
        .backup(&["--zzz", "--b2-lock-mode=x"])
        .code(2)
        .complains("Warning [UnsupportedOption]: option --zzz is not known")
        // It is one letter away from an option of S3, but Duplicati has it.
        .complains("Warning [UnsupportedOption]: option --b2-lock-mode is not in this version");
    assert_eq!(ran.err.matches("--zzz").count(), 1, "{}", ran.err);
    place.write("source/new", b"1");
    place
        .backup(&["--zzz", "--suppress-warnings=UnsupportedOption"])
        .code(0);
    place.on("list", ["--zzz"]).code(0).complains("--zzz");
}

/// A restore to another folder, with one letter wrong, was one over the originals.
#[test]
fn a_misspelt_option_stops_a_command_that_changes_files() {
    let place = Place::with_backup();
    place.write("source/letter.txt", b"written since\n");
    let before = place.snapshot("");
    let to = format!("--restorepath={}", place.text("elsewhere"));
    let misspelt: &[(&str, &[&str], &str)] = &[
        (
            "restore",
            &[&to, "--overwrite"],
            "option --restorepath is not known; did you mean --restore-path?",
        ),
        (
            "backup",
            &["source", "--exlude=*.txt"],
            "option --exlude is not known; did you mean --exclude?",
        ),
        // Near to nothing, but it may have said where to.
        (
            "restore",
            &["--target-folder=elsewhere", "--overwrite"],
            "option --target-folder is not known",
        ),
        (
            "repair",
            &["--dry-rnu"],
            "option --dry-rnu is not known; did you mean --dry-run?",
        ),
    ];
    for (verb, arguments, complaint) in misspelt {
        place
            .on(verb, *arguments)
            .code(100)
            .fails_with("UnsupportedOption")
            .complains(complaint)
            .complains("What helps: nothing was done");
    }
    let url = place.url();
    place
        .run([
            "destination",
            "put",
            &url,
            "source/letter.txt",
            "--overwrit",
        ])
        .code(100)
        .complains("did you mean --overwrite?");
    assert_eq!(place.snapshot(""), before);
}

#[test]
fn a_misspelt_option_is_a_warning_where_no_file_changes() {
    let place = Place::with_backup();
    for (verb, option) in [
        ("list", "--verison=0"),
        ("find", "--verison=0"),
        ("test", "--full-rsult"),
    ] {
        place
            .on(verb, [option])
            .code(0)
            .complains("Warning [UnsupportedOption]: option --")
            .complains("; did you mean --");
    }
    let url = place.url();
    place
        .run(["destination", "list", &url, "--auth-usernam=x"])
        .code(0)
        .complains("did you mean --auth-username?");
    let url = format!("{}?use-move-for-putt=true", place.url());
    let passphrase = format!("--passphrase={PASSPHRASE}");
    place
        .run(["list", &url, &passphrase])
        .code(0)
        .complains("option --use-move-for-putt is not known; did you mean --use-move-for-put?");
}

#[test]
fn a_misspelt_option_stops_wherever_it_stands() {
    let place = Place::with_source();
    let passphrase = format!("--passphrase={PASSPHRASE}");
    let url = format!("{}?use-move-for-putt=true", place.url());
    place
        .run(["backup", &url, "source", &passphrase])
        .code(100)
        .fails_with("UnsupportedOption")
        .complains("option --use-move-for-putt is not known; did you mean --use-move-for-put?");
    place.write("job.txt", b"--blokcsize=1mb\n");
    place
        .backup(&["--parameters-file=job.txt"])
        .code(100)
        .fails_with("UnsupportedOption")
        .complains("option --blokcsize is not known; did you mean --blocksize?");
    assert!(!place.path("destination").exists());
}

#[test]
fn options_without_effect_are_told_once() {
    let place = Place::with_source();
    place.backup(&["--cpu-intensity=3"]).code(2).complains(
        "Warning [OptionNotImplemented]: option --cpu-intensity is accepted, but not acted on",
    );
    place.write("source/new", b"1");
    place
        .backup(&["--store-metadata=false"])
        .code(2)
        .complains("Warning [DeprecatedOption]: option --store-metadata is retired");
    place.write("source/new", b"2");
    place
        .backup(&["--s3-storage-class=STANDARD"])
        .code(2)
        .complains("option --s3-storage-class belongs to the destination s3");
    place.write("source/new", b"3");
    let url = format!("{}?blocksize=1mb&nonsense=1", place.url());
    place
        .run([
            "backup",
            &url,
            "source",
            &format!("--passphrase={PASSPHRASE}"),
        ])
        .code(2)
        .complains("option blocksize has no effect in the storage URL")
        .complains("option --nonsense is not known");
}

#[test]
fn a_value_without_equals_sign_gets_a_hint() {
    let place = Place::with_source();
    place
        .backup(&["--dblock-size", "5mb"])
        .code(2)
        .complains("the source 5mb does not exist; a value needs an equals sign: --dblock-size=…");
    // A secret in the place of an argument would be printed, or become the name of a folder.
    let url = place.url();
    place
        .run(["backup", "--passphrase", PASSPHRASE, &url, "source"])
        .code(200)
        .complains("option --passphrase stands without its value");
    assert!(!place.path(PASSPHRASE).exists());
}

#[test]
fn it_answers_under_the_name_of_the_other_program() {
    let place = Place::with_backup();
    let alias = place.path("duplicati-cli");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_larder"), &alias).expect("a link");
    let run = |args: &[&str]| {
        let command = std::process::Command::new(&alias);
        super::support::Ran::of(place.prepared(command, args).output().expect("it starts"))
    };
    let passphrase = format!("--passphrase={PASSPHRASE}");
    run(&["list", &place.url(), &passphrase])
        .code(0)
        .says("Listing filesets:\n0\t: ");
    run(&["help"])
        .code(0)
        .says("Usage: duplicati-cli <command> <storage-URL>");
    run(&["frobnicate"])
        .code(200)
        .complains("`duplicati-cli help`");
}

#[test]
fn parameters_file_overrides_and_adds() {
    let place = Place::with_source();
    place.write("more/extra.txt", b"extra");
    let file = format!(
        "# a comment\n--passphrase={PASSPHRASE}\n--source={}\n--target={}\n--exclude=*.tmp\n",
        place.text("more"),
        place.url()
    );
    place.write("parameters", file.as_bytes());
    place.write("source/x.tmp", b"x");
    place
        .run([
            "backup",
            "file:///nowhere/at/all",
            "source",
            "--passphrase=Falsch-Pferd-9182",
            "--parameters-file=parameters",
        ])
        .code(0)
        .says("Files added: 4");
    place
        .run(["list", "x", "*", "--parameters-file=parameters"])
        .code(0)
        .says("more/extra.txt (5 bytes)");
    place
        .run(["list", "x", "--parameters-file=missing"])
        .code(100)
        .complains("the parameters file missing cannot be read");
    place
        .run([
            "backup",
            "x",
            "source",
            "--parameters-file=parameters",
            "--include=*",
        ])
        .code(100)
        .complains("not in both");
}

#[test]
fn allowed_modules_restrict() {
    let place = Place::with_source();
    place
        .backup(&["--allowed-backend-modules=s3"])
        .code(100)
        .fails_with("ModuleNotAllowed");
    place
        .backup(&["--allowed-encryption-modules=gpg"])
        .code(100)
        .fails_with("ModuleNotAllowed");
    place.backup(&["--allowed-backend-modules=FILE,s3"]).code(0);
}
