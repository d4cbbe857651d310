//! Tests on the emulator and on a paused clock.

mod failing;
mod options;
mod sending;
mod stopping;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Request, Response, ResponseBuilderExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{handle::Acker, *};
use crate::{
    client::ClientBuilder,
    emulator::{EmulatedQueue, Emulator, Seed},
    error::Error,
    http::transport::{Executed, Http},
    message::{
        Message,
        lease::LeaseId,
        pull::PullOptions,
        settlement::{Lease, Settlement},
    },
    queue::Queue,
    test_log::Log,
    test_world::{cases, refusal, with_retry_after},
};

const SECOND: Duration = Duration::from_secs(1);

/// An acknowledgement as seen by the network.
#[derive(Clone, Debug)]
struct Seen {
    at: Instant,
    leases: Vec<String>,
    acks: usize,
}

type Script = dyn Fn(&Seen) -> Option<http::Response<String>> + Send + Sync;

/// The network in front of the emulator. It is slow, and may hold back acknowledgements and respond itself.
struct Network {
    emulator: Arc<dyn Http>,
    takes: Mutex<Duration>,
    script: Mutex<Box<Script>>,
    seen: Mutex<Vec<Seen>>,
    in_flight: Mutex<(usize, usize)>,
}

struct Passing(Arc<Network>);

impl Http for Passing {
    fn execute(&self, request: Request) -> Executed<'_> {
        if request.url().path().ends_with("/ack") {
            Box::pin(self.0.acknowledge(request))
        } else {
            self.0.emulator.execute(request)
        }
    }
}

impl Network {
    async fn acknowledge(&self, request: Request) -> reqwest::Result<Response> {
        let body: Value = serde_json::from_slice(request.body().unwrap().as_bytes().unwrap()).unwrap();
        let [acks, retries] = ["acks", "retries"].map(|field| body[field].as_array().cloned().unwrap_or_default());
        let leases = acks.iter().chain(&retries).map(|entry| entry["lease_id"].as_str().unwrap().to_owned());
        let seen = Seen { at: Instant::now(), leases: leases.collect(), acks: acks.len() };
        self.seen.lock().unwrap().push(seen.clone());
        let takes = *self.takes.lock().unwrap();
        self.enter(1);
        sleep(takes).await;
        let scripted = self.script.lock().unwrap_or_else(PoisonError::into_inner)(&seen);
        let response = match scripted {
            Some(response) => {
                let (head, body) = response.into_parts();
                let mut response = http::Response::builder().status(head.status).url(request.url().clone());
                *response.headers_mut().unwrap() = head.headers;
                Ok(response.body(body).unwrap().into())
            }
            None => self.emulator.execute(request).await,
        };
        self.enter(-1);
        response
    }

    fn enter(&self, change: isize) {
        let (now, most) = &mut *self.in_flight.lock().unwrap();
        *now = now.checked_add_signed(change).unwrap();
        *most = (*most).max(*now);
    }
}

/// A queue on the emulator whose messages are leased.
struct Fixture {
    emulator: Emulator,
    network: Arc<Network>,
    queue: Queue,
    messages: Vec<Message>,
}

impl Fixture {
    /// This many messages, leased for a minute.
    async fn with(messages: usize) -> Self {
        Self::under(messages, 60 * SECOND, |client| client).await
    }

    async fn under(messages: usize, lease: Duration, client: impl Fn(ClientBuilder) -> ClientBuilder) -> Self {
        let emulator =
            Emulator::builder().queue(EmulatedQueue::new().max_retries(100)).real_time().start().await.unwrap();
        let direct = emulator.in_process_builder().unwrap().build().unwrap();
        let direct = direct.queue(emulator.account_id(), emulator.queue_id()).unwrap();
        let transport = Arc::clone(direct.transport());
        let network = Arc::new(Network {
            emulator: Arc::clone(&transport.http),
            takes: Mutex::default(),
            script: Mutex::new(Box::new(|_| None)),
            seen: Mutex::default(),
            in_flight: Mutex::default(),
        });
        let seam = Arc::new(Passing(Arc::clone(&network)));
        let builder = client(emulator.in_process_builder().unwrap());
        let client = builder.seam(seam, Arc::clone(&transport.random)).build().unwrap();
        let queue = client.queue(emulator.account_id(), emulator.queue_id()).unwrap();
        emulator.seed(emulator.queue_id(), (0..messages).map(|number| Seed::text(number.to_string()))).unwrap();
        let mut pulled = Vec::new();
        while pulled.len() < messages {
            pulled.extend(queue.pull(PullOptions::new().batch_size(100).visibility_timeout(lease)).await.unwrap());
        }
        Self { emulator, network, queue, messages: pulled }
    }

    /// From now on, each acknowledgement takes this long.
    fn takes(self, duration: Duration) -> Self {
        *self.network.takes.lock().unwrap() = duration;
        self
    }

    /// From now on, this function responds to acknowledgements, or leaves them to the emulator.
    fn responds(&self, script: impl Fn(&Seen) -> Option<http::Response<String>> + Send + Sync + 'static) {
        *self.network.script.lock().unwrap() = Box::new(script);
    }

    fn acker(&self) -> Acker {
        self.acker_with(AckerOptions::new())
    }

    fn acker_with(&self, options: AckerOptions) -> Acker {
        Acker::with_options(self.queue.clone(), options).unwrap()
    }

    /// How many leases each acknowledgement had.
    fn requests(&self) -> Vec<usize> {
        self.network.seen.lock().unwrap().iter().map(|seen| seen.leases.len()).collect()
    }

    /// The times between acknowledgements.
    fn waits(&self) -> Vec<Duration> {
        let seen = self.network.seen.lock().unwrap();
        seen.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
    }

    /// How many acknowledgements were in flight at most.
    fn most_in_flight(&self) -> usize {
        self.network.in_flight.lock().unwrap().1
    }

    /// How many messages are neither acknowledged nor back in the queue.
    fn leased(&self) -> usize {
        self.emulator.messages(self.emulator.queue_id()).iter().filter(|message| message.is_leased).count()
    }

    /// How many messages are not acknowledged.
    fn left(&self) -> usize {
        self.emulator.messages(self.emulator.queue_id()).len()
    }
}

fn counted(acks: impl Into<Value>, warnings: Value) -> http::Response<String> {
    let result = json!({ "ackCount": acks.into(), "retryCount": 0, "warnings": warnings });
    let body = json!({ "success": true, "errors": [], "messages": [], "result": result });
    http::Response::new(body.to_string())
}

/// Submits all these leases, and waits for their outcomes.
async fn ack_all(acker: &Acker, messages: &[Message]) -> Vec<Result<Confirmation, Error>> {
    let mut receipts = Vec::new();
    for message in messages {
        receipts.push(acker.ack(message).await.unwrap());
    }
    let mut outcomes = Vec::new();
    for receipt in receipts {
        outcomes.push(receipt.await);
    }
    outcomes
}

fn lease_texts(messages: &[Message]) -> HashSet<String> {
    messages.iter().map(|message| message.lease_id.expose_secret().into_owned()).collect()
}

fn unknown(number: usize) -> LeaseId {
    LeaseId::from(format!("lease-{number}"))
}
