//! Secrets are never shown.

use std::{error::Error as _, fmt::Write, time::Duration};

use cloudflare_queues::{AckRequest, Client, Credentials, Error, ErrorKind, PullOptions, PushMessage, Queue};
use serde_json::{Value, json};

use support::{ACCOUNT, Act, Op, QUEUE, Request, Server, quick};

const TOKEN: &str = "s3cret-token-0123456789";
const EMAIL: &str = "s3cret-email@example.com";
const KEY: &str = "s3cret-key-0123456789";
const LEASE: &str = "s3cret-lease..eyJhbGciOiJkaXIifQ";
const BODY: &str = "s3cret-body, of a customer";

/// All secrets of these tests start alike, so that a part of one is found as well.
#[track_caller]
fn assert_shows_nothing(text: &str, row: &str) {
    assert!(!text.contains("s3cret"), "{row}: {text}");
}

/// Everything that an error and its sources can show.
fn shown(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?} {:?}", error.api_errors());
    let mut source = error.source();
    while let Some(error) = source {
        write!(text, " {error} {error:?} {error:#?}").unwrap();
        source = error.source();
    }
    text
}

fn queues(url: &str) -> [Queue; 2] {
    [Credentials::api_token(TOKEN), Credentials::email_and_key(EMAIL, KEY)].map(|credentials| {
        let builder = Client::builder(credentials.unwrap()).base_url(url).retry(quick(2));
        support::open(builder)
    })
}

/// Calls every operation with every kind of credentials, and checks what the errors show. None is a timeout, which
/// would show nothing because nothing was received.
async fn assert_errors_show_nothing(queues: &[Queue], row: &str) {
    for queue in queues {
        for op in Op::ALL {
            match op.call_with(queue, LEASE, BODY).await {
                Err(error) => {
                    let is_timeout = error.kind() == ErrorKind::Timeout && error.status() != Some(408);
                    assert!(!is_timeout, "{op:?}, {row}: {error}");
                    assert_shows_nothing(&shown(&error), &format!("{op:?}, {row}"));
                }
                // What is gone is deleted, and a list leaves out what it cannot read.
                Ok(()) => assert!(op.may_lack_a_result() || op.is_list(), "{op:?}, {row}"),
            }
        }
    }
}

/// An envelope that quotes the secrets of its request wherever it can have text.
fn quoting_envelope(success: bool, request: &Request) -> String {
    let received = format!("{:?} {}", request.headers, String::from_utf8_lossy(&request.body));
    let known = [TOKEN, EMAIL, KEY, LEASE, BODY].into_iter().filter(|secret| received.contains(secret));
    let quote = known.fold(String::new(), |quote, secret| format!("{quote} [{secret}]{secret}{secret}"));
    assert!(!quote.is_empty(), "{received}");
    let fault = json!({
        "code": 7,
        "message": quote,
        "documentation_url": format!("https://example.com/{quote}"),
        "source": {"pointer": format!("/{quote}")},
        "error_chain": [{"code": 8, "message": quote, "error_chain": [{"message": quote}, quote]}],
    });
    json!({"success": success, "errors": [fault, quote], "messages": [quote], "result": null}).to_string()
}

#[tokio::test]
async fn an_error_shows_no_secret_that_the_service_quotes() {
    for status in [200, 202, 302, 400, 401, 403, 404, 405, 408, 409, 429, 500, 530] {
        let quote =
            move |_, request: &Request| Act::Respond(support::response(status, &[], quoting_envelope(false, request)));
        assert_errors_show_nothing(&queues(&Server::start(quote).url), &format!("status {status}")).await;
    }
    let server = Server::start(|_, request| support::ok(quoting_envelope(true, request)));
    assert_errors_show_nothing(&queues(&server.url), "success without a result").await;
}

