//! Requests on the wire.

use std::{collections::BTreeMap, time::Duration};

use cloudflare_queues::{AckRequest, Client, Credentials, PullOptions, PushMessage};
use httpmock::{Method::POST, MockServer};
use serde_json::{Value, json};

use support::{ACCOUNT, Op, QUEUE, Server, TOKEN};

fn full_ack_request() -> AckRequest {
    AckRequest::new()
        .ack("lease-of-the-first")
        .ack("lease-of-the-second")
        .retry("lease-of-the-third")
        .retry_in("lease-of-the-fourth", Duration::from_secs(10))
        .retry_in("lease-of-the-fifth", Duration::from_millis(1001))
        .retry_in("lease-of-the-sixth", Duration::ZERO)
        .retry_in("lease-of-the-seventh", Duration::from_nanos(86_399_000_000_001))
}

fn json_push() -> PushMessage {
    let value = json!({"job": 7, "tags": ["a", null], "ratio": 0.5});
    PushMessage::json(&value).unwrap().delay(Duration::from_secs(10))
}

fn batch_push() -> [PushMessage; 2] {
    [PushMessage::text("plain").delay(Duration::from_nanos(1)), PushMessage::json(&[1, 2]).unwrap()]
}

fn parsed(fixture: &str) -> Value {
    serde_json::from_str(fixture).unwrap()
}

#[tokio::test]
async fn each_operation_sends_the_documented_method_path_and_body() {
    let server = Server::playing([support::bare_success()]);
    let queue = support::queue(&server.url);
    let options = PullOptions::new().batch_size(50).visibility_timeout(Duration::from_secs(6));
    let _ = queue.ack(full_ack_request()).await.unwrap();
    let _ = queue.pull(options).await.unwrap();
    queue.push(&PushMessage::text("héllo \"world\"\n")).await.unwrap();
    queue.push(&json_push()).await.unwrap();
    queue.push_batch(&batch_push()).await.unwrap();

    let expected = [
        ("/ack", fixture!("ack.request.json")),
        ("/pull", fixture!("pull.request.json")),
        ("", fixture!("push-text.request.json")),
        ("", fixture!("push-json.request.json")),
        ("/batch", fixture!("push-batch.request.json")),
    ];
    let requests = server.requests();
    assert_eq!(requests.len(), expected.len());
    for (request, (path, body)) in requests.iter().zip(expected) {
        assert_eq!(request.line, format!("POST /accounts/{ACCOUNT}/queues/{QUEUE}/messages{path} HTTP/1.1"));
        assert_eq!(request.json(), parsed(body), "{path}");
    }
}

#[tokio::test]
async fn each_request_has_these_headers_and_no_other() {
    let server = Server::playing([support::bare_success()]);
    let pair = Credentials::email_and_key("me@example.com", "k3y").unwrap();
    let by_pair = support::open(Client::builder(pair).base_url(&server.url));
    for op in Op::ALL {
        op.call(&support::queue(&server.url)).await.unwrap();
        op.call(&by_pair).await.unwrap();
    }

    let agent = concat!("cloudflare-queues/", env!("CARGO_PKG_VERSION"));
    let common = [("content-type", "application/json"), ("accept", "application/json"), ("user-agent", agent)];
    let token = BTreeMap::from([("authorization", format!("Bearer {TOKEN}"))]);
    let pair = BTreeMap::from([("x-auth-email", "me@example.com".to_owned()), ("x-auth-key", "k3y".to_owned())]);
    let requests = server.requests();
    assert_eq!(requests.len(), 2 * Op::ALL.len());
    for (request, credentials) in requests.iter().zip([token, pair].iter().cycle()) {
        let mut expected = credentials.clone();
        expected.extend(common.map(|(name, value)| (name, value.to_owned())));
        expected.insert("host", server.url.trim_start_matches("http://").to_owned());
        if request.body.is_empty() {
            expected.remove("content-type");
        } else {
            expected.insert("content-length", request.body.len().to_string());
        }
        let sent: BTreeMap<_, _> = request.headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        assert_eq!(sent, expected, "{}", request.line);
    }
}

