//! The changes, each with what is reported of it.

use refresh::report::Class;
use serde_json::{Value, json};

use super::super::refreshing::{RESULT, at};

pub(super) type Change = fn(&mut Value);
/// A name, the change, and words of the report.
pub(super) type Row = (&'static str, Change, &'static str);

const BATCH: &str = "/components/schemas/mq_queue-pull-batch/items/properties";
const PULL: &str = "~1pull/post/requestBody/content/application~1json/schema";

const ERROR: &str = "/components/schemas/mq_api-v4-error/items/properties";
const FAILURE: &str = "/components/schemas/mq_api-v4-failure/properties";

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

/// What needs an edit, by class.
pub(super) const NEED_AN_EDIT: [(Class, &[Row]); 4] =
    [(Class::Request, &REQUESTS), (Class::Response, &RESPONSES), (Class::Secret, &SECRETS), (Class::Lost, &LOST)];

/// What is only to know, by class.
pub(super) const ONLY_TO_KNOW: [(Class, &[Row]); 3] =
    [(Class::Deprecated, &DEPRECATED), (Class::NotCalled, &NOT_CALLED), (Class::Harmless, &HARMLESS)];

const REQUESTS: [Row; 24] = [
    (
        "a field of a request is renamed",
        |d| rename(&mut at(d, PULL)["properties"], "batch_size", "size"),
        "take it out there",
    ),
    (
        "a bound is narrower",
        |d| at(d, PULL)["properties"]["batch_size"] = json!({ "type": "number", "maximum": 50 }),
        "src/message/limits.rs",
    ),
    (
        "a field of a request is required",
        |d| at(d, PULL)["required"] = json!(["visibility_timeout_ms"]),
        "src/emulator/request.rs",
    ),
    ("an operation is renamed", |d| rename(&mut d["paths"], &path("ack"), &path("settle")), "src/emulator/routes.rs"),
    ("the server is another", |d| d["servers"][0]["url"] = json!("https://queues.example"), "src/http/transport.rs"),
    (
        "a credential has another header",
        |d| d["components"]["securitySchemes"]["api_email"]["name"] = json!("X-Email"),
        "src/http/credentials.rs",
    ),
    (
        "each credential is enough",
        |d| {
            operations(d)
                .into_iter()
                .for_each(|operation| operation["security"] = json!([{ "api_token": [] }, { "api_email": [] }]))
        },
        "every operation",
    ),
    (
        "a keyword next to a reference narrows it",
        |d| at(d, PULL)["properties"]["batch_size"]["maximum"] = json!(10),
        "src/message/limits.rs",
    ),
    (
        "a path has a server of its own",
        |d| at(d, "~1pull")["servers"] = json!([{ "url": "https://queues.example" }]),
        "src/http/transport.rs",
    ),
    (
        "an operation has a server of its own",
        |d| at(d, "~1pull/post")["servers"] = json!([{ "url": "https://queues.example" }]),
        "src/http/transport.rs",
    ),
    ("a body is a form", |d| rename(content(d), "application/json", "multipart/form-data"), "another media type"),
    (
        "a field of a request is read-only",
        |d| at(d, PULL)["properties"]["batch_size"]["readOnly"] = json!(true),
        "take it out there",
    ),
    (
        "a bound is exclusive, as OpenAPI 3.0 has it",
        |d| {
            at(d, PULL)["properties"]["batch_size"] =
                json!({ "type": "number", "maximum": 100, "exclusiveMaximum": true })
        },
        "bounds are inclusive",
    ),
    (
        "a bound is exclusive, as OpenAPI 3.1 has it",
        |d| at(d, PULL)["properties"]["batch_size"] = json!({ "type": "integer", "exclusiveMaximum": 100 }),
        "is:    maximum 99",
    ),
    (
        "a lower bound is exclusive",
        |d| at(d, PULL)["properties"]["batch_size"] = json!({ "type": "number", "exclusiveMinimum": 1 }),
        "is:    minimum above 1",
    ),
    (
        "a number is a multiple",
        |d| at(d, PULL)["properties"]["batch_size"]["multipleOf"] = json!(5),
        "no check is made of it",
    ),
    (
        "a field depends on another",
        |d| at(d, PULL)["dependentRequired"] = json!({ "batch_size": ["visibility_timeout_ms"] }),
        "no check is made of it",
    ),
    (
        "one of two fields is required",
        |d| at(d, PULL)["anyOf"] = json!([{ "required": ["batch_size"] }, { "required": ["visibility_timeout_ms"] }]),
        "no check is made of it",
    ),
    (
        "a lease has a shortest length",
        |d| component(d, "/components/schemas/mq_lease-id")["minLength"] = json!(100),
        "src/message/limits.rs",
    ),
    ("a list has no entry twice", |d| acks(d)["uniqueItems"] = json!(true), "no check is made of it"),
    (
        "a query is written in another way",
        |d| {
            parameters(d)
                .push(json!({ "name": "name", "in": "query", "style": "deepObject", "schema": { "type": "string" },
            "required": true }))
        },
        "request query name",
    ),
    (
        "a part of a path is written in another way",
        |d| parameters(d)[0]["style"] = json!("matrix"),
        "is:    style matrix",
    ),
    (
        "a credential needs a scope",
        |d| at(d, "~1pull/post")["security"][0]["api_token"] = json!(["queues:write"]),
        "for queues:write",
    ),
    (
        "an id has a pattern",
        |d| component(d, "/components/schemas/mq_identifier")["pattern"] = json!("^[0-9a-f]{32}$"),
        "src/queue/ids.rs",
    ),
];

