//! Stores that know files by their names in one folder: SFTP, FTP, SMB, WebDAV, a local folder and their like.
//!
//! A [`Folder`] stands between a provider's requests ([`Files`]) and its destination. It stores a file under a temporary
//! name and renames it when it is whole, finds out what became of a rename whose answer was lost, does without renames
//! where the server has none, and removes what ended runs left. A store with safer means of its own, such as locks and
//! open files, uses the names, the ages and [`blocking`] alone.

mod blocking;
mod folder;
mod names;

pub use blocking::{ahead, blocking};
pub use folder::{Files, Folder, Renaming};
pub use names::{LEFTOVER_AGE, is_temporary, temporary_name};
