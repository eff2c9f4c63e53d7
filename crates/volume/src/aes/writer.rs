//! Encrypting while writing.

use std::fmt;
use std::io::{self, Write};

use zeroize::Zeroizing;

use super::{AesHeader, AesSeed, BLOCK, CHUNK, Encryptor, Padding, Session, header};
use crate::sha256::BLOCK as HASH_BLOCK;
use crate::{Hash, HashAlgorithm, Hasher, Result};

/// Encrypts what is written to it, and hashes what it writes: volumes are known by the hash of all their bytes.
///
/// Holds up to 64 KiB; flushing does not shorten that, because only whole blocks can be encrypted. A stream that is
/// dropped without [`AesWriter::finish`] is cut off and will be refused by every reader.
pub struct AesWriter<W: Write> {
    writer: W,
    encryptor: Encryptor,
    mac: DataMac,
    hash: Hasher,
    padding: Padding,
    buffer: Zeroizing<Vec<u8>>,
}

impl<W: Write> AesWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) for an empty passphrase, or an extension or iteration count that
    /// no header can hold; [`Error::Io`](crate::Error::Io) from the writer.
    pub fn create(
        mut writer: W,
        password: &str,
        header: &AesHeader,
        seed: &AesSeed,
        hash: HashAlgorithm,
    ) -> Result<Self> {
        let head = header::encode(password, header, seed)?;
        let mut hash = hash.hasher();
        hash.update(&head);
        writer.write_all(&head)?;
        let session = Session::of(seed);
        Ok(Self {
            writer,
            encryptor: session.encryptor(),
            mac: DataMac::new(&session.key),
            hash,
            padding: header::padding_of(header.version),
            buffer: Zeroizing::new(Vec::with_capacity(CHUNK)),
        })
    }

    /// Pads and writes the rest, then what authenticates the data, and answers the writer and the hash of all bytes
    /// that it got.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) from the writer.
    pub fn finish(mut self) -> Result<(W, Hash)> {
        // All earlier chunks were whole blocks, so that the rest decides on the padding.
        let last_len = u8::try_from(self.buffer.len() % BLOCK).unwrap_or(0);
        let padding_len = self.padding.len_for(self.buffer.len());
        let padded_len = self.buffer.len() + padding_len;
        self.buffer
            .resize(padded_len, u8::try_from(padding_len).unwrap_or(0));
        self.write_chunk()?;
        let mut trailer = Vec::with_capacity(self.padding.trailer_len());
        if self.padding == Padding::LengthByte {
            trailer.push(last_len);
        }
        trailer.extend_from_slice(self.mac.finish().as_bytes());
        self.hash.update(&trailer);
        self.writer.write_all(&trailer)?;
        Ok((self.writer, self.hash.finish()))
    }

    /// Encrypts and writes the buffer, whole blocks.
    fn write_chunk(&mut self) -> io::Result<()> {
        self.encryptor.apply(&mut self.buffer);
        self.mac.inner.update_in_step(&mut self.hash, &self.buffer);
        self.writer.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// HMAC-SHA-256 (RFC 2104) whose long part can be hashed in step with another stream.
struct DataMac {
    inner: Hasher,
    outer: Hasher,
}

impl DataMac {
    fn new(key: &[u8; 32]) -> Self {
        let padded = |pad: u8| {
            let mut block = Zeroizing::new([pad; HASH_BLOCK]);
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= key;
            }
            let mut hasher = HashAlgorithm::Sha256.hasher();
            hasher.update(block.as_slice());
            hasher
        };
        Self {
            inner: padded(0x36),
            outer: padded(0x5c),
        }
    }

    fn finish(mut self) -> Hash {
        self.outer.update(self.inner.finish().as_bytes());
        self.outer.finish()
    }
}

impl<W: Write> Write for AesWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer
            .extend_from_slice(bytes.get(..len).unwrap_or_default());
        if self.buffer.len() == CHUNK {
            self.write_chunk()?;
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl<W: Write> fmt::Debug for AesWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AesWriter")
    }
}
