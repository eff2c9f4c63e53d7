//! The memory that volumes being written share. What finds no room goes to a temporary file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number of bytes that several users share.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<State>);

#[derive(Debug)]
struct State {
    most: u64,
    used: AtomicU64,
}

impl Budget {
    /// A budget of so many bytes.
    pub(crate) fn new(most: u64) -> Self {
        Self(Arc::new(State {
            most,
            used: AtomicU64::new(0),
        }))
    }

    /// All that there is, for everybody together.
    pub(crate) fn most(&self) -> u64 {
        self.0.most
    }

    /// A share of it that has nothing yet.
    pub(crate) fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            granted: 0,
            used: 0,
        }
    }

    fn take_if_free(&self, bytes: u64) -> bool {
        let most = self.0.most;
        let taken = self
            .0
            .used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= most)
            });
        taken.is_ok()
    }
}

/// What one user has of a [`Budget`]; dropping it gives that back.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    /// Bytes taken from the budget; some more than are used, so that it is not asked each time.
    granted: u64,
    used: u64,
}

impl Share {
    /// Uses so many bytes more, when the budget has them.
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let wanted = self.used.saturating_add(bytes);
        if wanted > self.granted {
            let step = (wanted - self.granted).max(STEP);
            if !self.budget.take_if_free(step) {
                return false;
            }
            self.granted += step;
        }
        self.used = wanted;
        true
    }

    /// Uses so many bytes more, whether or not the budget has them: for what cannot go elsewhere. Others get less.
    pub(crate) fn must_grow(&mut self, bytes: u64) {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.granted {
            let step = (self.used - self.granted).max(STEP);
            self.budget.0.used.fetch_add(step, Ordering::SeqCst);
            self.granted += step;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.granted, Ordering::SeqCst);
    }
}

/// What is taken from a budget at a time.
const STEP: u64 = 1 << 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_get_what_is_left_and_give_it_back() {
        let budget = Budget::new(4 * STEP);
        let (mut a, mut b, mut forced) = (budget.share(), budget.share(), budget.share());
        assert!(a.grow(3 * STEP) && b.grow(1) && b.grow(STEP - 1));
        assert!(!b.grow(1) && !a.grow(1));
        forced.must_grow(10 * STEP);
        drop(a);
        assert!(!b.grow(1), "what was forced counts");
        drop(forced);
        assert!(b.grow(1));
        drop(b);
        assert_eq!(budget.0.used.load(Ordering::SeqCst), 0);
    }
}
