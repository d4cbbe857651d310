//! The bodies of requests and answers as they stand on the wire.
//!
//! Calls of this crate need none of them: they are here for [mocks](crate::mock) and for whoever speaks to the service in another way.
//! With the feature `schemars`, each of them has a JSON Schema.
//! Counts and times are `f64`, since Cloudflare's document calls them numbers and does not promise that they are whole.

pub use crate::{
    ack::Warnings,
    envelope::Envelope,
    generated::types::{
        AckEntry, AckPayload, AckResult, ContentType, Identifier, PeekPayload, PeekResult, PeekResultMessage,
        PullPayload, PullResult, PulledMessage, PurgeEntry, PurgePayload, PurgeResult, PushBatchPayload, PushPayload,
        PushResult, RetryEntry, error::ConversionError,
    },
    message::MessageBody,
};
