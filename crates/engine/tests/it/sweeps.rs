//! A restore is stopped at each of its steps, in every way: never a file bears its name with wrong content, and the same
//! command run again ends right.
//!
//! A step is a change of the target, or a remote call. The sweeps meet every step of a small set, in one thread, so that the
//! steps have one order. The full disk is met by two threads and large files too, at some steps.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use larder_destination::ErrorKind;
use larder_engine::source::{Step, Watch};
use larder_engine::{Cancel, Error, Outcome, RestoreReport, RestoreRequest};
use larder_testkit::Failure;
use larder_testkit::tree::Manifest;

use crate::doom::{Doom, Reach};
use crate::rig::{Rig, chain, copy_folder, differences_of};

/// Counts the steps of a restore and does something at one of them.
pub struct Sweep {
    steps: AtomicU64,
    at: u64,
    what: What,
    pub seen: Mutex<Vec<Step>>,
}

pub enum What {
    Nothing,
    /// The step fails.
    Fail(io::ErrorKind),
    /// All steps from there on fail: the disk is full.
    Full,
    /// The user stops the run.
    Cancel(Mutex<Option<Cancel>>),
}

impl Sweep {
    pub fn new(at: u64, what: What) -> Arc<Self> {
        Arc::new(Self {
            steps: AtomicU64::new(0),
            at,
            what,
            seen: Mutex::default(),
        })
    }
}

impl Watch for Sweep {
    fn before(&self, step: Step, _: &[u8]) -> io::Result<()> {
        let number = 1 + self.steps.fetch_add(1, Ordering::SeqCst);
        self.seen.lock().expect("no panic").push(step);
        match &self.what {
            What::Fail(kind) if number == self.at => Err(io::Error::from(*kind)),
            What::Full if number >= self.at && matches!(step, Step::Create | Step::Write) => {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            What::Cancel(cancel) if number == self.at => {
                if let Some(cancel) = &*cancel.lock().expect("no panic") {
                    cancel.cancel();
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

pub fn request(target: &Path) -> RestoreRequest {
    RestoreRequest {
        patterns: Vec::new(),
        filters: Vec::new(),
        target: Some(target.to_owned()),
    }
}

pub fn restore(rig: &mut Rig, target: &Path, sweep: &Arc<Sweep>) -> Result<RestoreReport, Error> {
    let run = rig.open()?;
    if let What::Cancel(cancel) = &sweep.what {
        *cancel.lock().expect("no panic") = Some(rig.cancel.clone());
    }
    let outcome = run.restore_watched(&request(target), Some(sweep.clone()));
    run.repository().close().expect("the catalog closes");
    outcome
}

/// Two versions in several volumes: small files, files of many blocks, an empty one, links.
pub fn set() -> Rig {
    let mut rig = Rig::new();
    rig.fill(31, 6, 20_000);
    rig.write("a/large", noise(1, 700_000));
    rig.write("a/middle", noise(2, 5_000));
    rig.write("b/large too", noise(3, 600_000));
    rig.write("empty", "");
    rig.backup();
    rig.write("a/large", noise(4, 650_000));
    rig.write("a/middle", noise(5, 6_000));
    rig.write("b/new", "new");
    rig.backup();
    rig
}

pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    larder_testkit::Rng::new(seed).bytes(len)
}

/// Two versions with one step of each kind at each kind of place, in one order: files of one block and of several, one
/// with holes, an empty one, files that change, appear and go away, a link, an empty folder.
fn small_set() -> Rig {
    let mut rig = Rig::new();
    rig.set("concurrency-max-threads", "1");
    rig.write("a/changes", noise(1, 3_500));
    rig.write("a/goes away", "goes away");
    rig.write("a/stays", noise(2, 2_100));
    rig.write("empty", "");
    let mut sparse = vec![0; 17 << 10];
    sparse[5_000] = 1;
    rig.write("sparse", &sparse);
    std::fs::create_dir(rig.source().join("empty folder")).expect("a folder");
    std::os::unix::fs::symlink("a/changes", rig.source().join("link")).expect("a link");
    rig.backup();
    let mut changed = noise(1, 3_500);
    changed.extend(noise(3, 1_500));
    changed[1_500] ^= 1;
    rig.write("a/changes", changed);
    rig.write("b/appears", noise(4, 1_200));
    std::fs::remove_file(rig.source().join("a/goes away")).expect("removed");
    std::fs::remove_file(rig.source().join("link")).expect("removed");
    std::os::unix::fs::symlink("b/appears", rig.source().join("link")).expect("a link");
    rig.backup();
    rig
}

/// Regular files below a folder with their content.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        let Ok(facts) = path.symlink_metadata() else {
            continue;
        };
        if facts.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a folder");
            waiting.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if facts.is_file() {
            let rel = path.strip_prefix(folder).expect("below").to_owned();
            found.insert(rel, std::fs::read(&path).expect("a file"));
        }
    }
    found
}

pub fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().expect("a name").to_string_lossy();
    name.starts_with(".larder-") && name.ends_with(".unfinished")
}

/// What a target holds before a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    Nothing,
    /// The older version, to be overwritten.
    Older,
    /// What a run left that was killed in the middle.
    Unfinished,
}

