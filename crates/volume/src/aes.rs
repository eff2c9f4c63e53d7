//! AES Crypt streams, the default encryption of volumes (docs/format/encryption-aes.md).
//!
//! A header carries a random session key, encrypted with a key made from the passphrase; the data follow as AES-256 in
//! CBC mode under the session key, with an HMAC-SHA-256 over the encrypted bytes at the end. Version 2 is what
//! Duplicati writes; version 3 differs in key derivation and padding. Older versions lack the first HMAC and are not
//! read, as in Duplicati.
//!
//! Random bytes come from the caller. They must be fresh for each stream: the public IV is the salt of the key.

mod header;
mod key;
mod reader;
mod whole;
mod writer;

use std::fmt;

use cbc::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

pub use reader::AesReader;
pub use whole::{decrypt_in_place, decrypt_to_vec, encrypt_to_vec};
pub use writer::AesWriter;

use crate::{Error, Result};

/// The version of a stream.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum AesVersion {
    /// 8192 rounds of SHA-256; what every Duplicati reads and writes by default.
    V2,
    /// PBKDF2 with HMAC-SHA-512; read by Duplicati since 2.3.0.101. Costs two orders of magnitude more per stream.
    V3 {
        /// The number of rounds; [`AesVersion::DEFAULT_ITERATIONS`] is usual. Must not be 0.
        iterations: u32,
    },
}

impl AesVersion {
    /// The number of rounds that AES Crypt writes in version 3 (docs/format/encryption-aes.md).
    pub const DEFAULT_ITERATIONS: u32 = 300_000;
    /// The most rounds that are written or read: about a second of one core for each volume. More only keeps the
    /// reader busy; a hostile destination could ask for hours.
    pub const MAX_ITERATIONS: u32 = 1_000_000;

    /// Reads from the beginning of a stream how it was made. No passphrase is needed for that, and nothing of it is
    /// authenticated.
    ///
    /// # Errors
    /// As [`AesReader::open`], but for the passphrase.
    pub fn of_stream(mut stream: impl std::io::Read) -> Result<Self> {
        header::read_version(&mut stream, Self::MAX_ITERATIONS)
    }
}

/// The random bytes that a new stream needs. Wiped when dropped.
#[derive(Clone)]
pub struct AesSeed {
    /// The salt of the header key and the IV of the header; stored in the clear.
    pub public_iv: [u8; 16],
    /// The IV of the data.
    pub session_iv: [u8; 16],
    /// The key of the data.
    pub session_key: [u8; 32],
}

impl Drop for AesSeed {
    fn drop(&mut self) {
        self.session_iv.zeroize();
        self.session_key.zeroize();
    }
}

impl fmt::Debug for AesSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AesSeed(***)")
    }
}

/// What a new stream's header says in the clear.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AesHeader {
    /// The version of the stream.
    pub version: AesVersion,
    /// Extensions, identifier and value. No reader acts on them.
    pub extensions: Vec<(String, Vec<u8>)>,
}

impl AesHeader {
    /// The header that Duplicati writes: version 2 with four extensions, the last of them 127 bytes of free room.
    ///
    /// `app` is the whole text of `CREATED_BY` (Duplicati: `SharpAESCrypt v` and a version), `date` is `yyyy-MM-dd` and
    /// `time` is `hh-mm-ss` on a 12-hour clock, both UTC.
    pub fn standard(app: &str, date: &str, time: &str) -> Self {
        let text = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        Self {
            version: AesVersion::V2,
            extensions: vec![
                text("CREATED_BY", app),
                text("CREATED_DATE", date),
                text("CREATED_TIME", time),
                (String::new(), vec![0; 127]),
            ],
        }
    }

    /// Version 2 without extensions.
    pub fn minimal() -> Self {
        Self {
            version: AesVersion::V2,
            extensions: Vec::new(),
        }
    }
}

/// How streams are read.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct AesReadOptions {
    /// Accepts any bytes as padding: AES Crypt tools other than Duplicati's may have left others.
    pub ignore_padding: bool,
    /// The most rounds accepted in a version 3 header, against headers made to stall the reader.
    pub max_iterations: u32,
    /// For [`AesReader`]: gives out data that are not authentic, cut off or wrongly padded, as far as they can be
    /// decrypted; [`AesReader::damage`] tells it. Only for what is verified in another way, and for people who want
    /// what is left.
    pub keep_damaged: bool,
}

impl Default for AesReadOptions {
    fn default() -> Self {
        Self {
            ignore_padding: false,
            max_iterations: AesVersion::MAX_ITERATIONS,
            keep_damaged: false,
        }
    }
}

/// The key material of the data, once the header is read or made.
struct Session {
    iv: [u8; BLOCK],
    key: Zeroizing<[u8; 32]>,
}