#[tokio::test]
async fn an_absent_list_is_left_out() {
    let server = Server::playing([support::bare_success()]);
    let queue = support::queue(&server.url);
    let _ = queue.ack(support::acks(["a"])).await.unwrap();
    let retry = AckRequest::new().retry("b");
    let _ = queue.ack(retry).await.unwrap();
    let bodies: Vec<_> = server.requests().iter().map(|request| request.body.clone()).collect();
    assert_eq!(bodies, [&br#"{"acks":[{"lease_id":"a"}]}"#[..], br#"{"retries":[{"lease_id":"b"}]}"#]);
}

#[tokio::test]
async fn whole_seconds_are_sent_without_a_fraction() {
    let server = Server::playing([support::bare_success()]);
    let queue = support::queue(&server.url);
    let request = AckRequest::new().retry_in("b", Duration::from_secs(10));
    let _ = queue.ack(request).await.unwrap();
    queue.push(&PushMessage::text("t").delay(Duration::from_secs(10))).await.unwrap();
    let _ = queue.pull(PullOptions::default()).await.unwrap();
    let bodies: Vec<_> =
        server.requests().iter().map(|request| String::from_utf8(request.body.clone()).unwrap()).collect();
    let expected = [
        r#"{"retries":[{"delay_seconds":10,"lease_id":"b"}]}"#,
        r#"{"body":"t","content_type":"text","delay_seconds":10}"#,
        r#"{"batch_size":5,"visibility_timeout_ms":30000}"#,
    ];
    assert_eq!(bodies, expected);
}

#[tokio::test]
async fn a_lease_with_any_content_is_sent_unchanged() {
    let lease = "eyJ..a-b_c \"quoted\" \\ / é \u{1F600}\u{7}";
    let pulled = json!({"success": true, "result": {"messages": [{"lease_id": lease}]}});
    let server = Server::playing([support::ok(pulled.to_string()), support::bare_success()]);
    let queue = support::queue(&server.url);
    let mut request = AckRequest::new();
    for message in queue.pull(PullOptions::default()).await.unwrap() {
        request = request.ack(message.lease_id);
    }
    let _ = queue.ack(request).await.unwrap();
    assert_eq!(server.requests()[1].json(), json!({"acks": [{"lease_id": lease}]}));
}

#[tokio::test]
async fn base_urls_may_have_a_path_and_trailing_slash() {
    for (suffix, prefix) in [("", ""), ("/", ""), ("/client/v4", "/client/v4"), ("/a/client/v4/", "/a/client/v4")] {
        let server = Server::playing([support::bare_success()]);
        Op::Ack.call(&support::queue(&format!("{}{suffix}", server.url))).await.unwrap();
        let line = format!("POST {prefix}/accounts/{ACCOUNT}/queues/{QUEUE}/messages/ack HTTP/1.1");
        assert_eq!(server.requests()[0].line, line, "base URL with `{suffix}`");
    }
}

#[tokio::test]
async fn a_mock_by_hand_meets_the_client() {
    let server = MockServer::start_async().await;
    let mock = server.mock(|when, then| {
        when.method(POST)
            .path(format!("/client/v4/accounts/{ACCOUNT}/queues/{QUEUE}/messages/ack"))
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/json")
            .header_missing("api-version")
            .json_body(parsed(fixture!("ack.request.json")));
        then.status(200).header("content-type", "application/json").body(fixture!("ack.json"));
    });
    let queue = support::queue(&server.url("/client/v4"));
    assert!(queue.ack(full_ack_request()).await.unwrap().is_complete());
    mock.assert();
}

#[tokio::test]
async fn a_push_reports_the_queues_metrics() {
    let server = Server::playing([support::ok(fixture!("push.json")), support::bare_success()]);
    let queue = support::queue(&server.url);
    let metrics = queue.push(&PushMessage::text("t")).await.unwrap().metrics.unwrap();
    assert_eq!((metrics.backlog_count, metrics.backlog_bytes), (Some(3), Some(96)));
    assert_eq!(metrics.oldest_message, None, "0 stands for an unknown time");
    assert_eq!(queue.push(&PushMessage::text("t")).await.unwrap().metrics, None);
}
