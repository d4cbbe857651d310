//! The refresh: how it handles Cloudflare's document in any layout, and what it reports. It is tested on four
//! operations as of November 2026, so that these tests do not depend on the others.

use std::{
    env, fs,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use refresh::{refresh, report::Report};
use serde_json::{Value, json};

const MESSAGES: &str = "/paths/~1accounts~1{account_id}~1queues~1{queue_id}~1messages";
pub(crate) const RESULT: &str = "post/responses/200/content/application~1json/schema/allOf/1/properties/result";

/// A directory like `openapi/`, removed on drop.
pub(crate) struct Openapi(PathBuf);

impl Openapi {
    pub(crate) fn new() -> Self {
        Self::of("fixtures/refresh")
    }

    /// With the descriptions of all our operations.
    pub(crate) fn whole() -> Self {
        Self::of("../openapi")
    }

    fn of(folder: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cloudflare-queues-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let copy = env::temp_dir().join(name);
        fs::create_dir(&copy).unwrap();
        for file in ["queues.json", "upstream.json", "README.md"] {
            fs::copy(PathBuf::from(folder).join(file), copy.join(file)).unwrap();
        }
        Self(copy)
    }

    pub(crate) fn upstream(&self) -> String {
        fs::read_to_string(self.0.join("upstream.json")).unwrap()
    }

    /// Refreshes with a document of this text.
    pub(crate) fn refresh(&self, document: impl AsRef<[u8]>) -> Result<Report, String> {
        let path = self.0.join("openapi.json");
        fs::write(&path, document).unwrap();
        refresh(&self.0, &path, "commit 5e1b0a4")
    }
}

impl Drop for Openapi {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

pub(crate) fn published() -> Value {
    serde_json::from_str(include_str!("../fixtures/refresh/upstream.json")).unwrap()
}

/// The report of a refresh after a change of the published document.
fn after(change: impl FnOnce(&mut Value)) -> Report {
    let mut document = published();
    change(&mut document);
    Openapi::new().refresh(document.to_string()).unwrap()
}

pub(crate) fn at<'a>(document: &'a mut Value, pointer: &str) -> &'a mut Value {
    document.pointer_mut(&format!("{MESSAGES}{pointer}")).unwrap()
}

#[track_caller]
fn says(report: &Report, needs_edit: bool, words: &[&str]) {
    assert_eq!(report.needs_edit, needs_edit, "{}", report.text);
    for words in words {
        assert!(report.text.contains(words), "{words}\nis not in\n{}", report.text);
    }
}

#[test]
fn wording_and_order_of_the_document_do_not_matter() {
    let openapi = Openapi::new();
    let before = openapi.upstream();
    let mut document = published();
    at(&mut document, "~1ack/post")["description"] = "Words.".into();
    at(&mut document, "~1ack/post")["x-more"] = json!({ "$ref": "nowhere" });
    at(&mut document, "~1pull/post/requestBody/content/application~1json/schema")["example"] =
        json!({ "batch_size": 50 });
    document["paths"]["/zones"] = json!({ "get": { "operationId": "other" } });
    document["components"]["schemas"]["other"] = json!({ "$ref": "#/components/schemas/nowhere" });
    let report = openapi.refresh(document.to_string()).unwrap();
    assert_eq!((report.text.as_str(), report.needs_edit), ("nothing changed\n", false));
    assert_eq!(openapi.upstream(), before);
}

#[test]
fn a_field_that_is_called_like_a_keyword_is_kept() {
    let openapi = Openapi::new();
    let mut document = published();
    let fields = at(&mut document, &format!("~1pull/{RESULT}/properties"));
    fields["description"] = json!({ "type": "string", "description": "Words." });
    let report = openapi.refresh(document.to_string()).unwrap();
    says(
        &report,
        false,
        &["harmless: POST", "where: `response 200 /result/description`", "was:   left out", "is:    string"],
    );
    let upstream: Value = serde_json::from_str(&openapi.upstream()).unwrap();
    assert_eq!(
        upstream.pointer(&format!("{MESSAGES}~1pull/{RESULT}/properties/description")),
        Some(&json!({ "type": "string" }))
    );
}

#[test]
fn a_type_that_changed_leads_to_the_schema_that_reads_it() {
    let report =
        after(|document| at(document, &format!("~1ack/{RESULT}/properties/ackCount"))["type"] = "string".into());
    says(
        &report,
        true,
        &[
            "read, but lost: POST /accounts/{account_id}/queues/{queue_id}/messages/ack",
            "where: `response 200 /result/ackCount`",
            "was:   number",
            "is:    string",
            "here:  number or null, at openapi/queues.json#/components/schemas/AckResult/properties/ackCount/x-reads",
            "to do: have the code read the new form as well as the old one",
            "no row explains `ack_messages response 200 /result/ackCount`: published string, here number or null \
             (which breaks the rule",
        ],
    );
}

