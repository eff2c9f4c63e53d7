//! Encrypting while writing.

use std::fmt;
use std::io::{self, Write};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{AesHeader, AesSeed, BLOCK, CHUNK, Encryptor, Padding, Session, header};
use crate::Result;

/// Encrypts what is written to it.
///
/// Holds up to 64 KiB; flushing does not shorten that, because only whole blocks can be encrypted. A stream that is
/// dropped without [`AesWriter::finish`] is cut off and will be refused by every reader.
pub struct AesWriter<W: Write> {
    writer: W,
    encryptor: Encryptor,
    mac: Hmac<Sha256>,
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
    ) -> Result<Self> {
        writer.write_all(&header::encode(password, header, seed)?)?;
        let session = Session::of(seed);
        Ok(Self {
            writer,
            encryptor: session.encryptor(),
            mac: session.mac(),
            padding: header::padding_of(header.version),
            buffer: Zeroizing::new(Vec::with_capacity(CHUNK)),
        })
    }

    /// Pads and writes the rest, then what authenticates the data, and answers the writer.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) from the writer.
    pub fn finish(mut self) -> Result<W> {
        // All earlier chunks were whole blocks, so that the rest decides on the padding.
        let last_len = u8::try_from(self.buffer.len() % BLOCK).unwrap_or(0);
        let padding_len = self.padding.len_for(self.buffer.len());
        let padded_len = self.buffer.len() + padding_len;
        self.buffer
            .resize(padded_len, u8::try_from(padding_len).unwrap_or(0));
        self.write_chunk()?;
        if self.padding == Padding::LengthByte {
            self.writer.write_all(&[last_len])?;
        }
        self.writer.write_all(&self.mac.finalize().into_bytes())?;
        Ok(self.writer)
    }

    /// Encrypts and writes the buffer, whole blocks.
    fn write_chunk(&mut self) -> io::Result<()> {
        self.encryptor.apply(&mut self.buffer);
        self.mac.update(&self.buffer);
        self.writer.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
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
