//! Hash algorithms and hash values of blocks, files and volumes (docs/format/hashes.md).

use std::fmt;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::encoding::{
    append_base64, decode_base64_into, decode_url_base64_into, encode_base64, encode_url_base64,
};
use crate::sha256::{Sha256Stream, update_two};
use crate::{Error, Result};

/// A hash algorithm that a backup may be made with; the same list for blocks and for files.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Ord, PartialOrd, Debug)]
pub enum HashAlgorithm {
    /// MD5, 16 bytes.
    Md5,
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes; the default.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl HashAlgorithm {
    /// Every algorithm, shortest hash first.
    pub const ALL: [HashAlgorithm; 5] = [
        Self::Md5,
        Self::Sha1,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
    ];

    /// Finds the algorithm by its name, ignoring case.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for any other name.
    pub fn parse(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| Error::Unsupported(format!("hash algorithm `{text}`")))
    }

    /// The name in manifests, upper case: Duplicati compares it exactly.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
        }
    }

    /// The length of a hash in bytes.
    #[expect(clippy::len_without_is_empty, reason = "no hash is empty")]
    pub fn len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Hashes one buffer.
    pub fn digest(self, bytes: &[u8]) -> Hash {
        match self {
            Self::Md5 => Hash::filled(&Md5::digest(bytes)),
            Self::Sha1 => Hash::filled(&Sha1::digest(bytes)),
            Self::Sha256 => Hash::filled(&Sha256::digest(bytes)),
            Self::Sha384 => Hash::filled(&Sha384::digest(bytes)),
            Self::Sha512 => Hash::filled(&Sha512::digest(bytes)),
        }
    }

    /// Hashes one buffer and adds the same bytes to a stream: one pass and three quarters of the time, where both are
    /// SHA-256.
    pub fn digest_in_step(self, bytes: &[u8], stream: &mut Hasher) -> Hash {
        let mut own = self.hasher();
        own.update_in_step(stream, bytes);
        own.finish()
    }

    /// Starts hashing a stream.
    pub fn hasher(self) -> Hasher {
        Hasher(match self {
            Self::Md5 => State::Md5(Md5::new()),
            Self::Sha1 => State::Sha1(Sha1::new()),
            Self::Sha256 => State::Sha256(Sha256Stream::new()),
            Self::Sha384 => State::Sha384(Sha384::new()),
            Self::Sha512 => State::Sha512(Sha512::new()),
        })
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The hash of a stream in the making.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256Stream),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    /// Adds the next bytes of the stream.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Md5(state) => state.update(bytes),
            State::Sha1(state) => state.update(bytes),
            State::Sha256(state) => state.update(bytes),
            State::Sha384(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// Adds the same bytes to two streams, in one pass where both are SHA-256.
    pub fn update_in_step(&mut self, other: &mut Hasher, bytes: &[u8]) {
        if let (State::Sha256(a), State::Sha256(b)) = (&mut self.0, &mut other.0) {
            update_two(a, bytes, b, bytes);
        } else {
            self.update(bytes);
            other.update(bytes);
        }
    }

    /// Answers the hash of everything added.
    pub fn finish(self) -> Hash {
        match self.0 {
            State::Md5(state) => Hash::filled(&state.finalize()),
            State::Sha1(state) => Hash::filled(&state.finalize()),
            State::Sha256(state) => Hash::fixed(&state.finish()),
            State::Sha384(state) => Hash::filled(&state.finalize()),
            State::Sha512(state) => Hash::filled(&state.finalize()),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

/// A hash value of 16, 20, 32, 48 or 64 bytes, kept inline.
///
/// `Debug` and `Display` show the plain base64 text. Values of different length are different.
#[derive(Copy, Clone, PartialEq, Eq, Ord, PartialOrd)]
pub struct Hash {
    // Bytes behind `len` are zero, so that the derived comparisons are right.
    bytes: [u8; MAX_LEN],
    len: u8,
}

impl Hash {
    /// Takes the raw bytes of a hash.
    ///
    /// # Errors
    /// [`Error::Malformed`] unless the length is that of one of the algorithms.
    pub fn from_bytes(bytes: &[u8]) -> Result<Hash> {
        match bytes.len() {
            32 => Ok(bytes
                .first_chunk()
                .map_or_else(|| Self::filled(bytes), Self::fixed)),
            16 | 20 | 48 | 64 => Ok(Self::filled(bytes)),
            other => Err(Error::malformed(
                "hash",
                format!("{other} bytes is no hash length"),
            )),
        }
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The text used in JSON values and for volume hashes.
    pub fn to_base64(&self) -> String {
        encode_base64(self.as_bytes())
    }

    /// The text used in archive entry names.
    pub fn to_url_base64(&self) -> String {
        encode_url_base64(self.as_bytes())
    }

    /// Parses the text used in JSON values.
    ///
    /// # Errors
    /// [`Error::Malformed`] for other text or a length that no algorithm has.
    pub fn parse_base64(text: &str) -> Result<Hash> {
        Self::from_base64(text.as_bytes()).ok_or_else(|| not_a_hash(text))
    }

    /// Parses the text used in archive entry names.
    ///
    /// # Errors
    /// As [`Hash::parse_base64`].
    pub fn parse_url_base64(text: &str) -> Result<Hash> {
        Self::decoded(text.as_bytes(), decode_url_base64_into).ok_or_else(|| not_a_hash(text))
    }

    /// As [`Hash::parse_base64`], for text not known to be UTF-8.
    pub(crate) fn from_base64(text: &[u8]) -> Option<Hash> {
        Self::decoded(text, decode_base64_into)
    }

    /// Appends the plain base64 text.
    pub(crate) fn append_base64(&self, out: &mut Vec<u8>) {
        append_base64(self.as_bytes(), out);
    }

    fn decoded(text: &[u8], decode: impl Fn(&[u8], &mut [u8]) -> Option<usize>) -> Option<Hash> {
        // Two bytes longer than needed: the decoder wants room for full groups.
        let mut buffer = [0u8; MAX_LEN + 2];
        match decode(text, &mut buffer)? {
            32 => Some(Self::fixed(buffer.first_chunk::<32>()?)),
            len => Self::from_bytes(buffer.get(..len)?).ok(),
        }
    }

    /// The common length, without a loop.
    fn fixed(source: &[u8; 32]) -> Hash {
        let mut hash = Hash {
            bytes: [0; MAX_LEN],
            len: 32,
        };
        if let Some(start) = hash.bytes.first_chunk_mut() {
            *start = *source;
        }
        hash
    }

    fn filled(source: &[u8]) -> Hash {
        let mut hash = Hash {
            bytes: [0; MAX_LEN],
            len: 0,
        };
        for (to, from) in hash.bytes.iter_mut().zip(source) {
            *to = *from;
            hash.len += 1;
        }
        hash
    }
}

impl std::hash::Hash for Hash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn not_a_hash(text: &str) -> Error {
    let shown: String = text.chars().take(100).collect();
    Error::malformed(
        "hash",
        format!("`{shown}` is not the base64 text of a hash"),
    )
}

const MAX_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::timed;

    #[test]
    fn known_hashes() {
        // docs/format/vectors.md
        assert_eq!(
            HashAlgorithm::Sha256.digest(b"").to_base64(),
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        );
        assert_eq!(
            HashAlgorithm::Sha256.digest(b"abc").to_base64(),
            "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
        );
        let md5 = HashAlgorithm::Md5.digest(b"abc");
        assert_eq!(md5.to_base64(), "kAFQmDzST7DWlj99KOF/cg==");
        assert_eq!(md5.to_url_base64(), "kAFQmDzST7DWlj99KOF_cg==");
    }

    #[test]
    fn text_lengths_by_algorithm() {
        for (algorithm, len) in HashAlgorithm::ALL.into_iter().zip([24, 28, 44, 64, 88]) {
            let hash = algorithm.digest(b"x");
            assert_eq!(hash.as_bytes().len(), algorithm.len());
            assert_eq!(hash.to_base64().len(), len);
            assert_eq!(Hash::parse_base64(&hash.to_base64()).unwrap(), hash);
            assert_eq!(Hash::parse_url_base64(&hash.to_url_base64()).unwrap(), hash);
            let mut hasher = algorithm.hasher();
            hasher.update(b"");
            hasher.update(b"x");
            assert_eq!(hasher.clone().finish(), hash);
            for other in HashAlgorithm::ALL {
                let mut stream = other.hasher();
                stream.update(b"y");
                assert_eq!(algorithm.digest_in_step(b"x", &mut stream), hash);
                assert_eq!(stream.finish(), other.digest(b"yx"));
            }
            assert_eq!(
                HashAlgorithm::parse(&algorithm.name().to_lowercase()).unwrap(),
                algorithm
            );
        }
        assert!(HashAlgorithm::parse("SHA3").is_err());
    }

    #[test]
    fn wrong_texts_and_lengths_are_refused() {
        for text in [
            "",
            "abc",
            "AAAA",
            "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0",
            "????",
        ] {
            assert!(Hash::parse_base64(text).is_err(), "{text}");
        }
        assert!(Hash::parse_base64(&"A".repeat(4000)).is_err());
        assert!(Hash::from_bytes(&[0; 31]).is_err());
        assert!(Hash::from_bytes(&[0; 65]).is_err());
    }

    #[test]
    fn length_distinguishes() {
        assert_ne!(
            Hash::from_bytes(&[0; 16]).unwrap(),
            Hash::from_bytes(&[0; 20]).unwrap()
        );
    }

    /// `cargo test --release -p larder-volume -- --ignored --nocapture hashing_in_step`
    #[test]
    #[ignore = "measures"]
    fn hashing_in_step() {
        let data = vec![7; 1 << 20];
        let (sha, rounds) = (HashAlgorithm::Sha256, 0..500);
        for _ in 0..2 {
            timed("block and stream, one after the other", || {
                let mut stream = sha.hasher();
                for _ in rounds.clone() {
                    stream.update(&data);
                    std::hint::black_box(sha.digest(&data));
                }
                rounds.len() * data.len()
            });
            timed("block and stream, in step", || {
                let mut stream = sha.hasher();
                for _ in rounds.clone() {
                    std::hint::black_box(sha.digest_in_step(&data, &mut stream));
                }
                rounds.len() * data.len()
            });
        }
    }
}
