//! The `manifest` entry of every volume: the parameters it was made with (docs/format/manifest.md).

use crate::json::{BOM, Parser, SliceFeed, write_string};
use crate::{Error, HashAlgorithm, Result, VolumeTime};

/// The parameters of a volume as they stand in its manifest.
///
/// Fields that were absent are 0 or empty, as Duplicati reads them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The version of the format; at most [`Manifest::VERSION`].
    pub version: u32,
    /// When the volume was made, as [`VolumeTime`] text. Not checked by any reader.
    pub created: String,
    /// The encoding of text, always `utf8`.
    pub encoding: String,
    /// The size of full blocks in bytes.
    pub blocksize: u64,
    /// The algorithm of block hashes, upper case.
    pub block_hash: String,
    /// The algorithm of file and volume hashes, upper case.
    pub file_hash: String,
    /// The program that made the volume. Not checked by any reader.
    pub app_version: String,
}

impl Manifest {
    /// The newest version of the format, and the one written.
    pub const VERSION: u32 = 2;

    /// Makes the manifest of a new volume.
    pub fn new(
        created: VolumeTime,
        blocksize: u64,
        block: HashAlgorithm,
        file: HashAlgorithm,
        app_version: &str,
    ) -> Self {
        Self {
            version: Self::VERSION,
            created: created.to_string(),
            encoding: ENCODING.to_owned(),
            blocksize,
            block_hash: block.name().to_owned(),
            file_hash: file.name().to_owned(),
            app_version: app_version.to_owned(),
        }
    }

    /// Writes byte order mark and JSON with all fields, in the order that Duplicati writes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = BOM.to_vec();
        let mut member = |start: String, text: &str| {
            out.extend_from_slice(start.as_bytes());
            write_string(text.as_bytes(), &mut out);
        };
        member(
            format!("{{\"Version\":{},\"Created\":", self.version),
            &self.created,
        );
        member(",\"Encoding\":".to_owned(), &self.encoding);
        member(
            format!(",\"Blocksize\":{},\"BlockHash\":", self.blocksize),
            &self.block_hash,
        );
        member(",\"FileHash\":".to_owned(), &self.file_hash);
        member(",\"AppVersion\":".to_owned(), &self.app_version);
        out.push(b'}');
        out
    }

    /// Reads a manifest, in any order, with or without byte order mark; unknown fields are skipped.
    ///
    /// # Errors
    /// [`Error::Malformed`], or [`Error::Unsupported`] for a newer version of the format.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut manifest = Self {
            version: 0,
            created: String::new(),
            encoding: String::new(),
            blocksize: 0,
            block_hash: String::new(),
            file_hash: String::new(),
            app_version: String::new(),
        };
        let mut parser = Parser::new(SliceFeed::new(bytes), "manifest", MAX_STRING);
        parser.skip_bom()?;
        parser.expect(b'{')?;
        let (mut first, mut name, mut text) = (true, Vec::new(), Vec::new());
        while parser.next_member(&mut first, &mut name)? {
            // Duplicati's reader of this entry ignores the case of names.
            name.make_ascii_lowercase();
            let target = match name.as_slice() {
                _ if parser.peek_token()? == Some(b'n') => {
                    parser.skip_value()?;
                    continue;
                }
                b"version" => {
                    let version = parser.integer()?;
                    manifest.version =
                        u32::try_from(version).map_err(|_| parser.error("version out of range"))?;
                    continue;
                }
                b"blocksize" => {
                    let blocksize = parser.integer()?;
                    manifest.blocksize = u64::try_from(blocksize)
                        .map_err(|_| parser.error("blocksize out of range"))?;
                    continue;
                }
                b"created" => &mut manifest.created,
                b"encoding" => &mut manifest.encoding,
                b"blockhash" => &mut manifest.block_hash,
                b"filehash" => &mut manifest.file_hash,
                b"appversion" => &mut manifest.app_version,
                _ => {
                    parser.skip_value()?;
                    continue;
                }
            };
            parser.string(&mut text)?;
            *target = String::from_utf8_lossy(&text).into_owned();
        }
        parser.expect_end()?;
        if manifest.version > Self::VERSION {
            let version = manifest.version;
            return Err(Error::Unsupported(format!(
                "volume of format version {version}; a newer program made it"
            )));
        }
        Ok(manifest)
    }

    /// Checks that the volume belongs to a backup with these parameters.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for the first field that differs.
    pub fn check(&self, blocksize: u64, block: HashAlgorithm, file: HashAlgorithm) -> Result<()> {
        compare("manifest encoding", ENCODING, &self.encoding)?;
        compare(
            "manifest blocksize",
            &blocksize.to_string(),
            &self.blocksize.to_string(),
        )?;
        compare(
            "manifest block hash algorithm",
            block.name(),
            &self.block_hash,
        )?;
        compare("manifest file hash algorithm", file.name(), &self.file_hash)
    }
}

