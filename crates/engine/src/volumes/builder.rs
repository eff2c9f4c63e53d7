//! One data volume from its first block to its sealed form.

use std::io::Write as _;

use larder_volume::{
    Compression, DblockWriter, Hash, NewVolume, PackMethod, Packed, VolumeKind, VolumeName,
    VolumeTime,
};

use crate::Result;
use crate::crypt::{IN_MEMORY_BYTES, SealWriter};
use crate::data::{Sink, VolumeData, temporary_error};
use crate::error::VolumeContext;
use crate::phases::Ready;

/// A finished data volume on its way to the destination, with what its index says about it.
pub(crate) struct SealedVolume {
    pub(crate) name: VolumeName,
    pub(crate) data: VolumeData,
    /// Hash over all bytes of `data`.
    pub(crate) hash: Hash,
    /// Its blocks in the order in which they were added.
    pub(crate) blocks: Vec<(Hash, u64)>,
    /// Those of its blocks that are blocklists, with their bytes.
    pub(crate) blocklists: Vec<(Hash, Vec<u8>)>,
}

/// A data volume being filled.
pub(crate) struct VolumeBuilder {
    name: VolumeName,
    writer: DblockWriter<SealWriter>,
    blocks: Vec<(Hash, u64)>,
    blocklists: Vec<(Hash, Vec<u8>)>,
}

impl VolumeBuilder {
    /// Begins a volume under a new name.
    pub(crate) fn create(run: &Ready<'_>, volume: &NewVolume<'_>) -> Result<Self> {
        let name = run.new_name(VolumeKind::Blocks, volume.container)?;
        let bound = if run.settings.dblock_size <= IN_MEMORY_BYTES {
            IN_MEMORY_BYTES
        } else {
            0
        };
        let sink = Sink::new(bound, run.settings.upload_folder.clone());
        let writer = run.crypt.writer(sink, volume.format.file_hash)?;
        let writer = DblockWriter::create(writer, volume).in_volume(name.as_str())?;
        Ok(Self {
            name,
            writer,
            blocks: Vec::new(),
            blocklists: Vec::new(),
        })
    }

    /// Appends a block of `data` that was packed already; a blocklist is repeated in the index.
    pub(crate) fn add(
        &mut self,
        hash: Hash,
        data: &[u8],
        packed: &Packed,
        is_blocklist: bool,
    ) -> Result<()> {
        self.writer
            .add(&hash, packed)
            .in_volume(self.name.as_str())?;
        self.blocks.push((hash, data.len() as u64));
        if is_blocklist {
            self.blocklists.push((hash, data.to_vec()));
        }
        Ok(())
    }

    /// Bytes that the volume will have about, if nothing more is added.
    pub(crate) fn estimated_len(&self) -> u64 {
        self.writer.estimated_len()
    }

    /// Closes, encrypts and hashes the volume.
    pub(crate) fn seal(self, run: &Ready<'_>) -> Result<SealedVolume> {
        let mut writer = self.writer.finish().in_volume(self.name.as_str())?;
        writer.flush().map_err(temporary_error)?;
        let (data, hash) = run.crypt.seal(writer)?;
        Ok(SealedVolume {
            name: self.name,
            data,
            hash,
            blocks: self.blocks,
            blocklists: self.blocklists,
        })
    }
}

impl Ready<'_> {
    /// How a new volume is packed and described.
    pub(crate) fn new_volume(
        &self,
        container: Compression,
        method: PackMethod,
        created: VolumeTime,
    ) -> Result<NewVolume<'static>> {
        Ok(NewVolume {
            format: self.format(),
            container,
            tar_level: self.settings.tar_level,
            method,
            created,
            app_version: concat!("Larder ", env!("CARGO_PKG_VERSION")),
        })
    }
}
