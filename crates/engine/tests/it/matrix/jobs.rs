//! The operations of the matrix: what is there before each, what it does, what must be there whatever befell it, and which
//! commands may come next.

use std::collections::BTreeSet;

use larder_engine::{Error, PurgeRequest, Run, Samples};
use larder_testkit::Rng;
use larder_testkit::tree::{Manifest, compare_manifests};
use larder_volume::VolumeKind::{Blocks, Index, List};

use super::way::{Fault, Listing, listing_of};
use crate::rig::{Rig, as_stored, differences_of, later};

/// A version that there has to be or may be: how it may look.
#[derive(Clone)]
pub struct Version {
    pub forms: Vec<Manifest>,
    /// Whether it has to be there.
    pub must: bool,
    /// Of a run that stores partial versions: the version before it.
    pub after: Option<Manifest>,
}

impl Version {
    pub fn new(held: Manifest, must: bool) -> Self {
        Self {
            forms: vec![held],
            must,
            after: None,
        }
    }

    /// Whether a restored tree is this version.
    pub fn is(&self, tree: &Manifest) -> bool {
        let mut forms = self.forms.iter();
        forms.any(|form| differences_of(form, tree).is_empty())
    }

    /// Whether a restored tree is a partial version on the way to this one: everything is as it was before or as it is.
    pub fn is_partly(&self, tree: &Manifest) -> bool {
        let Some(before) = &self.after else {
            return false;
        };
        let differs = |held| -> BTreeSet<Vec<u8>> {
            let differences = compare_manifests(held, tree, &as_stored());
            differences.into_iter().map(|found| found.path).collect()
        };
        differs(before).is_disjoint(&differs(&self.forms[0]))
    }
}

/// What a case begins with.
pub struct Base {
    pub rig: Rig,
    /// What was at the destination before the last run.
    pub earlier: Listing,
    pub versions: Vec<Version>,
}

/// The command after the disturbed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Backup,
    Compact,
    Repair,
    /// The oldest version goes.
    Delete,
    /// The same command.
    Again,
}

/// An operation of the matrix.
pub struct Job {
    pub name: &'static str,
    pub base: fn() -> Base,
    /// Options of this run alone.
    pub options: &'static [(&'static str, &'static str)],
    pub run: fn(&Run, &Rig) -> Result<(), Error>,
    /// What it may change of the versions: those at the beginning, and the source at this moment.
    pub changes: fn(&mut Vec<Version>, Manifest),
    /// What holds when it came to its end.
    pub ends: fn(&mut Vec<Version>),
    pub next: &'static [Next],
    /// What it, or the next command, mends: nothing more, or something that a listing shows to be lost.
    pub mends: bool,
    /// Whatever befalls it happens to the catalog alone.
    pub is_local: bool,
}

impl Job {
    pub fn faults(&self) -> &'static [Fault] {
        match self.is_local {
            true => &[Fault::KilledAtCommit],
            false => &Fault::ALL,
        }
    }
}

const ANY: &[Next] = &[
    Next::Backup,
    Next::Backup,
    Next::Compact,
    Next::Repair,
    Next::Delete,
    Next::Again,
];

/// The options of a compaction that finds something to do.
const WASTE: (&str, &str) = ("threshold", "5");
const FEW: (&str, &str) = ("small-file-max-count", "2");
const NO_COMPACT: (&str, &str) = ("no-auto-compact", "true");
const KEEP: (&str, &str) = ("keep-versions", "2");

