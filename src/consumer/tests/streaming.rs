//! The stream.

use futures_core::Stream;
use std::{future::poll_fn, pin::Pin};

use super::*;
use crate::{acker::AckerOptions, error::kind::ErrorKind};

async fn next<T>(deliveries: &mut Deliveries<T>) -> Option<Result<Delivery<T>, Error>> {
    poll_fn(|context| Pin::new(&mut *deliveries).poll_next(context)).await
}

#[tokio::test(start_paused = true)]
async fn a_stream_repeats_failed_pulls_and_ends_on_a_final_failure() {
    let world = World::with(1).await;
    world.responds(|seen| match (seen.operation.as_str(), seen.nth) {
        ("pull", 0..=4) => Some(refusal(503, 0)),
        ("pull", 8..) => Some(refusal(401, 10000)),
        _ => None,
    });
    let mut deliveries = world.consumer().stream().unwrap();
    let delivery = next(&mut deliveries).await.unwrap().unwrap();
    delivery.ack().await.unwrap().await.unwrap();
    assert_eq!(next(&mut deliveries).await.unwrap().unwrap_err().kind(), ErrorKind::Unauthorized);
    assert!(next(&mut deliveries).await.is_none());
    let stats = deliveries.stats();
    assert_eq!((stats.pulled, stats.acknowledged, stats.pull_failures, stats.pulls), (1, 1, 6, 3));
}

#[tokio::test(start_paused = true)]
async fn close_hands_back_dropped_deliveries() {
    let world = World::with(97).await;
    let mut deliveries = world.consumer().stream().unwrap();
    let first = next(&mut deliveries).await.unwrap().unwrap();
    let acker = deliveries.acker().clone();
    drop(deliveries);
    drop(first);
    acker.close().await;
    assert!(world.emulator.messages(world.emulator.queue_id()).iter().all(|message| !message.is_leased));
}

#[tokio::test(start_paused = true)]
async fn a_stream_hands_back_what_waits_after_its_acker_is_closed() {
    let world = World::with(97).await;
    let mut deliveries = world.consumer().stream().unwrap();
    assert!(tokio::time::timeout(SECOND / 2, deliveries.next_batch(100, SECOND)).await.is_err());
    let acker = deliveries.acker().clone();
    acker.close().await;
    drop(deliveries);
    acker.close().await;
    assert!(world.emulator.messages(world.emulator.queue_id()).iter().all(|message| !message.is_leased));
}

