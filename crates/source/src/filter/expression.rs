//! Regular expressions of filters: written for .NET, run by the `regex` crate, or by `fancy-regex`
//! where look-around or back-references are used.
//!
//! The text is first rewritten where both dialects mean different things by the same characters;
//! what remains unsupported is an error, never "no match".

/// A compiled expression that must match a whole path.
#[derive(Clone, Debug)]
pub(crate) enum Expression {
    /// Runs in linear time.
    Plain(regex::Regex),
    /// May backtrack; gives up after [`BACKTRACK_LIMIT`] steps.
    Fancy(Box<fancy_regex::Regex>),
}

impl Expression {
    /// Compiles the text between the brackets of a filter. The error is a sentence for the user.
    pub(crate) fn compile(text: &str, case_sensitive: bool) -> Result<Expression, String> {
        let body = translate(text)?;
        // The text must be valid by itself: `a)|(b` must not close the group that is put around it.
        // A line end before the bracket closes a comment that an `(?x)` expression may end with.
        let whole = format!("\\A(?:{body})\\z");
        let whole_after_comment = format!("\\A(?:{body}\n)\\z");
        let plain = |text: &str| {
            regex::RegexBuilder::new(text)
                .dot_matches_new_line(true)
                .case_insensitive(!case_sensitive)
                .build()
        };
        let error = match plain(&body) {
            Ok(_) => {
                return plain(&whole)
                    .or_else(|_| plain(&whole_after_comment))
                    .map(Expression::Plain)
                    .map_err(|error| last_line(&error.to_string()));
            }
            Err(error) => error.to_string(),
        };
        let fancy = |text: &str| {
            fancy_regex::RegexBuilder::new(text)
                .dot_matches_new_line(true)
                .case_insensitive(!case_sensitive)
                .backtrack_limit(BACKTRACK_LIMIT)
                .build()
        };
        fancy(&body)
            .and_then(|_| fancy(&whole).or_else(|_| fancy(&whole_after_comment)))
            .map(|compiled| Expression::Fancy(Box::new(compiled)))
            .map_err(|fancy_error| describe(&error, &fancy_error.to_string()))
    }

    /// Whether the whole text matches; `None` when the engine gave up.
    pub(crate) fn matches(&self, text: &str) -> Option<bool> {
        match self {
            Expression::Plain(regex) => Some(regex.is_match(text)),
            Expression::Fancy(regex) => regex.is_match(text).ok(),
        }
    }
}

/// The message of the engine that came furthest: `regex` explains syntax best, but only mentions
/// that look-around is not supported where `fancy-regex` knows the real fault.
fn describe(plain: &str, fancy: &str) -> String {
    if plain.contains("look-around") || plain.contains("backreferences") {
        return last_line(fancy);
    }
    last_line(plain)
}

/// The sentence at the end of a message that draws a picture of the place before it.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

/// Rewrites the .NET dialect into that of the engines.
///
/// In a character class `[` is an ordinary character, `&&`, `~~` and `--` are nothing special, and
/// `-[…]` at the end subtracts; outside, a brace that begins no quantifier is an ordinary
/// character, `(?'name'…)` names a group and `(?#…)` is a comment. A group with two names
/// (`(?<a-b>…)`, which takes a capture back) has no counterpart and is an error.
fn translate(text: &str) -> Result<String, String> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = chars.as_slice();
    while let Some((first, tail)) = rest.split_first() {
        rest = match first {
            '\\' => translate_escape(tail, false, &mut out),
            '[' => translate_class(tail, &mut out),
            '{' if !begins_quantifier(tail) => {
                out.push_str("\\{");
                tail
            }
            '(' if tail.starts_with(&['?', '#']) => after(tail, ')'),
            '(' => match group_name(tail) {
                Some((name, _)) if name.contains('-') => {
                    return Err(format!("balancing group \"{name}\" is not supported"));
                }
                Some((name, tail)) => {
                    out.push_str(&format!("(?<{name}>"));
                    tail
                }
                None => {
                    out.push('(');
                    tail
                }
            },
            other => {
                out.push(*other);
                tail
            }
        };
    }
    Ok(out)
}

/// The name of the group whose bracket was just read, if it has one, and what follows.
fn group_name(tail: &[char]) -> Option<(String, &[char])> {
    let (end, rest) = match tail {
        ['?', '<', '=' | '!', ..] => return None,
        ['?', '<', rest @ ..] => ('>', rest),
        ['?', '\'', rest @ ..] => ('\'', rest),
        _ => return None,
    };
    Some((
        rest.iter().take_while(|c| **c != end).collect(),
        after(rest, end),
    ))
}

/// Writes the escape whose backslash was just read.
fn translate_escape<'a>(tail: &'a [char], in_class: bool, out: &mut String) -> &'a [char] {
    let Some((escaped, rest)) = tail.split_first() else {
        out.push('\\');
        return tail;
    };
    match (escaped, rest.first()) {
        ('e', _) => out.push_str("\\x1B"),
        ('b', _) if in_class => out.push_str("\\x08"),
        ('Z', _) if !in_class => out.push_str("\\z"),
        ('c', Some(letter)) if letter.is_ascii_alphabetic() => {
            out.push_str(&format!("\\x{:02X}", (*letter as u32) & 0x1F));
            return rest.get(1..).unwrap_or_default();
        }
        ('k', Some('\'')) if !in_class => {
            let name: String = rest.iter().skip(1).take_while(|c| **c != '\'').collect();
            out.push_str(&format!("\\k<{name}>"));
            return after(rest.get(1..).unwrap_or_default(), '\'');
        }
        ('p' | 'P' | 'x' | 'u', Some('{')) => {
            let taken = rest.len() - after(rest, '}').len();
            out.push('\\');
            out.push(*escaped);
            out.extend(rest.iter().take(taken));
            return rest.get(taken..).unwrap_or_default();
        }
        ('<' | '>', _) => out.push(*escaped),
        (other, _) if !other.is_ascii() => out.push(*other),
        (other, _) => {
            out.push('\\');
            out.push(*other);
        }
    }
    rest
}

