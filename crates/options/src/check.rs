//! Looks over the given values and complains: unknown names, unusable values, options without effect.

use crate::decl::{Kind, OptionDecl, Status, find_decl};
use crate::elsewhere;
use crate::engine;
use crate::read::{choose, must_fit, none_of, not_yes_or_no};
use crate::suggest::suggest;
use crate::value;
use crate::values::{Origin, Setting, Values};

/// How grave a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For the log: what was asked for happens anyway.
    Information,
    /// To be told; the run goes on.
    Warning,
    /// The run must not start.
    Fatal,
}

/// One complaint about a given option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Message id, for `--suppress-warnings`: [`UNSUPPORTED`], [`INVALID`], [`DEPRECATED`], [`NO_EFFECT`],
    /// [`NOT_NEEDED`] or [`NOT_YET`].
    pub id: &'static str,
    /// The option, under the name it was given.
    pub option: String,
    /// The sentence, without a secret.
    pub message: String,
    /// Whether the run may start.
    pub severity: Severity,
}

/// Id for names that no table has.
pub const UNSUPPORTED: &str = "UnsupportedOption";
/// Id for values that cannot be used as given.
pub const INVALID: &str = "OptionValidationError";
/// Id for old names and retired options.
pub const DEPRECATED: &str = "DeprecatedOption";
/// Id for options that belong elsewhere.
pub const NO_EFFECT: &str = "OptionWithoutEffect";
/// Id for options that ask for what happens anyway.
pub const NOT_NEEDED: &str = "OptionNotNeeded";
/// Id for options whose feature is missing in this version.
pub const NOT_YET: &str = "OptionNotImplemented";

