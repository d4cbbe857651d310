//! What a proxy or a firewall says is not what the service says.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use cloudflare_queues::{
    Acker, Client, Consumer, Credentials, ErrorKind, Lease, PullOptions, PushMessage, RetryPolicy, Verdict,
    acker::Confirmation,
};
use support::{Act, Op, Server, response};
use tokio::{sync::Notify, time::Instant};

fn page(status: u16) -> Act {
    Act::Respond(response(status, &[("content-type", "text/html")], "<html>no</html>"))
}

#[tokio::test]
async fn only_the_services_code_says_that_something_is_deleted() {
    let table = [
        (Op::DeleteQueue, page(404), false),
        (Op::DeleteQueue, support::refused(404, 7000), false),
        (Op::DeleteQueue, support::refused(404, 7003), false),
        (Op::DeleteQueue, support::refused(404, 0), false),
        (Op::DeleteQueue, support::refused(502, 11000), false),
        (Op::DeleteQueue, support::refused(404, 11006), false),
        (Op::DeleteQueue, support::refused(404, 10104), true),
        (Op::DeleteQueue, support::refused(404, 404), true),
        (Op::DeleteQueue, support::refused(404, 11000), true),
        (Op::DeleteQueue, support::refused(200, 11000), true),
        (Op::DeleteConsumer, page(404), false),
        (Op::DeleteConsumer, support::refused(404, 7000), false),
        (Op::DeleteConsumer, support::refused(404, 7003), false),
        (Op::DeleteConsumer, support::refused(404, 0), false),
        (Op::DeleteConsumer, support::refused(503, 11006), false),
        (Op::DeleteConsumer, support::refused(404, 11000), false),
        (Op::DeleteConsumer, support::refused(404, 11006), true),
        (Op::DeleteSubscription, page(404), false),
        (Op::DeleteSubscription, support::refused(404, 7000), false),
        (Op::DeleteSubscription, support::refused(404, 7003), false),
        (Op::DeleteSubscription, support::refused(404, 0), false),
        (Op::DeleteSubscription, support::refused(404, 11000), false),
        (Op::DeleteSubscription, support::refused(502, 404), false),
        (Op::DeleteSubscription, support::refused(404, 404), true),
    ];
    for (op, second, is_deleted) in table {
        let server = Server::playing([page(502), second.clone()]);
        let result = op.call(&support::stubborn_queue(&server.url, 2)).await;
        assert_eq!(result.is_ok(), is_deleted, "{op:?} {second:?}: {result:?}");
        assert_eq!(server.requests().len(), 2, "{op:?}");
        assert!(result.is_ok() || result.is_err_and(|error| error.may_have_arrived()), "{op:?}");
    }
}

#[tokio::test]
async fn deleting_nothing_is_an_error_under_status_200_too() {
    for (op, code) in [(Op::DeleteQueue, 11000), (Op::DeleteConsumer, 11006), (Op::DeleteSubscription, 404)] {
        // Also after an attempt that was certainly not carried out.
        for acts in [vec![support::refused(200, code)], vec![support::refused(429, 10250), support::refused(200, code)]]
        {
            let (attempts, server) = (acts.len(), Server::playing(acts));
            op.call(&support::stubborn_queue(&server.url, 2)).await.unwrap_err();
            assert_eq!(server.requests().len(), attempts, "{op:?}");
        }
    }
}

/// Pages of proxies under any status, none of which is the service's envelope.
fn pages() -> Vec<(u16, &'static [u8])> {
    let bodies: [&[u8]; 12] = [
        b"",
        b" ",
        b"<!DOCTYPE html><form action=/login></form>",
        b"<html>{\"success\":false,\"errors\":[{\"code\":10000}]}</html>",
        b"blocked by policy",
        b"acc\xe8s refus\xe9",
        b"{}",
        b"[]",
        b"null",
        br#"{"status":"ok"}"#,
        br#"{"error":"login","url":"https://sso.example"}"#,
        br#"{"success":true,"result":{}} trailing"#,
    ];
    let statuses = [200, 201, 203, 207, 302, 307, 400, 401, 403, 404, 405, 409, 425, 431, 451, 502, 511, 530];
    bodies.into_iter().flat_map(|body| statuses.map(|status| (status, body))).collect()
}

