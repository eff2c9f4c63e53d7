//! The options of the engine, one constant each, in groups.
//!
//! Names, kinds and defaults are those of Duplicati 2.3 (docs/reference/options.md has the whole list, generated from
//! here). [`json`](JSON) and [`ignore-inode-changes`](IGNORE_INODE_CHANGES) are Larder's own. The constants of all
//! groups are re-exported here.

pub mod choices;
mod compacting;
mod compression;
mod database;
mod encryption;
mod general;
mod logging;
mod recovery;
mod remote;
mod reports;
mod restore;
mod retired;
mod scripts;
mod shared;
mod sources;
mod throughput;
mod versions;
mod volumes;

pub use compacting::*;
pub use compression::*;
pub use database::*;
pub use encryption::*;
pub use general::*;
pub use logging::*;
pub use recovery::*;
pub use remote::*;
pub use reports::*;
pub use restore::*;
pub use scripts::*;
pub use sources::*;
pub use throughput::*;
pub use versions::*;
pub use volumes::*;

use crate::decl::OptionDecl;

/// All options of the engine, of reports and scripts, and the retired names.
pub const TABLE: &[&OptionDecl] = &joined::<{ count(PARTS) }>(PARTS);

/// The options that every provider may read beside its own: nothing of the backup itself, and not its passphrase.
pub const SHARED_TABLES: &[&[&OptionDecl]] = &[remote::TABLE, throughput::TABLE];

/// Aliases that still work but give a warning, because the option's present name should be used.
pub const DEPRECATED_ALIASES: &[&str] = &[
    "http-operation-timeout",
    "http-readwrite-timeout",
    "patch-with-local-blocks",
];

const PARTS: &[&[&OptionDecl]] = &[
    encryption::TABLE,
    compression::TABLE,
    volumes::TABLE,
    sources::TABLE,
    versions::TABLE,
    remote::TABLE,
    throughput::TABLE,
    compacting::TABLE,
    database::TABLE,
    restore::TABLE,
    restore::listing::TABLE,
    recovery::TABLE,
    logging::TABLE,
    general::TABLE,
    general::secrets::TABLE,
    general::sync::TABLE,
    scripts::TABLE,
    reports::mail::TABLE,
    reports::http::TABLE,
    reports::messages::TABLE,
    retired::TABLE,
];

const fn count(parts: &[&[&OptionDecl]]) -> usize {
    let (mut total, mut part) = (0, 0);
    while part < parts.len() {
        total += parts[part].len();
        part += 1;
    }
    total
}

const fn joined<const N: usize>(parts: &[&[&'static OptionDecl]]) -> [&'static OptionDecl; N] {
    let mut all = [&OptionDecl::BASE; N];
    let (mut at, mut part) = (0, 0);
    while part < parts.len() {
        let mut row = 0;
        while row < parts[part].len() {
            all[at] = parts[part][row];
            at += 1;
            row += 1;
        }
        part += 1;
    }
    all
}
