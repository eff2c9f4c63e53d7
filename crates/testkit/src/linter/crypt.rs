//! From the remote bytes back to the container (docs/format/encryption-aes.md, docs/format/encryption-gpg.md).

use std::io::Write;
use std::process::{Command, Stdio};

use aes::Aes256;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit, array::Array};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};

/// Takes the encryption off.
pub(super) fn decrypt(
    encryption: Option<&str>,
    bytes: &[u8],
    passphrase: Option<&str>,
) -> Result<Vec<u8>, String> {
    match (encryption, passphrase) {
        (None, _) => Ok(bytes.to_vec()),
        (Some(_), None) => Err("it is encrypted and no passphrase is given".to_owned()),
        (Some("aes"), Some(passphrase)) => aes_stream(bytes, passphrase),
        (Some("gpg"), Some(passphrase)) => gpg(bytes, passphrase),
        (Some(other), _) => Err(format!("{other} is no known encryption")),
    }
}

/// The public IV of an AES stream; a writer never uses one twice.
pub(super) fn public_iv(bytes: &[u8]) -> Option<Vec<u8>> {
    let header = Header::parse(bytes).ok()?;
    Some(header.iv.to_vec())
}

/// What stands before the data.
struct Header {
    version: u8,
    iterations: u32,
    iv: [u8; 16],
    keys: [u8; 48],
    mac: [u8; 32],
    /// Where the data begins.
    len: usize,
}

/// More rounds than any writer would ask for.
const MOST_ITERATIONS: u32 = 10_000_000;

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut rest = bytes;
        let short = || "the AES header is cut".to_owned();
        let start: [u8; 5] = take(&mut rest).ok_or_else(short)?;
        let version = start[3];
        if !start.starts_with(b"AES") || !matches!(version, 2 | 3) || start[4] != 0 {
            return Err(format!("no AES stream of version 2 or 3: {start:02x?}"));
        }
        loop {
            let len = usize::from(u16::from_be_bytes(take(&mut rest).ok_or_else(short)?));
            if len == 0 {
                break;
            }
            let (extension, after) = rest.split_at_checked(len).ok_or_else(short)?;
            if !extension.contains(&0) {
                return Err("an extension of the AES header has no end of its name".to_owned());
            }
            rest = after;
        }
        let mut iterations = 0;
        if version == 3 {
            iterations = u32::from_be_bytes(take(&mut rest).ok_or_else(short)?);
            if iterations == 0 || iterations > MOST_ITERATIONS {
                return Err(format!("{iterations} rounds for the key"));
            }
        }
        Ok(Self {
            version,
            iterations,
            iv: take(&mut rest).ok_or_else(short)?,
            keys: take(&mut rest).ok_or_else(short)?,
            mac: take(&mut rest).ok_or_else(short)?,
            len: bytes.len() - rest.len(),
        })
    }

    fn key(&self, passphrase: &str) -> [u8; 32] {
        if self.version == 3 {
            let mut key = [0; 32];
            pbkdf2::pbkdf2_hmac::<Sha512>(
                passphrase.as_bytes(),
                &self.iv,
                self.iterations,
                &mut key,
            );
            return key;
        }
        let password: Vec<u8> = passphrase
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let mut key = [0; 32];
        for (place, byte) in key.iter_mut().zip(self.iv) {
            *place = byte;
        }
        for _ in 0..8192 {
            let mut hasher = Sha256::new();
            hasher.update(key);
            hasher.update(&password);
            key = hasher.finalize().into();
        }
        key
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn aes_stream(bytes: &[u8], passphrase: &str) -> Result<Vec<u8>, String> {
    let header = Header::parse(bytes)?;
    let key = header.key(passphrase);
    let mut sealed = header.keys.to_vec();
    if header.version == 3 {
        sealed.push(3);
    }
    if mac(&key, &sealed) != header.mac {
        return Err("the key block's HMAC is wrong: another passphrase or damage".to_owned());
    }
    let keys = cbc_decrypt(&key, &header.iv, &header.keys)?;
    let mut rest = keys.as_slice();
    let (session_iv, session_key): ([u8; 16], [u8; 32]) = match (take(&mut rest), take(&mut rest)) {
        (Some(iv), Some(key)) => (iv, key),
        _ => return Err("the key block is too short".to_owned()),
    };
    let data = bytes.get(header.len..).unwrap_or_default();
    let trailer = if header.version == 3 { 32 } else { 33 };
    let Some((cipher, trailer)) = data.len().checked_sub(trailer).map(|at| data.split_at(at))
    else {
        return Err("the AES trailer is cut".to_owned());
    };
    let (remainder, found_mac) = match trailer {
        [length, mac @ ..] if mac.len() == 32 => (Some(*length), mac),
        mac => (None, mac),
    };
    if mac(&session_key, cipher).as_slice() != found_mac {
        return Err("the data's HMAC is wrong".to_owned());
    }
    let mut plain = cbc_decrypt(&session_key, &session_iv, cipher)?;
    let padding = match remainder {
        Some(0) => 0,
        Some(length @ 1..16) => 16 - usize::from(length),
        Some(length) => return Err(format!("the length byte is {length}")),
        None => match plain.last() {
            Some(byte @ 1..=16) => usize::from(*byte),
            _ => return Err("the padding is wrong".to_owned()),
        },
    };
    let Some(len) = plain.len().checked_sub(padding) else {
        return Err("there is less data than padding".to_owned());
    };
    if plain.drain(len..).any(|byte| usize::from(byte) != padding) {
        return Err("the padding is wrong".to_owned());
    }
    Ok(plain)
}

fn mac(key: &[u8; 32], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new(&Array::from(pad(key)));
    mac.update(data);
    mac.finalize().into_bytes().into()
}

/// An HMAC key is filled up with zeros to the hash's block.
fn pad(key: &[u8; 32]) -> [u8; 64] {
    let mut padded = [0; 64];
    for (place, byte) in padded.iter_mut().zip(key) {
        *place = *byte;
    }
    padded
}

fn cbc_decrypt(key: &[u8; 32], iv: &[u8; 16], data: &[u8]) -> Result<Vec<u8>, String> {
    let (blocks, rest) = data.as_chunks::<16>();
    if !rest.is_empty() {
        return Err("the encrypted data is no whole number of blocks".to_owned());
    }
    let mut decryptor = cbc::Decryptor::<Aes256>::new(&Array::from(*key), &Array::from(*iv));
    let mut plain = Vec::with_capacity(data.len());
    for block in blocks {
        let mut block = Array::from(*block);
        decryptor.decrypt_block(&mut block);
        plain.extend_from_slice(&block);
    }
    Ok(plain)
}

/// Asks the gpg program, with the passphrase as the first line of its input.
fn gpg(bytes: &[u8], passphrase: &str) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("gpg: {error}");
    let mut child = Command::new("gpg")
        .args(["--batch", "--quiet", "--passphrase-fd", "0", "--decrypt"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let mut input = child.stdin.take().ok_or("gpg has no input")?;
    let sent = [passphrase.as_bytes(), b"\n", bytes].concat();
    let writer = std::thread::spawn(move || input.write_all(&sent));
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() || !matches!(writer.join(), Ok(Ok(()))) {
        return Err(format!("gpg ended with {}", output.status));
    }
    Ok(output.stdout)
}
