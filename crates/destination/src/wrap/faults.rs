//! Failures on purpose.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::{
    About, Body, Capacity, Destination, Download, Error, ErrorKind, Existing, Extra, Leftovers,
    Lock, Operation, Ours, RemoteFile, Rename, Result, Space,
};

/// One way for a call to go wrong.
#[derive(Clone)]
pub enum Failure {
    /// Fails without having done anything.
    Before(ErrorKind),
    /// Does what was asked and fails all the same, as when the reply is lost on the way. A `get` or `list` fails at
    /// the end of its stream.
    After(ErrorKind),
    /// Breaks off with [`ErrorKind::Network`] after so many bytes of a `put` or `get` or entries of a `list`.
    /// Other calls fail without having done anything.
    Cut(u64),
    /// Ends the stream of a `get` or `list` after so many bytes or entries as if nothing were wrong, which breaks the
    /// contract of [`Destination`]. Other calls go through.
    EndEarly(u64),
    /// Flips the lowest bit of the byte at this offset of a `get`; a shorter file arrives unchanged. Other calls go
    /// through.
    Flip(u64),
    /// Calls back and then fails with [`ErrorKind::Cancelled`] without having done anything: a place to end the
    /// process, to cancel the run or to look at the state.
    Kill(Hook),
    /// Calls back and then does what was asked.
    Watch(Hook),
}

/// A callback at a fault; gets the operation and the name of the file.
pub type Hook = Arc<dyn Fn(Operation, &str) + Send + Sync>;

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before(kind) => write!(f, "Before({kind:?})"),
            Self::After(kind) => write!(f, "After({kind:?})"),
            Self::Cut(at) => write!(f, "Cut({at})"),
            Self::EndEarly(at) => write!(f, "EndEarly({at})"),
            Self::Flip(at) => write!(f, "Flip({at})"),
            Self::Kill(_) => f.write_str("Kill"),
            Self::Watch(_) => f.write_str("Watch"),
        }
    }
}

/// What goes wrong and when; clones steer the same plan.
///
/// Calls are counted from 1 over all operations in the order in which they begin. For one call the plan is asked in
/// this order: the queue of its operation, [`FaultPlan::fail_at`], [`FaultPlan::fail_after`], then chance.
#[derive(Clone, Default)]
pub struct FaultPlan {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    calls: u64,
    injected: Vec<(Operation, String, Failure)>,
    queues: HashMap<Operation, VecDeque<Option<Failure>>>,
    at: HashMap<u64, Failure>,
    after: Option<(u64, Failure)>,
    chance: Option<Chance>,
}

struct Chance {
    seed: u64,
    in_thousand: u64,
    failures: Vec<Failure>,
}

impl FaultPlan {
    /// A plan in which nothing goes wrong yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a failure to the queue of an operation: the next call without one before it takes it.
    pub fn push(&self, operation: Operation, failure: Failure) {
        self.with(|state| {
            state
                .queues
                .entry(operation)
                .or_default()
                .push_back(Some(failure))
        });
    }

    /// Appends `calls` undisturbed calls to the queue of an operation.
    pub fn skip(&self, operation: Operation, calls: usize) {
        self.with(|state| {
            state
                .queues
                .entry(operation)
                .or_default()
                .extend(std::iter::repeat_n(None, calls));
        });
    }

    /// Lets exactly the `number`-th call fail.
    pub fn fail_at(&self, number: u64, failure: Failure) {
        self.with(|state| state.at.insert(number, failure));
    }

    /// Lets every call after the `number`-th fail; 0 for all of them.
    pub fn fail_after(&self, number: u64, failure: Failure) {
        self.with(|state| state.after = Some((number, failure)));
    }

    /// Lets calls fail by chance, the same ones for the same seed and order of calls.
    pub fn fail_by_chance(&self, seed: u64, in_thousand: u64, failures: Vec<Failure>) {
        self.with(|state| {
            state.chance = Some(Chance {
                seed,
                in_thousand,
                failures,
            })
        });
    }

    /// Forgets all planned failures; the counters go on.
    pub fn clear(&self) {
        self.with(|state| {
            let (calls, injected) = (state.calls, std::mem::take(&mut state.injected));
            *state = State {
                calls,
                injected,
                ..State::default()
            };
        });
    }

