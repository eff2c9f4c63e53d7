//! Random lives of a backup against a naive model: after each version a copy of what the source held is kept, and
//! every version restores equal to its copy whatever happened in between.
//!
//! Versions are dropped, thinned out and compacted in between, by either of two machines; catalogs, indexes and lists are
//! lost, and repaired.
//!
//! A failure names its seed; `LARDER_MODEL_SEED=<seed>` repeats that life alone, `LARDER_MODEL_LIVES=<n>` asks for more.

mod losing;
mod removals;

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use larder_destination::Clock as _;
use larder_testkit::{Failure, Rng};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, lsetxattr, utimensat};

use crate::doom::Reach;
use crate::rig::Rig;

/// One life: a rig, chance, and what happened, for the message.
struct Life {
    rig: Rig,
    rng: Rng,
    log: Vec<String>,
    /// The other machine deleted versions, which this one sees as missing.
    gone_elsewhere: bool,
    /// The same of this one, for the other one.
    other_gone: bool,
    /// The other machine replaced lists since the last turn of this one.
    replaced_elsewhere: bool,
    /// The same of this one, for the other one.
    other_replaced: bool,
}

/// Lengths around every border of 1 KiB blocks with 32 hashes in a blocklist.
const LENGTHS: &[usize] = &[
    0, 1, 100, 1023, 1024, 1025, 2048, 5000, 32_767, 32_768, 32_769, 65_536, 65_537, 100_000,
];

