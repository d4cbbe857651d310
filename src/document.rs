//! What the build script finds in `openapi/queues.json` beside the types: each bound, and the words for fields and
//! values.

#![expect(dead_code, reason = "every bound is here, also those that are equal to another")]

include!(concat!(env!("OUT_DIR"), "/limits.rs"));
