//! The values that were given, each with where it came from.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use crate::decl::{OptionDecl, normalize_name};
use crate::error::{Error, Result};
use crate::opt::Opt;
use crate::read::OptionValue;

/// Where a value came from, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// The declared default.
    Default,
    /// A file with settings for all runs.
    Preload,
    /// An environment variable.
    Environment,
    /// The command line, or the saved job.
    CommandLine,
    /// The parameters file.
    ParametersFile,
    /// The query or the user part of the storage URL.
    Url,
}

impl Origin {
    /// Words for people.
    pub const fn label(self) -> &'static str {
        match self {
            Origin::Default => "default",
            Origin::Preload => "preload settings",
            Origin::Environment => "environment",
            Origin::CommandLine => "command line",
            Origin::ParametersFile => "parameters file",
            Origin::Url => "storage URL",
        }
    }
}

/// One given value.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// The name it was given under, normalized.
    pub name: &'a str,
    /// Its text; `None` when the option stood alone.
    pub value: Option<&'a str>,
    /// Where it came from.
    pub origin: Origin,
}

/// Option values in layers.
///
/// A stronger [`Origin`] hides a weaker one; within one origin the last one set wins. Names are compared in any letter
/// case and with `_` for `-`; reading an option looks at its aliases too. `Debug` shows names, never values.
#[derive(Clone, Default)]
pub struct Values {
    /// By normalized name.
    given: BTreeMap<String, BTreeMap<Origin, Given>>,
    /// Counts calls of `set`, to tell which of two aliases came last.
    counter: u64,
}

#[derive(Clone)]
struct Given {
    value: Option<Zeroizing<String>>,
    order: u64,
}

impl Values {
    /// Makes an empty set of values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a value; `None` when the option stands alone, as in `--no-encryption`.
    pub fn set(&mut self, name: &str, value: Option<&str>, origin: Origin) {
        self.counter += 1;
        let given = Given {
            value: value.map(|text| Zeroizing::new(text.to_owned())),
            order: self.counter,
        };
        self.given
            .entry(normalize_name(name))
            .or_default()
            .insert(origin, given);
    }

    /// Forgets what one origin said about an option, under exactly this name.
    pub fn unset(&mut self, name: &str, origin: Origin) {
        let name = normalize_name(name);
        if let Some(layers) = self.given.get_mut(&name) {
            layers.remove(&origin);
            if layers.is_empty() {
                self.given.remove(&name);
            }
        }
    }

    /// Reads an option; the default when it was not given, `false` or an empty list when there is none.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no value at all, [`Error::Invalid`] for an unusable one.
    pub fn get<T: OptionValue>(&self, option: Opt<T>) -> Result<T> {
        self.find(option)?
            .or(T::ABSENT)
            .ok_or_else(|| Error::Missing {
                option: option.decl.name.to_owned(),
            })
    }

    /// Reads an option; `None` when it was not given and has no default.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unusable value.
    pub fn find<T: OptionValue>(&self, option: Opt<T>) -> Result<Option<T>> {
        if let Some(setting) = self.setting(option.decl)
            && let Some(value) = T::read(option.decl, setting.value)?
        {
            return Ok(Some(value));
        }
        match option.decl.default {
            Some(text) => T::read(option.decl, Some(text)),
            None => Ok(None),
        }
    }

