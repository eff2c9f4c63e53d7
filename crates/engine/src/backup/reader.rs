//! Turning one entry of the source into an entry of the version: metadata, changes, blocks.

mod blocks;
mod known;
mod seen;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender};
use larder_catalog::{EntryCursor, Seen, StoredEntry};
use larder_source::{
    FactReader, Facts, FileKind, FullFacts, WalkEntry, open_for_read, open_for_read_following,
};
use larder_volume::{
    EntryKind, FileEntry, Hash, HashAlgorithm, Hint, MAX_BLOCKLISTS, MAX_NEW_PATH, Metadata,
    Packer, VolumeTime, hashes_per_blocklist, ticks_from_unix,
};

pub(crate) use self::blocks::BlockJob;
pub(super) use self::known::Counts;
use self::known::Stored;
use super::checkpoints::Due;
use super::counters::{Counters, bump, slot};
use super::future::StoredMetadata;
use super::guard::Guard;
use super::store::BlockStore;
use crate::notes::Presence;
use crate::phases::Ready;
use crate::repository::locked;
use crate::sync::describe;
use crate::{Error, Result};

/// What all workers share.
pub(crate) struct Shared<'e> {
    pub(crate) run: &'e Ready<'e>,
    pub(crate) store: &'e BlockStore<'e>,
    pub(crate) counters: &'e Counters,
    pub(crate) guard: &'e Guard,
    pub(crate) stored_metadata: StoredMetadata<'e>,
    pub(crate) jobs: Sender<BlockJob>,
    pub(crate) waiting: Receiver<BlockJob>,
    /// The blocks of every unchanged entry are looked up, unless all were seen.
    pub(crate) presence: Presence,
    /// `--symlink-policy=Follow`.
    pub(crate) follow_links: bool,
    /// Something was not come to, since the run was asked to end.
    pub(crate) left_out: AtomicBool,
    pub(super) due: Due,
    /// What workers had not begun when they were to pause or to end.
    pub(super) handed_back: Mutex<Vec<HandedBack>>,
    /// The version that this run compares with.
    pub(super) previous: Option<i64>,
}

/// An entry of the source, with the previous version's of the same path.
pub(super) type HandedBack = (WalkEntry, Option<StoredEntry>);

impl<'e> Shared<'e> {
    fn is_suspect(&self) -> bool {
        self.presence != Presence::Seen
    }

    /// Notes that something was not come to.
    pub(super) fn leave_out(&self) {
        self.left_out.store(true, Ordering::SeqCst);
    }

    /// True when the version is to be a partial one.
    pub(super) fn has_left_out(&self) -> bool {
        self.left_out.load(Ordering::SeqCst)
    }

    /// True when what was not begun is to be handed back.
    pub(super) fn begins_nothing(&self) -> bool {
        self.due.pauses() || self.run.cancel.is_ending()
    }

    /// Gives an entry back to the walk when nothing more is to be begun.
    pub(super) fn hand_back(&self, entry: WalkEntry, old: Option<StoredEntry>) {
        locked(&self.handed_back).push((entry, old));
    }

    /// What was handed back.
    pub(super) fn take_back(&self) -> Vec<HandedBack> {
        std::mem::take(&mut *locked(&self.handed_back))
    }

    /// The entries of the version that this run compares with.
    pub(super) fn previous_entries(&self) -> Result<Option<EntryCursor>> {
        let entries = |version| self.run.catalog(|c| c.entries(version));
        self.previous.map(entries).transpose()
    }

    /// Whether an entry may stay as it was: not when some of it is nowhere.
    pub(super) fn may_carry(&self, entry: &FileEntry, counts: Counts) -> Result<bool> {
        Ok(!self.is_suspect() || self.stored(entry, counts)? != Stored::NotAll)
    }
}

/// One worker thread's tools.
pub(crate) struct Worker<'s, 'e> {
    shared: &'s Shared<'e>,
    facts: FactReader,
    packer: Packer,
    spare: VecDeque<Vec<u8>>,
}

/// Why an entry of the source gives no entry of the version.
enum Trouble {
    /// This entry only.
    Entry(std::io::Error),
    /// The whole run.
    Run(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Run(error)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Entry(error)
    }
}

/// Metadata of an entry as it goes into the version list.
struct Blob {
    bytes: Vec<u8>,
    hash: Hash,
}

impl<'s, 'e> Worker<'s, 'e> {
    pub(crate) fn new(shared: &'s Shared<'e>) -> Self {
        Self {
            shared,
            facts: FactReader::new().following(shared.follow_links),
            packer: shared.store.packer(),
            spare: VecDeque::new(),
        }
    }

