//! Learning where blocks are: from dindex files, and from dblock files that none describes.

use std::collections::{HashMap, HashSet};

use larder_catalog::VolumeState;
use larder_volume::{
    BlockVolume, Hash, LIST_FOLDER, VOL_FOLDER, VolumeKind, VolumeName, parse_block_entry,
    parse_block_volume,
};

use super::{RemoteVolume, SUSPECT, View, describe};
use crate::context::Phase;
use crate::error::VolumeContext;
use crate::run::Run;
use crate::workers::for_each_parallel;
use crate::{Error, Result};

/// A dindex file's content.
struct Index {
    name: VolumeName,
    size: Option<u64>,
    hash: Option<Hash>,
    volumes: Vec<BlockVolume>,
    blocklists: Vec<(Hash, Vec<u8>)>,
}

/// Most bytes of one dindex entry; a 2 TiB volume of 1 KiB blocks stays below it.
const MAX_INDEX_ENTRY_BYTES: u64 = 1 << 30;
impl Run {
    /// Reads the dindex files that the catalog does not know.
    pub(super) fn ingest_indexes(&self, view: &View, known: &HashSet<String>) -> Result<()> {
        let fresh: Vec<RemoteVolume> = view
            .of_kind(VolumeKind::Index)
            .filter(|v| !known.contains(v.name.as_str()))
            .cloned()
            .collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let empty = self.catalog(|c| c.block_count())? == 0;
        if known.is_empty() {
            self.reporter.phase(Phase::Rebuilding);
        }
        self.reporter.info(
            "ReadingIndexes",
            format!("reading {} index files", fresh.len()),
        );
        let mut by_name: HashMap<String, i64> = self
            .catalog(|c| c.volumes())?
            .into_iter()
            .map(|row| (row.name, row.id))
            .collect();
        let mut bulk = if empty {
            Some(self.catalog(|c| c.bulk())?)
        } else {
            None
        };
        let outcome = for_each_parallel(
            self.settings.threads,
            fresh,
            |volume| match self.read_index(&volume) {
                Err(error @ Error::Volume { .. }) => Ok(Err((volume.name, error))),
                Err(error) => Err(error),
                Ok(index) => Ok(Ok(index)),
            },
            |result| {
                self.cancel.check()?;
                let index = match result {
                    Ok(index) => index,
                    Err((_, error)) => {
                        if matches!(
                            error,
                            Error::Volume {
                                source: larder_volume::Error::WrongPassword,
                                ..
                            }
                        ) && known.is_empty()
                            && by_name.is_empty()
                        {
                            return Err(error);
                        }
                        self.reporter.warn(
                            "DamagedIndex",
                            format!("{}; it is passed over", describe(&error)),
                        );
                        return Ok(());
                    }
                };
                self.record_index(index, view, &mut by_name, bulk.as_mut())
            },
        );
        outcome?;
        if let Some(bulk) = bulk {
            bulk.finish()?;
        }
        Ok(())
    }

