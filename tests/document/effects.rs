//! What every operation does to the emulator.

use std::time::Duration;

use cloudflare_queues::{
    PullOptions, PushMessage, Queue,
    emulator::Emulator,
    manage::{EventSource, NewSubscription},
};
use serde_json::json;
use support::{Given, Op};

/// When an operation is called after the lease began, and how long after that its effect is looked at: a lease lasts
/// for half a minute by default.
const WAIT: Duration = Duration::from_secs(20);

/// How an account differs some time after an operation from one without it, or what the result of the operation shows
/// if it changes nothing.
#[derive(Debug, PartialEq)]
enum Effect {
    Changes(&'static [&'static str]),
    Shows(&'static str),
}

use Effect::{Changes, Shows};

/// The statement for each operation, on the account of [`prepared`].
fn effect(op: Op) -> Effect {
    match op {
        Op::Ack => Changes(&["- a message, delivered 1 time(s)"]),
        Op::Extend => Changes(&["+ a leased message, delivered 1 time(s)", "- a message, delivered 1 time(s)"]),
        Op::Pull => Changes(&["+ a leased message, delivered 1 time(s)", "- a message, delivered 0 time(s)"]),
        Op::Push | Op::PushBatch => Changes(&["+ a message, delivered 0 time(s)"]),
        Op::Peek => Shows("attempts: Some(0)"),
        Op::Delete => Changes(&["- a message, delivered 0 time(s)"]),
        Op::ListQueues | Op::GetQueue => Shows("\"queue_name\":\"queue-1\""),
        Op::CreateQueue => Changes(&["+ queue jobs"]),
        Op::UpdateQueue | Op::ReplaceQueue => Changes(&["+ queue jobs, paused", "- queue queue-1"]),
        Op::DeleteQueue => Changes(&[
            "- a message, delivered 0 time(s)",
            "- a message, delivered 1 time(s)",
            "- consumer http_pull with retries: Some(3)",
            "- queue queue-1",
            "- subscription known, enabled Some(true)",
        ]),
        Op::GetMetrics => Shows("backlog_count: Some(2)"),
        Op::PurgeQueue => Changes(&["- a message, delivered 0 time(s)", "- a message, delivered 1 time(s)"]),
        Op::GetPurge => Shows("\"completed\":\"2"),
        Op::ListConsumers | Op::GetConsumer => Shows("\"type\":\"http_pull\""),
        Op::CreateConsumer => Changes(&["+ consumer http_pull with retries: Some(3)"]),
        Op::UpdateConsumer => {
            Changes(&["+ consumer http_pull with retries: Some(7)", "- consumer http_pull with retries: Some(3)"])
        }
        Op::DeleteConsumer => Changes(&["- consumer http_pull with retries: Some(3)"]),
        Op::ListSubscriptions | Op::GetSubscription => Shows("\"name\":\"known\""),
        Op::CreateSubscription => Changes(&["+ subscription a name, enabled Some(true)"]),
        Op::UpdateSubscription => {
            Changes(&["+ subscription known, enabled Some(false)", "- subscription known, enabled Some(true)"])
        }
        Op::DeleteSubscription => Changes(&["- subscription known, enabled Some(true)"]),
    }
}

/// A queue with a pull consumer, a leased message, another message, and an event subscription; with the lease, or the
/// reference of the other message, and the ids of the consumer and the subscription.
async fn prepared(op: Op) -> (Emulator, Queue, [String; 3]) {
    let emulator = Emulator::in_process();
    let queue = emulator.queue().unwrap();
    let _ = queue.push(&PushMessage::text("a body")).await.unwrap();
    let pulled = queue.pull(PullOptions::new()).await.unwrap();
    let _ = queue.push(&PushMessage::text("another")).await.unwrap();
    let peeked = queue.peek(1).await.unwrap();
    let consumer = queue.consumers().await.unwrap()[0].id().unwrap();
    match op {
        Op::CreateConsumer => queue.delete_consumer(&consumer).await.unwrap(),
        Op::GetPurge => drop(queue.purge_all().await.unwrap()),
        _ => {}
    }
    let new = NewSubscription::new("known", EventSource::new("kv"), queue.id()).event("created");
    let subscription = queue.queues().subscriptions().create(&new).await.unwrap().id().unwrap();
    let lease = if op == Op::Delete { json!(peeked[0].message_ref) } else { json!(pulled.messages[0].lease_id) };
    let lease = lease.as_str().unwrap().to_owned();
    emulator.advance(WAIT);
    (emulator, queue, [lease, consumer.to_string(), subscription.to_string()])
}

/// What is in the account.
async fn state(emulator: &Emulator, queue: &Queue) -> Vec<String> {
    let mut state = Vec::new();
    for of in queue.queues().list().all().await.unwrap() {
        let paused = if of.delivery_paused() == Some(true) { ", paused" } else { "" };
        state.push(format!("queue {}{paused}", of.name()));
        for consumer in of.consumers() {
            state.push(format!("consumer {} with retries: {:?}", consumer.kind(), consumer.max_retries()));
        }
        state.extend(emulator.messages(&of.id().unwrap()).iter().map(|message| match message.is_leased {
            true => format!("a leased message, delivered {} time(s)", message.attempts),
            false => format!("a message, delivered {} time(s)", message.attempts),
        }));
    }
    for of in queue.queues().subscriptions().list().all().await.unwrap() {
        state.push(format!("subscription {}, enabled {:?}", of.name(), of.is_enabled()));
    }
    state
}

/// The lines that the one has more often than the other.
fn more(sign: &str, one: &[String], other: &[String]) -> Vec<String> {
    let mut rest = other.to_vec();
    let mut more = Vec::new();
    for line in one {
        match rest.iter().position(|known| known == line) {
            Some(at) => drop(rest.remove(at)),
            None => more.push(format!("{sign} {line}")),
        }
    }
    more
}

#[tokio::test]
async fn every_operation_does_what_is_stated() {
    let mut others = Vec::new();
    for op in Op::ALL {
        let (emulator, queue, [lease, consumer, subscription]) = prepared(op).await;
        let given = Given { lease: &lease, text: "more", consumer: &consumer, subscription: &subscription };
        let shown = op.result(&queue, given).await.unwrap_or_else(|error| format!("{error}"));
        emulator.advance(WAIT);
        let with = state(&emulator, &queue).await;
        let (emulator, queue, _) = prepared(op).await;
        emulator.advance(WAIT);
        let without = state(&emulator, &queue).await;
        let mut changes = more("+", &with, &without);
        changes.extend(more("-", &without, &with));
        changes.sort();
        let is_stated = match effect(op) {
            Changes(stated) => changes == stated,
            Shows(stated) => changes.is_empty() && shown.contains(stated),
        };
        if !is_stated {
            others.push(format!("{op:?}: {changes:?}, {shown}"));
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
}
