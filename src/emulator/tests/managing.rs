//! Requests about queues that the client does not send, but other tools do.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    ErrorKind,
    emulator::EmulatedQueue,
    manage::{ConsumerSettings, EventSource, NewSubscription, QueueSettings},
};

async fn get(emulator: &Emulator, path: &str) -> (StatusCode, Value) {
    let path = format!("/accounts/{}{path}", emulator.account_id());
    let mut request = request(emulator, &path, Bytes::new());
    *request.method_mut() = Method::GET;
    let (status, _, envelope) = raw(emulator, request).await;
    (status, envelope)
}

#[tokio::test]
async fn subscriptions_are_listed_by_queue_and_in_the_requested_order() {
    let emulator = Emulator::in_process();
    let queues = emulator.queue().unwrap().queues();
    let other = queues.create("other").await.unwrap();
    for (name, source, queue, is_enabled) in
        [("b", "r2", emulator.queue_id(), true), ("a", "kv", other.id(), true), ("c", "images", other.id(), false)]
    {
        let new = NewSubscription::new(name, EventSource::new(source), queue).event("created").enabled(is_enabled);
        queues.subscriptions().create(&new).await.unwrap();
    }
    for (query, names) in [
        (String::new(), "abc"),
        (format!("queue_id={}", other.id()), "ac"),
        (format!("queue_id={}&page=1&per_page=20", emulator.queue_id()), "b"),
        ("queue_id=none".to_owned(), ""),
        ("direction=desc".to_owned(), "cba"),
        ("order=source".to_owned(), "cab"),
        ("order=enabled&direction=desc&per_page=1&page=3".to_owned(), "c"),
    ] {
        let (status, list) = get(&emulator, &format!("/event_subscriptions/subscriptions?{query}")).await;
        let listed = list["result"].as_array().unwrap().iter().map(|found| found["name"].as_str().unwrap());
        assert_eq!((status, listed.collect::<String>().as_str()), (StatusCode::OK, names), "{query}");
    }
    let (status, _) = get(&emulator, "/event_subscriptions/subscriptions?order=size").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn no_two_queues_have_one_name_or_one_id() {
    let emulator = Emulator::in_process();
    let queues = emulator.queue().unwrap().queues();
    let named = queues.create("queue-3").await.unwrap();
    let unnamed = emulator.create_queue(EmulatedQueue::new());
    let listed = queues.list().all().await.unwrap();
    assert_eq!(listed.iter().map(|queue| queue.name()).collect::<Vec<_>>(), ["queue-1", "queue-3", "queue-4"]);
    // The id that would be the next one.
    let next = unnamed.as_str().replace('3', "4");
    emulator.set_queue_id(named.id(), next.as_str()).unwrap();
    assert_ne!(emulator.create_queue(EmulatedQueue::new()).as_str(), next);
    assert_eq!(queues.list().all().await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_notification_consumer_has_the_settings_that_the_service_fixes() {
    let emulator = Emulator::in_process();
    let queue = emulator.queue().unwrap();
    let other = queue.consumers().await.unwrap()[0].id().unwrap();
    queue.delete_consumer(&other).await.unwrap();
    let asked = ConsumerSettings::notification().email("someone").max_retries(3).retry_delay(Duration::from_secs(5));
    let _ = queue.create_consumer(&asked).await.unwrap();
    let service = &emulator.running.service;
    let settings = service.with_queue(queue.id().as_str(), |queue, _| queue.settings().clone()).unwrap();
    assert_eq!((settings.max_retries, settings.retry_delay), (100, Duration::from_secs(10)));
    assert!(!settings.http_pull);
}

#[tokio::test]
async fn a_queue_cannot_take_the_name_of_another() {
    let emulator = Emulator::in_process();
    let queues = emulator.queue().unwrap().queues();
    queues.create("taken").await.unwrap();
    for (name, expected) in [("taken", StatusCode::CONFLICT), ("free", StatusCode::OK), ("free", StatusCode::OK)] {
        let path = format!("/accounts/{}/queues/{}", emulator.account_id(), emulator.queue_id());
        let mut request = request(&emulator, &path, json!({ "queue_name": name }).to_string().into());
        *request.method_mut() = Method::PATCH;
        assert_eq!(raw(&emulator, request).await.0, expected, "{name}");
    }
    assert_eq!(queues.list().all().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_consumer_is_replaced_as_a_whole_or_created() {
    let emulator = Emulator::in_process();
    let queue = emulator.queue().unwrap();
    let id = queue.consumers().await.unwrap()[0].id().unwrap();
    let bare = ConsumerSettings::pull();
    let seconds = Duration::from_secs;
    let full = bare.clone().max_retries(9).dead_letter_queue("failed").retry_delay(seconds(9));
    queue.update_consumer(&id, &full.visibility_timeout(seconds(9))).await.unwrap();
    let replaced = queue.update_consumer(&id, &bare).await.unwrap();
    assert_eq!((replaced.max_retries(), replaced.dead_letter_queue()), (Some(3), None));
    assert_eq!((replaced.retry_delay(), replaced.visibility_timeout()), (Some(seconds(0)), Some(seconds(30))));
    queue.delete_consumer(&id).await.unwrap();
    queue.update_consumer(&id, &bare).await.unwrap();
    assert_eq!(queue.consumers().await.unwrap().len(), 1);
}

#[tokio::test]
async fn malformed_descriptions_are_refused() {
    let emulator = Emulator::in_process();
    let queue = emulator.queue().unwrap();
    let queues = queue.queues();
    let paused = QueueSettings::new().setting("delivery_paused", "soon");
    assert_eq!(queue.update(paused).await.unwrap_err().kind(), ErrorKind::Rejected);
    let settings = ConsumerSettings::pull().dead_letter_queue("No Name");
    assert_eq!(queue.enable_pull(settings).await.unwrap_err().kind(), ErrorKind::InvalidName);
    for (source, event) in [("", "created"), ("kv", "")] {
        let new = NewSubscription::new("odd", EventSource::new(source), queue.id()).event(event);
        assert_eq!(queues.subscriptions().create(&new).await.unwrap_err().kind(), ErrorKind::Rejected);
    }
    let new = NewSubscription::new("odd", EventSource::new("kv").with("type", json!(7)), queue.id()).event("created");
    assert_eq!(queues.subscriptions().create(&new).await.unwrap_err().kind(), ErrorKind::Rejected);
    assert_eq!(queues.list().all().await.unwrap().len(), 1, "no dead-letter queue was made");
}

#[tokio::test]
async fn incomplete_requests_are_refused() {
    let emulator = Emulator::in_process();
    let of_queue = format!("/queues/{}", emulator.queue_id());
    let subscriptions = "/event_subscriptions/subscriptions";
    let named = json!({ "name": "a", "events": ["created"], "source": { "type": "kv" } });
    for (path, body) in [
        (format!("{of_queue}/purge"), json!({})),
        (format!("{of_queue}/purge"), json!({ "delete_messages_permanently": false })),
        (subscriptions.to_owned(), json!({})),
        (subscriptions.to_owned(), named),
    ] {
        let path = format!("/accounts/{}{path}", emulator.account_id());
        let (status, _, envelope) = raw(&emulator, request(&emulator, &path, body.to_string().into())).await;
        assert_eq!((status, &envelope["success"]), (StatusCode::BAD_REQUEST, &json!(false)), "{path} {body}");
    }
    let queue = emulator.queue().unwrap();
    queue.delete_consumer(&queue.consumers().await.unwrap()[0].id().unwrap()).await.unwrap();
    let worker = queue.create_consumer(&ConsumerSettings::worker("")).await.unwrap_err();
    assert!(worker.has_code(10007), "{worker}");
    let settings = QueueSettings::new().setting("delivery_delay", "0.5");
    assert_eq!(queue.update(settings).await.unwrap_err().kind(), ErrorKind::Rejected);
    for query in ["page=0", "page=a", "per_page=0", "per_page=-1"] {
        assert_eq!(get(&emulator, &format!("/queues?{query}")).await.0, StatusCode::BAD_REQUEST, "{query}");
    }
}
