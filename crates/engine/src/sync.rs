//! Bringing the local catalog up to date with the destination, which is the truth.
//!
//! One listing is compared with the catalog. What the catalog does not know is read (dindex files first, the newest
//! list when its entries are needed, dblock files only where no dindex describes them); what is gone is forgotten;
//! what this machine left half-done is finished or removed. Reading commands change nothing remote.

use std::collections::{BTreeMap, HashMap, HashSet};

use larder_catalog::{Counts, StoredEntry, VolumeState};
use larder_destination::{ErrorKind, RemoteFile};
use larder_volume::{
    BlockVolume, EntryKind, FileListReader, Hash, Method, VolumeKind, VolumeName, VolumeTime,
    parity_owner, parse_block_entry, parse_block_volume, parse_fileset,
};

use crate::context::{Level, Phase};
use crate::error::VolumeContext;
use crate::session::Engine;
use crate::settle::{Lost, is_stored, split_leftovers};
use crate::transfer::doubled_names;
use crate::workers::for_each_parallel;
use crate::{Error, Result};

/// One volume of this backup in the destination.
#[derive(Clone, Debug)]
pub(crate) struct RemoteVolume {
    pub(crate) name: VolumeName,
    pub(crate) size: Option<u64>,
}

/// The destination's files of this backup.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) volumes: HashMap<String, RemoteVolume>,
    /// Files with an ending after that of a volume, such as the temporary files of other programs.
    pub(crate) strays: Vec<String>,
    /// Prefixes of other backups in the same folder.
    pub(crate) foreign: BTreeMap<String, u64>,
    /// Volumes that the catalog knew as stored and that are gone.
    pub(crate) vanished: Vec<(String, VolumeKind)>,
    /// These and the ones of another length, with the blocks they held as far as those are not too many.
    pub(crate) lost: Vec<Lost>,
}

impl View {
    /// The versions' list volumes, newest first.
    pub(crate) fn lists(&self) -> Vec<(VolumeTime, RemoteVolume)> {
        let mut lists: Vec<_> = self
            .volumes
            .values()
            .filter(|v| v.name.kind() == VolumeKind::List)
            .filter_map(|v| Some((v.name.time()?, v.clone())))
            .collect();
        lists.sort_by(|a, b| {
            b.0.cmp(&a.0)
                .then_with(|| b.1.name.as_str().cmp(a.1.name.as_str()))
        });
        lists
    }

    fn of_kind(&self, kind: VolumeKind) -> impl Iterator<Item = &RemoteVolume> {
        self.volumes.values().filter(move |v| v.name.kind() == kind)
    }
}

/// Whether a command may change the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Lists, restores, tests.
    Reading,
    /// Backup and repair: own leftovers are removed.
    Writing,
}

/// What the catalog must hold afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Only which versions there are.
    Lists,
    /// Where every block is.
    Blocks,
    /// Blocks and the newest version's entries.
    BlocksAndEntries,
}

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
/// Set in the catalog while blocks may be missing that known versions use.
pub(crate) const SUSPECT: &str = "blocks-may-be-missing";
/// Its value when nothing is known to be missing, but nobody looked either.
const UNSEEN: &str = "2";

impl Engine {
    /// Lists the destination and sorts out this backup's volumes. A missing folder is created only on demand.
    pub(crate) fn view(&self, create_folder: bool) -> Result<View> {
        let files = match self.remote.list(create_folder) {
            Err(Error::Destination(error))
                if self.settings.dry_run && *error.kind() == ErrorKind::FolderMissing =>
            {
                self.reporter
                    .say(Level::DryRun, "DryRun", "would create the remote folder");
                Vec::new()
            }
            other => other?,
        };
        self.sort_files(files)
    }

