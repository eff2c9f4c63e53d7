//! What a restore writes, keeps and tells.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use larder_engine::source::{Step, Watch};
use larder_engine::{Outcome, RestoreRequest};
use larder_testkit::tree::Manifest;
use larder_volume::HashAlgorithm;

use crate::forge::Forge;
use crate::rig::{Rig, differences_of};
use crate::sweeps::{Before, Case, Sweep, What, files, is_temporary, noise, request, restore, set};

#[test]
fn on_request_each_file_is_on_the_disk_before_it_gets_its_name() {
    let mut case = Case::new(Before::Nothing);
    for (wanted, value) in [(false, "false"), (true, "true")] {
        case.rig.set("restore-sync", value);
        let folder = case.target();
        let sweep = Sweep::new(0, What::Nothing);
        restore(&mut case.rig, &folder.path().join("t"), &sweep).expect("a restore");
        let seen = sweep.seen.lock().expect("no panic").clone();
        let count = |step| seen.iter().filter(|seen| **seen == step).count();
        assert!(count(Step::Rename) > 0);
        assert_eq!(
            count(Step::Sync),
            if wanted { count(Step::Rename) } else { 0 }
        );
    }
    // What cannot be brought onto the disk gets no name.
    let folder = case.target();
    let target = folder.path().join("t");
    let sweep = Arc::new(NoSync);
    let run = case.rig.open().expect("it opens");
    let report = run
        .restore_watched(&request(&target), Some(sweep))
        .expect("the rest");
    assert!(!report.broken_local_files.is_empty());
    let left = files(&target);
    assert!(left.is_empty(), "{:?}", left.keys());
}

/// A disk that keeps nothing.
struct NoSync;

impl Watch for NoSync {
    fn before(&self, step: Step, _: &[u8]) -> io::Result<()> {
        match step {
            Step::Sync => Err(io::Error::other("the disk does not answer")),
            _ => Ok(()),
        }
    }
}

/// The destination is damaged for good: with `--overwrite` the user's file stays what it was.
#[test]
fn a_file_that_cannot_be_restored_leaves_the_present_one_alone() {
    let mut forge = Forge::default();
    let claimed = HashAlgorithm::Sha256.digest(b"the truth");
    forge.raw_block(&claimed.to_url_base64(), b"something");
    forge
        .folder("/src/")
        .file("/src/lie", "the truth")
        .file("/src/good", "good");
    let mut rig = Rig::new();
    forge.store(&rig.store);
    let target = rig.temp.path().join("target");
    std::fs::create_dir(&target).expect("a folder");
    std::fs::write(target.join("lie"), "mine").expect("a file");
    std::fs::write(target.join("good"), "mine too").expect("a file");
    std::fs::hard_link(target.join("good"), target.join("second name")).expect("a link");
    std::fs::set_permissions(target.join("good"), std::fs::Permissions::from_mode(0o604))
        .expect("permissions");
    rig.set("skip-metadata", "true");
    let report = rig.restore_into(&target, 0, &[]).expect("the rest");
    assert_eq!(report.broken_remote_files, ["/src/lie"]);
    let read = |name: &str| std::fs::read_to_string(target.join(name)).expect("a file");
    assert_eq!((read("lie"), read("good")), ("mine".into(), "good".into()));
    assert_eq!(read("second name"), "mine too");
    let mode = target.join("good").metadata().expect("facts").mode();
    assert_eq!(mode & 0o777, 0o604, "as the file that was replaced");
    assert_eq!(files(&target).len(), 3, "nothing else is left");
}

