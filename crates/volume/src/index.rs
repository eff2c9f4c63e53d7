//! The `vol/` entries of an index volume: which blocks a block volume holds (docs/format/dindex.md).

use std::io::{self, Read, Write};

use crate::json::{Feed, Parser, ReadFeed, SliceFeed, write_string};
use crate::{BlockTable, Error, Hash, Result};

/// What an index volume says of one block volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockVolume {
    /// The full remote name of the block volume. It is the name of the entry, not part of the JSON.
    pub name: String,
    /// Hash and size of every block in the volume, in any order.
    pub blocks: BlockTable,
    /// The hash of the remote file with the file hash algorithm; `None` when unknown.
    pub hash: Option<Hash>,
    /// The size of the remote file in bytes; `None` when unknown.
    pub size: Option<u64>,
}

/// Writes the JSON, without byte order mark. The order of properties is part of the format: Duplicati reads forward.
pub fn encode_block_volume(volume: &BlockVolume) -> Vec<u8> {
    // 44 characters of hash, up to 10 of size, and what is around them.
    let mut out = Vec::with_capacity(64 + volume.blocks.len() * 76);
    // Memory takes everything.
    let _ = write_block_volume(volume, &mut out);
    out
}

/// As [`encode_block_volume`], piece by piece.
///
/// # Errors
/// Those of the writer.
pub(crate) fn write_block_volume(volume: &BlockVolume, to: &mut dyn Write) -> io::Result<()> {
    let mut out = Vec::with_capacity(PIECE + 256);
    out.extend_from_slice(b"{\"blocks\":[");
    for (index, (hash, size)) in volume.blocks.iter().enumerate() {
        out.extend_from_slice(if index == 0 {
            b"{\"hash\":\""
        } else {
            b",{\"hash\":\""
        });
        hash.append_base64(&mut out);
        out.extend_from_slice(b"\",\"size\":");
        out.extend_from_slice(size.to_string().as_bytes());
        out.push(b'}');
        if out.len() >= PIECE {
            to.write_all(&out)?;
            out.clear();
        }
    }
    out.push(b']');
    if let Some(hash) = &volume.hash {
        out.extend_from_slice(b",\"volumehash\":");
        write_string(hash.to_base64().as_bytes(), &mut out);
    }
    if let Some(size) = volume.size {
        out.extend_from_slice(b",\"volumesize\":");
        out.extend_from_slice(size.to_string().as_bytes());
    }
    out.push(b'}');
    to.write_all(&out)
}

/// Reads the JSON, in any order of properties; unknown ones are skipped. The name is that of the entry behind `vol/`.
///
/// # Errors
/// [`Error::Malformed`](crate::Error::Malformed).
pub fn parse_block_volume(name: &str, bytes: &[u8]) -> Result<BlockVolume> {
    let feed = SliceFeed::new(bytes);
    read_json(name, feed, u64::MAX)
}

/// As [`parse_block_volume`], from a reader and with a bound on the number of blocks.
///
/// # Errors
/// [`Error::TooLarge`] for more than `most` blocks, [`Error::Malformed`], and errors of the reader.
pub(crate) fn read_block_volume(name: &str, reader: impl Read, most: u64) -> Result<BlockVolume> {
    read_json(name, ReadFeed::new(reader), most)
}

fn read_json<F: Feed>(name: &str, feed: F, most: u64) -> Result<BlockVolume> {
    let mut volume = BlockVolume {
        name: name.to_owned(),
        blocks: BlockTable::new(),
        hash: None,
        size: None,
    };
    let mut parser = Parser::new(feed, "index of a block volume", MAX_STRING);
    let (mut first, mut key, mut text) = (true, Vec::new(), Vec::new());
    let mut has_blocks = false;
    parser.skip_bom()?;
    parser.expect(b'{')?;
    while parser.next_member(&mut first, &mut key)? {
        match key.as_slice() {
            b"blocks" => {
                has_blocks = true;
                parse_blocks(&mut parser, &mut volume.blocks, most, &mut key, &mut text)?;
            }
            b"volumehash" if parser.peek_token()? == Some(b'"') => {
                volume.hash = Some(parse_hash(&mut parser, &mut text)?);
            }
            b"volumesize" if parser.peek_token()? != Some(b'n') => {
                // Duplicati's way of saying that it does not know is a negative number.
                volume.size = u64::try_from(parser.integer()?).ok();
            }
            _ => parser.skip_value()?,
        }
    }
    parser.expect_end()?;
    if !has_blocks {
        return Err(parser.error("no `blocks`"));
    }
    Ok(volume)
}

