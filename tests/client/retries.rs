//! What is sent again, and what is not.

use std::time::{Duration, Instant, SystemTime};

use cloudflare_queues::{ErrorKind, RetryPolicy};

use support::{Act, Op, RAY, Server, quick};

use ErrorKind::*;

const SUCCESS: &str = r#"{"success":true,"errors":[],"messages":[],"result":{}}"#;

/// A failure, its kind, and how often an operation of three attempts is sent: one that does no harm twice, and any
/// other.
type Row = (&'static str, Act, ErrorKind, [u32; 2]);

async fn assert_attempts(table: Vec<Row>) {
    let server = Server::playing([]);
    for (row, act, kind, [harmless, others]) in table {
        // A client for each row, since its calls share a budget of retries.
        let queue = support::stubborn_queue(&server.url, 3);
        for op in Op::ALL {
            server.play(act.clone());
            let Err(error) = op.call(&queue).await else {
                assert!(op.is_without_result(), "{op:?}, {row}");
                continue;
            };
            let attempts = if op.is_idempotent() { harmless } else { others };
            assert_eq!(error.kind(), op.sees(kind), "{op:?}, {row}: {error}");
            assert_eq!(error.attempts(), attempts, "{op:?}, {row}: {error}");
            assert_eq!(server.requests().len(), attempts as usize, "{op:?}, {row}: {error}");
            let is_refused = error.status().is_some_and(|status| (400..=499).contains(&status) && status != 408);
            assert_eq!(error.may_have_arrived(), !is_refused, "{op:?}, {row}: {error}");
        }
    }
}

#[tokio::test]
async fn only_what_does_no_harm_is_sent_again_after_it_may_have_been_carried_out() {
    let half = format!("HTTP/1.1 200 OK\r\ncf-ray: {RAY}\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{{\"success");
    assert_attempts(vec![
        ("a failure", support::refused(500, 15000), ServiceFailure, [3, 1]),
        ("a page of the edge", Act::Respond(support::response(502, &[], "<html>")), ServiceFailure, [3, 1]),
        ("another page", Act::Respond(support::response(522, &[], "")), ServiceFailure, [3, 1]),
        ("a request that took too long", Act::Respond(support::response(408, &[], "")), Timeout, [3, 1]),
        ("a reset", Act::Reset, Transport, [3, 1]),
        ("a connection closed without a response", Act::Cut(Vec::new()), Transport, [3, 1]),
        ("a head that is cut off", Act::Cut(b"HTTP/1.1 200 OK\r\nconte".to_vec()), Transport, [3, 1]),
        ("a body that is cut off", support::cut_off(200, SUCCESS), Transport, [3, 1]),
        ("a chunk that is cut off", Act::Cut(half.into_bytes()), Transport, [3, 1]),
        ("a response that is no HTTP", Act::Cut(b"SSH-2.0-OpenSSH_9.9\r\n\r\n".to_vec()), Transport, [3, 1]),
    ])
    .await;
}

#[tokio::test]
async fn a_busy_service_is_asked_again_and_one_whose_quota_is_used_up_is_not() {
    assert_attempts(vec![
        ("overloaded", support::refused(429, 10250), RateLimited, [3, 3]),
        ("the account's rate", support::refused(429, 971), RateLimited, [3, 3]),
        ("the account's rate, newer", support::refused(429, 10429), RateLimited, [3, 3]),
        ("no code", Act::Respond(support::response(429, &[], "<html>")), RateLimited, [3, 3]),
        ("storage is full", support::refused(429, 10251), RateLimited, [1, 1]),
        ("the queue is disabled", support::refused(429, 10252), RateLimited, [1, 1]),
        ("the free tier is used up", support::refused(429, 10253), RateLimited, [1, 1]),
    ])
    .await;
}

#[tokio::test]
async fn what_somebody_has_to_mend_first_is_not_sent_again() {
    assert_attempts(vec![
        ("rejected", support::refused(400, 10026), Rejected, [1, 1]),
        ("malformed credentials", support::refused(400, 6003), Unauthorized, [1, 1]),
        ("wrong credentials", support::refused(401, 10000), Unauthorized, [1, 1]),
        ("a lacking permission", support::refused(403, 10000), Unauthorized, [1, 1]),
        ("no queue", support::refused(404, 10104), NotFound, [1, 1]),
        ("no pull consumer", support::refused(405, 0), NotPullConsumer, [1, 1]),
        ("paused", support::refused(409, 0), DeliveryPaused, [1, 1]),
        ("a redirect", support::refused(307, 0), UnexpectedResponse, [1, 1]),
        ("no success", support::ok(r#"{"success":false}"#), Rejected, [1, 1]),
        ("HTML", support::ok("<html>"), UnexpectedResponse, [1, 1]),
        ("no result", support::ok(r#"{"success":true}"#), UnexpectedResponse, [1, 1]),
        ("JSON that is cut off", support::ok(r#"{"success":true,"#), UnexpectedResponse, [1, 1]),
    ])
    .await;
}

#[tokio::test]
async fn an_ack_succeeds_once_its_troubles_are_over() {
    let troubles = [
        Act::Reset,
        support::refused(500, 15000),
        support::refused(429, 10250),
        support::cut_off(200, SUCCESS),
        Act::Cut(Vec::new()),
        support::ok(fixture!("ack.json")),
    ];
    let server = Server::playing(troubles);
    let outcome = support::stubborn_queue(&server.url, 6).ack(support::acks(["a", "b"])).await.unwrap();
    assert!(outcome.is_complete());
    let requests = server.requests();
    assert_eq!(requests.len(), 6);
    assert!(requests.iter().all(|request| *request == requests[0]), "the request changed on the way");
}

#[tokio::test]
async fn every_operation_succeeds_after_an_overload() {
    for op in Op::ALL {
        let server = Server::playing([support::refused(429, 10250), support::refused(429, 971), support::ok(SUCCESS)]);
        op.call(&support::stubborn_queue(&server.url, 3)).await.unwrap();
        assert_eq!(server.requests().len(), 3);
    }
}

#[tokio::test]
async fn without_retries_every_request_is_sent_once() {
    for max_attempts in [0, 1] {
        for act in [support::refused(429, 10250), support::refused(500, 0), Act::Reset] {
            let server = Server::playing([act]);
            let error = Op::Ack.call(&support::stubborn_queue(&server.url, max_attempts)).await.unwrap_err();
            assert_eq!((error.attempts(), server.requests().len()), (1, 1));
        }
    }
}

#[tokio::test]
async fn a_wait_beyond_the_cap_fails_at_once_and_says_so() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(1000));
    for wait in ["61", date.as_str(), "18446744073709551615"] {
        for status in [429, 503] {
            let server = Server::playing([Act::Respond(support::response(status, &[("retry-after", wait)], "{}"))]);
            let error = Op::Ack.call(&support::stubborn_queue(&server.url, 3)).await.unwrap_err();
            assert!(error.to_string().contains("asks for a longer wait than the policy allows"), "{wait}: {error}");
            assert_eq!((error.attempts(), server.requests().len()), (1, 1), "{wait}: {error}");
            assert!(error.retry_after() > Some(Duration::from_secs(60)), "{wait}: {error}");
        }
    }
}

#[tokio::test]
async fn a_wait_that_leaves_no_time_fails_at_once_and_says_so() {
    let server = Server::playing([Act::Respond(support::response(429, &[("retry-after", "30")], "{}"))]);
    let builder = support::builder(&server.url).retry(quick(3)).call_timeout(Duration::from_secs(10));
    let error = Op::Pull.call(&support::open(builder)).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (RateLimited, 1));
    assert!(error.to_string().contains("deadline leaves no time for another attempt"), "{error}");
}

#[tokio::test]
async fn a_wait_within_the_cap_is_obeyed() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_millis(1999));
    for (wait, least) in [("1", Duration::from_secs(1)), ("0", Duration::ZERO), (&date, Duration::ZERO)] {
        let busy = Act::Respond(support::response(429, &[("retry-after", wait)], "{}"));
        let server = Server::playing([busy, support::ok(SUCCESS)]);
        let start = Instant::now();
        Op::Push.call(&support::stubborn_queue(&server.url, 2)).await.unwrap();
        assert!(start.elapsed() >= least, "after {:?}", start.elapsed());
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn a_retry_after_of_nothing_does_not_shorten_the_back_off() {
    let busy = Act::Respond(support::response(429, &[("retry-after", "0")], "{}"));
    let server = Server::playing([busy, support::ok(SUCCESS)]);
    let hour = Duration::from_secs(3600);
    let policy = RetryPolicy::new().initial_backoff(hour).max_backoff(hour);
    let error = Op::Push.call(&support::open(support::builder(&server.url).retry(policy))).await.unwrap_err();
    assert!(error.to_string().contains("deadline leaves no time for another attempt"), "{error}");
    assert_eq!(server.requests().len(), 1);
}
