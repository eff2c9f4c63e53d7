//! The header of a stream.

use std::io::{self, Read};

use cbc::cipher::KeyIvInit;
use hmac::Mac;
use zeroize::Zeroizing;

use super::key::header_key;
use super::{
    AesHeader, AesReadOptions, AesSeed, AesVersion, BLOCK, Decryptor, Encryptor, MAC_LEN, Padding,
    Session, WHAT, cut_off, mac, verify,
};
use crate::{Error, Result};

/// Makes the bytes of a header.
pub(super) fn encode(password: &str, header: &AesHeader, seed: &AesSeed) -> Result<Vec<u8>> {
    if password.is_empty() {
        return Err(Error::malformed("passphrase", "must not be empty"));
    }
    let mut out = MAGIC.to_vec();
    out.push(version_byte(header.version));
    out.push(0);
    for (identifier, value) in &header.extensions {
        let len = u16::try_from(identifier.len() + 1 + value.len());
        let (Ok(len), false) = (len, identifier.contains('\0')) else {
            let name = identifier.escape_debug();
            return Err(Error::malformed(
                WHAT,
                format!("extension `{name}` cannot be written"),
            ));
        };
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(identifier.as_bytes());
        out.push(0);
        out.extend_from_slice(value);
    }
    out.extend_from_slice(&[0, 0]);
    if let AesVersion::V3 { iterations } = header.version {
        check_iterations(iterations, AesVersion::MAX_ITERATIONS)?;
        out.extend_from_slice(&iterations.to_be_bytes());
    }
    let key = header_key(header.version, password, &seed.public_iv);
    let mut secret = Zeroizing::new([seed.session_iv.as_slice(), &seed.session_key].concat());
    Encryptor(cbc::Encryptor::new(
        (&*key).into(),
        (&seed.public_iv).into(),
    ))
    .apply(&mut secret);
    out.extend_from_slice(&seed.public_iv);
    out.extend_from_slice(&secret);
    out.extend_from_slice(
        &header_mac(header.version, &key, &secret)
            .finalize()
            .into_bytes(),
    );
    Ok(out)
}

/// Reads the beginning of a header: all that stands before the key, in the clear.
pub(super) fn read_version<R: Read>(reader: &mut R, max_iterations: u32) -> Result<AesVersion> {
    let [m1, m2, m3, version, reserved] = read_array(reader)?;
    if [m1, m2, m3] != MAGIC {
        return Err(Error::malformed(WHAT, "does not begin with `AES`"));
    }
    if version != 2 && version != 3 {
        return Err(Error::Unsupported(format!(
            "AES Crypt stream of version {version}"
        )));
    }
    if reserved != 0 {
        return Err(Error::malformed(WHAT, "reserved byte is not zero"));
    }
    skip_extensions(reader)?;
    if version == 2 {
        return Ok(AesVersion::V2);
    }
    let iterations = u32::from_be_bytes(read_array(reader)?);
    check_iterations(iterations, max_iterations)?;
    Ok(AesVersion::V3 { iterations })
}

/// Reads a header and opens the session key in it.
pub(super) fn read<R: Read>(
    reader: &mut R,
    password: &str,
    options: AesReadOptions,
) -> Result<(Session, Padding)> {
    let version = read_version(reader, options.max_iterations)?;
    let public_iv: [u8; BLOCK] = read_array(reader)?;
    let mut secret: Zeroizing<[u8; SECRET_LEN]> = Zeroizing::new(read_array(reader)?);
    let tag: [u8; MAC_LEN] = read_array(reader)?;

    let key = header_key(version, password, &public_iv);
    if !verify(header_mac(version, &key, secret.as_slice()), &tag) {
        return Err(Error::WrongPassword);
    }
    Decryptor(cbc::Decryptor::new((&*key).into(), (&public_iv).into()))
        .apply(secret.as_mut_slice());
    let (iv, session_key) = secret.split_first_chunk::<BLOCK>().ok_or_else(cut_off)?;
    let session_key = Zeroizing::new(session_key.try_into().map_err(|_| cut_off())?);
    Ok((
        Session {
            iv: *iv,
            key: session_key,
        },
        padding_of(version),
    ))
}

/// The padding that streams of this version have.
pub(super) fn padding_of(version: AesVersion) -> Padding {
    match version {
        AesVersion::V2 => Padding::LengthByte,
        AesVersion::V3 { .. } => Padding::Pkcs7,
    }
}

fn header_mac(version: AesVersion, key: &[u8; 32], secret: &[u8]) -> hmac::Hmac<sha2::Sha256> {
    let mut mac = mac(key);
    mac.update(secret);
    if let AesVersion::V3 { .. } = version {
        mac.update(&[version_byte(version)]);
    }
    mac
}

fn version_byte(version: AesVersion) -> u8 {
    match version {
        AesVersion::V2 => 2,
        AesVersion::V3 { .. } => 3,
    }
}

fn check_iterations(iterations: u32, max: u32) -> Result<()> {
    match iterations {
        0 => Err(Error::malformed(WHAT, "no key iterations")),
        _ if iterations > max => Err(Error::TooLarge {
            what: "number of key iterations",
            limit: u64::from(max),
        }),
        _ => Ok(()),
    }
}

/// Passes over the extensions and their end mark.
fn skip_extensions<R: Read>(reader: &mut R) -> Result<()> {
    let mut total = 0;
    loop {
        let len = u64::from(u16::from_be_bytes(read_array(reader)?));
        if len == 0 {
            return Ok(());
        }
        total += len;
        if total > MAX_EXTENSIONS {
            return Err(Error::TooLarge {
                what: "length of AES Crypt extensions in bytes",
                limit: MAX_EXTENSIONS,
            });
        }
        if io::copy(&mut reader.by_ref().take(len), &mut io::sink())? != len {
            return Err(cut_off());
        }
    }
}

fn read_array<R: Read, const N: usize>(reader: &mut R) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    reader
        .read_exact(&mut bytes)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => cut_off(),
            _ => Error::Io(error),
        })?;
    Ok(bytes)
}

const MAGIC: [u8; 3] = *b"AES";
/// Session IV and session key.
const SECRET_LEN: usize = BLOCK + 32;
/// Far above what any program writes; Duplicati's four take 213 bytes.
const MAX_EXTENSIONS: u64 = 1 << 20;
