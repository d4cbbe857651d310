use serde_json::json;

use super::*;
use crate::{
    PushMessage,
    emulator::{Behavior, MissingContentType, ResultForm},
};

const OPERATIONS: [&str; 7] = ["", "/batch", "/pull", "/ack", "/extend", "/peek", "/purge"];

/// The code of a refusal, which must have the service's envelope.
fn code(envelope: &Value) -> i64 {
    assert_eq!((&envelope["success"], &envelope["result"]), (&json!(false), &Value::Null), "{envelope}");
    assert_eq!(envelope["messages"], json!([]));
    assert!(envelope["errors"][0]["message"].is_string());
    envelope["errors"][0]["code"].as_i64().unwrap()
}

#[tokio::test]
async fn an_array_is_not_an_object() {
    let emulator = Emulator::start().await.unwrap();
    let bodies = [
        ("", r#"["s", "text", null]"#),
        ("/batch", r#"[[{ "body": "s" }], null]"#),
        ("/batch", r#"{ "messages": [["s", "text", null]] }"#),
        ("/pull", "[1, 1000]"),
        ("/ack", "[]"),
        ("/ack", r#"{ "acks": [["lease"]] }"#),
        ("/ack", r#"{ "retries": [["lease", 1]] }"#),
        ("/extend", r#"{ "extend": [["lease"]] }"#),
        ("/peek", "[1]"),
        ("/purge", r#"[[{ "ref": "r" }]]"#),
        ("/purge", r#"{ "refs": [["r"]] }"#),
    ];
    for (operation, body) in bodies {
        let (status, envelope) = send(&emulator, operation, body).await;
        assert_eq!((status.as_u16(), code(&envelope)), (400, 10026), "{operation} {body}");
    }
    assert_eq!(emulator.messages(emulator.queue_id()), []);
}

#[tokio::test]
async fn every_refusal_is_the_services_envelope() {
    let emulator = Emulator::start().await.unwrap();
    let (account, queue) = (emulator.account_id(), emulator.queue_id().as_str());
    let of_queue = |queue: &str| format!("/accounts/{account}/queues/{queue}/messages");
    let requests = [
        (of_queue("%ff"), 16, 400, 7003),
        (of_queue("%zz"), 16, 400, 7003),
        (of_queue("%+1"), 16, 400, 7003),
        (of_queue("%2"), 16, 400, 7003),
        (of_queue("%6d%79"), 16, 404, 10104),
        (of_queue("my-queue"), 16, 404, 10104),
        (of_queue(queue) + "/", 16, 404, 7003),
        (of_queue(queue) + "/none", 16, 404, 7003),
        (format!("/accounts/another/queues/{queue}/messages"), 16, 404, 7003),
        (of_queue(queue), 16, 400, 10026),
        (of_queue(queue), 3_000_000, 413, 10026),
    ];
    for (path, size, expected, expected_code) in requests {
        let (status, headers, envelope) = raw(&emulator, request(&emulator, &path, vec![b'x'; size].into())).await;
        assert_eq!((status.as_u16(), code(&envelope)), (expected, expected_code), "{path}");
        assert_eq!(headers["content-type"], "application/json");
        assert!(headers.contains_key("cf-ray"));
    }
    let mut get = request(&emulator, &of_queue(queue), Bytes::new());
    *get.method_mut() = Method::GET;
    assert_eq!(code(&raw(&emulator, get).await.2), 7003);
    let mut stranger = request(&emulator, &of_queue(queue), Bytes::new());
    stranger.headers_mut().clear();
    assert_eq!(code(&raw(&emulator, stranger).await.2), 10000);
}

#[tokio::test]
async fn every_operation_treats_an_empty_body_alike() {
    let emulator = Emulator::start().await.unwrap();
    for operation in OPERATIONS {
        assert_eq!(send(&emulator, operation, "").await, send(&emulator, operation, "{}").await, "{operation}");
    }
    emulator.configure(|behavior| behavior.empty_bodies(false));
    for operation in OPERATIONS {
        assert_eq!(code(&send(&emulator, operation, "").await.1), 10026, "{operation}");
    }
}

#[tokio::test]
async fn every_operation_treats_a_null_alike() {
    let emulator = Emulator::start().await.unwrap();
    let bodies = [
        ("", r#"{ "body": 1, "content_type": null, "delay_seconds": null }"#),
        ("/batch", r#"{ "messages": [{ "body": 1, "content_type": null }], "delay_seconds": null }"#),
        ("/pull", r#"{ "batch_size": null, "visibility_timeout_ms": null }"#),
        ("/ack", r#"{ "acks": null, "retries": [{ "lease_id": null, "delay_seconds": null }] }"#),
        ("/extend", r#"{ "extend": [{ "lease_id": null }], "visibility_timeout_ms": null }"#),
        ("/peek", r#"{ "batch_size": null }"#),
    ];
    for (operation, body) in bodies {
        assert_eq!(send(&emulator, operation, body).await.0, StatusCode::OK, "{operation}");
    }
    emulator.configure(|behavior| behavior.nulls(false));
    for (operation, body) in bodies {
        assert_eq!(code(&send(&emulator, operation, body).await.1), 10026, "{operation}");
    }
    assert_eq!(send(&emulator, "", r#"{ "body": null }"#).await.0, StatusCode::OK, "null is a message");
}

#[tokio::test]
async fn every_operation_treats_a_fraction_alike() {
    let emulator = Emulator::start().await.unwrap();
    let bodies = [
        ("", r#"{ "body": 1, "delay_seconds": 1.9 }"#),
        ("/batch", r#"{ "messages": [{ "body": 1, "delay_seconds": 1.9 }] }"#),
        ("/batch", r#"{ "messages": [{ "body": 1 }], "delay_seconds": 1.9 }"#),
        ("/pull", r#"{ "batch_size": 1.9 }"#),
        ("/pull", r#"{ "visibility_timeout_ms": 1.9 }"#),
        ("/ack", r#"{ "retries": [{ "lease_id": "x", "delay_seconds": 1.9 }] }"#),
        ("/extend", r#"{ "visibility_timeout_ms": 1.9 }"#),
        ("/peek", r#"{ "batch_size": 1.9 }"#),
    ];
    for (operation, body) in bodies {
        assert_eq!(send(&emulator, operation, body).await.0, StatusCode::BAD_REQUEST, "{operation} {body}");
        assert_eq!(send(&emulator, operation, &body.replace("1.9", "1.0")).await.0, StatusCode::OK, "{operation}");
    }
    emulator.configure(|behavior| behavior.fractions(true));
    for (operation, body) in bodies {
        assert_eq!(send(&emulator, operation, body).await.0, StatusCode::OK, "{operation} {body}");
    }
}

#[tokio::test]
async fn a_string_without_a_content_type_is_text() {
    let emulator = Emulator::start().await.unwrap();
    let batch = r#"{ "messages": [{ "body": "a \"text\"" }, { "body": { "b": 1.50,  "a": "\\\" \" " } }] }"#;
    assert_eq!(send(&emulator, "/batch", batch).await.0, StatusCode::OK);
    let (_, envelope) = send(&emulator, "/pull", "").await;
    let pulled = envelope["result"]["messages"].as_array().unwrap();
    let shown = pulled.iter().map(|message| (&message["body"], &message["metadata"]["CF-Content-Type"]));
    // White space is removed, as in the service; the order of keys and the form of numbers stay.
    let json = json!(r#"{"b":1.50,"a":"\\\" \" "}"#);
    assert_eq!(shown.collect::<Vec<_>>(), [(&json!("a \"text\""), &json!("text")), (&json, &json!("json"))]);

    emulator.configure(|_| Behavior::new().missing_content_type(MissingContentType::Json));
    assert_eq!(code(&send(&emulator, "", r#"{ "body": "text" }"#).await.1), 10207);
    assert_eq!(code(&send(&emulator, "", r#"{ "body": "text", "content_type": "json" }"#).await.1), 10207);
}

#[tokio::test]
async fn a_success_may_come_without_a_result() {
    let emulator = Emulator::in_process();
    for (form, expected) in
        [(ResultForm::Empty, Some(json!({}))), (ResultForm::Null, Some(Value::Null)), (ResultForm::Absent, None)]
    {
        emulator.configure(|behavior| behavior.results(form));
        for (operation, body) in [("/ack", json!({})), ("/extend", json!({})), ("/purge", json!({ "refs": [] }))] {
            let (status, envelope) = send(&emulator, operation, &body.to_string()).await;
            assert_eq!((status, &envelope["success"]), (StatusCode::OK, &json!(true)));
            assert_eq!(envelope.get("result").cloned(), expected, "{operation}");
        }
        assert!(send(&emulator, "/pull", "").await.1["result"]["messages"].is_array(), "other results stay");
    }
}

#[tokio::test]
async fn informing_warnings_come_with_all_that_was_counted() {
    let emulator = Emulator::builder().behavior(Behavior::new().informing_warnings(true)).in_process();
    let message = json!({ "body": "s" });
    send(&emulator, "/batch", &json!({ "messages": vec![message; 4] }).to_string()).await;
    let (_, peeked) = send(&emulator, "/peek", "").await;
    let refs = json!({ "refs": [{ "ref": peeked["result"]["messages"][3]["ref"] }] });
    let (_, purged) = send(&emulator, "/purge", &refs.to_string()).await;
    assert_eq!(purged["result"]["warnings"].as_object().unwrap().len(), 1);
    let (_, pulled) = send(&emulator, "/pull", "").await;
    let lease = |index: usize| json!({ "lease_id": pulled["result"]["messages"][index]["lease_id"] });
    let (_, extended) = send(&emulator, "/extend", &json!({ "extend": [lease(0)] }).to_string()).await;
    let counts = |envelope: &Value, name: &str| envelope["result"][name].as_u64();
    assert_eq!(counts(&extended, "extendCount"), Some(1));
    assert_eq!(extended["result"]["warnings"].as_object().unwrap().len(), 1);
    let settled = json!({ "acks": [lease(0), lease(1)], "retries": [lease(2)] });
    let (_, settled) = send(&emulator, "/ack", &settled.to_string()).await;
    assert_eq!((counts(&settled, "ackCount"), counts(&settled, "retryCount")), (Some(2), Some(1)));
    assert_eq!(settled["result"]["warnings"].as_object().unwrap().len(), 3);
}

#[tokio::test]
async fn every_operation_treats_no_entries_and_too_many_alike() {
    let emulator = Emulator::start().await.unwrap();
    let lists = [("/ack", "acks", "lease_id"), ("/extend", "extend", "lease_id"), ("/purge", "refs", "ref")];
    for (operation, list, field) in lists {
        let body = |count| json!({ list: vec![json!({ field: "unknown" }); count] }).to_string();
        emulator.configure(|_| Behavior::new());
        for (count, expected) in [(0, 200), (100, 200), (101, 400)] {
            assert_eq!(send(&emulator, operation, &body(count)).await.0.as_u16(), expected, "{operation} {count}");
        }
        emulator.configure(|behavior| behavior.empty_requests(false).large_requests(true));
        for (count, expected) in [(0, 400), (1, 200), (101, 200)] {
            assert_eq!(send(&emulator, operation, &body(count)).await.0.as_u16(), expected, "{operation} {count}");
        }
    }
}

#[tokio::test]
async fn an_extension_has_no_more_entries_than_its_bound() {
    let emulator = Emulator::start().await.unwrap();
    emulator.configure(|behavior| behavior.largest_extend(2).large_requests(true));
    for (count, expected) in [(2, 200), (3, 400)] {
        let body = json!({ "extend": vec![json!({ "lease_id": "x" }); count] }).to_string();
        assert_eq!(send(&emulator, "/extend", &body).await.0.as_u16(), expected, "{count}");
    }
}

#[tokio::test]
async fn pulls_are_bounded_by_size_and_by_the_queues_rate() {
    let emulator = Emulator::start().await.unwrap();
    let message = json!({ "body": "s" });
    assert_eq!(
        send(&emulator, "/batch", &json!({ "messages": vec![message; 100] }).to_string()).await.0,
        StatusCode::OK
    );
    emulator.configure(|behavior| behavior.largest_pull(7).messages_per_second(20));
    let pull = async || {
        let (status, envelope) = send(&emulator, "/pull", r#"{ "batch_size": 10 }"#).await;
        (status.as_u16(), envelope["result"]["messages"].as_array().map_or(0, Vec::len))
    };
    // Of a second's worth, which was saved up, six are left for the third pull.
    emulator.advance(std::time::Duration::from_secs(60));
    assert_eq!([pull().await, pull().await, pull().await], [(200, 7), (200, 7), (200, 6)]);
    assert_eq!(send(&emulator, "/pull", "{}").await.0.as_u16(), 429);
    emulator.advance(std::time::Duration::from_millis(250));
    assert_eq!([pull().await, pull().await], [(200, 5), (429, 0)]);
}

#[tokio::test]
async fn pushes_are_bounded_by_the_queues_rate_of_messages() {
    let emulator = Emulator::builder().behavior(Behavior::new().pushes_per_second(20)).frozen().in_process();
    let push = async |count| {
        let body = json!({ "messages": vec![json!({ "body": "s" }); count] }).to_string();
        send(&emulator, "/batch", &body).await.0.as_u16()
    };
    // A batch takes a second's worth, which was saved up, and what is earned in the next four seconds.
    assert_eq!([push(100).await, push(1).await], [200, 429]);
    emulator.advance(std::time::Duration::from_secs(4));
    assert_eq!(push(1).await, 429);
    emulator.advance(std::time::Duration::from_millis(50));
    assert_eq!([push(1).await, push(1).await], [200, 429]);
}

#[tokio::test]
async fn a_push_that_the_client_would_not_send_is_refused() {
    let emulator = Emulator::in_process();
    let text = |bytes: usize| json!({ "body": "t".repeat(bytes), "content_type": "text" });
    let bodies = [
        ("", text(PushMessage::MAX_SIZE + 1), 10204),
        ("/batch", json!({ "messages": [text(PushMessage::MAX_SIZE), text(PushMessage::MAX_SIZE), text(1)] }), 10205),
        ("", json!({ "body": 1, "content_type": "bytes" }), 10203),
        ("", json!({ "body": 1, "content_type": "text" }), 10207),
        ("", json!({ "body": "s", "content_type": "json" }), 10207),
    ];
    for (operation, body, expected) in bodies {
        let (status, envelope) = send(&emulator, operation, &body.to_string()).await;
        assert_eq!((status.as_u16(), code(&envelope)), (400, expected), "{operation} {expected}");
    }
    assert_eq!(emulator.messages(emulator.queue_id()), []);
}
