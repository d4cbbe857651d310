//! The bounds, the names of fields and values, and the fields that are secret, which the build script finds in
//! `openapi/queues.json`.

pub(crate) mod fields;
pub(crate) mod generated;
pub(crate) mod operation;

// A bound that is stated and not checked does not compile.
#[deny(dead_code)]
mod limits {
    include!(concat!(env!("OUT_DIR"), "/limits.rs"));
}
pub(crate) use limits::*;

/// Of these, the code refuses what is empty, and begins to count at one.
const _: () = assert!(
    same(&[
        QUEUE_NAME_MIN_LENGTH,
        CREATE_SUBSCRIPTION_PAYLOAD_EVENTS_MIN_ITEMS,
        UPDATE_SUBSCRIPTION_PAYLOAD_EVENTS_MIN_ITEMS,
        EXTEND_PAYLOAD_EXTEND_MIN_ITEMS,
        IDENTIFIER_MIN_LENGTH,
        PAGE_MIN,
        PER_PAGE_MIN,
        PUSH_BATCH_PAYLOAD_MESSAGES_MIN_ITEMS,
    ]) == 1
);

/// A bound that the document states in several places, and that the code checks as one.
pub(crate) const fn same(bounds: &[u64]) -> u64 {
    let [bound, others @ ..] = bounds else { return 0 };
    assert!(others.is_empty() || *bound == same(others), "the document's bounds differ: check each by itself");
    *bound
}
