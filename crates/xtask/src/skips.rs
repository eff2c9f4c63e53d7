//! Looks for tests that pass something over in a way that no switch turns into a failure.

use std::path::Path;

use anyhow::Result;

use crate::findings::Findings;
use crate::tree;

/// Words with which tests say that they leave something out, at the start of a text.
const WORDS: &[&str] = &["\"skipp", "\"left out", "\"passed over", "\"not run"];

/// What turns a skip into a failure.
const SWITCH: &str = "LARDER_TEST_REQUIRE_ALL";

/// Runs the check on the workspace at `root`.
pub fn check(root: &Path, findings: &mut Findings) -> Result<()> {
    let mut files = 0;
    for path in tree::files(root, "rs")? {
        let is_test = path.iter().any(|part| part == "tests") || path.ends_with("tests.rs");
        if !is_test {
            continue;
        }
        files += 1;
        let text = tree::read(root, &path)?;
        for line in silent_skips(&text) {
            findings.error(format!(
                "{}:{line}: passes something over; larder_testkit::pass_over makes that a failure under {SWITCH}",
                path.display()
            ));
        }
    }
    findings.note(format!("skips: {files} files of tests"));
    Ok(())
}

/// Lines that print that something is left out, in a file that does not know the switch; and those behind which a test
/// ends because of the user that runs it.
fn silent_skips(text: &str) -> Vec<usize> {
    let mut found = silent_returns(text);
    if text.contains(SWITCH) {
        return found;
    }
    let prints =
        |line: &str| line.contains("println!(") && WORDS.iter().any(|word| line.contains(word));
    found.extend(lines_where(text, prints));
    found.sort_unstable();
    found
}

/// Lines that ask for root and are followed by nothing but the end of the test.
fn silent_returns(text: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let ends = |line: &&str| matches!(*line, "return;" | "return Ok(());");
    let pairs = lines.windows(3).enumerate();
    pairs
        .filter(|(_, window)| {
            let asks = window.first().is_some_and(|line| {
                line.starts_with("if ") && line.contains("is_root()") && line.ends_with('{')
            });
            asks && window
                .iter()
                .skip(1)
                .find(|line| !line.starts_with("//"))
                .is_some_and(ends)
        })
        .map(|(at, _)| at + 1)
        .collect()
}

fn lines_where(text: &str, holds: impl Fn(&str) -> bool) -> Vec<usize> {
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| holds(line))
        .map(|(at, _)| at + 1)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_without_a_switch_are_found() {
        let silent = "fn a() {\n    println!(\"skipped: no shell\");\n}\n";
        assert_eq!(silent_skips(silent), [2]);
        assert_eq!(silent_skips(&format!("{silent}// {SWITCH}\n")), [0; 0]);
        assert_eq!(silent_skips("println!(\"seed {seed}\");"), [0; 0]);
        let root = "if !is_root() {\n    // No.\n    return Ok(());\n}\n";
        assert_eq!(silent_skips(root), [1]);
        assert_eq!(silent_skips("if is_root() {\n    assert!(x);\n}\n"), [0; 0]);
    }
}