/// Writes the character class whose bracket was just read, up to its end.
fn translate_class<'a>(tail: &'a [char], out: &mut String) -> &'a [char] {
    out.push('[');
    let mut rest = tail;
    if let Some(after_caret) = rest.strip_prefix(&['^']) {
        out.push('^');
        rest = after_caret;
    }
    let mut at_start = true;
    let mut after_dash = false;
    while let Some((first, tail)) = rest.split_first() {
        let mut dash = false;
        rest = match first {
            ']' if !at_start => {
                out.push(']');
                return tail;
            }
            '\\' => translate_escape(tail, true, out),
            '-' if !at_start && tail.first() == Some(&'[') => {
                out.push_str("--");
                translate_class(tail.get(1..).unwrap_or_default(), out)
            }
            '-' if !at_start && !after_dash && !matches!(tail.first(), Some(']')) => {
                out.push('-');
                dash = true;
                tail
            }
            ']' | '[' | '&' | '~' | '-' => {
                out.push('\\');
                out.push(*first);
                tail
            }
            other => {
                out.push(*other);
                tail
            }
        };
        at_start = false;
        after_dash = dash;
    }
    rest
}

/// Whether a brace is followed by the rest of `{n}`, `{n,}` or `{n,m}`.
fn begins_quantifier(tail: &[char]) -> bool {
    let inner: String = tail.iter().take_while(|c| **c != '}').collect();
    if inner.chars().count() == tail.len() {
        return false;
    }
    let number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    match inner.split_once(',') {
        None => number(&inner),
        Some((low, high)) => number(low) && (high.is_empty() || number(high)),
    }
}

/// What follows the first `end`; nothing if there is none.
fn after(text: &[char], end: char) -> &[char] {
    let at = text
        .iter()
        .position(|c| *c == end)
        .map_or(text.len(), |at| at + 1);
    text.get(at..).unwrap_or_default()
}

/// Steps after which a backtracking match gives up; about ten milliseconds.
const BACKTRACK_LIMIT: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(expression: &str, text: &str) -> Option<bool> {
        Expression::compile(expression, true)
            .unwrap_or_else(|error| panic!("{expression}: {error}"))
            .matches(text)
    }

    #[test]
    fn whole_path_and_dialect() {
        let rows = [
            (r".*/log\d\.txt", "/d/log1.txt", true),
            (r".*/log\d\.txt", "/d/log12.txt", false),
            (r"log\d\.txt", "/d/log1.txt", false),
            (r"^.*\.jpg$", "/a.jpg", true),
            (r".*\.jpg$", "/a.jpg", true),
            (r"^/a", "/ab", false),
            (r"a|ab", "ab", true),
            (r".*", "/a\nb", true),
            (r"(?i).*\.odt$", "/A.ODT", true),
            (r".*/[[]x[]]\.txt", "/d/[x].txt", true),
            (r".*[&&~~]", "/a&", true),
            (r"[a-z-[aeiou]]+", "xyz", true),
            (r"[a-z-[aeiou]]+", "xay", false),
            (r"[]a]+", "]a]", true),
            (r"[^]a]+", "b", true),
            (r"[+--]", ",", true),
            (r"[-a]+", "a-", true),
            (r"[a-]+", "a-", true),
            (r"a{x}", "a{x}", true),
            (r"a{2}", "aa", true),
            (r"a{2,}b{1,2}", "aaabb", true),
            (r"\<\>\-\ \/\:", "<>- /:", true),
            (r"(?<n>a)\k<n>", "aa", true),
            (r"(?'n'a)b", "ab", true),
            (r"(?'n'a)\k'n'", "aa", true),
            (r"a(?#comment)b", "ab", true),
            (r"(?x) a b # comment", "ab", true),
            (r"(a|b)\1", "bb", true),
            (r"(a|b)\1", "ba", false),
            (r"(?!.*\.txt$).*", "/a.jpg", true),
            (r"(?!.*\.txt$).*", "/a.txt", false),
            (r".*(?<!~)\.bak", "/a~.bak", false),
            (r"(?>a+)b", "aab", true),
            (r"\p{L}+\u00e9\x41\cA\e", "üé\u{e9}A\u{1}\u{1b}", true),
            (r".*\Z", "/a", true),
            (r"\w+", "ünï", true),
            (r"[\b]", "\u{8}", true),
        ];
        for (expression, text, expected) in rows {
            assert_eq!(
                is_match(expression, text),
                Some(expected),
                "{expression} on {text:?}"
            );
        }
    }

    #[test]
    fn faults_are_reported() {
        for bad in [
            r"a)|(b",
            r"(a",
            r"[a",
            r"*a",
            r"\p{IsNonsense}",
            r"(?<a-b>x)",
            r"(?=a",
            r"\q",
            r"\",
        ] {
            let error = Expression::compile(bad, true).expect_err(bad);
            assert!(!error.is_empty() && !error.contains('\n'), "{bad}: {error}");
        }
    }

    #[test]
    fn endless_backtracking_gives_up() {
        let text = "a".repeat(200);
        assert_eq!(is_match(r"(?=a)(a|a|aa|aaa)*(?!x)b\1", &text), None);
    }
}
