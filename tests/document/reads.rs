//! The fields that the document declares as read are read: without them, users see something else.

use std::collections::{BTreeMap, BTreeSet};

use cloudflare_queues::{
    Message, PullOptions, Queue,
    manage::{ConsumerDescription, Producer, QueueDescription, SubscriptionDescription},
};
use serde_json::{Map, Value, json};
use support::{Given, Op};

use super::{document, forms::Service};

/// What is read only where another field is missing, and that other field.
const NAMES: [(&str, &str); 2] = [("script_name", "script"), ("complete", "completed")];

/// A value of the form that is read; none if it is kept as received.
fn sample(document: &Value, name: &str, schema: &Value) -> Option<Value> {
    let schema = schema.get("x-reads").unwrap_or(schema);
    if let Some(reference) = schema["$ref"].as_str() {
        return sample(document, name, document.pointer(&reference[1..]).unwrap());
    }
    if let Some(part) = schema["allOf"].get(0).or_else(|| schema["oneOf"].get(0)) {
        return sample(document, name, part);
    }
    let within = |schema| sample(document, "", schema);
    Some(match schema["type"].as_str()? {
        // Another for each name, in case one is read where another is missing.
        "number" | "integer" => json!(name.bytes().map(u64::from).sum::<u64>()),
        "boolean" => json!(true),
        "array" => json!([within(&schema["items"])?]),
        "object" if schema["additionalProperties"].is_object() => {
            json!({ "lease": within(&schema["additionalProperties"])? })
        }
        "object" if schema.get("properties").is_none() => json!({ "key": "text" }),
        "object" => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            let fields = fields.filter_map(|(name, field)| Some((name.clone(), sample(document, name, field)?)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        _ if name.ends_with("id") => json!("b01b5594f784d0165c2985833f5660dd"),
        _ if ["created", "modified", "started", "completed"].iter().any(|word| name.contains(word)) => {
            json!("2026-11-05T08:30:00Z")
        }
        _ => json!(format!("text of {name}")),
    })
}

/// The path to every leaf value.
fn leaves(value: &Value, way: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(name, value)| leaves(value, format!("{way}/{name}"), found));
        }
        Value::Array(values) if !values.is_empty() => {
            values.iter().enumerate().for_each(|(index, value)| leaves(value, format!("{way}/{index}"), found));
        }
        _ => found.push(way),
    }
}

fn without(value: &Value, way: &str) -> Value {
    let mut value = value.clone();
    let (parent, name) = way.rsplit_once('/').unwrap();
    match value.pointer_mut(parent).unwrap() {
        Value::Array(values) => drop(values.remove(name.parse().unwrap())),
        fields => drop(fields.as_object_mut().unwrap().remove(name)),
    }
    value
}

fn consumer(consumer: &ConsumerDescription) -> String {
    let settings =
        (consumer.batch_size(), consumer.max_retries(), consumer.retry_delay(), consumer.visibility_timeout());
    let more = (consumer.max_wait_time(), consumer.max_concurrency(), consumer.created(), consumer.script());
    let names = (consumer.dead_letter_queue(), consumer.queue_name(), consumer.kind(), consumer.id().ok());
    format!("{settings:?} {more:?} {names:?}")
}

fn queue_of(queue: &QueueDescription) -> String {
    let names = (queue.id().ok(), queue.name(), queue.created(), queue.modified(), queue.jurisdiction());
    let settings = (queue.delivery_delay(), queue.delivery_paused(), queue.message_retention());
    let consumers: Vec<_> = queue.consumers().iter().map(consumer).collect();
    let producer = |of: &Producer| format!("{:?} {:?} {:?}", of.kind(), of.script(), of.bucket_name());
    let producers: Vec<_> = queue.producers().iter().map(producer).collect();
    format!(
        "{names:?} {settings:?} {consumers:?} {producers:?} {:?} {:?}",
        queue.consumer_count(),
        queue.producer_count()
    )
}

