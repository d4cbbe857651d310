//! The optional features: the types on the wire, their mocks and schemas, metrics, and services as handlers.
//!
//! `cargo test` runs these tests through `the_mocks_and_the_schemas_pass_their_tests`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "a test may fail")]

mod metrics;
mod mocks;
mod schemas;
mod services;