    /// The version's entry for `entry`; `None` when it could not be had and `previous` cannot stand in.
    pub(crate) fn process(
        &mut self,
        entry: &WalkEntry,
        previous: Option<StoredEntry>,
    ) -> Result<Option<StoredEntry>> {
        match self.examine(entry, previous.as_ref()) {
            Ok(done) => Ok(Some(done)),
            Err(Trouble::Run(error)) => Err(error),
            Err(Trouble::Entry(error)) => {
                let path = String::from_utf8_lossy(&entry.path);
                if error.kind() == std::io::ErrorKind::NotFound {
                    self.shared
                        .run
                        .reporter
                        .warn("PathProcessingErrorNotFound", format!("{path} vanished"));
                    if let Some(previous) = previous {
                        self.count_deleted(previous.entry.kind);
                        self.shared.guard.lost(&previous.entry);
                    }
                    return Ok(None);
                }
                bump(&self.shared.counters.with_error, 1);
                let kept = if previous.is_some() {
                    "; the previous version's state is kept"
                } else {
                    ""
                };
                self.shared.run.reporter.warn(
                    "FileAccessError",
                    format!("{path}: {}{kept}", describe(&error)),
                );
                match previous {
                    Some(previous) => self.carry(previous.entry),
                    None => Ok(None),
                }
            }
        }
    }

    /// An entry that cannot be read now, as it was; `None` when what was stored of it is gone too.
    pub(crate) fn carry(&mut self, entry: FileEntry) -> Result<Option<StoredEntry>> {
        if self.shared.may_carry(&entry, Counts::OnItsWay)? {
            return Ok(Some(StoredEntry { entry, seen: None }));
        }
        self.shared.run.reporter.warn(
            "StoredContentLost",
            format!(
                "{}: what was stored of it is in no data file any more, so the new version is without it",
                String::from_utf8_lossy(&entry.path)
            ),
        );
        self.count_deleted(entry.kind);
        Ok(None)
    }

    fn count_deleted(&self, kind: EntryKind) {
        if let Some(counter) = self.shared.counters.deleted.get(slot(kind)) {
            bump(counter, 1);
        }
    }

    fn examine(
        &mut self,
        entry: &WalkEntry,
        previous: Option<&StoredEntry>,
    ) -> std::result::Result<StoredEntry, Trouble> {
        let run = self.shared.run;
        let counters = self.shared.counters;
        let kind = match entry.facts.kind {
            FileKind::File => EntryKind::File,
            FileKind::Folder => EntryKind::Folder,
            FileKind::Symlink { .. } => EntryKind::Symlink,
            FileKind::Special(what) => return Err(std::io::Error::other(what).into()),
        };
        self.check_fits_a_list(entry)?;
        let last_seen = previous.and_then(|p| p.seen);
        let previous = previous.map(|p| &p.entry).filter(|p| p.kind == kind);
        if kind == EntryKind::File {
            bump(&counters.examined_files, 1);
            bump(&counters.examined_bytes, entry.facts.size);
        }
        let seconds = VolumeTime(entry.facts.mtime.0).clamped();
        if run.settings.check_filetime_only
            && let Some(previous) = previous
            && kind == EntryKind::File
            && self.surely_same_time(previous, seconds)
            && !self.shared.is_suspect()
        {
            bump(&run.reporter.progress.bytes_done, entry.facts.size);
            return Ok(StoredEntry {
                entry: previous.clone(),
                seen: None,
            });
        }
        let blob = self.blob(&entry.os_path, &entry.facts)?;
        let same_metadata = match previous {
            Some(p) if p.metahash == Some(blob.hash) && p.metasize == blob.bytes.len() as u64 => {
                true
            }
            Some(p) => {
                let stored = &self.shared.stored_metadata;
                stored.only_inode_time_differs(&entry.facts, p, &blob.bytes)?
            }
            None => false,
        };
        let mut unless_same = None;
        if let Some(previous) = previous {
            let same_time = !run.settings.skip_metadata || self.surely_same_time(previous, seconds);
            let same_size = kind != EntryKind::File || previous.size == entry.facts.size;
            let read_anyway = run.settings.disable_filetime_check && kind == EntryKind::File;
            if same_metadata
                && same_size
                && (kind != EntryKind::File || same_time)
                && !read_anyway
                && (!self.shared.is_suspect() || self.may_rest_on(previous)?)
            {
                if !self.may_hide_a_change(last_seen, entry) {
                    if kind == EntryKind::File {
                        bump(&run.reporter.progress.bytes_done, entry.facts.size);
                    }
                    return Ok(StoredEntry {
                        entry: previous.clone(),
                        seen: self.seen(&entry.facts),
                    });
                }
                unless_same = Some(previous);
            }
        }
        let (done, seen) = if kind == EntryKind::File {
            self.read_file(entry, blob, unless_same)?
        } else {
            (self.with_metadata(kind, entry, &blob)?, None)
        };
        let tell = |id, what, would| {
            let dry_run = run.settings.dry_run;
            let what = if dry_run { would } else { what };
            run.reporter.path(dry_run, id, what, &entry.path);
        };
        match previous {
            // Without metadata a new time alone makes no new version, as in Duplicati (format spec 9.1).
            Some(previous) if same_but_time(previous, &done) => {}
            Some(previous) => {
                self.shared.guard.changed(previous, &done);
                if let Some(counter) = counters.modified.get(slot(kind)) {
                    bump(counter, 1);
                }
                bump(&counters.modified_bytes, done.size);
                tell("PathChanged", "changed:", "would store the changed");
            }
            None => {
                self.shared.guard.added(&done);
                if let Some(counter) = counters.added.get(slot(kind)) {
                    bump(counter, 1);
                }
                bump(&counters.added_bytes, done.size);
                tell("PathAdded", "new:", "would store the new");
            }
        }
        Ok(StoredEntry { entry: done, seen })
    }

