//! Storage URLs in Duplicati's relaxed grammar.
//!
//! This is the border where the text a user typed becomes a type: providers only see the parts. The grammar is not
//! RFC 3986, because the host part is a bucket, a container, a share or a remote name in many schemes. Where Larder
//! deviates from Duplicati the reason is in `docs/decisions/0009-url-differences.md`.

mod split;
mod text;

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use larder_options::{Secret, normalize_name};

use self::split::{
    drive_path, is_slash_unc, is_unc, local_absolute, parse_query, split_port, split_query,
    split_scheme, unquoted,
};
use self::text::{decode, encode_host, encode_path, encode_query, encode_user};

pub use self::text::is_secret_name;

/// A parsed storage URL; `Display` and `Debug` hide the password and every secret in the query.
///
/// `scheme://[user[:password]@][host[:port]][/path][?option=value&option=value]`, or a local path without a scheme.
#[derive(Clone)]
pub struct Url {
    scheme: String,
    user: Option<String>,
    password: Option<Secret>,
    host: Option<String>,
    port: Option<u16>,
    path: String,
    query: Vec<(String, Option<String>)>,
    local_path: Option<PathBuf>,
    unc: Option<String>,
}

/// Why a text is no storage URL. No message repeats the text, because it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Nothing but blanks or quotes.
    #[error("the storage URL is empty")]
    Empty,
    /// A NUL character, as it is or as `%00`.
    #[error("the storage URL holds a NUL character")]
    Nul,
    /// Something stands before `://` that is no scheme key.
    #[error("the text before :// in the storage URL is not a scheme key")]
    Scheme,
    /// The port is no number between 1 and 65535.
    #[error(
        "the port in the storage URL is not a number from 1 to 65535 \
         (a user name or password with : / ? or @ has to be percent-encoded)"
    )]
    Port,
    /// `[` without `]`, or text between `]` and the port.
    #[error("the brackets around the IPv6 host in the storage URL do not fit")]
    Brackets,
    /// A raw `#` outside a local path.
    #[error("a # in the storage URL has to be written %23")]
    Fragment,
    /// A query item without a name, as in `?=value`.
    #[error("the query of the storage URL has a value without an option name")]
    NamelessOption,
}

impl Url {
    /// Parses a URL or a local path; relative local paths start from `working_folder`.
    ///
    /// One pair of double quotes around the text is dropped. Each of user, password, host and path is percent-decoded
    /// once after splitting; a sequence that is no UTF-8 stays as written. `+` means a space in the query only.
    ///
    /// # Errors
    /// [`UrlError`] for text that Duplicati takes but that cannot be meant.
    pub fn parse(text: &str, working_folder: &Path) -> Result<Self, UrlError> {
        let text = unquoted(text);
        if text.trim().is_empty() {
            return Err(UrlError::Empty);
        }
        if text.contains('\0') {
            return Err(UrlError::Nul);
        }
        let Some((scheme, rest)) = split_scheme(text)? else {
            return Self::parse_plain_path(text, working_folder);
        };
        let (rest, query) = split_query(rest);
        let mut url = Self::empty(scheme);
        url.query = parse_query(query)?;
        if url.scheme == FILE {
            url.parse_file(rest, working_folder)?;
        } else {
            url.parse_remote(rest)?;
        }
        Ok(url)
    }

    /// The scheme key in lower case; `file` for a plain path.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The user name before `@`; never empty.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password before `@`; only together with a user, and never empty.
    #[must_use]
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// Host, bucket, container, share or first folder, in the letter case that was typed; never empty.
    ///
    /// An IPv6 address keeps its brackets.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The port, when one was given.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The part after the host without the slash that divides them; `/a/b` for `file:///a/b` and for `x://h//a/b`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Host and path joined by a slash, for schemes whose host is just the first folder.
    #[must_use]
    pub fn host_and_path(&self) -> String {
        match &self.host {
            Some(host) if self.path.is_empty() => host.clone(),
            Some(host) => format!("{host}/{}", self.path),
            None => self.path.clone(),
        }
    }

    /// The options in the query in their order; a name without `=` has no value.
    #[must_use]
    pub fn query(&self) -> &[(String, Option<String>)] {
        &self.query
    }

    /// The value of a query option, in the last of its spellings (letter case and `_` for `-` make no difference).
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<&str> {
        let wanted = normalize_name(name);
        let mut found = self
            .query
            .iter()
            .rev()
            .filter(|(key, _)| normalize_name(key) == wanted);
        found.find_map(|(_, value)| value.as_deref())
    }

    /// The folder a `file` URL or plain path means, resolved against the working folder; `None` for other schemes and
    /// for network paths.
    #[must_use]
    pub fn local_path(&self) -> Option<&Path> {
        self.local_path.as_deref()
    }

    /// The network path as `\\server\share\folder`, when the URL is one.
    #[must_use]
    pub fn unc(&self) -> Option<&str> {
        self.unc.as_deref()
    }

    /// The same URL under another scheme key, as when `webdavs` is taken for `webdav` with `use-ssl`.
    #[must_use]
    pub fn with_scheme(mut self, scheme: &str) -> Self {
        self.scheme = scheme.to_ascii_lowercase();
        self
    }

    /// The whole URL with its secrets, in a form that parses to the same parts.
    #[must_use]
    pub fn expose(&self) -> String {
        self.render(Secrets::Shown)
    }

