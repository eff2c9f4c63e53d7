//! Tests that lack what they need.

/// Says that a test, or a part of it, is passed over because something is missing here: `what` names it in a word,
/// `why` says what is the matter.
///
/// With `LARDER_TEST_REQUIRE_ALL=1`, as under `scripts/test.sh`, that is a failure, unless `LARDER_TEST_MAY_SKIP` has
/// the word in its list (`mount,shells`): nothing is passed over unnoticed.
///
/// # Panics
/// When nothing may be passed over.
#[expect(clippy::print_stdout, reason = "what is passed over has to be seen")]
pub fn pass_over(what: &str, why: &str) {
    let is_required = std::env::var_os("LARDER_TEST_REQUIRE_ALL").is_some_and(|set| set == "1");
    let may_skip = std::env::var("LARDER_TEST_MAY_SKIP").unwrap_or_default();
    assert!(
        !is_required || may_skip.split(',').any(|word| word.trim() == what),
        "{what}: {why}, but no test may be passed over"
    );
    println!("passed over: {what}: {why}");
}
