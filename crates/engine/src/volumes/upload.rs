//! Sending volumes: intent on disk, then the bytes, then the index; a failed put gets a new name.

use larder_catalog::VolumeState;
use larder_destination::{Existing, RetryClass};
use larder_volume::{
    BlockVolume, Compression, DindexWriter, Hash, VolumeKind, VolumeName, VolumeTime,
};

use super::SharedBlocks;
use super::builder::SealedVolume;
use crate::data::{Sink, VolumeData};
use crate::error::VolumeContext;
use crate::phases::Ready;
use crate::settings::IndexPolicy;
use crate::transfer::Attempts;
use crate::{Error, Result};

/// A stored volume, as the final check expects it.
#[derive(Clone, Debug)]
pub(crate) struct StoredVolume {
    pub(crate) name: String,
    pub(crate) size: u64,
}

/// Hears how far the upload of a data volume has come.
pub(crate) trait UploadSteps {
    /// The catalog knows these blocks now, durably.
    fn recorded(&self, blocks: &SharedBlocks);
}

/// Nobody waits for the blocks of a volume.
pub(crate) struct Unwatched;

impl UploadSteps for Unwatched {
    fn recorded(&self, _: &SharedBlocks) {}
}

impl Ready<'_> {
    /// Sends a data volume and its index.
    pub(crate) fn upload_pair(
        &self,
        sealed: SealedVolume,
        steps: &impl UploadSteps,
    ) -> Result<Vec<StoredVolume>> {
        let SealedVolume {
            mut name,
            data,
            hash,
            blocks,
            blocklists,
        } = sealed;
        let id = self.durable(|c| {
            let id = c.add_volume(
                name.as_str(),
                VolumeKind::Blocks,
                VolumeState::Uploading,
                Some(data.len()),
                Some(hash),
            )?;
            c.add_blocks(id, blocks.read().table())?;
            for (hash, bytes) in &blocklists {
                c.add_blocklist(hash, bytes, Some(id))?;
            }
            Ok(id)
        })?;
        steps.recorded(&blocks);
        let compression = name.compression().unwrap_or(Compression::Zip);
        self.put_with_new_names(id, &mut name, &data, |_| {
            self.new_name(VolumeKind::Blocks, compression)
        })?;
        let size = data.len();
        drop(data);
        self.catalog(|c| c.set_volume(id, VolumeState::Uploaded, Some(size), Some(hash)))?;
        let mut stored = vec![StoredVolume {
            name: name.as_str().to_owned(),
            size,
        }];
        if self.settings.index_policy != IndexPolicy::None {
            let described = BlockVolume {
                name: name.as_str().to_owned(),
                blocks: blocks.write().take_table(),
                hash: Some(hash),
                size: Some(size),
            };
            stored.push(self.upload_index(id, &described, &blocklists, compression)?);
        }
        Ok(stored)
    }

    /// Builds and sends the dindex of one data volume.
    pub(crate) fn upload_index(
        &self,
        blocks_id: i64,
        described: &BlockVolume,
        blocklists: &[(Hash, Vec<u8>)],
        compression: Compression,
    ) -> Result<StoredVolume> {
        let created = VolumeTime(self.clock.seconds());
        let mut name = self.new_name(VolumeKind::Index, compression)?;
        let text = name.as_str().to_owned();
        let format = self.format();
        let sink = Sink::new(INDEX_MEMORY_BYTES, self.settings.upload_folder.clone());
        let writer = self.crypt.writer(sink, format.file_hash)?;
        let volume = self.new_volume(compression, self.pack_method()?, created)?;
        let mut index = DindexWriter::create(writer, &volume).in_volume(&text)?;
        index.add_volume(described).in_volume(&text)?;
        if self.settings.index_policy == IndexPolicy::Full {
            for (hash, bytes) in blocklists {
                index.add_blocklist(hash, bytes).in_volume(&text)?;
            }
        }
        let (data, hash) = self.crypt.seal(index.finish().in_volume(&text)?)?;
        let size = data.len();
        let id = self.durable(|c| {
            let id = c.add_volume(
                &text,
                VolumeKind::Index,
                VolumeState::Uploading,
                Some(size),
                Some(hash),
            )?;
            c.link_index(id, blocks_id)?;
            Ok(id)
        })?;
        self.put_with_new_names(id, &mut name, &data, |_| {
            self.new_name(VolumeKind::Index, compression)
        })?;
        self.catalog(|c| c.set_volume(id, VolumeState::Uploaded, Some(size), Some(hash)))?;
        Ok(StoredVolume {
            name: name.as_str().to_owned(),
            size,
        })
    }

    /// Puts a volume; after a failure under a new name, the old one being noted for removal.
    pub(crate) fn put_with_new_names(
        &self,
        id: i64,
        name: &mut VolumeName,
        data: &VolumeData,
        mut next: impl FnMut(&VolumeName) -> Result<VolumeName>,
    ) -> Result<()> {
        let mut attempts = Attempts::default();
        let mut clashes = 0;
        loop {
            self.cancel.check()?;
            let outcome = self
                .remote
                .put_once(name.as_str(), data, Existing::Refuse)
                .and_then(|()| self.verify_upload(name, data));
            let Err(error) = outcome else { return Ok(()) };
            // A name that is taken belongs to another run: it is left alone, and the next one is tried at once.
            let is_clash = is_clash(&error);
            if is_clash && clashes < MOST_CLASHES {
                clashes += 1;
            } else if !self
                .remote
                .wait_for_retry(name.as_str(), &mut attempts, &error)?
            {
                return Err(error);
            }
            let fresh = next(name)?;
            self.durable(|c| {
                let old = name.as_str().to_owned();
                let sent = c.volume(id)?;
                c.rename_volume(id, fresh.as_str())?;
                if !is_clash {
                    // With what was sent, so that only that is ever deleted.
                    let (size, hash) = sent.map_or((None, None), |row| (row.size, row.hash));
                    c.add_volume(&old, name.kind(), VolumeState::Deleting, size, hash)?;
                }
                Ok(())
            })?;
            *name = fresh;
        }
    }

    /// `--list-verify-uploads`: the listing must show the file with its size.
    fn verify_upload(&self, name: &VolumeName, data: &VolumeData) -> Result<()> {
        if !self.settings.list_verify_uploads {
            return Ok(());
        }
        let listed = self
            .remote
            .list(false)?
            .into_iter()
            .find(|f| self.settings.same_name(&f.name, name.as_str()));
        match listed {
            Some(file) if file.size.is_none_or(|size| size == data.len()) => Ok(()),
            other => Err(Error::Destination(
                larder_destination::Error::new(
                    larder_destination::ErrorKind::Corrupt,
                    "destination",
                    larder_destination::Operation::Put,
                    match other {
                        None => "the file is not listed after its upload".to_owned(),
                        Some(file) => {
                            format!("the file is listed with {} bytes", file.size.unwrap_or(0))
                        }
                    },
                )
                .object(name.as_str()),
            )),
        }
    }
}

/// True when a put failed because its name was taken.
fn is_clash(error: &Error) -> bool {
    matches!(error, Error::Destination(error) if error.retry_class() == RetryClass::OtherName)
}

/// Names that are tried at once before a taken one counts as a failed attempt. Several machines that write versions into
/// one folder in the same second need as many.
const MOST_CLASHES: u32 = 16;
/// A new index lies in memory up to this size. One of a volume of very small blocks has 8 MiB, and four may be in work.
const INDEX_MEMORY_BYTES: u64 = 1 << 20;
