//! A journal of the calls a destination gets.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::{
    About, Body, Capacity, Destination, Download, Error, ErrorKind, Existing, Extra, Leftovers,
    Lock, Operation, Ours, RemoteFile, Rename, Result, Space,
};

/// How a recorded call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has not ended: it still runs, or its future or stream was dropped.
    Open,
    /// It succeeded; a `get` or `list` to the end of its stream.
    Done,
    /// It failed, possibly in the middle of a stream.
    Failed(ErrorKind),
}

/// One recorded call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was asked for.
    pub operation: Operation,
    /// The name of the file; for a rename the old one; empty for calls about the whole folder.
    pub name: String,
    /// Bytes sent by a successful `put` or received so far by a `get`; entries received so far by a `list`.
    pub amount: u64,
    /// How it ended.
    pub outcome: Outcome,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.operation)?;
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        if matches!(
            self.operation,
            Operation::Put | Operation::Get | Operation::List
        ) {
            write!(f, " {}", self.amount)?;
        }
        match &self.outcome {
            Outcome::Open => write!(f, " (open)"),
            Outcome::Done => Ok(()),
            Outcome::Failed(kind) => write!(f, " ({kind:?})"),
        }
    }
}

/// The calls in the order in which they began; clones show the same journal. It grows with each call.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    calls: Vec<Call>,
    /// Calls forgotten by [`Journal::clear`], so that those still running find their place.
    cleared: usize,
}

impl Journal {
    /// All calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.with(|state| state.calls.clone())
    }

    /// The calls of one operation.
    #[must_use]
    pub fn calls_of(&self, operation: Operation) -> Vec<Call> {
        self.with(|state| {
            state
                .calls
                .iter()
                .filter(|call| call.operation == operation)
                .cloned()
                .collect()
        })
    }

    /// How many calls of one operation there were, failed ones included.
    #[must_use]
    pub fn count(&self, operation: Operation) -> usize {
        self.with(|state| {
            state
                .calls
                .iter()
                .filter(|call| call.operation == operation)
                .count()
        })
    }

    /// The names given to one operation, in order.
    #[must_use]
    pub fn names(&self, operation: Operation) -> Vec<String> {
        self.calls_of(operation)
            .into_iter()
            .map(|call| call.name)
            .collect()
    }

    /// Bytes moved by one operation.
    #[must_use]
    pub fn amount(&self, operation: Operation) -> u64 {
        self.with(|state| {
            state
                .calls
                .iter()
                .filter(|call| call.operation == operation)
                .map(|call| call.amount)
                .sum()
        })
    }

    /// Forgets all calls so far.
    pub fn clear(&self) {
        self.with(|state| {
            state.cleared += state.calls.len();
            state.calls.clear();
        });
    }

    fn begin(&self, operation: Operation, name: &str) -> Entry {
        let number = self.with(|state| {
            let name = name.to_owned();
            state.calls.push(Call {
                operation,
                name,
                amount: 0,
                outcome: Outcome::Open,
            });
            state.cleared + state.calls.len() - 1
        });
        Entry {
            journal: self.clone(),
            number,
        }
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.calls()
            .iter()
            .try_for_each(|call| writeln!(f, "{call}"))
    }
}

/// The line of one running call.
struct Entry {
    journal: Journal,
    number: usize,
}

impl Entry {
    fn update(&self, f: impl FnOnce(&mut Call)) {
        self.journal.with(|state| {
            let index = self.number.checked_sub(state.cleared);
            if let Some(call) = index.and_then(|index| state.calls.get_mut(index)) {
                f(call);
            }
        });
    }

    fn end<T>(&self, result: &Result<T>, amount: u64) {
        self.update(|call| match result {
            Ok(_) => {
                call.amount = amount;
                call.outcome = Outcome::Done;
            }
            Err(error) => call.outcome = Outcome::Failed(error.kind().clone()),
        });
    }

    /// Counts the items of a stream and notes how it ends.
    fn watch<'a, T: Send + 'a>(
        self,
        source: BoxStream<'a, Result<T>>,
        amount: fn(&T) -> u64,
    ) -> BoxStream<'a, Result<T>> {
        stream::unfold((self, source), move |(entry, mut source)| async move {
            let item = source.next().await;
            entry.update(|call| match &item {
                Some(Ok(item)) => call.amount += amount(item),
                Some(Err(error)) => call.outcome = Outcome::Failed(error.kind().clone()),
                None if call.outcome == Outcome::Open => call.outcome = Outcome::Done,
                None => {}
            });
            item.map(|item| (item, (entry, source)))
        })
        .boxed()
    }
}

