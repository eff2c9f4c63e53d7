//! Decrypting while reading.

use std::fmt;
use std::io::{self, Read};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{
    AesReadOptions, BLOCK, CHUNK, Decryptor, Padding, cut_off, header, tampered_data, verify,
};
use crate::{Error, Result};

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
    keep_damaged: bool,
    /// What was wrong with data that were given out all the same.
    damage: Option<Error>,
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
            keep_damaged: options.keep_damaged,
            damage: None,
            buffer: Zeroizing::new(vec![0; CHUNK + HELD_MAX]),
            plain: 0..0,
            filled: 0,
            has_failed: false,
        })
    }

    /// What is wrong with the data, once `read` has answered 0: only with
    /// [`keep_damaged`](AesReadOptions::keep_damaged) they are given out nevertheless.
    pub fn damage(&self) -> Option<&Error> {
        self.damage.as_ref()
    }

    /// Notes what is wrong with the data where damaged ones are wanted.
    ///
    /// # Errors
    /// The same where they are not.
    fn note(&mut self, error: Error) -> Result<()> {
        if !self.keep_damaged {
            return Err(error);
        }
        self.damage.get_or_insert(error);
        Ok(())
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
        let Some(len) = self.filled.checked_sub(held) else {
            return self.note(cut_off());
        };
        if has_ended {
            return self.end(mac, len);
        }
        let len = len - len % BLOCK;
        let encrypted = self.buffer.get_mut(..len).unwrap_or_default();
        mac.update(encrypted);
        self.decryptor.apply(encrypted);
        self.mac = Some(mac);
        self.plain = 0..len;
        Ok(())
    }

    /// Verifies and decrypts the last `len` bytes of the data; the trailer stands behind them.
    fn end(&mut self, mut mac: Hmac<Sha256>, len: usize) -> Result<()> {
        let whole = len - len % BLOCK;
        if whole != len {
            self.note(cut_off())?;
        }
        let filled = self.buffer.get(..self.filled).unwrap_or_default();
        let (encrypted, trailer) = filled.split_at_checked(len).ok_or_else(cut_off)?;
        let (length_byte, tag) = match self.padding {
            Padding::LengthByte => trailer.split_first().ok_or_else(cut_off)?,
            Padding::Pkcs7 => (&0, trailer),
        };
        let length_byte = *length_byte;
        mac.update(encrypted);
        if !verify(mac, tag) {
            self.note(tampered_data())?;
        }
        let last = self.buffer.get_mut(..whole).unwrap_or_default();
        self.decryptor.apply(last);
        let padding_len = self.padding.len_of(last, length_byte, self.ignore_padding);
        let padding_len = match padding_len {
            Ok(len) => len,
            Err(error) => {
                self.note(error)?;
                // Nobody knows which of the bytes were added.
                0
            }
        };
        self.plain = 0..whole - padding_len;
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
