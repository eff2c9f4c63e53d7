//! A destination in memory, with the habits of remote ones.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use larder_destination::{
    Abilities, About, Body, Capacity, Clock, Destination, Download, Error, ErrorKind, Existing,
    Extra, Lock, Operation, RemoteFile, Rename, Result, Space, SystemClock,
};

/// How soon changes show in listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// At once.
    Current,
    /// After so many further calls, as with services that answer from replicas.
    Late(u64),
}

/// The habits of a [`MemoryDestination`].
#[derive(Clone, Copy, Debug)]
pub struct MemoryOptions {
    /// Entries in one page of a listing.
    pub page: usize,
    /// Pause before each answer, and before each page of a listing.
    pub latency: Duration,
    /// How soon changes show in listings.
    pub listing: Listing,
    /// Bytes that fit in; `None` for no limit.
    pub capacity: Option<u64>,
    /// Whether files can be renamed.
    pub renames: bool,
    /// Whether files can be locked.
    pub locks: bool,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            page: 1000,
            latency: Duration::ZERO,
            listing: Listing::Current,
            capacity: None,
            renames: true,
            locks: false,
        }
    }
}

/// A destination in memory; clones share the same files.
#[derive(Clone)]
pub struct MemoryDestination {
    state: Arc<Mutex<State>>,
    options: MemoryOptions,
    about: About,
    /// By which locks end.
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for MemoryDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDestination")
            .field("state", &self.state)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    has_folder: bool,
    files: BTreeMap<String, File>,
    /// What listings show.
    listed: BTreeMap<String, File>,
    /// Changes that listings do not show yet, with the number of the call from which they do.
    late: VecDeque<(u64, String, Option<File>)>,
    calls: u64,
    /// Names that listings leave out.
    hidden: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct File {
    content: Bytes,
    modified: i64,
    locked_until: Option<i64>,
}

impl Default for MemoryDestination {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryDestination {
    /// An existing empty folder without bad habits.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(MemoryOptions::default())
    }

    /// An existing empty folder.
    #[must_use]
    pub fn with_options(options: MemoryOptions) -> Self {
        let destination = Self::without_folder(options);
        destination.with(|state| state.has_folder = true);
        destination
    }

    /// A folder that has to be created first.
    #[must_use]
    pub fn without_folder(options: MemoryOptions) -> Self {
        let abilities = Abilities {
            atomic_put: true,
            exclusive_put: true,
            consistent_list: options.listing == Listing::Current,
            unique_names: true,
            checksummed_put: false,
        };
        Self {
            state: Arc::default(),
            options,
            about: About::new(SCHEME, "memory://").with_abilities(abilities),
            clock: Arc::new(SystemClock),
        }
    }

    /// With another clock than the system's, by which its locks end.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// This destination as the engine takes it.
    #[must_use]
    pub fn shared(&self) -> Arc<dyn Destination> {
        Arc::new(self.clone())
    }

    /// All files with their content; cheap, the bytes are shared.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Bytes> {
        self.with(|state| {
            state
                .files
                .iter()
                .map(|(name, file)| (name.clone(), file.content.clone()))
                .collect()
        })
    }

