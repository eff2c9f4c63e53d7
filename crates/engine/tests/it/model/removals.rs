//! What takes something away in a life: deletions, compactions, purges, also killed and disturbed ones.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use larder_destination::{Clock as _, ErrorKind};
use larder_engine::source::Action;
use larder_engine::{Error, PurgeRequest, Run};
use larder_testkit::Failure;
use larder_testkit::tree::{Kind, Manifest};
use larder_volume::VolumeKind::{Index, List};

use super::Life;
use crate::doom::{Doom, Reach};
use crate::rig::chain;

/// Options of one run.
type Options = Vec<(&'static str, String)>;

/// What happens to a run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    None,
    /// The process dies at a call.
    Killed(u64, Reach),
    /// Calls fail by chance.
    Disturbed(u64),
}

/// What a purge takes out, and how it is said.
#[derive(Debug)]
enum Taken {
    /// An entry with all that is below it, by its path.
    Path(Vec<u8>),
    /// Files of a name, wherever they are.
    Name(Vec<u8>),
    /// What has this in its path below the source.
    Part(Vec<u8>),
}

impl Taken {
    fn holds(&self, path: &[u8], kind: &Kind) -> bool {
        match self {
            Self::Path(taken) => path
                .strip_prefix(taken.as_slice())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")),
            Self::Name(name) => {
                matches!(kind, Kind::File { .. })
                    && path
                        .strip_suffix(name.as_slice())
                        .is_some_and(|rest| rest.is_empty() || rest.ends_with(b"/"))
            }
            Self::Part(part) => path.windows(part.len()).any(|found| found == part),
        }
    }
}

impl Life {
    fn trouble(&mut self) -> Trouble {
        match self.rng.below(5) {
            0 | 1 => {
                let reach = *self
                    .rng
                    .choose(&[Reach::Not, Reach::Whole])
                    .expect("a choice");
                Trouble::Killed(1 + self.rng.below(14), reach)
            }
            2 => Trouble::Disturbed(self.rng.next_u64()),
            _ => Trouble::None,
        }
    }

    /// How much waste there may be, and sizes.
    fn limits(&mut self) -> Options {
        let mut options = vec![("threshold", self.rng.below(31).to_string())];
        if self.rng.below(2) == 0 {
            options.push(("small-file-max-count", (1 + self.rng.below(10)).to_string()));
        }
        if self.rng.below(4) == 0 {
            options.push(("dblock-size", format!("{}mb", 1 + self.rng.below(3))));
        }
        if self.rng.below(4) == 0 {
            options.push(("small-file-size", "10kb".to_owned()));
        }
        options
    }

    /// Runs a command as a new process would. `None` when it met trouble; then anything may have happened.
    fn run<R>(
        &mut self,
        trouble: Trouble,
        options: &Options,
        work: impl FnOnce(&Run) -> Result<R, Error>,
    ) -> Option<R> {
        self.rig.clock.pause(Duration::from_secs(1));
        let values = self.rig.values.clone();
        for (name, value) in options {
            self.rig.set(name, value);
        }
        let done = match trouble {
            Trouble::None => {
                self.rig.log.clear();
                let run = self.rig.open().expect("it opens");
                let outcome = work(&run);
                run.repository().close().expect("the catalog closes");
                match outcome {
                    Ok(done) => Some(done),
                    Err(error) => panic!("it failed: {}", chain(&error)),
                }
            }
            Trouble::Killed(at, reach) => {
                self.killed(at, reach, work);
                None
            }
            Trouble::Disturbed(seed) => {
                let network = ErrorKind::Network;
                self.rig.plan.fail_by_chance(
                    seed,
                    200,
                    vec![
                        Failure::Before(network.clone()),
                        Failure::After(network),
                        Failure::Cut(50),
                    ],
                );
                let run = self.rig.open().expect("it opens");
                let outcome = work(&run).map(|_| ());
                run.repository().close().expect("the catalog closes");
                self.rig.plan.clear();
                self.rig.log.clear();
                self.say(format!("  {outcome:?}"));
                assert!(!matches!(outcome, Err(Error::Bug(_))), "{outcome:?}");
                None
            }
        };
        self.rig.values = values;
        done
    }

    /// The process dies at some call; what it had done stays.
    pub(super) fn killed<R>(
        &mut self,
        at: u64,
        reach: Reach,
        work: impl FnOnce(&Run) -> Result<R, Error>,
    ) {
        let saved = self
            .rig
            .fast
            .path()
            .join(format!("saved {}", self.log.len()));
        let doom = Arc::new(Doom::new(&self.rig, at, reach, saved.clone()));
        let run = self.rig.open_over(doom.clone(), true).expect("it opens");
        let outcome = work(&run);
        drop(run);
        if doom.what_is_left().is_some() {
            let state = self.rig.state_folder();
            fs::remove_dir_all(&state).expect("the state");
            fs::rename(&saved, &state).expect("the state as it was");
        } else if let Err(error) = outcome {
            panic!("it failed: {}", chain(&error));
        }
        self.rig.log.clear();
    }

