//! Backups onto sets made by Duplicati: what it has stored is not stored again, metadata included.
//!
//! The newest version is restored, then that tree is backed up under its original path onto a copy of the set. Metadata
//! is only then the same as in root's original backup when the test runs as root.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use larder_destination::{Operation, wrap::Recorder};
use larder_engine::source::{Root, SymlinkPolicy, WalkOptions};
use larder_engine::{BackupReport, RestoreRequest, Samples};
use larder_testkit::linter::{Entry, read_volume};
use larder_testkit::tree::{CompareOptions, Difference, Manifest, compare_manifests};
use larder_testkit::{Journal, MemoryDestination};

use crate::lint::new_faults;
use crate::support::{Fixture, User, fixtures, is_root};

/// A set with its newest version restored, ready to be continued.
struct Continued {
    set: Fixture,
    destination: MemoryDestination,
    journal: Journal,
    user: User,
    /// Keeps the tree.
    _folder: tempfile::TempDir,
    /// Where the source root was restored to.
    home: PathBuf,
}

impl Continued {
    fn new(set: Fixture) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let destination = set.destination();
        let request = RestoreRequest {
            patterns: Vec::new(),
            filters: Vec::new(),
            target: Some(folder.path().to_owned()),
        };
        set.user(&destination, &[])
            .run(
                &["--restore-permissions", "--dont-compress-restore-paths"],
                |engine| engine.restore(&request),
            )
            .unwrap_or_else(|error| panic!("{}: {error:?}", set.name));
        let home = folder.path().join("srv/fixture/home");
        let (recorder, journal) = recorded(&destination);
        let mut user = set.user(&destination, &[]);
        user.destination = recorder;
        Self {
            set,
            destination,
            journal,
            user,
            _folder: folder,
            home,
        }
    }

    fn backup(&self) -> BackupReport {
        let root = Root {
            os_path: self.home.clone(),
            stored: self.set.root.clone(),
        };
        let mut options = WalkOptions::default();
        if self.set.has("--symlink-policy=follow") {
            options.symlinks = SymlinkPolicy::Follow;
        }
        self.journal.clear();
        self.user
            .run(&["--no-auto-compact=true"], |engine| {
                engine.backup_roots(&[root], &options)
            })
            .unwrap_or_else(|error| {
                panic!("{}: {error:?}\n{}", self.set.name, self.user.log.text())
            })
    }

    fn follows(&self) -> bool {
        self.set.has("--symlink-policy=follow")
    }

    /// Blocks in the data volumes sent by the last backup.
    fn blocks_sent(&self) -> usize {
        self.new_blocks().len()
    }

    /// Entries of the data volumes sent by the last backup.
    fn new_blocks(&self) -> Vec<Entry> {
        let files = self.destination.files();
        let mut blocks = Vec::new();
        for name in self.journal.names(Operation::Put) {
            if name.contains(".dblock.") {
                let bytes = files.get(&name).expect("what was sent");
                let entries = read_volume(&name, bytes, self.set.passphrase.as_deref());
                blocks.extend(entries.unwrap_or_else(|fault| panic!("{name}: {fault}")));
            }
        }
        blocks.retain(|entry| entry.name != "manifest");
        blocks
    }

    /// Restores a version (0 = newest) and compares it.
    fn assert_version(&self, age: usize, tree: &Manifest) {
        let target = tempfile::tempdir().expect("a temporary folder");
        let version = format!("--version={age}");
        let request = RestoreRequest {
            patterns: Vec::new(),
            filters: Vec::new(),
            target: Some(target.path().to_owned()),
        };
        self.user
            .run(&[&version, "--restore-permissions"], |engine| {
                engine.restore(&request)
            })
            .unwrap_or_else(|error| panic!("{}: {error:?}", self.set.name));
        let found = Manifest::of(target.path()).expect("the restored tree");
        let options = if self.set.has("--skip-metadata=true") {
            CompareOptions::content_only()
        } else {
            CompareOptions {
                mtime_unit_ns: 100,
                ..CompareOptions::backed_up()
            }
        };
        let found = compare_manifests(tree, &found, &options);
        let lines: Vec<String> = found.iter().map(Difference::to_string).collect();
        assert!(
            lines.is_empty(),
            "{} -{age}: {}",
            self.set.name,
            lines.join("\n")
        );
    }

    /// Kinds of volumes sent by the last backup, in order.
    fn sent(&self) -> Vec<String> {
        let names = self.journal.names(Operation::Put);
        let kind = |name: &String| {
            name.split('.')
                .rev()
                .find(|part| part.starts_with('d'))
                .map(str::to_owned)
        };
        names
            .iter()
            .map(|name| kind(name).unwrap_or_else(|| name.clone()))
            .collect()
    }
}

