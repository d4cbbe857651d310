//! How the client handles responses that the service does not document.

use std::time::Duration;

use cloudflare_queues::{
    AckOutcome, AckRequest, Batch, Client, Credentials, Error, ErrorKind, Lease, PullOptions, PushMessage, RetryPolicy,
    emulator::{Emulator, Fault},
};
use support::{Act, Server, response};

async fn pull(body: &str) -> Result<Batch, Error> {
    support::queue(&Server::playing([support::ok(body)]).url).pull(PullOptions::new()).await
}

async fn ack(body: &str) -> Result<AckOutcome, Error> {
    Ok(support::queue(&Server::playing([support::ok(body)]).url).ack(AckRequest::ack_all(["a-lease"])).await?)
}

#[tokio::test]
async fn one_odd_entry_costs_no_other_message_its_lease() {
    for odd in
        ["7", "\"text\"", "null", r#"{"id":"\ud800","lease_id":"odd"}"#, r#"{"id":"1","id":"2","lease_id":"odd"}"#]
    {
        let body = format!(
            r#"{{"success":true,"errors":[],"messages":[],"result":{{"message_backlog_count":9,
                "messages":[{{"lease_id":"one","body":"x"}},{odd},{{"lease_id":"two"}}]}}}}"#
        );
        let batch = pull(&body).await.unwrap();
        let leases: Vec<_> = batch.iter().map(|message| message.lease_id.expose_secret()).collect();
        assert!(leases.iter().any(|lease| lease == "one") && leases.iter().any(|lease| lease == "two"), "{odd}");
        assert_eq!(batch.len() + batch.without_lease, 3, "{odd}");
        assert_eq!(batch.backlog_count, Some(9), "{odd}");
    }
}

#[tokio::test]
async fn a_duplicate_lease_in_a_batch_is_kept_once() {
    let body = r#"{"success":true,"result":{"messages":[{"id":"1","lease_id":"a"},{"id":"2","lease_id":"b"},
        {"id":"3","lease_id":"a"},{"id":"4","lease_id":"a"}]}}"#;
    let batch = pull(body).await.unwrap();
    assert_eq!(batch.iter().map(|message| message.id.as_str()).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(batch.duplicates, 2);
}

