//! What the client sends, how it handles every response, and what happens to calls, leases and secrets when things
//! fail.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "a test may fail")]

/// A response of the service, or a request to it, from `tests/fixtures`.
macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../fixtures/", $name))
    };
}

mod ack;
mod budget;
mod cancellation;
mod chaos;
mod connections;
mod consumer;
mod decisions;
mod described;
mod envelope;
mod environment;
mod extremes;
mod faults;
mod in_flight;
mod in_process;
mod input;
mod leaks;
mod legal;
mod manage;
mod many;
mod messages;
mod mistakes;
mod pages;
mod properties;
mod recorded;
mod requests;
mod retries;
mod rotation;
mod secrets;
mod statuses;
mod tls;
mod toolchain;
mod trace;
mod truths;
mod values;
