//! More leases than one request holds.

use std::{collections::BTreeSet, time::Duration};

use cloudflare_queues::{AckError, AckRequest, ErrorKind, ExtendError, Settlement};
use serde_json::{Value, json};

use support::{Act, Request, Server};

/// Whether a lease is acked or retried depends on its number, so that both lists are in every request.
fn numbered(range: std::ops::Range<usize>) -> AckRequest {
    let mut request = AckRequest::new();
    for n in range {
        request = match n % 5 {
            0 => request.retry(name(n)),
            _ => request.ack(name(n)),
        };
    }
    request
}

fn name(n: usize) -> String {
    format!("lease {n:03}")
}

fn names(range: std::ops::Range<usize>) -> BTreeSet<String> {
    range.map(name).collect()
}

fn sent(request: &Request) -> (Vec<String>, Vec<String>) {
    let body = request.json();
    let list = |list: &str| -> Vec<String> {
        let entries = body[list].as_array().into_iter().flatten();
        entries.map(|entry| entry["lease_id"].as_str().unwrap().to_owned()).collect()
    };
    (list("acks"), list("retries"))
}

/// Confirms as much as requested.
fn confirm(request: &Request) -> Act {
    let (acks, retries) = sent(request);
    let result = json!({"ackCount": acks.len(), "retryCount": retries.len(), "warnings": {}});
    support::ok(json!({"success": true, "result": result}).to_string())
}

fn distinct(request: &AckRequest) -> BTreeSet<String> {
    let leases = support::leases(request);
    let set: BTreeSet<_> = leases.iter().cloned().collect();
    assert_eq!(set.len(), leases.len(), "a lease came back twice");
    set
}

#[tokio::test]
async fn leases_are_sent_once_in_requests_of_at_most_a_hundred() {
    for (count, requests) in [(1, 1), (99, 1), (100, 1), (101, 2), (200, 2), (250, 3)] {
        let server = Server::start(|_, request| confirm(request));
        let outcome = support::queue(&server.url).ack(numbered(0..count)).await.unwrap();
        assert!(outcome.is_complete(), "{outcome:?}");
        assert_eq!(outcome.acks.requested + outcome.retries.requested, count as u64);
        assert_eq!(outcome.retries.confirmed, Some(count.div_ceil(5) as u64));

        let bodies: Vec<_> = server.requests().iter().map(sent).collect();
        assert_eq!(bodies.len(), requests, "{count} leases");
        assert!(bodies.iter().all(|(acks, retries)| acks.len() + retries.len() <= 100), "{count} leases");
        let mut all: Vec<_> = bodies.iter().flat_map(|(acks, retries)| acks.iter().chain(retries)).cloned().collect();
        all.sort();
        assert_eq!(all, names(0..count).into_iter().collect::<Vec<_>>());
        let retried: BTreeSet<_> = bodies.iter().flat_map(|(_, retries)| retries).cloned().collect();
        assert_eq!(retried, (0..count).step_by(5).map(name).collect());
    }
}

#[tokio::test]
async fn a_failed_request_returns_its_leases_and_those_after_it() {
    let failures = [
        (support::refused(500, 15000), ErrorKind::ServiceFailure),
        (support::refused(429, 10251), ErrorKind::RateLimited),
        (support::refused(409, 0), ErrorKind::DeliveryPaused),
        (Act::Reset, ErrorKind::Transport),
        (support::ok("<html>"), ErrorKind::ServiceFailure),
    ];
    for (failure, kind) in failures {
        let server = Server::start(move |nth, request| if nth == 1 { failure.clone() } else { confirm(request) });
        let queue = support::queue(&server.url);
        let AckError { error, outcome: confirmed, unconfirmed, .. } = queue.ack(numbered(0..250)).await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (kind, Some("ack_messages")), "{error}");
        assert!(confirmed.is_complete(), "{confirmed:?}");
        assert_eq!((confirmed.acks.requested, confirmed.acks.confirmed), (80, Some(80)));
        assert_eq!((confirmed.retries.requested, confirmed.retries.confirmed), (20, Some(20)));
        assert_eq!(distinct(&unconfirmed), names(100..250));
        assert_eq!(server.requests().len(), 2, "{kind:?}: the service fails, and is left alone");

        let outcome = queue.ack(unconfirmed).await.unwrap();
        assert!(outcome.is_complete(), "{outcome:?}");
        assert_eq!((outcome.acks.confirmed, outcome.retries.confirmed), (Some(120), Some(30)), "each as it was meant");
    }
}