const RESPONSES: [Row; 2] = [
    ("messages are a map", |d| *result(d, "~1pull", "/messages") = json!({ "type": "object" }), "widen it there"),
    ("a success has status 202", |d| at(d, "~1ack/post/responses")["202"] = json!({}), "src/http/response.rs"),
];

const SECRETS: [Row; 4] = [
    (
        "a described field is a password",
        |d| component(d, "/components/schemas/mq_queue/properties")["modified_on"]["format"] = json!("password"),
        "`x-secret`",
    ),
    (
        "a described field is sensitive",
        |d| component(d, "/components/schemas/mq_queue/properties")["modified_on"]["x-sensitive"] = json!(true),
        "`x-secret`",
    ),
    (
        "a field of a request is sensitive",
        |d| at(d, PULL)["properties"]["batch_size"]["x-sensitive"] = json!(true),
        "`x-secret`",
    ),
    (
        "a field of a request is only written",
        |d| at(d, PULL)["properties"]["batch_size"]["writeOnly"] = json!(true),
        "`x-secret`",
    ),
];

const LOST: [Row; 31] = [
    ("warnings are an integer", |d| *result(d, "~1ack", "/warnings") = json!({ "type": "integer" }), "in `x-reads`"),
    (
        "attempts are a string",
        |d| component(d, BATCH)["attempts"] = json!({ "type": "string" }),
        "PulledMessage/properties/attempts",
    ),
    (
        "timestamp_ms is a string",
        |d| component(d, BATCH)["timestamp_ms"] = json!({ "type": "string" }),
        "PulledMessage/properties/timestamp_ms",
    ),
    ("lease_id is renamed", |d| rename(component(d, BATCH), "lease_id", "lease"), "the new name"),
    (
        "a metric is renamed",
        |d| rename(component(d, "/components/schemas/mq_queue-metrics/properties"), "backlog_count", "backlog"),
        "where: `response 200 /result/metadata/metrics/backlog_count`",
    ),
    (
        "the metrics are moved",
        |d| rename(result(d, "~1pull", "/metadata/properties"), "metrics", "measures"),
        "/metadata/metrics`",
    ),
    (
        "the text of a purge's error is renamed",
        |d| rename(result(d, "~1purge", "/errors/items/properties"), "message", "text"),
        "PurgeResult/properties/errors/x-reads",
    ),
    ("a count is renamed", |d| rename(result(d, "~1ack", ""), "ackCount", "acked"), "AckResult/properties/ackCount"),
    (
        "the number of pages is a string",
        |d| pages(d)["total_pages"] = json!({ "type": "string" }),
        "ResultInfo/properties/total_pages",
    ),
    (
        "a queue's time is a number",
        |d| component(d, "/components/schemas/mq_queue/properties")["created_on"] = json!({ "type": "number" }),
        "QueueResult/properties/created_on",
    ),
    (
        "the errors of a failure are renamed",
        |d| rename(component(d, FAILURE), "errors", "faults"),
        "where: `response 4XX /errors`",
    ),
    (
        "the errors of a failure are a map",
        |d| component(d, FAILURE)["errors"] = json!({ "type": "object", "properties": { "code": {} } }),
        "`ApiError`",
    ),
    ("an error's code is a text", |d| component(d, ERROR)["code"] = json!({ "type": "string" }), "`ApiError`"),
    ("an error's code is renamed", |d| rename(component(d, ERROR), "code", "type"), "`ApiError`"),
    ("an error's text is renamed", |d| rename(component(d, ERROR), "message", "detail"), "`ApiError`"),
    (
        "errors are texts",
        |d| component(d, "/components/schemas/mq_api-v4-error")["items"] = json!({ "type": "string" }),
        "`ApiError`",
    ),
    (
        "a failure is of another media type",
        |d| rename(failure(d), "application/json", "application/problem+json"),
        "where: `response 4XX`",
    ),
    ("a failure has no body", |d| at(d, "~1pull/post/responses")["4XX"] = json!({}), "is:    left out"),
    (
        "the service's failures have another form",
        |d| at(d, "~1pull/post/responses")["5XX"] = other_failure(),
        "where: `response 5XX`",
    ),
    (
        "all other responses have another form",
        |d| at(d, "~1pull/post/responses")["default"] = other_failure(),
        "where: `response default`",
    ),
    (
        "a failure is a page",
        |d| {
            let page = json!({ "content": { "text/html": { "schema": { "type": "string" } } } });
            at(d, "~1pull/post/responses")["5XX"] = page
        },
        "where: `response 5XX text/html`",
    ),
    (
        "the errors of a success are renamed",
        |d| rename(component(d, "/components/schemas/mq_api-v4-success/properties"), "errors", "faults"),
        "where: `response 200 /errors`",
    ),
    (
        "a list comes in pages by a cursor",
        |d| parameters(d).push(json!({ "name": "cursor", "in": "query", "schema": { "type": "string" } })),
        "comes in pages now",
    ),
    (
        "a list has the cursor of its next page",
        |d| pages(d)["next_cursor"] = json!({ "type": "string" }),
        "comes in pages now",
    ),
    (
        "a list links to its next page",
        |d| list(d)["headers"] = json!({ "Link": { "schema": { "type": "string" } } }),
        "comes in pages now",
    ),
    (
        "a failure has one of two forms",
        |d| {
            let form = component(d, "/components/schemas/mq_api-v4-failure").take();
            *component(d, "/components/schemas/mq_api-v4-failure") =
                json!({ "oneOf": [form, { "type": "object", "properties": { "fault": { "type": "string" } } }] })
        },
        "is:    in some alternatives",
    ),
    (
        "a failure has one of three forms",
        |d| {
            let form = component(d, "/components/schemas/mq_api-v4-failure").take();
            *component(d, "/components/schemas/mq_api-v4-failure") =
                json!({ "oneOf": [form, { "type": "object" }, form] })
        },
        "is:    in some alternatives",
    ),
    ("a field never has a value", |d| *result(d, "~1ack", "/ackCount") = json!(false), "is:    left out"),
    (
        "the first entry of a list has another form",
        |d| component(d, "/components/schemas/mq_queue-pull-batch")["prefixItems"] = json!([{ "type": "string" }]),
        "where: `response 200 /result/messages/*`",
    ),
    (
        "a list within a result comes in pages",
        |d| result(d, "~1pull", "")["next_cursor"] = json!({ "type": "string" }),
        "comes in pages now",
    ),
    (
        "a page is asked for by a header",
        |d| parameters(d).push(json!({ "name": "X-Page", "in": "header", "schema": { "type": "integer" } })),
        "comes in pages now",
    ),
];

