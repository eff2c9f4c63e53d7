//! Sources that look lost: what is known of them stays in the new version, and nothing is deleted after it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder_destination::{ErrorKind, Operation};
use larder_engine::source::{Action, Filter, WalkOptions, prepare_sources};
use larder_engine::{
    BackupReport, BackupRequest, Clock, Error, GuardReason, GuardedSource, PurgeRequest,
};
use larder_testkit::Failure;
use larder_testkit::tree::Manifest;
use larder_volume::VolumeKind::List;

use crate::rig::{Rig, differences_of, later};

/// A rig with two sources: `disk`, and `home` with a folder in it.
struct Two {
    rig: Rig,
    /// What `disk` held when all was well.
    held: Manifest,
}

impl Two {
    /// With so many files on the disk, backed up twice.
    fn new(files: usize) -> Self {
        let mut rig = Rig::new();
        std::fs::create_dir(rig.source().join("disk")).unwrap();
        for number in 0..files {
            rig.write(&format!("disk/in/{number:04}"), format!("{number}"));
        }
        rig.write("home/letter", "dear");
        rig.set("keep-versions", "2");
        let held = Manifest::of(&rig.source().join("disk")).unwrap();
        let mut two = Self { rig, held };
        for round in 0..2 {
            two.rig.write("home/letter", format!("dear {round}"));
            assert!(two.backup().guarded_sources.is_empty());
        }
        two.rig.log.clear();
        two
    }

    fn disk(&self) -> PathBuf {
        self.rig.source().join("disk")
    }

    /// Backs both sources up as the program asks for it.
    fn try_backup(&mut self) -> Result<BackupReport, Error> {
        self.try_backup_of(&["disk", "home"])
    }

    fn try_backup_of(&mut self, sources: &[&str]) -> Result<BackupReport, Error> {
        let all = sources.iter().map(|name| self.rig.source().join(name));
        let (sources, no_roots) = all.partition(|path: &PathBuf| path.exists());
        let request = BackupRequest {
            sources,
            no_roots,
            ..self.rig.request()
        };
        run(&mut self.rig, &request)
    }

    fn backup(&mut self) -> BackupReport {
        self.try_backup().unwrap()
    }

    /// A run with a filter.
    fn backup_without(&mut self, exclude: &str) -> BackupReport {
        let all = ["disk", "home"].map(|name| self.rig.source().join(name));
        self.backup_prepared(&all, exclude)
    }

    /// The same of any sources.
    fn backup_prepared(&mut self, sources: &[PathBuf], exclude: &str) -> BackupReport {
        let filter = Filter::parse(&[(Action::Exclude, exclude.to_owned())], true).unwrap();
        let prepared = prepare_sources(sources, Path::new("/"), &filter);
        let request = BackupRequest {
            sources: prepared.roots,
            no_roots: prepared.no_roots,
            options: WalkOptions {
                filter: prepared.filter,
                ..self.rig.request().options
            },
        };
        run(&mut self.rig, &request).unwrap()
    }

    /// Writes so many files that their loss is one.
    fn fill_home(&self) {
        for number in 0..100 {
            self.rig.write(&format!("home/many/{number}"), "one");
        }
    }

    fn empty_home(&self) {
        std::fs::remove_dir_all(self.rig.source().join("home/many")).unwrap();
    }

    /// A run that has to guard the disk for this reason; retention is held back.
    fn guarded(&mut self, reason: GuardReason) -> GuardedSource {
        self.rig.log.clear();
        let before = self.rig.names(List);
        self.rig.journal.clear();
        let report = self.backup();
        let [guarded] = report.guarded_sources.as_slice() else {
            panic!("{:?}", report.guarded_sources);
        };
        assert_eq!(guarded.path, self.disk().to_str().unwrap());
        assert_eq!(guarded.reason, reason);
        let complaints = self.rig.log.complaints();
        assert_eq!(self.rig.log.count("SourceGuarded"), 1, "{complaints:?}");
        assert_eq!(self.rig.log.count("RetentionHeldBack"), 1, "{complaints:?}");
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        let helps = match reason {
            GuardReason::Missing => ["--allow-missing-source", "take it off the sources"],
            GuardReason::Empty => ["--accept-source-changes", "is empty"],
            GuardReason::NoFolder => ["--accept-source-changes", "folder back"],
            GuardReason::Lost => ["--accept-source-changes", "--max-source-loss"],
            GuardReason::WentAway => panic!("files that vanish are told beside it"),
            GuardReason::Changed => ["--accept-source-changes", "--max-source-change"],
        };
        let told = &complaints[0];
        assert!(helps.iter().all(|help| told.contains(help)), "{told}");
        let may_be_there = ![GuardReason::Missing, GuardReason::Empty].contains(&reason);
        assert_eq!(
            told.contains("of what is there now"),
            may_be_there,
            "{told}"
        );
        assert!(report.deleted_sets.is_empty() && report.compact_results.is_none());
        let mut lists = self.rig.names(List);
        lists.retain(|list| before.contains(list));
        assert_eq!(lists, before, "old versions went");
        let deleted = self.rig.journal.names(Operation::Delete);
        assert!(deleted.is_empty(), "{deleted:?}");
        guarded.clone()
    }

