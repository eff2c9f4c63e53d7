//! Learning where blocks are: from dindex files, and from dblock files that none describes.

use std::collections::{HashMap, HashSet};

use larder_catalog::{LossKind, VolumeState};
use larder_volume::{
    BlockVolume, Hash, HashAlgorithm, IndexReader, Repeated, VolumeKind, VolumeName,
    parse_block_entry,
};

use super::{RemoteVolume, describe};
use crate::context::{Level, Phase};
use crate::error::{Reach, VolumeContext};
use crate::identity::is_wrong_passphrase;
use crate::losses::damage;
use crate::notes::{Presence, TAKEN_IN};
use crate::phases::Settled;
use crate::volumes::OpenedVolume;
use crate::words::counted;
use crate::workers::for_each_parallel;
use crate::{Error, Result};

/// A dindex file's content.
struct IndexContent {
    name: VolumeName,
    size: Option<u64>,
    hash: Option<Hash>,
    volumes: Vec<BlockVolume>,
    blocklists: Vec<(Hash, Vec<u8>)>,
}

/// How a file with the name of an index or a data file reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexState {
    Whole,
    /// Its content is something else.
    Damaged,
    /// It cannot be had, or the passphrase may be another one.
    Unclear,
}

/// Most bytes of blocklists taken from one index: those of 2 TiB of content in blocks of 1 MiB, in one volume. Besides,
/// they are no more than the volumes hold in which they lie. What goes beyond is read from those.
const MAX_BLOCKLIST_BYTES: u64 = 64 << 20;
/// Damaged blocks of one volume that are named one by one.
const NAMED_BLOCKS: u64 = 5;