fn parse_blocks<F: Feed>(
    parser: &mut Parser<F>,
    blocks: &mut BlockTable,
    most: u64,
    key: &mut Vec<u8>,
    text: &mut Vec<u8>,
) -> Result<()> {
    parser.expect(b'[')?;
    let mut first = true;
    while parser.next_element(&mut first)? {
        parser.expect(b'{')?;
        let (mut first_member, mut hash, mut size) = (true, None, None);
        while parser.next_member(&mut first_member, key)? {
            match key.as_slice() {
                b"hash" => hash = Some(parse_hash(parser, text)?),
                b"size" => {
                    let value = parser.integer()?;
                    size = Some(u64::try_from(value).map_err(|_| parser.error("negative size"))?);
                }
                _ => parser.skip_value()?,
            }
        }
        let (Some(hash), Some(size)) = (hash, size) else {
            return Err(parser.error("block without hash or size"));
        };
        if blocks.len() as u64 >= most {
            return Err(Error::TooLarge {
                what: "number of blocks in an index",
                limit: most,
            });
        }
        blocks.push(&hash, size);
    }
    Ok(())
}

fn parse_hash<F: Feed>(parser: &mut Parser<F>, text: &mut Vec<u8>) -> Result<Hash> {
    parser.string(text)?;
    Hash::from_base64(text).ok_or_else(|| parser.error("wrong hash"))
}

const MAX_STRING: usize = 64 * 1024;
/// What is written at a time.
const PIECE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HashAlgorithm;
    use proptest::prelude::*;

    fn sample() -> BlockVolume {
        BlockVolume {
            name: "duplicati-b00.dblock.zip".to_owned(),
            blocks: BlockTable::from(vec![
                (HashAlgorithm::Sha256.digest(b"abc"), 3),
                (HashAlgorithm::Sha256.digest(b""), 1024),
            ]),
            hash: Some(HashAlgorithm::Md5.digest(b"abc")),
            size: Some(123_456),
        }
    }

    #[test]
    fn exact_text() {
        let text = "{\"blocks\":[{\"hash\":\"ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=\",\"size\":3},\
            {\"hash\":\"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\",\"size\":1024}],\
            \"volumehash\":\"kAFQmDzST7DWlj99KOF/cg==\",\"volumesize\":123456}";
        assert_eq!(
            String::from_utf8(encode_block_volume(&sample())).unwrap(),
            text
        );
        assert_eq!(
            parse_block_volume(&sample().name, text.as_bytes()).unwrap(),
            sample()
        );
        let empty = BlockVolume {
            name: "x".to_owned(),
            blocks: BlockTable::new(),
            hash: None,
            size: None,
        };
        assert_eq!(encode_block_volume(&empty), br#"{"blocks":[]}"#);
        assert_eq!(parse_block_volume("x", br#"{"blocks":[]}"#).unwrap(), empty);
    }

    #[test]
    fn tolerant_reading() {
        let text = r#" { "volumesize" : 7 , "x":{}, "volumehash":null,
            "blocks" : [ {"y":[], "size":3, "hash":"kAFQmDzST7DWlj99KOF\/cg==", "z":1} ] } "#;
        let volume = parse_block_volume("v", text.as_bytes()).unwrap();
        let blocks: Vec<_> = volume.blocks.iter().collect();
        assert_eq!(blocks, [(HashAlgorithm::Md5.digest(b"abc"), 3)]);
        assert_eq!((volume.hash, volume.size), (None, Some(7)));
        let text = br#"{"blocks":[],"volumehash":null,"volumesize":-1}"#;
        assert_eq!(parse_block_volume("v", text).unwrap().size, None);
    }

    #[test]
    fn wrong_texts() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"blocks":[]"#,
            r#"{"blocks":{}}"#,
            r#"{"blocks":[{}]}"#,
            r#"{"blocks":[{"hash":"AAAA","size":1}]}"#,
            r#"{"blocks":[{"hash":"kAFQmDzST7DWlj99KOF/cg==","size":-1}]}"#,
            r#"{"blocks":[{"hash":"kAFQmDzST7DWlj99KOF/cg=="}]}"#,
            r#"{"blocks":[]}}"#,
        ] {
            assert!(parse_block_volume("v", text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(blocks: Vec<(u64, u32)>, size: Option<u32>, has_hash: bool) {
            let digest = |seed: u64| HashAlgorithm::Sha256.digest(&seed.to_le_bytes());
            let volume = BlockVolume {
                name: "v".to_owned(),
                blocks: blocks.iter().map(|(seed, size)| (digest(*seed), u64::from(*size))).collect(),
                hash: has_hash.then(|| digest(1)),
                size: size.map(u64::from),
            };
            prop_assert_eq!(parse_block_volume("v", &encode_block_volume(&volume)).unwrap(), volume);
        }

        #[test]
        fn damage_is_survived(at in 0..250usize, byte: u8, len in 0..260usize) {
            let mut bytes = encode_block_volume(&sample());
            if let Some(target) = bytes.get_mut(at) {
                *target = byte;
            }
            bytes.truncate(len);
            let _ = parse_block_volume("v", &bytes);
        }
    }
}