    /// Notes an index and what it describes, in one step: a known index is never read again.
    fn record_index(
        &self,
        index: Index,
        view: &View,
        by_name: &mut HashMap<String, i64>,
        bulk: Option<&mut larder_catalog::BulkLoader>,
    ) -> Result<()> {
        let mut described = Vec::with_capacity(index.volumes.len());
        for volume in index.volumes {
            if let Some(present) = self.trusted_volume(view, index.name.as_str(), &volume)? {
                described.push((present, volume));
            }
        }
        let mut known = Vec::new();
        self.catalog(|c| {
            c.batch(|c| {
                let index_id = c.add_volume(
                    index.name.as_str(),
                    VolumeKind::Index,
                    VolumeState::Verified,
                    index.size,
                    index.hash,
                )?;
                known.push((index.name.as_str().to_owned(), index_id));
                for (present, volume) in &described {
                    let name = present.name.as_str();
                    let earlier = by_name.get(name).or_else(|| {
                        let mut new = known.iter().filter(|(known, _)| known == name);
                        new.next().map(|(_, id)| id)
                    });
                    let id = match earlier {
                        Some(id) => *id,
                        None => c.add_volume(
                            name,
                            VolumeKind::Blocks,
                            VolumeState::Verified,
                            present.size.or(volume.size),
                            volume.hash,
                        )?,
                    };
                    known.push((name.to_owned(), id));
                    if bulk.is_none() {
                        c.add_blocks(id, &volume.blocks)?;
                    }
                    c.link_index(index_id, id)?;
                }
                if bulk.is_none() {
                    let homes = homes_of_blocklists(&index.blocklists, &described, &known);
                    for (hash, bytes) in &index.blocklists {
                        c.add_blocklist(hash, bytes, homes.get(hash).copied())?;
                    }
                }
                Ok(())
            })
        })?;
        if let Some(bulk) = bulk {
            let homes = homes_of_blocklists(&index.blocklists, &described, &known);
            for ((_, volume), (_, id)) in described.iter().zip(known.iter().skip(1)) {
                bulk.add_blocks(*id, &volume.blocks)?;
            }
            for (hash, bytes) in &index.blocklists {
                bulk.add_blocklist(hash, bytes, homes.get(hash).copied())?;
            }
        }
        by_name.extend(known);
        Ok(())
    }