    /// How many calls there were, so that a test can let each of them fail in turn.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.with(|state| state.calls)
    }

    /// Starts counting calls from 1 again.
    pub fn reset_calls(&self) {
        self.with(|state| state.calls = 0);
    }

    /// The failures so far as text, for the message of a failed test.
    #[must_use]
    pub fn injected(&self) -> Vec<String> {
        self.with(|state| {
            let lines = state
                .injected
                .iter()
                .map(|(operation, name, failure)| format!("{operation} {name}: {failure:?}"));
            lines.collect()
        })
    }

    fn next(&self, operation: Operation, name: &str) -> Option<Failure> {
        self.with(|state| {
            state.calls += 1;
            let failure = state.decide(operation)?;
            state
                .injected
                .push((operation, name.to_owned(), failure.clone()));
            Some(failure)
        })
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn decide(&mut self, operation: Operation) -> Option<Failure> {
        if let Some(queued) = self
            .queues
            .get_mut(&operation)
            .and_then(VecDeque::pop_front)
        {
            return queued;
        }
        if let Some(failure) = self.at.remove(&self.calls) {
            return Some(failure);
        }
        if let Some((number, failure)) = &self.after
            && self.calls > *number
        {
            return Some(failure.clone());
        }
        let chance = self.chance.as_ref()?;
        let number = mix(chance.seed.wrapping_add(self.calls));
        if number % 1000 >= chance.in_thousand {
            return None;
        }
        let choice = (number / 1000).checked_rem(chance.failures.len() as u64)?;
        chance.failures.get(usize::try_from(choice).ok()?).cloned()
    }
}

/// Scatters the bits of a number (the finishing step of SplitMix64, Steele, Lea and Flood 2014).
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Lets the calls of a [`FaultPlan`] fail.
pub struct Faults {
    inner: Arc<dyn Destination>,
    plan: FaultPlan,
}

/// What is left to do after the part of a failure before the call.
enum Then {
    Proceed,
    FailAfter(ErrorKind),
    Cut(u64),
    EndEarly(u64),
    Flip(u64),
}

impl Faults {
    /// Disturbs the calls to `inner` by `plan`.
    #[must_use]
    pub fn new(inner: Arc<dyn Destination>, plan: FaultPlan) -> Self {
        Self { inner, plan }
    }

    fn error(&self, kind: ErrorKind, operation: Operation, name: &str) -> Error {
        Error::new(kind, self.inner.about().scheme, operation, "injected fault").object(name)
    }

    fn begin(&self, operation: Operation, name: &str) -> Result<Then> {
        match self.plan.next(operation, name) {
            None => Ok(Then::Proceed),
            Some(Failure::Before(kind)) => Err(self.error(kind, operation, name)),
            Some(Failure::After(kind)) => Ok(Then::FailAfter(kind)),
            Some(Failure::Cut(at)) => Ok(Then::Cut(at)),
            Some(Failure::EndEarly(at)) => Ok(Then::EndEarly(at)),
            Some(Failure::Flip(at)) => Ok(Then::Flip(at)),
            Some(Failure::Kill(hook)) => {
                hook(operation, name);
                Err(self.error(ErrorKind::Cancelled, operation, name))
            }
            Some(Failure::Watch(hook)) => {
                hook(operation, name);
                Ok(Then::Proceed)
            }
        }
    }

