//! Stopping a run: now, or when what is being done has an end of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::{Error, Result};

/// Tells all parts of a run to stop. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<CancelState>);

#[derive(Debug, Default)]
struct CancelState {
    set: AtomicBool,
    /// How many parts of the run can be asked to come to an end.
    heeding: AtomicUsize,
    /// Come to an end.
    ending: AtomicBool,
    notify: Notify,
}

/// What a run does that was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// It ends what it is reading and stores a version of it.
    AfterThisFile,
    /// It ends as soon as it can.
    Now,
}

impl Cancel {
    /// A token that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everything to stop now.
    pub fn cancel(&self) {
        self.0.set.store(true, Ordering::SeqCst);
        self.0.notify.notify_waiters();
    }

    /// Asks for an end: of a backup that is reading files, after those that are being read; of everything else, and when it
    /// was asked before, now.
    pub fn stop(&self) -> Stopping {
        if self.0.heeding.load(Ordering::SeqCst) > 0 && !self.0.ending.swap(true, Ordering::SeqCst)
        {
            return Stopping::AfterThisFile;
        }
        self.cancel();
        Stopping::Now
    }

    /// As long as the guard lives, [`Cancel::stop`] is heeded by whoever asks [`Cancel::is_ending`].
    pub(crate) fn heed(&self) -> Heeding {
        self.0.heeding.fetch_add(1, Ordering::SeqCst);
        Heeding(self.clone())
    }

    /// True once [`Cancel::cancel`] was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.set.load(Ordering::SeqCst)
    }

    /// True once the run was asked to end after what it is reading.
    pub(crate) fn is_ending(&self) -> bool {
        self.0.ending.load(Ordering::SeqCst)
    }

    /// An error once cancelled, for use between steps.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Waits until cancelled.
    pub async fn cancelled(&self) {
        loop {
            let waiting = self.0.notify.notified();
            tokio::pin!(waiting);
            waiting.as_mut().enable();
            if self.is_cancelled() {
                return;
            }
            waiting.await;
        }
    }

    /// Runs a future until it ends or the token is set.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when the token was set first.
    pub async fn race<T>(&self, future: impl std::future::Future<Output = T>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.cancelled() => Err(Error::Cancelled),
            value = future => Ok(value),
        }
    }
}

/// See [`Cancel::heed`].
pub(crate) struct Heeding(Cancel);

impl Drop for Heeding {
    fn drop(&mut self) {
        self.0.0.heeding.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Waits between attempts, cut short by cancellation.
pub(crate) async fn pause(cancel: &Cancel, time: Duration) -> Result<()> {
    cancel.race(tokio::time::sleep(time)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_heeds_it_comes_to_an_end_and_only_once() {
        let cancel = Cancel::new();
        let heeding = cancel.heed();
        assert_eq!(cancel.stop(), Stopping::AfterThisFile);
        assert!(cancel.is_ending() && !cancel.is_cancelled());
        assert_eq!(cancel.stop(), Stopping::Now);
        assert!(cancel.is_cancelled());
        drop(heeding);
        let cancel = Cancel::new();
        drop(cancel.heed());
        assert_eq!(cancel.stop(), Stopping::Now);
        assert!(cancel.is_cancelled());
    }
}
