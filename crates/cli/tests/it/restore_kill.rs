//! The real program is killed at random points of a restore, over and over: no file bears its name with wrong content,
//! and the same command run again ends right.
//!
//! `LARDER_KILLS` (60; 200 in `.ci/run`) and `LARDER_KILL_SEED` change the test; the seed is printed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use larder_testkit::Rng;
use larder_testkit::tree::{CompareOptions, Manifest, build_random, compare_manifests};

use super::support::{Place, seed};

const SMALL_VOLUMES: [&str; 2] = ["--dblock-size=1mb", "--blocksize=50kb"];
/// The same command runs to its end after so many kills in the same folder.
const KILLS_IN_A_ROW: u64 = 3;
/// Each kind of landing is met at least so often in 200 kills.
const AT_LEAST: u64 = 8;

/// Where a kill landed, by what it left in the target. A kill within a file may be one among files too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Landing {
    /// No file of this run had its name.
    BeforeTheFirstFile,
    /// A file was unfinished under its temporary name.
    WithinAFile,
    /// Some files had got their names in this run, and others not.
    AmongFiles,
    /// All files had their names, and the program still ran.
    AfterTheLastFile,
}

/// When a run is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after its start.
    After(Duration),
    /// When an unfinished file is seen.
    Unfinished,
    /// When so many files are right.
    Files(usize),
}

struct Test {
    place: Place,
    rng: Rng,
    /// Content of each file in the older and the newer version.
    older: BTreeMap<PathBuf, Vec<u8>>,
    newer: BTreeMap<PathBuf, Vec<u8>>,
    held: Manifest,
    landings: BTreeMap<Landing, u64>,
    too_late: u64,
}

#[test]
fn no_file_has_wrong_content_after_kills() {
    let seed = seed("LARDER_KILL_SEED");
    let kills: u64 = std::env::var("LARDER_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(60);
    let place = Place::new();
    let source = place.path("source");
    build_random(&source, seed, 60, 400_000).expect("a tree");
    for n in 0..4_u64 {
        place.write_noise(&format!("source/large {n}"), 1_500_000, seed ^ n);
    }
    back_up(&place);
    let older = files(&source);
    for n in 0..4_u64 {
        place.write_noise(&format!("source/large {n}"), 1_400_000, seed ^ (n + 10));
    }
    for n in 0..40_u64 {
        place.write_noise(&format!("source/small {n}"), 3_000, seed ^ (n + 100));
    }
    back_up(&place);
    let mut test = Test {
        older,
        newer: files(&source),
        held: Manifest::of(&source).expect("a manifest"),
        place,
        rng: Rng::new(seed),
        landings: BTreeMap::new(),
        too_late: 0,
    };
    let mut done = 0;
    while done < kills {
        let over_older = test.rng.below(2) == 0;
        let target = test.place.path("restored");
        let _ = std::fs::remove_dir_all(&target);
        if over_older {
            test.place
                .restore("restored", &["--version=1", "--no-encryption"])
                .code(0);
        }
        for _ in 0..KILLS_IN_A_ROW {
            done += u64::from(test.killed(over_older));
        }
        test.complete(over_older);
    }
    println!(
        "{kills} kills, seed {seed}: {:?}, {} too late",
        test.landings, test.too_late
    );
    for landing in [
        Landing::BeforeTheFirstFile,
        Landing::WithinAFile,
        Landing::AmongFiles,
        Landing::AfterTheLastFile,
    ] {
        let count = test.landings.get(&landing).copied().unwrap_or(0);
        assert!(
            count >= AT_LEAST * kills / 200,
            "{landing:?}: {count} of {kills} kills"
        );
    }
}

fn back_up(place: &Place) {
    let mut arguments = vec!["backup".to_owned(), place.url(), "source".to_owned()];
    arguments.push("--no-encryption".to_owned());
    arguments.extend(SMALL_VOLUMES.map(str::to_owned));
    place.run(arguments).code(0);
}

/// Regular files below a folder with their content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        let Ok(facts) = path.symlink_metadata() else {
            continue;
        };
        if facts.is_dir() {
            let Ok(entries) = std::fs::read_dir(&path) else {
                continue;
            };
            waiting.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
        } else if facts.is_file()
            && let Ok(content) = std::fs::read(&path)
        {
            let rel = path.strip_prefix(folder).expect("below").to_owned();
            found.insert(rel, content);
        }
    }
    found
}

fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().expect("a name").to_string_lossy();
    name.starts_with(".larder-") && name.ends_with(".unfinished")
}

