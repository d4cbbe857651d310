//! What the features `mock` and `schemars` give: the types on the wire, mocks of them, and their schemas.
//!
//! `cargo test` runs these tests by `the_mocks_and_the_schemas_pass_their_tests`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "a test may fail")]

mod mocks;
mod schemas;
mod secrets;
