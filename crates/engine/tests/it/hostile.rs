//! Restoring sets that want to write outside the target folder, and into targets that are prepared for it.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use larder_engine::RestoreReport;

use crate::forge::Forge;
use crate::rig::{Rig, chain};

/// A target folder, and beside it a folder that nothing may be changed in.
struct Trap {
    rig: Rig,
    target: PathBuf,
    outside: PathBuf,
    facts: (u32, i64, i64),
}

impl Trap {
    fn new() -> Self {
        let rig = Rig::new();
        let target = rig.temp.path().join("deep/er/target");
        std::fs::create_dir_all(&target).unwrap();
        let outside = rig.temp.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("victim"), "untouched").unwrap();
        std::fs::set_permissions(
            outside.join("victim"),
            std::fs::Permissions::from_mode(0o600),
        )
        .unwrap();
        std::fs::set_permissions(&outside, std::fs::Permissions::from_mode(0o750)).unwrap();
        let facts = facts_of(&outside);
        Self {
            rig,
            target,
            outside,
            facts,
        }
    }

    fn restore(&mut self, forge: &Forge, overwrite: bool) -> Option<RestoreReport> {
        forge.store(&self.rig.store);
        self.rig
            .set("overwrite", if overwrite { "true" } else { "false" });
        let target = self.target.clone();
        let report = match self.rig.restore_into(&target, 0, &[]) {
            Ok(report) => Some(report),
            // Refusing the whole is fine; breaking down is not.
            Err(error) => {
                let text = chain(&error);
                assert!(!text.contains("fault in larder"), "{text}");
                None
            }
        };
        self.assert_untouched();
        report
    }

    fn assert_untouched(&self) {
        let names: Vec<_> = std::fs::read_dir(&self.outside)
            .unwrap()
            .map(|item| item.unwrap().file_name())
            .collect();
        assert_eq!(names, ["victim"]);
        let victim = self.outside.join("victim");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(facts_of(&self.outside), self.facts);
        assert_eq!(victim.metadata().unwrap().mode() & 0o777, 0o600);
        let above: Vec<_> = std::fs::read_dir(self.rig.temp.path())
            .unwrap()
            .map(|item| item.unwrap().file_name().into_string().unwrap())
            .collect();
        for name in &above {
            assert!(
                ["deep", "outside", "source"].contains(&name.as_str()),
                "{name} appeared above the target"
            );
        }
        for folder in ["deep", "deep/er"] {
            let count = std::fs::read_dir(self.rig.temp.path().join(folder))
                .unwrap()
                .count();
            assert_eq!(count, 1, "something appeared in {folder}");
        }
    }

    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.target.join(path)).ok()
    }
}

fn facts_of(path: &Path) -> (u32, i64, i64) {
    let facts = path.metadata().unwrap();
    (facts.mode(), facts.mtime(), facts.mtime_nsec())
}

#[test]
fn paths_that_lead_upwards_are_refused_one_by_one() {
    for evil in [
        "/src/../escaped",
        "/src/../../escaped",
        "/src/a/../../../../../escaped",
        "/src/..",
        "/src/.",
        "/src/./x/../../escaped",
        "/src//escaped",
        "../escaped",
        "../../../escaped",
        "escaped/../../../x",
        "..",
        "/..",
        "/../../escaped",
        "C:\\..\\..\\escaped",
        "C:\\src\\..\\..\\..\\escaped",
        "\\\\server\\share\\..\\..\\..\\escaped",
        "/",
        "//",
    ] {
        for with_good in [true, false] {
            let mut trap = Trap::new();
            let mut forge = Forge::default();
            forge.file(evil, "evil");
            if with_good {
                forge
                    .folder("/src/")
                    .file("/src/good", "good")
                    .file("/src/b/too", "too");
            }
            let report = trap.restore(&forge, true);
            if with_good && evil.starts_with("/src/") {
                let report = report.unwrap_or_else(|| panic!("{evil}: the rest was not restored"));
                assert_eq!(
                    trap.read("good").as_deref(),
                    Some("good"),
                    "{evil}: {report:#?}"
                );
            }
        }
    }
}

#[test]
fn names_with_a_nul_byte_do_not_break_anything() {
    let mut trap = Trap::new();
    let mut forge = Forge::default();
    forge
        .folder("/src/")
        .file("/src/a\0b", "evil")
        .link("/src/l", "a\0b")
        .link("/src/m\0", "x")
        .folder("/src/f\0/")
        .file("/src/good", "good");
    let report = trap.restore(&forge, true).unwrap();
    assert_eq!(trap.read("good").as_deref(), Some("good"));
    assert!(!report.broken_local_files.is_empty());
}

