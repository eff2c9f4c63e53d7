//! The command line: tokens to options, filters and positional arguments.
//!
//! Options have the form `--name` or `--name=value` and may stand anywhere. There are no short options, and a value
//! never stands in a token of its own: in `--name value` the value is a positional argument. The rules are Duplicati's,
//! pinned by fixtures/vectors/parse-vectors.json.

use std::ffi::{OsStr, OsString};

use crate::decl::normalize_name;
use crate::error::{Error, Result};
use crate::value::LIST_SEPARATOR;

/// Whether a filter lets a path in or keeps it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FilterAction {
    /// `--include`, or `+` in a filter list.
    Include,
    /// `--exclude`, or `-` in a filter list.
    Exclude,
}

/// One filter as given, not yet understood.
pub type Filter = (FilterAction, String);

/// The parts of a command line.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// Options without filters, in the order given: normalized name and value. Repeated ones are all there; the last
    /// one counts, as [`Values::set`](crate::Values::set) has it.
    pub options: Vec<(String, Option<String>)>,
    /// What is left: command, URL, arguments.
    pub positional: Vec<OsString>,
    /// `--include` and `--exclude` in the order given.
    pub filters: Vec<Filter>,
    /// For each positional argument the option right before it, when that stood alone.
    bare: Vec<Option<String>>,
}

impl CommandLine {
    /// The option that stands without a value right before a positional argument.
    ///
    /// When such an argument turns out not to exist, `--name value` was probably typed for `--name=value`, and a hint
    /// helps.
    pub fn bare_option_before(&self, positional: usize) -> Option<&str> {
        self.bare.get(positional)?.as_deref()
    }
}

impl std::fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.options.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("CommandLine")
            .field("options", &names)
            .field("positional", &self.positional.len())
            .field("filters", &self.filters)
            .finish()
    }
}

/// Takes a command line apart. The program's own name must not be among the arguments.
///
/// # Errors
/// [`Error::Reserved`] for `--main-action`, [`Error::NotUtf8`] for an option that is not UTF-8 (positional arguments
/// may be anything), [`Error::NoValue`] for a filter option without value.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<CommandLine> {
    let mut parsed = CommandLine::default();
    let mut bare = None;
    for arg in args {
        if !arg.as_encoded_bytes().starts_with(b"--") {
            parsed.positional.push(arg);
            parsed.bare.push(bare.take());
            continue;
        }
        let text = arg
            .to_str()
            .ok_or_else(|| Error::NotUtf8 { shown: shown(&arg) })?;
        let Some((name, value)) = parse_option(text) else {
            continue;
        };
        bare = value.is_none().then(|| name.clone());
        if name == RESERVED {
            return Err(Error::Reserved { option: name });
        }
        match filter_action(&name) {
            Some(action) => {
                let filter = value.ok_or(Error::NoValue { option: name })?;
                parsed.filters.push((action, filter));
            }
            None => parsed.options.push((name, value)),
        }
    }
    Ok(parsed)
}

/// Takes a token `--name=value` apart: normalized name, and value with one pair of double quotes around it removed.
/// `None` when the token does not start with two dashes.
pub fn parse_option(token: &str) -> Option<(String, Option<String>)> {
    let token = token.strip_prefix("--")?;
    Some(match token.split_once('=') {
        None => (normalize_name(token), None),
        Some((name, value)) => (normalize_name(name), Some(unquote(value).to_owned())),
    })
}

/// Reads a filter list such as `+*.txt:-*/tmp/`, joined with the platform's list separator.
///
/// A separator counts only before a `+` or `-`, so that filters may contain it.
///
/// # Errors
/// [`Error::Malformed`] when an entry has no sign.
pub fn parse_filter_list(text: &str) -> Result<Vec<Filter>> {
    let mut filters: Vec<Filter> = Vec::new();
    for piece in text.split(LIST_SEPARATOR) {
        let action = match piece.as_bytes().first() {
            Some(b'+') => Some(FilterAction::Include),
            Some(b'-') => Some(FilterAction::Exclude),
            _ => None,
        };
        match (action, filters.last_mut()) {
            (Some(action), _) => {
                filters.push((action, piece.get(1..).unwrap_or_default().to_owned()))
            }
            (None, Some((_, filter))) => {
                filter.push(LIST_SEPARATOR);
                filter.push_str(piece);
            }
            (None, None) if piece.trim().is_empty() => {}
            (None, None) => {
                return Err(Error::malformed(
                    "filter list",
                    text,
                    "each entry starts with + or -",
                ));
            }
        }
    }
    Ok(filters)
}

