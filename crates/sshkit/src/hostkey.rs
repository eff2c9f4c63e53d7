//! Whether a server is the one that is meant: its host key against what the user was told of it.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use md5::{Digest, Md5};
use russh::keys::{Algorithm, PublicKey, PublicKeyBase64};
use sha2::Sha256;

use crate::keys::hex;

/// The host keys that may be shown.
#[derive(Clone, Debug, Default)]
pub struct HostKeys(Vec<Known>);

/// What is known of one host key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    /// Its type, where that was told, e.g. `ssh-rsa`.
    kind: Option<String>,
    print: Print,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Print {
    Md5(Vec<u8>),
    Sha256(Vec<u8>),
    Key(Vec<u8>),
}

impl HostKeys {
    /// Reads fingerprints in any of the forms in which they are printed, and public keys; several are divided by `,` or
    /// `;`.
    ///
    /// # Errors
    /// The part that is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let entries = text.split([',', ';', '\n']).map(str::trim);
        let entries = entries.filter(|entry| !entry.is_empty());
        let known = entries.map(|entry| Known::parse(entry).ok_or_else(|| entry.to_owned()));
        known.collect::<Result<_, _>>().map(Self)
    }

    /// True when nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True when this key is one of them.
    pub(crate) fn hold(&self, key: &[u8]) -> bool {
        self.0.iter().any(|known| match &known.print {
            Print::Md5(print) => Md5::digest(key).as_slice() == print,
            Print::Sha256(print) => Sha256::digest(key).as_slice() == print,
            Print::Key(known) => known == key,
        })
    }

    /// True when the type of a key is not known, so that the server may have to be asked for each of its keys.
    pub(crate) fn are_of_any_kind(&self) -> bool {
        self.0.iter().any(|known| known.kind.is_none())
    }

    /// All algorithms in the order in which they are to be asked for: those of the known keys first, since a server shows one
    /// key only.
    pub(crate) fn order(&self, all: &[Algorithm]) -> Vec<Algorithm> {
        let mut order = all.to_vec();
        order.sort_by_key(|algorithm| {
            let kind = kind_of(algorithm);
            !self
                .0
                .iter()
                .any(|known| known.kind.as_ref() == Some(&kind))
        });
        order
    }
}

impl Known {
    fn parse(entry: &str) -> Option<Self> {
        let (mut kind, mut bits) = (None, "");
        for word in entry.split_whitespace() {
            if let Some(print) = print(word) {
                if let Print::Key(key) = &print {
                    kind = kind.or_else(|| kind_in(key));
                }
                // What follows is a comment; ssh-keygen -l ends with the type.
                let last = entry
                    .rsplit('(')
                    .next()
                    .and_then(|last| last.strip_suffix(')'));
                let kind = kind.or_else(|| Some(kind_of_label(last?, bits)?.to_owned()));
                return Some(Self { kind, print });
            }
            if word.bytes().all(|byte| byte.is_ascii_digit()) {
                bits = word;
                continue;
            }
            let word = word.to_ascii_lowercase();
            if KINDS.iter().any(|start| word.starts_with(start)) {
                kind = Some(plain_kind(&word).to_owned());
            } else {
                return None;
            }
        }
        None
    }
}

fn print(word: &str) -> Option<Print> {
    let strip = |start: &str| {
        let is_start = word
            .get(..start.len())
            .is_some_and(|s| s.eq_ignore_ascii_case(start));
        is_start.then(|| word.get(start.len()..)).flatten()
    };
    if let Some(text) = strip("sha256:") {
        let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok();
        return bytes.filter(|bytes| bytes.len() == 32).map(Print::Sha256);
    }
    // Every public key begins with the length of its type.
    if word.starts_with("AAAA") {
        return STANDARD.decode(word).ok().map(Print::Key);
    }
    let digits = strip("md5:").unwrap_or(word).replace([':', '-'], "");
    hex(&digits)
        .filter(|bytes| bytes.len() == 16)
        .map(Print::Md5)
}

/// The type at the beginning of a public key (RFC 4253, section 6.6).
fn kind_in(key: &[u8]) -> Option<String> {
    let (len, rest) = key.split_first_chunk::<4>()?;
    let kind = rest.get(..usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
    String::from_utf8(kind.to_vec()).ok()
}

/// The type of the keys that an algorithm signs with.
fn kind_of(algorithm: &Algorithm) -> String {
    plain_kind(algorithm.as_str()).to_owned()
}

/// Newer versions of Duplicati store the algorithm of the signature in place of the type of the key.
fn plain_kind(kind: &str) -> &str {
    match kind.starts_with("rsa-sha2-") {
        true => RSA,
        false => kind,
    }
}

/// The type that `ssh-keygen -l` calls so. ECDSA has three, which differ in their bits (RFC 5656, section 10.1).
fn kind_of_label(label: &str, bits: &str) -> Option<&'static str> {
    match (label, bits) {
        ("RSA", _) => Some(RSA),
        ("ED25519", _) => Some("ssh-ed25519"),
        ("ECDSA", "256") => Some("ecdsa-sha2-nistp256"),
        ("ECDSA", "384") => Some("ecdsa-sha2-nistp384"),
        ("ECDSA", "521") => Some("ecdsa-sha2-nistp521"),
        _ => None,
    }
}

