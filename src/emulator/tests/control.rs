use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::header;
use serde_json::json;

use super::*;
use crate::{
    AckRequest, PullOptions, PushMessage, Queue,
    emulator::{EmulatedQueue, Fault},
};

fn controlled() -> (Emulator, Queue) {
    let emulator = Emulator::builder().control().frozen().in_process();
    let queue = emulator.queue().unwrap();
    (emulator, queue)
}

/// Sends a request without credentials, and gives the status and the envelope.
async fn ask(emulator: &Emulator, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = Request::builder().method(method).uri(path).body(Full::new(Bytes::from(body))).unwrap();
    let (status, _, envelope) = raw(emulator, request).await;
    (status, envelope)
}

/// The result of a request to the control that succeeds.
async fn control(emulator: &Emulator, method: Method, path: &str, body: Value) -> Value {
    let (status, mut envelope) = ask(emulator, method, &format!("/_emulator{path}"), body).await;
    assert_eq!((status, &envelope["success"]), (StatusCode::OK, &json!(true)), "{envelope}");
    envelope["result"].take()
}

async fn get(emulator: &Emulator, path: &str) -> Value {
    control(emulator, Method::GET, path, Value::Null).await
}

async fn post(emulator: &Emulator, path: &str, body: Value) -> Value {
    control(emulator, Method::POST, path, body).await
}

/// The message of a request to the control that is refused.
async fn refusal(emulator: &Emulator, method: Method, path: &str, body: Value) -> (StatusCode, String) {
    let (status, envelope) = ask(emulator, method, &format!("/_emulator{path}"), body).await;
    assert_eq!(envelope["success"], false, "{envelope}");
    assert!(envelope["errors"][0]["code"].is_number() && envelope["result"].is_null(), "{envelope}");
    (status, envelope["errors"][0]["message"].as_str().unwrap().to_owned())
}

async fn statuses(emulator: &Emulator, operation: &str, times: usize) -> Vec<Option<u16>> {
    let mut statuses = Vec::new();
    for _ in 0..times {
        let path = format!("/accounts/{}/queues/{}/messages{operation}", emulator.account_id(), emulator.queue_id());
        statuses.push(respond(&emulator.running.service, request(emulator, &path, "{}".into())).await.status());
    }
    statuses.iter().map(|status| status.map(|status| status.as_u16())).collect()
}

