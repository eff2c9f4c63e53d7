//! Writes the option reference from the declarations, or compares it with them.

use std::path::Path;

use anyhow::{Context, Result};

use crate::findings::Findings;

/// The generated page.
const PAGE: &str = "docs/reference/options.md";

/// Writes the page.
pub fn write(root: &Path) -> Result<()> {
    let path = root.join(PAGE);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("creating {}", folder.display()))?;
    }
    std::fs::write(&path, render()).with_context(|| format!("writing {}", path.display()))
}

/// Reports an error when the page differs from the declarations.
pub fn check(root: &Path, findings: &mut Findings) -> Result<()> {
    let expected = render();
    let found = std::fs::read_to_string(root.join(PAGE)).unwrap_or_default();
    if found != expected {
        let line = first_difference(&found, &expected);
        findings.error(format!(
            "{PAGE}:{line}: out of date; run `cargo xtask options-reference`"
        ));
    }
    findings.note(format!(
        "options-reference: {} lines",
        expected.lines().count()
    ));
    Ok(())
}

/// The page as the declarations give it now.
fn render() -> String {
    let providers = larder_registry::providers();
    let titles: Vec<String> = providers
        .iter()
        .map(|p| format!("{} ({})", p.name, p.schemes.join(", ")))
        .collect();
    let sections: Vec<_> = titles
        .iter()
        .zip(providers)
        .map(|(title, p)| (title.as_str(), p.options))
        .collect();
    larder_options::render::markdown_reference(&[larder_options::engine::TABLE], &sections)
}

/// Number of the first line, counted from 1, in which the texts differ.
fn first_difference(a: &str, b: &str) -> usize {
    1 + a.lines().zip(b.lines()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(first_difference("a\nb\nc\n", "a\nx\nc\n"), 2);
        assert_eq!(first_difference("", "a\n"), 1);
        assert_eq!(first_difference("a\n", "a\nb\n"), 2);
    }
}