pub struct Case {
    pub rig: Rig,
    before: Before,
    older: BTreeMap<PathBuf, Vec<u8>>,
    newer: BTreeMap<PathBuf, Vec<u8>>,
    /// A folder with the older version.
    template: PathBuf,
}

impl Case {
    /// A case of a set with large files.
    pub fn new(before: Before) -> Self {
        Self::of(set(), before)
    }

    fn small(before: Before) -> Self {
        Self::of(small_set(), before)
    }

    fn of(mut rig: Rig, before: Before) -> Self {
        let (template, _) = rig.try_restore(1).expect("the older version");
        let mut case = Self {
            older: files(&template),
            newer: files(&rig.source()),
            rig,
            before: Before::Nothing,
            template,
        };
        if before == Before::Unfinished {
            let middle = case.steps() / 2;
            let folder = case.target().keep();
            case.template = folder.join("t");
            case.killed(&folder, middle).expect("the middle comes");
            let left = files(&case.template);
            assert!(
                left.keys().any(|path| is_temporary(path)),
                "{:?}",
                left.keys()
            );
        }
        case.before = before;
        case
    }

    pub fn target(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir_in(self.rig.fast.path()).expect("a folder");
        if self.before != Before::Nothing {
            let mut copy = std::process::Command::new("cp");
            let copied = copy
                .arg("-a")
                .arg(&self.template)
                .arg(folder.path().join("t"))
                .status();
            assert!(copied.expect("cp runs").success());
        }
        folder
    }

    /// No file bears its name with anything but its old or its new content.
    fn check_names(&self, target: &Path, when: &str) {
        let found = files(target);
        for (path, content) in &found {
            if is_temporary(path) {
                continue;
            }
            let old = self.before == Before::Older && self.older.get(path) == Some(content);
            assert!(
                old || self.newer.get(path) == Some(content),
                "{when}: {} has {} bytes of neither content",
                path.display(),
                content.len()
            );
        }
        if self.before == Before::Older {
            for path in self.older.keys() {
                assert!(
                    found.contains_key(path),
                    "{when}: {} is gone",
                    path.display()
                );
            }
        }
    }

    /// The same command again ends right, and leaves nothing behind.
    fn check_again(&mut self, target: &Path, when: &str) {
        self.rig.plan.clear();
        check_again(&mut self.rig, self.before, target, when);
    }

    /// Restores and dies before a step; gives the rig as the next run finds it. `None` when the step did not come.
    fn killed(&self, folder: &Path, step: u64) -> Option<Rig> {
        let mut rig = self.rig.fork();
        let death = Arc::new(Death {
            steps: AtomicU64::new(0),
            at: step,
            doom: None,
            state: rig.state_folder(),
            saved: rig.fast.path().join("saved"),
        });
        let run = rig.open().expect("it opens");
        let _ = run.restore_watched(&request(&folder.join("t")), Some(death.clone()));
        drop(run);
        (death.saved.exists()).then(|| rig.fork_at(&rig.store, Some(&death.saved)))
    }

    /// The same before a remote call.
    fn killed_at_call(&self, folder: &Path, call: u64) -> Option<Rig> {
        let mut rig = self.rig.fork();
        let saved = rig.fast.path().join("saved");
        let doom = Arc::new(Doom::new(&rig, call, Reach::Not, saved.clone()));
        let death = Death {
            steps: AtomicU64::new(0),
            at: u64::MAX,
            doom: Some(doom.clone()),
            state: PathBuf::new(),
            saved: PathBuf::new(),
        };
        let run = rig.open_over(doom, false).expect("it opens");
        let _ = run.restore_watched(&request(&folder.join("t")), Some(Arc::new(death)));
        drop(run);
        saved
            .exists()
            .then(|| rig.fork_at(&rig.store, Some(&saved)))
    }

