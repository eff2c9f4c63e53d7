//! Help, completion and the manual page.

use std::process::Command;

use super::support::Place;

#[test]
fn help_is_found_in_many_ways_and_ends_with_0() {
    let place = Place::new();
    for args in [
        &["help"][..],
        &[],
        &["--help"],
        &["usage"],
        &["-h"],
        &["help", "-h"],
        &["help", "usage"],
        &["examples"],
    ] {
        place
            .run(args)
            .code(0)
            .says("Usage: larder <command> <storage-URL>")
            .says("  backup              Makes a new version");
    }
    for args in [
        &["help", "backup"][..],
        &["backup", "--help"],
        &["backup", "file:///x", "/h"],
        &["-h", "backup"],
    ] {
        place
            .run(args)
            .code(0)
            .says("larder backup <storage-URL> <source>…")
            .says("--passphrase");
    }
    place.run(["help", "verify"]).code(0).says("larder test ");
    let version = concat!("larder ", env!("CARGO_PKG_VERSION"), "\n");
    for args in [&["--version"][..], &["version"]] {
        assert_eq!(place.run(args).code(0).out, version);
    }
    place
        .run(["help", "--version"])
        .code(0)
        .says("--version=<versions>");
}

#[test]
fn options_are_described_for_other_programs() {
    let place = Place::new();
    let all = place.run(["help", "options", "--json"]).code(0).json();
    let all = all.as_array().expect("an array");
    let found = all.iter().find(|option| option["name"] == "passphrase");
    assert_eq!(found.expect("the option")["secret"], true);
    assert!(all.len() > 300, "{}", all.len());
}

#[test]
fn topics_and_options_are_explained() {
    let place = Place::new();
    for (topic, text) in [
        ("exitcodes", "  0    success\n"),
        ("returncodes", "50   backup: stopped"),
        ("filters", "[expression]"),
        ("filter-groups", "CacheFiles"),
        ("size", "b, kb, mb, gb, tb"),
        ("time", "1D12h"),
        ("encryption", "AES Crypt"),
        ("compression", "Zstandard"),
        ("destinations", "file "),
        ("file", "--alternate-target-paths"),
        ("s3", "--s3-server-name"),
        ("passwords", "PASSPHRASE"),
        ("--dblock-size", "--dblock-size=<size>"),
        ("Remote_Volume_Size", "--dblock-size=<size>"),
        ("options", "--asynchronous-upload-limit"),
        ("auto-compact-interval", "before volumes are repacked again"),
        ("compact", "Frees the space that no version needs"),
        ("purge", "Takes files out of versions"),
        ("set-locks", "Locks the files of versions"),
        ("send-mail", "not in this version"),
        (
            "tahoe",
            "The destination tahoe (Tahoe-LAFS) is not in this version",
        ),
        ("mail", "--send-mail-to"),
        ("scripts", "--run-script-before"),
        ("retention", "--retention-policy"),
        ("destinations", "write %2B for a plus sign"),
        (
            "zip-compression-method",
            "choose Deflate to keep them as a way out",
        ),
    ] {
        place.run(["help", topic]).code(0).says(text);
    }
    place
        .run(["help", "nonsense"])
        .code(0)
        .says("Topic not found: nonsense")
        .says("Usage: larder");
}

#[test]
fn completion_scripts_are_accepted_by_their_shells() {
    let place = Place::new();
    for (shell, check) in [
        ("bash", &["bash", "-n"][..]),
        ("zsh", &["zsh", "-n"]),
        ("fish", &["fish", "-n"]),
    ] {
        let script = place.run(["completion", shell]).code(0).out;
        assert!(script.contains("dblock-size") && script.contains("list-filesets"));
        place.write(shell, script.as_bytes());
        let Some((program, args)) = check.split_first() else {
            continue;
        };
        match Command::new(program)
            .args(args)
            .arg(place.path(shell))
            .output()
        {
            Ok(output) => assert!(
                output.status.success(),
                "{shell}: {}",
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(_) => larder_testkit::pass_over("shells", &format!("there is no {shell}")),
        }
    }
}

#[test]
fn bash_completes_commands_and_options() {
    let place = Place::new();
    let script = place.run(["completion", "bash"]).code(0).out;
    let try_it = format!(
        "{script}\nCOMP_WORDS=(larder ba); COMP_CWORD=1; _larder; echo \"${{COMPREPLY[@]}}\"\n\
         COMP_WORDS=(larder backup --dry); COMP_CWORD=2; _larder; echo \"${{COMPREPLY[@]}}\"\n\
         COMP_WORDS=(larder help fil); COMP_CWORD=2; _larder; echo \"${{COMPREPLY[@]}}\"\n\
         complete -p duplicati-cli\n"
    );
    let Ok(output) = Command::new("bash").args(["-c", &try_it]).output() else {
        return;
    };
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        out,
        "backup\n--dry-run\nfilters filter-groups file\ncomplete -F _larder duplicati-cli\n"
    );
}

#[test]
fn the_manual_page_is_roff() {
    let place = Place::new();
    place
        .run(["man"])
        .code(0)
        .says(".TH LARDER 1")
        .says(".SH COMMANDS")
        .says("\\-\\-dblock\\-size");
}

/// Who relies on a way out has to know what it does not read, before the first backup.
#[test]
fn help_says_which_of_duplicati_s_programs_do_not_read_zstandard() {
    let place = Place::new();
    let flat = |topic: &str| {
        let ran = place.run(["help", topic]).code(0);
        ran.out.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let topic = flat("compression");
    let sentence = "Duplicati itself reads Zstandard with one warning for each volume. Its recovery tool and its \
                    Python restore script do not: who wants to keep them as a way out chooses Deflate when the \
                    backup is begun.";
    assert!(topic.contains(sentence), "{topic}");
    let option = flat("zip-compression-method");
    let sentence = "Duplicati's recovery tool and its Python restore script read Deflate and None, but not Zstandard: \
                    choose Deflate to keep them as a way out.";
    assert!(option.contains(sentence), "{option}");
}
