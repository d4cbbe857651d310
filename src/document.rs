//! The bounds, the names of fields and values, and the fields that are secret, which the build script finds in
//! `openapi/queues.json`.

#![expect(dead_code, reason = "every bound is here, also those that are equal to another")]

include!(concat!(env!("OUT_DIR"), "/limits.rs"));
