//! All option tables: the engine's and those of every provider.

use larder_options::{OptionDecl, engine as opt};

/// The tables, the engine's first.
pub fn tables() -> Vec<&'static [&'static OptionDecl]> {
    let mut tables = vec![opt::TABLE];
    tables.extend(larder_registry::option_tables());
    tables
}
