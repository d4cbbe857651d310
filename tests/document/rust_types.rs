//! The JSON Schemas of the Rust types, beside those of the document: what the one says, the other does.

use cloudflare_queues::{ApiError, LeaseId, MessageRef, types::*};
use refresh::{account::matches, compare, places};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::document;

/// What the document says, what the Rust type says instead, and why.
const EXPLAINED: [(&str, &str); 7] = [
    ("*: T | T or null", "a field that may be missing is an Option, which reads null too"),
    ("*: no format | format double", "the form in which a number is kept"),
    ("*/code`: no format | format int64", "the form in which a code is kept"),
    ("*: no minimum | minimum 0", "what the format uint32 means"),
    ("*/delay_seconds`: maximum 86400 | no maximum", "refused by src/check.rs, with words"),
    ("Identifier `request`: maxLength 32 | no maxLength", "checked where an Identifier is made"),
    ("Identifier `request`: minLength 1 | no minLength", "checked where an Identifier is made"),
];

/// Schemas as the bodies of requests, so that they are compared as operations are.
fn as_operations(components: (&str, Value), schemas: Map<String, Value>) -> places::Operations {
    let paths = schemas.into_iter().map(|(name, schema)| {
        (name, json!({ "post": { "requestBody": { "content": { "application/json": { "schema": schema } } } } }))
    });
    places::read(&json!({ "paths": paths.collect::<Map<_, _>>(), components.0: components.1 })).unwrap()
}

fn rust() -> (Vec<&'static str>, places::Operations) {
    let mut generator = SchemaGenerator::default();
    let mut schemas = Map::new();
    let mut names = Vec::new();
    fn add<T: JsonSchema>(name: &'static str, generator: &mut SchemaGenerator, schemas: &mut Map<String, Value>) {
        schemas.insert(name.to_owned(), generator.subschema_for::<T>().to_value());
    }
    macro_rules! all {
        ($($name:literal: $type:ty),* $(,)?) => {
            $(add::<$type>($name, &mut generator, &mut schemas); names.push($name);)*
        };
    }
    all! {
        "AckEntry": AckEntry, "AckPayload": AckPayload, "AckResponse": Envelope<AckResult>, "AckResult": AckResult,
        "ApiError": ApiError, "ContentType": ContentType, "Identifier": Identifier, "LeaseId": LeaseId,
        "MessageBody": MessageBody, "MessageRef": MessageRef, "PeekPayload": PeekPayload,
        "PeekResponse": Envelope<PeekResult>, "PeekResult": PeekResult, "PeekResultMessage": PeekResultMessage,
        "PullPayload": PullPayload, "PullResponse": Envelope<PullResult>, "PullResult": PullResult,
        "PulledMessage": PulledMessage, "PurgeEntry": PurgeEntry, "PurgePayload": PurgePayload,
        "PurgeResponse": Envelope<PurgeResult>, "PurgeResult": PurgeResult, "PushBatchPayload": PushBatchPayload,
        "PushPayload": PushPayload, "PushResponse": Envelope<PushResult>, "PushResult": PushResult,
        "RetryEntry": RetryEntry, "Warnings": Warnings,
    }
    let definitions = json!(generator.take_definitions(true));
    (names, as_operations(("$defs", definitions), schemas))
}

#[test]
fn every_type_on_the_wire_is_what_the_document_says() {
    let document = document();
    let components = document["components"]["schemas"].as_object().unwrap();
    let references =
        components.keys().map(|name| (name.clone(), json!({ "$ref": format!("#/components/schemas/{name}") })));
    let documented = as_operations(("components", document["components"].clone()), references.collect());
    let (names, rust) = rust();
    assert_eq!(names, components.keys().collect::<Vec<_>>(), "a component has no Rust type here");
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
