//! What a walk takes and what it leaves out.

use crate::filter::Filter;

/// What to do with symbolic links.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum SymlinkPolicy {
    /// Keep the link itself.
    #[default]
    Store,
    /// Treat it as what it leads to. A link that leads nowhere is kept as a link.
    Follow,
    /// Leave it out.
    Ignore,
}

/// What to do with files that have several names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum HardlinkPolicy {
    /// Each name is a file.
    #[default]
    All,
    /// Only the first name that passes all other tests.
    First,
    /// Leave such files out.
    None,
}

/// What a walk takes and what it leaves out.
#[derive(Clone, Debug)]
pub struct WalkOptions {
    /// The filters, about stored paths.
    pub filter: Filter,
    /// Names of attributes; an entry with one of them is left out. Unknown names do nothing here
    /// (see [`crate::Attributes::parse`]).
    pub exclude_attributes: Vec<String>,
    /// Files with more bytes are left out; 0 is no limit.
    pub max_size: Option<u64>,
    /// A folder that contains a file with one of these names is left out, except a root.
    pub ignore_names: Vec<String>,
    /// What to do with symbolic links.
    pub symlinks: SymlinkPolicy,
    /// What to do with files that have several names.
    pub hardlinks: HardlinkPolicy,
    /// Whether to leave out entries that carry one of [`EXCLUSION_XATTRS`].
    pub exclusion_xattrs: bool,
    /// Whether to leave out folders below which nothing else is recorded, except a root.
    pub exclude_empty_folders: bool,
    /// Files that the backup itself keeps and changes, such as its catalog.
    pub own_files: Vec<OwnFiles>,
    /// How databases of this program are known wherever they lie: they are caches that change at every run.
    pub own_databases: Option<OwnDatabases>,
}

/// How a database of this program is told from other files. Only a file with a companion beside it is looked into, so
/// a walk opens none but those.
#[derive(Clone, Copy, Debug)]
pub struct OwnDatabases {
    /// What the names of companions have after that of the database; one of them lies beside each.
    pub companions: &'static [&'static str],
    /// Whether a name with this after that of the database is left out with it; true for nothing at all.
    pub rest: fn(&[u8]) -> bool,
    /// Whether these first bytes of a file, [`OwnDatabases::HEAD_LEN`] at most, are those of one.
    pub is_head: fn(&[u8]) -> bool,
}

impl OwnDatabases {
    /// Bytes that are looked at.
    pub const HEAD_LEN: usize = 72;
}

/// Files of one folder that the backup itself keeps there. The entry of the folder is left out, too.
#[derive(Clone, Debug)]
pub struct OwnFiles {
    /// The folder. It may come into being until the walk begins.
    pub folder: std::path::PathBuf,
    /// What the names begin with.
    pub begins_with: Vec<u8>,
    /// Whether what follows in a name makes it one of them.
    pub rest: fn(&[u8]) -> bool,
}

impl Default for WalkOptions {
    /// Everything, except folders with a `CACHEDIR.TAG` and entries that ask for exclusion.
    fn default() -> Self {
        WalkOptions {
            filter: Filter::empty(),
            exclude_attributes: Vec::new(),
            max_size: None,
            ignore_names: vec!["CACHEDIR.TAG".to_owned()],
            symlinks: SymlinkPolicy::Store,
            hardlinks: HardlinkPolicy::All,
            exclusion_xattrs: true,
            exclude_empty_folders: false,
            own_files: Vec::new(),
            own_databases: None,
        }
    }
}

/// Extended attributes that ask to leave an entry out; their presence is enough
/// (docs/guide/filters.md).
pub const EXCLUSION_XATTRS: [&str; 3] = [
    "user.duplicati.exclude",
    "duplicati.exclude",
    "com.apple.metadata:com_apple_backup_excludeItem",
];
