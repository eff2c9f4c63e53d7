//! The bench for faults and damage: a source, a destination in memory that can be disturbed, a local state that can be
//! lost, and copies of what each version has to hold.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use larder_destination::{Destination, Operation};
use larder_engine::source::WalkOptions;
use larder_engine::{
    BackupReport, BackupRequest, Cancel, Clock, Error, Event, FixedClock, Level, Message, Monitor,
    Repository, RestoreReport, RestoreRequest, Run, Samples, Setup, SystemRandom, TestReport,
};
use larder_options::{Origin, Secret, Values};
use larder_testkit::tree::{CompareOptions, Manifest, compare_manifests};
use larder_testkit::{FaultPlan, Faults, Journal, MemoryDestination, Recorder, tree};
use larder_volume::{
    ArchiveReader, Compression, Hash, VolumeKind, VolumeName, parse_block_entry, parse_block_volume,
};

/// Keeps all messages of the runs.
#[derive(Default)]
pub struct Log(Mutex<Vec<Message>>, AtomicBool);

impl Log {
    /// Messages with this id so far.
    pub fn count(&self, id: &str) -> usize {
        let list = self.0.lock().expect("no test panicked in here");
        list.iter().filter(|m| m.id == id).count()
    }

    /// Texts of all messages.
    pub fn texts(&self) -> Vec<String> {
        let list = self.0.lock().expect("no test panicked in here");
        list.iter().map(|m| m.text.clone()).collect()
    }

    /// Texts of all warnings and errors, for failed tests and for searching.
    pub fn complaints(&self) -> Vec<String> {
        let list = self.0.lock().expect("no test panicked in here");
        list.iter()
            .filter(|m| m.level >= Level::Warning)
            .map(|m| format!("[{}] {}", m.id, m.text))
            .collect()
    }

    /// From now on a new file takes its reader a few milliseconds, so that others come to look meanwhile.
    pub fn slow_down(&self) {
        self.1.store(true, Ordering::SeqCst);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.0.lock().expect("no test panicked in here").clear();
    }
}

impl Monitor for Log {
    fn event(&self, event: &Event) {
        let Event::Message(message) = event else {
            return;
        };
        if message.id == "PathAdded" && self.1.load(Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(3));
        }
        self.0
            .lock()
            .expect("no test panicked in here")
            .push(message.clone());
    }
}

/// One backup job with everything around it.
pub struct Rig {
    /// The destination itself, for damage behind the engine's back.
    pub store: MemoryDestination,
    /// What goes wrong on the way to it.
    pub plan: FaultPlan,
    /// What was asked of it, faults included.
    pub journal: Journal,
    pub clock: Arc<FixedClock>,
    pub log: Arc<Log>,
    pub values: Values,
    pub passphrase: Option<String>,
    pub temp: tempfile::TempDir,
    /// A folder for states.
    pub fast: tempfile::TempDir,
    /// What each written version holds, oldest first.
    pub versions: Vec<Manifest>,
    /// The files that each of these runs added to the destination.
    pub written: Vec<Vec<String>>,
    /// The token of the engine opened last.
    pub cancel: Cancel,
    /// Whenever somebody asks for the time so many seconds pass.
    pub ticking: u64,
    /// Where remote calls run.
    pub runtime: tokio::runtime::Handle,
    way: Arc<Recorder>,
    source: PathBuf,
    state: PathBuf,
    restores: usize,
}

/// A clock that goes on by some seconds whenever it is looked at.
struct Ticking(Arc<FixedClock>, u64);

impl Clock for Ticking {
    fn now(&self) -> (i64, u32) {
        for _ in 0..self.1 {
            self.0.pause(std::time::Duration::from_secs(1));
        }
        self.0.now()
    }

    fn pause(&self, time: std::time::Duration) {
        self.0.pause(time);
    }
}

/// What a backup keeps of a tree: times in units of 100 ns, as Duplicati does.
pub fn as_stored() -> CompareOptions {
    CompareOptions {
        mtime_unit_ns: 100,
        ..CompareOptions::backed_up()
    }
}

