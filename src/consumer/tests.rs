//! Tests on the in-process emulator and on a paused clock.

mod acknowledging;
mod batches;
mod blocking;
mod controlling;
mod counting;
mod dead_letters;
mod emptying;
mod extending;
mod handling;
mod last_deliveries;
mod leases;
mod observing;
mod panics;
mod pulling;
mod pulls;
mod rates;
mod stopping;
mod stream_pace;
mod streaming;
mod switches;
mod undecodable;

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{handle::Consumer, verdict::Verdict, *};
use crate::{
    emulator::{Behavior, EmulatedQueue, Emulator},
    error::{Error, kind::ErrorKind},
    http::retry::RetryPolicy,
    message::{Message, ack::AckRequest, body::Body, push::PushMessage},
    queue::Queue,
    test_world::{Seen, World, cases, is_every_case_wanted, refusal, success, unsent, with_retry_after},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const MILLI: Duration = Duration::from_millis(1);

impl World {
    /// A consumer that need not ask how often a message is delivered.
    fn consumer(&self) -> Consumer {
        Consumer::new(self.queue.clone()).max_retries(100)
    }
}

/// Runs a consumer, and checks that every message is accounted for.
async fn run<F>(
    consumer: &Consumer,
    stop: impl Future,
    handler: impl Fn(Message) -> F + Send + Sync + 'static,
) -> Report
where
    F: Future<Output: IntoVerdict> + Send + 'static,
{
    let report = consumer.run_until(stop, handler).await.unwrap();
    check(&report);
    report
}

fn check(report: &Report) {
    check_sum(&report.stats);
    assert_eq!(report.unconfirmed.len() as u64, report.stats.unconfirmed.min(10_000));
    assert_eq!((report.stats.waiting, report.stats.handlers_running), (0, 0), "nothing goes on after the end");
}

fn check_sum(stats: &Stats) {
    let parts = [
        stats.acknowledged,
        stats.retried,
        stats.left,
        stats.expired,
        stats.dead_lettered,
        stats.accepted + stats.unconfirmed,
    ];
    assert_eq!(stats.pulled, parts.iter().sum::<u64>(), "every message is accounted for, and once: {stats:?}");
}

fn acks(request: &AckRequest) -> usize {
    request.iter().filter(|settlement| settlement.decision.is_ack()).count()
}
