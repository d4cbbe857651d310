//! Queues: list, create, get, change, delete, purge, metrics.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    Result,
    request::{Request, number, text},
};
use crate::{
    emulator::{
        clock::{nanos, timestamp, unix_millis},
        reply::{Refusal, success},
        settings::EmulatedQueue,
    },
    error::codes,
    manage::limits,
};

pub(in crate::emulator) fn list(request: &mut Request) -> Result {
    let names = request.query("name");
    let queues = request.registry.of_account(request.account);
    let ids = queues.iter().filter(|(name, _)| names.is_empty() || names.iter().any(|wanted| wanted == *name));
    let shown = ids.map(|(_, id)| request.show_queue(id)).collect();
    request.page(shown)
}

pub(in crate::emulator) fn create(request: &mut Request) -> Result {
    let fields = request.fields()?;
    let name = valid_name(text(&fields, "queue_name").unwrap_or_default())?.to_owned();
    if request.registry.of_account(request.account).contains_key(name.as_str()) {
        return Err(Refusal::new(StatusCode::CONFLICT, codes::QUEUE_EXISTS, "a queue of this name exists"));
    }
    let settings = Settings::read(&fields)?;
    let id = request.add_queue(&name, text(&fields, "jurisdiction").map(str::to_owned));
    settings.apply(request, &id);
    get(request, &id)
}

pub(in crate::emulator) fn get(request: &mut Request, id: &str) -> Result {
    request.queue(id)?;
    Ok(success(request.show_queue(id)))
}

/// `PATCH`: settings that are not given are kept, unless the behavior says otherwise.
pub(in crate::emulator) fn update(request: &mut Request, id: &str) -> Result {
    change(request, id, request.service.behavior().patch_resets)
}

/// `PUT`: settings that are not given get their defaults.
pub(in crate::emulator) fn replace(request: &mut Request, id: &str) -> Result {
    change(request, id, true)
}

fn change(request: &mut Request, id: &str, resets: bool) -> Result {
    request.queue(id)?;
    let fields = request.fields()?;
    let settings = Settings::read(&fields)?;
    if let Some(name) = text(&fields, "queue_name") {
        let name = valid_name(name)?;
        if request.registry.of_account(request.account).get(name).is_some_and(|taken| *taken != id) {
            return Err(Refusal::new(StatusCode::CONFLICT, codes::QUEUE_EXISTS, "a queue of this name exists"));
        }
        name.clone_into(&mut request.queue_mut(id)?.name);
    }
    let settings = if resets && fields.contains_key("settings") { settings.or_defaults() } else { settings };
    settings.apply(request, id);
    request.queue_mut(id)?.modified = request.service.clock.now();
    get(request, id)
}

pub(in crate::emulator) fn delete(request: &mut Request, id: &str) -> Result {
    request.queue(id)?;
    request.registry.remove(id);
    request.service.queues.remove(id);
    Ok(success(Value::Null))
}

pub(in crate::emulator) fn metrics(request: &mut Request, id: &str) -> Result {
    request.queue(id)?;
    let metrics = request.service.with_queue(id, |queue, _| queue.metrics())?;
    Ok(success(json!({
        "backlog_count": metrics.backlog_count,
        "backlog_bytes": metrics.backlog_bytes,
        "oldest_message_timestamp_ms":
            metrics.oldest_message.map_or(0, unix_millis),
    })))
}

pub(in crate::emulator) fn purge(request: &mut Request, id: &str) -> Result {
    request.queue(id)?;
    if request.fields()?.get("delete_messages_permanently") != Some(&Value::Bool(true)) {
        return Err(Refusal::malformed("`delete_messages_permanently` must be true"));
    }
    let (now, _deleted) = request.service.with_queue(id, |queue, now| (now, queue.clear()))?;
    let end = now.saturating_add(nanos(request.service.behavior().purge_time));
    request.queue_mut(id)?.purge = Some((now, end));
    purge_status(request, id)
}

pub(in crate::emulator) fn purge_status(request: &mut Request, id: &str) -> Result {
    let purge = request.queue(id)?.purge;
    Ok(success(match purge {
        None => json!({ "started_at": "", "completed": "" }),
        Some((start, end)) if end > request.service.clock.now() => {
            json!({ "started_at": timestamp(start), "completed": "" })
        }
        Some((start, end)) => json!({ "started_at": timestamp(start), "completed": timestamp(end) }),
    }))
}

pub(super) fn valid_name(name: &str) -> Result<&str> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_valid = (1..=63).contains(&name.len())
        && name.bytes().all(is_allowed)
        && !name.starts_with('-')
        && !name.ends_with('-');
    let refusal =
        Refusal::bad_request(codes::INVALID_NAME, "a name has at most 63 lower-case letters, digits and inner hyphens");
    if is_valid { Ok(name) } else { Err(refusal) }
}

/// The settings in a request.
struct Settings {
    delay: Option<Duration>,
    is_paused: Option<bool>,
    retention: Option<Duration>,
}

impl Settings {
    fn read(fields: &Map<String, Value>) -> Result<Self> {
        let none = Map::new();
        let settings = fields.get("settings").and_then(Value::as_object).unwrap_or(&none);
        let [delay, retention] = &limits::QUEUE_SETTINGS;
        let refusal = || Refusal::bad_request(codes::QUEUE_SETTINGS, "a setting of the queue is out of its bounds");
        Ok(Self {
            delay: number(settings, delay, refusal())?.map(Duration::from_secs),
            is_paused: match settings.get("delivery_paused") {
                None | Some(Value::Null) => None,
                Some(paused) => Some(paused.as_bool().ok_or_else(refusal)?),
            },
            retention: number(settings, retention, refusal())?.map(Duration::from_secs),
        })
    }

    fn or_defaults(self) -> Self {
        let defaults = EmulatedQueue::new();
        Self {
            delay: self.delay.or(Some(defaults.delivery_delay)),
            is_paused: self.is_paused.or(Some(defaults.delivery_paused)),
            retention: self.retention.or(Some(defaults.message_retention)),
        }
    }

    fn apply(self, request: &Request, id: &str) {
        request.service.queues.configure(&request.service.clock, id, |queue| EmulatedQueue {
            delivery_delay: self.delay.unwrap_or(queue.delivery_delay),
            delivery_paused: self.is_paused.unwrap_or(queue.delivery_paused),
            message_retention: self.retention.unwrap_or(queue.message_retention),
            ..queue
        });
    }
}
