//! The operations of `openapi/queues.json`, with their ids and methods, as the build script finds them there.

#![cfg_attr(
    not(feature = "emulator"),
    allow(unreachable_pub, reason = "only the emulator has its users name operations")
)]

include!(concat!(env!("OUT_DIR"), "/operations.rs"));
