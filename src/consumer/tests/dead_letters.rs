//! Messages that are moved to another queue.

use serde_json::value::RawValue;

use super::*;
use crate::{emulator::JsonBodies, ids::QueueId, pull::PullOptions};

/// A world, and its dead-letter queue, behind the same network.
async fn world() -> (World, Queue) {
    world_of(Behavior::new())
}

fn world_of(behavior: Behavior) -> (World, Queue) {
    let world = World::of(behavior);
    let dead = world.emulator.create_queue(QueueSettings::new());
    let queue = world.queue.queues().queue(dead).unwrap();
    (world, queue)
}

async fn bodies(queue: &Queue) -> Vec<String> {
    let batch = queue.pull(PullOptions::new().batch_size(100)).await.unwrap();
    batch.iter().map(|message| message.body.raw().into_owned()).collect()
}

/// The types and bodies of all messages, as the service has them.
fn stored(world: &World, queue_id: &QueueId) -> Vec<(String, String)> {
    let messages = world.emulator.messages(queue_id).into_iter();
    let content = |body: crate::Body| (body.content_type().to_string(), body.raw().into_owned());
    let mut stored: Vec<_> = messages.map(|message| content(message.body)).collect();
    stored.sort();
    stored
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_pushed_byte_for_byte_and_acknowledged_only_after_that() {
    for form in [JsonBodies::Text, JsonBodies::Base64] {
        let (world, dead) = world_of(Behavior::new().json_bodies(form));
        world.takes(SECOND);
        let json = |json: &str| PushMessage::json(&serde_json::from_str::<Box<RawValue>>(json).unwrap()).unwrap();
        let texts = ["t\u{e9}\"\\\n\u{1f980}xt", "", "bm90IGpzb24="].map(PushMessage::text);
        let jsons = [r#"{"b":1.50,"a":[],"b":"\u00e9"}"#, "12345678901234567890.10", "null", "[1e5,-0.0]"].map(json);
        let _ = world.direct.push_all(&[&texts[..], &jsons[..]].concat()).await.unwrap();
        let before = stored(&world, world.emulator.queue_id());
        let consumer = world.consumer().dead_letters(dead.clone());
        let report = run(&consumer, sleep(20 * SECOND), |_| async { Verdict::DeadLetter }).await;
        assert_eq!((report.stats.dead_lettered, report.stats.acknowledged, world.left()), (7, 0, 0));
        assert_eq!((before.len(), stored(&world, dead.id())), (7, before));
        let (pushes, acks) = (world.seen("messages"), world.seen("ack"));
        assert!(acks.iter().all(|ack| pushes.iter().all(|push| ack.at >= push.at + SECOND)), "{acks:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_pushed_over_http_is_left_and_said_to_be() {
    for (content_type, body) in [("bytes", "AAEC"), ("v8", "/w8="), ("odd", "x"), ("json", "\"text\"")] {
        let (world, dead) = world().await;
        world.responds(move |seen| {
            let message = serde_json::json!({ "id": "1", "body": body, "attempts": 1, "timestamp_ms": 0,
                "lease_id": "a-lease", "metadata": { "CF-Content-Type": content_type } });
            (seen.operation == "pull" && seen.nth == 0).then(|| success(serde_json::json!({ "messages": [message] })))
        });
        let report = run(&world.consumer().dead_letters(dead), sleep(SECOND), |_| async { Verdict::DeadLetter }).await;
        assert_eq!((report.stats.dead_letter_failures, report.stats.left), (1, 1), "{content_type}");
        assert!(report.stats.last_error.is_some());
        assert_eq!((world.seen("messages").len(), world.seen("ack").len()), (0, 0));
    }
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
