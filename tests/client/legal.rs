//! Successes of a legal form that is seldom seen.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cloudflare_queues::{AckRequest, Consumer, PullOptions, PushMessage, Verdict};
use serde_json::json;
use support::{Act, Server, response};
use tokio::sync::Notify;

/// A response with this result.
type Answer = fn(&str) -> Vec<u8>;

fn envelope(result: &str) -> String {
    format!(r#"{{"success":true,"errors":[],"messages":[],"result":{result}}}"#)
}

fn under(status: u16, result: &str) -> Vec<u8> {
    response(status, &[("content-type", "application/json")], envelope(result))
}

fn with(headers: &[(&str, &str)], result: &str) -> Vec<u8> {
    response(200, headers, envelope(result))
}

fn alongside(fields: &str, result: &str) -> Vec<u8> {
    response(200, &[], format!(r#"{{"success":true,{fields},"result":{result}}}"#))
}

const ANSWERS: &[(&str, Answer)] = &[
    ("created", |result| under(201, result)),
    ("accepted", |result| under(202, result)),
    ("changed by a proxy", |result| under(203, result)),
    ("several statuses", |result| under(207, result)),
    ("a status of success without a name", |result| under(299, result)),
    ("a wait with a success", |result| with(&[("retry-after", "86400")], result)),
    ("a warning of a proxy", |result| with(&[("warning", "214 proxy \"changed\""), ("via", "1.0 pr\u{f6}xy")], result)),
    ("another content type", |result| with(&[("content-type", "text/html; charset=utf-16")], result)),
    ("a date of long ago", |result| with(&[("date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("age", "-1")], result)),
    ("several ray ids", |result| with(&[("cf-ray", ""), ("cf-ray", "\u{fc}")], result)),
    ("a challenge header on a success", |result| with(&[("cf-mitigated", "challenge")], result)),
    ("the end of the connection", |result| with(&[("connection", "close")], result)),
    ("several interim responses", |result| {
        let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(3);
        [hints.into_bytes(), under(200, result)].concat()
    }),
    ("chunks of a byte", |result| {
        let chunks: String = envelope(result).chars().map(|byte| format!("1\r\n{byte}\r\n")).collect();
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n").into_bytes()
    }),
    ("escaped names", |result| {
        response(
            200,
            &[],
            format!(r#"{{"succ\u0065ss":true,"r\u0065sult":{}}}"#, result.replace("Count", "C\\u006funt")),
        )
    }),
    ("white space", |result| {
        let spaced = envelope(result).replace(':', "\r\n\t:\r\n ").replace(',', " \n, ");
        response(200, &[], format!("\r\n {spaced}\t\r\n"))
    }),
    ("no errors, as an object", |result| alongside(r#""errors":{}"#, result)),
    ("no errors, as a text", |result| alongside(r#""errors":"""#, result)),
    ("no errors, as false", |result| alongside(r#""errors":false"#, result)),
    ("no errors, twice", |result| alongside(r#""messages":[],"messages":null"#, result)),
    ("remarks of any form", |result| alongside(r#""messages":[null,7,{"a":[{}]},"\u0000\ud83d\ude00"]"#, result)),
    ("an odd page", |result| alongside(r#""result_info":[{"total_pages":-1}]"#, result)),
    ("fields that are newer than this crate", |result| {
        alongside(r#""error":null,"Success":false,"results":[{}],"request_id":"a""#, result)
    }),
];

#[tokio::test]
async fn every_message_operation_accepts_any_legal_success() {
    let result = r#"{"ackCount":1,"retryCount":1.0,"extendCount":10e-1,"messages":[{"lease_id":"a","body":"b"}]}"#;
    let server = Server::playing([]);
    let queue = support::queue(&server.url);
    for (what, answer) in ANSWERS {
        server.play(Act::Respond(answer(result)));
        let settled = queue.ack(AckRequest::new().ack("a").retry("b")).await;
        let settled = settled.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(settled.is_complete() && settled.warnings.is_empty(), "{what}: {settled:?}");
        let extended = queue.extend(["a"], Duration::from_secs(60)).await.unwrap();
        assert!(extended.deadline().is_some() && extended.warnings.is_empty(), "{what}: {extended:?}");
        let deleted = queue.delete_messages(["a"]).await.unwrap();
        assert_eq!((deleted.deletions.accepted, deleted.is_complete()), (1, true), "{what}: {deleted:?}");
        let batch = queue.pull(PullOptions::new()).await.unwrap();
        assert_eq!((batch.len(), batch.messages[0].lease_id.expose_secret()), (1, "a".into()), "{what}");
        assert_eq!(queue.peek(1).await.unwrap().len(), 1, "{what}");
        let _ = queue.push(&PushMessage::text("a")).await.unwrap();
    }
}

#[tokio::test]
async fn a_success_of_any_legal_form_slows_no_consumer_down() {
    const MESSAGES: usize = 40;
    for (what, answer) in ANSWERS {
        for has_counts in [true, false] {
            let given = AtomicUsize::new(0);
            let server = Server::start(move |_, request| {
                let body = request.json();
                let result = match body["acks"].as_array() {
                    Some(acks) if has_counts => json!({ "ackCount": acks.len() }),
                    Some(_) => json!({}),
                    None => {
                        let asked = body["batch_size"].as_u64().unwrap_or_default() as usize;
                        let from = given.fetch_add(asked, Ordering::SeqCst).min(MESSAGES);
                        let lease = |number| json!({ "lease_id": format!("lease-{number}"), "body": "b" });
                        json!({ "messages": (from..MESSAGES.min(from + asked)).map(lease).collect::<Vec<_>>() })
                    }
                };
                Act::Respond(answer(&result.to_string()))
            });
            let (handled, is_done) = (AtomicUsize::new(0), Arc::new(Notify::new()));
            let stop = Arc::clone(&is_done);
            let consumer = Consumer::new(support::queue(&server.url)).max_retries(3);
            let handler = move |_| {
                if handled.fetch_add(1, Ordering::SeqCst) + 1 == MESSAGES {
                    is_done.notify_one();
                }
                async { Verdict::Ack }
            };
            // Ten minutes are left to the test to judge.
            let stop = async move { tokio::time::timeout(Duration::from_secs(600), stop.notified()).await };
            let report = consumer.run_until(stop, handler).await.unwrap();
            let stats = report.stats;
            let settled = if has_counts { stats.acknowledged } else { stats.accepted };
            assert_eq!((stats.pulled, settled), (MESSAGES as u64, MESSAGES as u64), "{what}: {stats:?}");
            assert_eq!((stats.slowdown, stats.pull_failures, report.unconfirmed.len()), (0, 0, 0), "{what}");
        }
    }
}

#[tokio::test]
async fn a_list_is_whole_whatever_the_service_says_of_its_pages() {
    let infos = [
        "null",
        "7",
        "[]",
        "{}",
        r#"{"total_pages":2}"#,
        r#"{"total_pages":2.0}"#,
        r#"{"total_pages":"2"}"#,
        r#"{"total_pages":null}"#,
        r#"{"total_pages":-1}"#,
        r#"{"total_pages":0}"#,
        r#"{"total_pages":1e300}"#,
        r#"{"total_pages":{"2":2}}"#,
        r#"{"page":9,"per_page":0,"count":-5,"total_count":1e99}"#,
    ];
    for info in infos {
        let server = Server::start(move |_, request| {
            let page = request.line.split("page=").nth(1).unwrap_or("1");
            let number: u32 = page.split([' ', '&']).next().unwrap().parse().unwrap();
            let entry = |name: &str| json!([{ "queue_id": name, "queue_name": name }]);
            let entries = if number <= 2 { entry(&format!("queue-{number}")) } else { json!([]) };
            support::ok(format!(r#"{{"success":true,"result":{entries},"result_info":{info}}}"#))
        });
        let queues = support::queue(&server.url).queues().list().all().await;
        let queues = queues.unwrap_or_else(|error| panic!("{info}: {error}"));
        assert_eq!(queues.len(), 2, "{info}");
        assert!(server.requests().len() <= 5, "{info}");
    }
}

#[tokio::test]
async fn a_list_that_repeats_its_first_page_is_incomplete() {
    let body = r#"{"success":true,"result":[{"queue_id":"a","queue_name":"jobs"}],"result_info":{"total_pages":9}}"#;
    let server = Server::playing([support::ok(body)]);
    let queues = support::queue(&server.url).queues();
    let error = queues.list().all().await.unwrap_err();
    assert!(error.to_string().contains("3 pages in a row have no new entry"), "{error}");
    assert_eq!(server.requests().len(), 4);
    assert!(queues.find("jobs").await.unwrap().is_some());
    assert!(queues.find("mail").await.is_err(), "it may be on a page that was not returned");
}
