//! The cases themselves: a good destination passes, each bad habit is found.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use larder_destination::wrap::{Failure, FaultPlan, Faults};
use larder_destination::{About, Download, Existing, Extra, FixedClock, Lock, Operation, Rename};

use super::*;
use crate::{Listing, MemoryDestination, MemoryOptions};

struct Memory(MemoryOptions, Arc<FixedClock>);

impl Memory {
    fn new(options: MemoryOptions) -> Self {
        Self(options, Arc::default())
    }
}

#[async_trait]
impl Folders for Memory {
    async fn empty(&self) -> Result<Arc<dyn Destination>, Error> {
        let clock = begun(&self.1);
        Ok(MemoryDestination::with_options(self.0)
            .with_clock(clock)
            .shared())
    }

    async fn missing(&self) -> Result<Arc<dyn Destination>, &'static str> {
        Ok(MemoryDestination::without_folder(self.0).shared())
    }

    async fn pass(&self, time: i64) {
        set_past(&self.1, time);
    }
}

/// A case begins: its locks hold until somebody lets time pass.
fn begun(clock: &Arc<FixedClock>) -> Arc<FixedClock> {
    clock.set(0);
    Arc::clone(clock)
}

fn set_past(clock: &FixedClock, time: i64) {
    clock.set(u64::try_from(time).unwrap_or(0) + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_destination_passes() {
    let plain = MemoryOptions::default();
    for options in [
        plain,
        MemoryOptions {
            page: 7,
            renames: false,
            capacity: Some(1 << 40),
            locks: true,
            ..plain
        },
        MemoryOptions {
            locks: true,
            ..plain
        },
        MemoryOptions {
            listing: Listing::Late(3),
            ..plain
        },
    ] {
        let summary = run(Arc::new(Memory::new(options)), &[]).await;
        assert!(summary.failed.is_empty(), "{summary}");
        assert_eq!(summary.passed.len() + summary.skipped.len(), cases().len());
        // It has no URLs, no folders in folders, no leftovers, and not always space, renames and the three of locks.
        let locks = if options.locks { 0 } else { 3 };
        assert!(
            summary.passed.len() >= cases().len() - 5 - locks,
            "{summary}"
        );
    }
}

/// A destination with one bad habit.
struct Bad {
    inner: MemoryDestination,
    habit: Habit,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Habit {
    /// Stores what came of a broken body.
    KeepsShortBodies,
    /// Answers a missing folder with an empty listing.
    EmptyForMissing,
    /// Forgets the second page.
    OnePage,
    /// Cuts names at a `%`.
    ManglesNames,
    /// Takes any name.
    TakesAnyName,
    /// Deletes by prefix.
    DeletesByPrefix,
    /// Replaces files that it must refuse to replace.
    ReplacesAll,
    /// Empties a file before it removes it.
    DeletesInTwoSteps,
    /// Hides a locked file behind a marker.
    HidesLocked,
    /// Lets a locked file be renamed.
    RenamesLocked,
    /// Takes the newest lock for the one that counts.
    ShortensLocks,
    /// Keeps files longer than it was asked to.
    KeepsForEver,
}

#[async_trait]
impl Destination for Bad {
    fn about(&self) -> &About {
        self.inner.about()
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile, Error>> {
        match self.habit {
            Habit::OnePage => self.inner.list().take(1000).boxed(),
            Habit::EmptyForMissing => self
                .inner
                .list()
                .flat_map(|item| {
                    let is_missing = item
                        .as_ref()
                        .is_err_and(|error| *error.kind() == ErrorKind::FolderMissing);
                    stream::iter((!is_missing).then_some(item))
                })
                .boxed(),
            _ => self.inner.list(),
        }
    }

    async fn get(&self, name: &str) -> Result<Download, Error> {
        match self.habit {
            Habit::TakesAnyName => self.inner.get(&name.replace('/', "_")).await,
            _ => self.inner.get(name).await,
        }
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<(), Error> {
        match self.habit {
            Habit::KeepsShortBodies => {
                let pieces: Vec<_> = body.stream().collect().await;
                let content: Vec<u8> = pieces.into_iter().flatten().flatten().collect();
                let result = self.inner.put(name, body, existing).await;
                self.inner.insert(name, content);
                result
            }
            Habit::ManglesNames => {
                self.inner
                    .put(&name.replace("%25", "%"), body, existing)
                    .await
            }
            Habit::TakesAnyName => {
                self.inner
                    .put(&name.replace('/', "_"), body, existing)
                    .await
            }
            Habit::ReplacesAll => self.inner.put(name, body, Existing::Replace).await,
            _ => self.inner.put(name, body, existing).await,
        }
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        if self.habit == Habit::DeletesByPrefix {
            for found in self.inner.names() {
                if found.starts_with(name) {
                    self.inner.delete(&found).await?;
                }
            }
            return Ok(());
        }
        if self.habit == Habit::HidesLocked {
            let _ = self.inner.set_lock(name, None);
        }
        if self.habit == Habit::DeletesInTwoSteps && self.inner.names().iter().any(|n| n == name) {
            self.inner.insert(name, Vec::new());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.inner.delete(name).await
    }

    async fn create_folder(&self) -> Result<(), Error> {
        self.inner.create_folder().await
    }

    fn extra(&self) -> Extra<'_> {
        Extra {
            rename: Some(self),
            lock: Some(self),
            ..self.inner.extra()
        }
    }
}

#[async_trait]
impl Rename for Bad {
    async fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        if self.habit == Habit::RenamesLocked {
            let _ = self.inner.set_lock(from, None);
        }
        let verb = self.inner.extra().rename.unwrap();
        verb.rename(from, to).await
    }
}

#[async_trait]
impl Lock for Bad {
    async fn lock(&self, name: &str, until: i64) -> Result<(), Error> {
        let until = match self.habit {
            Habit::KeepsForEver => i64::MAX,
            _ => until,
        };
        if self.habit == Habit::ShortensLocks && self.inner.set_lock(name, Some(until)) {
            return Ok(());
        }
        self.inner.extra().lock.unwrap().lock(name, until).await
    }

    async fn locked_until(&self, name: &str) -> Result<Option<i64>, Error> {
        self.inner.extra().lock.unwrap().locked_until(name).await
    }
}

struct BadSite(Habit, Arc<FixedClock>);

#[async_trait]
impl Folders for BadSite {
    async fn empty(&self) -> Result<Arc<dyn Destination>, Error> {
        let options = MemoryOptions {
            locks: true,
            ..MemoryOptions::default()
        };
        let clock = begun(&self.1);
        Ok(Arc::new(Bad {
            inner: MemoryDestination::with_options(options).with_clock(clock),
            habit: self.0,
        }))
    }

    async fn missing(&self) -> Result<Arc<dyn Destination>, &'static str> {
        let options = MemoryOptions {
            locks: true,
            ..MemoryOptions::default()
        };
        let inner = MemoryDestination::without_folder(options);
        Ok(Arc::new(Bad {
            inner,
            habit: self.0,
        }))
    }

    async fn pass(&self, time: i64) {
        set_past(&self.1, time);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_habits_are_found() {
    for (habit, case) in [
        (
            Habit::KeepsShortBodies,
            "stores nothing of a body that breaks off",
        ),
        (
            Habit::EmptyForMissing,
            "tells a missing folder from missing files",
        ),
        (Habit::OnePage, "lists many files exactly once"),
        (Habit::ManglesNames, "keeps unusual names, or refuses them"),
        (Habit::ReplacesAll, "refuses a name that is taken"),
        (
            Habit::ReplacesAll,
            "gives a name that must be new to one of many",
        ),
        (
            Habit::TakesAnyName,
            "refuses names that lead out of the folder",
        ),
        (
            Habit::DeletesInTwoSteps,
            "survives deletes and folders that are given up",
        ),
        (
            Habit::DeletesByPrefix,
            "does not lose other files when deleting what is not there",
        ),
        (Habit::HidesLocked, "keeps a locked file"),
        (Habit::RenamesLocked, "keeps a locked file"),
        (Habit::ShortensLocks, "never makes a lock shorter"),
        (Habit::KeepsForEver, "lets a file go whose lock is over"),
    ] {
        let found = cases()
            .into_iter()
            .find(|found| found.name == case)
            .unwrap();
        let mut summary = Summary::default();
        run_case(
            found,
            Arc::new(BadSite(habit, Arc::default())),
            &mut summary,
        )
        .await;
        assert_eq!(
            summary.failed.len(),
            1,
            "{habit:?} was not noticed by: {case}"
        );
    }
}

struct FaultySite(FaultPlan);

#[async_trait]
impl Folders for FaultySite {
    async fn empty(&self) -> Result<Arc<dyn Destination>, Error> {
        Ok(Arc::new(Faults::new(
            MemoryDestination::new().shared(),
            self.0.clone(),
        )))
    }

    async fn missing(&self) -> Result<Arc<dyn Destination>, &'static str> {
        Err("it has no missing folders")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_are_found_and_reasons_are_kept() {
    let plan = FaultPlan::new();
    for _ in 0..100 {
        plan.push(Operation::Get, Failure::Flip(0));
    }
    let skips = [
        ("deletes", "a reason that is long enough"),
        ("renames", "too short"),
        ("dances", "a reason that is long enough"),
    ];
    let summary = run(Arc::new(FaultySite(plan)), &skips).await;
    assert!(
        summary
            .failed
            .iter()
            .any(|(name, _)| *name == "returns what was put, from memory"),
        "{summary}"
    );
    for (name, outcome) in [
        ("creates a folder", "left out"),
        ("deletes", "left out"),
        ("dances", "FAILED"),
    ] {
        assert_eq!(summary.outcome(name), outcome, "{name}: {summary}");
    }
    assert!(
        summary
            .failed
            .iter()
            .any(|(name, message)| name == "renames" && message.contains("no reason")),
        "{summary}"
    );
}

/// What a killed upload leaves must not be taken for a volume, whatever prefix a backup has.
#[test]
fn temporary_names_are_no_volumes() {
    use larder_destination::TEMPORARY_PREFIX;
    use larder_volume::VolumeName;

    let is_volume = |name: &str| {
        VolumeName::parse(name, false).is_some() || VolumeName::parse(name, true).is_some()
    };
    for number in [0, 1, 0xb012_3456_789a_bcde, u64::MAX] {
        let name = format!("{TEMPORARY_PREFIX}{number:016x}");
        assert!(!is_volume(&name), "{name}");
        // Duplicati looks for a prefix, a minus and the rest anywhere in the name.
        assert!(!name.contains('-'), "{name}");
    }
    assert!(is_volume(
        "duplicati-i0123456789abcdef0123456789abcdef.dindex.zip.aes.6702b28a.part"
    ));
}
