use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;

use super::*;
use crate::{
    ContentType, PullOptions,
    emulator::{Behavior, Fault, JsonBodies, Operation},
};

/// Sends what a Worker's binding sends, and gives the status, the headers and the answer.
async fn bind(
    emulator: &Emulator,
    what: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> (u16, HeaderMap, Value) {
    let method = if what == "metrics" { Method::GET } else { Method::POST };
    let request = Request::builder().method(method).uri(format!("/_emulator/queues/queue-1/broker/{what}"));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let (status, headers, answer) = raw(emulator, request.body(Full::new(body.into())).unwrap()).await;
    (status.as_u16(), headers, answer)
}

fn controlled() -> Emulator {
    Emulator::builder().control().frozen().in_process()
}

/// The content type and the body of each message, as a pull returns them.
async fn pulled(emulator: &Emulator) -> Vec<(String, String)> {
    let (_, envelope) = send(emulator, "/pull", r#"{ "batch_size": 100, "visibility_timeout_ms": 3600000 }"#).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let messages = envelope["result"]["messages"].as_array().unwrap();
    messages.iter().map(|message| (text(&message["metadata"]["CF-Content-Type"]), text(&message["body"]))).collect()
}

#[tokio::test]
async fn a_worker_sends_every_content_type() {
    let bodies: [(Option<&str>, &[u8], &str, &str); 6] = [
        (Some("json"), br#"{"a":1}"#, "json", r#"{"a":1}"#),
        (Some("json"), br#""a \"string\"""#, "json", r#""a \"string\"""#),
        (Some("text"), "é".as_bytes(), "text", "é"),
        (Some("bytes"), &[0, 1, 2, 0xff, 0xfe], "bytes", "AAEC//4="),
        (Some("v8"), &[0xff, 0x0f, 0x22], "v8", "/w8i"),
        (None, &[], "v8", ""),
    ];
    let expected: Vec<_> = bodies.iter().map(|(_, _, name, body)| ((*name).to_owned(), (*body).to_owned())).collect();
    let emulator = controlled();
    for (content_type, body, ..) in bodies {
        let format: Vec<_> = content_type.map(|name| ("X-Msg-Fmt", name)).into_iter().collect();
        let (status, _, answer) = bind(&emulator, "message", &format, Bytes::from_static(body)).await;
        assert_eq!((status, answer["metadata"]["metrics"]["backlogCount"].is_u64()), (200, true), "{answer}");
    }
    let kept = emulator.messages(emulator.queue_id());
    assert_eq!(kept[1].body.json::<String>().unwrap(), "a \"string\"");
    assert_eq!(kept[3].body.bytes().unwrap(), &[0, 1, 2, 0xff, 0xfe][..]);
    assert_eq!(kept[4].body.content_type(), &ContentType::V8);
    assert_eq!(pulled(&emulator).await, expected);

    let emulator = controlled();
    let entries = bodies.map(|(name, body, ..)| json!({ "body": BASE64_STANDARD.encode(body), "contentType": name }));
    assert_eq!(bind(&emulator, "batch", &[], json!({ "messages": entries }).to_string()).await.0, 200);
    assert_eq!(pulled(&emulator).await, expected);
}

#[tokio::test]
async fn a_client_decodes_what_a_worker_sent() {
    for form in [JsonBodies::Text, JsonBodies::Base64] {
        let emulator = Emulator::builder().control().frozen().behavior(Behavior::new().json_bodies(form)).in_process();
        bind(&emulator, "message", &[("x-msg-fmt", "json")], r#""words""#).await;
        bind(&emulator, "message", &[("x-msg-fmt", "bytes")], Bytes::from_static(&[7, 0xff])).await;
        let batch = emulator.queue().unwrap().pull(PullOptions::new()).await.unwrap();
        assert_eq!(batch.messages[0].body.json::<String>().unwrap(), "words");
        assert_eq!(batch.messages[1].body.bytes().unwrap(), &[7, 0xff][..]);
    }
}

#[tokio::test]
async fn the_answer_holds_the_metrics_of_the_queue() {
    let emulator = controlled();
    let none = json!({ "backlogCount": 0, "backlogBytes": 0, "oldestMessageTimestamp": 0 });
    assert_eq!(bind(&emulator, "metrics", &[], "").await.2, none);
    let before = emulator.running.service.clock.now() / 1_000_000;
    bind(&emulator, "message", &[("x-msg-fmt", "bytes")], "four").await;
    emulator.advance(Duration::from_secs(5));
    let (_, _, answer) = bind(&emulator, "message", &[("x-msg-fmt", "text")], "six").await;
    let expected = json!({ "backlogCount": 2, "backlogBytes": 7, "oldestMessageTimestamp": before });
    assert_eq!(answer, json!({ "metadata": { "metrics": expected } }));
    assert_eq!(bind(&emulator, "metrics", &[], "").await.2, expected, "without a frame");
}

#[tokio::test]
async fn a_delay_of_a_message_comes_before_that_of_its_batch() {
    let emulator = controlled();
    bind(&emulator, "message", &[("x-msg-fmt", "text"), ("X-Msg-Delay-Secs", "10")], "message").await;
    let entry =
        |body: &str, delay| json!({ "body": BASE64_STANDARD.encode(body), "contentType": "text", "delaySecs": delay });
    let batch = json!({ "messages": [entry("own", json!(20)), entry("batch", Value::Null), entry("now", json!(0))] });
    bind(&emulator, "batch", &[("X-Msg-Delay-Secs", "30")], batch.to_string()).await;
    for arrived in ["now", "message", "own", "batch"] {
        assert_eq!(pulled(&emulator).await, [("text".to_owned(), arrived.to_owned())]);
        emulator.advance(Duration::from_secs(10));
    }
}

#[tokio::test]
async fn an_id_and_a_timestamp_are_kept() {
    let emulator = controlled();
    let now = emulator.running.service.clock.now() / 1_000_000;
    let (hour, id) = (3_600_000, "5f0e5b1c6a1d4c0f8c3e2b7a9d4f6e10");
    let entry = |id: Value, time: Value| json!({ "body": "", "contentType": "text", "id": id, "timestamp": time });
    let later = entry(Value::Null, json!(now + hour));
    let batch = json!({ "messages": [entry(Value::Null, Value::Null), entry(id.into(), json!(now - hour)), later] });
    let (_, _, answer) = bind(&emulator, "batch", &[], batch.to_string()).await;
    assert_eq!(answer["metadata"]["metrics"]["oldestMessageTimestamp"], now - hour);
    let (_, envelope) = send(&emulator, "/pull", "").await;
    let messages = envelope["result"]["messages"].as_array().unwrap();
    assert_eq!((&messages[1]["id"], &messages[1]["timestamp_ms"]), (&json!(id), &json!(now - hour)));
    assert_eq!(messages[0]["id"].as_str().unwrap().len(), 32);
    assert_eq!(messages[2]["timestamp_ms"], now, "none is from the future");
    assert_eq!(emulator.messages(emulator.queue_id())[1].id, id);

    // Retention counts from the given time.
    emulator.advance(Duration::from_secs(4 * 24 * 3600 - 3600));
    assert_eq!(emulator.messages(emulator.queue_id()).len(), 2);
}

#[tokio::test]
async fn messages_that_a_worker_cannot_send_are_refused_with_the_cause() {
    let emulator = controlled();
    let entries = |count| json!({ "messages": vec![json!({ "body": "", "contentType": "text" }); count] }).to_string();
    let large = BASE64_STANDARD.encode(vec![0; 128_000]);
    let large = json!({ "messages": vec![json!({ "body": large, "contentType": "bytes" }); 3] }).to_string();
    let refused = [
        ("message", &[("x-msg-fmt", "xml")][..], "x".to_owned(), (400, "10203")),
        ("message", &[("x-msg-fmt", "json")], "{".to_owned(), (400, "10026")),
        ("message", &[("x-msg-fmt", "text")], "x".repeat(128_001), (413, "10204")),
        ("message", &[("x-msg-delay-secs", "86401")], "x".to_owned(), (400, "10013")),
        ("message", &[("x-msg-delay-secs", "-1")], "x".to_owned(), (400, "10013")),
        ("batch", &[], "[]".to_owned(), (400, "10026")),
        ("batch", &[], json!({ "messages": [{ "body": "%" }] }).to_string(), (400, "10026")),
        ("batch", &[], entries(0), (400, "10206")),
        ("batch", &[], entries(101), (400, "10206")),
        ("batch", &[], large, (413, "10205")),
        ("other", &[], String::new(), (404, "7003")),
    ];
    for (what, headers, body, (status, code)) in refused {
        let (found, headers, answer) = bind(&emulator, what, headers, body).await;
        assert_eq!((found, headers["cf-queues-error-code"].to_str().unwrap()), (status, code), "{what} {answer}");
        assert_eq!(headers["cf-queues-error-cause"], answer["errors"][0]["message"].as_str().unwrap());
    }
    assert_eq!(emulator.messages(emulator.queue_id()), [], "all or nothing");
    let unknown = Request::post("/_emulator/queues/none/broker/message").body(Full::default()).unwrap();
    assert_eq!(raw(&emulator, unknown).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_faults_of_a_push_apply_to_what_a_worker_sends() {
    let emulator = controlled();
    emulator.inject(Fault::ServerError(503).on(Operation::PushMessage));
    emulator.inject(Fault::NotSuccess.on(Operation::PullMessages));
    let uri = "/_emulator/queues/queue-1/broker/message";
    let request = || Request::post(uri).header("x-msg-fmt", "text").body(Full::new(Bytes::from("x"))).unwrap();
    let service = &emulator.running.service;
    let failed = respond(service, request()).await.status();
    assert_eq!(failed, Some(StatusCode::BAD_GATEWAY), "503 would say that nobody consumes the queue");
    assert_eq!(respond(service, request()).await.status(), Some(StatusCode::OK));
    assert_eq!((emulator.messages(emulator.queue_id()).len(), emulator.requests()), (1, 2));
}
