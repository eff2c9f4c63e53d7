//! What differs between two versions: from the catalog, which reads a list only when it lacks one.

use std::collections::BTreeMap;

use larder_catalog::Difference;
use larder_options::engine as opt;
use larder_source::Selection;
use larder_volume::{EntryKind, FileEntry};

use crate::named::Room;
use crate::phases::Ready;
use crate::report::{ChangeDetail, CompareReport};
use crate::run::Run;
use crate::sync::{Mode, Need};
use crate::versions::Version;
use crate::{Error, Result};

/// Which versions to compare.
#[derive(Debug, Default)]
pub struct CompareRequest {
    /// The version to begin with: a number, or a time counted backwards. Without one it is the second newest.
    pub base: Option<String>,
    /// The version to compare it with; without one it is the newest.
    pub compare: Option<String>,
    /// `--include` and `--exclude` filters in order.
    pub filters: Vec<(larder_source::Action, String)>,
}

/// Changes of each kind that are named unless everything is asked for.
const NAMED_CHANGES: u64 = 20;

impl Run {
    /// Compares two versions.
    ///
    /// # Errors
    /// A version that does not exist, both the same one, and a list that cannot be read.
    pub fn compare(&self, request: &CompareRequest) -> Result<CompareReport> {
        self.with_healing(|| {
            self.ready(Mode::Reading, Need::Lists)?
                .compare_versions(request)
        })
    }
}

impl Ready<'_> {
    fn compare_versions(&self, request: &CompareRequest) -> Result<CompareReport> {
        let base = self.version_by_argument(request.base.as_deref().unwrap_or("1"))?;
        let other = self.version_by_argument(request.compare.as_deref().unwrap_or("0"))?;
        if base.number == other.number {
            return Err(Error::user(
                "SameVersion",
                format!("version {} would be compared with itself", base.number),
                "name two versions; see `larder list-filesets`",
            ));
        }
        let (old, new) = (self.loaded(&base)?, self.loaded(&other)?);
        let mut report = CompareReport {
            base_version_index: base.number,
            base_version_timestamp: base.time.0,
            compare_version_index: other.number,
            compare_version_timestamp: other.time.0,
            previous_size: old.counts.bytes,
            current_size: new.counts.bytes,
            ..CompareReport::default()
        };
        let mut changes = Changes {
            most: match self.values.get(opt::FULL_RESULT)? {
                true => u64::MAX,
                false => NAMED_CHANGES,
            },
            report: &mut report,
            named: BTreeMap::new(),
            room: Room::default(),
        };
        let mut selection: Option<Selection> = None;
        let mut outcome = Ok(());
        let compared = self.catalog(|c| {
            c.differences(old.id, new.id, &mut |difference| {
                outcome = self.cancel.check().and_then(|()| {
                    if self.is_wanted(request, &mut selection, &difference)? {
                        changes.add(&difference);
                    }
                    Ok(())
                });
                match outcome {
                    Ok(()) => Ok(()),
                    Err(_) => Err(larder_catalog::Error::Misuse("a comparison was left")),
                }
            })
        });
        outcome?;
        compared?;
        if !request.filters.is_empty() {
            report.previous_size = self.selected_size(request, &base)?;
            report.current_size = self.selected_size(request, &other)?;
        }
        report.change_details_actual_length = report.changes();
        report.common = self.common("Compare", false);
        Ok(report)
    }

    fn is_wanted(
        &self,
        request: &CompareRequest,
        selection: &mut Option<Selection>,
        difference: &Difference,
    ) -> Result<bool> {
        let entry = difference.new.as_ref().or(difference.old.as_ref());
        match entry {
            Some(stored) if !request.filters.is_empty() => {
                self.selects(request, selection, &stored.entry.path)
            }
            Some(_) => Ok(true),
            None => Ok(false),
        }
    }

    fn selects(
        &self,
        request: &CompareRequest,
        selection: &mut Option<Selection>,
        path: &[u8],
    ) -> Result<bool> {
        let selection = match selection {
            Some(selection) => selection,
            None => selection.insert(crate::restore::selection(&[], &request.filters, path)?),
        };
        Ok(selection.selects(path))
    }

    /// Bytes of the files of a version that the filters select.
    fn selected_size(&self, request: &CompareRequest, version: &Version) -> Result<u64> {
        let (mut selection, mut size) = (None, 0_u64);
        self.each_entry(version, |entry| {
            if entry.kind == EntryKind::File
                && self.selects(request, &mut selection, &entry.path)?
            {
                size = size.saturating_add(entry.size);
            }
            Ok(())
        })?;
        Ok(size)
    }
}

/// What was found so far.
struct Changes<'r> {
    report: &'r mut CompareReport,
    /// Paths of each kind that are named.
    named: BTreeMap<&'static str, u64>,
    most: u64,
    room: Room,
}

impl Changes<'_> {
    fn add(&mut self, difference: &Difference) {
        let (old, new) = (difference.old.as_ref(), difference.new.as_ref());
        let (old, new) = (old.map(|s| &s.entry), new.map(|s| &s.entry));
        let report = &mut *self.report;
        let (what, entry) = match (old, new) {
            (None, Some(new)) => {
                report.added_size += size_of(new);
                *counter(
                    &mut report.added_folders,
                    &mut report.added_symlinks,
                    &mut report.added_files,
                    new,
                ) += 1;
                ("Added", new)
            }
            (Some(old), None) => {
                report.deleted_size += size_of(old);
                *counter(
                    &mut report.deleted_folders,
                    &mut report.deleted_symlinks,
                    &mut report.deleted_files,
                    old,
                ) += 1;
                ("Deleted", old)
            }
            // What the catalog notes besides is no change.
            (Some(old), Some(new)) if old != new => {
                *counter(
                    &mut report.modified_folders,
                    &mut report.modified_symlinks,
                    &mut report.modified_files,
                    new,
                ) += 1;
                if old.kind == new.kind && old.size == new.size && old.hash == new.hash {
                    report.modified_metadata_only += 1;
                }
                ("Modified", new)
            }
            _ => return,
        };
        let named = self.named.entry(what).or_default();
        let path = String::from_utf8_lossy(&entry.path);
        if *named < self.most && self.room.take(&path) {
            *named += 1;
            self.report.change_details.push(ChangeDetail {
                change: what,
                kind: entry.kind.key(),
                path: path.into_owned(),
            });
        }
    }
}

fn size_of(entry: &FileEntry) -> u64 {
    match entry.kind {
        EntryKind::File => entry.size,
        EntryKind::Folder | EntryKind::Symlink => 0,
    }
}

fn counter<'c>(
    folders: &'c mut u64,
    symlinks: &'c mut u64,
    files: &'c mut u64,
    entry: &FileEntry,
) -> &'c mut u64 {
    match entry.kind {
        EntryKind::Folder => folders,
        EntryKind::Symlink => symlinks,
        EntryKind::File => files,
    }
}
