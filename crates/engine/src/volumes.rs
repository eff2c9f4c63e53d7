//! Making volumes and sending them, apart from where their content comes from; fetching and opening them.
//!
//! [`VolumeBuilder`] takes packed blocks and gives a [`SealedVolume`]; [`upload`] sends that and its index in the order
//! that leaves a restorable backup whenever the run ends. A backup is one caller; whatever else writes data volumes is
//! another.

mod block_set;
mod blocks;
mod builder;
mod fetch;
mod list;
mod upload;

pub(crate) use block_set::SharedBlocks;
pub(crate) use blocks::read_block;
pub(crate) use builder::{SealedVolume, VolumeBuilder};
pub(crate) use fetch::{OpenedVolume, OpenedVolumes};
pub(crate) use list::{AboutList, ListSource, WrittenList};
pub(crate) use upload::{StoredVolume, Unwatched, UploadSteps};
