//! Tests of the HTTP client over the wire, on local ports, and of its parsers.

mod chunked;
mod exchange;
mod properties;
mod service;
mod trust;

/// What tests return.
type Test = Result<(), Box<dyn std::error::Error>>;
