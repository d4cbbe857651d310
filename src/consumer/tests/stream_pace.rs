//! How many messages a stream pulls ahead, depending on how fast they are taken.

use std::{future::poll_fn, pin::Pin};

use futures_core::Stream;

use super::*;

/// How many messages each pull requested.
fn sizes(world: &World) -> Vec<u64> {
    world.seen("pull").iter().map(|seen| seen.body["batch_size"].as_u64().unwrap()).collect()
}

async fn next(deliveries: &mut Deliveries) -> Delivery {
    poll_fn(|context| Pin::new(&mut *deliveries).poll_next(context)).await.unwrap().unwrap()
}

/// Takes so many messages, at intervals of `pace`, and leaves them.
async fn take(deliveries: &mut Deliveries, messages: usize, pace: Duration) {
    for _ in 0..messages {
        next(deliveries).await.leave();
        sleep(pace).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_caller_gets_one_message_at_a_time() {
    let world = World::with(100).await;
    world.takes(20 * MILLI);
    let mut deliveries = world.consumer().stream().unwrap();
    take(&mut deliveries, 20, 2 * SECOND).await;
    assert_eq!(sizes(&world), [1; 20]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_holds_what_is_taken_in_two_round_trips() {
    let world = World::with(100).await;
    world.takes(SECOND);
    let mut deliveries = world.consumer().stream().unwrap();
    let mut waiting = 0;
    for number in 0..40 {
        take(&mut deliveries, 1, 500 * MILLI).await;
        if number > 10 {
            waiting = waiting.max(deliveries.stats().waiting);
        }
    }
    assert!((2..=4).contains(&waiting), "{waiting}");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_becomes_faster_is_noticed_within_some_messages() {
    let world = World::with(1).await;
    world.takes(20 * MILLI);
    let mut deliveries = world.consumer().max_idle(100 * MILLI).stream().unwrap();
    take(&mut deliveries, 1, 1000 * SECOND).await;
    world.push(1000).await;
    let start = Instant::now();
    take(&mut deliveries, 1000, MILLI).await;
    assert!(start.elapsed() < 3 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_waited_for_is_pulled_at_once() {
    let world = World::with(100).await;
    let mut deliveries = world.consumer().stream().unwrap();
    let batch = deliveries.next_batch(40, SECOND).await.unwrap().unwrap();
    assert_eq!((batch.len(), sizes(&world)[0]), (40, 40));
}

#[tokio::test(start_paused = true)]
async fn fast_callers_prefetch_up_to_a_pull_or_their_concurrency() {
    for (concurrency, most) in [(1, 100), (300, 300)] {
        let world = World::with(2000).await;
        world.takes(400 * MILLI);
        let mut deliveries = world.consumer().concurrency(concurrency).stream().unwrap();
        let mut waiting = 0;
        for _ in 0..1000 {
            take(&mut deliveries, 1, MILLI).await;
            waiting = waiting.max(deliveries.stats().waiting);
        }
        assert!((most / 3..=most).contains(&waiting), "{waiting} of {most}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_holds_no_more_than_the_bound_of_bytes_allows() {
    let world = World::with(0).await;
    for _ in 0..20 {
        let _ = world.direct.push_all(&vec![PushMessage::text("x".repeat(20_000)); 10]).await.unwrap();
    }
    world.takes(20 * MILLI);
    let mut deliveries = world.consumer().concurrency(300).max_bytes(20 * 20_600).stream().unwrap();
    let mut waiting = 0;
    for _ in 0..100 {
        take(&mut deliveries, 1, MILLI).await;
        waiting = waiting.max(deliveries.stats().waiting);
    }
    assert!((10..=20).contains(&waiting), "{waiting}");
}

#[tokio::test(start_paused = true)]
async fn waiting_messages_with_lost_leases_are_skipped_and_counted() {
    let world = World::with(5).await;
    let mut deliveries = world.consumer().max_retries(0).max_lease(Duration::ZERO).stream().unwrap();
    assert!(tokio::time::timeout(SECOND, deliveries.next_batch(10, MINUTE)).await.is_err());
    sleep(100 * SECOND).await;
    let again = next(&mut deliveries).await;
    assert_eq!(again.message().attempts, Some(2));
    again.leave();
    deliveries.acker().close().await;
    let Stats { expired, unseen, .. } = deliveries.stats();
    assert_eq!((expired, unseen, world.seen("ack").len()), (5, 5, 0), "nothing was sent for them");
}
