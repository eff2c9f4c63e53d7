//! The hash of a file's whole content, taken while its blocks are written.
//!
//! Blocks mostly arrive in their order, because a backup stored them so. Then the file is hashed in step with the check
//! of each block, and need not be read again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use larder_volume::{Hash, HashAlgorithm, Hasher};

/// The hash of a file of several blocks in the making.
pub(crate) struct ContentHash(Mutex<State>);

struct State {
    hasher: Hasher,
    /// The first block that is not in the hash.
    next: u32,
    /// Blocks behind it that are in the file; a bit for each.
    written: Vec<u64>,
}

impl ContentHash {
    pub(crate) fn new(algorithm: HashAlgorithm) -> Self {
        Self(Mutex::new(State {
            hasher: algorithm.hasher(),
            next: 0,
            written: Vec::new(),
        }))
    }

    /// Compares a block with its hash, and adds it to that of the file when it comes next; `None` when it does not.
    ///
    /// Blocks in front of it that are in the file already are read from there, of which each has `blocksize` bytes.
    pub(crate) fn verify_next(
        &self,
        index: u32,
        bytes: &[u8],
        (algorithm, expected): (HashAlgorithm, &Hash),
        blocksize: u64,
        file: impl FnOnce() -> io::Result<std::sync::Arc<File>>,
    ) -> Option<bool> {
        // Whoever holds it is hashing another block of the file.
        let mut state = match self.0.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        if state.next < index && (state.next..index).all(|before| state.is_written(before)) {
            state.catch_up(index, blocksize, &*file().ok()?).ok()?;
        }
        if state.next != index {
            return None;
        }
        let mut longer = state.hasher.clone();
        let is_right = algorithm.digest_in_step(bytes, &mut longer) == *expected;
        if is_right {
            state.hasher = longer;
            state.next += 1;
        }
        Some(is_right)
    }

    /// Notes that a block is in the file.
    pub(crate) fn wrote(&self, index: u32, bytes: &[u8]) {
        let mut state = self.lock();
        if state.next == index {
            state.hasher.update(bytes);
            state.next += 1;
        } else if index > state.next {
            state.mark(index);
        }
    }

    /// Notes that a block is in the file already.
    pub(crate) fn is_there(&self, index: u32) {
        self.lock().mark(index);
    }

    /// The hash of all that the file holds; what did not come in order is read from it.
    pub(crate) fn finish(&self, file: &File, blocksize: u64) -> io::Result<Hash> {
        let state = self.lock();
        rest_of_file(
            file,
            state.hasher.clone(),
            u64::from(state.next) * blocksize,
        )
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_written(&self, index: u32) -> bool {
        let (word, bit) = place(index);
        self.written.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn mark(&mut self, index: u32) {
        let (word, bit) = place(index);
        if self.written.len() <= word {
            self.written.resize(word + 1, 0);
        }
        if let Some(bits) = self.written.get_mut(word) {
            *bits |= bit;
        }
    }

    /// Adds the blocks in front of `index` from the file.
    fn catch_up(&mut self, index: u32, blocksize: u64, file: &File) -> io::Result<()> {
        let mut bytes = vec![0; usize::try_from(blocksize).unwrap_or(usize::MAX)];
        while self.next < index {
            file.read_exact_at(&mut bytes, u64::from(self.next) * blocksize)?;
            self.hasher.update(&bytes);
            self.next += 1;
        }
        Ok(())
    }
}

/// Word and bit of a block.
fn place(index: u32) -> (usize, u64) {
    ((index / 64) as usize, 1 << (index % 64))
}

/// Hash over a file of which all bytes before `at` are in `hasher`.
pub(crate) fn rest_of_file(file: &File, mut hasher: Hasher, mut at: u64) -> io::Result<Hash> {
    let mut buffer = Vec::new();
    loop {
        // Nothing is left of most files.
        if buffer.is_empty() {
            if file.metadata()?.len() <= at {
                break;
            }
            buffer.resize(READ_BYTES, 0_u8);
        }
        let read = file.read_at(&mut buffer, at)?;
        let Some(piece) = buffer.get(..read).filter(|p| !p.is_empty()) else {
            break;
        };
        hasher.update(piece);
        at += read as u64;
    }
    Ok(hasher.finish())
}

/// Bytes read from a file at a time.
const READ_BYTES: usize = 1 << 18;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const SHA: HashAlgorithm = HashAlgorithm::Sha256;

    /// Blocks of a file arriving in this order, with the outcome of each and the number hashed from memory.
    fn arrive(order: &[u32]) -> u32 {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let hash = ContentHash::new(SHA);
        let content: Vec<u8> = (0..order.len() * 10 - 3).map(|n| n as u8).collect();
        let blocks: Vec<&[u8]> = content.chunks(10).collect();
        let mut in_order = 0;
        for index in order {
            let bytes = blocks[*index as usize];
            let expected = SHA.digest(bytes);
            let open = || Ok(file.clone());
            let wrong = hash.verify_next(*index, b"damaged", (SHA, &expected), 10, open);
            assert_ne!(wrong, Some(true));
            match hash.verify_next(*index, bytes, (SHA, &expected), 10, open) {
                Some(right) => {
                    assert!(right);
                    in_order += 1;
                }
                None => assert!(wrong.is_none()),
            }
            file.write_all_at(bytes, u64::from(*index) * 10).unwrap();
            hash.wrote(*index, bytes);
        }
        assert_eq!(hash.finish(&file, 10).unwrap(), SHA.digest(&content));
        in_order
    }

    #[test]
    fn any_order_gives_the_hash_of_the_file() {
        assert_eq!(arrive(&[0]), 1);
        assert_eq!(arrive(&[0, 1, 2, 3]), 4);
        // 3 finds 1 and 2 in the file.
        assert_eq!(arrive(&[0, 2, 1, 3]), 3);
        assert_eq!(arrive(&[3, 2, 1, 0]), 1);
        assert_eq!(arrive(&[1, 3, 0, 2]), 2);
        let far: Vec<u32> = (64..130).chain(0..64).chain(130..140).collect();
        assert_eq!(arrive(&far), 64 + 10);
    }

    #[test]
    fn what_is_behind_the_blocks_counts() {
        let file = tempfile::tempfile().unwrap();
        let hash = ContentHash::new(SHA);
        for index in 0..2 {
            file.write_all_at(b"0123456789", u64::from(index) * 10)
                .unwrap();
            hash.wrote(index, b"0123456789");
        }
        file.write_all_at(b"more", 20).unwrap();
        assert_eq!(
            hash.finish(&file, 10).unwrap(),
            SHA.digest(b"01234567890123456789more")
        );
    }
}
