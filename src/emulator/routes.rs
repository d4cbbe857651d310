//! The HTTP face of the queues: the service's paths, envelopes and refusals.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    middleware,
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{
    Shared, faults,
    settings::{JsonBodies, WarningsForm},
    state::{self, NewMessage, Stored},
};

const MAX_DELAY_SECONDS: f64 = 86_400.0;
const MAX_VISIBILITY_TIMEOUT_MS: f64 = 43_200_000.0;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let messages = "/client/v4/accounts/{account_id}/queues/{queue_id}/messages";
    Router::new()
        .route(messages, post(push))
        .route(&format!("{messages}/batch"), post(push_batch))
        .route(&format!("{messages}/pull"), post(pull))
        .route(&format!("{messages}/ack"), post(ack))
        .route(&format!("{messages}/peek"), post(peek))
        .route(&format!("{messages}/purge"), post(purge))
        .fallback(async || no_route())
        .method_not_allowed_fallback(async || no_route())
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), faults::around))
        .with_state(shared)
}

/// The service's answer to a request that it does not carry out.
pub(super) struct Refusal(pub(super) StatusCode, pub(super) i64, pub(super) &'static str);

impl Refusal {
    fn bad_request(code: i64, message: &'static str) -> Self {
        Self(StatusCode::BAD_REQUEST, code, message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, code, message) = self;
        let error = match code {
            6003 => {
                json!({ "code": code, "message": message, "error_chain": [{ "code": 6111, "message": "invalid token" }] })
            }
            _ => json!({ "code": code, "message": message }),
        };
        envelope(status, &json!({ "success": false, "errors": [error], "messages": [], "result": null }))
    }
}

fn no_route() -> Refusal {
    Refusal(StatusCode::NOT_FOUND, 7003, "no route for the URI")
}

fn success(result: Value) -> Response {
    envelope(StatusCode::OK, &json!({ "success": true, "errors": [], "messages": [], "result": result }))
}

fn envelope(status: StatusCode, body: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], Body::from(body.to_string())).into_response()
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|_| Refusal::bad_request(10026, "the request's body is not of the documented form"))
}

