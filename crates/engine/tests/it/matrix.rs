//! The kill and fault matrix: every writing operation meets every fault at its remote calls and at the commits of its
//! catalog, over destinations with every habit, with the local state kept or lost. Then the next command runs, and every
//! version is restored and compared: none is lost, and nobody had to do anything.
//!
//! `LARDER_MATRIX_CASES` asks for more cases, `LARDER_MATRIX_SEED` for others. A failure names its case, and
//! `LARDER_MATRIX_ONLY` with that name repeats it; with the beginning of one it takes all that begin so
//! (docs/guide/proofs.md).

mod jobs;
mod log;
pub mod way;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use larder_engine::{Error, Run};
use larder_testkit::Rng;
use larder_testkit::tree::Manifest;
use larder_volume::VolumeKind::List;

use self::jobs::{APART, Base, JOBS, Job, Next, Version};
use self::way::{Fault, Habit, Planned, Way, World, listing_of};
use crate::rig::{Rig, START, chain, differences_of, later};

/// What becomes of the local state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Kept,
    /// It is lost before the operation, or before the next command.
    Lost,
}

/// A kind of cases: operation, fault, habit, state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    job: usize,
    fault: Fault,
    habit: Habit,
    state: State,
}

/// One case: a cell, and which of its cases.
#[derive(Clone, Copy, Debug)]
struct Case {
    cell: Cell,
    number: u64,
    of: u64,
    seed: u64,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Cell {
            job,
            fault,
            habit,
            state,
        } = self.cell;
        let (name, number, of, seed) = (JOBS[job].name, self.number, self.of, self.seed);
        write!(
            f,
            "{name}/{fault:?}/{habit:?}/{state:?}/{number}/{of}/{seed}"
        )
    }
}

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (number, job) in JOBS.iter().enumerate() {
        for fault in job.faults() {
            for habit in Habit::ALL {
                for state in [State::Kept, State::Lost] {
                    cells.push(Cell {
                        job: number,
                        fault: *fault,
                        habit,
                        state,
                    });
                }
            }
        }
    }
    cells
}

/// A base with how many calls its operation makes: with the state as it is, and without.
struct Measured {
    base: Base,
    calls: [u64; 2],
}

impl Measured {
    fn new(job: &Job) -> Self {
        let base = (job.base)();
        let calls = [true, false].map(|keep| {
            let rig = &base.rig;
            let state = rig.state_folder();
            let mut rig = rig.fork_at(&rig.store, keep.then_some(state.as_path()));
            let world = World::new(Habit::Right, &base.earlier, &rig, 0);
            let way = Way::new(&rig, Habit::Right, None, &world);
            let outcome = work(&mut rig, &way, job.options, |run, rig| (job.run)(run, rig));
            let (run, outcome) = outcome;
            run.repository().close().expect("the catalog closes");
            if let Err(error) = outcome {
                panic!("{} undisturbed: {}", job.name, chain(&error));
            }
            way.calls()
        });
        Self { base, calls }
    }
}

/// Runs something a minute later, with options of its own.
fn work(
    rig: &mut Rig,
    way: &std::sync::Arc<Way>,
    options: &[(&str, &str)],
    work: impl FnOnce(&Run, &Rig) -> Result<(), Error>,
) -> (Run, Result<(), Error>) {
    later(rig, APART);
    let values = rig.values.clone();
    for (name, value) in options {
        rig.set(name, value);
    }
    let run = rig.open_over(way.clone(), true).expect("it opens");
    rig.values = values;
    way.set_cancel(rig.cancel.clone());
    let outcome = work(&run, rig);
    (run, outcome)
}

/// What is told of all cases.
#[derive(Default)]
struct Tally {
    cases: BTreeMap<(usize, Fault, Habit), u64>,
    /// Commands that a late or stale listing held back, and that went through when given once more.
    refused: u64,
    restored: u64,
    failures: Vec<String>,
}

/// What one case tells.
#[derive(Default)]
struct Told {
    refused: u64,
    restored: u64,
}