    /// What the newest version has of the disk is what it was when all was well.
    fn has_disk(&mut self, when: &str) {
        let disk = self.restored("disk").expect(when);
        let differences = differences_of(&self.held, &Manifest::of(&disk).unwrap());
        assert!(differences.is_empty(), "{when}: {differences:#?}");
    }

    /// What the newest version has of this name, restored.
    fn restored(&mut self, name: &str) -> Option<PathBuf> {
        let (target, report) = self.rig.try_restore(0).unwrap();
        assert!(report.common.warnings.is_empty() && report.common.errors.is_empty());
        find(&target, name)
    }
}

fn run(rig: &mut Rig, request: &BackupRequest) -> Result<BackupReport, Error> {
    rig.clock.pause(std::time::Duration::from_secs(1));
    let run = rig.open()?;
    let report = run.backup(request);
    run.repository().close().unwrap();
    report
}

/// The folder of this name below another.
fn find(top: &Path, name: &str) -> Option<PathBuf> {
    let mut open = vec![top.to_owned()];
    while let Some(folder) = open.pop() {
        for item in std::fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            if path.file_name().is_some_and(|found| found == name) {
                return Some(path);
            }
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            }
        }
    }
    None
}

fn empty(folder: &Path) {
    std::fs::remove_dir_all(folder).unwrap();
    std::fs::create_dir(folder).unwrap();
}

#[test]
fn a_disk_that_is_not_mounted_keeps_its_list() {
    for reason in [GuardReason::Missing, GuardReason::Empty] {
        let mut two = Two::new(3);
        let away = two.rig.temp.path().join("away");
        std::fs::rename(two.disk(), &away).unwrap();
        if reason == GuardReason::Empty {
            std::fs::create_dir(two.disk()).unwrap();
        }
        two.rig.write("home/letter", "dear 3");
        let guarded = two.guarded(reason);
        assert_eq!((guarded.files_before, guarded.files_lost), (3, 3));
        two.has_disk("with another source changed");
        assert_eq!(two.rig.names(List).len(), 3);
        // Nothing but the disk is another one: no version, and all is said again.
        for _ in 0..2 {
            two.guarded(reason);
            assert_eq!(two.rig.names(List).len(), 3);
            assert_eq!(two.rig.log.count("NoNewVersion"), 1);
        }
        // The disk is back: nothing is new, and what was held back is made up for.
        if reason == GuardReason::Empty {
            std::fs::remove_dir(two.disk()).unwrap();
        }
        std::fs::rename(&away, two.disk()).unwrap();
        let report = two.backup();
        assert!(report.guarded_sources.is_empty());
        assert_eq!((report.added_files, report.deleted_files), (0, 0));
        assert_eq!(two.rig.names(List).len(), 2);
        two.has_disk("with the disk back");
    }
}

#[test]
fn a_lost_source_is_accepted_when_the_user_says_so() {
    let mut two = Two::new(3);
    empty(&two.disk());
    two.guarded(GuardReason::Empty);
    two.rig.set("accept-source-changes", "true");
    let report = two.backup();
    assert!(report.guarded_sources.is_empty());
    assert_eq!(report.deleted_files, 3);
    assert_eq!(two.rig.names(List).len(), 2, "old versions go again");
    two.rig.set("accept-source-changes", "false");
    // It is empty, and was.
    assert!(two.backup().guarded_sources.is_empty());
    std::fs::remove_dir(two.disk()).unwrap();
    assert!(two.backup().guarded_sources.is_empty());
}

