//! Everything that is shown of the tables: help, reference page, manual page, completion, form descriptions.
//!
//! All of it is text made from the declarations; nothing here has a list of its own.

mod completion;
mod help;
mod json;
mod manual;
mod markdown;
mod shared;

pub use completion::{bash_completion, fish_completion, zsh_completion};
pub use help::{help_listing, help_topic, settings_listing};
pub use json::json_listing;
pub use manual::man_page;
pub use markdown::{markdown_reference, markdown_section};
pub use shared::{Verb, describe_kind, describe_status};
