//! What an error says is true.

use std::time::{Duration, SystemTime};

use cloudflare_queues::{
    Client, Credentials, ErrorKind, PullOptions, PushMessage, RetryPolicy,
    manage::{ConsumerSettings, EventSource, NewSubscription},
};
use serde_json::json;
use support::{Act, Op, Server, response};

#[tokio::test]
async fn creation_without_an_id_may_have_been_carried_out() {
    let queue = support::queue(&Server::playing([support::bare_success()]).url);
    let consumer = queue.create_consumer(&ConsumerSettings::pull()).await.unwrap();
    let subscription = NewSubscription::new("uploads", EventSource::new("r2"), queue.id()).event("created");
    let subscription = queue.queues().subscriptions().create(&subscription).await.unwrap();
    let errors =
        [queue.queues().create("jobs").await.unwrap_err(), consumer.id().unwrap_err(), subscription.id().unwrap_err()];
    for error in errors {
        assert_eq!((error.kind(), error.may_have_arrived()), (ErrorKind::UnexpectedResponse, true), "{error}");
    }
}

#[tokio::test]
async fn a_long_failure_under_status_200_is_sent_again() {
    let failure = |code: i64| {
        let errors = json!([{ "code": code, "message": "a".repeat(5000) }]);
        support::ok(json!({ "success": false, "errors": errors, "result": null }).to_string())
    };
    let server = Server::playing([failure(15000), support::bare_success()]);
    Op::Ack.call(&support::stubborn_queue(&server.url, 2)).await.unwrap();
    assert_eq!(server.requests().len(), 2);

    let server = Server::start(move |_, request| match request.headers["authorization"].as_str() {
        "Bearer a-first-token" => failure(10000),
        _ => support::bare_success(),
    });
    let tokens = std::sync::Mutex::new(["a-second-token", "a-first-token"].into_iter().rev());
    let credentials = Credentials::from_provider(move || {
        let token = tokens.lock().unwrap().next().unwrap();
        async move { Ok(Credentials::api_token(token)?) }
    });
    let builder = Client::builder(credentials).base_url(&server.url).retry(RetryPolicy::none());
    Op::Push.call(&support::open(builder)).await.unwrap();
}

#[tokio::test]
async fn a_push_that_the_service_failed_may_have_been_carried_out() {
    let acts = [support::refused(503, 0), Act::Respond(response(502, &[], "")), support::refused(200, 15000)];
    for act in acts.into_iter().chain([support::refused(200, 10250)]) {
        let error = Op::Push.call(&support::queue(&Server::playing([act]).url)).await.unwrap_err();
        assert!(error.may_have_arrived() && error.next_step().contains("a push may be duplicated"), "{error}");
    }
    // A refusal is certain.
    let busy = Server::playing([support::refused(429, 10250)]);
    let error = Op::Push.call(&support::queue(&busy.url)).await.unwrap_err();
    assert!(!error.next_step().contains("duplicated"), "{error}");
}

#[tokio::test]
async fn retry_after_is_compared_with_the_date_of_the_response() {
    let sent = SystemTime::now() + Duration::from_secs(600);
    let [date, later] = [sent, sent + Duration::from_secs(2)].map(httpdate::fmt_http_date);
    let act = Act::Respond(response(429, &[("date", &date), ("retry-after", &later)], "{}"));
    let error = Op::Pull.call(&support::queue(&Server::playing([act]).url)).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
}

