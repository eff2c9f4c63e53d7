//! The entries of a version that a restore is about, as often as they are needed.
//!
//! Few are kept in memory. Many are read from the version list again each time: it lies here already, and reading it
//! costs some seconds for a million entries, where keeping them would cost hundreds of MiB.

use std::collections::HashSet;

use larder_source::Selection;
use larder_volume::{ArchiveReader, Blocks, Compression, EntryKind, FileEntry, Hash};

use super::RestoreRequest;
use super::layout::{Layout, LayoutBuilder};
use crate::data::VolumeData;
use crate::error::VolumeContext;
use crate::phases::Ready;
use crate::versions::{Version, size_limit};
use crate::{Error, Result};

/// Content by hash and size, for `--restore-all-files=unique`. Memory: 80 bytes per file.
pub(crate) type Contents = HashSet<(Hash, u64)>;

/// The selected entries of one version.
pub(crate) struct Selected<'a> {
    ready: &'a Ready<'a>,
    archive: ArchiveReader<VolumeData>,
    name: String,
    rule: Rule<'a>,
    kept: Option<Vec<FileEntry>>,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

/// What makes an entry selected.
struct Rule<'a> {
    selection: Option<Selection>,
    limit: Option<u64>,
    without: Option<&'a Contents>,
}

impl Rule<'_> {
    fn selects(&self, entry: &FileEntry) -> bool {
        if entry.kind == EntryKind::File {
            let size = entry.size;
            if self.limit.is_some_and(|limit| size > limit) {
                return false;
            }
            let restored = |known: &Contents| {
                let content = entry.hash.map(|hash| (hash, entry.size));
                content.is_some_and(|content| known.contains(&content))
            };
            if self.without.is_some_and(restored) {
                return false;
            }
        }
        let selection = self.selection.as_ref();
        selection.is_some_and(|selection| selection.selects(&entry.path))
    }
}

impl<'a> Selected<'a> {
    /// Reads the list once: counts what is selected, finds where it goes, and warns of patterns that match nothing.
    pub(crate) fn of(
        ready: &'a Ready<'a>,
        version: &Version,
        request: &RestoreRequest,
        without: Option<&'a Contents>,
        mut layout: LayoutBuilder,
    ) -> Result<(Self, Layout)> {
        let list = ready.fetch_list(&version.volume)?;
        ready.tell_renamed(&version.volume, &list)?;
        let mut selected = Self {
            ready,
            archive: ready.on_disk(list, version)?,
            name: version.volume.name.as_str().to_owned(),
            rule: Rule {
                selection: None,
                limit: size_limit(&ready.values)?,
                without,
            },
            kept: None,
            files: 0,
            bytes: 0,
            entries: 0,
        };
        let format = ready.format();
        let mut kept = Some(Vec::new());
        let (mut kept_bytes, mut lists) = (0, Vec::new());
        let mut unmatched: Vec<usize> = (0..request.patterns.len()).collect();
        let (archive, name) = (&selected.archive, selected.name.as_str());
        let (mut rule, mut counts) = (selected.rule, (0_u64, 0_u64, 0_u64));
        let read = ready.entries_of(archive, name, |entry| {
            let selection = match &rule.selection {
                Some(selection) => selection,
                None => rule.selection.insert(super::selection(
                    &request.patterns,
                    &request.filters,
                    &entry.path,
                )?),
            };
            unmatched.retain(|number| !selection.pattern_matches(*number, &entry.path));
            layout.add(&entry);
            if !rule.selects(&entry) {
                return Ok(());
            }
            layout.add_selected(&entry);
            counts.0 += 1;
            if entry.kind == EntryKind::File {
                counts.1 += 1;
                counts.2 = counts.2.saturating_add(entry.size);
                // More lists than the size allows are an error of the entry, told later.
                if let Blocks::Listed { lists: own, .. } = entry.content(&format) {
                    lists.extend_from_slice(own);
                }
            }
            if let Blocks::Listed { lists: own, .. } = entry.metadata(&format) {
                lists.extend_from_slice(own);
            }
            if lists.len() >= LISTS_AT_ONCE {
                ready.load_blocklists(lists.drain(..))?;
            }
            if let Some(entries) = &mut kept {
                kept_bytes += ENTRY_BYTES
                    + entry.path.len()
                    + size_of::<Hash>() * (entry.blocklists.len() + entry.metablocklists.len());
                if kept_bytes <= KEPT_BYTES {
                    entries.push(entry);
                } else {
                    kept = None;
                }
            }
            Ok(())
        });
        if ready.noting_damage(&version.volume.name, read)? == 0 {
            ready.list_is_whole(name)?;
        }
        ready.load_blocklists(lists.drain(..))?;
        for number in unmatched {
            if let Some(pattern) = request.patterns.get(number) {
                ready.reporter.warn(
                    "PatternWithoutMatch",
                    format!("nothing in the version matches {pattern:?}"),
                );
            }
        }
        selected.rule = rule;
        selected.kept = kept;
        (selected.entries, selected.files, selected.bytes) = counts;
        if u32::try_from(selected.entries).is_err() {
            return Err(Error::user(
                "TooManyFiles",
                "the selection holds more than four thousand million entries",
                "restore one folder after the other",
            ));
        }
        Ok((selected, layout.finish()))
    }

