//! Compares what the comments of the seam promise with the cases that hold it: each sentence on a trait names its case,
//! each case is named, and each name belongs to a case.
//!
//! A case is one of the suite that runs on every destination (`deletes`), or one of what is done to a server
//! (`get: cut`: the verb, and what happens to it).

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use crate::findings::Findings;
use crate::tree;

/// Where promises are written.
const PROMISES: &str = "crates/destination/src/";

/// Where cases are.
const CASES: &str = "crates/testkit/src/behaviour/";

/// Where it stands what is done to servers.
const TROUBLES: &str = "crates/testkit/src/misbehaviour/cases.rs";

/// The files of [`PROMISES`] with traits that providers fulfil.
const TRAITS: &[&str] = &["lib.rs", "extra.rs"];

/// How sentences begin that need no case, each with the reason.
const WITHOUT: &[(&str, &str)] = &[
    (
        "What stands in parentheses",
        "it is about the comments themselves",
    ),
    (
        "Not to be repeated under the same name",
        "it is what callers must do",
    ),
    ("The engine puts again", "it is what callers do"),
    (
        "To be called by runs that write",
        "it is what callers must do",
    ),
    (
        "Where a temporary name tells",
        "no case can make a file old on a real server: each provider tests its own",
    ),
    (
        "Where an upload has the name",
        "no case can make an upload old on a real server: each provider tests its own",
    ),
    ("Those of the calls needed", "it names no kind"),
    (
        "A hold without an end is",
        "no case can set one, since it would never go: each provider tests its own",
    ),
];

/// Runs the check on the workspace at `root`.
pub fn check(root: &Path, findings: &mut Findings) -> Result<()> {
    let (mut promised, mut cases) = (BTreeSet::new(), BTreeSet::new());
    let mut sentences = Vec::new();
    for path in tree::files(root, "rs")? {
        let shown = path.display().to_string();
        if let Some(file) = shown.strip_prefix(PROMISES) {
            let text = tree::read(root, &path)?;
            promised.extend(names_in_comments(&text));
            if TRAITS.contains(&file) {
                sentences.extend(sentences_on_traits(&text));
            }
        } else if shown.starts_with(CASES) {
            cases.extend(names_of_cases(&tree::read(root, &path)?));
        }
    }
    let troubles: BTreeSet<String> = troubles(&tree::read(root, Path::new(TROUBLES))?)
        .into_iter()
        .collect();
    for name in &promised {
        let (known, place) = match name.contains(": ") {
            true => (&troubles, TROUBLES),
            false => (&cases, CASES),
        };
        if !known.contains(name) {
            findings.error(format!(
                "{PROMISES}: there is no case \"{name}\" in {place}"
            ));
        }
    }
    for name in cases.difference(&promised) {
        findings.error(format!(
            "{CASES}: no comment in {PROMISES} names the case \"{name}\""
        ));
    }
    check_sentences(&sentences, findings);
    findings.note(format!(
        "contract: {} cases for {} sentences, {} of which need none",
        cases.len(),
        sentences.len(),
        WITHOUT.len()
    ));
    Ok(())
}

/// Each sentence names a case or stands in [`WITHOUT`], and so does what it says of each kind of error.
fn check_sentences(sentences: &[Sentence], findings: &mut Findings) {
    for Sentence { on, text } in sentences {
        let excuse = WITHOUT.iter().any(|(begin, _)| text.starts_with(begin));
        let (first, kinds) = parts_by_kind(text);
        let holds = |part: &str| !names_in(part).is_empty();
        let is_held = match kinds.as_slice() {
            [] => holds(first),
            kinds => kinds.iter().all(|part| holds(part)),
        };
        match (excuse, is_held) {
            (false, false) => {
                findings.error(format!("{PROMISES}: {on}: a case is missing for: {text}"))
            }
            (true, true) => findings.error(format!(
                "{PROMISES}: {on}: names a case and needs none: {text}"
            )),
            _ => {}
        }
    }
    for (begin, _) in WITHOUT {
        if !sentences
            .iter()
            .any(|sentence| sentence.text.starts_with(begin))
        {
            findings.error(format!("{PROMISES}: no sentence begins with: {begin}"));
        }
    }
}