impl Settled<'_> {
    /// Reads the dindex files that the catalog does not know. Those that are damaged are noted, and read again only while
    /// some data file would have to be read for want of them; losses that are `noted` are none.
    pub(crate) fn ingest_indexes(&self, noted: &HashSet<String>) -> Result<()> {
        let mut again = HashSet::new();
        if !self.undescribed(noted)?.is_empty() {
            for loss in self.catalog(|c| c.losses())? {
                if loss.kind == VolumeKind::Index {
                    self.forget_index(&loss.name)?;
                    again.insert(loss.name);
                }
            }
        }
        let is_known = |name: &str| self.known.contains(name) && !again.contains(name);
        let fresh: Vec<RemoteVolume> = self
            .view
            .of_kind(VolumeKind::Index)
            .filter(|v| !is_known(v.name.as_str()))
            .cloned()
            .collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let empty = self.catalog(|c| c.block_count())? == 0;
        if self.known.is_empty() {
            self.reporter.phase(Phase::Rebuilding);
        }
        self.reporter.info(
            "ReadingIndexes",
            format!("reading {}", counted(fresh.len() as u64, "index file")),
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
        let mut damaged = Vec::new();
        let outcome = for_each_parallel(
            self.settings.threads,
            fresh,
            |volume| match self.read_index(&volume) {
                Err(error) if error.reach() == Reach::Volume => Ok(Err((volume, error))),
                Err(error) => Err(error),
                Ok(index) => Ok(Ok(index)),
            },
            |result| {
                self.cancel.check()?;
                let index = match result {
                    Ok(index) => index,
                    // What it describes is read from the data files themselves.
                    Err((volume, error)) => {
                        self.reporter.info(
                            "DamagedIndex",
                            format!("{}; it is passed over", describe(&error)),
                        );
                        if is_damaged(&error) {
                            damaged.push((volume, damage(&error)));
                        }
                        return Ok(());
                    }
                };
                self.record_index(index, &mut by_name, bulk.as_mut())
            },
        );
        outcome?;
        if let Some(bulk) = bulk {
            bulk.finish()?;
        }
        damaged
            .into_iter()
            .try_for_each(|(volume, what)| self.note_damaged_index(&volume, what))
    }

    /// Notes that an index that the catalog did not know is damaged.
    fn note_damaged_index(&self, volume: &RemoteVolume, what: String) -> Result<()> {
        let name = volume.name.as_str();
        let row = self.durable(|c| {
            let state = VolumeState::Verified;
            let id = c.add_volume(name, VolumeKind::Index, state, volume.size, None)?;
            c.volume(id)
        })?;
        match row {
            Some(row) => self.note_damage(self.loss(&row, LossKind::Damaged(what))?, &[]),
            None => Ok(()),
        }
    }

    /// Forgets an index that was found damaged, so that it is read like one that is new.
    pub(crate) fn forget_index(&self, name: &str) -> Result<()> {
        self.catalog(|c| {
            c.batch(|c| {
                if let Some(row) = c.volume_named(name)? {
                    c.remove_volume(row.id)?;
                }
                c.remove_loss(name)
            })
        })
    }

    /// Reads an index and takes nothing in.
    pub(crate) fn look_at_index(&self, volume: &RemoteVolume) -> Result<IndexState> {
        match self.read_index(volume) {
            Ok(_) => Ok(IndexState::Whole),
            Err(error) if is_damaged(&error) => Ok(IndexState::Damaged),
            Err(error) if error.reach() == Reach::Volume => Ok(IndexState::Unclear),
            Err(error) => Err(error),
        }
    }

    /// Reads a list and takes nothing in.
    pub(crate) fn look_at_list(&self, volume: &RemoteVolume) -> Result<IndexState> {
        let read = || {
            let archive = self.fetch_list(volume)?;
            self.entries_again(&archive, volume.name.as_str(), |_| Ok(()))
        };
        match read() {
            Ok(()) => Ok(IndexState::Whole),
            Err(error) if is_damaged(&error) => Ok(IndexState::Damaged),
            Err(error) if error.reach() == Reach::Volume => Ok(IndexState::Unclear),
            Err(error) => Err(error),
        }
    }

    /// Reads a data file and takes nothing in.
    pub(crate) fn look_at_data(&self, volume: &RemoteVolume) -> Result<IndexState> {
        match self.read_blocks_volume(volume, Level::Verbose) {
            Ok(_) => Ok(IndexState::Whole),
            Err(error) if is_damaged(&error) => Ok(IndexState::Damaged),
            Err(error) if error.reach() == Reach::Volume => Ok(IndexState::Unclear),
            Err(error) => Err(error),
        }
    }

    /// Notes an index and what it describes, in one step: a known index is never read again.
    fn record_index(
        &self,
        index: IndexContent,
        by_name: &mut HashMap<String, i64>,
        bulk: Option<&mut larder_catalog::BulkLoader>,
    ) -> Result<()> {
        let mut described = Vec::with_capacity(index.volumes.len());
        for volume in index.volumes {
            if let Some(present) = self.trusted_volume(index.name.as_str(), &volume)? {
                described.push((present, volume));
            }
        }
        let mut known = Vec::new();
        let now = self.clock.seconds().to_string();
        self.catalog(|c| {
            c.batch(|c| {
                c.set_param(TAKEN_IN, &now)?;
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
    fn trusted_volume(
        &self,
        index: &str,
        described: &BlockVolume,
    ) -> Result<Option<&RemoteVolume>> {
        let Some(present) = self.find_described(&described.name) else {
            self.catalog(|c| Presence::InDoubt.note(c))?;
            self.note_described(described, LossKind::Gone)?;
            self.reporter.verbose(
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
            self.catalog(|c| Presence::InDoubt.note(c))?;
            self.note_described(described, LossKind::Resized(found))?;
            self.reporter.verbose(
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
    pub(crate) fn find_described(&self, name: &str) -> Option<&RemoteVolume> {
        let view = &self.view;
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

    fn read_index(&self, volume: &RemoteVolume) -> Result<IndexContent> {
        let name = volume.name.as_str();
        let format = self.format();
        let opened = self
            .opened
            .take(&volume.name)
            .filter(|_| format.file_hash == HashAlgorithm::Sha256);
        let (len, hash, archive) = match opened {
            Some(OpenedVolume { archive, whole, .. }) => (whole.0, whole.1, archive),
            None => {
                let data = self.remote.get(name, volume.size)?;
                let (len, hash) = (data.len(), data.hash(format.file_hash)?);
                let archive = match self.open_volume(&volume.name, data) {
                    Ok(archive) => archive,
                    // A second try would cost another derivation of the key, and what the index describes is read from
                    // the data files in any case.
                    Err(error) if is_wrong_passphrase(&error) => return Err(error),
                    Err(error) if error.reach() == Reach::Volume => {
                        self.fetch_volume(&volume.name, volume.size, None)?
                    }
                    Err(error) => return Err(error),
                };
                (len, hash, archive)
            }
        };
        let reader = IndexReader::new(&archive, len, format);
        let volumes = reader.volumes().in_volume(name)?;
        let stored = volumes.iter().map(|volume| {
            let present = self.find_described(&volume.name);
            present.and_then(|present| present.size).unwrap_or(u64::MAX)
        });
        let most = stored
            .fold(format.blocksize, u64::saturating_add)
            .min(MAX_BLOCKLIST_BYTES);
        let mut blocklists = Vec::new();
        let found = reader.blocklists(&volumes, most, |found| match found {
            Repeated::Right(hash, bytes) => blocklists.push((hash, bytes)),
            Repeated::Wrong(text) => self.reporter.warn(
                "WrongBlocklist",
                format!("{name}: the blocklist {text} does not match its name and is ignored"),
            ),
        });
        found.in_volume(name)?;
        Ok(IndexContent {
            name: volume.name.clone(),
            size: volume.size,
            hash: Some(hash),
            volumes,
            blocklists,
        })
    }

    /// The dblock files of which the catalog knows nothing, without losses that are `noted`.
    fn undescribed(&self, noted: &HashSet<String>) -> Result<Vec<RemoteVolume>> {
        let described: HashSet<String> = self
            .catalog(|c| c.volumes())?
            .into_iter()
            .filter(|row| row.kind == VolumeKind::Blocks)
            .map(|row| row.name)
            .collect();
        let fresh = self.view.of_kind(VolumeKind::Blocks).filter(|v| {
            let name = v.name.as_str();
            !described.contains(name) && !noted.contains(name)
        });
        Ok(fresh.cloned().collect())
    }

    /// Reads the dblock files that no dindex describes; their blocks would be lost otherwise. Losses that are `noted`
    /// already are not fetched again.
    pub(crate) fn ingest_unindexed(&self, noted: &HashSet<String>) -> Result<()> {
        let fresh = self.undescribed(noted)?;
        if fresh.is_empty() {
            return Ok(());
        }
        self.reporter.info(
            "ReadingDataFiles",
            format!(
                "reading {} that no index describes",
                counted(fresh.len() as u64, "data file")
            ),
        );
        for_each_parallel(
            self.settings.threads,
            fresh,
            |volume| {
                let outcome = self.read_blocks_volume(&volume, Level::Warning);
                match outcome {
                    Err(error) if error.reach() == Reach::Volume => {
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

    /// Remote hash and verified blocks of a dblock file. Damaged ones are told at a level.
    pub(super) fn read_blocks_volume(
        &self,
        volume: &RemoteVolume,
        level: Level,
    ) -> Result<(Hash, Vec<(Hash, u64)>)> {
        let name = volume.name.as_str();
        let format = self.format();
        let data = self.remote.get(name, volume.size)?;
        let hash = data.hash(format.file_hash)?;
        let archive = self.open_volume(&volume.name, data)?;
        let (mut blocks, mut damaged) = (Vec::new(), 0_u64);
        for entry in archive.entries() {
            self.cancel.check()?;
            let Some(expected) = parse_block_entry(&entry.name) else {
                continue;
            };
            // One bad block must not cost the others.
            let why = match archive.read(entry, format.blocksize).in_volume(name) {
                Ok(bytes) if format.block_hash.digest(&bytes) == expected => {
                    blocks.push((expected, bytes.len() as u64));
                    continue;
                }
                Ok(_) => "it does not match its name".to_owned(),
                Err(error) if error.reach() == Reach::Volume => describe(&error),
                Err(error) => return Err(error),
            };
            damaged += 1;
            if damaged <= NAMED_BLOCKS {
                self.reporter.say(
                    level,
                    "DamagedBlock",
                    format!("{name}: block {expected} is damaged: {why}"),
                );
            }
        }
        if damaged > NAMED_BLOCKS {
            self.reporter.say(
                level,
                "DamagedBlock",
                format!("{name}: {damaged} blocks are damaged in all"),
            );
        }
        Ok((hash, blocks))
    }
}

/// Whether a file that should be an index is none, whatever the passphrase.
fn is_damaged(error: &Error) -> bool {
    error.is_wrong_content() && !is_wrong_passphrase(error)
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
