//! SHA-256 of two streams in step.
//!
//! A block's rounds wait for each other, so that a processor with instructions for SHA-256 is idle half the time. It
//! has two streams done in three quarters of the time when their blocks alternate: every block of data is hashed for
//! itself and for its file, every encrypted byte for its authentication code and for its volume. The rounds are those
//! of the library; here is only the cutting into blocks and the padding (FIPS 180-4, section 5).

use sha2::block_api::compress256;
use zeroize::Zeroize;

/// The hash of a stream in the making.
#[derive(Clone)]
pub(crate) struct Sha256Stream {
    state: [u32; 8],
    /// What does not fill a block yet, in front.
    partial: [u8; BLOCK],
    /// Bytes of the whole stream.
    len: u64,
}

impl Sha256Stream {
    pub(crate) fn new() -> Self {
        Self {
            state: INITIAL_STATE,
            partial: [0; BLOCK],
            len: 0,
        }
    }

    /// Adds the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let (blocks, tail) = self.align(bytes).as_chunks();
        compress256(&mut self.state, blocks);
        self.keep(tail);
    }

    /// The hash of everything added.
    pub(crate) fn finish(mut self) -> [u8; 32] {
        let len_bits = self.len.wrapping_mul(8);
        let used = self.used();
        let mut end = [[0; BLOCK]; 2];
        let flat = end.as_flattened_mut();
        let padded_len = if used + 9 <= BLOCK { BLOCK } else { 2 * BLOCK };
        for (to, from) in flat.iter_mut().zip(self.partial.iter().take(used)) {
            *to = *from;
        }
        if let Some(mark) = flat.get_mut(used) {
            *mark = 0x80;
        }
        if let Some(place) = flat.get_mut(padded_len - 8..padded_len) {
            place.copy_from_slice(&len_bits.to_be_bytes());
        }
        compress256(
            &mut self.state,
            end.get(..padded_len / BLOCK).unwrap_or_default(),
        );
        end.as_flattened_mut().zeroize();
        let mut hash = [0; 32];
        for (bytes, word) in hash.as_chunks_mut().0.iter_mut().zip(&self.state) {
            *bytes = word.to_be_bytes();
        }
        hash
    }

    /// Length of what waits for the rest of its block.
    fn used(&self) -> usize {
        usize::try_from(self.len % BLOCK as u64).unwrap_or(0)
    }

    /// Fills up the block that was begun and counts all bytes; answers those behind the block's end.
    fn align<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let used = self.used();
        self.len = self.len.wrapping_add(bytes.len() as u64);
        if used == 0 {
            return bytes;
        }
        let (head, rest) = bytes.split_at(bytes.len().min(BLOCK - used));
        if let Some(place) = self.partial.get_mut(used..used + head.len()) {
            place.copy_from_slice(head);
        }
        if used + head.len() == BLOCK {
            compress256(&mut self.state, &[self.partial]);
        }
        rest
    }

    /// Keeps what does not fill a block.
    fn keep(&mut self, tail: &[u8]) {
        for (to, from) in self.partial.iter_mut().zip(tail) {
            *to = *from;
        }
    }
}

impl Drop for Sha256Stream {
    fn drop(&mut self) {
        // The stream of an authentication code begins with its key.
        self.state.zeroize();
        self.partial.zeroize();
    }
}

/// Adds bytes to two streams, block by block in turn.
pub(crate) fn update_two(
    a: &mut Sha256Stream,
    a_bytes: &[u8],
    b: &mut Sha256Stream,
    b_bytes: &[u8],
) {
    let (a_blocks, a_tail) = a.align(a_bytes).as_chunks();
    let (b_blocks, b_tail) = b.align(b_bytes).as_chunks();
    let both = a_blocks.len().min(b_blocks.len());
    let (a_blocks, a_more) = a_blocks.split_at(both);
    let (b_blocks, b_more) = b_blocks.split_at(both);
    for (a_block, b_block) in a_blocks.iter().zip(b_blocks) {
        compress256(&mut a.state, std::slice::from_ref(a_block));
        compress256(&mut b.state, std::slice::from_ref(b_block));
    }
    compress256(&mut a.state, a_more);
    compress256(&mut b.state, b_more);
    a.keep(a_tail);
    b.keep(b_tail);
}

/// The length of a block in bytes.
pub(crate) const BLOCK: usize = 64;

/// FIPS 180-4, section 5.3.3.
pub(crate) const INITIAL_STATE: [u32; 8] = [
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;

    fn expected(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    #[test]
    fn lengths_around_a_block() {
        for len in 0..=260_usize {
            let bytes: Vec<u8> = (0..=255).cycle().take(len).collect();
            for cut in [0, len / 3, len] {
                let mut stream = Sha256Stream::new();
                let (head, tail) = bytes.split_at(cut);
                stream.update(head);
                stream.update(tail);
                assert_eq!(stream.finish(), expected(&bytes), "{len} cut at {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn two_streams_equal_two_hashes(
            pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..400), 0..400_usize), 0..6),
        ) {
            let (mut a, mut b) = (Sha256Stream::new(), Sha256Stream::new());
            let (mut a_all, mut b_all) = (Vec::new(), Vec::new());
            for (bytes, skip) in &pieces {
                let other = bytes.get((*skip).min(bytes.len())..).unwrap_or_default();
                update_two(&mut a, bytes, &mut b, other);
                a_all.extend_from_slice(bytes);
                b_all.extend_from_slice(other);
            }
            prop_assert_eq!(a.finish(), expected(&a_all));
            prop_assert_eq!(b.finish(), expected(&b_all));
        }
    }
}
