//! Where secrets come from, and that none is ever printed. Each run of all tests is searched for them (`support`).

use super::support::{PASSPHRASE, Place, Ran};

#[test]
fn the_passphrase_from_the_environment() {
    let place = Place::with_source();
    let url = place.url();
    let run = |args: &[&str]| {
        let mut command = place.command(args);
        command.env("PASSPHRASE", PASSPHRASE);
        Ran::of(command.output().expect("it starts"))
    };
    run(&["backup", &url, "source"]).code(0);
    run(&["list", &url, "*"]).code(0).says("letter.txt");
    // The option is stronger.
    run(&["test", &url, "--passphrase=Falsch-Pferd-9182"])
        .code(100)
        .fails_with("WrongPassphrase");
}

#[test]
fn the_passphrase_from_standard_input() {
    let place = Place::with_backup();
    place.write("secret", format!("{PASSPHRASE}\n").as_bytes());
    let mut command = place.command(["list", &place.url(), "*", "--force-passphrase-from-stdin"]);
    command.stdin(std::fs::File::open(place.path("secret")).expect("the file"));
    Ran::of(command.output().expect("it starts"))
        .code(0)
        .says("letter.txt");
}

#[test]
fn no_passphrase_is_a_sentence() {
    let place = Place::with_source();
    place
        .run(["backup", &place.url(), "source"])
        .code(100)
        .fails_with("PassphraseMissing")
        .complains("--no-encryption");
    assert!(!place.path("destination").exists(), "nothing is created");
    place
        .run(["backup", &place.url(), "source", "--no-encryption"])
        .code(0);
    place.backup(&[]).code(100).fails_with("EncryptionChanged");
}

#[test]
fn the_wrong_passphrase_is_refused_by_every_command() {
    let place = Place::with_backup();
    let url = place.url();
    let before = place.snapshot("destination");
    let wrong = "--passphrase=Falsch-Pferd-9182";
    place.write("source/letter.txt", b"changed");
    for lose in [false, true] {
        for args in [
            &["backup", &url, "source"][..],
            &["restore", &url, "--restore-path=out"],
            &["list", &url, "*"],
            &["find", &url, "*"],
            &["test", &url, "all"],
            &["repair", &url],
        ] {
            if lose {
                place.lose_state();
            }
            let ran = place
                .run([args, &[wrong]].concat())
                .code(100)
                .fails_with("WrongPassphrase");
            assert!(ran.err.contains("check --passphrase"), "{}", ran.err);
        }
    }
    assert!(place.snapshot("destination") == before);
    assert!(!place.path("out").exists());
}

#[test]
fn nothing_secret_is_printed() {
    let place = Place::with_source();
    // Every run goes through `Ran::of`, which searches both outputs.
    let secret_url =
        "s3://key:URL-Kennwort-4466@bucket.invalid/folder?auth-password=URL-Kennwort-4466";
    let log = "--log-file=log";
    for args in [
        vec![
            "backup",
            secret_url,
            "source",
            "--debug-output",
            "--number-of-retries=0",
        ],
        vec![
            "list",
            secret_url,
            "--json",
            "--number-of-retries=0",
            "--s3-server-name=127.0.0.1:1",
        ],
        vec![
            "list",
            secret_url,
            "--number-of-retries=0",
            "--s3-server-name=127.0.0.1:1",
            "--debug-output",
        ],
        vec![secret_url],
        vec!["backup", "file:///tmp/x", secret_url, "--dry-run"],
        vec![
            "backup",
            "file:///tmp/x",
            "source",
            secret_url,
            "--dry-run",
            "--abort-if-source-missing",
        ],
        vec!["help", secret_url],
        vec!["repair", "file:///tmp/x", secret_url],
        vec!["list", "nosuch://u:URL-Kennwort-4466@h"],
        vec!["list", "s3://u:URL-Kennwort-4466@h:notaport/x"],
        vec!["test", secret_url, "URL%"],
        vec![
            "list",
            "file:///tmp/x",
            "--auth-pasword=URL-Kennwort-4466",
            "--authid",
        ],
    ] {
        let passphrase = format!("--passphrase={PASSPHRASE}");
        let mut all = args.clone();
        all.extend([
            passphrase.as_str(),
            log,
            "--log-file-log-level=Verbose",
            "--retry-delay=0s",
        ]);
        let ran = place.run(&all);
        assert_ne!(ran.code, -1, "{args:?}");
        assert!(
            ran.code != 0 || args[0] == "help" || args.contains(&"--dry-run"),
            "{args:?}"
        );
    }
    let ran = place
        .backup(&[
            "--debug-output",
            "--console-log-level=Verbose",
            log,
            "--log-file-log-level=Verbose",
        ])
        .code(0)
        .complains("Option: --passphrase=***");
    assert!(ran.err.contains("Storage URL: file://"), "{}", ran.err);
    place
        .on("test", ["all", "--debug-output", "--json"])
        .code(0);
    let logged = std::fs::read_to_string(place.path("log")).expect("the log");
    for secret in super::support::SECRETS {
        assert!(
            !logged.contains(secret),
            "a secret is in the log:\n{logged}"
        );
    }
    // What is kept on this machine holds none either.
    for (path, content) in place.snapshot("state") {
        for secret in super::support::SECRETS {
            let found = content
                .windows(secret.len())
                .any(|w| w == secret.as_bytes());
            assert!(!found, "a secret is in {}", path.display());
        }
    }
}

#[test]
fn damage_is_not_mistaken_for_the_passphrase_nor_the_other_way_round() {
    let place = Place::with_backup();
    let data = place.stored_with("dblock");
    let path = place.path(&format!("destination/{}", data[0]));
    std::fs::write(path, b"damaged").expect("written");
    for lose in [false, true] {
        if lose {
            place.lose_state();
        }
        place
            .run(["list", &place.url(), "*", "--passphrase=Falsch-Pferd-9182"])
            .code(100)
            .fails_with("WrongPassphrase");
        place.on("list", ["*"]).code(0).says("letter.txt");
        place.on("test", ["all"]).code(3);
    }
}
