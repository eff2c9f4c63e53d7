//! Names of remote files (docs/format/names.md).

use std::fmt;
use std::fmt::Write as _;
use std::ops::Range;

use crate::{Compression, EncryptionKind, Error, Result, VolumeKind, VolumeTime};

/// The name of a volume, taken apart.
///
/// Two names are equal when their text is.
#[derive(Clone)]
pub struct VolumeName {
    text: String,
    kind: VolumeKind,
    time: Option<VolumeTime>,
    prefix: Range<usize>,
    id: Range<usize>,
    compression: Range<usize>,
    encryption: Option<Range<usize>>,
}

impl VolumeName {
    /// Takes a remote name apart; `None` when it is not that of a volume.
    ///
    /// Parity companions (`….par2`) are not volumes: see [`parity_owner`]. The letter before the id is not compared
    /// with the kind, as Duplicati does not. A list without a time is not accepted: it would be no version.
    /// With `case_insensitive`, the kind and the designators of the time may be in any case.
    pub fn parse(name: &str, case_insensitive: bool) -> Option<VolumeName> {
        if parity_owner(name).is_some() {
            return None;
        }
        let mut cut = Cutter { text: name, at: 0 };
        let prefix = cut.until('-')?;
        let id = cut.until('.')?;
        let kind = cut.until('.')?;
        let (compression, encryption) = match cut.until('.') {
            Some(compression) => (compression, Some(cut.rest())),
            None => (cut.rest(), None),
        };
        if prefix.is_empty()
            || compression.is_empty()
            || encryption.as_ref().is_some_and(Range::is_empty)
        {
            return None;
        }
        let kind = VolumeKind::parse(name.get(kind)?, case_insensitive)?;
        let time = match parse_id(name.get(id.clone())?, case_insensitive)? {
            Id::Guid if kind == VolumeKind::List => return None,
            Id::Guid => None,
            Id::Time(time) => Some(time),
        };
        Some(VolumeName {
            text: name.to_owned(),
            kind,
            time,
            prefix,
            id,
            compression,
            encryption,
        })
    }

    /// Makes the name of a new block volume. The id must be random: a name is never used twice.
    ///
    /// The prefix must satisfy [`check_prefix`].
    pub fn blocks(
        prefix: &str,
        id: [u8; 16],
        compression: Compression,
        encryption: Option<EncryptionKind>,
    ) -> VolumeName {
        Self::build(
            prefix,
            &guid('b', id),
            VolumeKind::Blocks,
            None,
            compression,
            encryption,
        )
    }

    /// Makes the name of a new index volume, as [`VolumeName::blocks`].
    pub fn index(
        prefix: &str,
        id: [u8; 16],
        compression: Compression,
        encryption: Option<EncryptionKind>,
    ) -> VolumeName {
        Self::build(
            prefix,
            &guid('i', id),
            VolumeKind::Index,
            None,
            compression,
            encryption,
        )
    }

    /// Makes the name of a new list volume. The time is that of the version.
    pub fn list(
        prefix: &str,
        time: VolumeTime,
        compression: Compression,
        encryption: Option<EncryptionKind>,
    ) -> VolumeName {
        Self::build(
            prefix,
            &time.to_string(),
            VolumeKind::List,
            Some(time),
            compression,
            encryption,
        )
    }

    /// What the volume holds.
    pub fn kind(&self) -> VolumeKind {
        self.kind
    }

    /// The part that tells backups in one folder apart.
    pub fn prefix(&self) -> &str {
        self.part(&self.prefix)
    }

    /// The part between prefix and kind: a letter and hexadecimal digits, or a time.
    pub fn id(&self) -> &str {
        self.part(&self.id)
    }

    /// The time of the version; always present on lists.
    pub fn time(&self) -> Option<VolumeTime> {
        self.time
    }

    /// The container, `None` when it is one that this program does not know (for example `7z`).
    pub fn compression(&self) -> Option<Compression> {
        Compression::parse(self.compression_text()).ok()
    }

    /// The extension that names the container.
    pub fn compression_text(&self) -> &str {
        self.part(&self.compression)
    }

    /// Everything behind the container's extension: the encryption's extension, `None` when not encrypted.
    pub fn encryption(&self) -> Option<&str> {
        self.encryption.as_ref().map(|range| self.part(range))
    }