#[test]
fn entries_of_one_place_are_errors_of_those_entries() {
    for (paths, place) in [
        (["/s/x", "/s//x"], "x"),
        (["/s//x", "/s/x"], "x"),
        (["C:\\s\\x", "C:\\s/x"], "s/x"),
    ] {
        let mut forge = Forge::default();
        let last = if paths[0].starts_with('C') {
            "C:\\s\\y"
        } else {
            "/s/y"
        };
        forge
            .file(paths[0], "first")
            .file(paths[1], "second")
            .file(last, "other");
        let mut rig = Rig::new();
        forge.store(&rig.store);
        let (target, report) = rig.try_restore(0).expect("a restore");
        assert_eq!(report.broken_remote_files, [paths[1]]);
        assert_eq!(report.restored_files, 2);
        let content = std::fs::read_to_string(target.join(place)).expect("the first");
        assert_eq!(content, "first");
        assert!(
            rig.log
                .complaints()
                .iter()
                .any(|c| c.contains("another entry for its place")),
            "{:?}",
            rig.log.complaints()
        );
    }
    let mut forge = Forge::default();
    forge
        .folder("/s/x/")
        .file("/s/x", "a file")
        .file("/s/y", "y")
        .file("/", "root");
    let mut rig = Rig::new();
    forge.store(&rig.store);
    rig.set("dont-compress-restore-paths", "true");
    let (target, report) = rig.try_restore(0).expect("a restore");
    assert_eq!(report.broken_remote_files, ["/", "/s/x"]);
    assert!(target.join("s/x").is_dir() && target.join("s/y").is_file());
}

#[test]
fn an_empty_file_with_the_hash_of_something_is_an_error() {
    let mut forge = Forge::default();
    forge
        .file("/s/x", "content")
        .change(|entry| entry.size = 0)
        .file("/s/y", "y");
    let mut rig = Rig::new();
    forge.store(&rig.store);
    let (target, report) = rig.try_restore(0).expect("a restore");
    assert_eq!(report.broken_remote_files, ["/s/x"]);
    assert!(!target.join("x").exists() && target.join("y").exists());
}

#[test]
fn a_path_of_half_a_million_folders_costs_nothing() {
    let mut forge = Forge::default();
    let deep = format!("/s/{}x", "d/".repeat(40_000));
    forge.file(&deep, "deep").file("/s/y", "y");
    let mut rig = Rig::new();
    forge.store(&rig.store);
    let (target, report) = rig.try_restore(0).expect("a restore");
    assert_eq!(report.broken_local_files.len(), 1);
    assert!(target.join("y").exists() && !target.join("d").exists());
}

#[test]
fn lost_metadata_is_named_and_counted() {
    let mut forge = Forge::default();
    forge.folder("/s/").file("/s/good", "good");
    let mut damaged = None;
    forge.file("/s/x", "content").change(|entry| {
        let hash = HashAlgorithm::Sha256.digest(b"other metadata");
        entry.metahash = Some(hash);
        entry.metasize = 14;
        damaged = Some(hash);
    });
    let name = damaged.expect("a hash").to_url_base64();
    forge.raw_block(&name, b"other metadatA");
    let mut rig = Rig::new();
    forge.store(&rig.store);
    let (target, report) = rig.try_restore(0).expect("a restore");
    assert_eq!(report.entries_without_metadata, 1);
    assert_eq!(report.restored_files, 2);
    assert_ne!(report.common.parsed_result, Outcome::Success);
    let complaints = rig.log.complaints().join("\n");
    assert!(
        complaints.contains("/s/x: its time, permissions"),
        "{complaints}"
    );
    assert!(target.join("x").is_file());
}

#[test]
fn a_kept_file_is_told_with_the_name_of_the_restored_one() {
    let mut rig = Rig::new();
    rig.set("overwrite", "false");
    let long = format!("{}.txt", "n".repeat(251));
    rig.write("letter.odt", "stored");
    rig.write(&long, "stored");
    rig.backup();
    let target = rig.temp.path().join("target");
    std::fs::create_dir(&target).expect("a folder");
    for name in ["letter.odt", &long] {
        std::fs::write(target.join(name), "mine").expect("a file");
    }
    let report = rig.restore_into(&target, 0, &[]).expect("a restore");
    assert_eq!((report.kept_files, report.restored_files), (2, 2));
    assert_eq!(report.common.parsed_result, Outcome::Success);
    let copy = target.join("letter.2025-10-09.odt");
    assert_eq!(std::fs::read(copy).expect("the copy"), b"stored");
    let said = rig.log.texts().join("\n");
    assert!(
        said.contains("letter.odt is kept as it is; the restored file is")
            && said.contains("letter.2025-10-09.odt"),
        "{said}"
    );
    // Again nothing is written: the copies are right already.
    let report = rig.restore_into(&target, 0, &[]).expect("a restore");
    assert_eq!((report.restored_files, report.unmodified_files), (0, 2));
    assert_eq!(files(&target).len(), 4);
}