impl Life {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut rig = match rng.below(2) {
            0 => Rig::new(),
            _ => Rig::encrypted("a passphrase"),
        };
        // A life may empty its source, and means it.
        rig.set("accept-source-changes", "true");
        let mut log = Vec::new();
        let mut choose = |rig: &mut Rig, name: &str, choices: &[&str]| {
            let choice = *rng.choose(choices).expect("a choice");
            if !choice.is_empty() {
                rig.set(name, choice);
                log.push(format!("--{name}={choice}"));
            }
        };
        choose(
            &mut rig,
            "compression-module",
            &["", "", "", "zip", "tzstd", "tgz"],
        );
        choose(
            &mut rig,
            "zip-compression-method",
            &["", "Deflate", "None", "Zstandard"],
        );
        choose(
            &mut rig,
            "index-file-policy",
            &["", "", "", "Lookup", "None"],
        );
        choose(&mut rig, "block-hash-algorithm", &["", "", "SHA512", "MD5"]);
        choose(&mut rig, "file-hash-algorithm", &["", "", "SHA512", "SHA1"]);
        choose(&mut rig, "blocksize", &["1kb", "1kb", "3kb", "10kb"]);
        choose(&mut rig, "concurrency-max-threads", &["1", "2", "3"]);
        choose(&mut rig, "asynchronous-upload-limit", &["", "1", "2"]);
        choose(&mut rig, "backup-test-samples", &["0", "0", "1"]);
        choose(&mut rig, "disable-filetime-check", &["", "", "true"]);
        if rng.below(2) == 0 {
            // Files in memory are of the year 2023: they are young for a day.
            rig.clock.set(1_700_000_100);
        }
        Self {
            rig,
            rng,
            log,
            gone_elsewhere: false,
            other_gone: false,
            replaced_elsewhere: false,
            other_replaced: false,
        }
    }

    fn say(&mut self, what: String) {
        self.log.push(what);
    }

    fn live(&mut self) {
        if self.rng.below(4) > 0 {
            let (seed, files) = (self.rng.next_u64(), self.rng.index(25));
            self.say(format!("a source of {files} files"));
            larder_testkit::tree::build_random(&self.rig.source(), seed, files, 150_000)
                .expect("a source");
        }
        self.backup();
        for _ in 0..12 + self.rng.below(10) {
            match self.rng.below(24) {
                0..=4 => {
                    for _ in 0..=self.rng.below(12) {
                        self.edit();
                    }
                }
                5..=8 => self.backup(),
                9 => self.restore_one(),
                10 => {
                    self.say("the local state is lost".into());
                    self.rig.lose_state();
                    self.gone_elsewhere = false;
                }
                11 => self.other_machine(),
                12 => self.killed_backup(),
                13 => self.disturbed_backup(),
                14 => {
                    self.acknowledge();
                    self.say("test all".into());
                    let report = self.rig.test_all();
                    assert_eq!(report.damaged(), 0, "{report:#?}");
                }
                15 => self.restore_over_another(),
                16 | 17 => self.delete(),
                18 => self.compact(),
                19 => self.purge(),
                20 => self.a_day_passes(),
                21 => self.repair(),
                _ => self.lose_and_repair(),
            }
        }
        self.acknowledge();
        self.backup();
        self.say("the end".into());
        self.rig.check_all("at the end");
        self.rig.check_all_elsewhere("at the end");
        assert_eq!(self.rig.test_all().damaged(), 0);
        assert_eq!(self.rig.backup().version_time, None, "nothing changed");
        match self.rng.below(2) {
            0 => self.lose_something(),
            _ => self.lose_data(),
        }
    }

    /// The catalog of the machine whose turn it is not.
    fn other_state(&self) -> PathBuf {
        let folder = self.rig.fast.path().join("another machine/catalog.sqlite");
        match self.rig.state() == folder {
            true => self.rig.fast.path().join("state/catalog.sqlite"),
            false => folder,
        }
    }

    fn other_machine(&mut self) {
        self.say("the other machine's turn".into());
        self.rig.use_state(self.other_state());
        std::mem::swap(&mut self.gone_elsewhere, &mut self.other_gone);
        std::mem::swap(&mut self.replaced_elsewhere, &mut self.other_replaced);
    }

    fn a_day_passes(&mut self) {
        self.say("a day passes".into());
        let now = u64::try_from(self.rig.clock.seconds()).expect("a time after 1970");
        self.rig.clock.set(now + 90_000);
    }

    /// Two versions into one folder: all of the second is there then, whatever the first left.
    fn restore_over_another(&mut self) {
        let (first, second) = (
            self.rng.index(self.rig.versions.len()),
            self.rng.index(self.rig.versions.len()),
        );
        self.say(format!("restore {first}, and {second} over it"));
        let target = self.rig.temp.path().join("over");
        self.rig
            .restore_into(&target, first, &[])
            .expect("a restore");
        let report = self
            .rig
            .restore_into(&target, second, &[])
            .expect("a restore");
        let wrong = self.rig.missing_in(&target, second, &report);
        assert_eq!(wrong, Vec::<String>::new());
        fs::remove_dir_all(&target).expect("the target");
        self.rig.log.clear();
    }

    fn backup(&mut self) {
        let before = self.rig.versions.len();
        // Versions that are a second apart leave no room between them.
        let pause = *self.rng.choose(&[0, 1, 59]).expect("a choice");
        self.rig.clock.pause(std::time::Duration::from_secs(pause));
        self.say("backup".into());
        let report = self.rig.backup();
        match self.gone_elsewhere {
            true => self.only_complaints(&["MissingVersion"]),
            false => self.only_complaints(&[]),
        }
        self.say(format!("  version {:?}", report.version_time));
        if before == self.rig.versions.len() {
            // Nothing was written, so nothing may have changed.
            let differences = self.rig.differences_from_source();
            assert_eq!(differences, Vec::<String>::new(), "an unnoticed change");
        }
    }

    fn restore_one(&mut self) {
        let version = self.rng.index(self.rig.versions.len());
        self.say(format!("restore {version}"));
        assert_eq!(self.rig.differences(version), Vec::<String>::new());
    }

    /// The process dies at some call; what it had uploaded stays.
    fn killed_backup(&mut self) {
        let at = 1 + self.rng.below(6);
        let reach = *self
            .rng
            .choose(&[Reach::Not, Reach::Whole])
            .expect("a choice");
        self.say(format!("backup, killed at call {at}, {reach:?}"));
        let known = self.rig.versions.len();
        self.rig.clock.pause(std::time::Duration::from_secs(1));
        let request = self.rig.request();
        self.killed(at, reach, |run| run.backup(&request));
        self.rig.expect_present_source_since(known);
        self.rig.written.resize(self.rig.versions.len(), Vec::new());
        self.rig.log.clear();
        // What was interrupted is settled now, before the source changes again.
        self.backup();
    }

    /// Calls fail by chance; retries get through or not.
    fn disturbed_backup(&mut self) {
        let seed = self.rng.next_u64();
        self.say(format!("backup, disturbed by {seed}"));
        let known = self.rig.versions.len();
        let network = larder_destination::ErrorKind::Network;
        self.rig.plan.fail_by_chance(
            seed,
            200,
            vec![
                Failure::Before(network.clone()),
                Failure::After(network),
                Failure::Cut(50),
            ],
        );
        let outcome = self.rig.try_backup();
        self.say(format!(
            "  {}",
            if outcome.is_ok() { "done" } else { "failed" }
        ));
        self.rig.plan.clear();
        let leftovers = self.rig.names(larder_volume::VolumeKind::List).len();
        self.rig.log.clear();
        self.say(format!("  {leftovers} lists"));
        // The next run removes lists whose upload was repeated under another name.
        self.rig.clock.pause(std::time::Duration::from_secs(1));
        let engine = self.rig.open().expect("the engine opens");
        let outcome = engine.backup(&self.rig.request());
        engine.repository().close().expect("the catalog closes");
        outcome.expect("a backup");
        self.rig.expect_present_source_since(known);
        self.rig.written.resize(self.rig.versions.len(), Vec::new());
        self.rig.log.clear();
    }

    /// All paths below the source, folders with them, in order.
    fn paths(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let (mut files, mut folders) = (Vec::new(), vec![self.rig.source()]);
        let mut next = 0;
        while let Some(folder) = folders.get(next).cloned() {
            next += 1;
            let mut items: Vec<_> = fs::read_dir(&folder)
                .expect("a folder")
                .map(|item| item.expect("an entry").path())
                .collect();
            items.sort();
            for item in items {
                let kind = item.symlink_metadata().expect("an entry").file_type();
                if kind.is_dir() {
                    folders.push(item);
                } else {
                    files.push(item);
                }
            }
        }
        (files, folders)
    }

    fn content(&mut self, files: &[PathBuf]) -> Vec<u8> {
        let len = match self.rng.below(40) {
            0 => 700_000 + self.rng.index(900_000),
            _ => *self.rng.choose(LENGTHS).expect("a length"),
        };
        match self.rng.below(4) {
            0 => self.rng.text(len),
            1 => vec![b'x'; len],
            2 if !files.is_empty() => {
                // Something that is there already, shifted or not.
                let other = files.get(self.rng.index(files.len())).expect("a file");
                let mut content = fs::read(other).unwrap_or_default();
                if self.rng.below(2) == 0 {
                    content.insert(0, b'!');
                }
                content
            }
            _ => self.rng.bytes(len),
        }
    }

    fn fresh_name(&mut self, folder: &Path) -> PathBuf {
        let number = self.rng.below(1000);
        let name: Vec<u8> = match self.rng.below(14) {
            0 => format!("ümläut {number}").into_bytes(),
            1 => format!("line\nbreak{number}").into_bytes(),
            2 => [
                b"not utf-8 \xff\xfe\x80".as_slice(),
                number.to_string().as_bytes(),
            ]
            .concat(),
            3 => format!("back\\slash{number}").into_bytes(),
            4 => format!("\"quoted\" {{{number}}}").into_bytes(),
            5 => format!("{number:0>255}").into_bytes(),
            6 => format!(".{number}").into_bytes(),
            7 => format!(" {number} ").into_bytes(),
            8 => format!("\u{1F980}{number}").into_bytes(),
            _ => format!("f{number}").into_bytes(),
        };
        folder.join(OsString::from_vec(name))
    }

    fn edit(&mut self) {
        let (files, folders) = self.paths();
        let folder = folders[self.rng.index(folders.len())].clone();
        let fresh = self.fresh_name(&folder);
        let any = (!files.is_empty()).then(|| files[self.rng.index(files.len())].clone());
        let plain = any.clone().filter(|path| {
            // Without the right to write it cannot be edited, unless by root.
            path.symlink_metadata()
                .is_ok_and(|facts| facts.is_file() && facts.mode() & 0o200 != 0)
        });
        let what = match (self.rng.below(20), plain, any) {
            (0..=4, _, _) if !exists(&fresh) => {
                let content = self.content(&files);
                fs::write(&fresh, &content).expect("a new file");
                format!("create {fresh:?} with {} bytes", content.len())
            }
            (5, _, _) if !exists(&fresh) && folders.len() < 12 => {
                fs::create_dir(&fresh).expect("a new folder");
                format!("folder {fresh:?}")
            }
            (6, _, _) if !exists(&fresh) => {
                let target = match self.rng.below(4) {
                    0 => "x/".repeat(700),
                    1 => "/nowhere".to_owned(),
                    2 => ".".to_owned(),
                    _ => format!("f{}", self.rng.below(100)),
                };
                symlink(&target, &fresh).expect("a new link");
                format!("link {fresh:?} to {} bytes", target.len())
            }
            (7, Some(file), _) => {
                let mut content = fs::read(&file).expect("a file");
                let more = self.content(&[]);
                content.extend(&more);
                content.truncate(2_000_000);
                fs::write(&file, content).expect("a file");
                format!("append {} to {file:?}", more.len())
            }
            (8, Some(file), _) => {
                let mut content = fs::read(&file).expect("a file");
                let at = self.rng.index(content.len());
                if let Some(byte) = content.get_mut(at) {
                    *byte = byte.wrapping_add(1);
                }
                fs::write(&file, content).expect("a file");
                format!("change {file:?} at {at}")
            }
            (9, Some(file), _) => {
                let len = fs::metadata(&file).expect("a file").len();
                let to = self.rng.below(len + 1);
                let open = fs::File::options().write(true).open(&file);
                open.and_then(|f| f.set_len(to)).expect("a file");
                format!("cut {file:?} to {to}")
            }
            (10 | 11, _, Some(file)) => {
                fs::remove_file(&file).expect("a file");
                format!("remove {file:?}")
            }
            (12, _, Some(file)) if !exists(&fresh) => {
                fs::rename(&file, &fresh).expect("a file");
                format!("rename {file:?} to {fresh:?}")
            }
            (13, _, _) if folder != self.rig.source() => {
                fs::remove_dir_all(&folder).expect("a folder");
                format!("remove folder {folder:?}")
            }
            (14, _, _) if folder != self.rig.source() => {
                let to = self.rig.source().join(fresh.file_name().expect("a name"));
                if exists(&to) || to.starts_with(&folder) {
                    return;
                }
                fs::rename(&folder, &to).expect("a folder");
                format!("rename folder {folder:?} to {to:?}")
            }
            (15, Some(file), _) => {
                let mode = *self
                    .rng
                    .choose(&[0o644, 0o600, 0o755, 0o444, 0o4755, 0o2755, 0o666])
                    .expect("a mode");
                set_mode(&file, mode);
                format!("mode {mode:o} for {file:?}")
            }
            (16, _, _) if folder != self.rig.source() => {
                let mode = *self
                    .rng
                    .choose(&[0o755, 0o700, 0o1777, 0o2770])
                    .expect("a mode");
                set_mode(&folder, mode);
                format!("mode {mode:o} for {folder:?}")
            }
            (17, _, Some(file)) => {
                let seconds = *self
                    .rng
                    .choose(&[0, 1, -1, -86_400 * 365 * 20, 1_700_000_000, 5_000_000_000])
                    .expect("a time");
                let nanos = i64::from(u32::try_from(self.rng.below(1_000_000_000)).expect("ns"));
                set_time(&file, seconds, nanos);
                format!("time {seconds}.{nanos:09} for {file:?}")
            }
            (18, Some(file), _) => {
                let len = *self.rng.choose(&[1, 10, 800, 2000]).expect("a length");
                let value = self.rng.bytes(len);
                let name = format!("user.n{}", self.rng.below(3));
                match lsetxattr(&file, name.as_str(), &value, XattrFlags::empty()) {
                    Ok(()) => format!("attribute of {len} bytes for {file:?}"),
                    Err(_) => return,
                }
            }
            (19, Some(file), _) => {
                // Something else of the same name.
                fs::remove_file(&file).expect("a file");
                match self.rng.below(2) {
                    0 => fs::create_dir(&file).expect("a folder"),
                    _ => symlink("elsewhere", &file).expect("a link"),
                }
                format!("another kind for {file:?}")
            }
            _ => return,
        };
        self.say(format!("  {what}"));
    }
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

fn set_time(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanos,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(
        CWD,
        path.as_os_str().as_bytes(),
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .expect("a time");
}

fn lives(first: u64) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds = match number("LARDER_MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => first..first + number("LARDER_MODEL_LIVES").unwrap_or(8),
    };
    for seed in seeds {
        let mut life = Life::new(seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| life.live()));
        if let Err(panic) = outcome {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
                .unwrap_or_default();
            panic!(
                "LARDER_MODEL_SEED={seed}: {text}\nwhat happened: {:#?}\ncomplaints: {:#?}",
                life.log,
                life.rig.log.complaints()
            );
        }
    }
}

#[test]
fn any_life_restores_equal_1() {
    lives(1000);
}

#[test]
fn any_life_restores_equal_2() {
    lives(2000);
}

#[test]
fn any_life_restores_equal_3() {
    lives(3000);
}

#[test]
fn any_life_restores_equal_4() {
    lives(4000);
}