#[test]
fn a_source_that_is_not_asked_for_any_more_goes() {
    let mut two = Two::new(3);
    std::fs::remove_dir_all(two.disk()).unwrap();
    let report = two.try_backup_of(&["home"]).unwrap();
    assert!(report.guarded_sources.is_empty());
    assert_eq!(report.deleted_files, 3);
    assert_eq!(two.restored("disk"), None);
    // A source that was never there is none that is lost.
    let report = two.try_backup_of(&["home", "nowhere"]).unwrap();
    assert!(report.guarded_sources.is_empty());
}

#[test]
fn all_sources_are_missing() {
    let mut two = Two::new(3);
    std::fs::rename(two.rig.source(), two.rig.temp.path().join("away")).unwrap();
    let report = two.backup();
    assert_eq!(report.guarded_sources.len(), 2);
    assert_eq!(report.version_time, None);
    assert_eq!(two.rig.names(List).len(), 2);
    two.has_disk("all missing");
    let none = two.try_backup_of(&["nowhere"]).unwrap_err();
    assert_eq!(none.id(), Some("NoSources"));
    two.rig.set("accept-source-changes", "true");
    assert_eq!(two.try_backup().unwrap_err().id(), Some("NoSources"));
}

#[test]
fn a_source_that_may_be_missing_is_kept_without_a_fuss() {
    let mut two = Two::new(3);
    two.rig.set("allow-missing-source", "true");
    std::fs::remove_dir_all(two.disk()).unwrap();
    two.rig.write("home/letter", "dear 3");
    let report = two.backup();
    assert!(report.guarded_sources.is_empty());
    assert_eq!(two.rig.log.count("SourceKept"), 1);
    assert!(two.rig.log.complaints().is_empty());
    assert_eq!(two.rig.names(List).len(), 2, "old versions go");
    two.has_disk("missing as expected");
    // Empty is another matter.
    std::fs::create_dir(two.disk()).unwrap();
    two.guarded(GuardReason::Empty);
}

#[test]
fn one_file_as_a_source() {
    let mut two = Two::new(3);
    let both = ["disk", "home/letter"];
    assert!(two.try_backup_of(&both).unwrap().guarded_sources.is_empty());
    std::fs::remove_file(two.rig.source().join("home/letter")).unwrap();
    let report = two.try_backup_of(&both).unwrap();
    let [guarded] = report.guarded_sources.as_slice() else {
        panic!("{:?}", report.guarded_sources);
    };
    assert!(guarded.path.ends_with("home/letter"));
    assert_eq!(
        (guarded.reason, guarded.files_before),
        (GuardReason::Missing, 1)
    );
    two.rig.write("disk/more", "more");
    assert_eq!(two.try_backup_of(&both).unwrap().guarded_sources.len(), 1);
    assert!(two.restored("letter").is_some());
}

#[test]
fn a_folder_that_became_a_file() {
    let mut two = Two::new(3);
    std::fs::remove_dir_all(two.disk()).unwrap();
    two.rig.write("disk", "not mounted");
    two.guarded(GuardReason::NoFolder);
    two.has_disk("a file in its place");
}

/// The mount point lies in another source.
#[test]
fn a_source_in_another_one() {
    let mut two = Two::new(3);
    let backup = |two: &mut Two| {
        let request = BackupRequest {
            no_roots: vec![two.disk()],
            ..two.rig.request()
        };
        run(&mut two.rig, &request).unwrap()
    };
    assert!(backup(&mut two).guarded_sources.is_empty());
    empty(&two.disk());
    two.rig.write("home/more", "more");
    let report = backup(&mut two);
    assert_eq!(report.guarded_sources.len(), 1);
    assert_eq!((report.added_files, report.deleted_files), (1, 0));
    two.has_disk("in another source");
}

