//! What makes two storage URLs the same store.

use std::fmt::{self, Write as _};

use larder_options::Secret;
use sha2::{Digest, Sha256};

/// The identity of a store: server, account and folder, in one spelling. Local state is kept by it.
///
/// Two URLs have the same place exactly when they lead to the same files (`knows one folder by one place`). It holds no secret: an account that is known
/// by a secret only stands there as a fingerprint of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    scheme: &'static str,
    parts: Vec<(&'static str, String)>,
}

impl Place {
    /// A place of the provider with this scheme key; the parts follow.
    #[must_use]
    pub fn new(scheme: &'static str) -> Self {
        Self {
            scheme,
            parts: Vec::new(),
        }
    }

    /// Adds a part, such as the server, the account or the folder, in its one spelling.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.parts.push((name, value.into()));
        self
    }

    /// Adds a host in its one spelling: lower case, without the dot that may end it, and without the port that is usual.
    #[must_use]
    pub fn with_server(self, host: &str, port: Option<u16>, usual_port: u16) -> Self {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let server = match port.filter(|port| *port != usual_port) {
            Some(port) => format!("{host}:{port}"),
            None => host,
        };
        self.with("server", server)
    }

    /// Adds a folder in its one spelling: no empty parts, no slash at either end.
    #[must_use]
    pub fn with_folder(self, path: &str) -> Self {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        self.with("folder", parts.join("/"))
    }

    /// Adds an account that is known by a secret only: a fingerprint, from which the secret cannot be had.
    #[must_use]
    pub fn with_secret(self, name: &'static str, secret: &Secret) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"larder place\0");
        hash.update(secret.expose().as_bytes());
        let digest = hash.finalize();
        let mut text = String::new();
        for byte in digest.iter().take(FINGERPRINT_BYTES) {
            // Writing into a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        self.with(name, text)
    }

    /// The scheme key.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }
}

/// The stable text by which local state is found: the scheme key, then `name=value` for each part, divided by `|`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scheme)?;
        for (name, value) in &self.parts {
            write!(f, "|{name}=")?;
            for c in value.chars() {
                match c {
                    '|' | '%' => write!(f, "%{:02X}", u32::from(c))?,
                    c => f.write_char(c)?,
                }
            }
        }
        Ok(())
    }
}

/// Enough to tell accounts apart, too little to try secrets against.
const FINGERPRINT_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_place_are_one() {
        let place = |host: &str, port, folder: &str| {
            Place::new("x")
                .with_server(host, port, 443)
                .with_folder(folder)
        };
        assert_eq!(
            place("Host.", None, "/a//b/"),
            place("host", Some(443), "a/b")
        );
        assert_ne!(place("host", Some(8443), "a"), place("host", None, "a"));
        assert_ne!(place("host", None, "A"), place("host", None, "a"));
        assert_eq!(
            place("h", None, "a|b%").to_string(),
            "x|server=h|folder=a%7Cb%25"
        );
    }

    #[test]
    fn accounts_differ_and_do_not_show_their_secret() {
        let place = |secret: &str| {
            Place::new("drive").with_secret("account", &Secret::from(secret.to_owned()))
        };
        assert_ne!(place("one"), place("two"));
        assert_eq!(place("one"), place("one"));
        assert!(!place("one").to_string().contains("one"));
    }
}