const DEPRECATED: [Row; 2] = [
    ("an operation is deprecated", |d| at(d, "~1pull/post")["deprecated"] = json!(true), "plan for"),
    (
        "a field is deprecated",
        |d| result(d, "~1ack", "/ackCount")["deprecated"] = json!(true),
        "AckResult/properties/ackCount",
    ),
];

const NOT_CALLED: [Row; 6] = [
    (
        "an operation is new",
        |d| d["paths"][path("extend")] = json!({ "post": { "operationId": "queues-extend" } }),
        "\"Adding an operation\" in openapi/README.md",
    ),
    (
        "an operation with a known tag is new",
        |d| {
            d["paths"]["/accounts/{account_id}/drains"] =
                json!({ "post": { "operationId": "drains-create", "tags": ["Queues"] } })
        },
        "POST /accounts/{account_id}/drains (drains-create)",
    ),
    (
        "an operation with a known id is new",
        |d| d["paths"]["/drains"] = json!({ "get": { "operationId": "queuesDrain" } }),
        "GET /drains (queuesDrain)",
    ),
    (
        "an operation of queues elsewhere is new",
        |d| d["paths"]["/zones/{zone_id}/queues"] = json!({ "get": { "operationId": "list-zone" } }),
        "GET /zones/{zone_id}/queues (list-zone)",
    ),
    (
        "a path has our operation twice",
        |d| {
            let mut other = at(d, "~1pull").clone();
            other["post"]["operationId"] = json!("other");
            d["paths"][path("pull").replace("queue_id", "a_name")] = other
        },
        "/queues/{a_name}/messages/pull (other)",
    ),
    (
        "an operation with a method of OpenAPI 3.2 is new",
        |d| at(d, "~1pull")["query"] = json!({ "operationId": "queues-query" }),
        "QUERY /accounts/{account_id}/queues/{queue_id}/messages/pull (queues-query)",
    ),
];