#[test]
fn a_link_in_the_set_leads_no_file_outside() {
    let outside = "../../../outside";
    for absolute in [false, true] {
        for order in 0..4 {
            let mut trap = Trap::new();
            let to = match absolute {
                true => trap.outside.to_str().unwrap().to_owned(),
                false => outside.to_owned(),
            };
            let mut forge = Forge::default();
            match order {
                0 => forge.link("/src/a", &to).file("/src/a/evil", "evil"),
                1 => forge.file("/src/a/evil", "evil").link("/src/a", &to),
                2 => forge
                    .link("/src/a", &to)
                    .folder("/src/a/")
                    .file("/src/a/evil", "evil"),
                _ => forge
                    .folder("/src/a/")
                    .link("/src/a/", &to)
                    .file("/src/a/evil", "evil")
                    .folder("/src/a/sub/"),
            };
            forge.link("/src/b", "a").file("/src/b/evil", "evil");
            forge
                .file("/src/a/victim", "evil")
                .file("/src/good", "good");
            // Twice: the second time the links of the first stand there.
            for overwrite in [true, false, true] {
                trap.restore(&forge, overwrite);
                assert_eq!(trap.read("good").as_deref(), Some("good"));
            }
        }
    }
}

#[test]
fn a_link_and_a_file_of_one_path_do_not_meet() {
    for first in [true, false] {
        let mut trap = Trap::new();
        let victim = trap.outside.join("victim");
        let victim = victim.to_str().unwrap();
        let mut forge = Forge::default();
        if first {
            forge.link("/src/x", victim).file("/src/x", "evil");
        } else {
            forge.file("/src/x", "evil").link("/src/x", victim);
        }
        forge.file("/src/good", "good");
        for overwrite in [true, false, true] {
            trap.restore(&forge, overwrite);
        }
    }
}

#[test]
fn links_planted_in_the_target_are_not_followed() {
    for overwrite in [true, false] {
        for relative in [true, false] {
            let mut trap = Trap::new();
            let to = match relative {
                true => PathBuf::from("../../../outside"),
                false => trap.outside.clone(),
            };
            symlink(&to, trap.target.join("sub")).unwrap();
            symlink(to.join("victim"), trap.target.join("file")).unwrap();
            symlink(to.join("created"), trap.target.join("dangling")).unwrap();
            let mut forge = Forge::default();
            forge
                .folder("/src/")
                .folder("/src/sub/")
                .file("/src/sub/victim", "evil")
                .file("/src/sub/new", "evil")
                .folder("/src/sub/new folder/")
                .link("/src/sub/link", "evil")
                .file("/src/file", "restored")
                .file("/src/dangling", "restored")
                .file("/src/good", "good");
            let report = trap.restore(&forge, overwrite).unwrap();
            assert_eq!(trap.read("good").as_deref(), Some("good"));
            for path in ["/src/sub/victim", "/src/sub/new"] {
                assert!(
                    report.broken_local_files.iter().any(|p| p == path),
                    "{report:#?}"
                );
            }
            let file = trap.target.join("file");
            if overwrite {
                // The link itself was in the way and is replaced.
                assert!(!file.symlink_metadata().unwrap().is_symlink());
                assert_eq!(trap.read("file").as_deref(), Some("restored"));
                assert_eq!(trap.read("dangling").as_deref(), Some("restored"));
            } else {
                assert!(file.symlink_metadata().unwrap().is_symlink());
                let copies = std::fs::read_dir(&trap.target)
                    .unwrap()
                    .filter(|item| {
                        let name = item.as_ref().unwrap().file_name();
                        name.to_string_lossy().starts_with("file.")
                    })
                    .count();
                assert_eq!(copies, 1, "a copy beside the link");
            }
        }
    }
}

#[test]
fn a_target_reached_through_a_link_is_the_users_word() {
    let mut trap = Trap::new();
    let way = trap.rig.temp.path().join("source/way");
    symlink(&trap.target, &way).unwrap();
    let mut forge = Forge::default();
    forge.folder("/src/").file("/src/good", "good");
    forge.store(&trap.rig.store);
    trap.rig.restore_into(&way, 0, &[]).unwrap();
    assert_eq!(trap.read("good").as_deref(), Some("good"));
    trap.assert_untouched();
}

#[test]
fn blocks_that_are_not_what_they_say_are_not_written() {
    let mut trap = Trap::new();
    let mut forge = Forge::default();
    let claimed = larder_volume::HashAlgorithm::Sha256.digest(b"the truth");
    forge.raw_block(&claimed.to_url_base64(), b"something");
    forge
        .folder("/src/")
        .file("/src/lie", "the truth")
        .file("/src/good", "good");
    let report = trap.restore(&forge, true).unwrap();
    assert_eq!(trap.read("good").as_deref(), Some("good"));
    assert_eq!(report.broken_remote_files, ["/src/lie"]);
    assert_ne!(trap.read("lie").as_deref(), Some("something"));
}