/// Differences of a tree from what it has to hold, as far as a backup keeps it.
pub fn differences_of(held: &Manifest, found: &Manifest) -> Vec<String> {
    let differences = compare_manifests(held, found, &as_stored());
    differences.iter().map(ToString::to_string).collect()
}

/// Start of all clocks.
pub const START: u64 = 1_760_000_000;

impl Rig {
    /// An empty source and destination; unencrypted, 1 KiB blocks, 1 MiB volumes, no samples, no pauses.
    pub fn new() -> Self {
        Self::over(MemoryDestination::new())
    }

    /// The same over a given destination, whose locks end by the clock of the rig.
    pub fn over(store: MemoryDestination) -> Self {
        Self::at(store, Arc::new(FixedClock::new(START)))
    }

    /// The same with a given clock.
    fn at(store: MemoryDestination, clock: Arc<FixedClock>) -> Self {
        let store = store.with_clock(clock.clone());
        let temp = tempfile::tempdir().expect("a temporary folder");
        // The state is small and flushed often; in memory that costs nothing.
        let fast = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let fast = fast.expect("a temporary folder");
        std::fs::create_dir(temp.path().join("source")).expect("the source folder");
        let plan = FaultPlan::new();
        let way = Recorder::new(Arc::new(Faults::new(store.shared(), plan.clone())));
        let mut rig = Self {
            store,
            plan,
            journal: way.journal(),
            way: Arc::new(way),
            clock,
            log: Arc::default(),
            values: Values::new(),
            passphrase: None,
            source: temp.path().join("source"),
            state: fast.path().join("state/catalog.sqlite"),
            temp,
            fast,
            versions: Vec::new(),
            written: Vec::new(),
            cancel: Cancel::new(),
            ticking: 0,
            runtime: runtime(),
            restores: 0,
        };
        for (name, value) in [
            ("no-encryption", "true"),
            ("blocksize", "1kb"),
            ("dblock-size", "1mb"),
            ("backup-test-samples", "0"),
            ("retry-delay", "0s"),
            ("number-of-retries", "2"),
            ("concurrency-max-threads", "2"),
            ("restore-permissions", "true"),
            ("restore-symlink-metadata", "true"),
            ("overwrite", "true"),
        ] {
            rig.set(name, value);
        }
        rig
    }

    /// The same with AES Crypt.
    pub fn encrypted(passphrase: &str) -> Self {
        let mut rig = Self::new();
        rig.values.unset("no-encryption", Origin::CommandLine);
        rig.passphrase = Some(passphrase.to_owned());
        rig
    }

    /// Another machine with a state of its own and the same destination, clock and options.
    pub fn other_machine(&self) -> Self {
        let mut other = Self::at(self.store.clone(), self.clock.clone());
        other.values = self.values.clone();
        other.passphrase.clone_from(&self.passphrase);
        other.versions.clone_from(&self.versions);
        other.written.clone_from(&self.written);
        other.source.clone_from(&self.source);
        other
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.values.set(name, Some(value), Origin::CommandLine);
    }

    pub fn source(&self) -> PathBuf {
        self.source.clone()
    }

    /// Backs up another rig's source from now on.
    pub fn use_source(&mut self, other: &Self) {
        self.source.clone_from(&other.source);
    }

    /// Backs up a new folder in memory, where files may bear any time.
    pub fn use_source_in_memory(&mut self) {
        self.source = self.fast.path().join("source");
        std::fs::create_dir(&self.source).expect("the source folder");
    }

    /// Backs up a source of its own.
    pub fn use_own_source(&mut self) {
        self.source = self.temp.path().join("source");
    }

    /// The catalog's file.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Uses another catalog from now on.
    pub fn use_state(&mut self, path: PathBuf) {
        self.state = path;
    }

    /// Removes everything this machine remembers.
    pub fn lose_state(&self) {
        let folder = self.state_folder();
        if folder.exists() {
            std::fs::remove_dir_all(folder).expect("the state can be removed");
        }
    }

