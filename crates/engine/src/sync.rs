//! Bringing the local catalog up to date with the destination, which is the truth.
//!
//! One listing is compared with the catalog. What the catalog does not know is read (dindex files first, the newest
//! list when its entries are needed, dblock files only where no dindex describes them); what is gone is forgotten;
//! what this machine left half-done is finished or removed. Reading commands change nothing remote.

use std::collections::{BTreeMap, HashMap, HashSet};

use larder_catalog::{Counts, StoredEntry, VolumeRow, VolumeState};
use larder_destination::{ErrorKind, RemoteFile};
use larder_volume::{
    BlockVolume, EntryKind, FileListReader, Hash, Method, VolumeKind, VolumeName, VolumeTime,
    parity_owner, parse_block_entry, parse_block_volume, parse_fileset,
};

use crate::context::{Level, Phase};
use crate::error::VolumeContext;
use crate::session::Engine;
use crate::transfer::doubled_names;
use crate::workers::for_each_parallel;
use crate::{Error, Result};

/// One volume of this backup in the destination.
#[derive(Clone, Debug)]
pub(crate) struct RemoteVolume {
    pub(crate) name: VolumeName,
    pub(crate) size: Option<u64>,
}

/// A volume that is gone, with the blocks it held.
#[derive(Clone, Debug)]
pub(crate) struct Vanished {
    pub(crate) name: String,
    pub(crate) blocks: Vec<(Hash, u64)>,
}

/// The destination's files of this backup.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) volumes: HashMap<String, RemoteVolume>,
    /// Prefixes of other backups in the same folder.
    pub(crate) foreign: BTreeMap<String, u64>,
    /// Volumes that the catalog knew as stored and that are gone.
    pub(crate) vanished: Vec<(String, VolumeKind)>,
    /// The first of them with the blocks they held.
    pub(crate) vanished_blocks: Vec<Vanished>,
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
const SUSPECT: &str = "blocks-may-be-missing";

