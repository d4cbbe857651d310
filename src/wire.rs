//! From the types on the wire to ours, and back.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};
use tokio::time::Instant;

use crate::{
    body::{Body, ContentType},
    envelope::Envelope,
    generated::types::{
        AckEntry, AckPayload, ExtendEntry, ExtendPayload, MetricsResult, PeekResult, PeekResultMessage, PullPayload,
        PullResult, PulledMessage, PushPayload, RetryEntry,
    },
    held::Extended,
    limits,
    message::Message,
    peek::PeekedMessage,
    pull::{Batch, Metrics, PullOptions},
    push::PushMessage,
    settlement::{Decision, Lease, Settlement},
};

pub(crate) fn ack_payload(settlements: &[Settlement]) -> AckPayload {
    let mut payload = AckPayload { acks: Vec::with_capacity(settlements.len()), retries: Vec::new() };
    for Settlement { lease, decision } in settlements {
        let lease_id = lease.id().clone();
        let delay_seconds = match decision {
            Decision::Ack => {
                payload.acks.push(AckEntry { lease_id });
                continue;
            }
            Decision::Retry => None,
            Decision::RetryIn(delay) => Some(seconds(*delay)),
        };
        payload.retries.push(RetryEntry { lease_id, delay_seconds });
    }
    payload
}

pub(crate) fn extend_payload(leases: &[Lease], visibility_timeout: Duration) -> ExtendPayload {
    ExtendPayload {
        extend: leases.iter().map(|lease| ExtendEntry { lease_id: lease.id().clone() }).collect(),
        visibility_timeout_ms: milliseconds(visibility_timeout).try_into().ok(),
    }
}

pub(crate) fn pull_payload(options: PullOptions) -> PullPayload {
    PullPayload {
        batch_size: options.batch_size.try_into().ok(),
        visibility_timeout_ms: milliseconds(options.visibility_timeout).try_into().ok(),
    }
}

/// Rounded down, so that no lease is taken to be longer than it is.
pub(crate) fn milliseconds(visibility_timeout: Duration) -> u32 {
    visibility_timeout.as_millis() as u32
}

pub(crate) fn push_payload(message: &PushMessage) -> PushPayload {
    PushPayload {
        body: message.body().wire().clone(),
        content_type: message.body().content_type().clone(),
        delay_seconds: message.delayed_by().map(seconds),
    }
}

/// Rounded up: a message is never delivered earlier than asked. The bounds were checked, so that it fits.
fn seconds(delay: Duration) -> u32 {
    (delay.as_secs() as u32).saturating_add(u32::from(delay.subsec_nanos() > 0))
}

pub(crate) fn batch(result: PullResult, lease_deadline: Instant, attempts: u32) -> Batch {
    let pulled = result.messages.unwrap_or_default();
    let count = pulled.len();
    let mut messages: Vec<_> = pulled.into_iter().filter_map(|pulled| message(pulled, lease_deadline)).collect();
    let without_lease = count - messages.len();
    let mut duplicates: usize = 0;
    while let Some(index) = limits::repeated(|| messages.iter().map(|message| &message.lease_id)) {
        messages.remove(index);
        duplicates = duplicates.saturating_add(1);
    }
    Batch {
        messages,
        without_lease,
        duplicates,
        backlog_count: count_of(result.message_backlog_count),
        metrics: metrics(result.metadata),
        attempts,
    }
}

/// A message without a lease can be neither acknowledged nor retried: it is left to the caller's count.
fn message(pulled: PulledMessage, lease_deadline: Instant) -> Option<Message> {
    let metadata = properties(pulled.metadata);
    Some(Message {
        lease_id: pulled.lease_id.filter(|lease_id| !lease_id.is_empty())?,
        id: id(pulled.id),
        attempts: attempts(pulled.attempts),
        timestamp: time(number(pulled.timestamp_ms)),
        body: Body::new(pulled.body.unwrap_or_default(), content_type(&metadata)),
        metadata,
        lease_deadline: lease_deadline.into_std(),
        extended: Extended::default(),
    })
}

pub(crate) fn peeked(peeked: PeekResultMessage) -> PeekedMessage {
    let metadata = properties(peeked.metadata);
    PeekedMessage {
        id: id(peeked.id),
        message_ref: peeked.ref_.filter(|message_ref| !message_ref.0.is_empty()),
        attempts: attempts(peeked.attempts),
        timestamp: time(number(peeked.timestamp_ms)),
        body: Body::new(peeked.body.unwrap_or_default(), content_type(&metadata)),
        metadata,
    }
}

fn content_type(metadata: &Map<String, Value>) -> ContentType {
    match metadata.get("CF-Content-Type").and_then(Value::as_str) {
        None => ContentType::Json,
        Some(name) => ContentType::known(name).unwrap_or_else(|| ContentType::Other(name.to_owned())),
    }
}

