//! Which data volumes go and which are written anew: a decision on figures alone (format spec 9.4).

/// A data volume as the plan sees it; all sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// Its file at the destination.
    pub(super) stored: u64,
    /// Its blocks before packing.
    pub(super) blocks: u64,
    /// Those of them that versions use and read from here.
    pub(super) used: u64,
    /// Number of those that versions use and read from elsewhere.
    pub(super) copies: u64,
    /// What else is known of it.
    pub(super) state: State,
}

/// What is known of a volume beside its figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing.
    #[default]
    Sound,
    /// It was found damaged, and what it lacks is elsewhere: what is left of it should move.
    Superseded,
    /// It has to stay as it is.
    Fixed,
}

/// When volumes are worth writing anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// Percent of waste, `--threshold`.
    pub(super) threshold: u64,
    /// Bytes of a full volume, `--dblock-size`.
    pub(super) volume: u64,
    /// Bytes up to which a volume is small, `--small-file-size`.
    pub(super) small: u64,
    /// Small volumes that may be, `--small-file-max-count`.
    pub(super) small_count: u64,
}

/// What is to be done; volumes by their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Nothing in them is used.
    pub(super) unused: Vec<usize>,
    /// What is used of them is read from elsewhere.
    pub(super) redundant: Vec<usize>,
    /// What is used of them moves to new volumes.
    pub(super) rewrite: Vec<usize>,
    /// Bytes of blocks in all volumes.
    pub(super) blocks: u64,
    /// Those that nobody uses.
    pub(super) wasted: u64,
    /// Volumes that count as small.
    pub(super) small: u64,
}

impl Held {
    /// What the blocks in use take of the file, about.
    pub(super) fn used_when_stored(&self) -> u64 {
        let part = u128::from(self.stored) * u128::from(self.used);
        u64::try_from(part / u128::from(self.blocks.max(1))).unwrap_or(self.stored)
    }

    /// Bytes that nobody needs here.
    fn wasted(&self) -> u64 {
        self.blocks.saturating_sub(self.used)
    }

    fn is_wasteful(&self, rules: &Rules) -> bool {
        let wasted = self.wasted();
        wasted > 0
            && (is_share(wasted, self.blocks, rules.threshold)
                || is_share(wasted, rules.volume, rules.threshold))
    }
}

/// Decides; the order of the volumes is that in which they are written anew.
pub(super) fn plan(all: &[Held], rules: &Rules) -> Plan {
    let mut plan = Plan::default();
    let (mut wasteful, mut waste_of_wasteful) = (0_u64, 0_u64);
    let mut small_bytes = 0_u64;
    let (mut candidates, mut superseded) = (Vec::new(), Vec::new());
    for (place, held) in all.iter().enumerate() {
        plan.blocks = plan.blocks.saturating_add(held.blocks);
        plan.wasted = plan.wasted.saturating_add(held.wasted());
        match held.state {
            State::Fixed => continue,
            State::Sound | State::Superseded if held.used == 0 => {
                match held.copies {
                    0 => plan.unused.push(place),
                    _ => plan.redundant.push(place),
                }
                continue;
            }
            State::Superseded => superseded.push(place),
            State::Sound => {}
        }
        let is_wasteful = held.is_wasteful(rules);
        if is_wasteful {
            wasteful += 1;
            waste_of_wasteful = waste_of_wasteful.saturating_add(held.wasted());
        }
        let is_small = held.stored <= rules.small;
        if is_small {
            plan.small += 1;
            small_bytes = small_bytes.saturating_add(held.stored);
        }
        if is_wasteful || is_small || held.state == State::Superseded {
            candidates.push(place);
        }
    }
    // One alone is not worth it, unless no waste at all is wanted.
    let enough = if rules.threshold == 0 { 1 } else { 2 };
    let much_waste =
        wasteful >= enough && is_share(waste_of_wasteful, plan.blocks, rules.threshold);
    // A single one has nothing to be joined with.
    let many_small = plan.small >= 2 && is_many(plan.small, small_bytes, rules);
    plan.rewrite = match much_waste || many_small {
        true => candidates,
        false => superseded,
    };
    plan
}

/// Whether so many small volumes of so many bytes together are too many.
pub(super) fn is_many(count: u64, bytes: u64, rules: &Rules) -> bool {
    bytes > rules.volume || count > rules.small_count
}