    /// Every version restores equal, here and elsewhere.
    fn check(&mut self, when: &str) {
        self.rig.check_all(when);
        self.rig.check_all_elsewhere(when);
    }

    /// Only these complaints were made.
    pub(super) fn only_complaints(&mut self, allowed: &[&str]) {
        let complaints = self.rig.log.complaints();
        let is_allowed = |text: &String| {
            let of_these = |id: &&str| text.starts_with(&format!("[{id}]"));
            allowed.iter().any(of_these)
        };
        let others: Vec<_> = complaints.iter().filter(|text| !is_allowed(text)).collect();
        assert!(others.is_empty(), "{others:#?}");
        self.rig.log.clear();
    }

    /// The user of this machine was told that versions are gone which the other one deleted, and says that it is so.
    pub(super) fn acknowledge(&mut self) {
        if self.gone_elsewhere {
            self.repair();
        }
    }

    /// A version that the other machine deleted may come back: this one cannot tell that from a loss. Then it is deleted
    /// here as well.
    pub(super) fn repair(&mut self) {
        self.say("repair".into());
        let lists = self.rig.names(List);
        self.run(Trouble::None, &Vec::new(), |run| run.repair());
        let now = self.rig.names(List);
        let is_back = |list: &&String| !lists.contains(list);
        let back = now.iter().rev().enumerate();
        let back = back.filter(|(_, list)| self.gone_elsewhere && is_back(list));
        let numbers: Vec<String> = back.map(|(number, _)| number.to_string()).collect();
        if !numbers.is_empty() {
            self.say(format!("  {numbers:?} came back and go"));
            let options = vec![
                ("version", numbers.join(",")),
                ("no-auto-compact", "true".to_owned()),
            ];
            self.run(Trouble::None, &options, |run| run.delete());
        }
        assert_eq!(self.rig.names(List), lists, "lists after a repair");
        self.gone_elsewhere = false;
        self.rig.log.clear();
    }

    /// Something is lost that this machine can store again, and it does, also when the repair meets trouble.
    pub(super) fn lose_and_repair(&mut self) {
        self.acknowledge();
        // Another machine that knows the list would find another one under its name.
        let lost = if self.rng.below(2) == 0 && !self.other_state().exists() {
            self.backup();
            self.rig.newest_list()
        } else {
            let indexes = self.rig.names(Index);
            match indexes.is_empty() {
                true => return,
                false => indexes[self.rng.index(indexes.len())].clone(),
            }
        };
        drop(self.rig.store.remove(&lost).expect("it was there"));
        let trouble = self.trouble();
        self.say(format!("{lost} is lost, and repaired, {trouble:?}"));
        if self.run(trouble, &Vec::new(), |run| run.repair()).is_none() {
            self.run(Trouble::None, &Vec::new(), |run| run.repair());
        }
        self.rig.log.clear();
        assert_eq!(self.rig.names(List).len(), self.rig.versions.len());
        self.check("after something was lost and repaired");
    }

    pub(super) fn delete(&mut self) {
        self.acknowledge();
        let count = self.rig.versions.len();
        let mut options = self.limits();
        let going: BTreeSet<u64> = if self.rng.below(2) == 0 {
            let mut going: Vec<u64> = (0..count as u64)
                .filter(|_| self.rng.below(3) == 0)
                .collect();
            if going.len() == count {
                going.remove(self.rng.index(going.len()));
            }
            if going.is_empty() {
                return;
            }
            let numbers: Vec<String> = going.iter().map(u64::to_string).collect();
            options.push(("version", numbers.join(",")));
            going.into_iter().collect()
        } else {
            let keep = 1 + self.rng.index(count + 1);
            options.push(("keep-versions", keep.to_string()));
            (keep as u64..count as u64).collect()
        };
        if self.rng.below(2) == 0 {
            options.push(("no-auto-compact", "true".to_owned()));
        }
        let trouble = self.trouble();
        self.say(format!("delete {going:?} with {options:?}, {trouble:?}"));
        let lists = self.rig.names(List);
        let numbers = self.run(trouble, &options, |run| {
            let report = run.delete()?;
            Ok(report.deleted_sets.iter().map(|set| set.number).collect())
        });
        match numbers {
            Some(numbers) => {
                self.only_complaints(&[]);
                let numbers: BTreeSet<u64> = numbers;
                assert_eq!(numbers, going);
            }
            // What was begun is ended.
            None => {
                self.run(Trouble::None, &Vec::new(), |run| run.repair());
                self.rig.log.clear();
            }
        }
        let left = self.rig.names(List);
        let mut at = 0;
        for (place, list) in lists.iter().enumerate() {
            let number = (count - 1 - place) as u64;
            if left.contains(list) {
                assert!(trouble != Trouble::None || !going.contains(&number));
                at += 1;
                continue;
            }
            assert!(going.contains(&number), "{list} is gone");
            self.rig.versions.remove(at);
            self.other_gone = true;
        }
        self.say(format!("  {} versions are left", left.len()));
        self.rig.written.resize(self.rig.versions.len(), Vec::new());
        self.check("after a deletion");
    }

