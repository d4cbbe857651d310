//! Tests on the in-process emulator and on a paused clock.

mod failing;
mod sending;
mod stopping;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{
    handle::{MESSAGE_BYTES, Pusher},
    *,
};
use crate::{
    ErrorKind,
    message::push::PushMessage,
    test_log::Log,
    test_world::{Seen, World, cases, refusal, success, unsent, with_retry_after},
};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

fn texts(messages: usize) -> impl Iterator<Item = PushMessage> {
    (0..messages).map(|number| PushMessage::text(number.to_string()))
}

/// How many messages each request had.
fn requests(world: &World) -> Vec<usize> {
    world.seen("batch").iter().map(size).collect()
}

fn size(seen: &Seen) -> usize {
    seen.body["messages"].as_array().unwrap().len()
}

/// Each body in the queue, in order.
fn bodies(world: &World) -> Vec<String> {
    let messages = world.emulator.messages(world.emulator.queue_id());
    let mut bodies: Vec<_> = messages.iter().map(|message| message.body.text().unwrap().into_owned()).collect();
    bodies.sort_unstable();
    bodies
}

/// Pushes these, and returns their receipts.
async fn push(pusher: &Pusher, messages: impl Iterator<Item = PushMessage>) -> Vec<Receipt> {
    let mut receipts = Vec::new();
    for message in messages {
        receipts.push(pusher.push(message).await.unwrap());
    }
    receipts
}

async fn outcomes(receipts: Vec<Receipt>) -> Vec<Result<(), PushError>> {
    let mut outcomes = Vec::new();
    for receipt in receipts {
        outcomes.push(receipt.await);
    }
    outcomes
}
