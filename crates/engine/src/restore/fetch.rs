//! Fetching volumes and writing their blocks to all places that need them.
//!
//! The volumes come in their order, in batches that bound the memory. For each batch the entries are gone through once,
//! and what its volumes have for them is noted; then each volume is fetched once, several at a time. A file that is in
//! several batches stays under its temporary name in between. A volume whose uses alone are too many for a batch is kept
//! from one to the next. So each volume is fetched once in a restore; once more only when another one was damaged and
//! it holds a copy of what is lost.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use larder_catalog::LossKind;
use larder_volume::{Format, Hash, Unpacker, VolumeName};

use super::content::content_of;
use super::job::Job;
use super::plan::{Cursor, Mark, Origin, Share};
use super::restoring::Restoring;
use crate::error::Reach;
use crate::losses::damage;
use crate::repository::locked;
use crate::sync::describe;
use crate::volumes::read_block;
use crate::workers::for_each_parallel;
use crate::{Error, Result};

/// A block that is needed, and where it goes.
#[derive(Clone, Copy, Debug)]
struct BlockUse {
    hash: Hash,
    /// 0: not known.
    len: u32,
    job: u32,
    /// Number of the block, or [`METADATA`].
    index: u32,
}

/// The number that stands for the metadata blob.
const METADATA: u32 = u32::MAX;

/// The part of a restore whose volumes are fetched together.
struct Batch<'a, 'r> {
    restoring: &'r Restoring<'a>,
    jobs: Vec<Job>,
    /// Needs by volume.
    needs: HashMap<i64, Vec<BlockUse>>,
    /// What could not be had from the volume where it was looked for.
    lost: Mutex<Vec<Lost>>,
}

/// Blocks that one volume did not give.
struct Lost {
    volume: i64,
    /// Identifier and text of the message.
    id: &'static str,
    why: String,
    /// That the volume is damaged; nothing when it only cannot be had or used now.
    damage: Option<LossKind>,
    /// None of its blocks can be had, as against these.
    is_whole: bool,
    needs: Vec<BlockUse>,
}

impl Restoring<'_> {
    /// Fetches all that is needed, batch by batch.
    pub(super) fn fetch(&self) -> Result<()> {
        // How many uses of each volume were dealt with.
        let mut done: Vec<u64> = vec![0; self.plan.volumes.len()];
        for shares in self.plan.batches(BATCH_BYTES) {
            let batch = Batch::collect(self, &shares, &done)?;
            // A volume whose uses take several batches is kept between them.
            let goes_on = shares.iter().any(|share| share.to != u64::MAX);
            self.hold.store(goes_on, Ordering::SeqCst);
            let outcome = batch
                .volumes(&batch.needs)
                .and_then(|()| batch.other_copies());
            let mut aside = Ok(());
            for job in batch.jobs {
                aside = aside.and(self.put_aside(job));
            }
            // The first error is the one to report.
            outcome.and(aside)?;
            for share in shares {
                if let Some(done) = done.get_mut(share.volume as usize) {
                    *done = share.to;
                }
            }
        }
        Ok(())
    }
}

