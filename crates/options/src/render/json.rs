//! The description of all options that forms are built from.

use super::shared::by_group;
use crate::decl::{Kind, OptionDecl, Status};

/// All options as a JSON array of objects, by group and name.
///
/// Each object has `name`, `aliases`, `kind`, `group`, `advanced`, `secret`, `status` (`active`, `deprecated`, `retired`,
/// `no effect`, `not needed`, `not yet`, `refused`), `help`, `long`, and where they apply `default`, `choices`, `strict`,
/// `unit`, `min`, `max`, `instead`, `why`, `part-of`.
pub fn json_listing(tables: &[&[&'static OptionDecl]]) -> String {
    let objects: Vec<String> = by_group(tables)
        .iter()
        .flat_map(|(_, members)| members)
        .map(|decl| format!("  {}", object(decl)))
        .collect();
    format!("[\n{}\n]\n", objects.join(",\n"))
}

fn object(decl: &OptionDecl) -> String {
    let mut members = vec![
        ("name", string(decl.name)),
        ("aliases", array(decl.aliases)),
        ("kind", string(decl.kind.label())),
        ("group", string(decl.group.title())),
        ("advanced", decl.advanced.to_string()),
        ("secret", decl.is_secret().to_string()),
        ("status", string(status(decl.status))),
        ("help", string(decl.help)),
        ("long", string(decl.long)),
    ];
    if let Some(default) = decl.default {
        members.push(("default", string(default)));
    }
    match decl.kind {
        Kind::Size { unit } => members.push(("unit", string(unit.suffix()))),
        Kind::Integer { min, max } => {
            members.push(("min", min.to_string()));
            members.push(("max", max.to_string()));
        }
        _ => {}
    }
    if !decl.kind.choices().is_empty() {
        members.push(("choices", array(decl.kind.choices())));
        members.push((
            "strict",
            matches!(decl.kind, Kind::StrictChoice(_)).to_string(),
        ));
    }
    match decl.status {
        Status::Deprecated { instead } => members.push(("instead", string(instead))),
        Status::NoEffect { why } | Status::NotNeeded { why } | Status::Refused { why, .. } => {
            members.push(("why", string(why)));
        }
        Status::PartOf { options } => members.push(("part-of", array(options))),
        Status::Active | Status::Retired | Status::NotYet => {}
    }
    let members: Vec<String> = members
        .into_iter()
        .map(|(name, value)| format!("{}: {value}", string(name)))
        .collect();
    format!("{{{}}}", members.join(", "))
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Active => "active",
        Status::Deprecated { .. } => "deprecated",
        Status::Retired => "retired",
        Status::NoEffect { .. } => "no effect",
        Status::NotNeeded { .. } => "not needed",
        Status::NotYet | Status::PartOf { .. } => "not yet",
        Status::Refused { .. } => "refused",
    }
}

fn array(items: &[&str]) -> String {
    let items: Vec<String> = items.iter().map(|item| string(item)).collect();
    format!("[{}]", items.join(", "))
}

/// A JSON string.
fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::shared::examples::tables;
    use super::*;

    #[test]
    fn the_listing_is_json_with_every_option() {
        let all = [crate::engine::TABLE, tables()[0]];
        let parsed: serde_json::Value = serde_json::from_str(&json_listing(&all)).expect("JSON");
        let objects = parsed.as_array().expect("array");
        assert_eq!(
            objects.len(),
            all.iter().map(|table| table.len()).sum::<usize>()
        );
        let mode = objects
            .iter()
            .find(|object| object["name"] == "tool-mode")
            .expect("there");
        assert_eq!(mode["choices"], serde_json::json!(["Fast", "Safe"]));
        assert_eq!(mode["long"], "Safe is slower. It is \"better\".");
        let key = objects
            .iter()
            .find(|object| object["name"] == "tool-key")
            .expect("there");
        assert_eq!(
            (&key["secret"], key.get("default")),
            (&serde_json::Value::Bool(true), None)
        );
    }

    #[test]
    fn odd_signs_are_escaped() {
        assert_eq!(string("a\"\\\n\u{7f}é"), "\"a\\\"\\\\\\u000a\\u007fé\"");
    }
}
