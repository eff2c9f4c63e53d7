//! Fetching volumes and writing their blocks to all places that need them.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use larder_catalog::VolumeRow;
use larder_source::{OpenHow, TargetRoot};
use larder_volume::{ArchiveReader, EntryKind, Format, Hash, Metadata, Unpacker, VolumeName};

use super::content_hash::rest_of_file;
use super::plan::{Job, MetadataMap, Need, Plan, Use};
use super::{Rules, Tally};
use crate::data::VolumeData;
use crate::error::{Reach, VolumeContext};
use crate::run::Run;
use crate::sync::describe;
use crate::workers::for_each_parallel;
use crate::{Error, Result};

/// A running restore: what all threads that fetch and write share.
pub(crate) struct Fetch<'a> {
    engine: &'a Run,
    root: &'a TargetRoot,
    plan: &'a Plan,
    rules: &'a Rules,
    tally: &'a Tally,
    rows: HashMap<i64, VolumeRow>,
    metadata: Mutex<MetadataMap>,
    kept_open: AtomicU32,
    /// What could not be had from the volume where it was looked for.
    lost: Mutex<Vec<Lost>>,
}

/// Blocks that one volume did not give.
struct Lost {
    volume: i64,
    /// Identifier and text of the message.
    id: &'static str,
    why: String,
    needs: Vec<Need>,
}

impl Run {
    /// Fetches every needed volume once and writes its blocks; gives the metadata blobs.
    pub(crate) fn fetch_all(
        &self,
        root: &TargetRoot,
        plan: &Plan,
        rules: &Rules,
        tally: &Tally,
    ) -> Result<MetadataMap> {
        let volumes = self.catalog(|c| c.volumes())?;
        let fetch = Fetch {
            engine: self,
            root,
            plan,
            rules,
            tally,
            rows: volumes.into_iter().map(|row| (row.id, row)).collect(),
            metadata: Mutex::new(plan.metadata.clone()),
            kept_open: AtomicU32::new(0),
            lost: Mutex::default(),
        };
        fetch.start_ready_files()?;
        fetch.volumes(&plan.needs)?;
        fetch.other_copies()?;
        let metadata = fetch.metadata.into_inner();
        let metadata = metadata.unwrap_or_else(PoisonError::into_inner);
        self.apply_late_metadata(root, plan, &metadata, rules)?;
        Ok(metadata)
    }

    /// Gives every complete file its metadata, in parallel.
    fn apply_late_metadata(
        &self,
        root: &TargetRoot,
        plan: &Plan,
        metadata: &MetadataMap,
        rules: &Rules,
    ) -> Result<()> {
        if !rules.metadata {
            return Ok(());
        }
        let parts: Vec<&[Job]> = plan.jobs.chunks(256).collect();
        for_each_parallel(
            self.settings.threads,
            parts,
            |jobs| {
                for job in jobs {
                    if job.complete.load(Ordering::SeqCst)
                        && let Some(blob) = metadata.get(&job.entry)
                    {
                        self.apply(
                            root,
                            &job.rel,
                            &blob,
                            rules,
                            EntryKind::File,
                            &job.entry.path,
                        );
                    }
                }
                Ok(())
            },
            |()| self.cancel.check(),
        )
    }

    /// Fetches single blocks, by volume; damaged ones are left out with a warning.
    pub(crate) fn fetch_blocks(
        &self,
        by_volume: HashMap<i64, Vec<Hash>>,
    ) -> Result<Vec<(Hash, Vec<u8>)>> {
        let rows: HashMap<i64, VolumeRow> = self
            .catalog(|c| c.volumes())?
            .into_iter()
            .map(|row| (row.id, row))
            .collect();
        let format = self.format()?;
        let mut found = Vec::new();
        for_each_parallel(
            self.settings.threads,
            by_volume.into_iter().collect(),
            |(id, hashes)| {
                let Some(row) = rows.get(&id) else {
                    return Ok(Vec::new());
                };
                let Some(name) = VolumeName::parse(&row.name, self.settings.case_insensitive)
                else {
                    return Ok(Vec::new());
                };
                let archive = match self.fetch_volume(&name, row.size, row.hash) {
                    Ok(archive) => archive,
                    Err(error) if error.reach() == Reach::Volume => {
                        self.reporter.error("DamagedVolume", describe(&error));
                        return Ok(Vec::new());
                    }
                    Err(error) => return Err(error),
                };
                let (mut unpacker, mut blocks) = (Unpacker::new(), Vec::new());
                for hash in hashes {
                    let mut buffer = Vec::new();
                    match read_block(
                        &archive,
                        &hash,
                        format.blocksize,
                        &mut buffer,
                        &mut unpacker,
                        &row.name,
                    ) {
                        Ok(()) if format.block_hash.digest(&buffer) == hash => {
                            blocks.push((hash, buffer))
                        }
                        _ => self.reporter.error(
                            "DamagedBlock",
                            format!("{}: block {hash} cannot be read", row.name),
                        ),
                    }
                }
                Ok(blocks)
            },
            |blocks| {
                found.extend(blocks);
                Ok(())
            },
        )?;
        Ok(found)
    }
}

