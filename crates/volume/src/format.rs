//! The parameters that are fixed for the life of a backup (docs/format/manifest.md).

use crate::{HashAlgorithm, Manifest, Result, VolumeTime, blocklists_of, hashes_per_blocklist};

/// Block size and hash algorithms: equal in all volumes of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Bytes of a full block.
    pub blocksize: u64,
    /// The algorithm of block hashes.
    pub block_hash: HashAlgorithm,
    /// The algorithm of file and volume hashes.
    pub file_hash: HashAlgorithm,
}

impl Format {
    /// Reads the parameters of a volume.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) for an unknown algorithm.
    pub fn of(manifest: &Manifest) -> Result<Self> {
        Ok(Self {
            blocksize: manifest.blocksize,
            block_hash: HashAlgorithm::parse(&manifest.block_hash)?,
            file_hash: HashAlgorithm::parse(&manifest.file_hash)?,
        })
    }

    /// The manifest of a new volume with these parameters.
    pub fn manifest(&self, created: VolumeTime, app_version: &str) -> Manifest {
        Manifest::new(
            created,
            self.blocksize,
            self.block_hash,
            self.file_hash,
            app_version,
        )
    }

    /// How many block hashes one blocklist holds.
    pub fn hashes_per_blocklist(&self) -> u64 {
        hashes_per_blocklist(self.blocksize, self.block_hash.len())
    }

    /// The number of blocklists of a stream of `size` bytes; 0 when it has at most one block.
    pub fn blocklists_of(&self, size: u64) -> u64 {
        blocklists_of(size, self.blocksize, self.block_hash.len())
    }

    /// Whether a full hash of a stream of one block is that block's hash too.
    pub fn is_one_algorithm(&self) -> bool {
        self.block_hash == self.file_hash
    }
}