    /// Refuses what no version list can hold: it must cost its entry, not the whole list.
    fn check_fits_a_list(&self, entry: &WalkEntry) -> std::io::Result<()> {
        let len = entry.path.len();
        if len > MAX_NEW_PATH {
            return Err(std::io::Error::other(format!(
                "its path has {len} bytes, more than {MAX_NEW_PATH}"
            )));
        }
        let size = if entry.facts.kind == FileKind::File {
            entry.facts.size
        } else {
            0
        };
        if self.shared.store.format.blocklists_of(size) > MAX_BLOCKLISTS as u64 {
            return Err(std::io::Error::other(
                "it is too large for the block size of this backup",
            ));
        }
        Ok(())
    }

    /// True when a file has the time it had. Lists hold whole seconds: a time within the second in which the last run
    /// was begun, or later, may hide a change that came after the file was read.
    fn surely_same_time(&self, previous: &FileEntry, seconds: VolumeTime) -> bool {
        let last_read = self.shared.guard.last_read(&previous.path);
        previous.time == Some(seconds) && last_read.is_none_or(|begun| seconds.0 < begun)
    }

    fn blob(&mut self, path: &Path, facts: &Facts) -> std::result::Result<Blob, Trouble> {
        let run = self.shared.run;
        let metadata = match (run.settings.skip_metadata, facts.kind) {
            (false, _) => metadata(&self.facts.full(path, facts)?),
            // A link is nothing without its target (*observed*: fixtures/no-metadata).
            (true, FileKind::Symlink { .. }) => Metadata {
                symlink_target: self.facts.full(path, facts)?.symlink_target,
                ..Metadata::default()
            },
            (true, _) => Metadata::default(),
        };
        let mut bytes = metadata.encode();
        let format = self.shared.store.format;
        let limit = hashes_per_blocklist(format.blocksize, format.block_hash.len())
            .saturating_mul(format.blocksize);
        if bytes.len() as u64 > limit {
            run.reporter.warn(
                "MetadataTooLarge",
                format!(
                    "{}: its metadata has {} bytes and is left out",
                    path.display(),
                    bytes.len()
                ),
            );
            bytes = Metadata::default().encode();
        }
        let hash = format.file_hash.digest(&bytes);
        Ok(Blob { bytes, hash })
    }

    /// The entry with its metadata stored.
    fn with_metadata(
        &mut self,
        kind: EntryKind,
        entry: &WalkEntry,
        blob: &Blob,
    ) -> Result<FileEntry> {
        let format = self.shared.store.format;
        let mut done = FileEntry {
            kind,
            path: entry.path.clone(),
            hash: None,
            size: 0,
            time: None,
            metahash: Some(blob.hash),
            metasize: blob.bytes.len() as u64,
            metablockhash: None,
            metablocklists: Vec::new(),
            blocklists: Vec::new(),
            blockhash: None,
            blocksize: None,
        };
        if blob.bytes.len() as u64 <= format.blocksize {
            let hash = block_hash(format.block_hash, format.file_hash, blob.hash, &blob.bytes);
            self.shared.store.add(
                &mut self.packer,
                &blob.bytes,
                hash,
                Hint::Compressible,
                false,
            )?;
            if kind != EntryKind::File || hash != blob.hash {
                done.metablockhash = Some(hash);
            }
        } else {
            let size = usize::try_from(format.blocksize).unwrap_or(usize::MAX);
            let mut hashes = Vec::new();
            for piece in blob.bytes.chunks(size) {
                let hash = format.block_hash.digest(piece);
                self.shared
                    .store
                    .add(&mut self.packer, piece, hash, Hint::Compressible, false)?;
                hashes.push(hash);
            }
            done.metablocklists = self.blocklists(&hashes)?;
        }
        Ok(done)
    }

