//! The optional features: the types on the wire, their mocks and schemas, metrics, and services as handlers.
//!
//! `cargo test` leaves them out, since cargo would build the dependencies of these features for the examples as well:
//! `cargo test -p cloudflare-queues-tests --features full --test features`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "a test may fail")]

mod metrics;
mod mocks;
mod schemas;
mod services;
