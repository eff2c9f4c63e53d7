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

use crate::failure::clean;

/// The text of a private key, not decrypted.
#[derive(Clone)]
pub struct KeyText(Secret);

/// A private key.
pub(crate) struct Decoded {
    pub key: PrivateKey,
    /// Its text was encrypted with the passphrase.
    pub was_encrypted: bool,
}

impl KeyText {
    /// True for what can only be a key itself, not the path of one: what must never be shown.
    #[must_use]
    pub fn is_inline(text: &str) -> bool {
        let text = text.trim();
        let begins = |start: &str| {
            let found = text.get(..start.len());
            found.is_some_and(|found| found.eq_ignore_ascii_case(start))
        };
        // Also what was cut off at either end. No path has several lines.
        STARTS.iter().any(|start| begins(start))
            || BODIES.iter().any(|start| text.starts_with(start))
            || text.contains("PRIVATE KEY")
            || text.contains('\n')
            || (text.len() > LONGEST_NAME && !text.contains(['/', '\\']))
    }

    /// A key that was given itself: with `sshkey://` in front it is percent-encoded.
    #[must_use]
    pub fn inline(text: &str) -> Self {
        let text = text.trim();
        let is_encoded = text
            .get(..PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX));
        let encoded = text.get(PREFIX.len()..).filter(|_| is_encoded);
        let text = match encoded {
            Some(encoded) => percent_decode_str(encoded).decode_utf8_lossy().into_owned(),
            None => text.to_owned(),
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
    pub(crate) fn decode(&self, passphrase: Option<&Secret>) -> Result<Decoded, String> {
        let passphrase = passphrase.map(Secret::expose);
        let text = self.0.expose();
        if text.contains("PUBLIC KEY") || text.starts_with("ssh-") || text.starts_with("ecdsa-") {
            return Err("what is given as the private key is a public key".to_owned());
        }
        let plain = decrypt_pem(text, passphrase)?;
        let text = plain.as_ref().map_or(text, Secret::expose);
        let without = decode_secret_key(text, None);
        let error = match (without, passphrase) {
            (Ok(key), _) => {
                let was_encrypted = plain.is_some();
                return Ok(Decoded { key, was_encrypted });
            }
            // A passphrase for a key that has none is no mistake worth stopping for.
            (Err(error), Some(passphrase)) => match decode_secret_key(text, Some(passphrase)) {
                Ok(key) => {
                    return Ok(Decoded {
                        key,
                        was_encrypted: true,
                    });
                }
                Err(_) if matches!(error, Error::KeyIsEncrypted) => {
                    return Err(WRONG_PASSPHRASE.to_owned());
                }
                Err(error) => error,
            },
            (Err(error), None) => error,
        };
        let is_encrypted = ENCRYPTED.iter().any(|mark| text.contains(mark));
        Err(match (error, passphrase) {
            (Error::KeyIsEncrypted, _) => NEEDS_PASSPHRASE.to_owned(),
            (_, None) if is_encrypted => NEEDS_PASSPHRASE.to_owned(),
            (Error::SshKey(russh::keys::ssh_key::Error::Crypto), _) => WRONG_PASSPHRASE.to_owned(),
            (_, Some(_)) if is_encrypted || plain.is_some() => WRONG_PASSPHRASE.to_owned(),
            _ if !text.contains("-----BEGIN") && !text.contains("PuTTY-User-Key-File") => {
                HEADLESS.to_owned()
            }
            // Says what is wrong with the form, nothing of the content.
            (error, _) => format!("the private key cannot be read: {error}"),
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
    let cipher = cipher.trim();
    if !matches!(cipher, "AES-128-CBC" | "AES-192-CBC" | "AES-256-CBC") {
        let text = format!(
            "the private key is encrypted with {}, which is not read; ssh-keygen -p -f <file> writes it anew",
            clean(cipher)
        );
        return Err(text);
    }
    let iv = hex(iv).filter(|iv| iv.len() == 16);
    let body: String = lines
        .take_while(|line| !line.starts_with("-----"))
        .collect();
    let bytes = STANDARD.decode(body).ok();
    let (Some(iv), Some(mut bytes)) = (iv, bytes) else {
        let text = "the private key cannot be read: it is damaged".to_owned();
        return Err(text);
    };
    let key = |len| bytes_to_key(passphrase, iv.get(..8).unwrap_or_default(), len);
    let opened = match cipher {
        "AES-128-CBC" => opened::<aes::Aes128>(&key(16), &iv, &mut bytes),
        "AES-192-CBC" => opened::<aes::Aes192>(&key(24), &iv, &mut bytes),
        _ => opened::<aes::Aes256>(&key(32), &iv, &mut bytes),
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
/// How the text of a key begins: in Duplicati's form, in PEM, in that of PuTTY, and the content of OpenSSH's alone.
const STARTS: &[&str] = &[
    PREFIX,
    "-----BEGIN",
    "PuTTY-User-Key-File",
    "b3BlbnNzaC1rZXk",
];
/// How the content begins without its first line, in base64: in PEM the sequence and version of PKCS#1 and PKCS#8, of
/// SEC1 for each curve, of Ed25519; a text of the protocol (RFC 4251, section 5); OpenSSH's is among the starts.
const BODIES: &[&str] = &[
    "MII", "MIG", "MIH", "MHcCAQ", "MHQCAQ", "MC4CAQ", "MFECAQ", "AAAA",
];
/// Bytes of a file's name on all usual systems.
const LONGEST_NAME: usize = 255;
const ENCRYPTED: &[&str] = &["BEGIN ENCRYPTED PRIVATE KEY", "Encryption: aes"];
const NEEDS_PASSPHRASE: &str =
    "the private key is encrypted: give its passphrase as --auth-password";
const HEADLESS: &str = "the private key lacks its first line (-----BEGIN …): give its whole text as --ssh-key, or the path of its file as \
     --ssh-keyfile";
const WRONG_PASSPHRASE: &str = "the passphrase (--auth-password) does not open the private key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_key_is_known_from_a_path() {
        let long = "k".repeat(256);
        let long_path = format!("/home/{long}");
        for (text, is_key) in [
            ("sshkey://-----BEGIN%20X", true),
            ("SSHKEY://x", true),
            (" -----BEGIN OPENSSH PRIVATE KEY-----\nAAAA", true),
            ("PuTTY-User-Key-File-3: ssh-ed25519", true),
            ("b3BlbnNzaC1rZXktdjEAAAAA", true),
            ("BEGIN RSA PRIVATE KEY----- MIIE", true),
            ("MIIE\nabcd", true),
            ("MIIEowIBAAKCAQEA1c7/abc", true),
            ("MIGHAgEAMBMGByqGSM49AgEG", true),
            ("MHcCAQEEIBkg4LVWM9nuwNSk", true),
            ("MC4CAQAwBQYDK2VwBCIEIJ1h", true),
            ("AAAAB3NzaC1yc2EAAAADAQAB", true),
            (long.as_str(), true),
            (long_path.as_str(), false),
            ("mii/key", false),
            ("/home/ann/.ssh/id_ed25519", false),
            ("key", false),
            ("", false),
        ] {
            assert_eq!(KeyText::is_inline(text), is_key, "{text}");
        }
    }

    #[test]
    fn a_key_without_its_first_line_is_told_without_showing_it() {
        for text in [
            "MIIEowIBAAKCAQEA1c7secret",
            "MIIEow\nsecret\n",
            "AAAAsecret",
        ] {
            let told = KeyText::inline(text).decode(None).err().unwrap_or_default();
            assert!(
                told.contains("first line") && !told.contains("secret"),
                "{told}"
            );
        }
    }

    #[test]
    fn an_old_encryption_is_named() {
        let text = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                    DEK-Info: DES-EDE3-CBC,0123456789ABCDEF\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        let passphrase = Secret::new("secret".to_owned());
        let told = KeyText::inline(text).decode(Some(&passphrase)).err();
        let told = told.unwrap_or_default();
        assert!(
            told.contains("encrypted with DES-EDE3-CBC, which is not read"),
            "{told}"
        );
        assert!(told.contains("ssh-keygen -p"), "{told}");
    }
}
