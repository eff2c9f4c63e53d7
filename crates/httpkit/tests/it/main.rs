//! Tests of the HTTP client over the wire, on local ports.

mod exchange;
mod trust;

/// What tests return.
type Test = Result<(), Box<dyn std::error::Error>>;