impl Engine {
    /// Lists the destination and sorts out this backup's volumes.
    pub(crate) fn view(&self) -> Result<View> {
        let files = match self.remote.list(self.settings.create_folder) {
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
        Ok(view)
    }

    /// Compares catalog and destination and mends the catalog; the central step before every operation.
    pub(crate) fn synchronise(&self, mode: Mode, need: Need) -> Result<View> {
        self.reporter.phase(Phase::CheckingRemote);
        let mut view = self.view()?;
        let rows = self.catalog(|c| c.volumes())?;
        self.check_not_emptied(&view, &rows)?;
        self.establish_format(&view)?;
        self.check_passphrase(&view)?;
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

    /// A folder that held a backup and now holds none of it is a lost mount far more often than a wish.
    fn check_not_emptied(&self, view: &View, rows: &[VolumeRow]) -> Result<()> {
        let stored = rows
            .iter()
            .filter(|r| matches!(r.state, VolumeState::Uploaded | VolumeState::Verified))
            .count();
        if stored == 0 || !view.volumes.is_empty() {
            return Ok(());
        }
        let mut message = format!(
            "none of the {stored} volumes of this backup is in {} any more",
            self.remote.display()
        );
        if !view.foreign.is_empty() {
            let names: Vec<_> = view.foreign.keys().map(String::as_str).collect();
            message.push_str(&format!(
                "; it holds backups with the prefix {}",
                names.join(", ")
            ));
        }
        Err(Error::data(
            "MissingRemoteFiles",
            message,
            format!(
                "mount the disk or correct the URL; if the folder was emptied on purpose, remove {} and start anew",
                self.state_path.display()
            ),
        ))
    }

    /// Deals with every volume the catalog knows; returns the names that need no reading.
    fn settle_known(
        &self,
        view: &mut View,
        rows: Vec<VolumeRow>,
        mode: Mode,
    ) -> Result<HashSet<String>> {
        let mut known = HashSet::new();
        let mut lost_blocks = false;
        for row in rows {
            let found = view.volumes.get(&row.name).map(|v| v.size);
            let same_size = |size: Option<u64>| match (size, row.size) {
                (Some(found), Some(expected)) => found == expected,
                _ => true,
            };
            match (row.state, found) {
                (VolumeState::Uploaded | VolumeState::Verified, Some(size)) if same_size(size) => {
                    known.insert(row.name);
                }
                (VolumeState::Uploaded | VolumeState::Verified, Some(size)) => {
                    self.reporter.warn(
                        "RemoteSizeChanged",
                        format!(
                            "{} has {} bytes instead of {}: it is not relied on; run `larder test … all`",
                            row.name,
                            size.unwrap_or(0),
                            row.size.unwrap_or(0)
                        ),
                    );
                    lost_blocks |= row.kind == VolumeKind::Blocks;
                    self.catalog(|c| c.remove_volume(row.id))?;
                    if row.kind != VolumeKind::List {
                        view.volumes.remove(&row.name);
                    }
                }
                (VolumeState::Uploaded | VolumeState::Verified, None) => {
                    lost_blocks |= row.kind == VolumeKind::Blocks;
                    if view.vanished_blocks.len() < VANISHED_WITH_BLOCKS {
                        let blocks = self.catalog(|c| c.blocks_of_volume(row.id))?;
                        view.vanished_blocks.push(Vanished {
                            name: row.name.clone(),
                            blocks,
                        });
                    }
                    self.catalog(|c| c.remove_volume(row.id))?;
                    view.vanished.push((row.name, row.kind));
                }
                (VolumeState::Uploading, Some(size))
                    if same_size(size) && row.kind != VolumeKind::List =>
                {
                    self.catalog(|c| {
                        c.set_volume(row.id, VolumeState::Uploaded, row.size, row.hash)
                    })?;
                    known.insert(row.name);
                }
                (VolumeState::Uploading, Some(size)) if same_size(size) => {
                    // A list that arrived although its run ended before noting it: read it like a new one.
                    self.catalog(|c| c.remove_volume(row.id))?;
                }
                (
                    VolumeState::Uploading | VolumeState::Temporary | VolumeState::Deleting,
                    Some(size),
                ) => {
                    view.volumes.remove(&row.name);
                    if mode == Mode::Writing && !self.settings.dry_run {
                        self.remote.delete(&row.name, size.unwrap_or(0))?;
                        self.catalog(|c| c.remove_volume(row.id))?;
                    }
                }
                (VolumeState::Uploading | VolumeState::Temporary | VolumeState::Deleting, None) => {
                    if mode == Mode::Writing {
                        self.catalog(|c| c.remove_volume(row.id))?;
                    }
                }
                (VolumeState::Deleted, _) => self.catalog(|c| c.remove_volume(row.id))?,
            }
        }
        if lost_blocks {
            self.catalog(|c| c.set_param(SUSPECT, "1"))?;
        }
        Ok(known)
    }

    /// True while known versions may use blocks that are nowhere.
    pub(crate) fn blocks_may_be_missing(&self) -> Result<bool> {
        Ok(self.catalog(|c| c.param(SUSPECT))?.as_deref() == Some("1"))
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
                            format!("{}; its data file is read instead", describe(&error)),
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

    fn record_index(
        &self,
        index: Index,
        view: &View,
        by_name: &mut HashMap<String, i64>,
        mut bulk: Option<&mut larder_catalog::BulkLoader>,
    ) -> Result<()> {
        let index_id = self.catalog(|c| {
            c.add_volume(
                index.name.as_str(),
                VolumeKind::Index,
                VolumeState::Verified,
                index.size,
                index.hash,
            )
        })?;
        by_name.insert(index.name.as_str().to_owned(), index_id);
        for described in index.volumes {
            let Some(present) = self.find_described(view, &described.name) else {
                self.catalog(|c| c.set_param(SUSPECT, "1"))?;
                self.reporter.warn(
                    "MissingRemoteFiles",
                    format!(
                        "{} is described by {} but is not there",
                        described.name,
                        index.name.as_str()
                    ),
                );
                continue;
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
                continue;
            }
            let name = present.name.as_str().to_owned();
            let id = match by_name.get(&name) {
                Some(id) => *id,
                None => self.catalog(|c| {
                    c.add_volume(
                        &name,
                        VolumeKind::Blocks,
                        VolumeState::Verified,
                        present.size.or(described.size),
                        described.hash,
                    )
                })?,
            };
            by_name.insert(name, id);
            match bulk.as_deref_mut() {
                Some(bulk) => bulk.add_blocks(id, &described.blocks)?,
                None => self.catalog(|c| c.add_blocks(id, &described.blocks))?,
            }
            self.catalog(|c| c.link_index(index_id, id))?;
        }
        for (hash, bytes) in &index.blocklists {
            match bulk.as_deref_mut() {
                Some(bulk) => bulk.add_blocklist(hash, bytes, None)?,
                None => self.catalog(|c| c.add_blocklist(hash, bytes, None))?,
            }
        }
        Ok(())
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
                    let id = c.add_volume(
                        volume.name.as_str(),
                        VolumeKind::Blocks,
                        VolumeState::Verified,
                        volume.size,
                        Some(hash),
                    )?;
                    c.add_blocks(id, &blocks)
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

    /// Loads the newest version's entries, when they are not in the catalog yet.
    fn ingest_newest_list(&self, view: &View) -> Result<()> {
        let mut failed: Option<Error> = None;
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
                    failed.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn load_list(&self, volume: &RemoteVolume, time: VolumeTime) -> Result<()> {
        let name = volume.name.as_str();
        self.reporter
            .info("ReadingList", format!("reading the version list {name}"));
        let archive = self.fetch_volume(&volume.name, volume.size, None)?;
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
        writer.finish(fileset)?;
        let method = match entry.method() {
            Some(Method::Zstd) => "zstd",
            Some(Method::Stored) => "stored",
            Some(Method::Deflate) | None => "deflate",
        };
        self.catalog(|c| c.set_param(crate::backup::ZIP_METHOD, method))
    }
}

/// Vanished volumes whose blocks are remembered for the report.
const VANISHED_WITH_BLOCKS: usize = 50;

/// Adds one entry to the counts of a version.
pub(crate) fn count(counts: &mut Counts, kind: EntryKind, size: i64) {
    match kind {
        EntryKind::File => {
            counts.files += 1;
            counts.bytes += u64::try_from(size).unwrap_or(0);
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
