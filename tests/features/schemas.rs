//! The JSON Schemas of the Rust types match those of the document.

use std::collections::BTreeSet;

use cloudflare_queues::{ApiError, LeaseId, MessageRef, Metadata, types::*};
use refresh::{account::matches, compare, places};
use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

/// What the document has, what the Rust type has instead, and why.
const EXPLAINED: [(&str, &str); 14] = [
    ("*: T | T or null", "a field that may be missing is an Option, which reads null too"),
    ("*: no default | default *", "what a field that is missing is read as"),
    ("*/code`: no format | format int64", "the form in which a code is kept"),
    ("*: no minimum | minimum 0", "what the format uint32 means"),
    ("*: maximum * | no maximum", "refused by src/message/limits.rs, with words"),
    ("*: maxItems * | no maxItems", "refused by src/message/limits.rs, with words"),
    ("*: minItems * | no minItems", "refused by src/message/limits.rs, with words"),
    ("*: enum json, text | no enum", "the same type reads messages that were pushed otherwise"),
    ("*Payload `request /settings/*`: * | left out", "kept in any object"),
    ("*Payload `request /source/*`: * | left out", "kept in any object"),
    ("*Payload `request /queue_name`: minLength 1 | no minLength", "refused by src/manage/limits.rs, with words"),
    ("Identifier `request`: maxLength 32 | no maxLength", "checked where an Identifier is made"),
    ("Identifier `request`: minLength 1 | no minLength", "checked where an Identifier is made"),
    ("QueueName `request`: minLength 1 | no minLength", "refused by src/manage/limits.rs, with words"),
];

/// Schemas as the bodies of requests, so that they are compared as operations are.
fn as_operations(components: (&str, Value), schemas: Map<String, Value>) -> places::Operations {
    let paths = schemas.into_iter().map(|(name, schema)| {
        (name, json!({ "post": { "requestBody": { "content": { "application/json": { "schema": schema } } } } }))
    });
    places::read(&json!({ "paths": paths.collect::<Map<_, _>>(), components.0: components.1 })).unwrap()
}

/// Objects that are kept as received and read field by field: their Rust type is any object, or a list of objects.
const KEPT: [&str; 26] = [
    "ConsumerPayload",
    "ConsumerResponse",
    "ConsumerResult",
    "ConsumerSettings",
    "ConsumerSettingsPayload",
    "ConsumersResponse",
    "ConsumersResult",
    "EventSource",
    "NothingResponse",
    "NothingResult",
    "NotificationTarget",
    "Producer",
    "PurgeStatusResponse",
    "PurgeStatusResult",
    "QueueResponse",
    "QueueResult",
    "QueueSettings",
    "QueueSettingsPayload",
    "QueuesResponse",
    "QueuesResult",
    "ResultInfo",
    "SubscriptionDestination",
    "SubscriptionResponse",
    "SubscriptionResult",
    "SubscriptionsResponse",
    "SubscriptionsResult",
];

type AckResponse = Envelope<AckResult>;
type ExtendResponse = Envelope<ExtendResult>;
type MetricsResponse = Envelope<MetricsResult>;
type PeekResponse = Envelope<PeekResult>;
type PullResponse = Envelope<PullResult>;
type PurgeResponse = Envelope<PurgeResult>;
type PushResponse = Envelope<PushResult>;

/// The names of the types, which are those of the components, and their schemas.
fn rust() -> (BTreeSet<&'static str>, places::Operations) {
    let mut generator = SchemaGenerator::default();
    let mut schemas = Map::new();
    let mut names = BTreeSet::new();
    macro_rules! add {
        ($($type:ident)*) => { $(
            names.insert(stringify!($type));
            schemas.insert(stringify!($type).to_owned(), generator.subschema_for::<$type>().to_value());
        )* };
    }
    add! {
        AckEntry AckPayload AckResponse AckResult ApiError ContentType CreateQueuePayload
        CreateSubscriptionPayload EventDestination MetricsResponse MetricsResult PurgeQueuePayload
        UpdateQueuePayload UpdateSubscriptionPayload ExtendEntry ExtendPayload ExtendResponse ExtendResult
        Identifier LeaseId MessageBody MessageRef Metadata PeekPayload PeekResponse PeekResult PeekResultMessage
        PullPayload PullResponse PullResult PulledMessage PurgeEntry PurgePayload PurgeResponse PurgeResult
        PushBatchPayload PushPayload PushResponse PushResult QueueName RetryEntry Warnings
    }
    let definitions = json!(generator.take_definitions(true));
    (names, as_operations(("$defs", definitions), schemas))
}

/// What the code reads is narrower than what its types take.
fn without_extensions(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|keyword, _| !keyword.starts_with("x-"));
            fields.values_mut().for_each(without_extensions);
        }
        Value::Array(values) => values.iter_mut().for_each(without_extensions),
        _ => {}
    }
}

#[test]
fn every_type_on_the_wire_matches_the_document() {
    let mut document: Value = serde_json::from_str(include_str!("../../openapi/queues.json")).unwrap();
    without_extensions(&mut document);
    let components = document["components"]["schemas"].as_object().unwrap();
    let generated = || components.keys().filter(|name| !KEPT.contains(&name.as_str()));
    let references = generated().map(|name| (name.clone(), json!({ "$ref": format!("#/components/schemas/{name}") })));
    let documented = as_operations(("components", document["components"].clone()), references.collect());
    let (names, rust) = rust();
    let named: BTreeSet<_> = generated().map(String::as_str).collect();
    let missing: Vec<_> = names.symmetric_difference(&named).collect();
    assert!(missing.is_empty(), "{missing:?}: export it from src/types.rs and add it here, or to `KEPT`");
    let mut unexplained = Vec::new();
    let mut used = [false; EXPLAINED.len()];
    for (name, documented) in &documented {
        for difference in compare::differences(documented, &rust[name]) {
            let text = format!("{} {difference}", name.trim_start_matches("POST "));
            let optional = format!("{0} | {0} or null", difference.left);
            let text = text.replace(&optional, "T | T or null");
            match EXPLAINED.iter().position(|(form, _)| matches(form, &text)) {
                Some(index) => used[index] = true,
                None => unexplained.push(text),
            }
        }
    }
    assert_eq!(unexplained, [""; 0]);
    assert_eq!(used, [true; EXPLAINED.len()]);
}
