//! The page "Coming from Duplicati": each of its commands runs, and so does what a Duplicati server exports.

use std::path::{Path, PathBuf};
use std::process::Command;

use larder_options::{Status, engine, find_decl};

use super::support::{Place, Ran};

const PAGE: &str = include_str!("../../../../docs/guide/coming-from-duplicati.md");

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// Runs a script in the place, with the program in the search path.
fn shell(place: &Place, script: &str) -> Ran {
    let programs = place.path("programs");
    std::fs::create_dir_all(&programs).expect("a folder");
    let program = programs.join("larder");
    if !program.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_larder"), &program).expect("a link");
    }
    let mut command = place.prepared(Command::new("bash"), ["-c", script]);
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("{}:{path}", programs.display()))
        .env_remove("DUPLICATI_HOME");
    Ran::of(command.output().expect("bash runs"))
}

#[test]
fn every_command_of_the_page_runs() {
    let place = Place::new();
    let set = fixtures().join("aes-default");
    copy(&set.join("dst"), &place.path("disk/photos"));
    let facts = std::fs::read(set.join("fixture.json")).expect("facts");
    let facts: serde_json::Value = serde_json::from_slice(&facts).expect("JSON");
    let passphrase = find_text(&facts, "passphrase").expect("a passphrase");
    place.write("home/Pictures/cat.jpg", b"a cat");
    place.write("data/SPUMIZSQON.sqlite", b"");
    let blocks: Vec<&str> = PAGE
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(blocks.len(), 5, "blocks of commands");
    let script = format!("set -e\n{}", blocks.join("\n"))
        .replace("the passphrase of the job", &passphrase)
        .replace("/mnt/disk", &place.text("disk"))
        .replace("/home/anna", &place.text("home"))
        .replace("/var/lib/duplicati", &place.text("data"));
    let ran = shell(&place, &script)
        .code(0)
        .says("\nexit code 1\n")
        .says("Built the local catalog anew");
    // Told once, by the first backup.
    let said: Vec<&str> = ran.err.lines().collect();
    let told = said.len() == 1 && said[0].starts_with("Notice: this backup was made by another");
    assert!(told, "{}", ran.err);
    assert!(place.path("disk/look").is_dir());
    let versions = std::fs::read(place.path("disk/versions.json")).expect("versions");
    let versions: serde_json::Value = serde_json::from_slice(&versions).expect("JSON");
    let count = versions["Versions"].as_array().map(Vec::len);
    assert_eq!(count, Some(4), "three of Duplicati and one of Larder");
}

/// The text of the first option of that name in the facts about a fixture.
fn find_text(facts: &serde_json::Value, name: &str) -> Option<String> {
    match facts {
        serde_json::Value::Object(members) => members.iter().find_map(|(key, value)| {
            value
                .as_str()
                .filter(|_| key == name)
                .map(str::to_owned)
                .or_else(|| find_text(value, name))
        }),
        serde_json::Value::Array(items) => items.iter().find_map(|item| {
            let option = item.as_str().and_then(|text| text.split_once('='));
            option
                .filter(|(key, _)| key.trim_start_matches('-') == name)
                .map(|(_, value)| value.to_owned())
                .or_else(|| find_text(item, name))
        }),
        _ => None,
    }
}

#[test]
fn exported_command_lines_run() {
    let mut seen = 0;
    for entry in std::fs::read_dir(fixtures().join("job-exports")).expect("the exports") {
        let file = entry.expect("an entry").path();
        let export = std::fs::read(&file).expect("an export");
        let export: serde_json::Value = serde_json::from_slice(&export).expect("JSON");
        let line = export["Command"].as_str().expect("a command line");
        let place = Place::new();
        for source in ["Documents", "Pictures"] {
            place.write(&format!("home/{source}/file"), source.as_bytes());
        }
        place.write("media/film", b"film");
        std::fs::create_dir_all(place.path("data")).expect("a folder");
        // Only paths and the host are changed; there is no S3 server here.
        let mut script = line
            .replace("/usr/bin/duplicati-cli", "larder")
            .replace("/mnt/backup", &place.text("backup"))
            .replace("/home/anna", &place.text("home"))
            .replace("/srv/media", &place.text("media"))
            .replace("/var/lib/duplicati", &place.text("data"))
            .replace("/var/log", &place.text("log"));
        if let Some((before, rest)) = script.split_once("\"s3://") {
            let (_, after) = rest.split_once('"').expect("the end of the URL");
            script = format!("{before}file://{}{after}", place.text("backup/s3"));
        }
        let missing: Vec<&str> = line
            .split(" --")
            .skip(1)
            .filter_map(|option| option.split('=').next())
            .filter(|name| {
                find_decl(name, &[engine::TABLE])
                    .is_some_and(|decl| matches!(decl.status, Status::NotYet))
            })
            .collect();
        let ran = shell(&place, &script).code(if missing.is_empty() { 0 } else { 2 });
        let told: Vec<&str> = ran
            .err
            .lines()
            .filter_map(|line| line.strip_prefix("Warning [OptionNotImplemented]: option --"))
            .filter_map(|rest| rest.split(' ').next())
            .collect();
        let sorted = |mut names: Vec<&str>| {
            names.sort_unstable();
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(sorted(told), sorted(missing), "{}", file.display());
        assert_eq!(
            ran.err.lines().count(),
            ran.err.matches("OptionNotImplemented").count(),
            "{}",
            ran.err
        );
        ran.says("Backup completed successfully!");
        seen += 1;
    }
    assert_eq!(seen, 3);
}