fn check_queue(shared: &Shared, (account_id, queue_id): &(String, String)) -> Result<(), Refusal> {
    if account_id != super::ACCOUNT_ID {
        return Err(no_route());
    }
    match shared.lock().state.settings(queue_id) {
        Some(_) => Ok(()),
        None => Err(Refusal(StatusCode::NOT_FOUND, 10104, "the queue does not exist")),
    }
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

async fn ack(
    State(shared): State<Arc<Shared>>,
    Path(ids): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, Refusal> {
    check_queue(&shared, &ids)?;
    let AckBody { acks, retries } = parse(&body)?;
    let acks: Vec<_> = acks.into_iter().map(|entry| entry.lease_id.unwrap_or_default()).collect();
    let retries = retries
        .into_iter()
        .map(|entry| Ok((entry.lease_id.unwrap_or_default(), delay(entry.delay_seconds)?)))
        .collect::<Result<Vec<_>, Refusal>>()?;
    let mut locked = shared.lock();
    let behavior = locked.behavior.clone();
    match acks.len() + retries.len() {
        0 if !behavior.empty_acks => return Err(Refusal::bad_request(10026, "the request holds no lease")),
        101.. if !behavior.large_acks => return Err(Refusal::bad_request(10026, "the request holds over 100 leases")),
        _ => {}
    }
    let now = locked.now();
    let Some(acked) = locked.state.ack(now, &ids.1, &behavior, &acks, &retries) else {
        return Err(Refusal::bad_request(10026, "the request holds a lease that is not known"));
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

async fn pull(
    State(shared): State<Arc<Shared>>,
    Path(ids): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, Refusal> {
    check_queue(&shared, &ids)?;
    let PullBody { batch_size, visibility_timeout_ms } = parse(if body.is_empty() { b"{}" } else { &body })?;
    let batch_size = check_batch_size(batch_size)?;
    if visibility_timeout_ms.is_some_and(|timeout| !(0.0..=MAX_VISIBILITY_TIMEOUT_MS).contains(&timeout)) {
        return Err(Refusal::bad_request(10026, "visibility_timeout_ms must be at most 12 hours"));
    }
    let mut locked = shared.lock();
    let settings = locked.state.settings(&ids.1).map(|settings| (settings.http_pull, settings.delivery_paused));
    match settings {
        Some((false, _)) => {
            let message = "messages cannot be pulled unless http_pull mode is enabled";
            return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, 0, message));
        }
        Some((_, true)) => return Err(Refusal(StatusCode::CONFLICT, 0, "queue_delivery_paused")),
        _ => {}
    }
    let now = locked.now();
    let pulled = locked.state.pull(now, &ids.1, batch_size, visibility_timeout_ms.map(|timeout| timeout as u64));
    let json_bodies = locked.behavior.json_bodies;
    let messages = pulled.into_iter().map(|mut message| {
        let lease_id = message.lease_id.take();
        shown(message, json_bodies, "lease_id", lease_id)
    });
    let messages: Vec<_> = messages.collect();
    let backlog = locked.state.metrics(&ids.1).backlog_count;
    let metadata = metadata(&locked.state, &ids.1);
    Ok(success(json!({ "message_backlog_count": backlog, "messages": messages, "metadata": metadata })))
}

fn check_batch_size(batch_size: Option<f64>) -> Result<usize, Refusal> {
    let batch_size = batch_size.unwrap_or(5.0);
    if !(1.0..=100.0).contains(&batch_size) {
        return Err(Refusal::bad_request(10026, "batch_size must be 1 to 100"));
    }
    Ok(batch_size as usize)
}

#[derive(Deserialize)]
struct PeekBody {
    batch_size: Option<f64>,
}

async fn peek(
    State(shared): State<Arc<Shared>>,
    Path(ids): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, Refusal> {
    check_queue(&shared, &ids)?;
    let PeekBody { batch_size } = parse(if body.is_empty() { b"{}" } else { &body })?;
    let batch_size = check_batch_size(batch_size)?;
    let mut locked = shared.lock();
    let (now, json_bodies) = (locked.now(), locked.behavior.json_bodies);
    let peeked = locked.state.peek(now, &ids.1).take(batch_size);
    let messages: Vec<_> = peeked
        .map(|message| {
            let message_ref = state::message_ref(&message.id);
            shown(message.clone(), json_bodies, "ref", Some(message_ref))
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

async fn purge(
    State(shared): State<Arc<Shared>>,
    Path(ids): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, Refusal> {
    check_queue(&shared, &ids)?;
    let PurgeBody { refs } = parse(&body)?;
    let refs: Vec<_> = refs.into_iter().map(|entry| entry.message_ref).collect();
    let mut locked = shared.lock();
    let behavior = locked.behavior.clone();
    let Some(unknown) = locked.state.purge(&ids.1, &behavior, &refs) else {
        return Err(Refusal::bad_request(10026, "the request holds a reference that is not known"));
    };
    Ok(success(json!({ "errors": [], "warnings": warnings(unknown, behavior.warnings) })))
}

fn shown(message: Stored, json_bodies: JsonBodies, secret: &str, value: Option<String>) -> Value {
    let body = match (message.content_type.as_str(), message.body) {
        ("text", Value::String(text)) => text,
        (_, json) if json_bodies == JsonBodies::Base64 => BASE64_STANDARD.encode(json.to_string()),
        (_, json) => json.to_string(),
    };
    json!({
        "id": message.id,
        "body": body,
        "attempts": message.attempts,
        "timestamp_ms": message.pushed_at,
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
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct PushBatchBody {
    #[serde(default)]
    messages: Vec<PushBody>,
    delay_seconds: Option<f64>,
}

async fn push(
    State(shared): State<Arc<Shared>>,
    Path(ids): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, Refusal> {
    check_queue(&shared, &ids)?;
    let message = new_message(parse(&body)?, None)?;
    Ok(store(&shared, &ids.1, vec![message]))
}

async fn push_batch(
    State(shared): State<Arc<Shared>>,
    Path(ids): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, Refusal> {
    check_queue(&shared, &ids)?;
    let batch: PushBatchBody = parse(&body)?;
    if !(1..=100).contains(&batch.messages.len()) {
        return Err(Refusal::bad_request(10204, "a batch holds 1 to 100 messages"));
    }
    let messages: Vec<_> = batch
        .messages
        .into_iter()
        .map(|message| new_message(message, batch.delay_seconds))
        .collect::<Result<_, _>>()?;
    if messages.iter().map(|message| message.bytes).sum::<usize>() > 256_000 {
        return Err(Refusal::bad_request(10205, "a batch holds at most 256 KB"));
    }
    Ok(store(&shared, &ids.1, messages))
}

fn new_message(message: PushBody, batch_delay: Option<f64>) -> Result<NewMessage, Refusal> {
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

fn delay(seconds: Option<f64>) -> Result<Option<u64>, Refusal> {
    if seconds.is_some_and(|seconds| !(0.0..=MAX_DELAY_SECONDS).contains(&seconds)) {
        return Err(Refusal::bad_request(10013, "a delay is at most 24 hours"));
    }
    Ok(seconds.map(|seconds| seconds as u64))
}

fn store(shared: &Shared, queue_id: &str, messages: Vec<NewMessage>) -> Response {
    let mut locked = shared.lock();
    let now = locked.now();
    for message in messages {
        locked.state.push(now, queue_id, message);
    }
    success(json!({ "metadata": metadata(&locked.state, queue_id) }))
}

fn metadata(state: &state::State, queue_id: &str) -> Value {
    let metrics = state.metrics(queue_id);
    json!({ "metrics": {
        "backlog_count": metrics.backlog_count,
        "backlog_bytes": metrics.backlog_bytes,
        "oldest_message_timestamp_ms": metrics.oldest_message,
    } })
}
