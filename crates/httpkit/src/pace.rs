//! Waits: when a server may be asked again, for all transfers of an account together, and who hears of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use larder_destination::{LONG_WAIT, LONGEST_WAIT, Wait, WaitListener};
use tokio::time::Instant;

use crate::failure::Call;

/// "Not before" per server. One service has one, so it holds for one account.
pub(crate) struct Pace {
    not_before: Mutex<HashMap<String, Instant>>,
    listener: Arc<dyn WaitListener>,
}

impl std::fmt::Debug for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pace").finish_non_exhaustive()
    }
}

impl Pace {
    pub(crate) fn new(listener: Arc<dyn WaitListener>) -> Self {
        Self {
            not_before: Mutex::default(),
            listener,
        }
    }

    /// The server wishes to be left alone for `wish`, which is cut to [`LONGEST_WAIT`].
    pub(crate) fn hold(&self, host: &str, wish: Duration) {
        let until = Instant::now() + wish.min(LONGEST_WAIT);
        let mut all = self.lock();
        let known = all.entry(host.to_owned()).or_insert(until);
        *known = until.max(*known);
    }

    /// Waits until the server may be asked; once, so that a server that goes on wishing cannot hold a request for ever.
    pub(crate) async fn wait(&self, call: &Call, host: &str) {
        let until = self.lock().get(host).copied();
        let Some(left) = until.and_then(|until| until.checked_duration_since(Instant::now()))
        else {
            return;
        };
        self.pause(call, left, "the server asks for a pause").await;
    }

    /// Waits, and says so first when it takes long. Ends when the future is dropped.
    pub(crate) async fn pause(&self, call: &Call, time: Duration, reason: &str) {
        let time = time.min(LONGEST_WAIT);
        if time >= LONG_WAIT {
            self.listener.waiting(&Wait {
                object: &call.name(),
                time,
                reason,
            });
        }
        tokio::time::sleep(time).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.not_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use larder_destination::Operation;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<(String, u64)>>);

    impl WaitListener for Heard {
        fn waiting(&self, wait: &Wait<'_>) {
            let entry = (wait.object.to_owned(), wait.time.as_secs());
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(entry);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wish_holds_for_all_requests_to_that_server_and_is_told() {
        let heard = Arc::new(Heard::default());
        let pace = Pace::new(Arc::clone(&heard) as Arc<dyn WaitListener>);
        let calls = ["a", "b"].map(|name| Call::on("test", Operation::Get, name));
        pace.hold("h", Duration::from_secs(40));
        pace.hold("h", Duration::from_secs(5));
        let begin = Instant::now();
        pace.wait(&calls[0], "other").await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
        tokio::join!(pace.wait(&calls[0], "h"), pace.wait(&calls[1], "h"));
        assert_eq!(begin.elapsed().as_secs(), 40);
        pace.wait(&calls[0], "h").await;
        assert_eq!(begin.elapsed().as_secs(), 40);
        let told = heard
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        assert_eq!(told, [("test get a".into(), 40), ("test get b".into(), 40)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wish_of_a_hundred_years_is_cut() {
        let pace = Pace::new(Arc::new(larder_destination::NoWaitListener));
        let begin = Instant::now();
        pace.hold("h", Duration::from_secs(100 * 365 * 86_400));
        pace.wait(&Call::new("test", Operation::List), "h").await;
        assert_eq!(begin.elapsed(), LONGEST_WAIT);
    }
}
