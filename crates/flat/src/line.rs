//! The connections to a server that all operations share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use larder_destination::{Advice, Call, Error, ErrorKind, Result};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// A connection that is signed in, with the channels on which operations are done.
#[async_trait]
pub trait Connection: Send + Sync + Sized + 'static {
    /// What it is made from.
    type Settings: Send + Sync + 'static;
    /// What an operation works on. Dropping it ends it.
    type Channel: Send + Sync + 'static;

    /// Connects and signs in.
    ///
    /// # Errors
    /// [`ErrorKind::SignInNeeded`] and [`ErrorKind::Untrusted`] are the server's last word: it is not asked again.
    async fn open(call: &Call, settings: &Arc<Self::Settings>) -> Result<Self>;

    /// Opens a further channel.
    ///
    /// # Errors
    /// Those of the requests.
    async fn channel(&self, call: &Call) -> Result<Self::Channel>;

    /// True when it is of no more use, as far as is known without asking.
    fn is_lost(&self) -> bool;

    /// True when a channel is of no more use; the others of its connection are no better then.
    fn is_dead(channel: &Self::Channel) -> bool;

    /// Asks whether the server still answers on a channel that was not used for a while.
    async fn answers(channel: &Self::Channel) -> bool;
}

/// How many connections there may be, and what each can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Most connections at the same time.
    pub connections: usize,
    /// Most channels of one connection.
    pub channels: usize,
    /// Several operations may use one channel at the same time. Otherwise each waits for one of its own.
    pub is_shared: bool,
}

/// The connections to one server. They are made when they are needed, and made again when they are lost.
pub struct Line<C: Connection> {
    settings: Arc<C::Settings>,
    shape: Shape,
    state: Mutex<State<C>>,
    /// One for each channel that is not shared.
    free: Arc<Semaphore>,
}

/// A channel for one operation, which gives it back when it is dropped.
pub struct Held<T> {
    channel: Arc<T>,
    _place: Option<OwnedSemaphorePermit>,
}

impl<T> Held<T> {
    /// The channel itself: as long as somebody has it, it counts as used.
    #[must_use]
    pub fn shared(&self) -> Arc<T> {
        Arc::clone(&self.channel)
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.channel
    }
}

struct State<C: Connection> {
    connections: Vec<Open<C>>,
    /// The server's last word. It is not asked again, lest it lock the account.
    refused: Option<Refused>,
}

struct Open<C: Connection> {
    connection: C,
    channels: Vec<Arc<C::Channel>>,
    /// So many channels it takes.
    most: usize,
    used: Instant,
}

struct Refused {
    kind: ErrorKind,
    message: String,
    advice: Option<&'static Advice>,
}

impl Refused {
    /// The same for another call.
    fn error(&self, call: &Call) -> Error {
        let error = call.error(self.kind.clone(), self.message.as_str());
        match self.advice {
            Some(advice) => error.advice(advice),
            None => error,
        }
    }
}

impl<C: Connection> Open<C> {
    fn is_lost(&self) -> bool {
        // After a channel that did not answer the others are no better; those at work on them find out themselves.
        self.connection.is_lost() || self.channels.iter().any(|channel| C::is_dead(channel))
    }

    fn least_used(&self) -> Option<&Arc<C::Channel>> {
        self.channels.iter().min_by_key(|channel| load(channel))
    }
}

/// How many operations use a channel.
fn load<T>(channel: &Arc<T>) -> usize {
    Arc::strong_count(channel) - 1
}

impl<C: Connection> Line<C> {
    /// The line to the server of these settings; nothing is connected yet.
    #[must_use]
    pub fn new(settings: C::Settings, shape: Shape) -> Self {
        let places = shape.connections * shape.channels;
        Self {
            settings: Arc::new(settings),
            shape,
            state: Mutex::new(State {
                connections: Vec::new(),
                refused: None,
            }),
            free: Arc::new(Semaphore::new(places)),
        }
    }

    /// What the connections are made from.
    #[must_use]
    pub fn settings(&self) -> &C::Settings {
        &self.settings
    }