#[tokio::test]
async fn every_form_of_retry_after_is_read_or_ignored() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    type Headers = [(&'static str, &'static str)];
    let table: &[(&Headers, Option<u64>)] = &[
        (&[("retry-after", "7")], Some(7)),
        (&[("retry-after", " 7 ")], Some(7)),
        (&[("retry-after", "0")], Some(0)),
        (&[("retry-after", "+7")], Some(7)),
        (&[("retry-after", "-7")], None),
        (&[("retry-after", "7.5")], None),
        (&[("retry-after", "7s")], None),
        (&[("retry-after", "7, 9")], None),
        (&[("retry-after", "")], None),
        (&[("retry-after", "99999999999999999999")], None),
        (&[("retry-after", "18446744073709551615")], Some(u64::MAX)),
        (&[("retry-after", "7"), ("retry-after", "9")], Some(9)),
        (&[("retry-after", "soon"), ("retry-after", "9")], Some(9)),
        // A date in the past, by the response's own clock or by ours.
        (&[("retry-after", date)], Some(0)),
        (&[("retry-after", date), ("date", "Sun, 06 Nov 1994 08:49:38 GMT")], Some(0)),
        (&[("retry-after", date), ("date", "Sun, 06 Nov 1994 08:48:37 GMT")], Some(60)),
        (&[("retry-after", "Sunday, 06-Nov-94 08:49:37 GMT"), ("date", "Sun Nov  6 08:49:27 1994")], Some(10)),
        (&[("retry-after", "Sun, 31 Feb 1994 08:49:37 GMT"), ("date", date)], None),
        (&[("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT"), ("date", "Fri, 31 Dec 9999 23:59:58 GMT")], Some(1)),
    ];
    let server = Server::playing([]);
    let queue = support::queue(&server.url);
    for (headers, wait) in table {
        for status in [429, 503, 403, 200] {
            server.play(Act::Respond(response(status, headers, "<html>")));
            let error = Op::Pull.call(&queue).await.unwrap_err();
            assert_eq!(error.retry_after().map(|wait| wait.as_secs()), *wait, "{status} {headers:?}: {error}");
        }
    }
}

#[tokio::test]
async fn a_wait_that_no_call_can_take_ends_it_at_once() {
    for wait in ["61", "86400", "18446744073709551615", "Fri, 31 Dec 9999 23:59:59 GMT"] {
        for status in [429, 503, 403, 200] {
            let server = Server::playing([Act::Respond(response(status, &[("retry-after", wait)], "<html>"))]);
            let error = Op::Ack.call(&support::stubborn_queue(&server.url, 3)).await.unwrap_err();
            assert!(error.to_string().contains("a wait of more than 60 s"), "{status} {wait}: {error}");
            assert_eq!(server.requests().len(), 1, "{status} {wait}");
        }
    }
}

#[tokio::test]
async fn deep_nesting_is_not_reported_as_malformed_json() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let body = format!(r#"{{"success":true,"result":{{"odd":{deep},"metadata":{deep}}}}}"#);
    let server = Server::playing([support::ok(body)]);
    for op in [Op::Ack, Op::Push, Op::PushBatch, Op::Pull, Op::Peek, Op::Extend, Op::Delete, Op::GetQueue] {
        op.call(&support::queue(&server.url)).await.unwrap();
    }
    let body = json!({ "lease_id": "a", "body": deep, "metadata": { "CF-Content-Type": "json" } });
    let body = json!({ "success": true, "result": { "messages": [body] } }).to_string();
    let batch = support::queue(&Server::playing([support::ok(body)]).url).pull(PullOptions::new()).await.unwrap();
    let error = batch.messages[0].body.json::<serde_json::Value>().unwrap_err();
    assert!(error.to_string().contains("is nested too deeply"), "{error}");
}

#[tokio::test]
async fn a_fraction_of_a_millisecond_is_a_time() {
    let body = json!({ "success": true, "result": { "messages": [{ "lease_id": "a", "timestamp_ms": 1500.25 }] } });
    let server = Server::playing([support::ok(body.to_string())]);
    let batch = support::queue(&server.url).pull(PullOptions::new()).await.unwrap();
    let since = batch.messages[0].timestamp.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(since.as_millis(), 1500);
}

