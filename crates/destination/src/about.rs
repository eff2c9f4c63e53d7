//! What a destination says of itself: one value, made when it is opened.

use std::num::NonZeroU16;

/// What a destination is and can do. It does not change while the destination is open.
#[derive(Clone, Debug)]
pub struct About {
    /// The scheme key under which the provider is known, e.g. `file`.
    pub scheme: &'static str,
    /// The destination for people, without any secret, e.g. `file:///mnt/disk/backup`.
    pub display: String,
    /// What callers may rely on.
    pub abilities: Abilities,
    /// What the service does not take.
    pub limits: Limits,
}

impl About {
    /// A destination that promises nothing and has no limits.
    #[must_use]
    pub fn new(scheme: &'static str, display: impl Into<String>) -> Self {
        Self {
            scheme,
            display: display.into(),
            abilities: Abilities::default(),
            limits: Limits::default(),
        }
    }

    /// The same with these abilities.
    #[must_use]
    pub fn with_abilities(mut self, abilities: Abilities) -> Self {
        self.abilities = abilities;
        self
    }

    /// The same with these limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// What callers may rely on beyond the contract of [`Destination`](crate::Destination). A flag that is false costs
/// only care; one that is true and not kept costs data, so false is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Abilities {
    /// A file appears whole or not at all. Without it a broken `put` may leave a file that is too short, which callers
    /// know by its size.
    pub atomic_put: bool,
    /// [`Existing::Refuse`](crate::Existing::Refuse) is decided by the service in one step. Without it the provider
    /// looks for the name right before it sends, and two programs that put one name at the same moment may collide.
    pub exclusive_put: bool,
    /// A listing right after a `put` or `delete` shows its effect. Without it "not listed yet" is no error.
    pub consistent_list: bool,
    /// A folder holds one file of a name. Without it a listing may show a name twice.
    pub unique_names: bool,
    /// A successful `put` was verified by the service through a checksum of the content.
    pub checksummed_put: bool,
}

/// What the service does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Limits {
    /// Most transfers at the same time; `None` when the service sets no bound.
    pub transfers: Option<NonZeroU16>,
    /// Most bytes in one file; `None` when the service sets no bound.
    pub largest_file: Option<u64>,
    /// Which names it stores.
    pub names: NameRules,
}

/// Which names of files a service stores as they are. The engine writes letters, digits, `-` and `.` only; the rest is
/// for tests and for files that other programs put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameRules {
    /// Longest name in bytes.
    pub longest_bytes: u16,
    /// Characters that no name may hold, beside `/` and NUL, which none may anywhere.
    pub refused: &'static str,
    /// Characters that no name may end with.
    pub refused_at_end: &'static str,
    /// Characters that no name may begin with.
    pub refused_at_start: &'static str,
    /// Control characters are stored.
    pub control_characters: bool,
    /// Names that differ in case only are two files.
    pub case_sensitive: bool,
}

impl NameRules {
    /// Everything that a POSIX file system stores (POSIX.1-2017, 3.170 Filename): 255 bytes without `/` and NUL.
    pub const POSIX: Self = Self {
        longest_bytes: 255,
        refused: "",
        refused_at_end: "",
        refused_at_start: "",
        control_characters: true,
        case_sensitive: true,
    };

    /// True when the service stores a file under this name as it is.
    #[must_use]
    pub fn allow(&self, name: &str) -> bool {
        let edge = |edge: Option<char>, refused: &str| edge.is_some_and(|c| refused.contains(c));
        !name.is_empty()
            && !matches!(name, "." | "..")
            && name.len() <= usize::from(self.longest_bytes)
            && !name.contains(['/', '\0'])
            && !name.contains(|c| self.refused.contains(c))
            && !edge(name.chars().next(), self.refused_at_start)
            && !edge(name.chars().next_back(), self.refused_at_end)
            && (self.control_characters || !name.contains(char::is_control))
    }
}

impl Default for NameRules {
    fn default() -> Self {
        Self::POSIX
    }
}

#[cfg(test)]
mod tests {
    use super::NameRules;

    #[test]
    fn names_are_held_against_the_rules() {
        let strict = NameRules {
            refused: "\\:*?\"<>|",
            refused_at_end: ". ",
            refused_at_start: " ~",
            control_characters: false,
            longest_bytes: 10,
            ..NameRules::POSIX
        };
        for (name, posix, strictly) in [
            ("a-1.zip", true, true),
            ("", false, false),
            ("..", false, false),
            ("a/b", false, false),
            ("a\0", false, false),
            ("a:b", true, false),
            ("a.", true, false),
            (" a", true, false),
            ("a\n", true, false),
            ("01234567890", true, false),
        ] {
            assert_eq!(NameRules::POSIX.allow(name), posix, "{name:?}");
            assert_eq!(strict.allow(name), strictly, "{name:?}");
        }
    }
}
