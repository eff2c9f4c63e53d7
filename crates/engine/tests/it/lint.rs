//! What is written keeps the writer's checklist, by the judgement of a linter that shares no code with the engine.

use std::collections::BTreeSet;
use std::path::Path;

use larder_destination::Operation;
use larder_destination::wrap::Recorder;
use larder_engine::source::WalkOptions;
use larder_engine::{BackupRequest, RestoreRequest, Samples};
use larder_testkit::linter::{IndexRule, Rules, lint, read_volume};
use larder_testkit::tree::{
    CompareOptions, Difference, Manifest, build_random, build_torture, compare_manifests,
    edit_random,
};
use larder_testkit::{Journal, MemoryDestination};
use rustix::fs::XattrFlags;

use crate::support::{Fixture, User, fixtures, is_root};

/// What a set made by Duplicati may be like.
pub fn rules_of(set: &Fixture) -> Rules {
    Rules {
        index: if set.has("--index-file-policy=None") {
            IndexRule::None
        } else if set.has("--index-file-policy=Lookup") {
            IndexRule::Lookup
        } else {
            IndexRule::Full
        },
        // Compaction leaves some waste, a killed run leaves what it had sent.
        unused_blocks: ["compacted", "interrupted", "released-2.2.0.3"]
            .contains(&set.name.as_str()),
    }
}

/// What the linter rightly finds in sets of Duplicati; no reader is disturbed.
const FAULTS_OF_DUPLICATI: [(&str, &str); 2] = [
    // The metadata of the link that leads nowhere was stored, and then the link was left out.
    ("follow-links", "1 blocks are used by no version"),
    // The list that it wrote for the killed run: the file's row of one run with the metadata of the other.
    (
        "interrupted",
        "\"/srv/fixture/home/media/big.bin\": 20240802T230653Z is not the time in its metadata",
    ),
];

/// Faults of a set, or of what it became, other than those it came with.
pub fn new_faults(set: &Fixture, destination: &MemoryDestination) -> Vec<String> {
    let (faults, excused) = faults_and_excused(set, destination);
    let known = FAULTS_OF_DUPLICATI
        .iter()
        .filter(|(name, _)| *name == set.name);
    assert_eq!(excused, known.count(), "{}", set.name);
    faults
}

/// The same, and how many of those it came with there are.
pub fn faults_and_excused(set: &Fixture, destination: &MemoryDestination) -> (Vec<String>, usize) {
    let files = destination.files();
    let mut faults = lint(&files, set.passphrase.as_deref(), rules_of(set));
    let before = faults.len();
    for (name, fault) in FAULTS_OF_DUPLICATI {
        if name == set.name {
            faults.retain(|found| !found.ends_with(fault));
        }
    }
    let excused = before - faults.len();
    // Releases packed the blocklists in their indexes; which did is of no use to anybody.
    if set.name.starts_with("released-") {
        faults.retain(|found| !found.ends_with("is not stored as it is"));
    }
    (faults, excused)
}