#[tokio::test]
async fn a_wrong_count_confirms_nothing() {
    for count in ["2", "0", "-1", "0.5", "1.5", "1e30"] {
        let outcome = ack(&format!(r#"{{"success":true,"result":{{"ackCount":{count}}}}}"#)).await.unwrap();
        assert_eq!((outcome.acks.confirmed, outcome.acks.doubtful()), (Some(0), 1), "{count}");
        assert!(!outcome.is_complete(), "{count}");
    }
}

#[tokio::test]
async fn errors_with_a_success_are_warnings() {
    let body = r#"{"success":true,"errors":[{"code":10026,"message":"no a-lease here"}],"result":{"ackCount":1}}"#;
    let outcome = ack(body).await.unwrap();
    assert!(outcome.is_complete());
    assert_eq!(outcome.warnings[0].message, "code 10026 \"no a-lease here\"".replace("a-lease", "[redacted]"));
}

#[tokio::test]
async fn a_failure_with_status_200_has_the_kind_of_its_code() {
    for (code, kind) in [
        (10250, ErrorKind::RateLimited),
        (10000, ErrorKind::Unauthorized),
        (10104, ErrorKind::NotFound),
        (15000, ErrorKind::ServiceFailure),
        (10026, ErrorKind::Rejected),
    ] {
        let body = format!(r#"{{"success":false,"errors":[{{"code":{code}}}],"result":null}}"#);
        assert_eq!(ack(&body).await.unwrap_err().kind(), kind, "{code}");
    }
}

/// The result of an operation of three attempts if each response is a failure with status 200 and this code.
async fn fail_under_200(op: support::Op, code: i64) -> (Error, usize) {
    let server = Server::playing([support::refused(200, code)]);
    let error = op.call(&support::stubborn_queue(&server.url, 3)).await.unwrap_err();
    (error, server.requests().len())
}

#[tokio::test]
async fn failures_under_status_200_are_retried_if_idempotent() {
    for op in support::Op::ALL {
        for (code, requests, may_have_arrived) in
            [(10250, 3, true), (15000, 3, true), (10026, 1, true), (10000, 1, false)]
        {
            let expected = if op.is_idempotent() { requests } else { 1 };
            let (error, requests) = fail_under_200(op, code).await;
            assert_eq!((requests, error.attempts()), (expected, expected as u32), "{op:?} {code}: {error}");
            assert_eq!(error.may_have_arrived(), may_have_arrived, "{op:?} {code}: {error}");
            assert_eq!((error.status(), error.ray_id()), (Some(200), Some(support::RAY)), "{op:?} {code}: {error}");
        }
    }
}

#[tokio::test]
async fn credentials_refused_under_status_200_are_provided_anew() {
    for op in support::Op::MESSAGES {
        let server = Server::start(|_, request| match request.headers["authorization"].as_str() {
            "Bearer first" => support::refused(200, 10000),
            _ => support::bare_success(),
        });
        let provided = std::sync::atomic::AtomicUsize::new(0);
        let credentials = Credentials::from_provider(move || {
            let is_first = provided.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
            let token = if is_first { "first" } else { "second" };
            async move { Ok(Credentials::api_token(token)?) }
        });
        let builder = Client::builder(credentials).base_url(&server.url).retry(RetryPolicy::none());
        op.call(&support::open(builder)).await.unwrap();
        assert_eq!(server.requests().len(), 2, "{op:?}");
    }
}

#[tokio::test]
async fn a_404_without_an_envelope_points_to_the_base_url() {
    let missing = |body: &str| support::queue(&Server::playing([Act::Respond(response(404, &[], body))]).url);
    let nothing = missing("<html>nothing here</html>").pull(PullOptions::new()).await.unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::ServiceFailure);
    assert!(nothing.to_string().contains("check the base URL"), "{nothing}");
    let body = r#"{"success":false,"errors":[{"code":10104,"message":"no queue"}]}"#;
    let no_queue = missing(body).pull(PullOptions::new()).await.unwrap_err();
    assert!(no_queue.to_string().contains("check the account id and the queue id"), "{no_queue}");
}

#[tokio::test]
async fn byte_order_marks_are_ignored_and_compressed_responses_fail() {
    assert!(ack("\u{feff}{\"success\":true,\"result\":{\"ackCount\":1}}").await.unwrap().is_complete());
    let gzip = Act::Respond(response(200, &[("content-encoding", "gzip")], [0x1f, 0x8b, 8, 0]));
    let error = support::queue(&Server::playing([gzip]).url).pull(PullOptions::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ServiceFailure);
    assert!(error.to_string().contains("compressed") && error.may_have_arrived(), "{error}");
}

#[tokio::test]
async fn a_truncated_response_without_a_length_is_requested_again() {
    let body = r#"{"result":{"ackCount":1,"warnings":{}},"errors":[{"code":1}],"success":true}"#;
    // Also at the end of an inner object or list.
    for length in 0..body.len() {
        let cut = format!("HTTP/1.0 200 OK\r\n\r\n{}", &body[..length]);
        let server =
            Server::playing([Act::Cut(cut.into()), support::ok(r#"{"success":true,"result":{"ackCount":1}}"#)]);
        let queue = support::stubborn_queue(&server.url, 2);
        assert!(queue.ack(AckRequest::ack_all(["a-lease"])).await.unwrap().is_complete(), "cut at {length}");
        assert_eq!(server.requests().len(), 2, "cut at {length}");
    }
}

#[tokio::test]
async fn an_absurd_length_reserves_nothing() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775806\r\n\r\n{}";
    let server = Server::playing([Act::Cut(head.into())]);
    let queue = support::open(support::builder(&server.url).max_response_bytes(usize::MAX));
    assert_eq!(queue.pull(PullOptions::new()).await.unwrap_err().kind(), ErrorKind::Transport);
}

#[tokio::test]
async fn an_error_of_several_requests_speaks_for_all_of_them() {
    let leases: Vec<_> = (0..150).map(|number| format!("lease-{number}")).collect();
    let confirmed = support::ok(r#"{"success":true,"result":{"ackCount":100}}"#);
    let queue = support::queue(&Server::playing([confirmed, support::refused(429, 10250)]).url);
    let failed = queue.ack(AckRequest::ack_all(leases.clone())).await.unwrap_err();
    assert_eq!((failed.outcome.acks.confirmed, failed.unconfirmed.len()), (Some(100), 50));
    assert!(failed.error.may_have_arrived() && !failed.to_string().contains("nothing arrived"), "{failed}");

    let queue = support::queue(&Server::playing([support::bare_success(), support::refused(403, 10000)]).url);
    let failed = queue.push_all(&vec![PushMessage::text("hello"); 150]).await.unwrap_err();
    assert_eq!((failed.accepted, failed.may_have_arrived, failed.error.may_have_arrived()), (100, 0, true));

    let queue = support::queue(&Server::playing([support::refused(400, 10026), support::refused(400, 10013)]).url);
    let failed = queue.ack(AckRequest::ack_all(leases)).await.unwrap_err();
    assert!(failed.error.has_code(10026) && failed.error.has_code(10013), "{failed}");
    assert_eq!((failed.unconfirmed.len(), failed.error.attempts()), (150, 2));
    assert!(!failed.error.may_have_arrived());
}

#[tokio::test(start_paused = true)]
async fn retries_end_with_the_shortest_lease() {
    let emulator = Emulator::builder().real_time().start().await.unwrap();
    let policy = RetryPolicy::new().max_attempts(u32::MAX).budget(u32::MAX);
    let client = emulator.in_process_builder().unwrap().retry(policy).build().unwrap();
    let queue = client.queue(emulator.account_id(), emulator.queue_id()).unwrap();
    (0..1000).for_each(|_| emulator.inject(Fault::ServerError(503)));
    let start = tokio::time::Instant::now();
    let lease = |seconds| Lease::new("a-lease", (start + Duration::from_secs(seconds)).into_std());
    let request = AckRequest::new()
        .ack(lease(20))
        .ack(Lease::new("other", (start + Duration::from_secs(90)).into_std()))
        .ack("no deadline");
    let failed = queue.ack(request).await.unwrap_err();
    assert!((5..=20).contains(&start.elapsed().as_secs()), "{:?}: {failed}", start.elapsed());

    // An expired lease does not limit the others, and is sent once by itself.
    let before = emulator.requests();
    queue.ack(AckRequest::ack_all([lease(0)])).await.unwrap_err();
    assert_eq!(emulator.requests() - before, 1);
}

#[tokio::test]
async fn a_body_can_be_pushed_again_byte_for_byte() {
    let emulator = Emulator::start().await.unwrap();
    let queue = emulator.queue().unwrap();
    let json = serde_json::value::RawValue::from_string("{\"b\": 1,  \"a\": [1.50, \"\\u00e9\"]}".to_owned()).unwrap();
    for pushed in [PushMessage::text("caf\u{e9} \"\n"), PushMessage::json(&json).unwrap()] {
        queue.push(&pushed).await.unwrap();
        let message = queue.pull(PullOptions::new()).await.unwrap().into_iter().next().unwrap();
        let again = PushMessage::from_body(&message.body).unwrap();
        assert_eq!(again.body().content_type(), pushed.body().content_type());
        assert_eq!(again.body().bytes().unwrap(), message.body.bytes().unwrap());
        assert_eq!(again.size(), message.body.bytes().unwrap().len());
    }
}

#[tokio::test]
async fn any_number_of_messages_is_pushed_in_full_requests() {
    let emulator = Emulator::start().await.unwrap();
    let queue = emulator.queue().unwrap();
    let small = vec![PushMessage::text("x"); 250];
    queue.push_all(&small).await.unwrap();
    assert_eq!(emulator.requests(), 3);
    let large = vec![PushMessage::text("x".repeat(100_000)); 5];
    queue.push_all(&large).await.unwrap();
    assert_eq!(emulator.requests(), 6);
    queue.push_all(&[]).await.unwrap();
    assert_eq!(emulator.requests(), 6);
    assert_eq!(emulator.messages(emulator.queue_id()).len(), 255);

    let too_large = [PushMessage::text("x"), PushMessage::text("x".repeat(128_001))];
    let refused = queue.push_all(&too_large).await.unwrap_err();
    assert_eq!((refused.error.kind(), emulator.requests()), (ErrorKind::InvalidInput, 6));
    assert_eq!((refused.accepted, refused.may_have_arrived), (0, 0));

    emulator.inject(Fault::Slow { before: Duration::ZERO, after: Duration::ZERO, fault: None });
    emulator.inject(Fault::Forbidden);
    let failed = queue.push_all(&small).await.unwrap_err();
    assert_eq!((failed.accepted, failed.may_have_arrived), (100, 0));
}

#[test]
fn every_call_without_a_runtime_is_an_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (emulator, queue) = runtime.block_on(async {
        let emulator = Emulator::start().await.unwrap();
        let queue = emulator.queue().unwrap();
        (emulator, queue)
    });
    let mut texts = Vec::new();
    for op in support::Op::ALL {
        let call = || op.call(&queue);
        let mut future = std::pin::pin!(call());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(result) => texts.push(result.unwrap_err()),
            std::task::Poll::Pending => panic!("{op:?} waits for a runtime that is not there"),
        }
        let bare = tokio::runtime::Builder::new_current_thread().build().unwrap();
        texts.push(bare.block_on(call()).unwrap_err());
    }
    for error in texts {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("need a tokio runtime with enable_all()"), "{error}");
    }
    drop(emulator);
}

#[tokio::test]
async fn an_invalid_ray_id_is_not_shown() {
    for echoed in [
        support::TOKEN,
        "a-lease-id-that-was-sent-back",
        "8f1c2d3e4f5a6b7c-FRA-and-more-than-that",
        "short-but-no-ray-id",
        "8F1C2D3E4F5A6B7C-FRA-AND-MORE-THAN-THAT",
    ] {
        let refused = Act::Respond(format!("HTTP/1.1 400 No\r\ncf-ray: {echoed}\r\ncontent-length: 0\r\n\r\n").into());
        let error = support::queue(&Server::playing([refused]).url).pull(PullOptions::new()).await.unwrap_err();
        assert_eq!(error.ray_id(), None);
        assert!(!format!("{error} {error:?}").contains(echoed), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn leases_that_expire_before_the_response_are_logged() {
    let emulator = Emulator::in_process();
    let queue = emulator.queue().unwrap();
    queue.push(&PushMessage::text("hello")).await.unwrap();
    let late = |after| Fault::Slow { before: Duration::ZERO, after, fault: None };
    let second = Duration::from_secs(1);
    for (after, warnings) in [(second / 2, 0), (second * 5, 1)] {
        emulator.inject(late(after));
        crate::trace::keep();
        let batch = queue.pull(PullOptions::new().visibility_timeout(second)).await.unwrap();
        let warned = crate::trace::kept().matches("the leases expired before the response to the pull arrived").count();
        assert_eq!((batch.len(), warned), (1, warnings), "{after:?}");
        tokio::time::sleep(second * 10).await;
    }
}

#[tokio::test(start_paused = true)]
async fn acks_are_not_retried_if_the_wait_passes_their_deadline() {
    let (emulator, second) = (Emulator::in_process(), Duration::from_secs(1));
    emulator.inject(Fault::RateLimited { code: 10250, retry_after: Some(second) });
    // A timer ends with the next millisecond.
    let microsecond = Duration::from_micros(1);
    tokio::time::advance(300 * microsecond).await;
    let deadline = tokio::time::Instant::now() + second + 500 * microsecond;
    let request = support::acks(["a"]).deadline(deadline.into_std());
    let error = emulator.queue().unwrap().ack(request).await.unwrap_err().error;
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::RateLimited, 1), "{error}");
    assert!(error.to_string().contains("deadline leaves no time for another attempt"), "{error}");
}

/// The outcome of an ack of a lease that lasts for another 300 ms, after these faults, and how many requests it took.
async fn ack_of_a_short_lease(faults: &[Fault]) -> (AckOutcome, u64) {
    let emulator = Emulator::builder().real_time().start().await.unwrap();
    let client = emulator.in_process_builder().unwrap().build().unwrap();
    let queue = client.queue(emulator.account_id(), emulator.queue_id()).unwrap();
    queue.push(&PushMessage::text("hello")).await.unwrap();
    let message = queue.pull(PullOptions::new()).await.unwrap().into_iter().next().unwrap();
    let end = tokio::time::Instant::now() + Duration::from_millis(300);
    let before = emulator.requests();
    faults.iter().for_each(|fault| emulator.inject(fault.clone()));
    let outcome = queue.ack(AckRequest::ack_all([Lease::new(message.lease_id, end.into_std())])).await.unwrap();
    assert!(tokio::time::Instant::now() > end);
    (outcome, emulator.requests() - before)
}

#[tokio::test(start_paused = true)]
async fn acks_in_flight_outlive_their_lease() {
    let late = Fault::Delay(Duration::from_millis(700));
    let (outcome, requests) = ack_of_a_short_lease(std::slice::from_ref(&late)).await;
    assert_eq!((outcome.is_complete(), requests), (true, 1));
    let (outcome, requests) = ack_of_a_short_lease(&[Fault::ServerError(503), late]).await;
    assert_eq!((outcome.is_complete(), requests), (true, 2));
}

#[tokio::test(start_paused = true)]
async fn an_extension_in_flight_outlives_its_lease_and_is_not_retried() {
    let second = Duration::from_secs(1);
    for (takes, expected) in [(10 * second, None), (1000 * second, Some(30 * second))] {
        let (emulator, start) = (Emulator::in_process(), tokio::time::Instant::now());
        emulator.inject(Fault::Delay(takes));
        let lease = Lease::new("a-lease", (start + second).into_std());
        let extended = emulator.queue().unwrap().extend([lease], 60 * second).await;
        assert_eq!((start.elapsed(), emulator.requests()), (expected.unwrap_or(takes), 1));
        match extended {
            Ok(outcome) => assert_eq!((outcome.extensions.requested, expected), (1, None)),
            Err(failed) => assert_eq!((failed.error.kind(), failed.error.attempts()), (ErrorKind::Timeout, 1)),
        }
    }
}
