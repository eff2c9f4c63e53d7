//! Tests of the HTTP client over the wire, on local ports.

mod chunked;
mod exchange;
mod service;
mod trust;

/// What tests return.
type Test = Result<(), Box<dyn std::error::Error>>;
