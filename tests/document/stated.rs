//! The rules of `openapi/rules.rs`, which the build applies: a bound becomes a check, and a secret is marked.

use refresh::rules::stated;
use serde_json::{Value, json};

use super::document;

/// What the build says of our document after a change of what is at a place, below its components.
fn faults(pointer: &str, change: Value) -> Vec<String> {
    let mut document = document();
    let Value::Object(change) = change else { panic!("{change}") };
    document.pointer_mut(&format!("/components/{pointer}")).unwrap().as_object_mut().unwrap().extend(change);
    stated(&document).faults
}

#[test]
fn the_document_keeps_the_rules() {
    assert_eq!(stated(&document()).faults, [""; 0]);
}

#[test]
fn a_bound_that_nothing_checks_is_refused() {
    let size = "schemas/PullPayload/properties/batch_size";
    let acks = "schemas/AckPayload/properties/acks";
    for (place, keyword, value) in [
        (size, "multipleOf", json!(5)),
        (size, "exclusiveMaximum", json!(true)),
        (size, "exclusiveMaximum", json!(100)),
        (size, "exclusiveMinimum", json!(0)),
        (size, "minimum", json!(0.5)),
        (size, "maximum", json!(-1)),
        (size, "const", json!(5)),
        (size, "not", json!({ "enum": [5] })),
        (acks, "uniqueItems", json!(true)),
        (acks, "contains", json!({})),
        (acks, "minContains", json!(1)),
        (acks, "prefixItems", json!([{}])),
        ("schemas/AckPayload", "dependentRequired", json!({ "acks": ["retries"] })),
        ("schemas/AckPayload", "dependentSchemas", json!({ "acks": {} })),
        ("schemas/AckPayload", "minProperties", json!(1)),
        ("schemas/AckPayload", "maxProperties", json!(1)),
        ("schemas/AckPayload", "additionalProperties", json!(false)),
        ("schemas/AckPayload", "unevaluatedProperties", json!(false)),
        ("schemas/AckPayload", "propertyNames", json!({ "maxLength": 3 })),
        ("schemas/AckPayload", "patternProperties", json!({ "a": {} })),
        ("schemas/AckPayload", "anyOf", json!([{ "required": ["acks"] }, { "required": ["retries"] }])),
        ("schemas/AckPayload", "if", json!({})),
        ("schemas/LeaseId", "pattern", json!("^a")),
        ("schemas/LeaseId", "format", json!("uuid")),
        ("schemas/LeaseId", "contentEncoding", json!("base64")),
        ("schemas/NotificationTarget/properties/id", "x-max-characters", json!(3)),
        ("schemas/CreateSubscriptionPayload/properties/events/items", "maxLength", json!(32)),
        ("schemas/AckEntry/properties/lease_id/allOf/0", "minLength", json!(1)),
        ("schemas/PushPayload/properties/body", "maxLength", json!(1.5)),
        ("parameters/PerPage/schema", "multipleOf", json!(10)),
    ] {
        let faults = faults(place, json!({ keyword: value }));
        assert!(
            faults.iter().any(|fault| fault.contains(keyword) || keyword == "format"),
            "{place} {keyword}: {faults:?}"
        );
    }
    let mut inline = document();
    inline["paths"]["/accounts/{account_id}/queues"]["get"]["parameters"][1] =
        json!({ "name": "page", "in": "query", "schema": { "type": "integer", "maximum": 9 } });
    assert_eq!(stated(&inline).faults.len(), 1, "no constant is made of it");
}

#[test]
fn every_bound_becomes_a_constant_that_has_to_be_used() {
    let mut document = document();
    document["components"]["schemas"]["LeaseId"]["minLength"] = json!(1);
    document["components"]["schemas"]["PeekPayload"]["properties"]["batch_size"]["maximum"] = json!(50);
    let stated = stated(&document);
    for (constant, bound) in [("LEASE_ID_MIN_LENGTH", 1), ("PEEK_PAYLOAD_BATCH_SIZE_MAX", 50), ("PER_PAGE_MAX", 100)] {
        assert!(stated.bounds.contains(&(constant.to_owned(), bound)), "{constant}: {:?}", stated.bounds);
    }
    assert!(include_str!("../../src/document.rs").contains("#[deny(dead_code)]"));
}

#[test]
fn a_secret_that_nobody_marked_is_refused() {
    let field = |name: &str, schema: Value| faults("schemas/PullPayload/properties", json!({ name: schema }));
    let text = || json!({ "type": "string" });
    for name in [
        "api_token",
        "tokens",
        "clientSecret",
        "webhook_secret",
        "Password",
        "password_hash",
        "signing-key",
        "key",
        "privateKey",
        "signature",
        "x_signature",
        "credentials",
        "passphrase",
    ] {
        assert_eq!(field(name, text()).len(), 1, "{name}");
        assert_eq!(field(name, json!({ "type": "array", "items": text() })).len(), 1, "a list of {name}");
        assert_eq!(faults("schemas", json!({ name: text() })).len(), 1, "the component {name}");
        for secret in [
            json!({ "$ref": "#/components/schemas/LeaseId" }),
            json!({ "allOf": [{ "$ref": "#/components/schemas/LeaseId" }] }),
            json!({ "type": "array", "items": { "$ref": "#/components/schemas/LeaseId" } }),
        ] {
            assert_eq!(field(name, secret), [""; 0], "{name}");
        }
    }
    assert_eq!(field("note", json!({ "type": "string", "format": "password" })).len(), 2);
    assert_eq!(field("note", json!({ "type": "string", "writeOnly": true })).len(), 2);
    assert_eq!(
        field("note", json!({ "type": "string", "x-secret": true })).len(),
        1,
        "a field cannot be marked itself"
    );
    assert_eq!(faults("schemas/LeaseId", json!({ "x-secret": false })).len(), 1);
    let header = json!({ "X": { "name": "X-Token", "in": "header", "schema": text() } });
    assert_eq!(faults("parameters", header).len(), 1, "a parameter");
}

#[test]
fn a_list_of_secrets_is_one() {
    let secrets = json!({ "leases": { "type": "array", "items": { "$ref": "#/components/schemas/LeaseId" } } });
    let mut document = document();
    document["components"]["schemas"]["PullPayload"]["properties"] = secrets;
    assert!(stated(&document).secrets.contains("leases"));
}
