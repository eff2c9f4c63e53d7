//! Object locks (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html>): they protect versions of
//! objects, in buckets that were made for it.
//!
//! In such a bucket a deletion of an object leaves the locked version in place, hidden behind a marker, and an upload hides
//! it behind a newer version. So what is to go or to be replaced is asked for its lock first.

use async_trait::async_trait;
use larder_destination::{Error, ErrorKind, Lock, Operation, Result};
use larder_httpkit::{Call, Element, Outcome, format_rfc3339, rfc3339, text_element, unreadable};

use crate::store::Store;

impl Store {
    /// Whether the bucket has object locks; asked once. A server that knows no locks has none, and so has a bucket that does
    /// not say.
    pub(crate) async fn has_locks(&self, call: &Call) -> Result<bool> {
        let ask = || async {
            match self.api.object_lock(call).await {
                Ok(found) => Ok(found.text_of("ObjectLockEnabled") == "Enabled"),
                Err(failure) if *failure.kind() == ErrorKind::FolderMissing => Err(failure.into()),
                // 400, 405 and 501 are those of servers without locks, and 404 that of buckets without.
                Err(failure) if (400..500).contains(&failure.status) || failure.status == 501 => {
                    Ok(false)
                }
                Err(failure) => Err(Error::from(failure)),
            }
        };
        self.locks.get_or_try_init(ask).await.copied()
    }

    /// The lock of an object of a bucket with locks.
    async fn lock_of(&self, call: &Call, key: &str) -> Result<Held> {
        let retention = absent(self.api.retention(call, key).await, NO_RETENTION)?;
        let hold = absent(self.api.legal_hold(call, key).await, NO_HOLD)?;
        let mut held = Held::default();
        if let Some(retention) = retention {
            let until = retention.text_of("RetainUntilDate");
            held.until = match until.is_empty() {
                true => None,
                false => Some(
                    rfc3339(until)
                        .ok_or_else(|| unreadable(call, "the end of a lock is no time"))?,
                ),
            };
            retention.text_of("Mode").clone_into(&mut held.mode);
        }
        if hold.is_some_and(|hold| hold.text_of("Status") == "ON") {
            held.until = Some(i64::MAX);
        }
        Ok(held)
    }

    /// Refuses to touch an object that is locked.
    pub(crate) async fn check_unlocked(&self, call: &Call, key: &str) -> Result<()> {
        if !self.has_locks(call).await? {
            return Ok(());
        }
        let held = match self.lock_of(call, key).await {
            // Nothing to protect; and who may not ask leaves the decision to the service.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Denied) => {
                return Ok(());
            }
            held => held?,
        };
        match held.until {
            Some(until) if until > self.api.service.server_now() => {
                let text = match until {
                    i64::MAX => "it has a legal hold".to_owned(),
                    until => format!("it is locked until {}", format_rfc3339(until)),
                };
                Err(call.error(ErrorKind::Locked, text))
            }
            _ => Ok(()),
        }
    }

    async fn check_has_locks(&self, call: &Call) -> Result<()> {
        match self.has_locks(call).await? {
            true => Ok(()),
            false => {
                let text = "the bucket was made without object locks, or its server has none";
                Err(call.error(ErrorKind::Unsupported, text))
            }
        }
    }
}

#[async_trait]
impl Lock for Store {
    async fn lock(&self, name: &str, until: i64) -> Result<()> {
        let (call, key) = &self.on(Operation::Lock, name)?;
        self.check_has_locks(call).await?;
        let held = self.lock_of(call, key).await?;
        let is_over = |end: &i64| *end <= self.api.service.server_now();
        if held.until.is_some_and(|held| held >= until) {
            return Ok(());
        }
        // The stricter mode cannot be taken back.
        let mode = match held.mode.as_str() {
            COMPLIANCE if !held.until.as_ref().is_some_and(is_over) => COMPLIANCE,
            _ => &self.lock_mode,
        };
        let wish =
            text_element("Mode", mode) + &text_element("RetainUntilDate", &format_rfc3339(until));
        Ok(self.api.put_retention(call, key, &wish).await?)
    }

    async fn locked_until(&self, name: &str) -> Result<Option<i64>> {
        let (call, key) = &self.on(Operation::LockedUntil, name)?;
        self.check_has_locks(call).await?;
        Ok(self.lock_of(call, key).await?.until)
    }
}

/// What keeps an object.
#[derive(Default)]
struct Held {
    /// In seconds since 1970; [`i64::MAX`] with a legal hold.
    until: Option<i64>,
    mode: String,
}

/// `None` when the service says with this code that an object has none of it.
fn absent(outcome: Outcome<Element>, codes: &[&str]) -> Result<Option<Element>> {
    match outcome {
        Err(failure) if codes.contains(&failure.code.as_str()) => Ok(None),
        other => Ok(Some(other?)),
    }
}

/// The mode that nobody can end before its time.
const COMPLIANCE: &str = "COMPLIANCE";
/// No lock: Amazon's code, and the one of SeaweedFS 4.48 (observed).
const NO_RETENTION: &[&str] = &[
    "NoSuchObjectLockConfiguration",
    "ObjectLockConfigurationNotFoundError",
];
const NO_HOLD: &[&str] = &[
    "NoSuchObjectLockConfiguration",
    "NoSuchObjectLegalHold",
    "ObjectLockConfigurationNotFoundError",
];
