//! The records of the tar containers: ustar headers and the directory behind the last entry.
//!
//! Format: docs/format/container-tar.md; layout of headers as in POSIX.1-1988 (ustar), the filling of their fields as
//! *observed* in volumes of Duplicati (fixtures/volumes/tgz-plain).

use std::fmt;
use std::io;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::read_at::{ReadAt, fetch};
use super::zip::u64_at;

/// Headers and contents are filled up to a multiple of this.
pub(super) const BLOCK: u64 = 512;
/// The longest name that is written: one byte of the field ends it.
pub(super) const MAX_NAME: usize = 99;
/// The largest content whose size fits the header: eleven octal digits.
pub(super) const MAX_SIZE: u64 = 0o77_777_777_777;

/// The name of the last entry, which lists all others.
pub(super) const DIRECTORY_NAME: &str = ".eof-header";
/// The last bytes of the tar.
const DIRECTORY_MAGIC: [u8; 6] = *b"EOFHD1";
/// Offset and magic at the end.
const DIRECTORY_END: u64 = 14;
/// The largest directory read: half a million blocks. Beyond it the headers are read one by one.
const MAX_DIRECTORY: u64 = 64 << 20;

/// Returns the number of zero bytes behind content of `len` bytes.
pub(super) fn padding(len: u64) -> u64 {
    len.wrapping_neg() % BLOCK
}

/// Makes the header of a regular file; `None` if a value does not fit.
pub(super) fn encode_header(name: &str, size: u64, mtime: i64) -> Option<[u8; BLOCK as usize]> {
    if name.is_empty() || name.len() > MAX_NAME || size > MAX_SIZE {
        return None;
    }
    let mtime = u64::try_from(mtime).unwrap_or(0).min(MAX_SIZE);
    let mut header = [0; BLOCK as usize];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(field) = header.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    };
    put(0, name.as_bytes());
    put(100, b"0000644 0000000 0000000 ");
    put(124, format!("{size:011o} {mtime:011o} ").as_bytes());
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum = checksum(&header);
    if let Some(field) = header.get_mut(148..156) {
        field.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    Some(header)
}

/// The sum of all bytes of a header, its own field counted as spaces.
fn checksum(header: &[u8]) -> u64 {
    let all: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    let own: u64 = header
        .get(148..156)
        .unwrap_or_default()
        .iter()
        .map(|byte| u64::from(*byte))
        .sum();
    all - own + 8 * u64::from(b' ')
}

/// A header that has the right checksum.
pub(super) struct Header {
    pub(super) name: String,
    pub(super) size: u64,
    /// Whether it is of a regular file, and not of a folder, a link or a note to the next header.
    pub(super) is_file: bool,
}

impl Header {
    /// Parses the header at the start of `bytes`.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..BLOCK as usize)?;
        if octal(header.get(148..156)?)? != checksum(header) {
            return None;
        }
        let mut name = text(header.get(..100)?);
        if header.get(257..262)? == b"ustar" {
            let prefix = text(header.get(345..500)?);
            if !prefix.is_empty() {
                name = format!("{prefix}/{name}");
            }
        }
        let is_file = matches!(header.get(156)?, 0 | b'0' | b'7');
        (!name.is_empty()).then_some(Header {
            name,
            size: octal(header.get(124..136)?)?,
            is_file,
        })
    }
}

/// The text of a field up to its first zero byte.
fn text(field: &[u8]) -> String {
    super::zip::decode_name(field.split(|byte| *byte == 0).next().unwrap_or_default())
}

