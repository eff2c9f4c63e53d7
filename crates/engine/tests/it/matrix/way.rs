//! The way to a destination: one thing goes wrong on it, and the destination has one habit.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use larder_destination::{
    About, Body, Destination, Download, Error, ErrorKind, Existing, Operation, RemoteFile, Result,
};
use larder_engine::Cancel;
use larder_testkit::MemoryDestination;

use super::log::{self, Mark};
use crate::rig::{Rig, copy_folder};

/// What goes wrong at one call of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It fails and has done nothing.
    FailsBefore,
    /// It fails although it was done.
    FailsAfter,
    /// It breaks off in the middle.
    BreaksOff,
    /// No answer comes in time; what was asked is never done, is done, or is done some calls later.
    TimesOut,
    /// All calls fail from there on.
    Outage,
    /// The process dies before the call arrives.
    KilledBefore,
    /// The process dies when it is done, and nobody hears of it.
    KilledAfter,
    /// The process dies after one of the commits of the catalog since the call before, or in the middle of the next one.
    KilledAtCommit,
    /// The user stops the run.
    Stopped,
}

impl Fault {
    pub const ALL: [Self; 9] = [
        Self::FailsBefore,
        Self::FailsAfter,
        Self::BreaksOff,
        Self::TimesOut,
        Self::Outage,
        Self::KilledBefore,
        Self::KilledAfter,
        Self::KilledAtCommit,
        Self::Stopped,
    ];

    /// The process is gone then.
    pub fn is_kill(self) -> bool {
        matches!(
            self,
            Self::KilledBefore | Self::KilledAfter | Self::KilledAtCommit
        )
    }
}

/// What a destination does at all times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Habit {
    /// Nothing special.
    Right,
    /// Listings show each change one call late, and the destination says so.
    Late,
    /// One listing is of some time ago, of which the destination says nothing.
    Stale,
    /// Listings show names twice, some of data and index files with two sizes.
    Twice,
    /// A put that fails leaves half a file.
    Half,
    /// Listings show no sizes.
    Unsized,
    /// Listings show all names twice with two sizes. Not in the matrix: two lists of one name are for the user to decide.
    AllTwice,
}

impl Habit {
    pub const ALL: [Self; 6] = [
        Self::Right,
        Self::Late,
        Self::Stale,
        Self::Twice,
        Self::Half,
        Self::Unsized,
    ];
}

/// Names and sizes at one moment.
pub type Listing = BTreeMap<String, u64>;

/// Names and sizes as they are.
pub fn listing_of(store: &MemoryDestination) -> Listing {
    let files = store.files().into_iter();
    files
        .map(|(name, content)| (name, content.len() as u64))
        .collect()
}

/// What outlives a run: what there was when, and requests that are still on their way.
#[derive(Debug, Default)]
pub struct World {
    past: Vec<Listing>,
    /// Calls until a request arrives, and what it asks for: to store bytes, or to remove.
    on_their_way: Vec<(u64, String, Option<Bytes>)>,
    /// Listings until the stale one, and how many calls it is old.
    stale: Option<(u64, usize)>,
}

impl World {
    /// With what there was some time ago and what there is; `pick` says which listing is stale.
    pub fn new(habit: Habit, earlier: &Listing, rig: &Rig, pick: u64) -> Arc<Mutex<Self>> {
        let stale = (habit == Habit::Stale).then_some((pick % 5, 2 + (pick / 5 % 10) as usize));
        Arc::new(Mutex::new(Self {
            past: vec![earlier.clone(), listing_of(&rig.store)],
            on_their_way: Vec::new(),
            stale,
        }))
    }

    /// Whether the stale listing is still to come.
    pub fn will_be_stale(&self) -> bool {
        self.stale.is_some()
    }

    /// Everything that is still on its way arrives.
    pub fn arrive(&mut self, store: &MemoryDestination) {
        for (_, name, content) in self.on_their_way.drain(..) {
            arrive(store, &name, content);
        }
    }
}

