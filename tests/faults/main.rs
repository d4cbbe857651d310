//! What becomes of calls, leases and secrets when things go wrong.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "a test may fail")]

mod budget;
mod cancellation;
mod chaos;
mod in_flight;
mod in_process;
mod matrix;
mod secrets;
#[path = "../wire/support.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod support;
mod tls;
mod trace;
