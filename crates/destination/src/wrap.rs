//! Wrappers around any destination.
//!
//! They stand between the engine and a provider and know neither: the engine gets an `Arc<dyn Destination>` and cannot
//! tell how many layers it has. Each wrapper answers every method of the trait itself (clippy's
//! `missing_trait_methods` is denied on them), so that a new method cannot fall through to its default unseen.
//!
//! | wrapper | for |
//! | --- | --- |
//! | [`ReadOnly`] | restores, listings and checks that must not change anything |
//! | [`Throttle`] | the speed limits of a task |
//! | [`Recorder`] | assertions on the number and kind of calls |
//! | [`Faults`] | failures on purpose, repeatable from a seed |

mod faults;
mod read_only;
mod recorder;
mod throttle;

pub use faults::{Failure, FaultPlan, Faults, Hook};
pub use read_only::ReadOnly;
pub use recorder::{Call, Journal, Outcome, Recorder};
pub(crate) use throttle::Pace;
pub use throttle::{RateLimit, Throttle};

#[cfg(test)]
mod tests;