impl Fetch<'_> {
    /// Files that need no block: empty, right already, or complete from local blocks.
    fn start_ready_files(&self) -> Result<()> {
        let tally = self.tally;
        for job in &self.plan.jobs {
            self.engine.cancel.check()?;
            if job.unchanged {
                tally.unchanged.fetch_add(1, Ordering::Relaxed);
                tally
                    .unchanged_bytes
                    .fetch_add(job.entry.size, Ordering::Relaxed);
                job.complete.store(true, Ordering::SeqCst);
                self.done();
            } else if job.open.load(Ordering::SeqCst) == 0 && !job.failed.load(Ordering::SeqCst) {
                self.finish_content(job);
            } else if self.rules.preallocate {
                if let Ok(file) = self.file(job) {
                    let _ = file.set_len(job.entry.size);
                }
                job.close(&self.kept_open);
            }
        }
        Ok(())
    }

    fn done(&self) {
        let progress = &self.engine.reporter.progress;
        progress.files_done.fetch_add(1, Ordering::Relaxed);
    }

    fn file(&self, job: &Job) -> std::io::Result<Arc<File>> {
        job.file(self.root, &self.kept_open)
    }

    /// Fetches volumes, several at a time, and notes what they did not give.
    fn volumes(&self, needs: &HashMap<i64, Vec<Need>>) -> Result<()> {
        let mut order: Vec<i64> = needs.keys().copied().collect();
        order.sort_unstable();
        let threads = self.engine.settings.threads;
        for_each_parallel(
            threads,
            apart(&order, threads),
            |volume| {
                let needs = needs.get(&volume).map(Vec::as_slice).unwrap_or_default();
                match self.volume(volume, needs) {
                    Err(error) if error.reach() == Reach::Volume => {
                        self.note_lost(volume, "DamagedVolume", describe(&error), needs.to_vec());
                        Ok(())
                    }
                    other => other,
                }
            },
            |()| self.engine.cancel.check(),
        )
    }

    fn note_lost(&self, volume: i64, id: &'static str, why: String, needs: Vec<Need>) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.push(Lost {
            volume,
            id,
            why,
            needs,
        });
    }

    /// The volumes that hold a block; a length of 0 stands for any.
    fn copies(&self, hash: &Hash, len: u64) -> Result<impl Iterator<Item = i64> + use<>> {
        let volumes = if len == 0 {
            let found = self.engine.catalog(|c| c.find_blocks_by_hash(hash))?;
            found.into_iter().map(|(_, volume)| volume).collect()
        } else {
            self.engine.catalog(|c| c.volumes_of_block(hash, len))?
        };
        Ok(volumes.into_iter())
    }

    /// Looks for what is lost in other volumes that hold it too, until all is found or nothing is left to try.
    fn other_copies(&self) -> Result<()> {
        let mut tried: HashMap<(Hash, u64), Vec<i64>> = HashMap::new();
        loop {
            let lost =
                std::mem::take(&mut *self.lost.lock().unwrap_or_else(PoisonError::into_inner));
            if lost.is_empty() {
                return Ok(());
            }
            let mut again: HashMap<i64, Vec<Need>> = HashMap::new();
            for Lost {
                volume,
                id,
                why,
                needs,
            } in lost
            {
                let mut gone = Vec::new();
                for need in needs {
                    let (hash, len, _) = need;
                    let known = tried.entry((hash, len)).or_default();
                    if !known.contains(&volume) {
                        known.push(volume);
                    }
                    match self.copies(&hash, len)?.find(|copy| !known.contains(copy)) {
                        Some(copy) => again.entry(copy).or_default().push(need),
                        None => gone.push(need),
                    }
                }
                let reporter = &self.engine.reporter;
                if gone.is_empty() {
                    reporter.warn(
                        id,
                        format!("{why}; another volume holds what is needed of it"),
                    );
                } else {
                    reporter.error(id, why);
                }
                for (_, _, place) in gone {
                    self.lose(place);
                }
            }
            self.volumes(&again)?;
        }
    }

    /// Fetches one volume and writes the blocks that are needed of it.
    fn volume(&self, id: i64, needs: &[Need]) -> Result<()> {
        let (engine, plan) = (self.engine, self.plan);
        let Some(row) = self.rows.get(&id) else {
            return Err(Error::Bug(format!("volume {id} is not in the catalog")));
        };
        let Some(name) = VolumeName::parse(&row.name, engine.settings.case_insensitive) else {
            return Err(Error::Bug(format!("{} is no volume name", row.name)));
        };
        let archive = engine.fetch_volume(&name, row.size, row.hash)?;
        let format = engine.format()?;
        let mut uses: HashMap<(Hash, u64), Vec<Use>> = HashMap::with_capacity(needs.len());
        let mut order = Vec::with_capacity(needs.len());
        for (hash, len, place) in needs {
            let places = uses.entry((*hash, *len)).or_default();
            if places.is_empty() {
                order.push((*hash, *len));
            }
            places.push(*place);
        }
        let mut unpacker = Unpacker::new();
        let mut buffer = Vec::new();
        for (hash, len) in order {
            engine.cancel.check()?;
            let places = uses
                .get(&(hash, len))
                .map(Vec::as_slice)
                .unwrap_or_default();
            match read_block(
                &archive,
                &hash,
                format.blocksize,
                &mut buffer,
                &mut unpacker,
                &row.name,
            ) {
                Ok(())
                    if (len == buffer.len() as u64 || len == 0)
                        && self.verify_block(places, &hash, &buffer, format) => {}
                outcome => {
                    let why = match outcome {
                        Ok(()) => format!("{}: block {hash} is damaged", row.name),
                        Err(error) => describe(&error),
                    };
                    let needs = places.iter().map(|place| (hash, len, *place)).collect();
                    self.note_lost(id, "DamagedBlock", why, needs);
                    continue;
                }
            }
            for place in places {
                match *place {
                    Use::Metadata => {
                        let blob = match Metadata::parse(&buffer) {
                            Ok(blob) => blob,
                            Err(error) => {
                                engine.reporter.warn(
                                    "MalformedMetadata",
                                    format!("{}: metadata {hash}: {error}", row.name),
                                );
                                continue;
                            }
                        };
                        let full = format.file_hash.digest(&buffer);
                        self.metadata
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .blobs
                            .insert(full, Arc::new(blob));
                    }
                    Use::Content { job, index } => {
                        let Some(job) = plan.jobs.get(job as usize) else {
                            continue;
                        };
                        self.write_block(job, index, &buffer);
                    }
                }
            }
        }
        engine.remote.recycle(archive.into_source());
        Ok(())
    }

    /// True when a block is what its hash says. The file that it goes to first is hashed in step, when it comes next
    /// there.
    fn verify_block(&self, places: &[Use], hash: &Hash, bytes: &[u8], format: Format) -> bool {
        let next = places.first().and_then(|place| {
            let Use::Content { job, index } = *place else {
                return None;
            };
            let job = self.plan.jobs.get(job as usize)?;
            let (wanted, file) = ((format.block_hash, hash), || self.file(job));
            job.content
                .as_ref()?
                .verify_next(index, bytes, wanted, format.blocksize, file)
        });
        next.unwrap_or_else(|| format.block_hash.digest(bytes) == *hash)
    }

    fn write_block(&self, job: &Job, index: u32, bytes: &[u8]) {
        let written = if job.failed.load(Ordering::SeqCst) {
            Ok(())
        } else {
            self.file(job)
                .and_then(|file| {
                    file.write_all_at(bytes, u64::from(index) * self.plan.blocksize)
                        .map(|()| file)
                })
                .map(|file| {
                    if let Some(content) = &job.content {
                        content.wrote(index, bytes);
                    }
                    self.engine
                        .reporter
                        .progress
                        .bytes_done
                        .fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    if job.entry.blocklists.is_empty() && job.open.load(Ordering::SeqCst) == 1 {
                        // The only block's hash was the file's hash: nothing is left to verify.
                        self.trim(&file, job);
                    }
                })
        };
        if let Err(error) = written {
            self.local_failure(job, &error);
        }
        if job.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.finish_content(job);
        }
    }

    /// Cuts what an existing file has beyond the restored length.
    fn trim(&self, file: &File, job: &Job) {
        if job.created {
            let _ = file.set_len(job.entry.size);
        }
    }

    fn local_failure(&self, job: &Job, error: &std::io::Error) {
        if !job.failed.swap(true, Ordering::SeqCst) {
            self.engine.reporter.error(
                "RestoreFailed",
                format!("{}: {error}", String::from_utf8_lossy(&job.entry.path)),
            );
            self.tally.local(&job.entry.path);
        }
    }

    /// All blocks are written: the whole is verified.
    fn finish_content(&self, job: &Job) {
        if job.failed.load(Ordering::SeqCst) {
            job.close(&self.kept_open);
            return;
        }
        let size = job.entry.size;
        let outcome = (|| -> std::io::Result<bool> {
            if size == 0 {
                self.root
                    .open_file(&job.rel, OpenHow::CreateOrExisting)?
                    .set_len(0)?;
                return Ok(true);
            }
            // One block of the file's own hash algorithm was verified when it arrived.
            if job.entry.blocklists.is_empty() && job.entry.blockhash.is_none() && !job.patched {
                return Ok(true);
            }
            let file = self.file(job)?;
            if job.created {
                file.set_len(size)?;
            }
            if !self.rules.verify {
                return Ok(true);
            }
            let format = self.engine.format().map_err(std::io::Error::other)?;
            let (algorithm, blocksize) = (format.file_hash, format.blocksize);
            let found = match &job.content {
                Some(content) => content.finish(&file, blocksize)?,
                None => rest_of_file(&file, algorithm.hasher(), 0)?,
            };
            Ok(Some(found) == job.entry.hash)
        })();
        job.close(&self.kept_open);
        match outcome {
            Ok(true) => {
                self.tally.files.fetch_add(1, Ordering::Relaxed);
                self.tally.bytes.fetch_add(size, Ordering::Relaxed);
                if job.patched {
                    self.tally.patched.fetch_add(1, Ordering::Relaxed);
                }
                job.complete.store(true, Ordering::SeqCst);
                self.done();
            }
            Ok(false) => {
                job.failed.store(true, Ordering::SeqCst);
                self.engine.reporter.error(
                    "HashMismatch",
                    format!(
                        "{}: the restored content is not what was backed up",
                        String::from_utf8_lossy(&job.entry.path)
                    ),
                );
                self.tally.remote(&job.entry.path);
            }
            Err(error) => self.local_failure(job, &error),
        }
    }

    /// Something is nowhere to be had: who needed it is told.
    fn lose(&self, place: Use) {
        let Use::Content { job, .. } = place else {
            return;
        };
        let Some(job) = self.plan.jobs.get(job as usize) else {
            return;
        };
        if job.complete.load(Ordering::SeqCst) {
            return;
        }
        if !job.failed.swap(true, Ordering::SeqCst) {
            self.engine.reporter.error(
                "RestoreFailed",
                format!(
                    "{}: a part of its content is damaged or missing",
                    String::from_utf8_lossy(&job.entry.path)
                ),
            );
            self.tally.remote(&job.entry.path);
        }
        if job.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.finish_content(job);
        }
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

fn read_block(
    archive: &ArchiveReader<VolumeData>,
    hash: &Hash,
    blocksize: u64,
    buffer: &mut Vec<u8>,
    unpacker: &mut Unpacker,
    name: &str,
) -> Result<()> {
    let entry = archive.find(&hash.to_url_base64()).ok_or_else(|| {
        Error::volume(
            name,
            larder_volume::Error::Malformed {
                what: "data volume",
                detail: format!("block {hash} is not in it"),
            },
        )
    })?;
    buffer.clear();
    archive
        .read_into(entry, buffer, blocksize, unpacker)
        .in_volume(name)
}

#[cfg(test)]
mod tests {
    use super::apart;

    #[test]
    fn each_thread_has_a_stretch() {
        assert_eq!(apart(&[1, 2, 3, 4, 5], 2), [1, 4, 2, 5, 3]);
        assert_eq!(apart(&[1, 2, 3, 4, 5], 1), [1, 2, 3, 4, 5]);
        assert_eq!(apart(&[1, 2], 4), [1, 2]);
        assert_eq!(apart(&[], 2), [0; 0]);
    }
}
