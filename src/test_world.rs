//! The emulator behind a slow network, on a paused clock.

use std::{
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Request, Response, ResponseBuilderExt};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    client::ClientBuilder,
    emulator::{Behavior, EmulatedQueue, Emulator, EmulatorBuilder, Seed},
    http::{
        retry::RetryPolicy,
        transport::{Executed, Http},
    },
    queue::Queue,
};

/// One for all, since making one reads certificates.
static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(reqwest::Client::new);

/// A request as seen by the network.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The last part of its path.
    pub(crate) operation: String,
    /// How many requests of the operation were sent before.
    pub(crate) nth: usize,
    pub(crate) at: Instant,
    /// Parsed only if somebody looks at it.
    pub(crate) body: Arc<LazyLock<Value, Box<dyn FnOnce() -> Value + Send>>>,
}

type Times = dyn Fn(&Seen) -> Duration + Send + Sync;
type Script = dyn Fn(&Seen) -> Option<http::Response<String>> + Send + Sync;

/// The network in front of the emulator. It is slow, half of the time on the way there, and may respond itself.
pub(crate) struct Network {
    emulator: Arc<dyn Http>,
    takes: Mutex<Box<Times>>,
    script: Mutex<Box<Script>>,
    pub(crate) seen: Mutex<Vec<Seen>>,
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
        let body = request.body().map(|body| body.as_bytes().unwrap().to_vec());
        let read = move || body.map(|body| serde_json::from_slice(&body).unwrap()).unwrap_or_default();
        let seen = {
            let mut all = self.seen.lock().unwrap();
            let nth = all.iter().rev().find(|seen| seen.operation == operation).map_or(0, |seen| seen.nth + 1);
            let body = Arc::new(LazyLock::new(Box::new(read) as _));
            let seen = Seen { operation, nth, at: Instant::now(), body };
            all.push(seen.clone());
            seen
        };
        let takes = (self.takes.lock().unwrap())(&seen);
        sleep(takes / 2).await;
        let scripted = self.script.lock().unwrap_or_else(PoisonError::into_inner)(&seen);
        let response = match scripted {
            // What cannot be built counts as not sent, as without a connection.
            Some(response) if response.extensions().get::<Unsent>().is_some() => {
                CLIENT.get("").build().map(|_| unreachable!())
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

/// All cases of a table if `EVERY_SWITCH` is set, as once a week, and else the first of them.
pub(crate) fn cases<T, const N: usize>(all: [T; N], first: usize) -> impl Iterator<Item = T> {
    all.into_iter().take(if is_every_case_wanted() { N } else { first })
}

pub(crate) fn is_every_case_wanted() -> bool {
    std::env::var_os("EVERY_SWITCH").is_some()
}

/// A queue on the emulator behind a network.
pub(crate) struct World {
    pub(crate) emulator: Emulator,
    pub(crate) network: Arc<Network>,
    pub(crate) queue: Queue,
    /// Without the network.
    pub(crate) direct: Queue,
}

impl World {
    pub(crate) async fn with(messages: usize) -> Self {
        let world = Self::of(Behavior::new());
        world.push(messages).await;
        world
    }

    pub(crate) fn of(behavior: Behavior) -> Self {
        Self::new(Emulator::builder().queue(EmulatedQueue::new().max_retries(100)).behavior(behavior))
    }

    pub(crate) fn new(emulator: EmulatorBuilder) -> Self {
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
    pub(crate) fn queue_with(&self, set: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Queue {
        let seam = Arc::new(Passing(Arc::clone(&self.network)));
        let random = Arc::clone(&self.direct.transport().random);
        let builder = self.emulator.in_process_builder().unwrap().seam(seam, random);
        let client = set(builder.retry(RetryPolicy::new().budget(u32::MAX))).build().unwrap();
        client.queue(self.emulator.account_id(), self.emulator.queue_id()).unwrap()
    }

    pub(crate) async fn push(&self, messages: usize) {
        // Requests would take as long as the test itself.
        let seeds = (0..messages).map(|number| Seed::json(&number).unwrap());
        self.emulator.seed(self.emulator.queue_id(), seeds).unwrap();
    }

    /// From now on, each request takes this long.
    pub(crate) fn takes(&self, time: Duration) {
        self.takes_by(move |_| time);
    }

    pub(crate) fn takes_by(&self, time: impl Fn(&Seen) -> Duration + Send + Sync + 'static) {
        *self.network.takes.lock().unwrap() = Box::new(time);
    }

    /// From now on, this function responds to requests, or leaves them to the emulator.
    pub(crate) fn responds(&self, script: impl Fn(&Seen) -> Option<http::Response<String>> + Send + Sync + 'static) {
        *self.network.script.lock().unwrap() = Box::new(script);
    }

    /// The requests of an operation so far.
    pub(crate) fn seen(&self, operation: &str) -> Vec<Seen> {
        self.network.seen.lock().unwrap().iter().filter(|seen| seen.operation == operation).cloned().collect()
    }

    /// How many messages are not acknowledged.
    pub(crate) fn left(&self) -> usize {
        self.emulator.messages(self.emulator.queue_id()).len()
    }

    pub(crate) fn most_attempts(&self) -> u32 {
        self.emulator.messages(self.emulator.queue_id()).iter().map(|message| message.attempts).max().unwrap_or(0)
    }
}

/// A refusal by the service.
pub(crate) fn refusal(status: u16, code: u64) -> http::Response<String> {
    let error = serde_json::json!({ "code": code, "message": "no" });
    let body = serde_json::json!({ "success": false, "errors": [error], "messages": [], "result": null });
    http::Response::builder().status(status).body(body.to_string()).unwrap()
}

pub(crate) fn with_retry_after(mut response: http::Response<String>, value: &str) -> http::Response<String> {
    response.headers_mut().insert("retry-after", value.parse().unwrap());
    response
}

#[derive(Clone)]
struct Unsent;

/// Instead of a response: there was no connection.
pub(crate) fn unsent() -> http::Response<String> {
    let mut response = http::Response::default();
    response.extensions_mut().insert(Unsent);
    response
}

pub(crate) fn success(result: Value) -> http::Response<String> {
    let body = serde_json::json!({ "success": true, "errors": [], "messages": [], "result": result });
    http::Response::new(body.to_string())
}
