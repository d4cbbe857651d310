//! What a management call returns is what the response says, all of it, and no field makes a method panic.

#![no_main]

use std::fmt::Debug;

use cloudflare_queues::{
    fuzzing,
    manage::{ConsumerDescription, ConsumerSettings, PurgeStatus, QueueDescription, SubscriptionDescription},
};
use libfuzzer_sys::fuzz_target;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// What is passed over may be a number that no type can hold.
#[derive(Deserialize)]
struct Response {
    success: bool,
    result: Value,
}

/// Reads a response to a call for one `T` and for a list of them.
fn read<T: Debug + DeserializeOwned + Serialize>(response: &[u8], visit: impl Fn(&T)) {
    let sent = || {
        let response: Response = serde_json::from_str(&String::from_utf8_lossy(response)).unwrap();
        assert!(response.success);
        response.result
    };
    let visit = |described: &T, sent: &[Value]| {
        let described_again = serde_json::to_value(described).unwrap();
        assert!(sent.contains(&described_again));
        drop(format!("{described:?}"));
        visit(described);
    };
    if let Some(described) = fuzzing::result::<T>(response) {
        visit(&described, &[sent()]);
    }
    if let Some(entries) = fuzzing::list::<T>(response).filter(|entries| !entries.is_empty()) {
        let sent = sent();
        let sent = sent.as_array().unwrap();
        assert_eq!(entries.len(), sent.iter().filter(|entry| entry.is_object()).count());
        entries.iter().for_each(|entry| visit(entry, sent));
    }
}

fuzz_target!(|response: &[u8]| {
    read::<QueueDescription>(response, |queue| {
        let _ = (queue.id(), queue.name(), queue.jurisdiction(), queue.created(), queue.modified());
        let _ = (queue.delivery_delay(), queue.message_retention(), queue.delivery_paused());
        let _ = (queue.consumers(), queue.consumer_count(), queue.producers(), queue.producer_count());
    });
    read::<ConsumerDescription>(response, |consumer| {
        let _ = (consumer.id(), consumer.kind(), consumer.script(), consumer.dead_letter_queue(), consumer.created());
        let _ = (consumer.batch_size(), consumer.max_retries(), consumer.retry_delay(), consumer.max_concurrency());
        let _ = (consumer.visibility_timeout(), consumer.max_wait_time());
        assert_eq!(ConsumerSettings::from(consumer).kind(), consumer.kind());
    });
    read::<SubscriptionDescription>(response, |subscription| {
        let _ = (subscription.id(), subscription.is_enabled(), subscription.events(), subscription.source());
        let _ = (subscription.queue_id(), subscription.created(), subscription.modified());
    });
    read::<PurgeStatus>(response, |status| {
        let _ = (status.started(), status.completed(), status.is_complete());
    });
});
