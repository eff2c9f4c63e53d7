//! How streams are cut into blocks, how block hashes form blocklists, and the names of archive entries
//! (docs/format/hashes.md).

use crate::{Error, Hash, Result};

/// The entry of every volume with its [`Manifest`](crate::Manifest).
pub const MANIFEST_ENTRY: &str = "manifest";
/// The entry of a list volume that says whether the version is complete.
pub const FILESET_ENTRY: &str = "fileset";
/// The entry of a list volume with the entries of the version.
pub const FILELIST_ENTRY: &str = "filelist.json";
/// The folder of an index volume with one description per block volume, named by its full remote name.
pub const VOL_FOLDER: &str = "vol/";
/// The folder of an index volume with blocklists, named by the URL form of their hash.
pub const LIST_FOLDER: &str = "list/";
/// The folder of a list volume with files that the user wants kept beside the list.
pub const EXTRA_FOLDER: &str = "extra/";
/// The most bytes of all files beside a list: they are scripts and settings, and whoever fetches a version list fetches
/// them too.
pub const MAX_EXTRA: u64 = 64 << 20;

/// The number of blocks of a stream: ceil(size / blocksize). A blocksize of 0 counts as 1.
pub fn blocks_of(size: u64, blocksize: u64) -> u64 {
    size.div_ceil(blocksize.max(1))
}

/// How many block hashes one blocklist holds: floor(blocksize / hash length), at least 1.
pub fn hashes_per_blocklist(blocksize: u64, hash_len: usize) -> u64 {
    let hash_len = u64::try_from(hash_len).unwrap_or(u64::MAX);
    (blocksize / hash_len.max(1)).max(1)
}

/// The number of blocklists of a stream; 0 when it has at most one block.
pub fn blocklists_of(size: u64, blocksize: u64, hash_len: usize) -> u64 {
    match blocks_of(size, blocksize) {
        0 | 1 => 0,
        blocks => blocks.div_ceil(hashes_per_blocklist(blocksize, hash_len)),
    }
}

/// Cuts a blocklist into its block hashes, in order.
///
/// # Errors
/// [`Error::Malformed`] when the length is no multiple of the hash length, or no algorithm has that hash length.
pub fn blocklist_hashes(blocklist: &[u8], hash_len: usize) -> Result<Vec<Hash>> {
    if hash_len == 0 || !blocklist.len().is_multiple_of(hash_len) {
        let detail = format!(
            "{} bytes is no multiple of the hash length {hash_len}",
            blocklist.len()
        );
        return Err(Error::malformed("blocklist", detail));
    }
    blocklist
        .chunks_exact(hash_len)
        .map(Hash::from_bytes)
        .collect()
}

/// Reads the name of an entry of a block volume as the hash of the block it holds; `None` for other entries.
///
/// The rule is Duplicati's: characters of the URL alphabet, at most two `=` at the end, a length divisible by four
/// (docs/format/dblock.md); besides, the length must be that of a hash.
pub fn parse_block_entry(name: &str) -> Option<Hash> {
    Hash::parse_url_base64(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HashAlgorithm;

    #[test]
    fn counts() {
        for (size, blocksize, hash_len, blocks, lists) in [
            (0, 1024, 32, 0, 0),
            (1, 1024, 32, 1, 0),
            (1024, 1024, 32, 1, 0),
            (1025, 1024, 32, 2, 1),
            (2500, 1024, 32, 3, 1),
            (32 * 1024, 1024, 32, 32, 1),
            (32 * 1024 + 1, 1024, 32, 33, 2),
            (u64::MAX, 1 << 20, 32, 1 << 44, 1 << 29),
            (10, 0, 0, 10, 10),
        ] {
            assert_eq!(blocks_of(size, blocksize), blocks, "{size} {blocksize}");
            assert_eq!(
                blocklists_of(size, blocksize, hash_len),
                lists,
                "{size} {blocksize}"
            );
        }
        assert_eq!(hashes_per_blocklist(1 << 20, 32), 32768);
        assert_eq!(hashes_per_blocklist(102_400, 32), 3200);
    }

    #[test]
    fn the_blocklist_of_the_vectors() {
        // docs/format/vectors.md: /data/a.bin, 2500 bytes, blocksize 1024.
        let content: Vec<u8> = (0..2500u32).map(|i| (i % 251) as u8).collect();
        let blocks: Vec<Hash> = content
            .chunks(1024)
            .map(|block| HashAlgorithm::Sha256.digest(block))
            .collect();
        let blocklist: Vec<u8> = blocks
            .iter()
            .flat_map(|hash| hash.as_bytes().to_vec())
            .collect();
        assert_eq!(
            blocks[0].to_base64(),
            "K84bpihyBmS+S5/dd6rgZ45fDz8C/G/2QeyHkJT2pAQ="
        );
        assert_eq!(
            blocks[1].to_url_base64(),
            "UN9YrnD-QPO9AjThqob5Xfq6HhGNTbX9S2gsorYQBNU="
        );
        assert_eq!(
            blocks[2].to_url_base64(),
            "cvhKFY54lDGJ867KLBpcOwPPxSiH85A1xf8P19njDgg="
        );
        assert_eq!(blocklist.len(), 96);
        assert_eq!(blocklist[..4], [0x2b, 0xce, 0x1b, 0xa6]);
        assert_eq!(
            HashAlgorithm::Sha256.digest(&blocklist).to_base64(),
            "OKWrCqYGnGfU/MYV8ze8yck+tQqOxWczva2uoOTwnsA="
        );
        assert_eq!(
            HashAlgorithm::Sha256.digest(&content).to_base64(),
            "p1xbFG862dLm5UZS5x62odIG/7E0i+0sL0O1HdqsD4g="
        );
        assert_eq!(blocklist_hashes(&blocklist, 32).unwrap(), blocks);
        assert!(blocklist_hashes(&blocklist[1..], 32).is_err());
        assert!(blocklist_hashes(&blocklist, 0).is_err());
        assert!(blocklist_hashes(&blocklist, 3).is_err());
    }

    #[test]
    fn block_entries() {
        assert!(parse_block_entry("K84bpihyBmS-S5_dd6rgZ45fDz8C_G_2QeyHkJT2pAQ=").is_some());
        assert!(parse_block_entry("kAFQmDzST7DWlj99KOF_cg==").is_some());
        for name in [
            "manifest",
            "",
            "K84bpihyBmS+S5/dd6rgZ45fDz8C/G/2QeyHkJT2pAQ=",
            "list/x",
            "AAAA",
        ] {
            assert!(parse_block_entry(name).is_none(), "{name}");
        }
    }
}
