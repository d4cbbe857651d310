//! Responses with status 200: a success only if the service says so and sends a result.

use std::time::Duration;

use cloudflare_queues::{Error, ErrorKind, PullOptions, PushMessage};

use support::{Act, Op, RAY, Server};

use ErrorKind::{Rejected, ServiceFailure, UnexpectedResponse};

fn assert_described(error: &Error, op: Op, row: &str) {
    assert_eq!(error.status(), Some(200), "{op:?}, {row}: {error}");
    assert_eq!(error.ray_id(), Some(RAY), "{op:?}, {row}: {error}");
    assert_eq!(error.operation(), Some(op.id()), "{op:?}, {row}: {error}");
    assert!(error.may_have_arrived(), "{op:?}, {row}: {error}");
    let is_repeated = error.kind() == ServiceFailure && op.is_idempotent();
    assert_eq!(error.attempts(), if is_repeated { 3 } else { 1 }, "{op:?}, {row}: {error}");
    assert_eq!(error.is_transient(), error.kind() == ServiceFailure, "{op:?}, {row}: {error}");
}

/// Every row is a response of status 200, the kind of error that it is, and what the error says.
async fn assert_errors(table: &[(&str, ErrorKind, &str)]) {
    let server = Server::playing([]);
    let queue = support::open(support::builder(&server.url).retry(support::quick(3).budget(u32::MAX)));
    for (body, kind, says) in table {
        server.play(support::ok(body));
        for op in Op::with_an_object() {
            let error = op.call(&queue).await.map(|()| format!("{op:?} took {body} for a success")).unwrap_err();
            assert_eq!(error.kind(), *kind, "{op:?}, {body}: {error}");
            assert!(error.to_string().contains(says), "{op:?}, {body}: {error}");
            assert_described(&error, op, body);
        }
    }
}

