//! How often and after which pause a failed call is tried again.

use std::time::Duration;

use crate::RetryClass;

/// The rule for repeating failed transfers; pure arithmetic, it neither waits nor calls anything.
///
/// A call is made once and then up to `retries` times more, as `number-of-retries` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Repetitions after the first failure.
    pub retries: u32,
    /// Pause before the first repetition.
    pub delay: Duration,
    /// Double the pause with each repetition.
    pub exponential: bool,
    /// The longest pause; wishes of the server are cut to it as well.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    /// Five repetitions, ten seconds apart.
    fn default() -> Self {
        Self {
            retries: 5,
            delay: Duration::from_secs(10),
            exponential: false,
            longest: Duration::from_secs(3600),
        }
    }
}

impl RetryPolicy {
    /// A policy that gives up at the first failure.
    #[must_use]
    pub fn never() -> Self {
        Self {
            retries: 0,
            ..Self::default()
        }
    }

    /// Begins the bookkeeping of one call.
    #[must_use]
    pub fn start(self) -> Attempts {
        Attempts {
            policy: self,
            failed: 0,
        }
    }
}

/// The failures of one call so far.
#[derive(Clone, Debug)]
pub struct Attempts {
    policy: RetryPolicy,
    failed: u32,
}

impl Attempts {
    /// Failures counted so far.
    #[must_use]
    pub fn failed(&self) -> u32 {
        self.failed
    }

    /// Counts a failure: the pause before the next attempt, or `None` to give up.
    ///
    /// [`RetryClass::CreateFolder`] gives `None` too: the folder has to be created before anything can succeed, which
    /// is the caller's affair.
    pub fn next_pause(&mut self, class: RetryClass) -> Option<Duration> {
        let wished = match class {
            RetryClass::Never | RetryClass::CreateFolder => return None,
            RetryClass::Backoff => Duration::ZERO,
            RetryClass::After(wished) => wished,
        };
        if self.failed >= self.policy.retries {
            return None;
        }
        let doublings = if self.policy.exponential {
            self.failed.min(31)
        } else {
            0
        };
        self.failed += 1;
        let own = self.policy.delay.saturating_mul(1 << doublings);
        Some(own.max(wished).min(self.policy.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(policy: RetryPolicy, class: RetryClass) -> Vec<u64> {
        let mut attempts = policy.start();
        std::iter::from_fn(|| attempts.next_pause(class))
            .map(|pause| pause.as_secs())
            .collect()
    }

    #[test]
    fn pauses_follow_the_policy() {
        let plain = RetryPolicy::default();
        let growing = RetryPolicy {
            exponential: true,
            longest: Duration::from_secs(60),
            ..plain
        };
        assert_eq!(pauses(plain, RetryClass::Backoff), [10, 10, 10, 10, 10]);
        assert_eq!(pauses(growing, RetryClass::Backoff), [10, 20, 40, 60, 60]);
        assert_eq!(
            pauses(growing, RetryClass::After(Duration::from_secs(30))),
            [30, 30, 40, 60, 60]
        );
        assert_eq!(
            pauses(growing, RetryClass::After(Duration::from_secs(999))),
            [60; 5]
        );
        assert_eq!(pauses(plain, RetryClass::Never), [0_u64; 0]);
        assert_eq!(pauses(plain, RetryClass::CreateFolder), [0_u64; 0]);
        assert_eq!(
            pauses(RetryPolicy::never(), RetryClass::Backoff),
            [0_u64; 0]
        );
    }

    #[test]
    fn many_repetitions_do_not_overflow() {
        let policy = RetryPolicy {
            retries: 100,
            exponential: true,
            ..RetryPolicy::default()
        };
        assert_eq!(pauses(policy, RetryClass::Backoff).last(), Some(&3600));
    }
}