#[test]
fn sparse_files_come_back_sparse() {
    let mut rig = Rig::new();
    rig.set("blocksize", "100kb");
    rig.set("dblock-size", "10mb");
    let mut content = vec![0; 8 << 20];
    content[3 << 20] = 1;
    rig.write("sparse", &content);
    rig.write("zeros", vec![0; 70_000]);
    rig.backup();
    let (target, _) = rig.try_restore(0).expect("a restore");
    assert_eq!(std::fs::read(target.join("sparse")).expect("it"), content);
    assert_eq!(
        std::fs::read(target.join("zeros")).expect("it"),
        vec![0; 70_000]
    );
    let facts = target.join("sparse").metadata().expect("facts");
    assert!(facts.blocks() * 512 < 200_000, "{} units", facts.blocks());
}

#[test]
fn what_a_killed_run_left_is_removed() {
    let mut rig = set();
    let (target, _) = rig.try_restore(0).expect("a restore");
    let name = format!(".larder-{}.unfinished", "0".repeat(32));
    for folder in ["", "a", "b"] {
        std::fs::write(target.join(folder).join(&name), "half").expect("a file");
    }
    let stranger = target.join("a/.larder-notes");
    std::fs::write(&stranger, "mine").expect("a file");
    let report = rig.restore_into(&target, 0, &[]).expect("again");
    assert_eq!(report.restored_files, 0);
    assert!(files(&target).keys().all(|path| !is_temporary(path)));
    assert!(stranger.exists());
}

/// Two sources, one of them behind a link that is the user's.
#[test]
fn original_places_are_reached_through_links_above_a_source() {
    let mut rig = Rig::new();
    let top = rig.temp.path().canonicalize().expect("a path");
    std::fs::create_dir_all(top.join("disk/data")).expect("folders");
    std::fs::create_dir_all(top.join("etc")).expect("a folder");
    std::os::unix::fs::symlink("disk", top.join("mnt")).expect("a link");
    std::fs::write(top.join("disk/data/x"), "d").expect("a file");
    std::fs::write(top.join("etc/y"), "e").expect("a file");
    let run = rig.open().expect("an engine");
    let mut backup = rig.request();
    backup.sources = vec![top.join("mnt/data"), top.join("etc")];
    run.backup(&backup).expect("a backup");
    run.repository().close().expect("closed");
    std::fs::remove_file(top.join("mnt/data/x")).expect("removed");
    std::fs::remove_file(top.join("etc/y")).expect("removed");
    let run = rig.open().expect("an engine");
    let report = run
        .restore(&RestoreRequest {
            patterns: Vec::new(),
            filters: Vec::new(),
            target: None,
        })
        .expect("a restore");
    run.repository().close().expect("closed");
    assert_eq!(report.restored_files, 2, "{:?}", rig.log.complaints());
    assert_eq!(std::fs::read(top.join("disk/data/x")).expect("x"), b"d");
    assert_eq!(std::fs::read(top.join("etc/y")).expect("y"), b"e");
    // Within a source a link is not followed.
    std::fs::remove_file(top.join("etc/y")).expect("removed");
    std::fs::remove_dir(top.join("etc")).expect("removed");
    std::fs::create_dir(top.join("elsewhere")).expect("a folder");
    std::os::unix::fs::symlink("elsewhere", top.join("etc")).expect("a link");
}

#[test]
fn a_dry_run_names_every_file_and_changes_nothing() {
    let mut rig = set();
    let (target, _) = rig.try_restore(1).expect("the older version");
    let before = Manifest::of(&target).expect("the tree");
    rig.set("dry-run", "true");
    rig.log.clear();
    let report = rig.restore_into(&target, 0, &[]).expect("a dry run");
    assert_eq!(report.restored_files, 0);
    let after = Manifest::of(&target).expect("the tree");
    assert_eq!(differences_of(&before, &after), Vec::<String>::new());
    let said = rig.log.texts().join("\n");
    let path = |name: &str| target.join(name).display().to_string();
    for text in [
        format!("would replace {}", path("a/large")),
        format!("{} is right already", path("b/large too")),
        format!("would restore {}", path("b/new")),
        "would restore 3 files and fetch".to_owned(),
    ] {
        assert!(said.contains(&text), "{text}\n{said}");
    }
    let nowhere = rig.temp.path().join("nowhere");
    rig.restore_into(&nowhere, 0, &[]).expect("a dry run");
    assert!(!nowhere.exists());
}

