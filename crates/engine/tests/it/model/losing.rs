//! How lives end: something at the destination is lost or damaged.

use std::collections::{BTreeMap, BTreeSet};

use larder_engine::{Error, PurgeRequest};
use larder_testkit::tree::{Kind, Manifest};
use larder_volume::VolumeKind::{Blocks, List};

use super::Life;
use crate::damage::{Damage, silent_differences};
use crate::rig::{Rig, chain};

/// What of a version is broken, by the paths below the source.
#[derive(Debug, Default, PartialEq)]
struct Broken {
    content: BTreeSet<String>,
    metadata: BTreeSet<String>,
}

impl Life {
    /// Files of the destination are damaged: the next backup works and is whole as far as the damage could be seen;
    /// no restore is wrong without saying so.
    pub(super) fn lose_something(&mut self) {
        let mut visible = true;
        let mut damaged = BTreeSet::new();
        for _ in 0..=self.rng.below(3) {
            let names = self.rig.store.names();
            let name = names[self.rng.index(names.len())].clone();
            let len = self.rig.store.files()[&name].len();
            let damage = *self
                .rng
                .choose(&[
                    Damage::Delete,
                    Damage::Delete,
                    Damage::Truncate,
                    Damage::Empty,
                    Damage::Flip,
                    Damage::Garbage,
                ])
                .expect("a choice");
            self.say(format!("{damage:?} {name} of {len} bytes"));
            damage.apply(&self.rig, &name);
            damaged.insert(name);
            visible &= !matches!(damage, Damage::Flip | Damage::Garbage);
        }
        if self.rig.store.names().is_empty() {
            return;
        }
        if self.rng.below(2) == 0 {
            self.say("the local state is lost".into());
            self.rig.lose_state();
            if self
                .rig
                .store
                .names()
                .iter()
                .all(|name| damaged.contains(name))
            {
                // Nothing tells the passphrase from a wrong one.
                return;
            }
        }
        self.tidy_up_damaged();
        self.edit();
        self.rig.write("the last", "the last");
        let report = self.rig.backup();
        assert!(report.version_time.is_some());
        let (target, report) = self.rig.try_restore(0).expect("a restore");
        let held = self.rig.versions.last().expect("a version");
        let wrong = silent_differences(held, &target, &report);
        assert_eq!(wrong, Vec::<String>::new(), "the newest version");
        if visible {
            assert_eq!(report.broken_remote_files, Vec::<String>::new());
        }
    }

    /// Somebody deletes, compacts or purges a damaged set. It may be refused, and nothing more may be lost by it.
    fn tidy_up_damaged(&mut self) {
        let what = self.rng.below(5);
        let mut options = vec![("threshold", self.rng.below(31).to_string())];
        if what == 0 {
            options.push(("version", "1".to_owned()));
        }
        self.say(format!(
            "{} of the damaged set",
            ["delete", "compact", "purge", "nothing", "nothing"][what as usize]
        ));
        let values = self.rig.values.clone();
        for (name, value) in options {
            self.rig.set(name, &value);
        }
        let run = self.rig.open().expect("it opens");
        let outcome = match what {
            0 => run.delete().map(|_| ()),
            1 => run.compact().map(|_| ()),
            2 => {
                let request = PurgeRequest {
                    patterns: vec!["*/f1".to_owned()],
                    filters: Vec::new(),
                };
                run.purge(&request).map(|_| ())
            }
            _ => Ok(()),
        };
        run.repository().close().expect("the catalog closes");
        self.rig.values = values;
        assert!(!matches!(outcome, Err(Error::Bug(_))), "{outcome:?}");
        self.say(format!("  {outcome:?}"));
    }

    /// Data files are lost: what is named as broken is what restores lose, and when that is purged every version
    /// restores.
    pub(super) fn lose_data(&mut self) {
        let turn = self.rng.below(3);
        if turn == 1 {
            self.other_machine();
            self.acknowledge();
        }
        let lost = 1 + self.rng.index(2);
        for _ in 0..lost {
            let mut names = self.rig.names(Blocks);
            if names.is_empty() {
                return;
            }
            let files = self.rig.store.files();
            // Names are chance; sizes repeat with the seed.
            names.sort_by_key(|name| files[name].len());
            let name = &names[self.rng.index(names.len())];
            self.log.push(format!("{name} is lost"));
            drop(self.rig.store.remove(name).expect("it was there"));
        }
        if self.rig.names(Blocks).is_empty() {
            return;
        }
        // What nobody uses may go then, whoever stored it.
        self.a_day_passes();
        if turn == 0 {
            self.say("the local state is lost".into());
            self.rig.lose_state();
        }
        let told = self.broken_files();
        self.say(format!("  broken: {told:?}"));
        for number in 0..self.rig.versions.len() {
            let lost = self.lost_in_restore(number);
            let told = told.get(&number);
            assert_eq!(
                &lost,
                told.unwrap_or(&Broken::default()),
                "version {number}: what a restore loses, and what is named"
            );
        }
        let lists = self.rig.names(List);
        let run = self.rig.open().expect("it opens");
        let outcome = run.purge_broken_files();
        run.repository().close().expect("the catalog closes");
        let report = match outcome {
            Ok(report) => report,
            Err(error) if error.id() == Some("AllFilesetsBroken") => {
                assert_eq!(told.len(), lists.len());
                assert_eq!(self.rig.names(List), lists);
                return;
            }
            Err(error) => panic!("{}", chain(&error)),
        };
        self.say(format!("  purged: {report:?}"));
        let stuck = self.rig.log.count("NoFreeTime");
        let mut broken: Vec<Broken> = Vec::new();
        let mut held: Vec<Manifest> = Vec::new();
        let count = self.rig.versions.len();
        let mut told = told;
        for (place, version) in std::mem::take(&mut self.rig.versions)
            .into_iter()
            .enumerate()
        {
            let number = count - 1 - place;
            if report
                .deleted_sets
                .iter()
                .any(|set| set.number == number as u64)
            {
                continue;
            }
            held.push(version);
            broken.push(told.remove(&number).unwrap_or_default());
        }
        self.rig.versions = held;
        if stuck > 0 {
            return;
        }
        assert_eq!(self.broken_files(), BTreeMap::new(), "after the purge");
        self.check_purged(&broken);
        let mut other = self.rig.fork_at(&self.rig.store, None);
        std::mem::swap(&mut self.rig, &mut other);
        self.check_purged(&broken);
        std::mem::swap(&mut self.rig, &mut other);
        drop(other);
        // Their indexes stay while nothing was compacted, and while a blocklist is nowhere else.
        let tested = self.rig.test_all();
        assert!(tested.damaged() <= lost, "{tested:#?}");
        self.rig.write("the last", "the last");
        self.rig.log.clear();
        self.rig.backup();
        self.only_complaints(&[]);
        assert_eq!(self.rig.differences_of_newest(), Vec::<String>::new());
    }

