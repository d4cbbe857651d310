//! Conversions between the types on the wire and ours.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::{
    document::{
        fields::{self, whole},
        generated::types::{
            AckEntry, AckPayload, ExtendEntry, ExtendPayload, MetricsResult, PeekResult, PeekResultMessage,
            PullPayload, PullResult, PulledMessage, PushPayload, RetryEntry,
        },
    },
    error::{Error, kind::ErrorKind},
    http::{
        envelope::Envelope,
        response,
        scanner::{NoJson, Scanner},
    },
    message::{
        Message, Metadata,
        body::{Body, ContentType},
        held::Extended,
        lease::MessageRef,
        limits,
        peek::PeekedMessage,
        pull::{Batch, Metrics, PullOptions},
        push::PushMessage,
        settlement::{Decision, Lease, Settlement},
    },
};

pub(crate) fn ack_payload<'a>(settlements: impl ExactSizeIterator<Item = &'a Settlement>) -> AckPayload {
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

/// Rounded down, so that no lease is assumed to be longer than it is.
pub(crate) fn milliseconds(visibility_timeout: Duration) -> u32 {
    visibility_timeout.as_millis() as u32
}

pub(crate) fn push_payload(message: &PushMessage) -> PushPayload {
    PushPayload {
        body: message.body().wire().clone(),
        content_type: message.body().content_type().clone(),
        delay_seconds: message.delay.map(seconds),
    }
}

/// The bounds were checked, so it fits.
fn seconds(delay: Duration) -> u32 {
    fields::seconds(delay) as u32
}

pub(crate) fn batch(result: PullResult, lease_deadline: Instant) -> Batch {
    let pulled = result.messages.unwrap_or_default();
    let count = pulled.len();
    let mut messages: Vec<_> = pulled.into_iter().filter_map(|pulled| message(pulled, lease_deadline)).collect();
    let without_lease = count - messages.len();
    let with_lease = messages.len();
    // This check is much cheaper than hashing every lease.
    if limits::repeated(|| messages.iter().map(|message| &message.lease_id)).is_some() {
        let mut seen = HashSet::new();
        messages.retain(|message| seen.insert(message.lease_id.clone()));
    }
    Batch {
        without_lease,
        duplicates: with_lease - messages.len(),
        messages,
        backlog_count: count_of(result.message_backlog_count),
        metrics: metrics(result.metadata),
        ..Batch::default()
    }
}

/// A message without a lease cannot be settled; the caller counts it.
fn message(pulled: PulledMessage, lease_deadline: Instant) -> Option<Message> {
    let metadata = pulled.metadata.unwrap_or_default();
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
    let metadata = peeked.metadata.unwrap_or_default();
    PeekedMessage {
        id: id(peeked.id),
        message_ref: peeked.ref_.filter(|message_ref| !message_ref.0.is_empty()),
        attempts: attempts(peeked.attempts),
        timestamp: time(number(peeked.timestamp_ms)),
        body: Body::new(peeked.body.unwrap_or_default(), content_type(&metadata)),
        metadata,
    }
}

fn content_type(metadata: &Metadata) -> ContentType {
    metadata.get("CF-Content-Type").and_then(Value::as_str).map_or(ContentType::Json, ContentType::from)
}

/// Additional fields must not affect a result, whatever their form.
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
        // The service sends 0 if it does not know.
        oldest_message: time(number(result.oldest_message_timestamp_ms).filter(|ms| *ms != 0.0)),
    }
}

pub(crate) fn count_of(value: Option<Value>) -> Option<u64> {
    whole(&value?)
}

pub(crate) fn number(value: Option<Value>) -> Option<f64> {
    value?.as_f64()
}

fn attempts(value: Option<Value>) -> Option<u32> {
    count_of(value)?.try_into().ok()
}

/// An id that is not a string is kept as its JSON.
fn id(value: Option<Value>) -> String {
    match value {
        Some(Value::String(id)) => id,
        id => id.filter(|id| !id.is_null()).map(|id| id.to_string()).unwrap_or_default(),
    }
}

fn time(milliseconds: Option<f64>) -> Option<SystemTime> {
    // Until the year 9999, since most libraries write no later time.
    let whole = milliseconds.filter(|number| (0.0..=253_402_300_799_999.0).contains(number))? as u64;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(whole))
}

/// Reads a pull's response with the fast reader. An entry that does not match the document does not affect the others:
/// a number instead of a message, a repeated key, half of a surrogate pair in an id.
pub(crate) fn read_pull(body: Vec<u8>) -> Result<Envelope<PullResult>, Error> {
    scan(Scanner::new(body), "lease_id").or_else(read_rest)
}