    /// The full remote name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn part(&self, range: &Range<usize>) -> &str {
        self.text.get(range.clone()).unwrap_or_default()
    }

    fn build(
        prefix: &str,
        id: &str,
        kind: VolumeKind,
        time: Option<VolumeTime>,
        compression: Compression,
        encryption: Option<EncryptionKind>,
    ) -> VolumeName {
        let mut text = String::with_capacity(96);
        let mut add = |part: &str, end: &str| {
            let range = text.len()..text.len() + part.len();
            text.push_str(part);
            text.push_str(end);
            range
        };
        let prefix = add(prefix, "-");
        let id = add(id, ".");
        add(kind.key(), ".");
        let (compression, encryption) = match encryption {
            Some(encryption) => (add(compression.key(), "."), Some(add(encryption.key(), ""))),
            None => (add(compression.key(), ""), None),
        };
        VolumeName {
            text,
            kind,
            time,
            prefix,
            id,
            compression,
            encryption,
        }
    }
}

impl PartialEq for VolumeName {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for VolumeName {}

impl PartialOrd for VolumeName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for VolumeName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl std::hash::Hash for VolumeName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VolumeName({:?})", self.text)
    }
}

/// The file that a parity companion belongs to: `x.par2` gives `x`, anything else `None`.
///
/// Must be asked before a name is taken for a volume (docs/format/names.md, parity): the suffix would pass for an
/// encryption otherwise.
pub fn parity_owner(name: &str) -> Option<&str> {
    let (owner, suffix) = name.rsplit_once('.')?;
    (!owner.is_empty() && suffix.eq_ignore_ascii_case(PARITY_KEY)).then_some(owner)
}

/// Checks a prefix given by the user.
///
/// # Errors
/// [`Error::Malformed`] when it is empty or holds a hyphen, a path separator or a control character.
pub fn check_prefix(prefix: &str) -> Result<()> {
    let problem = if prefix.is_empty() {
        "must not be empty"
    } else if prefix.contains('-') {
        "must not contain a hyphen"
    } else if prefix.contains(|c: char| c == '/' || c == '\\' || c.is_control()) {
        "must not contain a path separator or control character"
    } else {
        return Ok(());
    };
    Err(Error::malformed(
        "prefix",
        format!("`{}` {problem}", prefix.escape_debug()),
    ))
}

/// Walks over a name and cuts parts off.
struct Cutter<'a> {
    text: &'a str,
    at: usize,
}

impl Cutter<'_> {
    /// The range up to the next separator, which is skipped.
    fn until(&mut self, separator: char) -> Option<Range<usize>> {
        let len = self.text.get(self.at..)?.find(separator)?;
        let range = self.at..self.at + len;
        self.at = range.end + separator.len_utf8();
        Some(range)
    }

    /// The range up to the end.
    fn rest(&self) -> Range<usize> {
        self.at..self.text.len()
    }
}

enum Id {
    Guid,
    Time(VolumeTime),
}

fn parse_id(text: &str, case_insensitive: bool) -> Option<Id> {
    if let Some(hex) = text.strip_prefix(['b', 'B', 'i', 'I']) {
        let valid = !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        return valid.then_some(Id::Guid);
    }
    let time = if case_insensitive {
        VolumeTime::from_text(text.to_ascii_uppercase().as_bytes())
    } else {
        VolumeTime::from_text(text.as_bytes())
    };
    time.map(Id::Time)
}

