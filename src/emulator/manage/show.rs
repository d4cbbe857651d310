//! How the service describes queues, consumers and times.

use serde_json::{Value, json};

use crate::emulator::{clock::timestamp, registry::Registry, service::Service};

/// A queue as the service describes it.
pub(super) fn queue(service: &Service, registry: &Registry, id: &str) -> Value {
    let (Some(record), Ok(settings)) = (registry.find(id), service.with_queue(id, |queue, _| queue.settings().clone()))
    else {
        return Value::Null;
    };
    let consumers: Vec<_> = consumer(service, registry, id).into_iter().collect();
    let mut shown = json!({
        "queue_id": id,
        "queue_name": record.name,
        "created_on": timestamp(record.created),
        "modified_on": timestamp(record.modified),
        "consumers_total_count": consumers.len(),
        "consumers": consumers,
        "producers": [],
        "producers_total_count": 0,
        "settings": {
            "delivery_delay": settings.delivery_delay.as_secs(),
            "delivery_paused": settings.delivery_paused,
            "message_retention_period": settings.message_retention.as_secs(),
        },
    });
    if let (Some(jurisdiction), Some(fields)) = (&record.jurisdiction, shown.as_object_mut()) {
        fields.insert("jurisdiction".to_owned(), jurisdiction.as_str().into());
    }
    shown
}

/// A queue's consumer as the service describes it: a Worker is called `script`, which is not documented.
pub(super) fn consumer(service: &Service, registry: &Registry, id: &str) -> Option<Value> {
    let record = registry.find(id)?;
    let consumer = record.consumer.as_ref()?;
    let queue = service.with_queue(id, |queue, _| queue.settings().clone()).ok()?;
    let dead_letter_queue =
        queue.dead_letter_queue.as_ref().and_then(|id| registry.find(id)).map_or("", |record| &record.name);
    let mut settings = consumer.fields.get("settings").and_then(Value::as_object).cloned().unwrap_or_default();
    if consumer.kind() != "notification" {
        settings.insert("max_retries".to_owned(), queue.max_retries.into());
        settings.insert("retry_delay".to_owned(), queue.retry_delay.as_secs().into());
        settings.entry("batch_size").or_insert(10.into());
    }
    if consumer.kind() == "http_pull" {
        let timeout = u64::try_from(queue.visibility_timeout.as_millis()).unwrap_or(u64::MAX);
        settings.insert("visibility_timeout_ms".to_owned(), timeout.into());
    }
    let mut shown = consumer.fields.clone();
    if let Some(script) = shown.remove("script_name") {
        shown.insert("script".to_owned(), script);
    }
    let more = [
        ("consumer_id", consumer.id.as_str().into()),
        ("created_on", timestamp(consumer.created).into()),
        ("queue_name", record.name.as_str().into()),
        ("dead_letter_queue", dead_letter_queue.into()),
        ("settings", settings.into()),
    ];
    shown.extend(more.map(|(name, value): (_, Value)| (name.to_owned(), value)));
    Some(shown.into())
}