#[tokio::test(start_paused = true)]
async fn a_batch_size_of_zero_counts_as_one() {
    let mut deliveries = World::with(3).await.consumer().stream().unwrap();
    let batch = tokio::time::timeout(MINUTE, deliveries.next_batch(0, SECOND)).await.unwrap();
    assert_eq!(batch.unwrap().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn close_hands_back_the_messages_of_pulls_in_flight() {
    for unsettled in [Unsettled::Retry, Unsettled::Leave] {
        let world = World::with(10).await;
        world.takes(SECOND);
        let mut deliveries = world.consumer().unsettled(unsettled).stream().unwrap();
        assert!(tokio::time::timeout(SECOND / 10, deliveries.next_batch(10, SECOND)).await.is_err());
        let (acker, start) = (deliveries.acker().clone(), Instant::now());
        drop(deliveries);
        acker.close().await;
        if unsettled == Unsettled::Retry {
            let messages = world.emulator.messages(world.emulator.queue_id());
            assert!(messages.iter().all(|message| message.attempts == 1 && !message.is_leased), "{messages:?}");
        }
        assert!(start.elapsed() < 3 * SECOND, "{:?}", start.elapsed());
    }
}

/// Takes and acknowledges messages as fast as possible, and returns what ends the stream within the time.
async fn drain(deliveries: &mut Deliveries, time: Duration) -> Option<Error> {
    let drained = tokio::time::timeout(time, async {
        loop {
            match next(deliveries).await.unwrap() {
                Ok(delivery) => drop(delivery.ack().await.unwrap()),
                Err(error) => return error,
            }
        }
    });
    drained.await.ok()
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_for_acknowledgements_end_a_stream() {
    for (status, kind) in [(403, ErrorKind::Unauthorized), (401, ErrorKind::Unauthorized), (404, ErrorKind::NotFound)] {
        let world = World::with(5000).await;
        world.takes(20 * MILLI);
        world.responds(move |seen| (seen.operation == "ack").then(|| refusal(status, 10000)));
        let consumer = world.consumer();
        let mut deliveries = consumer.stream().unwrap();
        // Not as fast as possible, so that messages wait when the refusal arrives.
        let error = loop {
            match next(&mut deliveries).await.unwrap() {
                Ok(delivery) => drop(delivery.ack().await.unwrap()),
                Err(error) => break error,
            }
            sleep(10 * MILLI).await;
        };
        assert_eq!(consumer.health().status, Status::Stopped);
        assert_eq!((error.kind(), error.operation()), (kind, Some("ack_messages")));
        assert!(next(&mut deliveries).await.is_none());
        let stats = deliveries.stats();
        assert!(stats.pulled < 2000 && stats.last_error.unwrap().contains("ack_messages"), "{}", stats.pulled);
        let taken = stats.pulled - world.seen("ack").len() as u64;
        assert!(taken > 1, "some wait");
        deliveries.acker().close().await;
        check_sum(&deliveries.stats());
    }
}

#[tokio::test(start_paused = true)]
async fn refused_acknowledgements_wake_a_waiting_stream() {
    let world = World::with(2).await;
    world.takes_by(|seen| if seen.operation == "ack" { SECOND } else { Duration::ZERO });
    // The first one is confirmed.
    world.responds(move |seen| (seen.operation == "ack" && seen.nth > 0).then(|| refusal(403, 10000)));
    let mut deliveries = world.consumer().min_idle(3600 * SECOND).max_idle(3600 * SECOND).stream().unwrap();
    let start = Instant::now();
    for delivery in deliveries.next_batch(2, SECOND).await.unwrap().unwrap() {
        drop(delivery.ack().await.unwrap());
        sleep(SECOND / 2).await;
    }
    assert!(drain(&mut deliveries, 60 * SECOND).await.is_some());
    assert!(start.elapsed() < 10 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn unconfirmed_acknowledgements_slow_a_stream_down() {
    let bare = || success(serde_json::json!({ "ackCount": 0 }));
    let not_success = || {
        let mut refusal = refusal(200, 15000);
        *refusal.status_mut() = http::StatusCode::OK;
        refusal
    };
    let scripts: [fn() -> http::Response<String>; 2] = [bare, not_success];
    for script in scripts {
        let world = World::with(2500).await;
        world.takes(20 * MILLI);
        world.responds(move |seen| (seen.operation == "ack").then(script));
        let consumer = world.consumer();
        let mut deliveries = consumer.stream().unwrap();
        assert!(drain(&mut deliveries, 60 * SECOND).await.is_none());
        let (stats, health) = (deliveries.stats(), consumer.health());
        // At full speed, all of them would have been taken within two seconds.
        assert!(stats.acknowledged == 0 && stats.pulled < 2000, "{}", stats.pulled);
        assert!(stats.unconfirmed > 0 && stats.slowdown > 2, "{stats:?}");
        assert_eq!(health.status, Status::AcksFail);
        // It works again.
        world.responds(|_| None);
        assert!(drain(&mut deliveries, 600 * SECOND).await.is_none());
        assert_eq!((deliveries.stats().slowdown, consumer.health().status), (0, Status::Working));
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_acknowledgements_slow_a_stream_down() {
    let world = World::with(10_000).await;
    world.takes_by(|seen| if seen.operation == "ack" { 3600 * SECOND } else { 20 * MILLI });
    let consumer = world.consumer();
    let mut deliveries = consumer.stream().unwrap();
    let drained = tokio::time::timeout(80 * SECOND, async {
        while let Some(Ok(delivery)) = next(&mut deliveries).await {
            drop(delivery.ack());
            sleep(MILLI).await;
        }
    });
    assert!(drained.await.is_err());
    assert!(deliveries.stats().pulled < 9000, "{}", deliveries.stats().pulled);
    assert_eq!(consumer.health().status, Status::AcksFail);
}

#[tokio::test(start_paused = true)]
async fn dropped_undecided_deliveries_slow_a_stream_down() {
    // One of several is within what is tolerated.
    for (share, dropped, seconds, pulled) in
        [(0.5, 1, 20, 50..3000), (1.0, 1, 1, 1000..usize::MAX), (0.5, 4, 1, 600..700)]
    {
        let world = World::with(500).await;
        world.takes(20 * MILLI);
        let mut deliveries = world.consumer().failure_threshold(share).stream().unwrap();
        let dropping = async {
            for number in 0.. {
                let delivery = next(&mut deliveries).await.unwrap().unwrap();
                if number % dropped == 0 { drop(delivery) } else { drop(delivery.ack()) }
            }
        };
        assert!(tokio::time::timeout(seconds * SECOND, dropping).await.is_err());
        let stats = deliveries.stats();
        assert!(pulled.contains(&(stats.pulled as usize)), "{}", stats.pulled);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_accounts_for_every_message_once() {
    for unsettled in [Unsettled::Retry, Unsettled::Leave] {
        let world = World::with(300).await;
        world.takes(20 * MILLI);
        world.responds(|seen| (seen.operation == "ack" && seen.nth == 2).then(|| success(serde_json::json!({}))));
        let consumer = world.consumer().unsettled(unsettled);
        let mut deliveries = consumer.stream().unwrap();
        for number in 0..200 {
            let delivery = next(&mut deliveries).await.unwrap().unwrap();
            match number % 5 {
                0 => drop(delivery),
                1 => delivery.leave(),
                2 => drop(delivery.retry_in(SECOND).await),
                3 => drop(delivery.retry_in(Duration::MAX).await),
                _ => drop(delivery.ack()),
            }
        }
        let acker = deliveries.acker().clone();
        drop(deliveries);
        acker.close().await;
        check_sum(&consumer.stats());
        assert!(consumer.stats().unconfirmed >= 40);
    }
}

#[tokio::test(start_paused = true)]
async fn a_decision_is_sent_even_if_its_future_is_dropped() {
    let world = World::with(3).await;
    world.takes(SECOND);
    let options = AckerOptions::new().buffer(1).max_in_flight(1);
    let mut deliveries = world.consumer().acker(options).stream().unwrap();
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(next(&mut deliveries).await.unwrap().unwrap());
    }
    for delivery in taken {
        let _ = tokio::time::timeout(5 * MILLI, delivery.ack()).await;
    }
    deliveries.acker().close().await;
    assert_eq!(world.left(), 0);
}

#[tokio::test(start_paused = true)]
async fn batches_of_a_stream_are_full_or_end_at_the_linger() {
    let world = World::with(25).await;
    let mut deliveries = world.consumer().json::<u32>().stream().unwrap();
    let mut sizes = Vec::new();
    for linger in [SECOND, Duration::ZERO, SECOND] {
        let batch = deliveries.next_batch(10, linger).await.unwrap().unwrap();
        sizes.push(batch.len());
        for delivery in batch {
            assert!(*delivery.body() < 25);
            delivery.ack().await.unwrap();
        }
    }
    deliveries.acker().close().await;
    assert_eq!((sizes, world.left()), (vec![10, 10, 5], 0));
    assert_eq!(deliveries.stats().acknowledged, 25);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_for_a_batch_loses_no_message() {
    let world = World::with(5).await;
    let mut deliveries = world.consumer().stream().unwrap();
    assert!(tokio::time::timeout(SECOND, deliveries.next_batch(10, 60 * SECOND)).await.is_err());
    assert_eq!(deliveries.next_batch(10, MILLI).await.unwrap().unwrap().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_for_a_batch_returns_its_messages() {
    let world = World::with(50).await;
    let consumer = world.consumer().max_lease(Duration::ZERO).max_idle(SECOND);
    let mut deliveries = consumer.stream().unwrap();
    for _ in 0..30 {
        assert!(tokio::time::timeout(SECOND, deliveries.next_batch(100, 60 * SECOND)).await.is_err());
    }
    let gathered = deliveries.stats().pulled;
    sleep(120 * SECOND).await;
    // Nobody had them when their leases were lost.
    assert_eq!(deliveries.stats().lost_leases, 0);
    assert!(gathered > 20, "{gathered}");
}

#[tokio::test(start_paused = true)]
async fn slow_loops_prefetch_at_most_half_a_lease() {
    let world = World::with(300).await;
    let mut deliveries = world.consumer().stream().unwrap();
    for _ in 0..100 {
        let delivery = next(&mut deliveries).await.unwrap().unwrap();
        sleep(2 * SECOND).await;
        delivery.ack().await.unwrap();
    }
    assert_eq!((deliveries.stats().expired, world.left() <= 201), (0, true));
}

#[tokio::test(start_paused = true)]
async fn a_stream_extends_leases_until_messages_are_decided_on() {
    let world = World::with(20).await;
    let mut deliveries = world.consumer().stream().unwrap();
    let mut held = vec![next(&mut deliveries).await.unwrap().unwrap()];
    assert!(tokio::time::timeout(SECOND, deliveries.next_batch(100, MINUTE)).await.is_err());
    // The others wait in the stream, which is not polled.
    sleep(600 * SECOND).await;
    held.extend(deliveries.next_batch(19, SECOND).await.unwrap().unwrap());
    let acker = deliveries.acker().clone();
    let stats = deliveries.stats();
    drop(deliveries);
    // Deliveries outlive their stream.
    sleep(600 * SECOND).await;
    assert!(stats.extended > 100 && stats.expired == 0, "{stats:?}");
    for delivery in held {
        assert!(!delivery.message().lease().is_lost());
        assert_eq!(delivery.message().attempts, Some(1));
        drop(delivery.ack().await.unwrap());
    }
    acker.close().await;
    assert_eq!(world.left(), 0);
    let extensions = world.seen("extend").len();
    sleep(600 * SECOND).await;
    assert_eq!(world.seen("extend").len(), extensions, "no lease is extended without a delivery");
}

#[tokio::test(start_paused = true)]
async fn leases_of_pulls_that_end_unpolled_are_extended() {
    let world = World::with(100).await;
    world.takes(SECOND);
    let mut deliveries = world.consumer().stream().unwrap();
    for _ in 0..20 {
        drop(next(&mut deliveries).await.unwrap().unwrap().ack());
        sleep(SECOND / 2).await;
    }
    sleep(5 * MINUTE).await;
    assert!(next(&mut deliveries).await.unwrap().is_ok());
    assert_eq!((deliveries.stats().expired, world.most_attempts()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn no_lease_of_an_unpolled_pull_is_extended_after_its_stream() {
    let world = World::with(2).await;
    world.takes(SECOND);
    let mut deliveries = world.consumer().unsettled(Unsettled::Leave).stream().unwrap();
    let kept = next(&mut deliveries).await.unwrap().unwrap();
    assert!(tokio::time::timeout(SECOND / 2, next(&mut deliveries)).await.is_err());
    sleep(MINUTE).await;
    drop(deliveries);
    let before = world.seen("extend").len();
    sleep(5 * MINUTE).await;
    assert!(!kept.message().lease().is_lost());
    let extended = world.seen("extend").into_iter().map(|seen| seen.body["extend"].as_array().unwrap().len());
    let extended: Vec<_> = extended.collect();
    assert_eq!((extended[0], extended[before..].iter().max()), (2, Some(&1)), "{extended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_delivery_tells_that_its_lease_is_lost() {
    for (heartbeat, lost_after) in [(Duration::ZERO, 60), (300 * SECOND, 340)] {
        let world = World::with(1).await;
        let consumer = world.consumer().max_lease(heartbeat);
        let mut deliveries = consumer.stream().unwrap();
        let (start, delivery) = (Instant::now(), next(&mut deliveries).await.unwrap().unwrap());
        delivery.message().lease().lost().await;
        assert!(start.elapsed().as_secs().abs_diff(lost_after) <= 20, "{heartbeat:?}: {:?}", start.elapsed());
        sleep(SECOND).await;
        assert_eq!(consumer.stats().lost_leases, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_skips_undecodable_messages() {
    let world = World::with(1).await;
    let _ = world.direct.push(&PushMessage::text("no number")).await.unwrap();
    let consumer = world.consumer().json::<u32>().on_undecodable(|_, _| async { Verdict::Ack });
    let mut deliveries = consumer.stream().unwrap();
    let delivery = next(&mut deliveries).await.unwrap().unwrap();
    assert_eq!(delivery.body(), &0);
    delivery.ack().await.unwrap();
    let _ = tokio::time::timeout(SECOND, next(&mut deliveries)).await;
    deliveries.acker().close().await;
    assert_eq!((deliveries.stats().undecodable, deliveries.stats().acknowledged, world.left()), (1, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn tasks_end_with_a_stream_and_its_deliveries() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let world = World::with(3).await;
    let before = tasks();
    let mut deliveries = world.consumer().stream().unwrap();
    let delivery = next(&mut deliveries).await.unwrap().unwrap();
    drop(deliveries);
    let _ = delivery.ack().await.unwrap().await;
    sleep(SECOND).await;
    assert_eq!(tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn leases_are_not_extended_after_settlement() {
    let world = World::with(2).await;
    let mut deliveries = world.consumer().stream().unwrap();
    let mut batch = deliveries.next_batch(2, SECOND).await.unwrap().unwrap();
    let _ = batch.remove(0).ack().await.unwrap().await;
    let kept = batch[0].message().lease_id.expose_secret().into_owned();
    sleep(300 * SECOND).await;
    let extended = world.seen("extend");
    assert!(extended.len() > 3);
    assert!(extended.iter().all(|seen| seen.body["extend"] == serde_json::json!([{ "lease_id": kept }])));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_for_a_message_that_is_left() {
    let world = World::with(1).await;
    let mut deliveries = world.consumer().stream().unwrap();
    next(&mut deliveries).await.unwrap().unwrap().leave();
    deliveries.acker().close().await;
    assert_eq!((world.seen("ack").len(), deliveries.stats().left), (0, 1));
}
