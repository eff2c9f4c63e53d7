//! Object locks (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html>), in buckets that were made for
//! them.

use async_trait::async_trait;
use larder_destination::{ErrorKind, Lock, Operation, Result};
use larder_httpkit::{
    Call, Element, Failure, Held, LockCalls, Outcome, Service, format_rfc3339, rfc3339,
    text_element,
};

use crate::api::Api;
use crate::store::Store;

#[async_trait]
impl LockCalls for Api {
    fn service(&self) -> &Service {
        &self.service
    }

    async fn has_locks(&self, call: &Call) -> Outcome<bool> {
        match self.knows_locks {
            true => self.has_object_lock(call).await,
            // Signatures of version 2 are for gateways of long ago, which do not agree on how to sign this question.
            false => Ok(false),
        }
    }

    async fn held(&self, call: &Call, key: &str) -> Outcome<Held> {
        let retention = self.about_object(call, key, "retention", "Retention");
        let hold = self.about_object(call, key, "legal-hold", "LegalHold");
        let (retention, hold) = match (absent(retention.await), absent(hold.await)) {
            (Ok(retention), Ok(hold)) => (retention, hold),
            // Each has a permission of its own, and not every server has both.
            (Ok(found), Err(failure)) if is_left_out(&failure) => (found, Element::default()),
            (Err(failure), Ok(found)) if is_left_out(&failure) => (Element::default(), found),
            (Err(failure), _) | (_, Err(failure)) => return Err(failure),
        };
        let until = match retention.text_of("RetainUntilDate") {
            "" => None,
            // What cannot be read keeps the file.
            until => Some(rfc3339(until).unwrap_or(i64::MAX)),
        };
        let is_over = until.is_none_or(|end| end <= self.service.server_now());
        Ok(Held {
            until,
            has_hold: hold.text_of("Status") == "ON",
            // One that is over binds nobody.
            is_strict: !is_over && retention.text_of("Mode") == COMPLIANCE,
        })
    }

    async fn hold(&self, call: &Call, key: &str, until: i64, is_strict: bool) -> Outcome<()> {
        let until = text_element("RetainUntilDate", &format_rfc3339(until));
        let wish = |mode| text_element("Mode", mode) + &until;
        let mode = match is_strict {
            true => COMPLIANCE,
            false => &self.lock_mode,
        };
        match self.put_retention(call, key, &wish(mode)).await {
            // A lock that lasts is made longer by all, and stricter by those whom the owner allows it.
            Err(failure)
                if !is_strict && mode == COMPLIANCE && *failure.kind() == ErrorKind::Denied =>
            {
                self.put_retention(call, key, &wish(GOVERNANCE)).await
            }
            outcome => outcome,
        }
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

/// Whether a question is one that the sign-in may not ask or the server does not know.
fn is_left_out(failure: &Failure) -> bool {
    matches!(failure.kind(), ErrorKind::Denied | ErrorKind::Unsupported)
}

/// The mode that those can end before its time whom the owner allows it.
const GOVERNANCE: &str = "GOVERNANCE";
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