/// What a filter option means; `None` for other options.
pub(crate) fn filter_action(name: &str) -> Option<FilterAction> {
    match name {
        "include" => Some(FilterAction::Include),
        "exclude" => Some(FilterAction::Exclude),
        _ => None,
    }
}

/// The option that only the program's own parts may set.
const RESERVED: &str = "main-action";

fn unquote(value: &str) -> &str {
    value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .unwrap_or(value)
}

/// The option up to its value, which may be secret.
fn shown(arg: &OsStr) -> String {
    let text = arg.to_string_lossy();
    text.split('=').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use FilterAction::{Exclude, Include};

    fn line(args: &[&str]) -> Result<CommandLine> {
        parse(args.iter().map(OsString::from))
    }

    #[test]
    fn options_may_stand_anywhere_and_values_never_alone() {
        let parsed = line(&[
            "--No_Encryption",
            "backup",
            "file:///x",
            "--dblock-size=1=2",
            "/a",
            "--passphrase",
            "abc",
        ])
        .expect("valid");
        let value = |text: &str| Some(text.to_owned());
        assert_eq!(
            parsed.options,
            [
                ("no-encryption".to_owned(), None),
                ("dblock-size".to_owned(), value("1=2")),
                ("passphrase".to_owned(), None)
            ]
        );
        assert_eq!(parsed.positional, ["backup", "file:///x", "/a", "abc"]);
        let before = [0, 1, 2, 3, 4].map(|at| parsed.bare_option_before(at));
        assert_eq!(
            before,
            [Some("no-encryption"), None, None, Some("passphrase"), None]
        );
    }

    #[test]
    fn filters_keep_their_order() {
        let parsed =
            line(&["--exclude=*.tmp", "--include=\"/a b/*\"", "--EXCLUDE=*"]).expect("valid");
        let filters = [(Exclude, "*.tmp"), (Include, "/a b/*"), (Exclude, "*")]
            .map(|(a, text)| (a, text.to_owned()));
        assert_eq!(parsed.filters, filters);
        assert_eq!(
            line(&["--exclude"]),
            Err(Error::NoValue {
                option: "exclude".to_owned()
            })
        );
    }

    #[test]
    fn the_reserved_option_is_refused() {
        assert_eq!(
            line(&["--Main-Action=x"]),
            Err(Error::Reserved {
                option: "main-action".to_owned()
            })
        );
    }

    #[cfg(unix)]
    #[test]
    fn only_positional_arguments_may_be_any_bytes() {
        use std::os::unix::ffi::OsStringExt;
        let path = OsString::from_vec(b"/a\xff".to_vec());
        assert_eq!(parse([path.clone()]).expect("valid").positional, [path]);
        let error = parse([OsString::from_vec(b"--passphrase=geheim\xff".to_vec())]).unwrap_err();
        assert_eq!(error.to_string(), "option --passphrase is not valid UTF-8");
    }

    #[cfg(unix)]
    #[test]
    fn filter_lists_split_only_before_a_sign() {
        let list = parse_filter_list("+*.txt:-[a:b]:-/c+d/:+x").expect("valid");
        let wanted = [
            (Include, "*.txt"),
            (Exclude, "[a:b]"),
            (Exclude, "/c+d/"),
            (Include, "x"),
        ];
        assert_eq!(list, wanted.map(|(action, text)| (action, text.to_owned())));
        assert_eq!(parse_filter_list(""), Ok(vec![]));
        assert!(parse_filter_list("*.txt").is_err());
    }

    #[test]
    fn debug_shows_no_values() {
        let parsed = line(&["--passphrase=geheim", "s3://user:geheim@host"]).expect("valid");
        assert!(!format!("{parsed:?}").contains("geheim"));
    }
}