const HARMLESS: [Row; 42] = [
    (
        "every operation has a new failure",
        |d| {
            operations(d).into_iter().for_each(|operation| {
                operation["responses"]["409"] =
                    json!({ "content": { "application/json": { "schema": { "type": "object" } } } })
            })
        },
        "harmless: every operation",
    ),
    (
        "there is another server",
        |d| d["servers"].as_array_mut().unwrap().push(json!({ "url": "https://eu.example" })),
        "request server",
    ),
    (
        "a bound is wider",
        |d| component(d, "/components/schemas/mq_identifier")["maxLength"] = json!(64),
        "to do: nothing but the tables",
    ),
    (
        "warnings are a list again",
        |d| *result(d, "~1ack", "/warnings") = json!({ "type": "array", "items": { "type": "string" } }),
        "is:    array",
    ),
    ("a count is an integer", |d| result(d, "~1ack", "/ackCount")["type"] = json!("integer"), "is:    integer"),
    (
        "a count may be null",
        |d| *result(d, "~1ack", "/ackCount") = json!({ "type": ["null", "number"] }),
        "is:    number or null",
    ),
    ("a field is new", |d| result(d, "~1pull", "")["more"] = json!({ "type": "string" }), "describe it there"),
    (
        "a body may be a form",
        |d| content(d)["multipart/form-data"] = content(d)["application/json"].clone(),
        "where: `request multipart/form-data`",
    ),
    (
        "other fields of a request are refused",
        |d| at(d, PULL)["additionalProperties"] = json!(false),
        "is:    additionalProperties false",
    ),
    (
        "every failure has a further status of the same form",
        |d| {
            operations(d).into_iter().for_each(|operation| {
                let failure = operation["responses"]["4XX"].clone();
                operation["responses"]["5XX"] = failure
            })
        },
        "harmless: every operation",
    ),
    (
        "failures are described by status",
        |d| {
            let failure = at(d, "~1pull/post/responses").as_object_mut().unwrap().remove("4XX").unwrap();
            ["400", "404"].into_iter().for_each(|status| at(d, "~1pull/post/responses")[status] = failure.clone())
        },
        "where: `response 404`",
    ),
    ("a failure that is new has no body", |d| at(d, "~1pull/post/responses")["503"] = json!({}), "is:    no body"),
    (
        "an error has more",
        |d| component(d, ERROR)["severity"] = json!({ "type": "string" }),
        "where: `response 4XX /errors/*/severity`",
    ),
    (
        "pages have a size",
        |d| parameters(d).push(json!({ "name": "per_page", "in": "query", "schema": { "type": "integer" } })),
        "where: `request query per_page`",
    ),
    (
        "an exclusive bound allows all that is sent",
        |d| {
            at(d, PULL)["properties"]["batch_size"] =
                json!({ "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 101, "multipleOf": 1 })
        },
        "is:    maximum below 101",
    ),
    (
        "a new field looks like a secret",
        |d| result(d, "~1pull", "")["webhook_secret"] = json!({ "type": "string" }),
        "may be a secret",
    ),
    (
        "a new field is a password",
        |d| result(d, "~1pull", "")["hook"] = json!({ "type": "string", "format": "password" }),
        "may be a secret",
    ),
    (
        "a new field is sensitive",
        |d| result(d, "~1pull", "")["hook"] = json!({ "type": "string", "x-sensitive": true }),
        "may be a secret",
    ),
    (
        "a new field of a request looks like a secret",
        |d| at(d, PULL)["properties"]["signingKey"] = json!({ "type": "string" }),
        "may be a secret",
    ),
    ("a default is new", |d| at(d, PULL)["properties"]["batch_size"]["default"] = json!(5), "is:    default 5"),
    (
        "a query of many values is written in another way",
        |d| parameters(d).push(json!({ "name": "id", "in": "query", "explode": false, "schema": { "type": "array" } })),
        "explode false",
    ),
    (
        "a response has a header",
        |d| at(d, "~1pull/post/responses/200")["headers"] = json!({ "X-More": { "schema": { "type": "string" } } }),
        "where: `response 200 header x-more`",
    ),
    ("a body is bytes in base64", |d| component(d, BATCH)["body"]["format"] = json!("byte"), "is:    format byte"),
    (
        "a body is bytes in base64, or an object",
        |d| {
            component(d, BATCH)["body"] =
                json!({ "oneOf": [{ "type": "string", "format": "byte" }, { "type": "object" }] })
        },
        "is:    format byte",
    ),
    (
        "a name is wanted where an id was",
        |d| {
            *d = serde_json::from_str(
                &d.to_string()
                    .replace("queue_id}", "queue_name}")
                    .replace("\"name\":\"queue_id\"", "\"name\":\"queue_name\""),
            )
            .unwrap()
        },
        "is:    name queue_name",
    ),
    (
        "an enum may be null, as OpenAPI 3.1 has it",
        |d| {
            let of = component(d, "/components/schemas/mq_queue/properties");
            of["jurisdiction"] = json!({ "anyOf": [of["jurisdiction"], { "type": "null" }] })
        },
        "is:    string or null",
    ),
    (
        "a new field has a secret within",
        |d| {
            let hook = json!({ "type": "object", "properties": { "api_key": { "type": "string" } } });
            result(d, "~1pull", "")["hooks"] = json!({ "type": "array", "items": hook })
        },
        "may be a secret, or hold one",
    ),
    (
        "a new field is a map of passwords",
        |d| {
            result(d, "~1pull", "")["hooks"] =
                json!({ "type": "object", "additionalProperties": { "type": "string", "format": "password" } })
        },
        "may be a secret, or hold one",
    ),
    ("no credentials are needed", |d| at(d, "~1pull/post")["security"] = json!([]), "where: `request security`"),
    (
        "no credentials are needed, as an empty alternative says",
        |d| at(d, "~1pull/post")["security"] = json!([{}]),
        "where: `request security`",
    ),
    (
        "credentials are optional",
        |d| at(d, "~1pull/post")["security"].as_array_mut().unwrap().push(json!({})),
        "where: `request security`",
    ),
    (
        "a default is false",
        |d| at(d, PULL)["properties"]["batch_size"] = json!({ "type": "number", "default": false }),
        "is:    default false",
    ),
    (
        "the errors of a failure are in each of its forms",
        |d| {
            let failure = component(d, "/components/schemas/mq_api-v4-failure");
            let form = failure.clone();
            failure["oneOf"] = json!([form, { "type": "object", "properties": { "more": {} } }])
        },
        "/more",
    ),
    (
        "the token alone is enough",
        |d| at(d, "~1pull/post")["security"].as_array_mut().unwrap().push(json!({ "api_token": [] })),
        "where: `request security`",
    ),
    ("a part of a path is not described", |d| parameters(d).clear(), "where: `request path 1`"),
    (
        "other fields of a request are refused, as OpenAPI 3.1 has it",
        |d| at(d, PULL)["unevaluatedProperties"] = json!(false),
        "is:    additionalProperties false",
    ),
    (
        "a query may be empty",
        |d| {
            parameters(d)
                .push(json!({ "name": "id", "in": "query", "allowEmptyValue": true, "schema": { "type": "string" } }))
        },
        "allowEmptyValue true",
    ),
    (
        "a discriminator has another value",
        |d| {
            component(d, "/components/schemas/mq_consumer-response/discriminator/mapping")["pull"] =
                json!("#/components/schemas/mq_http-consumer-response")
        },
        "is:    discriminator type (http_pull, notification, pull, worker)",
    ),
    (
        "an error has its causes, which are errors",
        |d| component(d, ERROR)["error_chain"] = json!({ "$ref": "#/components/schemas/mq_api-v4-error" }),
        "where: `response 4XX /errors/*/error_chain`",
    ),
    (
        "an error's code is a number",
        |d| component(d, ERROR)["code"] = json!({ "type": "number" }),
        "where: `response 4XX /errors/*/code`",
    ),
    (
        "the only response has any status",
        |d| rename(at(d, "~1pull/post/responses"), "200", "default"),
        "where: `response default`",
    ),
    (
        "a field is only in one alternative, and is not read",
        |d| {
            let form = json!({ "type": "object", "properties": { "more": {} } });
            let result = result(d, "~1pull", "").as_object_mut().unwrap();
            result.insert("a".to_owned(), json!({ "oneOf": [form, { "type": "object" }] }));
        },
        "where: `response 200 /result/a`",
    ),
];

pub(super) fn path(operation: &str) -> String {
    format!("/accounts/{{account_id}}/queues/{{queue_id}}/messages/{operation}")
}

fn content(document: &mut Value) -> &mut Value {
    at(document, "~1pull/post/requestBody/content")
}

fn failure(document: &mut Value) -> &mut Value {
    at(document, "~1pull/post/responses/4XX/content")
}

fn other_failure() -> Value {
    let schema = json!({ "type": "object", "properties": { "error": { "type": "string" } } });
    json!({ "content": { "application/json": { "schema": schema } } })
}

fn acks(document: &mut Value) -> &mut Value {
    at(document, "~1ack/post/requestBody/content/application~1json/schema/properties/acks")
}

fn list(document: &mut Value) -> &mut Value {
    component(document, "/paths/~1accounts~1{account_id}~1queues/get/responses/200")
}

fn parameters(document: &mut Value) -> &mut Vec<Value> {
    component(document, "/paths/~1accounts~1{account_id}~1queues/get/parameters").as_array_mut().unwrap()
}

fn pages(document: &mut Value) -> &mut Value {
    &mut list(document)["content"]["application/json"]["schema"]["allOf"][1]["properties"]["result_info"]["properties"]
}
