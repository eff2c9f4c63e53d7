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

/// A document of our own that is written piece by piece, with a line end behind it; as for [`print_text`] else.
pub fn print_document(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
    let good = matches!(
        *OUTPUT.lock().unwrap_or_else(PoisonError::into_inner),
        Output::Good
    );
    if !good {
        return;
    }
    let out = io::stdout();
    let safe = out.is_terminal();
    let mut out = io::BufWriter::with_capacity(1 << 16, out.lock());
    let result = match safe {
        true => {
            let mut safe = Safe::new(&mut out);
            write(&mut safe).and_then(|()| safe.finish())
        }
        false => write(&mut out),
    };
    let result = result
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    // What could not be written is not written when the buffer goes away.
    let (_, _) = out.into_parts();
    written(result);
}

/// Makes text safe for a terminal on its way.
struct Safe<W> {
    out: W,
    /// The beginning of a character whose rest is to come.
    begun: Vec<u8>,
}

impl<W: Write> Safe<W> {
    fn new(out: W) -> Self {
        Self {
            out,
            begun: Vec::new(),
        }
    }

    fn finish(mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.begun);
        self.out
            .write_all(String::from_utf8_lossy(&rest).as_bytes())
    }
}

impl<W: Write> Write for Safe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.begun) {
            Ok(_) => self.begun.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            // No text: as good as it can be shown.
            Err(_) => self.begun.len(),
        };
        let rest = self.begun.split_off(whole);
        let text = String::from_utf8_lossy(&self.begun).into_owned();
        self.begun = rest;
        self.out
            .write_all(escaped(&text, &['\n', '\t']).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
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
    fn a_document_in_pieces_is_made_safe_as_a_whole_one() {
        let text = "{\n\t\"a\u{1b}é\u{202e}日\"\n}";
        let expected = escaped(text, &['\n', '\t']);
        for len in 1..=text.len() {
            let mut out = Vec::new();
            let mut safe = Safe::new(&mut out);
            for piece in text.as_bytes().chunks(len) {
                safe.write_all(piece).expect("written");
            }
            safe.finish().expect("written");
            assert_eq!(String::from_utf8_lossy(&out), expected, "{len}");
        }
    }

    #[test]
    fn texts_keep_their_lines() {
        assert_eq!(
            escaped("{\n\t\"a\u{1b}\"\n}", &['\n', '\t']),
            "{\n\t\"a\\u001b\"\n}"
        );
    }
}
