//! Fetching volumes and writing their blocks to all places that need them.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use larder_catalog::VolumeRow;
use larder_source::{OpenHow, TargetRoot};
use larder_volume::{ArchiveReader, EntryKind, Hash, Metadata, Unpacker, VolumeName};

use super::plan::{Job, MetadataMap, Plan, Use};
use super::{Rules, Tally, target};
use crate::data::VolumeData;
use crate::error::VolumeContext;
use crate::session::Engine;
use crate::sync::describe;
use crate::workers::for_each_parallel;
use crate::{Error, Result};

impl Engine {
    /// Fetches every needed volume once and writes its blocks; gives the metadata blobs.
    pub(crate) fn fetch_all(
        &self,
        root: &TargetRoot,
        plan: &Plan,
        rules: &Rules,
        tally: &Tally,
    ) -> Result<MetadataMap> {
        let rows: HashMap<i64, VolumeRow> = self
            .catalog(|c| c.volumes())?
            .into_iter()
            .map(|row| (row.id, row))
            .collect();
        let metadata = Mutex::new(plan.metadata.clone());
        let kept_open = AtomicU32::new(0);
        self.start_ready_files(root, plan, tally, rules)?;
        let mut order: Vec<i64> = plan.needs.keys().copied().collect();
        order.sort_unstable();
        for_each_parallel(
            self.settings.threads,
            order,
            |id| {
                let needs = plan.needs.get(&id).map(Vec::as_slice).unwrap_or_default();
                let Some(row) = rows.get(&id) else {
                    return Err(Error::Bug(format!("volume {id} is not in the catalog")));
                };
                match self
                    .restore_volume(root, plan, row, needs, rules, tally, &metadata, &kept_open)
                {
                    Err(error @ (Error::Volume { .. } | Error::Destination(_))) => {
                        self.reporter.error("DamagedVolume", describe(&error));
                        self.lose(root, plan, needs, tally, rules, &kept_open);
                        Ok(())
                    }
                    other => other,
                }
            },
            |()| self.cancel.check(),
        )?;
        let metadata = metadata
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        self.apply_late_metadata(root, plan, &metadata, rules)?;
        Ok(metadata)
    }

    /// Files that need no block: empty, right already, or complete from local blocks.
    fn start_ready_files(
        &self,
        root: &TargetRoot,
        plan: &Plan,
        tally: &Tally,
        rules: &Rules,
    ) -> Result<()> {
        let nobody = AtomicU32::new(0);
        for job in &plan.jobs {
            self.cancel.check()?;
            if job.unchanged {
                tally.unchanged.fetch_add(1, Ordering::Relaxed);
                tally.unchanged_bytes.fetch_add(
                    u64::try_from(job.entry.size).unwrap_or(0),
                    Ordering::Relaxed,
                );
                job.complete.store(true, Ordering::SeqCst);
                self.done(job);
            } else if job.open.load(Ordering::SeqCst) == 0 && !job.failed.load(Ordering::SeqCst) {
                self.finish_content(root, job, tally, rules, &nobody);
            } else if rules.preallocate {
                if let Ok(file) = job.file(root, &nobody) {
                    let _ = file.set_len(u64::try_from(job.entry.size).unwrap_or(0));
                }
                job.close(&nobody);
            }
        }
        Ok(())
    }

    fn done(&self, job: &Job) {
        self.reporter
            .progress
            .files_done
            .fetch_add(1, Ordering::Relaxed);
        let _ = job;
    }

