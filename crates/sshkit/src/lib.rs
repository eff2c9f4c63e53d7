//! What a provider that is reached through SSH is built from: the right server, the sign-in, one connection with several
//! channels, and files in SFTP.
//!
//! `connect` reaches a server that `hostkey` knows, `sign_in` tries what the user gave (private keys: `keys`); together they
//! make a [`Link`] from [`Settings`]. On each of its channels `requests` passes packets (`wire`) and their answers
//! (`failure`) while something moves on the line (`pulse`); `sftp` has the verbs, `opened` the transfers. Nothing here knows
//! what a destination makes of them.

mod connect;
mod failure;
mod hostkey;
mod keys;
mod link;
mod opened;
mod pulse;
mod requests;
mod sftp;
mod sign_in;
mod wire;

pub use connect::Settings;
pub use failure::{Failure, Outcome, Status};
pub use hostkey::HostKeys;
pub use keys::KeyText;
pub use link::Link;
pub use opened::{Opened, Unwritten};
pub use sftp::{How, Sftp, Times};
pub use sign_in::SignIn;
pub use wire::{Attributes, Entry};
