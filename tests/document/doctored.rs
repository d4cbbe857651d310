//! What the refresh reports about modified documents, and that an equivalent layout breaks neither it nor the tests'
//! generator of values.

mod layouts;
mod rows;

use refresh::report::{Class, Report};
use serde_json::{Value, json};
use support::Op;

use self::{
    layouts::LAYOUTS,
    rows::{NEED_AN_EDIT, ONLY_TO_KNOW, Row, operations, path, rename},
};
use super::{
    forms::{newer, runner, validator},
    generate,
    refreshing::{Openapi, at, published},
};

/// What is wrong with the report about a row, and the refreshed document.
fn check(class: Option<Class>, (what, change, words): Row) -> (Vec<String>, Value) {
    let (openapi, mut document) = (Openapi::new(), published());
    change(&mut document);
    let report = openapi.refresh(document.to_string()).unwrap();
    let again = openapi.refresh(document.to_string()).unwrap();
    // A change is reported once, except for a missing operation.
    let is_missing = class == Some(Class::Request) && words.contains("routes");
    let holds = [
        ("class", report.classes.first() == class.as_ref()),
        ("exit status", report.needs_edit == class.is_some_and(|class| class <= Class::Lost)),
        ("words", report.text.contains(words)),
        (
            "nothing changed",
            report.text.contains("nothing changed") == (openapi.upstream() == Openapi::new().upstream()),
        ),
        ("once", is_missing || again.classes.is_empty() && again.text.starts_with("nothing changed\n")),
    ];
    let faults = holds.iter().filter(|(_, holds)| !holds).map(|(of, _)| format!("{what}, {of}: {}", report.text));
    (faults.collect(), serde_json::from_str(&openapi.upstream()).unwrap())
}

