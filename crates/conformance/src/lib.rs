//! Every provider against every behaviour case; the program is in `tests/it`.
//!
//! `cargo test -p larder-conformance` always runs the destination in memory and the local folder. Services need a
//! place to work in, named by an environment variable:
//!
//! | variable | meaning |
//! | --- | --- |
//! | `LARDER_TEST_S3_URL` | a bucket with credentials and server, e.g. `s3://key:secret@bucket?s3-server-name=127.0.0.1:9000` |
//! | `LARDER_TEST_REQUIRE_ALL` | `1` makes a left-out provider a failure |
//!
//! The cases themselves are in `larder_testkit::behaviour`.