#[test]
fn patterns_that_match_nothing_are_told() {
    let mut rig = set();
    let source = rig.source();
    let path = |name: &str| source.join(name).display().to_string();
    let (folder, gone) = (path("a"), path("gone"));
    let patterns = [folder.as_str(), gone.as_str()];
    let (target, report) = rig.try_restore_of(0, &patterns).expect("a restore");
    assert_eq!(report.restored_files, 2);
    assert!(target.join("large").is_file());
    assert_eq!(report.common.parsed_result, Outcome::Warning);
    let complaints = rig.log.complaints();
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].contains("PatternWithoutMatch") && complaints[0].contains("gone"));
}

#[test]
fn a_time_before_the_first_version_is_refused() {
    let rig = set();
    let target = rig.temp.path().join("target");
    std::fs::create_dir(&target).expect("a folder");
    for (name, value, id) in [
        ("time", "2001-01-01T00:00:00Z", "NoVersionThatOld"),
        ("version", "7", "NoSuchVersion"),
    ] {
        let mut other = rig.fork();
        other.set(name, value);
        let run = other.open().expect("an engine");
        let error = run
            .restore(&request(&target))
            .expect_err("nothing that old");
        assert_eq!(error.id(), Some(id), "{error}");
        assert!(format!("{error} {}", error.hint()).contains("oldest"));
    }
    assert_eq!(files(&target).len(), 0);
}

/// An unfinished file of another user is removed, not gone on with; what the survey saw in it must not count as written.
#[test]
fn what_another_user_left_unfinished_is_written_anew() {
    if !rustix::process::geteuid().is_root() {
        return larder_testkit::pass_over("root", "files cannot be given away");
    }
    let mut rig = set();
    let target = rig.temp.path().join("target");
    // The disk becomes full late, so that large files have most of their blocks.
    let counting = Sweep::new(0, What::Nothing);
    let elsewhere = rig.temp.path().join("elsewhere");
    restore(&mut rig, &elsewhere, &counting).expect("a restore");
    let writes = counting.seen.lock().expect("no panic").len() as u64;
    let mut resumed = 0;
    for at in [writes / 4, writes / 2, 3 * writes / 4] {
        let stopped = Sweep::new(at, What::Full);
        restore(&mut rig, &target, &stopped).expect_err("the disk is full");
        for (path, _) in files(&target).iter().filter(|(path, _)| is_temporary(path)) {
            std::os::unix::fs::lchown(target.join(path), Some(65_534), Some(65_534))
                .expect("owned");
            resumed += 1;
        }
        let again = Sweep::new(0, What::Nothing);
        let report = restore(&mut rig, &target, &again).expect("a restore");
        assert_eq!(report.broken_local_files, Vec::<String>::new());
        assert_eq!(files(&target), files(&elsewhere), "stopped at step {at}");
        std::fs::remove_dir_all(&target).expect("the target");
    }
    assert!(resumed > 0, "nothing was left unfinished");
}

/// Files of three blocks, each block in another volume, and one of many blocks; `count` of the former.
fn many_files(count: usize) -> Rig {
    let mut rig = Rig::new();
    // One volume for each version.
    rig.set("dblock-size", "50mb");
    rig.set("skip-metadata", "true");
    for version in 1..=3 {
        for n in 0..count {
            let content = noise(n as u64, 1024 * version);
            rig.write(&format!("many/{n:04}"), content);
        }
        rig.write("zz", noise(99_999, 1024 * (100 + version)));
        rig.backup();
    }
    rig
}

/// Lets two threads meet in the writing of some files.
#[derive(Default)]
struct Meeting {
    /// Who is writing which file and waits.
    waits: Mutex<Option<(Vec<u8>, ThreadId)>>,
    came: Condvar,
    met: AtomicU64,
    missed: AtomicU64,
}

