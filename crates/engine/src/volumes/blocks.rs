//! Single blocks out of data volumes, for whoever needs a few of them.

use std::collections::{HashMap, HashSet};

use larder_catalog::LossKind;
use larder_volume::{ArchiveReader, Hash, Unpacker, VolumeName};

use crate::data::VolumeData;
use crate::error::{Reach, VolumeContext};
use crate::losses::damage;
use crate::phases::Ready;
use crate::sync::describe;
use crate::workers::for_each_parallel;
use crate::{Error, Result};

impl Ready<'_> {
    /// Fetches those of the blocklists that no index file repeated from the data files that hold them.
    pub(crate) fn load_blocklists(&self, lists: impl IntoIterator<Item = Hash>) -> Result<()> {
        let mut by_volume: HashMap<i64, Vec<Hash>> = HashMap::new();
        let mut seen = HashSet::new();
        let mut wanted = Vec::new();
        for list in lists {
            if !seen.insert(list) || self.catalog(|c| c.blocklist(&list))?.is_some() {
                continue;
            }
            wanted.push((list, 0));
        }
        let volumes = self.find_or_search(&wanted)?;
        for ((list, _), volume) in wanted.into_iter().zip(volumes) {
            if let Some(volume) = volume {
                by_volume.entry(volume).or_default().push(list);
            }
        }
        if by_volume.is_empty() {
            return Ok(());
        }
        self.fetch_blocks(by_volume, |hash, bytes| {
            let size = bytes.len() as u64;
            self.catalog(|c| {
                let home = c.find_block(&hash, size)?;
                c.add_blocklist(&hash, &bytes, home)
            })
        })
    }

    /// Fetches single blocks, by volume, and hands them out volume by volume; damaged ones are left out with an error.
    /// Memory: the asked blocks of a few volumes.
    pub(crate) fn fetch_blocks(
        &self,
        by_volume: HashMap<i64, Vec<Hash>>,
        mut take: impl FnMut(Hash, Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let volumes = self.catalog(|c| c.volumes())?;
        let rows: HashMap<i64, _> = volumes.into_iter().map(|row| (row.id, row)).collect();
        let format = self.format();
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
                        if error.is_wrong_content() {
                            let loss = self.loss(row, LossKind::Damaged(damage(&error)))?;
                            self.note_damage(loss, &self.blocks_of(row)?)?;
                        }
                        return Ok(Vec::new());
                    }
                    Err(error) => return Err(error),
                };
                let (mut unpacker, mut blocks) = (Unpacker::new(), Vec::new());
                let mut damaged = HashSet::new();
                for hash in hashes {
                    let mut buffer = Vec::new();
                    let read = read_block(
                        &archive,
                        &hash,
                        format.blocksize,
                        &mut buffer,
                        &mut unpacker,
                        &row.name,
                    );
                    match read {
                        Ok(()) if format.block_hash.digest(&buffer) == hash => {
                            blocks.push((hash, buffer));
                        }
                        Err(error) if error.reach() != Reach::Volume => return Err(error),
                        _ => {
                            self.reporter.error(
                                "DamagedBlock",
                                format!("{}: block {hash} cannot be read", row.name),
                            );
                            damaged.insert(hash);
                        }
                    }
                }
                if let Some(first) = damaged.iter().next() {
                    let what = LossKind::Damaged(format!("block {first} cannot be read"));
                    let blocks = self.blocks_named(row, &damaged)?;
                    self.note_damage(self.loss(row, what)?, &blocks)?;
                }
                Ok(blocks)
            },
            |blocks| {
                let mut blocks = blocks.into_iter();
                blocks.try_for_each(|(hash, bytes)| take(hash, bytes))
            },
        )
    }
}

/// Reads a block into a buffer, which holds nothing else then. Its hash is still to be compared.
///
/// # Errors
/// [`Error::Volume`] when it is not in the volume or cannot be unpacked.
pub(crate) fn read_block(
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