fn arrive(store: &MemoryDestination, name: &str, content: Option<Bytes>) {
    match content {
        Some(content) => store.insert(name, content),
        None => drop(store.remove(name)),
    }
}

/// A fault at a call, counted from 1.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    pub fault: Fault,
    pub at: u64,
    /// Decides what the fault leaves open.
    pub pick: u64,
}

impl Planned {
    /// Whether one more attempt gets through.
    pub fn is_passing(&self) -> bool {
        match self.fault {
            Fault::FailsBefore => !matches!(self.pick % 6, 1 | 3 | 4),
            Fault::FailsAfter | Fault::BreaksOff | Fault::TimesOut => true,
            Fault::Outage
            | Fault::KilledBefore
            | Fault::KilledAfter
            | Fault::KilledAtCommit
            | Fault::Stopped => false,
        }
    }
}

/// The way to the destination of a rig for one run.
pub struct Way {
    inner: MemoryDestination,
    about: About,
    habit: Habit,
    planned: Option<Planned>,
    catalog: PathBuf,
    saved: PathBuf,
    world: Arc<Mutex<World>>,
    own: Mutex<Own>,
}

#[derive(Default)]
struct Own {
    calls: u64,
    cancel: Cancel,
    mark: Mark,
    left: Option<MemoryDestination>,
}

/// What becomes of one call.
enum Turn {
    Go,
    Fail(Error),
    /// Half of it, where it has halves.
    Cut(Error),
    /// It is done, and then this is said.
    Done(Error),
    /// It arrives so many calls later.
    Later(u64, Error),
    Die(Error),
    DoneAndDie(Error),
    /// The run is stopped while it is on its way; true when it is done all the same.
    Stop(bool),
}

impl Way {
    pub fn new(
        rig: &Rig,
        habit: Habit,
        planned: Option<Planned>,
        world: &Arc<Mutex<World>>,
    ) -> Arc<Self> {
        let mut about = rig.store.about().clone();
        about.abilities.consistent_list = habit != Habit::Late;
        about.abilities.unique_names = !matches!(habit, Habit::Twice | Habit::AllTwice);
        about.abilities.atomic_put = habit != Habit::Half;
        let own = Own {
            mark: log::mark(rig.state()),
            ..Own::default()
        };
        Arc::new(Self {
            inner: rig.store.clone(),
            about,
            habit,
            planned,
            catalog: rig.state().to_owned(),
            saved: rig.fast.path().join("saved"),
            world: Arc::clone(world),
            own: Mutex::new(own),
        })
    }

    /// The token that a stop sets.
    pub fn set_cancel(&self, cancel: Cancel) {
        self.own().cancel = cancel;
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.own().calls
    }

    /// The process ends now unless it has ended before: what is left of destination and state.
    pub fn end(&self) -> (MemoryDestination, PathBuf) {
        let mut own = self.own();
        if own.left.is_none() {
            let folder = self.catalog.parent().expect("a folder");
            copy_folder(folder, &self.saved);
            own.left = Some(self.inner.snapshot());
            if let Some(planned) = self.planned
                && planned.fault == Fault::KilledAtCommit
            {
                let file = self.catalog.file_name().expect("a name");
                log::cut(&self.saved.join(file), own.mark, planned.pick);
            }
        }
        (own.left.clone().expect("just set"), self.saved.clone())
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().expect("no panic in here")
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no panic in here")
    }

    async fn turn(&self, operation: Operation) -> Turn {
        let turn = self.decide(operation);
        if let Some(Planned {
            fault: Fault::TimesOut,
            at,
            ..
        }) = self.planned
            && at == self.calls()
        {
            tokio::time::sleep(LONGEST_ANSWER).await;
        }
        turn
    }