/// Checks all given values against the tables: at most one problem for each name, the gravest, in the order of names.
///
/// A malformed size, time span, time or version list, a wrong name of a module, a word that is neither yes nor no, an
/// option that must not be passed over ([`Status::Refused`]) and a misspelt name are fatal. For other wrong values the
/// default is used, with a warning (Duplicati's rule). A name that is near to none is a warning too: another version or
/// program may have it.
pub fn check(values: &Values, tables: &[&[&'static OptionDecl]]) -> Vec<Problem> {
    values
        .settings()
        .filter_map(|setting| check_one(setting, tables))
        .collect()
}

/// Checks the options that stand in the storage URL: those that are not the provider's own have no effect there.
///
/// `provider` is the provider's table, `tables` are all others. Engine options that the provider lists in its own table
/// count as its own.
pub fn check_url(
    values: &Values,
    provider: &[&'static OptionDecl],
    tables: &[&[&'static OptionDecl]],
) -> Vec<Problem> {
    values
        .settings()
        .filter(|setting| {
            setting.origin == Origin::Url && find_decl(setting.name, &[provider]).is_none()
        })
        .filter_map(|setting| {
            let decl = find_decl(setting.name, tables)?;
            let message = format!(
                "option {} has no effect in the storage URL, give it as --{}",
                setting.name, decl.name
            );
            Some(Problem::warning(NO_EFFECT, setting.name, message))
        })
        .collect()
}

impl Problem {
    fn warning(id: &'static str, option: &str, message: String) -> Self {
        Problem {
            id,
            option: option.to_owned(),
            message,
            severity: Severity::Warning,
        }
    }
}

fn check_one(setting: Setting<'_>, tables: &[&[&'static OptionDecl]]) -> Option<Problem> {
    let name = setting.name;
    let Some(decl) = find_decl(name, tables) else {
        return Some(unknown(name, tables));
    };
    if acts(decl)
        && let Some((severity, why)) = value_problem(decl, setting.value)
    {
        return Some(Problem {
            id: INVALID,
            option: name.to_owned(),
            message: format!("option --{name}: {why}"),
            severity,
        });
    }
    status_problem(name, decl, setting.value)
}

/// True for an option that Duplicati has and this version does not.
#[must_use]
pub fn is_of_duplicati(name: &str) -> bool {
    elsewhere::has(name)
}

/// The complaint about a name that no table has.
fn unknown(name: &str, tables: &[&[&'static OptionDecl]]) -> Problem {
    let (severity, what) = if elsewhere::has(name) {
        (Severity::Warning, "not in this version".to_owned())
    } else if let Some(near) = suggest(name, tables) {
        (
            Severity::Fatal,
            format!("not known; did you mean --{near}?"),
        )
    } else {
        (Severity::Warning, "not known".to_owned())
    };
    Problem {
        id: UNSUPPORTED,
        option: name.to_owned(),
        message: format!("option --{name} is {what}"),
        severity,
    }
}

fn status_problem(name: &str, decl: &OptionDecl, value: Option<&str>) -> Option<Problem> {
    if !acts(decl) && asks_for_nothing(decl, value) {
        return None;
    }
    let mut severity = Severity::Warning;
    let (id, message) = match decl.status {
        Status::Active if name != decl.name && engine::DEPRECATED_ALIASES.contains(&name) => (
            DEPRECATED,
            format!("option --{name} is an old name, use --{}", decl.name),
        ),
        Status::Active => return None,
        Status::Deprecated { instead } => (
            DEPRECATED,
            format!("option --{name} is deprecated, use --{instead}"),
        ),
        Status::Retired => (
            DEPRECATED,
            format!("option --{name} is retired and has no effect"),
        ),
        Status::NoEffect { why } => (NO_EFFECT, format!("option --{name} has no effect: {why}")),
        Status::NotNeeded { why } => {
            severity = Severity::Information;
            let message = format!("option --{name} is not needed: {why}");
            (NOT_NEEDED, message)
        }
        Status::NotYet => (
            NOT_YET,
            format!(
                "option --{name} is accepted, but not acted on in this version: {}",
                decl.help.trim_end_matches('.')
            ),
        ),
        Status::PartOf { .. } => return None,
        Status::Refused { why, .. } => {
            severity = Severity::Fatal;
            let message =
                format!("option --{name} is not built in this version, and without it {why}");
            (NOT_YET, message)
        }
    };
    Some(Problem {
        id,
        option: name.to_owned(),
        message,
        severity,
    })
}

/// True when the values of an option are read.
fn acts(decl: &OptionDecl) -> bool {
    matches!(decl.status, Status::Active | Status::Deprecated { .. })
}

/// True when a value says no more than leaving the option out: nothing, no, or the default.
fn asks_for_nothing(decl: &OptionDecl, value: Option<&str>) -> bool {
    let Some(text) = value else {
        return decl.default == Some("true") && matches!(decl.kind, Kind::Bool);
    };
    let text = text.trim();
    if text.is_empty() {
        return true;
    }
    let default = decl.default.unwrap_or_default();
    match decl.kind {
        Kind::Bool => value::parse_bool_strict(text) == Some(value::parse_bool(default, false)),
        Kind::Integer { .. } => match (text.parse::<i64>(), default.parse::<i64>()) {
            (Ok(given), Ok(default)) => given == default,
            _ => false,
        },
        Kind::Size { unit } => {
            decl.default.is_some()
                && value::parse_size(text, unit).ok() == value::parse_size(default, unit).ok()
        }
        Kind::Timespan => {
            decl.default.is_some()
                && value::parse_timespan(text).ok() == value::parse_timespan(default).ok()
        }
        Kind::Choice(names) | Kind::StrictChoice(names) => {
            choose(names, Some(text)).is_some_and(|name| name == default)
        }
        _ => text.eq_ignore_ascii_case(default),
    }
}

/// What is wrong with a value of an option that has an effect.
fn value_problem(decl: &OptionDecl, value: Option<&str>) -> Option<(Severity, String)> {
    let fatal = |error: crate::Error| Some((Severity::Fatal, error.to_string()));
    let warning = |why: String| Some((Severity::Warning, why));
    let Some(text) = value else {
        return match decl.kind {
            Kind::Bool => None,
            Kind::Choice(names) if choose(names, None).is_some() => None,
            _ => warning("a value is missing, write --name=value".to_owned()),
        };
    };
    let empty = text.trim().is_empty();
    match decl.kind {
        Kind::Bool if value::parse_bool_strict(text).is_none() && !empty => {
            Some((Severity::Fatal, not_yes_or_no(text)))
        }
        _ if empty => None,
        Kind::Integer { min, max } => match text.trim().parse::<i64>() {
            Err(_) => unusable(decl, format!("\"{text}\" is not a whole number")),
            Ok(number) if number < min => warning(format!("{number} is too small, {min} is used")),
            Ok(number) if number > max => warning(format!("{number} is too large, {max} is used")),
            Ok(_) => None,
        },
        Kind::Decimal if value::parse_decimal(text).is_err() => {
            unusable(decl, format!("\"{text}\" is not a number"))
        }
        Kind::Size { unit } => match value::parse_size(text, unit) {
            Err(error) => fatal(error),
            Ok(_) if !value::has_unit(text) => warning(format!(
                "\"{text}\" has no unit, {} is assumed",
                unit.suffix()
            )),
            Ok(_) => None,
        },
        Kind::Timespan => value::parse_timespan(text).err().and_then(fatal),
        Kind::Versions => value::parse_versions(text).err().and_then(fatal),
        Kind::Retention => value::parse_retention(text).err().and_then(fatal),
        Kind::Time => {
            // Whether it can be read does not depend on the present time, but for the ends of the calendar.
            let now = jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
            value::parse_time(text, &now, value::Direction::Backwards)
                .err()
                .and_then(fatal)
        }
        Kind::Choice(names) | Kind::StrictChoice(names) if choose(names, value).is_none() => {
            let why = none_of(text, names);
            if must_fit(decl.kind) {
                Some((Severity::Fatal, why))
            } else {
                unusable(decl, why)
            }
        }
        Kind::Flags(names) => {
            let unknown: Vec<String> = value::split_list(text)
                .into_iter()
                .filter(|item| choose(names, Some(item)).is_none())
                .collect();
            if unknown.is_empty() {
                None
            } else {
                warning(format!("unknown and left out: {}", unknown.join(", ")))
            }
        }
        _ => None,
    }
}

/// A wrong value in whose place the default is used; without a default the option cannot be read at all.
fn unusable(decl: &OptionDecl, why: String) -> Option<(Severity, String)> {
    Some(match (decl.default, decl.kind) {
        (Some(default), _) => (Severity::Warning, format!("{why}, {default} is used")),
        (None, Kind::Choice(_)) => (Severity::Warning, format!("{why}, the value is not used")),
        (None, _) => (Severity::Fatal, why),
    })
}

/// Lists what is wrong with option tables themselves, for tests over the tables of all parts: names and aliases that
/// are not unique or not lower-case words joined with single hyphens, defaults that do not pass their own parser,
/// choices without names, secrets with a default, helps that are not sentences.
pub fn table_faults(tables: &[&[&'static OptionDecl]]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for decl in tables.iter().flat_map(|table| table.iter()) {
        let mut fault = |what: &str| faults.push(format!("--{}: {what}", decl.name));
        for name in std::iter::once(decl.name).chain(decl.aliases.iter().copied()) {
            if seen.contains(&name) {
                fault(&format!("{name} is declared twice"));
            }
            if !is_proper_name(name) {
                fault(&format!(
                    "{name} is not a lower-case name with single hyphens"
                ));
            }
            seen.push(name);
        }
        if !is_sentence(decl.help) || decl.help.trim_end_matches('.').contains(". ") {
            fault("the help is not one sentence with a full stop");
        }
        if !decl.long.is_empty() && !is_sentence(decl.long) {
            fault("the long help does not end in a full stop");
        }
        if decl.is_secret() && decl.default.is_some() {
            fault("a secret has a default");
        }
        if matches!(
            decl.kind,
            Kind::Choice(_) | Kind::StrictChoice(_) | Kind::Flags(_)
        ) && decl.kind.choices().is_empty()
        {
            fault("there is nothing to choose from");
        }
        if let Some(default) = decl.default
            && let Some((_, why)) = value_problem(decl, Some(default))
        {
            fault(&format!("the default does not pass: {why}"));
        }
        let named: &[&str] = match &decl.status {
            Status::Deprecated { instead } => &[instead],
            Status::PartOf { options } => options,
            _ => &[],
        };
        for name in named
            .iter()
            .filter(|name| find_decl(name, tables).is_none())
        {
            fault(&format!("the status names {name}, which does not exist"));
        }
    }
    faults
}

fn is_proper_name(name: &str) -> bool {
    name.split('-').all(|word| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    })
}

fn is_sentence(text: &str) -> bool {
    text.ends_with('.')
        && text == text.trim()
        && text.starts_with(|c: char| !c.is_whitespace())
        && !text.contains("  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::TABLE;

    fn problems(name: &str, value: Option<&str>) -> Vec<(&'static str, String, Severity)> {
        let mut values = Values::new();
        values.set(name, value, Origin::CommandLine);
        check(&values, &[TABLE])
            .into_iter()
            .map(|problem| (problem.id, problem.message, problem.severity))
            .collect()
    }

    #[test]
    fn each_kind_of_problem_is_told_once() {
        use Severity::{Fatal, Warning};
        let rows: &[(&str, Option<&str>, &str, &str, Severity)] = &[
            (
                "blokcsize",
                Some("1mb"),
                UNSUPPORTED,
                "option --blokcsize is not known; did you mean --blocksize?",
                Fatal,
            ),
            (
                "zzz",
                None,
                UNSUPPORTED,
                "option --zzz is not known",
                Warning,
            ),
            (
                "Auto_Clean",
                None,
                UNSUPPORTED,
                "option --auto-clean is not in this version",
                Warning,
            ),
            (
                "blocksize",
                Some("1"),
                INVALID,
                "option --blocksize: \"1\" has no unit, kb is assumed",
                Warning,
            ),
            (
                "blocksize",
                Some("1xb"),
                INVALID,
                "option --blocksize: \"1xb\" is not a valid size: the unit must be one of b, kb, mb, gb, tb",
                Fatal,
            ),
            (
                "dry-run",
                Some("maybe"),
                INVALID,
                "option --dry-run: \"maybe\" is neither yes nor no; write true or false",
                Fatal,
            ),
            (
                "number-of-retries",
                Some("x"),
                INVALID,
                "option --number-of-retries: \"x\" is not a whole number, 5 is used",
                Warning,
            ),
            (
                "quota-warning-threshold",
                Some("101"),
                INVALID,
                "option --quota-warning-threshold: 101 is too large, 100 is used",
                Warning,
            ),
            (
                "symlink-policy",
                Some("Keep"),
                INVALID,
                "option --symlink-policy: \"Keep\" is none of Store, Follow, Ignore, Store is used",
                Warning,
            ),
            (
                "encryption-module",
                Some("rot13"),
                INVALID,
                "option --encryption-module: \"rot13\" is none of aes, gpg",
                Fatal,
            ),
            (
                "exclude-files-attributes",
                Some("Hidden,Odd"),
                INVALID,
                "option --exclude-files-attributes: unknown and left out: Odd",
                Warning,
            ),
            (
                "dblock-size",
                None,
                INVALID,
                "option --dblock-size: a value is missing, write --name=value",
                Warning,
            ),
            (
                "patch-with-local-blocks",
                None,
                DEPRECATED,
                "option --patch-with-local-blocks is an old name, use --restore-with-local-blocks",
                Warning,
            ),
            (
                "compression-level",
                Some("5"),
                DEPRECATED,
                "option --compression-level is deprecated, use --zip-compression-level",
                Warning,
            ),
            (
                "zip-compression-method",
                Some("LZMA"),
                INVALID,
                "option --zip-compression-method: \"LZMA\" is none of Zstandard, Deflate, None, the value is not used",
                Warning,
            ),
            (
                "log-level",
                Some("Error"),
                DEPRECATED,
                "option --log-level is deprecated, use --console-log-level",
                Warning,
            ),
            (
                "full-remote-verification",
                Some("flase"),
                INVALID,
                "option --full-remote-verification: \"flase\" is none of True, False, ListAndIndexes, IndexesOnly, IndexOnly",
                Fatal,
            ),
            (
                "thread-priority",
                Some("?"),
                DEPRECATED,
                "option --thread-priority is retired and has no effect",
                Warning,
            ),
            (
                "usn-policy",
                Some("?"),
                NO_EFFECT,
                "option --usn-policy has no effect: it belongs to Windows",
                Warning,
            ),
            (
                "sync-recheck",
                None,
                NOT_YET,
                "option --sync-recheck is accepted, but not acted on in this version: Lists the whole mirror again",
                Warning,
            ),
            (
                "full-block-verification",
                None,
                NOT_NEEDED,
                "option --full-block-verification is not needed: every block is checked before it is written",
                Severity::Information,
            ),
            (
                "secret-provider",
                Some("env://"),
                NOT_YET,
                "option --secret-provider is not built in this version, and without it the names of secrets would be used as the secrets",
                Fatal,
            ),
        ];
        for (name, value, id, message, severity) in rows {
            assert_eq!(
                problems(name, *value),
                [(*id, (*message).to_owned(), *severity)],
                "{name}"
            );
        }
    }

    #[test]
    fn good_values_are_not_complained_about() {
        for (name, value) in [
            ("DBlock_Size", Some("50mb")),
            ("remote-volume-size", Some("50 MiB")),
            ("full-remote-verification", None),
            ("full-remote-verification", Some("off")),
            ("throttle-upload", Some("0")),
            ("time", Some("-2M")),
            ("dry-run", Some("")),
            ("retry-delay", Some("")),
            ("passphrase", Some("anything")),
            ("zip-compression-method", Some("ZStandard")),
            ("version", Some("0,2-4")),
            // Identity, details of what was not asked for, and values that ask for nothing.
            ("backup-name", Some("Photos")),
            ("backup-id", Some("DB-1")),
            ("machine-name", Some("nas")),
            ("send-http-level", Some("Warning,Error,Fatal")),
            ("send-mail-to", Some("")),
            ("usn-policy", Some("off")),
            ("auto-update", Some("false")),
            ("keep-versions", Some("0")),
            ("retention-policy", Some("")),
            ("no-auto-compact", Some("false")),
            ("secret-provider", Some("")),
            ("store-metadata", Some("true")),
            ("store-metadata", None),
            ("small-file-max-count", Some("20")),
            ("auto-compact-interval", Some("0s")),
        ] {
            assert_eq!(problems(name, value), [], "{name}");
        }
    }

    #[test]
    fn what_check_lets_pass_as_no_more_than_a_warning_can_be_read() {
        // The word given is wrong for every kind but text.
        for decl in TABLE
            .iter()
            .filter(|decl| matches!(decl.status, Status::Active))
        {
            let fatal = value_problem(decl, Some("§"))
                .is_some_and(|(severity, _)| severity == Severity::Fatal);
            let read = match decl.kind {
                Kind::Size { .. } => <u64 as crate::OptionValue>::read(decl, Some("§")).is_ok(),
                Kind::Integer { .. } | Kind::Timespan => {
                    <i64 as crate::OptionValue>::read(decl, Some("§")).is_ok()
                }
                Kind::Decimal => <f64 as crate::OptionValue>::read(decl, Some("§")).is_ok(),
                Kind::StrictChoice(_) | Kind::Choice(_) | Kind::Versions | Kind::Retention => {
                    <String as crate::OptionValue>::read(decl, Some("§")).is_ok()
                }
                _ => continue,
            };
            assert_eq!(fatal, !read, "{}", decl.name);
        }
    }

    #[test]
    fn engine_options_in_the_url_are_told() {
        let mut values = Values::new();
        values.set("blocksize", Some("1mb"), Origin::Url);
        values.set("use-ssl", None, Origin::Url);
        values.set("dry-run", None, Origin::CommandLine);
        let problems = check_url(&values, &[engine::USE_SSL.decl], &[TABLE]);
        assert_eq!(problems.len(), 1);
        assert_eq!(
            problems[0].message,
            "option blocksize has no effect in the storage URL, give it as --blocksize"
        );
    }
}