/// A host key as it was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The key as it was sent.
    pub key: Vec<u8>,
    /// Its algorithm.
    pub algorithm: Algorithm,
    bits: u32,
}

impl Shown {
    pub fn new(key: &PublicKey) -> Self {
        use russh::keys::ssh_key::EcdsaCurve;
        let algorithm = key.algorithm();
        let bits = match (&algorithm, key.key_data().rsa()) {
            (_, Some(rsa)) => rsa.key_size(),
            (
                Algorithm::Ecdsa {
                    curve: EcdsaCurve::NistP384,
                },
                _,
            ) => 384,
            (
                Algorithm::Ecdsa {
                    curve: EcdsaCurve::NistP521,
                },
                _,
            ) => 521,
            _ => 256,
        };
        Self {
            key: key.public_key_bytes(),
            algorithm,
            bits,
        }
    }

    /// As Duplicati prints and stores it: type, bits and MD5.
    pub fn classic(&self) -> String {
        let digest = Md5::digest(&self.key);
        let digits: Vec<_> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "{} {} {}",
            kind_of(&self.algorithm),
            self.bits,
            digits.join(":")
        )
    }

    /// As OpenSSH prints it.
    pub fn sha256(&self) -> String {
        format!(
            "SHA256:{}",
            STANDARD_NO_PAD.encode(Sha256::digest(&self.key))
        )
    }
}

const RSA: &str = "ssh-rsa";
/// How the types of keys begin.
const KINDS: &[&str] = &["ssh-", "rsa-sha2-", "ecdsa-sha2-", "sk-"];

#[cfg(test)]
mod tests {
    use russh::Preferred;

    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    const LINE_OF_256: &str =
        "256 SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU root@there (ECDSA)";
    const LINE_OF_384: &str =
        "384 SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU root@there (ECDSA)";
    const LINE_OF_521: &str =
        "521 SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU root@there (ECDSA)";

    #[test]
    fn the_named_type_is_asked_for_first() {
        for (text, first) in [
            (
                "ssh-rsa 2048 00112233445566778899aabbccddeeff",
                "rsa-sha2-512",
            ),
            (
                "rsa-sha2-256 2048 00112233445566778899aabbccddeeff",
                "rsa-sha2-512",
            ),
            (
                "ecdsa-sha2-nistp384 384 00112233445566778899aabbccddeeff",
                "ecdsa-sha2-nistp384",
            ),
            (LINE_OF_384, "ecdsa-sha2-nistp384"),
            (LINE_OF_521, "ecdsa-sha2-nistp521"),
            (LINE_OF_256, "ecdsa-sha2-nistp256"),
            ("00112233445566778899aabbccddeeff", "ssh-ed25519"),
            (KEY, "ssh-ed25519"),
        ] {
            let keys = HostKeys::parse(text).unwrap();
            let order = keys.order(&Preferred::DEFAULT.key);
            assert_eq!(order.len(), Preferred::DEFAULT.key.len());
            assert_eq!(order.first().map(Algorithm::as_str), Some(first), "{text}");
        }
        assert!(
            HostKeys::parse("md5:00112233445566778899AABBCCDDEEFF")
                .unwrap()
                .are_of_any_kind()
        );
    }

    #[test]
    fn what_is_no_fingerprint_is_named() {
        for text in [
            "x",
            "ssh-rsa",
            "ssh-rsa 2048",
            "SHA256:AAAA",
            "00:11",
            "MD5:",
            "\u{fc}",
            "AAAA\u{fc}",
            "1,2",
        ] {
            assert!(HostKeys::parse(text).is_err(), "{text}");
        }
        assert!(HostKeys::parse(" , ;\n").is_ok_and(|keys| keys.is_empty()));
        assert_eq!(
            HostKeys::parse(&format!("ssh-ed25519 {KEY} me@there; x y")).unwrap_err(),
            "x y"
        );
    }

    #[test]
    fn a_key_is_known_by_each_of_its_forms() {
        let key = russh::keys::parse_public_key_base64(KEY).unwrap();
        let shown = Shown::new(&key);
        for text in [
            shown.classic(),
            shown.sha256(),
            KEY.to_owned(),
            format!("ssh-ed25519 {KEY} a comment"),
        ] {
            let keys = HostKeys::parse(&text).unwrap();
            assert!(keys.hold(&shown.key), "{text}");
            assert!(!keys.hold(b"another"), "{text}");
        }
    }
}
