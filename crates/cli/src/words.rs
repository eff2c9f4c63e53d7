//! Words of texts that several commands print.

pub use larder_engine::words::{counted, noun, verb};

/// The present time as a line of progress shows it: ISO 8601, local zone.
pub fn now() -> String {
    time_text(&jiff::Zoned::now())
}

/// A time as people read it: ISO 8601 with its offset.
pub fn time_text(time: &jiff::Zoned) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}
