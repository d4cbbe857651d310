use std::{sync::mpsc, thread, time::Duration};

use serde_json::json;
use tokio::runtime::Handle;

use super::*;
use crate::{
    AckRequest, PullOptions, PushMessage, QueueId,
    emulator::{Behavior, EmulatedQueue, ExtendFrom, Seed, clock::nanos, queue::Queue},
};

const MINUTE: Duration = Duration::from_secs(60);

fn lease_for_a_minute(emulator: &Emulator, count: usize) {
    let pull = |queue: &mut Queue, now| queue.pull(now, count, Some(nanos(MINUTE))).len();
    assert_eq!(emulator.running.service.with_queue(emulator.queue_id().as_str(), pull).unwrap(), count);
}

#[tokio::test]
async fn a_lease_and_a_delay_never_end_early() {
    const STEP: Duration = Duration::from_micros(100);
    let emulator = Emulator::builder().queue(EmulatedQueue::new().max_retries(100)).start().await.unwrap();
    let queue = emulator.queue().unwrap();
    queue.push(&PushMessage::text("hello")).await.unwrap();
    let lease = PullOptions::new().batch_size(1).visibility_timeout(Duration::from_millis(5));
    // Wherever within a millisecond the lease begins.
    for _ in 0..10 {
        assert_eq!(queue.pull(lease).await.unwrap().len(), 1);
        for _ in 1..50 {
            emulator.advance(STEP);
            assert_eq!(queue.peek(1).await.unwrap().len(), 0);
        }
        emulator.advance(STEP);
        let batch = queue.pull(lease).await.unwrap();
        let request = AckRequest::new().retry_in(&batch.messages[0].lease_id, Duration::from_secs(1));
        assert!(queue.ack(request).await.unwrap().is_complete());
        emulator.advance(Duration::from_secs(1) - STEP);
        assert_eq!(queue.peek(1).await.unwrap().len(), 0);
        emulator.advance(STEP);
        assert_eq!(queue.peek(1).await.unwrap().len(), 1);
        emulator.advance(STEP);
    }
}

#[tokio::test]
async fn a_queue_does_not_wait_for_another() {
    let emulator = Emulator::start().await.unwrap();
    let other = emulator.create_queue(EmulatedQueue::new());
    let (sender, receiver) = mpsc::channel();
    // Settings are changed under the queue's lock. Another thread does it, so that a deadlock fails the test.
    thread::spawn(move || {
        emulator.configure_queue(emulator.queue_id(), |settings| {
            sender.send(emulator.messages(&other)).unwrap();
            settings
        });
    });
    assert_eq!(receiver.recv_timeout(Duration::from_secs(600)), Ok(Vec::new()));
}

#[tokio::test]
async fn managing_queues_does_not_block_messages() {
    let emulator = Emulator::in_process();
    let (sender, receiver) = mpsc::channel();
    let held = emulator.running.service.registry();
    let (emulator, runtime) = (emulator.clone(), Handle::current());
    thread::spawn(move || sender.send(runtime.block_on(send(&emulator, "/pull", "")).0));
    assert_eq!(receiver.recv_timeout(Duration::from_secs(600)), Ok(StatusCode::OK));
    drop(held);
}

#[tokio::test]
async fn a_dead_letter_arrives_without_a_request_to_its_source() {
    let emulator = Emulator::start().await.unwrap();
    let dead_letters = emulator.create_queue(EmulatedQueue::new());
    let change = |settings: EmulatedQueue| settings.max_retries(0).dead_letter_queue(dead_letters.as_str());
    emulator.configure_queue(emulator.queue_id(), change);
    let queue = emulator.queue().unwrap();
    queue.push(&PushMessage::text("hello")).await.unwrap();
    assert_eq!(queue.pull(PullOptions::new()).await.unwrap().len(), 1);
    emulator.advance(Duration::from_secs(30));
    let dead = emulator.client().unwrap().queue(emulator.account_id(), &dead_letters).unwrap();
    assert_eq!(dead.pull(PullOptions::new()).await.unwrap().messages[0].body.text().unwrap(), "hello");
}

#[tokio::test]
async fn own_delays_come_before_those_of_batch_and_queue() {
    const STEP: Duration = Duration::from_secs(10);
    let emulator = Emulator::builder().queue(EmulatedQueue::new().delivery_delay(STEP)).frozen().in_process();
    let batch = json!([{ "body": "own", "delay_seconds": 20 }, { "body": "batch" }]);
    send(&emulator, "/batch", &json!({ "messages": batch, "delay_seconds": 30 }).to_string()).await;
    for message in [json!({ "body": "queue" }), json!({ "body": "now", "delay_seconds": 0 })] {
        send(&emulator, "", &message.to_string()).await;
    }
    let (queue, pull) = (emulator.queue().unwrap(), PullOptions::new().visibility_timeout(10 * STEP));
    for arrived in ["now", "queue", "own", "batch"] {
        let batch = queue.pull(pull).await.unwrap();
        assert_eq!(batch.iter().map(|message| message.body.text().unwrap()).collect::<Vec<_>>(), [arrived]);
        emulator.advance(STEP);
    }
}

#[tokio::test]
async fn no_operation_sees_any_of_many_messages_past_their_retention() {
    let minute = Duration::from_secs(60);
    let emulator = Emulator::builder().queue(EmulatedQueue::new().message_retention(minute)).frozen().in_process();
    emulator.seed(emulator.queue_id(), [Seed::text("x").times(5000)]).unwrap();
    emulator.advance(minute);
    let queue = emulator.queue().unwrap();
    assert_eq!(queue.peek(5).await.unwrap().len(), 0);
    assert_eq!(queue.pull(PullOptions::new()).await.unwrap().len(), 0);
    assert_eq!(queue.metrics().await.unwrap().backlog_count, Some(0));
}

