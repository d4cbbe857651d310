//! The stream.

use futures_core::Stream;
use std::{future::poll_fn, pin::Pin};

use super::*;
use crate::{acker::AckerOptions, error_kind::ErrorKind};

async fn next<D: Decoding>(deliveries: &mut Deliveries<D>) -> Option<Result<Delivery<D::Job>, Error>> {
    poll_fn(|context| Pin::new(&mut *deliveries).poll_next(context)).await
}

#[tokio::test(start_paused = true)]
async fn a_stream_repeats_failed_pulls_by_itself_and_ends_on_what_is_final() {
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
async fn what_is_dropped_before_close_is_handed_back_by_it() {
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
async fn a_decision_that_is_given_up_is_sent_all_the_same() {
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
async fn batches_of_a_stream_are_full_or_what_came_in_time() {
    let world = World::with(25).await;
    let mut deliveries = world.consumer().json::<u32>().stream().unwrap();
    let mut sizes = Vec::new();
    for _ in 0..3 {
        let batch = deliveries.next_batch(10, SECOND).await.unwrap().unwrap();
        sizes.push(batch.len());
        for delivery in batch {
            assert!(*delivery.job() < 25);
            delivery.ack().await.unwrap();
        }
    }
    deliveries.acker().close().await;
    assert_eq!((sizes, world.left()), (vec![10, 10, 5], 0));
    assert_eq!(deliveries.stats().acknowledged, 25);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_for_a_batch_loses_none_of_it() {
    let world = World::with(5).await;
    let mut deliveries = world.consumer().stream().unwrap();
    assert!(tokio::time::timeout(SECOND, deliveries.next_batch(10, 60 * SECOND)).await.is_err());
    assert_eq!(deliveries.next_batch(10, MILLI).await.unwrap().unwrap().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_slow_loop_is_given_no_more_than_it_takes_within_half_a_lease() {
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
async fn a_stream_decides_on_what_cannot_be_decoded_and_passes_it_over() {
    let world = World::with(1).await;
    let _ = world.direct.push(&PushMessage::text("no number")).await.unwrap();
    let consumer = world.consumer().json::<u32>().on_undecodable(|_, _| async { Verdict::Ack });
    let mut deliveries = consumer.stream().unwrap();
    let delivery = next(&mut deliveries).await.unwrap().unwrap();
    assert_eq!(delivery.job(), &0);
    delivery.ack().await.unwrap();
    let _ = tokio::time::timeout(SECOND, next(&mut deliveries)).await;
    deliveries.acker().close().await;
    assert_eq!((deliveries.stats().undecodable, deliveries.stats().acknowledged, world.left()), (1, 2, 0));
}
