//! Fixture sets and engines for the tests of this folder.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use larder_destination::Destination;
use larder_engine::{
    Cancel, Clock, Event, FixedClock, Monitor, Repository, Result, Run, Setup, SystemRandom,
};
use larder_options::{Origin, Secret, Values};
use larder_testkit::MemoryDestination;
use larder_testkit::tree::Manifest;
use serde_json::Value;
use tempfile::TempDir;

/// A backup set made by Duplicati (fixtures/README.md).
pub struct Fixture {
    /// Name of its folder.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
    /// The options it was made with, without the passphrase.
    pub options: Vec<String>,
    /// Its passphrase.
    pub passphrase: Option<String>,
    /// Where the source stood, with the separator at the end.
    pub root: Vec<u8>,
    /// Versions that remain, oldest first: the source tree where it is known. The list of an interrupted run is none
    /// of the trees.
    pub versions: Vec<Option<Manifest>>,
}

/// How far apart the calls are that a sweep meets: all of them with `LARDER_SWEEPS=whole`. Sweeps of several rounds take another
/// `round` each, so that they meet others.
pub fn swept(first: u64, every: u64, round: u64) -> impl Iterator<Item = u64> {
    let every = match std::env::var("LARDER_SWEEPS").is_ok_and(|asked| asked == "whole") {
        true => 1,
        false => every,
    };
    std::iter::successors(Some(first + round % every), move |n| Some(n + every))
}

/// Folders of `fixtures` that are no backup sets.
const OTHER_FIXTURES: [&str; 3] = ["job-exports", "vectors", "volumes"];

/// All sets, in the order of their names. A folder that is neither a set nor known as something else is a failure,
/// so that none is forgotten.
pub fn fixtures() -> Vec<Fixture> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let folders = [
        Some(own),
        std::env::var_os("LARDER_FIXTURES").map(PathBuf::from),
    ];
    let mut sets: Vec<Fixture> = Vec::new();
    for folder in folders.into_iter().flatten() {
        for entry in std::fs::read_dir(&folder).expect("the folder of fixtures") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            if path.is_file()
                || OTHER_FIXTURES.contains(&&*name)
                || sets.iter().any(|set| set.name == name)
            {
                continue;
            }
            sets.push(Fixture::open(&path));
        }
    }
    sets.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(sets.len() >= 10, "only {} fixtures", sets.len());
    sets
}

/// The set of one name.
pub fn fixture(name: &str) -> Fixture {
    let mut sets = fixtures();
    sets.retain(|set| set.name == name);
    sets.pop().expect("a fixture of this name")
}

impl Fixture {
    fn open(folder: &Path) -> Self {
        let text = std::fs::read(folder.join("fixture.json"))
            .unwrap_or_else(|e| panic!("{} is no backup set: {e}", folder.display()));
        let facts: Value = serde_json::from_slice(&text).expect("fixture.json");
        let mut trees = Vec::new();
        while let Ok(tree) = Manifest::read_fixture(&folder.join(format!("v{}.jsonl", trees.len())))
        {
            trees.push(Some(tree));
        }
        let kept = usize::try_from(facts["kept"].as_u64().expect("kept")).expect("a small number");
        if let Some(made) = facts["versions"].as_u64() {
            assert_eq!(made, trees.len() as u64, "{}", folder.display());
            trees.drain(..trees.len() - kept);
        } else {
            // The list of the killed run stands between the oldest and the newest.
            trees.insert(1, None);
        }
        assert_eq!(trees.len(), kept, "{}", folder.display());
        let options = facts["options"].as_array().expect("options");
        Self {
            name: folder
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned(),
            folder: folder.to_owned(),
            options: options
                .iter()
                .map(|o| o.as_str().expect("an option").to_owned())
                .filter(|o| !o.starts_with("--passphrase="))
                // Larder's smallest volume.
                .map(
                    |o| match o.starts_with("--dblock-size=") && o.ends_with("kb") {
                        true => "--dblock-size=1mb".to_owned(),
                        false => o,
                    },
                )
                .collect(),
            passphrase: facts["passphrase"].as_str().map(str::to_owned),
            root: facts["root"].as_str().expect("root").as_bytes().to_vec(),
            versions: trees,
        }
    }

    /// A copy of its remote side.
    pub fn destination(&self) -> MemoryDestination {
        load(&self.folder.join("dst"))
    }

    /// A user of this set with its options and further ones.
    pub fn user(&self, destination: &MemoryDestination, more: &[&str]) -> User {
        let mut user = User::new(destination.shared(), self.passphrase.as_deref());
        let own = self.options.iter().map(String::as_str);
        user.options = own.chain(more.iter().copied()).map(str::to_owned).collect();
        user
    }

    /// True when the set was made with this option.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|o| o == option)
    }
}

/// A folder's files as a destination.
pub fn load(folder: &Path) -> MemoryDestination {
    let destination = MemoryDestination::new();
    for entry in std::fs::read_dir(folder).expect("a folder of volumes") {
        let entry = entry.expect("an entry");
        let content = std::fs::read(entry.path()).expect("a volume");
        destination.insert(&entry.file_name().to_string_lossy(), content);
    }
    destination
}

/// Somebody with a destination, a passphrase, options and local state; opens an engine for each command.
pub struct User {
    /// Where the volumes are.
    pub destination: Arc<dyn Destination>,
    /// The passphrase, when there is one.
    pub passphrase: Option<String>,
    /// `--name` or `--name=value`.
    pub options: Vec<String>,
    /// Local state.
    pub state: TempDir,
    /// The time.
    pub clock: Arc<FixedClock>,
    /// Everything that was said.
    pub log: Log,
}

impl User {
    /// A user without local state. It is January 2027.
    pub fn new(destination: Arc<dyn Destination>, passphrase: Option<&str>) -> Self {
        Self {
            destination,
            passphrase: passphrase.map(str::to_owned),
            options: Vec::new(),
            state: tempfile::tempdir().expect("a temporary folder"),
            clock: Arc::new(FixedClock::new(1_800_000_000)),
            log: Log::default(),
        }
    }

    /// Runs one command as a new process would, with further options.
    ///
    /// # Errors
    /// Those of opening, of the command and of closing.
    pub fn run<R>(&self, more: &[&str], work: impl FnOnce(&Run) -> Result<R>) -> Result<R> {
        let mut values = Values::new();
        for option in self
            .options
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
        {
            let option = option.strip_prefix("--").expect("an option");
            let (name, value) = option
                .split_once('=')
                .map_or((option, None), |(name, value)| (name, Some(value)));
            values.set(name, value, Origin::CommandLine);
        }
        let engine = Repository::open(Setup {
            destination: self.destination.clone(),
            values,
            passphrase: self.passphrase.as_deref().map(Secret::new),
            state_path: self.state.path().join("catalog.sqlite"),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            random: Arc::new(SystemRandom),
            writes: true,
            runtime: crate::rig::runtime(),
            foreign_database: None,
        })?
        .run(Arc::new(self.log.clone()), Cancel::new())?;
        let result = work(&engine)?;
        engine.repository().close()?;
        Ok(result)
    }
}

/// Collects all messages.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// All messages so far, one a line.
    pub fn text(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .join("\n")
    }
}

impl Monitor for Log {
    fn event(&self, event: &Event) {
        let Event::Message(message) = event else {
            return;
        };
        let line = format!("{:?} {}: {}", message.level, message.id, message.text);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }
}

/// True when owners can be given away; metadata is only then exactly what root's backup recorded.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
