//! Words of texts that several commands print.

pub use larder_engine::words::{counted, noun, verb};

/// The present time as a line of progress shows it: ISO 8601, local zone.
pub fn now() -> String {
    larder_render::time_text(&jiff::Zoned::now())
}
