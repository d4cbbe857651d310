//! When leases are sent, how many go together, and their outcomes.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::*;
use crate::http::credentials::Credentials;

#[tokio::test(start_paused = true)]
async fn ten_thousand_acks_take_a_hundred_requests() {
    let fixture = Fixture::with(10_000).await.takes(2 * SECOND);
    let acker = fixture.acker();
    let tasks: Vec<_> = fixture
        .messages
        .iter()
        .map(|message| {
            let (acker, lease) = (acker.clone(), Lease::from(message));
            tokio::spawn(async move { acker.ack(lease).await.unwrap().await.unwrap() })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Confirmation::Confirmed);
    }
    assert_eq!(fixture.requests(), [100; 100]);
    assert_eq!(fixture.left(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_about_to_expire_does_not_linger() {
    let fixture = Fixture::with(3).await;
    let acker = fixture.acker();
    let start = Instant::now();
    acker.ack(&fixture.messages[0]).await.unwrap().await.unwrap();
    assert_eq!(start.elapsed().as_millis(), 50);
    let acker = fixture.acker_with(AckerOptions::new().linger(Duration::MAX));
    for (message, left, sent_after) in [(1, 30, 25), (2, 4, 2)] {
        let start = Instant::now();
        let lease = Lease::new(&fixture.messages[message].lease_id, (start + left * SECOND).into());
        acker.ack(lease).await.unwrap().await.unwrap();
        assert_eq!(start.elapsed().as_secs(), sent_after);
    }
}

#[tokio::test(start_paused = true)]
async fn short_leases_do_not_switch_lingering_off() {
    let fixture = Fixture::under(100, SECOND, |client| client).await;
    let acker = fixture.acker();
    let mut receipts = Vec::new();
    for message in &fixture.messages {
        assert_eq!(fixture.requests(), [0; 0]);
        receipts.push(acker.ack(message).await.unwrap());
        tokio::task::yield_now().await;
    }
    for receipt in receipts {
        assert_eq!(receipt.await.unwrap(), Confirmation::Confirmed);
    }
    assert_eq!(fixture.requests(), [100]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_has_expired_is_sent_with_others() {
    let fixture = Fixture::under(2, SECOND, |client| client).await;
    sleep(10 * SECOND).await;
    let outcomes = ack_all(&fixture.acker(), &fixture.messages).await;
    assert!(outcomes.into_iter().all(|outcome| outcome.unwrap() == Confirmation::Confirmed));
    assert_eq!(fixture.requests(), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_has_expired_waits_five_seconds_for_others() {
    let fixture = Fixture::under(1, SECOND, |client| client).await;
    sleep(10 * SECOND).await;
    let (start, acker) = (Instant::now(), fixture.acker_with(AckerOptions::new().linger(Duration::MAX)));
    let receipt = acker.ack(&fixture.messages[0]).await.unwrap();
    assert_eq!(receipt.await.unwrap(), Confirmation::Confirmed);
    assert_eq!(start.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn five_thousand_leases_a_second_keep_up_at_any_round_trip() {
    for milliseconds in cases([1200, 2400], 1) {
        let round_trip = Duration::from_millis(milliseconds);
        let fixture = Fixture::with(0).await.takes(round_trip);
        fixture.responds(|seen| Some(counted(seen.acks, Value::Null)));
        let (acker, start) = (fixture.acker(), Instant::now());
        let mut waited = Duration::ZERO;
        let mut receipts = Vec::new();
        let leases = 5 * (7 * milliseconds as usize + 2000);
        for number in 0..leases {
            if number % 50 == 0 {
                sleep(SECOND / 100).await;
            }
            let before = Instant::now();
            receipts.push(acker.ack(unknown(number)).await.unwrap());
            // At first, nothing is known of the round trip.
            waited += if start.elapsed() > 7 * round_trip { before.elapsed() } else { Duration::ZERO };
        }
        for receipt in receipts {
            assert_eq!(receipt.await.unwrap(), Confirmation::Confirmed);
        }
        assert_eq!(waited, Duration::ZERO, "at a round trip of {milliseconds} ms");
        let needed = (50 * milliseconds / 1000) as usize;
        assert!((needed..=2 * needed + 2).contains(&fixture.most_in_flight()), "{}", fixture.most_in_flight());
        assert!(fixture.requests().len() <= leases * 12 / 1000, "{}", fixture.requests().len());
    }
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_fall_fast_and_recover_slowly() {
    let fixture = Fixture::under(0, SECOND, |client| client.retry(crate::RetryPolicy::none())).await.takes(SECOND);
    fixture.responds(|seen| Some(counted(seen.acks, Value::Null)));
    let acker = fixture.acker_with(AckerOptions::new().buffer(usize::MAX));
    let submit = async |from: usize, count: usize| {
        for number in from..from + count {
            acker.ack(unknown(number)).await.unwrap();
        }
        acker.flush().await;
        std::mem::take(&mut fixture.network.in_flight.lock().unwrap().1)
    };
    assert_eq!(submit(0, 16_000).await, 108);
    fixture.responds(|_| Some(refusal(503, 15_000)));
    submit(20_000, 10_800).await;
    fixture.responds(|seen| Some(counted(seen.acks, Value::Null)));
    let most = submit(30_000, 3000).await;
    assert!(most <= 8, "{most} in flight");
}

#[tokio::test(start_paused = true)]
async fn early_failures_also_lower_the_number_in_flight() {
    for (status, code) in [(429, 10_250), (503, 15_000)] {
        let policy = crate::RetryPolicy::new().budget(u32::MAX);
        let fixture = Fixture::under(0, SECOND, |client| client.retry(policy.clone())).await.takes(SECOND);
        // Each request is refused once, and is repeated within its call.
        let refused = Mutex::new(HashSet::new());
        fixture.responds(move |seen| {
            let is_first = refused.lock().unwrap().insert(seen.leases[0].clone());
            Some(if is_first { refusal(status, code) } else { counted(seen.acks, Value::Null) })
        });
        let acker = fixture.acker_with(AckerOptions::new().buffer(usize::MAX));
        for number in 0..10_000 {
            acker.ack(unknown(number)).await.unwrap();
        }
        acker.flush().await;
        // Undisturbed, it would be 72.
        assert!(fixture.most_in_flight() <= 8, "{status}: {}", fixture.most_in_flight());
    }
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_that_wait_for_the_rate_are_sent_without_another_event() {
    let fixture = Fixture::with(0).await;
    let is_first = AtomicBool::new(true);
    fixture.responds(move |seen| match is_first.swap(false, Ordering::Relaxed) {
        true => Some(refusal(429, 10_250)),
        false => Some(counted(seen.acks, Value::Null)),
    });
    let acker = fixture.acker_with(AckerOptions::new());
    let mut receipts = vec![acker.ack(unknown(0)).await.unwrap()];
    acker.flush().await;
    for number in 1..=1000 {
        receipts.push(acker.ack(unknown(number)).await.unwrap());
    }
    let start = Instant::now();
    for receipt in receipts {
        assert_eq!(tokio::time::timeout(10 * SECOND, receipt).await.unwrap().unwrap(), Confirmation::Confirmed);
    }
    // Ten requests, forty a second.
    assert!((SECOND * 2 / 10..SECOND / 4).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn renewed_credentials_do_not_lower_the_number_in_flight() {
    let made = Arc::new(AtomicUsize::new(0));
    let renewing = |client: ClientBuilder| {
        let made = Arc::clone(&made);
        client.credentials(Credentials::from_provider(move || {
            let token = format!("token-{}", made.fetch_add(1, Ordering::Relaxed));
            async { Ok(Credentials::api_token(token)?) }
        }))
    };
    let fixture = Fixture::under(0, SECOND, renewing).await.takes(SECOND);
    // Each request is refused once.
    let refused = Mutex::new(HashSet::new());
    fixture.responds(move |seen| {
        let is_first = refused.lock().unwrap().insert(seen.leases[0].clone());
        Some(if is_first { refusal(401, 10_000) } else { counted(seen.acks, Value::Null) })
    });
    let acker = fixture.acker_with(AckerOptions::new().buffer(usize::MAX));
    for number in 0..5000 {
        acker.ack(unknown(number)).await.unwrap();
    }
    acker.flush().await;
    assert!(fixture.most_in_flight() >= 30, "{}", fixture.most_in_flight());
}

#[tokio::test(start_paused = true)]
async fn five_requests_in_a_hundred_may_fail_without_slowing_down() {
    let fixture = Fixture::with(0).await.takes(Duration::from_millis(1200));
    let calls = AtomicUsize::new(0);
    fixture.responds(move |seen| match calls.fetch_add(1, Ordering::Relaxed) {
        call if call % 20 == 19 => Some(refusal(503, 15_000)),
        _ => Some(counted(seen.acks, Value::Null)),
    });
    let acker = fixture.acker();
    let (start, mut settled_late) = (Instant::now(), Duration::ZERO);
    for number in 0..52_000 {
        if number % 50 == 0 {
            sleep(SECOND / 100).await;
        }
        let before = Instant::now();
        acker.ack(unknown(number)).await.unwrap();
        settled_late += if start.elapsed() > 8 * SECOND { before.elapsed() } else { Duration::ZERO };
    }
    assert_eq!(settled_late, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_partial_count_confirms_no_lease() {
    let fixture = Fixture::with(4).await;
    // The service counts one of three acks; it warns of the second, and leaves open which of the others it took.
    let warned = fixture.messages[1].lease_id.expose_secret().into_owned();
    fixture.responds(move |_| {
        let result = json!({ "ackCount": 1, "retryCount": 1, "warnings": { &warned: "expired" } });
        let body = json!({ "success": true, "errors": [], "messages": [], "result": result });
        Some(http::Response::new(body.to_string()))
    });
    let acker = fixture.acker();
    let retried = acker.retry_in(&fixture.messages[3], SECOND).await.unwrap();
    let outcomes: Vec<_> = ack_all(&acker, &fixture.messages[..3]).await.into_iter().map(Result::unwrap).collect();
    let unclear = Confirmation::Unclear { counted: 1, requested: 3 };
    assert_eq!(
        outcomes,
        [unclear.clone(), Confirmation::Warned { text: "expired".to_owned(), counted: Some(1), requested: 3 }, unclear]
    );
    assert_eq!(retried.await.unwrap(), Confirmation::Confirmed);
}

#[tokio::test(start_paused = true)]
async fn only_a_count_of_all_leases_confirms() {
    let fixture = Fixture::with(3).await;
    let warned: HashMap<_, _> =
        fixture.messages[1..].iter().map(|message| (message.lease_id.expose_secret().into_owned(), "hm")).collect();
    let unclear = |counted| Confirmation::Unclear { counted, requested: 3 };
    let table = [unclear(0), Confirmation::Accepted, unclear(2), Confirmation::Confirmed, unclear(0)];
    for (count, of_the_unwarned) in (0..).zip(table) {
        let warned = warned.clone();
        fixture.responds(move |seen| {
            let counts = if seen.acks > 0 { [count, 0] } else { [0, count] };
            let result = json!({ "ackCount": counts[0], "retryCount": counts[1], "warnings": warned });
            Some(http::Response::new(json!({ "success": true, "result": result }).to_string()))
        });
        let acker = fixture.acker();
        let outcomes = ack_all(&acker, &fixture.messages).await;
        assert_eq!(outcomes[0].as_ref().unwrap(), &of_the_unwarned, "{count} of 3");
        let mut retries = Vec::new();
        for message in &fixture.messages {
            retries.push(acker.retry(message).await.unwrap());
        }
        assert_eq!(retries.remove(0).await.unwrap(), of_the_unwarned, "{count} of 3");
    }
}

#[tokio::test(start_paused = true)]
async fn a_count_that_contradicts_confirms_nothing() {
    let fixture = Fixture::with(2).await;
    for (count, counted) in [(json!(3), 0), (json!(1), 1), (json!(0), 0), (json!(-2), 0), (json!(1.5), 0)] {
        fixture.responds(move |_| Some(super::counted(count.clone(), Value::Null)));
        for outcome in ack_all(&fixture.acker(), &fixture.messages).await {
            assert_eq!(outcome.unwrap(), Confirmation::Unclear { counted, requested: 2 });
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_without_a_count_is_accepted_and_not_repeated() {
    let fixture = Fixture::with(2).await;
    let results = [json!({}), json!(null), json!({ "ackCount": null }), json!({ "retryCount": 0, "warnings": ["hm"] })];
    for (number, result) in results.into_iter().enumerate() {
        fixture.responds(move |_| Some(http::Response::new(json!({ "success": true, "result": result }).to_string())));
        let acker = fixture.acker();
        for outcome in ack_all(&acker, &fixture.messages).await {
            assert_eq!(outcome.unwrap(), Confirmation::Accepted);
        }
        acker.close().await;
        assert_eq!(fixture.requests(), vec![2; number + 1]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_warning_without_a_count_is_about_its_lease_only() {
    let fixture = Fixture::with(2).await;
    let warned = fixture.messages[1].lease_id.expose_secret().into_owned();
    fixture.responds(move |_| {
        let body = json!({ "success": true, "result": { "warnings": { &warned: "expired" } } });
        Some(http::Response::new(body.to_string()))
    });
    let outcomes: Vec<_> = ack_all(&fixture.acker(), &fixture.messages).await.into_iter().map(Result::unwrap).collect();
    let warned = Confirmation::Warned { text: "expired".to_owned(), counted: None, requested: 2 };
    assert_eq!(outcomes, [Confirmation::Accepted, warned]);
}

#[test]
fn errors_in_successes_are_logged_rarely_and_without_secrets() {
    let log = Log::new();
    let _guard = tracing::subscriber::set_default(log.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let fixture = Fixture::with(1).await;
        let lease = fixture.messages[0].lease_id.expose_secret().into_owned();
        fixture.responds(move |_| {
            let errors = json!([{ "code": 7, "message": format!("{lease} is odd") }]);
            let body = json!({ "success": true, "errors": errors, "result": {} });
            Some(http::Response::new(body.to_string()))
        });
        let acker = fixture.acker();
        for _ in 0..60 {
            let outcomes = ack_all(&acker, &fixture.messages).await;
            let text = "code 7 \"[redacted] is odd\"".to_owned();
            assert_eq!(outcomes[0].as_ref().unwrap(), &Confirmation::Warned { text, counted: None, requested: 1 });
            sleep(SECOND).await;
        }
    });
    let lines = log.lines("successful responses have errors");
    assert!(lines.len() == 3 && lines.iter().all(|line| line.contains("code 7 \"[redacted] is odd\"")), "{lines:?}");
}

#[test]
fn warnings_are_logged_at_growing_intervals() {
    let text = || "[redacted] is late".to_owned();
    let warned = |counted| Confirmation::Warned { text: text(), counted, requested: 1 };
    for (count, outcome) in [(Some(1), Confirmation::Confirmed), (None, warned(None)), (Some(0), warned(Some(0)))] {
        let log = Log::new();
        let _guard = tracing::subscriber::set_default(log.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::with(1).await;
            let warned = fixture.messages[0].lease_id.expose_secret().into_owned();
            fixture.responds(move |_| {
                let result = json!({ "ackCount": count, "warnings": { &warned: format!("{warned} is late") } });
                Some(http::Response::new(json!({ "success": true, "result": result }).to_string()))
            });
            let acker = fixture.acker();
            for _ in 0..9 {
                assert_eq!(ack_all(&acker, &fixture.messages).await[0].as_ref().unwrap(), &outcome);
            }
        });
        let lines = log.lines("succeed with warnings");
        assert!(lines.len() == 4 && lines.iter().all(|line| line.contains(&text())), "{count:?}: {lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_warning_without_a_lease_contradicts_no_count() {
    let fixture = Fixture::with(2).await;
    for (count, is_confirmed) in [(2, true), (1, false)] {
        fixture.responds(move |_| Some(counted(count, json!(["something is odd"]))));
        for outcome in ack_all(&fixture.acker(), &fixture.messages).await {
            assert_eq!(outcome.unwrap() == Confirmation::Confirmed, is_confirmed, "{count} of 2");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pending_lease_cannot_be_submitted_again() {
    let fixture = Fixture::with(2).await;
    let acker = fixture.acker();
    let first = acker.ack(&fixture.messages[0]).await.unwrap();
    let second = acker.retry(&fixture.messages[0]).await.unwrap_err();
    assert_eq!(second.kind(), crate::ErrorKind::InvalidInput);
    assert_eq!(first.await.unwrap(), Confirmation::Confirmed);
    assert!(acker.retry(&fixture.messages[0]).await.is_ok(), "its outcome is known: a new word is another matter");
    for refused in [acker.ack("").await, acker.retry_in(&fixture.messages[1], Duration::MAX).await] {
        assert_eq!(refused.unwrap_err().kind(), crate::ErrorKind::InvalidInput);
    }
}

#[tokio::test(start_paused = true)]
async fn the_text_of_a_lease_is_not_copied() {
    let fixture = Fixture::with(0).await.takes(SECOND);
    let acker = fixture.acker();
    let lease = unknown(1);
    let address = lease.as_json().as_ptr();
    let _receipt = acker.ack(&lease).await.unwrap();
    drop(lease);
    let leases = acker.0.ledger.claimed_leases();
    assert_eq!(leases.iter().map(|lease| lease.as_json().as_ptr()).collect::<Vec<_>>(), [address]);
}

#[tokio::test(start_paused = true)]
async fn a_full_request_does_not_linger() {
    let fixture = Fixture::with(100).await;
    let acker = fixture.acker_with(AckerOptions::new().linger(60 * SECOND));
    let (last, first) = fixture.messages.split_last().unwrap();
    let start = Instant::now();
    for message in first {
        let lease = Lease::new(&message.lease_id, (start + 600 * SECOND).into());
        drop(acker.ack(lease).await.unwrap());
    }
    sleep(SECOND).await;
    assert_eq!(fixture.requests(), [0; 0]);
    acker.ack(Lease::new(&last.lease_id, (start + 600 * SECOND).into())).await.unwrap().await.unwrap();
    assert_eq!((fixture.requests(), start.elapsed().as_secs()), (vec![100], 1));
}

#[tokio::test(start_paused = true)]
async fn the_first_lease_to_expire_sets_the_time_of_a_request() {
    for order in [[60, 20], [20, 60]] {
        let fixture = Fixture::with(2).await;
        let acker = fixture.acker_with(AckerOptions::new().linger(Duration::MAX));
        let start = Instant::now();
        for (message, left) in fixture.messages.iter().zip(order) {
            drop(acker.ack(Lease::new(&message.lease_id, (start + left * SECOND).into())).await.unwrap());
            sleep(Duration::from_millis(1)).await;
        }
        sleep(20 * SECOND).await;
        assert_eq!(fixture.requests(), [2]);
        assert_eq!(fixture.network.seen.lock().unwrap()[0].at.duration_since(start).as_secs(), 15);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_full_request_leaves_is_sent_before_it_expires() {
    let fixture = Fixture::with(102).await;
    let (acker, start) = (fixture.acker_with(AckerOptions::new().linger(Duration::MAX)), Instant::now());
    for (number, message) in fixture.messages.iter().enumerate() {
        let left = if number == 101 { 20 } else { 60 };
        drop(acker.ack(Lease::new(&message.lease_id, (start + left * SECOND).into())).await.unwrap());
    }
    sleep(16 * SECOND).await;
    assert_eq!(fixture.requests(), [100, 2]);
}
