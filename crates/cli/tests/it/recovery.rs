//! `recovery`: its words, names and exit codes, and the page about it, with a set that a real Duplicati made.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::destination::old;
use super::support::{Place, Ran};

const PAGE: &str = include_str!("../../../../docs/guide/recovery.md");
/// The passphrase of the set (fixtures/aes-default/fixture.json).
const OF_SET: &str = "correct horse ünd battery";

fn set() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/aes-default/dst")
}

/// A place with the set as its destination.
fn place() -> Place {
    let place = Place::new();
    for entry in std::fs::read_dir(set()).expect("a set") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("UTF-8");
        place.write(
            &format!("destination/{name}"),
            &std::fs::read(entry.path()).expect("a volume"),
        );
    }
    place
}

/// Runs the program with the passphrase of the set in the environment.
fn recovery(place: &Place, args: &[&str]) -> Ran {
    let mut command = place.command([&["recovery"], args].concat());
    command.env("PASSPHRASE", OF_SET);
    Ran::of(command.output().expect("the program starts"))
}

fn names(place: &Place, folder: &str, part: &str) -> Vec<String> {
    let entries = std::fs::read_dir(place.path(folder)).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .filter(|name| name.contains(part))
        .collect();
    names.sort();
    names
}

#[test]
fn every_command_of_the_page_runs() {
    let place = place();
    let programs = place.path("programs");
    std::fs::create_dir_all(&programs).expect("a folder");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_larder"), programs.join("larder"))
        .expect("a link");
    let blocks: Vec<&str> = PAGE
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(blocks.len(), 2, "blocks of commands");
    std::fs::rename(place.path("destination"), place.path("disk")).expect("moved");
    let script = format!("set -e\n{}", blocks.join("\n"))
        .replace("the passphrase of the job", OF_SET)
        .replace(
            "file:///mnt/disk/photos",
            &format!("file://{}", place.text("disk")),
        )
        .replace("/mnt/big", &place.text("big"));
    let mut command = place.prepared(Command::new("bash"), ["-c", &script]);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", programs.display()));
    Ran::of(command.output().expect("bash runs"))
        .code(0)
        .says("Downloaded 6 volumes")
        .says("Indexed 196 blocks in 3 volumes")
        .says("0\t: 2026-11-21 22:55:23")
        .says("settings.ini (180 bytes)")
        .says("Restored 61 (1.07 MiB) files");
    let restored = place.path("big/files/.config/app/settings.ini");
    assert_eq!(std::fs::metadata(restored).expect("a file").len(), 180);
    // Without a catalog.
    assert!(!place.path("state").exists() && !place.path("home").exists());
}

#[test]
fn damage_is_named_and_changes_the_exit_code() {
    let place = place();
    let data = place.stored_with("dblock");
    let path = place.path(&format!("destination/{}", data[0]));
    let mut bytes = std::fs::read(&path).expect("a volume");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&path, bytes).expect("written");
    let local = data[0].trim_end_matches(".aes").to_owned();
    let kept = format!("{local}.damaged");
    let url = place.url();
    recovery(&place, &["download", &url, "volumes"])
        .code(3)
        .says("Downloaded 5 volumes")
        .complains(&local)
        .complains(&format!("is kept as {kept}"))
        .complains("1 volume is damaged:");
    assert_eq!(
        names(&place, "volumes", &local),
        std::slice::from_ref(&kept)
    );
    recovery(&place, &["index", "volumes"])
        .code(2)
        .complains(&kept);
    let ran = recovery(&place, &["restore", "volumes", "--targetpath=out"]).code(2);
    assert!(ran.err.contains(&kept), "{}", ran.err);
    // The flipped bit costs the file that it is in.
    assert!(place.path("out/notes").is_dir());
    let lost = ran.err.matches("RestoreFailed").count();
    assert!((1..4).contains(&lost), "{}", ran.err);
    // A list that is gone costs its version, one that is cut is named.
    let lists = names(&place, "volumes", "dlist");
    std::fs::write(place.path(&format!("volumes/{}", lists[2])), b"PK").expect("written");
    recovery(&place, &["list", "volumes"])
        .code(2)
        .says("0\t: 2026-11-21 22:55:23 +00:00 (its list cannot be read)")
        .says("1\t: 2026-11-21 22:55:22")
        .complains(&lists[2]);
    recovery(&place, &["restore", "volumes", "0", "--targetpath=none"]).code(100);
    assert!(!place.path("none").exists());
    recovery(&place, &["restore", "volumes", "--targetpath=older"])
        .code(2)
        .complains("OlderVersionRestored");
    assert!(place.path("older/notes").is_dir());
}