    /// Calls `work` with each entry and its number, in the order of the list, which is the same each time.
    pub(crate) fn each(&self, mut work: impl FnMut(u32, &FileEntry) -> Result<()>) -> Result<()> {
        let mut number = 0_u32;
        if let Some(kept) = &self.kept {
            for entry in kept {
                self.ready.cancel.check()?;
                work(number, entry)?;
                number += 1;
            }
            return Ok(());
        }
        let (archive, name) = (&self.archive, self.name.as_str());
        self.ready.entries_again(archive, name, |entry| {
            if self.rule.selects(&entry) {
                work(number, &entry)?;
                number += 1;
            }
            Ok(())
        })
    }

    /// As [`Selected::each`], to the end also when the user has stopped the run.
    pub(crate) fn each_to_the_end(
        &self,
        mut work: impl FnMut(u32, &FileEntry) -> Result<()>,
    ) -> Result<()> {
        let numbers = 0_u32..;
        if let Some(kept) = &self.kept {
            return numbers
                .zip(kept)
                .try_for_each(|(number, entry)| work(number, entry));
        }
        let mut number = 0;
        let (archive, name) = (&self.archive, self.name.as_str());
        self.ready.entries_to_the_end(archive, name, |entry| {
            if self.rule.selects(&entry) {
                work(number, &entry)?;
                number += 1;
            }
            Ok(())
        })
    }

    /// Adds the content of the selected files to a set.
    pub(crate) fn add_contents(&self, known: &mut Contents) -> Result<()> {
        self.each(|_, entry| {
            if entry.kind == EntryKind::File {
                known.extend(entry.hash.map(|hash| (hash, entry.size)));
            }
            Ok(())
        })
    }
}

impl Ready<'_> {
    /// A version list that is gone through many times, out of memory when it is large.
    fn on_disk(
        &self,
        archive: ArchiveReader<VolumeData>,
        version: &Version,
    ) -> Result<ArchiveReader<VolumeData>> {
        let name = &version.volume.name;
        let Some(kind @ Compression::Zip) = name.compression() else {
            return Ok(archive);
        };
        let Some(mut data) = archive.into_source() else {
            return Err(Error::Bug("a version list lost its volume".into()));
        };
        if data.memory() > LIST_IN_MEMORY {
            data = data.spilled(self.settings.temp_folder.clone())?;
        }
        ArchiveReader::open(data, kind).in_volume(name.as_str())
    }
}

/// A version list stays in memory when it is no longer than this.
const LIST_IN_MEMORY: u64 = 4 << 20;
/// Entries are kept when they take no more than this together.
const KEPT_BYTES: usize = 32 << 20;
/// What an entry takes without its path and lists.
const ENTRY_BYTES: usize = size_of::<FileEntry>() + 16;
/// Blocklists that are looked up together.
const LISTS_AT_ONCE: usize = 1 << 14;
