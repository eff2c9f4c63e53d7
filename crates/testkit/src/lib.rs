//! What the tests of all crates share; never part of the program.
//!
//! - [`MemoryDestination`]: a destination without a disk, and the wrappers to disturb and watch any other
//! - [`behaviour`]: what every destination must do, as a library of cases
//! - [`tree`]: source trees from a seed, and their comparison
//! - [`simulators`]: services that nobody can run at home
//! - [`misbehaviour`]: what a destination makes of a server that misbehaves
//! - [`TcpLine`]: a line to a server that breaks, stands still or is slow
//! - [`linter`]: does a folder of volumes keep the writer's checklist?

pub mod behaviour;
pub mod linter;
mod memory;
pub mod misbehaviour;
mod rng;
pub mod simulators;
mod skipping;
mod tcp;
pub mod tree;

pub use larder_destination::wrap::{
    Call, Failure, FaultPlan, Faults, Hook, Journal, Outcome, RateLimit, ReadOnly, Recorder,
    Throttle,
};
pub use memory::{Listing, MemoryDestination, MemoryOptions};
pub use rng::Rng;
pub use skipping::pass_over;
pub use tcp::TcpLine;