/// A number in octal digits with spaces around it, ended by a space or a zero byte; or, as GNU tar has it for
/// large numbers, in binary behind a byte 0x80.
fn octal(field: &[u8]) -> Option<u64> {
    if let [0x80, rest @ ..] = field {
        let (high, low) = rest.split_at_checked(rest.len().checked_sub(8)?)?;
        return high
            .iter()
            .all(|byte| *byte == 0)
            .then(|| low.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    }
    let digits = field.split(|byte| *byte == 0).next()?.trim_ascii();
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, digit| match digit {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Where an entry's content lies in the tar.
#[derive(Deserialize, Clone, Copy, PartialEq, Debug)]
pub(super) struct Extent {
    #[serde(rename = "Offset", alias = "offset")]
    pub(super) offset: u64,
    #[serde(rename = "Size", alias = "size")]
    pub(super) size: u64,
}

/// The directory of a tar: names and places, in the order of writing.
#[derive(Default, PartialEq, Debug)]
pub(super) struct Directory(pub(super) Vec<(String, Extent)>);

impl Directory {
    /// Makes the content of the last entry, whose header begins at `position`.
    pub(super) fn encode(&self, position: u64, mtime: i64) -> Vec<u8> {
        let mut content = vec![b'{'];
        for (index, (name, extent)) in self.0.iter().enumerate() {
            if index > 0 {
                content.push(b',');
            }
            content.extend(serde_json::Value::from(name.as_str()).to_string().bytes());
            let Extent { offset, size } = extent;
            let place =
                format!(":{{\"Offset\":{offset},\"Size\":{size},\"LastWriteTime\":{mtime}}}");
            content.extend(place.bytes());
        }
        content.push(b'}');
        let zeros = padding(content.len() as u64 + DIRECTORY_END);
        content.resize(content.len() + zeros as usize, 0);
        content.extend(position.to_le_bytes());
        content.extend(DIRECTORY_MAGIC);
        content
    }

    /// Finds and parses the directory at the end of `tar`; `None` if there is none or it is damaged.
    pub(super) fn read(tar: &dyn ReadAt) -> io::Result<Option<Self>> {
        let len = tar.len()?;
        let Some(end_at) = len.checked_sub(DIRECTORY_END) else {
            return Ok(None);
        };
        let end = fetch(tar, end_at, DIRECTORY_END)?;
        let position = u64_at(&end, 0).filter(|position| {
            end.ends_with(&DIRECTORY_MAGIC)
                && *position < end_at
                && end_at - position <= MAX_DIRECTORY
        });
        let Some(position) = position else {
            return Ok(None);
        };
        let entry = fetch(tar, position, end_at - position)?;
        Ok(Self::parse(&entry, position))
    }

    /// Parses the last entry, without what ends it, which begins at `position`.
    fn parse(entry: &[u8], position: u64) -> Option<Self> {
        let header = Header::parse(entry)?;
        let content = entry.get(BLOCK as usize..)?;
        if header.name != DIRECTORY_NAME || header.size != content.len() as u64 + DIRECTORY_END {
            return None;
        }
        let json = content.split(|byte| *byte == 0).next()?;
        let directory: Directory = serde_json::from_slice(json).ok()?;
        let inside = |extent: &Extent| {
            extent
                .offset
                .checked_add(extent.size)
                .is_some_and(|end| end <= position)
        };
        directory
            .0
            .iter()
            .all(|(_, extent)| inside(extent))
            .then_some(directory)
    }
}

impl<'de> Deserialize<'de> for Directory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Directory;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of entries")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Directory, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Directory(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_as_written() {
        let header = encode_header("vol/a", 1234, 1_795_301_765).unwrap();
        let parsed = Header::parse(&header).unwrap();
        assert_eq!(
            (parsed.name.as_str(), parsed.size, parsed.is_file),
            ("vol/a", 1234, true)
        );
        // All but the space that ends the checksum, which is not looked at.
        for at in (0..300).filter(|at| *at != 155) {
            let mut damaged = header;
            damaged[at] ^= 1;
            assert!(Header::parse(&damaged).is_none(), "{at}");
        }
        assert!(Header::parse(&header[..511]).is_none());
        assert!(Header::parse(&[0; 512]).is_none());
        assert!(encode_header(&"a".repeat(100), 0, 0).is_none());
        assert!(encode_header("a", MAX_SIZE + 1, 0).is_none());
        assert!(encode_header("", 0, 0).is_none());
    }

    #[test]
    fn numbers() {
        assert_eq!(octal(b"0000644 "), Some(0o644));
        assert_eq!(octal(b"  644\0xx"), Some(0o644));
        assert_eq!(octal(b"\x80\0\0\0\0\0\0\x02\0\0\0\0"), Some(2 << 32));
        assert_eq!(octal(b"\x80\x01\0\0\0\0\0\x02\0\0\0\0"), None);
        assert_eq!(octal(b"        "), None);
        assert_eq!(octal(b"0000648 "), None);
        assert_eq!(octal(&[b'7'; 40]), None);
    }

    #[test]
    fn the_directory_is_exactly_as_observed() {
        let directory = Directory(vec![
            (
                "manifest".into(),
                Extent {
                    offset: 512,
                    size: 145,
                },
            ),
            (
                "vol/\"x".into(),
                Extent {
                    offset: 1536,
                    size: 1364,
                },
            ),
        ]);
        let content = directory.encode(3072, 1_795_301_765);
        let json: &[u8] = br#"{"manifest":{"Offset":512,"Size":145,"LastWriteTime":1795301765},"vol/\"x":{"Offset":1536,"Size":1364,"LastWriteTime":1795301765}}"#;
        assert!(content.starts_with(json));
        assert_eq!(content.len(), 512);
        assert!(content.ends_with(b"\0\0\x0c\0\0\0\0\0\0EOFHD1"));
        let mut tar = vec![0; 3072];
        tar.extend(encode_header(DIRECTORY_NAME, 512, 0).unwrap());
        tar.extend(&content);
        assert_eq!(Directory::read(&tar).unwrap(), Some(directory));
        tar.pop();
        assert_eq!(Directory::read(&tar).unwrap(), None);
    }
}
