//! How requests are retried. `faults` has the table of what is retried and what is not.

use std::time::{Duration, Instant, SystemTime};

use cloudflare_queues::{ErrorKind, RetryPolicy};

use support::{Act, Op, Server, quick};

use ErrorKind::*;

const SUCCESS: &str = r#"{"success":true,"errors":[],"messages":[],"result":{}}"#;

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
async fn a_wait_beyond_the_limit_fails_at_once() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(1000));
    for wait in ["61", date.as_str(), "18446744073709551615"] {
        for status in [429, 503] {
            let server = Server::playing([Act::Respond(support::response(status, &[("retry-after", wait)], "{}"))]);
            let error = Op::Ack.call(&support::stubborn_queue(&server.url, 3)).await.unwrap_err();
            assert!(error.to_string().contains("asks for a wait of more than 60 s"), "{wait}: {error}");
            assert_eq!((error.attempts(), server.requests().len()), (1, 1), "{wait}: {error}");
            assert!(error.retry_after() > Some(Duration::from_secs(60)), "{wait}: {error}");
        }
    }
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_fails_at_once() {
    let server = Server::playing([Act::Respond(support::response(429, &[("retry-after", "60")], "{}"))]);
    let builder = support::builder(&server.url).retry(quick(3)).call_timeout(Duration::from_secs(55));
    let error = Op::Pull.call(&support::open(builder)).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (RateLimited, 1));
    assert!(error.to_string().contains("deadline leaves no time for another attempt"), "{error}");
}

#[tokio::test]
async fn a_wait_within_the_cap_is_obeyed() {
    let second = Duration::from_secs(1);
    for (wait, least) in [("1", second), ("0", Duration::ZERO)] {
        let busy = Act::Respond(support::response(429, &[("retry-after", wait)], "{}"));
        let server = Server::playing([busy, support::ok(SUCCESS)]);
        let start = Instant::now();
        Op::Push.call(&support::stubborn_queue(&server.url, 2)).await.unwrap();
        assert!(start.elapsed() >= least, "after {:?}", start.elapsed());
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn a_retry_after_as_a_date_is_awaited() {
    let date = SystemTime::now() + Duration::from_secs(2);
    let text = httpdate::fmt_http_date(date);
    let server =
        Server::playing([Act::Respond(support::response(429, &[("retry-after", &text)], "{}")), support::ok(SUCCESS)]);
    Op::Push.call(&support::stubborn_queue(&server.url, 2)).await.unwrap();
    assert!(SystemTime::now() >= httpdate::parse_http_date(&text).unwrap());
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_retry_after_of_nothing_does_not_shorten_the_back_off() {
    let busy = Act::Respond(support::response(429, &[("retry-after", "0")], "{}"));
    let server = Server::playing([busy, support::ok(SUCCESS)]);
    let policy = RetryPolicy::new().initial_backoff(Duration::from_secs(3600));
    let error = Op::Push.call(&support::open(support::builder(&server.url).retry(policy))).await.unwrap_err();
    assert!(error.to_string().contains("deadline leaves no time for another attempt"), "{error}");
    assert_eq!(server.requests().len(), 1);
}