#[test]
fn the_tool_answers_to_its_old_names() {
    let place = place();
    let (url, passphrase) = (place.url(), format!("--passphrase={OF_SET}"));
    let name = "Duplicati.CommandLine.RecoveryTool.exe";
    old(&place, name, &["download", &url, "volumes", &passphrase]).code(0);
    let name = "duplicati-recovery-tool";
    let retired = [
        "--reduce-memory-use=true",
        "--max-open-archives=10",
        "--disable-wrapped-zip",
    ];
    let args = [&["index", "volumes", "--indexfile=my.txt"][..], &retired].concat();
    old(&place, name, &args).code(0).says("my.txt");
    assert!(!place.path("volumes/index.txt").exists());
    old(
        &place,
        name,
        &[
            "list",
            "volumes",
            "0",
            "--include=*/settings.ini",
            "--exclude=*",
        ],
    )
    .code(0)
    .says("/srv/fixture/home/.config/app/settings.ini (180 bytes)");
    let args = [
        "restore",
        "volumes",
        "1D",
        "--targetpath=out",
        "--indexfile=my.txt",
        "--offset=3",
        "--disable-file-verify",
        "--exclude=*/media/",
    ];
    old(&place, name, &args).code(0).says("Restored ");
    assert!(place.path("out/notes").is_dir() && !place.path("out/media").exists());
    old(&place, name, &["recompress", "zip", &url, "new"])
        .code(200)
        .complains("recompress is not in this version");
    old(&place, name, &["help"])
        .code(0)
        .says("download <storage-URL>");
}

#[test]
fn a_restore_goes_only_where_it_is_told_to() {
    let place = place();
    let url = place.url();
    recovery(&place, &["download", &url, "volumes"]).code(0);
    recovery(&place, &["restore", "volumes"])
        .code(100)
        .fails_with("NoRestorePath")
        .complains("--targetpath");
    recovery(&place, &["restore", "volumes", "--targetpath="]).code(100);
    recovery(&place, &["restore", "volumes", "--targetpth=out"]).code(100);
    recovery(
        &place,
        &["restore", "volumes", "--targetpath=out", "--dry-run"],
    )
    .code(100)
    .fails_with("OptionNotImplemented");
    // Encrypted volumes in the folder are told from none.
    recovery(&place, &["list", "destination"])
        .code(100)
        .fails_with("EncryptedVolumes")
        .complains("recovery download");
    recovery(&place, &["index", "nowhere"])
        .code(100)
        .fails_with("FolderMissing")
        .complains("nowhere does not exist");
    std::fs::create_dir(place.path("empty")).expect("a folder");
    recovery(&place, &["index", "empty"])
        .code(100)
        .fails_with("EmptyRemoteLocation");
    for args in [
        &[][..],
        &["download", &url],
        &["index"],
        &["list"],
        &["restore", "volumes", "0", "more", "--targetpath=out"],
        &["something", "volumes"],
    ] {
        recovery(&place, args).code(200).complains("recovery");
    }
    place
        .run(["recovery", "download", &url, "other"])
        .code(100)
        .fails_with("PassphraseMissing");
    assert!(!place.path("out").exists());
}
