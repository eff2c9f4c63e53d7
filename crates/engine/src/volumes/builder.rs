//! One data volume from its first block to its sealed form.

use std::io::Write as _;

use larder_volume::{
    Compression, DblockWriter, Hash, NewVolume, PackMethod, Packed, VolumeKind, VolumeName,
    VolumeTime,
};

use super::SharedBlocks;
use crate::Result;
use crate::budget::{Budget, Share};
use crate::crypt::SealWriter;
use crate::data::{Sink, VolumeData};
use crate::error::VolumeContext;
use crate::phases::Ready;
use crate::temporary::temporary_error;

/// A finished data volume on its way to the destination, with what its index says about it.
pub(crate) struct SealedVolume {
    pub(crate) name: VolumeName,
    pub(crate) data: VolumeData,
    /// Hash over all bytes of `data`.
    pub(crate) hash: Hash,
    /// Its blocks.
    pub(crate) blocks: SharedBlocks,
    /// Those of its blocks that are blocklists, with their bytes.
    pub(crate) blocklists: Vec<(Hash, Vec<u8>)>,
}

/// A data volume being filled.
pub(crate) struct VolumeBuilder {
    name: VolumeName,
    writer: DblockWriter<SealWriter>,
    blocks: SharedBlocks,
    /// What the directory of the archive takes until it is written.
    directory: Share,
    blocklists: Vec<(Hash, Vec<u8>)>,
}

impl VolumeBuilder {
    /// Begins a volume under a new name. It lies in memory as far as the budget allows, and in a temporary file beyond.
    pub(crate) fn create(run: &Ready<'_>, volume: &NewVolume<'_>, budget: &Budget) -> Result<Self> {
        let name = run.new_name(VolumeKind::Blocks, volume.container)?;
        let len = run.settings.dblock_size.saturating_add(BEYOND_SIZE);
        let sink = Sink::sharing(budget, len, run.settings.upload_folder.clone());
        let writer = run.crypt.writer(sink, volume.format.file_hash)?;
        let writer = DblockWriter::create(writer, volume).in_volume(name.as_str())?;
        Ok(Self {
            name,
            writer,
            blocks: SharedBlocks::new(budget),
            directory: budget.share(),
            blocklists: Vec::new(),
        })
    }

    /// Appends a block that was packed already; `blocklist` has its bytes when it is one, for the index to repeat them.
    /// Gives the bytes that are kept of it in memory, wherever the volume lies.
    pub(crate) fn add(
        &mut self,
        hash: Hash,
        packed: &Packed,
        blocklist: Option<&[u8]>,
    ) -> Result<u64> {
        self.writer
            .add(&hash, packed)
            .in_volume(self.name.as_str())?;
        let mut blocks = self.blocks.write();
        let mut kept = blocks.push(&hash, packed.size);
        if let Some(bytes) = blocklist {
            kept += blocks.hold(bytes.len() as u64);
            self.blocklists.push((hash, bytes.to_vec()));
        }
        drop(blocks);
        self.directory.must_grow(DIRECTORY_BYTES);
        Ok(kept + DIRECTORY_BYTES)
    }

    /// The blocks that were added, for others to look into.
    pub(crate) fn blocks(&self) -> &SharedBlocks {
        &self.blocks
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

/// How much longer than asked for a volume gets at most, by its last block's headers and by its encryption.
const BEYOND_SIZE: u64 = 1 << 16;
/// What the directory of a zip file says of a block whose name is a SHA-256.
const DIRECTORY_BYTES: u64 = 90;
