//! Object locks (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html>), in buckets that were made for
//! them.

use async_trait::async_trait;
use larder_destination::{Lock, Operation, Result};
use larder_httpkit::{
    Call, Element, Held, LockCalls, Outcome, Service, format_rfc3339, rfc3339, text_element,
};

use crate::api::Api;
use crate::store::Store;

#[async_trait]
impl LockCalls for Api {
    fn service(&self) -> &Service {
        &self.service
    }

    async fn has_locks(&self, call: &Call) -> Outcome<bool> {
        let found = self
            .about_lock(call, None, "ObjectLockConfiguration")
            .await?;
        Ok(found.text_of("ObjectLockEnabled") == "Enabled")
    }

    async fn held(&self, call: &Call, key: &str) -> Outcome<Held> {
        let retention = absent(self.about_lock(call, Some(key), "Retention").await)?;
        let hold = absent(self.about_lock(call, Some(key), "LegalHold").await)?;
        // What cannot be read keeps the file.
        let end = |until: &str| (!until.is_empty()).then(|| rfc3339(until).unwrap_or(i64::MAX));
        let retained = end(retention.text_of("RetainUntilDate"));
        let is_over = retained.is_none_or(|end| end <= self.service.server_now());
        Ok(Held {
            until: match hold.text_of("Status") {
                "ON" => Some(i64::MAX),
                _ => retained,
            },
            // One that is over binds nobody.
            is_strict: !is_over && retention.text_of("Mode") == COMPLIANCE,
        })
    }

    async fn hold(&self, call: &Call, key: &str, until: i64, is_strict: bool) -> Outcome<()> {
        let mode = match is_strict {
            true => COMPLIANCE,
            false => &self.lock_mode,
        };
        let until = text_element("RetainUntilDate", &format_rfc3339(until));
        let wish = text_element("Mode", mode) + &until;
        self.put_retention(call, key, &wish).await
    }
}

#[async_trait]
impl Lock for Store {
    async fn lock(&self, name: &str, until: i64) -> Result<()> {
        let (call, key) = &self.on(Operation::Lock, name)?;
        self.locks.lock(&*self.api, call, key, until).await
    }

    async fn locked_until(&self, name: &str) -> Result<Option<i64>> {
        let (call, key) = &self.on(Operation::LockedUntil, name)?;
        self.locks.locked_until(&*self.api, call, key).await
    }
}

/// An empty document where the service says that an object has none of it.
fn absent(outcome: Outcome<Element>) -> Outcome<Element> {
    match outcome {
        Err(failure) if ABSENT.contains(&failure.code.as_str()) => Ok(Element::default()),
        other => other,
    }
}

/// The mode that nobody can end before its time.
const COMPLIANCE: &str = "COMPLIANCE";
/// No lock: Amazon's code, and those of SeaweedFS 4.48 (observed).
const ABSENT: &[&str] = &[
    "NoSuchObjectLockConfiguration",
    "ObjectLockConfigurationNotFoundError",
    "NoSuchObjectLegalHold",
];
/// What to say of a bucket without locks.
pub(crate) const NO_LOCKS: &str =
    "the bucket was made without object locks, or its server has none";
