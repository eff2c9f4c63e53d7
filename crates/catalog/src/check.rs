//! Row checksums: each row carries a CRC of its own values, compared whenever the row is read.
//!
//! The checksum of the whole file ([`crate::sums`]) is only known for a catalog that was closed. These are what keeps a
//! flipped bit from turning "uploaded" into "deleting" in between, and they let an interrupted catalog be examined.

use crc32fast::Hasher;

use crate::{Error, Result};

/// Collects the values of a row, in column order.
pub(crate) struct RowCheck(Hasher);

impl RowCheck {
    /// Starts with the name of the table, so that a row cannot pass for one of another table.
    pub(crate) fn new(table: &str) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(table.as_bytes());
        RowCheck(hasher)
    }

    /// Adds an integer.
    pub(crate) fn int(mut self, value: i64) -> Self {
        self.0.update(&value.to_le_bytes());
        self
    }

    /// Adds an integer that may be NULL.
    pub(crate) fn optional(mut self, value: Option<i64>) -> Self {
        self.0.update(&[u8::from(value.is_some())]);
        self.int(value.unwrap_or(0))
    }

    /// Adds a text or blob.
    pub(crate) fn bytes(mut self, value: &[u8]) -> Self {
        self.0.update(&(value.len() as u64).to_le_bytes());
        self.0.update(value);
        self
    }

    /// Gives the checksum as it is stored.
    pub(crate) fn finish(self) -> i64 {
        i64::from(self.0.finalize())
    }

    /// Compares with the stored checksum.
    pub(crate) fn compare(self, stored: i64, what: &str) -> Result<()> {
        if self.finish() == stored {
            Ok(())
        } else {
            Err(Error::damaged(format!(
                "the checksum of a {what} row does not match"
            )))
        }
    }
}

/// Packs a volume id and a checksum of the block row it belongs to into one stored integer.
///
/// Layout: id in the upper 40 bits, the low 24 bits of CRC-32 over hash, size and id in the lower 24.
pub(crate) fn pack_place(hash: &[u8], size: i64, volume: i64) -> Result<i64> {
    if !(0..1 << 39).contains(&volume) {
        return Err(Error::Misuse("a volume id is out of range"));
    }
    Ok(volume << 24 | place_check(hash, size, volume))
}

/// Takes the volume id out of a stored place after comparing the checksum.
pub(crate) fn unpack_place(hash: &[u8], size: i64, place: i64) -> Result<i64> {
    let volume = place >> 24;
    if volume < 0 || place & 0xff_ffff != place_check(hash, size, volume) {
        return Err(Error::damaged("the checksum of a block row does not match"));
    }
    Ok(volume)
}

fn place_check(hash: &[u8], size: i64, volume: i64) -> i64 {
    let mut tail = [0u8; 16];
    let (low, high) = tail.split_at_mut(8);
    low.copy_from_slice(&size.to_le_bytes());
    high.copy_from_slice(&volume.to_le_bytes());
    let mut hasher = Hasher::new();
    hasher.update(hash);
    hasher.update(&tail);
    i64::from(hasher.finalize() & 0xff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_and_any_changed_bit_is_seen() {
        let hash = [7u8; 32];
        let place = pack_place(&hash, 1000, 42).unwrap();
        assert_eq!(unpack_place(&hash, 1000, place).unwrap(), 42);
        for bit in 0..64 {
            assert!(
                unpack_place(&hash, 1000, place ^ (1 << bit)).is_err(),
                "bit {bit} of the place"
            );
            assert!(
                unpack_place(&hash, 1000 ^ (1 << bit), place).is_err(),
                "bit {bit} of the size"
            );
        }
        assert!(pack_place(&hash, 1, -1).is_err());
        assert!(pack_place(&hash, 1, 1 << 39).is_err());
    }

    #[test]
    fn null_differs_from_zero_and_tables_differ() {
        let zero = RowCheck::new("a").optional(Some(0)).finish();
        assert_ne!(zero, RowCheck::new("a").optional(None).finish());
        assert_ne!(zero, RowCheck::new("b").optional(Some(0)).finish());
    }
}
