//! What has to be written where, and which block comes from which volume.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use larder_source::{OpenHow, TargetRoot};
use larder_volume::{EntryKind, FileEntry, Hash, Metadata, blocklist_hashes};

use super::content_hash::ContentHash;
use super::layout::Target;
use super::{Rules, Tally, target};
use crate::run::Run;
use crate::{Error, Result};

/// A folder or link to create.
pub(crate) struct Node {
    pub(crate) entry: FileEntry,
    pub(crate) rel: Vec<u8>,
}

/// A file being written.
pub(crate) struct Job {
    pub(crate) entry: FileEntry,
    pub(crate) rel: Vec<u8>,
    /// Blocks still to come.
    pub(crate) open: AtomicU32,
    /// Set when the content cannot become right.
    pub(crate) failed: AtomicBool,
    /// Set when the content is complete and verified.
    pub(crate) complete: AtomicBool,
    /// Set when something else in the target already is this file.
    pub(crate) unchanged: bool,
    pub(crate) patched: bool,
    pub(crate) handle: Mutex<Option<Arc<File>>>,
    pub(crate) created: bool,
    /// For files of several blocks that are written from nothing.
    pub(crate) content: Option<Box<ContentHash>>,
}

/// One use of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Use {
    /// Content of file `job` at block number `index`.
    Content { job: u32, index: u32 },
    /// A metadata blob.
    Metadata,
}

/// A block, its length (0: not known) and where it goes.
pub(crate) type Need = (Hash, u64, Use);

/// Everything a restore will do.
pub(crate) struct Plan {
    pub(crate) folders: Vec<Node>,
    pub(crate) links: Vec<Node>,
    pub(crate) jobs: Vec<Job>,
    /// Needed blocks by volume.
    pub(crate) needs: HashMap<i64, Vec<Need>>,
    /// Metadata blobs of several blocks, which were put together while planning.
    pub(crate) metadata: MetadataMap,
    /// Local date of the version, for the names of copies.
    pub(crate) date: String,
    pub(crate) blocksize: u64,
}

/// Metadata blobs by their hash.
#[derive(Clone, Default)]
pub(crate) struct MetadataMap {
    pub(crate) blobs: HashMap<Hash, Arc<Metadata>>,
}

impl MetadataMap {
    /// The metadata of an entry, when it was found.
    pub(crate) fn get(&self, entry: &FileEntry) -> Option<Arc<Metadata>> {
        entry
            .metahash
            .and_then(|hash| self.blobs.get(&hash))
            .cloned()
    }
}

/// Builds a plan while the target is looked at.
struct Planner<'a> {
    engine: &'a Run,
    root: &'a TargetRoot,
    rules: &'a Rules,
    tally: &'a Tally,
    plan: Plan,
    wanted_metadata: std::collections::HashSet<Hash>,
    /// Wanted blobs of several blocks: hash and blocklists.
    large_metadata: Vec<(Hash, Vec<Hash>)>,
    /// Folders that exist in the target now. Memory: one path per folder.
    folders_made: std::collections::HashSet<Vec<u8>>,
    /// The target folder was empty, so nothing has to be looked for.
    fresh: bool,
}

impl Plan {
    /// Looks at the target and lists what is missing.
    pub(crate) fn make(
        engine: &Run,
        root: &TargetRoot,
        place: &Target,
        entries: Vec<FileEntry>,
        date: String,
        rules: &Rules,
        tally: &Tally,
    ) -> Result<Plan> {
        let format = engine.format()?;
        let fresh =
            std::fs::read_dir(&place.folder).is_ok_and(|mut entries| entries.next().is_none());
        let plan = Plan {
            folders: Vec::new(),
            links: Vec::new(),
            jobs: Vec::new(),
            needs: HashMap::new(),
            metadata: MetadataMap::default(),
            date,
            blocksize: format.blocksize,
        };
        let mut planner = Planner {
            engine,
            root,
            rules,
            tally,
            plan,
            wanted_metadata: std::collections::HashSet::new(),
            large_metadata: Vec::new(),
            folders_made: std::collections::HashSet::new(),
            fresh,
        };
        planner.load_blocklists(&entries)?;
        for entry in entries {
            engine.cancel.check()?;
            planner.add(place, entry)?;
        }
        planner.load_large_metadata()?;
        Ok(planner.plan)
    }
}

