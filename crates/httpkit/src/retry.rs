//! When a request is sent again, and after which pause.
//!
//! Two rules work together. The engine repeats whole operations, `--number-of-retries` times; puts under a new name.
//! Within one operation, requests that may be sent twice without harm are repeated here, at most
//! [`RETRIES_OF_REQUESTS`] times and never more often than the engine would. So an operation that fails for good sends
//! its request at most `(n + 1) × (min(n, 2) + 1)` times for n retries: once with 0, four times with 1, 18 times with
//! the usual 5. The content of a put is sent at most `n + 1` times, since it is not repeated here; a piece of an upload
//! session is, because losing it would mean to send all pieces before it again.

use std::time::Duration;

use larder_destination::{ErrorKind, Random};

use crate::failure::Failure;

/// How often a request is sent again within one operation.
pub const RETRIES_OF_REQUESTS: u32 = 2;

/// One rule for all providers: exponential pauses with jitter, and the server's own wish where it names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts after the first one.
    pub retries: u32,
    /// Upper bound of the first pause; each further bound is twice as long.
    pub first: Duration,
    /// Longest pause chosen by ourselves.
    pub longest: Duration,
    /// Longest wish of a server that is waited for within an operation; a longer one is the engine's to wait for.
    pub longest_wish: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries: RETRIES_OF_REQUESTS,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
            longest_wish: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// The policy under which the engine repeats operations `number_of_retries` times.
    #[must_use]
    pub fn under(number_of_retries: u32) -> Self {
        Self {
            retries: number_of_retries.min(RETRIES_OF_REQUESTS),
            ..Self::default()
        }
    }

    /// A policy that never repeats.
    #[must_use]
    pub fn never() -> Self {
        Self::under(0)
    }

    /// The pause after attempt `number` failed; `None` to give up.
    ///
    /// Repeated are broken exchanges, a busy server and damaged transfers. [`ErrorKind::Other`] is not: a refusal that
    /// nobody here understands does not get better within seconds; nor is a server that cannot be reached, since the
    /// engine's longer pauses give it a better chance and are told.
    pub(crate) fn pause(
        &self,
        number: u32,
        failure: &Failure,
        random: &dyn Random,
    ) -> Option<Duration> {
        if number >= self.retries || failure.unreached {
            return None;
        }
        let own = self
            .first
            .saturating_mul(1 << number.min(16))
            .min(self.longest);
        let fraction = random_fraction(random);
        // Half of the pause is fixed so that a server gets some rest, half is random so that clients do not return
        // together.
        let own = own.mul_f64(0.5 + fraction / 2.0);
        match failure.kind() {
            ErrorKind::Busy(Some(wish)) if *wish > self.longest_wish => None,
            ErrorKind::Busy(Some(wish)) => Some(wish.saturating_add(self.first.mul_f64(fraction))),
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

/// A number in 0..1; a missing source of randomness only costs the jitter.
fn random_fraction(random: &dyn Random) -> f64 {
    let mut bytes = [0_u8; 4];
    if random.fill(&mut bytes).is_err() {
        return 0.5;
    }
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use larder_destination::{Error, Operation};

    use super::*;

    /// Always the same byte.
    struct Bytes(u8);

    impl Random for Bytes {
        fn fill(&self, buffer: &mut [u8]) -> std::io::Result<()> {
            buffer.fill(self.0);
            Ok(())
        }
    }

    fn failure(kind: ErrorKind) -> Box<Failure> {
        Error::new(kind, "test", Operation::Get, "x").into()
    }

    #[test]
    fn pauses_grow_are_jittered_and_end() {
        let policy = RetryPolicy::default();
        let fault = failure(ErrorKind::Network);
        let millis = |policy: RetryPolicy, number, byte| {
            let pause = policy.pause(number, &fault, &Bytes(byte));
            pause.map(|pause| pause.as_millis())
        };
        assert_eq!(millis(policy, 0, 255), Some(500));
        assert_eq!(millis(policy, 0, 0), Some(250));
        assert_eq!(millis(policy, 1, 255), Some(1000));
        assert_eq!(millis(policy, 2, 255), None);
        let patient = RetryPolicy {
            retries: 50,
            ..policy
        };
        assert_eq!(millis(patient, 40, 255), Some(30_000));
    }

    #[test]
    fn the_number_of_retries_bounds_requests_too() {
        assert_eq!(RetryPolicy::under(0).retries, 0);
        assert_eq!(RetryPolicy::under(1).retries, 1);
        assert_eq!(RetryPolicy::under(5).retries, 2);
        assert_eq!(RetryPolicy::under(u32::MAX).retries, 2);
    }

    #[test]
    fn the_wish_of_the_server_counts_unless_it_is_too_long() {
        let policy = RetryPolicy::default();
        let pause = |seconds| {
            let wish = ErrorKind::Busy(Some(Duration::from_secs(seconds)));
            policy.pause(0, &failure(wish), &Bytes(0))
        };
        assert_eq!(pause(7), Some(Duration::from_secs(7)));
        assert_eq!(pause(3600), None);
    }

    #[test]
    fn refusals_and_servers_out_of_reach_are_not_repeated() {
        let policy = RetryPolicy::default();
        for kind in [
            ErrorKind::Denied,
            ErrorKind::SignInNeeded,
            ErrorKind::NotFound,
            ErrorKind::Other,
        ] {
            assert_eq!(policy.pause(0, &failure(kind), &Bytes(0)), None);
        }
        let mut unreached = failure(ErrorKind::Network);
        unreached.unreached = true;
        assert_eq!(policy.pause(0, &unreached, &Bytes(0)), None);
    }
}
