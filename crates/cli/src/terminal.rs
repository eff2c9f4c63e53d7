//! The border where text reaches the terminal, and what becomes of it when it cannot be written.
//!
//! Names of files and of remote objects are chosen by others. A sign in them that a terminal acts on, or that makes a
//! text look like another, is written as an escape here and nowhere else.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

/// The longest line of a message in bytes; the rest is cut off.
const LONGEST_LINE: usize = 4096;

/// What standard output still takes.
enum Output {
    /// Everything so far was written.
    Good,
    /// The reader has gone: nothing more is written, and that is no failure.
    Closed,
    /// Something could not be written.
    Failed(io::Error),
}

static OUTPUT: Mutex<Output> = Mutex::new(Output::Good);

/// A line on standard output, made safe for a terminal.
pub fn print(line: &str) {
    write_out(&shown(line));
}

/// A line that scripts read, such as a stored path: as it is, but made safe when standard output is a terminal.
pub fn print_item(line: &str) {
    if io::stdout().is_terminal() {
        write_out(&shown(line));
    } else {
        write_out(line);
    }
}

/// Text of several lines that is our own, or a document: line ends stay, and on a terminal the rest is made safe.
pub fn print_text(text: &str) {
    if io::stdout().is_terminal() {
        write_out(&escaped(text, &['\n', '\t']));
    } else {
        write_out(text);
    }
}

/// A line on standard error, made safe for a terminal.
pub fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", shown(line));
}

/// Why standard output could not be written; `None` while it could, and when its reader went away.
pub fn output_failure() -> Option<String> {
    match &*OUTPUT.lock().unwrap_or_else(PoisonError::into_inner) {
        Output::Failed(error) => Some(error.to_string()),
        Output::Good | Output::Closed => None,
    }
}

/// Remembers how a write to standard output ended; false when no more is to be written.
pub fn written(result: io::Result<()>) -> bool {
    let Err(error) = result else {
        return true;
    };
    let mut output = OUTPUT.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(*output, Output::Good) {
        *output = if error.kind() == io::ErrorKind::BrokenPipe {
            Output::Closed
        } else {
            Output::Failed(error)
        };
    }
    false
}

fn write_out(text: &str) {
    let good = matches!(
        *OUTPUT.lock().unwrap_or_else(PoisonError::into_inner),
        Output::Good
    );
    if good {
        let mut out = io::stdout().lock();
        let result = out
            .write_all(text.as_bytes())
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush());
        drop(out);
        written(result);
    }
}

/// One line of a message as it may be shown: no sign that a terminal acts on, and no longer than 4 KiB.
pub fn shown(line: &str) -> Cow<'_, str> {
    let end = (0..=LONGEST_LINE)
        .rev()
        .find(|at| line.is_char_boundary(*at))
        .unwrap_or(0);
    match line.get(..end).filter(|_| line.len() > LONGEST_LINE) {
        None => escaped(line, &['\t']),
        Some(start) => {
            let rest = line.len() - start.len();
            Cow::Owned(format!("{}… ({rest} bytes more)", escaped(start, &['\t'])))
        }
    }
}

/// Writes dangerous signs as they are written in JSON, but for those in `kept`.
fn escaped<'a>(text: &'a str, kept: &[char]) -> Cow<'a, str> {
    let bad = |c: char| is_dangerous(c) && !kept.contains(&c);
    if !text.contains(bad) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' if bad(c) => safe.push_str("\\n"),
            '\r' if bad(c) => safe.push_str("\\r"),
            c if bad(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing into a string cannot fail.
                    let _ = write!(safe, "\\u{unit:04x}");
                }
            }
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Control characters, marks that change the direction of writing, further line ends, and signs that cannot be seen.
fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dangerous_signs_are_escaped_and_others_stay() {
        for (text, safe) in [
            ("plain é 日本 👩‍👩‍👧", "plain é 日本 👩‍👩‍👧"),
            ("a\u{1b}[2Jb", "a\\u001b[2Jb"),
            ("a\nErrorID: X\r", "a\\nErrorID: X\\r"),
            ("0\t: x", "0\t: x"),
            ("gpj.\u{202e}exe", "gpj.\\u202eexe"),
            ("c1 \u{9b}31m", "c1 \\u009b31m"),
            ("tag \u{e0041}", "tag \\udb40\\udc41"),
        ] {
            assert_eq!(shown(text), safe);
        }
    }

    #[test]
    fn long_names_are_cut() {
        let name = "é".repeat(3000);
        let cut = shown(&name).into_owned();
        assert!(cut.len() < 4200, "{}", cut.len());
        assert!(cut.ends_with("é… (1904 bytes more)"), "{}", &cut[4080..]);
        assert_eq!(shown(&name[..4096]), &name[..4096]);
    }

    #[test]
    fn texts_keep_their_lines() {
        assert_eq!(
            escaped("{\n\t\"a\u{1b}\"\n}", &['\n', '\t']),
            "{\n\t\"a\\u001b\"\n}"
        );
    }
}