#[test]
fn a_source_that_lost_most_of_its_files() {
    let mut two = Two::new(100);
    for number in 0..90 {
        std::fs::remove_file(two.disk().join(format!("in/{number:04}"))).unwrap();
    }
    let both = BackupRequest {
        sources: ["disk", "home"]
            .map(|name| two.rig.source().join(name))
            .to_vec(),
        ..two.rig.request()
    };
    let ninety = run(&mut two.rig.fork(), &both).unwrap();
    assert!(ninety.guarded_sources.is_empty(), "90 of 100");
    assert_eq!(ninety.deleted_files, 90);
    for number in [90, 91] {
        std::fs::remove_file(two.disk().join(format!("in/{number:04}"))).unwrap();
    }
    two.rig.write("disk/new", "new");
    two.rig.write("home/new", "new");
    for when in ["at first", "and again"] {
        let guarded = two.guarded(GuardReason::Lost);
        assert_eq!(
            (guarded.files_before, guarded.files_lost, guarded.files_new),
            (100, 92, 1),
            "{when}"
        );
        two.has_disk(when);
    }
    assert!(two.restored("home").unwrap().join("new").exists());
    // A dry run says the same.
    two.rig.set("dry-run", "true");
    two.rig.log.clear();
    let report = two.backup();
    assert_eq!(report.guarded_sources.len(), 1);
    assert!(two.rig.log.complaints()[0].contains("would be kept"));
    two.rig.set("dry-run", "false");
    two.rig.set("accept-source-changes", "true");
    let report = two.backup();
    assert_eq!((report.deleted_files, report.added_files), (92, 1));
    assert!(report.guarded_sources.is_empty());
}

#[test]
fn the_share_can_be_chosen() {
    let mut two = Two::new(100);
    for number in 0..20 {
        std::fs::remove_file(two.disk().join(format!("in/{number:04}"))).unwrap();
    }
    two.rig.set("max-source-loss", "10");
    two.guarded(GuardReason::Lost);
    std::fs::remove_dir_all(two.disk().join("in")).unwrap();
    two.rig.write("disk/other", "other");
    two.rig.set("max-source-loss", "0");
    let report = two.backup();
    assert!(report.guarded_sources.is_empty());
    assert_eq!(report.deleted_files, 100);
}

/// A folder that was given another name, and one whose files have dates in their names.
#[test]
fn files_under_new_names_are_no_loss() {
    let mut two = Two::new(100);
    two.rig.write("disk/note", "stays");
    two.backup();
    let disk = two.disk();
    std::fs::rename(disk.join("in"), disk.join("photos")).unwrap();
    std::fs::write(disk.join("photos/new"), "new").unwrap();
    let report = two.backup();
    assert!(report.guarded_sources.is_empty(), "{report:?}");
    assert_eq!((report.added_files, report.deleted_files), (101, 100));
    let mut two = Two::new(12);
    std::fs::remove_dir_all(two.disk().join("in")).unwrap();
    for number in 0..12 {
        two.rig.write(&format!("disk/today/{number}"), "dump");
    }
    assert!(two.backup().guarded_sources.is_empty());
}

/// Whoever wants to hear of changes hears of those of a program that gives the files other names.
#[test]
fn a_source_whose_files_were_all_renamed_is_a_changed_one() {
    let mut two = Two::new(100);
    two.rig.set("max-source-change", "50");
    for number in 0..60 {
        let path = two.disk().join(format!("in/{number:04}"));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(path.with_extension("locked"), "encrypted").unwrap();
    }
    let guarded = two.guarded(GuardReason::Changed);
    assert_eq!(guarded.files_changed, 0);
    assert_eq!((guarded.files_lost, guarded.files_new), (60, 60));
    two.has_disk("renamed");
}

#[test]
fn a_source_that_held_nothing_but_an_empty_folder_lost_nothing() {
    let mut two = Two::new(0);
    std::fs::create_dir_all(two.disk().join("inbox/deep")).unwrap();
    two.backup();
    two.rig.log.clear();
    std::fs::remove_dir_all(two.disk().join("inbox")).unwrap();
    assert!(two.backup().guarded_sources.is_empty());
    assert!(two.rig.log.complaints().is_empty());
}

/// As a mount point with a forgotten folder in it.
#[test]
fn a_source_with_nothing_but_folders() {
    let mut two = Two::new(3);
    empty(&two.disk());
    std::fs::create_dir(two.disk().join("lost+found")).unwrap();
    let guarded = two.guarded(GuardReason::Lost);
    assert_eq!((guarded.files_before, guarded.files_lost), (3, 3));
    two.has_disk("only folders");
    // Few files may all be replaced by others.
    two.rig.write("disk/other", "other");
    assert!(two.backup().guarded_sources.is_empty());
}

