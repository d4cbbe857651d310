//! Shows queues, messages and leases without changing them.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Result, fields::Fields};
use crate::emulator::{
    behavior::Behavior,
    clock::{Time, unix_millis},
    content::Content,
    ids::{Lease, Sequence},
    queue::{Queue, Stored},
    registry::{Record, Registry},
    reply::{Refusal, success},
    served::ServedRequest,
    service::Service,
};

const DEFAULT_LIMIT: usize = 100;

/// The id of the queue with this id or name; the first one if several accounts have the name.
pub(super) fn find(registry: &Registry, queue: &str) -> Result<String> {
    if registry.find(queue).is_some() {
        return Ok(queue.to_owned());
    }
    let found = registry.records().find(|(_, record)| record.name == queue);
    found.map(|(id, _)| id.to_owned()).ok_or_else(Refusal::no_queue)
}

pub(super) fn all(service: &Service, fields: Fields) -> Result {
    fields.end()?;
    let registry = service.registry();
    let queues = registry.records().filter_map(|(id, record)| queue(service, &registry, id, record).ok());
    Ok(success(json!({
        "now_ms": unix_millis(service.clock.now()),
        "requests": service.requests(),
        "faults": service.faults().len(),
        "behavior_changed": changed(service),
        "queues": queues.collect::<Vec<_>>(),
    })))
}

/// The switches of the behavior that differ from the default.
fn changed(service: &Service) -> Map<String, Value> {
    let defaults = Behavior::new().switches();
    let is_changed = |(name, value): &(String, Value)| defaults.get(name) != Some(value);
    service.behavior().switches().into_iter().filter(is_changed).collect()
}

pub(super) fn one(service: &Service, id: &str) -> Result {
    let registry = service.registry();
    let record = registry.find(id).ok_or_else(Refusal::no_queue)?;
    queue(service, &registry, id, record).map(success)
}

fn queue(service: &Service, registry: &Registry, id: &str, record: &Record) -> Result<Value> {
    let (settings, counts, metrics, now) =
        service.with_queue(id, |queue, now| (queue.settings().clone(), queue.counts(), queue.metrics(), now))?;
    let dead_letter_queue = settings.dead_letter_queue.as_deref();
    let dead_letter_queue = dead_letter_queue.map(|id| registry.find(id).map_or(id, |record| &record.name));
    Ok(json!({
        "queue_id": id,
        "queue_name": record.name,
        "account_id": record.account,
        "visible": counts.visible,
        "delayed": counts.delayed,
        "leased": counts.leased,
        "bytes": metrics.backlog_bytes,
        "oldest_message_timestamp_ms": metrics.oldest_message.map(unix_millis),
        "pulls_refused_until_ms": (settings.pulls_from > now).then(|| unix_millis(settings.pulls_from)),
        "settings": {
            "http_pull": settings.http_pull,
            "delivery_paused": settings.delivery_paused,
            "delivery_delay": settings.delivery_delay.as_secs_f64(),
            "message_retention_period": settings.message_retention.as_secs_f64(),
            "visibility_timeout_ms": settings.visibility_timeout.as_secs_f64() * 1000.0,
            "retry_delay": settings.retry_delay.as_secs_f64(),
            "max_retries": settings.max_retries,
            "dead_letter_queue": dead_letter_queue,
        },
    }))
}

/// Reads a queue after everything that is due.
fn look<T>(service: &Service, id: &str, work: impl FnOnce(&Queue, Time) -> T) -> Result<T> {
    service.with_queue(id, |queue, now| {
        while queue.expire(now) {}
        work(queue, now)
    })
}

/// What to show of messages.
struct View {
    limit: usize,
    body_limit: usize,
    lease_ids: bool,
}

impl View {
    fn read(fields: &mut Fields) -> Result<Self> {
        let body_limit = fields.optional("body_limit", Fields::whole)?;
        Ok(Self {
            limit: fields.optional("limit", Fields::count)?.unwrap_or(DEFAULT_LIMIT),
            body_limit: body_limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            lease_ids: fields.optional("lease_ids", Fields::truth)?.unwrap_or_default(),
        })
    }

    fn show(&self, now: Time, sequence: Sequence, message: &Stored) -> Shown {
        let Content { body, content_type, .. } = &message.content;
        let state = match message.is_leased {
            true => "leased",
            false if message.visible_at > now => "delayed",
            false => "visible",
        };
        let lease = Lease { sequence, attempt: message.attempts };
        Shown {
            id: message.id(sequence),
            sequence: sequence.number(),
            state,
            attempts: message.attempts,
            timestamp_ms: unix_millis(message.pushed_at),
            visible_at_ms: (state != "visible").then(|| unix_millis(message.visible_at)),
            content_type: content_type.to_string(),
            body_bytes: message.content.bytes(),
            is_cut: body.len() > self.body_limit,
            body: start(body, self.body_limit).to_owned(),
            lease_id: (self.lease_ids && message.is_leased).then(|| lease.id()),
        }
    }
}

/// As many of the first bytes as form whole characters.
fn start(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

#[derive(Serialize)]
struct Shown {
    id: String,
    sequence: u64,
    state: &'static str,
    attempts: u32,
    timestamp_ms: u64,
    visible_at_ms: Option<u64>,
    content_type: String,
    body_bytes: usize,
    is_cut: bool,
    body: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_id: Option<String>,
}

pub(super) fn messages(service: &Service, queue: &str, mut fields: Fields) -> Result {
    let view = View::read(&mut fields)?;
    let after = fields.optional("after", |value| {
        let id = value.as_str().and_then(Sequence::from_message_id);
        id.or(value.as_u64().map(Sequence::new)).ok_or("the id of a message, or its sequence")
    })?;
    let text = fields.optional("contains", |value| {
        // A number is a text here.
        Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    })?;
    let text = text.unwrap_or_default();
    fields.end()?;
    let id = find(&service.registry(), queue)?;
    let shown = look(service, &id, |queue, now| {
        let found = queue.messages(after).filter(|(_, message)| message.content.body.contains(&text));
        let messages = found.take(view.limit);
        messages.map(|(sequence, message)| view.show(now, sequence, message)).collect::<Vec<_>>()
    })?;
    Ok(success(shown))
}

/// Recent requests with their numbers, oldest first.
pub(super) fn requests(service: &Service, mut fields: Fields) -> Result {
    let after = fields.optional("after", Fields::whole)?.unwrap_or_default();
    let limit = fields.optional("limit", Fields::count)?.unwrap_or(DEFAULT_LIMIT);
    fields.end()?;
    let recent = service.recent_requests();
    let shown: Vec<_> = recent.iter().filter(|(number, _)| *number > after).collect();
    let skipped = shown.len().saturating_sub(limit);
    let shown = shown.into_iter().skip(skipped);
    Ok(success(shown.map(|(number, request)| Numbered { number: *number, request }).collect::<Vec<_>>()))
}

#[derive(Serialize)]
struct Numbered<'a> {
    number: u64,
    #[serde(flatten)]
    request: &'a ServedRequest,
}

pub(super) fn leases(service: &Service, queue: &str, mut fields: Fields) -> Result {
    let view = View::read(&mut fields)?;
    fields.end()?;
    let id = find(&service.registry(), queue)?;
    let shown = look(service, &id, |queue, now| {
        let leased = queue.leased().take(view.limit);
        leased.map(|(lease, message)| view.show(now, lease.sequence, message)).collect::<Vec<_>>()
    })?;
    Ok(success(shown))
}