impl<'a, 'r> Batch<'a, 'r> {
    /// Goes through the entries and notes what the volumes of the batch have for them.
    fn collect(restoring: &'r Restoring<'a>, shares: &[Share], done: &[u64]) -> Result<Self> {
        let mut batch = Self {
            restoring,
            jobs: Vec::new(),
            needs: HashMap::new(),
            lost: Mutex::default(),
        };
        let mut part: Vec<Option<(u64, u64)>> = vec![None; restoring.plan.volumes.len()];
        for share in shares {
            if let Some(part) = part.get_mut(share.volume as usize) {
                *part = Some((share.from, share.to));
            }
        }
        let mut seen: Vec<u64> = vec![0; restoring.plan.volumes.len()];
        // For each origin of an entry the volume, when it is this batch's turn.
        let mut turn: Vec<Option<i64>> = Vec::new();
        let mut cursor = Cursor::new(&restoring.plan, restoring.format, restoring.rules);
        restoring.selected.each(|number, entry| {
            let Some(item) = restoring.item(number) else {
                return Ok(());
            };
            let origins = cursor.next(item, entry);
            turn.clear();
            let end = origins.metadata.map(|(at, _, _)| at + 1);
            let end = end.unwrap_or(origins.first + origins.blocks);
            let mut earlier = Vec::new();
            for at in origins.first..end {
                let mut own = None;
                if let Origin::Volume(volume) = restoring.plan.origin(at)
                    && let (Some(seen), Some(part)) =
                        (seen.get_mut(volume as usize), part.get(volume as usize))
                {
                    let use_number = *seen;
                    *seen += 1;
                    if part.is_some_and(|(from, to)| (from..to).contains(&use_number)) {
                        own = restoring.plan.volumes.get(volume as usize).copied();
                    } else if done.get(volume as usize).is_some_and(|n| use_number < *n) {
                        earlier.push(at);
                    }
                }
                turn.push(own);
            }
            if item.is(Mark::Failed) || turn.iter().all(Option::is_none) {
                return Ok(());
            }
            let job = u32::try_from(batch.jobs.len())
                .map_err(|_| Error::Bug("too many files in a batch".into()))?;
            let local = |origin| {
                matches!(
                    origin,
                    Origin::Present | Origin::Original | Origin::Unfinished
                )
            };
            let new = Job::new(restoring, number, entry, origins, local);
            if let Some(content) = &new.content {
                for at in earlier {
                    if let Ok(index) = u32::try_from(at - origins.first) {
                        content.is_there(index);
                    }
                }
            }
            batch.jobs.push(new);
            // Metadata first: it is set before the file gets its name then.
            if let Some((at, hash, len)) = origins.metadata {
                let volume = turn.get(at - origins.first).copied().flatten();
                batch.need(volume, &hash, len, (job, METADATA));
            }
            if turn.iter().take(origins.blocks).all(Option::is_none) {
                return Ok(());
            }
            let Ok(content) = content_of(entry, &restoring.format) else {
                return Ok(());
            };
            let read = restoring.ready.each_block(content, |index, hash, len| {
                let volume = turn.get(index as usize).copied().flatten();
                batch.need(volume, hash, len, (job, index));
                Ok(())
            })?;
            if let (Err(why), Some(job)) = (read, batch.jobs.last()) {
                restoring.fail_remote(job, &why);
            }
            Ok(())
        })?;
        Ok(batch)
    }

    fn need(&mut self, volume: Option<i64>, hash: &Hash, len: u64, (job, index): (u32, u32)) {
        let Some(volume) = volume else { return };
        self.needs.entry(volume).or_default().push(BlockUse {
            hash: *hash,
            len: u32::try_from(len).unwrap_or(0),
            job,
            index,
        });
    }

    /// Fetches volumes, several at a time, and notes what they did not give.
    fn volumes(&self, needs: &HashMap<i64, Vec<BlockUse>>) -> Result<()> {
        let mut order: Vec<i64> = needs.keys().copied().collect();
        order.sort_unstable();
        let (ready, threads) = (self.restoring.ready, self.restoring.ready.settings.threads);
        for_each_parallel(
            threads,
            apart(&order, threads),
            |volume| {
                let needs = needs.get(&volume).map(Vec::as_slice).unwrap_or_default();
                match self.volume(volume, needs) {
                    Err(error) if error.reach() == Reach::Volume => {
                        self.note_lost(Lost {
                            volume,
                            id: "DamagedVolume",
                            why: describe(&error),
                            damage: error
                                .is_wrong_content()
                                .then(|| LossKind::Damaged(damage(&error))),
                            is_whole: true,
                            needs: needs.to_vec(),
                        });
                        Ok(())
                    }
                    other => other,
                }
            },
            |()| ready.cancel.check(),
        )
    }

    fn note_lost(&self, lost: Lost) {
        locked(&self.lost).push(lost);
    }

    /// Notes damage in the catalog, so that every run tells of it and the next backup stores the blocks again.
    fn note_damage(&self, lost: &[Lost]) -> Result<()> {
        let ready = self.restoring.ready;
        let mut by_volume: BTreeMap<i64, Vec<&Lost>> = BTreeMap::new();
        for lost in lost.iter().filter(|lost| lost.damage.is_some()) {
            by_volume.entry(lost.volume).or_default().push(lost);
        }
        for (volume, lost) in by_volume {
            let what = lost.iter().find_map(|lost| lost.damage.clone());
            let (Some(row), Some(what)) = (self.restoring.rows.get(&volume), what) else {
                continue;
            };
            let blocks = match lost.iter().any(|lost| lost.is_whole) {
                true => ready.blocks_of(row)?,
                false => {
                    let needs = lost.iter().flat_map(|lost| &lost.needs);
                    ready.blocks_named(row, &needs.map(|need| need.hash).collect())?
                }
            };
            ready.note_damage(ready.loss(row, what)?, &blocks)?;
        }
        Ok(())
    }