#[test]
fn files_that_other_filters_leave_out_are_no_loss() {
    let mut two = Two::new(100);
    let report = two.backup_without("*/00*");
    assert!(report.guarded_sources.is_empty(), "{report:?}");
    assert_eq!(report.deleted_files, 100);
    // The same filters as in the last run: a loss is one again.
    let mut two = Two::new(100);
    assert!(two.backup_without("*/none").guarded_sources.is_empty());
    std::fs::remove_dir_all(two.disk().join("in")).unwrap();
    two.rig.write("disk/other", "other");
    assert_eq!(two.backup_without("*/none").guarded_sources.len(), 1);
    // Other filters do not hide that a source is empty.
    empty(&two.disk());
    assert_eq!(two.backup_without("*/another").guarded_sources.len(), 1);
}

/// A source that may be missing for long does not keep the others from being looked at, and is looked at by the filters that
/// it was read by.
#[test]
fn other_filters_while_a_source_is_missing() {
    let mut two = Two::new(100);
    two.fill_home();
    two.rig.set("allow-missing-source", "true");
    assert!(two.backup_without("*/none").guarded_sources.is_empty());
    let away = two.rig.temp.path().join("away");
    std::fs::rename(two.disk(), &away).unwrap();
    let excluded = "*/00*";
    assert!(two.backup_without(excluded).guarded_sources.is_empty());
    two.empty_home();
    let report = two.backup_without(excluded);
    let reasons = report.guarded_sources.iter().map(|source| source.reason);
    assert_eq!(reasons.collect::<Vec<_>>(), [GuardReason::Lost]);
    two.fill_home();
    std::fs::rename(&away, two.disk()).unwrap();
    let report = two.backup_without(excluded);
    assert!(report.guarded_sources.is_empty(), "left out by filters");
    assert_eq!(report.deleted_files, 100);
}

/// Where there are excludes a source in another one is an include as long as it is there. That makes no other filters.
#[test]
fn a_nested_source_that_vanishes_does_not_hide_a_loss() {
    let mut two = Two::new(3);
    two.fill_home();
    let both = [two.rig.source(), two.disk()];
    two.backup_prepared(&both, "*/none");
    two.rig.set("allow-missing-source", "true");
    std::fs::remove_dir_all(two.disk()).unwrap();
    two.empty_home();
    let report = two.backup_prepared(&both, "*/none");
    let [outer] = report.guarded_sources.as_slice() else {
        panic!("{:?}", report.guarded_sources);
    };
    assert_eq!(outer.path, two.rig.source().to_str().unwrap());
    assert_eq!((outer.reason, outer.files_lost), (GuardReason::Lost, 100));
}

/// What was changed since the last run is read, but not in each run while another source is missing. Of that source
/// everything is read that may have changed since it was seen.
#[test]
fn files_beside_a_missing_source_are_not_read_again_and_again() {
    for without_inodes in ["false", "true"] {
        let mut two = Two::new(3);
        two.rig.set("allow-missing-source", "true");
        two.rig.set("ignore-inode-changes", without_inodes);
        let photo = two.disk().join("in/0000");
        let now = photo.metadata().unwrap().modified().unwrap();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let write = |path: &Path, content: &str| {
            std::fs::write(path, content).unwrap();
            let file = std::fs::File::options().write(true).open(path).unwrap();
            // When the backup ran that saw it.
            let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(now - 990);
            file.set_modified(then).unwrap();
        };
        write(&photo, "first");
        two.rig.clock.set(now - 1000);
        two.backup();
        let away = two.rig.temp.path().join("away");
        std::fs::rename(two.disk(), &away).unwrap();
        two.rig.write("home/letter", "changed");
        for (after, opened) in [(10, 1), (20, 0), (30, 0)] {
            two.rig.clock.set(now + after);
            let report = two.backup();
            assert_eq!(report.opened_files, opened, "{after}");
        }
        write(&away.join("in/0000"), "other");
        std::fs::rename(&away, two.disk()).unwrap();
        two.rig.clock.set(now + 40);
        assert_eq!(two.backup().modified_files, 1);
        two.rig.clock.set(now + 50);
        assert_eq!(two.backup().opened_files, 0);
    }
}

#[test]
fn a_source_whose_files_all_changed() {
    let mut two = Two::new(100);
    let change = |two: &Two, text: &str| {
        for number in 0..100 {
            two.rig
                .write(&format!("disk/in/{number:04}"), format!("{text} {number}"));
        }
    };
    change(&two, "new");
    assert!(
        two.backup().guarded_sources.is_empty(),
        "off when not asked for"
    );
    two.held = Manifest::of(&two.disk()).unwrap();
    two.rig.set("max-source-change", "50");
    change(&two, "encrypted");
    let guarded = two.guarded(GuardReason::Changed);
    assert_eq!((guarded.files_before, guarded.files_changed), (100, 100));
    two.has_disk("all changed");
    two.rig.set("accept-source-changes", "true");
    assert_eq!(two.backup().modified_files, 100);
}

