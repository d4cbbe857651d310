//! What the queue binding of a Worker sends: the protocol between `workerd` and the broker of a queue.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, request::Parts};
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Result, show};
use crate::{
    document::operation::Operation,
    emulator::{
        clock::{from_millis, from_secs, unix_millis},
        content::Content,
        queue::NewMessage,
        reply::{Reason, Refusal, response},
        service::Service,
    },
    error::codes,
    message::{limits, push},
};

/// The operation that does the same, and whose faults apply.
pub(super) fn operation(path: &str) -> Option<Operation> {
    let (_, what) = path.strip_prefix("/queues/")?.split_once("/broker/")?;
    match what {
        "message" => Some(Operation::PushMessage),
        "batch" => Some(Operation::PushMessages),
        "metrics" => Some(Operation::GetQueueMetrics),
        _ => None,
    }
}

#[derive(Deserialize)]
struct Batch {
    messages: Vec<Message>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    /// In base64.
    body: String,
    content_type: Option<String>,
    delay_secs: Option<u64>,
    id: Option<String>,
    /// In milliseconds since the Unix epoch.
    timestamp: Option<u64>,
}

pub(super) fn respond(service: &Service, queue: &str, what: &str, head: &Parts, body: &[u8]) -> Response<Bytes> {
    carry_out(service, queue, what, head, body).unwrap_or_else(|refusal| {
        let mut response = refusal.into_response();
        // `send()` throws an error with these.
        let Some(Reason { code, message }) = response.extensions().get().cloned() else { return response };
        let headers = response.headers_mut();
        headers.insert("cf-queues-error-code", code.into());
        if let Ok(message) = HeaderValue::from_str(&message) {
            headers.insert("cf-queues-error-cause", message);
        }
        response
    })
}

fn carry_out(service: &Service, queue: &str, what: &str, head: &Parts, body: &[u8]) -> Result {
    let id = show::find(&service.registry(), queue)?;
    let header = |name: &str| value(&head.headers, name);
    let delay = || header("x-msg-delay-secs").map(|delay| delay.parse().map_err(|_| refused_delay())).transpose();
    let messages = match (&head.method, what) {
        (&Method::POST, "message") => vec![message(header("x-msg-fmt"), body, delay()?)?],
        (&Method::POST, "batch") => batch(body, delay()?)?,
        (&Method::GET, "metrics") => Vec::new(),
        _ => return Err(Refusal::no_route()),
    };
    let metrics = service.with_queue(&id, |queue, now| {
        messages.into_iter().for_each(|message| queue.push(now, service.queues.next_sequence(), message));
        queue.metrics()
    })?;
    let metrics = json!({
        "backlogCount": metrics.backlog_count,
        "backlogBytes": metrics.backlog_bytes,
        "oldestMessageTimestamp": metrics.oldest_message.map_or(0, unix_millis),
    });
    let answer = if what == "metrics" { metrics } else { json!({ "metadata": { "metrics": metrics } }) };
    Ok(response(StatusCode::OK, "application/json", Value::to_string(&answer).into_bytes()))
}

fn batch(body: &[u8], delay: Option<u64>) -> Result<Vec<NewMessage>> {
    let malformed = || Refusal::malformed("the batch is not of the known form");
    let Batch { messages } = serde_json::from_slice(body).map_err(|_| malformed())?;
    if !(1..=push::MAX_PUSHED).contains(&messages.len()) {
        return Err(Refusal::bad_request(codes::BATCH_COUNT, "a batch holds 1 to 100 messages"));
    }
    let read = |entry: Message| {
        let body = BASE64_STANDARD.decode(&entry.body).map_err(|_| malformed())?;
        let read = message(entry.content_type.as_deref(), &body, entry.delay_secs.or(delay))?;
        let id = entry.id.filter(|id| !id.is_empty()).map(Arc::from);
        Ok(NewMessage { id, pushed_at: entry.timestamp.map(from_millis), ..read })
    };
    let messages: Vec<_> = messages.into_iter().map(read).collect::<Result<_>>()?;
    if messages.iter().map(|message| message.content.bytes()).sum::<usize>() > push::MAX_PUSHED_BYTES {
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, codes::BATCH_SIZE, "a batch holds at most 256 KB"));
    }
    Ok(messages)
}

/// A Worker sends `json` by default, and says so; without a type, the body is `v8`.
fn message(content_type: Option<&str>, body: &[u8], delay: Option<u64>) -> Result<NewMessage> {
    if delay.is_some_and(|delay| delay > limits::MAX_DELAY.as_secs()) {
        return Err(refused_delay());
    }
    Ok(NewMessage::new(Content::of_worker(content_type.unwrap_or("v8"), body)?, delay.map(from_secs)))
}

fn refused_delay() -> Refusal {
    Refusal::bad_request(codes::DELAY, "a delay is a whole number of seconds of at most 24 hours")
}

fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
