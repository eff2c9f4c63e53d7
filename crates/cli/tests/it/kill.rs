//! The real program is killed at random points of a backup, over and over: no version is lost, nothing needs mending by
//! hand, and the run that follows finishes.
//!
//! `LARDER_KILLS` (60; 200 in `.ci/run`), `LARDER_KILL_CHECK_EVERY` (10: restores compared after every tenth kill) and
//! `LARDER_KILL_SEED` change the test; the seed is printed.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use larder_testkit::Rng;
use larder_testkit::tree::{
    CompareOptions, Kind, Manifest, build_random, compare_manifests, edit_random,
};

use super::support::{Place, seed};

const SMALL_VOLUMES: [&str; 2] = ["--dblock-size=1mb", "--blocksize=100kb"];
/// A run to its end follows every so many kills, so that version after version builds on leftovers.
const COMPLETE_EVERY: u64 = 5;
/// Each kind of landing is met at least so often in 200 kills.
const LANDINGS: u64 = 8;

/// Where a kill landed, by what it left in the destination.
#[derive(Debug, Default)]
struct Landings {
    before_the_first_put: u64,
    between_puts: u64,
    after_the_list: u64,
    /// The run was faster; not counted as kills.
    too_late: u64,
}

/// When a run is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after its start.
    After(Duration),
    /// So long after so many files have appeared in the destination.
    Names(usize, Duration),
}

struct Test {
    place: Place,
    rng: Rng,
    /// Names of version lists, oldest first, with the source at that time.
    versions: Vec<(String, Manifest)>,
    landings: Landings,
    /// How long complete runs took.
    run_times: Vec<Duration>,
    restores: u64,
    lost_states: u64,
    /// Time spent on edits, complete runs, killed runs and restores.
    spent: [Duration; 4],
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[test]
fn no_version_is_lost_by_kills() {
    let seed = seed("LARDER_KILL_SEED");
    let kills = variable("LARDER_KILLS", 60);
    let check_every = variable("LARDER_KILL_CHECK_EVERY", 10).max(1);
    let start = Instant::now();
    let mut test = Test {
        place: Place::new(),
        rng: Rng::new(seed),
        versions: Vec::new(),
        landings: Landings::default(),
        run_times: Vec::new(),
        restores: 0,
        lost_states: 0,
        spent: [Duration::ZERO; 4],
    };
    build_random(&test.place.path("source"), seed, 300, 8_000_000).expect("a tree");
    // What a run takes is measured, so that kills land all over it. The first one stores everything.
    for _ in 0..3 {
        test.edit();
        test.complete_run();
    }
    let mut done = 0;
    while done < kills {
        test.edit();
        if !test.killed_run() {
            continue;
        }
        done += 1;
        if test.rng.below(5) == 0 {
            test.place.lose_state();
            test.lost_states += 1;
        }
        if done % check_every == 0 {
            test.compare_newest_and_an_older();
        }
        if done % COMPLETE_EVERY == 0 {
            test.complete_run();
        }
    }
    test.complete_run();
    test.place.on("test", ["all", "--no-encryption"]).code(0);
    for number in 0..test.versions.len() {
        test.compare(number, Target::Used);
    }
    test.place.lose_state();
    test.compare(0, Target::Empty);
    println!(
        "{kills} kills in {:.0} s: {:?}; {} versions, {} restores compared, state lost {} times, seed {seed}",
        start.elapsed().as_secs_f64(),
        test.landings,
        test.versions.len(),
        test.restores,
        test.lost_states,
    );
    for (place, count) in [
        ("before the first put", test.landings.before_the_first_put),
        ("between puts", test.landings.between_puts),
        ("after the list", test.landings.after_the_list),
    ] {
        assert!(
            count * 200 >= LANDINGS * kills,
            "{place}: {count} of {kills} kills"
        );
    }
    println!(
        "time for edits, complete runs, killed runs, restores: {:.1?}",
        test.spent
    );
}

impl Test {
    /// Changes the source a little; now and then a lot, so that several volumes are sent.
    fn edit(&mut self) {
        let start = Instant::now();
        let seed = self.rng.below(u64::MAX);
        let source = self.place.path("source");
        edit_random(&source, seed, 6).expect("edits");
        if self.rng.below(2) == 0 {
            let len = 1_000_000 + self.rng.index(2_500_000);
            self.place.write_noise("source/large file", len, seed);
        }
        self.spent[0] += start.elapsed();
    }

    fn manifest(&self) -> Manifest {
        Manifest::of(&self.place.path("source")).expect("a manifest")
    }

    /// Without encryption, because key derivation takes most of the time of a debug build; what is sent in which order
    /// is the same.
    fn arguments(&self) -> Vec<OsString> {
        let mut all: Vec<OsString> = ["backup", &self.place.url(), "source", "--no-encryption"]
            .map(OsString::from)
            .into();
        all.extend(SMALL_VOLUMES.map(OsString::from));
        all
    }

    /// A run to its end; it must succeed without any help.
    fn complete_run(&mut self) {
        let before = self.lists();
        let start = Instant::now();
        let ran = self.place.run(self.arguments());
        self.run_times.push(start.elapsed());
        assert!(
            [0, 1].contains(&ran.code),
            "exit code {}\n{}\n{}",
            ran.code,
            ran.out,
            ran.err
        );
        self.spent[1] += start.elapsed();
        self.note_new_version(&before);
        assert!(!self.versions.is_empty());
    }

