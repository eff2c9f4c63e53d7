//! Tests of the option tables and parsers from outside.

mod properties;
mod tables;
mod vectors;