    /// The volumes that hold a block; a length of 0 stands for any.
    fn copies(&self, hash: &Hash, len: u32) -> Result<impl Iterator<Item = i64> + use<>> {
        let ready = self.restoring.ready;
        let volumes = if len == 0 {
            let found = ready.catalog(|c| c.find_blocks_by_hash(hash))?;
            found.into_iter().map(|(_, volume)| volume).collect()
        } else {
            ready.catalog(|c| c.volumes_of_block(hash, u64::from(len)))?
        };
        Ok(volumes.into_iter())
    }

    /// Looks for what is lost in other volumes that hold it too, until all is found or nothing is left to try.
    fn other_copies(&self) -> Result<()> {
        let mut tried: HashMap<(Hash, u32), Vec<i64>> = HashMap::new();
        loop {
            let lost = std::mem::take(&mut *locked(&self.lost));
            if lost.is_empty() {
                return Ok(());
            }
            let mut again: HashMap<i64, Vec<BlockUse>> = HashMap::new();
            self.note_damage(&lost)?;
            for Lost {
                volume,
                id,
                why,
                needs,
                ..
            } in lost
            {
                let mut gone = Vec::new();
                for need in needs {
                    let known = tried.entry((need.hash, need.len)).or_default();
                    if !known.contains(&volume) {
                        known.push(volume);
                    }
                    let mut copies = self.copies(&need.hash, need.len)?;
                    match copies.find(|copy| !known.contains(copy)) {
                        Some(copy) => again.entry(copy).or_default().push(need),
                        None => gone.push(need),
                    }
                }
                let reporter = &self.restoring.ready.reporter;
                if gone.is_empty() {
                    reporter.warn(
                        id,
                        format!("{why}; another volume holds what is needed of it"),
                    );
                } else {
                    reporter.error(id, why);
                }
                for need in gone {
                    self.lose(need)?;
                }
            }
            self.volumes(&again)?;
        }
    }

    /// Something is nowhere to be had: who needed it is told.
    fn lose(&self, need: BlockUse) -> Result<()> {
        let Some(job) = self.jobs.get(need.job as usize) else {
            return Ok(());
        };
        if need.index == METADATA {
            if !job.item(self.restoring).is(Mark::Failed) {
                self.restoring.lose_metadata(job.kind, &job.path);
            }
            return Ok(());
        }
        self.restoring
            .fail_remote(job, "a part of its content is damaged or missing");
        self.one_less(job)
    }

    /// One block less has to come for a file.
    fn one_less(&self, job: &Job) -> Result<()> {
        if job.item(self.restoring).open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.restoring.finish(job)?;
        }
        Ok(())
    }

    /// Fetches one volume and writes the blocks that are needed of it.
    fn volume(&self, id: i64, needs: &[BlockUse]) -> Result<()> {
        let ready = self.restoring.ready;
        let Some(row) = self.restoring.rows.get(&id) else {
            return Err(Error::Bug(format!("volume {id} is not in the catalog")));
        };
        let Some(name) = VolumeName::parse(&row.name, ready.settings.case_insensitive) else {
            return Err(Error::Bug(format!("{} is no volume name", row.name)));
        };
        let held = self.restoring.held().take_if(|(held, _)| *held == id);
        let archive = match held {
            Some((_, archive)) => archive,
            None => ready.fetch_volume(&name, row.size, row.hash)?,
        };
        let mut unpacker = Unpacker::new();
        let mut buffer = Vec::new();
        let uses = Uses::of(needs);
        for places in uses.in_order() {
            ready.cancel.check()?;
            let Some(first) = places.first().and_then(|at| needs.get(*at as usize)) else {
                continue;
            };
            let places = || places.iter().filter_map(|at| needs.get(*at as usize));
            let blocksize = self.restoring.format.blocksize;
            let read = read_block(
                &archive,
                &first.hash,
                blocksize,
                &mut buffer,
                &mut unpacker,
                &row.name,
            );
            let fits = first.len == 0 || u64::from(first.len) == buffer.len() as u64;
            let why = match read {
                Ok(()) if fits && self.is_right(first, &buffer, self.restoring.format) => None,
                Ok(()) => Some(format!("{}: block {} is damaged", row.name, first.hash)),
                Err(error) if error.reach() == Reach::Volume => Some(describe(&error)),
                Err(error) => return Err(error),
            };
            if let Some(why) = why {
                self.note_lost(Lost {
                    volume: id,
                    id: "DamagedBlock",
                    why,
                    damage: Some(LossKind::Damaged(format!(
                        "block {} is damaged",
                        first.hash
                    ))),
                    is_whole: false,
                    needs: places().copied().collect(),
                });
                continue;
            }
            for need in places() {
                let Some(job) = self.jobs.get(need.job as usize) else {
                    continue;
                };
                if need.index == METADATA {
                    self.restoring.metadata(job, &buffer)?;
                } else {
                    self.restoring.write(job, need.index, &buffer)?;
                    self.one_less(job)?;
                }
            }
        }
        if self.restoring.hold.load(Ordering::SeqCst) {
            *self.restoring.held() = Some((id, archive));
        } else {
            ready.remote.recycle(archive.into_source());
        }
        Ok(())
    }

    /// True when a block is what its hash says. The file that it goes to first is hashed in step, when it comes next
    /// there.
    fn is_right(&self, first: &BlockUse, bytes: &[u8], format: Format) -> bool {
        let job = self.jobs.get(first.job as usize);
        let next = job
            .filter(|job| first.index != METADATA && !job.item(self.restoring).is(Mark::Failed))
            .and_then(|job| {
                let wanted = (format.block_hash, &first.hash);
                job.content.as_ref()?.verify_next(
                    first.index,
                    bytes,
                    wanted,
                    format.blocksize,
                    || job.file(self.restoring),
                )
            });
        next.unwrap_or_else(|| format.block_hash.digest(bytes) == first.hash)
    }
}

