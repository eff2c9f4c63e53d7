//! Makes a restore plan: looks at the target and asks the catalog, and changes nothing.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};

use larder_source::TargetRoot;
use larder_volume::{Blocks, EntryKind, FileEntry, Format, Hash};

use super::Rules;
use super::content::{block_count, content_of};
use super::layout::Layout;
use super::plan::{Item, Mark, Origin, Plan, wanted_metadata};
use super::selected::Selected;
use super::target::{self, Present};
use crate::Result;
use crate::phases::Ready;

/// A plan in the making.
struct Survey<'a> {
    ready: &'a Ready<'a>,
    /// The target folder; `None` when it does not exist or is empty.
    root: Option<&'a TargetRoot>,
    layout: &'a Layout,
    rules: &'a Rules,
    format: Format,
    plan: Plan,
    /// Blocks whose volumes are looked up together.
    wanted: Vec<Wanted>,
    /// A hash of each place, to find those that two entries have. Memory: 8 bytes per entry.
    places: Vec<u64>,
    hasher: RandomState,
    buffer: Vec<u8>,
}

struct Wanted {
    at: usize,
    item: u32,
    hash: Hash,
    len: u64,
    kind: Kind,
    bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Content,
    Metadata,
}

/// Makes the plan for the selected entries.
pub(crate) fn survey(
    ready: &Ready<'_>,
    selected: &Selected<'_>,
    layout: &Layout,
    root: Option<&TargetRoot>,
    rules: &Rules,
    date: String,
) -> Result<Plan> {
    let mut survey = Survey {
        ready,
        root,
        layout,
        rules,
        format: ready.format(),
        plan: Plan::new(date, root.is_none()),
        wanted: Vec::new(),
        places: Vec::new(),
        hasher: RandomState::new(),
        buffer: Vec::new(),
    };
    selected.each(|number, entry| survey.add(number, entry))?;
    survey.look_up()?;
    survey.doubt_places();
    Ok(survey.plan)
}

