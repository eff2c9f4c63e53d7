//! A restore plan: a value that says for each selected entry where it goes, what is there already, and which volume
//! each of its blocks comes from. Making it changes nothing; see [`super::survey`].
//!
//! Memory: 8 bytes for each entry and 4 for each block, whatever the paths are: those are read from the version list
//! again when it is their turn.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use larder_volume::{EntryKind, FileEntry, Format, Hash};

use super::Rules;
use super::content::{block_count, metadata_block};

/// What the plan says about one entry, and how far it is.
#[derive(Default)]
pub(crate) struct Item {
    /// Blocks of the content that have still to come from volumes.
    pub(crate) open: AtomicU32,
    marks: AtomicU8,
    /// 0: its own place; otherwise the number of the name for copies, counted from 1.
    pub(crate) copy: u8,
}

/// Facts about an entry that are true or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mark {
    /// The version list contradicts itself about it; it has no origins.
    Refused = 1,
    /// It cannot be restored.
    Failed = 2,
    /// Its content is under its final name and was checked.
    Complete = 4,
    /// It was right before.
    Right = 8,
    /// Something stood at its place: a file is replaced, a folder stays.
    Replaces = 16,
    /// An unfinished file of an earlier run has some of its blocks.
    Resumes = 32,
    /// Its temporary file was opened by this run.
    Started = 64,
    /// Another entry may have the same place.
    Doubted = 128,
}

impl Item {
    pub(crate) fn is(&self, mark: Mark) -> bool {
        self.marks.load(Ordering::SeqCst) & mark as u8 != 0
    }

    /// True when nothing stood at its place before.
    pub(crate) fn is_new(&self) -> bool {
        !self.is(Mark::Right) && !self.is(Mark::Replaces)
    }

    /// Sets a mark; gives whether it was set before.
    pub(crate) fn set(&self, mark: Mark) -> bool {
        self.marks.fetch_or(mark as u8, Ordering::SeqCst) & mark as u8 != 0
    }
}

/// Where a block comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nothing has to be done: it is where it belongs.
    None,
    /// No volume has it.
    Lost,
    /// The file that stands at the place now.
    Present,
    /// The unfinished file of an earlier run.
    Unfinished,
    /// The original file, for `--restore-with-local-blocks`.
    Original,
    /// The volume of this number in [`Plan::volumes`].
    Volume(u32),
}

impl Origin {
    fn code(self) -> u32 {
        match self {
            Self::None => u32::MAX,
            Self::Lost => u32::MAX - 1,
            Self::Present => u32::MAX - 2,
            Self::Unfinished => u32::MAX - 3,
            Self::Original => u32::MAX - 4,
            Self::Volume(number) => number,
        }
    }

    fn of(code: u32) -> Self {
        match u32::MAX - code {
            0 => Self::None,
            1 => Self::Lost,
            2 => Self::Present,
            3 => Self::Unfinished,
            4 => Self::Original,
            _ => Self::Volume(code),
        }
    }
}

/// Everything a restore will do.
pub(crate) struct Plan {
    pub(crate) items: Vec<Item>,
    /// For each entry that is not refused, in order: its blocks, then its metadata blob when it is wanted.
    origins: Vec<u32>,
    /// Volumes that are needed, by their numbers in the catalog.
    pub(crate) volumes: Vec<i64>,
    numbers: HashMap<i64, u32>,
    /// Uses of each volume, and about what they take in memory.
    uses: Vec<Uses>,
    /// Local date of the version, for the names of copies.
    pub(crate) date: String,
    /// The target folder was empty or missing.
    pub(crate) fresh: bool,
}

#[derive(Clone, Copy, Default)]
struct Uses {
    count: u64,
    bytes: u64,
}

/// A part of the uses of one volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Number in [`Plan::volumes`].
    pub(crate) volume: u32,
    /// The first use, counted in the order of the entries.
    pub(crate) from: u64,
    /// The use behind the last one.
    pub(crate) to: u64,
}

impl Plan {
    pub(crate) fn new(date: String, fresh: bool) -> Self {
        Self {
            items: Vec::new(),
            origins: Vec::new(),
            volumes: Vec::new(),
            numbers: HashMap::new(),
            uses: Vec::new(),
            date,
            fresh,
        }
    }

    /// Number of origins so far; the place of the next one.
    pub(crate) fn end(&self) -> usize {
        self.origins.len()
    }

    /// Adds an origin.
    pub(crate) fn push(&mut self, origin: Origin) {
        self.origins.push(origin.code());
    }

    /// Changes an origin.
    pub(crate) fn set(&mut self, at: usize, origin: Origin) {
        if let Some(code) = self.origins.get_mut(at) {
            *code = origin.code();
        }
    }

    /// Sets all origins from `at` on.
    pub(crate) fn set_rest(&mut self, at: usize, origin: Origin) {
        for code in self.origins.iter_mut().skip(at) {
            *code = origin.code();
        }
    }

    /// Takes away all origins from `at` on.
    pub(crate) fn truncate(&mut self, at: usize) {
        self.origins.truncate(at);
    }

    pub(crate) fn origin(&self, at: usize) -> Origin {
        self.origins
            .get(at)
            .map_or(Origin::None, |code| Origin::of(*code))
    }

