//! The HTTP face of the queues: the service's paths, what it reads from a request, and what it gives back.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{Method, Response, StatusCode};
use hyper::body::Bytes;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{
    behavior::{JsonBodies, WarningsForm},
    clock::from_millis,
    reply::{Refusal, success},
    service::{ACCOUNT_ID, Service},
    state::{self, NewMessage, Stored},
};

const MAX_DELAY_SECONDS: f64 = 86_400.0;
const MAX_VISIBILITY_TIMEOUT_MS: f64 = 43_200_000.0;

type Result<T = Response<Bytes>> = std::result::Result<T, Refusal>;

pub(super) fn carry_out(service: &Service, method: &Method, path: &str, body: &[u8]) -> Result {
    let segments: Vec<_> = path.split('/').map(decode).collect::<Result<_>>()?;
    let segments: Vec<_> = segments.iter().map(AsRef::as_ref).collect();
    let ["", "client", "v4", "accounts", ACCOUNT_ID, "queues", queue_id, "messages", rest @ ..] = segments.as_slice()
    else {
        return Err(Refusal::no_route());
    };
    let operation = match rest {
        _ if method != Method::POST => return Err(Refusal::no_route()),
        [] => push,
        ["batch"] => push_batch,
        ["pull"] => pull,
        ["ack"] => ack,
        ["peek"] => peek,
        ["purge"] => purge,
        _ => return Err(Refusal::no_route()),
    };
    service.state().settings(queue_id).ok_or_else(Refusal::no_queue)?;
    operation(service, queue_id, body)
}

/// A segment of a path, without its percent-encoding.
fn decode(segment: &str) -> Result<Cow<'_, str>> {
    if !segment.contains('%') {
        return Ok(segment.into());
    }
    let mut bytes = segment.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' { hex(&mut bytes).ok_or_else(undecodable)? } else { byte });
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| undecodable())
}

fn undecodable() -> Refusal {
    Refusal::bad_request(7003, "the URI is not percent-encoded UTF-8")
}

/// The byte that two hexadecimal digits stand for.
fn hex(digits: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let mut digit = || char::from(digits.next()?).to_digit(16);
    u8::try_from(digit()?.checked_mul(16)?.checked_add(digit()?)?).ok()
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|_| Refusal::malformed("the request's body is not of the documented form"))
}

#[derive(Deserialize)]
struct AckBody {
    #[serde(default)]
    acks: Vec<Entry>,
    #[serde(default)]
    retries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    lease_id: Option<String>,
    delay_seconds: Option<f64>,
}

fn ack(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    let AckBody { acks, retries } = parse(body)?;
    let acks: Vec<_> = acks.into_iter().map(|entry| entry.lease_id.unwrap_or_default()).collect();
    let retries = retries
        .into_iter()
        .map(|entry| Ok((entry.lease_id.unwrap_or_default(), delay(entry.delay_seconds)?)))
        .collect::<Result<Vec<_>>>()?;
    let (now, behavior) = (service.clock.now(), service.behavior());
    match acks.len() + retries.len() {
        0 if !behavior.empty_acks => return Err(Refusal::malformed("the request holds no lease")),
        101.. if !behavior.large_acks => return Err(Refusal::malformed("the request holds over 100 leases")),
        _ => {}
    }
    let Some(acked) = service.state().ack(now, queue_id, &behavior, &acks, &retries) else {
        return Err(Refusal::malformed("the request holds a lease that is not known"));
    };
    let mut result = Map::new();
    if behavior.counts {
        result.insert("ackCount".to_owned(), acked.ack_count.into());
        result.insert("retryCount".to_owned(), acked.retry_count.into());
    }
    result.insert("warnings".to_owned(), warnings(acked.warnings, behavior.warnings));
    Ok(success(result.into()))
}

fn warnings(warnings: Vec<(String, &'static str)>, form: WarningsForm) -> Value {
    match form {
        WarningsForm::Map => warnings.into_iter().map(|(lease, text)| (lease, Value::from(text))).collect(),
        WarningsForm::List => warnings.into_iter().map(|(lease, text)| format!("{lease}: {text}")).collect(),
    }
}

#[derive(Deserialize)]
struct PullBody {
    batch_size: Option<f64>,
    visibility_timeout_ms: Option<f64>,
}

fn pull(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    let PullBody { batch_size, visibility_timeout_ms } = parse(if body.is_empty() { b"{}" } else { body })?;
    let batch_size = check_batch_size(batch_size)?;
    if visibility_timeout_ms.is_some_and(|timeout| !(0.0..=MAX_VISIBILITY_TIMEOUT_MS).contains(&timeout)) {
        return Err(Refusal::malformed("visibility_timeout_ms must be at most 12 hours"));
    }
    let (now, mut state) = (service.clock.now(), service.state());
    let settings = state.settings(queue_id).map(|settings| (settings.http_pull, settings.delivery_paused));
    match settings {
        Some((false, _)) => {
            let message = "messages cannot be pulled unless http_pull mode is enabled";
            return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, 0, message));
        }
        Some((_, true)) => return Err(Refusal(StatusCode::CONFLICT, 0, "queue_delivery_paused")),
        _ => {}
    }
    let timeout = visibility_timeout_ms.map(|timeout| from_millis(timeout as u64));
    let pulled = state.pull(now, queue_id, batch_size, timeout);
    let messages = pulled.into_iter().map(|mut message| {
        let lease_id = message.lease_id.take();
        shown(service, message, "lease_id", lease_id)
    });
    let messages: Vec<_> = messages.collect();
    let backlog = state.metrics(queue_id).backlog_count;
    let metadata = metadata(service, &state, queue_id);
    Ok(success(json!({ "message_backlog_count": backlog, "messages": messages, "metadata": metadata })))
}

