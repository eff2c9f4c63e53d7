//! A compact set that answers "this block is surely new" without asking the database.

use std::hash::{BuildHasher, RandomState};

use larder_volume::Hash;

/// The fingerprints of blocks: 48 bits each, in one open-addressing table.
///
/// `contains` is never wrong when it says no. When it says yes the block is probably there and has to be looked up;
/// a false yes is about as likely as two equal 48-bit random numbers. Memory is 7 to 9 bytes per block. The
/// fingerprints have a secret key: an index from outside may name any hashes, and must not choose their places.
pub struct Fingerprints {
    key: RandomState,
    /// [`FREE`] marks a free slot. Empty when the set answers "maybe" to everything.
    slots: Vec<Print>,
    len: u64,
    most: u64,
}

/// A fingerprint as it is stored, the lowest byte first.
type Print = [u8; 6];

/// No fingerprint.
const FREE: Print = [0; 6];

/// Blocks that are looked up together.
const AHEAD: usize = 64;

impl Fingerprints {
    /// A set that answers "maybe" to everything and takes no memory.
    pub fn unknown() -> Self {
        Fingerprints {
            key: RandomState::new(),
            slots: Vec::new(),
            len: 0,
            most: 0,
        }
    }

    /// An empty set with room for some, that may grow up to `most` blocks (and then becomes [`Fingerprints::unknown`]).
    pub fn with_room(room: u64, most: u64) -> Self {
        match usize::try_from(room.saturating_add(room / 3).saturating_add(64)) {
            Ok(slots) => Fingerprints {
                key: RandomState::new(),
                slots: vec![FREE; slots],
                len: 0,
                most,
            },
            Err(_) => Fingerprints::unknown(),
        }
    }

    /// False when the block is surely not in the set.
    pub fn contains(&self, hash: &Hash, size: u64) -> bool {
        self.is_unknown() || self.place(hash, size).is_some()
    }

    /// The slot with the fingerprint of a block, as long as nothing is added.
    pub(crate) fn place(&self, hash: &Hash, size: u64) -> Option<usize> {
        if self.is_unknown() {
            return None;
        }
        let print = self.fingerprint(hash, size);
        let at = self.slot_of(print);
        self.slots.get(at).filter(|found| **found == print)?;
        Some(at)
    }

    /// The slots with the fingerprints of some blocks, in their order, as [`Fingerprints::place`].
    ///
    /// In a large table nearly every slot is a cache miss. Those of many blocks are waited for together.
    pub(crate) fn places_of(&self, blocks: &[(Hash, u64)], places: &mut Vec<Option<usize>>) {
        places.clear();
        if self.is_unknown() {
            places.resize(blocks.len(), None);
            return;
        }
        for blocks in blocks.chunks(AHEAD) {
            let mut prints = [FREE; AHEAD];
            for (print, (hash, size)) in prints.iter_mut().zip(blocks) {
                *print = self.fingerprint(hash, *size);
            }
            let prints = prints.get(..blocks.len()).unwrap_or_default();
            self.touch(prints);
            places.extend(prints.iter().map(|print| {
                let at = self.slot_of(*print);
                self.slots.get(at).filter(|found| *found == print)?;
                Some(at)
            }));
        }
    }

    /// Adds some blocks as [`Fingerprints::insert_new`] does; hands those that were not there to `new`.
    pub(crate) fn insert_all(&mut self, blocks: &[(Hash, u64)], mut new: impl FnMut(&Hash, u64)) {
        for blocks in blocks.chunks(AHEAD) {
            let mut prints = [FREE; AHEAD];
            for (print, (hash, size)) in prints.iter_mut().zip(blocks) {
                *print = self.fingerprint(hash, *size);
            }
            self.touch(&prints);
            for (print, (hash, size)) in prints.iter().zip(blocks) {
                if self.put_with_room(*print) {
                    new(hash, *size);
                }
            }
        }
    }

    /// Brings the slots of some fingerprints into the cache: loads that do not wait for each other run side by side.
    fn touch(&self, prints: &[Print]) {
        let touched = prints.iter().fold(0, |sum: u8, print| {
            let slot = self.slots.get(self.home_of(*print));
            sum ^ slot.map_or(0, |[first, ..]| *first)
        });
        std::hint::black_box(touched);
    }

    /// Number of slots.
    pub(crate) fn places(&self) -> usize {
        self.slots.len()
    }

    /// Adds a block.
    pub fn insert(&mut self, hash: &Hash, size: u64) {
        self.insert_new(hash, size);
    }

    /// As [`Fingerprints::insert`]; tells whether the fingerprint was not there.
    pub(crate) fn insert_new(&mut self, hash: &Hash, size: u64) -> bool {
        self.put_with_room(self.fingerprint(hash, size))
    }

    fn put_with_room(&mut self, print: Print) -> bool {
        // At least an eighth stays free, which keeps the runs short and ends every search.
        if !self.is_unknown() && self.len + 1 > (self.slots.len() as u64) / 8 * 7 {
            self.grow();
        }
        if self.is_unknown() {
            return false;
        }
        let before = self.len;
        self.put(print);
        self.len > before
    }

    /// Number of fingerprints.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Tells whether the set is empty (and not unknown).
    pub fn is_empty(&self) -> bool {
        self.len == 0 && !self.is_unknown()
    }

