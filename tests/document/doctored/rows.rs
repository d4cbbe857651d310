//! The changes, each with what is said of it.

use refresh::report::Class;
use serde_json::{Value, json};

use super::super::refreshing::{RESULT, at};

pub(super) type Change = fn(&mut Value);
/// A name, the change, its class (none if nothing is reported), and words of the advice.
pub(super) type Row = (&'static str, Change, Option<Class>, &'static str);

const BATCH: &str = "/components/schemas/mq_queue-pull-batch/items/properties";
const PULL: &str = "~1pull/post/requestBody/content/application~1json/schema";

pub(super) fn component<'a>(document: &'a mut Value, pointer: &str) -> &'a mut Value {
    document.pointer_mut(pointer).unwrap()
}

pub(super) fn result<'a>(document: &'a mut Value, operation: &str, field: &str) -> &'a mut Value {
    at(document, &format!("{operation}/{RESULT}/properties{field}"))
}

pub(super) fn rename(fields: &mut Value, from: &str, to: &str) {
    let field = fields.as_object_mut().unwrap().remove(from).unwrap();
    fields[to] = field;
}

pub(super) fn operations(document: &mut Value) -> Vec<&mut Value> {
    let paths = document["paths"].as_object_mut().unwrap().values_mut();
    paths.flat_map(|item| item.as_object_mut().unwrap().values_mut()).collect()
}

pub(super) const NEED_AN_EDIT: [Row; 25] = [
    (
        "warnings are an integer",
        |d| *result(d, "~1ack", "/warnings") = json!({ "type": "integer" }),
        Some(Class::Lost),
        "in `x-reads`",
    ),
    (
        "attempts are a string",
        |d| component(d, BATCH)["attempts"] = json!({ "type": "string" }),
        Some(Class::Lost),
        "PulledMessage/properties/attempts",
    ),
    (
        "timestamp_ms is a string",
        |d| component(d, BATCH)["timestamp_ms"] = json!({ "type": "string" }),
        Some(Class::Lost),
        "PulledMessage/properties/timestamp_ms",
    ),
    ("lease_id is renamed", |d| rename(component(d, BATCH), "lease_id", "lease"), Some(Class::Lost), "the new name"),
    (
        "a metric is renamed",
        |d| rename(component(d, "/components/schemas/mq_queue-metrics/properties"), "backlog_count", "backlog"),
        Some(Class::Lost),
        "where: `response 200 /result/metadata/metrics/backlog_count`",
    ),
    (
        "the metrics are moved",
        |d| rename(result(d, "~1pull", "/metadata/properties"), "metrics", "measures"),
        Some(Class::Lost),
        "/metadata/metrics`",
    ),
    (
        "the text of a purge's error is renamed",
        |d| rename(result(d, "~1purge", "/errors/items/properties"), "message", "text"),
        Some(Class::Lost),
        "PurgeResult/properties/errors/x-reads",
    ),
    (
        "a count is renamed",
        |d| rename(result(d, "~1ack", ""), "ackCount", "acked"),
        Some(Class::Lost),
        "AckResult/properties/ackCount",
    ),
    (
        "the number of pages is a string",
        |d| pages(d)["total_pages"] = json!({ "type": "string" }),
        Some(Class::Lost),
        "ResultInfo/properties/total_pages",
    ),
    (
        "a queue's time is a number",
        |d| component(d, "/components/schemas/mq_queue/properties")["created_on"] = json!({ "type": "number" }),
        Some(Class::Lost),
        "QueueResult/properties/created_on",
    ),
    (
        "messages are a map",
        |d| *result(d, "~1pull", "/messages") = json!({ "type": "object" }),
        Some(Class::Response),
        "widen it there",
    ),
    (
        "a success has status 202",
        |d| at(d, "~1ack/post/responses")["202"] = json!({}),
        Some(Class::Response),
        "src/http/response.rs",
    ),
    (
        "a field of a request is renamed",
        |d| rename(&mut at(d, PULL)["properties"], "batch_size", "size"),
        Some(Class::Request),
        "take it out there",
    ),
    (
        "a bound is narrower",
        |d| at(d, PULL)["properties"]["batch_size"] = json!({ "type": "number", "maximum": 50 }),
        Some(Class::Request),
        "src/message/limits.rs",
    ),
    (
        "a field of a request is required",
        |d| at(d, PULL)["required"] = json!(["visibility_timeout_ms"]),
        Some(Class::Request),
        "src/emulator/request.rs",
    ),
    (
        "an operation is renamed",
        |d| rename(&mut d["paths"], &path("ack"), &path("settle")),
        Some(Class::Request),
        "src/emulator/routes.rs",
    ),
    (
        "the server is another",
        |d| d["servers"][0]["url"] = json!("https://queues.example"),
        Some(Class::Request),
        "src/http/transport.rs",
    ),
    (
        "a credential has another header",
        |d| d["components"]["securitySchemes"]["api_email"]["name"] = json!("X-Email"),
        Some(Class::Request),
        "src/http/credentials.rs",
    ),
    (
        "each credential is enough",
        |d| {
            operations(d)
                .into_iter()
                .for_each(|operation| operation["security"] = json!([{ "api_token": [] }, { "api_email": [] }]))
        },
        Some(Class::Request),
        "every operation",
    ),
    (
        "a keyword beside a reference narrows it",
        |d| at(d, PULL)["properties"]["batch_size"]["maximum"] = json!(10),
        Some(Class::Request),
        "src/message/limits.rs",
    ),
    (
        "a path has a server of its own",
        |d| at(d, "~1pull")["servers"] = json!([{ "url": "https://queues.example" }]),
        Some(Class::Request),
        "src/http/transport.rs",
    ),
    (
        "an operation has a server of its own",
        |d| at(d, "~1pull/post")["servers"] = json!([{ "url": "https://queues.example" }]),
        Some(Class::Request),
        "src/http/transport.rs",
    ),
    (
        "a body is a form",
        |d| rename(content(d), "application/json", "multipart/form-data"),
        Some(Class::Request),
        "another media type",
    ),
    (
        "a field of a request is read-only",
        |d| at(d, PULL)["properties"]["batch_size"]["readOnly"] = json!(true),
        Some(Class::Request),
        "take it out there",
    ),
    (
        "an id has a pattern",
        |d| component(d, "/components/schemas/mq_identifier")["pattern"] = json!("^[0-9a-f]{32}$"),
        Some(Class::Request),
        "src/queue/ids.rs",
    ),
];