impl Planner<'_> {
    fn add(&mut self, place: &Target, entry: FileEntry) -> Result<()> {
        let rel = place.relative(&entry.path);
        match entry.kind {
            EntryKind::Folder => {
                let Some(rel) = rel else { return Ok(()) };
                match self.root.create_folder(&rel) {
                    Ok(_) => {
                        self.folders_made.insert(rel.clone());
                        self.tally.folders.fetch_add(1, Ordering::Relaxed);
                        self.want_metadata(&entry)?;
                        self.plan.folders.push(Node { entry, rel });
                    }
                    Err(error) => self.local_failure(&entry, &error),
                }
                Ok(())
            }
            EntryKind::Symlink => {
                let Some(rel) = rel else { return Ok(()) };
                if !self.make_parent(&entry, &rel) {
                    return Ok(());
                }
                self.want_metadata(&entry)?;
                self.plan.links.push(Node { entry, rel });
                Ok(())
            }
            EntryKind::File => {
                let Some(rel) = rel else { return Ok(()) };
                if self.make_parent(&entry, &rel) {
                    self.add_file(entry, rel)
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Makes the folder an entry stands in, which need not be selected itself; false after the failure was told.
    fn make_parent(&mut self, entry: &FileEntry, rel: &[u8]) -> bool {
        let Some(at) = rel.iter().rposition(|b| *b == b'/') else {
            return true;
        };
        let parent = rel.get(..at).unwrap_or_default();
        if self.folders_made.contains(parent) {
            return true;
        }
        match self.root.create_folder(parent) {
            Ok(_) => {
                self.folders_made.insert(parent.to_vec());
                true
            }
            Err(error) => {
                self.local_failure(entry, &error);
                false
            }
        }
    }

    fn local_failure(&self, entry: &FileEntry, error: &std::io::Error) {
        self.engine.reporter.error(
            "RestoreFailed",
            format!("{}: {error}", String::from_utf8_lossy(&entry.path)),
        );
        self.tally.local(&entry.path);
    }

    fn remote_failure(&self, entry: &FileEntry, why: &str) {
        self.engine.reporter.error(
            "RestoreFailed",
            format!("{}: {why}", String::from_utf8_lossy(&entry.path)),
        );
        self.tally.remote(&entry.path);
    }

    fn add_file(&mut self, entry: FileEntry, rel: Vec<u8>) -> Result<()> {
        let Some(blocks) = self.blocks_of(&entry)? else {
            return Ok(());
        };
        let blocksize = self.plan.blocksize;
        let size = entry.size;
        let existing = if self.fresh {
            target::Existing::nothing(rel.clone())
        } else {
            match target::compare(
                self.engine,
                self.root,
                &rel,
                &entry,
                &blocks,
                self.rules,
                &self.plan.date,
            ) {
                Ok(existing) => existing,
                Err(error) => {
                    self.local_failure(&entry, &error);
                    return Ok(());
                }
            }
        };
        self.want_metadata(&entry)?;
        let number =
            u32::try_from(self.plan.jobs.len()).map_err(|_| Error::Bug("too many files".into()))?;
        let mut missing = 0_u32;
        let mut failed = false;
        if !existing.right {
            let mut local = if self.rules.local_blocks {
                target::open_original(&entry.path)
            } else {
                None
            };
            let mut writer = None;
            for (index, hash) in blocks.iter().enumerate() {
                if existing.has(index) {
                    continue;
                }
                let at = index as u64 * blocksize;
                let len = blocksize.min(size.saturating_sub(at));
                if let Some(bytes) = local
                    .as_mut()
                    .and_then(|file| target::matching_block(self.engine, file, at, len, hash))
                {
                    if writer.is_none() {
                        writer =
                            target::open_for_block(self.root, &existing.rel, existing.exists).ok();
                    }
                    if writer
                        .as_ref()
                        .is_some_and(|w: &File| w.write_all_at(&bytes, at).is_ok())
                    {
                        continue;
                    }
                }
                match self.volume_of(hash, len)? {
                    Some(volume) => {
                        let index = u32::try_from(index)
                            .map_err(|_| Error::Bug("too many blocks".into()))?;
                        let need = (*hash, len, Use::Content { job: number, index });
                        self.plan.needs.entry(volume).or_default().push(need);
                        missing += 1;
                    }
                    None => failed = true,
                }
            }
        }
        if failed {
            self.remote_failure(&entry, "a part of its content is in no data file any more");
        }
        let is_all_new = blocks.len() > 1 && missing as usize == blocks.len() && !existing.exists;
        let content = if is_all_new && self.rules.verify {
            let algorithm = self.engine.format()?.file_hash;
            Some(Box::new(ContentHash::new(algorithm)))
        } else {
            None
        };
        self.plan.jobs.push(Job {
            entry,
            rel: existing.rel,
            content,
            open: AtomicU32::new(missing),
            failed: AtomicBool::new(failed),
            complete: AtomicBool::new(false),
            unchanged: existing.right,
            patched: existing.exists && !existing.right,
            created: existing.exists,
            handle: Mutex::new(None),
        });
        Ok(())
    }

    /// The block hashes of a file in order; `None` after the failure was told.
    fn blocks_of(&mut self, entry: &FileEntry) -> Result<Option<Vec<Hash>>> {
        let format = self.engine.format()?;
        let size = entry.size;
        if size == 0 {
            return Ok(Some(Vec::new()));
        }
        if entry.blocklists.is_empty() {
            let one = entry
                .blockhash
                .or_else(|| entry.hash.filter(|_| format.block_hash == format.file_hash));
            return match one {
                Some(hash) if size <= format.blocksize => Ok(Some(vec![hash])),
                _ => {
                    self.remote_failure(entry, "the version list does not say which blocks it has");
                    Ok(None)
                }
            };
        }
        let mut blocks = Vec::new();
        for list in &entry.blocklists {
            let Some(bytes) = self.engine.catalog(|c| c.blocklist(list))? else {
                self.remote_failure(entry, "its list of blocks is in no volume any more");
                return Ok(None);
            };
            match blocklist_hashes(&bytes, format.block_hash.len()) {
                Ok(hashes) => blocks.extend(hashes),
                Err(error) => {
                    self.remote_failure(entry, &error.to_string());
                    return Ok(None);
                }
            }
        }
        if blocks.len() as u64 != larder_volume::blocks_of(size, format.blocksize) {
            self.remote_failure(entry, "its list of blocks does not fit its size");
            return Ok(None);
        }
        Ok(Some(blocks))
    }

    /// The volume that holds a block; a size that is unknown (−1 in old lists) is searched by hash.
    fn volume_of(&self, hash: &Hash, len: u64) -> Result<Option<i64>> {
        self.engine.catalog(|c| c.find_block(hash, len))
    }

    fn want_metadata(&mut self, entry: &FileEntry) -> Result<()> {
        if !self.rules.metadata && entry.kind != EntryKind::Symlink {
            return Ok(());
        }
        let Some(hash) = entry.metahash else {
            return Ok(());
        };
        if !self.wanted_metadata.insert(hash) {
            return Ok(());
        }
        let size = entry.metasize;
        let format = self.engine.format()?;
        if !entry.metablocklists.is_empty() {
            // Blobs of several blocks are rare: they are put together before everything else.
            self.large_metadata
                .push((hash, entry.metablocklists.clone()));
            return Ok(());
        }
        let block = entry
            .metablockhash
            .or_else(|| (format.block_hash == format.file_hash).then_some(hash));
        let Some(block) = block else { return Ok(()) };
        let volume = match self.volume_of(&block, size)? {
            Some(volume) => Some(volume),
            None => self
                .engine
                .catalog(|c| c.find_blocks_by_hash(&block))?
                .first()
                .map(|(_, volume)| *volume),
        };
        match volume {
            Some(volume) => {
                self.plan
                    .needs
                    .entry(volume)
                    .or_default()
                    .push((block, size, Use::Metadata))
            }
            None => self.engine.reporter.warn(
                "MissingMetadata",
                format!(
                    "{}: its metadata is in no data file any more",
                    String::from_utf8_lossy(&entry.path)
                ),
            ),
        }
        Ok(())
    }

    /// Fetches and joins the wanted metadata blobs that have several blocks.
    fn load_large_metadata(&mut self) -> Result<()> {
        let format = self.engine.format()?;
        let mut by_volume: HashMap<i64, Vec<Hash>> = HashMap::new();
        let mut blobs: Vec<(Hash, Vec<Hash>)> = Vec::new();
        for (hash, lists) in std::mem::take(&mut self.large_metadata) {
            let mut blocks = Vec::new();
            for list in lists {
                let bytes = self.engine.catalog(|c| c.blocklist(&list))?;
                let found = bytes.and_then(|b| blocklist_hashes(&b, format.block_hash.len()).ok());
                blocks.extend(found.unwrap_or_default());
            }
            for block in &blocks {
                let volumes = self.engine.catalog(|c| c.find_blocks_by_hash(block))?;
                if let Some((_, volume)) = volumes.first() {
                    let wanted = by_volume.entry(*volume).or_default();
                    if !wanted.contains(block) {
                        wanted.push(*block);
                    }
                }
            }
            blobs.push((hash, blocks));
        }
        if blobs.is_empty() {
            return Ok(());
        }
        let found: HashMap<Hash, Vec<u8>> =
            self.engine.fetch_blocks(by_volume)?.into_iter().collect();
        for (hash, blocks) in blobs {
            let mut bytes = Vec::new();
            for block in &blocks {
                bytes.extend(found.get(block).map(Vec::as_slice).unwrap_or_default());
            }
            let parsed = Metadata::parse(&bytes).ok();
            match parsed.filter(|_| format.file_hash.digest(&bytes) == hash) {
                Some(blob) => {
                    self.plan.metadata.blobs.insert(hash, Arc::new(blob));
                }
                None => self.engine.reporter.warn(
                    "MissingMetadata",
                    format!("metadata {hash} of several blocks cannot be put together"),
                ),
            }
        }
        Ok(())
    }

    /// Fetches the blocklists that no index file repeated.
    fn load_blocklists(&mut self, entries: &[FileEntry]) -> Result<()> {
        let lists = entries
            .iter()
            .flat_map(|e| e.blocklists.iter().chain(&e.metablocklists));
        self.engine.load_blocklists(lists.copied())
    }
}

impl Run {
    /// Fetches those of the blocklists that no index file repeated from the data files that hold them.
    pub(crate) fn load_blocklists(&self, lists: impl IntoIterator<Item = Hash>) -> Result<()> {
        let mut by_volume: HashMap<i64, Vec<Hash>> = HashMap::new();
        let mut seen = std::collections::HashSet::new();
        for list in lists {
            if !seen.insert(list) || self.catalog(|c| c.blocklist(&list))?.is_some() {
                continue;
            }
            if let Some((_, volume)) = self.catalog(|c| c.find_blocks_by_hash(&list))?.first() {
                by_volume.entry(*volume).or_default().push(list);
            }
        }
        for (hash, bytes) in self.fetch_blocks(by_volume)? {
            let size = bytes.len() as u64;
            self.catalog(|c| {
                let home = c.find_block(&hash, size)?;
                c.add_blocklist(&hash, &bytes, home)
            })?;
        }
        Ok(())
    }
}

impl Job {
    /// The open file, opened when needed. At most [`OPEN_FILES`] stay open between blocks.
    pub(crate) fn file(
        &self,
        root: &TargetRoot,
        kept_open: &AtomicU32,
    ) -> std::io::Result<Arc<File>> {
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = handle.as_ref() {
            return Ok(file.clone());
        }
        let file = Arc::new(root.open_file(&self.rel, OpenHow::CreateOrExisting)?);
        if self.open.load(Ordering::SeqCst) > 1 && kept_open.load(Ordering::SeqCst) < OPEN_FILES {
            kept_open.fetch_add(1, Ordering::SeqCst);
            *handle = Some(file.clone());
        }
        Ok(file)
    }

    /// Lets the file go.
    pub(crate) fn close(&self, kept_open: &AtomicU32) {
        if self
            .handle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .is_some()
        {
            kept_open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Files kept open between their blocks.
const OPEN_FILES: u32 = 256;