fn check_batch_size(batch_size: Option<f64>) -> Result<usize> {
    let batch_size = batch_size.unwrap_or(5.0);
    if !(1.0..=100.0).contains(&batch_size) {
        return Err(Refusal::malformed("batch_size must be 1 to 100"));
    }
    Ok(batch_size as usize)
}

#[derive(Deserialize)]
struct PeekBody {
    batch_size: Option<f64>,
}

fn peek(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    let PeekBody { batch_size } = parse(if body.is_empty() { b"{}" } else { body })?;
    let batch_size = check_batch_size(batch_size)?;
    let mut state = service.state();
    let peeked = state.peek(service.clock.now(), queue_id).take(batch_size);
    let messages: Vec<_> = peeked
        .map(|message| {
            let message_ref = state::message_ref(&message.id);
            shown(service, message.clone(), "ref", Some(message_ref))
        })
        .collect();
    Ok(success(json!({ "messages": messages })))
}

#[derive(Deserialize)]
struct PurgeBody {
    refs: Vec<PurgeEntry>,
}

#[derive(Deserialize)]
struct PurgeEntry {
    #[serde(rename = "ref")]
    message_ref: String,
}

fn purge(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    let PurgeBody { refs } = parse(body)?;
    let refs: Vec<_> = refs.into_iter().map(|entry| entry.message_ref).collect();
    let behavior = service.behavior();
    let Some(unknown) = service.state().purge(queue_id, &behavior, &refs) else {
        return Err(Refusal::malformed("the request holds a reference that is not known"));
    };
    Ok(success(json!({ "errors": [], "warnings": warnings(unknown, behavior.warnings) })))
}

fn shown(service: &Service, message: Stored, secret: &str, value: Option<String>) -> Value {
    let json_bodies = service.behavior().json_bodies;
    let body = match (message.content_type.as_str(), message.body) {
        ("text", Value::String(text)) => text,
        (_, json) if json_bodies == JsonBodies::Base64 => BASE64_STANDARD.encode(json.to_string()),
        (_, json) => json.to_string(),
    };
    json!({
        "id": message.id,
        "body": body,
        "attempts": message.attempts,
        "timestamp_ms": service.clock.unix_millis(message.pushed_at),
        secret: value,
        "metadata": { "CF-Content-Type": message.content_type, "CF-sourceMessageSource": "http" },
    })
}

#[derive(Deserialize)]
struct PushBody {
    #[serde(default, deserialize_with = "present")]
    body: Option<Value>,
    content_type: Option<String>,
    delay_seconds: Option<f64>,
}

/// A body may be null, which is not the same as missing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct PushBatchBody {
    #[serde(default)]
    messages: Vec<PushBody>,
    delay_seconds: Option<f64>,
}

fn push(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    let message = new_message(parse(body)?, None)?;
    Ok(store(service, queue_id, vec![message]))
}

fn push_batch(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    let batch: PushBatchBody = parse(body)?;
    if !(1..=100).contains(&batch.messages.len()) {
        return Err(Refusal::bad_request(10204, "a batch holds 1 to 100 messages"));
    }
    let messages: Vec<_> =
        batch.messages.into_iter().map(|message| new_message(message, batch.delay_seconds)).collect::<Result<_>>()?;
    if messages.iter().map(|message| message.bytes).sum::<usize>() > 256_000 {
        return Err(Refusal::bad_request(10205, "a batch holds at most 256 KB"));
    }
    Ok(store(service, queue_id, messages))
}

fn new_message(message: PushBody, batch_delay: Option<f64>) -> Result<NewMessage> {
    let content_type = message.content_type.unwrap_or_else(|| "json".to_owned());
    let body = message.body.ok_or(Refusal::bad_request(10201, "a message needs a body"))?;
    let bytes = match (content_type.as_str(), &body) {
        ("text", Value::String(text)) => text.len(),
        ("text", _) => return Err(Refusal::bad_request(10206, "the body of a text message is a string")),
        ("json", Value::String(_)) => {
            return Err(Refusal::bad_request(10207, "the body of a json message is no string"));
        }
        ("json", json) => json.to_string().len(),
        _ => return Err(Refusal::bad_request(10202, "the content type is `text` or `json`")),
    };
    if bytes > 128_000 {
        return Err(Refusal::bad_request(10203, "a message holds at most 128 KB"));
    }
    let delay_seconds = delay(message.delay_seconds.or(batch_delay))?;
    Ok(NewMessage { body, content_type, bytes, delay_seconds })
}

fn delay(seconds: Option<f64>) -> Result<Option<u64>> {
    if seconds.is_some_and(|seconds| !(0.0..=MAX_DELAY_SECONDS).contains(&seconds)) {
        return Err(Refusal::bad_request(10013, "a delay is at most 24 hours"));
    }
    Ok(seconds.map(|seconds| seconds as u64))
}

fn store(service: &Service, queue_id: &str, messages: Vec<NewMessage>) -> Response<Bytes> {
    let (now, mut state) = (service.clock.now(), service.state());
    for message in messages {
        state.push(now, queue_id, message);
    }
    success(json!({ "metadata": metadata(service, &state, queue_id) }))
}

fn metadata(service: &Service, state: &state::State, queue_id: &str) -> Value {
    let metrics = state.metrics(queue_id);
    json!({ "metrics": {
        "backlog_count": metrics.backlog_count,
        "backlog_bytes": metrics.backlog_bytes,
        "oldest_message_timestamp_ms": metrics.oldest_message.map_or(0, |time| service.clock.unix_millis(time)),
    } })
}
