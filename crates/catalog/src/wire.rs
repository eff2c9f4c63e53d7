//! Small binary building blocks of the stored blobs: variable-length integers, hashes, a bounds-checked reader.

use larder_volume::Hash;

use crate::{Error, Result};

/// Appends an unsigned integer, seven bits per byte, lowest first.
pub(crate) fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed integer; small magnitudes of either sign are short.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, ((value as u64) << 1) ^ ((value >> 63) as u64));
}

/// Appends a hash: one byte of length, then the bytes.
pub(crate) fn put_hash(out: &mut Vec<u8>, hash: &Hash) {
    let bytes = hash.as_bytes();
    // A hash has at most 64 bytes.
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

/// Reads what the functions above wrote; anything that does not fit is damage.
pub(crate) struct WireReader<'a> {
    rest: &'a [u8],
}

impl<'a> WireReader<'a> {
    /// Starts at the beginning of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        WireReader { rest: bytes }
    }

    /// Tells whether everything was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Number of bytes not yet read.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes the next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(short)?;
        self.rest = rest;
        Ok(head)
    }

    /// Takes one byte.
    pub(crate) fn byte(&mut self) -> Result<u8> {
        let (head, rest) = self.rest.split_first().ok_or_else(short)?;
        self.rest = rest;
        Ok(*head)
    }

    /// Takes four bytes, little endian.
    pub(crate) fn fixed32(&mut self) -> Result<u32> {
        let bytes = self.take(4)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    /// Takes an unsigned integer.
    pub(crate) fn unsigned(&mut self) -> Result<u64> {
        let mut value = 0u64;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(Error::damaged("an integer is too large"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    /// Takes a length; it is bounded by what remains when every counted thing has at least one byte.
    pub(crate) fn length(&mut self) -> Result<usize> {
        let value = self.unsigned()?;
        usize::try_from(value)
            .ok()
            .filter(|len| *len <= self.rest.len())
            .ok_or_else(short)
    }

    /// Takes a signed integer.
    pub(crate) fn signed(&mut self) -> Result<i64> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Takes a hash.
    pub(crate) fn hash(&mut self) -> Result<Hash> {
        let len = usize::from(self.byte()?);
        let bytes = self.take(len)?;
        parse_hash(bytes)
    }
}

/// Makes a hash of stored bytes.
pub(crate) fn parse_hash(bytes: &[u8]) -> Result<Hash> {
    Hash::from_bytes(bytes).map_err(|_| Error::damaged("a stored hash has an impossible length"))
}

/// Converts a count or size to what SQLite stores.
pub(crate) fn to_stored(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| Error::Misuse("a size is beyond 2^63"))
}

/// Converts a stored count or size back.
pub(crate) fn from_stored(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| Error::damaged("a stored size is negative"))
}

fn short() -> Error {
    Error::damaged("a stored record is cut short")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_back() {
        let mut out = Vec::new();
        let unsigned = [
            0,
            1,
            127,
            128,
            300,
            u64::from(u32::MAX),
            u64::MAX - 1,
            u64::MAX,
        ];
        let signed = [0, 1, -1, 63, -64, 64, i64::MAX, i64::MIN];
        unsigned
            .iter()
            .for_each(|value| put_unsigned(&mut out, *value));
        signed.iter().for_each(|value| put_signed(&mut out, *value));
        let mut reader = WireReader::new(&out);
        for value in unsigned {
            assert_eq!(reader.unsigned().unwrap(), value);
        }
        for value in signed {
            assert_eq!(reader.signed().unwrap(), value);
        }
        assert!(reader.is_empty());
    }

    #[test]
    fn nonsense_is_damage_and_never_a_panic() {
        assert!(WireReader::new(&[0x80]).unsigned().unwrap_err().is_damage());
        assert!(
            WireReader::new(&[0xff; 11])
                .unsigned()
                .unwrap_err()
                .is_damage()
        );
        assert!(
            WireReader::new(&[200, 1, 2])
                .length()
                .unwrap_err()
                .is_damage()
        );
        assert!(WireReader::new(&[9; 30]).hash().unwrap_err().is_damage());
        assert!(WireReader::new(&[1, 2]).fixed32().unwrap_err().is_damage());
    }
}
