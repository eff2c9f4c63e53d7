//! A server and a folder on it, for storage URLs whose host is really a host.

use larder_destination::{Config, Error, Place, Result};
use reqwest::Url;

use crate::encode;
use crate::options::{Options, USE_SSL};

/// What such a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The scheme key of the provider.
    pub provider: &'static str,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The server's name in lower case, without port.
    pub host: String,
    /// The port, when one was given.
    pub port: Option<u16>,
    /// The folders from the outermost to the innermost, not encoded.
    pub folders: Vec<String>,
}

impl Site {
    /// Reads the URL and `--use-ssl`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](larder_destination::ErrorKind::Config) without a server, or with `.` or `..` as a folder.
    pub fn from_config(provider: &'static str, config: &Config) -> Result<Self> {
        let host = config.url.host().unwrap_or_default();
        if host.is_empty() {
            return Err(Error::config(provider, "the URL names no server"));
        }
        let parts = config.url.path().split('/');
        let folders: Vec<_> = parts
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect();
        if folders.iter().any(|part| part == "." || part == "..") {
            let text = "the path in the URL has . or .. as a folder";
            return Err(Error::config(provider, text));
        }
        Ok(Self {
            provider,
            tls: Options::new(provider, config).get(USE_SSL)?,
            host: host.to_ascii_lowercase(),
            port: config.url.port(),
            folders,
        })
    }

    /// The encoded path of the outermost `depth` folders, with a slash at its beginning and end.
    #[must_use]
    pub fn path(&self, depth: usize) -> String {
        let folders = self.folders.iter().take(depth);
        folders.fold("/".to_owned(), |path, folder| {
            path + &encode::segment(folder) + "/"
        })
    }

    /// The address of the folder, with a slash at its end.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](larder_destination::ErrorKind::Config) for a server name that is none.
    pub fn address(&self) -> Result<Url> {
        let scheme = if self.tls { "https" } else { "http" };
        let path = self.path(self.folders.len());
        let address = format!("{scheme}://{}{}{path}", self.host, self.colon_port());
        Url::parse(&address)
            .ok()
            .filter(|url| url.path() == path && url.query().is_none() && url.username().is_empty())
            .ok_or_else(|| Error::config(self.provider, "the server in the URL has no valid name"))
    }

    /// The storage URL without user and options, for people.
    #[must_use]
    pub fn display(&self) -> String {
        let start = format!("{}://{}{}", self.provider, self.host, self.colon_port());
        self.folders
            .iter()
            .fold(start, |text, folder| text + "/" + folder)
    }

    /// What makes two URLs the same store: server, account and folder.
    #[must_use]
    pub fn place(&self, account: Option<String>) -> Place {
        let usual = if self.tls { 443 } else { 80 };
        let place = Place::new(self.provider).with_server(&self.host, self.port, usual);
        let place = match account {
            Some(account) => place.with("account", account),
            None => place,
        };
        place.with_folder(&self.folders.join("/"))
    }

    fn colon_port(&self) -> String {
        self.port.map(|port| format!(":{port}")).unwrap_or_default()
    }
}

/// Names in a listing whose entries are whole paths. Servers tell more than they were asked for, and one behind a proxy may
/// call its folders otherwise than the URL does.
#[derive(Clone, Debug)]
pub struct Children {
    /// The folder without slashes around it: as the URL calls it, or as the server does once that shows.
    folder: String,
    /// An entry was of this folder.
    is_confirmed: bool,
    /// What came first and is not of this folder: the folder itself by the server's name, if what follows lies in it.
    first: Option<String>,
    is_begun: bool,
}

/// What an entry of a listing is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Child {
    /// The folder itself.
    Itself,
    /// What lies directly in it, by its name.
    Named(String),
    /// What lies deeper, or above.
    Elsewhere,
    /// A path that has nothing to do with the folder.
    Strange,
}

impl Children {
    /// Those of the folder at this decoded path.
    #[must_use]
    pub fn of(folder: &str) -> Self {
        Self {
            folder: folder.trim_matches('/').to_owned(),
            is_confirmed: false,
            first: None,
            is_begun: false,
        }
    }

