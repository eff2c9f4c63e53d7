//! Services that nobody can run at home, in memory and behind a real HTTP server on 127.0.0.1.
//!
//! A simulator that says yes to everything proves nothing: each enforces what its service enforces, and counts only
//! because clients written by others work with it (`scripts/prove`). Faults are ordered request by request
//! ([`Fault`]), and a journal tells what was asked ([`Server::journal`]).

mod accounts;
mod faults;
pub mod google_drive;
mod server;
#[cfg(feature = "ssh-server")]
pub mod sftp;

pub use accounts::{AccountSettings, AuthId, Grant, known};
pub use faults::{Fault, Trouble};
pub use server::{Answer, Entry, Request, Server, Simulator};
