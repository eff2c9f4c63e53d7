//! The metadata blob of one entry: owner, permissions, times, extended attributes (docs/format/metadata.md).
//!
//! The blob is stored as a block like file content, and its hash covers every byte including the byte order mark.
//! The same facts must therefore always give the same bytes.

use crate::Result;
use crate::encoding::{append_base64, decode_base64};
use crate::json::{BOM, Parser, SliceFeed, write_string};

/// The facts in a metadata blob.
///
/// Values that are not of their usual form are kept as they stand in `other`, so that nothing is lost by reading and
/// writing again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metadata {
    /// Extended attributes, name and value, in the order of the system's listing (`unix-ext:<name>`).
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// User id, group id and permission bits (`unix:uid-gid-perm`).
    pub uid_gid_perm: Option<(u32, u32, u32)>,
    /// The name of the owner (`unix:owner-name`).
    pub owner: Option<Vec<u8>>,
    /// The name of the group (`unix:group-name`).
    pub group: Option<Vec<u8>>,
    /// .NET attribute names, for example `ReadOnly, Hidden` (`CoreAttributes`).
    pub attributes: Option<String>,
    /// Time of last change in .NET ticks (`CoreLastWritetime`).
    pub last_write_ticks: Option<i64>,
    /// Time of creation in .NET ticks (`CoreCreatetime`). Duplicati on Linux sets a restored file's modification time
    /// from this value (observed), so write the earlier of modification and change time, never a true birth time.
    pub create_ticks: Option<i64>,
    /// The target of a link, as read (`CoreSymlinkTarget`).
    pub symlink_target: Option<Vec<u8>>,
    /// The nanoseconds of the modification time below 100, which ticks cannot hold (`larder:mtime-ns`).
    pub mtime_ns: Option<u32>,
    /// Unknown keys and values, in order, for example `win-ext:…` and `macos:…`.
    pub other: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Metadata {
    /// Writes byte order mark and compact JSON, with the keys in Duplicati's order.
    ///
    /// Unknown keys stand before `CoreAttributes`, where the ones of other systems belong; those that begin with
    /// `larder:` stand last. Without any value the blob is five bytes: the mark and `{}`.
    pub fn encode(&self) -> Vec<u8> {
        let mut object = ObjectWriter::new();
        let mut value = Vec::new();
        for (name, content) in &self.xattrs {
            value.clear();
            append_base64(content, &mut value);
            object.add(&[XATTR, name.as_slice()].concat(), &value);
        }
        if let Some((uid, gid, perm)) = self.uid_gid_perm {
            object.add(UID_GID_PERM, format!("{uid}-{gid}-{perm}").as_bytes());
        }
        object.add_some(OWNER, self.owner.as_deref());
        object.add_some(GROUP, self.group.as_deref());
        let (ours, others): (Vec<_>, Vec<_>) = self
            .other
            .iter()
            .partition(|(key, _)| key.starts_with(OURS));
        for (key, content) in others {
            object.add(key, content);
        }
        object.add_some(ATTRIBUTES, self.attributes.as_deref().map(str::as_bytes));
        let decimal = |ticks: i64| ticks.to_string().into_bytes();
        object.add_some(LAST_WRITE, self.last_write_ticks.map(decimal).as_deref());
        object.add_some(CREATE, self.create_ticks.map(decimal).as_deref());
        object.add_some(SYMLINK_TARGET, self.symlink_target.as_deref());
        object.add_some(
            MTIME_NS,
            self.mtime_ns
                .map(|ns| ns.to_string().into_bytes())
                .as_deref(),
        );
        for (key, content) in ours {
            object.add(key, content);
        }
        object.finish()
    }

    /// Reads a blob, with or without byte order mark, in any order. Values that are not text are skipped.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) when it is no JSON object.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut metadata = Self::default();
        let mut parser = Parser::new(SliceFeed::new(bytes), "metadata", bytes.len());
        parser.skip_bom()?;
        parser.expect(b'{')?;
        let (mut first, mut key, mut value) = (true, Vec::new(), Vec::new());
        while parser.next_member(&mut first, &mut key)? {
            if parser.peek_token()? == Some(b'"') {
                parser.string(&mut value)?;
                metadata.take(&key, &value);
            } else {
                parser.skip_value()?;
            }
        }
        parser.expect_end()?;
        Ok(metadata)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) {
        if self.take_known(key, value).is_none() {
            self.other.push((key.to_vec(), value.to_vec()));
        }
    }

    /// Puts a value into its field; `None` when there is no field, or the value would not be written the same again.
    fn take_known(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            UID_GID_PERM => self.uid_gid_perm = Some(parse_ids(value)?),
            OWNER => self.owner = Some(value.to_vec()),
            GROUP => self.group = Some(value.to_vec()),
            ATTRIBUTES => self.attributes = Some(std::str::from_utf8(value).ok()?.to_owned()),
            LAST_WRITE => self.last_write_ticks = Some(parse_decimal(value)?),
            CREATE => self.create_ticks = Some(parse_decimal(value)?),
            SYMLINK_TARGET => self.symlink_target = Some(value.to_vec()),
            MTIME_NS => self.mtime_ns = Some(parse_decimal(value).filter(|ns| *ns < 100)?),
            _ => {
                let name = key.strip_prefix(XATTR)?;
                self.xattrs
                    .push((name.to_vec(), decode_base64(value).ok()?));
            }
        }
        Some(())
    }
}