fn recorded(
    destination: &MemoryDestination,
) -> (std::sync::Arc<dyn larder_destination::Destination>, Journal) {
    let recorder = Recorder::new(destination.shared());
    let journal = recorder.journal();
    (std::sync::Arc::new(recorder), journal)
}

/// Four links of the set `follow-links` are in it as files and folders with the *link's* owner, mode and times and the
/// attribute `ReparsePoint`. Larder records what a followed link leads to: a private file must not come back readable
/// for all because a link has the mode 0777. So these entries, and only these, are stored anew, once.
const FOLLOWED: usize = 4;

#[test]
fn an_unchanged_tree_uploads_nothing() {
    if !is_root() {
        return larder_testkit::pass_over("root", "files cannot be given away");
    }
    let mut failures = Vec::new();
    for set in fixtures() {
        let work = Continued::new(set);
        let mut report = work.backup();
        if work.follows() {
            assert_eq!(
                report.modified_files + report.modified_folders,
                FOLLOWED as u64,
                "{report:?}"
            );
            assert_eq!(work.sent(), ["dblock", "dindex", "dlist"]);
            assert_eq!(work.blocks_sent(), FOLLOWED);
            work.user.clock.set(1_800_000_100);
            report = work.backup();
        }
        let sent = work.sent();
        let changed = report.modified_files + report.modified_folders + report.modified_symlinks;
        if !sent.is_empty() || changed > 0 || report.common.warnings_actual_length > 0 {
            failures.push(format!("{}: {sent:?} {report:?}", work.set.name));
        }
        assert_eq!(report.version_time, None, "{}", work.set.name);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Writes a file and gives it a time of its own, so that its metadata is not another's.
fn write(path: &Path, content: &[u8], seconds: u64) {
    fs::write(path, content).expect("a file");
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    let file = fs::File::options().write(true).open(path);
    file.and_then(|file| file.set_modified(time))
        .expect("a time");
}

#[test]
fn a_small_change_uploads_only_that() {
    if !is_root() {
        return larder_testkit::pass_over("root", "files cannot be given away");
    }
    for set in fixtures() {
        let work = Continued::new(set);
        let name = work.set.name.as_str();
        if work.follows() {
            work.backup();
            work.user.clock.set(1_800_000_100);
        }
        let before = Manifest::of(&work.home).expect("the tree");
        write(&work.home.join(".hidden"), b"changed", 1_790_000_000);
        write(&work.home.join("notes/added.txt"), b"added", 1_790_000_001);

        let report = work.backup();
        let has_metadata = !work.set.has("--skip-metadata=true");
        assert_eq!(report.added_files, 1, "{name}");
        assert_eq!(report.modified_files, 1, "{name}");
        assert_eq!(report.modified_folders, u64::from(has_metadata), "{name}");
        if has_metadata {
            // Without it the restored files have new times, so that all are read. Where no index repeats the blocklists,
            // nobody knows whether the blocks of large files are there, so these are read once.
            let large = match work.set.has("--index-file-policy=None") {
                true => 7,
                false => 0,
            };
            assert_eq!(report.opened_files, 2 + large, "{name}");
        }
        let expected: &[&str] = if work.set.has("--index-file-policy=None") {
            &["dblock", "dlist"]
        } else {
            &["dblock", "dindex", "dlist"]
        };
        assert_eq!(work.sent(), expected, "{name}");
        // The contents of both files, and the metadata of both and of their folder.
        let blocks = if has_metadata { 5 } else { 2 };
        assert_eq!(work.blocks_sent(), blocks, "{name}");
        // Deflate is continued with deflate, so that the next Duplicati reads it without a warning.
        let zstd = work
            .new_blocks()
            .iter()
            .any(|entry| entry.method == Some(93));
        assert!(!zstd, "{name}: Zstandard in a set of deflate");
        let faults = new_faults(&work.set, &work.destination);
        assert!(faults.is_empty(), "{name}: {}", faults.join("\n"));

        work.assert_version(0, &Manifest::of(&work.home).expect("the tree"));
        work.assert_version(1, &before);
        let checked = work
            .user
            .run(&[], |engine| engine.test(Samples::All))
            .expect("a check");
        assert_eq!(checked.damaged(), 0, "{name}: {:?}", checked.verifications);
    }
}

#[test]
fn the_first_write_to_a_set_of_another_program_is_told_once() {
    let set = fixtures()
        .into_iter()
        .find(|set| set.name == "aes-default")
        .expect("the set");
    let continued = Continued::new(set);
    continued.backup();
    std::fs::write(continued.home.join("a new file"), "x").expect("a file");
    continued.backup();
    let text = continued.user.log.text();
    let told = text.matches("before that program uses it again").count();
    assert_eq!(told, 1, "{text}");
}