    /// Takes the next entry, by its decoded path. The folder itself comes first with all known servers.
    pub fn take(&mut self, path: &str, is_folder: bool) -> Child {
        let path = path.trim_matches('/');
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        let within =
            |folder: &str| path.eq_ignore_ascii_case(folder) || below(path, folder).is_some();
        if within(&self.folder) {
            self.is_confirmed = true;
        } else if !self.is_confirmed {
            if is_first && is_folder {
                self.first = Some(path.to_owned());
                return Child::Itself;
            }
            if let Some(first) = self.first.take_if(|first| within(first)) {
                self.folder = first;
                self.is_confirmed = true;
            }
        }
        match below(path, &self.folder) {
            _ if path.eq_ignore_ascii_case(&self.folder) => Child::Itself,
            Some(name) if !name.contains('/') => Child::Named(name.to_owned()),
            Some(_) => Child::Elsewhere,
            None if below(&self.folder, path).is_some() => Child::Elsewhere,
            None => Child::Strange,
        }
    }
}

/// What of `path` lies below `folder`. Servers on Windows know a folder in either letter case.
fn below<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    if folder.is_empty() {
        return Some(path).filter(|path| !path.is_empty());
    }
    let (front, rest) = path.split_at_checked(folder.len())?;
    let rest = rest.strip_prefix('/')?;
    front.eq_ignore_ascii_case(folder).then_some(rest)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use larder_options::Values;

    use super::*;

    fn site(url: &str) -> Result<Site> {
        let url = larder_destination::Url::parse(url, Path::new("/"))
            .map_err(|error| Error::config("x", error.to_string()))?;
        let options = &[USE_SSL.decl];
        let config = Config::with_options(url, Values::new(), PathBuf::from("/"), options);
        Site::from_config("x", &config)
    }

    #[test]
    fn addresses_are_encoded_and_shown_as_typed() -> Result<()> {
        let site = site("x://u:p@Host:8080//a%20b/c+d/?use-ssl=true")?;
        assert_eq!(site.address()?.as_str(), "https://host:8080/a%20b/c%2Bd/");
        assert_eq!(site.path(1), "/a%20b/");
        assert_eq!(site.display(), "x://host:8080/a b/c+d");
        assert_eq!(
            site.place(None),
            self::site("x://HOST:8080/a b/c+d")?.place(None)
        );
        assert_ne!(site.place(None), site.place(Some("u".into())));
        Ok(())
    }

    #[test]
    fn only_what_lies_directly_in_a_folder_is_a_child() {
        let named = |name: &str| Child::Named(name.to_owned());
        let entries = |folder: &str, entries: &[(&str, bool)]| {
            let mut children = Children::of(folder);
            let take = |(path, is_folder): &(&str, bool)| children.take(path, *is_folder);
            entries.iter().map(take).collect::<Vec<_>>()
        };
        let listing = [
            ("/a/b/", true),
            ("/a/b/x", false),
            ("/a/b/sub/", true),
            ("/a/b/sub/x", false),
            ("/a", true),
            ("/c/x", false),
        ];
        let expected = [
            Child::Itself,
            named("x"),
            named("sub"),
            Child::Elsewhere,
            Child::Elsewhere,
            Child::Strange,
        ];
        assert_eq!(entries("a/b", &listing), expected);
        // A proxy hides the front of the path, or shows another one.
        assert_eq!(entries("front/a/b", &listing), expected);
        assert_eq!(entries("A/B", &listing), expected);
        assert_eq!(
            entries("", &[("/", true), ("/x", false), ("/s/x", false)]),
            [Child::Itself, named("x"), Child::Elsewhere]
        );
        assert_eq!(entries("a/f", &[("/a/f", false)]), [Child::Itself]);
        let front = [("/", true), ("/x", false)];
        assert_eq!(entries("front", &front), [Child::Itself, named("x")]);
        // A server that begins with the folder above has not shown another one.
        let above = [("/a", true), ("/a/b/", true), ("/a/b/x", false)];
        let expected = [Child::Itself, Child::Itself, named("x")];
        assert_eq!(entries("a/b", &above), expected);
    }

    #[test]
    fn wrong_ones_are_refused() -> Result<()> {
        assert!(site("x:///a").is_err());
        assert!(site("x://h/a/../b").is_err());
        assert!(site("x://a b/c")?.address().is_err());
        Ok(())
    }
}
