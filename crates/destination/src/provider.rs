//! How a provider describes itself, and what it is opened with.

use std::path::PathBuf;
use std::sync::Arc;

use larder_options::engine::{AUTH_PASSWORD, AUTH_USERNAME};
use larder_options::{Kind, Opt, OptionDecl, Origin, Secret, Values, find_decl};

use crate::{Destination, Error, Notice, Place, Result, SignIn, Tools, Url};

/// Everything a provider gets to open a destination.
#[derive(Clone, Debug)]
pub struct Config {
    /// The parsed storage URL.
    pub url: Url,
    /// Option values; URL query and user part have been laid over the command line already.
    pub values: Values,
    /// The folder that relative paths start from.
    pub working_folder: PathBuf,
}

impl Config {
    /// A provider gets its own options and the ones that all share, never the passphrase of the backup.
    ///
    /// Lays the URL over the values: its query first, its user and password over that as `auth-username` and
    /// `auth-password`.
    ///
    /// Options of the query count as not given when their value is empty, yes/no options excepted; `options` are the
    /// provider's, so that these are known.
    #[must_use]
    pub fn with_options(
        url: Url,
        values: Values,
        working_folder: PathBuf,
        options: &[&'static OptionDecl],
    ) -> Self {
        let values = Self::overlay(&url, values, options);
        let tables: Vec<_> = [options]
            .into_iter()
            .chain(larder_options::engine::SHARED_TABLES.iter().copied())
            .collect();
        Self {
            url,
            values: values.only(&tables),
            working_folder,
        }
    }

    /// All values with the URL laid over them, also what no provider gets to see: for checking what a user gave.
    #[must_use]
    pub fn overlay(url: &Url, mut values: Values, options: &[&'static OptionDecl]) -> Values {
        for (name, value) in url.query() {
            let decl = find_decl(name, &[options, larder_options::engine::TABLE]);
            let is_switch = decl.is_some_and(|decl| matches!(decl.kind, Kind::Bool));
            if is_switch || value.as_ref().is_some_and(|text| !text.is_empty()) {
                values.set(name, value.as_deref(), Origin::Url);
            }
        }
        if let Some(user) = url.user() {
            values.set(AUTH_USERNAME.decl.name, Some(user), Origin::Url);
        }
        if let Some(password) = url.password() {
            values.set(
                AUTH_PASSWORD.decl.name,
                Some(password.expose()),
                Origin::Url,
            );
        }
        values
    }

    /// As [`Config::with_options`] where only the engine's options are known.
    #[must_use]
    pub fn new(url: Url, values: Values, working_folder: PathBuf) -> Self {
        Self::with_options(url, values, working_folder, &[])
    }

    /// The user name: from the URL's user part, else the strongest of `own` names and `auth-username`, where within
    /// one origin an own name wins.
    ///
    /// # Errors
    /// Those of reading an option.
    pub fn user(
        &self,
        own: &[Opt<String>],
    ) -> std::result::Result<Option<String>, larder_options::Error> {
        match self.url.user() {
            Some(user) => Ok(Some(user.to_owned())),
            None => {
                let found = self.values.find_any(&with_last(own, AUTH_USERNAME))?;
                Ok(found.filter(|user| !user.is_empty()))
            }
        }
    }

    /// The password, found as [`Config::user`] finds the user name.
    ///
    /// # Errors
    /// Those of reading an option.
    pub fn password(
        &self,
        own: &[Opt<Secret>],
    ) -> std::result::Result<Option<Secret>, larder_options::Error> {
        match self.url.password() {
            Some(password) => Ok(Some(password.clone())),
            None => {
                let found = self.values.find_any(&with_last(own, AUTH_PASSWORD))?;
                Ok(found.filter(|password| !password.is_empty()))
            }
        }
    }
}

fn with_last<T>(own: &[Opt<T>], generic: Opt<T>) -> Vec<Opt<T>> {
    own.iter().copied().chain([generic]).collect()
}

/// One kind of destination: its names, its options and how to open it.
#[derive(Clone, Copy)]
pub struct Provider {
    /// Scheme keys, the first is the usual one.
    pub schemes: &'static [&'static str],
    /// Name for people.
    pub name: &'static str,
    /// One sentence for the help text.
    pub help: &'static str,
    /// All options the provider reads.
    pub options: &'static [&'static OptionDecl],
    /// What the parts of its URL mean.
    pub url: UrlForm,
    /// What makes two URLs the same store. Touches nothing remote.
    pub identity: fn(&Config) -> Result<Place>,
    /// Opens a destination; checks URL and options only, touches nothing remote.
    pub open: fn(&Config, &Tools) -> Result<Opened>,
    /// Signs a user in for the first time; `None` where what the options need is not to be had that way.
    pub sign_in: Option<SignIn>,
}

