//! The packed lists of the blocks of a volume: rows of `volume_block`.
//!
//! Layout: CRC-32 of volume id and the rest (u32, little endian), hash length (u8), then per block the hash and the size
//! as a variable-length integer. All hashes of one list have the same length; a volume may have several lists.

use larder_volume::Hash;

use crate::wire::{WireReader, parse_hash, put_unsigned};
use crate::{Error, Result};

/// Most blocks in one list.
pub(crate) const LIST_BLOCKS: usize = 4096;

/// Packs blocks, in the order given, into lists and hands each to `put`.
pub(crate) fn pack(
    volume: i64,
    blocks: impl IntoIterator<Item = (Hash, u64)>,
    put: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut data = Vec::new();
    let mut count = 0;
    let mut hash_len = 0;
    for (hash, size) in blocks {
        let bytes = hash.as_bytes();
        if count == LIST_BLOCKS || (count > 0 && hash_len != bytes.len()) {
            seal(volume, &mut data);
            put(&data)?;
            count = 0;
        }
        if count == 0 {
            hash_len = bytes.len();
            data.clear();
            // A hash has at most 64 bytes.
            data.extend_from_slice(&[0, 0, 0, 0, hash_len as u8]);
        }
        data.extend_from_slice(bytes);
        put_unsigned(&mut data, size);
        count += 1;
    }
    if count > 0 {
        seal(volume, &mut data);
        put(&data)?;
    }
    Ok(())
}

/// Unpacks a list after comparing its checksum.
pub(crate) fn unpack(volume: i64, data: &[u8], take: &mut dyn FnMut(Hash, u64)) -> Result<()> {
    let body = data.get(4..).unwrap_or_default();
    let mut reader = WireReader::new(data);
    if reader.fixed32()? != crc(volume, body) {
        return Err(Error::damaged(
            "the checksum of a block list does not match",
        ));
    }
    let hash_len = usize::from(reader.byte()?);
    while !reader.is_empty() {
        let hash = parse_hash(reader.take(hash_len)?)?;
        take(hash, reader.unsigned()?);
    }
    Ok(())
}

fn seal(volume: i64, data: &mut [u8]) {
    let crc = crc(volume, data.get(4..).unwrap_or_default());
    if let Some(head) = data.first_chunk_mut::<4>() {
        *head = crc.to_le_bytes();
    }
}

fn crc(volume: i64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&volume.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_in_order_and_are_bound_to_their_volume() {
        let hash = |n: u32, len: usize| {
            let bytes: Vec<u8> = n.to_le_bytes().into_iter().cycle().take(len).collect();
            Hash::from_bytes(&bytes).unwrap()
        };
        let blocks: Vec<(Hash, u64)> = (0..10_000u32)
            .map(|n| (hash(n, if n < 9000 { 32 } else { 20 }), u64::from(n) * 77))
            .collect();
        let mut lists = Vec::new();
        pack(5, blocks.iter().copied(), &mut |data| {
            lists.push(data.to_vec());
            Ok(())
        })
        .unwrap();
        assert_eq!(lists.len(), 4);
        let mut back = Vec::new();
        lists
            .iter()
            .for_each(|list| unpack(5, list, &mut |hash, size| back.push((hash, size))).unwrap());
        assert!(back == blocks);
        assert!(
            unpack(6, &lists[0], &mut |_, _| {})
                .unwrap_err()
                .is_damage()
        );
        for at in (0..lists[3].len()).step_by(97) {
            let mut bad = lists[3].clone();
            bad[at] ^= 4;
            assert!(
                unpack(5, &bad, &mut |_, _| {}).unwrap_err().is_damage(),
                "byte {at}"
            );
        }
        assert!(unpack(5, &[], &mut |_, _| {}).unwrap_err().is_damage());
    }
}
