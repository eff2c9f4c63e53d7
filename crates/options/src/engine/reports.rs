//! Reports sent after an operation.

pub use http::*;
pub use mail::*;
pub use messages::*;

pub(in crate::engine) mod http;
pub(in crate::engine) mod mail;
pub(in crate::engine) mod messages;
