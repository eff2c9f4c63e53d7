//! Whole streams in memory: the way of every volume.

use hmac::Mac;

use super::{
    AesHeader, AesReadOptions, AesSeed, BLOCK, CHUNK, Padding, Session, cut_off, header,
    tampered_data, verify,
};
use crate::Result;

/// Decrypts a whole stream. The data are authenticated before any of them is decrypted.
///
/// # Errors
/// [`Error::WrongPassword`](crate::Error::WrongPassword) when the header does not open,
/// [`Error::Tampered`](crate::Error::Tampered) when the data are not those that were encrypted,
/// [`Error::Unsupported`](crate::Error::Unsupported) for versions other than 2 and 3,
/// [`Error::Malformed`](crate::Error::Malformed) for what is no such stream or is cut off.
pub fn decrypt_to_vec(data: &[u8], password: &str, options: AesReadOptions) -> Result<Vec<u8>> {
    let stream = Stream::open(data, password, options)?;
    let mut plain = vec![0; stream.encrypted.len()];
    stream
        .session
        .decryptor()
        .apply_to(stream.encrypted, &mut plain)?;
    let padding_len = stream
        .padding
        .len_of(&plain, stream.length_byte, options.ignore_padding)?;
    plain.truncate(plain.len() - padding_len);
    Ok(plain)
}

/// Decrypts a whole stream within its own buffer; otherwise as [`decrypt_to_vec`].
///
/// Saves the memory of a second buffer, and the time to get it from the system: about half of [`decrypt_to_vec`].
///
/// # Errors
/// As [`decrypt_to_vec`]. The buffer is unchanged then, or empty when the padding was wrong.
pub fn decrypt_in_place(data: &mut Vec<u8>, password: &str, options: AesReadOptions) -> Result<()> {
    let stream = Stream::open(data, password, options)?;
    let mut decryptor = stream.session.decryptor();
    let (padding, length_byte) = (stream.padding, stream.length_byte);
    let (start, len) = (stream.start, stream.encrypted.len());
    for at in (0..len).step_by(CHUNK) {
        let chunk = start + at..start + len.min(at + CHUNK);
        decryptor.apply(data.get_mut(chunk.clone()).unwrap_or_default());
        // Down over the header, while it is still in the cache.
        data.copy_within(chunk, at);
    }
    data.truncate(len);
    match padding.len_of(data, length_byte, options.ignore_padding) {
        Ok(padding_len) => data.truncate(len - padding_len),
        Err(error) => {
            data.clear();
            return Err(error);
        }
    }
    Ok(())
}

/// A stream whose header was opened and whose data are authentic.
struct Stream<'a> {
    session: Session,
    padding: Padding,
    /// Where the data begin.
    start: usize,
    /// The data, whole blocks.
    encrypted: &'a [u8],
    length_byte: u8,
}

impl<'a> Stream<'a> {
    fn open(data: &'a [u8], password: &str, options: AesReadOptions) -> Result<Self> {
        let mut rest = data;
        let (session, padding) = header::read(&mut rest, password, options)?;
        let start = data.len() - rest.len();
        let data_len = rest
            .len()
            .checked_sub(padding.trailer_len())
            .ok_or_else(cut_off)?;
        let (encrypted, trailer) = rest.split_at_checked(data_len).ok_or_else(cut_off)?;
        let (length_byte, tag) = match padding {
            Padding::LengthByte => trailer.split_first().ok_or_else(cut_off)?,
            Padding::Pkcs7 => (&0, trailer),
        };
        if !encrypted.len().is_multiple_of(BLOCK) {
            return Err(cut_off());
        }
        let mut mac = session.mac();
        mac.update(encrypted);
        if !verify(mac, tag) {
            return Err(tampered_data());
        }
        Ok(Self {
            session,
            padding,
            start,
            encrypted,
            length_byte: *length_byte,
        })
    }
}

/// Encrypts a whole stream; gives the same bytes as [`AesWriter`](super::AesWriter).
///
/// # Errors
/// [`Error::Malformed`](crate::Error::Malformed) for an empty passphrase, or an extension or iteration count that no
/// header can hold.
pub fn encrypt_to_vec(
    data: &[u8],
    password: &str,
    header: &AesHeader,
    seed: &AesSeed,
) -> Result<Vec<u8>> {
    let padding = header::padding_of(header.version);
    let mut out = header::encode(password, header, seed)?;
    let start = out.len();
    let padding_len = padding.len_for(data.len());
    out.reserve_exact(data.len() + padding_len + padding.trailer_len());
    out.extend_from_slice(data);
    out.resize(
        out.len() + padding_len,
        u8::try_from(padding_len).unwrap_or(0),
    );

    let session = Session::of(seed);
    let mut encryptor = session.encryptor();
    let mut mac = session.mac();
    for chunk in out.get_mut(start..).unwrap_or_default().chunks_mut(CHUNK) {
        encryptor.apply(chunk);
        mac.update(chunk);
    }
    if padding == Padding::LengthByte {
        out.push(u8::try_from(data.len() % BLOCK).unwrap_or(0));
    }
    out.extend_from_slice(&mac.finalize().into_bytes());
    Ok(out)
}