pub const JOBS: &[Job] = &[
    Job {
        name: "first backup",
        base: first,
        options: &[NO_COMPACT],
        run: backup,
        changes: adds,
        ends: |_| {},
        next: &[Next::Backup],
        mends: false,
        is_local: false,
    },
    Job {
        name: "backup",
        base: || of_versions(2),
        options: &[NO_COMPACT],
        run: backup,
        changes: adds,
        ends: |_| {},
        next: ANY,
        mends: false,
        is_local: false,
    },
    Job {
        name: "backup with partial versions",
        base: long_runs,
        options: &[NO_COMPACT, ("checkpoint-interval", "5s")],
        run: backup,
        changes: |versions, now| {
            let before = versions.last().expect("a version").forms[0].clone();
            versions.push(Version {
                after: Some(before),
                ..Version::new(now, false)
            });
        },
        ends: |_| {},
        next: ANY,
        mends: false,
        is_local: false,
    },
    Job {
        name: "backup that stores lost blocks again",
        base: without_data,
        options: &[NO_COMPACT],
        run: backup,
        changes: adds,
        ends: |_| {},
        next: &[Next::Backup],
        mends: true,
        is_local: false,
    },
    Job {
        name: "backup with retention and compaction",
        base: || of_versions(4),
        options: &[KEEP, WASTE, FEW],
        run: backup,
        changes: |versions, now| {
            let all_but_one = versions.len() - 1;
            may_go(versions, all_but_one);
            adds(versions, now);
        },
        ends: |_| {},
        next: &[Next::Backup, Next::Compact, Next::Repair, Next::Again],
        mends: false,
        is_local: false,
    },
    Job {
        name: "delete",
        base: || of_versions(4),
        options: &[KEEP, NO_COMPACT],
        run: |run, _| run.delete().map(drop),
        changes: |versions, _| may_go(versions, 2),
        ends: only_what_must,
        next: &[Next::Backup, Next::Compact, Next::Repair, Next::Again],
        mends: false,
        is_local: false,
    },
    Job {
        name: "delete with compaction",
        base: || of_versions(4),
        options: &[KEEP, WASTE, FEW],
        run: |run, _| run.delete().map(drop),
        changes: |versions, _| may_go(versions, 2),
        ends: only_what_must,
        next: &[Next::Backup, Next::Compact, Next::Repair, Next::Again],
        mends: false,
        is_local: false,
    },
    Job {
        name: "compact",
        base: with_waste,
        options: &[WASTE, FEW],
        run: |run, _| run.compact().map(drop),
        changes: |_, _| {},
        ends: |_| {},
        next: ANY,
        mends: false,
        is_local: false,
    },
    Job {
        name: "purge",
        base: || of_versions(3),
        options: &[WASTE],
        run: purge,
        changes: |versions, _| {
            for version in versions {
                let mut purged = version.forms[0].clone();
                purged.entries.retain(|path, _| path != b"secret");
                version.forms.push(purged);
            }
        },
        ends: only_the_new_form,
        next: ANY,
        mends: false,
        is_local: false,
    },
    Job {
        name: "purge-broken-files",
        base: with_a_broken_file,
        options: &[WASTE],
        run: |run, _| run.purge_broken_files().map(drop),
        changes: |_, _| {},
        ends: |_| {},
        next: &[Next::Again],
        mends: true,
        is_local: false,
    },
    Job {
        name: "repair of indexes",
        base: without_indexes,
        options: &[],
        run: repair,
        changes: |_, _| {},
        ends: |_| {},
        next: ANY,
        mends: false,
        is_local: false,
    },
    Job {
        name: "repair of a list",
        base: without_a_list,
        options: &[],
        run: repair,
        changes: |_, _| {},
        ends: |_| {},
        next: &[Next::Repair],
        mends: true,
        is_local: false,
    },
    Job {
        name: "repair of lost blocks",
        base: without_data,
        options: &[("rebuild-missing-dblock-files", "true")],
        run: repair,
        changes: |_, _| {},
        ends: |_| {},
        next: &[Next::Backup],
        mends: true,
        is_local: false,
    },
    Job {
        name: "rebuild of the catalog",
        base: without_state,
        options: &[],
        run: |run, _| run.test(Samples::All).map(drop),
        changes: |_, _| {},
        ends: |_| {},
        next: &[Next::Backup, Next::Compact, Next::Repair, Next::Delete],
        mends: false,
        is_local: false,
    },
    Job {
        name: "vacuum",
        base: || of_versions(3),
        options: &[],
        run: |run, _| run.vacuum().map(drop),
        changes: |_, _| {},
        ends: |_| {},
        next: ANY,
        mends: false,
        is_local: true,
    },
];

/// Seconds between two versions.
pub const APART: u64 = 60;

fn backup(run: &Run, rig: &Rig) -> Result<(), Error> {
    run.backup(&rig.request()).map(drop)
}

fn repair(run: &Run, _: &Rig) -> Result<(), Error> {
    run.repair().map(drop)
}

fn purge(run: &Run, _: &Rig) -> Result<(), Error> {
    let request = PurgeRequest {
        patterns: vec!["*/secret".to_owned()],
        filters: Vec::new(),
    };
    run.purge(&request).map(drop)
}

fn adds(versions: &mut Vec<Version>, now: Manifest) {
    versions.push(Version::new(now, false));
}

