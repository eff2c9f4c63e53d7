//! The records of a zip file as bytes: local headers, central directory, end records (docs/format/container-zip.md).
//!
//! Names follow the .ZIP File Format Specification (APPNOTE.TXT 6.3.10), whose section numbers are given below.

use crate::VolumeTime;

/// Begins a local file header (4.3.7).
pub(super) const LOCAL_SIGNATURE: [u8; 4] = *b"PK\x03\x04";
/// Begins a data descriptor (4.3.9.3); optional in theory.
pub(super) const DESCRIPTOR_SIGNATURE: [u8; 4] = *b"PK\x07\x08";
/// Begins a record of the central directory (4.3.12).
pub(super) const CENTRAL_SIGNATURE: [u8; 4] = *b"PK\x01\x02";
/// Begins the end of central directory record (4.3.16).
pub(super) const END_SIGNATURE: [u8; 4] = *b"PK\x05\x06";
/// Begins the Zip64 end of central directory record (4.3.14).
pub(super) const END64_SIGNATURE: [u8; 4] = *b"PK\x06\x06";
/// Begins the Zip64 end of central directory locator (4.3.15).
pub(super) const LOCATOR_SIGNATURE: [u8; 4] = *b"PK\x06\x07";

/// Fixed part of a local header.
pub(super) const LOCAL_LEN: u64 = 30;
/// Fixed part of a central directory record.
pub(super) const CENTRAL_LEN: u64 = 46;
/// End record without its comment.
pub(super) const END_LEN: u64 = 22;
/// Zip64 end record without extensible data.
pub(super) const END64_LEN: u64 = 56;
/// Zip64 end locator.
pub(super) const LOCATOR_LEN: u64 = 20;

/// Flag: the content is encrypted by zip's own means (4.4.4).
pub(super) const FLAG_ENCRYPTED: u16 = 1;
/// Flag: sizes and checksum follow the content in a data descriptor (4.4.4).
pub(super) const FLAG_DESCRIPTOR: u16 = 1 << 3;
/// Flag: the name is UTF-8 (4.4.4).
pub(super) const FLAG_UTF8: u16 = 1 << 11;

/// In a 32-bit field: the value is in the Zip64 extra field (4.4.1.4).
pub(super) const SATURATED_32: u64 = 0xffff_ffff;
/// In a 16-bit field: the value is in the Zip64 end record.
pub(super) const SATURATED_16: u64 = 0xffff;

/// Method numbers (4.4.5).
pub(super) const METHOD_STORED: u16 = 0;
/// Deflate.
pub(super) const METHOD_DEFLATE: u16 = 8;
/// Zstandard.
pub(super) const METHOD_ZSTD: u16 = 93;

/// Version needed to extract: folders, deflate (4.4.3.2).
pub(super) const VERSION_PLAIN: u16 = 20;
/// Version needed to extract: Zip64.
pub(super) const VERSION_ZIP64: u16 = 45;
/// Version needed to extract: the newer methods.
pub(super) const VERSION_ZSTD: u16 = 63;

/// Header id of the Zip64 extra field (4.5.3).
pub(super) const EXTRA_ZIP64: u16 = 1;
/// "Made by" a Unix system (4.4.2), in the upper byte.
pub(super) const MADE_BY_UNIX: u16 = 3 << 8;
/// External attributes: a regular file that its owner may write and everybody read.
pub(super) const FILE_ATTRIBUTES: u32 = 0o100_644 << 16;

/// Returns the name of a method number for messages.
pub(super) fn method_name(method: u16) -> String {
    let name = match method {
        METHOD_STORED => "stored",
        METHOD_DEFLATE => "deflate",
        METHOD_ZSTD => "Zstandard",
        1 => "shrink",
        2..=5 => "reduce",
        6 => "implode",
        9 => "Deflate64",
        12 => "BZip2",
        14 => "LZMA",
        95 => "XZ",
        98 => "PPMd",
        99 => "AES",
        _ => return format!("compression method {method}"),
    };
    format!("compression method {method} ({name})")
}

/// Reads a little-endian number of two bytes.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

/// Reads a little-endian number of four bytes.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

/// Reads a little-endian number of eight bytes.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}

/// A local file header (4.3.7), sizes from its Zip64 extra field if there is one.
pub(super) struct LocalHeader<'a> {
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc: u32,
    pub(super) packed: u64,
    pub(super) size: u64,
    pub(super) name: &'a [u8],
}

/// Returns the length of the whole local header at the start of `bytes`, of which 30 are needed.
pub(super) fn local_header_len(bytes: &[u8]) -> Option<u64> {
    if !bytes.starts_with(&LOCAL_SIGNATURE) {
        return None;
    }
    Some(LOCAL_LEN + u64::from(u16_at(bytes, 26)?) + u64::from(u16_at(bytes, 28)?))
}

impl<'a> LocalHeader<'a> {
    /// Parses the header at the start of `bytes`, which must hold all of it.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let len = usize::try_from(local_header_len(bytes)?).ok()?;
        let names = bytes.get(30..len)?;
        let (name, extra) = names.split_at_checked(usize::from(u16_at(bytes, 26)?))?;
        let mut header = LocalHeader {
            flags: u16_at(bytes, 6)?,
            method: u16_at(bytes, 8)?,
            crc: u32_at(bytes, 14)?,
            packed: u64::from(u32_at(bytes, 18)?),
            size: u64::from(u32_at(bytes, 22)?),
            name,
        };
        let mut wide = Zip64Values::of(extra);
        wide.replace(&mut header.size)?;
        wide.replace(&mut header.packed)?;
        Some(header)
    }
}