    fn decide(&self, operation: Operation) -> Turn {
        let error =
            |kind, what: &str| Error::new(kind, self.about.scheme, operation, what.to_owned());
        let gone = || error(ErrorKind::Cancelled, "the end");
        let mut own = self.own();
        own.calls += 1;
        if own.left.is_some() {
            return Turn::Fail(gone());
        }
        let mut world = self.world();
        let due: Vec<_> = world
            .on_their_way
            .extract_if(.., |(calls, ..)| {
                *calls -= 1;
                *calls == 0
            })
            .collect();
        for (_, name, content) in due {
            arrive(&self.inner, &name, content);
        }
        world.past.push(listing_of(&self.inner));
        drop(world);
        let planned = self.planned.filter(|planned| {
            planned.at == own.calls || (planned.fault == Fault::Outage && planned.at <= own.calls)
        });
        let Some(Planned { fault, pick, .. }) = planned else {
            own.mark = log::mark(&self.catalog);
            return Turn::Go;
        };
        let kind = refusal(pick, operation);
        let broken = || error(ErrorKind::Network, "the connection is gone");
        match fault {
            Fault::FailsBefore => Turn::Fail(error(kind, "it failed")),
            Fault::FailsAfter => Turn::Done(broken()),
            Fault::BreaksOff => Turn::Cut(broken()),
            Fault::Outage => Turn::Fail(broken()),
            Fault::TimesOut => {
                let error = error(ErrorKind::Network, "no answer came in time");
                match pick % 3 {
                    0 => Turn::Fail(error),
                    1 => Turn::Done(error),
                    _ => Turn::Later(1 + pick / 3 % 8, error),
                }
            }
            Fault::KilledBefore | Fault::KilledAtCommit => Turn::Die(gone()),
            Fault::KilledAfter => Turn::DoneAndDie(gone()),
            Fault::Stopped => {
                own.cancel.cancel();
                match pick % 3 {
                    0 => Turn::Go,
                    other => Turn::Stop(other == 1),
                }
            }
        }
    }

    fn die(&self, error: Error) -> Error {
        self.end();
        error
    }

    /// What a listing shows now.
    fn shown(&self) -> Vec<Result<RemoteFile>> {
        let mut world = self.world();
        let mut age = match self.habit {
            Habit::Late => 1,
            _ => 0,
        };
        if let Some((left, old)) = world.stale {
            world.stale = left.checked_sub(1).map(|left| (left, old));
            if left == 0 {
                age = old;
            }
        }
        let last = world.past.len() - 1;
        let shown = &world.past[last.saturating_sub(age)];
        let file = |name: &String, size: u64, modified| RemoteFile {
            name: name.clone(),
            size: Some(size).filter(|_| self.habit != Habit::Unsized),
            modified: Some(modified),
            is_folder: false,
            is_archived: false,
        };
        let mut files = Vec::new();
        for (name, size) in shown {
            files.push(Ok(file(name, *size, MODIFIED)));
            let is_twice = matches!(self.habit, Habit::Twice | Habit::AllTwice);
            if is_twice {
                let is_some = name.bytes().map(u64::from).sum::<u64>() % 3 == 0;
                let other = self.habit == Habit::AllTwice || (is_some && !name.contains("dlist"));
                files.push(Ok(file(name, size + u64::from(other), MODIFIED - 10)));
            }
        }
        files
    }

    /// A put that failed: what is left of it.
    fn leave_half(&self, name: &str, content: &Bytes) {
        // Who died before the call was never heard of.
        let was_sent = (self.planned).is_none_or(|planned| planned.fault != Fault::KilledAtCommit);
        if self.habit == Habit::Half && was_sent && !self.inner.files().contains_key(name) {
            self.inner.insert(name, content.slice(..content.len() / 2));
        }
    }
}

#[async_trait]
impl Destination for Way {
    fn about(&self) -> &About {
        &self.about
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        let begun = async move {
            let turn = self.turn(Operation::List).await;
            let files = self.shown();
            let half = files.len() / 2;
            match turn {
                Turn::Go => files,
                Turn::Fail(error) => vec![Err(error)],
                Turn::Die(error) | Turn::DoneAndDie(error) => vec![Err(self.die(error))],
                Turn::Cut(error) => files.into_iter().take(half).chain([Err(error)]).collect(),
                Turn::Done(error) | Turn::Later(_, error) => {
                    files.into_iter().chain([Err(error)]).collect()
                }
                Turn::Stop(_) => {
                    tokio::task::yield_now().await;
                    files
                }
            }
        };
        stream::once(begun).flat_map(stream::iter).boxed()
    }

