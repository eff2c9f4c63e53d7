//! Object locks of services that keep versions of what is locked.
//!
//! There a deletion of an object leaves the locked version in place, hidden behind a marker, and an upload hides it behind a
//! newer version. So what is to go or to be replaced is asked for its lock first.

use async_trait::async_trait;
use larder_destination::{Error, ErrorKind, Result};
use tokio::sync::OnceCell;

use crate::date::format_rfc3339;
use crate::failure::{Call, Failure, Outcome};
use crate::service::Service;

/// What keeps an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Its time to be kept, in seconds since 1970, also when it is over.
    pub until: Option<i64>,
    /// Somebody keeps it until further notice, beside that time.
    pub has_hold: bool,
    /// Nobody can end it before its time, and a new lock has to be of the same kind.
    pub is_strict: bool,
}

impl Held {
    /// The end of all that keeps it.
    fn end(self) -> Option<i64> {
        match self.has_hold {
            true => Some(i64::MAX),
            false => self.until,
        }
    }
}

/// Whether objects of a bucket can be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Any {
    Yes,
    No,
    /// The sign-in may not ask that. It may be allowed to ask for each object.
    NotTold,
}

/// The calls of a service about the locks of one bucket or container.
#[async_trait]
pub trait LockCalls: Send + Sync {
    /// What sends the requests.
    fn service(&self) -> &Service;

    /// Whether objects here can be locked.
    ///
    /// # Errors
    /// The refusal. One of a service that does not know the question means no; one of who may not ask leaves it open.
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
    any: OnceCell<Any>,
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

    /// Whether objects can be locked, as the service says; asked once.
    ///
    /// # Errors
    /// [`ErrorKind::FolderMissing`], and trouble on the way.
    pub async fn are_there(&self, calls: &dyn LockCalls, call: &Call) -> Result<bool> {
        Ok(self.any(calls, call).await? == Any::Yes)
    }

    async fn any(&self, calls: &dyn LockCalls, call: &Call) -> Result<Any> {
        let ask = || async {
            match calls.has_locks(call).await {
                Ok(true) => Ok(Any::Yes),
                Ok(false) => Ok(Any::No),
                Err(failure) if *failure.kind() == ErrorKind::Denied => Ok(Any::NotTold),
                Err(failure) if knows_none(&failure) => Ok(Any::No),
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
        let any = self.any(calls, call).await?;
        if any == Any::No {
            return Ok(());
        }
        let held = match calls.held(call, key).await {
            Ok(held) => held,
            Err(failure) => match failure.kind() {
                ErrorKind::NotFound | ErrorKind::Denied => return Ok(()),
                // Said of a name whose newest version is the marker of a deletion.
                _ if failure.status == 405 => return Ok(()),
                _ if any == Any::NotTold && knows_none(&failure) => return Ok(()),
                _ => return Err(failure.into()),
            },
        };
        let text = match held.end() {
            _ if held.has_hold => "it has a legal hold".to_owned(),
            Some(until) if until > calls.service().server_now() => {
                format!("it is locked until {}", format_rfc3339(until))
            }
            _ => return Ok(()),
        };
        Err(call.error(ErrorKind::Locked, text))
    }

    /// Does what [`larder_destination::Lock::lock`] says. A hold until further notice is no lock: it may end tomorrow.
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
        let held = match self.held(calls, call, key).await {
            // Who may lock need not be allowed to ask.
            Err(error) if *error.kind() == ErrorKind::Denied => Held::default(),
            held => held?,
        };
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
        Ok(self.held(calls, call, key).await?.end())
    }

    async fn held(&self, calls: &dyn LockCalls, call: &Call, key: &str) -> Result<Held> {
        let none = || call.error(ErrorKind::Unsupported, self.none);
        let any = self.any(calls, call).await?;
        if any == Any::No {
            return Err(none());
        }
        match calls.held(call, key).await {
            Err(failure) if any == Any::NotTold && knows_none(&failure) => Err(none()),
            held => Ok(held?),
        }
    }
}

/// Whether a service that has no locks answers so to a question for them: it takes the question for another, or for none.
fn knows_none(failure: &Failure) -> bool {
    let is_said = [400, 404, 405, 501].contains(&failure.status);
    let is_other = matches!(
        failure.kind(),
        ErrorKind::Other | ErrorKind::Unsupported | ErrorKind::NotFound | ErrorKind::Config
    );
    is_said && is_other && failure.code != "NoSuchKey"
}