/// What comes beside a result that is there already must not cost it, whatever its form.
pub(crate) fn metrics(metadata: Option<Value>) -> Option<Metrics> {
    let mut metrics = metadata?.get_mut("metrics").map(Value::take).filter(Value::is_object)?;
    let mut take = |field| metrics.get_mut(field).map(Value::take);
    Some(metrics_of(MetricsResult {
        backlog_count: take("backlog_count"),
        backlog_bytes: take("backlog_bytes"),
        oldest_message_timestamp_ms: take("oldest_message_timestamp_ms"),
    }))
}

pub(crate) fn metrics_of(result: MetricsResult) -> Metrics {
    Metrics {
        backlog_count: count_of(result.backlog_count),
        backlog_bytes: count_of(result.backlog_bytes),
        // The service says 0 where it does not know.
        oldest_message: time(number(result.oldest_message_timestamp_ms).filter(|ms| *ms != 0.0)),
    }
}

/// A count; what is no count is unknown.
pub(crate) fn count_of(value: Option<Value>) -> Option<u64> {
    whole(number(value))
}

fn number(value: Option<Value>) -> Option<f64> {
    value?.as_f64()
}

/// The service's counts are JSON numbers: 5 and 5.0 are five.
fn whole(number: Option<f64>) -> Option<u64> {
    number.filter(|number| *number >= 0.0 && number.fract() == 0.0).map(|number| number as u64)
}

fn attempts(value: Option<Value>) -> Option<u32> {
    count_of(value)?.try_into().ok()
}

/// An id of an odd type is kept as its JSON.
fn id(value: Option<Value>) -> String {
    match value {
        Some(Value::String(id)) => id,
        id => id.filter(|id| !id.is_null()).map(|id| id.to_string()).unwrap_or_default(),
    }
}

fn properties(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(metadata)) => metadata,
        _ => Map::new(),
    }
}

fn time(milliseconds: Option<f64>) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(whole(milliseconds)?))
}

/// Reads a pull's response in which one entry does not fit the document, so that it costs no other message its lease: a
/// number in the place of a message, a key that repeats, half of a character in an id.
pub(crate) fn recover_pull(body: &[u8]) -> Option<Envelope<PullResult>> {
    let (messages, mut rest) = recover(body)?;
    let messages = messages.into_iter().map(|entry| {
        read(entry).unwrap_or_else(|| {
            let mut fields = fields(entry);
            PulledMessage {
                id: fields.take("id"),
                body: fields.take("body"),
                attempts: fields.take("attempts"),
                timestamp_ms: fields.take("timestamp_ms"),
                lease_id: fields.take("lease_id"),
                metadata: fields.take("metadata"),
            }
        })
    });
    Some(Envelope::success(PullResult {
        messages: Some(messages.collect()),
        message_backlog_count: rest.take("message_backlog_count"),
        metadata: rest.take("metadata"),
    }))
}

/// As [`recover_pull`], for a peek.
pub(crate) fn recover_peek(body: &[u8]) -> Option<Envelope<PeekResult>> {
    let messages = recover(body)?.0.into_iter().map(|entry| {
        read(entry).unwrap_or_else(|| {
            let mut fields = fields(entry);
            PeekResultMessage {
                id: fields.take("id"),
                body: fields.take("body"),
                attempts: fields.take("attempts"),
                timestamp_ms: fields.take("timestamp_ms"),
                ref_: fields.take("ref"),
                metadata: fields.take("metadata"),
            }
        })
    });
    Some(Envelope::success(PeekResult { messages: Some(messages.collect()) }))
}

#[derive(Deserialize)]
struct Successful<'a> {
    success: bool,
    #[serde(borrow)]
    result: HashMap<&'a str, &'a RawValue>,
}

/// The fields of an object, unread. Of a key that repeats, the last one counts.
struct Fields<'a>(HashMap<&'a str, &'a RawValue>);

impl Fields<'_> {
    fn take<T: for<'de> Deserialize<'de>>(&mut self, name: &str) -> Option<T> {
        read(self.0.remove(name)?)
    }
}

fn recover(body: &[u8]) -> Option<(Vec<&RawValue>, Fields<'_>)> {
    let Successful { success, mut result } = serde_json::from_slice(body).ok()?;
    let messages = serde_json::from_str(result.remove("messages")?.get()).ok()?;
    success.then_some((messages, Fields(result)))
}

fn read<T: for<'de> Deserialize<'de>>(raw: &RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

fn fields(raw: &RawValue) -> Fields<'_> {
    Fields(serde_json::from_str(raw.get()).unwrap_or_default())
}