    /// Reads the first of several options that mean the same: the strongest origin wins, within one origin the
    /// earlier option. For a provider's own name beside the generic one (`aws-access-key-id`, `auth-username`).
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unusable value.
    pub fn find_any<T: OptionValue>(&self, options: &[Opt<T>]) -> Result<Option<T>> {
        let strongest = options
            .iter()
            .filter_map(|option| self.origin(option.decl))
            .max();
        for option in options {
            if self.origin(option.decl) == strongest
                && let Some(value) = self.find(*option)?
            {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// The same without the names that no declaration in `tables` answers to.
    #[must_use]
    pub fn only(&self, tables: &[&[&'static crate::OptionDecl]]) -> Self {
        let mut kept = self.clone();
        kept.given
            .retain(|name, _| crate::find_decl(name, tables).is_some());
        kept
    }

    /// Tells whether an option was given, under its name or an alias.
    pub fn is_set<T>(&self, option: Opt<T>) -> bool {
        self.setting(option.decl).is_some()
    }

    /// Where the value of an option comes from; `None` when it was not given.
    pub fn origin(&self, decl: &OptionDecl) -> Option<Origin> {
        self.setting(decl).map(|setting| setting.origin)
    }

    /// What decides about an option: the strongest value under its name or an alias.
    pub fn setting(&self, decl: &OptionDecl) -> Option<Setting<'_>> {
        std::iter::once(&decl.name)
            .chain(decl.aliases)
            .filter_map(|name| self.strongest(name))
            .max_by_key(|(setting, order)| (setting.origin, *order))
            .map(|(setting, _)| setting)
    }

    /// The names that were given, normalized, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.given.keys().map(String::as_str)
    }

    /// The deciding value for each name that was given, in the order of names.
    pub fn settings(&self) -> impl Iterator<Item = Setting<'_>> {
        self.given
            .keys()
            .filter_map(|name| self.strongest(name))
            .map(|(setting, _)| setting)
    }

    /// The deciding text under exactly this name; empty for an option that stood alone.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.strongest(&normalize_name(name))
            .map(|(setting, _)| setting.value.unwrap_or_default())
    }

    fn strongest(&self, name: &str) -> Option<(Setting<'_>, u64)> {
        let (name, layers) = self.given.get_key_value(name)?;
        let (origin, given) = layers.last_key_value()?;
        let value = given.value.as_ref().map(|text| text.as_str());
        Some((
            Setting {
                name,
                value,
                origin: *origin,
            },
            given.order,
        ))
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.settings()
                    .map(|setting| (setting.name, setting.origin)),
            )
            .finish()
    }
}