    /// The names of all files in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.with(|state| state.files.keys().cloned().collect())
    }

    /// Bytes in all files.
    #[must_use]
    pub fn total_len(&self) -> u64 {
        self.with(|state| state.used())
    }

    /// Puts a file there behind the back of whoever uses the destination; shown in listings at once.
    pub fn insert(&self, name: &str, content: impl Into<Bytes>) {
        let content = content.into();
        self.with(|state| {
            let file = File::new(content, state.modified());
            state.files.insert(name.to_owned(), file.clone());
            state.listed.insert(name.to_owned(), file);
        });
    }

    /// Takes a file away behind the back of whoever uses the destination; its content.
    #[must_use = "a name that was not there is a mistake in the test"]
    pub fn remove(&self, name: &str) -> Option<Bytes> {
        self.with(|state| {
            state.listed.remove(name);
            state.files.remove(name).map(|file| file.content)
        })
    }

    /// Until when files are locked, those that never were left out.
    #[must_use]
    pub fn locks(&self) -> BTreeMap<String, i64> {
        self.with(|state| {
            let files = state.files.iter();
            files
                .filter_map(|(name, file)| Some((name.clone(), file.locked_until?)))
                .collect()
        })
    }

    /// Locks a file, or takes its lock away, whatever lock it has; false without the file.
    #[must_use = "a name that was not there is a mistake in the test"]
    pub fn set_lock(&self, name: &str, until: Option<i64>) -> bool {
        self.with(|state| match state.files.get_mut(name) {
            Some(file) => {
                file.locked_until = until;
                true
            }
            None => false,
        })
    }

    /// Lets listings leave these names out, and no others, as a service does that loses a page. They are there all the same.
    pub fn hide(&self, names: impl IntoIterator<Item = String>) {
        let hidden = names.into_iter().collect();
        self.with(|state| state.hidden = hidden);
    }

    /// Flips the lowest bit of the byte at `offset`, counted around when the file is shorter; false without the file
    /// or for an empty one.
    #[must_use = "a name that was not there is a mistake in the test"]
    pub fn flip(&self, name: &str, offset: usize) -> bool {
        let Some(content) = self.files().remove(name) else {
            return false;
        };
        let mut content = content.to_vec();
        let Some(index) = offset.checked_rem(content.len()) else {
            return false;
        };
        if let Some(byte) = content.get_mut(index) {
            *byte ^= 1;
        }
        self.insert(name, content);
        true
    }

    /// Cuts a file to its first `len` bytes; false without the file.
    #[must_use = "a name that was not there is a mistake in the test"]
    pub fn truncate(&self, name: &str, len: usize) -> bool {
        let Some(mut content) = self.files().remove(name) else {
            return false;
        };
        content.truncate(len);
        self.insert(name, content);
        true
    }

    /// A copy of the present state that changes on its own from now on.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        let copy = Self::with_options(self.options).with_clock(Arc::clone(&self.clock));
        for (name, content) in self.files() {
            copy.insert(&name, content);
        }
        copy.with(|state| {
            for (name, until) in self.locks() {
                if let Some(file) = state.files.get_mut(&name) {
                    file.locked_until = Some(until);
                }
            }
        });
        copy
    }

    /// Counts a call, waits and refuses it when the folder is missing.
    async fn begin(&self, operation: Operation) -> Result<()> {
        if !self.options.latency.is_zero() {
            tokio::time::sleep(self.options.latency).await;
        }
        self.with(|state| {
            state.calls += 1;
            state.show_late();
            if state.has_folder || operation == Operation::CreateFolder {
                return Ok(());
            }
            Err(Error::new(
                ErrorKind::FolderMissing,
                SCHEME,
                operation,
                "the folder does not exist",
            ))
        })
    }

    /// One page of the listing after `last`, and the last name on it.
    async fn page(&self, last: Option<String>) -> Result<(Vec<RemoteFile>, Option<String>)> {
        self.begin(Operation::List).await?;
        Ok(self.with(|state| {
            let from = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut page: Vec<_> = state
                .listed
                .range::<String, _>((from, Bound::Unbounded))
                .take(self.options.page.max(1))
                .map(|(name, file)| RemoteFile {
                    name: name.clone(),
                    size: Some(file.content.len() as u64),
                    modified: Some(file.modified),
                    is_folder: false,
                    is_archived: false,
                })
                .collect();
            let last = page.last().map(|file| file.name.clone());
            page.retain(|file| !state.hidden.contains(&file.name));
            (page, last)
        }))
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Refuses to do anything to a file whose lock is not over.
    fn check_lock(&self, state: &State, operation: Operation, name: &str) -> Result<()> {
        let until = state.files.get(name).and_then(|file| file.locked_until);
        match until.filter(|until| *until > self.clock.seconds()) {
            Some(until) => Err(Error::new(
                ErrorKind::Locked,
                SCHEME,
                operation,
                format!("the file is locked until {until}"),
            )
            .object(name)),
            None => Ok(()),
        }
    }

    fn change(&self, state: &mut State, name: &str, file: Option<File>) {
        match &file {
            Some(file) => state.files.insert(name.to_owned(), file.clone()),
            None => state.files.remove(name),
        };
        let due = match self.options.listing {
            Listing::Current => state.calls,
            Listing::Late(calls) => state.calls + calls,
        };
        state.late.push_back((due, name.to_owned(), file));
        state.show_late();
    }
}

