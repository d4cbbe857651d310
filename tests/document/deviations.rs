//! The tables of `openapi/README.md`: where the document differs from the published one, and why.

use refresh::{account, places};
use serde_json::{Value, json};

use super::document;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn complaints(ours: &Value, published: &Value, readme: &str) -> Vec<String> {
    let (ours, published) = (places::read(ours).unwrap(), places::read(published).unwrap());
    account::account(&ours, &published, &account::table(readme)).complaints
}

#[test]
fn every_difference_from_the_published_document_is_explained() {
    let (ours, published) = (document(), json(include_str!("../../openapi/upstream.json")));
    assert_eq!(complaints(&ours, &published, include_str!("../../openapi/README.md")), [""; 0]);
    let names = |document: &Value| places::read(document).unwrap().into_keys().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&published));
}

// From here on: the test above finds what it should, on fixed documents.

const README: &str = include_str!("../fixtures/refresh/README.md");

fn ours() -> Value {
    json(include_str!("../fixtures/refresh/queues.json"))
}

fn published() -> Value {
    json(include_str!("../fixtures/refresh/upstream.json"))
}

/// The complaint after a change of our document, with everything else unchanged.
fn complaint(pointer: &str, value: Value) -> String {
    let mut ours = ours();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    ours.pointer_mut(&format!("/components/schemas{parent}")).unwrap()[key] = value;
    complaints(&ours, &published(), README).join("\n")
}

#[test]
fn a_difference_without_a_reason_is_seen() {
    let text = complaint("/AckPayload/properties/acks/maxItems", json!(7));
    assert_eq!(text, "no row explains `ack_messages request /acks`: published no maxItems, here maxItems 7");
    let text = complaint("/PullResult/properties/extra", json!({ "type": "boolean" }));
    assert!(text.contains("`pull_messages response 200 /result/extra`: published left out, here boolean"), "{text}");
}

#[test]
fn wider_requests_and_narrower_responses_break_the_rule() {
    for (pointer, value) in [
        ("/AckPayload/properties/more", json!({ "type": "string" })),
        ("/PullPayload/properties/batch_size/type", json!("string")),
        ("/Identifier/maxLength", json!(64)),
        ("/AckResult/properties/ackCount/x-reads", json!({ "type": "integer" })),
        ("/PulledMessage/properties/id/x-reads", json!({ "type": "string", "maxLength": 32 })),
        ("/PullResult/required", json!(["messages"])),
    ] {
        let text = complaint(pointer, value);
        assert!(text.contains("breaks the rule"), "{pointer}: {text}");
    }
}

#[test]
fn an_unneeded_reason_is_reported() {
    let idle = README.replace(
        "| `* operation` |",
        "| `ack_messages response 200 /gone` | string | left out | it is odd |\n| `* operation` |",
    );
    assert_eq!(
        complaints(&ours(), &published(), &idle),
        ["not needed: the row `ack_messages response 200 /gone`: published string, here left out"]
    );
    let (first, _) = README.split_once("| `* request security` |").unwrap();
    assert!(complaints(&ours(), &published(), first).iter().all(|complaint| complaint.contains("breaks the rule")));
}

#[test]
fn rows_need_a_reason_stand_once_and_are_no_catch_all() {
    let with = |row: &str| {
        complaints(&ours(), &published(), &README.replace("| `* operation` |", &format!("{row}\n| `* operation` |")))
    };
    let [row] = README.lines().filter(|line| line.contains("`* operation`")).collect::<Vec<_>>()[..] else { panic!() };
    let fault = |row: &str, words: &str| {
        let complaints = with(row);
        assert!(complaints.iter().any(|complaint| complaint.starts_with(words)), "{row}: {complaints:?}");
    };
    fault("| `* operation` | queues-* | *_messages | |", "has no reason: the row `* operation`");
    fault("| `* operation` | queues-* | *_messages | … |", "has no reason: the row `* operation`");
    fault(row, "occurs twice: the row `* operation`");
    fault("| `* response *` | * | * | whatever it is |", "explains anything: the row `* response *`");
}