/// Writes an object of texts.
struct ObjectWriter(Vec<u8>);

impl ObjectWriter {
    fn new() -> Self {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(&BOM);
        out.push(b'{');
        Self(out)
    }

    fn add(&mut self, key: &[u8], value: &[u8]) {
        if self.0.len() > BOM.len() + 1 {
            self.0.push(b',');
        }
        write_string(key, &mut self.0);
        self.0.push(b':');
        write_string(value, &mut self.0);
    }

    fn add_some(&mut self, key: &[u8], value: Option<&[u8]>) {
        if let Some(value) = value {
            self.add(key, value);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

/// Three decimal numbers with hyphens between.
fn parse_ids(value: &[u8]) -> Option<(u32, u32, u32)> {
    let mut parts = value.split(|byte| *byte == b'-').map(parse_decimal);
    let ids = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(ids)
}

/// A decimal number, only in the form in which it is written: no plus sign, no zeros in front.
fn parse_decimal<T: std::str::FromStr + ToString>(value: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(value).ok()?;
    let number: T = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

const XATTR: &[u8] = b"unix-ext:";
const UID_GID_PERM: &[u8] = b"unix:uid-gid-perm";
const OWNER: &[u8] = b"unix:owner-name";
const GROUP: &[u8] = b"unix:group-name";
const ATTRIBUTES: &[u8] = b"CoreAttributes";
const LAST_WRITE: &[u8] = b"CoreLastWritetime";
const CREATE: &[u8] = b"CoreCreatetime";
const SYMLINK_TARGET: &[u8] = b"CoreSymlinkTarget";
/// Duplicati ignores keys it does not know (observed with exactly this one).
const MTIME_NS: &[u8] = b"larder:mtime-ns";
const OURS: &[u8] = b"larder:";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HashAlgorithm;
    use proptest::prelude::*;

    fn root(perm: u32, attributes: &str) -> Metadata {
        Metadata {
            uid_gid_perm: Some((0, 0, perm)),
            owner: Some(b"root".to_vec()),
            group: Some(b"root".to_vec()),
            attributes: Some(attributes.to_owned()),
            last_write_ticks: Some(638_396_640_000_000_000),
            create_ticks: Some(638_396_640_000_000_000),
            ..Metadata::default()
        }
    }

    #[test]
    fn the_vectors() {
        // docs/format/vectors.md
        let sha = |blob: &[u8]| HashAlgorithm::Sha256.digest(blob).to_base64();
        let file = root(420, "Normal").encode();
        assert_eq!(file.len(), 189);
        assert_eq!(sha(&file), "ctF4kAbGmhNfpAp0LEcprJTk0aOa32GlwACdFHJbjX0=");
        let folder = root(493, "Directory").encode();
        assert_eq!(folder.len(), 192);
        assert_eq!(sha(&folder), "EO7bP+sCHnE6sdqxHZ6CJ/viPqqn/h70MN3ndaKlOkk=");
        let empty = Metadata::default().encode();
        assert_eq!(empty, b"\xef\xbb\xbf{}");
        assert_eq!(sha(&empty), "qiXpeARtaA74dA2Dfm3lvB4qLcYInb2hASVEtTjVP2U=");
        assert_eq!(Metadata::parse(&file).unwrap(), root(420, "Normal"));
    }

    #[test]
    fn order_of_keys() {
        let pair = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
        let metadata = Metadata {
            xattrs: vec![pair("user.b", "2"), pair("user.a", "1")],
            symlink_target: Some(b"a\xff".to_vec()),
            mtime_ns: Some(7),
            other: vec![pair("larder:x", "y"), pair("macos:flags", "0")],
            ..root(420, "Normal")
        };
        let text = "\u{feff}{\"unix-ext:user.b\":\"Mg==\",\"unix-ext:user.a\":\"MQ==\",\"unix:uid-gid-perm\":\"0-0-420\",\
            \"unix:owner-name\":\"root\",\"unix:group-name\":\"root\",\"macos:flags\":\"0\",\"CoreAttributes\":\"Normal\",\
            \"CoreLastWritetime\":\"638396640000000000\",\"CoreCreatetime\":\"638396640000000000\",\
            \"CoreSymlinkTarget\":\"a\\udcff\",\"larder:mtime-ns\":\"7\",\"larder:x\":\"y\"}";
        assert_eq!(String::from_utf8(metadata.encode()).unwrap(), text);
        let read = Metadata::parse(text.as_bytes()).unwrap();
        assert_eq!(read.encode(), metadata.encode());
    }

    #[test]
    fn odd_values_are_kept() {
        let text = br#"{"unix:uid-gid-perm":"-2-0-420","CoreCreatetime":"007","larder:mtime-ns":"100","unix-ext:a":"?",
            "n":null,"o":{"x":[1]},"w":"1"}"#;
        let metadata = Metadata::parse(text).unwrap();
        assert_eq!(metadata.other.len(), 5);
        assert_eq!(
            Metadata {
                other: vec![],
                ..metadata.clone()
            },
            Metadata::default()
        );
        assert_eq!(
            Metadata::parse(&metadata.encode()).unwrap().encode(),
            metadata.encode()
        );
    }

    #[test]
    fn wrong_blobs() {
        for text in [
            "",
            "[]",
            "{",
            r#"{"a":"b""#,
            r#"{"a":"b"}x"#,
            r#"{"a" "b"}"#,
        ] {
            assert!(Metadata::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    prop_compose! {
        fn any_metadata()(
            xattrs: Vec<(Vec<u8>, Vec<u8>)>,
            uid_gid_perm: Option<(u32, u32, u32)>,
            owner: Option<Vec<u8>>,
            group: Option<Vec<u8>>,
            attributes: Option<String>,
            last_write_ticks: Option<i64>,
            create_ticks: Option<i64>,
            symlink_target: Option<Vec<u8>>,
            mtime_ns in proptest::option::of(0..100u32),
            other in proptest::collection::vec(("(win|macos):[a-z]", any::<Vec<u8>>()), 0..3),
        ) -> Metadata {
            let other = other.into_iter().map(|(key, value)| (key.into_bytes(), value)).collect();
            Metadata {
                xattrs, uid_gid_perm, owner, group, attributes, last_write_ticks, create_ticks, symlink_target,
                mtime_ns, other,
            }
        }
    }

    proptest! {
        #[test]
        fn round_trip(metadata in any_metadata()) {
            prop_assert_eq!(Metadata::parse(&metadata.encode()).unwrap(), metadata);
        }

        #[test]
        fn what_was_read_is_written_stably(text in "\\{(\"[a-zA-Z:-]{0,4}\":\"[0-9-]{0,4}\",?){0,4}\\}") {
            if let Ok(metadata) = Metadata::parse(text.as_bytes()) {
                let once = metadata.encode();
                prop_assert_eq!(Metadata::parse(&once).unwrap().encode(), once);
            }
        }

        #[test]
        fn damage_is_survived(at in 0..200usize, byte: u8, len in 0..200usize) {
            let mut bytes = root(420, "Normal").encode();
            if let Some(target) = bytes.get_mut(at) {
                *target = byte;
            }
            bytes.truncate(len);
            let _ = Metadata::parse(&bytes);
        }
    }
}
