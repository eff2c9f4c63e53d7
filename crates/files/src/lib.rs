//! Local files that are written under a temporary name and get their own when they are whole: what the local folder as a
//! destination and a restore have in common.
//!
//! All calls block, and wait for nothing but the file system.

mod name;
mod new_file;

pub use name::{rename_new, resolve, sync_folder};
pub use new_file::{NewFile, check_length, give_name, is_abandoned};