fn subscription(of: &SubscriptionDescription) -> String {
    let names = (of.id().ok(), of.name(), of.is_enabled(), of.events(), of.source(), of.queue_id());
    format!("{names:?} {:?} {:?}", of.created(), of.modified())
}

/// What users see of a response: where a type keeps all fields, by its methods; else by `Debug`.
async fn seen(op: Op, queue: &Queue) -> String {
    let listed = queue.queues();
    match op {
        Op::GetPurge => {
            let status = queue.purge_status().await.unwrap();
            format!("{:?} {:?} {}", status.started(), status.completed(), status.is_complete())
        }
        Op::GetQueue => queue.describe().await.map(|queue| queue_of(&queue)).unwrap(),
        Op::ListQueues => listed.list().all().await.unwrap().iter().map(queue_of).collect(),
        Op::ListConsumers => queue.consumers().await.unwrap().iter().map(consumer).collect(),
        Op::ListSubscriptions => listed.subscriptions().list().all().await.unwrap().iter().map(subscription).collect(),
        // When it was pulled is another time in each.
        Op::Pull => {
            let batch = queue.pull(PullOptions::new()).await.unwrap();
            let message = |of: &Message| format!("{} {:?} {:?} {:?}", of.id, of.attempts, of.timestamp, of.metadata);
            let messages: Vec<_> = batch.iter().map(message).collect();
            format!("{messages:?} {:?} {:?} {}", batch.backlog_count, batch.metrics, batch.without_lease)
        }
        op => op.result(queue, Given::default()).await.unwrap_or_else(|error| error.to_string()),
    }
}

#[test]
fn every_field_declared_as_read_matters() {
    let (service, document) = (Service::start(), document());
    // By component, since an operation may show only a part of what others show of the same one.
    let mut unread: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut compared = 0;
    for op in Op::ALL {
        let mut operations = super::operations(&document);
        let operation = operations.find(|operation| operation["operationId"] == op.id()).unwrap();
        let component = super::body(&operation["responses"]["200"]);
        let result = &document["components"]["schemas"][component]["properties"]["result"];
        let response = json!({ "success": true, "result": sample(&document, "", result) });
        let seen = |response: &Value| {
            service.respond(response.clone());
            service.run(seen(op, &service.queue))
        };
        let mut ways = Vec::new();
        leaves(&response["result"], "/result".to_owned(), &mut ways);
        let is_unread = |way: &String| {
            let (parent, name) = way.rsplit_once('/').unwrap();
            let first = NAMES.iter().find(|(second, _)| *second == name).map(|(_, first)| format!("{parent}/{first}"));
            let first = first.filter(|first| response.pointer(first).is_some());
            let response = first.map_or(response.clone(), |first| without(&response, &first));
            seen(&without(&response, way)) == seen(&response)
        };
        ways.retain(|way| *way != "/result");
        compared += ways.len();
        let ways: BTreeSet<_> = ways.into_iter().filter(is_unread).collect();
        let both = unread.get(component).map_or(ways.clone(), |known| known & &ways);
        unread.insert(component, both);
    }
    unread.retain(|_, ways| !ways.is_empty());
    let advice = "read it, or say in `NAMES` by which other name it is read first";
    assert!(unread.is_empty(), "nothing reads {unread:?}: {advice}");
    assert!(compared > 80, "{compared}");
}

#[test]
fn every_untyped_field_states_what_is_read() {
    let document = document();
    for operation in super::operations(&document) {
        let mut read = BTreeSet::new();
        super::reachable(&document, super::body(&operation["responses"]["200"]), &mut read);
        for name in read {
            let schema = &document["components"]["schemas"][&name];
            let fields =
                schema["properties"].as_object().into_iter().flatten().map(|(field, schema)| (field.as_str(), schema));
            for (field, schema) in fields.chain([("", schema)]) {
                let says = |keyword| schema.get(keyword).is_some();
                assert!(
                    says("type") || says("allOf") || says("oneOf") || says("x-reads"),
                    "{name}.{field}: say `x-reads`"
                );
            }
        }
    }
}