#[tokio::test]
async fn a_call_redacts_every_credential_that_it_used() {
    let quote =
        r#"{"success":false,"errors":[{"code":10000,"message":"no first-token-of-all or second-token-of-all"}]}"#;
    let server = Server::playing([Act::Respond(response(401, &[], quote))]);
    let tokens = std::sync::Mutex::new(["first-token-of-all", "second-token-of-all"].into_iter());
    let credentials = Credentials::from_provider(move || {
        let token = tokens.lock().unwrap().next().unwrap_or("second-token-of-all");
        async move { Ok(Credentials::api_token(token)?) }
    });
    let builder = Client::builder(credentials).base_url(&server.url).retry(RetryPolicy::none());
    let error = Op::Pull.call(&support::open(builder)).await.unwrap_err();
    assert_eq!(server.requests().len(), 2);
    assert_eq!(error.api_errors()[0].message, "no [redacted] or [redacted]");
}

#[tokio::test]
async fn errors_show_no_credential_before_or_after_rotation() {
    // They have nothing in common, since what they share is redacted for either.
    let (first, second) = ("f1rst-token-0f-all-of-them", "an0ther-s3cret-that-came-later");
    let entry = |text: &str| {
        json!({ "code": 10000, "message": text, "documentation_url": text, "source": { "pointer": text },
            "error_chain": [{ "code": 6111, "message": text, "error_chain": [{ "message": text }] }] })
    };
    // As it is, in the header's form, in part, and within JSON that was escaped twice.
    for quoted in [
        format!("{first} {second}"),
        format!("Bearer {first}/Bearer {second}"),
        format!("{}\"{}", &first[3..20], &second[3..20]),
    ] {
        for (status, is_renewed) in [(401, true), (403, true), (400, true), (500, false), (200, true)] {
            let body = json!({ "success": false, "errors": [entry(&quoted), quoted, { "code": quoted }] }).to_string();
            let server = Server::playing([Act::Respond(response(status, &[("cf-ray", first)], body))]);
            let tokens = std::sync::Mutex::new([first].into_iter());
            let credentials = Credentials::from_provider(move || {
                let token = tokens.lock().unwrap().next().unwrap_or(second);
                async move { Ok(Credentials::api_token(token)?) }
            });
            let builder = Client::builder(credentials).base_url(&server.url).retry(RetryPolicy::none());
            let error = Op::Push.call(&support::open(builder)).await.unwrap_err();
            assert_eq!(server.requests().len(), if is_renewed { 2 } else { 1 }, "{status}");
            let shown = format!("{error} {error:?} {}", serde_json::to_string(error.api_errors()).unwrap());
            assert!(!shown.contains(&first[3..20]), "{status}: {shown}");
            assert!(!is_renewed || !shown.contains(&second[3..20]), "{status}: {shown}");
        }
    }
}

#[tokio::test]
async fn a_number_of_the_request_does_not_return_as_a_code() {
    let failure = |code: i64| support::ok(json!({ "success": false, "errors": [{ "code": code }] }).to_string());
    let card = 4_111_111_122_223_333;
    let queue = support::queue(&Server::playing([failure(card)]).url);
    let error = queue.push(&PushMessage::json(&json!({ "card": card })).unwrap()).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("1111"), "{error}");
    assert_eq!(error.api_errors()[0].code, 0);
    // A code that the crate knows stays one, and so does one that was not sent.
    let queue = support::queue(&Server::playing([failure(15000)]).url);
    let error = queue.push(&PushMessage::json(&json!({ "number": 15000 })).unwrap()).await.unwrap_err();
    assert_eq!((error.kind(), error.api_errors()[0].code), (ErrorKind::ServiceFailure, 15000));
}

#[tokio::test]
async fn the_ray_id_of_a_success_is_redacted_in_the_span() {
    crate::trace::keep();
    let lease = "8f1c2d3e4f5a6b7c-FRA";
    let server = Server::playing([support::ok(r#"{"success":true,"result":{"ackCount":1}}"#)]);
    Op::Ack.call_with(&support::queue(&server.url), lease, "").await.unwrap();
    let text = crate::trace::kept();
    let end = text.lines().find(|line| line.contains(": close")).unwrap();
    assert!(end.contains("cloudflare.ray_id=[redacted]") && !end.contains(lease), "{end}");
}
