//! The bodies of requests and responses on the wire.
//!
//! Calls of this crate do not need them. They are for [mocks](crate::mock), and for programs that talk to the service
//! in another way. With the feature `schemars`, each has a JSON Schema. The service's counts and times are any JSON
//! value, so that an odd one does not affect the rest, and are read as numbers. The types follow Cloudflare's document,
//! so they may change in any version.

pub use crate::{
    document::generated::types::{
        AckEntry, AckPayload, AckResult, CreateQueuePayload, CreateSubscriptionPayload, EventDestination, ExtendEntry,
        ExtendPayload, ExtendResult, Identifier, MetricsResult, PeekPayload, PeekResult, PeekResultMessage,
        PullPayload, PullResult, PulledMessage, PurgeEntry, PurgePayload, PurgeQueuePayload, PurgeResult,
        PushBatchPayload, PushPayload, PushResult, QueueName, RetryEntry, UpdateQueuePayload,
        UpdateSubscriptionPayload, error::ConversionError,
    },
    http::envelope::{Envelope, List, Nothing},
    message::{
        body::{ContentType, MessageBody},
        warning::Warnings,
    },
};