    /// What is named as broken, by the numbers of the versions.
    fn broken_files(&mut self) -> BTreeMap<usize, Broken> {
        let values = self.rig.values.clone();
        self.rig.set("full-result", "true");
        let run = self.rig.open().expect("it opens");
        let report = run.list_broken_files().expect("a list");
        run.repository().close().expect("the catalog closes");
        self.rig.values = values;
        let mut found = BTreeMap::new();
        for version in &report.broken_files {
            let number = usize::try_from(version.number).expect("a number");
            let held = &self.rig.versions[self.rig.versions.len() - 1 - number];
            let broken: &mut Broken = found.entry(number).or_default();
            for file in &version.files {
                let path = below_source(&self.rig, &file.path);
                if path.is_empty() {
                    // The target stands for the source itself and keeps its own.
                    continue;
                }
                // Where a link leads to is metadata.
                let is_link = held.entries.iter().any(|(of, entry)| {
                    String::from_utf8_lossy(of) == path.as_str()
                        && matches!(entry.kind, Kind::Link { .. })
                });
                match file.only_metadata && !is_link {
                    true => broken.metadata.insert(path),
                    false => broken.content.insert(path),
                };
            }
        }
        found
    }

    /// What a restore of a version says that it lost.
    fn lost_in_restore(&mut self, number: usize) -> Broken {
        let (target, report) = self.rig.try_restore(number).expect("a restore");
        let held = &self.rig.versions[self.rig.versions.len() - 1 - number];
        let wrong = silent_differences(held, &target, &report);
        assert_eq!(wrong, Vec::<String>::new(), "version {number}");
        std::fs::remove_dir_all(&target).expect("the target");
        let paths = report.broken_remote_files.iter();
        let texts = self.rig.log.texts();
        let metadata = texts
            .iter()
            .filter_map(|text| text.split_once(": its time, permissions"));
        let metadata: BTreeSet<String> = metadata
            .map(|(path, _)| below_source(&self.rig, path))
            .collect();
        self.rig.log.clear();
        assert_eq!(metadata.len() as u64, report.entries_without_metadata);
        Broken {
            content: paths.map(|path| below_source(&self.rig, path)).collect(),
            metadata,
        }
    }

    /// Every version restores without complaint but for what was purged of it; of what lost its metadata only the content.
    fn check_purged(&mut self, broken: &[Broken]) {
        for (place, broken) in broken.iter().enumerate() {
            let number = self.rig.versions.len() - 1 - place;
            let (target, report) = self.rig.try_restore(number).expect("a restore");
            assert_eq!(report.common.errors, [""; 0], "version {number}");
            // Elsewhere an index may describe a lost file, and where blocklists are not repeated nobody knows who needs it.
            let mut warnings = report.common.warnings;
            warnings.retain(|warning| !warning.contains("what it costs cannot be told"));
            assert_eq!(warnings, [""; 0], "version {number}");
            let found = Manifest::of(&target).expect("a readable target");
            let mut held = self.rig.versions[place].clone();
            held.entries.retain(|path, _| {
                let path = String::from_utf8_lossy(path);
                !broken.content.contains(path.as_ref())
            });
            for (path, entry) in &mut held.entries {
                let path_text = String::from_utf8_lossy(path);
                if broken.metadata.contains(path_text.as_ref()) {
                    let found = found.entries.get(path).expect("it is there");
                    assert_eq!(found.kind, entry.kind, "{path_text}");
                    *entry = found.clone();
                }
            }
            let differences = crate::rig::differences_of(&held, &found);
            assert_eq!(differences, Vec::<String>::new(), "version {number}");
            std::fs::remove_dir_all(&target).expect("the target");
        }
    }
}

/// A stored path as one below the source, without a separator at the end; nothing for the source itself.
fn below_source(rig: &Rig, path: &str) -> String {
    let root = rig.source().to_string_lossy().into_owned();
    let rest = path.strip_prefix(&root).unwrap_or(path);
    rest.trim_matches('/').to_owned()
}
