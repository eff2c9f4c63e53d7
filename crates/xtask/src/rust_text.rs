//! Looks at Rust source as text: what is code, what is test, where functions end.
//!
//! This is no parser. It knows comments and literals, and trusts the indentation that `cargo fmt` gives.

use std::iter::Peekable;
use std::str::CharIndices;

/// Returns the text with the content of comments, strings and character literals blanked out, line by line the same.
pub fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.char_indices().peekable();
    let mut before = ' ';
    while let Some((at, c)) = chars.next() {
        let rest = &text[at..];
        let end = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment_len(rest)
        } else if let Some(len) = (!is_word(before)).then(|| raw_string_len(rest)).flatten() {
            len
        } else if c == '"' {
            string_len(rest)
        } else if c == '\'' {
            char_len(rest)
        } else {
            0
        };
        if end == 0 {
            out.push(c);
        } else {
            out.extend(
                rest[..end]
                    .chars()
                    .map(|c| if c == '\n' { '\n' } else { ' ' }),
            );
            skip_to(&mut chars, at + end);
        }
        before = c;
    }
    out
}

fn skip_to(chars: &mut Peekable<CharIndices<'_>>, end: usize) {
    while chars.next_if(|(at, _)| *at < end).is_some() {}
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn block_comment_len(rest: &str) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// Length of a raw string such as `br##"…"##` at the start, or nothing.
fn raw_string_len(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r"]
        .into_iter()
        .find(|p| rest.starts_with(p))?;
    let hashes = rest[prefix.len()..]
        .bytes()
        .take_while(|b| *b == b'#')
        .count();
    let open = prefix.len() + hashes;
    if rest.as_bytes().get(open) != Some(&b'"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let body = &rest[open + 1..];
    Some(
        body.find(&close)
            .map_or(rest.len(), |at| open + 1 + at + close.len()),
    )
}

fn string_len(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Length of a character literal at the start, or 0 when the quote begins a lifetime.
fn char_len(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            chars.next();
            chars.find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1)
        }
        Some(_) => chars
            .next()
            .filter(|(_, c)| *c == '\'')
            .map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

/// Returns for each line of the output of [`code_only`] whether it belongs to an item under `#[cfg(test)]`.
pub fn test_lines(code: &str) -> Vec<bool> {
    let mut marks = Vec::new();
    let mut depth: Option<i64> = None; // braces open inside the test item; Some(0) before its first brace
    for line in code.lines() {
        let trimmed = line.trim();
        if depth.is_none()
            && (trimmed.starts_with("#[cfg(test)]") || trimmed.starts_with("#[cfg(all(test"))
        {
            depth = Some(0);
        }
        marks.push(depth.is_some());
        if let Some(open) = depth {
            let opened = count(line, '{');
            let now = open + opened - count(line, '}');
            let ended = now <= 0 && (opened > 0 || open > 0 || trimmed.ends_with(';'));
            depth = if ended { None } else { Some(now) };
        }
    }
    marks
}

fn count(line: &str, wanted: char) -> i64 {
    line.chars().filter(|c| *c == wanted).map(|_| 1).sum()
}

/// Returns the names declared by `#[cfg(test)] mod name;`, whose files hold nothing but tests.
pub fn test_modules(code: &str) -> Vec<&str> {
    let marks = test_lines(code);
    code.lines()
        .zip(marks)
        .filter(|(_, is_test)| *is_test)
        .filter_map(|(line, _)| {
            line.trim()
                .strip_suffix(';')?
                .rsplit_once("mod ")
                .map(|(_, name)| name.trim())
        })
        .filter(|name| name.chars().all(is_word))
        .collect()
}

/// One function with its length.
#[derive(Debug, PartialEq, Eq)]
pub struct Function<'a> {
    /// Its name.
    pub name: &'a str,
    /// Line of its `fn`, counted from 1.
    pub line: usize,
    /// Lines from `fn` to its closing brace.
    pub len: usize,
}

/// Lists the functions of formatted source, given the output of [`code_only`].
pub fn functions(code: &str) -> Vec<Function<'_>> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let close = format!("{}}}", " ".repeat(indent));
        let len = lines[at..].iter().position(|l| l.trim_end() == close);
        let one_line = line.contains('}') || line.trim_end().ends_with(';');
        if let (Some(len), false) = (len, one_line) {
            found.push(Function {
                name,
                line: at + 1,
                len: len + 1,
            });
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.trim_start().split_once("fn ")?;
    let is_start = before.split_whitespace().all(|word| {
        matches!(word, "pub" | "async" | "const" | "unsafe" | "extern") || word.starts_with("pub(")
    });
    let name = after.split(|c: char| !is_word(c)).next()?;
    (is_start && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_are_blanked() {
        let cases = [
            (
                "let a = \"x.unwrap()\"; // b\nc",
                "let a =             ;     \nc",
            ),
            ("'\"' 'a' '\\'' x", "             x"),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("r#\"a\"b\"# + 1", "         + 1"),
            ("/* a /* b */ c */ d", "                  d"),
            ("\"a\\\"b\" c", "       c"),
            ("var\"x\"", "var   "),
            ("b\"panic!\" 'é' z", "b             z"),
        ];
        for (text, expected) in cases {
            let blank = code_only(text);
            assert_eq!(blank.trim_end(), expected.trim_end(), "{text}");
            assert_eq!(blank.lines().count(), text.lines().count());
        }
    }

    #[test]
    fn test_modules_end_at_their_brace() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nfn c() {}\n";
        assert_eq!(
            test_lines(text),
            [false, true, true, true, true, true, false]
        );
    }

    #[test]
    fn declared_test_files_are_listed() {
        let text = "#[cfg(test)]\nmod cases;\nmod real;\n#[cfg(test)]\nuse std::fmt;\nfn x() {}\n";
        assert_eq!(test_modules(text), ["cases"]);
        assert_eq!(test_lines(text), [true, true, false, true, true, false]);
    }

    #[test]
    fn functions_are_measured() {
        let text = "impl X {\n    pub fn a(\n        b: u8,\n    ) -> u8 {\n        b\n    }\n\n    fn c(&self);\n}\n\
                    pub(crate) async fn d() {\n}\n";
        let found: Vec<(&str, usize, usize)> = functions(text)
            .into_iter()
            .map(|f| (f.name, f.line, f.len))
            .collect();
        assert_eq!(found, [("a", 2, 5), ("d", 10, 2)]);
    }
}
