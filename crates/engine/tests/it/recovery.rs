//! Recovery from a folder: every set whole, and with each kind of damage.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder_destination::wrap::{Failure, FaultPlan, Faults};
use larder_destination::{Clock, Destination, ErrorKind, FixedClock, Operation};
use larder_engine::{
    Cancel, Outcome, Recovery, RecoveryReport, RecoveryRequest, RestoreReport, Result,
    SystemRandom, ToolSetup,
};
use larder_options::{Origin, Secret, Values};
use larder_testkit::MemoryDestination;
use tempfile::TempDir;

use crate::golden::wrong_in;
use crate::support::{Fixture, Log, fixture, fixtures};

/// A set, a folder for its volumes, and what was said.
struct Place {
    set: Fixture,
    temp: TempDir,
    log: Log,
}

impl Place {
    fn new(set: Fixture) -> Self {
        Self {
            set,
            temp: tempfile::tempdir().expect("a temporary folder"),
            log: Log::default(),
        }
    }

    /// With the volumes downloaded.
    fn downloaded(name: &str) -> Self {
        let place = Self::new(fixture(name));
        let report = place.download(&place.set.destination());
        assert_eq!(
            report.common.parsed_result,
            Outcome::Success,
            "{}",
            place.said()
        );
        place
    }

    fn folder(&self) -> PathBuf {
        self.temp.path().join("volumes")
    }

    fn said(&self) -> String {
        self.log.text()
    }

    fn tool(&self, more: &[&str]) -> Recovery {
        let mut values = Values::new();
        for option in more {
            let option = option.strip_prefix("--").expect("an option");
            let (name, value) = option
                .split_once('=')
                .map_or((option, None), |(name, value)| (name, Some(value)));
            values.set(name, value, Origin::CommandLine);
        }
        values.set("retry-delay", Some("0"), Origin::CommandLine);
        Recovery::new(ToolSetup {
            values,
            passphrase: self.set.passphrase.as_deref().map(Secret::new),
            clock: Arc::new(FixedClock::new(1_800_000_000)) as Arc<dyn Clock>,
            random: Arc::new(SystemRandom),
            monitor: Arc::new(self.log.clone()),
            cancel: Cancel::new(),
        })
        .expect("a recovery")
    }

    fn download(&self, from: &MemoryDestination) -> RecoveryReport {
        self.try_download(from, &[])
            .unwrap_or_else(|error| panic!("{error:?}\n{}", self.said()))
    }

    fn try_download(&self, from: &MemoryDestination, more: &[&str]) -> Result<RecoveryReport> {
        self.download_through(from.shared(), more)
    }

    fn download_through(
        &self,
        from: Arc<dyn Destination>,
        more: &[&str],
    ) -> Result<RecoveryReport> {
        let runtime = crate::rig::runtime();
        self.tool(more).download(from, runtime, &self.folder())
    }

    fn index(&self) -> RecoveryReport {
        let index = self.tool(&[]).index(&self.folder(), None);
        index.unwrap_or_else(|error| panic!("{error:?}\n{}", self.said()))
    }

    fn request(&self, version: Option<&str>, target: &Path) -> RecoveryRequest {
        RecoveryRequest {
            folder: self.folder(),
            index_file: None,
            version: version.map(str::to_owned),
            filters: Vec::new(),
            target: target.to_owned(),
        }
    }

    fn restore(&self, version: Option<&str>, target: &Path) -> RestoreReport {
        let more = ["--restore-permissions"];
        let restored = self.tool(&more).restore(&self.request(version, target));
        restored.unwrap_or_else(|error| panic!("{error:?}\n{}", self.said()))
    }

    /// Names in the folder that hold a text, sorted.
    fn names(&self, part: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder()).expect("the folder");
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