#[tokio::test]
async fn an_error_about_an_unreadable_response_does_not_quote_it() {
    let quote = format!("{TOKEN} {EMAIL} {KEY} {LEASE} {BODY}");
    let bodies = [
        format!("<html>{quote}</html>"),
        quote.clone(),
        format!(r#""{quote}""#),
        format!(r#"{{"success":"{quote}"}}"#),
        format!(r#"{{"{quote}":"{quote}"}}"#),
        format!(r#"{{"success":true,"result":"{quote}"}}"#),
        format!(r#"{{"success":true,"result":["{quote}"]}}"#),
        r#"{"success":true,"result":{"#.to_owned() + &quote,
    ];
    let server = Server::playing([]);
    let queues = queues(&server.url);
    for body in &bodies {
        for status in [200, 503] {
            server.play(Act::Respond(support::response(status, &[], body)));
            assert_errors_show_nothing(&queues, body).await;
        }
    }
}

#[tokio::test]
async fn an_error_about_a_broken_connection_shows_no_secret() {
    let quote = format!(r#"{{"success":false,"errors":["{TOKEN} {EMAIL} {KEY} {LEASE} {BODY}"]}}"#);
    let acts = [
        ("a reset", Act::Reset),
        ("a closed connection", Act::Cut(Vec::new())),
        ("a cut-off body", support::cut_off(200, &quote)),
        ("a cut-off failure", support::cut_off(500, &quote)),
        ("no HTTP", Act::Cut(format!("{quote}\r\n\r\n").into_bytes())),
    ];
    for (row, act) in acts {
        let server = Server::playing([act]);
        assert_errors_show_nothing(&queues(&server.url), row).await;
    }
    assert_errors_show_nothing(&queues(&support::nowhere()), "no connection").await;
}

#[tokio::test]
async fn a_body_is_redacted_however_the_service_quotes_it() {
    let quoted_text = "s3cret \"words\"\nof a customer";
    let as_json = |value: &Value| value.to_string();
    // What is pushed, and how the service quotes it.
    let table = [
        ("as it was meant", PushMessage::text(quoted_text), quoted_text.to_owned()),
        ("as it stood in the request", PushMessage::text(quoted_text), as_json(&json!(quoted_text))),
        ("a short text", PushMessage::text("s3cret"), "s3cret".to_owned()),
        ("a short text in JSON", PushMessage::json(&["s3cret"]).unwrap(), "s3cret".to_owned()),
        ("a key", PushMessage::json(&json!({"s3cret-key": 1})).unwrap(), as_json(&json!({"s3cret-key": 1}))),
        (
            "a text within JSON",
            PushMessage::json(&json!({"name": quoted_text})).unwrap(),
            as_json(&json!({"name": quoted_text})),
        ),
    ];
    let mut leaks = Vec::new();
    for (row, message, quote) in table {
        let body = json!({"success": false, "errors": [{"code": 10207, "message": format!("bad body: {quote}")}]});
        let server = Server::playing([Act::Respond(support::response(400, &[], body.to_string()))]);
        let queue = support::queue(&server.url);
        for error in [queue.push(&message).await.unwrap_err(), queue.push_batch(&[message]).await.unwrap_err()] {
            if shown(&error).contains("s3cret") {
                leaks.push(row);
            }
        }
    }
    assert!(leaks.is_empty(), "{leaks:?}");
}

#[tokio::test]
async fn errors_that_come_with_messages_are_logged_by_code() {
    let errors = json!([{"code": 7, "message": format!("{LEASE} is odd"), "error_chain": [{"message": BODY}]}]);
    let message = json!({"lease_id": LEASE, "ref": LEASE, "body": BODY});
    let body = json!({"success": true, "errors": errors, "result": {"messages": [message]}});
    for op in [Op::Pull, Op::Peek] {
        let server = Server::playing([support::ok(body.to_string())]);
        crate::trace::keep();
        op.call(&support::queue(&server.url)).await.unwrap();
        let kept = crate::trace::kept();
        assert!(kept.lines().any(|line| line.contains("have errors") && line.contains("code 7")), "{kept}");
        assert_shows_nothing(&kept, "the log");
    }
}

#[tokio::test]
async fn a_documented_code_is_kept_whatever_was_sent() {
    let message = PushMessage::json(&json!([1002, 1010, 1020, 1001])).unwrap();
    for code in [10026, 10106, 10107, 10201, 10202, 10203, 10204, 10205, 10206, 10207, 10208, 100_127, 100_128] {
        let server = Server::playing([support::refused(400, code)]);
        let error = support::queue(&server.url).push(&message).await.unwrap_err();
        assert!(error.has_code(code), "{code}: {error}");
    }
}

#[tokio::test]
async fn a_number_in_a_body_is_redacted() {
    let message = PushMessage::json(&json!({"card": 4_111_111_111_111_111_u64})).unwrap();
    let body =
        json!({"success": false, "errors": [{"code": 10207, "message": "bad body: {\"card\":4111111111111111}"}]});
    let server = Server::playing([Act::Respond(support::response(400, &[], body.to_string()))]);
    let error = support::queue(&server.url).push(&message).await.unwrap_err();
    assert!(!shown(&error).contains("4111111111111111"), "{error}");
}

#[tokio::test]
async fn a_lease_is_redacted_however_short_and_however_quoted() {
    let mut leaks = Vec::new();
    for (lease, quote) in [("s3cret", "s3cret"), ("s3cret \"lease\"", r#"s3cret \"lease\""#)] {
        let body = json!({"success": false, "errors": [{"code": 1, "message": format!("no lease \"{quote}\"")}]});
        let server = Server::playing([support::ok(body.to_string())]);
        let error = support::queue(&server.url).ack(support::acks([lease])).await.unwrap_err();
        if format!("{error:?} {}", shown(&error.error)).contains("s3cret") {
            leaks.push(lease);
        }
    }
    assert!(leaks.is_empty(), "{leaks:?}");
}

#[tokio::test]
async fn a_secret_that_begins_like_another_is_redacted_whole() {
    let (short, long) = ("lease-000", "lease-000-and-s3cret");
    let body = json!({"success": false, "errors": [{"code": 1, "message": format!("no lease {long}")}]});
    let server = Server::playing([support::ok(body.to_string())]);
    let error = support::queue(&server.url).ack(support::acks([short, long])).await.unwrap_err();
    assert_shows_nothing(&format!("{error:?} {}", shown(&error.error)), "the longer lease");

    let body = json!({"success": true, "result": {"warnings": [format!("no lease {long}")]}});
    let server = Server::playing([support::ok(body.to_string())]);
    let outcome = support::queue(&server.url).ack(support::acks([short, long])).await.unwrap();
    assert_shows_nothing(&format!("{outcome:?}"), "the longer lease in a warning");
}

#[tokio::test]
async fn an_outcome_shows_no_lease_that_a_warning_quotes() {
    let quote = format!("{LEASE} is gone, {LEASE}");
    for warnings in [json!([quote]), json!({LEASE: quote}), json!({LEASE: {"a": [quote]}}), json!(quote)] {
        let body = json!({"success": true, "result": {"ackCount": 0, "warnings": warnings}}).to_string();
        let server = Server::playing([support::ok(body)]);
        let outcome = support::queue(&server.url).ack(support::acks([LEASE])).await.unwrap();
        assert_shows_nothing(&format!("{outcome:?}"), &warnings.to_string());
    }
}

#[tokio::test]
async fn an_outcome_shows_no_credential_that_a_warning_quotes() {
    let warn = |request: &Request| {
        let quotes: Vec<_> = request.headers.values().filter(|value| value.contains("s3cret")).collect();
        support::ok(json!({"success": true, "result": {"warnings": quotes}}).to_string())
    };
    let server = Server::start(move |_, request| warn(request));
    for queue in queues(&server.url) {
        let outcome = queue.ack(support::acks([LEASE])).await.unwrap();
        assert_shows_nothing(&format!("{outcome:?}"), "a warning");
    }
}

#[tokio::test]
async fn any_eight_bytes_of_a_secret_are_redacted_wherever_they_stand() {
    let refuse = |request: &Request| {
        let received = format!("{:?} {}", request.headers, String::from_utf8_lossy(&request.body));
        let known = [TOKEN, EMAIL, KEY, LEASE, BODY].into_iter().filter(|secret| received.contains(secret));
        // The middle and the tail of each, and a middle of eight bytes in the header that names the request.
        let parts: Vec<_> = known.flat_map(|secret| [&secret[3..11], &secret[secret.len() - 9..]]).collect();
        let body = json!({"success": false, "errors": [{"code": 10026, "message": format!("bad {parts:?}, 01234")}]});
        let (ray, body) = (parts[0], body.to_string());
        let head = format!("HTTP/1.1 400 Bad\r\ncf-ray: {ray}-FRA\r\ncontent-length: {}\r\n\r\n", body.len());
        Act::Respond([head.into_bytes(), body.into_bytes()].concat())
    };
    let server = Server::start(move |_, request| refuse(request));
    for queue in queues(&server.url) {
        for op in Op::MESSAGES {
            let shown = shown(&op.call_with(&queue, LEASE, BODY).await.unwrap_err());
            for secret in [TOKEN, EMAIL, KEY, LEASE, BODY] {
                let mut windows = secret.as_bytes().windows(8).map(|window| str::from_utf8(window).unwrap());
                assert!(!windows.any(|part| shown.contains(part)), "{op:?}: {shown}");
            }
            assert!(shown.contains("bad [") && shown.contains("01234"), "what is no secret is shown: {shown}");
        }
    }
}

#[tokio::test]
async fn no_debug_form_of_ours_shows_a_secret() {
    let fault = json!({"lease_id": LEASE, "body": BODY, "metadata": {"CF-Content-Type": "json"}});
    let server = Server::playing([support::ok(json!({"success": true, "result": {"messages": [fault]}}).to_string())]);
    let request = AckRequest::new().ack(LEASE).retry_in(format!("{LEASE}2"), Duration::from_secs(1));
    for credentials in [Credentials::api_token(TOKEN), Credentials::email_and_key(EMAIL, KEY)] {
        let credentials = credentials.unwrap();
        let builder = Client::builder(credentials.clone()).base_url(&server.url);
        let client = builder.clone().build().unwrap();
        let queue = client.queues(ACCOUNT).unwrap().queue(QUEUE).unwrap();
        let batch = queue.pull(PullOptions::default()).await.unwrap();
        let message = &batch.messages[0];
        let errors = (
            message.body.json::<Value>().unwrap_err(),
            message.body.bytes().unwrap_err(),
            message.body.text().unwrap_err(),
        );
        let pushes = (PushMessage::text(BODY), PushMessage::json(&[BODY]).unwrap());
        let shown = format!("{credentials:?} {builder:#?} {client:#?} {queue:#?} {batch:#?} {message:#?} {errors:#?}");
        assert_shows_nothing(&shown, "a client and what it pulled");
        let lease = &message.lease_id;
        assert_shows_nothing(&format!("{pushes:#?} {request:#?} {lease:#?}"), "what it sends");
        assert_shows_nothing(&format!("{} {} {}", errors.0, errors.1, errors.2), "what cannot be read");
    }
}

#[tokio::test]
async fn an_error_about_a_body_does_not_quote_it() {
    let bodies =
        [json!(["s3cret"]).to_string(), json!({"s3cret": "s3cret"}).to_string(), r#"["s3cret", s3cret"#.into()];
    for body in &bodies {
        let message = json!({"lease_id": LEASE, "body": body});
        let response = json!({"success": true, "result": {"messages": [message]}}).to_string();
        let server = Server::playing([support::ok(response)]);
        let batch = support::queue(&server.url).pull(PullOptions::default()).await.unwrap();
        for error in
            [batch.messages[0].body.json::<Vec<u8>>().map(drop), batch.messages[0].body.json::<bool>().map(drop)]
        {
            assert_shows_nothing(&shown(&error.unwrap_err()), body);
        }
    }
}

#[test]
fn a_base_urls_password_is_not_shown() {
    let builder = Client::builder(Credentials::api_token(TOKEN).unwrap()).base_url("https://me:s3cret@example.com");
    assert_shows_nothing(&format!("{builder:?}"), "the builder");
    assert_shows_nothing(&shown(&builder.build().unwrap_err()), "its error");
}

#[test]
fn a_proxys_password_is_not_shown() {
    let proxy = reqwest::Proxy::all("http://me:s3cret@127.0.0.1:9").unwrap();
    let builder = Client::builder(Credentials::api_token(TOKEN).unwrap()).proxy(proxy);
    assert_shows_nothing(&format!("{builder:#?}"), "a builder with a proxy");
    assert_shows_nothing(&format!("{:#?}", builder.build().unwrap()), "a client with a proxy");
}
