//! Compares what the comments of the seam promise with the cases that hold it: each case is named beside its sentence, and
//! each name belongs to a case.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use crate::findings::Findings;
use crate::tree;

/// Where promises are written.
const PROMISES: &str = "crates/destination/src/";

/// Where cases are.
const CASES: &str = "crates/testkit/src/behaviour/";

/// Runs the check on the workspace at `root`.
pub fn check(root: &Path, findings: &mut Findings) -> Result<()> {
    let (mut promised, mut cases) = (BTreeSet::new(), BTreeSet::new());
    for path in tree::files(root, "rs")? {
        let shown = path.display().to_string();
        if shown.starts_with(PROMISES) {
            promised.extend(names_in_comments(&tree::read(root, &path)?));
        } else if shown.starts_with(CASES) {
            cases.extend(names_of_cases(&tree::read(root, &path)?));
        }
    }
    for name in promised.difference(&cases) {
        findings.error(format!(
            "{PROMISES}: there is no case \"{name}\" in {CASES}"
        ));
    }
    for name in cases.difference(&promised) {
        findings.error(format!(
            "{CASES}: no comment in {PROMISES} names the case \"{name}\""
        ));
    }
    findings.note(format!(
        "contract: {} cases, each beside its sentence",
        cases.len()
    ));
    Ok(())
}

/// Names in parentheses and code ticks, several of them divided by `; `. Rust's own names have no blanks.
fn names_in_comments(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("///"));
    let comments = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for start in comments.split("(`").skip(1) {
        let Some((names, _)) = start.split_once("`)") else {
            continue;
        };
        // A single word may be a case, but is an identifier when the text goes on as code.
        let names = names
            .split("`; `")
            .filter(|name| !name.contains(['`', ':', '_', '=', '-', '.']));
        found.extend(names.map(str::to_owned));
    }
    found
}

/// The texts of `case!("…", …)`.
fn names_of_cases(text: &str) -> Vec<String> {
    let calls = text.split("case!(").skip(1);
    let names = calls.filter_map(|call| call.trim_start().strip_prefix('"')?.split_once('"'));
    names.map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_comments_over_lines() {
        let text = "/// It is (`one case`; `two\n/// lines`).\n    /// `not this`, (`x-y`) and (`a::b`).\n// (`nor this`)\n";
        assert_eq!(names_in_comments(text), ["one case", "two lines"]);
    }

    #[test]
    fn names_of_cases_are_found() {
        let text = "case!(\"one case\", one),\n    case!(\n        \"two\",\n        two\n    ),";
        assert_eq!(names_of_cases(text), ["one case", "two"]);
    }
}