    /// Tells whether the set answers "maybe" to everything.
    pub fn is_unknown(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes of memory in use.
    pub fn memory(&self) -> u64 {
        (self.slots.capacity() * size_of::<Print>()) as u64
    }

    fn fingerprint(&self, hash: &Hash, size: u64) -> Print {
        let [a, b, c, d, e, f, ..] = self.key.hash_one((hash.as_bytes(), size)).to_le_bytes();
        match [a, b, c, d, e, f] {
            FREE => [1, 0, 0, 0, 0, 0],
            print => print,
        }
    }

    fn put(&mut self, print: Print) {
        let at = self.slot_of(print);
        if let Some(slot) = self.slots.get_mut(at)
            && *slot != print
        {
            *slot = print;
            self.len += 1;
        }
    }

    /// Where a fingerprint belongs: the 48-bit range is mapped evenly to the slots, without a division.
    fn home_of(&self, print: Print) -> usize {
        let [a, b, c, d, e, f] = print;
        let print = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
        ((u128::from(print) * self.slots.len() as u128) >> 48) as usize
    }

    /// The slot that has the fingerprint, or the free one where it belongs.
    fn slot_of(&self, print: Print) -> usize {
        let mut at = self.home_of(print);
        loop {
            match self.slots.get(at) {
                Some(&FREE) => return at,
                Some(found) if *found == print => return at,
                Some(_) => at += 1,
                None => at = 0,
            }
        }
    }

    fn grow(&mut self) {
        if self.len >= self.most {
            *self = Fingerprints::unknown();
            return;
        }
        // In place, from the last slot to the first: all places grow with the table, so a fingerprint moves up among
        // those that were moved already. The few that do not are put in at the end.
        let before = self.slots.len();
        let larger = before + before / 4 + 64;
        self.slots.reserve_exact(larger - before);
        self.slots.resize(larger, FREE);
        let mut rest = Vec::new();
        for at in (0..before).rev() {
            let print = self.slots.get_mut(at).map_or(FREE, std::mem::take);
            if print == FREE {
                continue;
            }
            let home = self.home_of(print);
            let behind = self.slots.get_mut(home..).filter(|_| home >= at);
            let free = behind.and_then(|slots| slots.iter_mut().find(|slot| **slot == FREE));
            match free {
                Some(slot) => *slot = print,
                None => rest.push(print),
            }
        }
        self.len -= rest.len() as u64;
        rest.into_iter().for_each(|print| self.put(print));
    }
}

#[cfg(test)]
mod tests {
    use larder_volume::HashAlgorithm;

    use super::*;

    fn hash(n: u32) -> Hash {
        HashAlgorithm::Sha256.digest(&n.to_le_bytes())
    }

    #[test]
    fn knows_what_was_inserted_and_hardly_anything_else() {
        let mut set = Fingerprints::with_room(0, 1 << 20);
        assert!(set.is_empty() && !set.is_unknown());
        for n in 0..20_000 {
            assert!(!set.contains(&hash(n), 5), "{n}");
            set.insert(&hash(n), 5);
            set.insert(&hash(n), 5);
        }
        assert_eq!(set.len(), 20_000);
        assert!((0..20_000).all(|n| set.contains(&hash(n), 5)));
        assert!((0..20_000).all(|n| !set.contains(&hash(n), 6)));
        assert!((20_000..40_000).all(|n| !set.contains(&hash(n), 5)));
        assert!(set.memory() <= 20_000 * 9, "{}", set.memory());
    }

    #[test]
    fn nothing_is_lost_when_it_grows() {
        let mut set = Fingerprints::with_room(0, 1 << 20);
        let mut slots = set.slots.len();
        for n in 0..30_000 {
            set.insert(&hash(n), 5);
            if set.slots.len() != slots {
                slots = set.slots.len();
                assert!((0..=n).all(|n| set.contains(&hash(n), 5)), "{n}");
                assert_eq!(set.len(), u64::from(n) + 1);
            }
        }
    }

    /// Hashes that begin alike took one long run of slots, and each search all of it.
    #[test]
    fn hashes_that_begin_alike_do_not_meet() {
        let alike = |n: u32| {
            let mut bytes = [7; 32];
            bytes[28..].copy_from_slice(&n.to_le_bytes());
            Hash::from_bytes(&bytes).unwrap()
        };
        let mut set = Fingerprints::with_room(0, 1 << 20);
        (0..300_000).for_each(|n| set.insert(&alike(n), 5));
        assert_eq!(set.len(), 300_000);
        // Neighbours in the table end at a free slot soon.
        let longest = set
            .slots
            .split(|slot| *slot == FREE)
            .map(<[Print]>::len)
            .max();
        assert!(longest < Some(1000), "{longest:?}");
    }

    #[test]
    fn beyond_its_limit_it_says_maybe() {
        let mut set = Fingerprints::with_room(10, 100);
        (0..10_000).for_each(|n| set.insert(&hash(n), 1));
        assert!(set.is_unknown());
        assert!(set.contains(&hash(77_777), 1));
        assert!(!set.is_empty());
        assert!(Fingerprints::unknown().contains(&hash(1), 1));
    }
}