fn compare(field: &'static str, expected: &str, found: &str) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::Mismatch {
        field,
        expected: format!("`{expected}`"),
        found: format!("`{}`", found.escape_debug()),
    })
}

const ENCODING: &str = "utf8";
const MAX_STRING: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // docs/format/vectors.md
    const VECTOR: &str = "\u{feff}{\"Version\":2,\"Created\":\"20240101T000000Z\",\"Encoding\":\"utf8\",\
        \"Blocksize\":1024,\"BlockHash\":\"SHA256\",\"FileHash\":\"SHA256\",\"AppVersion\":\"2.3.0.109\"}";

    fn vector() -> Manifest {
        let sha = HashAlgorithm::Sha256;
        Manifest::new(VolumeTime(1_704_067_200), 1024, sha, sha, "2.3.0.109")
    }

    #[test]
    fn the_vector_is_written_and_read() {
        assert_eq!(String::from_utf8(vector().encode()).unwrap(), VECTOR);
        assert_eq!(Manifest::parse(VECTOR.as_bytes()).unwrap(), vector());
    }

    #[test]
    fn tolerant_reading() {
        let text = r#" { "AppVersion" : "x", "blocksize":1024, "Extra":{"a":[1,null]}, "FileHash":null } "#;
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (
                manifest.version,
                manifest.blocksize,
                manifest.app_version.as_str()
            ),
            (0, 1024, "x")
        );
        assert_eq!(manifest.file_hash, "");
    }

    #[test]
    fn wrong_manifests() {
        for text in [
            "",
            "{",
            "[]",
            "null",
            r#"{"Version":-1}"#,
            r#"{"Version":"2"}"#,
            r#"{"Blocksize":1.5}"#,
            "{}x",
        ] {
            assert!(
                matches!(
                    Manifest::parse(text.as_bytes()),
                    Err(Error::Malformed { .. })
                ),
                "{text}"
            );
        }
        assert!(matches!(
            Manifest::parse(br#"{"Version":3}"#),
            Err(Error::Unsupported(_))
        ));
    }

    #[test]
    fn checking() {
        let sha = HashAlgorithm::Sha256;
        vector().check(1024, sha, sha).unwrap();
        let error = vector().check(2048, sha, sha).unwrap_err();
        assert_eq!(
            error.to_string(),
            "manifest blocksize is `1024`, expected `2048`"
        );
        assert!(vector().check(1024, HashAlgorithm::Md5, sha).is_err());
        assert!(vector().check(1024, sha, HashAlgorithm::Md5).is_err());
        let mut lower = vector();
        lower.block_hash = "sha256".to_owned();
        assert!(lower.check(1024, sha, sha).is_err());
        let mut encoding = vector();
        encoding.encoding = "utf-8".to_owned();
        assert!(encoding.check(1024, sha, sha).is_err());
    }

    proptest! {
        #[test]
        fn round_trip(version in 0u32..=2, blocksize in 0..=i64::MAX, texts: [String; 5]) {
            let [created, encoding, block_hash, file_hash, app_version] = texts;
            let blocksize = u64::try_from(blocksize).unwrap();
            let manifest = Manifest { version, created, encoding, blocksize, block_hash, file_hash, app_version };
            prop_assert_eq!(Manifest::parse(&manifest.encode()).unwrap(), manifest);
        }

        #[test]
        fn damage_is_survived(at in 0..180usize, byte: u8, len in 0..180usize) {
            let mut bytes = VECTOR.as_bytes().to_vec();
            if let Some(target) = bytes.get_mut(at) {
                *target = byte;
            }
            bytes.truncate(len);
            let _ = Manifest::parse(&bytes);
        }
    }
}
