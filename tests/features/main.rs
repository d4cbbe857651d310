//! The features `mock` and `schemars`: the types on the wire, their mocks, and their schemas.
//!
//! `cargo test` runs these tests through `the_mocks_and_the_schemas_pass_their_tests`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "a test may fail")]

mod mocks;
mod schemas;
mod secrets;