/// Two machines that have other files at the same path and store into one set.
struct Machines {
    a: Two,
    b: Two,
    /// Where the sources are of the machine that does not run.
    away: PathBuf,
}

impl Machines {
    /// `a` has 100 files on its disk, `b` has five.
    fn new() -> Self {
        let mut a = Two::new(100);
        let away = a.rig.temp.path().join("away");
        let b = Two {
            rig: a.rig.other_machine(),
            held: a.held.clone(),
        };
        a.backup();
        let mut both = Self { a, b, away };
        std::fs::create_dir(&both.away).unwrap();
        both.swap();
        for number in 0..5 {
            both.b.rig.write(&format!("disk/own/{number}"), "own");
        }
        both.b.rig.write("home/letter", "b");
        both.b.held = Manifest::of(&both.b.disk()).unwrap();
        // It cannot know that it never had the files of the other one.
        both.b.rig.set("accept-source-changes", "true");
        both.b.backup();
        both.b.rig.set("accept-source-changes", "false");
        both
    }

    /// Lets the other machine have its files at the path.
    fn swap(&self) {
        let (here, other) = (self.a.rig.source(), self.a.rig.temp.path().join("other"));
        std::fs::rename(&here, &other).unwrap();
        std::fs::rename(&self.away, &here).unwrap();
        std::fs::rename(&other, &self.away).unwrap();
    }

    /// Has `a` store versions.
    fn a_runs(&mut self, times: usize) {
        self.swap();
        for time in 0..times {
            let text = format!("a {time} {}", self.a.rig.clock.seconds());
            self.a.rig.write("home/letter", text);
            let report = self.a.backup();
            assert!(report.guarded_sources.is_empty() && report.version_time.is_some());
        }
        self.swap();
        self.b.rig.log.clear();
    }
}

#[test]
fn what_another_machine_has_at_the_same_path_is_no_loss() {
    let mut both = Machines::new();
    both.a_runs(1);
    assert!(both.b.backup().guarded_sources.is_empty());
    both.b.has_disk("beside the other one");
    // They take turns.
    both.a_runs(1);
    std::fs::remove_dir_all(both.b.disk().join("own")).unwrap();
    std::fs::create_dir(both.b.disk().join("own")).unwrap();
    both.b.guarded(GuardReason::Lost);
    both.b.has_disk("a loss of its own");
}

#[test]
fn what_another_machine_has_of_a_missing_source_is_not_kept() {
    for is_empty in [false, true] {
        let mut both = Machines::new();
        both.a_runs(1);
        std::fs::remove_dir_all(both.b.disk()).unwrap();
        let reason = match is_empty {
            true => GuardReason::Empty,
            false => GuardReason::Missing,
        };
        if is_empty {
            std::fs::create_dir(both.b.disk()).unwrap();
        }
        let guarded = both.b.guarded(reason);
        assert_eq!(guarded.files_before, 5);
        assert!(both.b.rig.log.complaints()[0].contains("the last version from here"));
        both.b.has_disk("what it had itself");
        both.b.guarded(reason);
        // The other one deletes the versions of this one.
        both.a_runs(2);
        both.b.rig.set("keep-versions", "1");
        let report = both.b.backup();
        assert!(report.deleted_sets.is_empty(), "{:?}", report.deleted_sets);
        assert!(report.guarded_sources.is_empty() && report.version_time.is_some());
        assert_eq!(both.b.rig.log.count("SourceNotKept"), 1);
        let disk = both.b.restored("disk");
        let is_empty_too =
            disk.is_none_or(|disk| std::fs::read_dir(disk).unwrap().next().is_none());
        assert!(is_empty_too, "nothing of the other machine");
    }
}