impl Survey<'_> {
    fn add(&mut self, number: u32, entry: &FileEntry) -> Result<()> {
        self.plan.items.push(Item::default());
        let Some(place) = self.layout.place(&entry.path) else {
            // The target folder itself: nothing has to be made, and no file can have its place.
            self.mark(number, Mark::Refused);
            self.places.push(self.hasher.hash_one(number));
            return Ok(());
        };
        let start = self.plan.end();
        let mut copy = 0;
        if entry.kind == EntryKind::File {
            match content_of(entry, &self.format) {
                Ok(content) => copy = self.add_file(number, entry, content, &place)?,
                Err(_) => self.mark(number, Mark::Refused),
            }
        }
        if self.is(number, Mark::Refused) {
            self.wanted.retain(|wanted| wanted.item != number);
            self.plan.truncate(start);
        } else if let Some((hash, len)) = wanted_metadata(entry, &self.format, self.rules.metadata)
        {
            let is_in_work = entry.kind == EntryKind::File && !self.is(number, Mark::Right);
            let job = if is_in_work { 0 } else { JOB_BYTES };
            let bytes = NEED_BYTES + job + entry.path.len() as u64;
            self.want(number, Kind::Metadata, &hash, len, bytes);
        }
        let last = target::place_of_copy(&place, &self.plan.date, copy);
        self.places.push(self.hasher.hash_one(last));
        if self.wanted.len() >= LOOKED_UP {
            self.look_up()?;
        }
        Ok(())
    }

    /// The blocks of a file: which are there, and which have to be fetched. Gives the number of the copy that is
    /// written in its place.
    fn add_file(
        &mut self,
        number: u32,
        entry: &FileEntry,
        content: Blocks<'_>,
        place: &[u8],
    ) -> Result<u8> {
        let start = self.plan.end();
        let size = entry.size;
        let seen = match self.root {
            Some(root) => target::look(root, place, self.rules.overwrite),
            None => Ok(Present::Nothing),
        };
        let (seen, is_possible) = match seen {
            Ok(seen) => (seen, true),
            // Told when it is its turn; its blocks are not fetched.
            Err(_) => (Present::Other, false),
        };
        let is_free = matches!(seen, Present::Nothing);
        let old = match &seen {
            Present::File { file, len } => Some((file, *len)),
            Present::Nothing | Present::Other => None,
        };
        let unfinished = match self.root {
            Some(root)
                if matches!(content, Blocks::Listed { .. })
                    && (is_free || self.rules.overwrite) =>
            {
                unfinished_file(root, place)
            }
            _ => None,
        };
        let original = (self.rules.local_blocks && size > 0)
            .then(|| target::open_original(&entry.path))
            .flatten();
        let mut is_right = old.is_some_and(|(_, len)| len == size);
        let mut is_resumed = false;
        let bytes = NEED_BYTES
            + (JOB_BYTES + entry.path.len() as u64) / block_count(size, &self.format).max(1);
        let ready = self.ready;
        let found = ready.each_block(content, |index, hash, len| {
            let at = u64::from(index) * self.format.blocksize;
            let algorithm = self.format.block_hash;
            let mut has = |file: Option<&File>| {
                file.is_some_and(|file| {
                    target::has_block(file, at, len, (algorithm, hash), &mut self.buffer)
                })
            };
            if has(old.map(|(file, _)| file)) {
                self.plan.push(Origin::Present);
                return Ok(());
            }
            is_right = false;
            if has(unfinished.as_ref()) {
                is_resumed = true;
                self.plan.push(Origin::Unfinished);
            } else if has(original.as_ref()) {
                self.plan.push(Origin::Original);
            } else {
                self.want(number, Kind::Content, hash, len, bytes);
                if self.wanted.len() >= LOOKED_UP {
                    self.look_up()?;
                }
            }
            Ok(())
        })?;
        if found.is_err() {
            self.mark(number, Mark::Refused);
            return Ok(0);
        }
        if !is_possible {
            self.mark(number, Mark::Failed);
            self.forget(number, start);
            return Ok(0);
        }
        if is_right {
            self.mark(number, Mark::Right);
            self.forget(number, start);
            return Ok(0);
        }
        if is_resumed {
            self.mark(number, Mark::Resumes);
        }
        if self.rules.overwrite && !is_free {
            self.mark(number, Mark::Replaces);
        }
        let Some(root) = self.root.filter(|_| !is_free && !self.rules.overwrite) else {
            return Ok(0);
        };
        match target::choose_copy(
            ready.format().file_hash,
            root,
            place,
            entry,
            &self.plan.date,
        ) {
            Ok((copy, is_right)) => {
                if is_right {
                    self.mark(number, Mark::Right);
                    self.forget(number, start);
                }
                if let Some(item) = self.plan.items.last_mut() {
                    item.copy = copy;
                }
                Ok(copy)
            }
            Err(_) => {
                self.mark(number, Mark::Failed);
                self.forget(number, start);
                Ok(0)
            }
        }
    }

    fn mark(&self, number: u32, mark: Mark) {
        if let Some(item) = self.plan.items.get(number as usize) {
            item.set(mark);
        }
    }

    fn is(&self, number: u32, mark: Mark) -> bool {
        let item = self.plan.items.get(number as usize);
        item.is_some_and(|item| item.is(mark))
    }

    /// Nothing of a file has to be fetched after all.
    fn forget(&mut self, number: u32, start: usize) {
        self.wanted.retain(|wanted| wanted.item != number);
        self.plan.set_rest(start, Origin::None);
        if let Some(item) = self.plan.items.get_mut(number as usize) {
            *item.open.get_mut() = 0;
        }
    }

    fn want(&mut self, item: u32, kind: Kind, hash: &Hash, len: u64, bytes: u64) {
        self.wanted.push(Wanted {
            at: self.plan.end(),
            item,
            hash: *hash,
            len,
            kind,
            bytes,
        });
        self.plan.push(Origin::None);
    }

    /// Finds the volumes of the blocks that wait for that.
    fn look_up(&mut self) -> Result<()> {
        let wanted = std::mem::take(&mut self.wanted);
        let keys: Vec<(Hash, u64)> = wanted.iter().map(|w| (w.hash, w.len)).collect();
        let volumes = self.ready.find_or_search(&keys)?;
        for (wanted, volume) in wanted.into_iter().zip(volumes) {
            let origin = match volume {
                Some(volume) => self.plan.use_volume(volume, wanted.bytes),
                None => Origin::Lost,
            };
            self.plan.set(wanted.at, origin);
            if wanted.kind == Kind::Content
                && let Some(item) = self.plan.items.get_mut(wanted.item as usize)
            {
                match volume {
                    Some(_) => *item.open.get_mut() += 1,
                    None => {
                        item.set(Mark::Failed);
                    }
                }
            }
        }
        Ok(())
    }

    /// Marks entries whose place another one may have: both have the same hash. The names are compared later.
    fn doubt_places(&mut self) {
        let mut order: Vec<u32> = (0..).take(self.places.len()).collect();
        let place = |number: &u32| self.places.get(*number as usize);
        order.sort_unstable_by_key(place);
        for pair in order.windows(2) {
            if let [a, b] = pair
                && place(a) == place(b)
            {
                for number in [a, b] {
                    if let Some(item) = self.plan.items.get(*number as usize) {
                        item.set(Mark::Doubted);
                    }
                }
            }
        }
        self.places = Vec::new();
    }
}

/// What an earlier run left of a file.
fn unfinished_file(root: &TargetRoot, place: &[u8]) -> Option<File> {
    root.unfinished(place).ok().flatten()
}

/// Blocks looked up together.
const LOOKED_UP: usize = 4096;
/// About what a file takes while its volumes are fetched, without its path.
const JOB_BYTES: u64 = 192;
/// About what a block takes while its volume is fetched.
const NEED_BYTES: u64 = 100;