    /// Fills the source: `files` files with about `bytes` bytes, some links, attributes and an empty folder.
    pub fn fill(&self, seed: u64, files: usize, bytes: u64) {
        let source = self.source();
        tree::build_random(&source, seed, files, bytes).expect("a source");
        std::fs::create_dir(source.join("empty folder")).expect("an empty folder");
        std::os::unix::fs::symlink("file 00000.txt", source.join("link")).expect("a link");
        std::os::unix::fs::symlink("empty folder", source.join("link to folder")).expect("a link");
        std::os::unix::fs::symlink("/nowhere/at/all", source.join("dangling")).expect("a link");
    }

    pub fn edit(&self, seed: u64, edits: usize) {
        tree::edit_random(&self.source(), seed, edits).expect("edits");
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.source().join(path);
        let folder = path.parent().expect("a folder");
        std::fs::create_dir_all(folder).expect("a folder");
        std::fs::write(path, content).expect("a file");
    }

    pub fn open(&mut self) -> Result<Run, Error> {
        self.open_for(true)
    }

    fn open_for(&mut self, writes: bool) -> Result<Run, Error> {
        self.open_over(self.way.clone(), writes)
    }

    /// Opens an engine over any destination.
    pub fn open_over(
        &mut self,
        destination: Arc<dyn Destination>,
        writes: bool,
    ) -> Result<Run, Error> {
        self.cancel = Cancel::new();
        Repository::open(Setup {
            destination,
            values: self.values.clone(),
            passphrase: self.passphrase.clone().map(Secret::new),
            state_path: self.state.clone(),
            clock: match self.ticking {
                0 => self.clock.clone(),
                step => Arc::new(Ticking(self.clock.clone(), step)),
            },
            random: Arc::new(SystemRandom),
            writes,
            runtime: self.runtime.clone(),
            foreign_database: None,
        })?
        .run(self.log.clone(), self.cancel.clone())
    }

    pub fn request(&self) -> BackupRequest {
        BackupRequest {
            sources: vec![self.source()],
            no_roots: Vec::new(),
            options: WalkOptions::default(),
        }
    }

    /// Makes a backup and closes the engine; a version that was written joins [`Rig::versions`].
    pub fn try_backup(&mut self) -> Result<BackupReport, Error> {
        // Time passes between runs.
        self.clock.pause(std::time::Duration::from_secs(1));
        let engine = self.open()?;
        let held = Manifest::of(&self.source()).expect("a readable source");
        let before = self.store.names();
        let outcome = engine.backup(&self.request());
        engine.repository().close().expect("the catalog closes");
        let report = outcome?;
        if report.version_time.is_some() {
            self.versions.push(held);
            let mut names = self.store.names();
            names.retain(|name| !before.contains(name));
            self.written.push(names);
        }
        Ok(report)
    }

    pub fn backup(&mut self) -> BackupReport {
        match self.try_backup() {
            Ok(report) => report,
            Err(error) => panic!("the backup failed: {}", chain(&error)),
        }
    }

    /// Restores a version (0 = newest) into a new folder.
    pub fn try_restore(&mut self, version: usize) -> Result<(PathBuf, RestoreReport), Error> {
        self.try_restore_of(version, &[])
    }

    /// Restores what the patterns select.
    pub fn try_restore_of(
        &mut self,
        version: usize,
        patterns: &[&str],
    ) -> Result<(PathBuf, RestoreReport), Error> {
        self.restores += 1;
        let target = self.temp.path().join(format!("restored {}", self.restores));
        let report = self.restore_into(&target, version, patterns)?;
        Ok((target, report))
    }

    /// Restores into a folder that may hold something.
    pub fn restore_into(
        &mut self,
        target: &Path,
        version: usize,
        patterns: &[&str],
    ) -> Result<RestoreReport, Error> {
        let values = self.values.clone();
        self.set("version", &version.to_string());
        let engine = self.open_for(false);
        self.values = values;
        let engine = engine?;
        let outcome = engine.restore(&RestoreRequest {
            patterns: patterns.iter().map(|p| (*p).to_owned()).collect(),
            filters: Vec::new(),
            target: Some(target.to_owned()),
        });
        engine.repository().close().expect("the catalog closes");
        outcome
    }