/// Its list comes from here, as the one did in whose place it came.
#[test]
fn a_version_that_was_written_anew_hides_no_loss() {
    let mut two = Two::new(100);
    later(&two.rig, 100);
    let all = PurgeRequest {
        patterns: vec!["*/letter".to_owned()],
        filters: Vec::new(),
    };
    let engine = two.rig.open().unwrap();
    let report = engine.purge(&all).unwrap();
    engine.repository().close().unwrap();
    assert_eq!(report.rewritten_file_lists, 2);
    std::fs::remove_dir_all(two.disk().join("in")).unwrap();
    two.rig.write("disk/other", "other");
    two.guarded(GuardReason::Lost);
}

#[test]
fn a_lost_local_state_hides_no_loss() {
    let mut two = Two::new(100);
    two.rig.lose_state();
    std::fs::remove_dir_all(two.disk().join("in")).unwrap();
    two.rig.write("disk/other", "other");
    two.guarded(GuardReason::Lost);
    two.rig.lose_state();
    two.guarded(GuardReason::Lost);
}

/// A run that stores partial versions all the time, and is asked to end or cut off at any call.
#[test]
fn a_partial_version_does_not_hide_a_loss() {
    // Where the other files are, all of them or one, and whether those that were there are gone.
    let cases = [
        (GuardReason::Lost, "disk/other", true),
        (GuardReason::Changed, "disk/in/#", false),
        (GuardReason::Changed, "disk/in/#.x", true),
        (GuardReason::Changed, "disk/first/#", true),
    ];
    for (reason, name, are_gone) in cases {
        let mut base = Two::new(100);
        base.rig.ticking = 1;
        base.rig.set("checkpoint-interval", "5s");
        base.rig.set("concurrency-max-threads", "1");
        base.rig.set("max-source-change", "50");
        if are_gone {
            std::fs::remove_dir_all(base.disk().join("in")).unwrap();
        }
        for number in 0..100 {
            let name = name.replace('#', &format!("{number:04}"));
            base.rig.write(&name, format!("encrypted {number}"));
        }
        for number in 0..60 {
            let content = larder_testkit::Rng::new(number).bytes(30_000);
            base.rig.write(&format!("home/{number:03}"), content);
        }
        let stored: usize = [true, false]
            .map(|is_asked| end_at_any_call(&base, reason, is_asked))
            .into_iter()
            .sum();
        assert!(stored > 0, "there were partial versions");
    }
}

/// Each run that was not through keeps the disk, and so does the next, which guards it. How many partial versions there
/// were.
fn end_at_any_call(base: &Two, reason: GuardReason, is_asked: bool) -> usize {
    let mut partial = 0;
    for call in (1..).step_by(5) {
        let mut two = Two {
            rig: base.rig.fork(),
            held: base.held.clone(),
        };
        let both = BackupRequest {
            sources: ["disk", "home"]
                .map(|name| two.rig.source().join(name))
                .to_vec(),
            ..two.rig.request()
        };
        two.rig.clock.pause(std::time::Duration::from_secs(1));
        let engine = two.rig.open().unwrap();
        let token = two.rig.cancel.clone();
        let ask = move |_: Operation, _: &str| {
            token.stop();
        };
        match is_asked {
            true => two.rig.plan.fail_at(call, Failure::Watch(Arc::new(ask))),
            false => {
                let broken = Failure::Before(ErrorKind::Network);
                two.rig.plan.fail_after(call, broken);
            }
        }
        let outcome = engine.backup(&both);
        engine.repository().close().unwrap();
        partial += two.rig.log.count("CheckpointStored");
        let is_over = two.rig.plan.calls() < call;
        two.rig.plan.clear();
        let when = format!("{is_asked} {call}: {:?}", outcome.map(|d| d.version_time));
        let guarded = two.backup().guarded_sources;
        assert!(
            guarded.iter().any(|source| source.reason == reason),
            "{when}"
        );
        // A partial version may have some new files besides.
        let disk = two.restored("disk").expect(&when);
        for number in 0..100 {
            assert!(disk.join(format!("in/{number:04}")).exists(), "{when}");
        }
        if is_over {
            break;
        }
    }
    partial
}

/// What is wrong with another source is told once, though that is read twice.
#[test]
fn nothing_is_told_twice() {
    let mut two = Two::new(100);
    std::fs::remove_dir_all(two.disk().join("in")).unwrap();
    two.rig.write("disk/other", "other");
    // No list can hold it.
    let huge = two.rig.source().join("home/huge");
    std::fs::File::create(huge)
        .unwrap()
        .set_len(64 << 30)
        .unwrap();
    let report = two.backup();
    assert_eq!(report.guarded_sources.len(), 1);
    assert_eq!(report.files_with_error, 1);
    let told = &report.common.warnings;
    let about_it = told.iter().filter(|text| text.contains("huge"));
    assert_eq!(about_it.count(), 1, "{told:?}");
}

