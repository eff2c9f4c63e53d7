//! The volumes being filled: whose turn it is at which, and when a further one is opened.

use std::thread::ThreadId;

/// A volume being filled, and who wrote to it last.
pub(super) struct Filling<V> {
    pub(super) volume: V,
    pub(super) thread: ThreadId,
    /// Its length so far.
    pub(super) len: u64,
}

/// What bounds the number of open volumes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// One for each thread at most.
    pub(super) threads: usize,
    /// The length of a full volume.
    pub(super) volume_len: u64,
    /// What all open volumes may keep in memory about their blocks. The volumes themselves can lie in temporary files.
    pub(super) memory: u64,
}

/// What was added to a volume.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    /// Bytes of packed blocks.
    pub(super) packed: u64,
    /// By how much the volume became longer.
    pub(super) len: u64,
    /// Bytes about it that stay in memory until the volume is sent.
    pub(super) kept: u64,
}

/// Open volumes that nobody writes to just now, and figures of all.
pub(super) struct Pool<V> {
    limits: Limits,
    idle: Vec<Filling<V>>,
    /// Those that somebody fills, seals or hands to the uploads count as well.
    open: usize,
    packed: u64,
    /// What the last one or two volumes' worth of blocks added.
    recent: Added,
}

/// What a thread does that has a block.
pub(super) enum Turn<V> {
    /// It writes to this volume.
    Fill(Filling<V>),
    /// It opens a volume, which counts from now on.
    Open,
    /// It waits until a volume is given back or closed.
    Wait,
}

impl<V> Pool<V> {
    pub(super) fn new(limits: Limits) -> Self {
        let nothing = Added {
            packed: 0,
            len: 0,
            kept: 0,
        };
        Self {
            limits,
            idle: Vec::new(),
            open: 0,
            packed: 0,
            recent: nothing,
        }
    }

    /// What a thread does that has a block.
    pub(super) fn turn(&mut self, me: ThreadId) -> Turn<V> {
        let most = self.most();
        if self.open - self.idle.len() >= most {
            return Turn::Wait;
        }
        let place = if self.open > most {
            // One after the other is filled, so that there are fewer of them soon.
            let by_len = |a: &usize, b: &usize| self.len_of(*a).cmp(&self.len_of(*b));
            (0..self.idle.len()).max_by(by_len)
        } else {
            // Everybody keeps to one volume, so that a large file's blocks stay in their order.
            let own = self.idle.iter().position(|filling| filling.thread == me);
            own.or(self.idle.len().checked_sub(1))
        };
        if let Some(at) = place {
            let mut filling = self.idle.swap_remove(at);
            filling.thread = me;
            return Turn::Fill(filling);
        }
        // A second volume only after half a volume was written, a third after one and a half, …
        let worth = self.limits.volume_len / 2;
        let allowed = self.packed.saturating_add(worth) / (2 * worth).max(1);
        if self.open < most.min(1 + usize::try_from(allowed).unwrap_or(most)) {
            self.open += 1;
            return Turn::Open;
        }
        Turn::Wait
    }

    /// Takes back a volume that has room for more.
    pub(super) fn give_back(&mut self, filling: Filling<V>, added: Added) {
        self.note(added);
        self.idle.push(filling);
    }

    /// A volume that is full was handed over.
    pub(super) fn close(&mut self, added: Added) {
        self.note(added);
        self.open -= 1;
    }

    /// Takes out one of the volumes that nobody is filling.
    pub(super) fn take_left(&mut self) -> Option<V> {
        let left = self.idle.pop()?;
        self.open -= 1;
        Some(left.volume)
    }

    fn len_of(&self, at: usize) -> u64 {
        self.idle.get(at).map_or(0, |filling| filling.len)
    }

    fn note(&mut self, added: Added) {
        self.packed = self.packed.saturating_add(added.packed);
        self.recent.len += added.len;
        self.recent.kept += added.kept;
        if self.recent.len > self.limits.volume_len.saturating_mul(2) {
            self.recent.len /= 2;
            self.recent.kept /= 2;
        }
    }

