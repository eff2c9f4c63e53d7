//! How a provider describes itself, and what it is opened with.

use std::path::PathBuf;
use std::sync::Arc;

use larder_options::engine::{AUTH_PASSWORD, AUTH_USERNAME};
use larder_options::{Kind, Opt, OptionDecl, Origin, Secret, Values, find_decl};

use crate::{Destination, Result, Url};

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
    /// Lays the URL over the values: its query first, its user and password over that as `auth-username` and
    /// `auth-password`.
    ///
    /// Options of the query count as not given when their value is empty, yes/no options excepted; `options` are the
    /// provider's, so that these are known. Names that nobody declares are laid over as well: reporting them is the
    /// caller's business, through `larder_options::check`.
    #[must_use]
    pub fn with_options(
        url: Url,
        mut values: Values,
        working_folder: PathBuf,
        options: &[&'static OptionDecl],
    ) -> Self {
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
        Self {
            url,
            values,
            working_folder,
        }
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
    /// Opens a destination; checks URL and options only, touches nothing remote.
    pub open: fn(&Config) -> Result<Arc<dyn Destination>>,
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
        Config::with_options(url, values, PathBuf::from("/"), &[SWITCH.decl])
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