    /// Changes a file of the folder.
    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.folder().join(name);
        let mut bytes = std::fs::read(&path).expect("a volume");
        change(&mut bytes);
        std::fs::write(&path, bytes).expect("written");
    }

    /// What is wrong with a restored version beside files that are missing because they are named as lost.
    fn wrong_beside_lost(&self, age: usize, target: &Path, report: &RestoreReport) -> String {
        let tree = self.set.versions.iter().rev().nth(age).cloned().flatten();
        let mut tree = tree.expect("a known tree");
        let root = String::from_utf8(self.set.root.clone()).expect("UTF-8");
        for lost in &report.broken_remote_files {
            let path = lost.strip_prefix(&root).expect("a path of the set");
            let path = path.strip_suffix('/').unwrap_or(path);
            assert!(tree.entries.remove(path.as_bytes()).is_some(), "{lost}");
        }
        // Of what has no metadata any more the mode and time are those of now.
        let mut set = fixture(&self.set.name);
        if report.entries_without_metadata > 0 {
            set.options.push("--skip-metadata=true".into());
        }
        wrong_in(&set, Some(&tree), target)
    }
}

/// The largest of some files.
fn largest(place: &Place, names: &[String]) -> String {
    let len = |name: &&String| {
        std::fs::metadata(place.folder().join(name))
            .expect("a file")
            .len()
    };
    names.iter().max_by_key(len).expect("a file").clone()
}

fn flip(bytes: &mut [u8], at: usize) {
    bytes[at] ^= 0x10;
}

