//! Messages that the service will not deliver again.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A queue that redelivers messages so often.
async fn world(max_retries: u32, messages: usize) -> World {
    let world = World::new(Emulator::builder().queue(QueueSettings::new().max_retries(max_retries)));
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
async fn messages_at_their_last_delivery_are_started_first() {
    let world = World::with(0).await;
    let message = |number: u32| {
        serde_json::json!({ "id": number.to_string(), "lease_id": format!("lease-{number}"), "body": number.to_string(),
            "attempts": if number >= 8 { 3 } else { 1 } })
    };
    world.responds(move |seen| {
        let all = || serde_json::json!({ "messages": (0..10).map(message).collect::<Vec<_>>() });
        (seen.operation == "pull").then(|| success(if seen.nth == 0 { all() } else { serde_json::json!({}) }))
    });
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&order);
    let consumer = world.consumer().max_retries(2).concurrency(1);
    let report = run(&consumer, sleep(5 * SECOND), move |message: Message| {
        seen.lock().unwrap().push(message.body.json::<u32>().unwrap());
        async { Verdict::Leave }
    });
    let _ = report.await;
    assert_eq!(order.lock().unwrap()[..3], [8, 9, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_message_at_its_last_delivery_is_handled_during_the_shutdown_while_there_is_time() {
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
async fn max_retries_is_asked_once_when_messages_arrive_and_a_refusal_does_no_harm() {
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