/// A sentence in the comment on a trait or on one of its methods.
#[derive(Debug, PartialEq, Eq)]
struct Sentence {
    /// The line of code that the comment stands on.
    on: String,
    text: String,
}

/// All sentences on traits and their methods, but for the first on a trait: it says what a thing is.
fn sentences_on_traits(text: &str) -> Vec<Sentence> {
    let (mut found, mut comment, mut is_inside) = (Vec::new(), Vec::new(), false);
    for line in text.lines() {
        let trimmed = line.trim_start();
        if let Some(doc) = trimmed.strip_prefix("///") {
            comment.push(doc.trim());
            continue;
        }
        if trimmed.starts_with("#[") {
            continue;
        }
        let is_trait = trimmed.starts_with("pub trait ");
        is_inside |= is_trait;
        if is_inside {
            let of_comment = paragraphs(&comment);
            let of_comment = of_comment.iter().flat_map(|text| sentences_of(text));
            found.extend(of_comment.skip(usize::from(is_trait)).map(|text| Sentence {
                on: trimmed.trim_end_matches([' ', '{', ';']).to_owned(),
                text,
            }));
        }
        comment.clear();
        is_inside &= line != "}";
    }
    found
}

/// The paragraphs and items of a comment, without headings.
fn paragraphs(lines: &[&str]) -> Vec<String> {
    let mut found = vec![String::new()];
    for line in lines {
        let item = line.strip_prefix("* ");
        if line.is_empty() || line.starts_with('#') || item.is_some() {
            found.push(String::new());
        }
        if let Some(last) = found.last_mut().filter(|_| !line.starts_with('#')) {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(item.unwrap_or(line));
        }
    }
    found.retain(|text| !text.is_empty());
    found
}

/// Splits at full stops that are followed by a blank or by nothing, and are not within code.
fn sentences_of(text: &str) -> Vec<String> {
    let (mut found, mut begin, mut is_code) = (Vec::new(), 0, false);
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        is_code ^= c == '`';
        let ends = characters.peek().is_none_or(|(_, next)| *next == ' ');
        if c == '.' && ends && !is_code {
            found.extend(text.get(begin..=at));
            begin = at + 1;
        }
    }
    found.extend(text.get(begin..));
    let found = found.into_iter().map(|text: &str| text.trim().to_owned());
    found.filter(|text| !text.is_empty()).collect()
}

/// What stands before the first kind of error, and what is said of each kind.
fn parts_by_kind(sentence: &str) -> (&str, Vec<&str>) {
    let mut parts = sentence.split("[`ErrorKind::");
    (parts.next().unwrap_or_default(), parts.collect())
}

/// The names `verb: trouble` in the table of what is done to servers.
fn troubles(text: &str) -> Vec<String> {
    let table = text
        .split_once("const TROUBLES")
        .map_or("", |(_, rest)| rest);
    let table = table.split_once("\n];").map_or("", |(table, _)| table);
    let mut pieces = table.split('"').skip(1);
    let mut found = Vec::new();
    while let (Some(name), Some(verbs)) = (pieces.next(), pieces.next()) {
        let mut words = verbs.split(|c: char| !c.is_ascii_alphanumeric());
        let words: BTreeSet<&str> = words.by_ref().collect();
        let verbs = VERBS
            .iter()
            .filter(|(word, _)| words.contains(word) || words.contains("VERBS"));
        found.extend(verbs.map(|(_, verb)| format!("{verb}: {name}")));
    }
    found
}

/// The verbs in code and in the names of cases.
const VERBS: &[(&str, &str)] = &[
    ("List", "list"),
    ("Get", "get"),
    ("Put", "put"),
    ("Delete", "delete"),
    ("CreateFolder", "create-folder"),
];

/// The names in all comments of a file.
fn names_in_comments(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("///"));
    names_in(&lines.map(str::trim).collect::<Vec<_>>().join(" "))
}

