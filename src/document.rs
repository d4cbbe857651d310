//! The bounds, and the names of fields and values, that the build script finds in `openapi/queues.json`.

#![expect(dead_code, reason = "every bound is here, also those that are equal to another")]

include!(concat!(env!("OUT_DIR"), "/limits.rs"));