    /// A call without content: everything but `get`, `put` and `list`.
    async fn simple<T>(
        &self,
        operation: Operation,
        name: &str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        match self.begin(operation, name)? {
            Then::Cut(_) => Err(self.error(ErrorKind::Network, operation, name)),
            Then::FailAfter(kind) => {
                call.await?;
                Err(self.error(kind, operation, name))
            }
            Then::Proceed | Then::EndEarly(_) | Then::Flip(_) => call.await,
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Destination for Faults {
    fn about(&self) -> &About {
        self.inner.about()
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        let entries = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let fail = |kind| stream::iter([Err(self.error(kind, Operation::List, ""))]);
        match self.begin(Operation::List, "") {
            Err(error) => stream::iter([Err(error)]).boxed(),
            Ok(Then::FailAfter(kind)) => self.inner.list().chain(fail(kind)).boxed(),
            Ok(Then::Cut(at)) => self
                .inner
                .list()
                .take(entries(at))
                .chain(fail(ErrorKind::Network))
                .boxed(),
            Ok(Then::EndEarly(at)) => self.inner.list().take(entries(at)).boxed(),
            Ok(Then::Proceed | Then::Flip(_)) => self.inner.list(),
        }
    }

    async fn get(&self, name: &str) -> Result<Download> {
        let then = self.begin(Operation::Get, name)?;
        let Download { len, stream } = self.inner.get(name).await?;
        let fail = |kind| stream::iter([Err(self.error(kind, Operation::Get, name))]);
        let stream = match then {
            Then::Proceed => stream,
            Then::FailAfter(kind) => stream.chain(fail(kind)).boxed(),
            Then::Cut(at) => first_bytes(stream, at)
                .chain(fail(ErrorKind::Network))
                .boxed(),
            Then::EndEarly(at) => first_bytes(stream, at),
            Then::Flip(at) => flip(stream, at),
        };
        Ok(Download { len, stream })
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        match self.begin(Operation::Put, name)? {
            Then::Cut(at) => {
                // A provider that takes the broken body is at fault, but must not make the failure vanish.
                self.inner.put(name, body.cut_after(at), existing).await?;
                Err(self.error(ErrorKind::Network, Operation::Put, name))
            }
            Then::FailAfter(kind) => {
                self.inner.put(name, body, existing).await?;
                Err(self.error(kind, Operation::Put, name))
            }
            Then::Proceed | Then::EndEarly(_) | Then::Flip(_) => {
                self.inner.put(name, body, existing).await
            }
        }
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.simple(Operation::Delete, name, self.inner.delete(name))
            .await
    }

    async fn create_folder(&self) -> Result<()> {
        self.simple(Operation::CreateFolder, "", self.inner.create_folder())
            .await
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
impl Space for Faults {
    async fn space(&self) -> Result<Capacity> {
        let verb = self.inner.extra().space;
        let verb = verb.ok_or_else(|| self.lacking(Operation::Space))?;
        self.simple(Operation::Space, "", verb.space()).await
    }
}

#[async_trait]
impl Rename for Faults {
    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let verb = self.inner.extra().rename;
        let verb = verb.ok_or_else(|| self.lacking(Operation::Rename))?;
        self.simple(Operation::Rename, from, verb.rename(from, to))
            .await
    }
}

#[async_trait]
impl Leftovers for Faults {
    async fn remove_leftovers(&self, ours: Ours<'_>) -> Result<u64> {
        let verb = self.inner.extra().leftovers;
        let verb = verb.ok_or_else(|| self.lacking(Operation::RemoveLeftovers))?;
        self.simple(Operation::RemoveLeftovers, "", verb.remove_leftovers(ours))
            .await
    }
}

#[async_trait]
impl Lock for Faults {
    async fn lock(&self, name: &str, until: i64) -> Result<()> {
        let verb = self.inner.extra().lock;
        let verb = verb.ok_or_else(|| self.lacking(Operation::Lock))?;
        self.simple(Operation::Lock, name, verb.lock(name, until))
            .await
    }

    async fn locked_until(&self, name: &str) -> Result<Option<i64>> {
        let verb = self.inner.extra().lock;
        let verb = verb.ok_or_else(|| self.lacking(Operation::LockedUntil))?;
        self.simple(Operation::LockedUntil, name, verb.locked_until(name))
            .await
    }
}

impl Faults {
    fn lacking(&self, operation: Operation) -> Error {
        Error::unsupported(self.inner.about().scheme, operation)
    }
}

/// The first `len` bytes of a stream.
fn first_bytes<E: Send + 'static>(
    stream: BoxStream<'static, std::result::Result<Bytes, E>>,
    len: u64,
) -> BoxStream<'static, std::result::Result<Bytes, E>> {
    stream::unfold((stream, len), |(mut stream, left)| async move {
        if left == 0 {
            return None;
        }
        match stream.next().await? {
            Ok(mut piece) => {
                piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left.saturating_sub(piece.len() as u64);
                Some((Ok(piece), (stream, left)))
            }
            Err(error) => Some((Err(error), (stream, 0))),
        }
    })
    .boxed()
}

fn flip(stream: BoxStream<'static, Result<Bytes>>, at: u64) -> BoxStream<'static, Result<Bytes>> {
    let mut position = 0_u64;
    stream
        .map(move |piece| {
            let piece = piece?;
            let start = position;
            position += piece.len() as u64;
            let index = at
                .checked_sub(start)
                .and_then(|index| usize::try_from(index).ok());
            let Some(index) = index.filter(|index| *index < piece.len()) else {
                return Ok(piece);
            };
            let mut bytes = piece.to_vec();
            if let Some(byte) = bytes.get_mut(index) {
                *byte ^= 1;
            }
            Ok(Bytes::from(bytes))
        })
        .boxed()
}
