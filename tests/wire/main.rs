//! What the client sends, and what it makes of every answer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "a test may fail")]

/// An answer of the service, or a request to it, from `tests/fixtures`.
macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../fixtures/", $name))
    };
}

mod ack;
mod connections;
mod envelope;
mod environment;
mod input;
mod many;
mod messages;
mod properties;
mod requests;
mod retries;
mod secrets;
mod statuses;
mod support;
