//! The bounds, the names of fields and values, and the fields that are secret, which the build script finds in
//! `openapi/queues.json`.

pub(crate) mod fields;
pub(crate) mod generated;
pub(crate) mod operation;

#[expect(dead_code, reason = "every bound is here, also those that are equal to another")]
mod limits {
    include!(concat!(env!("OUT_DIR"), "/limits.rs"));
}
pub(crate) use limits::*;