    fn empty(scheme: String) -> Self {
        Self {
            scheme,
            user: None,
            password: None,
            host: None,
            port: None,
            path: String::new(),
            query: Vec::new(),
            local_path: None,
            unc: None,
        }
    }

    fn parse_plain_path(text: &str, working_folder: &Path) -> Result<Self, UrlError> {
        let (path, query) = split_query(text);
        if path.is_empty() {
            return Err(UrlError::Empty);
        }
        let mut url = Self::empty(FILE.to_owned());
        url.query = parse_query(query)?;
        if is_unc(path) || is_slash_unc(path) {
            url.set_unc(path);
        } else {
            url.set_local_path(path, working_folder);
        }
        Ok(url)
    }

    fn parse_file(&mut self, rest: &str, working_folder: &Path) -> Result<(), UrlError> {
        // A drive path may hold `@` and `:`, so it is recognised before any splitting.
        if let Some(drive) = drive_path(rest) {
            self.set_local_path(&decoded(drive)?, working_folder);
            return Ok(());
        }
        let rest = self.take_userinfo(rest, &['/', '\\'])?;
        let path = decoded(rest)?;
        if path.is_empty() {
            return Err(UrlError::Empty);
        }
        if is_unc(&path) {
            self.set_unc(&path);
        } else if let Some(absolute) = path.strip_prefix('/') {
            self.path = path.clone();
            self.local_path = Some(local_absolute(absolute, &path));
        } else if cfg!(windows) {
            self.set_unc(&format!("\\\\{path}"));
        } else {
            let (host, below) = path.split_once('/').unwrap_or((&path, ""));
            self.host = non_empty(host);
            self.path = below.to_owned();
            self.local_path = Some(working_folder.join(&path));
        }
        Ok(())
    }

    fn parse_remote(&mut self, rest: &str) -> Result<(), UrlError> {
        let rest = self.take_userinfo(rest, &['/'])?;
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        self.path = decoded(path)?;
        let (host, port) = split_port(authority)?;
        self.host = non_empty(&decoded(host)?);
        self.port = port;
        Ok(())
    }

    /// Cuts `user:password@` off the part before the first of `ends` and returns what follows.
    fn take_userinfo<'a>(&mut self, rest: &'a str, ends: &[char]) -> Result<&'a str, UrlError> {
        let authority = rest.split(|c| ends.contains(&c)).next().unwrap_or(rest);
        let Some((userinfo, _)) = authority.rsplit_once('@') else {
            return Ok(rest);
        };
        let (user, password) = match userinfo.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (userinfo, None),
        };
        self.user = non_empty(&decoded(user)?);
        if self.user.is_some() {
            let password = password.map(decoded).transpose()?;
            self.password = password.filter(|text| !text.is_empty()).map(Secret::from);
        }
        Ok(rest.get(userinfo.len() + 1..).unwrap_or(""))
    }

    fn set_local_path(&mut self, path: &str, working_folder: &Path) {
        let resolved = working_folder.join(path);
        self.path = resolved.to_string_lossy().into_owned();
        self.local_path = Some(resolved);
    }

    fn set_unc(&mut self, path: &str) {
        let path = path.replace('/', "\\");
        let below = path.trim_start_matches('\\');
        let (server, share) = below.split_once('\\').unwrap_or((below, ""));
        self.host = non_empty(server);
        self.path = share.replace('\\', "/");
        if cfg!(windows) {
            self.local_path = Some(PathBuf::from(&path));
        }
        self.unc = Some(path);
    }

    fn render(&self, secrets: Secrets) -> String {
        let mut text = format!("{}://", self.scheme);
        if let Some(user) = &self.user {
            text.push_str(&encode_user(user));
            match (&self.password, secrets) {
                (Some(_), Secrets::Hidden) => text.push_str(":***"),
                (Some(password), Secrets::Shown) => {
                    text.push(':');
                    text.push_str(&encode_user(password.expose()));
                }
                (None, _) => {}
            }
            text.push('@');
        }
        if let Some(unc) = &self.unc {
            text.push_str(&unc.replace('%', "%25").replace('?', "%3F"));
        } else {
            if let Some(host) = &self.host {
                text.push_str(&encode_host(host));
            }
            if let Some(port) = self.port {
                // Writing into a string cannot fail.
                let _ = write!(text, ":{port}");
            }
            let divided = self.scheme == FILE && self.host.is_none();
            if !divided && !self.path.is_empty() {
                text.push('/');
            }
            text.push_str(&encode_path(&self.path));
        }
        for (index, (name, value)) in self.query.iter().enumerate() {
            text.push(if index == 0 { '?' } else { '&' });
            text.push_str(&encode_query(name));
            let Some(value) = value else { continue };
            text.push('=');
            if secrets == Secrets::Hidden && (is_secret_name(name) || text::holds_userinfo(value)) {
                text.push_str("***");
            } else {
                text.push_str(&encode_query(value));
            }
        }
        text
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Secrets::Hidden))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrets {
    Hidden,
    Shown,
}

fn decoded(text: &str) -> Result<String, UrlError> {
    let text = decode(text);
    if text.contains('\0') {
        Err(UrlError::Nul)
    } else {
        Ok(text)
    }
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

const FILE: &str = "file";

#[cfg(test)]
mod tests;
