//! Messages that the service will not deliver again.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A queue that redelivers messages so often.
async fn world(max_retries: u32, messages: usize) -> World {
    let world = World::new(Emulator::builder().queue(EmulatedQueue::new().max_retries(max_retries)));
    world.push(messages).await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_stop_costs_at_most_two_messages_per_handler_and_tells() {
    for (round_trip, concurrency) in [(Duration::ZERO, 1), (20 * MILLI, 1), (2400 * MILLI, 1), (2400 * MILLI, 10)] {
        let world = world(0, 100).await;
        world.takes(round_trip);
        let handled = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&handled);
        let handler = move |_| {
            counting.fetch_add(1, Ordering::Relaxed);
            sleep(4 * SECOND)
        };
        let consumer = Consumer::new(world.queue.clone()).concurrency(concurrency).shutdown_timeout(SECOND);
        let report = run(&consumer, sleep(30 * SECOND), handler).await;
        let handled = handled.load(Ordering::Relaxed);
        let lost = 100 - world.left() - report.stats.acknowledged as usize;
        assert!(handled >= 4 * concurrency && lost <= 2 * concurrency, "{handled} handled, {lost} lost");
        assert_eq!(report.stats.unseen as usize, lost, "{round_trip:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn restarts_dead_letter_nothing_that_no_handler_saw() {
    let world = world(3, 200).await;
    world.takes(100 * MILLI);
    let seen = Arc::new(Mutex::new(std::collections::HashSet::new()));
    let mut unseen = 0;
    for _ in 0..400 {
        let seeing = Arc::clone(&seen);
        let handler = move |message: Message| {
            seeing.lock().unwrap().insert(message.id.clone());
            sleep(700 * MILLI)
        };
        let consumer = Consumer::new(world.queue.clone()).concurrency(2).shutdown_timeout(3 * SECOND);
        let report = run(&consumer, sleep(5 * SECOND), handler).await;
        unseen += report.stats.unseen;
        if world.left() == 0 {
            break;
        }
    }
    assert_eq!((seen.lock().unwrap().len(), unseen, world.left()), (200, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn runs_and_streams_end_at_their_limit_and_pull_no_more() {
    for (round_trip, limit) in [(200 * MILLI, 7), (2400 * MILLI, 25), (Duration::ZERO, 1), (200 * MILLI, 0)] {
        let world = world(0, 100).await;
        world.takes(round_trip);
        // A failed pull leases nothing.
        world.responds(|seen| (seen.operation == "pull" && seen.nth == 0).then(|| refusal(400, 0)));
        let report = run(&Consumer::new(world.queue.clone()).limit(limit), pending::<()>(), |_| async {}).await;
        let counted = (report.stats.pulled, report.stats.acknowledged, world.left() as u64);
        assert_eq!(counted, (limit, limit, 100 - limit), "{round_trip:?}");
        let mut stream = Consumer::new(world.queue.clone()).limit(limit).stream().unwrap();
        for _ in 0..limit {
            let _ = stream.next().await.unwrap().unwrap().ack().await;
        }
        assert!(stream.next().await.is_none());
        assert_eq!(stream.stats().pulled, limit, "{round_trip:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_at_their_last_delivery_are_started_first() {
    // It is known from the start what that is, or only while a message is handled.
    for (max_retries, expected) in [(Some(2), [3, 4, 1, 2]), (None, [1, 3, 4, 2])] {
        let world = World::with(0).await;
        world.takes_by(|seen| if seen.operation == "consumers" { SECOND } else { Duration::ZERO });
        world.responds(|seen| match (seen.operation.as_str(), seen.nth) {
            ("pull", 0) => Some(at_attempts(&[1, 2, 3, 4])),
            ("pull", _) => Some(at_attempts(&[])),
            ("consumers", _) => Some(consumers(2)),
            _ => None,
        });
        let order = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&order);
        let consumer = Consumer::new(world.queue.clone()).concurrency(1);
        let consumer = max_retries.into_iter().fold(consumer, Consumer::max_retries);
        let _ = run(&consumer, sleep(10 * SECOND), move |message: Message| {
            seen.lock().unwrap().push(message.attempts.unwrap());
            async {
                sleep(2 * SECOND).await;
                Verdict::Leave
            }
        })
        .await;
        assert_eq!(*order.lock().unwrap(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_keeps_last_deliveries_first() {
    let world = World::with(0).await;
    world.responds(|seen| match (seen.operation.as_str(), seen.nth) {
        ("pull", 0) => Some(at_attempts(&[1, 3])),
        ("pull", 1) => Some(at_attempts(&[2, 4])),
        ("pull", _) => Some(at_attempts(&[])),
        _ => None,
    });
    let mut deliveries = world.consumer().max_retries(2).stream().unwrap();
    let attempts = |delivery: &Delivery| delivery.message().attempts.unwrap();
    // The first message of the first pull is given back with the other one.
    for _ in 0..2 {
        assert!(tokio::time::timeout(10 * SECOND, deliveries.next_batch(100, MINUTE)).await.is_err());
    }
    let batch = deliveries.next_batch(4, SECOND).await.unwrap().unwrap();
    assert_eq!(batch.iter().map(attempts).collect::<Vec<_>>(), [3, 4, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn last_deliveries_are_handled_during_shutdown_while_time_is_left() {
    for (time, handled) in [(10 * SECOND, 3), (2 * SECOND, 1)] {
        let world = World::with(0).await;
        let message = |number: u32| {
            serde_json::json!({ "id": number.to_string(), "lease_id": format!("lease-{number}"), "body": "1",
                "attempts": if number < 3 { 3 } else { 1 } })
        };
        world.responds(move |seen| {
            let all = || serde_json::json!({ "messages": (0..10).map(message).collect::<Vec<_>>() });
            (seen.operation == "pull").then(|| success(if seen.nth == 0 { all() } else { serde_json::json!({}) }))
        });
        let calls = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&calls);
        let consumer = world.consumer().max_retries(2).concurrency(1).shutdown_timeout(time);
        let report = run(&consumer, sleep(SECOND), move |_| {
            counting.fetch_add(1, Ordering::Relaxed);
            sleep(3 * SECOND)
        })
        .await;
        assert_eq!((calls.load(Ordering::Relaxed), report.stats.unseen), (handled, 3 - handled as u64));
    }
}

#[tokio::test(start_paused = true)]
async fn last_deliveries_do_not_wait_for_a_full_batch_during_shutdown() {
    let world = World::with(3).await;
    let consumer = world.consumer().max_retries(0).handler_linger(MINUTE);
    let report = consumer.run_batches_until(sleep(SECOND), |_| async {}).await.unwrap();
    assert_eq!((report.stats.acknowledged, report.stats.unseen), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn max_retries_is_asked_once_and_a_refusal_is_harmless() {
    for is_refused in [false, true] {
        let world = world(0, 0).await;
        world.responds(move |seen| (is_refused && seen.operation == "consumers").then(|| refusal(403, 10000)));
        let consumer = Consumer::new(world.queue.clone()).concurrency(1).shutdown_timeout(Duration::ZERO);
        let stop = async {
            sleep(20 * SECOND).await;
            assert_eq!(world.seen("consumers").len(), 0, "nothing is asked of an empty queue");
            world.push(10).await;
            sleep(60 * SECOND).await;
        };
        let report = run(&consumer, stop, |_| sleep(SECOND)).await;
        assert_eq!((report.stats.acknowledged, world.seen("consumers").len()), (10, 1));
        assert!(report.error.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_were_used_up_unseen_are_warned_of() {
    let (log, _guard) = observing::keep().await;
    let world = world(0, 100).await;
    world.takes(2 * SECOND);
    let consumer = world.consumer().max_retries(0).concurrency(2).shutdown_timeout(Duration::ZERO);
    let report = run(&consumer, sleep(20 * SECOND), |_| sleep(3 * SECOND)).await;
    assert!(report.stats.unseen > 0);
    assert_eq!(log.lines("no handler saw them").len(), 1);
}

/// Messages at these attempts, one for each.
fn at_attempts(attempts: &[u32]) -> http::Response<String> {
    let message = |(number, attempts): (usize, &u32)| {
        serde_json::json!({ "id": number.to_string(), "lease_id": format!("lease-{number}"), "body": "1",
            "attempts": attempts })
    };
    success(serde_json::json!({ "messages": attempts.iter().enumerate().map(message).collect::<Vec<_>>() }))
}

/// The consumers of a queue that redelivers messages so often.
fn consumers(max_retries: u32) -> http::Response<String> {
    success(
        serde_json::json!([{ "type": "http_pull", "consumer_id": "c", "settings": { "max_retries": max_retries } }]),
    )
}

#[tokio::test(start_paused = true)]
async fn last_deliveries_of_pulls_in_flight_are_counted_once_they_arrive() {
    let (log, _guard) = observing::keep().await;
    // The run ends by itself, is told to stop, or is dropped, and a stream is dropped, while a pull is in flight. Then
    // `max_retries` is known, or its answer is still to come.
    for (ends_by, asks) in [0, 1, 2, 3].into_iter().flat_map(|ends_by| [0, 1, 10].map(|asks| (ends_by, asks))) {
        let world = World::with(0).await;
        world.takes_by(move |seen| match (seen.operation.as_str(), seen.nth) {
            ("pull", 1..) => 20 * SECOND,
            ("consumers", _) => asks * SECOND,
            _ => SECOND,
        });
        world.responds(move |seen| match (seen.operation.as_str(), seen.nth) {
            ("pull", 0) => Some(at_attempts(&[1])),
            ("pull", 1) => Some(at_attempts(&[3, 2, 3])),
            ("pull", _) => Some(at_attempts(&[])),
            ("consumers", _) => Some(consumers(2)),
            ("ack", 0) if ends_by == 0 => Some(refusal(403, 10000)),
            _ => None,
        });
        let before = log.lines("no handler saw them").len();
        let consumer = Consumer::new(world.queue.clone()).concurrency(3).shutdown_timeout(SECOND);
        let consumer = if asks == 0 { consumer.max_retries(2) } else { consumer };
        match ends_by {
            0 => assert!(run(&consumer, pending::<()>(), |_| async {}).await.error.is_some()),
            1 => assert!(run(&consumer, sleep(3 * SECOND), |_| async {}).await.error.is_none()),
            2 => drop(tokio::time::timeout(3 * SECOND, consumer.run_until(pending::<()>(), |_| async {})).await),
            _ => {
                let mut deliveries = consumer.stream().unwrap();
                deliveries.next().await.unwrap().unwrap().leave();
                assert!(tokio::time::timeout(3 * SECOND, deliveries.next()).await.is_err());
            }
        }
        assert_eq!((consumer.stats().unseen, world.seen("pull").len()), (0, 2), "{ends_by}, {asks}");
        sleep(30 * SECOND).await;
        assert_eq!(consumer.stats().unseen, 2, "{ends_by}, {asks}");
        assert!(log.lines("no handler saw them").len() > before, "{ends_by}, {asks}");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_given_up_are_counted_once_max_retries_is_known() {
    let world = World::with(0).await;
    world.takes_by(|seen| if seen.operation == "consumers" { 20 * SECOND } else { Duration::ZERO });
    world.responds(|seen| match (seen.operation.as_str(), seen.nth) {
        ("pull", 0) => Some(at_attempts(&[1, 3, 3, 2, 4])),
        ("pull", _) => Some(at_attempts(&[])),
        ("consumers", _) => Some(consumers(2)),
        _ => None,
    });
    let consumer = Consumer::new(world.queue.clone()).concurrency(5).shutdown_timeout(Duration::ZERO);
    // One is handled, and the others are handed back.
    let mut deliveries = consumer.stream().unwrap();
    deliveries.next().await.unwrap().unwrap().leave();
    drop(deliveries);
    assert_eq!(consumer.stats().unseen, 0);
    sleep(MINUTE).await;
    assert_eq!((consumer.stats().unseen, world.seen("consumers").len()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn max_retries_is_asked_again_a_few_times_after_a_failure() {
    for (failures, asked) in [(1, 2), (3, 4), (usize::MAX, 6)] {
        let world = World::with(0).await;
        let direct = world.direct.clone();
        let queue = world.queue_with(|client| client.retry(RetryPolicy::none()));
        world.responds(move |seen| match (seen.operation.as_str(), seen.nth) {
            // A page of a proxy.
            ("consumers", nth) if nth < failures => Some(http::Response::new("<html>".to_owned())),
            ("consumers", _) => Some(consumers(0)),
            _ => None,
        });
        let consumer = Consumer::new(queue).concurrency(1).max_idle(SECOND).shutdown_timeout(Duration::ZERO);
        let stop = async {
            for _ in 0..120 {
                direct.push(&PushMessage::text("1")).await.unwrap();
                sleep(10 * SECOND).await;
            }
        };
        let report = run(&consumer, stop, |_| sleep(9900 * MILLI)).await;
        assert!(report.error.is_none());
        assert_eq!(world.seen("consumers").len(), asked, "{failures}");
    }
}