#[tokio::test]
async fn pages_are_failed_attempts_and_retried_if_idempotent() {
    let server = Server::playing([]);
    let queue = support::open(support::builder(&server.url).retry(support::quick(2).budget(u32::MAX)));
    for (status, body) in pages() {
        server.play(Act::Respond(response(status, &[("content-type", "text/html")], body)));
        for op in Op::MESSAGES {
            let before = server.requests().len();
            let error = op.call(&queue).await.unwrap_err();
            let text = format!("{op:?} {status} {}: {error}", String::from_utf8_lossy(body));
            assert!(error.kind() == ErrorKind::ServiceFailure && error.is_transient(), "{text}");
            assert!(error.may_have_arrived() && error.next_step().contains("the request may have arrived"), "{text}");
            assert_eq!(server.requests().len() - before, if op.is_idempotent() { 2 } else { 1 }, "{text}");
        }
    }
}

#[tokio::test]
async fn an_acker_repeats_a_request_that_a_page_answered() {
    for (status, body) in [(200, "<html>login</html>"), (200, ""), (302, ""), (403, "no"), (204, "")] {
        let page = Act::Respond(response(status, &[("location", "http://sso.example/login")], body));
        let server = Server::playing([page, support::ok(r#"{"success":true,"result":{"ackCount":1}}"#)]);
        let acker = Acker::new(support::queue(&server.url)).unwrap();
        let lease = Lease::new("a-lease", (Instant::now() + std::time::Duration::from_secs(60)).into_std());
        assert_eq!(acker.ack(lease).await.unwrap().await.unwrap(), Confirmation::Confirmed, "{status} {body}");
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn a_byte_order_mark_hides_no_refusal() {
    let body = "\u{feff}{\"success\":false,\"errors\":[{\"code\":10000,\"message\":\"no\"}]}";
    for status in [200, 401, 403] {
        let server = Server::playing([Act::Respond(response(status, &[], body))]);
        for op in Op::ALL {
            let error = op.call(&support::queue(&server.url)).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.has_code(10000)),
                (ErrorKind::Unauthorized, true),
                "{op:?} {status}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn a_refusal_of_any_text_or_depth_keeps_its_code() {
    let deep = format!("{}7{}", "[".repeat(10_000), "]".repeat(10_000));
    let long = "a".repeat(1_000_000);
    let bodies = [
        b"{\"success\":false,\"errors\":[{\"code\":10000,\"message\":\"acc\xe8s\"}]}".to_vec(),
        format!(r#"{{"success":false,"errors":[{{"code":10000,"more":{deep}}}],"messages":{deep}}}"#).into_bytes(),
        format!(r#"{{"success":false,"errors":[{{"code":"10000","message":"{long}"}}]}}"#).into_bytes(),
    ];
    for body in bodies {
        for status in [200, 403] {
            let server = Server::playing([Act::Respond(response(status, &[], &body))]);
            for op in [Op::Ack, Op::Pull, Op::Peek, Op::Push, Op::ListQueues] {
                let error = op.call(&support::queue(&server.url)).await.unwrap_err();
                assert_eq!((error.kind(), error.has_code(10000)), (ErrorKind::Unauthorized, true), "{op:?} {status}");
            }
        }
    }
}

#[tokio::test]
async fn messages_that_are_not_text_are_an_error_and_no_page() {
    let body = b"{\"success\":true,\"result\":{\"messages\":[{\"lease_id\":\"a\",\"body\":\"\xff\"}]}}";
    let queue = support::stubborn_queue(&Server::playing([support::ok(body)]).url, 2);
    let error = queue.pull(PullOptions::new()).await.unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::UnexpectedResponse, false), "{error}");
    let error = queue.push(&PushMessage::text("a")).await;
    assert!(error.is_ok(), "what a push does not read does not matter: {error:?}");
}

#[tokio::test]
async fn a_page_does_not_end_the_run_of_a_consumer() {
    for status in [200, 204, 302, 400, 401, 403, 404, 405, 407, 409] {
        let message = r#"{"success":true,"result":{"messages":[{"lease_id":"a","body":"1"}],"ackCount":1}}"#;
        let server = Server::start(move |nth, _| if nth == 0 { page(status) } else { support::ok(message) });
        let handled = Arc::new(Notify::new());
        let stop = Arc::clone(&handled);
        let consumer = Consumer::new(support::queue(&server.url));
        let handler = move |_| {
            handled.notify_one();
            async { Verdict::Ack }
        };
        let report = consumer.run_until(async move { stop.notified().await }, handler).await.unwrap();
        assert!(report.error.is_none(), "{status}: {:?}", report.error);
    }
}

#[tokio::test]
async fn a_page_does_not_lead_to_new_credentials() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let credentials = Credentials::from_provider(move || {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok(Credentials::api_token("a-token")?) }
    });
    let server = Server::playing([page(403)]);
    let builder = Client::builder(credentials).base_url(&server.url).retry(RetryPolicy::none());
    let error = Op::Pull.call(&support::open(builder)).await.unwrap_err();
    assert_eq!((error.kind(), asked.load(Ordering::SeqCst)), (ErrorKind::ServiceFailure, 1), "{error}");
}

#[tokio::test]
async fn a_proxy_that_wants_credentials_is_named() {
    let server = Server::playing([page(407)]);
    // Over TLS, the proxy refuses to connect.
    let proxied = support::builder("https://api.example").proxy(reqwest::Proxy::all(&server.url).unwrap());
    for queue in [support::queue(&server.url), support::open(proxied)] {
        let error = Op::Push.call(&queue).await.unwrap_err();
        assert!(error.to_string().contains("a proxy wants credentials of its own"), "{error}");
        assert!(!error.may_have_arrived(), "{error}");
    }
}

#[tokio::test]
async fn identity_in_any_spelling_is_no_encoding() {
    for encoding in ["Identity", "IDENTITY", "identity, Identity", " identity ", ""] {
        let act = Act::Respond(response(200, &[("content-encoding", encoding)], r#"{"success":true,"result":{}}"#));
        let server = Server::playing([act]);
        Op::Ack.call(&support::queue(&server.url)).await.unwrap();
    }
    // A proxy compressed it, and may not do so the next time.
    for encoding in ["gzip", "identity, gzip", "x-identity"] {
        let act = Act::Respond(response(200, &[("content-encoding", encoding)], r#"{"success":true,"result":{}}"#));
        let server = Server::playing([act, support::bare_success()]);
        Op::Ack.call(&support::stubborn_queue(&server.url, 2)).await.unwrap();
        assert_eq!(server.requests().len(), 2, "{encoding}");
    }
}

/// Bytes after a status line of HTTP/1.1 that end with the connection.
fn raw(text: &str) -> Act {
    Act::Cut(format!("HTTP/1.1 {text}").into_bytes())
}

#[tokio::test]
async fn a_response_in_any_legal_framing_is_read() {
    let success = r#"{"success":true,"result":{"ackCount":1}}"#;
    let chunks = |trailer: &str| {
        let (first, second) = success.split_at(9);
        let (a, b) = (first.len(), second.len());
        format!("transfer-encoding: chunked\r\n\r\n{a:x};ext=1\r\n{first}\r\n{b:X}\r\n{second}\r\n0\r\n{trailer}\r\n")
    };
    let length = success.len();
    let responses = [
        format!("200 OK\r\n{}", chunks("")),
        format!("200 OK\r\n{}", chunks("x-trailer: a\r\n")),
        format!("200\r\ncontent-length: {length}\r\n\r\n{success}"),
        format!("200 OK\r\ncontent-type: text/plain; charset=iso-8859-1\r\ncontent-length: {length}\r\n\r\n{success}"),
        format!("200 OK\r\nconnection: close\r\n\r\n{success}"),
        format!("200 OK\r\nconnection: close\r\n\r\n{success}\r\n \t\n"),
        format!("200 OK\r\nconnection: close\r\n\r\n\u{feff}{success}"),
        format!("100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{success}"),
        format!("103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{success}"),
    ];
    for text in responses {
        let queue = support::queue(&Server::playing([raw(&text)]).url);
        assert!(queue.ack(support::acks(["a"])).await.unwrap().is_complete(), "{text}");
    }
}

#[tokio::test]
async fn truncated_responses_are_failed_attempts_under_any_status() {
    let failure = r#"{"success":false,"errors":[{"code":10000,"message":"no"}]}"#;
    let cut = &failure[..40];
    for status in [200, 401, 403, 404] {
        for framing in [
            format!("content-length: {}\r\n\r\n{cut}", failure.len()),
            format!("content-length: {}\r\n\r\n{cut}", cut.len()),
            format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{cut}\r\n", cut.len()),
            format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{cut}", failure.len()),
            format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{cut}\r\n0\r\n\r\n", cut.len()),
            format!("\r\n{cut}"),
        ] {
            // A connection that is not announced to close could be used for the second attempt.
            let truncated = raw(&format!("{status} Status\r\nconnection: close\r\n{framing}"));
            let server = Server::playing([truncated.clone(), support::bare_success()]);
            let queue = support::stubborn_queue(&server.url, 2);
            Op::Ack.call(&queue).await.unwrap_or_else(|error| panic!("{status} {framing}: {error}"));
            assert_eq!(server.requests().len(), 2, "{status} {framing}");
            let server = Server::playing([truncated.clone(), support::bare_success()]);
            let error = Op::Push.call(&support::stubborn_queue(&server.url, 2)).await.unwrap_err();
            assert!(error.is_transient() && error.may_have_arrived(), "{status} {framing}: {error}");
            assert_eq!(server.requests().len(), 1, "{status} {framing}");
        }
    }
}

#[tokio::test]
async fn a_switch_of_protocols_is_no_success() {
    let switch = raw("101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n");
    for op in Op::MESSAGES {
        let error = op.call(&support::queue(&Server::playing([switch.clone()]).url)).await.unwrap_err();
        assert!(error.is_transient() && error.may_have_arrived(), "{op:?}: {error}");
    }
}

#[tokio::test]
async fn two_encodings_are_read_one_by_one() {
    let success = r#"{"success":true,"result":{}}"#;
    for (encodings, is_plain) in [
        (["identity", "IDENTITY"], true),
        (["", "identity"], true),
        ([",identity,", "\tidentity"], true),
        (["identity", "gzip"], false),
        (["br", "identity"], false),
    ] {
        let headers = encodings.map(|encoding| ("content-encoding", encoding));
        let server = Server::playing([Act::Respond(response(200, &headers, success))]);
        for op in Op::ALL {
            let result = op.call(&support::queue(&server.url)).await;
            assert_eq!(result.is_ok(), is_plain, "{op:?} {encodings:?}: {result:?}");
        }
    }
}

#[tokio::test]
async fn what_a_refusal_is_compressed_in_hides_no_status() {
    for (status, kind) in
        [(401, ErrorKind::ServiceFailure), (429, ErrorKind::RateLimited), (503, ErrorKind::ServiceFailure)]
    {
        let act = Act::Respond(response(status, &[("content-encoding", "gzip")], [0x1f, 0x8b, 8, 0]));
        let error = Op::Ack.call(&support::queue(&Server::playing([act]).url)).await.unwrap_err();
        assert_eq!((error.kind(), error.status(), error.is_transient()), (kind, Some(status), true), "{error}");
    }
}
