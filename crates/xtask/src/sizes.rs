//! Reports long files and functions, and how often code may panic.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::findings::Findings;
use crate::{rust_text, sources};

/// Lines of a file without its tests: more than the first is worth a look, more than the second is an error.
const FILE_LINES: (usize, usize) = (400, 800);
/// Lines of a function: more is an error.
const FUNCTION_LINES: usize = 120;
/// Calls that may panic, allowed per 1000 lines of a crate.
const PANICS_PER_1000: usize = 3;

/// Files that are pure tables and may be longer; each with the reason.
const TABLES: &[(&str, &str)] = &[];

/// Crates that only tests use: to panic is how they report.
const TEST_CRATES: &[&str] = &["crates/testkit", "crates/conformance", "fuzz"];

/// Text of calls that may panic. Literals are blanked out before, so that a message leaves a space or a line's end;
/// `expect` with another argument is some parser's own method.
const PANICKING: &[&str] = &[
    ".unwrap()",
    ".unwrap_err()",
    ".expect( ",
    ".expect(\n",
    "panic!(",
    "unreachable!(",
    "todo!(",
    "unimplemented!(",
];

/// What is measured in one file, tests left out.
#[derive(Debug, Default, PartialEq, Eq)]
struct Measure {
    lines: usize,
    panics: usize,
    /// Name, line and length of functions over the limit.
    long_functions: Vec<(String, usize, usize)>,
}

/// Runs the check on the workspace at `root`.
pub fn check(root: &Path, findings: &mut Findings) -> Result<()> {
    let mut crates: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut longest = 0;
    for source in sources::shipped(root)? {
        let measure = measure(&source.code);
        longest = longest.max(measure.lines);
        check_file(&source.path.display().to_string(), &measure, findings);
        if !TEST_CRATES.contains(&source.package.as_str()) {
            let sums = crates.entry(source.package).or_default();
            *sums = (sums.0 + measure.lines, sums.1 + measure.panics);
        }
    }
    check_panics(&crates, findings);
    let lines: usize = crates.values().map(|c| c.0).sum();
    findings.note(format!(
        "sizes: {lines} lines without tests, longest file {longest} lines"
    ));
    Ok(())
}

fn check_file(shown: &str, measure: &Measure, findings: &mut Findings) {
    let table = TABLES.iter().any(|(path, _)| *path == shown);
    if measure.lines > FILE_LINES.1 && !table {
        findings.error(format!(
            "{shown}: {} lines without tests, {} at most",
            measure.lines, FILE_LINES.1
        ));
    } else if measure.lines > FILE_LINES.0 && !table {
        findings.warn(format!(
            "{shown}: {} lines without tests, {} is usual",
            measure.lines, FILE_LINES.0
        ));
    }
    for (name, line, len) in &measure.long_functions {
        findings.error(format!(
            "{shown}:{line}: function {name} has {len} lines, {FUNCTION_LINES} at most"
        ));
    }
}

/// Small crates get a floor, so that one reasoned `expect` in 100 lines is not an error.
fn check_panics(crates: &BTreeMap<String, (usize, usize)>, findings: &mut Findings) {
    for (package, (lines, panics)) in crates {
        let allowed = (lines * PANICS_PER_1000 / 1000).max(1);
        if *panics > allowed {
            findings.error(format!(
                "{package}: {panics} calls that may panic in {lines} lines, {allowed} at most"
            ));
        }
    }
}

fn measure(code: &str) -> Measure {
    let marks = rust_text::test_lines(code);
    let shipped: Vec<&str> = code
        .lines()
        .zip(&marks)
        .filter(|(_, is_test)| !**is_test)
        .map(|(line, _)| line)
        .collect();
    let long_functions = rust_text::functions(code)
        .into_iter()
        .filter(|f| f.len > FUNCTION_LINES && marks.get(f.line - 1) == Some(&false))
        .map(|f| (f.name.to_owned(), f.line, f.len))
        .collect();
    let text: String = shipped.iter().flat_map(|line| [*line, "\n"]).collect();
    let panics = PANICKING
        .iter()
        .map(|call| text.matches(call).count())
        .sum();
    Measure {
        lines: shipped.len(),
        panics,
        long_functions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_literals_do_not_count() {
        let code = rust_text::code_only(
            "fn a() {\n    b.expect(\"c\"); // .unwrap()\n    d.expect(b'{')?;\n    let s = \".expect(\";\n}\n#[cfg(test)]\nmod tests {\n    x.unwrap();\n}\n",
        );
        assert_eq!(
            measure(&code),
            Measure {
                lines: 5,
                panics: 1,
                long_functions: vec![]
            }
        );
    }

    #[test]
    fn long_functions_are_named() {
        let text = format!("fn long() {{\n{}}}\n", "    x();\n".repeat(130));
        assert_eq!(measure(&text).long_functions, [("long".to_owned(), 1, 132)]);
    }

    #[test]
    fn limits_are_applied() {
        let mut findings = Findings::default();
        check_file(
            "a.rs",
            &Measure {
                lines: 800,
                ..Measure::default()
            },
            &mut findings,
        );
        check_file(
            "b.rs",
            &Measure {
                lines: 801,
                ..Measure::default()
            },
            &mut findings,
        );
        check_file(
            "c.rs",
            &Measure {
                lines: 400,
                ..Measure::default()
            },
            &mut findings,
        );
        assert_eq!((findings.errors.len(), findings.warnings.len()), (1, 1));
        let long = Measure {
            long_functions: vec![("long".to_owned(), 1, 121)],
            ..Measure::default()
        };
        check_file("d.rs", &long, &mut findings);
        assert_eq!((findings.errors.len(), findings.warnings.len()), (2, 1));
        let crates = BTreeMap::from([
            ("crates/a".to_owned(), (1000, 3)),
            ("crates/b".to_owned(), (1000, 4)),
            ("crates/c".to_owned(), (20, 1)),
        ]);
        let mut findings = Findings::default();
        check_panics(&crates, &mut findings);
        assert_eq!(
            findings.errors,
            ["crates/b: 4 calls that may panic in 1000 lines, 3 at most"]
        );
    }
}