/// Lets the disk go away when the first data file is sent, in the midst of a walk.
fn pull_out(two: &Two) {
    let disk = two.disk();
    let pull = move |_: Operation, name: &str| {
        if name.contains("dblock") {
            // Only the first time.
            let _ = std::fs::rename(&disk, disk.with_extension("away"));
        }
    };
    let watch = Failure::Watch(Arc::new(pull));
    two.rig.plan.fail_after(1, watch);
}

#[test]
fn a_source_that_goes_away_while_it_is_read() {
    let mut two = Two::new(3000);
    let random = |number: u64| larder_testkit::Rng::new(number).bytes(4_000);
    for number in 0..1000 {
        two.rig
            .write(&format!("disk/a-new/{number:04}"), random(number));
    }
    two.rig.set("concurrency-max-threads", "1");
    pull_out(&two);
    // By its share it would not be guarded, nor does it help to accept it.
    two.rig.set("max-source-loss", "0");
    two.rig.set("accept-source-changes", "true");
    let report = two.backup();
    let [guarded] = report.guarded_sources.as_slice() else {
        panic!("{:?}", report.guarded_sources);
    };
    assert_eq!(guarded.reason, GuardReason::WentAway);
    assert!(
        guarded.files_lost > 0 && guarded.files_before == 3000,
        "{guarded:?}"
    );
    assert_eq!(two.rig.log.count("RetentionHeldBack"), 1);
    let told = two.rig.log.complaints();
    assert!(
        told.iter()
            .any(|text| text.contains("went away while it was read"))
    );
    two.rig.plan.clear();
    two.has_disk("what it had");
    std::fs::rename(two.disk().with_extension("away"), two.disk()).unwrap();
    assert_eq!(two.backup().added_files, 1000);
}

/// Nothing of it is known that could be kept.
#[test]
fn a_source_that_goes_away_in_its_first_backup() {
    let mut two = Two {
        rig: Rig::new(),
        held: Manifest::default(),
    };
    for number in 0..3000 {
        let content = larder_testkit::Rng::new(number).bytes(4_000);
        two.rig.write(&format!("disk/in/{number:04}"), content);
    }
    two.fill_home();
    two.rig.set("concurrency-max-threads", "1");
    pull_out(&two);
    let report = two.backup();
    two.rig.plan.clear();
    assert_eq!(two.rig.log.count("SourceWentAway"), 1);
    assert!(report.files_with_error > 0 && report.guarded_sources.is_empty());
}

/// Its time and size are those of a file of the other machine at the same path.
#[test]
fn what_another_machine_has_is_not_taken_for_unchanged() {
    let mut both = Machines::new();
    let write = |two: &Two, text: &str| {
        two.rig.write("home/letter", text);
        let file = std::fs::File::options()
            .write(true)
            .open(two.rig.source().join("home/letter"));
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
        file.unwrap().set_modified(time).unwrap();
    };
    write(&both.b, "of b");
    both.b.backup();
    both.swap();
    write(&both.a, "of a");
    both.a.backup();
    both.swap();
    let report = both.b.backup();
    assert_eq!(
        (report.modified_files, report.opened_files),
        (0, 0),
        "its own version"
    );
    assert!(
        report.version_time.is_some(),
        "the newest one is of another machine"
    );
    let letter = both.b.restored("letter").expect("the letter");
    assert_eq!(std::fs::read_to_string(letter).unwrap(), "of b");
    // Its own versions are known by their lists, also when the catalog has no entries of them.
    assert!(
        both.b.backup().version_time.is_none(),
        "nothing changed since"
    );
}

/// What cannot be read stays as this machine had it.
#[test]
fn what_cannot_be_read_is_not_taken_from_another_machine() {
    let mut both = Machines::new();
    both.a_runs(1);
    // No list can hold it.
    let letter = std::fs::File::create(both.b.rig.source().join("home/letter")).unwrap();
    letter.set_len(64 << 30).unwrap();
    assert_eq!(both.b.backup().files_with_error, 1);
    let letter = both.b.restored("letter").expect("the letter");
    assert_eq!(std::fs::read_to_string(letter).unwrap(), "b");
}
