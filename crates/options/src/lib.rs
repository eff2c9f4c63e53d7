//! Declarations of all options and everything that is derived from them.
//!
//! An option is declared once, as a typed constant ([`Opt`]) in the table of the part that reads it: the engine's
//! options in [`engine`], a provider's in the provider. From the tables come the reading of values ([`Values`]), the
//! checks and warnings ([`check()`]), "did you mean" ([`suggest`]), redaction ([`is_secret`]) and all rendered forms
//! ([`render`]): help, reference pages, completion, form descriptions.
//!
//! Nothing here reads the environment, a file or the clock; callers pass texts in.
//!
//! ```
//! use larder_options::{Group, Kind, Opt, OptionDecl, Origin, SizeUnit, Values};
//!
//! const PART_SIZE: Opt<u64> = Opt::new(&OptionDecl {
//!     name: "s3-part-size",
//!     kind: Kind::Size { unit: SizeUnit::Mib },
//!     default: Some("8mb"),
//!     group: Group::Destination,
//!     help: "Length of one part of a multipart upload.",
//!     ..OptionDecl::BASE
//! });
//!
//! let mut values = Values::new();
//! assert_eq!(values.get(PART_SIZE)?, 8 << 20);
//! values.set("S3_Part_Size", Some("16mb"), Origin::CommandLine);
//! assert_eq!(values.get(PART_SIZE)?, 16 << 20);
//! # Ok::<(), larder_options::Error>(())
//! ```

#[macro_use]
mod table;

pub mod check;
#[macro_use]
mod choice;
pub mod command_line;
mod decl;
mod elsewhere;
pub mod engine;
mod error;
mod expand;
mod opt;
pub mod parameters_file;
mod read;
pub mod render;
mod secrecy;
mod secret;
mod suggest;
pub mod value;
mod values;

pub use check::{Problem, Severity, check, check_url};
pub use choice::Choice;
pub use decl::{Group, Kind, OptionDecl, SizeUnit, Status, find_decl, normalize_name};
pub use error::{Error, Result};
pub use expand::expand;
pub use opt::Opt;
pub use read::OptionValue;
pub use secrecy::{is_secret, is_secret_in};
pub use secret::Secret;
pub use suggest::{near, suggest};
pub use table::{joined, total};
pub use values::{Origin, Setting, Values};
