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
        | Kind::Choice(&[]).bit()
        | Kind::StrictChoice(&[]).bit()
        | Kind::Versions.bit()
        | Kind::Retention.bit()
        | Kind::Filter.bit();

    fn read(decl: &OptionDecl, text: Option<&str>) -> Result<Option<Self>> {
        let given = text.unwrap_or_default();
        match decl.kind {
            Kind::Choice(names) => Ok(choose(names, text).map(str::to_owned)),
            Kind::StrictChoice(_) | Kind::Time | Kind::Versions | Kind::Retention
                if given.trim().is_empty() =>
            {
                Ok(None)
            }
            Kind::StrictChoice(names) => match choose(names, text) {
                Some(name) => Ok(Some(name.to_owned())),
                None => Err(invalid(
                    decl,
                    format!("\"{given}\" is none of {}", names.join(", ")),
                )),
            },
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

    fn read(_: &OptionDecl, text: Option<&str>) -> Result<Option<Self>> {
        Ok(Some(text.is_none_or(|text| value::parse_bool(text, true))))
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
