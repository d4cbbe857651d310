//! Consumers: list, create, get, change, delete.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value};

use super::{
    Result,
    queues::valid_name,
    request::{Request, number, text},
};
use crate::{
    emulator::{
        clock::nanos,
        registry::Consumer,
        reply::{Refusal, page, success},
        settings::EmulatedQueue,
    },
    error::codes,
    manage::limits,
};

pub(in crate::emulator) fn list(request: &mut Request, id: &str) -> Result {
    request.queue(id)?;
    let consumers: Vec<_> = request.show_consumer(id).into_iter().collect();
    Ok(page(consumers.into(), Value::Object(Map::new())))
}

pub(in crate::emulator) fn get(request: &mut Request, id: &str, consumer_id: &str) -> Result {
    find(request, id, consumer_id)?;
    show(request, id)
}

pub(in crate::emulator) fn create(request: &mut Request, id: &str) -> Result {
    if request.queue(id)?.consumer.is_some() {
        return Err(Refusal::new(StatusCode::CONFLICT, codes::CONSUMER_EXISTS, "the queue already has a consumer"));
    }
    let fields = valid(request)?;
    let consumer_id = request.registry.next_id();
    set(request, id, consumer_id, fields)
}

/// `PUT` creates a consumer if the queue has none.
pub(in crate::emulator) fn update(request: &mut Request, id: &str, consumer_id: &str) -> Result {
    if request.queue(id)?.consumer.is_some() {
        find(request, id, consumer_id)?;
    }
    let fields = valid(request)?;
    set(request, id, consumer_id.to_owned(), fields)
}

pub(in crate::emulator) fn delete(request: &mut Request, id: &str, consumer_id: &str) -> Result {
    find(request, id, consumer_id)?;
    request.queue_mut(id)?.consumer = None;
    configure(request, id, &Map::new(), None);
    Ok(success(Value::Null))
}

fn find(request: &Request, id: &str, consumer_id: &str) -> Result<()> {
    let is_there = request.queue(id)?.consumer.as_ref().is_some_and(|consumer| consumer.id == consumer_id);
    let missing = Refusal::new(StatusCode::NOT_FOUND, codes::CONSUMER_NOT_FOUND, "the consumer does not exist");
    if is_there { Ok(()) } else { Err(missing) }
}

fn show(request: &Request, id: &str) -> Result {
    Ok(success(request.show_consumer(id).unwrap_or_default()))
}

fn valid(request: &Request) -> Result<Map<String, Value>> {
    let fields = request.fields()?;
    let settings = settings(&fields);
    for bounds in &limits::CONSUMER_SETTINGS {
        let refusal = Refusal::bad_request(codes::CONSUMER_SETTINGS, "a setting of the consumer is out of its bounds");
        number(&settings, bounds, refusal)?;
    }
    let has_target = ["email", "webhooks", "pagerduty"]
        .iter()
        .any(|name| settings.get(*name).and_then(Value::as_array).is_some_and(|targets| !targets.is_empty()));
    text(&fields, "dead_letter_queue").filter(|name| !name.is_empty()).map_or(Ok(""), valid_name)?;
    match text(&fields, "type") {
        None | Some("") => Err(Refusal::bad_request(codes::CONSUMER_SETTINGS, "a consumer needs a type")),
        Some("worker") if text(&fields, "script_name").is_none_or(str::is_empty) => {
            Err(Refusal::new(StatusCode::NOT_FOUND, codes::NO_WORKER, "the Worker does not exist"))
        }
        Some("notification") if !has_target => {
            Err(Refusal::bad_request(codes::CONSUMER_SETTINGS, "a notification needs a target"))
        }
        Some(_) => Ok(fields),
    }
}

fn settings(fields: &Map<String, Value>) -> Map<String, Value> {
    fields.get("settings").and_then(Value::as_object).cloned().unwrap_or_default()
}

fn set(request: &mut Request, id: &str, consumer_id: String, mut fields: Map<String, Value>) -> Result {
    let name = text(&fields, "dead_letter_queue").filter(|name| !name.is_empty());
    let dead_letter_queue = name.map(|name| request.dead_letter_queue(id, name)).transpose()?;
    for read_only in ["consumer_id", "created_on", "queue_name"] {
        fields.remove(read_only);
    }
    let created = request.service.clock.now();
    configure(request, id, &fields, dead_letter_queue);
    let record = request.queue_mut(id)?;
    record.consumer = match record.consumer.take() {
        Some(consumer) => Some(Consumer { fields, ..consumer }),
        None => Some(Consumer { id: consumer_id, created, fields }),
    };
    show(request, id)
}

/// Delivers messages by the consumer's settings. Pulls are accepted some time after a pull consumer was created.
fn configure(request: &Request, id: &str, fields: &Map<String, Value>, dead_letter_queue: Option<String>) {
    let (service, settings) = (request.service, settings(fields));
    let start = service.clock.now().saturating_add(nanos(service.behavior().consumer_start));
    let read = |name: &str| settings.get(name).and_then(Value::as_f64).map(|number| number as u64);
    let defaults = EmulatedQueue::new();
    service.queues.configure(&service.clock, id, |queue| {
        let http_pull = text(fields, "type") == Some("http_pull");
        let pulls_from = if queue.http_pull { queue.pulls_from } else { start };
        let retries = read("max_retries").and_then(|retries| u32::try_from(retries).ok());
        if text(fields, "type") == Some("notification") {
            // What the service fixes.
            let retry_delay = Duration::from_secs(10);
            return EmulatedQueue { http_pull, max_retries: 100, retry_delay, dead_letter_queue, ..queue };
        }
        EmulatedQueue {
            http_pull,
            pulls_from,
            max_retries: retries.unwrap_or(defaults.max_retries),
            retry_delay: read("retry_delay").map_or(defaults.retry_delay, Duration::from_secs),
            visibility_timeout: read("visibility_timeout_ms")
                .map_or(defaults.visibility_timeout, Duration::from_millis),
            dead_letter_queue,
            ..queue
        }
    });
}