fn run_case(measured: &Measured, case: Case) -> Told {
    let Cell {
        job,
        fault,
        habit,
        state,
    } = case.cell;
    let job = &JOBS[job];
    let base = &measured.base;
    let mut rng = Rng::new(case.seed ^ (case.number << 32) ^ hash(&case.cell));
    // The calls of a cell are spread over the operation, and begin somewhere else in each.
    let lost_before = state == State::Lost && rng.below(2) == 0;
    let calls = measured.calls[usize::from(lost_before)] + u64::from(fault.is_kill());
    let stride = calls as f64 * (case.number as f64 / case.of as f64);
    let at = 1 + (hash(&case.cell) + stride as u64) % calls.max(1);
    let planned = Planned {
        fault,
        at,
        pick: rng.next_u64() >> 1,
    };
    let folder = base.rig.state_folder();
    let kept = (!lost_before).then_some(folder.as_path());
    let mut rig = base.rig.fork_at(&base.rig.store, kept);
    let retries = *rng.choose(&["0", "0", "2"]).expect("a choice");
    rig.set("number-of-retries", retries);
    let world = World::new(habit, &base.earlier, &rig, rng.next_u64() >> 1);
    let mut versions = base.versions.clone();
    (job.changes)(&mut versions, source_of(&rig));
    let way = Way::new(&rig, habit, Some(planned), &world);
    let (run, outcome) = work(&mut rig, &way, job.options, |run, rig| (job.run)(run, rig));
    let mut story = format!(
        "call {at} of {calls}, retries {retries}, {planned:?}, state lost before: {lost_before}\n\
         {} ended with {}\n",
        job.name,
        said(&outcome)
    );
    assert!(!matches!(outcome, Err(Error::Bug(_))), "{story}");
    if outcome.is_ok() && !matches!(fault, Fault::Stopped) && !fault.is_kill() {
        must_be_stored(&mut versions, base.versions.len());
    }
    let is_passing = retries != "0" && planned.is_passing() && habit != Habit::Stale;
    assert!(
        outcome.is_ok() || !is_passing,
        "another attempt would have got through\n{story}"
    );
    rig.set("number-of-retries", "2");
    let lost_after = state == State::Lost && !lost_before;
    let mut rig = if fault.is_kill() {
        let (left, saved) = way.end();
        drop(run);
        rig.fork_at(&left, (!lost_after).then_some(saved.as_path()))
    } else {
        run.repository().close().expect("the catalog closes");
        if lost_after {
            rig.lose_state();
        }
        rig
    };
    let mut told = Told::default();
    if rng.below(3) == 0 && !job.mends {
        // This machine may never come back.
        let mut elsewhere = rig.fork_at(&rig.store, None);
        told.restored += check(
            &mut elsewhere,
            &versions,
            habit,
            &format!("{story}right after"),
        );
    }
    let next = *rng.choose(job.next).expect("a choice");
    rig.write("other", case.to_string());
    let now = source_of(&rig);
    loop {
        let _ = write!(story, "then {next:?}");
        rig.log.clear();
        let way = Way::new(&rig, habit, None, &world);
        let is_stale = || world.lock().expect("no panic").will_be_stale();
        let was_stale = is_stale();
        let options = match next {
            Next::Again => job.options.to_vec(),
            Next::Compact => vec![("threshold", "5"), ("small-file-max-count", "2")],
            Next::Delete => vec![("keep-time", keep_time(&rig))],
            Next::Backup | Next::Repair => Vec::new(),
        };
        let (run, outcome) = work(&mut rig, &way, &options, |run, rig| match next {
            Next::Backup => run.backup(&rig.request()).map(drop),
            Next::Compact => run.compact().map(drop),
            Next::Repair => run.repair().map(drop),
            Next::Delete => run.delete().map(drop),
            Next::Again => (job.run)(run, rig),
        });
        run.repository().close().expect("the catalog closes");
        let complaints = rig.log.complaints();
        let _ = writeln!(story, " ended with {}, {complaints:#?}", said(&outcome));
        let unexpected: Vec<_> = (complaints.iter())
            .filter(|text| !is_expected(text, job, case.cell))
            .collect();
        assert!(
            unexpected.is_empty(),
            "this should not be said: {unexpected:#?}\n{story}"
        );
        // A listing of some time ago may hold a command back once, or hide that something is lost.
        let is_late = habit == Habit::Late && told.refused == 0 && outcome.is_err();
        let is_fooled = is_late || (was_stale && !is_stale());
        match outcome {
            Ok(()) if is_fooled && job.mends => told.refused += 1,
            Ok(()) => break,
            Err(_) if is_fooled => told.refused += 1,
            Err(_) => panic!(
                "the next command failed\n{story}said: {:#?}\nfiles: {:#?}",
                rig.log.texts(),
                listing_of(&rig.store)
            ),
        }
    }
    match next {
        Next::Backup => versions.push(Version::new(now, true)),
        Next::Again => {
            let count = versions.len();
            (job.changes)(&mut versions, now);
            must_be_stored(&mut versions, count);
            if !matches!(habit, Habit::Late | Habit::Stale) {
                (job.ends)(&mut versions);
            }
        }
        Next::Delete => {
            if let Some(oldest) = versions.first_mut() {
                oldest.must = false;
            }
        }
        Next::Compact | Next::Repair => {}
    }
    world.lock().expect("no panic").arrive(&rig.store);
    let _ = writeln!(story, "files: {:#?}", listing_of(&rig.store));
    let remembers = state == State::Kept && fault != Fault::TimesOut;
    if remembers && habit == Habit::Right && next == Next::Backup && !job.mends {
        check_tidy(&mut rig, job, &story);
    }
    let mut elsewhere = rig.fork_at(&rig.store, None);
    told.restored += check(
        &mut elsewhere,
        &versions,
        habit,
        &format!("{story}elsewhere"),
    );
    if rng.below(2) == 0 {
        told.restored += check(&mut rig, &versions, habit, &format!("{story}here"));
    }
    told
}

