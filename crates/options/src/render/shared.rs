//! What the rendered forms have in common: words for kinds and states, groups, broken lines.

use crate::decl::{Group, Kind, OptionDecl, Status};

/// One command of the program, as the manual page and the completion show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verb {
    /// Its name.
    pub name: &'static str,
    /// Its positional arguments, e.g. `URL source…`; may be empty.
    pub arguments: &'static str,
    /// One sentence with a full stop.
    pub help: &'static str,
}

/// What a value looks like, in a few words: `size (mb without a unit)`.
pub fn describe_kind(decl: &OptionDecl) -> String {
    let label = decl.kind.label();
    match decl.kind {
        Kind::Size { unit } => format!("{label} ({} without a unit)", unit.suffix()),
        Kind::Integer { min, max } => {
            match (open_ended(min, i64::MIN), open_ended(max, i64::MAX)) {
                (None, None) => label.to_owned(),
                (Some(min), None) => format!("{label} (from {min})"),
                (None, Some(max)) => format!("{label} (up to {max})"),
                (Some(min), Some(max)) => format!("{label} ({min} to {max})"),
            }
        }
        _ if decl.kind.choices().is_empty() => label.to_owned(),
        _ => format!("{label} ({})", decl.kind.choices().join(", ")),
    }
}

/// What is to be said about an option that does not simply work, as a sentence.
pub fn describe_status(decl: &OptionDecl) -> Option<String> {
    match decl.status {
        Status::Active => None,
        Status::Deprecated { instead } => Some(format!("Deprecated: use --{instead}.")),
        Status::Retired => Some("Retired: it is accepted and has no effect.".to_owned()),
        Status::NoEffect { why } => Some(format!("No effect: {why}.")),
        Status::NotNeeded { why } => Some(format!("Not needed: {why}.")),
        Status::NotYet => Some("Accepted, but not acted on in this version.".to_owned()),
        Status::PartOf { options } => Some(format!(
            "Not acted on in this version; it counts only together with {}.",
            options
                .iter()
                .map(|name| format!("--{name}"))
                .collect::<Vec<_>>()
                .join(", ")
        )),
        Status::Refused { why, reading } => Some(format!(
            "Not built in this version: {} because without it {why}.",
            if reading {
                "no command runs with it,"
            } else {
                "no command that writes runs with it,"
            }
        )),
    }
}

fn open_ended(bound: i64, end: i64) -> Option<i64> {
    (bound != end && bound.unsigned_abs() < (1 << 31) - 1).then_some(bound)
}

/// What stands behind the equals sign in a synopsis; empty for yes or no.
pub(super) fn placeholder(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "",
        Kind::Text | Kind::Password => "=<text>",
        Kind::Path => "=<path>",
        Kind::PathList => "=<paths>",
        Kind::List => "=<list>",
        Kind::Integer { .. } | Kind::Decimal => "=<number>",
        Kind::Size { .. } => "=<size>",
        Kind::Timespan => "=<span>",
        Kind::Time => "=<time>",
        Kind::Choice(_) | Kind::StrictChoice(_) => "=<choice>",
        Kind::Flags(_) => "=<flags>",
        Kind::Versions => "=<versions>",
        Kind::Retention => "=<policy>",
        Kind::Filter => "=<filter>",
    }
}

/// The options of each group that has some, sorted by name, in the order of groups.
pub(super) fn by_group(
    tables: &[&[&'static OptionDecl]],
) -> Vec<(Group, Vec<&'static OptionDecl>)> {
    let all: Vec<&'static OptionDecl> = tables
        .iter()
        .flat_map(|table| table.iter().copied())
        .collect();
    Group::ALL
        .iter()
        .map(|group| {
            let mut members: Vec<_> = all
                .iter()
                .copied()
                .filter(|decl| decl.group == *group)
                .collect();
            members.sort_by_key(|decl| decl.name);
            members.dedup_by_key(|decl| decl.name);
            (*group, members)
        })
        .filter(|(_, members)| !members.is_empty())
        .collect()
}

/// The options that completion offers: those with an effect, sorted by name.
pub(super) fn offered(tables: &[&[&'static OptionDecl]]) -> Vec<&'static OptionDecl> {
    let mut all: Vec<&'static OptionDecl> = tables
        .iter()
        .flat_map(|table| table.iter().copied())
        .collect();
    all.retain(|decl| matches!(decl.status, Status::Active));
    all.sort_by_key(|decl| decl.name);
    all.dedup_by_key(|decl| decl.name);
    all
}

/// Breaks a text into lines of at most `width` letters, each with `indent` blanks in front.
pub(super) fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut wrapped = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let len = word.chars().count();
        if column > 0 && column + 1 + len > width {
            wrapped.push('\n');
            column = 0;
        }
        if column == 0 {
            wrapped.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += len;
    }
    wrapped
}

/// Tables and verbs for the tests of the parts.
#[cfg(test)]
pub(super) mod examples {
    use crate::{Group, Kind, OptionDecl, Secret, SizeUnit, Status};

    table! { Group::Destination;
        TOOL_KEY: Secret = "tool-key", Kind::Password, "Sets the key.";
        TOOL_MODE: String = "tool-mode", Kind::Choice(&["Fast", "Safe"]), "Chooses <the> mode's [kind]: fast | safe.",
            default: Some("Safe"), aliases: &["tool-kind"], long: "Safe is slower. It is \"better\".";
        TOOL_PART: u64 = "tool-part", Kind::Size { unit: SizeUnit::Mib }, "Sets the length of a part.", default: Some("8mb");
        TOOL_QUICK: bool = "tool-quick", Kind::Bool, "Makes it quick.", advanced: true;
        TOOL_FOLDER: String = "tool-folder", Kind::Path, "Names a folder.";
        TOOL_OLD: String = "tool-old", Kind::Text, "Did something once.", status: Status::Retired;
    }

    /// The declarations above.
    pub(crate) fn tables() -> [&'static [&'static OptionDecl]; 1] {
        [TABLE]
    }

    /// Two verbs.
    pub(crate) const VERBS: &[super::Verb] = &[
        super::Verb {
            name: "backup",
            arguments: "URL source…",
            help: "Creates a new version.",
        },
        super::Verb {
            name: "restore",
            arguments: "URL [pattern…]",
            help: "Brings files back.",
        },
    ];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine;

    #[test]
    fn kinds_are_described() {
        for (decl, text) in [
            (engine::BLOCKSIZE.decl, "size (kb without a unit)"),
            (engine::THRESHOLD.decl, "integer (0 to 100)"),
            (engine::NUMBER_OF_RETRIES.decl, "integer (from 0)"),
            (engine::KEEP_VERSIONS.decl, "integer"),
            (
                engine::SYMLINK_POLICY.decl,
                "choice (Store, Follow, Ignore)",
            ),
            (engine::DRY_RUN.decl, "boolean"),
        ] {
            assert_eq!(describe_kind(decl), text);
        }
    }

    #[test]
    fn lines_are_broken_at_blanks() {
        assert_eq!(wrap("one two three", 9, 2), "  one two\n  three");
        assert_eq!(wrap("unbreakable x", 4, 0), "unbreakable\nx");
        assert_eq!(wrap("", 4, 2), "");
    }
}