    /// How many volumes may be open: as many as there are threads, and as there is memory for when they are filled with
    /// blocks like the last ones; one in any case.
    fn most(&self) -> usize {
        let kept = u128::from(self.recent.kept) * u128::from(self.limits.volume_len);
        let of_one = kept / u128::from(self.recent.len.max(1));
        let by_memory = u128::from(self.limits.memory) / of_one.max(1);
        let most = usize::try_from(by_memory).unwrap_or(usize::MAX);
        most.clamp(1, self.limits.threads.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        threads: 16,
        volume_len: 5 << 20,
        memory: 8 << 20,
    };
    /// A block of 64 KiB, and a file of 100 bytes with its headers.
    const LARGE: Added = Added {
        packed: 64 << 10,
        len: (64 << 10) + 164,
        kept: 141,
    };
    const TINY: Added = Added {
        packed: 100,
        len: 264,
        kept: 141,
    };

    /// Threads that write at the same time; a volume is what it keeps in memory.
    struct Threads {
        ids: Vec<ThreadId>,
        pool: Pool<u64>,
    }

    impl Threads {
        fn new(limits: Limits) -> Self {
            let id = |_| std::thread::spawn(|| std::thread::current().id());
            let ids = (0..limits.threads).map(id).map(|id| id.join().unwrap());
            Self {
                ids: ids.collect(),
                pool: Pool::new(limits),
            }
        }

        /// Each adds one block if it may. Gives how many did.
        fn all_add(&mut self, added: Added) -> usize {
            let mut busy = Vec::new();
            for id in &self.ids {
                match self.pool.turn(*id) {
                    Turn::Fill(filling) => busy.push(filling),
                    Turn::Open => busy.push(Filling {
                        volume: 0,
                        thread: *id,
                        len: 0,
                    }),
                    Turn::Wait => {}
                }
            }
            let count = busy.len();
            for mut filling in busy {
                filling.volume += added.kept;
                filling.len += added.len;
                if filling.len >= self.pool.limits.volume_len {
                    self.pool.close(added);
                } else {
                    self.pool.give_back(filling, added);
                }
            }
            count
        }

        fn kept(&self) -> u64 {
            let of_one = |filling: &Filling<u64>| filling.volume;
            self.pool.idle.iter().map(of_one).sum()
        }
    }

    #[test]
    fn small_runs_fill_one_volume_and_large_ones_one_for_each_thread() {
        let mut threads = Threads::new(LIMITS);
        let half = usize::try_from(LIMITS.volume_len / 2 / LARGE.packed).unwrap();
        for _ in 0..half {
            assert_eq!(threads.all_add(LARGE), 1);
        }
        let counts = (0..1000).map(|_| threads.all_add(LARGE));
        assert_eq!(counts.max(), Some(16));
    }

    /// With a volume for each of many cores, what is known of tiny blocks took hundreds of MiB.
    #[test]
    fn what_volumes_keep_in_memory_does_not_grow_with_the_threads() {
        for begin in [0, 3000] {
            let mut threads = Threads::new(LIMITS);
            for _ in 0..begin {
                threads.all_add(LARGE);
            }
            let open = threads.pool.open;
            let mut most = 0;
            for _ in 0..200_000 {
                assert!(threads.all_add(TINY) > 0, "nobody goes on");
                most = most.max(threads.kept());
            }
            assert!(most <= LIMITS.memory, "{most} bytes after {open} volumes");
            let volumes = threads.pool.open;
            assert!((2..=3).contains(&volumes), "{volumes} are open");
        }
    }

    #[test]
    fn one_volume_is_open_whatever_it_keeps() {
        let mut threads = Threads::new(Limits {
            memory: 0,
            ..LIMITS
        });
        for _ in 0..100 {
            assert_eq!(threads.all_add(TINY), 1);
        }
    }
}