/// Reads a peek's response in the same way.
pub(crate) fn read_peek(body: Vec<u8>) -> Result<Envelope<PeekResult>, Error> {
    let Envelope { success, errors, result, pages } = match scan(Scanner::new(body), "ref") {
        Ok(envelope) => envelope,
        Err(rest) => return read_rest(rest),
    };
    let peeked = |message: PulledMessage| PeekResultMessage {
        id: message.id,
        body: message.body,
        attempts: message.attempts,
        timestamp_ms: message.timestamp_ms,
        ref_: message.lease_id.map(MessageRef),
        metadata: message.metadata,
    };
    let peeked = |messages: Vec<_>| messages.into_iter().map(peeked).collect();
    let result = result.map(|result| PeekResult { messages: result.messages.map(peeked) });
    Ok(Envelope { success, errors, result, pages })
}

/// Reads what is not a response with messages, in which a part of the text may have been freed.
fn read_rest<T: DeserializeOwned>(rest: Option<Vec<u8>>) -> Result<Envelope<T>, Error> {
    // Where the text is wrong is not known any more. A body that is not UTF-8 must not be changed without a word.
    let unreadable = || Error::new(ErrorKind::UnexpectedResponse, "the response is not JSON of the documented form");
    let rest = rest.ok_or_else(unreadable)?;
    let is_text = str::from_utf8(&rest).is_ok();
    let envelope = response::read(rest)?;
    if is_text || envelope.success != Some(true) { Ok(envelope) } else { Err(unreadable()) }
}

/// Reads messages, of which `secret` is the field with the lease or the reference. Otherwise returns the response, if
/// its memory was not freed yet.
pub(crate) fn scan(mut scanner: Scanner, secret: &'static str) -> Result<Envelope<PullResult>, Option<Vec<u8>>> {
    let envelope = Envelope::scan(&mut scanner, |scanner| {
        let mut result = PullResult::default();
        scanner.fields(["messages", "message_backlog_count", "metadata"], |scanner, name| {
            match name {
                // Reading either list would lose the leases of the other.
                "messages" if result.messages.is_some() => return Err(NoJson),
                "messages" => result.messages = messages(scanner, secret)?,
                "message_backlog_count" => result.message_backlog_count = scanner.read()?,
                "metadata" => result.metadata = scanner.read()?,
                _ => drop(scanner.skip()?),
            }
            Ok(())
        })?;
        Ok(result)
    });
    envelope.map_err(|NoJson| scanner.into_text())
}

fn messages(scanner: &mut Scanner, secret: &'static str) -> Result<Option<Vec<PulledMessage>>, NoJson> {
    if scanner.peek() != Some(b'[') {
        return scanner.null();
    }
    let (mut messages, mut latest) = (Vec::new(), Latest::default());
    scanner.entries(|scanner| {
        messages.push(message_of(scanner, secret, &mut latest)?);
        Ok(())
    })?;
    Ok(Some(messages))
}

/// The properties that were read last, and their text.
#[derive(Default)]
struct Latest {
    text: Vec<u8>,
    metadata: Metadata,
}

impl Latest {
    /// Reads a message's properties, once for messages in a row that have the same.
    fn read(&mut self, scanner: &mut Scanner) -> Result<Metadata, NoJson> {
        if !scanner.skip_object(&self.text) {
            self.text.clear();
            self.text.extend_from_slice(scanner.skip()?);
            self.metadata = serde_json::from_slice(&self.text).unwrap_or_else(|_| content_type_in(&self.text));
        }
        Ok(self.metadata.clone())
    }
}

/// The content type among malformed properties. Without it, the body could not be decoded.
fn content_type_in(text: &[u8]) -> Metadata {
    const NAME: &str = "CF-Content-Type";
    let mut found = Map::new();
    // The nesting may be wrong as well.
    let _ = Scanner::new(text.to_vec()).fields([NAME], |scanner, name| {
        let value: Option<Value> = scanner.read()?.filter(|_| name == NAME);
        found.extend(value.map(|value| (NAME.to_owned(), value)));
        Ok(())
    });
    found.into()
}

fn message_of(scanner: &mut Scanner, secret: &'static str, latest: &mut Latest) -> Result<PulledMessage, NoJson> {
    let mut message = PulledMessage::default();
    if scanner.peek() != Some(b'{') {
        scanner.skip()?;
        return Ok(message);
    }
    scanner.fields(["id", "body", "attempts", "timestamp_ms", "metadata", secret], |scanner, name| {
        match name {
            "id" => message.id = scanner.read()?,
            "body" => message.body = Some(scanner.body()?),
            "attempts" => message.attempts = scanner.read()?,
            "timestamp_ms" => message.timestamp_ms = scanner.read()?,
            "metadata" => message.metadata = Some(latest.read(scanner)?),
            _ if name == secret => message.lease_id = scanner.read()?,
            _ => drop(scanner.skip()?),
        }
        Ok(())
    })?;
    Ok(message)
}

#[cfg(test)]
mod tests;