fn source_of(rig: &Rig) -> Manifest {
    Manifest::of(&rig.source()).expect("a readable source")
}

/// What an operation that came to its end added to so many versions is there.
fn must_be_stored(versions: &mut [Version], known: usize) {
    for version in versions.iter_mut().skip(known) {
        version.must = true;
    }
}

/// Nothing is left over, nothing was stored twice by a backup, and a further one finds nothing to do or to say.
fn check_tidy(rig: &mut Rig, job: &Job, story: &str) {
    rig.check_set(story);
    if matches!(job.name, "first backup" | "backup") {
        rig.check_nothing_twice(story);
    }
    rig.log.clear();
    assert_eq!(rig.test_all().damaged(), 0, "{story}");
    assert_eq!(rig.backup().version_time, None, "{story}: a third run");
    assert_eq!(rig.log.complaints(), [""; 0], "{story}: a third run");
}

/// Whether the next command may complain so.
fn is_expected(complaint: &str, job: &Job, cell: Cell) -> bool {
    let of_fault: &[&str] = match cell.fault {
        // A file that is listed goes when its deletion arrives at last, and one that is not comes when its put does.
        Fault::TimesOut => &[
            "CompactHeldBack",
            "DamagedList",
            "DamagedVolume",
            "ListNotListed",
        ],
        _ => &[],
    };
    let of_habit: &[&str] = match (cell.habit, cell.state) {
        (Habit::Right | Habit::Unsized, _) => &[],
        // What is listed and not there, or the other way round.
        (Habit::Late, _) => &[
            "CompactHeldBack",
            "DamagedList",
            "DamagedVolume",
            "ListNotListed",
            "MissingDataFile",
            "MissingVersion",
        ],
        (Habit::Stale, _) => &[
            "CompactHeldBack",
            "DamagedList",
            "DamagedVolume",
            "ListNotListed",
            "MissingDataFile",
            "MissingFile",
            "MissingVersion",
            "NoUsableList",
            "RemoteSizeChanged",
            "RetentionHeldBack",
        ],
        (Habit::Twice | Habit::AllTwice, _) => &["DuplicateRemoteFiles"],
        (Habit::Half, State::Kept) => &[],
        // Nobody remembers whose halves these are.
        (Habit::Half, State::Lost) => &[
            "CompactHeldBack",
            "DamagedDirectory",
            "DamagedList",
            "DamagedVolume",
            "NoUsableList",
        ],
    };
    let of_job: &[&str] = match (job.mends, job.name) {
        (true, _) => &["MissingDataFile", "MissingVersion"],
        // Three of nine files are gone indeed, until they are stored again.
        (false, "repair of indexes") => &["CompactHeldBack", "ListingInDoubt"],
        (false, _) => &[],
    };
    let is_of = |id: &&str| complaint.starts_with(&format!("[{id}]"));
    let all = of_habit.iter().chain(of_job).chain(of_fault);
    all.clone().any(is_of)
}

