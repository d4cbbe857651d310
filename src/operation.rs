//! The operations of `openapi/queues.json`, with their ids and methods, as the build script finds them there.

include!(concat!(env!("OUT_DIR"), "/operations.rs"));
