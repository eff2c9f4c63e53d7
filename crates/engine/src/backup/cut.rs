//! Cutting a file into blocks while something else may be writing to it.

use std::io::{Read, Result};

/// Reads blocks of equal length, of which only the last may be short.
///
/// A file that grows while it is read has an end that moves. What comes after the first short block is left to the next
/// backup: blocks are found by their number (format: docs/format/dblock.md), so nothing may follow a short one.
pub(crate) struct Cutter {
    blocksize: usize,
    ended: bool,
}

impl Cutter {
    pub(crate) fn new(blocksize: usize) -> Self {
        Self {
            blocksize,
            ended: false,
        }
    }

    pub(crate) fn blocksize(&self) -> usize {
        self.blocksize
    }

    /// Fills `block` with the next block; it stays empty at the end, and from then on.
    pub(crate) fn next(&mut self, file: &mut impl Read, block: &mut Vec<u8>) -> Result<()> {
        block.clear();
        if self.ended {
            return Ok(());
        }
        file.take(self.blocksize as u64).read_to_end(block)?;
        self.ended = block.len() < self.blocksize;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Cutter;

    /// A file that something appends to: after each end there is more.
    struct Growing(Vec<usize>);

    impl std::io::Read for Growing {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let Some(left) = self.0.first_mut() else {
                return Ok(0);
            };
            if *left == 0 {
                self.0.remove(0);
                return Ok(0);
            }
            let len = buffer.len().min(*left);
            *left -= len;
            Ok(len)
        }
    }

    #[test]
    fn a_growing_file_has_no_short_block_inside() {
        for (pieces, expected) in [
            (vec![25, 10, 3], vec![10, 10, 5]),
            (vec![3, 10], vec![3]),
            (vec![0, 7], vec![]),
            (vec![20, 5], vec![10, 10]),
            (vec![30], vec![10, 10, 10]),
        ] {
            let (mut file, mut cutter) = (Growing(pieces.clone()), Cutter::new(10));
            let (mut block, mut lengths) = (Vec::new(), Vec::new());
            loop {
                cutter.next(&mut file, &mut block).unwrap();
                if block.is_empty() {
                    break;
                }
                lengths.push(block.len());
            }
            assert_eq!(lengths, expected, "{pieces:?}");
            cutter.next(&mut file, &mut block).unwrap();
            assert!(block.is_empty(), "{pieces:?}");
        }
    }
}