    fn sort_files(&self, files: Vec<RemoteFile>) -> Result<View> {
        let mut view = View::default();
        let doubled = doubled_names(&files);
        for file in files {
            if parity_owner(&file.name).is_some() {
                continue;
            }
            let Some(name) = VolumeName::parse(&file.name, self.settings.case_insensitive) else {
                continue;
            };
            if name.prefix() != self.settings.prefix {
                *view.foreign.entry(name.prefix().to_owned()).or_default() += 1;
                continue;
            }
            if doubled.contains(&file.name) {
                return Err(Error::data(
                    "DuplicateRemoteFiles",
                    format!("the destination lists {} twice", file.name),
                    "remove the copy that is not wanted",
                ));
            }
            view.volumes.insert(
                file.name,
                RemoteVolume {
                    name,
                    size: file.size,
                },
            );
        }
        // A set of which nothing can be read is no heap of strays: it gets its own error.
        let is_stray = |volume: &RemoteVolume| !crate::crypt::is_known(volume.name.encryption());
        if !view.volumes.values().all(is_stray) {
            let strays = view.volumes.extract_if(|_, volume| is_stray(volume));
            view.strays = strays.map(|(name, _)| name).collect();
            view.strays.sort_unstable();
        }
        Ok(view)
    }

    /// Compares catalog and destination and mends the catalog; the central step before every operation.
    pub(crate) fn synchronise(&self, mode: Mode, need: Need) -> Result<View> {
        self.reporter.phase(Phase::CheckingRemote);
        let rows = self.catalog(|c| c.volumes())?;
        let is_new = !rows.iter().any(is_stored);
        let mut view = self.view(is_new && self.settings.create_folder)?;
        for name in &view.strays {
            self.reporter.warn(
                "UnknownEnding",
                format!("{name} is named like a volume but for its ending; it is passed over"),
            );
        }
        self.check_not_emptied(&view, &rows)?;
        let (leftovers, rows) = split_leftovers(&mut view, rows);
        self.establish_format(&view)?;
        self.check_passphrase(&view)?;
        self.remove_leftovers(leftovers, mode)?;
        let known = self.settle_known(&mut view, rows, mode)?;
        if need != Need::Lists {
            self.ingest_indexes(&view, &known)?;
            self.ingest_unindexed(&view)?;
        }
        if need == Need::BlocksAndEntries {
            self.ingest_newest_list(&view)?;
        }
        if !view.volumes.is_empty() {
            self.remember_format()?;
        }
        Ok(view)
    }

    /// True while known versions may use blocks that are nowhere.
    pub(crate) fn blocks_may_be_missing(&self) -> Result<bool> {
        Ok(self.catalog(|c| c.param(SUSPECT))?.as_deref() == Some("1"))
    }

    /// True while nobody looked for the blocks of the newest version, which was not written from here.
    pub(crate) fn blocks_are_unseen(&self) -> Result<bool> {
        Ok(self.catalog(|c| c.param(SUSPECT))?.as_deref() == Some(UNSEEN))
    }

    /// Notes that every block of the newest version was seen to exist.
    pub(crate) fn blocks_are_complete(&self) -> Result<()> {
        self.catalog(|c| c.set_param(SUSPECT, "0"))
    }