#[test]
fn a_missing_field_leads_to_its_schema() {
    let remove = |document: &mut Value, pointer: &str, field: &str| {
        drop(at(document, pointer).as_object_mut().unwrap().remove(field))
    };
    let report = after(|document| remove(document, &format!("~1ack/{RESULT}/properties"), "retryCount"));
    says(&report, true, &["read, but lost", "is:    left out", "#/components/schemas/AckResult/properties/retryCount"]);
    let schema = "~1ack/post/requestBody/content/application~1json/schema/properties/retries/items/properties";
    let report = after(|document| remove(document, schema, "delay_seconds"));
    says(
        &report,
        true,
        &[
            "a request that we may no longer send",
            "#/components/schemas/RetryEntry/properties/delay_seconds",
            "take it out there",
        ],
    );
}

#[test]
fn a_new_required_field_names_where_it_is_missing() {
    let schema = "~1pull/post/requestBody/content/application~1json/schema";
    let report = after(|document| {
        at(document, schema)["properties"]["consumer_id"] = json!({ "type": "string" });
        at(document, schema)["required"] = json!(["consumer_id", "batch_size"]);
    });
    says(
        &report,
        true,
        &[
            "where: `request /consumer_id",
            "here:  left out; it would stand within openapi/queues.json#/components/schemas/PullPayload",
            "fill it where the payload is built",
            // Ours may leave it out, as the schema of the generated type says.
            "where: `request /batch_size",
            "is:    required",
        ],
    );
}

#[test]
fn forms_that_the_client_accepts_are_harmless() {
    let report = after(|document| {
        *at(document, &format!("~1ack/{RESULT}/properties/warnings")) =
            json!({ "type": "array", "items": { "type": "string" } });
        at(document, &format!("~1ack/{RESULT}/properties/ackCount"))["type"] = "integer".into();
        document["components"]["schemas"]["mq_identifier"]["maxLength"] = json!(64);
    });
    says(
        &report,
        false,
        &[
            "was:   object",
            "is:    array",
            "was:   maxLength 32",
            "is:    maxLength 64",
            "was:   number",
            "is:    integer",
        ],
    );
    assert!(!report.text.contains("that we"), "{}", report.text);
    // A difference that was explained no longer exists.
    says(
        &report,
        false,
        &["no row explains `list_queues request path 1`: published maxLength 64, here maxLength 32, nor that of \
             ack_messages"],
    );
}

#[test]
fn a_new_operation_refers_to_how_to_add_it() {
    let report = after(|document| {
        let path = "/accounts/{account_id}/queues/{queue_id}/messages/extend";
        document["paths"][path] = json!({ "post": { "operationId": "queues-extend-leases" } });
    });
    says(
        &report,
        false,
        &[
            "not called: POST",
            "/messages/extend (queues-extend-leases)",
            "\"Adding an operation\" in openapi/README.md",
        ],
    );
    assert!(include_str!("../../openapi/README.md").contains("\n## Adding an operation\n"));
}

#[test]
fn a_renamed_operation_is_reported_with_its_successor() {
    let report = after(|document| {
        let paths = document["paths"].as_object_mut().unwrap();
        let base = "/accounts/{account_id}/queues/{queue_id}/messages";
        let pull = paths.remove(&format!("{base}/pull")).unwrap();
        paths.insert(format!("{base}/fetch"), pull);
    });
    says(
        &report,
        true,
        &[
            "a request that we may no longer send: POST /accounts/{account_id}/queues/{queue_id}/messages/pull",
            "the document has no such operation",
            "not called: POST /accounts/{account_id}/queues/{queue_id}/messages/fetch (queues-pull-messages)",
        ],
    );
}

