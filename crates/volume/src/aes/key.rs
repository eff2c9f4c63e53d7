//! The header key, made from the passphrase.

use pbkdf2::pbkdf2_hmac;
use sha2::Sha512;
use sha2::block_api::compress256;
use zeroize::{Zeroize, Zeroizing};

use super::{AesVersion, BLOCK};
use crate::sha256::{BLOCK as HASH_BLOCK, INITIAL_STATE};

/// Makes the key that protects the header.
///
/// Version 2 hashes the UTF-16LE passphrase 8192 times, version 3 uses PBKDF2 with HMAC-SHA-512 over
/// the UTF-8 passphrase (docs/format/encryption-aes.md). Takes about a millisecond for version 2,
/// and half a second or more for version 3.
pub(super) fn header_key(
    version: AesVersion,
    password: &str,
    public_iv: &[u8; BLOCK],
) -> Zeroizing<[u8; 32]> {
    match version {
        AesVersion::V2 => iterated_hash(password, public_iv),
        AesVersion::V3 { iterations } => {
            let mut key = Zeroizing::new([0; 32]);
            let (password, key_bytes) = (password.as_bytes(), key.as_mut_slice());
            pbkdf2_hmac::<Sha512>(password, public_iv, iterations, key_bytes);
            key
        }
    }
}

/// Computes `key = SHA-256(key, password)` again and again, from the IV and 16 zeros.
///
/// Only the first 32 bytes of the hashed message change, so it is padded once and given to the
/// compression function as it stands: faster than 8192 complete hashes, and every volume that is
/// read costs one such key.
fn iterated_hash(password: &str, public_iv: &[u8; BLOCK]) -> Zeroizing<[u8; 32]> {
    let mut message = Zeroizing::new(Vec::with_capacity(32 + password.len() * 2 + 2 * HASH_BLOCK));
    message.extend_from_slice(public_iv);
    message.resize(32, 0);
    for unit in password.encode_utf16() {
        message.extend_from_slice(&unit.to_le_bytes());
    }
    // The padding of SHA-256: a one bit, zeros, and the length in bits in the last eight bytes.
    let len_bits = u64::try_from(message.len())
        .unwrap_or(u64::MAX)
        .wrapping_mul(8);
    message.push(0x80);
    let padded_len = (message.len() + 8).next_multiple_of(HASH_BLOCK) - 8;
    message.resize(padded_len, 0);
    message.extend_from_slice(&len_bits.to_be_bytes());

    let mut key = Zeroizing::new([0; 32]);
    for _ in 0..ROUNDS {
        let mut state = INITIAL_STATE;
        compress256(&mut state, message.as_chunks().0);
        for (bytes, word) in key.as_chunks_mut().0.iter_mut().zip(&state) {
            *bytes = word.to_be_bytes();
        }
        if let Some(start) = message.first_chunk_mut() {
            *start = *key;
        }
        state.zeroize();
    }
    key
}

const ROUNDS: u32 = 8192;

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_short_way_equals_hashing() {
        // Around the lengths at which the message needs another block.
        for len in [0, 1, 10, 11, 12, 15, 16, 17, 43, 44, 45, 100] {
            let password = "é".repeat(len);
            let iv = [u8::try_from(len).unwrap(); 16];
            let utf16: Vec<u8> = password.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let mut key = [iv, [0; 16]].concat();
            for _ in 0..ROUNDS {
                key = Sha256::new()
                    .chain_update(&key)
                    .chain_update(&utf16)
                    .finalize()
                    .to_vec();
            }
            assert_eq!(
                header_key(AesVersion::V2, &password, &iv).as_slice(),
                key,
                "{len}"
            );
        }
    }
}
