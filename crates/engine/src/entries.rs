//! Fetching a version list, and reading its entries one after the other.

use std::io::Read;

use larder_volume::{
    ArchiveEntry, ArchiveReader, FILELIST_ENTRY, FILESET_ENTRY, FileEntry, FileListReader, ReadAt,
    parse_fileset,
};

use crate::cancel::Cancel;
use crate::context::Reporter;
use crate::data::VolumeData;
use crate::error::VolumeContext;
use crate::phases::Settled;
use crate::repository::locked;
use crate::sync::RemoteVolume;
use crate::words::counted;
use crate::{Error, Result};

/// Wrong entries of one list that are named; the rest is counted.
const NAMED_ENTRIES: u64 = 20;
/// Most bytes of the entry that says whether a version is complete; it has about twenty.
const MAX_FILESET_BYTES: u64 = 1 << 16;

impl Settled<'_> {
    /// Fetches a version list.
    pub(crate) fn fetch_list(&self, volume: &RemoteVolume) -> Result<ArchiveReader<VolumeData>> {
        let name = volume.name.as_str();
        let known = self.catalog(|c| c.volume_named(name))?;
        if let (Some(found), Some(expected)) = (volume.size, known.as_ref().and_then(|r| r.size))
            && found != expected
        {
            return Err(Error::volume(
                name,
                larder_volume::Error::Mismatch {
                    field: "size",
                    expected: expected.to_string(),
                    found: found.to_string(),
                },
            ));
        }
        let hash = known.and_then(|row| row.hash);
        let fetched = self.fetch_volume(&volume.name, volume.size, hash);
        self.noting_damage(&volume.name, fetched)
    }

    /// Reads the entries of a fetched version list one after the other. A wrong entry is reported, once in
    /// an operation, and costs no other; answers the number of those.
    ///
    /// # Errors
    /// Damage that nothing can be read behind, and errors of `work`.
    pub(crate) fn entries_of(
        &self,
        archive: &ArchiveReader<VolumeData>,
        name: &str,
        work: impl FnMut(FileEntry) -> Result<()>,
    ) -> Result<u64> {
        // A command may read a list more than once.
        let was_told = locked(&self.named_lists).contains(name);
        let reporter = (!was_told).then_some(&*self.reporter);
        let wrong = read_entries(archive, name, reporter, &self.cancel, work)?;
        if wrong > 0 {
            locked(&self.named_lists).insert(name.to_owned());
        }
        Ok(wrong)
    }

    /// As [`Settled::entries_again`], to the end also when the user has stopped the run.
    ///
    /// # Errors
    /// As for [`Settled::entries_of`].
    pub(crate) fn entries_to_the_end(
        &self,
        archive: &ArchiveReader<VolumeData>,
        name: &str,
        work: impl FnMut(FileEntry) -> Result<()>,
    ) -> Result<()> {
        let never = Cancel::new();
        read_entries(archive, name, None, &never, work).map(drop)
    }

    /// The same for a list that was read before: nothing is reported a second time.
    ///
    /// # Errors
    /// As for [`Settled::entries_of`].
    pub(crate) fn entries_again(
        &self,
        archive: &ArchiveReader<VolumeData>,
        name: &str,
        work: impl FnMut(FileEntry) -> Result<()>,
    ) -> Result<()> {
        read_entries(archive, name, None, &self.cancel, work).map(drop)
    }

    /// Whether a fetched version list says that it is complete.
    pub(crate) fn is_full(&self, archive: &ArchiveReader<VolumeData>, name: &str) -> Result<bool> {
        is_full(archive, name)
    }
}

/// Reads entries; answers the number of the wrong ones. Some of these are named to the reporter, if there is one.
///
/// # Errors
/// Damage that nothing can be read behind, and errors of `work`.
pub(crate) fn read_entries<S: ReadAt>(
    archive: &ArchiveReader<S>,
    name: &str,
    reporter: Option<&Reporter>,
    cancel: &Cancel,
    work: impl FnMut(FileEntry) -> Result<()>,
) -> Result<u64> {
    let entry = filelist_of(archive, name)?;
    let stream = archive.stream(entry).in_volume(name)?;
    entries_in(stream, name, reporter, cancel, work)
}

/// The same out of an open list.
///
/// # Errors
/// As for [`read_entries`].
pub(crate) fn entries_in(
    list: impl Read,
    name: &str,
    reporter: Option<&Reporter>,
    cancel: &Cancel,
    mut work: impl FnMut(FileEntry) -> Result<()>,
) -> Result<u64> {
    let mut reader = FileListReader::open(list);
    let mut wrong = 0_u64;
    while let Some(item) = reader.next() {
        cancel.check()?;
        match item {
            Ok(entry) => work(entry)?,
            Err(error) if reader.is_damaged() => return Err(Error::volume(name, error)),
            Err(error) => {
                wrong += 1;
                if let Some(reporter) = reporter.filter(|_| wrong <= NAMED_ENTRIES) {
                    reporter.warn("DamagedEntry", format!("{name}: {error}; it is left out"));
                }
            }
        }
    }
    let more = wrong.saturating_sub(NAMED_ENTRIES);
    if let Some(reporter) = reporter.filter(|_| more > 0) {
        reporter.warn(
            "DamagedEntry",
            format!("{name}: {} left out too", counted(more, "more wrong entry")),
        );
    }
    Ok(wrong)
}

/// Whether a version list says that it is complete; one that says nothing is (docs/format/dlist.md).
pub(crate) fn is_full<S: ReadAt>(archive: &ArchiveReader<S>, name: &str) -> Result<bool> {
    let Some(entry) = archive.find(FILESET_ENTRY) else {
        return Ok(true);
    };
    let bytes = archive.read(entry, MAX_FILESET_BYTES).in_volume(name)?;
    parse_fileset(&bytes).in_volume(name)
}

/// The entry of a list volume that holds its files.
pub(crate) fn filelist_of<'a, S: ReadAt>(
    archive: &'a ArchiveReader<S>,
    name: &str,
) -> Result<&'a ArchiveEntry> {
    archive.find(FILELIST_ENTRY).ok_or_else(|| {
        Error::volume(
            name,
            larder_volume::Error::Malformed {
                what: "list volume",
                detail: format!("it has no {FILELIST_ENTRY}"),
            },
        )
    })
}
