//! The results of operations.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Serialize;

use super::{
    behavior::{Behavior, JsonBodies, WarningsForm},
    clock::unix_millis,
    content::Content,
    ids::{Lease, Sequence},
    outcome::Outcome,
    queue::{Metrics, Stored},
};
use crate::message::body::ContentType;

#[derive(Serialize)]
pub(super) struct Pushed {
    pub(super) metadata: Metadata,
}

#[derive(Serialize)]
pub(super) struct Pulled<'a> {
    pub(super) message_backlog_count: u64,
    pub(super) messages: Vec<Message<'a>>,
    pub(super) metadata: Metadata,
}

#[derive(Serialize)]
pub(super) struct Peeked<'a> {
    pub(super) messages: Vec<Message<'a>>,
}

/// With a lease id if it was pulled, and a reference if it was peeked.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    id: String,
    body: Cow<'a, str>,
    attempts: u32,
    timestamp_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_id: Option<String>,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    message_ref: Option<String>,
    metadata: Properties<'a>,
}

#[derive(Serialize)]
struct Properties<'a> {
    #[serde(rename = "CF-Content-Type")]
    content_type: &'a str,
    #[serde(rename = "CF-sourceMessageSource")]
    source: &'a str,
}

impl<'a> Message<'a> {
    pub(super) fn pulled(behavior: &Behavior, lease: Lease, message: &'a Stored) -> Self {
        Self { lease_id: Some(lease.id()), ..Self::new(behavior, lease.sequence, message) }
    }

    pub(super) fn peeked(behavior: &Behavior, sequence: Sequence, message: &'a Stored) -> Self {
        Self { message_ref: Some(sequence.message_ref()), ..Self::new(behavior, sequence, message) }
    }

    /// In the deprecated form of a peek.
    pub(super) fn previewed(behavior: &Behavior, sequence: Sequence, message: &'a Stored) -> Self {
        Self { lease_id: Some(sequence.message_ref()), ..Self::new(behavior, sequence, message) }
    }

    fn new(behavior: &Behavior, sequence: Sequence, message: &'a Stored) -> Self {
        let Content { body: text, content_type, source } = &message.content;
        let is_base64 = *content_type == ContentType::Json && behavior.json_bodies == JsonBodies::Base64;
        Self {
            id: message.id(sequence),
            body: if is_base64 { BASE64_STANDARD.encode(&**text).into() } else { (&**text).into() },
            attempts: message.attempts,
            timestamp_ms: unix_millis(message.pushed_at),
            lease_id: None,
            message_ref: None,
            metadata: Properties { content_type: content_type.as_str(), source },
        }
    }
}

#[derive(Serialize)]
pub(super) struct Metadata {
    metrics: QueueMetrics,
}

#[derive(Serialize)]
struct QueueMetrics {
    backlog_count: u64,
    backlog_bytes: u64,
    /// 0 if there is none.
    oldest_message_timestamp_ms: u64,
}

impl Metadata {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let oldest_message_timestamp_ms = metrics.oldest_message.map_or(0, unix_millis);
        let Metrics { backlog_count, backlog_bytes, .. } = *metrics;
        Self { metrics: QueueMetrics { backlog_count, backlog_bytes, oldest_message_timestamp_ms } }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Acked {
    #[serde(flatten)]
    counts: Option<AckCounts>,
    warnings: Warnings,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AckCounts {
    ack_count: u64,
    retry_count: u64,
}

impl Acked {
    pub(super) fn new(behavior: &Behavior, outcome: Outcome) -> Self {
        let counts = AckCounts { ack_count: outcome.acked, retry_count: outcome.retried };
        Self { counts: behavior.counts.then_some(counts), warnings: Warnings::new(behavior, outcome.warnings) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Extended {
    #[serde(skip_serializing_if = "Option::is_none")]
    extend_count: Option<u64>,
    warnings: Warnings,
}

impl Extended {
    pub(super) fn new(behavior: &Behavior, outcome: Outcome) -> Self {
        let extend_count = behavior.counts.then_some(outcome.extended);
        Self { extend_count, warnings: Warnings::new(behavior, outcome.warnings) }
    }
}

#[derive(Serialize)]
pub(super) struct Purged {
    errors: [(); 0],
    warnings: Warnings,
}

impl Purged {
    pub(super) fn new(behavior: &Behavior, outcome: Outcome) -> Self {
        Self { errors: [], warnings: Warnings::new(behavior, outcome.warnings) }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Warnings {
    Map(BTreeMap<String, &'static str>),
    List(Vec<String>),
}

impl Warnings {
    fn new(behavior: &Behavior, warnings: Vec<(String, &'static str)>) -> Self {
        match behavior.warnings {
            WarningsForm::Map => Self::Map(warnings.into_iter().collect()),
            WarningsForm::List => {
                Self::List(warnings.into_iter().map(|(subject, text)| format!("{subject}: {text}")).collect())
            }
        }
    }
}
