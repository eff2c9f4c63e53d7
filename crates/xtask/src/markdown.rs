//! The little of Markdown that the checks need: fences, links, code spans, headings.

/// Yields the lines inside fenced blocks with their numbers, counted from 1.
pub fn fenced_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    split(text)
        .filter(|(_, is_fenced, _)| *is_fenced)
        .map(|(number, _, line)| (number, line))
}

/// Yields each line with its number and whether it lies inside a fence; the fence lines themselves are left out.
fn split(text: &str) -> impl Iterator<Item = (usize, bool, &str)> {
    let mut inside = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        if line.trim_start().starts_with("```") {
            inside = !inside;
            return None;
        }
        Some((at + 1, inside, line))
    })
}

/// Returns the targets of inline links with their line numbers; code is passed over.
pub fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, is_fenced, line) in split(text) {
        if is_fenced {
            continue;
        }
        let line = without_code(line);
        for (at, _) in line.match_indices("](") {
            if let Some(end) = line[at + 2..].find(')') {
                let target = line[at + 2..at + 2 + end]
                    .split_whitespace()
                    .next()
                    .unwrap_or_default();
                found.push((number, target.to_owned()));
            }
        }
    }
    found
}

/// Returns all code with line numbers: what stands between backticks, and each line of a fence.
pub fn code(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, is_fenced, line) in split(text) {
        if is_fenced {
            found.push((number, line.to_owned()));
        } else {
            found.extend(
                line.split('`')
                    .skip(1)
                    .step_by(2)
                    .map(|span| (number, span.to_owned())),
            );
        }
    }
    found
}

fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("``")
}

/// Returns the anchors of all headings, as the usual web views make them.
pub fn anchors(text: &str) -> Vec<String> {
    split(text)
        .filter(|(_, is_fenced, line)| !is_fenced && line.starts_with('#'))
        .map(|(_, _, line)| anchor(line.trim_start_matches('#').trim()))
        .collect()
}

fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# One `two`: three\n[a](b.md) `[c](d)` [e](f.md#g \"t\")\n```sh\n[h](i)\nrun `x`\n```\nsee `p q` and `r`\n";

    #[test]
    fn links_outside_code_are_found() {
        assert_eq!(
            links(TEXT),
            [(2, "b.md".to_owned()), (2, "f.md#g".to_owned())]
        );
    }

    #[test]
    fn spans_and_fences_are_code() {
        let found: Vec<String> = code(TEXT).into_iter().map(|(_, text)| text).collect();
        assert_eq!(found, ["two", "[c](d)", "[h](i)", "run `x`", "p q", "r"]);
    }

    #[test]
    fn headings_become_anchors() {
        assert_eq!(anchors(TEXT), ["one-two-three"]);
        assert_eq!(
            anchors("## What survives a kill?\n"),
            ["what-survives-a-kill"]
        );
    }
}
