//! The HTTP face of the queues: the service's paths, and the results of its operations.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{Method, Response, StatusCode, Uri};
use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::{
    behavior::{Behavior, JsonBodies, WarningsForm},
    ids::Sequence,
    manage,
    queue::{Content, Metrics, NewMessage, Outcome, Stored, Unknown},
    reply::{Refusal, success},
    request::{self, Ack, Extend, Pull},
    service::Service,
};
use crate::operation::Operation;

type Result<T = Response<Bytes>> = std::result::Result<T, Refusal>;

/// An operation, and the parameters in its path.
pub(super) struct Route {
    pub(super) operation: Operation,
    parameters: Vec<String>,
    query: String,
}

pub(super) fn route(method: &Method, uri: &Uri) -> Result<Route> {
    let path = uri.path().strip_prefix("/client/v4").ok_or_else(Refusal::no_route)?;
    let query = uri.query().unwrap_or_default();
    let segments: Vec<_> = path.split('/').map(decode).collect::<Result<_>>()?;
    let mut operations = Operation::ALL.iter().filter(|operation| operation.method() == method.as_str());
    let route = operations.find_map(|operation| {
        let parameters = parameters(operation.path(), &segments)?;
        Some(Route { operation: *operation, parameters, query: query.to_owned() })
    });
    route.ok_or_else(Refusal::no_route)
}

/// What stands for the names in braces, if the rest is the same.
fn parameters(template: &str, segments: &[Cow<'_, str>]) -> Option<Vec<String>> {
    let parts = template.split('/');
    if parts.clone().count() != segments.len() {
        return None;
    }
    let (names, fixed): (Vec<_>, Vec<_>) = parts.zip(segments).partition(|(part, _)| part.starts_with('{'));
    let is_match = fixed.into_iter().all(|(part, segment)| part == segment);
    is_match.then(|| names.into_iter().map(|(_, segment)| segment.to_string()).collect())
}

pub(super) fn carry_out(service: &Service, route: &Route, body: &[u8]) -> Result {
    let parameters: Vec<_> = route.parameters.iter().map(String::as_str).collect();
    let Some((account_id, rest)) = parameters.split_first() else { return Err(Refusal::no_route()) };
    let (is_known, owns) = service.registry().knows(account_id, rest.first().copied());
    if !is_known {
        return Err(Refusal::no_route());
    }
    let (true, [queue_id]) = (manage::is_about_messages(route.operation), rest) else {
        return manage::carry_out(service, route.operation, &parameters, &route.query, body);
    };
    // A queue that does not exist is named before anything that is wrong with the body.
    if !owns || !service.queues.exists(queue_id) {
        return Err(Refusal::no_queue());
    }
    let carry_out = match route.operation {
        Operation::PushMessage => push,
        Operation::PushMessages => push_batch,
        Operation::PullMessages => pull,
        Operation::AckMessages => ack,
        Operation::ExtendMessages => extend,
        Operation::PeekMessages => peek,
        Operation::PurgeMessages => purge,
        _ => return Err(Refusal::no_route()),
    };
    carry_out(service, queue_id, body)
}

/// A segment of a path, without its percent-encoding.
pub(super) fn decode(segment: &str) -> Result<Cow<'_, str>> {
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

fn push(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    let message = request::push(&service.behavior(), body)?;
    store(service, queue_id, vec![message])
}

fn push_batch(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    let messages = request::push_batch(&service.behavior(), body)?;
    store(service, queue_id, messages)
}

fn store(service: &Service, queue_id: &str, messages: Vec<NewMessage>) -> Result {
    let metrics = service.with_queue(queue_id, |queue, now| {
        messages.into_iter().for_each(|message| queue.push(now, service.queues.next_sequence(), message));
        queue.metrics()
    })?;
    Ok(success(json!({ "metadata": metadata(service, &metrics) })))
}

fn pull(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    let behavior = service.behavior();
    let Pull { batch_size, timeout } = request::pull(&behavior, body)?;
    let (pulled, metrics) = service.with_queue(queue_id, |queue, now| {
        if !queue.settings().http_pull || queue.settings().pulls_from > now {
            let message = "messages cannot be pulled unless http_pull mode is enabled";
            return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, 0, message));
        }
        if queue.settings().delivery_paused {
            return Err(Refusal(StatusCode::CONFLICT, 0, "queue_delivery_paused"));
        }
        Ok((queue.pull(now, batch_size, timeout), queue.metrics()))
    })??;
    let messages = pulled.into_iter().map(|(lease, message)| {
        let mut shown = show(service, &behavior, lease.sequence, message);
        shown.insert("lease_id".to_owned(), lease.id().into());
        shown
    });
    Ok(success(json!({
        "message_backlog_count": metrics.backlog_count,
        "messages": messages.collect::<Vec<_>>(),
        "metadata": metadata(service, &metrics),
    })))
}