impl File {
    fn new(content: Bytes, modified: i64) -> Self {
        Self {
            content,
            modified,
            locked_until: None,
        }
    }
}

impl State {
    fn used(&self) -> u64 {
        self.files
            .values()
            .map(|file| file.content.len() as u64)
            .sum()
    }

    /// A time that goes on by one second with each call.
    fn modified(&self) -> i64 {
        1_700_000_000 + i64::try_from(self.calls).unwrap_or(0)
    }

    fn show_late(&mut self) {
        while self
            .late
            .front()
            .is_some_and(|(due, ..)| *due <= self.calls)
        {
            match self.late.pop_front() {
                Some((_, name, Some(file))) => self.listed.insert(name, file),
                Some((_, name, None)) => self.listed.remove(&name),
                None => return,
            };
        }
    }
}

#[async_trait]
impl Destination for MemoryDestination {
    fn about(&self) -> &About {
        &self.about
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        let pages = stream::try_unfold((None, false), move |(last, is_over)| async move {
            if is_over {
                return Ok(None);
            }
            let (page, last) = self.page(last).await?;
            let is_over = page.len() < self.options.page.max(1);
            Ok(Some((
                stream::iter(page.into_iter().map(Ok)),
                (last, is_over),
            )))
        });
        pages.try_flatten().boxed()
    }

    async fn get(&self, name: &str) -> Result<Download> {
        check(Operation::Get, name)?;
        self.begin(Operation::Get).await?;
        let content = self.with(|state| state.files.get(name).map(|file| file.content.clone()));
        let content = content.ok_or_else(|| not_found(Operation::Get, name))?;
        let len = content.len();
        let starts = (0..len).step_by(PIECE_BYTES);
        let pieces = starts.map(move |at| Ok(content.slice(at..len.min(at + PIECE_BYTES))));
        Ok(Download {
            len: Some(len as u64),
            stream: stream::iter(pieces).boxed(),
        })
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        check(Operation::Put, name)?;
        self.begin(Operation::Put).await?;
        let fail = |kind, message: String| {
            Err(Error::new(kind, SCHEME, Operation::Put, message).object(name))
        };
        let content: Bytes = match body.as_bytes() {
            Some(bytes) if !body.is_paced() => bytes.clone(),
            _ => match body.stream().try_collect::<Vec<Bytes>>().await {
                Ok(pieces) => pieces.concat().into(),
                Err(error) => return fail(ErrorKind::Other, error.to_string()),
            },
        };
        if content.len() as u64 != body.len() {
            return fail(
                ErrorKind::Other,
                format!("{} bytes came instead of {}", content.len(), body.len()),
            );
        }
        self.with(|state| {
            if existing == Existing::Refuse && state.files.contains_key(name) {
                return fail(
                    ErrorKind::Exists,
                    "a file of this name is there already".to_owned(),
                );
            }
            self.check_lock(state, Operation::Put, name)?;
            let replaced = state
                .files
                .get(name)
                .map_or(0, |file| file.content.len() as u64);
            let used = state.used() - replaced + content.len() as u64;
            if self
                .options
                .capacity
                .is_some_and(|capacity| used > capacity)
            {
                return fail(ErrorKind::Quota, "the destination is full".to_owned());
            }
            let file = File::new(content, state.modified());
            self.change(state, name, Some(file));
            Ok(())
        })
    }

    async fn delete(&self, name: &str) -> Result<()> {
        check(Operation::Delete, name)?;
        self.begin(Operation::Delete).await?;
        self.with(|state| {
            if !state.files.contains_key(name) {
                return Err(not_found(Operation::Delete, name));
            }
            self.check_lock(state, Operation::Delete, name)?;
            self.change(state, name, None);
            Ok(())
        })
    }

    async fn create_folder(&self) -> Result<()> {
        self.begin(Operation::CreateFolder).await?;
        self.with(|state| state.has_folder = true);
        Ok(())
    }
    fn extra(&self) -> Extra<'_> {
        Extra {
            space: self.options.capacity.map(|_| self as &dyn Space),
            rename: self.options.renames.then_some(self as &dyn Rename),
            leftovers: None,
            lock: self.options.locks.then_some(self as &dyn Lock),
        }
    }
}