/// The oldest may go.
fn may_go(versions: &mut [Version], count: usize) {
    for version in versions.iter_mut().take(count) {
        version.must = false;
    }
}

fn only_what_must(versions: &mut Vec<Version>) {
    versions.retain(|version| version.must);
}

fn only_the_new_form(versions: &mut Vec<Version>) {
    for version in versions {
        version.forms.drain(..version.forms.len() - 1);
    }
}

/// A source of some files in memory.
fn source() -> Rig {
    let mut rig = Rig::new();
    rig.use_source_in_memory();
    rig.set("no-auto-compact", "true");
    rig.write("folder/one", Rng::new(1).bytes(3000));
    rig.write("folder/large", Rng::new(2).bytes(40_000));
    rig.write("secret", Rng::new(3).bytes(2500));
    rig.write("empty", "");
    rig.write("other", "x");
    std::os::unix::fs::symlink("folder/one", rig.source().join("link")).expect("a link");
    rig
}

/// A source with two volumes to come.
fn first() -> Base {
    let rig = source();
    rig.write("changes", Rng::new(7).bytes(1_100_000));
    Base::of(rig, Listing::new())
}

/// So many versions, each with content of its own in one file, and a source that has changed since.
fn of_versions(count: u64) -> Base {
    let mut rig = source();
    let mut earlier = Listing::new();
    for number in 0..count {
        rig.write("changes", Rng::new(10 + number).bytes(9000));
        later(&rig, APART - 1);
        earlier = listing_of(&rig.store);
        rig.backup();
    }
    rig.write("changes", Rng::new(9).bytes(9000));
    Base::of(rig, earlier)
}

/// A source of which each file takes a second, and half of them have changed.
fn long_runs() -> Base {
    let mut rig = source();
    for round in 0..2 {
        for number in (0..16).step_by(1 + round) {
            let content = Rng::new(100 + 16 * round as u64 + number).bytes(1500);
            rig.write(&format!("long/{number:02}"), content);
        }
        if round == 0 {
            rig.backup();
        }
    }
    rig.ticking = 1;
    let earlier = listing_of(&rig.store);
    Base::of(rig, earlier)
}

/// The second of three versions is gone, and with it the use of its data.
fn with_waste() -> Base {
    let Base { mut rig, .. } = of_versions(4);
    let earlier = listing_of(&rig.store);
    rig.set("version", "1-2");
    later(&rig, APART);
    let run = rig.open().expect("it opens");
    run.delete().expect("a deletion");
    run.repository().close().expect("the catalog closes");
    rig.values
        .unset("version", larder_options::Origin::CommandLine);
    rig.versions.drain(1..3);
    Base::of(rig, earlier)
}

/// The data of the second version is lost, and the source still has all of it.
fn without_data() -> Base {
    let Base {
        mut rig, earlier, ..
    } = of_versions(1);
    later(&rig, APART);
    rig.backup();
    lose(&rig, &rig.written_by(1, Blocks));
    rig.write("other", "y");
    Base::of(rig, earlier)
}

/// The data of the second of three versions is lost, and nobody else has it.
fn with_a_broken_file() -> Base {
    let Base { rig, earlier, .. } = of_versions(3);
    lose(&rig, &rig.written_by(1, Blocks));
    let mut base = Base::of(rig, earlier);
    let broken = &mut base.versions[1].forms[0];
    broken.entries.retain(|path, _| path != b"changes");
    base
}

fn without_indexes() -> Base {
    let Base { rig, earlier, .. } = of_versions(3);
    for name in rig.names(Index) {
        lose(&rig, &name);
    }
    Base::of(rig, earlier)
}

/// The second list is lost. Who loses the catalog as well has lost that version.
fn without_a_list() -> Base {
    let Base { rig, earlier, .. } = of_versions(3);
    lose(&rig, &rig.names(List)[1].clone());
    let mut base = Base::of(rig, earlier);
    base.versions[1].must = false;
    base
}

fn without_state() -> Base {
    let base = of_versions(3);
    base.rig.lose_state();
    base
}

fn lose(rig: &Rig, name: &str) {
    let _ = rig.store.remove(name).expect("it was there");
}

impl Base {
    fn of(rig: Rig, earlier: Listing) -> Self {
        let held = rig.versions.iter().cloned();
        Self {
            versions: held.map(|held| Version::new(held, true)).collect(),
            rig,
            earlier,
        }
    }
}
