//! What earlier runs left behind in the folders that a restore writes into.

use larder_volume::{EntryKind, FileEntry};

use super::layout::Layout;
use super::target::parent;
use super::writer::Writer;

/// Removes temporary files of ended runs, while it is told the entries of a version once more.
pub(crate) struct Leftovers<'w, 'a> {
    writer: &'w Writer<'a>,
    layout: &'w Layout,
    /// Lists are mostly in order, so that a folder follows what it lies in.
    seen: Vec<Vec<u8>>,
    removed: u64,
}

impl<'w, 'a> Leftovers<'w, 'a> {
    /// `None` while another restore writes into the same target: what it has closed looks the same.
    pub(crate) fn new(writer: &'w Writer<'a>, layout: &'w Layout) -> Option<Self> {
        writer.root.is_alone().then_some(Self {
            writer,
            layout,
            seen: Vec::new(),
            removed: 0,
        })
    }

    /// Looks into the folder of an entry, unless it was one of the last ones.
    pub(crate) fn beside(&mut self, entry: &FileEntry) {
        let Some(place) = self.layout.place(&entry.path) else {
            return;
        };
        let folder = match entry.kind {
            EntryKind::Folder => place.as_slice(),
            EntryKind::File | EntryKind::Symlink => parent(&place).unwrap_or_default(),
        };
        if self.seen.iter().any(|seen| seen == folder) {
            return;
        }
        match self.writer.root.remove_leftovers(folder) {
            Ok(count) => self.removed += count,
            Err(error) => self.writer.reporter.verbose(
                "LeftoversNotRead",
                format!("{}: {error}", self.writer.folder_path(folder)),
            ),
        }
        if self.seen.len() >= REMEMBERED {
            self.seen.remove(0);
        }
        self.seen.push(folder.to_vec());
    }

    /// Says how many there were.
    pub(crate) fn tell(self) {
        if self.removed > 0 {
            self.writer.reporter.info(
                "LeftoversRemoved",
                format!(
                    "unfinished files of earlier restores were removed: {}",
                    self.removed
                ),
            );
        }
    }
}

/// Folders remembered.
const REMEMBERED: usize = 64;
