//! From the text of a value to the type of its option.

use crate::decl::{Kind, OptionDecl};
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::value;

/// A type that option values are read as.
pub trait OptionValue: Sized {
    /// The kinds that are read as this type, as bits.
    #[doc(hidden)]
    const KINDS: u32;

    /// What stands for an option that was neither given nor has a default.
    const ABSENT: Option<Self> = None;

    /// The words of a [`Choice`](crate::Choice).
    #[doc(hidden)]
    const NAMES: Option<&'static [&'static str]> = None;

    /// Reads a value; `text` is `None` when the option stands alone, without `=`. `Ok(None)` means that the default
    /// applies.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a text of the wrong form where the default would be dangerous.
    fn read(decl: &OptionDecl, text: Option<&str>) -> Result<Option<Self>>;
}

impl OptionValue for String {
    const KINDS: u32 = Kind::Text.bit()
        | Kind::Path.bit()
        | Kind::Time.bit()
        | CHOICES
        | Kind::Versions.bit()
        | Kind::Retention.bit()
        | Kind::Filter.bit();

    fn read(decl: &OptionDecl, text: Option<&str>) -> Result<Option<Self>> {
        let given = text.unwrap_or_default();
        match decl.kind {
            Kind::Choice(_) | Kind::StrictChoice(_) => Ok(word(decl, text)?.map(str::to_owned)),
            Kind::Time | Kind::Versions | Kind::Retention if given.trim().is_empty() => Ok(None),
            Kind::Versions => {
                value::parse_versions(given).map_err(|error| invalid(decl, error.to_string()))?;
                Ok(Some(given.trim().to_owned()))
            }
            Kind::Retention => {
                value::parse_retention(given).map_err(|error| invalid(decl, error.to_string()))?;
                Ok(Some(given.trim().to_owned()))
            }
            Kind::Time => Ok(Some(given.trim().to_owned())),
            _ => Ok(text.map(str::to_owned)),
        }
    }
}

impl OptionValue for Secret {
    const KINDS: u32 = Kind::Password.bit();

    fn read(_: &OptionDecl, text: Option<&str>) -> Result<Option<Self>> {
        Ok(text.map(Secret::from))
    }
}

impl OptionValue for Vec<String> {
    const KINDS: u32 = Kind::PathList.bit() | Kind::List.bit() | Kind::Flags(&[]).bit();
    const ABSENT: Option<Self> = Some(Vec::new());

    fn read(decl: &OptionDecl, text: Option<&str>) -> Result<Option<Self>> {
        let text = text.unwrap_or_default();
        Ok(Some(match decl.kind {
            Kind::PathList => value::split_paths(text),
            Kind::Flags(names) => value::split_list(text)
                .iter()
                .filter_map(|item| choose(names, Some(item)))
                .map(str::to_owned)
                .collect(),
            _ => value::split_list(text),
        }))
    }
}

impl OptionValue for bool {
    const KINDS: u32 = Kind::Bool.bit();
    const ABSENT: Option<Self> = Some(false);

    fn read(decl: &OptionDecl, text: Option<&str>) -> Result<Option<Self>> {
        match text {
            None => Ok(Some(true)),
            Some(text) if text.trim().is_empty() => Ok(Some(true)),
            Some(text) => match value::parse_bool_strict(text) {
                Some(value) => Ok(Some(value)),
                None => Err(invalid(decl, not_yes_or_no(text))),
            },
        }
    }
}

impl OptionValue for i64 {
    const KINDS: u32 = Kind::Integer { min: 0, max: 0 }.bit() | Kind::Timespan.bit();

    fn read(decl: &OptionDecl, text: Option<&str>) -> Result<Option<Self>> {
        let text = text.unwrap_or_default().trim();
        match decl.kind {
            _ if text.is_empty() => Ok(None),
            Kind::Integer { min, max } => match text.parse::<i64>() {
                Ok(number) => Ok(Some(number.max(min).min(max))),
                Err(error) if decl.default.is_none() => {
                    Err(invalid(decl, format!("\"{text}\": {error}")))
                }
                Err(_) => Ok(None),
            },
            _ => value::parse_timespan(text)
                .map(Some)
                .map_err(|error| invalid(decl, error.to_string())),
        }
    }
}

impl OptionValue for f64 {
    const KINDS: u32 = Kind::Decimal.bit();

    fn read(decl: &OptionDecl, text: Option<&str>) -> Result<Option<Self>> {
        let text = text.unwrap_or_default().trim();
        match value::parse_decimal(text) {
            _ if text.is_empty() => Ok(None),
            Ok(number) => Ok(Some(number)),
            Err(error) if decl.default.is_none() => Err(invalid(decl, error.to_string())),
            Err(_) => Ok(None),
        }
    }
}

impl OptionValue for u64 {
    const KINDS: u32 = Kind::Size {
        unit: crate::SizeUnit::Bytes,
    }
    .bit();

    fn read(decl: &OptionDecl, text: Option<&str>) -> Result<Option<Self>> {
        let text = text.unwrap_or_default().trim();
        match decl.kind {
            Kind::Size { unit } if !text.is_empty() => value::parse_size(text, unit)
                .map(Some)
                .map_err(|error| invalid(decl, error.to_string())),
            _ => Ok(None),
        }
    }
}

/// The kinds that choose one word.
pub(crate) const CHOICES: u32 = Kind::Choice(&[]).bit() | Kind::StrictChoice(&[]).bit();

/// The declared word that the text of a choice means; `None` when the default applies.
///
/// # Errors
/// [`Error::Invalid`] for a wrong word in whose place the default must not be used.
pub(crate) fn word(decl: &OptionDecl, text: Option<&str>) -> Result<Option<&'static str>> {
    let names = decl.kind.choices();
    let given = text.unwrap_or_default();
    match choose(names, text) {
        Some(name) => Ok(Some(name)),
        None if given.trim().is_empty() || !must_fit(decl.kind) => Ok(None),
        None => Err(invalid(decl, none_of(given, names))),
    }
}

/// True when a wrong word is an error, not a reason to use the default: where the kind says so, and for a yes or no.
pub(crate) fn must_fit(kind: Kind) -> bool {
    match kind {
        Kind::StrictChoice(_) => true,
        Kind::Choice(names) => names.contains(&"True"),
        _ => false,
    }
}

/// The complaint about a wrong word.
pub(crate) fn none_of(text: &str, names: &[&str]) -> String {
    format!("\"{text}\" is none of {}", names.join(", "))
}

/// The complaint about a wrong yes or no.
pub(crate) fn not_yes_or_no(text: &str) -> String {
    format!("\"{text}\" is neither yes nor no; write true or false")
}

/// The name of the list that the text means.
pub(crate) fn choose(names: &'static [&'static str], text: Option<&str>) -> Option<&'static str> {
    let by_name = |wanted: &str| {
        names
            .iter()
            .find(|name| name.eq_ignore_ascii_case(wanted))
            .copied()
    };
    let Some(text) = text.map(str::trim) else {
        return by_name("True");
    };
    by_name(text).or_else(|| match value::parse_bool_strict(text) {
        Some(true) => by_name("True"),
        Some(false) => by_name("False"),
        None => None,
    })
}

fn invalid(decl: &OptionDecl, why: String) -> Error {
    Error::Invalid {
        option: decl.name.to_owned(),
        why,
    }
}