    /// When to kill: half the time at any moment of a run as long as the last ones, else shortly after some file
    /// appeared in the destination, because sending takes a small part of the time.
    fn moment(&mut self) -> Moment {
        if self.rng.below(2) == 0 {
            let times = self.run_times.len();
            let time = self.run_times[times - 1 - self.rng.index(times.min(5))];
            let most = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            return Moment::After(Duration::from_micros(self.rng.below(most)));
        }
        let names = 1 + self.rng.index(8);
        Moment::Names(names, Duration::from_micros(self.rng.below(20_000)))
    }

    fn wait_for(&self, moment: Moment, child: &mut Child, before: usize) {
        match moment {
            Moment::After(delay) => std::thread::sleep(delay),
            Moment::Names(names, delay) => {
                let running = |child: &mut Child| child.try_wait().expect("its state").is_none();
                while self.place.stored().len() < before + names && running(child) {
                    std::thread::sleep(Duration::from_micros(500));
                }
                std::thread::sleep(delay);
            }
        }
    }

    /// A run that is killed; false when it ended before that.
    fn killed_run(&mut self) -> bool {
        let before: BTreeSet<String> = self.place.stored().into_iter().collect();
        let lists = self.lists();
        let moment = self.moment();
        let start = Instant::now();
        let mut child = self
            .place
            .command(self.arguments())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("it starts");
        self.wait_for(moment, &mut child, before.len());
        let late = child.try_wait().expect("its state").is_some();
        child.kill().expect("killed");
        let status = child.wait().expect("its end");
        self.spent[2] += start.elapsed();
        self.note_new_version(&lists);
        if late {
            self.landings.too_late += 1;
            assert!(matches!(status.code(), Some(0 | 1)), "{status}");
            return false;
        }
        let after: BTreeSet<String> = self.place.stored().into_iter().collect();
        assert!(
            before
                .iter()
                .filter(|n| n.contains("dlist"))
                .all(|n| after.contains(n)),
            "a version list is gone"
        );
        let is_volume = |name: &&String| name.starts_with("duplicati-") && !name.contains(".part");
        let mut fresh = after.difference(&before).filter(is_volume).peekable();
        if self.lists().len() > lists.len() {
            self.landings.after_the_list += 1;
        } else if fresh.peek().is_some() {
            self.landings.between_puts += 1;
        } else {
            self.landings.before_the_first_put += 1;
        }
        true
    }

    /// Version lists in the destination, oldest first.
    fn lists(&self) -> Vec<String> {
        let mut lists = self.place.stored_with(".dlist.");
        lists.retain(|name| name.starts_with("duplicati-20") && !name.ends_with(".part"));
        lists
    }

    fn note_new_version(&mut self, before: &[String]) {
        let now = self.lists();
        assert!(now.starts_with(before), "{before:?} became {now:?}");
        let fresh = &now[before.len()..];
        assert!(fresh.len() <= 1, "{fresh:?}");
        if let Some(name) = fresh.first() {
            let manifest = self.manifest();
            self.versions.push((name.clone(), manifest));
        }
    }

    fn compare_newest_and_an_older(&mut self) {
        self.compare(0, Target::Used);
        let count = self.versions.len();
        if count > 1 {
            let older = 1 + self.rng.index(count - 1);
            self.compare(older, Target::Used);
        }
    }

    /// Restores a version (0 is the newest) and compares it with the source of its time.
    ///
    /// The folder still holds another version: what is the same stays, so that only the blocks that are not there yet
    /// are fetched, and hundreds of versions can be compared. `Target::Empty` fetches everything.
    fn compare(&mut self, number: usize, target: Target) {
        let start = Instant::now();
        let folder = self.place.path("restored");
        if target == Target::Empty {
            let _ = std::fs::remove_dir_all(&folder);
        }
        let (name, expected) = &self.versions[self.versions.len() - 1 - number];
        remove_others(&folder, expected);
        self.place
            .restore(
                "restored",
                &[
                    &format!("--version={number}"),
                    "--no-encryption",
                    "--restore-permissions",
                    "--overwrite",
                ],
            )
            .code(0);
        let found = Manifest::of(&folder).expect("a manifest");
        let options = CompareOptions {
            // What Duplicati's format keeps of a time.
            mtime_unit_ns: 100,
            ..CompareOptions::backed_up()
        };
        let differences = compare_manifests(expected, &found, &options);
        assert!(
            differences.is_empty(),
            "version {number} ({name}): {differences:?}"
        );
        self.restores += 1;
        self.spent[3] += start.elapsed();
    }
}

/// Whether a restore finds anything in its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// Nothing.
    Empty,
    /// What an earlier restore left.
    Used,
}

/// Removes what does not belong to a version, or is of another kind there.
fn remove_others(folder: &Path, expected: &Manifest) {
    if !folder.exists() {
        return;
    }
    let found = Manifest::of(folder).expect("a manifest");
    // What lies in a folder comes after it.
    for (path, entry) in found.entries.iter().rev() {
        let kept = expected
            .entries
            .get(path)
            .is_some_and(|other| other.kind.label() == entry.kind.label());
        if kept {
            continue;
        }
        let path = folder.join(OsStr::from_bytes(path));
        let removed = match entry.kind {
            Kind::Folder => std::fs::remove_dir_all(&path),
            _ => std::fs::remove_file(&path),
        };
        removed.expect("removed");
    }
}