/// Notes every call in a [`Journal`].
pub struct Recorder {
    inner: Arc<dyn Destination>,
    journal: Journal,
}

impl Recorder {
    /// Records the calls to `inner` in a new journal.
    #[must_use]
    pub fn new(inner: Arc<dyn Destination>) -> Self {
        Self {
            inner,
            journal: Journal::default(),
        }
    }

    /// The journal; keep a clone before the recorder goes behind the trait.
    #[must_use]
    pub fn journal(&self) -> Journal {
        self.journal.clone()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Destination for Recorder {
    fn about(&self) -> &About {
        self.inner.about()
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        self.journal
            .begin(Operation::List, "")
            .watch(self.inner.list(), |_| 1)
    }

    async fn get(&self, name: &str) -> Result<Download> {
        let entry = self.journal.begin(Operation::Get, name);
        match self.inner.get(name).await {
            Ok(Download { len, stream }) => Ok(Download {
                len,
                stream: entry.watch(stream, |piece| piece.len() as u64),
            }),
            failed => {
                entry.end(&failed, 0);
                failed
            }
        }
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        let len = body.len();
        let entry = self.journal.begin(Operation::Put, name);
        let result = self.inner.put(name, body, existing).await;
        entry.end(&result, len);
        result
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let entry = self.journal.begin(Operation::Delete, name);
        let result = self.inner.delete(name).await;
        entry.end(&result, 0);
        result
    }

    async fn create_folder(&self) -> Result<()> {
        let entry = self.journal.begin(Operation::CreateFolder, "");
        let result = self.inner.create_folder().await;
        entry.end(&result, 0);
        result
    }

    fn extra(&self) -> Extra<'_> {
        let inner = self.inner.extra();
        Extra {
            space: inner.space.map(|_| self as &dyn Space),
            rename: inner.rename.map(|_| self as &dyn Rename),
            leftovers: inner.leftovers.map(|_| self as &dyn Leftovers),
            lock: inner.lock.map(|_| self as &dyn Lock),
        }
    }
}

#[async_trait]
impl Space for Recorder {
    async fn space(&self) -> Result<Capacity> {
        let verb = self.inner.extra().space;
        let verb = verb.ok_or_else(|| self.lacking(Operation::Space))?;
        self.record(Operation::Space, "", verb.space()).await
    }
}

#[async_trait]
impl Rename for Recorder {
    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let verb = self.inner.extra().rename;
        let verb = verb.ok_or_else(|| self.lacking(Operation::Rename))?;
        self.record(Operation::Rename, from, verb.rename(from, to))
            .await
    }
}

#[async_trait]
impl Leftovers for Recorder {
    async fn remove_leftovers(&self, ours: Ours<'_>) -> Result<u64> {
        let verb = self.inner.extra().leftovers;
        let verb = verb.ok_or_else(|| self.lacking(Operation::RemoveLeftovers))?;
        self.record(Operation::RemoveLeftovers, "", verb.remove_leftovers(ours))
            .await
    }
}

#[async_trait]
impl Lock for Recorder {
    async fn lock(&self, name: &str, until: i64) -> Result<()> {
        let verb = self.inner.extra().lock;
        let verb = verb.ok_or_else(|| self.lacking(Operation::Lock))?;
        self.record(Operation::Lock, name, verb.lock(name, until))
            .await
    }

    async fn locked_until(&self, name: &str) -> Result<Option<i64>> {
        let verb = self.inner.extra().lock;
        let verb = verb.ok_or_else(|| self.lacking(Operation::LockedUntil))?;
        self.record(Operation::LockedUntil, name, verb.locked_until(name))
            .await
    }
}

impl Recorder {
    fn lacking(&self, operation: Operation) -> Error {
        Error::unsupported(self.inner.about().scheme, operation)
    }

    /// A call without content.
    async fn record<T>(
        &self,
        operation: Operation,
        name: &str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let entry = self.journal.begin(operation, name);
        let result = call.await;
        entry.end(&result, 0);
        result
    }
}