    /// Dies before each step in turn, that is at each place between two steps, and runs the same command again.
    fn check_each_kill(&self, killed: impl Fn(&Path, u64) -> Option<Rig>) -> u64 {
        let mut at = 0;
        loop {
            at += 1;
            let folder = self.target();
            let target = folder.path().join("t");
            let when = format!("{:?}, killed before {at}", self.before);
            let Some(mut after) = killed(folder.path(), at) else {
                return at - 1;
            };
            self.check_names(&target, &when);
            check_again(&mut after, self.before, &target, &when);
        }
    }

    fn steps(&mut self) -> u64 {
        let folder = self.target();
        let sweep = Sweep::new(0, What::Nothing);
        let target = folder.path().join("t");
        restore(&mut self.rig, &target, &sweep).expect("undisturbed");
        self.check_names(&target, "undisturbed");
        let seen = sweep.seen.lock().expect("no panic").clone();
        for step in [
            Step::Folder,
            Step::Create,
            Step::Write,
            Step::Rename,
            Step::Facts,
        ] {
            assert!(seen.contains(&step), "{step:?}");
        }
        sweep.steps.load(Ordering::SeqCst)
    }
}

/// The same command again ends right, and leaves nothing behind.
fn check_again(rig: &mut Rig, before: Before, target: &Path, when: &str) {
    rig.log.clear();
    let report = match restore(rig, target, &Sweep::new(0, What::Nothing)) {
        Ok(report) => report,
        Err(error) => panic!("{when}: again: {}", chain(&error)),
    };
    assert_eq!(
        (report.common.parsed_result, report.kept_files),
        (Outcome::Success, 0),
        "{when}: {:?}",
        rig.log.complaints()
    );
    let mut found = Manifest::of(target).expect("the tree");
    let held = rig.versions.last().expect("a version");
    if before == Before::Older {
        // What only the older version has stays.
        found
            .entries
            .retain(|path, _| held.entries.contains_key(path));
    }
    let differences = differences_of(held, &found);
    assert_eq!(differences, Vec::<String>::new(), "{when}");
    let left: Vec<_> = files(target)
        .into_keys()
        .filter(|p| is_temporary(p))
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new(), "{when}");
}

/// Hears of the steps of a run that dies before one of them: from there on nothing is done, not even tidying up. The
/// local state is kept as it is then.
struct Death {
    steps: AtomicU64,
    at: u64,
    /// The run dies at a call of this destination instead, which keeps the state.
    doom: Option<Arc<Doom>>,
    state: PathBuf,
    saved: PathBuf,
}

impl Watch for Death {
    fn before(&self, _: Step, _: &[u8]) -> io::Result<()> {
        let number = 1 + self.steps.fetch_add(1, Ordering::SeqCst);
        if number == self.at {
            copy_folder(&self.state, &self.saved);
        }
        let doom = self.doom.as_ref();
        let is_over = doom.is_some_and(|doom| doom.what_is_left().is_some());
        match is_over || number >= self.at {
            true => Err(io::Error::other("the end")),
            false => Ok(()),
        }
    }
}

#[test]
fn a_restore_is_killed_at_each_step() {
    let mut case = Case::small(Before::Nothing);
    let steps = case.steps();
    let kills = case.check_each_kill(|folder, step| case.killed(folder, step));
    assert_eq!(kills, steps);
}

#[test]
fn a_restore_over_an_older_version_is_killed_at_each_step() {
    let mut case = Case::small(Before::Older);
    let steps = case.steps();
    let kills = case.check_each_kill(|folder, step| case.killed(folder, step));
    assert_eq!(kills, steps);
}

#[test]
fn a_restore_that_goes_on_is_killed_at_each_step() {
    let mut case = Case::small(Before::Unfinished);
    let steps = case.steps();
    let kills = case.check_each_kill(|folder, step| case.killed(folder, step));
    assert_eq!(kills, steps);
}

#[test]
fn a_restore_is_killed_at_each_remote_call() {
    for before in [Before::Nothing, Before::Older, Before::Unfinished] {
        let case = Case::small(before);
        let kills = case.check_each_kill(|folder, call| case.killed_at_call(folder, call));
        assert!(kills >= 3, "{kills} calls");
    }
}

