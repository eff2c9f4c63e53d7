//! Decrypting while reading.

use std::fmt;
use std::io::{self, Read};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{
    AesReadOptions, BLOCK, CHUNK, Decryptor, Padding, cut_off, header, tampered_data, verify,
};
use crate::Result;

/// Decrypts what it reads, in bounded memory.
///
/// The data are authenticated at their end only: what was read is to be trusted once `read` has answered 0. Until
/// then every `read` may end with invalid data, whose inner error is an [`Error`](crate::Error).
pub struct AesReader<R: Read> {
    reader: R,
    decryptor: Decryptor,
    /// Taken when the end was verified.
    mac: Option<Hmac<Sha256>>,
    padding: Padding,
    ignore_padding: bool,
    /// Decrypted bytes in front, then encrypted ones held back.
    buffer: Zeroizing<Vec<u8>>,
    /// The decrypted bytes not yet given out, in the buffer.
    plain: std::ops::Range<usize>,
    /// The end of the encrypted bytes in the buffer.
    filled: usize,
    has_failed: bool,
}

impl<R: Read> AesReader<R> {
    /// Reads the header and opens it with the passphrase, with the default options.
    ///
    /// # Errors
    /// As [`decrypt_to_vec`](crate::decrypt_to_vec), as far as the header tells.
    pub fn open(reader: R, password: &str) -> Result<Self> {
        Self::open_with(reader, password, AesReadOptions::default())
    }

    /// As [`AesReader::open`], with options.
    ///
    /// # Errors
    /// As [`AesReader::open`].
    pub fn open_with(mut reader: R, password: &str, options: AesReadOptions) -> Result<Self> {
        let (session, padding) = header::read(&mut reader, password, options)?;
        Ok(Self {
            reader,
            decryptor: session.decryptor(),
            mac: Some(session.mac()),
            padding,
            ignore_padding: options.ignore_padding,
            buffer: Zeroizing::new(vec![0; CHUNK + HELD_MAX]),
            plain: 0..0,
            filled: 0,
            has_failed: false,
        })
    }

    /// Decrypts more, after everything decrypted was given out. Leaves `plain` empty at the end of the data.
    fn refill(&mut self) -> Result<()> {
        let Some(mut mac) = self.mac.take() else {
            return Ok(());
        };
        // `plain.end` is where the encrypted bytes begin, except in front of the first bytes, where it is 0.
        self.buffer.copy_within(self.plain.end..self.filled, 0);
        self.filled -= self.plain.end;
        self.plain = 0..0;
        let has_ended = self.fill_buffer()?;

        // The last block must not be given out before the padding is known, nor the trailer decrypted.
        let held = self.padding.trailer_len() + if has_ended { 0 } else { BLOCK };
        let len = self.filled.checked_sub(held).ok_or_else(cut_off)?;
        let len = if has_ended { len } else { len - len % BLOCK };
        let filled = self.buffer.get_mut(..self.filled).unwrap_or_default();
        let (encrypted, trailer) = filled.split_at_mut_checked(len).ok_or_else(cut_off)?;
        mac.update(encrypted);
        if !has_ended {
            self.decryptor.apply(encrypted);
            self.mac = Some(mac);
            self.plain = 0..len;
            return Ok(());
        }
        let (length_byte, tag) = match self.padding {
            Padding::LengthByte => trailer.split_first().ok_or_else(cut_off)?,
            Padding::Pkcs7 => (&0, &*trailer),
        };
        if !len.is_multiple_of(BLOCK) {
            return Err(cut_off());
        }
        if !verify(mac, tag) {
            return Err(tampered_data());
        }
        self.decryptor.apply(encrypted);
        let padding_len = self
            .padding
            .len_of(encrypted, *length_byte, self.ignore_padding)?;
        self.plain = 0..len - padding_len;
        Ok(())
    }

    /// Reads until the buffer is full or the stream ends; answers whether it ended.
    fn fill_buffer(&mut self) -> Result<bool> {
        while let Some(room) = self
            .buffer
            .get_mut(self.filled..)
            .filter(|room| !room.is_empty())
        {
            match self.reader.read(room) {
                Ok(0) => return Ok(true),
                Ok(len) => self.filled += len.min(room.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}

impl<R: Read> Read for AesReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.has_failed {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "encrypted data failed before",
            ));
        }
        if out.is_empty() {
            return Ok(0);
        }
        if self.plain.is_empty() {
            self.refill().inspect_err(|_| self.has_failed = true)?;
        }
        let len = self
            .buffer
            .get(self.plain.clone())
            .unwrap_or_default()
            .read(out)?;
        self.plain.start += len;
        Ok(len)
    }
}

impl<R: Read> fmt::Debug for AesReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AesReader")
    }
}

/// The most that is held back behind the decrypted bytes: a trailer, the last block and a part of one.
const HELD_MAX: usize = 1 + super::MAC_LEN + 2 * BLOCK;
