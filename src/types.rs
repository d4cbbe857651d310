//! The bodies of requests and responses as they are on the wire.
//!
//! Calls of this crate need none of them: they are here for [mocks](crate::mock) and for whoever speaks to the service
//! in another way. With the feature `schemars`, each of them has a JSON Schema. Counts and times are `f64`, since
//! Cloudflare's document calls them numbers and does not promise that they are whole.

pub use crate::{
    body::{ContentType, MessageBody},
    envelope::{Envelope, List, Nothing},
    generated::types::{
        AckEntry, AckPayload, AckResult, CreateQueuePayload, CreateSubscriptionPayload, EventDestination, ExtendEntry,
        ExtendPayload, ExtendResult, Identifier, MetricsResult, PeekPayload, PeekResult, PeekResultMessage,
        PullPayload, PullResult, PulledMessage, PurgeEntry, PurgePayload, PurgeQueuePayload, PurgeResult,
        PushBatchPayload, PushPayload, PushResult, RetryEntry, UpdateQueuePayload, UpdateSubscriptionPayload,
        error::ConversionError,
    },
    warning::Warnings,
};