#[track_caller]
fn check_all(classes: &[(Class, &[Row])]) {
    let rows = classes.iter().flat_map(|(class, rows)| rows.iter().map(|row| (*class, *row)));
    let faults: Vec<_> = rows.flat_map(|(class, row)| check(Some(class), row).0).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_breaking_change_names_what_to_edit() {
    check_all(&NEED_AN_EDIT);
}

#[test]
fn harmless_changes_are_reported() {
    check_all(&ONLY_TO_KNOW);
}

#[test]
fn another_layout_is_not_a_change() {
    let plain = published();
    for row in LAYOUTS {
        let (faults, document) = check(None, row);
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        for operation in [path("pull"), path("ack"), path("purge")] {
            let schema = |document| {
                generate::content(document, &generate::operation(document, &operation, "post")["responses"]["200"])
            };
            let validator = validator(&plain, &schema(&plain));
            runner(8)
                .run(&generate::values(&document, &schema(&document)), |value| {
                    assert!(validator.is_valid(&value), "{}: {value}", row.0);
                    Ok(())
                })
                .unwrap();
        }
    }
}

/// The report after a change of the published document of all our operations.
fn whole(change: impl FnOnce(&mut Value)) -> Report {
    let (openapi, mut document) = (Openapi::whole(), newer());
    change(&mut document);
    openapi.refresh(document.to_string()).unwrap()
}

/// Reports about a list that has another parameter, or another field in `result_info` or in the response.
fn another(change: impl FnOnce(&mut Value, &mut Value)) -> Report {
    whole(|document| {
        let list = "/paths/~1accounts~1{account_id}~1queues~1{queue_id}~1consumers/get";
        let list = document.pointer_mut(list).unwrap();
        let mut parameters = list["parameters"].take();
        let schema = &mut list["responses"]["200"]["content"]["application/json"]["schema"];
        change(&mut parameters, &mut schema["allOf"][1]["properties"]);
        list["parameters"] = parameters
    })
}

fn parameter(name: &str) -> Report {
    let parameter = json!({ "name": name, "in": "query", "schema": { "type": "string" } });
    another(|parameters, _| parameters.as_array_mut().unwrap().push(parameter))
}

fn info(name: &str) -> Report {
    another(|_, fields| fields["result_info"]["properties"] = json!({ name: {} }))
}

#[test]
fn a_paged_list_is_lost_where_one_page_is_read() {
    let parameters =
        ["page", "per_page", "cursor", "limit", "offset", "pageToken", "starting_after", "maxKeys", "from", "first"];
    let infos =
        ["page", "count", "total_count", "total_pages", "cursor", "cursors", "has_more", "is_truncated", "remaining"];
    let field = |name: &str| another(|_, fields| fields[name] = json!({}));
    let fields = ["total", "pagination"].map(field);
    for report in parameters.map(parameter).into_iter().chain(infos.map(info)).chain(fields) {
        assert_eq!(report.classes.first(), Some(&Class::Lost), "{}", report.text);
    }
}

#[test]
fn what_is_called_otherwise_does_not_page_a_list() {
    for report in [parameter("account_name"), parameter("kind"), info("took_ms")] {
        assert_eq!(report.classes.first(), Some(&Class::Harmless), "{}", report.text);
    }
}

#[test]
fn a_request_with_more_than_may_be_sent_needs_an_edit() {
    let body = |document: &mut Value, path: &str, keyword: &str| {
        document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"][keyword] = json!(false)
    };
    for keyword in ["additionalProperties", "unevaluatedProperties"] {
        let report = whole(|document| body(document, "/accounts/{account_id}/queues", keyword));
        assert_eq!(report.classes.first(), Some(&Class::Request), "wrangler sends settings: {}", report.text);
        assert!(report.text.contains("take that out of openapi/queues.json"), "{}", report.text);
        let report = whole(|document| body(document, &path("pull"), keyword));
        assert_eq!(report.classes.first(), Some(&Class::Harmless), "{}", report.text);
    }
}

#[test]
fn what_an_alternative_requires_may_be_sent_always() {
    let required =
        |names: Value| whole(|document| document["components"]["schemas"]["mq_queue-message-text"]["required"] = names);
    let report = required(json!(["body", "content_type"]));
    assert_eq!(report.classes.into_iter().collect::<Vec<_>>(), [Class::Harmless], "{}", report.text);
    let report = required(json!(["body", "delay_seconds"]));
    assert_eq!(report.classes.first(), Some(&Class::Request), "{}", report.text);
}

#[test]
fn a_nullable_result_is_readable_only_if_it_has_counts_alone() {
    let nullable = |path: &str, method: &str| {
        whole(|document| {
            let schema = &mut document["paths"][path][method]["responses"]["200"]["content"]["application/json"];
            let result = &mut schema["schema"]["allOf"][1]["properties"]["result"];
            *result = json!({ "anyOf": [result, { "type": "null" }] })
        })
    };
    for operation in ["ack", "extend", "batch", "purge"] {
        let report = nullable(&path(operation), "post");
        assert_eq!(report.classes.first(), Some(&Class::Harmless), "{operation}: {}", report.text);
    }
    let queue = "/accounts/{account_id}/queues/{queue_id}";
    for (path, method) in [(path("pull"), "post"), (queue.to_owned(), "get"), (format!("{queue}/purge"), "get")] {
        let report = nullable(&path, method);
        assert_eq!(report.classes.first(), Some(&Class::Response), "{path}: {}", report.text);
    }
}

#[test]
fn names_of_parameters_do_not_make_an_operation_new() {
    let (openapi, mut document) = (Openapi::new(), published());
    let other = json!({ "get": { "operationId": "queues-count" } });
    document["paths"]["/accounts/{account_id}/queues/{queue_id}/count"] = other;
    assert_eq!(openapi.refresh(document.to_string()).unwrap().classes.first(), Some(&Class::NotCalled));
    rename(&mut document["paths"], "/accounts/{account_id}/queues/{queue_id}/count", "/accounts/{id}/queues/{q}/count");
    let report = openapi.refresh(document.to_string()).unwrap();
    assert_eq!(report.text, "harmless: only the layout of the document changed\n");
}

#[test]
fn a_header_that_the_client_reads_is_missed() {
    let (openapi, mut document) = (Openapi::new(), published());
    let headers = |name: &str| json!({ name: { "schema": { "type": "integer" } } });
    at(&mut document, "~1pull/post/responses/4XX")["headers"] = headers("Retry-After");
    assert!(!openapi.refresh(document.to_string()).unwrap().needs_edit);
    at(&mut document, "~1pull/post/responses/4XX")["headers"] = headers("X-Wait");
    let report = openapi.refresh(document.to_string()).unwrap();
    assert_eq!(report.classes.first(), Some(&Class::Lost), "{}", report.text);
    assert!(report.text.contains("decide what happens without it"), "{}", report.text);
}

#[test]
fn the_order_of_a_document_makes_no_difference() {
    fn reversed(value: &Value) -> String {
        match value {
            Value::Object(fields) => {
                let fields: Vec<_> =
                    fields.iter().rev().map(|(key, value)| format!("{key:?}:{}", reversed(value))).collect();
                format!("{{{}}}", fields.join(","))
            }
            Value::Array(values) => format!("[{}]", values.iter().map(reversed).collect::<Vec<_>>().join(",")),
            value => value.to_string(),
        }
    }
    let mut document = published();
    let mut other = at(&mut document, "~1pull").clone();
    other["post"]["operationId"] = json!("other");
    document["paths"][path("pull").replace("queue_id", "a_name")] = other;
    at(&mut document, "~1pull/post/requestBody/content/application~1json/schema")["default"] =
        json!({ "title": 1, "description": { "b": 1, "a": 2 } });
    let refreshed = |text: &str| {
        let openapi = Openapi::new();
        openapi.refresh(text).unwrap();
        openapi.upstream()
    };
    let upstream = refreshed(&document.to_string());
    assert!(upstream.contains("description"), "a default is data");
    assert_eq!(refreshed(&reversed(&document)), upstream);
    assert_eq!(refreshed(&format!("\u{feff}\n{document}")), upstream, "a byte order mark");
}

#[test]
fn nothing_to_do_is_reported_only_alone() {
    for (what, change, _) in ONLY_TO_KNOW.iter().flat_map(|(_, rows)| *rows) {
        let (openapi, mut document) = (Openapi::new(), published());
        change(&mut document);
        let text = openapi.refresh(document.to_string()).unwrap().text;
        let is_complete = !text.contains("no row explains") && !text.contains("not needed: the row");
        assert!(is_complete || text.contains("to do:") && !text.contains("to do: nothing.\n"), "{what}: {text}");
    }
}

#[test]
fn a_change_of_many_operations_lists_each_on_a_line() {
    let report = whole(|document| {
        let paths = document["paths"].as_object_mut().unwrap();
        let operations = paths.values_mut().flat_map(|item| item.as_object_mut().unwrap().values_mut()).skip(1);
        operations.for_each(|operation| operation["deprecated"] = json!(true));
    });
    let first = format!("deprecated: {} operations\n  ", Op::ALL.len() - 1);
    assert!(report.text.contains(&first), "{}", report.text);
    assert!(report.text.lines().all(|line| line.len() < 220), "{}", report.text);
}

#[test]
fn the_first_source_of_a_structure_is_kept() {
    let openapi = Openapi::new();
    let source = |openapi: &Openapi| serde_json::from_str::<Value>(&openapi.upstream()).unwrap()["x-source"].take();
    let before = source(&openapi);
    openapi.refresh(published().to_string()).unwrap();
    assert_eq!(source(&openapi), before, "nothing changed");
    let mut document = published();
    at(&mut document, "~1pull/post")["deprecated"] = json!(true);
    openapi.refresh(document.to_string()).unwrap();
    assert_eq!(source(&openapi), "commit 5e1b0a4");
}

#[test]
fn a_change_of_every_operation_is_reported_once() {
    let (openapi, mut document) = (Openapi::new(), published());
    operations(&mut document).into_iter().for_each(|operation| {
        operation["responses"]["409"] = json!({ "content": { "application/json": { "schema": {} } } })
    });
    let report = openapi.refresh(document.to_string()).unwrap();
    assert_eq!(report.text.matches("where: `response 409`").count(), 1, "{}", report.text);
}

#[test]
fn a_request_that_may_be_more_than_before_is_harmless() {
    let openapi = Openapi::new();
    let refreshed = |sizes: Value| {
        let mut document = published();
        document["components"]["schemas"]["mq_batch-size"]["enum"] = sizes;
        openapi.refresh(document.to_string()).unwrap()
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
