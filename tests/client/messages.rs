//! Pulled messages.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use cloudflare_queues::{Batch, ContentType, ErrorKind, LeaseId, Message, PullOptions};
use serde_json::{Value, json};

use support::Server;

async fn pulled() -> Batch {
    let server = Server::playing([support::ok(fixture!("pull.json"))]);
    support::queue(&server.url).pull(PullOptions::default()).await.unwrap()
}

#[tokio::test]
async fn batches_of_equal_messages_are_equal() {
    let server =
        Server::playing([support::ok(r#"{"success":true,"result":{"message_backlog_count":1,"messages":[]}}"#)]);
    let queue = support::queue(&server.url);
    let pull = async || queue.pull(PullOptions::default()).await.unwrap();
    assert_eq!(pull().await, pull().await);
}

async fn by_id() -> BTreeMap<String, Message> {
    pulled().await.into_iter().map(|message| (message.id.clone(), message)).collect()
}

/// A message, its type, its bytes, and their JSON; `None` if they cannot be read.
type Row<'a> = (&'a str, ContentType, Option<&'a [u8]>, Option<&'a Value>);

#[tokio::test]
async fn each_body_is_read_by_its_content_type() {
    use ContentType::*;
    let job = json!({"job": 7});
    let table: [Row; 19] = [
        ("json as text", Json, Some(br#"{"job": 7}"#), Some(&job)),
        ("json as base64", Json, Some(br#"{"job": 7}"#), Some(&job)),
        ("json as base64 without padding", Json, Some(br#"{"job": 7}"#), Some(&job)),
        ("json inline", Json, None, Some(&job)),
        ("bytes", Bytes, Some(b"\x00\xff\x80A"), None),
        ("text", Text, Some("héllo\n\"world\"".as_bytes()), None),
        ("text like base64", Text, Some(b"eyJqb2IiOiA3fQ=="), None),
        ("text that is JSON", Text, Some(br#"{"job": 7}"#), Some(&job)),
        ("v8", V8, Some(b"/w8iA2Zvbw=="), None),
        ("unknown type", Other("cbor".into()), Some(b"AP+AQQ=="), None),
        ("no metadata", Json, Some(br#"{"job": 7}"#), Some(&job)),
        ("null metadata", Json, Some(br#"{"job": 7}"#), Some(&job)),
        ("bytes that are no base64", Bytes, None, None),
        ("json that is none", Json, Some(br#"{"job":"#), None),
        ("json that is not even base64", Json, None, None),
        ("null body", Json, Some(b"null"), Some(&Value::Null)),
        ("no body", Json, Some(b"null"), Some(&Value::Null)),
        ("empty body", Text, Some(b""), None),
        ("", Json, Some(b"7"), Some(&Value::Null)),
    ];
    let messages = by_id().await;
    assert_eq!(messages.len(), table.len());
    for (id, content_type, bytes, json) in table {
        let message = &messages[id];
        assert_eq!(message.body.content_type(), &content_type, "{id}");
        let read = message.body.bytes().ok();
        if id == "json inline" {
            assert_eq!(serde_json::from_slice::<Value>(&read.unwrap()).unwrap(), job, "{id}");
        } else {
            assert_eq!(read.as_deref(), bytes, "{id}");
        }
        let expected = if id.is_empty() { Some(json!(7)) } else { json.cloned() };
        assert_eq!(message.body.json::<Value>().ok(), expected, "{id}");
    }
}

#[tokio::test]
async fn a_body_is_decoded_into_the_callers_type() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Job {
        job: u8,
    }
    let messages = by_id().await;
    for id in ["json as text", "json as base64", "json inline", "text that is JSON"] {
        assert_eq!(messages[id].body.json::<Job>().unwrap(), Job { job: 7 }, "{id}");
    }
    let error = messages["json as text"].body.json::<Vec<u8>>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UndecodableBody);
    assert!(error.to_string().contains("does not fit the requested type, at line 1"), "{error}");
}

#[tokio::test]
async fn text_is_never_decoded() {
    let messages = by_id().await;
    let table = [
        ("text", "héllo\n\"world\""),
        ("text like base64", "eyJqb2IiOiA3fQ=="),
        ("text that is JSON", r#"{"job": 7}"#),
        ("empty body", ""),
        ("unknown type", "AP+AQQ=="),
        ("v8", "/w8iA2Zvbw=="),
        ("json as base64", r#"{"job": 7}"#),
    ];
    for (id, text) in table {
        assert_eq!(messages[id].body.text().unwrap(), text, "{id}");
    }
}

#[tokio::test]
async fn an_unreadable_body_affects_no_other_message_and_no_lease() {
    let messages = by_id().await;
    let errors = [
        ("bytes that are no base64", messages["bytes that are no base64"].body.bytes().unwrap_err()),
        ("bytes", messages["bytes"].body.text().unwrap_err()),
        ("json that is none", messages["json that is none"].body.json::<Value>().unwrap_err()),
        ("json that is not even base64", messages["json that is not even base64"].body.json::<Value>().unwrap_err()),
        ("v8", messages["v8"].body.json::<Value>().unwrap_err()),
    ];
    for (id, error) in &errors {
        assert_eq!(error.kind(), ErrorKind::UndecodableBody, "{id}: {error}");
        assert_eq!((error.operation(), error.status(), error.attempts()), (None, None, 0), "{id}: {error}");
    }
    assert!(errors[4].1.to_string().contains("`v8` body cannot be decoded outside Workers"));

    let leases: Vec<_> = pulled().await.messages.into_iter().map(|message| message.lease_id).collect();
    assert_eq!(leases, (0..=18).map(|n| LeaseId::from(format!("lease {n}"))).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_body_nested_without_end_costs_no_other_message() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let body = format!(
        r#"{{"success":true,"result":{{"messages":[{{"lease_id":"a","body":{deep}}},{{"lease_id":"b","body":"[7]"}},
            {{"lease_id":"c","body":"{deep}"}},{{"lease_id":"d","body":"\ud800"}}]}}}}"#
    );
    let server = Server::playing([support::ok(body)]);
    let batch = support::queue(&server.url).pull(PullOptions::default()).await.unwrap();
    assert_eq!(batch.len(), 4);
    assert_eq!(batch.messages[1].body.json::<[u8; 1]>().unwrap(), [7]);
    for nth in [0, 2, 3] {
        assert_eq!(batch.messages[nth].body.json::<Value>().unwrap_err().kind(), ErrorKind::UndecodableBody);
    }
}

#[tokio::test]
async fn a_time_after_the_year_9999_is_unknown() {
    for (milliseconds, is_known) in [(253_402_300_799_999_u64, true), (253_402_300_800_000, false), (u64::MAX, false)] {
        let messages = json!({"messages": [{"lease_id": "a", "timestamp_ms": milliseconds}]});
        let server = Server::playing([support::ok(json!({"success": true, "result": messages}).to_string())]);
        let batch = support::queue(&server.url).pull(PullOptions::default()).await.unwrap();
        assert_eq!(batch.messages[0].timestamp.is_some(), is_known, "{milliseconds}");
    }
}

#[tokio::test]
async fn a_message_of_an_odd_shape_costs_no_other_message() {
    let odd = [
        json!({"lease_id": "a", "id": 7}),
        json!({"lease_id": "a", "attempts": "3"}),
        json!({"lease_id": "a", "timestamp_ms": "2026-01-01T00:00:00Z"}),
        json!({"lease_id": "a", "metadata": "odd"}),
    ];
    let mut lost = Vec::new();
    for message in odd {
        let messages = json!({"messages": [message, {"lease_id": "b"}]});
        let server = Server::playing([support::ok(json!({"success": true, "result": messages}).to_string())]);
        match support::queue(&server.url).pull(PullOptions::default()).await {
            Ok(batch) => assert_eq!(batch.len() + batch.without_lease, 2, "{message}"),
            Err(error) => lost.push(format!("{message}: {error}")),
        }
    }
    assert!(lost.is_empty(), "{lost:#?}");
}

#[tokio::test]
async fn an_odd_estimate_costs_no_message() {
    let odd = [json!({"metadata": []}), json!({"metadata": {"metrics": 5}}), json!({"message_backlog_count": "5"})];
    for mut result in odd {
        result["messages"] = json!([{"lease_id": "a"}]);
        let server = Server::playing([support::ok(json!({"success": true, "result": result}).to_string())]);
        let batch = support::queue(&server.url).pull(PullOptions::default()).await.unwrap();
        assert_eq!((batch.len(), batch.backlog_count, batch.metrics), (1, None, None), "{result}");
    }
}

#[tokio::test]
async fn a_number_that_counts_nothing_is_unknown() {
    for (number, count) in
        [(json!(3), Some(3)), (json!(3.0), Some(3)), (json!(0), Some(0)), (json!(2.5), None), (json!(-1), None)]
    {
        let metrics = json!({ "backlog_count": number, "backlog_bytes": number, "oldest_message_timestamp_ms": 0 });
        let result = json!({ "messages": [{ "lease_id": "a", "attempts": number }],
            "message_backlog_count": number, "metadata": { "metrics": metrics } });
        let server = Server::playing([support::ok(json!({ "success": true, "result": result }).to_string())]);
        let batch = support::queue(&server.url).pull(PullOptions::default()).await.unwrap();
        let metrics = batch.metrics.as_ref().unwrap();
        assert_eq!((batch.backlog_count, metrics.backlog_count, metrics.backlog_bytes), (count, count, count));
        assert_eq!(batch.messages[0].attempts.map(u64::from), count, "{number}");
        // Zero stands for an unknown time.
        assert_eq!(metrics.oldest_message, None);
    }
}

#[tokio::test]
async fn a_message_without_a_lease_is_counted() {
    let batch = pulled().await;
    assert_eq!((batch.len(), batch.without_lease), (19, 3));
    assert!(batch.messages.iter().all(|message| !message.id.ends_with("lease")));
}

#[tokio::test]
async fn a_malformed_lease_or_reference_affects_no_other_message() {
    for odd in ["7", "7.5", "true", "{}", r#"{"id":"a"}"#, r#"["a"]"#, r#""a\ud800""#] {
        let response = format!(
            r#"{{"success":true,"result":{{"messages":[
                {{"lease_id":{odd},"ref":{odd}}},{{"lease_id":"b","ref":"b"}}]}}}}"#
        );
        let server = Server::playing([support::ok(response)]);
        let queue = support::queue(&server.url);
        let batch = queue.pull(PullOptions::default()).await.unwrap();
        let leases: Vec<_> = batch.messages.iter().map(|message| message.lease_id.expose_secret()).collect();
        assert_eq!((leases, batch.without_lease), (vec!["b".into()], 1), "{odd}");
        let peeked = queue.peek(2).await.unwrap();
        let refs: Vec<_> = peeked.into_iter().map(|message| message.message_ref).collect();
        assert_eq!(refs, [None, Some("b".into())], "{odd}");
    }
}

#[tokio::test]
async fn attempts_times_and_properties_are_read_in_either_spelling() {
    let messages = by_id().await;
    let pushed = SystemTime::UNIX_EPOCH + Duration::from_millis(1_760_000_000_123);
    let (text, base64) = (&messages["json as text"], &messages["json as base64"]);
    assert_eq!((text.attempts, text.timestamp), (Some(1), Some(pushed)));
    assert_eq!((base64.attempts, base64.timestamp), (Some(2), Some(pushed)));
    assert_eq!(text.metadata["CF-sourceMessageSource"], "http");
    assert_eq!(text.metadata["CF-msg-delay-secs"], 5);
    for id in ["null metadata", "no metadata", "bytes"] {
        assert_eq!((messages[id].attempts, messages[id].timestamp), (None, None), "{id}");
    }
    assert!(messages["null metadata"].metadata.is_empty() && messages["no metadata"].metadata.is_empty());
}

#[tokio::test]
async fn a_batch_tells_the_queues_state() {
    let batch = pulled().await;
    assert_eq!(batch.backlog_count, Some(1042));
    let metrics = batch.metrics.unwrap();
    assert_eq!((metrics.backlog_count, metrics.backlog_bytes), (Some(1042), Some(52100)));
    let oldest = SystemTime::UNIX_EPOCH + Duration::from_millis(1_759_999_999_000);
    assert_eq!(metrics.oldest_message, Some(oldest));
}

#[tokio::test]
async fn a_queue_with_nothing_to_give_returns_an_empty_batch() {
    for result in [json!({}), json!({"messages": null}), json!({"messages": []})] {
        let server = Server::playing([support::ok(json!({"success": true, "result": result}).to_string())]);
        let batch = support::queue(&server.url).pull(PullOptions::default()).await.unwrap();
        assert!(batch.is_empty() && batch.without_lease == 0, "{result}");
        assert_eq!((batch.backlog_count, batch.metrics), (None, None), "{result}");
    }
}

#[tokio::test]
async fn leases_are_counted_from_before_the_pull_was_sent() {
    let (told, asked) = std::sync::mpsc::channel();
    let server = Server::start(move |_, _| {
        told.send(Instant::now()).unwrap();
        support::ok(fixture!("pull.json"))
    });
    let queue = support::queue(&server.url);
    for timeout in [Duration::from_secs(60), Duration::from_micros(1_500_999), Duration::from_secs(12 * 3600)] {
        let before = Instant::now();
        let batch = queue.pull(PullOptions::new().batch_size(5).visibility_timeout(timeout)).await.unwrap();
        let arrived = asked.recv().unwrap();
        for message in &batch {
            assert!(message.lease_deadline <= arrived + timeout, "a lease cannot end later than the service thinks");
            assert!(message.lease_deadline >= before + timeout - Duration::from_millis(1), "{timeout:?}");
        }
    }
}

#[tokio::test]
async fn truncated_utf8_is_refused_and_the_size_limit_is_the_callers() {
    let message = r#"{"lease_id":"a","body":"a \ud800 b","metadata":{"CF-Content-Type":"text"}}"#;
    let response = format!(r#"{{"success":true,"result":{{"messages":[{message}]}}}}"#);
    let server = Server::playing([support::ok(response)]);
    let queue = support::open(support::builder(&server.url).max_response_bytes(usize::MAX));
    let message = queue.pull(PullOptions::default()).await.unwrap().messages.remove(0);
    assert_eq!(message.body.text().unwrap_err().kind(), ErrorKind::UndecodableBody);
    assert_eq!(message.body.raw(), r#""a \ud800 b""#);
    assert_eq!(queue.peek(1).await.unwrap()[0].body.raw(), message.body.raw());
}