fn ack(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    let behavior = service.behavior();
    let Ack { acks, retries } = request::ack(&behavior, body)?;
    let outcome = service.with_queue(queue_id, |queue, now| queue.ack(now, &behavior, &acks, &retries))?;
    settled(&behavior, outcome, |outcome| vec![("ackCount", outcome.acked), ("retryCount", outcome.retried)])
}

fn extend(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    let behavior = service.behavior();
    let Extend { leases, timeout } = request::extend(&behavior, body)?;
    let outcome = service.with_queue(queue_id, |queue, now| queue.extend(now, &behavior, &leases, timeout))?;
    settled(&behavior, outcome, |outcome| vec![("extendCount", outcome.extended)])
}

fn settled(
    behavior: &Behavior,
    outcome: std::result::Result<Outcome, Unknown>,
    counts: impl FnOnce(&Outcome) -> Vec<(&'static str, u64)>,
) -> Result {
    let outcome = outcome.map_err(|Unknown| Refusal::malformed("the request holds a lease that is not known"))?;
    let mut result = Map::new();
    for (name, count) in counts(&outcome).into_iter().filter(|_| behavior.counts) {
        result.insert(name.to_owned(), count.into());
    }
    result.insert("warnings".to_owned(), warnings(behavior, outcome.warnings));
    Ok(success(result.into()))
}

fn peek(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    let behavior = service.behavior();
    let batch_size = request::peek(&behavior, body)?;
    let peeked = service.with_queue(queue_id, |queue, _| queue.peek(batch_size))?;
    let messages = peeked.into_iter().map(|(sequence, message)| {
        let mut shown = show(service, &behavior, sequence, message);
        shown.insert("ref".to_owned(), sequence.message_ref().into());
        shown
    });
    Ok(success(json!({ "messages": messages.collect::<Vec<_>>() })))
}

fn purge(service: &Service, queue_id: &str, body: &[u8]) -> Result {
    let behavior = service.behavior();
    let refs = request::purge(&behavior, body)?;
    let outcome = service.with_queue(queue_id, |queue, _| queue.purge(&behavior, &refs))?;
    let outcome = outcome.map_err(|Unknown| Refusal::malformed("the request holds a reference that is not known"))?;
    Ok(success(json!({ "errors": [], "warnings": warnings(&behavior, outcome.warnings) })))
}

fn warnings(behavior: &Behavior, warnings: Vec<(String, &'static str)>) -> Value {
    match behavior.warnings {
        WarningsForm::Map => warnings.into_iter().map(|(subject, text)| (subject, Value::from(text))).collect(),
        WarningsForm::List => warnings.into_iter().map(|(subject, text)| format!("{subject}: {text}")).collect(),
    }
}

fn show(service: &Service, behavior: &Behavior, sequence: Sequence, message: Stored) -> Map<String, Value> {
    let Content { body, is_text } = message.content;
    let is_base64 = !is_text && behavior.json_bodies == JsonBodies::Base64;
    let body = if is_base64 { BASE64_STANDARD.encode(&*body) } else { body.as_ref().to_owned() };
    let content_type = if is_text { "text" } else { "json" };
    [
        ("id", sequence.message_id().into()),
        ("body", body.into()),
        ("attempts", message.attempts.into()),
        ("timestamp_ms", service.clock.unix_millis(message.pushed_at).into()),
        ("metadata", json!({ "CF-Content-Type": content_type, "CF-sourceMessageSource": "http" })),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect()
}

fn metadata(service: &Service, metrics: &Metrics) -> Value {
    json!({ "metrics": {
        "backlog_count": metrics.backlog_count,
        "backlog_bytes": metrics.backlog_bytes,
        "oldest_message_timestamp_ms": metrics.oldest_message.map_or(0, |time| service.clock.unix_millis(time)),
    } })
}