impl Test {
    fn arguments(&self) -> Vec<String> {
        let target = format!("--restore-path={}", self.place.text("restored"));
        let mut arguments = vec!["restore".to_owned(), self.place.url(), target];
        for option in ["--no-encryption", "--overwrite", "--restore-permissions"] {
            arguments.push(option.to_owned());
        }
        arguments
    }

    /// A run that is killed; false when it ended before that.
    fn killed(&mut self, over_older: bool) -> bool {
        let before = self.right_files();
        let missing = self.newer.len() - before;
        let moment = match self.rng.below(4) {
            0 => Moment::After(Duration::from_micros(self.rng.below(30_000))),
            1 => Moment::Unfinished,
            2 => Moment::Files(before + self.rng.index(missing + 1)),
            _ => Moment::Files(self.newer.len()),
        };
        let mut child = self
            .place
            .command(self.arguments())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        self.wait_for(moment, &mut child);
        let late = child.try_wait().expect("its state").is_some();
        child.kill().expect("killed");
        let status = child.wait().expect("its end");
        let found = files(&self.place.path("restored"));
        self.check_names(&found, over_older, moment);
        if late {
            self.too_late += 1;
            assert_eq!(status.code(), Some(0));
            return false;
        }
        let right = found
            .iter()
            .filter(|(path, content)| self.newer.get(*path) == Some(content))
            .count();
        let is_within = found.keys().any(|path| is_temporary(path));
        for (landing, is_so) in [
            (Landing::BeforeTheFirstFile, right == before && !is_within),
            (Landing::WithinAFile, is_within),
            (
                Landing::AmongFiles,
                before < right && right < self.newer.len(),
            ),
            (Landing::AfterTheLastFile, right == self.newer.len()),
        ] {
            *self.landings.entry(landing).or_default() += u64::from(is_so);
        }
        true
    }

    fn wait_for(&self, moment: Moment, child: &mut Child) {
        let folder = self.place.path("restored");
        let running = |child: &mut Child| child.try_wait().expect("its state").is_none();
        match moment {
            Moment::After(delay) => std::thread::sleep(delay),
            Moment::Unfinished => {
                while running(child) && !names(&folder).iter().any(|path| is_temporary(path)) {
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
            Moment::Files(count) => {
                while running(child) && self.right_sizes(&folder) < count {
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
        }
    }

    /// Files that are right in the target.
    fn right_files(&self) -> usize {
        files(&self.place.path("restored"))
            .iter()
            .filter(|(path, content)| self.newer.get(*path) == Some(content))
            .count()
    }

    /// Files of the right length in the target: quick to count, and right because no file has its name before.
    fn right_sizes(&self, folder: &Path) -> usize {
        let is_right = |(path, content): &(&PathBuf, &Vec<u8>)| {
            let facts = folder.join(path).symlink_metadata();
            facts.is_ok_and(|facts| facts.len() == content.len() as u64)
        };
        self.newer.iter().filter(is_right).count()
    }

    /// Each file has its old or its new content, and none of the old ones is gone.
    fn check_names(&self, found: &BTreeMap<PathBuf, Vec<u8>>, over_older: bool, moment: Moment) {
        for (path, content) in found.iter().filter(|(path, _)| !is_temporary(path)) {
            let old = over_older && self.older.get(path) == Some(content);
            assert!(
                old || self.newer.get(path) == Some(content),
                "{moment:?}: {} has {} bytes of neither content",
                path.display(),
                content.len()
            );
        }
        if over_older {
            for path in self.older.keys() {
                assert!(
                    found.contains_key(path),
                    "{moment:?}: {} is gone",
                    path.display()
                );
            }
        }
    }

    /// The same command once more, to its end.
    fn complete(&self, over_older: bool) {
        self.place.run(self.arguments()).code(0);
        let target = self.place.path("restored");
        let mut found = Manifest::of(&target).expect("a manifest");
        if over_older {
            found
                .entries
                .retain(|path, _| self.held.entries.contains_key(path));
        }
        let options = CompareOptions {
            // What Duplicati's format keeps of a time.
            mtime_unit_ns: 100,
            ..CompareOptions::backed_up()
        };
        let differences = compare_manifests(&self.held, &found, &options);
        assert!(differences.is_empty(), "{differences:?}");
        let left: Vec<PathBuf> = names(&target)
            .into_iter()
            .filter(|path| is_temporary(path))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// All paths below a folder.
fn names(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&path) else {
            continue;
        };
        for entry in entries.filter_map(Result::ok) {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}