#[test]
fn every_version_of_every_set_comes_back_from_a_folder() {
    let mut failures = Vec::new();
    for set in fixtures() {
        let name = set.name.clone();
        let place = Place::new(set);
        let report = place.download(&place.set.destination());
        assert_eq!(report.damaged_files, Vec::<String>::new(), "{name}");
        assert!(report.fetched_files > 1 && report.present_files == 0);
        assert!(place.names(".aes").is_empty() && place.names(".gpg").is_empty());
        assert!(place.names("dindex").is_empty());
        let again = place.download(&place.set.destination());
        let counts = (again.fetched_files, again.present_files);
        assert_eq!(counts, (0, report.fetched_files), "{name}");
        let index = place.index();
        assert_eq!(index.common.parsed_result, Outcome::Success, "{name}");
        let listed = place
            .tool(&[])
            .list(&place.folder(), None, &[])
            .expect("versions");
        assert_eq!(listed.versions.len(), place.set.versions.len(), "{name}");
        for (age, tree) in place.set.versions.iter().rev().enumerate() {
            assert_eq!(
                listed.versions[age].is_full_backup,
                tree.is_some(),
                "{name}"
            );
            let target = tempfile::tempdir().expect("a temporary folder");
            let report = place.restore(Some(&age.to_string()), target.path());
            if report.common.errors_actual_length > 0 {
                failures.push(format!("{name} -{age}: {:?}", report.common.errors));
            }
            let wrong = wrong_in(&place.set, tree.as_ref(), target.path());
            if !wrong.is_empty() {
                failures.push(format!("{name} -{age}: {wrong}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_index_is_a_sorted_list_of_all_blocks() {
    let place = Place::downloaded("aes-default");
    let report = place.index();
    let text = std::fs::read_to_string(place.folder().join("index.txt")).expect("the index");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len() as u64, report.blocks);
    assert!(lines.is_sorted() && lines.len() > 100);
    let volumes = place.names("dblock");
    for line in &lines {
        let (hash, volume) = line.split_once(", ").expect("two parts");
        assert!(
            hash.len() == 44 && hash.ends_with('=') && !hash.contains(['-', '_']),
            "{line}"
        );
        assert!(volumes.iter().any(|name| name == volume), "{line}");
    }
    // The folder is that of Duplicati's tool then, too: what is there is replaced, but only if it is an index.
    place.index();
    std::fs::write(place.folder().join("index.txt"), "my own notes\n").expect("written");
    let error = place.tool(&[]).index(&place.folder(), None).unwrap_err();
    assert_eq!(error.id(), Some("FileExists"));
    let kept = std::fs::read_to_string(place.folder().join("index.txt")).expect("the notes");
    assert_eq!(kept, "my own notes\n");
}

#[test]
fn a_lost_or_wrong_index_costs_nothing() {
    let spoil: [fn(&mut Vec<u8>); 5] = [
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.clear(),
        |bytes| bytes.fill(b'x'),
        |bytes| {
            for at in (0..bytes.len()).step_by(97) {
                flip(bytes, at);
            }
        },
        |bytes| {
            let text = String::from_utf8(bytes.clone()).expect("text");
            let mut lines: Vec<&str> = text.lines().collect();
            lines.reverse();
            *bytes = lines.join("\n").into_bytes();
        },
    ];
    let place = Place::downloaded("aes-default");
    let tree = place.set.versions.last().cloned().flatten();
    for spoil in spoil.iter().map(Some).chain([None]) {
        let _ = std::fs::remove_file(place.folder().join("index.txt"));
        place.index();
        match spoil {
            Some(spoil) => place.change("index.txt", *spoil),
            None => std::fs::remove_file(place.folder().join("index.txt")).expect("removed"),
        }
        let target = tempfile::tempdir().expect("a temporary folder");
        let report = place.restore(None, target.path());
        assert_eq!(
            report.common.errors_actual_length, 0,
            "{:?}",
            report.common.errors
        );
        assert_eq!(wrong_in(&place.set, tree.as_ref(), target.path()), "");
        // A restore writes nothing beside its target.
        assert_eq!(place.folder().join("index.txt").exists(), spoil.is_some());
    }
    assert!(
        place.said().contains("IndexFileOutdated"),
        "{}",
        place.said()
    );
}

#[test]
fn a_missing_data_volume_costs_what_was_in_it() {
    for name in ["aes-default", "released-2.1.0.5"] {
        let place = Place::downloaded(name);
        place.index();
        let volumes = place.names("dblock");
        let lost = largest(&place, &volumes);
        std::fs::remove_file(place.folder().join(&lost)).expect("removed");
        let target = tempfile::tempdir().expect("a temporary folder");
        let report = place.restore(Some("0"), target.path());
        assert!(report.broken_remote_files_actual_length > 0, "{name}");
        assert!(report.restored_files > 0 || volumes.len() == 1, "{name}");
        assert_eq!(
            place.wrong_beside_lost(0, target.path(), &report),
            "",
            "{name}"
        );
    }
}

#[test]
fn a_cut_or_changed_data_volume_costs_the_damaged_blocks() {
    let truncate: fn(&mut Vec<u8>) = |bytes| bytes.truncate(bytes.len() * 2 / 3);
    let change: fn(&mut Vec<u8>) = |bytes| {
        let middle = bytes.len() / 2;
        flip(bytes, middle);
    };
    let cut_short: fn(&mut Vec<u8>) = |bytes| bytes.truncate(10);
    for name in [
        "aes-default",
        "released-2.1.0.5",
        "zip-stored",
        "sha512-md5",
    ] {
        for (kind, damage) in [("cut", truncate), ("flipped", change), ("gone", cut_short)] {
            let place = Place::downloaded(name);
            let volume = largest(&place, &place.names("dblock"));
            place.change(&volume, damage);
            let index = place.index();
            if kind != "flipped" {
                assert_eq!(
                    index.damaged_files,
                    std::slice::from_ref(&volume),
                    "{name} {kind}"
                );
            }
            let target = tempfile::tempdir().expect("a temporary folder");
            let report = place.restore(Some("0"), target.path());
            let lost = report.broken_remote_files_actual_length + report.entries_without_metadata;
            assert!(lost > 0, "{name} {kind}");
            if kind == "flipped" {
                // One block, and so the files of one content.
                assert!(lost < 5, "{name}: {lost} {:?}", report.broken_remote_files);
            }
            let errors = report.common.errors.join("\n");
            let said = place.said();
            assert!(
                said.lines()
                    .any(|line| line.contains(" DamagedVolume: ") && line.contains(&volume)),
                "{errors}\n{said}"
            );
            assert_eq!(
                place.wrong_beside_lost(0, target.path(), &report),
                "",
                "{name} {kind}"
            );
            let left: Vec<_> = std::fs::read_dir(target.path())
                .expect("the target")
                .collect();
            let is_temporary = |name: &str| name.starts_with(".larder-");
            assert!(
                !left
                    .iter()
                    .flatten()
                    .any(|e| is_temporary(&e.file_name().to_string_lossy()))
            );
        }
    }
}

#[test]
fn a_damaged_list_costs_its_version() {
    let place = Place::downloaded("aes-default");
    let lists = place.names("dlist");
    let newest = lists.last().expect("a list").clone();
    place.change(&newest, |bytes| {
        let middle = bytes.len() / 2;
        flip(bytes, middle);
    });
    let listed = place
        .tool(&[])
        .list(&place.folder(), None, &[])
        .expect("versions");
    let unreadable: Vec<bool> = listed.versions.iter().map(|v| v.is_unreadable).collect();
    assert_eq!(unreadable, [true, false, false]);
    assert!(
        listed.common.errors[0].contains(&newest),
        "{:?}",
        listed.common.errors
    );
    // The newest that is whole.
    let target = tempfile::tempdir().expect("a temporary folder");
    let report = place.restore(None, target.path());
    assert_eq!(report.broken_remote_files_actual_length, 0);
    let older = place.set.versions[1].clone();
    assert_eq!(wrong_in(&place.set, older.as_ref(), target.path()), "");
    let said = report.common.warnings.join("\n");
    assert!(said.contains("OlderVersionRestored"), "{said}");
    assert!(
        report.common.errors[0].contains(&newest),
        "{:?}",
        report.common.errors
    );
    // What is left of the newest.
    let target = tempfile::tempdir().expect("a temporary folder");
    let report = place.restore(Some("0"), target.path());
    assert!(report.restored_files > 3, "{}", report.restored_files);
    assert!(
        report.common.errors[0].contains(&newest),
        "{:?}",
        report.common.errors
    );
    // Without the lists nothing says which files there were.
    for list in lists {
        std::fs::remove_file(place.folder().join(list)).expect("removed");
    }
    let error = place
        .tool(&[])
        .list(&place.folder(), None, &[])
        .unwrap_err();
    assert_eq!(error.id(), Some("EmptyRemoteLocation"));
}

#[test]
fn versions_have_numbers_names_and_times() {
    let place = Place::downloaded("aes-default");
    let lists = place.names("dlist");
    let listed = |version: &str| {
        let report = place.tool(&[]).list(&place.folder(), Some(version), &[]);
        report.map(|report| report.versions[0].version)
    };
    assert_eq!(listed("1").expect("a version"), 1);
    assert_eq!(listed(&lists[0]).expect("a version"), 2);
    assert_eq!(
        listed(&format!("/some/where/{}.aes", lists[1])).expect("a version"),
        1
    );
    assert_eq!(listed("2026-12-31").expect("a version"), 0);
    assert_eq!(listed("1D").expect("a version"), 0);
    for text in ["3", "2001-01-01", "duplicati-20200101T000000Z.dlist.zip"] {
        let error = listed(text).unwrap_err();
        assert_eq!(error.id(), Some("NoSuchVersion"), "{text}: {error}");
    }
    let files = place
        .tool(&[])
        .list(&place.folder(), Some("0"), &[])
        .expect("files");
    let files = files.files.to_vec().expect("files");
    let tree = place.set.versions[2].as_ref().expect("a tree");
    let root = String::from_utf8(place.set.root.clone()).expect("UTF-8");
    let settings = format!("{root}.config/app/settings.ini");
    let settings = files
        .iter()
        .find(|file| file.path == settings)
        .expect("a known file");
    assert_eq!(settings.sizes, [Some(180)]);
    assert_eq!(files.len(), tree.entries.len() + 1, "with the root");
    let filters = [(
        larder_engine::source::Action::Exclude,
        "*/media/".to_owned(),
    )];
    let fewer = place
        .tool(&[])
        .list(&place.folder(), Some("0"), &filters)
        .expect("files");
    let fewer = fewer.files.to_vec().expect("files");
    assert!(fewer.len() < files.len() && !fewer.iter().any(|f| f.path.contains("/media/")));
}

#[test]
fn a_download_goes_on_and_keeps_what_is_whole() {
    let place = Place::new(fixture("aes-default"));
    let destination = place.set.destination();
    let whole = Place::downloaded("aes-default");
    let remote = destination
        .names()
        .into_iter()
        .find(|name| name.contains("dblock"));
    let remote = remote.expect("a data volume");
    let local = remote.strip_suffix(".aes").expect("the ending").to_owned();
    let good = destination.files().remove(&remote).expect("content");
    // Damaged there: what is left is kept apart.
    let mut bad = good.to_vec();
    let middle = bad.len() / 2;
    flip(&mut bad, middle);
    destination.insert(&remote, bad);
    let report = place.download(&destination);
    assert_eq!(report.damaged_files, std::slice::from_ref(&local));
    assert_eq!(report.common.parsed_result, Outcome::Error);
    assert_eq!(place.names(&local), [format!("{local}.damaged")]);
    let index = place.index();
    assert_eq!(index.damaged_files, [format!("{local}.damaged")]);
    let target = tempfile::tempdir().expect("a temporary folder");
    let restored = place.restore(Some("0"), target.path());
    let lost = restored.broken_remote_files_actual_length + restored.entries_without_metadata;
    assert!(lost < 5, "{:?}", restored.broken_remote_files);
    assert_eq!(place.wrong_beside_lost(0, target.path(), &restored), "");
    // Whole again: it takes the place of what was left.
    destination.insert(&remote, good.clone());
    let report = place.download(&destination);
    assert_eq!((report.fetched_files, report.damaged_files.len()), (1, 0));
    assert_eq!(place.names(&local), std::slice::from_ref(&local));
    // Damaged there once more: what is whole here stays.
    destination.insert(&remote, vec![1; good.len()]);
    let report = place.download(&destination);
    assert_eq!((report.fetched_files, report.damaged_files.len()), (0, 0));
    // Damaged here: fetched again, but not replaced by what is damaged, too.
    place.change(&local, |bytes| bytes.truncate(bytes.len() / 2));
    let cut = std::fs::read(place.folder().join(&local)).expect("the cut file");
    let report = place.download(&destination);
    assert_eq!(report.damaged_files, std::slice::from_ref(&local));
    assert_eq!(
        std::fs::read(place.folder().join(&local)).expect("a file"),
        cut
    );
    destination.insert(&remote, good);
    place.download(&destination);
    for name in place.names("") {
        let file = |place: &Place| std::fs::read(place.folder().join(&name)).ok();
        if name != "index.txt" {
            assert_eq!(file(&place), file(&whole), "{name}");
        }
    }
}

#[test]
fn a_wrong_passphrase_stops_a_download() {
    for name in ["aes-default", "gpg"] {
        let mut place = Place::new(fixture(name));
        place.set.passphrase = Some("not this one".into());
        let error = place
            .try_download(&place.set.destination(), &[])
            .unwrap_err();
        assert_eq!(error.id(), Some("WrongPassphrase"), "{name}: {error:?}");
        assert!(place.names("").is_empty(), "{:?}", place.names(""));
        place.set.passphrase = None;
        let error = place
            .try_download(&place.set.destination(), &[])
            .unwrap_err();
        assert_eq!(error.id(), Some("PassphraseMissing"), "{name}");
    }
}

/// Whoever can write to the destination could put a list of their own beside the encrypted ones.
#[test]
fn plain_volumes_beside_encrypted_ones_are_passed_over() {
    let place = Place::new(fixture("aes-default"));
    let destination = place.set.destination();
    let forged = fixture("zip-stored").destination();
    let list = forged
        .names()
        .into_iter()
        .find(|name| name.contains("dlist"));
    let list = list.expect("a list");
    destination.insert(&list, forged.files().remove(&list).expect("content"));
    let report = place.download(&destination);
    assert!(report.common.warnings[0].contains("UnencryptedVolumes"));
    assert!(!place.folder().join(&list).exists());
    // All of them were replaced.
    let replaced = Place::new(fixture("aes-default"));
    let error = replaced.try_download(&forged, &[]).unwrap_err();
    assert_eq!(error.id(), Some("EncryptionChanged"));
    replaced
        .try_download(&forged, &["--no-encryption"])
        .expect("a download");
    let allow = ["--allow-unencrypted-volumes"];
    let report = place
        .try_download(&destination, &allow)
        .expect("a download");
    assert_eq!(report.fetched_files, 1);
    assert!(place.folder().join(&list).exists());
}

#[test]
fn nothing_that_is_there_is_replaced() {
    let place = Place::downloaded("aes-default");
    let target = tempfile::tempdir().expect("a temporary folder");
    let mine = target.path().join(".config/app/settings.ini");
    std::fs::create_dir_all(mine.parent().expect("a folder")).expect("folders");
    std::fs::write(&mine, "mine").expect("written");
    for round in 0..2 {
        let request = place.request(None, target.path());
        let report = place
            .tool(&["--overwrite"])
            .restore(&request)
            .expect("a restore");
        assert_eq!(std::fs::read_to_string(&mine).expect("mine"), "mine");
        let beside = mine.with_file_name("settings.2026-11-21.ini");
        assert_eq!(
            std::fs::metadata(&beside).expect("the restored one").len(),
            180
        );
        let (written, kept) = (report.restored_files, report.kept_files);
        match round {
            0 => assert!(written > 50 && kept == 1),
            _ => assert_eq!((written, kept, report.unmodified_files), (0, 0, 61)),
        }
    }
}

#[test]
fn a_hostile_list_writes_below_the_target_only() {
    let mut forge = crate::forge::Forge::default();
    forge
        .file("/a/ok", "good")
        .file("/a/../../../escaped", "bad")
        .file("/a/..", "bad")
        .link("/a/way", "/tmp")
        .link("/a/out", "../..")
        .file("/a/out/through", "bad")
        .file("/a/way/larder-through", "bad")
        .folder("/a/x/../../y/");
    let store = MemoryDestination::new();
    forge.store(&store);
    let mut place = Place::new(fixture("zip-stored"));
    place.set.passphrase = None;
    place.download(&store);
    let target = place.temp.path().join("deep/er/target");
    let report = place.restore(None, &target);
    assert_eq!(
        std::fs::read_to_string(target.join("ok")).expect("a file"),
        "good"
    );
    for outside in [
        "deep/escaped",
        "escaped",
        "deep/er/through",
        "deep/through",
        "y",
        "deep/er/y",
    ] {
        assert!(!place.temp.path().join(outside).exists(), "{outside}");
    }
    assert!(!Path::new("/tmp/larder-through").exists());
    let broken = report.broken_local_files_actual_length + report.broken_remote_files_actual_length;
    assert!(
        broken >= 3,
        "{:?} {:?}",
        report.broken_local_files,
        report.broken_remote_files
    );
    // An index that leads out of the folder leads nowhere.
    let index = place.folder().join("index.txt");
    std::fs::write(&index, "AAAA, ../../outside\n").expect("written");
    let elsewhere = place.temp.path().join("elsewhere");
    let again = place.restore(None, &elsewhere);
    assert_eq!(again.restored_files, report.restored_files);
}

#[test]
fn what_goes_wrong_on_the_way_is_tried_again_and_a_stopped_download_goes_on() {
    let place = Place::new(fixture("aes-default"));
    let plan = FaultPlan::new();
    let store = place.set.destination().shared();
    let faulty: Arc<dyn Destination> = Arc::new(Faults::new(store, plan.clone()));
    plan.push(Operation::Get, Failure::Flip(5_000));
    plan.push(Operation::Get, Failure::Before(ErrorKind::Network));
    plan.push(Operation::Get, Failure::Cut(100));
    // The listing is the first call; three files come, with a repetition for each fault.
    plan.fail_after(7, Failure::Before(ErrorKind::Network));
    let few = ["--number-of-retries=1"];
    let stopped = place.download_through(Arc::clone(&faulty), &few);
    assert_eq!(stopped.unwrap_err().id(), Some("DestinationUnavailable"));
    let came = place.names("zip").len() as u64;
    assert!((1..6).contains(&came), "{came} {}", place.said());
    let report = place.download(&place.set.destination());
    let counts = (report.fetched_files, report.present_files);
    assert_eq!(counts, (6 - came, came));
    assert!(place.names(".unfinished").is_empty() && place.names(".damaged").is_empty());
    let target = tempfile::tempdir().expect("a temporary folder");
    let tree = place.set.versions.last().cloned().flatten();
    place.restore(None, target.path());
    assert_eq!(wrong_in(&place.set, tree.as_ref(), target.path()), "");
}

/// One that is stopped leaves nothing unfinished, and the same command goes on.
#[test]
fn a_restore_goes_on_where_it_ended() {
    let place = Place::downloaded("aes-default");
    let target = tempfile::tempdir().expect("a temporary folder");
    place.restore(Some("0"), target.path());
    let gone = target.path().join("media");
    std::fs::remove_dir_all(&gone).expect("removed");
    // As a killed run leaves them.
    let name = format!(".larder-{}.unfinished", "0".repeat(32));
    assert!(larder_engine::source::is_temporary_name(name.as_bytes()));
    for folder in ["", "notes"] {
        std::fs::write(target.path().join(folder).join(&name), "half").expect("written");
    }
    let report = place.restore(Some("0"), target.path());
    assert!(report.restored_files > 0 && report.unmodified_files > 40);
    assert_eq!(report.restored_files + report.unmodified_files, 61);
    let tree = place.set.versions.last().cloned().flatten();
    assert_eq!(wrong_in(&place.set, tree.as_ref(), target.path()), "");
}

/// A bit of an encrypted list was changed: what is left of it is nothing that a version is restored from unasked.
#[test]
fn a_list_that_was_changed_at_the_destination_is_kept_and_not_trusted() {
    let place = Place::new(fixture("aes-default"));
    let destination = place.set.destination();
    let names = destination.names();
    let lists: Vec<_> = names.iter().filter(|name| name.contains("dlist")).collect();
    let newest = lists.last().expect("a list");
    // The end of the encrypted data, where a zip has its directory: what matters can still be read.
    let len = destination.files()[*newest].len();
    assert!(destination.flip(newest, len - 45));
    let report = place.download(&destination);
    let local = newest.strip_suffix(".aes").expect("the ending");
    assert_eq!(report.damaged_files, [local]);
    assert_eq!(place.names(local), [format!("{local}.damaged")]);
    let target = tempfile::tempdir().expect("a temporary folder");
    let report = place.restore(None, target.path());
    let older = place.set.versions[1].clone();
    assert_eq!(wrong_in(&place.set, older.as_ref(), target.path()), "");
    assert!(
        report
            .common
            .warnings
            .iter()
            .any(|text| text.contains("OlderVersionRestored"))
    );
    let target = tempfile::tempdir().expect("a temporary folder");
    let report = place.restore(Some("0"), target.path());
    assert!(report.restored_files > 50);
    let said = report.common.warnings.join("\n");
    assert!(
        said.contains(&format!("{local}.damaged is damaged")),
        "{said}"
    );
}
