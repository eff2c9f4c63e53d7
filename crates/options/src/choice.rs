//! Choices between words, as enums: the words and what they mean are declared once.

/// A type whose values are the words of a choice.
pub trait Choice: Copy + Eq + 'static {
    /// All words, in the order of listings.
    const NAMES: &'static [&'static str];

    /// The value of a word in the spelling of [`Choice::NAMES`].
    fn from_name(name: &str) -> Option<Self>;

    /// The word of a value, the first one when there are several.
    fn name(self) -> &'static str;
}

/// Declares an enum with the word, or words, of each value.
macro_rules! choice {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $value:ident = $word:literal $(| $further:literal)*,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $value,)+
        }

        impl $crate::Choice for $name {
            const NAMES: &'static [&'static str] = &[$($word $(, $further)*),+];

            fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($word $(| $further)* => Some(Self::$value),)+
                    _ => None,
                }
            }

            fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }
        }

        impl $crate::read::OptionValue for $name {
            const KINDS: u32 = $crate::read::CHOICES;
            const NAMES: Option<&'static [&'static str]> = Some(<Self as $crate::Choice>::NAMES);

            fn read(decl: &$crate::OptionDecl, text: Option<&str>) -> $crate::Result<Option<Self>> {
                let word = $crate::read::word(decl, text)?;
                Ok(word.and_then(<Self as $crate::Choice>::from_name))
            }
        }
    };
}

/// Whether two lists hold the same words in the same order.
pub(crate) const fn same_names(a: &[&str], b: &[&str]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        let (left, right) = (a[at].as_bytes(), b[at].as_bytes());
        if left.len() != right.len() {
            return false;
        }
        let mut byte = 0;
        while byte < left.len() {
            if left[byte] != right[byte] {
                return false;
            }
            byte += 1;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::choices::{RemoteVerification, SymlinkChoice};
    use crate::engine::{FULL_REMOTE_VERIFICATION, SYMLINK_POLICY};
    use crate::{Origin, Values};

    #[test]
    fn words_have_their_meaning() {
        for name in <RemoteVerification as Choice>::NAMES {
            assert!(RemoteVerification::from_name(name).is_some(), "{name}");
        }
        let read = |text| {
            let mut values = Values::new();
            values.set("full-remote-verification", text, Origin::CommandLine);
            values.get(FULL_REMOTE_VERIFICATION)
        };
        assert_eq!(read(Some("off")), Ok(RemoteVerification::HashOnly));
        assert_eq!(read(Some("indexonly")), Ok(RemoteVerification::IndexesOnly));
        assert_eq!(read(None), Ok(RemoteVerification::Full));
        assert_eq!(Values::new().get(SYMLINK_POLICY), Ok(SymlinkChoice::Store));
        assert_eq!(SymlinkChoice::Follow.name(), "Follow");
    }

    #[test]
    fn lists_of_words_are_compared() {
        assert!(same_names(&["a", "bc"], &["a", "bc"]));
        for other in [&["a"][..], &["a", "bd"], &["a", "b"], &["bc", "a"]] {
            assert!(!same_names(&["a", "bc"], other), "{other:?}");
        }
    }
}