#[tokio::test]
async fn a_rejected_request_does_not_affect_the_others() {
    let refusals = [support::refused(400, 10026), support::ok(r#"{"success":false,"errors":[{"code":10026}]}"#)];
    for refusal in refusals {
        let server = Server::start(move |nth, request| if nth == 1 { refusal.clone() } else { confirm(request) });
        let failed = support::queue(&server.url).ack(numbered(0..250)).await.unwrap_err();
        let AckError { error, outcome: confirmed, unconfirmed, .. } = failed;
        assert_eq!(error.kind(), ErrorKind::Rejected);
        assert!(error.has_code(10026), "{error}");
        assert_eq!(server.requests().len(), 3);
        assert_eq!((confirmed.acks.confirmed, confirmed.retries.confirmed), (Some(120), Some(30)));
        assert_eq!(distinct(&unconfirmed), names(100..200));
    }
}

#[tokio::test]
async fn every_failure_of_an_ack_gives_every_lease_back() {
    let failures = [
        support::refused(400, 6003),
        support::refused(401, 10000),
        support::refused(403, 9109),
        support::refused(404, 10104),
        support::refused(405, 0),
        support::refused(429, 10250),
        support::refused(500, 15000),
        support::refused(302, 0),
        support::cut_off(200, r#"{"success":true,"result":{}}"#),
        support::ok(""),
        Act::Reset,
        Act::Cut(Vec::new()),
    ];
    for failure in failures {
        let server = Server::playing([failure.clone()]);
        let failed = support::queue(&server.url).ack(numbered(0..7)).await.unwrap_err();
        let confirmed = &failed.outcome;
        assert_eq!((confirmed.acks.requested, confirmed.retries.requested), (0, 0), "{failure:?}");
        assert_eq!(distinct(&failed.unconfirmed), names(0..7), "{failure:?}");
    }
}

#[tokio::test]
async fn leases_without_a_count_are_accepted_alongside_confirmed_ones() {
    let server = Server::start(|nth, request| match nth {
        1 => support::ok(r#"{"success":true,"result":{"retryCount":20,"warnings":["hm"]}}"#),
        _ => confirm(request),
    });
    let outcome = support::queue(&server.url).ack(numbered(0..250)).await.unwrap();
    assert_eq!((outcome.acks.confirmed, outcome.acks.accepted), (Some(120), 80));
    assert_eq!((outcome.retries.confirmed, outcome.retries.accepted), (Some(50), 0));
    assert_eq!(outcome.warnings.len(), 1);
    assert!(!outcome.is_complete());
}

#[tokio::test]
async fn warnings_of_several_responses_are_kept_together() {
    let server = Server::start(|_, request| {
        let first = sent(request).0.remove(0);
        let result = json!({"ackCount": 80, "retryCount": 20, "warnings": {first: "late"}});
        support::ok(json!({"success": true, "errors": Value::Null, "result": result}).to_string())
    });
    let outcome = support::queue(&server.url).ack(numbered(0..200)).await.unwrap();
    let leases: Vec<_> = outcome.warnings.iter().map(|warning| warning.subject.clone().unwrap()).collect();
    assert_eq!(leases, ["lease 001".into(), "lease 101".into()]);
}

#[tokio::test]
async fn counts_that_add_up_only_together_are_not_complete() {
    let counted = |count: usize| support::ok(format!(r#"{{"success":true,"result":{{"ackCount":{count}}}}}"#));
    let server = Server::playing([counted(99), counted(2)]);
    let leases: Vec<_> = (0..101).map(|number| format!("lease-{number}")).collect();
    let outcome = support::queue(&server.url).ack(support::acks(leases.iter().map(String::as_str))).await.unwrap();
    assert_eq!((outcome.acks.requested, outcome.acks.confirmed), (101, Some(99)));
    assert!(!outcome.is_complete());
}

#[tokio::test]
async fn errors_hold_the_leases_that_earlier_requests_extended() {
    let extended = |request: &Request| {
        let leases = request.json()["extend"].as_array().map_or(0, Vec::len);
        support::ok(json!({"success": true, "result": {"extendCount": leases}}).to_string())
    };
    for before in [0, 1] {
        let refused = support::refused(400, 10026);
        let server = Server::start(move |nth, request| if nth == before { refused.clone() } else { extended(request) });
        let extended = support::queue(&server.url).extend((0..250).map(name), Duration::from_secs(60)).await;
        let ExtendError { error, outcome: confirmed, unconfirmed, .. } = extended.unwrap_err();
        assert_eq!(
            (confirmed.extensions.confirmed, unconfirmed.len()),
            ((before > 0).then_some(100), 250 - 100 * before)
        );
        assert_eq!((error.kind(), error.may_have_arrived()), (ErrorKind::Rejected, before > 0), "{error}");
    }
}

#[tokio::test]
async fn unconfirmed_leases_keep_their_decisions() {
    let server = Server::playing([support::refused(500, 15000)]);
    let request = AckRequest::new().retry_in("a", Duration::from_secs(7)).ack("b").retry("c");
    let unconfirmed = support::queue(&server.url).ack(request).await.unwrap_err().unconfirmed;
    let seconds = Duration::from_secs(7);
    let decided = [Settlement::retry_in("a", seconds), Settlement::ack("b"), Settlement::retry("c")];
    assert!(unconfirmed.iter().eq(&decided), "{unconfirmed:?}");
}

#[tokio::test]
async fn unconfirmed_leases_can_join_another_request() {
    let server = Server::playing([support::bare_success()]);
    let mut request = support::acks(["a"]);
    request.extend(support::acks(["b", "c"]));
    assert_eq!(support::leases(&request), ["a", "b", "c"]);
    let _ = support::queue(&server.url).ack(request).await.unwrap();
}
