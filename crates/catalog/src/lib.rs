//! The local catalog: what this computer remembers about a backup, so that it need not ask the destination.
//!
//! The catalog is a **cache** in one SQLite file. What it holds can be read again from the remote volumes (docs/format), but
//! for the memory of version lists that were lost (docs/decisions/0013-losses-are-remembered.md), so deleting or damaging it
//! costs time, never data. Hence the two rules of this crate:
//!
//! * Nothing damaged is ever believed. A catalog that was closed is checked against its checksum file when it is opened
//!   again; one that was not is examined completely; every row carries a checksum of its own that is compared whenever it
//!   is read. What fails is set aside and replaced by an empty catalog ([`Opened::Replaced`]), or, when it is found
//!   later, reported as [`Error::Damaged`].
//! * What must not be forgotten, the intent to upload or to delete a remote file, is committed with
//!   [`Catalog::durable`] before the remote call is made.
//!
//! The crate is synchronous and the only user of SQL in the workspace. A [`Catalog`] is `Send` but not `Sync`: one
//! thread at a time uses it. One process at a time writes; any number read beside it ([`Catalog::open_for_reading`]). Why
//! SQLite, and what else was considered: docs/decisions/0002-sqlite-as-a-cache.md. How the entries of all versions are
//! kept: docs/decisions/0012-all-versions-in-the-catalog.md.

mod batch;
mod blocklists;
mod blocks;
mod browse;
mod bulk;
mod catalog;
mod check;
mod codec;
mod compare;
mod cursor;
mod entries;
mod error;
mod files;
mod filesets;
mod fingerprints;
mod handles;
mod links;
mod lock;
mod losses;
mod merge;
mod occupant;
mod open;
mod packed;
mod parallel;
mod params;
mod removal;
mod schema;
mod segment;
mod segments;
mod slots;
mod sort;
mod sums;
mod usage;
mod vacuum;
mod volumes;
mod wire;

pub use browse::FolderItem;
pub use bulk::{BulkLoader, BulkTotals};
pub use catalog::Catalog;
pub use codec::{Seen, StoredEntry};
pub use compare::Difference;
pub use cursor::EntryCursor;
pub use entries::EntryWriter;
pub use error::{Error, Result};
pub use files::{COMPANIONS, copy_closed, is_companion};
pub use filesets::{Counts, FilesetRow};
pub use fingerprints::Fingerprints;
pub use losses::{Loss, LossKind};
pub use merge::EntryTotals;
pub use occupant::{Occupant, is_catalog};
pub use open::Opened;
pub use sort::Sorter;
pub use usage::{BlockRules, UsedBlocks, VolumeUsage};
pub use vacuum::Shrunk;
pub use volumes::{VolumeRow, VolumeState};