/// Sizes and lists that do not fit must fail their file and nothing else.
#[test]
fn entries_that_contradict_themselves_fail_alone() {
    for kind in 0..8 {
        let mut trap = Trap::new();
        let mut forge = Forge::default();
        forge.folder("/src/").file("/src/good", "good");
        forge
            .file("/src/odd", "odd content")
            .change(|entry| match kind {
                0 => entry.size = i64::MAX as u64,
                1 => entry.blockhash = entry.metahash,
                2 => entry.size = 5,
                3 => entry.hash = None,
                4 => entry.blocklists = vec![entry.hash.unwrap()],
                5 => {
                    entry.blocklists = vec![entry.hash.unwrap(); 3];
                    entry.size = 1 << 50;
                }
                6 => entry.metasize = i64::MAX as u64,
                _ => entry.metahash = None,
            });
        forge.file("/src/last", "last");
        let report = trap.restore(&forge, true);
        let report = report.unwrap_or_else(|| panic!("kind {kind}: nothing was restored"));
        assert_eq!(trap.read("good").as_deref(), Some("good"), "kind {kind}");
        assert_eq!(trap.read("last").as_deref(), Some("last"), "kind {kind}");
        let odd = trap.read("odd");
        let told = report.broken_remote_files.iter().any(|p| p == "/src/odd");
        assert!(
            told || odd.as_deref() == Some("odd content") || kind == 1,
            "kind {kind}: {odd:?}"
        );
        // Other commands cope with it too.
        trap.rig.test_all();
        trap.rig.write("file", "content");
        trap.rig.backup();
        assert_eq!(
            trap.rig.try_restore(0).unwrap().1.broken_remote_files.len(),
            0
        );
    }
}

#[test]
fn one_path_twice_is_restored_once_and_nobody_is_confused() {
    let mut trap = Trap::new();
    let mut forge = Forge::default();
    forge
        .folder("/src/")
        .file("/src/x", "first")
        .file("/src/x", "second content")
        .file("/src/y", "same")
        .file("/src/y", "same")
        .folder("/src/")
        .file("/src/good", "good");
    trap.restore(&forge, true).unwrap();
    assert_eq!(trap.read("good").as_deref(), Some("good"));
    assert_eq!(trap.read("y").as_deref(), Some("same"));
    let x = trap.read("x").unwrap();
    assert!(x == "first" || x == "second content", "{x:?}");
}

/// A file dated beyond the year 9999 made its whole version unreadable: the list held a time that no reader takes.
#[test]
fn a_file_of_a_far_year_costs_no_other_file() {
    let mut rig = Rig::new();
    rig.use_source_in_memory();
    for (name, seconds) in [
        ("good", 1_000),
        ("far", 910_692_730_085),
        ("edge", 253_402_300_800),
    ] {
        rig.write(name, name);
        let file = std::fs::File::open(rig.source().join(name)).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        file.set_modified(time).unwrap();
        let found = file.metadata().unwrap().mtime();
        assert_eq!(
            u64::try_from(found),
            Ok(seconds),
            "this folder keeps no such time"
        );
    }
    rig.backup();
    // With the catalog and without it the next backup sees that nothing changed.
    for loses in [false, true] {
        if loses {
            rig.lose_state();
        }
        let report = rig.backup();
        assert_eq!(report.modified_files, 0, "lost: {loses}");
        let target = rig.fast.path().join(format!("target {loses}"));
        let report = rig.restore_into(&target, 0, &[]).unwrap();
        assert_eq!(report.restored_files, 3);
        assert_eq!(rig.log.complaints(), Vec::<String>::new());
        let mtime = |name: &str| target.join(name).metadata().unwrap().mtime();
        for name in ["good", "far", "edge"] {
            assert_eq!(std::fs::read_to_string(target.join(name)).unwrap(), name);
        }
        assert_eq!((mtime("good"), mtime("edge")), (1_000, 253_402_300_800));
        // Ticks end in the year 29228.
        assert_eq!(mtime("far"), 860_201_606_885);
    }
}

/// A path that no list can hold costs its entry.
#[test]
fn a_path_beyond_the_bound_is_reported_and_left_out() {
    let mut rig = Rig::new();
    rig.write("good", "good");
    let mut folder = rustix_open(&rig.source());
    for _ in 0..25 {
        let name = "d".repeat(200);
        rustix::fs::mkdirat(&folder, &name, rustix::fs::Mode::RWXU).unwrap();
        folder = rustix::fs::openat(
            &folder,
            &name,
            rustix::fs::OFlags::DIRECTORY,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
    }
    let engine = rig.open().unwrap();
    let report = engine.backup(&rig.request()).unwrap();
    engine.repository().close().unwrap();
    assert!(report.version_time.is_some());
    let complaints = rig.log.complaints();
    assert!(!complaints.is_empty(), "nothing was said of the long paths");
    let (target, _) = rig.try_restore(0).unwrap();
    assert_eq!(std::fs::read(target.join("good")).unwrap(), b"good");
}

fn rustix_open(path: &Path) -> std::os::fd::OwnedFd {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open(path, OFlags::DIRECTORY, Mode::empty()).unwrap()
}