/// Names in parentheses and code ticks, several of them divided by `; `. Rust's own names have no blanks.
fn names_in(comments: &str) -> Vec<String> {
    let mut found = Vec::new();
    for start in comments.split("(`").skip(1) {
        let Some((names, _)) = start.split_once("`)") else {
            continue;
        };
        // A single word may be a case, but is an identifier when the text goes on as code.
        let is_name =
            |name: &&str| name.contains(": ") || !name.contains(['`', ':', '_', '=', '-', '.']);
        found.extend(names.split("`; `").filter(is_name).map(str::to_owned));
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
        let text = "/// It is (`one case`; `two\n/// lines`).\n    /// `not this`, (`x-y`) and (`a::b`).\n// (`nor this`)\n/// (`create-folder: 409`)";
        let expected = ["one case", "two lines", "create-folder: 409"];
        assert_eq!(names_in_comments(text), expected);
    }

    #[test]
    fn sentences_of_traits_are_found() {
        let text = "/// Not this.\npub struct X {\n    /// Nor this.\n    a: u8,\n}\n\n/// A thing. It does\n/// `a.b c` (`x`).\n\
                    #[async_trait]\npub trait T: Send {\n    /// One. * no\n    ///\n    /// * Two\n    ///   lines.\n    ///\n\
                    \u{20}   /// # Errors\n    /// Three\n    fn f(&self);\n}\n\n/// Not this.\nfn g() {}\n";
        let found = sentences_on_traits(text);
        let found: Vec<_> = found.iter().map(|s| (&*s.on, &*s.text)).collect();
        assert_eq!(
            found,
            [
                ("pub trait T: Send", "It does `a.b c` (`x`)."),
                ("fn f(&self)", "One."),
                ("fn f(&self)", "* no"),
                ("fn f(&self)", "Two lines."),
                ("fn f(&self)", "Three"),
            ]
        );
    }

    #[test]
    fn a_sentence_and_a_kind_without_a_case_are_told() {
        let told = |texts: &[&str]| {
            let excused = WITHOUT.iter().map(|(begin, _)| *begin);
            let all = texts.iter().copied().chain(excused);
            let sentences = all.map(|text| Sentence {
                on: "fn f()".to_owned(),
                text: text.to_owned(),
            });
            let mut findings = Findings::default();
            check_sentences(&sentences.collect::<Vec<_>>(), &mut findings);
            findings.errors.len()
        };
        assert_eq!(told(&["It does (`one case`).", "Held (`get: cut`)."]), 0);
        assert_eq!(told(&["It does."]), 1);
        let both = "[`ErrorKind::NotFound`] for one (`x`), [`ErrorKind::Quota`] for another (`y`).";
        assert_eq!(told(&[both]), 0);
        assert_eq!(told(&[&both.replace(" (`x`)", "")]), 1);
        assert_eq!(told(&[&both.replace(" (`y`)", "")]), 1);
        assert_eq!(told(&["The engine puts again (`x`)."]), 1);
        let mut findings = Findings::default();
        check_sentences(&[], &mut findings);
        assert_eq!(findings.errors.len(), WITHOUT.len());
    }

    #[test]
    fn names_of_troubles_are_found() {
        let text = "const TROUBLES: &[X] = &[\n    (What::A, \"401\", VERBS),\n    // Text.\n    (\n        What::B(&Kind::Quota),\n\
                    \u{20}       \"taken by another\",\n        &[Operation::CreateFolder],\n    ),\n    (What::C, \"cut\", &[List, Get]),\n];\n\"no\"";
        let found = troubles(text);
        assert_eq!(found.len(), 5 + 1 + 2);
        for name in ["put: 401", "create-folder: taken by another", "get: cut"] {
            assert!(found.iter().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn names_of_cases_are_found() {
        let text = "case!(\"one case\", one),\n    case!(\n        \"two\",\n        two\n    ),";
        assert_eq!(names_of_cases(text), ["one case", "two"]);
    }
}