impl Session {
    fn of(seed: &AesSeed) -> Self {
        Self {
            iv: seed.session_iv,
            key: Zeroizing::new(seed.session_key),
        }
    }

    fn encryptor(&self) -> Encryptor {
        Encryptor(cbc::Encryptor::new((&*self.key).into(), (&self.iv).into()))
    }

    fn decryptor(&self) -> Decryptor {
        Decryptor(cbc::Decryptor::new((&*self.key).into(), (&self.iv).into()))
    }

    fn mac(&self) -> Hmac<Sha256> {
        mac(self.key.as_slice())
    }
}

/// CBC encryption of whole blocks.
struct Encryptor(cbc::Encryptor<aes::Aes256>);

impl Encryptor {
    /// Encrypts in place; what is behind the last whole block stays as it is.
    fn apply(&mut self, bytes: &mut [u8]) {
        let (blocks, _) = bytes.as_chunks_mut::<BLOCK>();
        self.0
            .encrypt_blocks(Array::cast_slice_from_core_mut(blocks));
    }
}

/// CBC decryption of whole blocks, several at a time.
struct Decryptor(cbc::Decryptor<aes::Aes256>);

impl Decryptor {
    /// Decrypts in place; what is behind the last whole block stays as it is.
    fn apply(&mut self, bytes: &mut [u8]) {
        let (blocks, _) = bytes.as_chunks_mut::<BLOCK>();
        self.0
            .decrypt_blocks(Array::cast_slice_from_core_mut(blocks));
    }

    /// Decrypts from one buffer to another of the same length, a multiple of the block length.
    fn apply_to(&mut self, from: &[u8], to: &mut [u8]) -> Result<()> {
        let (from, _) = from.as_chunks::<BLOCK>();
        let (to, _) = to.as_chunks_mut::<BLOCK>();
        self.0
            .decrypt_blocks_b2b(
                Array::cast_slice_from_core(from),
                Array::cast_slice_from_core_mut(to),
            )
            .map_err(|_| Error::malformed(WHAT, "buffers of different length"))
    }
}

/// The padding of the last block of the data.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Padding {
    /// Version 2: a byte behind the data has the length modulo 16; nothing is added to whole blocks.
    LengthByte,
    /// Version 3: PKCS#7, 1 to 16 bytes.
    Pkcs7,
}

impl Padding {
    /// The bytes behind the encrypted data: length byte and HMAC.
    fn trailer_len(self) -> usize {
        match self {
            Self::LengthByte => 1 + MAC_LEN,
            Self::Pkcs7 => MAC_LEN,
        }
    }

    /// How many bytes to add to data of this length; each has this number as its value.
    fn len_for(self, data_len: usize) -> usize {
        match (self, data_len % BLOCK) {
            (Self::LengthByte, 0) => 0,
            (_, used) => BLOCK - used,
        }
    }

    /// How many bytes at the end of the decrypted data are padding. The data must be authentic.
    ///
    /// `length_byte` is the byte that version 2 has for it. It is not covered by the HMAC.
    fn len_of(self, data: &[u8], length_byte: u8, ignore_padding: bool) -> Result<usize> {
        let len = match self {
            Self::LengthByte => match usize::from(length_byte) {
                0 => 0,
                used @ 1..BLOCK if !data.is_empty() => BLOCK - used,
                _ => {
                    return Err(Error::Tampered(
                        "length of the last block of encrypted data".to_owned(),
                    ));
                }
            },
            Self::Pkcs7 => data.last().map_or(0, |byte| usize::from(*byte)),
        };
        let padding = data
            .len()
            .checked_sub(len)
            .and_then(|at| data.get(at..))
            .unwrap_or_default();
        let is_possible =
            padding.len() == len && len <= BLOCK && (len > 0 || self == Self::LengthByte);
        let is_filled = padding.iter().all(|byte| usize::from(*byte) == len);
        if is_possible && (is_filled || ignore_padding) {
            Ok(len)
        } else {
            Err(Error::Tampered("padding of encrypted data".to_owned()))
        }
    }
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// Compares in constant time.
fn verify(mac: Hmac<Sha256>, tag: &[u8]) -> bool {
    mac.verify_slice(tag).is_ok()
}

fn tampered_data() -> Error {
    Error::Tampered("encrypted data do not match their authentication code".to_owned())
}

fn cut_off() -> Error {
    Error::malformed(WHAT, "cut off")
}

const WHAT: &str = "AES Crypt stream";
/// The length of a cipher block and of an IV.
const BLOCK: usize = 16;
const MAC_LEN: usize = 32;
/// How much is encrypted before it is authenticated, while it is still in the cache.
const CHUNK: usize = 64 * 1024;

#[cfg(test)]
mod tests;