#[async_trait]
impl Space for MemoryDestination {
    async fn space(&self) -> Result<Capacity> {
        self.begin(Operation::Space).await?;
        let total = self.options.capacity;
        let free = total.map(|total| total.saturating_sub(self.total_len()));
        Ok(Capacity { total, free })
    }
}

#[async_trait]
impl Rename for MemoryDestination {
    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        check(Operation::Rename, from)?;
        check(Operation::Rename, to)?;
        self.begin(Operation::Rename).await?;
        self.with(|state| {
            let file = state
                .files
                .get(from)
                .cloned()
                .ok_or_else(|| not_found(Operation::Rename, from))?;
            self.check_lock(state, Operation::Rename, from)?;
            self.check_lock(state, Operation::Rename, to)?;
            self.change(state, from, None);
            self.change(state, to, Some(file));
            Ok(())
        })
    }
}

#[async_trait]
impl Lock for MemoryDestination {
    async fn lock(&self, name: &str, until: i64) -> Result<()> {
        check(Operation::Lock, name)?;
        self.begin(Operation::Lock).await?;
        self.with(|state| {
            let file = state.files.get_mut(name);
            let file = file.ok_or_else(|| not_found(Operation::Lock, name))?;
            file.locked_until = file.locked_until.max(Some(until));
            Ok(())
        })
    }

    async fn locked_until(&self, name: &str) -> Result<Option<i64>> {
        check(Operation::LockedUntil, name)?;
        self.begin(Operation::LockedUntil).await?;
        self.with(|state| {
            let file = state.files.get(name);
            let file = file.ok_or_else(|| not_found(Operation::LockedUntil, name))?;
            Ok(file.locked_until)
        })
    }
}

fn not_found(operation: Operation, name: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        SCHEME,
        operation,
        "there is no such file",
    )
    .object(name)
}

fn check(operation: Operation, name: &str) -> Result<()> {
    if name.is_empty() || matches!(name, "." | "..") || name.contains(['/', '\0']) {
        return Err(Error::new(
            ErrorKind::Config,
            SCHEME,
            operation,
            "the name leads out of the folder",
        )
        .object(name));
    }
    Ok(())
}

const SCHEME: &str = "memory";
const PIECE_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    async fn list(destination: &MemoryDestination) -> Vec<String> {
        destination
            .list()
            .map_ok(|file| file.name)
            .try_collect()
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn late_listings_catch_up() {
        let options = MemoryOptions {
            listing: Listing::Late(2),
            ..MemoryOptions::default()
        };
        let destination = MemoryDestination::with_options(options);
        destination
            .put("a", Body::from_bytes("a"), Existing::Replace)
            .await
            .unwrap();
        assert!(list(&destination).await.is_empty());
        assert_eq!(list(&destination).await, ["a"]);
        destination.delete("a").await.unwrap();
        assert_eq!(list(&destination).await, ["a"]);
        assert!(list(&destination).await.is_empty());
    }

    #[tokio::test]
    async fn damage_is_done() {
        let destination = MemoryDestination::new();
        destination.insert("a", vec![0, 0, 0]);
        assert!(destination.flip("a", 4) && destination.truncate("a", 2));
        let copy = destination.snapshot();
        assert_eq!(copy.files()["a"], [0, 1][..]);
        assert!(!destination.flip("b", 0) && !destination.truncate("b", 0));
        assert_eq!(destination.remove("a").unwrap().len(), 2);
        assert_eq!(copy.names(), ["a"]);
    }

    #[tokio::test]
    async fn a_full_destination_says_so() {
        let options = MemoryOptions {
            capacity: Some(10),
            ..MemoryOptions::default()
        };
        let destination = MemoryDestination::with_options(options);
        destination
            .put("a", Body::from_bytes("12345678"), Existing::Replace)
            .await
            .unwrap();
        destination
            .put("a", Body::from_bytes("1234567890"), Existing::Replace)
            .await
            .unwrap();
        let error = destination
            .put("b", Body::from_bytes("1"), Existing::Replace)
            .await
            .unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Quota);
        assert_eq!(destination.space().await.unwrap().free, Some(0));
    }
}
