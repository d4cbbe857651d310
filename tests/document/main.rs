//! The rules of `openapi/README.md`: how the document is written, where it differs from the published one, and how it
//! is refreshed.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod bounds;
mod codes;
mod counts;
mod deviations;
mod doctored;
mod effects;
mod emulated;
mod forms;
mod generate;
mod layers;
mod manage;
mod reads;
mod refreshing;
mod stated;

use std::collections::BTreeSet;

use serde_json::Value;
use support::Op;

const REF: &str = "#/components/schemas/";
/// Whether `build.rs` replaces a component by a hand-written type.
fn is_replaced(name: &str) -> bool {
    include_str!("../../build.rs").contains(&format!("(\"{name}\", \"crate::"))
}

fn document() -> Value {
    serde_json::from_str(include_str!("../../openapi/queues.json")).unwrap()
}

fn operations(document: &Value) -> impl Iterator<Item = &Value> {
    document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
}

fn component(reference: &Value) -> &str {
    reference["$ref"]
        .as_str()
        .and_then(|name| name.strip_prefix(REF))
        .unwrap_or_else(|| panic!("no component: {reference}"))
}

/// The only media type of a body.
fn body(body: &Value) -> &str {
    let content = body["content"].as_object().unwrap();
    assert_eq!(content.keys().collect::<Vec<_>>(), ["application/json"]);
    component(&content["application/json"]["schema"])
}

/// A component and all that it refers to.
fn reachable(document: &Value, name: &str, seen: &mut BTreeSet<String>) {
    if seen.insert(name.to_owned()) {
        walk(&document["components"]["schemas"][name], "", &mut |_, value| {
            if value.get("$ref").is_some() {
                reachable(document, component(value), seen);
            }
        });
    }
}

/// Visits every object within a value, with the way that led there.
fn walk(value: &Value, way: &str, visit: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(map) => {
            visit(way, value);
            map.iter().for_each(|(key, value)| walk(value, &format!("{way}/{key}"), visit));
        }
        Value::Array(values) => values.iter().for_each(|value| walk(value, way, visit)),
        _ => {}
    }
}

#[test]
fn the_document_is_openapi_3_0() {
    let document: openapiv3::OpenAPI = serde_json::from_value(document()).unwrap();
    assert!(document.openapi.starts_with("3.0."));
}

#[test]
fn every_operation_gives_a_method_a_body_and_an_envelope() {
    let document = document();
    for operation in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{id}");
        if operation.get("requestBody").is_some() {
            assert_eq!(operation["requestBody"]["required"], true, "{id}");
            assert!(body(&operation["requestBody"]).ends_with("Payload"), "{id}");
        }
        assert_eq!(operation["responses"].as_object().unwrap().keys().collect::<Vec<_>>(), ["200"], "{id}");
        let response = body(&operation["responses"]["200"]);
        let result = &document["components"]["schemas"][response]["properties"]["result"]["allOf"][0];
        assert_eq!(
            Some(component(result)),
            response.strip_suffix("Response").map(|name| format!("{name}Result")).as_deref()
        );
    }
}

#[test]
fn no_schema_is_of_a_form_that_generates_clumsy_code() {
    walk(&document()["components"]["schemas"], "", &mut |way, schema| {
        assert!(!way.contains("/default") && schema.get("pattern").is_none(), "{way}");
        assert_ne!(schema.get("additionalProperties"), Some(&Value::Bool(false)), "{way}");
        assert!(schema.get("anyOf").is_none(), "{way}");
        if let Some(parts) = schema.get("allOf") {
            assert!(parts.as_array().unwrap().len() == 1 && schema.get("description").is_some(), "{way}");
            component(&parts[0]);
        }
        if way.contains("/x-reads") {
            return;
        }
        let is_inline = way.matches("/properties/").count() > 0 && schema.get("properties").is_some();
        let is_replaced = is_replaced(way.split('/').nth(1).unwrap_or_default());
        assert!(!is_inline || is_replaced, "{way}: give it a name");
    });
}

#[test]
fn requests_have_integers_and_responses_are_read_leniently() {
    let document = document();
    let (mut sent, mut read) = (BTreeSet::new(), BTreeSet::new());
    for operation in operations(&document) {
        if operation.get("requestBody").is_some() {
            reachable(&document, body(&operation["requestBody"]), &mut sent);
        }
        reachable(&document, body(&operation["responses"]["200"]), &mut read);
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas.iter().filter(|(name, _)| !is_replaced(name)) {
        assert!(sent.contains(name) || read.contains(name) || name == "Identifier", "{name} is not used");
        walk(schema, name, &mut |way, schema| {
            if sent.contains(name) {
                assert_ne!(schema.get("type"), Some(&"number".into()), "{way}");
                assert!(schema.get("type") != Some(&"integer".into()) || schema.get("format").is_some(), "{way}");
            }
            if read.contains(name) {
                assert_ne!(schema.get("type"), Some(&"integer".into()), "{way}");
                assert!(schema.get("enum").is_none() && schema.get("required").is_none(), "{way}");
            }
        });
        let properties = schema["properties"].as_object().into_iter().flatten();
        for (property, schema) in properties.filter(|_| read.contains(name) && !name.ends_with("Response")) {
            assert!(schema["nullable"] == true || schema.get("type").is_none(), "{name}.{property} may be null");
        }
    }
}

#[test]
fn everything_is_described() {
    let document = document();
    let is_described = |value: &Value| value["description"].as_str().is_some_and(|text| text.ends_with('.'));
    for operation in operations(&document) {
        assert!(is_described(operation) && operation["summary"].is_string(), "{}", operation["operationId"]);
        assert!(is_described(&operation["responses"]["200"]), "{}", operation["operationId"]);
    }
    let components = document["components"].as_object().unwrap().values();
    for (name, component) in components.flat_map(|components| components.as_object().unwrap()) {
        assert!(is_described(component), "{name}");
        for (property, schema) in component["properties"].as_object().into_iter().flatten() {
            assert!(is_described(schema), "{name}.{property}");
        }
    }
}

#[tokio::test]
async fn errors_name_their_operation_as_the_document_does() {
    let document = document();
    let documented: BTreeSet<_> = operations(&document).map(|operation| operation["operationId"].as_str()).collect();
    let queue = support::queue(&support::nowhere());
    let mut named = BTreeSet::new();
    for op in Op::ALL {
        let error = op.call(&queue).await.unwrap_err();
        assert_eq!(error.operation(), Some(op.id()));
        named.insert(Some(op.id()));
    }
    assert_eq!(named, documented, "every table of these tests goes over `Op::ALL`");
}