impl Watch for Meeting {
    fn before(&self, step: Step, path: &[u8]) -> io::Result<()> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if step != Step::Write || !(b"0590".as_slice()..b"0600".as_slice()).contains(&name) {
            return Ok(());
        }
        let me = std::thread::current().id();
        let mut waits = self.waits.lock().expect("no panic");
        match waits.as_ref() {
            Some((other, thread)) if other == name && *thread != me => {
                *waits = None;
                self.met.fetch_add(1, Ordering::SeqCst);
                self.came.notify_all();
            }
            None if self.met.load(Ordering::SeqCst) + self.missed.load(Ordering::SeqCst) < 10 => {
                *waits = Some((name.to_vec(), me));
                let wait = Duration::from_secs(5);
                let (mut waits, late) = (self.came)
                    .wait_timeout_while(waits, wait, |waits| {
                        waits.as_ref().is_some_and(|(_, thread)| *thread == me)
                    })
                    .expect("no panic");
                if late.timed_out() {
                    *waits = None;
                    self.missed.fetch_add(10, Ordering::SeqCst);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Two threads that had blocks of one file met its lock, when more files were half done than stay open.
#[test]
fn two_threads_write_one_file_when_many_are_half_done() {
    let mut rig = many_files(600);
    let target = rig.temp.path().join("target");
    let meeting = Arc::new(Meeting::default());
    let run = rig.open().expect("it opens");
    let report = run
        .restore_watched(&request(&target), Some(meeting.clone()))
        .expect("a restore");
    assert_eq!(report.broken_local_files, Vec::<String>::new());
    assert_eq!(report.restored_files, 601);
    assert_eq!(files(&target), files(&rig.source()));
    assert_eq!(meeting.met.load(Ordering::SeqCst), 10);
}

/// A file of which many blocks came was opened for each, when more files were half done than stay open.
#[test]
fn a_file_that_is_written_stays_open_when_many_are_half_done() {
    #[derive(Default)]
    struct Openings(AtomicU64);
    impl Watch for Openings {
        fn before(&self, step: Step, path: &[u8]) -> io::Result<()> {
            if step == Step::Create && path.ends_with(b"zz") {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        }
    }
    let mut rig = many_files(600);
    rig.set("concurrency-max-threads", "1");
    let target = rig.temp.path().join("target");
    let openings = Arc::new(Openings::default());
    let run = rig.open().expect("it opens");
    run.restore_watched(&request(&target), Some(openings.clone()))
        .expect("a restore");
    assert_eq!(files(&target), files(&rig.source()));
    // At most once for each volume that has something of it.
    let times = openings.0.load(Ordering::SeqCst);
    assert!((1..=3).contains(&times), "opened {times} times");
}

/// Without `--restore-permissions` a restore over files and folders that are there leaves their permissions alone.
#[test]
fn what_was_there_keeps_its_permissions() {
    let mut rig = Rig::new();
    rig.set("restore-permissions", "false");
    rig.write("keys/same", "a key");
    rig.write("keys/changed", "as it was");
    rig.write("keys/new/file", "new");
    rig.backup();
    for overwrite in ["true", "false"] {
        rig.set("overwrite", overwrite);
        let target = rig.temp.path().join(format!("target {overwrite}"));
        let keys = target.join("keys");
        std::fs::create_dir_all(&keys).expect("a folder");
        std::fs::write(keys.join("same"), "a key").expect("a file");
        std::fs::write(keys.join("changed"), "as it is").expect("a file");
        let close = |path: &Path, mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(path, mode).expect("permissions");
        };
        close(&keys.join("same"), 0o600);
        close(&keys.join("changed"), 0o750);
        close(&keys, 0o700);
        rig.restore_into(&target, 0, &[]).expect("a restore");
        let mode = |path: &str| target.join(path).metadata().expect("facts").mode() & 0o777;
        assert_eq!(mode("keys"), 0o700);
        assert_eq!(mode("keys/same"), 0o600);
        assert_eq!(mode("keys/changed"), 0o750);
        // Others are as anything that is made here.
        std::fs::create_dir(target.join("made")).expect("a folder");
        std::fs::write(target.join("made/file"), "").expect("a file");
        assert_eq!(mode("keys/new"), mode("made"));
        assert_eq!(mode("keys/new/file"), mode("made/file"));
    }
}