#[tokio::test]
async fn a_response_without_an_envelope_is_never_ok() {
    assert_errors(&[
        ("<!DOCTYPE html><html><body>Please wait</body></html>", ServiceFailure, "the response is HTML, not JSON"),
        ("\n <html>", ServiceFailure, "the response is HTML, not JSON"),
        ("", ServiceFailure, "the response is empty"),
        (" \r\n", ServiceFailure, "the response is empty"),
        (r#"{"success":true,"result":{"ackCount":1"#, ServiceFailure, "the response is cut off, at line 1 column 38"),
        (r#"{"success":true,"#, ServiceFailure, "the response is cut off"),
        ("not JSON", ServiceFailure, "the response is not JSON"),
        (r#"{"success":true,"result":{}}{"#, ServiceFailure, "the response is not JSON"),
        (r#""text""#, ServiceFailure, "the response is not of the documented form"),
        ("7", ServiceFailure, "the response is not of the documented form"),
        ("true", ServiceFailure, "the response is not of the documented form"),
        ("null", ServiceFailure, "the response is not of the documented form"),
        ("[]", ServiceFailure, "the response is not of the documented form"),
    ])
    .await;
}

#[tokio::test]
async fn a_response_without_success_is_never_ok() {
    assert_errors(&[
        (r#"{}"#, ServiceFailure, "does not say whether the call succeeded"),
        (r#"{"result":{"ackCount":1}}"#, ServiceFailure, "does not say whether the call succeeded"),
        (r#"{"success":null,"result":{}}"#, ServiceFailure, "does not say whether the call succeeded"),
        (r#"{"success":"true","result":{}}"#, ServiceFailure, "not of the documented form"),
        (r#"{"success":1,"result":{}}"#, ServiceFailure, "not of the documented form"),
        (r#"{"success":false,"success":true,"result":{}}"#, ServiceFailure, "not of the documented form"),
        (r#"{"success":false}"#, Rejected, "did not carry out the call"),
        (r#"{"success":false,"result":{"ackCount":1}}"#, Rejected, "did not carry out the call"),
        (r#"{"success":false,"errors":null,"messages":null,"result":null}"#, Rejected, "did not carry out the call"),
        (r#"{"success":false,"errors":[]}"#, Rejected, "did not carry out the call"),
        (r#"{"success":false,"errors":[{"code":10026,"message":"no"}]}"#, Rejected, r#"code 10026 "no""#),
        (r#"{"success":false,"errors":["plain"]}"#, Rejected, r#""plain""#),
    ])
    .await;
}

#[tokio::test]
async fn a_success_may_lack_a_result_of_counts_and_warnings() {
    let bodies = [
        r#"{"success":true}"#,
        r#"{"success":true,"result":null}"#,
        r#"{"result":null,"success":true}"#,
        r#"{"success":true,"errors":null,"messages":null}"#,
    ];
    let server = Server::playing([]);
    let queue = support::queue(&server.url);
    for body in bodies {
        server.play(support::ok(body));
        for op in Op::ALL {
            match op.call(&queue).await {
                Ok(()) => assert!(op.may_lack_a_result(), "{op:?}, {body}"),
                Err(error) => {
                    assert!(!op.may_lack_a_result(), "{op:?}, {body}: {error}");
                    assert_eq!(error.kind(), UnexpectedResponse, "{op:?}, {body}: {error}");
                    assert!(error.to_string().contains("claims success, but has no result"), "{op:?}, {body}: {error}");
                    assert_described(&error, op, body);
                }
            }
        }
        let outcome = queue.ack(support::acks(["lease"])).await.unwrap();
        assert_eq!((outcome.acks.confirmed, outcome.acks.accepted, outcome.is_complete()), (None, 1, false), "{body}");
        let outcome = queue.extend(["lease"], Duration::from_secs(30)).await.unwrap();
        assert_eq!((outcome.extensions.accepted, outcome.deadline()), (1, None), "{body}");
        assert_eq!(queue.delete_messages(["lease"]).await.unwrap().deletions.accepted, 1, "{body}");
    }
}

#[tokio::test]
async fn malformed_results_are_ok_only_where_results_are_optional() {
    let results = [r#""done""#, "true", "false", "7", "1e999", "[]", "[null]", "[null,null,null]", r#"[{"a":1}]"#];
    let server = Server::playing([]);
    let queue = support::queue(&server.url);
    for result in results {
        let body = format!(r#"{{"success":true,"result":{result}}}"#);
        server.play(support::ok(&body));
        for op in Op::with_an_object() {
            match op.call(&queue).await {
                Ok(()) => assert!(op.may_lack_a_result(), "{op:?}, {body}"),
                Err(error) => {
                    assert!(!op.may_lack_a_result(), "{op:?}, {body}: {error}");
                    assert_eq!(error.kind(), UnexpectedResponse, "{op:?}, {body}: {error}");
                    assert!(error.to_string().contains("not of the documented form"), "{op:?}, {body}: {error}");
                    assert_described(&error, op, &body);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_response_with_a_repeated_field_is_never_ok() {
    let unreadable = "the response is not of the documented form";
    assert_errors(&[
        (r#"{"success":false,"success":true,"result":{}}"#, ServiceFailure, unreadable),
        (r#"{"success":null,"success":true,"result":{}}"#, ServiceFailure, unreadable),
        (r#"{"success":true,"result":{},"result":{}}"#, ServiceFailure, unreadable),
        (r#"{"success":true,"result":null,"result":{}}"#, ServiceFailure, unreadable),
        (r#"{"result":null,"success":true,"result":{}}"#, ServiceFailure, unreadable),
        (r#"{"result":{},"success":true,"result":null}"#, ServiceFailure, unreadable),
    ])
    .await;
}

#[tokio::test]
async fn an_array_is_not_an_envelope() {
    assert_errors(&[(r#"[true,[],{}]"#, ServiceFailure, "not of the documented form")]).await;
}

#[tokio::test]
async fn a_failure_keeps_its_codes_with_any_result() {
    for result in ["null", "{}", r#""""#, "[]", "false", r#"{"ackCount":"none","messages":"none","metadata":7}"#] {
        let body = format!(r#"{{"success":false,"errors":[{{"code":10026,"message":"no"}}],"result":{result}}}"#);
        assert_errors(&[(&body, Rejected, "code 10026")]).await;
    }
}

#[tokio::test]
async fn a_success_is_ok_with_any_additional_fields() {
    let bodies = [
        r#"{"success":true,"result":{}}"#,
        r#"{"success":true,"errors":null,"messages":null,"result":{}}"#,
        r#"{"success":true,"errors":[],"messages":["a remark"],"result":{}}"#,
        r#"{"success":true,"errors":[],"messages":[{"code":7,"message":"a remark"}],"result":{}}"#,
        r#"{"success":true,"errors":[],"messages":{"odd":7},"result":{},"result_info":{"page":1}}"#,
        "\n {\"result\" : { \"unknown\" : [ ] } , \"success\" : true } \n",
    ];
    let server = Server::playing([]);
    let queue = support::queue(&server.url);
    for body in bodies {
        server.play(support::ok(body));
        for op in Op::with_an_object() {
            op.call(&queue).await.unwrap_or_else(|error| panic!("{op:?}, {body}: {error}"));
        }
    }
}

#[tokio::test]
async fn ignored_fields_do_not_affect_a_confirmation() {
    let body = b"{\"success\":true,\"messages\":[\"\xff\"],\"result\":{\"ackCount\":1,\"odd\":{\"\xff\":\"\\ud800\"}}}";
    let server = Server::playing([support::ok(body)]);
    let outcome = support::queue(&server.url).ack(support::acks(["lease"])).await.unwrap();
    assert!(outcome.is_complete());
}

#[tokio::test]
async fn an_error_keeps_everything_the_service_sent() {
    let server = Server::playing([]);
    let queue = support::queue(&server.url);
    for status in [200, 400] {
        server.play(Act::Respond(support::response(status, &[], fixture!("errors.json"))));
        for op in Op::ALL {
            let error = op.call(&queue).await.unwrap_err();
            assert_eq!((error.kind(), error.status()), (Rejected, Some(status)));
            let [first, second] = error.api_errors() else { panic!("{error}") };
            assert_eq!((first.code, first.message.as_str()), (100_128, "the delay is out of its bounds"));
            assert_eq!(first.documentation_url.as_deref(), Some("https://developers.cloudflare.com/queues/"));
            assert_eq!(first.source_pointer.as_deref(), Some("/retries/0/delay_seconds"));
            assert_eq!(first.error_chain[0].message, "a delay has at most 86400 seconds");
            assert_eq!(second.documentation_url, None);
            let codes = [100_128, 10201, 7, 10026];
            assert!(codes.iter().all(|code| error.has_code(*code)) && !error.has_code(1), "{error}");
        }
    }
}

#[tokio::test]
async fn a_code_of_any_size_and_form_is_read() {
    let table = [
        ("65536", 65536),
        ("100128", 100_128),
        ("9007199254740993", 9_007_199_254_740_993),
        ("-1", -1),
        ("10026.0", 10026),
        (r#""10026""#, 10026),
        (r#""queue_delivery_paused""#, 0),
        ("null", 0),
    ];
    let server = Server::playing([]);
    let queue = support::queue(&server.url);
    for (code, expected) in table {
        let body = format!(r#"{{"success":false,"errors":[{{"code":{code},"message":"m"}},{{"code":7}}]}}"#);
        server.play(support::ok(body));
        let error = Op::Push.call(&queue).await.unwrap_err();
        let codes: Vec<_> = error.api_errors().iter().map(|error| error.code).collect();
        assert_eq!(codes, [expected, 7], "{code}");
    }
}

const HUNDRED_MEGABYTES: usize = 100_000_000;

/// Far more than the socket buffers of both ends.
const MOST_ON_THE_WAY: usize = 40_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_response_of_100_mb_is_refused_at_the_size_limit() {
    let heads = [
        format!("HTTP/1.1 200 OK\r\ncf-ray: {RAY}\r\ncontent-length: {HUNDRED_MEGABYTES}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\ncf-ray: {RAY}\r\nconnection: close\r\n\r\n"),
    ];
    for head in heads {
        for op in Op::ALL {
            let server = Server::playing([Act::Flood(head.clone().into_bytes(), HUNDRED_MEGABYTES)]);
            let error = op.call(&support::stubborn_queue(&server.url, 3)).await.unwrap_err();
            assert_eq!(error.kind(), UnexpectedResponse, "{error}");
            assert_described(&error, op, &head);
            assert!(error.to_string().contains("larger than the bound of "), "{error}");
            let is_bound_of_messages = [Op::Pull, Op::Peek].contains(&op);
            assert!(is_bound_of_messages || error.to_string().contains("the bound of 1048576 bytes"), "{error}");
            let flooded = server.flooded();
            assert!(flooded < MOST_ON_THE_WAY, "{op:?} let the server send {flooded} bytes");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_100_mb_keeps_its_status() {
    let head = format!("HTTP/1.1 503 Status\r\ncf-ray: {RAY}\r\n\r\n");
    let server = Server::playing([Act::Flood(head.into_bytes(), HUNDRED_MEGABYTES)]);
    let error = Op::Push.call(&support::queue(&server.url)).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::ServiceFailure, Some(503)), "{error}");
    assert_eq!(error.ray_id(), Some(RAY));
    assert!(server.flooded() < MOST_ON_THE_WAY);
}

#[tokio::test]
async fn an_announced_length_beyond_the_bound_is_never_ok() {
    let body = r#"{"success":true,"result":{}}"#;
    let head = format!("HTTP/1.1 200 OK\r\ncf-ray: {RAY}\r\ncontent-length: {}\r\n\r\n{body}", u64::MAX / 2);
    let server = Server::playing([Act::Cut(head.into_bytes())]);
    for op in Op::ALL {
        let error = op.call(&support::queue(&server.url)).await.unwrap_err();
        assert!([UnexpectedResponse, ErrorKind::Transport].contains(&error.kind()), "{error}");
        assert_described(&error, op, "a length that is a lie");
    }
}

#[tokio::test]
async fn a_response_that_exactly_fits_the_limit_is_read() {
    let body = r#"{"success":true,"result":{}}"#;
    let server = Server::playing([support::ok(body)]);
    let call =
        async |bytes| Op::Ack.call(&support::open(support::builder(&server.url).max_response_bytes(bytes))).await;
    call(body.len()).await.unwrap();
    let error = call(body.len() - 1).await.unwrap_err();
    assert_eq!(error.kind(), UnexpectedResponse);
    assert!(error.to_string().contains("the bound of 27 bytes"), "{error}");
}

#[tokio::test]
async fn a_response_of_unknown_length_is_held_to_the_limit_too() {
    let body = r#"{"success":true,"result":{}}"#;
    let server = Server::playing([Act::Cut(format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}").into())]);
    let call =
        async |bytes| Op::Ack.call(&support::open(support::builder(&server.url).max_response_bytes(bytes))).await;
    call(body.len()).await.unwrap();
    for bytes in [0, 1, body.len() - 1] {
        assert_eq!(call(bytes).await.unwrap_err().kind(), UnexpectedResponse);
    }
}

#[tokio::test]
async fn a_full_batch_of_the_largest_messages_is_within_the_bound() {
    // A control character is the worst case: six bytes on the wire for one in the message.
    let body = "\\u0007".repeat(128_000);
    let messages: Vec<_> = (0..10).map(|lease| format!(r#"{{"lease_id":"{lease}","body":"{body}"}}"#)).collect();
    let messages = messages.join(",");
    let server = Server::playing([support::ok(format!(r#"{{"success":true,"result":{{"messages":[{messages}]}}}}"#))]);
    let options = PullOptions::new().batch_size(10);
    let queue = support::queue(&server.url);
    assert_eq!((queue.pull(options).await.unwrap().len(), queue.peek(10).await.unwrap().len()), (10, 10));
}

/// How many errors and causes of a list are kept. The first must be one of them.
async fn errors_of(list: String) -> usize {
    let body = format!(r#"{{"success":false,"errors":{list},"result":null}}"#);
    let server = Server::playing([Act::Respond(support::response(400, &[], body))]);
    let error = support::queue(&server.url).push(&PushMessage::text("hello")).await.unwrap_err();
    assert!(error.has_code(10207), "the first");
    assert_eq!(error.api_errors().last().unwrap().message, "more errors are left out");
    let causes: usize = error.api_errors().iter().map(|error| error.error_chain.len()).sum();
    error.api_errors().len() + causes
}

#[tokio::test]
async fn errors_and_warnings_of_a_response_are_bounded_and_say_so() {
    let many = |entry: &str| format!("{entry}{}", format!(",{entry}").repeat(50_000));
    for list in [
        format!(r#"[{{"code":10207}},{}]"#, many(r#"{"code":1}"#)),
        format!(r#"[{{"code":10207,"error_chain":[{}]}}]"#, many(r#"{"code":1}"#)),
        format!(r#"[{{"code":10207}},{}]"#, many("0")),
    ] {
        assert!((500..5000).contains(&errors_of(list).await));
    }
    for (field, entry) in [("warnings", r#""""#), ("warnings", r#"{"message":""}"#), ("errors", r#"{"code":1}"#)] {
        let list = many(entry);
        let body = match field {
            "errors" => format!(r#"{{"success":true,"errors":[{list}],"result":{{}}}}"#),
            _ => format!(r#"{{"success":true,"result":{{"warnings":[{list}]}}}}"#),
        };
        let server = Server::playing([support::ok(body)]);
        let outcome = support::queue(&server.url).ack(support::acks(["a"])).await.unwrap();
        let last = outcome.warnings.last().unwrap();
        assert_eq!((outcome.warnings.len(), last.message.as_str()), (1001, "more warnings are left out"));
        assert_eq!((outcome.acks.accepted, last.subject.is_some()), (0, true), "it may be about any lease");
    }
}