    async fn get(&self, name: &str) -> Result<Download> {
        let then = match self.turn(Operation::Get).await {
            Turn::Go => None,
            Turn::Fail(error) => return Err(error),
            Turn::Die(error) | Turn::DoneAndDie(error) => return Err(self.die(error)),
            Turn::Cut(error) => Some((2, error)),
            Turn::Done(error) | Turn::Later(_, error) => Some((1, error)),
            Turn::Stop(_) => {
                tokio::task::yield_now().await;
                None
            }
        };
        let download = self.inner.get(name).await?;
        let Some((part, error)) = then else {
            return Ok(download);
        };
        let content = self.inner.files().remove(name).unwrap_or_default();
        let sent = content.slice(..content.len() / part);
        Ok(Download {
            len: download.len,
            stream: stream::iter([Ok(sent), Err(error)]).boxed(),
        })
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        let content = body
            .as_bytes()
            .expect("small volumes are in memory")
            .clone();
        match self.turn(Operation::Put).await {
            Turn::Go => self.inner.put(name, body, existing).await,
            Turn::Fail(error) | Turn::Cut(error) => {
                self.leave_half(name, &content);
                Err(error)
            }
            Turn::Die(error) => {
                self.leave_half(name, &content);
                Err(self.die(error))
            }
            Turn::Done(error) => {
                self.inner.put(name, body, existing).await?;
                Err(error)
            }
            Turn::DoneAndDie(error) => {
                self.inner.put(name, body, existing).await?;
                Err(self.die(error))
            }
            Turn::Later(calls, error) => {
                if !self.inner.files().contains_key(name) {
                    self.leave_half(name, &content);
                    let way = &mut self.world().on_their_way;
                    way.push((calls, name.to_owned(), Some(content)));
                }
                Err(error)
            }
            Turn::Stop(is_done) => {
                match is_done {
                    true => self.inner.put(name, body, existing).await?,
                    false => self.leave_half(name, &content),
                }
                // The run leaves here.
                tokio::task::yield_now().await;
                Err(Error::new(
                    ErrorKind::Cancelled,
                    self.about.scheme,
                    Operation::Put,
                    "stopped",
                ))
            }
        }
    }

    async fn delete(&self, name: &str) -> Result<()> {
        match self.turn(Operation::Delete).await {
            Turn::Go => self.inner.delete(name).await,
            Turn::Fail(error) | Turn::Cut(error) => Err(error),
            Turn::Die(error) => Err(self.die(error)),
            Turn::Done(error) => {
                self.inner.delete(name).await?;
                Err(error)
            }
            Turn::DoneAndDie(error) => {
                self.inner.delete(name).await?;
                Err(self.die(error))
            }
            Turn::Later(calls, error) => {
                let way = &mut self.world().on_their_way;
                way.push((calls, name.to_owned(), None));
                Err(error)
            }
            Turn::Stop(is_done) => {
                if is_done {
                    self.inner.delete(name).await?;
                }
                tokio::task::yield_now().await;
                Ok(())
            }
        }
    }

    async fn create_folder(&self) -> Result<()> {
        self.turn(Operation::CreateFolder).await;
        self.inner.create_folder().await
    }
}

/// The kind of a failure without effect.
fn refusal(pick: u64, operation: Operation) -> ErrorKind {
    match (pick % 6, operation) {
        (0, _) => ErrorKind::Busy(None),
        (1, Operation::Put) => ErrorKind::Quota,
        (2, _) => ErrorKind::Other,
        (3, _) => ErrorKind::FolderMissing,
        (4, _) => ErrorKind::Denied,
        _ => ErrorKind::Network,
    }
}

/// How long an answer is waited for; minutes in real life.
const LONGEST_ANSWER: Duration = Duration::from_millis(2);
/// Files are old enough to be removed when nobody uses them.
const MODIFIED: i64 = 1_700_000_000;
