//! Private keys, in the forms that users have them.

use std::path::Path;

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use larder_options::Secret;
use md5::{Digest, Md5};
use percent_encoding::percent_decode_str;
use russh::keys::{Error, PrivateKey, decode_secret_key};

/// The text of a private key, not decrypted.
#[derive(Clone)]
pub struct KeyText(Secret);

impl KeyText {
    /// True for what can only be a key itself, not the path of one.
    #[must_use]
    pub fn is_inline(text: &str) -> bool {
        let start = text.trim_start().get(..PREFIX.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
    }

    /// A key that was given itself: with `sshkey://` in front it is percent-encoded.
    #[must_use]
    pub fn inline(text: &str) -> Self {
        let encoded = text.trim().get(PREFIX.len()..);
        let text = match encoded.filter(|_| Self::is_inline(text)) {
            Some(encoded) => percent_decode_str(encoded).decode_utf8_lossy().into_owned(),
            None => text.trim().to_owned(),
        };
        Self(Secret::new(text))
    }

    /// A key in a file.
    ///
    /// # Errors
    /// A text for people.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("option --ssh-keyfile: {}: {error}", path.display()))?;
        Ok(Self(Secret::new(text)))
    }

    /// The key. Takes a second of work when it is encrypted.
    ///
    /// # Errors
    /// A text for people, without secrets.
    pub(crate) fn decode(&self, passphrase: Option<&Secret>) -> Result<PrivateKey, String> {
        let passphrase = passphrase.map(Secret::expose);
        let text = self.0.expose();
        if text.contains("PUBLIC KEY") || text.starts_with("ssh-") || text.starts_with("ecdsa-") {
            return Err("what is given as the private key is a public key".to_owned());
        }
        let plain = decrypt_pem(text, passphrase)?;
        let text = plain.as_ref().map_or(text, Secret::expose);
        // A passphrase for a key that has none is no mistake worth stopping for.
        let decoded = decode_secret_key(text, passphrase).or_else(|error| match error {
            Error::KeyIsEncrypted => Err(error),
            error => decode_secret_key(text, None).map_err(|_| error),
        });
        decoded.map_err(|error| {
            let is_encrypted = ENCRYPTED.iter().any(|mark| text.contains(mark));
            match (error, passphrase) {
                (Error::KeyIsEncrypted, _) => NEEDS_PASSPHRASE.to_owned(),
                (_, None) if is_encrypted => NEEDS_PASSPHRASE.to_owned(),
                (Error::SshKey(russh::keys::ssh_key::Error::Crypto), _) => {
                    WRONG_PASSPHRASE.to_owned()
                }
                (_, Some(_)) if is_encrypted || plain.is_some() => WRONG_PASSPHRASE.to_owned(),
                // Says what is wrong with the form, nothing of the content.
                (error, _) => format!("the private key cannot be read: {error}"),
            }
        })
    }
}

/// The key without the encryption that PEM has beside that of PKCS#8 (RFC 1421, section 4.6.1.3, with the keys of
/// OpenSSL's `EVP_BytesToKey`); nothing when it has none.
fn decrypt_pem(text: &str, passphrase: Option<&str>) -> Result<Option<Secret>, String> {
    let mut lines = text.lines().map(str::trim);
    let Some(info) = lines.find_map(|line| line.strip_prefix("DEK-Info:")) else {
        return Ok(None);
    };
    let passphrase = passphrase.ok_or(NEEDS_PASSPHRASE)?;
    let (cipher, iv) = info.trim().split_once(',').unwrap_or((info, ""));
    let iv = hex(iv).filter(|iv| iv.len() == 16);
    let body: String = lines
        .take_while(|line| !line.starts_with("-----"))
        .collect();
    let bytes = STANDARD.decode(body).ok();
    let (Some(iv), Some(mut bytes)) = (iv, bytes) else {
        let text = format!(
            "the private key cannot be read: it is damaged, or encrypted in a way that is not known ({cipher}); \
             ssh-keygen -p -f <file> writes it anew"
        );
        return Err(text);
    };
    let key = |len| bytes_to_key(passphrase, iv.get(..8).unwrap_or_default(), len);
    let opened = match cipher.trim() {
        "AES-128-CBC" => opened::<aes::Aes128>(&key(16), &iv, &mut bytes),
        "AES-192-CBC" => opened::<aes::Aes192>(&key(24), &iv, &mut bytes),
        "AES-256-CBC" => opened::<aes::Aes256>(&key(32), &iv, &mut bytes),
        cipher => {
            let text = format!(
                "the private key is encrypted with {cipher}, which is not read; ssh-keygen -p -f <file> writes it anew"
            );
            return Err(text);
        }
    };
    let opened = opened.ok_or(WRONG_PASSPHRASE)?;
    let begin = text.lines().map(str::trim);
    let begin = begin.take_while(|line| !line.starts_with("DEK-Info:"));
    let begin = begin.filter(|line| line.starts_with("-----BEGIN ")).last();
    let begin = begin.unwrap_or_default();
    let end = begin.replace("BEGIN", "END");
    let plain = format!("{begin}\n{}\n{end}\n", STANDARD.encode(opened));
    Ok(Some(Secret::new(plain)))
}

fn opened<'b, C>(key: &[u8], iv: &[u8], bytes: &'b mut [u8]) -> Option<&'b [u8]>
where
    C: aes::cipher::BlockCipherDecrypt + aes::cipher::KeyInit,
{
    let opening = cbc::Decryptor::<C>::new_from_slices(key, iv).ok()?;
    opening.decrypt_padded::<Pkcs7>(bytes).ok()
}

/// OpenSSL's derivation with MD5 and one round.
fn bytes_to_key(passphrase: &str, salt: &[u8], len: usize) -> Vec<u8> {
    let mut key: Vec<u8> = Vec::new();
    let mut last: Vec<u8> = Vec::new();
    while key.len() < len {
        let round = Md5::new().chain_update(&last).chain_update(passphrase);
        last = round.chain_update(salt).finalize().to_vec();
        key.extend_from_slice(&last);
    }
    key.truncate(len);
    key
}

/// The bytes of hexadecimal digits.
pub(crate) fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.trim().chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    let byte =
        |pair: &[u32]| u8::try_from(pair.iter().fold(0, |value, digit| value * 16 + digit)).ok();
    digits.chunks(2).map(byte).collect()
}

const PREFIX: &str = "sshkey://";
const ENCRYPTED: &[&str] = &["BEGIN ENCRYPTED PRIVATE KEY"];
const NEEDS_PASSPHRASE: &str =
    "the private key is encrypted: give its passphrase as --auth-password";
const WRONG_PASSPHRASE: &str = "the passphrase (--auth-password) does not open the private key";
