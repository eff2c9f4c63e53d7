//! When an idempotent request is sent again, and after which pause.

use std::time::Duration;

use larder_destination::{Error, ErrorKind, Result};

/// One policy for all providers: exponential pauses with jitter, and the server's own wish where it names one.
///
/// Only requests that may be repeated without harm go through [`RetryPolicy::run`]. Sending a whole volume again
/// under a new name is the engine's business, not this one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts after the first one.
    pub retries: u32,
    /// Upper bound of the first pause; each further bound is twice as long.
    pub first: Duration,
    /// Longest pause chosen by ourselves.
    pub longest: Duration,
    /// Longest wish of a server that is waited for here; a longer one is handed to the caller at once.
    pub longest_wish: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries: 4,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
            longest_wish: Duration::from_secs(120),
        }
    }
}

impl RetryPolicy {
    /// A policy that never repeats.
    #[must_use]
    pub fn never() -> Self {
        Self {
            retries: 0,
            ..Self::default()
        }
    }

    /// Calls `attempt` with 0, 1, 2 … until it succeeds, fails for good, or the attempts are used up.
    ///
    /// Repeated are network faults, a busy server and damaged transfers. [`ErrorKind::Other`] is not: a refusal that
    /// nobody here understands does not get better within seconds.
    ///
    /// # Errors
    /// The error of the last attempt.
    pub async fn run<T, F>(&self, mut attempt: impl FnMut(u32) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut number = 0;
        loop {
            let error = match attempt(number).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let Some(pause) = self.pause(number, &error, random_fraction()) else {
                return Err(error);
            };
            tokio::time::sleep(pause).await;
            number += 1;
        }
    }

    /// The pause after attempt `number` failed with `error`; `None` to give up. `random` lies in 0..1.
    fn pause(&self, number: u32, error: &Error, random: f64) -> Option<Duration> {
        if number >= self.retries {
            return None;
        }
        let own = self
            .first
            .saturating_mul(1 << number.min(16))
            .min(self.longest);
        // Half of the pause is fixed so that a server gets some rest, half is random so that clients do not return
        // together.
        let own = own.mul_f64(0.5 + random / 2.0);
        match error.kind() {
            ErrorKind::Busy(Some(wish)) if *wish > self.longest_wish => None,
            ErrorKind::Busy(Some(wish)) => Some(wish.saturating_add(self.first.mul_f64(random))),
            ErrorKind::Busy(None) | ErrorKind::Network | ErrorKind::Corrupt => Some(own),
            ErrorKind::NotFound
            | ErrorKind::FolderMissing
            | ErrorKind::Exists
            | ErrorKind::Denied
            | ErrorKind::SignInNeeded
            | ErrorKind::Untrusted(_)
            | ErrorKind::Quota
            | ErrorKind::Archived
            | ErrorKind::Locked
            | ErrorKind::Config
            | ErrorKind::Unsupported
            | ErrorKind::Cancelled
            | ErrorKind::Other => None,
        }
    }
}

/// A number in 0..1 that differs between processes; a missing random source only costs the jitter.
#[expect(
    clippy::disallowed_methods,
    reason = "only the length of a pause depends on it"
)]
fn random_fraction() -> f64 {
    let mut bytes = [0_u8; 4];
    if getrandom::fill(&mut bytes).is_err() {
        return 0.5;
    }
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use larder_destination::Operation;

    use super::*;

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, "test", Operation::Get, "x")
    }

    #[test]
    fn pauses_grow_are_jittered_and_end() {
        let policy = RetryPolicy::default();
        let fault = error(ErrorKind::Network);
        assert_eq!(
            policy.pause(0, &fault, 1.0),
            Some(Duration::from_millis(500))
        );
        assert_eq!(
            policy.pause(0, &fault, 0.0),
            Some(Duration::from_millis(250))
        );
        assert_eq!(policy.pause(2, &fault, 1.0), Some(Duration::from_secs(2)));
        assert_eq!(policy.pause(4, &fault, 1.0), None);
        let patient = RetryPolicy {
            retries: 50,
            ..policy
        };
        assert_eq!(
            patient.pause(40, &fault, 1.0),
            Some(Duration::from_secs(30))
        );
    }

    #[test]
    fn the_wish_of_the_server_counts_unless_it_is_too_long() {
        let policy = RetryPolicy::default();
        let wish = |seconds| error(ErrorKind::Busy(Some(Duration::from_secs(seconds))));
        assert_eq!(policy.pause(0, &wish(7), 0.0), Some(Duration::from_secs(7)));
        assert_eq!(policy.pause(0, &wish(3600), 0.0), None);
    }

    #[test]
    fn refusals_are_not_repeated() {
        let policy = RetryPolicy::default();
        for kind in [
            ErrorKind::Denied,
            ErrorKind::SignInNeeded,
            ErrorKind::NotFound,
            ErrorKind::Other,
        ] {
            assert_eq!(policy.pause(0, &error(kind), 0.0), None);
        }
    }

    #[tokio::test]
    async fn run_stops_at_the_first_success() {
        let mut calls = 0;
        let policy = RetryPolicy {
            first: Duration::from_millis(1),
            ..RetryPolicy::default()
        };
        let outcome = policy
            .run(|number| {
                calls += 1;
                async move {
                    if number < 2 {
                        Err(error(ErrorKind::Network))
                    } else {
                        Ok(number)
                    }
                }
            })
            .await;
        assert_eq!(outcome.ok(), Some(2));
        assert_eq!(calls, 3);
    }
}