impl fmt::Debug for Setting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting")
            .field("name", &self.name)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::choices::{LogLevel, RemoteVerification};
    use crate::engine::{
        AUTH_USERNAME, BLOCKSIZE, CONSOLE_LOG_LEVEL, DBLOCK_SIZE, ENCRYPTION_MODULE,
        EXCLUDE_FILES_ATTRIBUTES, FULL_REMOTE_VERIFICATION, IGNORE_FILENAMES, KEEP_TIME,
        MACHINE_NAME, NO_ENCRYPTION, PASSPHRASE, RESTORE_PATH, SKIP_FILES_LARGER_THAN, THRESHOLD,
        ZIP_COMPRESSION_METHOD,
    };

    fn given(name: &str, value: Option<&str>) -> Values {
        let mut values = Values::new();
        values.set(name, value, Origin::CommandLine);
        values
    }

    #[test]
    fn the_stronger_origin_wins_whatever_the_order() {
        let order = [
            Origin::Preload,
            Origin::Environment,
            Origin::CommandLine,
            Origin::ParametersFile,
            Origin::Url,
        ];
        for reversed in [false, true] {
            let mut values = Values::new();
            let mut steps: Vec<(usize, Origin)> = order.into_iter().enumerate().collect();
            if reversed {
                steps.reverse();
            }
            for (rank, origin) in steps {
                values.set("threshold", Some(&rank.to_string()), origin);
            }
            assert_eq!(values.get(THRESHOLD), Ok(4));
            values.unset("threshold", Origin::Url);
            assert_eq!(values.get(THRESHOLD), Ok(3));
            assert_eq!(values.origin(THRESHOLD.decl), Some(Origin::ParametersFile));
        }
    }

    #[test]
    fn within_one_origin_the_last_wins_across_aliases() {
        let mut values = given("dblock-size", Some("10mb"));
        values.set("Remote_Volume_Size", Some("20mb"), Origin::CommandLine);
        assert_eq!(values.get(DBLOCK_SIZE), Ok(20 << 20));
        values.set("DBLOCK-SIZE", Some("30mb"), Origin::CommandLine);
        assert_eq!(values.get(DBLOCK_SIZE), Ok(30 << 20));
        values.set("remote-volume-size", Some("40mb"), Origin::Environment);
        assert_eq!(values.get(DBLOCK_SIZE), Ok(30 << 20));
        assert_eq!(
            values.names().collect::<Vec<_>>(),
            ["dblock-size", "remote-volume-size"]
        );
    }

    #[test]
    fn absent_options_have_their_default_or_none() {
        let values = Values::new();
        assert_eq!(values.get(BLOCKSIZE), Ok(1 << 20));
        assert_eq!(values.get(NO_ENCRYPTION), Ok(false));
        assert_eq!(values.find(NO_ENCRYPTION), Ok(None));
        assert_eq!(values.find(KEEP_TIME), Ok(None));
        assert_eq!(
            values.get(KEEP_TIME),
            Err(Error::Missing {
                option: "keep-time".to_owned()
            })
        );
        assert_eq!(
            values.get(IGNORE_FILENAMES),
            Ok(vec!["CACHEDIR.TAG".to_owned()])
        );
        assert_eq!(values.get(EXCLUDE_FILES_ATTRIBUTES), Ok(vec![]));
        assert_eq!(values.find(SKIP_FILES_LARGER_THAN), Ok(None));
        assert!(!values.is_set(BLOCKSIZE));
    }

    #[test]
    fn options_without_value() {
        assert_eq!(given("no-encryption", None).get(NO_ENCRYPTION), Ok(true));
        assert_eq!(
            given("no-encryption", Some("off")).get(NO_ENCRYPTION),
            Ok(false)
        );
        let error = given("no-encryption", Some("flase"))
            .get(NO_ENCRYPTION)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "option --no-encryption: \"flase\" is neither yes nor no; write true or false"
        );
        assert_eq!(given("blocksize", None).get(BLOCKSIZE), Ok(1 << 20));
        assert_eq!(
            given("ignore-filenames", Some("")).get(IGNORE_FILENAMES),
            Ok(vec![])
        );
        assert_eq!(
            given("full-remote-verification", None).get(FULL_REMOTE_VERIFICATION),
            Ok(RemoteVerification::Full)
        );
        assert_eq!(given("restore-path", None).find(RESTORE_PATH), Ok(None));
        assert_eq!(
            given("machine-name", Some("")).find(MACHINE_NAME),
            Ok(Some(String::new()))
        );
    }

    #[test]
    fn wrong_values_give_the_default_or_an_error() {
        assert_eq!(given("threshold", Some("many")).get(THRESHOLD), Ok(25));
        assert_eq!(given("threshold", Some("500")).get(THRESHOLD), Ok(100));
        assert_eq!(
            given("console-log-level", Some("loud")).get(CONSOLE_LOG_LEVEL),
            Ok(LogLevel::Warning)
        );
        assert_eq!(
            given("console-log-level", Some("ERROR")).get(CONSOLE_LOG_LEVEL),
            Ok(LogLevel::Error)
        );
        assert_eq!(
            given("zip-compression-method", Some("PPMd")).find(ZIP_COMPRESSION_METHOD),
            Ok(None)
        );
        assert!(
            given("encryption-module", Some("rot13"))
                .get(ENCRYPTION_MODULE)
                .is_err()
        );
        let error = given("blocksize", Some("-1kb")).get(BLOCKSIZE).unwrap_err();
        assert_eq!(
            error.to_string(),
            "option --blocksize: \"-1kb\" is not a valid size: expected a whole number, like 50mb"
        );
        let flags = given("exclude-files-attributes", Some("hidden, odd,SYSTEM"))
            .get(EXCLUDE_FILES_ATTRIBUTES);
        assert_eq!(flags, Ok(vec!["Hidden".to_owned(), "System".to_owned()]));
    }

    #[test]
    fn options_that_mean_the_same_are_read_together() {
        const OWN: Opt<String> = Opt::new(&OptionDecl {
            name: "own-user",
            ..OptionDecl::BASE
        });
        let mut values = given("auth-username", Some("generic"));
        assert_eq!(
            values.find_any(&[OWN, AUTH_USERNAME]),
            Ok(Some("generic".to_owned()))
        );
        values.set("own-user", Some("own"), Origin::CommandLine);
        assert_eq!(
            values.find_any(&[OWN, AUTH_USERNAME]),
            Ok(Some("own".to_owned()))
        );
        values.set("auth-username", Some("url"), Origin::Url);
        assert_eq!(
            values.find_any(&[OWN, AUTH_USERNAME]),
            Ok(Some("url".to_owned()))
        );
        assert_eq!(Values::new().find_any(&[OWN, AUTH_USERNAME]), Ok(None));
    }

    #[test]
    fn nothing_shows_a_value() {
        let values = given("passphrase", Some("geheim"));
        let secret = values.get(PASSPHRASE).expect("given");
        assert_eq!(secret.expose(), "geheim");
        let shown = format!(
            "{values:?} {secret:?} {:?}",
            values.settings().collect::<Vec<_>>()
        );
        assert!(
            !shown.contains("geheim") && shown.contains("passphrase"),
            "{shown}"
        );
    }
}