#[test]
fn each_step_of_a_restore_fails_once() {
    for before in [Before::Nothing, Before::Older] {
        let mut case = Case::small(before);
        let steps = case.steps();
        for n in 1..=steps {
            for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
                let folder = case.target();
                let target = folder.path().join("t");
                let sweep = Sweep::new(n, What::Fail(kind));
                let outcome = restore(&mut case.rig, &target, &sweep);
                let step = sweep
                    .seen
                    .lock()
                    .expect("no panic")
                    .get(n as usize - 1)
                    .copied();
                let when = format!("{before:?}, step {n} of {steps}, {step:?}, {kind:?}");
                match &outcome {
                    // A file that cannot be opened to be hashed is opened again to be written.
                    Ok(report) if step == Some(Step::Create) => {
                        let broken = u64::from(report.common.parsed_result != Outcome::Success);
                        assert_eq!(report.broken_local_files.len() as u64, broken, "{when}");
                    }
                    Ok(report) => {
                        assert_ne!(report.common.parsed_result, Outcome::Success, "{when}");
                    }
                    Err(error) => assert_eq!(error.id(), Some("TargetFull"), "{when}: {error}"),
                }
                case.check_names(&target, &when);
                case.check_again(&target, &when);
            }
        }
    }
}

#[test]
fn a_full_disk_stops_a_restore_and_the_same_command_goes_on() {
    for before in [Before::Nothing, Before::Older] {
        for (mut case, stride) in [(Case::small(before), 1), (Case::new(before), 53)] {
            let steps = case.steps();
            for n in (1..=steps).step_by(stride) {
                let folder = case.target();
                let target = folder.path().join("t");
                let outcome = restore(&mut case.rig, &target, &Sweep::new(n, What::Full));
                let when = format!("{before:?}, full from step {n} of {steps} on");
                if let Err(error) = outcome {
                    assert_eq!(error.id(), Some("TargetFull"), "{when}: {error}");
                    assert!(error.hint().contains("same command again"), "{when}");
                }
                case.check_names(&target, &when);
                case.check_again(&target, &when);
            }
        }
    }
}

#[test]
fn a_restore_is_stopped_at_each_step() {
    for before in [Before::Nothing, Before::Older] {
        let mut case = Case::small(before);
        let steps = case.steps();
        let mut stopped = 0;
        for n in 1..=steps {
            let folder = case.target();
            let target = folder.path().join("t");
            let sweep = Sweep::new(n, What::Cancel(Mutex::default()));
            let outcome = restore(&mut case.rig, &target, &sweep);
            let when = format!("{before:?}, stopped at step {n} of {steps}");
            match outcome {
                Err(Error::Cancelled) => stopped += 1,
                Err(error) => panic!("{when}: {}", chain(&error)),
                Ok(_) => {}
            }
            case.check_names(&target, &when);
            case.check_again(&target, &when);
        }
        assert!(stopped * 2 > steps, "{stopped} of {steps} steps");
    }
}

#[test]
fn each_remote_call_of_a_restore_fails() {
    for before in [Before::Nothing, Before::Older] {
        let mut case = Case::small(before);
        case.rig.set("number-of-retries", "0");
        let calls = {
            let folder = case.target();
            case.rig.plan.clear();
            let first = case.rig.plan.calls();
            let sweep = Sweep::new(0, What::Nothing);
            restore(&mut case.rig, &folder.path().join("t"), &sweep).expect("undisturbed");
            case.rig.plan.calls() - first
        };
        assert!(calls >= 4, "{calls} calls");
        for n in 1..=calls {
            for failure in [
                Failure::Before(ErrorKind::Network),
                Failure::Before(ErrorKind::NotFound),
                Failure::Cut(500),
                Failure::Flip(3000),
                Failure::Before(ErrorKind::Cancelled),
            ] {
                let folder = case.target();
                let target = folder.path().join("t");
                let base = case.rig.plan.calls();
                case.rig.plan.fail_at(base + n, failure);
                let _ = restore(&mut case.rig, &target, &Sweep::new(0, What::Nothing));
                let when = format!("{before:?}, call {n}: {:?}", case.rig.plan.injected());
                case.check_names(&target, &when);
                case.check_again(&target, &when);
            }
        }
    }
}
