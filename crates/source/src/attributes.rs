//! The attribute names of the stored metadata, and the rules that derive them on this system.

use std::fmt;

use crate::facts::{Facts, FileKind};

/// A set of file attributes, written as in stored metadata: names joined by `, ` in ascending order
/// of their values, e.g. `Hidden, Directory` (docs/format/metadata.md).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attributes(u32);

impl Attributes {
    /// Derives the attributes of an entry from its name and facts.
    ///
    /// `Hidden`: the name begins with a dot. `Directory`: a folder, or a link to one.
    /// `ReparsePoint`: a link. `ReadOnly`: a file whose permission class for `identity` has the read
    /// bit and not the write bit; folders and links never. `Normal`: none of these.
    pub fn of(name: &[u8], facts: &Facts, identity: &Identity) -> Attributes {
        let mut bits = 0;
        if name.first() == Some(&b'.') {
            bits |= HIDDEN;
        }
        match facts.kind {
            FileKind::File => {
                if identity.class_bits(facts) & 0o6 == 0o4 {
                    bits |= READ_ONLY;
                }
            }
            FileKind::Folder => bits |= DIRECTORY,
            FileKind::Symlink { target_is_folder } => {
                bits |= REPARSE_POINT;
                if target_is_folder {
                    bits |= DIRECTORY;
                }
            }
            FileKind::Special(_) => {}
        }
        Attributes(if bits == 0 { NORMAL } else { bits })
    }

    /// Reads attribute names, ignoring case; names may also stand together in one text with commas.
    /// Names that do not exist are returned beside the set.
    pub fn parse<S: AsRef<str>>(names: &[S]) -> (Attributes, Vec<String>) {
        let mut bits = 0;
        let mut unknown = Vec::new();
        let parts = names.iter().flat_map(|text| text.as_ref().split(','));
        for name in parts.map(str::trim).filter(|name| !name.is_empty()) {
            match NAMES
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
            {
                Some((_, bit)) => bits |= bit,
                None => unknown.push(name.to_owned()),
            }
        }
        (Attributes(bits), unknown)
    }

    /// Whether both sets have an attribute in common.
    pub fn intersects(self, other: Attributes) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the set holds `ReadOnly`.
    pub fn read_only(self) -> bool {
        self.0 & READ_ONLY != 0
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (name, _) in NAMES.iter().filter(|(_, bit)| self.0 & bit != 0) {
            if !first {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
            first = false;
        }
        Ok(())
    }
}

/// The user and groups that this process runs as, which decide what `ReadOnly` means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    uid: u32,
    groups: Vec<u32>,
}

impl Identity {
    /// The identity of this process: effective user, effective group and supplementary groups.
    pub fn of_process() -> Identity {
        let mut groups = vec![rustix::process::getegid().as_raw()];
        groups.extend(
            rustix::process::getgroups()
                .unwrap_or_default()
                .iter()
                .map(|group| group.as_raw()),
        );
        Identity::new(rustix::process::geteuid().as_raw(), groups)
    }

    /// An identity made of numbers.
    pub fn new(uid: u32, groups: Vec<u32>) -> Identity {
        Identity { uid, groups }
    }

    /// The number of the effective user.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The three permission bits of the class that this identity belongs to.
    fn class_bits(&self, facts: &Facts) -> u32 {
        if facts.uid == self.uid {
            facts.mode >> 6
        } else if self.groups.contains(&facts.gid) {
            facts.mode >> 3
        } else {
            facts.mode
        }
    }
}

const READ_ONLY: u32 = 1;
const HIDDEN: u32 = 2;
const DIRECTORY: u32 = 16;
const NORMAL: u32 = 128;
const REPARSE_POINT: u32 = 1024;

/// All names with their values in ascending order (docs/format/metadata.md); on this system only
/// the five above occur.
const NAMES: [(&str, u32); 22] = [
    ("ReadOnly", READ_ONLY),
    ("Hidden", HIDDEN),
    ("System", 4),
    ("Directory", DIRECTORY),
    ("Archive", 32),
    ("Device", 64),
    ("Normal", NORMAL),
    ("Temporary", 256),
    ("SparseFile", 512),
    ("ReparsePoint", REPARSE_POINT),
    ("Compressed", 2048),
    ("Offline", 4096),
    ("NotContentIndexed", 8192),
    ("Encrypted", 16384),
    ("IntegrityStream", 1 << 15),
    ("Virtual", 1 << 16),
    ("NoScrubData", 1 << 17),
    ("ExtendedAttributes", 1 << 18),
    ("Pinned", 1 << 19),
    ("Unpinned", 1 << 20),
    ("RecallOnOpen", 1 << 21),
    ("RecallOnDataAccess", 1 << 22),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(kind: FileKind, mode: u32, uid: u32, gid: u32) -> Facts {
        Facts {
            kind,
            size: 0,
            mode,
            uid,
            gid,
            mtime: (0, 0),
            ctime: (0, 0),
            dev: 1,
            ino: 1,
            nlink: 1,
            blocks: 0,
        }
    }

    #[test]
    fn attribute_text_follows_name_kind_and_running_user() {
        let root = Identity::new(0, vec![0]);
        let ann = Identity::new(1000, vec![1000, 50]);
        let link = |target_is_folder| FileKind::Symlink { target_is_folder };
        let rows = [
            ("a", facts(FileKind::File, 0o644, 0, 0), &root, "Normal"),
            ("a", facts(FileKind::File, 0o400, 0, 0), &root, "ReadOnly"),
            ("a", facts(FileKind::File, 0o440, 0, 0), &root, "ReadOnly"),
            ("a", facts(FileKind::File, 0o644, 7, 7), &root, "ReadOnly"),
            ("a", facts(FileKind::File, 0o640, 7, 7), &root, "Normal"),
            ("a", facts(FileKind::File, 0o664, 7, 50), &ann, "Normal"),
            ("a", facts(FileKind::File, 0o644, 7, 50), &ann, "ReadOnly"),
            (
                ".a",
                facts(FileKind::File, 0o444, 1000, 1),
                &ann,
                "ReadOnly, Hidden",
            ),
            (
                "a",
                facts(FileKind::Folder, 0o555, 0, 0),
                &root,
                "Directory",
            ),
            (
                ".a",
                facts(FileKind::Folder, 0o755, 0, 0),
                &root,
                "Hidden, Directory",
            ),
            ("a", facts(link(false), 0o777, 0, 0), &root, "ReparsePoint"),
            (
                "a",
                facts(link(true), 0o777, 0, 0),
                &root,
                "Directory, ReparsePoint",
            ),
            (
                ".a",
                facts(link(false), 0o777, 0, 0),
                &root,
                "Hidden, ReparsePoint",
            ),
        ];
        for (name, facts, identity, text) in rows {
            assert_eq!(
                Attributes::of(name.as_bytes(), &facts, identity).to_string(),
                text,
                "{name} {facts:?}"
            );
        }
    }

    #[test]
    fn attribute_names_are_read_without_regard_to_case() {
        let (set, unknown) = Attributes::parse(&["hidden, SYSTEM", "Pinned", "shiny"]);
        assert_eq!(set.to_string(), "Hidden, System, Pinned");
        assert_eq!(unknown, ["shiny"]);
        assert!(Attributes::parse::<&str>(&[]).0.is_empty());
    }
}
