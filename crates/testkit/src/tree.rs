//! Source trees from a seed, and their comparison.
//!
//! A test builds a tree, backs it up, restores it and asks [`compare`] what differs. [`build_torture`] makes one of
//! everything that has ever given backup programs trouble, [`build_random`] makes bulk, [`edit_random`] changes a tree
//! between two backups. The fixtures made by Duplicati come with [`Manifest`]s instead of trees.

mod build;
mod compare;
mod manifest;
mod torture;

pub use build::{build_random, edit_random};
pub use compare::{CompareOptions, Difference, compare, compare_manifests, compare_with_manifest};
pub use manifest::{Entry, Kind, Manifest};
pub use torture::build_torture;

#[cfg(test)]
mod tests;