#[test]
fn sets_made_by_duplicati_have_no_other_faults() {
    let mut faults = Vec::new();
    for set in fixtures() {
        let found = new_faults(&set, &set.destination());
        faults.extend(
            found
                .into_iter()
                .map(|fault| format!("{}: {fault}", set.name)),
        );
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A backup being made, with what each version should be.
struct Written {
    destination: MemoryDestination,
    journal: Journal,
    user: User,
    source: tempfile::TempDir,
    versions: Vec<Manifest>,
    options: Vec<String>,
}

impl Written {
    fn new(options: &[&str]) -> Self {
        let destination = MemoryDestination::new();
        let recorder = Recorder::new(destination.shared());
        let journal = recorder.journal();
        let plain = options.contains(&"--no-encryption");
        let mut user = User::new(
            std::sync::Arc::new(recorder),
            (!plain).then_some("näht wax"),
        );
        user.options = options.iter().map(|o| (*o).to_owned()).collect();
        Self {
            destination,
            journal,
            user,
            source: tempfile::tempdir().expect("a temporary folder"),
            versions: Vec::new(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
        }
    }

    fn backup(&mut self) {
        self.versions
            .push(Manifest::of(self.source.path()).expect("the source"));
        self.user
            .clock
            .set(1_800_000_000 + 60 * self.versions.len() as u64);
        self.journal.clear();
        let request = BackupRequest {
            sources: vec![self.source.path().to_owned()],
            no_roots: Vec::new(),
            options: WalkOptions::default(),
        };
        let report = self
            .user
            .run(&[], |engine| engine.backup(&request))
            .unwrap_or_else(|error| panic!("{:?}: {error:?}", self.options));
        assert_eq!(
            report.common.warnings_actual_length + report.common.errors_actual_length,
            0,
            "{:?}: {:?} {:?}",
            self.options,
            report.common.warnings,
            report.common.errors
        );
        self.assert_order();
        self.assert_format();
    }

    /// Data before its index, the list last.
    fn assert_order(&self) {
        let sent = self.journal.names(Operation::Put);
        let (list, others) = sent.split_last().expect("a new version");
        assert!(list.contains(".dlist."), "{:?}: {sent:?}", self.options);
        assert!(others.iter().all(|name| !name.contains(".dlist.")));
        let (mut data, mut indexes) = (0, 0);
        for name in others {
            data += usize::from(name.contains(".dblock."));
            indexes += usize::from(name.contains(".dindex."));
            assert!(indexes <= data, "{:?}: {sent:?}", self.options);
        }
    }

    fn assert_format(&self) {
        let has = |option: &str| self.options.iter().any(|o| o == option);
        let rules = Rules {
            index: if has("--index-file-policy=None") {
                IndexRule::None
            } else if has("--index-file-policy=Lookup") {
                IndexRule::Lookup
            } else {
                IndexRule::Full
            },
            unused_blocks: false,
        };
        let faults = lint(
            &self.destination.files(),
            self.user.passphrase.as_deref(),
            rules,
        );
        assert!(
            faults.is_empty(),
            "{:?}: {}",
            self.options,
            faults.join("\n")
        );
    }

    /// The options had the effect that they are there for.
    fn assert_effect(&self) {
        let has = |option: &str| self.options.iter().any(|o| o == option);
        let mut methods = BTreeSet::new();
        let mut lists = String::new();
        for (name, bytes) in self.destination.files() {
            let entries = read_volume(&name, &bytes, self.user.passphrase.as_deref());
            for entry in entries.unwrap_or_else(|fault| panic!("{name}: {fault}")) {
                methods.insert(entry.method);
                if entry.name == "filelist.json" {
                    lists.push_str(&String::from_utf8_lossy(&entry.content));
                }
            }
            if name.ends_with(".aes") {
                let version = if has("--aes-version=3") { 3 } else { 2 };
                assert_eq!(bytes.get(3), Some(&version), "{name}");
            }
        }
        let expected: &[Option<u16>] = if self.options.iter().any(|o| o.contains("=t")) {
            &[None]
        } else if has("--zip-compression-method=None") {
            &[Some(0)]
        } else if has("--zip-compression-method=Deflate") {
            &[Some(0), Some(8)]
        } else {
            &[Some(0), Some(93)]
        };
        assert_eq!(Vec::from_iter(methods), expected, "{:?}", self.options);
        if has("--blocksize=1kb") {
            assert!(lists.contains("metablocklists"), "{:?}", self.options);
        }
        let small_blocks = self.options.iter().any(|o| o.starts_with("--blocksize="));
        assert_eq!(lists.contains("\"blocklists"), small_blocks);
    }

    /// Restores all versions without local state and compares them; checks all volumes.
    fn assert_restores(&self) {
        let mut other = User::new(self.destination.shared(), self.user.passphrase.as_deref());
        other.options.clone_from(&self.options);
        let checked = other
            .run(&[], |engine| engine.test(Samples::All))
            .unwrap_or_else(|error| panic!("{:?}: {error:?}", self.options));
        assert_eq!(
            checked.damaged(),
            0,
            "{:?}: {:?}",
            self.options,
            checked.verifications
        );
        for (age, tree) in self.versions.iter().rev().enumerate() {
            let target = tempfile::tempdir().expect("a temporary folder");
            let request = RestoreRequest {
                patterns: Vec::new(),
                filters: Vec::new(),
                target: Some(target.path().to_owned()),
            };
            let version = format!("--version={age}");
            let report = other
                .run(&[&version, "--restore-permissions"], |engine| {
                    engine.restore(&request)
                })
                .unwrap_or_else(|error| panic!("{:?}: {error:?}", self.options));
            // Only root can give files away; everybody else is told so.
            let warned = is_root() && report.common.warnings_actual_length > 0;
            assert!(
                !warned && report.common.errors_actual_length == 0,
                "{:?}: {:?} {:?}",
                self.options,
                report.common.warnings,
                report.common.errors
            );
            let found = Manifest::of(target.path()).expect("the restored tree");
            let options = if self.options.iter().any(|o| o == "--skip-metadata") {
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
                "{:?} -{age}: {}",
                self.options,
                lines.join("\n")
            );
        }
    }
}

/// A tree with what the format has rules for: files of no, one and many blocks and blocklists, attributes longer than a
/// block, links.
fn fill(root: &Path) {
    build_random(root, 7, 40, 1 << 20).expect("a tree");
    let long = |len: usize| -> Vec<u8> {
        (0..len)
            .map(|n| (n % 251) as u8 ^ (n / 1000) as u8)
            .collect()
    };
    std::fs::write(root.join("many blocks"), long(150_000)).expect("a file");
    std::fs::write(root.join(".one block"), long(1024)).expect("a file");
    std::fs::write(root.join("one block more"), long(1025)).expect("a file");
    std::fs::write(root.join("empty"), "").expect("a file");
    let tagged = root.join("tagged");
    std::fs::write(&tagged, "tagged").expect("a file");
    // Not every file system has attributes; where they are missing the tree is without.
    for (name, len) in [("user.b", 40), ("user.a", 1400), ("user.c", 700)] {
        let _ = rustix::fs::setxattr(&tagged, name, &long(len), XattrFlags::empty());
    }
    for (target, name) in [
        ("tagged", "to file"),
        ("folder 0000", "to folder"),
        ("/nowhere", "to nothing"),
    ] {
        std::os::unix::fs::symlink(target, root.join(name)).expect("a link");
    }
}

/// The combinations of options under which a set is written.
const COMBINATIONS: &[&[&str]] = &[
    &[],
    &["--no-encryption"],
    &[
        "--aes-version=3",
        "--aes-v3-iterations=1000",
        "--blocksize=10kb",
    ],
    &["--no-encryption", "--blocksize=1kb"],
    &["--blocksize=1kb", "--zip-compression-method=Deflate"],
    &[
        "--no-encryption",
        "--blocksize=4kb",
        "--block-hash-algorithm=SHA512",
        "--file-hash-algorithm=MD5",
    ],
    &[
        "--no-encryption",
        "--blocksize=2kb",
        "--block-hash-algorithm=MD5",
        "--file-hash-algorithm=SHA384",
    ],
    &[
        "--no-encryption",
        "--blocksize=5kb",
        "--block-hash-algorithm=SHA1",
        "--file-hash-algorithm=SHA1",
    ],
    &[
        "--no-encryption",
        "--zip-compression-method=None",
        "--blocksize=10kb",
    ],
    &[
        "--no-encryption",
        "--zip-compression-method=Deflate",
        "--zip-compression-level=1",
    ],
    &["--compression-module=tzstd", "--blocksize=20kb"],
    &[
        "--no-encryption",
        "--compression-module=tzstd",
        "--blocksize=1kb",
    ],
    &[
        "--no-encryption",
        "--compression-module=tgz",
        "--blocksize=20kb",
    ],
    &[
        "--no-encryption",
        "--index-file-policy=Lookup",
        "--blocksize=1kb",
    ],
    &[
        "--no-encryption",
        "--index-file-policy=None",
        "--blocksize=1kb",
    ],
    &["--encryption-module=gpg", "--blocksize=10kb"],
    &["--prefix=nas.home_2", "--skip-metadata", "--blocksize=10kb"],
];

#[test]
fn sets_written_here_keep_the_checklist() {
    for options in COMBINATIONS {
        let mut written = Written::new(options);
        fill(written.source.path());
        written.backup();
        for seed in 0..2 {
            edit_random(written.source.path(), seed, 12).expect("changes");
            written.backup();
        }
        written.assert_effect();
        written.assert_restores();
    }
}

#[test]
fn a_tortured_tree_keeps_the_checklist() {
    // Two volumes and more, which several workers fill.
    let mut written = Written::new(&["--dblock-size=1mb", "--blocksize=100kb"]);
    build_torture(written.source.path(), 3).expect("a tree");
    written.backup();
    let volumes = written.destination.names();
    let volumes = volumes.iter().filter(|name| name.contains(".dblock."));
    assert!(volumes.count() > 3);
    edit_random(written.source.path(), 5, 40).expect("changes");
    written.backup();
    written.assert_restores();
}