impl Provider {
    /// Opens the destination of a URL without any value from elsewhere; relative paths start from the root. For tests.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a malformed URL and whatever the provider refuses.
    pub fn open_url(&self, url: &str, tools: &Tools) -> Result<Opened> {
        let root = PathBuf::from("/");
        let scheme = self.schemes.first().copied().unwrap_or_default();
        let url =
            Url::parse(url, &root).map_err(|error| Error::config(scheme, error.to_string()))?;
        let config = Config::with_options(url, Values::new(), root, self.options);
        (self.open)(&config, tools)
    }
}

/// What host and path of a provider's URL mean; help, guide page and web form are made from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UrlForm {
    /// What stands between `://` and the first slash, e.g. `bucket`; empty when nothing does.
    pub host: &'static str,
    /// What stands behind that slash, e.g. `folder in the bucket`.
    pub path: &'static str,
    /// A whole URL as a user would write it, without secrets.
    pub example: &'static str,
}

/// A destination, and what a user should know about it.
pub struct Opened {
    /// The destination.
    pub destination: Arc<dyn Destination>,
    /// Told once at the start of a run; no warnings.
    pub notices: Vec<Notice>,
}

impl Opened {
    /// A destination without anything to tell.
    #[must_use]
    pub fn new(destination: impl Destination + 'static) -> Self {
        Self {
            destination: Arc::new(destination),
            notices: Vec::new(),
        }
    }
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider")
            .field("schemes", &self.schemes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const OWN_USER: Opt<String> = Opt::new(&OptionDecl {
        name: "own-id",
        ..OptionDecl::BASE
    });
    const SWITCH: Opt<bool> = Opt::new(&OptionDecl {
        name: "own-switch",
        kind: Kind::Bool,
        ..OptionDecl::BASE
    });

    fn config(url: &str, given: &[(&str, &str, Origin)]) -> Config {
        let mut values = Values::new();
        for (name, value, origin) in given {
            values.set(name, Some(value), *origin);
        }
        let url = Url::parse(url, Path::new("/")).unwrap();
        Config::with_options(
            url,
            values,
            PathBuf::from("/"),
            &[SWITCH.decl, OWN_USER.decl],
        )
    }

    fn credentials(url: &str, given: &[(&str, &str, Origin)]) -> (Option<String>, Option<String>) {
        let config = config(url, given);
        let password = config.password(&[]).unwrap();
        (
            config.user(&[OWN_USER]).unwrap(),
            password.map(|password| password.expose().to_owned()),
        )
    }

    #[test]
    fn credentials_come_from_the_strongest_place() {
        let line = [
            ("auth-username", "line", Origin::CommandLine),
            ("auth-password", "pw-line", Origin::CommandLine),
        ];
        let environment = [
            ("auth-username", "env", Origin::Environment),
            ("auth-password", "pw-env", Origin::Environment),
        ];
        let all = [line, environment].concat();
        for (url, given, expected) in [
            (
                "x://u:p@h?auth-username=q&auth-password=r&own-id=o",
                &all[..],
                (Some("u"), Some("p")),
            ),
            (
                "x://u@h?auth-username=q&auth-password=r",
                &all[..],
                (Some("u"), Some("r")),
            ),
            ("x://u@h", &all[..], (Some("u"), Some("pw-line"))),
            ("x://:p@h", &all[..], (Some("line"), Some("pw-line"))),
            (
                "x://h?own-id=o&auth-username=q",
                &all[..],
                (Some("o"), Some("pw-line")),
            ),
            (
                "x://h?AUTH_USERNAME=q",
                &all[..],
                (Some("q"), Some("pw-line")),
            ),
            (
                "x://h?auth-username=&auth-password",
                &all[..],
                (Some("line"), Some("pw-line")),
            ),
            ("x://h", &environment[..], (Some("env"), Some("pw-env"))),
            ("x://h", &[], (None, None)),
        ] {
            let (user, password) = credentials(url, given);
            assert_eq!((user.as_deref(), password.as_deref()), expected, "{url}");
        }
        let own = [
            ("auth-username", "generic", Origin::CommandLine),
            ("own-id", "own", Origin::CommandLine),
        ];
        assert_eq!(credentials("x://h", &own).0.as_deref(), Some("own"));
    }

    #[test]
    fn a_provider_sees_neither_the_passphrase_nor_what_is_not_its_own() {
        let given = [
            ("passphrase", "secret", Origin::CommandLine),
            ("dblock-size", "10mb", Origin::CommandLine),
            ("number-of-retries", "2", Origin::CommandLine),
            ("own-id", "me", Origin::CommandLine),
        ];
        let config = config("x://h?passphrase=secret&other=1", &given);
        let seen: Vec<_> = config.values.names().collect();
        assert_eq!(seen, ["number-of-retries", "own-id"]);
    }

    #[test]
    fn an_empty_switch_counts_as_given() {
        for (url, expected) in [
            ("x://h?own-switch", true),
            ("x://h?own-switch=", true),
            ("x://h?own-switch=no", false),
        ] {
            assert_eq!(
                config(url, &[]).values.get(SWITCH).unwrap(),
                expected,
                "{url}"
            );
        }
    }
}
