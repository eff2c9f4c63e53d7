//! The last steps of a restore: links, then the metadata of folders, then what earlier runs left behind.

use std::sync::atomic::Ordering;

use larder_volume::EntryKind;

use super::restoring::{Record, Restoring};
use super::target::{self, parent};
use crate::Result;

impl Restoring<'_> {
    /// Creates the links.
    pub(super) fn links(&self) -> Result<()> {
        let links = std::mem::take(&mut self.kept().links);
        for link in links {
            self.ready.cancel.check()?;
            let link = self.record(link)?;
            let Some(blob) = self.parsed(&link.blob, EntryKind::Symlink, &link.path) else {
                continue;
            };
            let path = String::from_utf8_lossy(&link.path);
            let Some(to) = &blob.symlink_target else {
                self.ready.reporter.warn(
                    "LinkWithoutTarget",
                    format!("{path}: the version does not hold the link's target"),
                );
                continue;
            };
            let (overwrite, date) = (self.rules.overwrite, &self.plan.date);
            match target::place_link(self.root, &link.place, to, overwrite, date) {
                Ok(target::Placed { place, is_new }) => {
                    // Of what was right already only files are counted.
                    self.tally
                        .links
                        .fetch_add(u64::from(is_new), Ordering::Relaxed);
                    self.apply(&place, &link.path, &link.blob, EntryKind::Symlink, is_new);
                }
                Err(error) => {
                    self.stop_when_full(&error)?;
                    self.ready
                        .reporter
                        .error("RestoreFailed", format!("{path}: {error}"));
                    self.tally.local(&link.path);
                }
            }
        }
        Ok(())
    }

    /// Opens the folders that have no metadata of their own, deepest first, as far as new folders are open here.
    pub(super) fn plain_folders(&self) -> Result<()> {
        let mut folders = std::mem::take(&mut self.kept().plain_folders);
        folders.sort_by_key(|folder| std::cmp::Reverse(folder.len()));
        let restore = larder_source::Restore {
            mode: Some(self.rules.folder_mode),
            ..larder_source::Restore::default()
        };
        for folder in folders {
            self.ready.cancel.check()?;
            self.tell_facts(self.root.apply(&folder, &restore), &folder);
        }
        Ok(())
    }

    /// Gives folders their metadata, deepest first: what lies in a folder comes before it may be closed.
    pub(super) fn folders(&self) -> Result<()> {
        let mut folders = std::mem::take(&mut self.kept().folders);
        folders.sort_by_key(|folder| std::cmp::Reverse(folder.depth));
        for folder in folders {
            self.ready.cancel.check()?;
            let Record { place, path, blob } = self.record(folder.record)?;
            self.apply(&place, &path, &blob, EntryKind::Folder, folder.is_new);
        }
        Ok(())
    }

    /// Removes temporary files of ended runs from all folders that this one writes into.
    pub(super) fn leftovers(&self) -> Result<()> {
        // What another restore is writing looks the same while it has the file closed.
        if self.plan.fresh || !self.root.is_alone() {
            return Ok(());
        }
        // Lists are mostly in order, so that a folder follows what it lies in.
        let mut seen: Vec<Vec<u8>> = Vec::new();
        let mut removed = 0;
        self.selected.each(|_, entry| {
            let Some(place) = self.layout.place(&entry.path) else {
                return Ok(());
            };
            let folder = match entry.kind {
                EntryKind::Folder => place.as_slice(),
                EntryKind::File | EntryKind::Symlink => parent(&place).unwrap_or_default(),
            };
            if seen.iter().any(|seen| seen == folder) {
                return Ok(());
            }
            match self.root.remove_leftovers(folder) {
                Ok(count) => removed += count,
                Err(error) => self.ready.reporter.verbose(
                    "LeftoversNotRead",
                    format!("{}: {error}", self.folder_path(folder)),
                ),
            }
            if seen.len() >= REMEMBERED {
                seen.remove(0);
            }
            seen.push(folder.to_vec());
            Ok(())
        })?;
        if removed > 0 {
            self.ready.reporter.info(
                "LeftoversRemoved",
                format!("unfinished files of earlier restores were removed: {removed}"),
            );
        }
        Ok(())
    }
}

/// Folders remembered.
const REMEMBERED: usize = 64;
