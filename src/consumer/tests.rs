//! Tests on the in-process emulator and on a paused clock.

mod acknowledging;
mod batches;
mod blocking;
mod counting;
mod dead_letters;
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
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Request, Response, ResponseBuilderExt};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::*;
use crate::{
    client::ClientBuilder,
    emulator::{Behavior, Emulator, EmulatorBuilder, QueueSettings},
    http::{
        retry::RetryPolicy,
        transport::{Executed, Http},
    },
    message::{ack::AckRequest, push::PushMessage},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const MILLI: Duration = Duration::from_millis(1);

/// A request as seen by the network.
#[derive(Clone, Debug)]
struct Seen {
    /// The last part of its path.
    operation: String,
    /// How many requests of the operation were sent before.
    nth: usize,
    at: Instant,
    body: Value,
}

type Times = dyn Fn(&Seen) -> Duration + Send + Sync;
type Script = dyn Fn(&Seen) -> Option<http::Response<String>> + Send + Sync;

/// The network in front of the emulator. It is slow, half of the time on the way there, and may respond itself.
struct Network {
    emulator: Arc<dyn Http>,
    takes: Mutex<Box<Times>>,
    script: Mutex<Box<Script>>,
    seen: Mutex<Vec<Seen>>,
}

struct Passing(Arc<Network>);

impl Http for Passing {
    fn execute(&self, request: Request) -> Executed<'_> {
        let network = Arc::clone(&self.0);
        // A request that was sent arrives, even if nobody waits for the response any more.
        let carried = async move { tokio::spawn(async move { network.carry(request).await }).await.unwrap() };
        Box::pin(carried)
    }
}

impl Network {
    async fn carry(&self, request: Request) -> reqwest::Result<Response> {
        let operation = request.url().path().rsplit('/').next().unwrap().to_owned();
        let body = request.body().map(|body| serde_json::from_slice(body.as_bytes().unwrap()).unwrap());
        let seen = {
            let mut all = self.seen.lock().unwrap();
            let nth = all.iter().rev().find(|seen| seen.operation == operation).map_or(0, |seen| seen.nth + 1);
            let seen = Seen { operation, nth, at: Instant::now(), body: body.unwrap_or_default() };
            all.push(seen.clone());
            seen
        };
        let takes = (self.takes.lock().unwrap())(&seen);
        sleep(takes / 2).await;
        let scripted = self.script.lock().unwrap_or_else(PoisonError::into_inner)(&seen);
        let response = match scripted {
            // What cannot be built counts as not sent, as without a connection.
            Some(response) if response.extensions().get::<Unsent>().is_some() => {
                reqwest::Client::new().get("").build().map(|_| unreachable!())
            }
            Some(response) => {
                let (head, body) = response.into_parts();
                let mut response = http::Response::builder().status(head.status).url(request.url().clone());
                *response.headers_mut().unwrap() = head.headers;
                Ok(response.body(body).unwrap().into())
            }
            None => self.emulator.execute(request).await,
        };
        sleep(takes - takes / 2).await;
        response
    }
}

/// A queue on the emulator behind a network.
struct World {
    emulator: Emulator,
    network: Arc<Network>,
    queue: Queue,
    /// Without the network.
    direct: Queue,
}

impl World {
    async fn with(messages: usize) -> Self {
        let world = Self::of(Behavior::new());
        world.push(messages).await;
        world
    }

    fn of(behavior: Behavior) -> Self {
        Self::new(Emulator::builder().queue(QueueSettings::new().max_retries(100)).behavior(behavior))
    }

    fn new(emulator: EmulatorBuilder) -> Self {
        let emulator = emulator.real_time().in_process();
        let direct = emulator.queue().unwrap();
        let transport = Arc::clone(direct.transport());
        let network = Arc::new(Network {
            emulator: Arc::clone(&transport.http),
            takes: Mutex::new(Box::new(|_| Duration::ZERO)),
            script: Mutex::new(Box::new(|_| None)),
            seen: Mutex::default(),
        });
        let seam = Arc::new(Passing(Arc::clone(&network)));
        let builder = emulator.in_process_builder().unwrap().seam(seam, Arc::clone(&transport.random));
        let client = builder.retry(RetryPolicy::new().budget(u32::MAX)).build().unwrap();
        let queue = client.queue(emulator.account_id(), emulator.queue_id()).unwrap();
        Self { emulator, network, queue, direct }
    }

    /// The queue, by another client.
    fn queue_with(&self, set: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Queue {
        let seam = Arc::new(Passing(Arc::clone(&self.network)));
        let random = Arc::clone(&self.direct.transport().random);
        let builder = self.emulator.in_process_builder().unwrap().seam(seam, random);
        let client = set(builder.retry(RetryPolicy::new().budget(u32::MAX))).build().unwrap();
        client.queue(self.emulator.account_id(), self.emulator.queue_id()).unwrap()
    }

    async fn push(&self, messages: usize) {
        let pushed: Vec<_> = (0..messages).map(|number| PushMessage::json(&number).unwrap()).collect();
        let _ = self.direct.push_all(&pushed).await.unwrap();
    }

    /// A consumer that need not ask how often a message is delivered.
    fn consumer(&self) -> Consumer {
        Consumer::new(self.queue.clone()).max_retries(100)
    }

    /// From now on, each request takes this long.
    fn takes(&self, time: Duration) {
        self.takes_by(move |_| time);
    }

    fn takes_by(&self, time: impl Fn(&Seen) -> Duration + Send + Sync + 'static) {
        *self.network.takes.lock().unwrap() = Box::new(time);
    }

    /// From now on, this function responds to requests, or leaves them to the emulator.
    fn responds(&self, script: impl Fn(&Seen) -> Option<http::Response<String>> + Send + Sync + 'static) {
        *self.network.script.lock().unwrap() = Box::new(script);
    }

    /// The requests of an operation so far.
    fn seen(&self, operation: &str) -> Vec<Seen> {
        self.network.seen.lock().unwrap().iter().filter(|seen| seen.operation == operation).cloned().collect()
    }

    /// How many messages are not acknowledged.
    fn left(&self) -> usize {
        self.emulator.messages(self.emulator.queue_id()).len()
    }

    fn most_attempts(&self) -> u32 {
        self.emulator.messages(self.emulator.queue_id()).iter().map(|message| message.attempts).max().unwrap_or(0)
    }
}

/// A refusal by the service.
fn refusal(status: u16, code: u64) -> http::Response<String> {
    let error = serde_json::json!({ "code": code, "message": "no" });
    let body = serde_json::json!({ "success": false, "errors": [error], "messages": [], "result": null });
    http::Response::builder().status(status).body(body.to_string()).unwrap()
}

#[derive(Clone)]
struct Unsent;

/// Instead of a response: there was no connection.
fn unsent() -> http::Response<String> {
    let mut response = http::Response::default();
    response.extensions_mut().insert(Unsent);
    response
}

fn success(result: Value) -> http::Response<String> {
    let body = serde_json::json!({ "success": true, "errors": [], "messages": [], "result": result });
    http::Response::new(body.to_string())
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
