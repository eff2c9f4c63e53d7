//! A server as people name it in an option: `host`, `host:port` or `https://host:port/path`.

use crate::encode;
use crate::service::is_local;

/// One server, and the path in front of everything on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Name in lower case, with the port when one was given.
    pub host: String,
    /// Encoded path: empty, or beginning with a slash and not ending with one.
    pub path: String,
}

impl Server {
    /// Reads a server, and whether its scheme says that TLS is used; `None` without a scheme.
    ///
    /// # Errors
    /// What is wrong with the text, as the rest of a sentence that begins with it.
    pub fn parse(text: &str) -> Result<(Self, Option<bool>), &'static str> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => Some(true),
            "http" => Some(false),
            "" => None,
            _ => return Err("does not begin with http:// or https://"),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if host.is_empty() || host.contains(['@', '?', '#', ' ', '\\']) {
            return Err("is not the name of a server");
        }
        let path = match path.trim_end_matches('/') {
            "" => String::new(),
            path => format!("/{}", encode::path(path)),
        };
        let server = Self {
            tls: tls.unwrap_or(false),
            host: host.to_ascii_lowercase(),
            path,
        };
        Ok((server, tls))
    }

    /// The same server with or without TLS; a port that is the usual one then goes.
    #[must_use]
    pub fn with_tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        let usual = if tls { ":443" } else { ":80" };
        if let Some(host) = self.host.strip_suffix(usual) {
            self.host = host.to_owned();
        }
        self
    }

    /// The scheme of its addresses.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// The name without port; an IPv6 address keeps its brackets.
    #[must_use]
    pub fn name(&self) -> &str {
        match self.host.rfind(':') {
            Some(at) if !self.host.ends_with(']') => self.host.get(..at).unwrap_or(&self.host),
            _ => &self.host,
        }
    }

    /// True when it is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        is_local(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_name_port_and_path_are_told_apart() {
        for (text, tls, host, name, path) in [
            ("H", None, "h", "h", ""),
            ("h:9000/", None, "h:9000", "h", ""),
            ("https://h:443/a b/", Some(true), "h", "h", "/a%20b"),
            ("HTTP://h:80", Some(false), "h", "h", ""),
            ("http://h:443", Some(false), "h:443", "h", ""),
            ("[::1]:9000", None, "[::1]:9000", "[::1]", ""),
            ("[::1]", None, "[::1]", "[::1]", ""),
        ] {
            let (server, said) = Server::parse(text).expect(text);
            let server = server.with_tls(said.unwrap_or(false));
            let found = (
                said,
                server.host.as_str(),
                server.name(),
                server.path.as_str(),
            );
            assert_eq!(found, (tls, host, name, path), "{text}");
        }
        for wrong in ["", "http://", "ftp://h", "user@h", "a b", "h?x"] {
            assert!(Server::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn local_servers_are_recognised() {
        for (text, local) in [
            ("127.0.0.1:9000", true),
            ("localhost", true),
            ("[::1]:9000", true),
            ("10.0.0.1:9000", false),
        ] {
            let server = Server::parse(text).map(|(server, _)| server.is_local());
            assert_eq!(server, Ok(local), "{text}");
        }
    }
}