    #[allow(clippy::too_many_arguments)]
    fn restore_volume(
        &self,
        root: &TargetRoot,
        plan: &Plan,
        row: &VolumeRow,
        needs: &[(Hash, u64, Use)],
        rules: &Rules,
        tally: &Tally,
        metadata: &Mutex<MetadataMap>,
        kept_open: &AtomicU32,
    ) -> Result<()> {
        let Some(name) = VolumeName::parse(&row.name, self.settings.case_insensitive) else {
            return Err(Error::Bug(format!("{} is no volume name", row.name)));
        };
        let archive = self.fetch_volume(&name, row.size, row.hash)?;
        let format = self.format()?;
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
            self.cancel.check()?;
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
                    if format.block_hash.digest(&buffer) == hash
                        && (len == buffer.len() as u64 || len == 0) => {}
                outcome => {
                    let why = match outcome {
                        Ok(()) => format!("{}: block {hash} is damaged", row.name),
                        Err(error) => describe(&error),
                    };
                    self.reporter.error("DamagedBlock", why);
                    for place in places {
                        self.lose_use(root, plan, *place, tally, rules, kept_open);
                    }
                    continue;
                }
            }
            for place in places {
                match *place {
                    Use::Metadata => {
                        let blob = match Metadata::parse(&buffer) {
                            Ok(blob) => blob,
                            Err(error) => {
                                self.reporter.warn(
                                    "MalformedMetadata",
                                    format!("{}: metadata {hash}: {error}", row.name),
                                );
                                continue;
                            }
                        };
                        let full = format.file_hash.digest(&buffer);
                        metadata
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .blobs
                            .insert(full, Arc::new(blob));
                    }
                    Use::Content { job, index } => {
                        let Some(job) = plan.jobs.get(job as usize) else {
                            continue;
                        };
                        self.write_block(root, plan, job, index, &buffer, tally, rules, kept_open);
                    }
                }
            }
        }
        self.remote.recycle(archive.into_source());
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn write_block(
        &self,
        root: &TargetRoot,
        plan: &Plan,
        job: &Job,
        index: u32,
        bytes: &[u8],
        tally: &Tally,
        rules: &Rules,
        kept_open: &AtomicU32,
    ) {
        let written = if job.failed.load(Ordering::SeqCst) {
            Ok(())
        } else {
            job.file(root, kept_open)
                .and_then(|file| {
                    file.write_all_at(bytes, u64::from(index) * plan.blocksize)
                        .map(|()| file)
                })
                .map(|file| {
                    self.reporter
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
            self.local_failure(job, tally, &error);
        }
        if job.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.finish_content(root, job, tally, rules, kept_open);
        }
    }

    /// Cuts what an existing file has beyond the restored length.
    fn trim(&self, file: &File, job: &Job) {
        if job.created {
            let _ = file.set_len(u64::try_from(job.entry.size).unwrap_or(0));
        }
    }

    fn local_failure(&self, job: &Job, tally: &Tally, error: &std::io::Error) {
        if !job.failed.swap(true, Ordering::SeqCst) {
            self.reporter.error(
                "RestoreFailed",
                format!("{}: {error}", String::from_utf8_lossy(&job.entry.path)),
            );
            tally.local(&job.entry.path);
        }
    }

    /// All blocks are written: the whole is verified.
    fn finish_content(
        &self,
        root: &TargetRoot,
        job: &Job,
        tally: &Tally,
        rules: &Rules,
        kept_open: &AtomicU32,
    ) {
        if job.failed.load(Ordering::SeqCst) {
            job.close(kept_open);
            return;
        }
        let size = u64::try_from(job.entry.size).unwrap_or(0);
        let outcome = (|| -> std::io::Result<bool> {
            if size == 0 {
                root.open_file(&job.rel, OpenHow::CreateOrExisting)?
                    .set_len(0)?;
                return Ok(true);
            }
            // One block of the file's own hash algorithm was verified when it arrived.
            if job.entry.blocklists.is_empty() && job.entry.blockhash.is_none() && !job.patched {
                return Ok(true);
            }
            let file = job.file(root, kept_open)?;
            if job.created {
                file.set_len(size)?;
            }
            if !rules.verify {
                return Ok(true);
            }
            let algorithm = self.format().map_err(std::io::Error::other)?.file_hash;
            Ok(Some(target::hash_file(&file, algorithm)?) == job.entry.hash)
        })();
        job.close(kept_open);
        match outcome {
            Ok(true) => {
                tally.files.fetch_add(1, Ordering::Relaxed);
                tally.bytes.fetch_add(size, Ordering::Relaxed);
                if job.patched {
                    tally.patched.fetch_add(1, Ordering::Relaxed);
                }
                job.complete.store(true, Ordering::SeqCst);
                self.done(job);
            }
            Ok(false) => {
                job.failed.store(true, Ordering::SeqCst);
                self.reporter.error(
                    "HashMismatch",
                    format!(
                        "{}: the restored content is not what was backed up",
                        String::from_utf8_lossy(&job.entry.path)
                    ),
                );
                tally.remote(&job.entry.path);
            }
            Err(error) => self.local_failure(job, tally, &error),
        }
    }

    /// A whole volume is lost: everything that needed it is told.
    fn lose(
        &self,
        root: &TargetRoot,
        plan: &Plan,
        needs: &[(Hash, u64, Use)],
        tally: &Tally,
        rules: &Rules,
        kept_open: &AtomicU32,
    ) {
        for (_, _, place) in needs {
            self.lose_use(root, plan, *place, tally, rules, kept_open);
        }
    }

    fn lose_use(
        &self,
        root: &TargetRoot,
        plan: &Plan,
        place: Use,
        tally: &Tally,
        rules: &Rules,
        kept_open: &AtomicU32,
    ) {
        let Use::Content { job, .. } = place else {
            return;
        };
        let Some(job) = plan.jobs.get(job as usize) else {
            return;
        };
        if job.complete.load(Ordering::SeqCst) {
            return;
        }
        if !job.failed.swap(true, Ordering::SeqCst) {
            self.reporter.error(
                "RestoreFailed",
                format!(
                    "{}: a part of its content is damaged or missing",
                    String::from_utf8_lossy(&job.entry.path)
                ),
            );
            tally.remote(&job.entry.path);
        }
        if job.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.finish_content(root, job, tally, rules, kept_open);
        }
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
                    Err(error @ (Error::Volume { .. } | Error::Destination(_))) => {
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
