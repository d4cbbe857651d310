//! What the service describes is read, field by field.

use std::time::{Duration, SystemTime};

use cloudflare_queues::manage::{
    ConsumerDescription, ConsumerKind, Jurisdiction, PurgeStatus, QueueDescription, SubscriptionDescription,
};
use serde_json::{Value, json};
use support::QUEUE;

const CREATED: &str = "2026-11-05T08:30:00Z";
const MODIFIED: &str = "2026-11-05T08:30:01Z";

fn time(seconds: u64) -> Option<SystemTime> {
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_867_400 + seconds))
}

fn consumer(settings: Value) -> Value {
    json!({ "consumer_id": "c1", "type": "worker", "script": "s", "dead_letter_queue": "failed", "queue_name": "jobs",
        "created_on": CREATED, "settings": settings })
}

#[test]
fn a_consumer_is_read() {
    let settings = json!({ "batch_size": 50, "max_retries": 7, "retry_delay": 60, "visibility_timeout_ms": 1500,
        "max_wait_time_ms": 2500, "max_concurrency": 3.0 });
    let read: ConsumerDescription = serde_json::from_value(consumer(settings)).unwrap();
    assert_eq!((read.id().unwrap().as_str(), read.kind(), read.script()), ("c1", ConsumerKind::Worker, Some("s")));
    assert_eq!((read.dead_letter_queue(), read.queue_name()), (Some("failed"), Some("jobs")));
    assert_eq!((read.created(), read.batch_size(), read.max_retries()), (time(0), Some(50), Some(7)));
    assert_eq!(read.retry_delay(), Some(Duration::from_secs(60)));
    assert_eq!(read.visibility_timeout(), Some(Duration::from_millis(1500)));
    assert_eq!((read.max_wait_time(), read.max_concurrency()), (Some(Duration::from_millis(2500)), Some(3)));
    for odd in [json!(2.5), json!(-1), json!("2"), json!(null), json!(1e10)] {
        let read: ConsumerDescription = serde_json::from_value(consumer(json!({ "batch_size": odd }))).unwrap();
        assert_eq!(read.batch_size(), None, "{odd}");
    }
}

#[test]
fn a_queue_is_read() {
    let producers = json!([{ "type": "worker", "script": "w" }, { "type": "r2_bucket", "bucket_name": "b" }]);
    let read: QueueDescription = serde_json::from_value(json!({
        "queue_id": QUEUE, "queue_name": "jobs", "created_on": CREATED, "modified_on": MODIFIED, "jurisdiction": "eu",
        "settings": { "delivery_delay": 5, "message_retention_period": 90, "delivery_paused": true },
        "consumers": [consumer(json!({}))], "consumers_total_count": 3, "producers": producers,
        "producers_total_count": 4,
    }))
    .unwrap();
    assert_eq!((read.id().unwrap().as_str(), read.name()), (QUEUE, "jobs"));
    assert_eq!((read.created(), read.modified(), read.jurisdiction()), (time(0), time(1), Some(Jurisdiction::Eu)));
    let [delay, retention] = [5, 90].map(|seconds| Some(Duration::from_secs(seconds)));
    assert_eq!((read.delivery_delay(), read.message_retention()), (delay, retention));
    assert_eq!(read.delivery_paused(), Some(true));
    assert_eq!((read.consumer_count(), read.producer_count()), (Some(3), Some(4)));
    let consumers = read.consumers();
    assert_eq!((consumers.len(), consumers[0].script()), (1, Some("s")));
    let producers = read.producers();
    assert_eq!((producers[0].script(), producers[0].bucket_name()), (Some("w"), None));
    assert_eq!((producers[1].script(), producers[1].bucket_name()), (None, Some("b")));
    let paused = json!({ "settings": { "delivery_paused": false } });
    assert_eq!(serde_json::from_value::<QueueDescription>(paused).unwrap().delivery_paused(), Some(false));
}

#[test]
fn a_subscription_is_read() {
    let read: SubscriptionDescription = serde_json::from_value(json!({
        "id": "s1", "name": "uploads", "enabled": false, "events": ["created", "deleted"],
        "source": { "type": "r2" }, "destination": { "type": "queues.queue", "queue_id": QUEUE },
        "created_at": CREATED, "modified_at": MODIFIED,
    }))
    .unwrap();
    assert_eq!((read.id().unwrap().as_str(), read.name(), read.is_enabled()), ("s1", "uploads", Some(false)));
    assert_eq!((read.events(), read.source().kind()), (vec!["created", "deleted"], "r2"));
    assert_eq!(read.queue_id().unwrap().as_str(), QUEUE);
    assert_eq!((read.created(), read.modified()), (time(0), time(1)));
    let enabled = json!({ "enabled": true });
    assert_eq!(serde_json::from_value::<SubscriptionDescription>(enabled).unwrap().is_enabled(), Some(true));
}

#[test]
fn purges_are_complete_in_every_form_of_the_status() {
    for (status, is_complete) in [
        (json!({}), false),
        (json!({ "completed": "" }), false),
        (json!({ "completed": " False " }), false),
        (json!({ "completed": "null" }), false),
        (json!({ "completed": false, "complete": false }), false),
        (json!({ "completed": "true" }), true),
        (json!({ "completed": MODIFIED }), true),
        (json!({ "completed": true }), true),
        (json!({ "completed": "", "complete": true }), true),
    ] {
        let read: PurgeStatus = serde_json::from_value(status.clone()).unwrap();
        assert_eq!(read.is_complete(), is_complete, "{status}");
    }
    let status = json!({ "started_at": CREATED, "completed": MODIFIED });
    let read: PurgeStatus = serde_json::from_value(status).unwrap();
    assert_eq!((read.started(), read.completed()), (time(0), time(1)));
}
