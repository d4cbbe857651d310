//! What the refresh reports about modified documents, and that an equivalent layout breaks neither it nor the tests'
//! generator of values.

mod layouts;
mod rows;

use refresh::report::Class;
use serde_json::{Value, json};

use self::{
    layouts::LAYOUTS,
    rows::{NEED_AN_EDIT, ONLY_TO_KNOW, Row, operations, path},
};
use super::{
    forms::{runner, validator},
    generate,
    refreshing::{Openapi, at, published},
};

fn check((what, change, class, words): Row) -> Value {
    let (openapi, mut document) = (Openapi::new(), published());
    change(&mut document);
    let report = openapi.refresh(&document.to_string()).unwrap();
    assert_eq!(report.classes.first(), class.as_ref(), "{what}: {}", report.text);
    assert_eq!(report.needs_edit, class.is_some_and(|class| class <= Class::Lost), "{what}: {}", report.text);
    assert!(report.text.contains(words), "{what}: {}", report.text);
    assert_eq!(report.text.contains("nothing changed"), openapi.upstream() == Openapi::new().upstream(), "{what}");
    // A change is reported once, except for a missing operation.
    if class == Some(Class::Request) && words.contains("routes") {
        return document;
    }
    let again = openapi.refresh(&document.to_string()).unwrap();
    assert_eq!((again.classes.len(), again.text.lines().next()), (0, Some("nothing changed")), "{what}");
    serde_json::from_str(&openapi.upstream()).unwrap()
}

#[test]
fn a_breaking_change_names_the_place_to_edit() {
    NEED_AN_EDIT.into_iter().for_each(|row| drop(check(row)));
}

#[test]
fn harmless_changes_are_reported() {
    ONLY_TO_KNOW.into_iter().for_each(|row| drop(check(row)));
}

#[test]
fn another_layout_is_not_a_change() {
    let plain = published();
    for row in LAYOUTS {
        let document = check(row);
        for operation in [path("pull"), path("ack"), path("purge")] {
            let schema = |document| {
                generate::content(document, &generate::operation(document, &operation, "post")["responses"]["200"])
            };
            let validator = validator(&plain, &schema(&plain));
            runner(20)
                .run(&generate::values(&document, &schema(&document)), |value| {
                    assert!(validator.is_valid(&value), "{}: {value}", row.0);
                    Ok(())
                })
                .unwrap();
        }
    }
}

#[test]
fn the_first_source_of_a_structure_is_kept() {
    let openapi = Openapi::new();
    let source = |openapi: &Openapi| serde_json::from_str::<Value>(&openapi.upstream()).unwrap()["x-source"].take();
    let before = source(&openapi);
    openapi.refresh(&published().to_string()).unwrap();
    assert_eq!(source(&openapi), before, "nothing changed");
    let mut document = published();
    at(&mut document, "~1pull/post")["deprecated"] = json!(true);
    openapi.refresh(&document.to_string()).unwrap();
    assert_eq!(source(&openapi), "commit 5e1b0a4");
}

#[test]
fn a_change_of_every_operation_is_reported_once() {
    let (openapi, mut document) = (Openapi::new(), published());
    operations(&mut document).into_iter().for_each(|operation| {
        operation["responses"]["409"] = json!({ "content": { "application/json": { "schema": {} } } })
    });
    let report = openapi.refresh(&document.to_string()).unwrap();
    assert_eq!(report.text.matches("where: `response 409`").count(), 1, "{}", report.text);
}

#[test]
fn a_request_that_may_be_more_than_before_is_harmless() {
    let openapi = Openapi::new();
    let refreshed = |sizes: Value| {
        let mut document = published();
        document["components"]["schemas"]["mq_batch-size"]["enum"] = sizes;
        openapi.refresh(&document.to_string()).unwrap()
    };
    assert!(refreshed(json!([1, 2])).needs_edit, "any size is sent");
    assert_eq!(refreshed(json!([1, 2, 3])).classes.into_iter().collect::<Vec<_>>(), [Class::Harmless]);
    assert!(refreshed(json!([1, 3])).needs_edit);
}

#[test]
fn values_are_generated_of_schemas_without_a_type() {
    for (schema, is_valid) in [
        (json!({}), (|_| true) as fn(&Value) -> bool),
        (json!({ "properties": { "a": { "type": "string" } } }), Value::is_object),
        (json!({ "allOf": [{ "type": "string" }, { "maxLength": 9 }] }), Value::is_string),
    ] {
        runner(20)
            .run(&generate::values(&json!({}), &schema), |value| {
                assert!(is_valid(&value), "{schema}: {value}");
                Ok(())
            })
            .unwrap();
    }
}