/// The age that only the oldest version has.
fn keep_time(rig: &Rig) -> &'static str {
    use larder_destination::Clock as _;
    let age = rig.clock.seconds() + APART as i64 - START as i64 - APART as i64 * 3 / 2;
    // Options of a run are borrowed from the table.
    Box::leak(format!("{age}s").into_boxed_str())
}

fn said(outcome: &Result<(), Error>) -> String {
    match outcome {
        Ok(()) => "success".to_owned(),
        Err(error) => chain(error),
    }
}

/// Restores everything that is there: each version that has to be there is, and there is nothing else.
fn check(rig: &mut Rig, versions: &[Version], habit: Habit, story: &str) -> u64 {
    rig.log.clear();
    let count = rig.names(List).len();
    let (mut found, mut unreadable) = (vec![false; versions.len()], Vec::new());
    for number in 0..count {
        let target = rig.fast.path().join(format!("restored {number}"));
        let wrong = match rig.restore_into(&target, number, &[]) {
            Err(error) => Some(chain(&error)),
            Ok(report) if !report.broken_remote_files.is_empty() => {
                Some(format!("broken: {:?}", report.broken_remote_files))
            }
            Ok(report) if !report.common.errors.is_empty() => {
                Some(format!("{:?}", report.common.errors))
            }
            Ok(_) => None,
        };
        if let Some(wrong) = wrong {
            unreadable.push(format!("version {number}: {wrong}"));
        } else {
            let tree = Manifest::of(&target).expect("a readable target");
            let matching: Vec<usize> = (0..versions.len())
                .filter(|place| versions[*place].is(&tree))
                .collect();
            let is_part = versions.iter().any(|version| version.is_partly(&tree));
            if matching.is_empty() && !is_part {
                let all: Vec<_> = (versions.iter().flat_map(|version| &version.forms))
                    .map(|form| differences_of(form, &tree))
                    .collect();
                panic!("{story}: version {number} is none that was stored: {all:#?}");
            }
            matching.into_iter().for_each(|place| found[place] = true);
        }
        if target.exists() {
            std::fs::remove_dir_all(&target).expect("the target can be removed");
        }
    }
    let lost: Vec<usize> = (0..versions.len())
        .filter(|place| versions[*place].must && !found[*place])
        .collect();
    assert!(
        lost.is_empty(),
        "{story}: versions {lost:?} of {} are lost, {unreadable:#?}, {:#?}",
        versions.len(),
        rig.log.complaints()
    );
    // Halves of one list whose names nobody remembers, one for each attempt.
    let halves = if habit == Habit::Half { 3 } else { 0 };
    assert!(unreadable.len() <= halves, "{story}: {unreadable:#?}");
    count as u64
}

