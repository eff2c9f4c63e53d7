//! What is declared as working is read somewhere, and what is read is not declared as without effect.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use larder_options::{OptionDecl, Status, engine};

/// Read by the parser of the command line, not by a constant.
const READ_BY_THE_PARSER: &[&str] = &["include", "exclude"];

/// The names that are no misspelling although no table has them.
const ELSEWHERE: &str = include_str!("../../../options/src/elsewhere.txt");

/// The folders whose sources may read an option.
const READERS: &[&str] = &[
    "crates/cli/src",
    "crates/engine/src",
    "crates/destination/src",
    "crates/httpkit/src",
    "crates/registry/src",
    "destinations",
];

#[test]
fn what_is_built_is_not_listed_as_missing() {
    let tables = larder_registry::option_tables();
    let listed = ELSEWHERE.lines().filter_map(|line| line.split_once(": "));
    for name in listed.flat_map(|(_, names)| names.split(' ')) {
        let found = larder_options::find_decl(name, &tables);
        assert!(found.is_none(), "--{name} is built; take it off the list");
    }
}

#[test]
fn active_options_are_read_and_only_they() {
    let read = names_read();
    let tables: Vec<&[&'static OptionDecl]> = std::iter::once(engine::TABLE)
        .chain(larder_registry::option_tables())
        .collect();
    // One name may be an option of one provider and be accepted without effect by another.
    let decls = tables.iter().copied().flatten();
    let is_active = |decl: &&&OptionDecl| matches!(decl.status, Status::Active);
    let active: BTreeSet<&str> = decls.filter(is_active).map(|decl| decl.name).collect();
    let mut faults = BTreeSet::new();
    for decl in tables.into_iter().flatten() {
        let constant = decl.name.to_ascii_uppercase().replace('-', "_");
        // A provider may leave its own name out of a constant's.
        let own = decl.name.split_once('-').is_some_and(|(scheme, rest)| {
            let short = rest.to_ascii_uppercase().replace('-', "_");
            larder_registry::find(scheme).is_some() && read.contains(&short)
        });
        let is_read = own || read.contains(&constant) || READ_BY_THE_PARSER.contains(&decl.name);
        match decl.status {
            Status::Active | Status::Deprecated { .. } if !is_read => {
                faults.insert(format!(
                    "--{} is declared as working, but read nowhere",
                    decl.name
                ));
            }
            Status::NoEffect { .. }
            | Status::NotNeeded { .. }
            | Status::NotYet
            | Status::PartOf { .. }
            | Status::Refused { .. }
            | Status::Retired
                if is_read && !active.contains(decl.name) =>
            {
                faults.insert(format!(
                    "--{} is read, but declared as without effect",
                    decl.name
                ));
            }
            _ => {}
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// All words in capitals in the sources, but for declarations, entries of tables and tests.
fn names_read() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut names = BTreeSet::new();
    let mut waiting: Vec<PathBuf> = READERS.iter().map(|folder| root.join(folder)).collect();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name == "tests") {
                continue;
            }
            for entry in std::fs::read_dir(&path).expect("a folder") {
                waiting.push(entry.expect("an entry").path());
            }
            continue;
        }
        if path.extension().is_none_or(|e| e != "rs") || path.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source");
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let mut within_use = false;
        for line in text.lines() {
            let code = line.trim_start();
            let whole = code.trim_end_matches(',');
            if text.contains(&format!("const {whole}: &OptionDecl")) {
                // An entry of a table.
                continue;
            }
            if code.starts_with("use ") || code.starts_with("pub use ") {
                within_use = true;
            }
            if within_use || code.starts_with("//") {
                within_use = within_use && !code.contains(';');
                continue;
            }
            collect(code, &mut names);
        }
    }
    names
}

fn collect(code: &str, names: &mut BTreeSet<String>) {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let mut rest = code;
    while let Some(at) = rest.find(|c: char| c.is_ascii_uppercase()) {
        let before = &rest[..at];
        let word_len = rest[at..].find(|c| !is_part(c)).unwrap_or(rest.len() - at);
        let word = &rest[at..at + word_len];
        let after = &rest[at + word_len..];
        let in_table =
            before.trim().is_empty() && after.starts_with(": ") && after.contains("= \"");
        let declared = (before.trim_end().ends_with("const") && after.starts_with(':')) || in_table;
        let tabled = after.starts_with(".decl,") || after == ".decl";
        if !declared && !tabled {
            names.insert(word.to_owned());
        }
        rest = after;
    }
}
