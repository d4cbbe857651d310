//! The code that the build script generates from `openapi/queues.json`.

#![allow(
    clippy::all,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "the generator writes for every document, and for public modules"
)]

include!(concat!(env!("OUT_DIR"), "/client.rs"));