fn hash(cell: &Cell) -> u64 {
    let mut rng = Rng::new(
        cell.job as u64
            + 100 * cell.fault as u64
            + 10_000 * cell.habit as u64
            + 1_000_000 * cell.state as u64,
    );
    rng.next_u64() >> 8
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The cases in their order, by operations.
fn cases() -> Vec<Case> {
    let seed = setting("LARDER_MATRIX_SEED").unwrap_or(1);
    let only = std::env::var("LARDER_MATRIX_ONLY").unwrap_or_default();
    let mut parts = only.rsplit('/').map(str::parse);
    if let (Some(Ok(seed)), Some(Ok(of)), Some(Ok(number))) =
        (parts.next(), parts.next(), parts.next())
    {
        let cases = cells().into_iter().map(|cell| Case {
            cell,
            number,
            of,
            seed,
        });
        let named: Vec<Case> = cases.filter(|case| case.to_string() == only).collect();
        assert_eq!(named.len(), 1, "no case is called so");
        return named;
    }
    let cells = cells();
    let wanted = setting("LARDER_MATRIX_CASES").unwrap_or(USUAL_CASES);
    let of = wanted.div_ceil(cells.len() as u64);
    let all = of * cells.len() as u64;
    // So many of them as are wanted, evenly.
    let is_wanted = |place: u64| (place + 1) * wanted / all > place * wanted / all;
    let cases = cells.into_iter().flat_map(|cell| {
        (0..of).map(move |number| Case {
            cell,
            number,
            of,
            seed,
        })
    });
    let numbered = (0..).zip(cases).filter(|(place, _)| is_wanted(*place));
    let cases = numbered.map(|(_, case)| case);
    cases
        .filter(|case| case.to_string().starts_with(&only))
        .collect()
}

#[expect(clippy::print_stdout, reason = "the table of a long run is published")]
#[test]
fn no_version_is_lost_whatever_befalls_an_operation() {
    let (cases, next) = (cases(), AtomicUsize::new(0));
    let tally = Mutex::new(Tally::default());
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| run_cases(&cases, &next, &tally));
        }
    });
    let tally = tally.into_inner().expect("no panic");
    println!("{}", table(&tally, cases.len()));
    let failures = tally.failures.len();
    assert!(
        failures == 0,
        "{failures} of {} cases failed:\n{}",
        cases.len(),
        tally.failures[..failures.min(10)].join("\n\n")
    );
}

#[expect(clippy::print_stderr, reason = "a long run is not waited for")]
fn run_cases(cases: &[Case], next: &AtomicUsize, tally: &Mutex<Tally>) {
    // Cases come by operations, so one base at a time is enough.
    let mut measured: Option<(usize, Measured)> = None;
    while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
        let Cell {
            job, fault, habit, ..
        } = case.cell;
        if measured.as_ref().is_none_or(|(of, _)| *of != job) {
            measured = Some((job, Measured::new(&JOBS[job])));
        }
        let (_, measured) = measured.as_ref().expect("just made");
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| run_case(measured, *case)));
        let mut tally = tally.lock().expect("no panic");
        *tally.cases.entry((job, fault, habit)).or_default() += 1;
        match outcome {
            Ok(told) => {
                tally.refused += told.refused;
                tally.restored += told.restored;
            }
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                let text = text.unwrap_or_default();
                let text = format!("LARDER_MATRIX_ONLY='{case}': {text}");
                eprintln!("{text}");
                tally.failures.push(text);
            }
        }
    }
}

/// The counts, as the page of proofs shows them: operations by faults, and by habits.
fn table(tally: &Tally, count: usize) -> String {
    let mut text = format!(
        "{count} cases, {} versions restored, {} failures, {} commands given once more after a late or stale listing\n",
        tally.restored,
        tally.failures.len(),
        tally.refused
    );
    let mut row = |name: &str, cells: Vec<String>| {
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    };
    let heads = (Fault::ALL.iter().map(|fault| format!("{fault:?}")))
        .chain(Habit::ALL.iter().map(|habit| format!("{habit:?}")));
    row("", heads.collect());
    let columns = Fault::ALL.len() + Habit::ALL.len();
    row("---", vec!["---:".to_owned(); columns]);
    for (number, job) in JOBS.iter().enumerate() {
        let sum = |is_in: &dyn Fn(Fault, Habit) -> bool| {
            let all = tally.cases.iter();
            let of_it =
                all.filter(|((job, fault, habit), _)| *job == number && is_in(*fault, *habit));
            of_it.map(|(_, count)| count).sum::<u64>().to_string()
        };
        let faults = Fault::ALL.map(|of| sum(&|fault, _| fault == of));
        let habits = Habit::ALL.map(|of| sum(&|_, habit| habit == of));
        row(job.name, faults.into_iter().chain(habits).collect());
    }
    text
}

/// Cases of a usual run: each cell has one at least.
const USUAL_CASES: u64 = 2200;
