//! What becomes of leases whose requests fail.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{ErrorKind, RetryPolicy};

fn once(client: ClientBuilder) -> ClientBuilder {
    client.retry(RetryPolicy::none())
}

#[tokio::test(start_paused = true)]
async fn a_failed_ack_is_confirmed_within_its_lease() {
    let fixture = Fixture::under(1, 60 * SECOND, once).await;
    let calls = AtomicUsize::new(0);
    fixture.responds(move |_| (calls.fetch_add(1, Ordering::Relaxed) < 2).then(|| refusal(503, 15_000)));
    let outcomes = ack_all(&fixture.acker(), &fixture.messages).await;
    assert_eq!(outcomes[0].as_ref().unwrap(), &Confirmation::Confirmed);
    assert_eq!((fixture.requests(), fixture.left()), (vec![1, 1, 1], 0));
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_in_the_past_does_not_skip_the_wait() {
    for (status, code) in [(429, 10_250), (503, 15_000)] {
        for value in ["0", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            let fixture = Fixture::under(1, 60 * SECOND, once).await;
            let calls = AtomicUsize::new(0);
            fixture.responds(move |_| {
                assert!(calls.fetch_add(1, Ordering::Relaxed) < 100, "requests without a wait");
                Some(with_retry_after(refusal(status, code), value))
            });
            let outcomes = ack_all(&fixture.acker(), &fixture.messages).await;
            assert_eq!(outcomes[0].as_ref().unwrap_err().status(), Some(status));
            let waits = fixture.waits();
            assert!((4..=12).contains(&waits.len()), "{waits:?}");
            assert!(waits.iter().all(|wait| *wait >= SECOND / 2 && *wait <= 30 * SECOND), "{waits:?}");
            for (wait, bound) in waits.iter().zip([1, 2, 4, 8]) {
                assert!((bound * SECOND / 2..=bound * SECOND).contains(wait), "{waits:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn failing_acks_are_retried_until_their_last_second() {
    for seconds in [60, 300, 1000] {
        let fixture = Fixture::under(1, seconds * SECOND, once).await;
        fixture.responds(|_| Some(refusal(503, 15_000)));
        let end = Instant::now() + seconds * SECOND;
        assert!(ack_all(&fixture.acker(), &fixture.messages).await[0].is_err());
        let last = fixture.network.seen.lock().unwrap().last().unwrap().at;
        assert!((Duration::ZERO..=SECOND).contains(&(end - last)), "{:?}", fixture.waits());
    }
}

#[tokio::test(start_paused = true)]
async fn a_longer_retry_after_is_obeyed_while_the_lease_lasts() {
    let fixture = Fixture::under(2, 200 * SECOND, once).await;
    let calls = AtomicUsize::new(0);
    fixture.responds(move |_| {
        let is_first = calls.fetch_add(1, Ordering::Relaxed) == 0;
        is_first.then(|| with_retry_after(refusal(429, 10_250), "90"))
    });
    let acker = fixture.acker();
    let long = acker.ack(&fixture.messages[0]).await.unwrap();
    let lease = Lease::new(&fixture.messages[1].lease_id, (Instant::now() + 80 * SECOND).into());
    let (start, short) = (Instant::now(), acker.ack(lease).await.unwrap());
    assert_eq!(short.await.unwrap_err().status(), Some(429));
    assert!(start.elapsed() < SECOND, "what cannot wait so long knows at once");
    assert_eq!(long.await.unwrap(), Confirmation::Confirmed);
    assert!((90..91).contains(&fixture.waits()[0].as_secs()), "{:?}", fixture.waits());
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_holds_an_acker_for_at_most_five_minutes() {
    let fixture = Fixture::under(1, 1000 * SECOND, once).await;
    let calls = AtomicUsize::new(0);
    fixture.responds(move |_| {
        let is_first = calls.fetch_add(1, Ordering::Relaxed) == 0;
        is_first.then(|| with_retry_after(refusal(503, 15_000), "86400"))
    });
    let outcomes = ack_all(&fixture.acker(), &fixture.messages).await;
    assert_eq!(outcomes[0].as_ref().unwrap(), &Confirmation::Confirmed);
    assert_eq!(fixture.waits()[0].as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn an_error_covers_all_requests_for_a_lease() {
    let fixture = Fixture::under(2, 60 * SECOND, once).await;
    let calls = AtomicUsize::new(0);
    // The first request may have been carried out; the later ones are refused.
    fixture.responds(move |_| match calls.fetch_add(1, Ordering::Relaxed) {
        0 => Some(refusal(502, 15_000)),
        _ => Some(refusal(400, 10_026)),
    });
    for outcome in ack_all(&fixture.acker(), &fixture.messages).await {
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.may_have_arrived(), error.attempts()), (ErrorKind::Rejected, true, 3));
        assert!(error.has_code(15_000) && error.has_code(10_026));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_fails_before_it_expires() {
    let fixture = Fixture::under(3, 60 * SECOND, |client| client).await;
    fixture.responds(|_| Some(refusal(503, 15_000)));
    let (acker, start) = (fixture.acker(), Instant::now());
    let lease =
        |message: usize, seconds| Lease::new(&fixture.messages[message].lease_id, (start + seconds * SECOND).into());
    let short = acker.ack(lease(0, 5)).await.unwrap();
    let long = acker.ack(lease(1, 9)).await.unwrap();
    let unknown = acker.ack(&fixture.messages[2].lease_id).await.unwrap();
    assert_eq!(unknown.await.unwrap_err().status(), Some(503));
    assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
    assert_eq!(short.await.unwrap_err().status(), Some(503));
    assert!((2..5).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(long.await.unwrap_err().status(), Some(503));
    assert!((5..9).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn short_leases_cost_others_no_second_request() {
    let fixture = Fixture::with(100).await.takes(700 * SECOND / 1000);
    let (acker, start) = (fixture.acker(), Instant::now());
    let mut receipts = Vec::new();
    for (number, message) in fixture.messages.iter().enumerate() {
        let end = start + if number == 0 { 400 * SECOND / 1000 } else { 60 * SECOND };
        receipts.push(acker.ack(Lease::new(&message.lease_id, end.into())).await.unwrap());
    }
    for receipt in receipts {
        assert_eq!(receipt.await.unwrap(), Confirmation::Confirmed);
    }
    assert_eq!((fixture.requests(), fixture.left()), (vec![100], 0));
}

#[tokio::test(start_paused = true)]
async fn the_retry_budget_covers_the_acker() {
    let policy = RetryPolicy::new().budget(20);
    let fixture = Fixture::under(0, SECOND, |client| client.retry(policy.clone())).await.takes(SECOND);
    let acker = fixture.acker_with(AckerOptions::new().buffer(usize::MAX));
    let submit = async |numbers: std::ops::Range<usize>| {
        let deadline = (Instant::now() + 600 * SECOND).into_std();
        let mut receipts = Vec::new();
        for number in numbers {
            receipts.push(acker.ack(Lease::new(unknown(number), deadline)).await.unwrap());
        }
        receipts
    };
    // With this, 64 requests are in flight.
    fixture.responds(|seen| Some(counted(seen.acks, Value::Null)));
    submit(0..12_400).await;
    acker.flush().await;
    let before = fixture.requests().len();
    fixture.responds(|_| Some(with_retry_after(refusal(503, 15_000), "0")));
    let receipts = submit(20_000..26_400).await;
    sleep(300 * SECOND).await;
    let requests = fixture.requests().len() - before;
    // Each once, twenty retries, a few that further calls earn, and one every five seconds to find out whether it is
    // over.
    assert!((64 + 20..=64 + 20 + 10 + 60).contains(&requests), "{requests}");
    fixture.responds(|seen| Some(counted(seen.acks, Value::Null)));
    let start = Instant::now();
    acker.close().await;
    assert!(start.elapsed() < 60 * SECOND, "{:?}", start.elapsed());
    for receipt in receipts {
        assert_eq!(receipt.await.unwrap(), Confirmation::Confirmed);
    }
}

#[tokio::test(start_paused = true)]
async fn one_retry_every_five_seconds_without_a_budget() {
    let fixture = Fixture::under(2, 60 * SECOND, |client| client.retry(RetryPolicy::none().budget(0))).await;
    fixture.responds(|_| Some(refusal(503, 15_000)));
    let (acker, start) = (fixture.acker(), Instant::now());
    let first = acker.ack(&fixture.messages[0]).await.unwrap();
    sleep(2 * SECOND).await;
    assert_eq!(fixture.requests().len(), 2, "the service may have recovered");
    let second = acker.ack(&fixture.messages[1]).await.unwrap();
    sleep(SECOND).await;
    let leases: Vec<_> = fixture.network.seen.lock().unwrap().iter().map(|seen| seen.leases.clone()).collect();
    assert_eq!((leases.len(), &leases[2]), (3, &lease_texts(&fixture.messages[1..]).into_iter().collect()));
    fixture.responds(|_| None);
    assert_eq!(first.await.unwrap(), Confirmation::Confirmed);
    second.await.unwrap();
    assert!(start.elapsed() > 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn one_bad_lease_does_not_block_the_others() {
    let fixture = Fixture::with(100).await;
    let bad: HashSet<_> = lease_texts(&fixture.messages[37..38]);
    fixture.responds(move |seen| seen.leases.iter().any(|lease| bad.contains(lease)).then(|| refusal(400, 10_026)));
    for (number, outcome) in ack_all(&fixture.acker(), &fixture.messages).await.into_iter().enumerate() {
        match outcome {
            Ok(confirmation) => assert!(number != 37 && confirmation == Confirmation::Confirmed),
            Err(error) => assert_eq!((number, error.kind()), (37, ErrorKind::Rejected)),
        }
    }
    assert!(fixture.requests().len() <= 15, "halves, not one by one: {:?}", fixture.requests());
}

#[tokio::test(start_paused = true)]
async fn a_refused_group_takes_a_bounded_number_of_requests() {
    for status in [400, 413] {
        let fixture = Fixture::with(100).await;
        fixture.responds(move |_| Some(refusal(status, 10_026)));
        let outcomes = ack_all(&fixture.acker(), &fixture.messages).await;
        assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap_err().status() == Some(status)));
        assert!(fixture.requests().len() <= 32, "{:?}", fixture.requests());
    }
    // Two leases at fault are always found.
    let fixture = Fixture::with(100).await;
    let bad: HashSet<_> = lease_texts(&[fixture.messages[0].clone(), fixture.messages[99].clone()]);
    fixture.responds(move |seen| seen.leases.iter().any(|lease| bad.contains(lease)).then(|| refusal(413, 10_026)));
    let outcomes = ack_all(&fixture.acker(), &fixture.messages).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_half_that_waits_does_not_delay_the_other() {
    for is_first in [false, true] {
        let fixture = Fixture::under(100, 60 * SECOND, once).await;
        let (first, last) = fixture.messages.split_at(50);
        let busy = lease_texts(if is_first { first } else { last });
        let calls = AtomicUsize::new(0);
        fixture.responds(move |seen| match seen.leases.len() {
            100 => Some(refusal(413, 10_026)),
            _ if !busy.contains(&seen.leases[0]) => None,
            _ if calls.fetch_add(1, Ordering::Relaxed) < 3 => Some(with_retry_after(refusal(503, 15_000), "10")),
            _ => None,
        });
        let (acker, start) = (fixture.acker(), Instant::now());
        let mut receipts = Vec::new();
        for message in &fixture.messages {
            receipts.push(acker.ack(message).await.unwrap());
        }
        if is_first {
            receipts.rotate_left(50);
        }
        for (number, receipt) in receipts.into_iter().enumerate() {
            assert_eq!(receipt.await.unwrap(), Confirmation::Confirmed);
            let times = if number < 50 { 0..1 } else { 30..50 };
            assert!(times.contains(&start.elapsed().as_secs()), "{number}: {:?}", start.elapsed());
        }
        assert_eq!((fixture.most_in_flight(), fixture.requests().len()), (1, 6));
    }
}

#[tokio::test(start_paused = true)]
async fn challenges_and_requests_that_may_be_carried_out_are_not_split() {
    for (status, code) in [(403, 9109), (200, 10_026)] {
        let fixture = Fixture::with(2).await;
        fixture.responds(move |_| Some(refusal(status, code)));
        assert!(ack_all(&fixture.acker(), &fixture.messages).await.iter().all(Result::is_err));
        assert_eq!(fixture.requests(), [2], "{status}");
    }
}

#[test]
fn repeated_failures_are_logged_at_growing_intervals() {
    let log = Log::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    tracing::subscriber::with_default(log.clone(), || {
        runtime.block_on(async {
            let fixture = Fixture::under(1, 60 * SECOND, once).await;
            let acker = fixture.acker_with(AckerOptions::new().linger(SECOND / 5));
            for number in 0..20 {
                let _ = acker.ack(unknown(number)).await.unwrap().await;
            }
            fixture.responds(|_| Some(refusal(403, 9109)));
            for number in 0..500 {
                let _ = acker.ack(unknown(number)).await.unwrap().await;
            }
            fixture.responds(|_| None);
            for message in &fixture.messages {
                let _ = acker.ack(message).await.unwrap().await;
            }
            for secret in lease_texts(&fixture.messages) {
                assert_eq!(log.lines(&secret), [""; 0]);
            }
        });
    });
    // Failures every 200 ms for 100 s: after 0, 10, 30 and 70 s.
    assert_eq!(log.lines("acknowledgements fail").len(), 4, "{:?}", log.lines(""));
    assert_eq!(log.lines("acknowledgements succeed again").len(), 1);
}

#[test]
fn repeated_refusals_are_logged_at_growing_intervals() {
    let log = Log::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    tracing::subscriber::with_default(log.clone(), || {
        runtime.block_on(async {
            let fixture = Fixture::with(1).await;
            let acker = fixture.acker_with(AckerOptions::new().linger(SECOND / 5));
            fixture.responds(|_| Some(refusal(400, 10_026)));
            for number in 0..500 {
                let _ = acker.ack(unknown(number)).await.unwrap().await;
            }
            fixture.responds(|_| None);
            acker.ack(&fixture.messages[0]).await.unwrap().await.unwrap();
        });
    });
    assert_eq!(log.lines("acknowledgements are refused").len(), 4, "{:?}", log.lines(""));
    assert_eq!(log.lines("acknowledgements succeed again").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn leases_of_a_panicked_request_fail_and_can_be_submitted_again() {
    let fixture = Fixture::with(3).await;
    let requests = AtomicUsize::new(0);
    fixture.responds(move |_| {
        assert!(requests.fetch_add(1, Ordering::Relaxed) > 0, "a panic");
        None
    });
    let (acker, messages) = (fixture.acker(), fixture.messages.clone());
    // In a task, which is woken before the acker's own.
    let acks = async move {
        for is_first in [true, false] {
            let mut receipts = Vec::new();
            for message in &messages {
                receipts.push(acker.ack(message).await.unwrap());
            }
            for receipt in receipts {
                assert_eq!(receipt.await.is_err_and(|error| error.may_have_arrived()), is_first);
            }
            assert!(acker.0.ledger.claimed_leases().is_empty());
        }
    };
    tokio::spawn(acks).await.unwrap();
    assert_eq!(fixture.left(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_panicked_request_does_not_release_a_resubmitted_lease() {
    let fixture = Fixture::with(2).await.takes(SECOND);
    let last = fixture.messages[1].lease_id.expose_secret().into_owned();
    fixture.responds(move |seen| {
        assert!(seen.leases.as_slice() != [last.as_str()], "a panic");
        (seen.leases.len() == 2).then(|| refusal(400, 10_026))
    });
    let acker = fixture.acker_with(AckerOptions::new().linger(SECOND / 2));
    let first = acker.ack(&fixture.messages[0]).await.unwrap();
    let second = acker.ack(&fixture.messages[1]).await.unwrap();
    // The first half is done before the second one, which panics, is sent.
    first.await.unwrap();
    let again = acker.ack(&fixture.messages[0]).await.unwrap();
    assert!(second.await.unwrap_err().may_have_arrived());
    sleep(Duration::from_millis(1)).await;
    assert_eq!(acker.ack(&fixture.messages[0]).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    again.await.unwrap();
    assert!(acker.0.ledger.claimed_leases().is_empty());
}
