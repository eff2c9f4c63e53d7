//! Tests of the catalog through its public interface.

mod support;

mod basics;
mod damage;
mod entries;
mod model;
mod opening;