    /// The volume an index describes, when it is there with the length that the index gives.
    fn trusted_volume<'v>(
        &self,
        view: &'v View,
        index: &str,
        described: &BlockVolume,
    ) -> Result<Option<&'v RemoteVolume>> {
        let Some(present) = self.find_described(view, &described.name) else {
            self.catalog(|c| c.set_param(SUSPECT, "1"))?;
            self.reporter.warn(
                "MissingRemoteFiles",
                format!(
                    "{} is described by {index} but is not there",
                    described.name
                ),
            );
            return Ok(None);
        };
        if let (Some(expected), Some(found)) = (described.size, present.size)
            && expected != found
        {
            self.catalog(|c| c.set_param(SUSPECT, "1"))?;
            self.reporter.warn(
                "RemoteSizeChanged",
                format!(
                    "{} has {found} bytes instead of {expected}: it is not relied on",
                    present.name.as_str()
                ),
            );
            return Ok(None);
        }
        Ok(Some(present))
    }

    /// The volume a dindex speaks of: by its name, else the same name in another container or encryption.
    pub(crate) fn find_described<'v>(
        &self,
        view: &'v View,
        name: &str,
    ) -> Option<&'v RemoteVolume> {
        if let Some(volume) = view.find(name) {
            return Some(volume);
        }
        let stem = name.split_once(".dblock.")?.0;
        ["zip", "tzstd", "tgz"].iter().find_map(|container| {
            ["", ".aes", ".gpg"]
                .iter()
                .find_map(|encryption| view.find(&format!("{stem}.dblock.{container}{encryption}")))
        })
    }

    fn read_index(&self, volume: &RemoteVolume) -> Result<Index> {
        let name = volume.name.as_str();
        let data = self.remote.get(name, volume.size)?;
        let format = self.format()?;
        let hash = data.hash(format.file_hash)?;
        let archive = match self.open_volume(&volume.name, data) {
            Ok(archive) => archive,
            Err(Error::Volume { .. }) => self.fetch_volume(&volume.name, volume.size, None)?,
            Err(error) => return Err(error),
        };
        let mut index = Index {
            name: volume.name.clone(),
            size: volume.size,
            hash: Some(hash),
            volumes: Vec::new(),
            blocklists: Vec::new(),
        };
        for entry in archive.entries() {
            if let Some(described) = entry.name.strip_prefix(VOL_FOLDER) {
                let bytes = archive.read(entry, MAX_INDEX_ENTRY_BYTES).in_volume(name)?;
                index
                    .volumes
                    .push(parse_block_volume(described, &bytes).in_volume(name)?);
            } else if let Some(text) = entry.name.strip_prefix(LIST_FOLDER) {
                let bytes = archive.read(entry, format.blocksize).in_volume(name)?;
                match Hash::parse_url_base64(text) {
                    Ok(hash) if format.block_hash.digest(&bytes) == hash => {
                        index.blocklists.push((hash, bytes))
                    }
                    _ => self.reporter.warn(
                        "WrongBlocklist",
                        format!(
                            "{name}: the blocklist {text} does not match its name and is ignored"
                        ),
                    ),
                }
            }
        }
        Ok(index)
    }

    /// Reads the dblock files that no dindex describes; their blocks would be lost otherwise.
    pub(super) fn ingest_unindexed(&self, view: &View) -> Result<()> {
        let described: HashSet<String> = self
            .catalog(|c| c.volumes())?
            .into_iter()
            .filter(|row| row.kind == VolumeKind::Blocks)
            .map(|row| row.name)
            .collect();
        let fresh: Vec<RemoteVolume> = view
            .of_kind(VolumeKind::Blocks)
            .filter(|v| !described.contains(v.name.as_str()))
            .cloned()
            .collect();
        if fresh.is_empty() {
            return Ok(());
        }
        self.reporter.info(
            "ReadingDataFiles",
            format!("reading {} data files that no index describes", fresh.len()),
        );
        for_each_parallel(
            self.settings.threads,
            fresh,
            |volume| {
                let outcome = self.read_blocks_volume(&volume);
                match outcome {
                    Err(error @ Error::Volume { .. }) => {
                        self.reporter.warn(
                            "DamagedVolume",
                            format!("{}; it is passed over", describe(&error)),
                        );
                        Ok(None)
                    }
                    Err(error) => Err(error),
                    Ok((hash, blocks)) => Ok(Some((volume, hash, blocks))),
                }
            },
            |result| {
                let Some((volume, hash, blocks)) = result else {
                    return Ok(());
                };
                self.catalog(|c| {
                    c.batch(|c| {
                        let id = c.add_volume(
                            volume.name.as_str(),
                            VolumeKind::Blocks,
                            VolumeState::Verified,
                            volume.size,
                            Some(hash),
                        )?;
                        c.add_blocks(id, &blocks)
                    })
                })
            },
        )
    }

    /// Remote hash and verified blocks of a dblock file.
    fn read_blocks_volume(&self, volume: &RemoteVolume) -> Result<(Hash, Vec<(Hash, u64)>)> {
        let name = volume.name.as_str();
        let format = self.format()?;
        let data = self.remote.get(name, volume.size)?;
        let hash = data.hash(format.file_hash)?;
        let archive = self.open_volume(&volume.name, data)?;
        let mut blocks = Vec::new();
        for entry in archive.entries() {
            let Some(expected) = parse_block_entry(&entry.name) else {
                continue;
            };
            let bytes = archive.read(entry, format.blocksize).in_volume(name)?;
            if format.block_hash.digest(&bytes) == expected {
                blocks.push((expected, bytes.len() as u64));
            } else {
                self.reporter.warn(
                    "DamagedBlock",
                    format!("{name}: block {expected} is damaged"),
                );
            }
        }
        Ok((hash, blocks))
    }
}

/// Which of the described volumes hold the blocklists of an index, so that an index written anew repeats them.
/// `known` has the index itself first, then the volumes in the order of `described`.
fn homes_of_blocklists(
    blocklists: &[(Hash, Vec<u8>)],
    described: &[(&RemoteVolume, BlockVolume)],
    known: &[(String, i64)],
) -> HashMap<Hash, i64> {
    let mut homes = HashMap::new();
    if blocklists.is_empty() {
        return homes;
    }
    let lists: HashSet<(Hash, u64)> = blocklists
        .iter()
        .map(|(hash, bytes)| (*hash, bytes.len() as u64))
        .collect();
    for ((_, volume), (_, id)) in described.iter().zip(known.iter().skip(1)) {
        for block in volume.blocks.iter().filter(|block| lists.contains(block)) {
            homes.entry(block.0).or_insert(*id);
        }
    }
    homes
}