/// The needs of a volume, those of one block together. Memory: 16 bytes per need.
struct Uses {
    /// Numbers of needs, sorted by block.
    order: Vec<u32>,
    /// First need, start and end in `order`, for each block; in the order of the first needs.
    blocks: Vec<(u32, u32, u32)>,
}

impl Uses {
    fn of(needs: &[BlockUse]) -> Self {
        let mut order: Vec<u32> = (0..).take(needs.len()).collect();
        let key = |at: &u32| {
            let need = needs.get(*at as usize);
            need.map(|need| (need.hash, need.len))
        };
        order.sort_by(|a, b| key(a).cmp(&key(b)).then(a.cmp(b)));
        let mut blocks = Vec::new();
        let mut start = 0;
        for same in order.chunk_by(|a, b| key(a) == key(b)) {
            let end = start + u32::try_from(same.len()).unwrap_or(0);
            blocks.push((same.first().copied().unwrap_or(0), start, end));
            start = end;
        }
        blocks.sort_unstable();
        Self { order, blocks }
    }

    /// The needs of each block, in the order in which the files come.
    fn in_order(&self) -> impl Iterator<Item = &[u32]> {
        self.blocks.iter().map(|(_, start, end)| {
            let range = *start as usize..*end as usize;
            self.order.get(range).unwrap_or_default()
        })
    }
}

/// An order for `threads` threads, of which each goes through a stretch of its own: neighbouring volumes hold parts of
/// the same files, and two threads that write to one file wait for each other.
fn apart(volumes: &[i64], threads: usize) -> Vec<i64> {
    let len = volumes.len().div_ceil(threads.max(1)).max(1);
    let stretches: Vec<&[i64]> = volumes.chunks(len).collect();
    let step = |n: usize| stretches.iter().filter_map(move |stretch| stretch.get(n));
    (0..len).flat_map(step).copied().collect()
}

/// About what the jobs and needs of a batch may take in memory.
const BATCH_BYTES: u64 = 48 << 20;

#[cfg(test)]
mod tests {
    use larder_volume::HashAlgorithm;

    use super::*;

    #[test]
    fn each_thread_has_a_stretch() {
        assert_eq!(apart(&[1, 2, 3, 4, 5], 2), [1, 4, 2, 5, 3]);
        assert_eq!(apart(&[1, 2, 3, 4, 5], 1), [1, 2, 3, 4, 5]);
        assert_eq!(apart(&[1, 2], 4), [1, 2]);
        assert_eq!(apart(&[], 2), [0; 0]);
    }

    #[test]
    fn needs_of_one_block_come_together_in_the_order_of_the_first() {
        let need = |text: &str, len, job| BlockUse {
            hash: HashAlgorithm::Sha256.digest(text.as_bytes()),
            len,
            job,
            index: 0,
        };
        let needs = [
            need("c", 1, 0),
            need("a", 1, 1),
            need("c", 1, 2),
            need("b", 1, 3),
            need("c", 2, 4),
            need("a", 1, 5),
        ];
        let uses = Uses::of(&needs);
        let found: Vec<Vec<u32>> = uses.in_order().map(<[u32]>::to_vec).collect();
        assert_eq!(found, [vec![0, 2], vec![1, 5], vec![3], vec![4]]);
        assert_eq!(Uses::of(&[]).in_order().count(), 0);
    }
}