pub(super) const ONLY_TO_KNOW: [Row; 13] = [
    (
        "an operation is new",
        |d| d["paths"][path("extend")] = json!({ "post": { "operationId": "queues-extend" } }),
        Some(Class::NotCalled),
        "\"Adding an operation\" in openapi/README.md",
    ),
    (
        "an operation is deprecated",
        |d| at(d, "~1pull/post")["deprecated"] = json!(true),
        Some(Class::Deprecated),
        "plan for",
    ),
    (
        "a field is deprecated",
        |d| result(d, "~1ack", "/ackCount")["deprecated"] = json!(true),
        Some(Class::Deprecated),
        "AckResult/properties/ackCount",
    ),
    (
        "every operation has a new failure",
        |d| {
            operations(d).into_iter().for_each(|operation| {
                operation["responses"]["409"] =
                    json!({ "content": { "application/json": { "schema": { "type": "object" } } } })
            })
        },
        Some(Class::Harmless),
        "harmless: every operation",
    ),
    (
        "there is another server",
        |d| d["servers"].as_array_mut().unwrap().push(json!({ "url": "https://eu.example" })),
        Some(Class::Harmless),
        "request server",
    ),
    (
        "a bound is wider",
        |d| component(d, "/components/schemas/mq_identifier")["maxLength"] = json!(64),
        Some(Class::Harmless),
        "to do: nothing.",
    ),
    (
        "warnings are a list again",
        |d| *result(d, "~1ack", "/warnings") = json!({ "type": "array", "items": { "type": "string" } }),
        Some(Class::Harmless),
        "is:    array",
    ),
    (
        "a count is an integer",
        |d| result(d, "~1ack", "/ackCount")["type"] = json!("integer"),
        Some(Class::Harmless),
        "is:    integer",
    ),
    (
        "a count may be null",
        |d| *result(d, "~1ack", "/ackCount") = json!({ "type": ["null", "number"] }),
        Some(Class::Harmless),
        "is:    number or null",
    ),
    (
        "a field is new",
        |d| result(d, "~1pull", "")["more"] = json!({ "type": "string" }),
        Some(Class::Harmless),
        "describe it there",
    ),
    (
        "a body may be a form",
        |d| content(d)["multipart/form-data"] = content(d)["application/json"].clone(),
        Some(Class::Harmless),
        "where: `request multipart/form-data`",
    ),
    (
        "other fields of a request are refused",
        |d| at(d, PULL)["additionalProperties"] = json!(false),
        Some(Class::Harmless),
        "is:    additionalProperties false",
    ),
    (
        "an enum may be null, as OpenAPI 3.1 has it",
        |d| {
            let of = component(d, "/components/schemas/mq_queue/properties");
            of["jurisdiction"] = json!({ "anyOf": [of["jurisdiction"], { "type": "null" }] })
        },
        Some(Class::Harmless),
        "is:    string or null",
    ),
];

pub(super) fn path(operation: &str) -> String {
    format!("/accounts/{{account_id}}/queues/{{queue_id}}/messages/{operation}")
}

fn content(document: &mut Value) -> &mut Value {
    at(document, "~1pull/post/requestBody/content")
}

fn pages(document: &mut Value) -> &mut Value {
    let list = "/paths/~1accounts~1{account_id}~1queues/get/responses/200/content/application~1json/schema";
    component(document, &format!("{list}/allOf/1/properties/result_info/properties"))
}