    pub(super) fn compact(&mut self) {
        let options = self.limits();
        let trouble = self.trouble();
        self.say(format!("compact with {options:?}, {trouble:?}"));
        let lists = self.rig.names(List);
        let held_back = self.run(trouble, &options, |run| {
            let report = run.compact()?;
            Ok(report.results.held_back)
        });
        match held_back {
            Some(None) => self.only_complaints(&[]),
            Some(Some(why)) => {
                self.say(format!("  held back: {why}"));
                let is_known = self.gone_elsewhere || self.replaced_elsewhere;
                assert!(
                    is_known || why.contains("another machine may be at work"),
                    "{why}"
                );
                self.rig.log.clear();
            }
            None if self.rng.below(3) == 0 => self.other_machine(),
            None => {}
        }
        assert_eq!(self.rig.names(List), lists);
        self.check("after a compaction");
        if trouble != Trouble::None {
            // What is left over goes.
            self.acknowledge();
            self.backup();
        }
    }

    /// Something to take out of versions: how it is said, and what it is.
    fn choose_taken(&mut self) -> Option<(String, Taken)> {
        let root = self.rig.source().to_string_lossy().into_owned();
        if self.rng.below(4) == 0 {
            let part = *self.rng.choose(&["f1", "9", "e", "00"]).expect("a choice");
            let pattern = format!("{root}/*{part}*");
            return Some((pattern, Taken::Part(part.into())));
        }
        let version = self.rng.index(self.rig.versions.len());
        let entries = &self.rig.versions[version].entries;
        let at = self.rng.index(entries.len());
        let (path, _) = entries.iter().nth(at)?;
        let text = std::str::from_utf8(path).ok()?;
        let name = text.rsplit('/').next()?;
        match self.rng.below(3) {
            0 if self.are_all_files(name) => Some((format!("*/{name}"), Taken::Name(name.into()))),
            _ => Some((format!("{root}/{text}"), Taken::Path(path.clone()))),
        }
    }

    /// Whether everything of a name is a file: paths of folders, and of links to folders, end in a separator.
    fn are_all_files(&self, name: &str) -> bool {
        let mut entries = self.rig.versions.iter().flat_map(|held| &held.entries);
        entries.all(|(path, entry)| {
            let last = path.rsplit(|byte| *byte == b'/').next();
            last != Some(name.as_bytes()) || matches!(entry.kind, Kind::File { .. })
        })
    }

    pub(super) fn purge(&mut self) {
        self.acknowledge();
        let Some((pattern, taken)) = self.choose_taken() else {
            return;
        };
        let count = self.rig.versions.len();
        let mut options = self.limits();
        let chosen: BTreeSet<usize> = match self.rng.below(2) {
            0 => (0..count).collect(),
            _ => {
                let chosen = (0..count).filter(|_| self.rng.below(2) == 0);
                let chosen: BTreeSet<usize> = chosen.collect();
                if chosen.is_empty() {
                    return;
                }
                let numbers: Vec<String> = chosen.iter().map(usize::to_string).collect();
                options.push(("version", numbers.join(",")));
                chosen
            }
        };
        let trouble = self.trouble();
        let as_filter = matches!(taken, Taken::Name(_)) && self.rng.below(2) == 0;
        let request = match as_filter {
            true => PurgeRequest {
                patterns: Vec::new(),
                filters: vec![(Action::Include, pattern)],
            },
            false => PurgeRequest {
                patterns: vec![pattern],
                filters: Vec::new(),
            },
        };
        self.say(format!(
            "purge {request:?}, {taken:?}, with {options:?}, {trouble:?}"
        ));
        self.other_replaced = true;
        let mut report = self.run(trouble, &options, |run| run.purge(&request));
        if report.is_none() {
            // The same command again ends it.
            self.say(format!("  {:?}", self.rig.names(List)));
            report = self.run(Trouble::None, &options, |run| run.purge(&request));
        }
        let figures =
            report.map(|report| (report.rewritten_file_lists, report.removed_entry_count));
        self.say(format!(
            "  {figures:?} lists and entries, {:?}",
            self.rig.names(List)
        ));
        let stuck = self.rig.log.count("NoFreeTime");
        self.only_complaints(&["NoFreeTime"]);
        let mut stayed = 0;
        for number in chosen {
            let place = count - 1 - number;
            let before = self.rig.versions[place].clone();
            let after = without(&before, &taken);
            if after.entries.len() == before.entries.len() {
                continue;
            }
            self.rig.versions[place] = after;
            if stuck > 0 && !self.rig.differences(number).is_empty() {
                self.rig.versions[place] = before;
                stayed += 1;
            }
        }
        assert_eq!(stayed, stuck, "versions without a free second");
        self.check("after a purge");
    }
}

fn without(held: &Manifest, taken: &Taken) -> Manifest {
    let mut held = held.clone();
    held.entries
        .retain(|path, entry| !taken.holds(path, &entry.kind));
    held
}
