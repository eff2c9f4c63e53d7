//! Local files: choosing and walking them for a backup, reading their facts, and writing them back.
//!
//! The way of a file through this crate: [`prepare_sources`] turns the arguments of a backup into
//! disjoint roots, [`Walk`] lists what lies below them in ascending order of the stored path and
//! asks the [`Filter`] about each entry, [`FactReader`] adds what only a second look can tell, and
//! [`open_for_read`] opens the content. A restore goes the other way through [`TargetRoot`], which
//! never follows a link below its folder.
//!
//! Paths are bytes throughout: what the system call gave, with a separator at the end of folders
//! and of links to folders (docs/format/paths.md). Nothing here knows volumes, blocks or databases.

mod attributes;
mod deep;
mod facts;
mod filter;
mod foreign;
mod open;
mod owners;
mod reader;
mod sources;
mod walk;
mod write;

pub use attributes::{Attributes, Identity};
pub use facts::{Facts, FileKind};
pub use filter::{
    Action, Evaluation, Filter, FilterError, Places, Selection, System, Verdict, group_names,
    group_patterns, rewrite_argument, search_argument,
};
pub use foreign::map_foreign;
pub use open::{open_for_read, open_for_read_following};
pub use reader::{FactReader, FullFacts};
pub use sources::{Found, Sources, file_system_of, is_empty_folder, prepare_sources};
pub use walk::{
    EXCLUSION_XATTRS, HardlinkPolicy, OwnDatabases, OwnFiles, Root, SkipReason, SymlinkPolicy,
    Walk, WalkEntry, WalkItem, WalkOptions,
};
pub use write::{
    OpenHow, Replace, Restore, Step, TargetRoot, Temporary, Watch, allocate, is_temporary_name,
    write_sparse,
};
