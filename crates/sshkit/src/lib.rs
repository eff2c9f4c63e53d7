//! What a provider that is reached through SSH is built from: the right server, the sign-in, one connection with several
//! channels, and files in SFTP.
//!
//! `hostkey` decides whether a server is the one that is meant, `keys` reads private keys, `connect` makes a [`Link`] from
//! [`Settings`], `sftp` makes requests on its channels. Nothing here knows what a destination makes of them.

mod connect;
mod hostkey;
mod keys;
mod sftp;

pub use connect::{Link, Settings, SignIn};
pub use hostkey::HostKeys;
pub use keys::KeyText;
pub use russh_sftp::protocol::{File, FileAttributes, StatusCode};
pub use sftp::{Failure, How, Opened, Outcome, Sftp, Times, Unwritten};