#[tokio::test]
async fn a_message_whose_retention_ends_before_its_lease_is_no_dead_letter() {
    let minute = Duration::from_secs(60);
    let emulator = Emulator::builder().frozen().in_process();
    let dead_letters = emulator.create_queue(EmulatedQueue::new());
    let change = |settings: EmulatedQueue| settings.max_retries(0).dead_letter_queue(dead_letters.as_str());
    emulator.configure_queue(emulator.queue_id(), |settings| change(settings).message_retention(2 * minute));
    let queue = emulator.queue().unwrap();
    for (body, lease) in [("dead", minute), ("outdated", 3 * minute)] {
        queue.push(&PushMessage::text(body)).await.unwrap();
        assert_eq!(queue.pull(PullOptions::new().visibility_timeout(lease)).await.unwrap().len(), 1);
    }
    emulator.advance(4 * minute);
    let dead = emulator.messages(&dead_letters);
    assert_eq!(dead.iter().map(|message| message.body.text().unwrap()).collect::<Vec<_>>(), ["dead"]);
}

#[tokio::test]
async fn a_dead_letter_goes_where_the_settings_said_when_it_died() {
    let emulator = Emulator::builder().frozen().in_process();
    let (queue, failed) = (emulator.queue().unwrap(), emulator.create_queue(EmulatedQueue::new()));
    let change = |settings: EmulatedQueue| settings.max_retries(0).dead_letter_queue(failed.as_str());
    emulator.configure_queue(emulator.queue_id(), change);
    emulator.seed(queue.id(), [Seed::text("dead").times(4000)]).unwrap();
    lease_for_a_minute(&emulator, 4000);
    emulator.advance(MINUTE);
    emulator.configure_queue(emulator.queue_id(), |settings| EmulatedQueue { dead_letter_queue: None, ..settings });
    assert_eq!(emulator.messages(&failed).len(), 4000);
}

#[tokio::test]
async fn a_dead_letter_queue_that_gets_another_id_takes_all_dead_letters() {
    let emulator = Emulator::builder().frozen().in_process();
    let failed = emulator.create_queue(EmulatedQueue::new());
    let change = |settings: EmulatedQueue| settings.max_retries(0).dead_letter_queue(failed.as_str());
    emulator.configure_queue(emulator.queue_id(), change);
    emulator.seed(emulator.queue_id(), [Seed::text("dead").times(4000)]).unwrap();
    lease_for_a_minute(&emulator, 4000);
    emulator.advance(MINUTE);
    let new: QueueId = "f".repeat(32).parse().unwrap();
    emulator.set_queue_id(&failed, new.clone()).unwrap();
    assert_eq!((emulator.messages(emulator.queue_id()), emulator.messages(&new).len()), (vec![], 4000));
}

#[tokio::test]
async fn every_setting_takes_zero_and_its_largest_value() {
    for (duration, count) in [(Duration::ZERO, 0), (Duration::MAX, u32::MAX)] {
        let settings = EmulatedQueue::new().max_retries(count).visibility_timeout(duration);
        let settings = settings.delivery_delay(duration).retry_delay(duration).message_retention(duration);
        let behavior = Behavior::new().max_lease(duration).extend_from(ExtendFrom::LeaseEnd);
        let emulator = Emulator::builder().queue(settings).behavior(behavior).in_process();
        for body in [r#"{ "body": 1 }"#, r#"{ "body": 1, "delay_seconds": 0 }"#] {
            assert_eq!(send(&emulator, "", body).await.0, StatusCode::OK);
        }
        let (_, pulled) = send(&emulator, "/pull", "").await;
        let lease = json!({ "lease_id": pulled["result"]["messages"][0]["lease_id"] });
        emulator.advance(duration);
        let (status, _) = send(&emulator, "/extend", &json!({ "extend": [lease] }).to_string()).await;
        assert_eq!(status, StatusCode::OK);
        let (status, envelope) = send(&emulator, "/ack", &json!({ "retries": [lease] }).to_string()).await;
        assert_eq!((status, envelope["success"].as_bool()), (StatusCode::OK, Some(true)));
        emulator.advance(duration);
        assert_eq!(send(&emulator, "/pull", "").await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_message_is_deleted_when_its_retention_ends_whoever_holds_it() {
    let hour = Duration::from_secs(3600);
    let emulator = Emulator::builder().queue(EmulatedQueue::new().message_retention(hour)).frozen().in_process();
    let queue = emulator.queue().unwrap();
    queue.push(&PushMessage::text("leased")).await.unwrap();
    queue.push(&PushMessage::text("delayed").delay(2 * hour)).await.unwrap();
    let lease = PullOptions::new().visibility_timeout(2 * hour);
    let batch = queue.pull(lease).await.unwrap();
    emulator.advance(Duration::from_secs(1));
    queue.push(&PushMessage::text("later")).await.unwrap();
    emulator.advance(hour - Duration::from_secs(2));
    assert_eq!(emulator.messages(emulator.queue_id()).len(), 3);
    emulator.advance(Duration::from_secs(1));
    let left = emulator.messages(emulator.queue_id());
    assert_eq!(left.iter().map(|message| message.body.text().unwrap()).collect::<Vec<_>>(), ["later"]);
    assert!(!queue.ack(AckRequest::ack_all(&batch)).await.unwrap().is_complete());
    emulator.configure_queue(emulator.queue_id(), |settings| settings.message_retention(2 * hour));
    emulator.advance(hour);
    assert_eq!(emulator.messages(emulator.queue_id()).len(), 1, "a longer retention holds for what is there");
}