/// Whether a part is at least so many percent of the whole.
fn is_share(part: u64, whole: u64, percent: u64) -> bool {
    whole > 0 && u128::from(part) * 100 >= u128::from(whole) * u128::from(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        threshold: 25,
        volume: 1000,
        small: 200,
        small_count: 3,
    };

    /// A full volume with so many bytes in use.
    fn full(used: u64) -> Held {
        Held {
            stored: 900,
            blocks: 1000,
            used,
            ..Held::default()
        }
    }

    fn small(used: u64) -> Held {
        Held {
            stored: 100,
            blocks: 100,
            used,
            ..Held::default()
        }
    }

    fn places(all: &[Held]) -> (Vec<usize>, Vec<usize>) {
        let plan = plan(all, &RULES);
        (plan.unused, plan.rewrite)
    }

    #[test]
    fn what_nobody_uses_goes_whatever_the_limits_say() {
        assert_eq!(
            places(&[full(1000), full(0), small(0)]),
            (vec![1, 2], vec![])
        );
        let copy = Held {
            copies: 1,
            ..full(0)
        };
        let plan = plan(&[copy], &RULES);
        assert_eq!((plan.unused, plan.redundant), (vec![], vec![0]));
        // Nothing is known of what is in it, so nothing of it is used.
        let empty = Held::default();
        assert_eq!(places(&[empty]).0, [0]);
    }

    #[test]
    fn two_wasteful_volumes_are_needed_and_enough_waste_in_all() {
        let (good, bad) = (full(1000), full(500));
        assert_eq!(places(&[bad]).1, [0; 0]);
        assert_eq!(places(&[bad, bad]).1, [0, 1]);
        assert_eq!(places(&[good, bad, bad]).1, [1, 2]);
        // 1000 of 4000 are a quarter, 1000 of 5000 are not.
        assert_eq!(places(&[good, good, bad, bad]).1, [2, 3]);
        assert_eq!(places(&[good, good, good, bad, bad]).1, [0; 0]);
        // A volume counts from a quarter of its own blocks on, or of those of a full one.
        assert_eq!(places(&[full(751), full(751)]).1, [0; 0]);
        assert_eq!(places(&[full(750), full(750)]).1, [0, 1]);
        let long = Held {
            blocks: 4000,
            used: 3750,
            ..full(0)
        };
        assert!(long.is_wasteful(&RULES));
    }

    #[test]
    fn small_volumes_are_joined_when_they_are_too_many_or_fill_one() {
        assert_eq!(places(&[small(100); 3]).1, [0; 0]);
        assert_eq!(places(&[small(100); 4]).1, [0, 1, 2, 3]);
        let of_200 = Held {
            stored: 200,
            blocks: 2000,
            used: 2000,
            ..Held::default()
        };
        let rules = Rules {
            small_count: 9,
            ..RULES
        };
        assert_eq!(plan(&[of_200; 5], &rules).rewrite, [0; 0]);
        assert_eq!(plan(&[of_200; 6], &rules).rewrite.len(), 6);
        let none = Rules {
            small_count: 0,
            ..RULES
        };
        assert_eq!(plan(&[small(100), full(1000)], &none).rewrite, [0; 0]);
        assert_eq!(plan(&[small(100); 2], &none).rewrite, [0, 1]);
        // With them goes one that is wasteful, whatever the others waste.
        let all = [small(100), small(100), small(100), small(100), full(500)];
        assert_eq!(places(&all).1, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_is_whole_is_never_wasteful() {
        let rules = Rules {
            threshold: 0,
            ..RULES
        };
        assert_eq!(plan(&[full(1000), full(1000)], &rules).rewrite, [0; 0]);
        assert_eq!(plan(&[full(999), full(999)], &rules).rewrite, [0, 1]);
        assert_eq!(plan(&[full(1000), full(999)], &rules).rewrite, [1]);
    }

    #[test]
    fn a_damaged_volume_moves_and_a_fixed_one_stays() {
        let of = |state, used| Held {
            state,
            ..full(used)
        };
        assert_eq!(places(&[of(State::Superseded, 900)]).1, [0]);
        assert_eq!(places(&[of(State::Superseded, 0)]).0, [0]);
        let fixed = [
            of(State::Fixed, 0),
            of(State::Fixed, 100),
            of(State::Fixed, 1),
        ];
        assert_eq!(places(&fixed), (vec![], vec![]));
    }
}
