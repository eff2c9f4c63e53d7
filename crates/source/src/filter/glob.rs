//! Globs: `*` is any run of characters, separators included; `?` is exactly one character.

/// A compiled glob over bytes. Matching takes at most pattern length × path length steps, whatever
/// the pattern: after a `*`, the leftmost place where the next piece fits is always good enough.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    bytes: Pieces<u8>,
    /// The same pattern over characters, needed when `?` meets a path that is not ASCII.
    characters: Option<Pieces<u32>>,
}

/// The pieces between the `*` of a pattern; the first and the last are bound to the ends.
#[derive(Clone, Debug)]
struct Pieces<T> {
    pieces: Vec<Vec<Unit<T>>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit<T> {
    Is(T),
    Any,
}

impl Glob {
    /// Compiles a pattern; every text is valid.
    pub(crate) fn compile(pattern: &[u8]) -> Glob {
        let bytes = Pieces::compile(pattern.iter().copied(), b'*', b'?');
        let characters = pattern
            .contains(&b'?')
            .then(|| Pieces::compile(characters(pattern), u32::from('*'), u32::from('?')));
        Glob { bytes, characters }
    }

    /// Whether the whole path matches.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        match &self.characters {
            Some(pieces) if !path.is_ascii() => {
                pieces.matches(&characters(path).collect::<Vec<_>>())
            }
            _ => self.bytes.matches(path),
        }
    }

    /// The text after the `*` of a glob that has its only wildcard in front.
    pub(crate) fn suffix(&self) -> Option<Vec<u8>> {
        let [first, last] = self.bytes.pieces.as_slice() else {
            return None;
        };
        if !first.is_empty() {
            return None;
        }
        let byte = |unit: &Unit<u8>| match unit {
            Unit::Is(byte) => Some(*byte),
            Unit::Any => None,
        };
        last.iter().map(byte).collect()
    }
}

impl<T: Copy + PartialEq> Pieces<T> {
    fn compile(pattern: impl Iterator<Item = T>, run: T, one: T) -> Self {
        let mut pieces = vec![];
        let mut piece = vec![];
        for unit in pattern {
            if unit == run {
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece.push(if unit == one {
                    Unit::Any
                } else {
                    Unit::Is(unit)
                });
            }
        }
        pieces.push(piece);
        // Neighbouring runs are one run.
        let last = pieces.len() - 1;
        let mut at = 0;
        pieces.retain(|piece| {
            let inner = at > 0 && at < last;
            at += 1;
            !inner || !piece.is_empty()
        });
        Pieces { pieces }
    }

    fn matches(&self, text: &[T]) -> bool {
        let Some((first, rest)) = self.pieces.split_first() else {
            return text.is_empty();
        };
        let Some((last, middle)) = rest.split_last() else {
            return first.len() == text.len() && fits(first, text);
        };
        if text.len() < first.len() + last.len() {
            return false;
        }
        let (head, tail) = text.split_at(first.len());
        let (body, tail) = tail.split_at(tail.len() - last.len());
        if !fits(first, head) || !fits(last, tail) {
            return false;
        }
        let mut left = body;
        for piece in middle {
            let Some(at) = left
                .windows(piece.len())
                .position(|window| fits(piece, window))
            else {
                return false;
            };
            left = left.get(at + piece.len()..).unwrap_or_default();
        }
        true
    }
}

/// Whether a piece matches a text of the same length.
fn fits<T: Copy + PartialEq>(piece: &[Unit<T>], text: &[T]) -> bool {
    piece.iter().zip(text).all(|(unit, seen)| match unit {
        Unit::Is(wanted) => wanted == seen,
        Unit::Any => true,
    })
}

/// The characters of a path; each byte that is not part of valid UTF-8 is a character of its own.
fn characters(path: &[u8]) -> impl Iterator<Item = u32> {
    path.utf8_chunks().flat_map(|chunk| {
        let broken = chunk.invalid().iter().map(|byte| BROKEN + u32::from(*byte));
        chunk.valid().chars().map(u32::from).chain(broken)
    })
}

/// Above all characters.
const BROKEN: u32 = 0x11_0000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, without any thought of speed.
    fn naive(pattern: &[u32], text: &[u32]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((&STAR, rest)) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
            Some((&ONE, rest)) => !text.is_empty() && naive(rest, &text[1..]),
            Some((unit, rest)) => text.first() == Some(unit) && naive(rest, &text[1..]),
        }
    }
    const STAR: u32 = '*' as u32;
    const ONE: u32 = '?' as u32;

    #[test]
    fn examples() {
        let rows: [(&str, &[u8], bool); 17] = [
            ("*.tmp", b"/data/x/a.tmp", true),
            ("*.tmp", b"/data/x/a.tmpx", false),
            ("*/tmp/", b"/data/tmp/", true),
            ("*/tmp/", b"/data/tmp", false),
            ("/a/*/z", b"/a/z", false),
            ("/a/*/z", b"/a//z", true),
            ("/a*a", b"/a", false),
            ("a?b", b"a/b", true),
            ("?", "ü".as_bytes(), true),
            ("*??", "€".as_bytes(), false),
            ("*?", "€".as_bytes(), true),
            ("?.x", b"\xff.x", true),
            ("??.x", b"\xff.x", false),
            ("**", b"", true),
            ("*a*b*c*", b"xxaxxbxxcxx", true),
            ("*a*b*c*", b"xxaxxcxxbxx", false),
            ("[a]", b"a", false),
        ];
        for (pattern, path, expected) in rows {
            let glob = Glob::compile(pattern.as_bytes());
            assert_eq!(
                glob.matches(path),
                expected,
                "{pattern} on {}",
                String::from_utf8_lossy(path)
            );
        }
    }

    #[test]
    fn hostile_pattern_takes_no_time() {
        let pattern = "*a".repeat(2000) + "b";
        let path = "a".repeat(4000);
        assert!(!Glob::compile(pattern.as_bytes()).matches(path.as_bytes()));
        assert!(
            !Glob::compile(("?".to_owned() + &pattern).as_bytes())
                .matches(("ü".to_owned() + &path).as_bytes())
        );
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab/é*?]{0,8}", text in "[ab/é€]{0,10}", cut in 0usize..3) {
            let mut bytes = text.into_bytes();
            bytes.truncate(bytes.len().saturating_sub(cut));
            let expected = naive(
                &characters(pattern.as_bytes()).collect::<Vec<_>>(),
                &characters(&bytes).collect::<Vec<_>>(),
            );
            prop_assert_eq!(Glob::compile(pattern.as_bytes()).matches(&bytes), expected);
        }
    }
}