/// What a schema says at each place.
fn facts(schema: Value) -> Vec<(String, Value)> {
    let body = json!({ "content": { "application/json": { "schema": schema } } });
    let document = json!({ "paths": { "/a": { "post": { "operationId": "a", "requestBody": body } } } });
    let places = places::read(&document).unwrap().remove("POST /a").unwrap().places;
    places.into_iter().map(|(place, found)| (place, json!(found.facts))).collect()
}

#[test]
fn alternatives_are_compared_by_what_they_allow_together() {
    let whole = json!({
        "type": "object", "required": ["a"],
        "properties": { "a": { "type": ["integer", "string"], "maxLength": 3 }, "b": { "enum": ["x", "y"] } }
    });
    let in_parts = json!({ "allOf": [
        { "type": "object", "required": ["a"],
          "properties": { "a": { "type": ["string", "integer"], "maxLength": 3 } } },
        { "oneOf": [
            { "type": "object", "properties": { "b": { "enum": ["y"] } } },
            { "type": "object", "properties": { "b": { "enum": ["x"] } } },
        ] },
    ] });
    assert_eq!(facts(in_parts), facts(whole));
}

#[test]
fn keywords_of_some_alternatives_are_kept() {
    let of = |schema: Value| facts(schema).pop().unwrap().1;
    let alternatives = |one: Value, other: Value| of(json!({ "oneOf": [one, other] }));
    let object =
        |required: Value, more: Value| json!({ "type": "object", "required": required, "dependentRequired": more });
    let (one, other) = (object(json!(["b"]), json!({})), object(json!([]), json!({})));
    assert_eq!(alternatives(one.clone(), other)["alternatives"].as_array().unwrap().len(), 2);
    assert_eq!(alternatives(one.clone(), one.clone()).get("alternatives"), None);
    let depending = object(json!(["b"]), json!({ "a": ["c"] }));
    assert_eq!(alternatives(one.clone(), depending.clone())["alternatives"].as_array().unwrap().len(), 2);
    assert_eq!(alternatives(depending.clone(), depending).get("alternatives"), None);
    let discriminator = json!({ "propertyName": "kind", "mapping": { "a": "#/a" } });
    assert_eq!(of(json!({ "oneOf": [one], "discriminator": discriminator }))["discriminator"], "kind (a)");
    let text = json!({ "type": "string", "format": "byte", "maxLength": 3 });
    assert_eq!(
        alternatives(text.clone(), json!({ "type": "integer", "maximum": 5 })),
        json!({ "type": ["integer", "string"], "format": "byte", "maxLength": 3, "maximum": 5 })
    );
    assert_eq!(alternatives(text, json!({ "type": "string" })), json!({ "type": ["string"] }), "any text");
}

#[test]
fn a_bound_is_the_same_inclusive_or_exclusive() {
    let of = |schema: Value| facts(schema).pop().unwrap().1;
    let whole = json!({ "type": ["integer"], "maximum": 100, "minimum": 1 });
    for schema in [
        json!({ "type": "integer", "maximum": 100.0, "minimum": 1 }),
        json!({ "type": "integer", "maximum": 101, "exclusiveMaximum": true, "minimum": 0, "exclusiveMinimum": true }),
        json!({ "type": "integer", "exclusiveMaximum": 101, "exclusiveMinimum": 0.5, "minimum": 0 }),
        json!({ "allOf": [{ "exclusiveMaximum": 100.5 }, { "type": "integer", "exclusiveMinimum": 0 }] }),
    ] {
        assert_eq!(of(schema.clone()), whole, "{schema}");
    }
    let number = json!({ "type": "number", "maximum": 100, "exclusiveMaximum": true, "exclusiveMinimum": false });
    assert_eq!(of(number), json!({ "type": ["number"], "maximum": "below 100" }));
}

#[test]
fn null_is_stated_in_many_ways() {
    let one = || json!({ "type": "string", "enum": ["x"] });
    let whole = facts(json!({ "type": ["string", "null"], "enum": ["x"] }));
    for schema in [
        json!({ "type": "string", "enum": ["x"], "nullable": true }),
        json!({ "allOf": [one()], "nullable": true }),
        json!({ "anyOf": [one(), { "type": "null" }] }),
        json!({ "oneOf": [{ "type": "null" }, one()] }),
    ] {
        assert_eq!(facts(schema.clone()), whole, "{schema}");
    }
}
