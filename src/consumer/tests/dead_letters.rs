//! Messages that are moved to another queue.

use super::*;
use crate::pull::PullOptions;

/// A world, and its dead-letter queue, behind the same network.
async fn world() -> (World, Queue) {
    let world = World::with(0).await;
    let dead = world.emulator.create_queue(QueueSettings::new());
    let queue = world.queue.queues().queue(dead).unwrap();
    (world, queue)
}

async fn bodies(queue: &Queue) -> Vec<String> {
    let batch = queue.pull(PullOptions::new().batch_size(100)).await.unwrap();
    batch.iter().map(|message| message.body.raw().into_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_pushed_byte_for_byte_and_then_acknowledged() {
    let (world, dead) = world().await;
    let odd: Box<serde_json::value::RawValue> = serde_json::from_str(r#"{"b": 1.50,  "a":[ ]}"#).unwrap();
    let _ = world.direct.push_all(&[PushMessage::text("té\"xt"), PushMessage::json(&odd).unwrap()]).await.unwrap();
    let consumer = world.consumer().dead_letters(dead.clone());
    let report = run(&consumer, sleep(5 * SECOND), |_| async { Verdict::DeadLetter }).await;
    assert_eq!((report.stats.dead_lettered, report.stats.acknowledged, world.left()), (2, 0, 0));
    let mut pulled = bodies(&dead).await;
    pulled.sort();
    assert_eq!(pulled.len(), 2);
    assert!(pulled.iter().any(|body| body.contains("xt")), "{pulled:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_cannot_be_pushed_is_not_acknowledged() {
    let (world, dead) = world().await;
    world.push(1).await;
    world.responds(|seen| (seen.operation == "messages").then(|| refusal(503, 0)));
    let consumer = world.consumer().dead_letters(dead);
    let report = run(&consumer, sleep(30 * SECOND), |_| async { Verdict::DeadLetter }).await;
    assert_eq!((report.stats.dead_letter_failures, report.stats.left, world.left()), (1, 1, 1));
    assert!(world.seen("ack").is_empty());
}

#[tokio::test(start_paused = true)]
async fn failed_and_undecodable_messages_become_dead_letters() {
    let (world, dead) = world().await;
    world.push(1).await;
    let _ = world.direct.push(&PushMessage::text("no number")).await.unwrap();
    let consumer = world.consumer().dead_letters(dead.clone()).max_attempts(3).json::<u32>();
    let report = consumer.run_until(sleep(60 * SECOND), |_, _| async { Err::<(), _>("never") }).await.unwrap();
    check(&report);
    let Stats { failed, retried, dead_lettered, undecodable, .. } = report.stats;
    assert_eq!((failed, retried, dead_lettered, undecodable), (3, 2, 2, 1));
    assert_eq!((world.left(), bodies(&dead).await.len()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_without_a_queue_is_retried() {
    let (world, _) = world().await;
    world.push(1).await;
    let consumer = world.consumer().retry_delay(RetryDelay::fixed(3600 * SECOND));
    let report = run(&consumer, sleep(5 * SECOND), |_| async { Verdict::DeadLetter }).await;
    assert_eq!((report.stats.retried, world.left()), (1, 1));
}