fn guid(letter: char, id: [u8; 16]) -> String {
    let mut text = String::with_capacity(33);
    text.push(letter);
    for byte in id {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

const PARITY_KEY: &str = "par2";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: [u8; 16] = [
        0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd,
        0xef,
    ];

    #[test]
    fn written_names() {
        let blocks =
            VolumeName::blocks("duplicati", ID, Compression::Zip, Some(EncryptionKind::Aes));
        assert_eq!(
            blocks.as_str(),
            "duplicati-b0123456789abcdef0123456789abcdef.dblock.zip.aes"
        );
        let index = VolumeName::index("duplicati", ID, Compression::TarZstd, None);
        assert_eq!(
            index.as_str(),
            "duplicati-i0123456789abcdef0123456789abcdef.dindex.tzstd"
        );
        let list = VolumeName::list(
            "x",
            VolumeTime(1_704_067_200),
            Compression::TarGzip,
            Some(EncryptionKind::Gpg),
        );
        assert_eq!(list.as_str(), "x-20240101T000000Z.dlist.tgz.gpg");
        for name in [blocks, index, list] {
            let read = VolumeName::parse(name.as_str(), false).unwrap();
            assert_eq!(read, name);
            assert_eq!(read.kind(), name.kind());
            assert_eq!(read.prefix(), name.prefix());
            assert_eq!(read.id(), name.id());
            assert_eq!(read.time(), name.time());
            assert_eq!(read.compression(), name.compression());
            assert_eq!(read.encryption(), name.encryption());
        }
    }

    #[test]
    fn read_names() {
        let name = VolumeName::parse("duplicati-20240101T000000Z.dlist.zip.aes", false).unwrap();
        assert_eq!(name.kind(), VolumeKind::List);
        assert_eq!(name.prefix(), "duplicati");
        assert_eq!(name.time(), Some(VolumeTime(1_704_067_200)));
        assert_eq!(name.compression(), Some(Compression::Zip));
        assert_eq!(name.encryption(), Some("aes"));

        let odd = VolumeName::parse("a.b c-IFF.dblock.7z.x.y", false).unwrap();
        assert_eq!(
            (odd.kind(), odd.prefix(), odd.id()),
            (VolumeKind::Blocks, "a.b c", "IFF")
        );
        assert_eq!(
            (odd.compression(), odd.compression_text(), odd.encryption()),
            (None, "7z", Some("x.y"))
        );

        assert!(VolumeName::parse("d-20240101t000000z.DLIST.zip", false).is_none());
        let loose = VolumeName::parse("d-20240101t000000z.DLIST.zip", true).unwrap();
        assert_eq!(
            (loose.kind(), loose.time()),
            (VolumeKind::List, Some(VolumeTime(1_704_067_200)))
        );
    }

    #[test]
    fn other_names() {
        for name in [
            "",
            "duplicati-verification.json",
            "-b00.dblock.zip",
            "duplicati-b.dblock.zip",
            "duplicati-bxyz.dblock.zip",
            "duplicati-c00.dblock.zip",
            "duplicati-b00.dblock",
            "duplicati-b00.dblock.",
            "duplicati-b00.dblock.zip.",
            "duplicati-b00.dblocks.zip",
            "duplicati-b00-dblock.zip",
            "duplicati-x-b00.dblock.zip",
            "duplicati-b00.dlist.zip",
            "duplicati-20241301T000000Z.dlist.zip",
            "duplicati-20240101T000000.dlist.zip",
            "duplicati-b0123456789abcdef0123456789abcdef.dblock.zip.aes.par2",
            "duplicati-b00.dblock.zip.PAR2",
            "soft.duplicati-b00.dblock/zip",
        ] {
            assert!(VolumeName::parse(name, false).is_none(), "{name}");
            assert!(VolumeName::parse(name, true).is_none(), "{name}");
        }
    }

    #[test]
    fn parity() {
        assert_eq!(parity_owner("a.zip.par2"), Some("a.zip"));
        assert_eq!(parity_owner("a.zip"), None);
        assert_eq!(parity_owner(".par2"), None);
    }

    #[test]
    fn prefixes() {
        assert!(check_prefix("duplicati").is_ok());
        for bad in ["", "a-b", "a/b", "a\\b", "a\n"] {
            assert!(check_prefix(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged(name in "\\PC*", loose: bool) {
            let _ = VolumeName::parse(&name, loose);
        }

        #[test]
        fn parts_put_together_are_the_name(
            name in "[a-zé.]{0,5}-[bi]?[0-9a-fA-FTZ]{0,18}.(dblock|dindex|dlist|DBLOCK).[a-z]{0,3}(.[a-z.]{0,5})?"
        ) {
            if let Some(read) = VolumeName::parse(&name, true) {
                let start = format!("{}-{}.", read.prefix(), read.id());
                let mut end = format!(".{}", read.compression_text());
                if let Some(encryption) = read.encryption() {
                    end += &format!(".{encryption}");
                }
                prop_assert!(name.starts_with(&start) && name.ends_with(&end));
                prop_assert_eq!(name.len(), start.len() + read.kind().key().len() + end.len());
            }
        }
    }
}