    /// Restores what is restored when no version is named.
    pub fn restore_unasked(&mut self) -> Result<(PathBuf, RestoreReport), Error> {
        self.restores += 1;
        let target = self.temp.path().join(format!("restored {}", self.restores));
        let engine = self.open_for(false)?;
        let outcome = engine.restore(&RestoreRequest {
            patterns: Vec::new(),
            filters: Vec::new(),
            target: Some(target.clone()),
        });
        engine.repository().close().expect("the catalog closes");
        Ok((target, outcome?))
    }

    /// Differences of the newest version from what it has to hold; restores it.
    pub fn differences_of_newest(&mut self) -> Vec<String> {
        let (target, report) = match self.try_restore(0) {
            Ok(done) => done,
            Err(error) => return vec![chain(&error)],
        };
        let found = Manifest::of(&target).expect("a readable target");
        let held = self.versions.last().expect("a version");
        let mut differences = differences_of(held, &found);
        differences.extend(report.common.errors);
        differences.extend(report.common.warnings);
        differences
    }

    /// Differences of a restored version from what it has to hold, as text; empty when equal and without complaint.
    pub fn differences(&mut self, version: usize) -> Vec<String> {
        let lists = self.names(VolumeKind::List);
        let readable = self.readable_lists();
        assert_eq!(readable.len(), self.versions.len(), "versions and lists");
        let list = &readable[readable.len() - 1 - version];
        let number = lists.iter().rev().position(|name| name == list);
        let (target, report) = match self.try_restore(number.expect("a list")) {
            Ok(done) => done,
            Err(error) => return vec![format!("version {version}: {}", chain(&error))],
        };
        let index = self.versions.len() - 1 - version;
        let found = Manifest::of(&target).expect("a readable target");
        let mut differences: Vec<String> =
            compare_manifests(&self.versions[index], &found, &as_stored())
                .iter()
                .map(|d| format!("version {version}: {d}"))
                .collect();
        differences.extend(
            (report.broken_local_files.iter())
                .chain(&report.broken_remote_files)
                .map(|path| format!("version {version}: reported as broken: {path}")),
        );
        std::fs::remove_dir_all(&target).expect("the target can be removed");
        differences
    }

    /// What a folder lacks of a version (0 = newest) but for what the report names; more than that may be in it, and
    /// more extended attributes on it, for a restore leaves alone what it does not know.
    pub fn missing_in(&self, target: &Path, version: usize, report: &RestoreReport) -> Vec<String> {
        let held = &self.versions[self.versions.len() - 1 - version];
        let found = Manifest::of(target).expect("a readable target");
        let told: Vec<&str> = (report.broken_local_files.iter())
            .filter_map(|path| path.split("/source/").nth(1))
            .map(|path| path.trim_end_matches('/'))
            .collect();
        let options = CompareOptions {
            xattrs: false,
            ..as_stored()
        };
        compare_manifests(held, &found, &options)
            .iter()
            .filter(|d| held.entries.contains_key(&d.path))
            .filter(|d| {
                let path = String::from_utf8_lossy(&d.path);
                !told.iter().any(|told| path.starts_with(told))
            })
            .map(ToString::to_string)
            .collect()
    }

    /// How the source differs from the newest version.
    pub fn differences_from_source(&self) -> Vec<String> {
        let now = Manifest::of(&self.source()).expect("a readable source");
        differences_of(self.versions.last().expect("a version"), &now)
    }

    /// Every version restores equal.
    pub fn check_all(&mut self, when: &str) {
        for version in 0..self.versions.len() {
            let differences = self.differences(version);
            assert!(
                differences.is_empty(),
                "{when}: {differences:#?}\nfaults: {:?}\ncomplaints: {:#?}",
                self.plan.injected(),
                self.log.complaints()
            );
        }
    }

    /// Every version restores equal on a machine that remembers nothing and reaches the destination undisturbed.
    pub fn check_all_elsewhere(&self, when: &str) {
        let mut other = self.fork_at(&self.store, None);
        other.check_all(&format!("{when}, elsewhere"));
    }

