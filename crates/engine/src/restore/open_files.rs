//! Temporary files that stay open between their blocks: those that were used last.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::process::{Resource, getrlimit};

use super::job::State;

/// The files that are open between their blocks. Each has a slot.
///
/// Locks are taken in one order: the state of a job, then the slots. The state of another job is only tried.
pub(super) struct OpenFiles {
    slots: Mutex<Slots>,
    limit: usize,
}

#[derive(Default)]
struct Slots {
    kept: Vec<Weak<Mutex<State>>>,
    free: Vec<usize>,
    /// Where the search for a file to close goes on.
    hand: usize,
}

impl OpenFiles {
    /// A quarter of what the process may open: the folders of the target, the catalog and connections need some too.
    pub(super) fn new() -> Self {
        let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let limit = (allowed / 4).clamp(FEWEST, MOST);
        Self::with_limit(usize::try_from(limit).unwrap_or(0))
    }

    fn with_limit(limit: usize) -> Self {
        Self {
            slots: Mutex::default(),
            limit,
        }
    }

    /// Gives a slot to a file that was just opened, whose state the caller holds. Beyond the limit one that was not used
    /// lately is closed for it; when all are in use just now, there is one more.
    pub(super) fn keep(&self, state: &Arc<Mutex<State>>) -> usize {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.free.pop().or_else(|| {
            let is_full = slots.kept.len() >= self.limit;
            is_full.then(|| slots.close_one()).flatten()
        });
        let slot = slot.unwrap_or(slots.kept.len());
        match slots.kept.get_mut(slot) {
            Some(kept) => *kept = Arc::downgrade(state),
            None => slots.kept.push(Arc::downgrade(state)),
        }
        slot
    }

    /// Takes back the slot of a file that was closed.
    pub(super) fn give_back(&self, slot: usize) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.free.push(slot);
    }
}

impl Slots {
    /// Closes a file that nobody writes just now, and that was not used since the hand passed it last; gives its slot.
    ///
    /// It is closed while its state is locked. Closed later, it would still be locked when another thread opens it again.
    fn close_one(&mut self) -> Option<usize> {
        // The first round may find all of them used.
        for _ in 0..2 * self.kept.len() {
            let slot = self.hand;
            self.hand = (slot + 1) % self.kept.len();
            // A job that ended with an error did not give it back.
            let Some(state) = self.kept.get(slot)?.upgrade() else {
                return Some(slot);
            };
            let Ok(mut state) = state.try_lock() else {
                continue;
            };
            if !std::mem::take(&mut state.was_used)
                && (state.file.as_ref()).is_none_or(|file| Arc::strong_count(file) == 1)
            {
                state.file = None;
                state.slot = None;
                return Some(slot);
            }
        }
        None
    }
}

/// Files open between their blocks, at most. Each costs the system about a kilobyte.
const MOST: u64 = 512;
/// The same where the system allows few.
const FEWEST: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(files: &OpenFiles) -> Arc<Mutex<State>> {
        let state = Arc::new(Mutex::new(State::default()));
        let mut locked = state.lock().unwrap();
        locked.file = Some(Arc::new(tempfile::tempfile().unwrap()));
        locked.slot = Some(files.keep(&state));
        drop(locked);
        state
    }

    fn is_open(state: &Arc<Mutex<State>>) -> bool {
        let state = state.lock().unwrap();
        assert_eq!(state.file.is_some(), state.slot.is_some());
        state.file.is_some()
    }

    #[test]
    fn the_file_that_was_not_used_is_closed() {
        let files = OpenFiles::with_limit(3);
        let all: Vec<_> = (0..3).map(|_| opened(&files)).collect();
        for used in [0, 2] {
            all[used].lock().unwrap().was_used = true;
        }
        let more = opened(&files);
        let open: Vec<bool> = all.iter().chain([&more]).map(is_open).collect();
        assert_eq!(open, [true, false, true, true]);
    }

    #[test]
    fn a_file_that_is_written_stays_open_beyond_the_limit() {
        let files = OpenFiles::with_limit(2);
        let (written, locked) = (opened(&files), opened(&files));
        let handle = written.lock().unwrap().file.clone();
        let guard = locked.lock().unwrap();
        let more = opened(&files);
        drop(guard);
        assert!(is_open(&written) && is_open(&locked) && is_open(&more));
        drop(handle);
        opened(&files);
        assert!(!is_open(&written) && is_open(&locked) && is_open(&more));
    }

    #[test]
    fn slots_are_used_again() {
        let files = OpenFiles::with_limit(2);
        for _ in 0..10 {
            let state = opened(&files);
            let mut state = state.lock().unwrap();
            state.file = None;
            files.give_back(state.slot.take().unwrap());
        }
        for _ in 0..10 {
            // Not given back.
            opened(&files);
        }
        assert_eq!(files.slots.lock().unwrap().kept.len(), 2);
    }
}
