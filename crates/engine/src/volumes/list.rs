//! Version lists: written as entries come, sent when everything that they name is stored, and put in the place of older
//! ones.

use larder_catalog::{Counts, EntryWriter, StoredEntry, VolumeState};
use larder_volume::{DlistWriter, Hash, VolumeKind, VolumeName, VolumeTime};

use super::StoredVolume;
use crate::data::{LIST_MEMORY_BYTES, Sink, VolumeData};
use crate::error::VolumeContext;
use crate::notes::COMPARED;
use crate::phases::Ready;
use crate::sync::count;
use crate::{Error, Result};

/// What a version list holds beside its entries.
pub(crate) struct AboutList {
    /// When it is made.
    pub(crate) created: VolumeTime,
    /// False for a version that lacks what a run did not come to.
    pub(crate) is_full: bool,
    /// Files kept beside the list.
    pub(crate) extras: Vec<(String, Vec<u8>)>,
}

/// Where the entries of a version list come from.
pub(crate) trait ListSource {
    /// The next entries; `None` at the end. `taken_in` is what takes them into the catalog, with those given before.
    fn next(&mut self, taken_in: Option<&mut EntryWriter>) -> Result<Option<Vec<StoredEntry>>>;

    /// False when not all entries came that should have; asked at the end.
    fn is_full(&self) -> bool {
        true
    }
}

/// A version list that was written and not sent yet.
pub(crate) struct WrittenList {
    data: VolumeData,
    pub(crate) hash: Hash,
    pub(crate) counts: Counts,
    pub(crate) is_full: bool,
}

impl Ready<'_> {
    /// Writes a version list as entries come; they are taken into the catalog as well when there is a writer for them.
    pub(crate) fn write_list(
        &self,
        about: &AboutList,
        source: &mut impl ListSource,
        mut entries: Option<&mut EntryWriter>,
    ) -> Result<WrittenList> {
        let name = "(version list)";
        let format = self.format();
        let sink = Sink::new(LIST_MEMORY_BYTES, self.settings.upload_folder.clone());
        let writer = self.crypt.writer(sink, format.file_hash)?;
        let volume = self.new_volume(
            self.settings.compression,
            self.pack_method()?,
            about.created,
        )?;
        let mut dlist = DlistWriter::create(writer, &volume).in_volume(name)?;
        for (file, bytes) in &about.extras {
            dlist.add_extra(file, bytes).in_volume(name)?;
        }
        let mut counts = Counts::default();
        // An error of the catalog, or of whoever gives the entries, is none of the volume: it is kept apart.
        let mut elsewhere: Option<Error> = None;
        let added = dlist
            .add_entries(&mut |list| {
                loop {
                    let batch = match source.next(entries.as_deref_mut()) {
                        Ok(Some(batch)) => batch,
                        Ok(None) => return Ok(()),
                        Err(error) => {
                            elsewhere = Some(error);
                            return Err(std::io::Error::other("where entries come from"));
                        }
                    };
                    for stored in batch {
                        let entry = &stored.entry;
                        count(&mut counts, entry.kind, entry.size);
                        list.add(entry)?;
                        if let Some(entries) = &mut entries
                            && let Err(error) = entries.add(&stored)
                        {
                            elsewhere = Some(error.into());
                            return Err(std::io::Error::other("local catalog"));
                        }
                    }
                }
            })
            .in_volume(name);
        if let Some(error) = elsewhere {
            return Err(error);
        }
        added?;
        let is_full = about.is_full && source.is_full();
        let writer = dlist.finish(is_full).in_volume(name)?;
        let (data, hash) = self.crypt.seal(writer)?;
        Ok(WrittenList {
            data,
            hash,
            counts,
            is_full,
        })
    }

    /// Sends a version list, when everything that it names is stored. After a failure it gets the `next` time.
    pub(crate) fn send_list(
        &self,
        time: VolumeTime,
        list: WrittenList,
        mut next: impl FnMut(VolumeTime) -> Result<VolumeTime>,
        stored: &mut Vec<StoredVolume>,
    ) -> Result<VolumeName> {
        let mut name = self.list_name(time);
        let (size, hash) = (list.data.len(), list.hash);
        let id = self.durable(|c| {
            c.add_volume(
                name.as_str(),
                VolumeKind::List,
                VolumeState::Uploading,
                Some(size),
                Some(hash),
            )
        })?;
        self.put_with_new_names(id, &mut name, &list.data, |old| {
            Ok(self.list_name(next(old.time().unwrap_or(time))?))
        })?;
        let final_time = name.time().unwrap_or(time);
        self.durable(|c| {
            c.set_volume(id, VolumeState::Uploaded, Some(size), Some(hash))?;
            c.add_fileset(id, final_time.0, list.is_full, list.counts)
        })?;
        stored.push(StoredVolume {
            name: name.as_str().to_owned(),
            size,
        });
        Ok(name)
    }

    /// The name of a list that is written now.
    pub(crate) fn list_name(&self, time: VolumeTime) -> VolumeName {
        VolumeName::list(
            &self.settings.prefix,
            time,
            self.settings.compression,
            self.crypt.kind(),
        )
    }

    /// Puts the entries of a version that was just sent into the catalog. Gives its number there.
    pub(crate) fn take_over_entries(&self, name: &VolumeName, entries: EntryWriter) -> Result<i64> {
        let text = name.as_str();
        let (list, filesets) = self.catalog(|c| Ok((c.volume_named(text)?, c.filesets()?)))?;
        let of_it = list.and_then(|row| {
            let fileset = filesets.into_iter().find(|f| f.volume == row.id)?;
            Some((fileset, row.hash))
        });
        let (fileset, hash) = of_it
            .ok_or_else(|| Error::Bug("the version just written is not in the catalog".into()))?;
        entries.finish(fileset.id, hash)?;
        Ok(fileset.id)
    }

    /// Notes that of a version more than the entries is known.
    pub(crate) fn note_compared(&self, fileset: i64) -> Result<()> {
        self.catalog(|c| c.set_param(COMPARED, &fileset.to_string()))
    }
}
