//! The name of an archive entry, inline when it is short: that of a block is, and a volume may have a quarter of a
//! million of them.

use std::fmt;
use std::ops::Deref;

/// The name of an [`ArchiveEntry`](super::ArchiveEntry); a text.
#[derive(Clone)]
pub struct EntryName(Text);

#[derive(Clone)]
enum Text {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Box<str>),
}

/// Long enough for the name of a block whose hash has 32 bytes; the whole takes 48 bytes.
const SHORT: usize = 46;

impl EntryName {
    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Short { len, bytes } => {
                let text = bytes.get(..usize::from(*len)).unwrap_or_default();
                // It was made from a text.
                std::str::from_utf8(text).unwrap_or_default()
            }
            Text::Long(text) => text,
        }
    }
}

impl From<&str> for EntryName {
    fn from(text: &str) -> Self {
        let mut bytes = [0; SHORT];
        let short = bytes.get_mut(..text.len());
        Self(match (short, u8::try_from(text.len())) {
            (Some(short), Ok(len)) => {
                short.copy_from_slice(text.as_bytes());
                Text::Short { len, bytes }
            }
            _ => Text::Long(text.into()),
        })
    }
}

impl Deref for EntryName {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for EntryName {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for EntryName {}

impl PartialEq<str> for EntryName {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for EntryName {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_length_are_kept() {
        assert_eq!(size_of::<EntryName>(), 48);
        for len in [0, 1, 44, SHORT - 1, SHORT, SHORT + 1, 255, 256, 300, 70_000] {
            for letter in ["x", "ü", "€"] {
                let text = letter.repeat(len / letter.len());
                let name = EntryName::from(text.as_str());
                assert!(name == *text && name.clone() == name && name.len() == text.len());
                assert_eq!(format!("{name} {name:?}"), format!("{text} {text:?}"));
            }
        }
        let block = EntryName::from("47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert!(matches!(block.0, Text::Short { .. }));
    }
}