#[test]
fn an_unusable_document_is_refused_and_nothing_is_written() {
    let whole = published().to_string();
    let mut dangling = published();
    dangling["components"]["schemas"].as_object_mut().unwrap().remove("mq_lease-id");
    let mut outside = published();
    outside["components"]["schemas"]["mq_lease-id"] = json!({ "$ref": "other.json#/lease" });
    let mut circle = published();
    circle["components"]["schemas"]["mq_lease-id"] = json!({ "$ref": "#/components/schemas/mq_other" });
    circle["components"]["schemas"]["mq_other"] = json!({ "allOf": [{ "$ref": "#/components/schemas/mq_lease-id" }] });
    // A reference to a reference to itself, of this kind of component.
    let circling = |kind: &str| {
        let (mut document, way) = (published(), json!({ "$ref": format!("#/components/{kind}/way") }));
        let back = json!({ "$ref": format!("#/components/{kind}/back") });
        document["components"][kind] = json!({ "way": back, "back": way });
        (document, way)
    };
    let (mut item_circle, way) = circling("pathItems");
    item_circle["paths"]["/accounts/{account_id}/queues/{queue_id}/messages/pull"] = way;
    let (mut response_circle, way) = circling("responses");
    *at(&mut response_circle, "~1pull/post/responses/200") = way;
    let mut anchor = published();
    anchor["components"]["schemas"]["mq_lease-id"] = json!({ "$ref": "#lease" });
    let utf16: Vec<u8> = whole.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (document, fault) in [
        (whole[..whole.len() / 2].into(), "the document is cut off: EOF"),
        (Vec::new(), "is empty: download it again"),
        ("<html>".into(), "is a page of HTML or XML"),
        ("version https://git-lfs.github.com/spec/v1".into(), "is a pointer of Git LFS"),
        ("openapi: 3.0.3\npaths: {}".into(), "may be YAML"),
        ("not found".into(), "is not an OpenAPI document in JSON"),
        (whole.replacen(':', " ", 1).into(), "is not JSON: expected `:`"),
        ("[]".into(), "is JSON, but not an OpenAPI document"),
        ("{}".into(), "is JSON, but not an OpenAPI document: missing field `openapi`"),
        (r#"{ "swagger": "2.0", "paths": {} }"#.into(), "is Swagger 2.0"),
        (b"\x1f\x8b\x08\x00\xff".to_vec(), "run `gunzip` first"),
        (b"\xfd7zXZ\x00\xff".to_vec(), "is compressed"),
        (b"\xff\xfe\x00\x00{\x00\x00\x00".to_vec(), "is in UTF-32"),
        (format!("HTTP/2 200\r\n\r\n{whole}").into(), "begins with the headers of a response"),
        (format!("// A remark.\n{whole}").into(), "which has no comments"),
        ("{openapi: 3.0.3, paths: {}}".into(), "may be YAML"),
        ([b"\xff\xfe".to_vec(), utf16].concat(), "is in UTF-16"),
        (json!({ "openapi": "3.0.3", "paths": { "/zones": {} } }).to_string().into(), "has none of the operations"),
        (dangling.to_string().into(), "refers to #/components/schemas/mq_lease-id, which it does not have"),
        (
            outside.to_string().into(),
            "refers to other.json#/lease, which is no component of it: put everything into one",
        ),
        (circle.to_string().into(), "refers to itself in a circle"),
        (item_circle.to_string().into(), "/messages/pull refers to itself in a circle"),
        (response_circle.to_string().into(), "#/components/responses/way refers to itself in a circle"),
        (anchor.to_string().into(), "refers to #lease, which is no way to a part of it"),
    ] {
        let openapi = Openapi::new();
        let before = openapi.upstream();
        let error = openapi.refresh(document).map(|report| report.text).unwrap_err();
        assert!(error.contains(fault) && error.ends_with("nothing was written"), "{error}");
        assert!(error.starts_with(openapi.0.to_str().unwrap()), "{error}");
        assert_eq!(openapi.upstream(), before);
    }
}

#[test]
fn credentials_that_refer_to_themselves_have_only_a_name() {
    let report = after(|document| {
        let schemes = &mut document["components"]["securitySchemes"];
        schemes["api_token"] = json!({ "$ref": "#/components/securitySchemes/api_token" })
    });
    says(&report, true, &["where: `request security`", "and api_token"]);
}

#[test]
fn a_recursive_type_is_not_an_error() {
    let report = after(|document| {
        let error = json!({ "type": "array", "items": { "type": "object", "properties": {
            "code": { "type": "integer" }, "error_chain": { "$ref": "#/components/schemas/mq_api-v4-error" },
        } } });
        document["components"]["schemas"]["mq_api-v4-error"] = error;
    });
    says(&report, true, &["response 200 /errors/*/error_chain`"]);
}

#[test]
fn a_document_of_fifty_megabytes_is_read() {
    let mut document = published();
    let words = "Words of which there are many. ".repeat(20);
    let field = json!({ "type": "string", "description": words, "example": "023e105f4ecef8ad9ca31a8372d0c353" });
    for number in 0..10_500 {
        let schema = format!("other_{number}");
        let response = json!({ "schema": { "$ref": format!("#/components/schemas/{schema}") } });
        let operation = json!({ "operationId": schema, "description": words, "tags": ["Other"], "responses": {
            "200": { "description": words, "content": { "application/json": response } },
        } });
        document["paths"][format!("/accounts/{{account_id}}/other/{number}")] = json!({ "get": operation });
        let fields = json!({ "a": field, "b": field, "c": field, "d": field, "e": field });
        document["components"]["schemas"][schema] = json!({ "type": "object", "properties": fields });
    }
    let text = document.to_string();
    assert!(text.len() > 50_000_000, "{}", text.len());
    assert_eq!(Openapi::new().refresh(&text).unwrap().text, "nothing changed\n");
}
