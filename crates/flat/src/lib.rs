//! Stores that know files by their names in one folder: SFTP, FTP, SMB, WebDAV, a local folder and their like.
//!
//! A provider says what one request of its protocol does ([`Files`]); a [`Store`] makes a destination of it. It stores a
//! file under a temporary name and renames it when it is whole, finds out what became of a rename whose answer was lost,
//! replaces a file where the server cannot do that in one step, does without renames where the server has none, and removes
//! what ended runs left. A [`Line`] is the connection that all operations share, where the protocol has one. A store with
//! safer means of its own, such as locks and open files, uses the names, the ages and [`blocking`] alone.

mod blocking;
mod files;
mod folder;
mod line;
mod listing;
mod names;
mod replace;
mod store;

pub use blocking::{ahead, blocking};
pub use files::{Files, Renamed, Renaming};
pub use line::{Connection, Held, Line, Shape};
pub use names::{LEFTOVER_AGE, is_temporary, temporary_name};
pub use store::Store;

/// What an error says of a folder that is not there.
pub const NO_FOLDER: &str = "the folder does not exist on the server";
