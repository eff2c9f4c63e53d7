//! Every provider against every behaviour case; the program is in `tests/it`, the list of providers in its `sites.rs`.
//!
//! `cargo test -p larder-conformance` always runs the destination in memory, the local folder and the simulators. A
//! server is named by a variable, as `scripts/test.sh` sets them:
//!
//! | variable | meaning |
//! | --- | --- |
//! | `LARDER_TEST_<SCHEME>_URL` | a storage URL with everything that is needed to sign in; the cases make folders below it |
//! | `LARDER_TEST_<SCHEME>_<WHICH>_URL` | a further server of that kind |
//! | `LARDER_TEST_REQUIRE_ALL` | `1` makes a missing server a failure, and compares the table with `docs/reference/destinations.md` |
//! | `LARDER_TEST_WRITE_TABLE` | `1` writes that page |
//!
//! Arguments: words that the name of a server must hold, and `--case=text` for cases. The cases themselves are in
//! `larder_testkit::behaviour`.