    pub fn test_all(&mut self) -> TestReport {
        let engine = self.open_for(false).expect("the engine opens");
        let outcome = engine.test(Samples::All);
        engine.repository().close().expect("the catalog closes");
        match outcome {
            Ok(report) => report,
            Err(error) => panic!("the test failed: {}", chain(&error)),
        }
    }

    /// The same job at this moment, to be continued in another way: own copies of destination, state and clock.
    pub fn fork(&self) -> Self {
        self.fork_at(&self.store, Some(&self.state_folder()))
    }

    /// The same job with a given destination and a copy of a state folder, or with none.
    pub fn fork_at(&self, store: &MemoryDestination, state: Option<&Path>) -> Self {
        let mut fork = Self::over(store.snapshot());
        fork.values = self.values.clone();
        fork.passphrase.clone_from(&self.passphrase);
        fork.versions.clone_from(&self.versions);
        fork.written.clone_from(&self.written);
        fork.source.clone_from(&self.source);
        fork.ticking = self.ticking;
        fork.clock
            .set(u64::try_from(self.clock.seconds()).expect("a time after 1970"));
        if let Some(state) = state.filter(|folder| folder.exists()) {
            copy_folder(state, &fork.state_folder());
        }
        fork
    }

    /// The lists that are whole, oldest first; encrypted ones are taken for whole.
    pub fn readable_lists(&self) -> Vec<String> {
        let files = self.store.files();
        let is_whole = |name: &String| {
            !name.ends_with(".zip")
                || ArchiveReader::open(files[name].to_vec(), Compression::Zip)
                    .is_ok_and(|archive| archive.find("filelist.json").is_some())
        };
        self.names(VolumeKind::List)
            .into_iter()
            .filter(is_whole)
            .collect()
    }

    pub fn state_folder(&self) -> PathBuf {
        self.state.parent().expect("the state's folder").to_owned()
    }

    /// After a run that may have written a version without saying so: all lists beyond the `known` oldest ones hold
    /// the source as it is now. How many there are.
    pub fn expect_present_source_since(&mut self, known: usize) -> usize {
        let now = Manifest::of(&self.source()).expect("a readable source");
        let lists = self.readable_lists().len();
        self.versions.truncate(known);
        self.versions.resize(lists.max(known), now);
        lists - known
    }

    /// The first file of a kind that a run added, in order of names.
    pub fn written_by(&self, run: usize, kind: VolumeKind) -> String {
        let of_kind = |name: &&String| {
            VolumeName::parse(name, false).is_some_and(|parsed| parsed.kind() == kind)
        };
        let name = self.written[run].iter().find(of_kind);
        name.expect("a file of this kind").clone()
    }

    /// The volumes of a kind, whatever the case of their names.
    pub fn names_in_any_case(&self, kind: VolumeKind) -> Vec<String> {
        let of_kind = |name: &String| {
            VolumeName::parse(name, true).is_some_and(|parsed| parsed.kind() == kind)
        };
        self.store.names().into_iter().filter(of_kind).collect()
    }

    /// Remote names of one kind, in order.
    pub fn names(&self, kind: VolumeKind) -> Vec<String> {
        let of_kind = |name: &String| {
            VolumeName::parse(name, false).is_some_and(|parsed| parsed.kind() == kind)
        };
        self.store.names().into_iter().filter(of_kind).collect()
    }

    /// The newest list.
    pub fn newest_list(&self) -> String {
        self.names(VolumeKind::List).pop().expect("a list")
    }

    /// The newest list but for one.
    pub fn newest_list_but(&self, other: &str) -> String {
        let mut lists = self.names(VolumeKind::List);
        lists.retain(|name| name != other);
        lists.pop().expect("a list")
    }

    /// Kinds put since the journal was cleared, failed ones included, in order.
    pub fn puts(&self) -> Vec<VolumeKind> {
        self.journal
            .names(Operation::Put)
            .iter()
            .filter_map(|name| VolumeName::parse(name, false))
            .map(|name| name.kind())
            .collect()
    }