    /// A channel for one operation: one that nobody uses, a new one, or the least used one where they are shared.
    ///
    /// # Errors
    /// Those of [`Connection::open`], after a refusal the same without asking; those of [`Connection::channel`].
    pub async fn channel(&self, call: &Call) -> Result<Held<C::Channel>> {
        loop {
            let place = match self.shape.is_shared {
                true => None,
                // The semaphore is never closed.
                false => Arc::clone(&self.free).acquire_owned().await.ok(),
            };
            let mut state = self.state.lock().await;
            if let Some(refused) = &state.refused {
                return Err(refused.error(call));
            }
            match (self.choose(call, &mut state).await, place) {
                (Ok(channel), place) => {
                    return Ok(Held {
                        channel,
                        _place: place,
                    });
                }
                // A server may take fewer connections: the others are waited for.
                (Err(error), Some(place)) if is_busy(&error) && !state.connections.is_empty() => {
                    place.forget();
                }
                (Err(error), _) => return Err(error),
            }
        }
    }

    async fn choose(&self, call: &Call, state: &mut State<C>) -> Result<Arc<C::Channel>> {
        drop_lost(state).await;
        for open in &mut state.connections {
            if let Some(channel) = open.least_used().filter(|channel| load(channel) == 0) {
                let channel = Arc::clone(channel);
                open.used = Instant::now();
                return Ok(channel);
            }
        }
        let shared = state.least_used().filter(|_| self.shape.is_shared);
        let room = state
            .connections
            .iter()
            .position(|open| open.channels.len() < open.most);
        if let Some((at, open)) = room.and_then(|at| Some((at, state.connections.get_mut(at)?))) {
            match (open.connection.channel(call).await, shared) {
                (Ok(channel), _) => return Ok(open.add(channel)),
                // A server may take fewer (`MaxSessions` of OpenSSH); those that there are can be shared.
                (Err(_), Some(channel)) if !open.is_lost() => {
                    open.most = open.channels.len();
                    return Ok(channel);
                }
                (Err(error), _) if *error.kind() != ErrorKind::Network => return Err(error),
                (Err(_), _) => drop(state.connections.remove(at)),
            }
        } else if state.connections.len() >= self.shape.connections
            && let Some(channel) = shared
        {
            return Ok(channel);
        }
        self.connect(call, state).await
    }

    async fn connect(&self, call: &Call, state: &mut State<C>) -> Result<Arc<C::Channel>> {
        let connection = match C::open(call, &self.settings).await {
            Ok(connection) => connection,
            Err(error) => {
                if matches!(
                    error.kind(),
                    ErrorKind::SignInNeeded | ErrorKind::Untrusted(_)
                ) {
                    state.refused = Some(Refused {
                        kind: error.kind().clone(),
                        message: error.message().to_owned(),
                        advice: error.advised(),
                    });
                }
                return Err(error);
            }
        };
        let channel = connection.channel(call).await?;
        let mut open = Open {
            connection,
            channels: Vec::new(),
            most: self.shape.channels,
            used: Instant::now(),
        };
        let channel = open.add(channel);
        state.connections.push(open);
        Ok(channel)
    }
}

impl<C: Connection> Open<C> {
    fn add(&mut self, channel: C::Channel) -> Arc<C::Channel> {
        let channel = Arc::new(channel);
        self.channels.push(Arc::clone(&channel));
        self.used = Instant::now();
        channel
    }
}

impl<C: Connection> State<C> {
    fn least_used(&self) -> Option<Arc<C::Channel>> {
        let all = self.connections.iter().filter_map(Open::least_used);
        all.min_by_key(|channel| load(channel)).cloned()
    }
}

/// Forgets the connections that are lost. One that was not used for a while is asked first.
async fn drop_lost<C: Connection>(state: &mut State<C>) {
    let mut at = 0;
    while let Some(open) = state.connections.get_mut(at) {
        let idle = open.channels.first().filter(|_| open.used.elapsed() > IDLE);
        let is_lost = open.is_lost()
            || match idle {
                Some(channel) => !C::answers(channel).await,
                None => false,
            };
        match is_lost {
            true => drop(state.connections.remove(at)),
            false => at += 1,
        }
    }
}

/// True for errors that a server may give because it has enough connections.
fn is_busy(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Network | ErrorKind::Busy(_))
}

/// After such a time without use a connection is tried before it is used.
const IDLE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests;