    /// Notes that a volume is used once more, which takes about so many bytes while it is fetched.
    pub(crate) fn use_volume(&mut self, volume: i64, bytes: u64) -> Origin {
        let next = u32::try_from(self.volumes.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(volume).or_insert(next);
        if number == next {
            self.volumes.push(volume);
            self.uses.push(Uses::default());
        }
        if let Some(uses) = self.uses.get_mut(number as usize) {
            uses.count += 1;
            uses.bytes += bytes;
        }
        Origin::Volume(number)
    }

    /// The volumes in order, in batches whose uses take about `budget` bytes. A volume is in several batches only when
    /// its uses alone take more.
    pub(crate) fn batches(&self, budget: u64) -> Vec<Vec<Share>> {
        let mut order: Vec<(i64, u32)> = self.numbers.iter().map(|(v, n)| (*v, *n)).collect();
        order.sort_unstable();
        let (mut batches, mut batch, mut left) = (Vec::new(), Vec::new(), budget);
        for (_, volume) in order {
            let uses = self.uses.get(volume as usize).copied().unwrap_or_default();
            if uses.bytes > left && !batch.is_empty() {
                batches.push(std::mem::take(&mut batch));
                left = budget;
            }
            let each = (uses.bytes / uses.count.max(1)).max(1);
            let most = (budget / each).max(1);
            let mut from = 0;
            while uses.bytes > budget && uses.count - from > most {
                let to = from + most;
                batches.push(vec![Share { volume, from, to }]);
                from = to;
            }
            let to = u64::MAX;
            batch.push(Share { volume, from, to });
            left = left.saturating_sub((uses.count - from).saturating_mul(each));
        }
        if !batch.is_empty() {
            batches.push(batch);
        }
        batches
    }
}

/// Goes through the origins of a plan along with its entries.
pub(crate) struct Cursor<'a> {
    plan: &'a Plan,
    format: Format,
    metadata: bool,
    at: usize,
}

/// The origins of one entry.
#[derive(Clone, Copy)]
pub(crate) struct Origins {
    /// Place of the first block.
    pub(crate) first: usize,
    /// Number of blocks.
    pub(crate) blocks: usize,
    /// Place of the metadata blob's block, with its hash and length (0: not known).
    pub(crate) metadata: Option<(usize, Hash, u64)>,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(plan: &'a Plan, format: Format, rules: &Rules) -> Self {
        Self {
            plan,
            format,
            metadata: rules.metadata,
            at: 0,
        }
    }

    /// The origins of the next entry.
    pub(crate) fn next(&mut self, item: &Item, entry: &FileEntry) -> Origins {
        let first = self.at;
        if item.is(Mark::Refused) {
            return Origins {
                first,
                blocks: 0,
                metadata: None,
            };
        }
        let blocks = match entry.kind {
            EntryKind::File => {
                let size = entry.size;
                usize::try_from(block_count(size, &self.format)).unwrap_or(0)
            }
            EntryKind::Folder | EntryKind::Symlink => 0,
        };
        let metadata = wanted_metadata(entry, &self.format, self.metadata);
        self.at = (first + blocks + usize::from(metadata.is_some())).min(self.plan.end());
        Origins {
            first,
            blocks,
            metadata: metadata.map(|(hash, len)| (first + blocks, hash, len)),
        }
    }
}

/// The block of the metadata blob that an entry needs. A link needs it for its target.
pub(crate) fn wanted_metadata(
    entry: &FileEntry,
    format: &Format,
    metadata: bool,
) -> Option<(Hash, u64)> {
    if metadata || entry.kind == EntryKind::Symlink {
        metadata_block(entry, format)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_marks_keep_what_they_are_given() {
        for origin in [
            Origin::None,
            Origin::Lost,
            Origin::Present,
            Origin::Unfinished,
            Origin::Original,
            Origin::Volume(0),
            Origin::Volume(77),
        ] {
            assert_eq!(Origin::of(origin.code()), origin);
        }
        let item = Item::default();
        assert!(!item.set(Mark::Started) && item.set(Mark::Started));
        assert!(item.is(Mark::Started) && !item.is(Mark::Failed));
        assert_eq!(size_of::<Item>(), 8);
    }

    #[test]
    fn volumes_come_in_batches_and_in_order() {
        let mut plan = Plan::new(String::new(), true);
        for (volume, uses) in [(30, 3), (10, 4), (20, 25), (40, 1)] {
            for _ in 0..uses {
                plan.use_volume(volume, 10);
            }
        }
        let named = |batches: Vec<Vec<Share>>| -> Vec<Vec<(i64, u64, u64)>> {
            let name = |share: Share| (plan.volumes[share.volume as usize], share.from, share.to);
            let batch = |batch: Vec<Share>| batch.into_iter().map(name).collect();
            batches.into_iter().map(batch).collect()
        };
        let all = u64::MAX;
        assert_eq!(
            named(plan.batches(1_000)),
            [[(10, 0, all), (20, 0, all), (30, 0, all), (40, 0, all)]]
        );
        assert_eq!(
            named(plan.batches(100)),
            [
                vec![(10, 0, all)],
                vec![(20, 0, 10)],
                vec![(20, 10, 20)],
                vec![(20, 20, all), (30, 0, all), (40, 0, all)]
            ]
        );
        assert_eq!(plan.batches(1).len(), 33, "each use by itself");
        assert!(Plan::new(String::new(), true).batches(100).is_empty());
    }
}