    /// Kinds fetched since the journal was cleared, in order.
    pub fn gets(&self) -> Vec<VolumeKind> {
        self.journal
            .names(Operation::Get)
            .iter()
            .filter_map(|name| VolumeName::parse(name, false))
            .map(|name| name.kind())
            .collect()
    }

    /// No block was stored twice. Only for unencrypted sets.
    pub fn check_nothing_twice(&self, when: &str) {
        let mut seen = std::collections::HashMap::new();
        for (name, content) in self.store.files() {
            let parsed = VolumeName::parse(&name, false);
            if parsed.is_none_or(|parsed| parsed.kind() != VolumeKind::Blocks) {
                continue;
            }
            for entry in open(&name, &content).entries() {
                if let Some(hash) = parse_block_entry(&entry.name)
                    && let Some(other) = seen.insert((hash, entry.size), name.clone())
                {
                    panic!("{when}: block {hash} is in {other} and in {name}");
                }
            }
        }
    }

    /// Every data file is described by exactly one index, whole and with the right hash; nothing is described that is
    /// not there; nothing else lies around. Only for unencrypted sets.
    pub fn check_set(&self, when: &str) {
        let files = self.store.files();
        let mut described: Vec<(String, Vec<(Hash, u64)>)> = Vec::new();
        for (name, content) in &files {
            let parsed = VolumeName::parse(name, false)
                .unwrap_or_else(|| panic!("{when}: {name} is no volume"));
            if parsed.kind() != VolumeKind::Index {
                continue;
            }
            let archive = open(name, content);
            for entry in archive.entries() {
                let Some(about) = entry.name.strip_prefix("vol/") else {
                    continue;
                };
                let bytes = archive.read(entry, 1 << 30).expect("an index entry");
                let volume = parse_block_volume(about, &bytes).expect("an index entry");
                let data = files.get(about);
                let data =
                    data.unwrap_or_else(|| panic!("{when}: {name} describes missing {about}"));
                assert_eq!(volume.size, Some(data.len() as u64), "{when}: {name}");
                let hash = larder_volume::HashAlgorithm::Sha256.digest(data);
                assert_eq!(volume.hash, Some(hash), "{when}: {name}");
                described.push((about.to_owned(), volume.blocks.iter().collect::<Vec<_>>()));
            }
        }
        for (name, content) in &files {
            let parsed = VolumeName::parse(name, false);
            if parsed.is_none_or(|parsed| parsed.kind() != VolumeKind::Blocks) {
                continue;
            }
            let archive = open(name, content);
            let mut held: Vec<(Hash, u64)> = archive
                .entries()
                .filter_map(|entry| Some((parse_block_entry(&entry.name)?, entry.size)))
                .collect();
            held.sort_unstable();
            let mut about = described.iter().filter(|(about, _)| about == name);
            let mut listed = match (about.next(), about.next()) {
                (Some((_, blocks)), None) => blocks.clone(),
                (None, _) => panic!("{when}: no index describes {name}"),
                (Some(_), Some(_)) => panic!("{when}: two indexes describe {name}"),
            };
            listed.sort_unstable();
            assert_eq!(held, listed, "{when}: the index of {name}");
        }
    }
}

fn open(name: &str, content: &[u8]) -> ArchiveReader<Vec<u8>> {
    match ArchiveReader::open(content.to_vec(), Compression::Zip) {
        Ok(archive) => archive,
        Err(error) => panic!("{name}: {error}"),
    }
}

/// Lets time pass.
pub fn later(rig: &Rig, seconds: u64) {
    let now = u64::try_from(rig.clock.seconds()).expect("a time after 1970");
    rig.clock.set(now + seconds);
}

/// Copies the files of a folder.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for item in std::fs::read_dir(from).expect("a readable folder") {
        let item = item.expect("an entry");
        std::fs::copy(item.path(), to.join(item.file_name())).expect("a copy");
    }
}

/// An error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// One runtime for the remote calls of all tests.
pub fn runtime() -> tokio::runtime::Handle {
    static RUNTIME: std::sync::LazyLock<tokio::runtime::Runtime> =
        std::sync::LazyLock::new(|| larder_engine::network_runtime().expect("threads"));
    RUNTIME.handle().clone()
}