    /// Stores the blocklists of a stream of several blocks.
    fn blocklists(&mut self, hashes: &[Hash]) -> Result<Vec<Hash>> {
        let format = self.shared.store.format;
        let group = hashes_per_blocklist(format.blocksize, format.block_hash.len());
        let mut lists = Vec::new();
        for part in hashes.chunks(usize::try_from(group).unwrap_or(usize::MAX).max(1)) {
            let bytes: Vec<u8> = part
                .iter()
                .flat_map(|h| h.as_bytes().iter().copied())
                .collect();
            let hash = format.block_hash.digest(&bytes);
            self.shared
                .store
                .add(&mut self.packer, &bytes, hash, Hint::Stored, true)?;
            lists.push(hash);
        }
        Ok(lists)
    }

    /// Reads and stores a file. When its content is that of `unless_same`, this is given back.
    fn read_file(
        &mut self,
        entry: &WalkEntry,
        mut blob: Blob,
        unless_same: Option<&FileEntry>,
    ) -> std::result::Result<(FileEntry, Option<Seen>), Trouble> {
        let shared = self.shared;
        let mut file = if shared.follow_links {
            open_for_read_following(&entry.os_path)?
        } else {
            open_for_read(&entry.os_path)?
        };
        let opened = Facts::of_file(&file)?;
        if opened.mtime != entry.facts.mtime || opened.ctime != entry.facts.ctime {
            blob = self.blob(&entry.os_path, &opened)?;
        }
        bump(&shared.counters.opened_files, 1);
        let hint = self.hint(&entry.path);
        let (size, hash, blocks) = self.read_blocks(&mut file, opened.size, hint)?;
        let after = Facts::of_file(&file)?;
        if after.mtime != opened.mtime || after.size != size {
            shared.run.reporter.warn(
                "FileChangedWhileRead",
                format!(
                    "{} changed while it was read",
                    String::from_utf8_lossy(&entry.path)
                ),
            );
        }
        // What was seen before the reading: a change that came later shows itself in the next run.
        let seen = self.seen(&opened);
        if let Some(previous) = unless_same
            && (previous.size, previous.hash) == (size, Some(hash))
        {
            return Ok((previous.clone(), seen));
        }
        let mut done = self.with_metadata(EntryKind::File, entry, &blob)?;
        done.size = size;
        done.hash = Some(hash);
        done.time = Some(VolumeTime(opened.mtime.0).clamped());
        match blocks.as_slice() {
            [] => {}
            [only] => {
                if *only != hash {
                    done.blockhash = Some(*only);
                    done.blocksize = Some(done.size);
                }
            }
            many => done.blocklists = self.blocklists(many)?,
        }
        Ok((done, seen))
    }

    fn hint(&self, path: &[u8]) -> Hint {
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
        let Some(dot) = name.iter().rposition(|b| *b == b'.') else {
            return Hint::Compressible;
        };
        let Some(ending) = name
            .get(dot + 1..)
            .and_then(|e| std::str::from_utf8(e).ok())
        else {
            return Hint::Compressible;
        };
        let known = &self.shared.run.settings.stored_extensions;
        if known.iter().any(|e| e.eq_ignore_ascii_case(ending)) {
            Hint::Stored
        } else {
            Hint::Compressible
        }
    }
}

/// True when two entries of the same path differ in nothing but the time noted beside the content.
fn same_but_time(a: &FileEntry, b: &FileEntry) -> bool {
    a == b
        || *a
            == FileEntry {
                time: a.time,
                ..b.clone()
            }
}

/// Block hash of a stream that is one block: the full hash when both algorithms are the same.
fn block_hash(block: HashAlgorithm, file: HashAlgorithm, full: Hash, data: &[u8]) -> Hash {
    if block == file {
        full
    } else {
        block.digest(data)
    }
}

/// The metadata blob's content for an entry of this machine (docs/format/metadata.md).
pub(crate) fn metadata(facts: &FullFacts) -> Metadata {
    let plain = &facts.facts;
    let write = ticks_from_unix(plain.mtime.0, plain.mtime.1);
    let change = ticks_from_unix(plain.ctime.0, plain.ctime.1);
    Metadata {
        xattrs: facts.xattrs.clone(),
        uid_gid_perm: Some((plain.uid, plain.gid, plain.mode & 0o7777)),
        owner: facts.owner.clone(),
        group: facts.group.clone(),
        attributes: Some(facts.attributes.clone()),
        last_write_ticks: Some(write),
        create_ticks: Some(write.min(change)),
        symlink_target: facts.symlink_target.clone(),
        ..Metadata::default()
    }
}
