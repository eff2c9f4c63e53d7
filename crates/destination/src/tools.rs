//! What a provider gets from outside so that it stays testable: time, randomness, stored tokens, a way to tell of waits.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use larder_options::Secret;

use crate::Result;

/// Gives the present time.
pub trait Clock: Send + Sync {
    /// Seconds and nanoseconds since 1970 UTC.
    fn now(&self) -> (i64, u32);

    /// Seconds since 1970 UTC.
    fn seconds(&self) -> i64 {
        self.now().0
    }

    /// The time zone in which people here read times.
    fn zone(&self) -> jiff::tz::TimeZone {
        jiff::tz::TimeZone::UTC
    }

    /// Lets `time` pass on this thread.
    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[expect(
    clippy::disallowed_methods,
    reason = "this is where the system's clock and zone come in"
)]
impl Clock for SystemClock {
    fn now(&self) -> (i64, u32) {
        let now = jiff::Timestamp::now();
        (
            now.as_second(),
            u32::try_from(now.subsec_nanosecond()).unwrap_or(0),
        )
    }

    fn zone(&self) -> jiff::tz::TimeZone {
        jiff::tz::TimeZone::system()
    }
}

/// A clock that stands still until it is set or waited for (each pause is a second); for tests.
#[derive(Debug, Default)]
pub struct FixedClock {
    seconds: AtomicU64,
    zone: OnceLock<jiff::tz::TimeZone>,
}

impl FixedClock {
    /// A clock showing `seconds` since 1970.
    #[must_use]
    pub fn new(seconds: u64) -> Self {
        Self {
            seconds: AtomicU64::new(seconds),
            zone: OnceLock::new(),
        }
    }

    /// Sets the clock to `seconds` since 1970.
    pub fn set(&self, seconds: u64) {
        self.seconds.store(seconds, Ordering::SeqCst);
    }

    /// Sets the time zone, which is UTC before. The first one stays.
    pub fn set_zone(&self, zone: jiff::tz::TimeZone) {
        self.zone.get_or_init(|| zone);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> (i64, u32) {
        (
            i64::try_from(self.seconds.load(Ordering::SeqCst)).unwrap_or(i64::MAX),
            0,
        )
    }

    fn zone(&self) -> jiff::tz::TimeZone {
        let zone = self.zone.get().cloned();
        zone.unwrap_or(jiff::tz::TimeZone::UTC)
    }

    fn pause(&self, _: Duration) {
        self.seconds.fetch_add(1, Ordering::SeqCst);
    }
}

/// Fills buffers with random bytes.
pub trait Random: Send + Sync {
    /// Fills the whole buffer.
    ///
    /// # Errors
    /// When the source of randomness fails; nothing may be written then.
    fn fill(&self, buffer: &mut [u8]) -> std::io::Result<()>;
}

/// The system's secure random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

#[expect(
    clippy::disallowed_methods,
    reason = "this is where the system's randomness comes in"
)]
impl Random for SystemRandom {
    fn fill(&self, buffer: &mut [u8]) -> std::io::Result<()> {
        getrandom::fill(buffer).map_err(std::io::Error::other)
    }
}

/// Keeps sign-in tokens between runs. A token that a service rotates is lost for good unless it is stored before it is
/// used, so [`TokenStore::put`] returns only when it lasts.
///
/// Who renews a token holds its lock from before it is read until its successor is stored: some services end a sign-in when
/// an old token comes twice. The calls may wait for a disk, so they are not for threads on which futures run.
pub trait TokenStore: Send + Sync {
    /// Takes the lock of `key` against all other runs; `None` while another has it. Does not wait for that.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when there can be no lock although tokens could be kept.
    fn try_lock(&self, key: &str) -> Result<Option<TokenLock>>;

    /// The token kept under `key`, when there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when what is kept cannot be read.
    fn get(&self, key: &str) -> Result<Option<Secret>>;

    /// Keeps a token under `key`, durably and in place of an earlier one.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when it cannot be written; the earlier one is kept then.
    fn put(&self, key: &str, token: &Secret) -> Result<()>;
}

/// The lock of a token; dropping it frees it, as does the end of the program.
pub struct TokenLock {
    _held: Box<dyn Send + Sync>,
}

impl TokenLock {
    /// A lock that lasts as long as `held`.
    #[must_use]
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        Self {
            _held: Box::new(held),
        }
    }
}

impl std::fmt::Debug for TokenLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenLock").finish_non_exhaustive()
    }
}

/// Keeps tokens for as long as the program runs.
#[derive(Debug, Default)]
pub struct MemoryTokens {
    tokens: Mutex<HashMap<String, Secret>>,
    locked: Arc<Mutex<HashSet<String>>>,
}

/// Frees a key.
struct Locked {
    key: String,
    all: Arc<Mutex<HashSet<String>>>,
}

impl Drop for Locked {
    fn drop(&mut self) {
        unpoisoned(&self.all).remove(&self.key);
    }
}

impl TokenStore for MemoryTokens {
    fn try_lock(&self, key: &str) -> Result<Option<TokenLock>> {
        let is_free = unpoisoned(&self.locked).insert(key.to_owned());
        Ok(is_free.then(|| {
            TokenLock::new(Locked {
                key: key.to_owned(),
                all: Arc::clone(&self.locked),
            })
        }))
    }

    fn get(&self, key: &str) -> Result<Option<Secret>> {
        Ok(unpoisoned(&self.tokens).get(key).cloned())
    }

    fn put(&self, key: &str, token: &Secret) -> Result<()> {
        unpoisoned(&self.tokens).insert(key.to_owned(), token.clone());
        Ok(())
    }
}

/// What a lock guards, also after a panic elsewhere: it is whole at any time.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One long wait, told before it begins.
#[derive(Clone, Debug)]
pub struct Wait<'w> {
    /// What is waited for, e.g. `s3 get duplicati-….zip`.
    pub object: &'w str,
    /// How long.
    pub time: Duration,
    /// Why, e.g. what the server answered.
    pub reason: &'w str,
}

/// Hears of waits that people should know of ([`LONG_WAIT`]).
pub trait WaitListener: Send + Sync {
    /// A wait begins. Must not block.
    fn waiting(&self, wait: &Wait<'_>);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWaitListener;

impl WaitListener for NoWaitListener {
    fn waiting(&self, _: &Wait<'_>) {}
}

/// Waits from this length on are told.
pub const LONG_WAIT: Duration = Duration::from_secs(10);
/// No wait is longer, whatever a server wishes: it asks again then, so that a wish of years cannot stop a backup.
pub const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What a provider is opened with beside its [`Config`](crate::Config).
#[derive(Clone)]
pub struct Tools {
    /// Source of time.
    pub clock: Arc<dyn Clock>,
    /// Source of randomness.
    pub random: Arc<dyn Random>,
    /// Stored sign-in tokens.
    pub tokens: Arc<dyn TokenStore>,
    /// Hears of long waits.
    pub waits: Arc<dyn WaitListener>,
}

impl Tools {
    /// The system's clock and randomness, tokens that do not outlive the program, nobody who hears of waits.
    #[must_use]
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            tokens: Arc::new(MemoryTokens::default()),
            waits: Arc::new(NoWaitListener),
        }
    }
}

/// Something that a user should know about an open destination although nothing is wrong yet: plain HTTP to another
/// machine, any certificate accepted, a service that will close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Stable identifier, e.g. `UnencryptedConnection`.
    pub id: &'static str,
    /// One sentence, without secrets.
    pub text: String,
}