/// A record of the central directory (4.3.12), with the values of its Zip64 extra field.
pub(super) struct CentralRecord<'a> {
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc: u32,
    pub(super) packed: u64,
    pub(super) size: u64,
    pub(super) header: u64,
    pub(super) name: &'a [u8],
}

impl<'a> CentralRecord<'a> {
    /// Parses the record at the start of `bytes` and returns it with what follows.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (fixed, rest) = bytes.split_at_checked(46)?;
        if !fixed.starts_with(&CENTRAL_SIGNATURE) {
            return None;
        }
        let (name, rest) = rest.split_at_checked(usize::from(u16_at(fixed, 28)?))?;
        let (extra, rest) = rest.split_at_checked(usize::from(u16_at(fixed, 30)?))?;
        let (_comment, rest) = rest.split_at_checked(usize::from(u16_at(fixed, 32)?))?;
        let mut record = CentralRecord {
            flags: u16_at(fixed, 8)?,
            method: u16_at(fixed, 10)?,
            crc: u32_at(fixed, 16)?,
            packed: u64::from(u32_at(fixed, 20)?),
            size: u64::from(u32_at(fixed, 24)?),
            header: u64::from(u32_at(fixed, 42)?),
            name,
        };
        let mut wide = Zip64Values::of(extra);
        wide.replace(&mut record.size)?;
        wide.replace(&mut record.packed)?;
        wide.replace(&mut record.header)?;
        Some((record, rest))
    }
}

/// The values of a Zip64 extra field (4.5.3), which stand in for saturated ones in a fixed order.
struct Zip64Values<'a>(Option<&'a [u8]>);

impl<'a> Zip64Values<'a> {
    /// Finds the field among the extra fields; rubbish there counts as none.
    fn of(mut extra: &'a [u8]) -> Self {
        while let (Some(id), Some(len)) = (u16_at(extra, 0), u16_at(extra, 2)) {
            let end = 4 + usize::from(len);
            if id == EXTRA_ZIP64 {
                return Self(extra.get(4..end));
            }
            extra = extra.get(end..).unwrap_or_default();
        }
        Self(None)
    }

    /// Puts the next value in place of a saturated one; nothing if there is a field but it is too short.
    ///
    /// Without a field a saturated value means itself, as some writers have it.
    fn replace(&mut self, value: &mut u64) -> Option<()> {
        if let (SATURATED_32, Some(values)) = (*value, self.0) {
            *value = u64_at(values, 0)?;
            self.0 = values.get(8..);
        }
        Some(())
    }
}

/// Turns a stored name into text: old Windows archives have backslashes, broken ones anything.
pub(super) fn decode_name(bytes: &[u8]) -> String {
    let name = String::from_utf8_lossy(bytes);
    if name.contains('\\') {
        name.replace('\\', "/")
    } else {
        name.into_owned()
    }
}

/// Returns date and time in the form of DOS (4.4.6): two-second steps, years 1980 to 2107, taken as UTC.
pub(super) fn dos_date_time(time: VolumeTime) -> (u16, u16) {
    const FIRST: i64 = 315_532_800; // 1980-01-01T00:00:00Z
    const LAST: i64 = 4_354_819_198; // 2107-12-31T23:59:58Z
    let text = VolumeTime(time.0.clamp(FIRST, LAST)).to_string();
    let number = |from: usize, to: usize| {
        text.get(from..to)
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(0u16)
    };
    let date = number(0, 4).saturating_sub(1980) << 9 | number(4, 6) << 5 | number(6, 8);
    let time = number(9, 11) << 11 | number(11, 13) << 5 | (number(13, 15) / 2);
    (date, time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dos_times() {
        for (text, date, time) in [
            (
                "20240229T235958Z",
                44 << 9 | 2 << 5 | 29,
                23 << 11 | 59 << 5 | 29,
            ),
            ("19800101T000000Z", 1 << 5 | 1, 0),
            ("19691231T235959Z", 1 << 5 | 1, 0),
            (
                "21071231T235959Z",
                127 << 9 | 12 << 5 | 31,
                23 << 11 | 59 << 5 | 29,
            ),
            (
                "99991231T235959Z",
                127 << 9 | 12 << 5 | 31,
                23 << 11 | 59 << 5 | 29,
            ),
        ] {
            assert_eq!(
                dos_date_time(VolumeTime::parse(text).unwrap()),
                (date, time),
                "{text}"
            );
        }
        dos_date_time(VolumeTime(i64::MIN));
        dos_date_time(VolumeTime(i64::MAX));
    }

    #[test]
    fn zip64_values_stand_in_for_saturated_ones_only() {
        let mut extra = vec![0xfe, 0xca, 2, 0, 9, 9, 1, 0, 16, 0];
        extra.extend(5u64.to_le_bytes());
        extra.extend(6u64.to_le_bytes());
        let mut wide = Zip64Values::of(&extra);
        let (mut size, mut packed, mut header) = (SATURATED_32, 7, SATURATED_32);
        assert!(wide.replace(&mut size).is_some());
        assert!(wide.replace(&mut packed).is_some());
        assert!(wide.replace(&mut header).is_some());
        assert_eq!((size, packed, header), (5, 7, 6));
        let mut missing = SATURATED_32;
        assert!(wide.replace(&mut missing).is_none());
        let mut none = Zip64Values::of(&[1, 0, 255, 0]);
        assert!(none.replace(&mut missing).is_some());
        assert_eq!(missing, SATURATED_32);
    }

    #[test]
    fn names_are_normalised() {
        assert_eq!(decode_name(b"vol\\a.zip"), "vol/a.zip");
        assert_eq!(decode_name(b"a\xffb"), "a\u{fffd}b");
    }
}
