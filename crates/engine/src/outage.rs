//! A network that is gone for a while: how long calls are repeated until it is back (`--network-outage-limit`).
//!
//! It counts for all calls of a run together. An outage begins when a call gets no answer although the destination
//! answered before in this run, and ends with the next answer. Meanwhile attempts do not count for `--number-of-retries`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Whether the destination answers.
#[derive(Debug)]
pub(crate) struct Outage {
    limit: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// It answered in this run.
    was_heard: bool,
    gone: Option<Gone>,
}

#[derive(Debug)]
struct Gone {
    since: Instant,
    told: Option<Instant>,
}

/// What to do after a call that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) pause: Duration,
    /// How long the network has been gone, when it is time to say so.
    pub(crate) tell: Option<Duration>,
}

impl Outage {
    /// No outage yet; with a limit of 0 there is never one.
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            state: Mutex::default(),
        }
    }

    /// How long a network may be gone.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// A call got no answer for the `times`-th time in a row; `None` when that is no outage, or when it has lasted too
    /// long: then the other rules hold.
    pub(crate) fn failed(&self, now: Instant, times: u32) -> Option<Wait> {
        if self.limit.is_zero() {
            return None;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.was_heard {
            return None;
        }
        let gone = state.gone.get_or_insert(Gone {
            since: now,
            told: None,
        });
        let lasted = now.saturating_duration_since(gone.since);
        let left = self.limit.checked_sub(lasted).filter(|l| !l.is_zero())?;
        let is_told = |told: Instant| now.saturating_duration_since(told) < TOLD_EVERY;
        let tell = (!gone.told.is_some_and(is_told)).then_some(lasted);
        if tell.is_some() {
            gone.told = Some(now);
        }
        let doubled = 1_u32.checked_shl(times.saturating_sub(1));
        let own = FIRST_PAUSE.saturating_mul(doubled.unwrap_or(u32::MAX));
        Some(Wait {
            pause: own.min(LONGEST_PAUSE).min(left),
            tell,
        })
    }

    /// The destination answered; how long it had been gone, when it was.
    pub(crate) fn answered(&self, now: impl FnOnce() -> Instant) -> Option<Duration> {
        if self.limit.is_zero() {
            return None;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.was_heard = true;
        let gone = state.gone.take()?;
        Some(now().saturating_duration_since(gone.since))
    }
}

/// The pause after the first call without an answer; it doubles with each further one,
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// An outage is told at most so often.
const TOLD_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn heard(limit: Duration) -> (Outage, Instant) {
        let (outage, now) = (Outage::new(limit), Instant::now());
        assert_eq!(outage.answered(|| now), None);
        (outage, now)
    }

    #[test]
    fn a_call_is_repeated_until_the_limit_and_told_once_a_minute() {
        let (outage, begun) = heard(HOUR);
        let (mut now, mut times, mut told) = (begun, 0, 0);
        while let Some(wait) = {
            times += 1;
            outage.failed(now, times)
        } {
            let lasted = now - begun;
            told += u32::from(wait.tell.is_some());
            assert!(wait.tell.is_none_or(|tell| tell == lasted), "{lasted:?}");
            assert!(wait.pause > Duration::ZERO && wait.pause <= LONGEST_PAUSE);
            now += wait.pause;
        }
        assert_eq!(now - begun, HOUR);
        assert!((55..=61).contains(&told), "{told} messages");
        assert!(times < 75, "{times} attempts");
    }

    #[test]
    fn an_answer_ends_an_outage_and_the_next_one_begins_anew() {
        let (outage, begun) = heard(HOUR);
        let first = outage.failed(begun, 1).expect("an outage");
        assert_eq!(first.tell, Some(Duration::ZERO));
        let later = begun + Duration::from_secs(3500);
        assert_eq!(
            outage.failed(later, 9).expect("the same").pause,
            LONGEST_PAUSE
        );
        assert_eq!(outage.answered(|| later), Some(later - begun));
        assert_eq!(outage.answered(|| later), None);
        let again = outage
            .failed(later + HOUR, 1)
            .expect("another has its own limit");
        assert_eq!(again, first);
    }

    #[test]
    fn calls_at_the_same_time_share_an_outage() {
        let (outage, begun) = heard(HOUR);
        let tells = (0..4).filter(|_| outage.failed(begun, 1).is_some_and(|w| w.tell.is_some()));
        assert_eq!(tells.count(), 1);
        assert_eq!(outage.failed(begun + HOUR, 1), None);
    }

    #[test]
    fn nobody_waits_for_a_server_that_never_answered_or_without_a_limit() {
        assert_eq!(Outage::new(HOUR).failed(Instant::now(), 1), None);
        let (outage, now) = heard(Duration::ZERO);
        assert_eq!(outage.failed(now, 1), None);
    }
}