#[tokio::test]
async fn control_paths_are_not_found_unless_enabled() {
    let emulator = Emulator::in_process();
    for path in ["/", "/health", "/_emulator", "/_emulator/queues/queue-1/messages"] {
        assert_eq!(ask(&emulator, Method::GET, path, Value::Null).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    emulator.inject(Fault::ServerError(503));
    let (status, _) = ask(&emulator, Method::POST, "/_emulator/reset", Value::Null).await;
    assert_eq!((status, emulator.running.service.faults().len()), (StatusCode::UNAUTHORIZED, 0));
}

#[tokio::test]
async fn health_and_the_page_need_no_credentials() {
    let (emulator, _) = controlled();
    let (status, envelope) = ask(&emulator, Method::GET, "/health", Value::Null).await;
    assert_eq!((status, &envelope["result"]["status"]), (StatusCode::OK, &json!("ok")));
    for method in [Method::GET, Method::HEAD] {
        let page = Request::builder().method(method).uri("/").body(Full::new(Bytes::new())).unwrap();
        let Reply::Respond(page) = respond(&emulator.running.service, page).await else { panic!("no response") };
        assert_eq!(
            (page.status(), &page.headers()[header::CONTENT_TYPE]),
            (StatusCode::OK, &header::HeaderValue::from_static("text/html; charset=utf-8"))
        );
        assert!(page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("default-src 'none'"));
    }
    assert_eq!(ask(&emulator, Method::POST, "/health", Value::Null).await.0, StatusCode::NOT_FOUND);
    assert_eq!(statuses(&emulator, "/pull", 1).await, [Some(200)], "operations need them as before");
    let no_token = ask(&emulator, Method::POST, "/client/v4/accounts/x/queues/y/messages/pull", json!({})).await;
    assert_eq!(no_token.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_clock_is_advanced_over_http() {
    let (emulator, queue) = controlled();
    let before = get(&emulator, "").await["now_ms"].as_u64().unwrap();
    queue.push(&PushMessage::text("hello")).await.unwrap();
    assert_eq!(queue.pull(PullOptions::new()).await.unwrap().len(), 1);
    post(&emulator, "/advance", json!({ "seconds": 29.5 })).await;
    assert_eq!(queue.pull(PullOptions::new()).await.unwrap().len(), 0);
    let after = post(&emulator, "/advance", json!({ "seconds": 0.5 })).await["now_ms"].as_u64().unwrap();
    assert_eq!((queue.pull(PullOptions::new()).await.unwrap().len(), after - before), (1, 30_000));
}

#[tokio::test]
async fn looking_at_a_queue_changes_nothing() {
    let (emulator, queue) = controlled();
    let messages = [PushMessage::text("é, leased"), PushMessage::json(&json!({ "n": 1 })).unwrap()];
    queue.push_batch(&messages).await.unwrap();
    queue.push(&PushMessage::text("later").delay(Duration::from_secs(60))).await.unwrap();
    assert_eq!(queue.pull(PullOptions::new().batch_size(1)).await.unwrap().len(), 1);
    let path = format!("/queues/{}", emulator.queue_id());
    let (all, messages) = (get(&emulator, "").await, get(&emulator, &format!("{path}/messages?body_limit=1")).await);
    let leases = get(&emulator, "/queues/queue-1/leases").await;
    assert_eq!(get(&emulator, &format!("{path}/messages?body_limit=1")).await, messages, "twice the same");

    let shown = &all["queues"][0];
    assert_eq!((&shown["queue_name"], &shown["visible"]), (&json!("queue-1"), &json!(1)));
    assert_eq!((&shown["delayed"], &shown["leased"], &shown["bytes"]), (&json!(1), &json!(1), &json!(22)));
    let states: Vec<_> = messages.as_array().unwrap().iter().map(|message| &message["state"]).collect();
    assert_eq!(states, ["leased", "visible", "delayed"]);
    assert_eq!((&messages[0]["body"], &messages[0]["body_bytes"]), (&json!(""), &json!(10)), "whole characters");
    assert_eq!((&messages[1]["attempts"], &messages[1]["content_type"]), (&json!(0), &json!("json")));
    assert_eq!(messages[2]["visible_at_ms"], all["now_ms"].as_u64().unwrap() + 60_000);
    assert_eq!((leases.as_array().unwrap().len(), &leases[0]["body"]), (1, &json!("é, leased")));

    let after = messages[1]["id"].as_str().unwrap();
    let last = get(&emulator, &format!("{path}/messages?after={after}&limit=1")).await;
    assert_eq!((last.as_array().unwrap().len(), &last[0]["id"]), (1, &messages[2]["id"]));

    assert!(!format!("{all}{messages}{leases}{last}").contains("lease_id"), "not asked for");
    let asked = get(&emulator, &format!("{path}/leases?lease_ids=true")).await;
    let lease_id = asked[0]["lease_id"].as_str().unwrap();
    assert!(queue.ack(AckRequest::new().ack(lease_id)).await.unwrap().is_complete(), "it is still held");
}

#[tokio::test]
async fn faults_are_injected_and_removed_over_http() {
    let (emulator, _) = controlled();
    let unavailable = json!({ "fault": "server_error", "status": 503, "operations": ["pull_messages"], "times": 2 });
    assert_eq!(post(&emulator, "/faults", unavailable).await["faults"], 2);
    assert_eq!(statuses(&emulator, "/peek", 1).await, [Some(200)]);
    assert_eq!(statuses(&emulator, "/pull", 3).await, [Some(503), Some(503), Some(200)]);
    post(&emulator, "/faults", json!({ "fault": "reset_before", "until_removed": true })).await;
    assert_eq!(statuses(&emulator, "/pull", 2).await, [None, None]);
    assert_eq!(control(&emulator, Method::DELETE, "/faults", Value::Null).await["faults"], 0);
    assert_eq!(statuses(&emulator, "/pull", 1).await, [Some(200)]);
}

#[tokio::test]
async fn pending_faults_are_listed_as_they_can_be_injected_again() {
    let (emulator, _) = controlled();
    let wait = json!({ "fault": "rate_limited", "code": 971, "retry_after": 7.0, "times": 3 });
    let slow = json!({ "fault": "slow", "before": 1.0, "after": 2.0, "then": { "fault": "server_error", "status": 503 },
                       "operations": ["pull_messages"], "until_removed": true });
    for fault in [&wait, &slow] {
        post(&emulator, "/faults", fault.clone()).await;
    }
    assert_eq!(statuses(&emulator, "/peek", 1).await, [Some(429)]);
    let listed = get(&emulator, "/faults").await;
    let (mut left, id) = (wait, listed[0]["id"].as_u64().unwrap());
    left["times"] = json!(2);
    assert_eq!((&listed[0]["injected"], &listed[1]["injected"]), (&left, &slow));
    assert_eq!(emulator.faults().len(), 2);
    assert_eq!(control(&emulator, Method::DELETE, &format!("/faults/{id}"), Value::Null).await["faults"], 1);
    assert_eq!(get(&emulator, "/faults").await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn every_switch_is_shown_and_set_by_its_name() {
    let (emulator, queue) = controlled();
    let shown = get(&emulator, "/behavior").await;
    assert_eq!((&shown["warnings"], &shown["largest_pull"]), (&json!("map"), &Value::Null));
    for (name, value) in shown.as_object().unwrap() {
        let other = match (name.as_str(), value) {
            ("warnings", _) => json!("list"),
            ("json_bodies", _) => json!("base64"),
            ("unknown_leases", _) => json!("ignore"),
            ("results", _) => json!("absent"),
            ("extend_from", _) => json!("lease_end"),
            ("missing_content_type", _) => json!("json"),
            (_, Value::Bool(value)) => json!(!value),
            (_, Value::Null) => json!(7),
            _ => json!(1.5),
        };
        let changed = post(&emulator, "/behavior", json!({ name: other })).await;
        assert_eq!(changed[name], other);
        assert_eq!(post(&emulator, "/behavior", json!({ name: value })).await, shown, "{name}");
    }
    post(&emulator, "/behavior", json!({ "largest_pull": 1, "counts": false })).await;
    queue.push_batch(&[PushMessage::text("1"), PushMessage::text("2")]).await.unwrap();
    assert_eq!(queue.pull(PullOptions::new()).await.unwrap().len(), 1);
    refusal(&emulator, Method::POST, "/behavior", json!({ "counts": true, "largest_pull": "all" })).await;
    assert_eq!(get(&emulator, "/behavior").await["counts"], false, "all or nothing");
    assert_eq!(get(&emulator, "").await["behavior_changed"], json!({ "counts": false, "largest_pull": 1 }));
    control(&emulator, Method::DELETE, "/behavior/largest_pull", Value::Null).await;
    assert_eq!(get(&emulator, "").await["behavior_changed"], json!({ "counts": false }));
}

#[tokio::test(start_paused = true)]
async fn every_fault_has_a_name() {
    let (emulator, _) = controlled();
    for (fault, status) in [
        (json!({ "fault": "rate_limited", "code": 971, "retry_after": 7 }), Some(429)),
        (json!({ "fault": "forbidden" }), Some(403)),
        (json!({ "fault": "challenged" }), Some(403)),
        (json!({ "fault": "server_error" }), Some(500)),
        (json!({ "fault": "not_success" }), Some(200)),
        (json!({ "fault": "delay", "seconds": 5 }), Some(200)),
        (json!({ "fault": "cut_off" }), Some(200)),
        (json!({ "fault": "reset_before" }), None),
        (json!({ "fault": "reset_after" }), None),
        (json!({ "fault": "slow", "before": 2, "after": 3 }), Some(200)),
    ] {
        let started = tokio::time::Instant::now();
        post(&emulator, "/faults", fault.clone()).await;
        assert_eq!(statuses(&emulator, "/peek", 1).await, [status], "{fault}");
        let slow = fault["fault"] == "delay" || fault["fault"] == "slow";
        assert_eq!(started.elapsed(), Duration::from_secs(if slow { 5 } else { 0 }), "{fault}");
    }
}

#[tokio::test]
async fn pausing_delivery_refuses_pulls_until_resumed() {
    let (emulator, _) = controlled();
    let paused = post(&emulator, "/queues/queue-1/pause", Value::Null).await;
    assert_eq!(
        (&paused["settings"]["delivery_paused"], statuses(&emulator, "/pull", 1).await),
        (&json!(true), vec![Some(409)])
    );
    post(&emulator, "/queues/queue-1/resume", json!({})).await;
    assert_eq!(statuses(&emulator, "/pull", 1).await, [Some(200)]);
    let refused = post(&emulator, "/queues/queue-1/refuse-pulls", json!({ "seconds": 5 })).await;
    assert!(refused["pulls_refused_until_ms"].is_number(), "{refused}");
    assert_eq!(statuses(&emulator, "/pull", 1).await, [Some(405)]);
    emulator.advance(Duration::from_secs(5));
    assert_eq!(statuses(&emulator, "/pull", 1).await, [Some(200)]);
}

#[tokio::test]
async fn a_reset_restores_the_saved_configuration_without_messages_and_faults() {
    let (emulator, queue) = controlled();
    let dead_letters = emulator.create_queue(EmulatedQueue::new());
    let change = |settings: EmulatedQueue| settings.max_retries(0).dead_letter_queue(dead_letters.as_str());
    emulator.configure_queue(emulator.queue_id(), change);
    emulator.save_configuration();
    let later = emulator.create_queue(EmulatedQueue::new());
    let path = format!("/client/v4/accounts/{}", emulator.account_id());
    let with_token = async |method, path: &str, body: Value| {
        let request = Request::builder().method(method).uri(path).header("authorization", "Bearer emulator-token");
        raw(&emulator, request.body(Full::new(body.to_string().into())).unwrap()).await.2
    };
    let deleted = format!("{path}/queues/{dead_letters}");
    assert_eq!(with_token(Method::DELETE, &deleted, json!({})).await["success"], true);
    let subscription = json!({ "name": "s", "events": ["pushed"], "source": { "type": "r2" },
                               "destination": { "type": "queues.queue", "queue_id": later.as_str() } });
    let subscriptions = format!("{path}/event_subscriptions/subscriptions");
    assert_eq!(with_token(Method::POST, &subscriptions, subscription).await["success"], true);
    post(&emulator, "/behavior", json!({ "late_acks": false })).await;
    queue.push_batch(&[PushMessage::text("dead"), PushMessage::text("waiting")]).await.unwrap();
    assert_eq!(queue.pull(PullOptions::new().batch_size(1)).await.unwrap().len(), 1);
    emulator.inject(Fault::Forbidden.until_removed());
    post(&emulator, "/queues/queue-1/pause", Value::Null).await;
    post(&emulator, "/queues/queue-1/refuse-pulls", json!({ "seconds": 60 })).await;
    emulator.advance(Duration::from_secs(30));
    let all = post(&emulator, "/reset", Value::Null).await;
    assert_eq!(all["queues"].as_array().unwrap().len(), 2, "one is gone, and one is back");
    assert_eq!(with_token(Method::GET, &subscriptions, json!({})).await["result"], json!([]));
    assert_eq!(get(&emulator, "/behavior").await["late_acks"], true);
    for shown in all["queues"].as_array().unwrap() {
        assert_eq!((&shown["visible"], &shown["leased"], &shown["delayed"]), (&json!(0), &json!(0), &json!(0)));
    }
    assert_eq!((&all["faults"], &all["queues"][0]["settings"]["dead_letter_queue"]), (&json!(0), &json!("queue-2")));
    assert_eq!(statuses(&emulator, "/pull", 1).await, [Some(200)]);
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_refused() {
    let (emulator, _) = controlled();
    let messages = "/queues/queue-1/messages";
    for (method, path, body, named) in [
        (Method::POST, "/advance", json!({}), "`seconds`"),
        (Method::POST, "/advance", json!({ "seconds": -1 }), "`seconds`"),
        (Method::POST, "/advance", json!({ "seconds": "1" }), "`seconds`"),
        (Method::POST, "/advance", json!({ "seconds": 1e300 }), "`seconds`"),
        (Method::POST, "/advance", json!({ "seconds": 1, "secnds": 1 }), "`secnds`"),
        (Method::POST, "/advance", json!([1]), "JSON object"),
        (Method::POST, "/faults", json!({}), "`fault`"),
        (Method::POST, "/faults", json!({ "fault": "bad_luck" }), "rate_limited"),
        (Method::POST, "/faults", json!({ "fault": 7 }), "`fault`"),
        (Method::POST, "/faults", json!({ "fault": "delay" }), "`seconds`"),
        (Method::POST, "/faults", json!({ "fault": "server_error", "status": 200 }), "`status`"),
        (Method::POST, "/faults", json!({ "fault": "forbidden", "status": 403 }), "`status`"),
        (Method::POST, "/faults", json!({ "fault": "forbidden", "operations": ["pull"] }), "`operations`"),
        (Method::POST, "/faults", json!({ "fault": "forbidden", "operations": [] }), "`operations`"),
        (Method::POST, "/faults", json!({ "fault": "forbidden", "times": 1001 }), "`times`"),
        (Method::POST, "/faults", json!({ "fault": "forbidden", "times": 2, "until_removed": true }), "`times`"),
        (Method::POST, "/faults", json!({ "fault": "rate_limited", "code": "x" }), "`code`"),
        (Method::POST, "/faults", json!({ "fault": "slow", "then": { "fault": "delay" } }), "`seconds`"),
        (Method::POST, "/faults", json!({ "fault": "slow", "then": "forbidden" }), "`then`"),
        (Method::DELETE, "/faults", json!({ "fault": "forbidden" }), "`fault`"),
        (Method::DELETE, "/faults/1", json!({ "times": 1 }), "`times`"),
        (Method::POST, "/behavior", json!({ "late_ack": true }), "`late_acks`"),
        (Method::POST, "/behavior", json!({ "late_acks": "yes" }), "`late_acks`"),
        (Method::POST, "/behavior", json!({ "warnings": "table" }), "`list`"),
        (Method::POST, "/behavior", json!({ "max_lease": -1 }), "`max_lease`"),
        (Method::DELETE, "/behavior/late_acks", json!({ "late_acks": true }), "`late_acks`"),
        (Method::POST, "/queues/queue-1/purge", json!({ "limit": 1 }), "`limit`"),
        (Method::GET, "/behavior?all=true", Value::Null, "`all`"),
        (Method::GET, "/faults?all=true", Value::Null, "`all`"),
        (Method::POST, "/reset", json!({ "queue": "queue-1" }), "`queue`"),
        (Method::POST, "/queues/queue-1/pause", json!({ "seconds": 1 }), "`seconds`"),
        (Method::POST, "/queues/queue-1/refuse-pulls", json!({}), "`seconds`"),
        (Method::GET, &format!("{messages}?limit=0"), Value::Null, "`limit`"),
        (Method::GET, &format!("{messages}?limit=1001"), Value::Null, "`limit`"),
        (Method::GET, &format!("{messages}?after=one"), Value::Null, "`after`"),
        (Method::GET, &format!("{messages}?lease_ids=yes"), Value::Null, "`lease_ids`"),
        (Method::GET, &format!("{messages}?body_limit=-1"), Value::Null, "`body_limit`"),
        (Method::GET, &format!("{messages}?leases=true"), Value::Null, "`leases`"),
        (Method::GET, "?all=true", Value::Null, "`all`"),
    ] {
        let (status, message) = refusal(&emulator, method, path, body.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}");
        assert!(message.contains(named), "{path} {body}: {message}");
    }
    for (method, path) in [
        (Method::GET, "/queues/none/messages"),
        (Method::POST, "/queues/none/pause"),
        (Method::GET, "/advance"),
        (Method::DELETE, "/faults/7"),
        (Method::DELETE, "/behavior/late_ack"),
        (Method::POST, "/queues/none/purge"),
        (Method::PUT, "/reset"),
        (Method::GET, "/nothing"),
    ] {
        assert_eq!(refusal(&emulator, method, path, json!({})).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(emulator.running.service.faults().len(), 0);
    assert_eq!(statuses(&emulator, "/pull", 1).await, [Some(200)]);
}

#[test]
fn the_page_is_one_small_file() {
    let page = include_str!("../control/page.html");
    assert!(page.len() <= 32_000 && !page.contains("http:") && !page.contains("https:"), "{}", page.len());
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_control_the_emulator() {
    let (emulator, _) = controlled();
    for (origin, status) in [
        ("http://localhost:8787", StatusCode::OK),
        ("http://localhost:1", StatusCode::FORBIDDEN),
        ("https://localhost:8787", StatusCode::FORBIDDEN),
        ("null", StatusCode::FORBIDDEN),
    ] {
        let request = Request::post("/_emulator/reset").header("host", "localhost:8787").header("origin", origin);
        let (found, _, _) = raw(&emulator, request.body(Full::new(Bytes::new())).unwrap()).await;
        assert_eq!(found, status, "{origin}");
    }
}

#[tokio::test]
async fn a_public_name_that_leads_here_cannot_control_the_emulator() {
    let (emulator, _) = controlled();
    for (host, status) in [
        ("localhost", StatusCode::OK),
        ("127.0.0.1:8790", StatusCode::OK),
        ("[::1]:8790", StatusCode::OK),
        ("emulator:8790", StatusCode::OK),
        ("host.docker.internal:8790", StatusCode::OK),
        ("rebound.example.com:8790", StatusCode::FORBIDDEN),
        ("127.0.0.1.example.com", StatusCode::FORBIDDEN),
        ("", StatusCode::FORBIDDEN),
    ] {
        // A page reads from its own origin without an Origin header.
        let read = Request::get("/_emulator").header("host", host);
        let write = Request::post("/_emulator/reset").header("host", host).header("origin", format!("http://{host}"));
        for request in [read, write] {
            let (found, _, _) = raw(&emulator, request.body(Full::new(Bytes::new())).unwrap()).await;
            assert_eq!(found, status, "{host}");
        }
    }
}

#[tokio::test]
async fn requests_are_reported_but_for_those_that_only_look() {
    let (emulator, queue) = controlled();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&lines);
    emulator.on_request(move |request| kept.lock().unwrap().push((request.operation, request.to_string())));
    assert!(queue.pull(PullOptions::new()).await.unwrap().is_empty());
    get(&emulator, "").await;
    ask(&emulator, Method::GET, "/health", Value::Null).await;
    post(&emulator, "/reset", Value::Null).await;
    emulator.inject(Fault::ResetAfter);
    statuses(&emulator, "/pull", 1).await;
    ask(&emulator, Method::GET, "/nowhere?token=secret", Value::Null).await;
    let lines = lines.lock().unwrap().clone();
    let pull =
        format!("POST /client/v4/accounts/{}/queues/{}/messages/pull", emulator.account_id(), emulator.queue_id());
    let expected =
        [&format!("{pull} 200 "), "POST /_emulator/reset 200 ", &format!("{pull} reset "), "GET /nowhere 401 "];
    for ((_, line), expected) in lines.iter().zip(expected) {
        let (time, line) = line.split_once(' ').unwrap();
        assert!(line.starts_with(expected) && line.contains(" ms") && time.ends_with('Z'), "{line}");
    }
    assert!(lines[0].1.ends_with(" ms queue-1") && lines[2].1.ends_with("; injected fault reset_after"), "{lines:?}");
    let operations: Vec<_> = lines.iter().map(|(operation, _)| operation.map(|operation| operation.id())).collect();
    assert_eq!(operations, [Some("pull_messages"), None, Some("pull_messages"), None]);
    assert_eq!(emulator.requests(), 3, "the control is not counted");
}

#[tokio::test]
async fn requests_are_shown_with_refusal_and_ignored_fields() {
    let (emulator, _) = controlled();
    // The field that documentation of other tools has.
    let bodies = [
        ("/pull", json!({ "visibility_timeout": 1, "batch_size": 0 }), &["visibility_timeout"][..]),
        ("/ack", json!({ "acks": [{ "lease": "s3cret" }], "retry": [] }), &["lease", "retry"]),
        ("/batch", json!({ "messages": [{ "body": { "any": 1 }, "contentType": "json" }] }), &["contentType"]),
        ("", json!({ "body": { "any": 1 }, "content_type": "json" }), &[]),
        ("/pull", json!([1]), &[]),
    ];
    for (operation, body, _) in &bodies {
        send(&emulator, operation, &body.to_string()).await;
    }
    emulator.inject(Fault::ServerError(503));
    assert_eq!(statuses(&emulator, "/peek", 1).await, [Some(503)]);
    let shown = get(&emulator, "/requests").await;
    for (request, (_, _, ignored)) in shown.as_array().unwrap().iter().zip(&bodies) {
        assert_eq!(request["ignored"], json!(ignored), "{request}");
        assert_eq!((&request["queue"], request["time_ms"].is_u64()), (&json!("queue-1"), true), "{request}");
    }
    assert_eq!((&shown[0]["status"], &shown[0]["code"]), (&json!(400), &json!(10026)));
    assert!(shown[0]["reason"].as_str().unwrap().contains("batch_size"));
    assert_eq!((&shown[1]["status"], &shown[1]["reason"]), (&json!(200), &Value::Null));
    assert_eq!((&shown[5]["fault"], &shown[5]["operation"]), (&json!("server_error"), &json!("peek_messages")));
    assert!(!shown.to_string().contains("s3cret"));
    let after = shown[4]["number"].as_u64().unwrap();
    assert_eq!(get(&emulator, &format!("/requests?after={after}")).await.as_array().unwrap().len(), 1);
    assert_eq!(get(&emulator, "/requests?limit=2").await[0]["number"], after);
    for _ in 0..600 {
        send(&emulator, "/peek", "{}").await;
    }
    assert_eq!(get(&emulator, "/requests?limit=1000").await.as_array().unwrap().len(), 500);
}

#[tokio::test]
async fn what_bodies_hold_is_told_to_their_senders_alone() {
    let (emulator, _) = controlled();
    for (path, body, told) in [
        ("/queues/queue-1/messages", json!({ "messages": ["TOPSECRET"] }), "TOPSECRET"),
        ("/queues/queue-1/messages", json!({ "messages": [{ "bodi": 1 }] }), "`bodi`"),
        ("/behavior", json!({ "late_acks": "TOPSECRET" }), "`late_acks`"),
        ("/advance", json!({ "seconds": 1, "TOPSECRET": 1 }), "`TOPSECRET`"),
    ] {
        let (status, text) = refusal(&emulator, Method::POST, path, body).await;
        assert!(status == StatusCode::BAD_REQUEST && text.contains(told), "{text}");
    }
    let shown = get(&emulator, "/requests").await;
    assert!(shown.as_array().unwrap().iter().all(|request| request["reason"].is_string()), "{shown}");
    assert!(!shown.to_string().contains("TOPSECRET"), "{shown}");
}

#[tokio::test]
async fn messages_are_found_by_their_text_and_purged() {
    let (emulator, queue) = controlled();
    queue.push_batch(&["one", "two", "three"].map(PushMessage::text)).await.unwrap();
    let found = get(&emulator, "/queues/queue-1/messages?contains=t&limit=1&body_limit=2").await;
    assert_eq!(
        (found.as_array().unwrap().len(), &found[0]["body"], &found[0]["is_cut"]),
        (1, &json!("tw"), &json!(true))
    );
    let after = found[0]["sequence"].as_u64().unwrap();
    let next = get(&emulator, &format!("/queues/queue-1/messages?contains=t&after={after}")).await;
    assert_eq!((&next[0]["body"], next.as_array().unwrap().len()), (&json!("three"), 1));
    assert_eq!(post(&emulator, "/queues/queue-1/purge", Value::Null).await["visible"], 0);
    assert_eq!(emulator.messages(emulator.queue_id()), []);
}
