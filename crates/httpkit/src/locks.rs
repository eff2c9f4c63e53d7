//! Object locks of services that keep versions of what is locked.
//!
//! There a deletion of an object leaves the locked version in place, hidden behind a marker, and an upload hides it behind a
//! newer version. So what is to go or to be replaced is asked for its lock first.

use async_trait::async_trait;
use larder_destination::{Error, ErrorKind, Result};
use tokio::sync::OnceCell;

use crate::date::format_rfc3339;
use crate::failure::{Call, Outcome};
use crate::service::Service;

/// What keeps an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// In seconds since 1970, also when it is over; [`i64::MAX`] for a hold without an end.
    pub until: Option<i64>,
    /// Nobody can end it before its time, and a new lock has to be of the same kind.
    pub is_strict: bool,
}

/// The calls of a service about the locks of one bucket or container.
#[async_trait]
pub trait LockCalls: Send + Sync {
    /// What sends the requests.
    fn service(&self) -> &Service;

    /// Whether objects here can be locked.
    ///
    /// # Errors
    /// The refusal. One for a file or a sign-in means that there are no locks.
    async fn has_locks(&self, call: &Call) -> Outcome<bool>;

    /// The lock of an object.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when it is not there, and other refusals.
    async fn held(&self, call: &Call, key: &str) -> Outcome<Held>;

    /// Locks an object until a time in seconds since 1970: so that nobody can end it with `is_strict`, otherwise as the user
    /// chose.
    ///
    /// # Errors
    /// The refusal.
    async fn hold(&self, call: &Call, key: &str, until: i64, is_strict: bool) -> Outcome<()>;
}

/// What becomes of the locks of one bucket or container, for [`larder_destination::Lock`] and for the verbs that a lock
/// forbids.
#[derive(Debug)]
pub struct Locks {
    /// Whether there are any, once the service was asked.
    any: OnceCell<bool>,
    /// What to say where there are none.
    none: &'static str,
}

impl Locks {
    /// Nothing is asked yet; `none` says why files cannot be locked where the service has no locks.
    #[must_use]
    pub fn new(none: &'static str) -> Self {
        Self {
            any: OnceCell::new(),
            none,
        }
    }

    /// Whether objects can be locked; asked once. Whoever does not say so has none.
    ///
    /// # Errors
    /// [`ErrorKind::FolderMissing`], and trouble on the way.
    pub async fn any(&self, calls: &dyn LockCalls, call: &Call) -> Result<bool> {
        let ask = || async {
            match calls.has_locks(call).await {
                Ok(any) => Ok(any),
                Err(failure) if *failure.kind() == ErrorKind::FolderMissing => Err(failure.into()),
                // 400, 405 and 501 come from servers without locks, 404 from buckets without, 403 for those who may not ask.
                Err(failure)
                    if *failure.kind() != ErrorKind::SignInNeeded
                        && NO_LOCKS.contains(&failure.status) =>
                {
                    Ok(false)
                }
                Err(failure) => Err(Error::from(failure)),
            }
        };
        self.any.get_or_try_init(ask).await.copied()
    }

    /// Refuses to touch an object that is locked. One that is not there is not, and who may not ask leaves the decision to
    /// the service.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`], and trouble on the way.
    pub async fn check_unlocked(
        &self,
        calls: &dyn LockCalls,
        call: &Call,
        key: &str,
    ) -> Result<()> {
        if !self.any(calls, call).await? {
            return Ok(());
        }
        let until = match calls.held(call, key).await {
            Ok(held) => held.until,
            Err(failure) if matches!(failure.kind(), ErrorKind::NotFound | ErrorKind::Denied) => {
                None
            }
            Err(failure) => return Err(failure.into()),
        };
        let text = match until {
            Some(i64::MAX) => "it has a legal hold".to_owned(),
            Some(until) if until > calls.service().server_now() => {
                format!("it is locked until {}", format_rfc3339(until))
            }
            _ => return Ok(()),
        };
        Err(call.error(ErrorKind::Locked, text))
    }

    /// Does what [`larder_destination::Lock::lock`] says.
    ///
    /// # Errors
    /// Those that it names.
    pub async fn lock(
        &self,
        calls: &dyn LockCalls,
        call: &Call,
        key: &str,
        until: i64,
    ) -> Result<()> {
        let held = self.held(calls, call, key).await?;
        if held.until.is_some_and(|held| held >= until) {
            return Ok(());
        }
        Ok(calls.hold(call, key, until, held.is_strict).await?)
    }

    /// Does what [`larder_destination::Lock::locked_until`] says.
    ///
    /// # Errors
    /// Those that it names.
    pub async fn locked_until(
        &self,
        calls: &dyn LockCalls,
        call: &Call,
        key: &str,
    ) -> Result<Option<i64>> {
        Ok(self.held(calls, call, key).await?.until)
    }

    async fn held(&self, calls: &dyn LockCalls, call: &Call, key: &str) -> Result<Held> {
        match self.any(calls, call).await? {
            true => Ok(calls.held(call, key).await?),
            false => Err(call.error(ErrorKind::Unsupported, self.none)),
        }
    }
}

/// What a service without locks answers to the question for them.
const NO_LOCKS: &[u16] = &[400, 403, 404, 405, 501];
