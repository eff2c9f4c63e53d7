//! The version list: written as entries arrive, sent when everything else is stored.

use crossbeam_channel::Receiver;
use larder_catalog::{Counts, EntryWriter, StoredEntry, VolumeState};
use larder_volume::{DlistWriter, VolumeKind, VolumeName, VolumeTime};

use crate::control_files::named;
use crate::data::{LIST_MEMORY_BYTES, Sink, VolumeData};
use crate::error::VolumeContext;
use crate::notes::COMPARED;
use crate::phases::Ready;
use crate::sync::count;
use crate::volumes::StoredVolume;
use crate::{Error, Result};

impl Ready<'_> {
    /// Writes the version list as entries arrive.
    pub(super) fn write_list(
        &self,
        time: VolumeTime,
        results: &Receiver<Vec<StoredEntry>>,
        mut entries: Option<&mut EntryWriter>,
    ) -> Result<(VolumeData, larder_volume::Hash, Counts)> {
        let name = "(version list)";
        let format = self.format();
        let sink = Sink::new(LIST_MEMORY_BYTES, self.settings.upload_folder.clone());
        let writer = self.crypt.writer(sink, format.file_hash)?;
        let volume = self.new_volume(self.settings.compression, self.pack_method()?, time)?;
        let mut dlist = DlistWriter::create(writer, &volume).in_volume(name)?;
        for (path, file) in named(&self.settings.control_files) {
            let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
            if path.file_name() != Some(file.as_ref()) {
                let path = path.display();
                self.reporter.notice(
                    "ControlFileRenamed",
                    format!("the control file {path} is kept under the name {file:?}, since they are kept without their folders"),
                );
            }
            dlist.add_extra(&file, &bytes).in_volume(name)?;
        }
        let mut counts = Counts::default();
        // An error of the catalog is none of the volume: it is kept apart.
        let mut of_catalog = None;
        let added = dlist
            .add_entries(&mut |list| {
                for batch in results {
                    for stored in batch {
                        let entry = &stored.entry;
                        count(&mut counts, entry.kind, entry.size);
                        list.add(entry)?;
                        if let Some(entries) = &mut entries
                            && let Err(error) = entries.add(&stored)
                        {
                            of_catalog = Some(error);
                            return Err(std::io::Error::other("local catalog"));
                        }
                    }
                }
                Ok(())
            })
            .in_volume(name);
        if let Some(error) = of_catalog {
            return Err(error.into());
        }
        added?;
        let writer = dlist.finish(true).in_volume(name)?;
        let (data, hash) = self.crypt.seal(writer)?;
        Ok((data, hash, counts))
    }

    /// Sends the version list: the last upload of a run.
    pub(super) fn upload_list(
        &self,
        time: VolumeTime,
        list: VolumeData,
        hash: larder_volume::Hash,
        counts: Counts,
        stored: &mut Vec<StoredVolume>,
    ) -> Result<VolumeName> {
        let make = |time| {
            VolumeName::list(
                &self.settings.prefix,
                time,
                self.settings.compression,
                self.crypt.kind(),
            )
        };
        let mut name = make(time);
        let size = list.len();
        let id = self.durable(|c| {
            c.add_volume(
                name.as_str(),
                VolumeKind::List,
                VolumeState::Uploading,
                Some(size),
                Some(hash),
            )
        })?;
        self.put_with_new_names(id, &mut name, &list, |old| {
            Ok(make(VolumeTime(old.time().unwrap_or(time).0 + 1)))
        })?;
        let final_time = name.time().unwrap_or(time);
        self.durable(|c| {
            c.set_volume(id, VolumeState::Uploaded, Some(size), Some(hash))?;
            c.add_fileset(id, final_time.0, true, counts)
        })?;
        stored.push(StoredVolume {
            name: name.as_str().to_owned(),
            size,
        });
        Ok(name)
    }

    /// Puts the new version's entries into the catalog.
    pub(super) fn take_over_entries(
        &self,
        name: &VolumeName,
        entries: Option<EntryWriter>,
    ) -> Result<()> {
        let (Some(time), Some(entries)) = (name.time(), entries) else {
            return Err(Error::Bug("a version without time or entries".into()));
        };
        let fileset = self
            .catalog(|c| c.filesets())?
            .into_iter()
            .find(|f| f.time == time.0)
            .ok_or_else(|| Error::Bug("the version just written is not in the catalog".into()))?;
        let list = self.catalog(|c| c.volume(fileset.volume))?;
        entries.finish(fileset.id, list.and_then(|row| row.hash))?;
        self.catalog(|c| c.set_param(COMPARED, &fileset.id.to_string()))?;
        Ok(())
    }
}