    /// Reads the dindex files that the catalog does not know.
    fn ingest_indexes(&self, view: &View, known: &HashSet<String>) -> Result<()> {
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
            bulk.finish(None)?;
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
        if let Some(volume) = view.volumes.get(name) {
            return Some(volume);
        }
        let stem = name.split_once(".dblock.")?.0;
        ["zip", "tzstd", "tgz"].iter().find_map(|container| {
            ["", ".aes", ".gpg"].iter().find_map(|encryption| {
                view.volumes
                    .get(&format!("{stem}.dblock.{container}{encryption}"))
            })
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
            if let Some(described) = entry.name.strip_prefix("vol/") {
                let bytes = archive.read(entry, MAX_INDEX_ENTRY_BYTES).in_volume(name)?;
                index
                    .volumes
                    .push(parse_block_volume(described, &bytes).in_volume(name)?);
            } else if let Some(text) = entry.name.strip_prefix("list/") {
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
    fn ingest_unindexed(&self, view: &View) -> Result<()> {
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

    /// Loads the newest version's entries, when they are not in the catalog yet. Damaged lists are passed over: a
    /// backup must be possible even when all of them are.
    fn ingest_newest_list(&self, view: &View) -> Result<()> {
        let mut failed = false;
        for (time, volume) in view.lists() {
            let filesets = self.catalog(|c| c.filesets())?;
            if let Some(fileset) = filesets.iter().find(|f| f.time == time.0)
                && self.catalog(|c| c.previous())? == Some(fileset.id)
            {
                return Ok(());
            }
            match self.load_list(&volume, time) {
                Ok(()) => return Ok(()),
                Err(error @ Error::Volume { .. }) => {
                    self.reporter.error(
                        "DamagedList",
                        format!(
                            "{}; the next older version is used for comparison",
                            describe(&error)
                        ),
                    );
                    failed = true;
                }
                Err(error) => return Err(error),
            }
        }
        if failed {
            self.reporter.warn(
                "NoUsableList",
                "no version list can be read; the next version does without comparison and is complete by itself",
            );
        }
        Ok(())
    }

    fn load_list(&self, volume: &RemoteVolume, time: VolumeTime) -> Result<()> {
        let name = volume.name.as_str();
        self.reporter
            .info("ReadingList", format!("reading the version list {name}"));
        let archive = self.fetch_list(volume)?;
        let is_full = match archive.find("fileset") {
            Some(entry) => {
                parse_fileset(&archive.read(entry, 1 << 20).in_volume(name)?).in_volume(name)?
            }
            None => true,
        };
        let Some(entry) = archive.find("filelist.json") else {
            return Err(Error::volume(
                name,
                larder_volume::Error::Malformed {
                    what: "list volume",
                    detail: "it has no filelist.json".into(),
                },
            ));
        };
        let mut writer = self.catalog(|c| c.begin_entries())?;
        let mut counts = Counts::default();
        for file in FileListReader::open(archive.stream(entry).in_volume(name)?) {
            let entry = file.in_volume(name)?;
            count(&mut counts, entry.kind, entry.size);
            writer.add(&StoredEntry {
                entry,
                mtime_ticks: None,
            })?;
            self.cancel.check()?;
        }
        let fileset = self.catalog(|c| {
            let existing = c.filesets()?.into_iter().find(|f| f.time == time.0);
            match existing {
                Some(fileset) => Ok(fileset.id),
                None => {
                    let id = match c.volume_named(name)? {
                        Some(row) => row.id,
                        None => c.add_volume(
                            name,
                            VolumeKind::List,
                            VolumeState::Verified,
                            volume.size,
                            None,
                        )?,
                    };
                    c.add_fileset(id, time.0, is_full, counts)
                }
            }
        })?;
        // Whether its blocks are stored is not known before they were looked up.
        if !self.blocks_may_be_missing()? {
            self.catalog(|c| c.set_param(SUSPECT, UNSEEN))?;
        }
        writer.finish(fileset)?;
        let method = match entry.method() {
            Some(Method::Zstd) => "zstd",
            Some(Method::Stored) => "stored",
            Some(Method::Deflate) | None => "deflate",
        };
        self.catalog(|c| c.set_param(crate::backup::ZIP_METHOD, method))
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

/// Adds one entry to the counts of a version.
pub(crate) fn count(counts: &mut Counts, kind: EntryKind, size: i64) {
    match kind {
        EntryKind::File => {
            counts.files += 1;
            // The catalog keeps signed numbers; a list may claim anything.
            let sum = counts
                .bytes
                .saturating_add(u64::try_from(size).unwrap_or(0));
            counts.bytes = sum.min(i64::MAX as u64);
        }
        EntryKind::Folder => counts.folders += 1,
        EntryKind::Symlink => counts.symlinks += 1,
    }
}

/// An error with its causes in one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = next.source();
    }
    text
}
