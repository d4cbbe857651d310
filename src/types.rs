//! The bodies of requests and responses as they are on the wire.
//!
//! Calls of this crate need none of them: they are here for [mocks](crate::mock) and for whoever speaks to the service in another way.
//! With the feature `schemars`, each of them has a JSON Schema.
//! Counts and times are `f64`, since Cloudflare's document calls them numbers and does not promise that they are whole.

pub use crate::{
    body::{ContentType, MessageBody},
    envelope::Envelope,
    generated::types::{
        AckEntry, AckPayload, AckResult, ExtendEntry, ExtendPayload, ExtendResult, Identifier, PeekPayload, PeekResult,
        PeekResultMessage, PullPayload, PullResult, PulledMessage, PurgeEntry, PurgePayload, PurgeResult,
        PushBatchPayload, PushPayload, PushResult, RetryEntry, error::ConversionError,
    },
    warning::Warnings,
};
