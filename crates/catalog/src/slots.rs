//! Slots: the numbers under which versions are known inside the stored entries.
//!
//! A version gets the next slot when it is taken in, whatever its time; a slot is never used again. Each stored row has
//! the *runs* of slots that contain it, ascending. The last run may be *open*: it has no end yet, so a version that is
//! taken in next and still has the entry changes nothing in the row.

use crate::wire::{WireReader, put_unsigned};
use crate::{Error, Result};

/// First and last slot of a run.
pub(crate) type Run = (u64, u64);

/// The last slot of an open run.
pub(crate) const OPEN: u64 = u64::MAX;

/// Tells whether the runs contain a slot.
pub(crate) fn contains(runs: &[Run], slot: u64) -> bool {
    runs.iter().any(|run| run.0 <= slot && slot <= run.1)
}

/// Tells whether the last run is open.
pub(crate) fn is_open(runs: &[Run]) -> bool {
    runs.last().is_some_and(|run| run.1 == OPEN)
}

/// Ends an open run before `slot`.
pub(crate) fn close(runs: &mut Vec<Run>, slot: u64) {
    if let Some(run) = runs.last_mut().filter(|run| run.1 == OPEN) {
        match slot.checked_sub(1).filter(|last| *last >= run.0) {
            Some(last) => run.1 = last,
            None => {
                runs.pop();
            }
        }
    }
}

/// Appends runs: their number with two flags, then distances and lengths.
pub(crate) fn encode(out: &mut Vec<u8>, runs: &[Run], flag: bool) {
    let open = is_open(runs);
    put_unsigned(
        out,
        (runs.len() as u64) << 2 | u64::from(open) << 1 | u64::from(flag),
    );
    let mut end = 0;
    for run in runs {
        put_unsigned(out, run.0 - end);
        if run.1 != OPEN {
            put_unsigned(out, run.1 - run.0);
            end = run.1;
        }
    }
}

/// Reads what [`encode`] wrote into `runs` and gives the flag.
pub(crate) fn decode(reader: &mut WireReader, runs: &mut Vec<Run>) -> Result<bool> {
    runs.clear();
    let head = reader.unsigned()?;
    let (count, open) = (head >> 2, head & 2 != 0);
    if count > reader.remaining() as u64 || (open && count == 0) {
        return Err(Error::damaged("a row has an impossible number of runs"));
    }
    let mut end = 0u64;
    for left in (0..count).rev() {
        let start = end.checked_add(reader.unsigned()?).filter(|s| *s < OPEN);
        let start = start.ok_or_else(out_of_range)?;
        end = match open && left == 0 {
            true => OPEN,
            false => start
                .checked_add(reader.unsigned()?)
                .filter(|end| *end < OPEN)
                .ok_or_else(out_of_range)?,
        };
        runs.push((start, end));
    }
    Ok(head & 1 != 0)
}

fn out_of_range() -> Error {
    Error::damaged("a run of slots is out of range")
}

/// The slots of versions, ascending.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlotSet(Vec<u64>);

impl SlotSet {
    /// Takes slots in any order.
    pub(crate) fn new(mut slots: Vec<u64>) -> SlotSet {
        slots.sort_unstable();
        SlotSet(slots)
    }

    /// The slots from `first` to `last`.
    pub(crate) fn range(&self, first: u64, last: u64) -> &[u64] {
        let start = self.0.partition_point(|slot| *slot < first);
        let rest = self.0.get(start..).unwrap_or_default();
        let count = rest.partition_point(|slot| *slot <= last);
        rest.get(..count).unwrap_or_default()
    }

    /// Tells whether one of them is contained in the runs.
    pub(crate) fn meets(&self, runs: &[Run]) -> bool {
        runs.iter().any(|run| !self.range(run.0, run.1).is_empty())
    }

    /// Shortens runs to what can be told of these slots, and joins runs with none of them in between.
    ///
    /// Slots of versions that are gone do not count. An open run stays open.
    pub(crate) fn simplify(&self, runs: &mut Vec<Run>) {
        let mut kept: Vec<Run> = Vec::with_capacity(runs.len());
        for run in runs.iter() {
            let (first, last) = match self.range(run.0, run.1) {
                [first, .., last] => (*first, *last),
                [only] => (*only, *only),
                [] if run.1 == OPEN => (run.0, OPEN),
                [] => continue,
            };
            let last = if run.1 == OPEN { OPEN } else { last };
            match kept.last_mut() {
                Some(before)
                    if self
                        .range(before.1.saturating_add(1), first.saturating_sub(1))
                        .is_empty() =>
                {
                    before.1 = last
                }
                _ => kept.push((first, last)),
            }
        }
        *runs = kept;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn runs() -> impl Strategy<Value = Vec<Run>> {
        (
            prop::collection::vec((1u64..5, 0u64..4), 0..6),
            any::<bool>(),
        )
            .prop_map(|(steps, open)| {
                let mut end = 0;
                let mut runs: Vec<Run> = Vec::new();
                for (gap, len) in steps {
                    runs.push((end + gap, end + gap + len));
                    end += gap + len;
                }
                if open && let Some(last) = runs.last_mut() {
                    last.1 = OPEN;
                }
                runs
            })
    }

    proptest! {
        #[test]
        fn runs_come_back(runs in runs(), flag in any::<bool>()) {
            let mut out = Vec::new();
            encode(&mut out, &runs, flag);
            let (mut reader, mut back) = (WireReader::new(&out), vec![(9, 9)]);
            prop_assert_eq!(decode(&mut reader, &mut back).unwrap(), flag);
            prop_assert!(reader.is_empty());
            prop_assert_eq!(back, runs);
        }

        #[test]
        fn simplified_runs_say_the_same_of_living_slots(
            mut runs in runs(),
            living in prop::collection::btree_set(1u64..40, 0..20),
            closed_at in prop::option::of(30u64..50),
        ) {
            if let Some(slot) = closed_at {
                close(&mut runs, slot);
                prop_assert!(!is_open(&runs));
            }
            let set = SlotSet::new(living.iter().copied().collect());
            let mut simple = runs.clone();
            set.simplify(&mut simple);
            for slot in &living {
                prop_assert_eq!(contains(&simple, *slot), contains(&runs, *slot));
            }
            prop_assert_eq!(is_open(&simple), is_open(&runs));
            prop_assert_eq!(set.meets(&simple), set.meets(&runs));
            prop_assert!(simple.len() <= runs.len());
        }

        #[test]
        fn made_up_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut runs = Vec::new();
            if decode(&mut WireReader::new(&bytes), &mut runs).is_ok() {
                prop_assert!(runs.is_sorted());
            }
        }
    }
}
