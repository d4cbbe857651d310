//! A service that lets the schedule decide the outcome of each request, and records what it did.

use std::{
    collections::{HashMap, HashSet},
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, LazyLock, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use queues_by_shuttle::{
    AccountId, Acker, Client, Consumer, Error, Lease, LeaseId, Message, Queue, QueueId,
    acker::{AckerOptions, Confirmation},
    fuzzing, reqwest,
};
use serde_json::{Value, json};
use shuttle::{future::yield_now, rand::Rng};
use tokio::time::{Duration, Instant, sleep};

/// A number below a bound, as the schedule wants it.
pub(crate) fn below(bound: u32) -> u32 {
    shuttle::rand::thread_rng().gen_range(0..bound)
}

/// Lets others go on, for a while or for some time.
pub(crate) async fn wait() {
    match below(8) {
        0 => sleep(Duration::from_millis(u64::from(below(3)) * 700)).await,
        turns => {
            for _ in 0..turns {
                yield_now().await;
            }
        }
    }
}

#[derive(Default)]
struct State {
    faults: bool,
    /// Messages that can be pulled: number and attempts.
    visible: Vec<(u32, u32)>,
    /// Messages under a lease, and when it ends.
    leased: HashMap<(u32, u32), Instant>,
    /// Leases by what was done, and those of them that the service confirmed for certain.
    done: HashMap<String, bool>,
    confirmed: HashSet<String>,
    /// The bodies of the messages that were pushed.
    pushed: HashSet<String>,
}

impl State {
    /// Messages whose leases have ended, and that were not settled, can be pulled again.
    fn expire(&mut self) {
        let Self { visible, leased, done, .. } = self;
        leased.retain(|(number, attempts), end| {
            let is_done = done.contains_key(&lease_id(*number, *attempts));
            if *end <= Instant::now() && !is_done {
                visible.push((*number, attempts + 1));
            }
            *end > Instant::now() && !is_done
        });
        // A map's order is not the schedule's.
        visible.sort_unstable();
    }
}

#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>);

impl World {
    pub(crate) fn new(faults: bool, messages: u32) -> Self {
        let visible = (0..messages).map(|number| (number, 0)).collect();
        Self(Arc::new(Mutex::new(State { faults, visible, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn client(&self) -> Client {
        // It sends nothing, and takes a while to build.
        static HTTP: LazyLock<reqwest::Client> = LazyLock::new(reqwest::Client::new);
        let world = self.clone();
        let answer = move |path: &str, body: &[u8]| -> fuzzing::Answer {
            let (world, body) = (world.clone(), serde_json::from_slice(body).unwrap());
            match path.rsplit('/').next() {
                Some("ack") => Box::pin(world.ack(body)),
                Some("pull") => Box::pin(world.pull(body)),
                Some("extend") => Box::pin(world.extend(body)),
                Some("batch") => Box::pin(world.push(body)),
                other => panic!("{other:?}"),
            }
        };
        fuzzing::client(HTTP.clone(), answer, || u64::from(below(u32::MAX)) << 32).unwrap()
    }

    pub(crate) fn queue(&self) -> Queue {
        let queue_id: QueueId = "0123456789abcdef0123456789abcdef".parse().unwrap();
        self.client().queue("account".parse::<AccountId>().unwrap(), queue_id).unwrap()
    }

    /// An acker that is full soon.
    pub(crate) fn acker(&self) -> Acker {
        Acker::with_options(self.queue(), options()).unwrap()
    }

    pub(crate) fn consumer(&self) -> Consumer {
        let consumer =
            Consumer::new(self.queue()).max_retries(100).batch_size(2).visibility_timeout(Duration::from_secs(20));
        let longest = Duration::from_secs(20 + u64::from(below(3)) * 30);
        consumer.max_lease(longest).concurrency(1 + below(3) as usize).acker(options())
    }

    /// Decides the outcome of a request: whether it is carried out, and what happens to its response.
    async fn outcome(&self) -> (bool, Option<u16>) {
        wait().await;
        let faults = self.state().faults;
        let outcome = match if faults { below(12) } else { 12 } {
            0 => (false, None),
            1 => (true, None),
            2 => (false, Some(500)),
            3 => (false, Some(400)),
            4 => (false, Some(429)),
            _ => (true, Some(200)),
        };
        if faults && below(16) == 0 {
            sleep(Duration::from_secs(35)).await;
        }
        outcome
    }

    async fn ack(self, body: Value) -> Option<(u16, String)> {
        let (acks, retries) = (ids(&body, "acks"), ids(&body, "retries"));
        let all: HashSet<_> = acks.iter().chain(&retries).collect();
        assert_eq!(all.len(), acks.len() + retries.len(), "a lease is in a request twice");
        let (is_done, status) = self.outcome().await;
        let mut state = self.state();
        let (passed_over, is_warned) = pass_over(state.faults, &acks);
        let mut counts = [0, 0];
        if is_done {
            for (is_ack, id) in acks.iter().map(|id| (true, id)).chain(retries.iter().map(|id| (false, id))) {
                if passed_over != Some(id) {
                    counts[usize::from(!is_ack)] += 1;
                    state.done.entry(id.clone()).or_insert(is_ack);
                }
            }
        }
        if status == Some(200) {
            let is_clear = passed_over.is_none() || is_warned;
            let certain = acks.iter().filter(|_| is_clear).chain(&retries).filter(|id| passed_over != Some(*id));
            let certain: Vec<_> = certain.cloned().collect();
            state.confirmed.extend(certain);
        }
        drop(state);
        let warnings = warnings(passed_over, is_warned);
        respond(status, json!({ "ackCount": counts[0], "retryCount": counts[1], "warnings": warnings }))
    }

    async fn pull(self, body: Value) -> Option<(u16, String)> {
        let (is_done, status) = self.outcome().await;
        let mut state = self.state();
        state.expire();
        let count = if is_done { (body["batch_size"].as_u64().unwrap() as usize).min(state.visible.len()) } else { 0 };
        let pulled: Vec<_> = state.visible.drain(..count).collect();
        let end = Instant::now() + Duration::from_millis(body["visibility_timeout_ms"].as_u64().unwrap());
        // They come again when their leases have ended, or at once if nobody learns of them.
        let ends = pulled.iter().map(|key| (*key, if status.is_none() { Instant::now() } else { end }));
        state.leased.extend(ends);
        drop(state);
        let message = |(number, attempts): &(u32, u32)| {
            let (id, lease_id, attempts) = (number.to_string(), lease_id(*number, *attempts), attempts + 1);
            json!({ "id": id, "body": id, "attempts": attempts, "timestamp_ms": 1, "lease_id": lease_id,
                "metadata": { "CF-Content-Type": "text" } })
        };
        respond(status, json!({ "messages": pulled.iter().map(message).collect::<Vec<_>>() }))
    }

    async fn extend(self, body: Value) -> Option<(u16, String)> {
        let (is_done, status) = self.outcome().await;
        let leases = ids(&body, "extend");
        let mut state = self.state();
        state.expire();
        let (passed_over, is_warned) = pass_over(state.faults, &leases);
        let end = Instant::now() + Duration::from_millis(body["visibility_timeout_ms"].as_u64().unwrap());
        let mut count = 0;
        for (key, leased_until) in &mut state.leased {
            let id = lease_id(key.0, key.1);
            if is_done && leases.contains(&id) && passed_over != Some(&id) {
                *leased_until = end;
                count += 1;
            }
        }
        respond(status, json!({ "extendCount": count, "warnings": warnings(passed_over, is_warned) }))
    }

    async fn push(self, body: Value) -> Option<(u16, String)> {
        let (is_done, status) = self.outcome().await;
        let messages = body["messages"].as_array().unwrap();
        for message in messages.iter().filter(|_| is_done) {
            let body = message["body"].as_str().unwrap().to_owned();
            assert!(self.state().pushed.insert(body.clone()), "{body} is pushed twice");
        }
        respond(status, json!({}))
    }

    pub(crate) fn is_pushed(&self, body: &str) -> bool {
        self.state().pushed.contains(body)
    }

    /// A lease that lasts for a while.
    pub(crate) fn lease(&self, number: u32) -> Lease {
        let id: LeaseId = serde_json::from_value(lease_id(number, 0).into()).unwrap();
        Lease::new(id, (Instant::now() + Duration::from_secs(30)).into_std())
    }

    /// An outcome is the truth.
    pub(crate) fn judge(&self, lease: &str, outcome: &Result<Confirmation, Error>) {
        let state = self.state();
        match outcome {
            Ok(Confirmation::Confirmed) => assert!(state.confirmed.contains(lease), "{lease} is not confirmed"),
            Ok(_) => assert!(state.faults),
            Err(error) => {
                let may_be_done = error.may_have_arrived() || !state.done.contains_key(lease);
                assert!(may_be_done, "{lease} was done, and the error denies it: {error}");
            }
        }
    }

    /// What was done by a lease: `Some(true)` for an acknowledgement.
    pub(crate) fn done(&self, lease: &str) -> Option<bool> {
        self.state().done.get(lease).copied()
    }

    /// How many acknowledgements and retries the service is certain to have reported.
    pub(crate) fn confirmed(&self) -> [u64; 2] {
        let state = self.state();
        let of = |is_ack| state.confirmed.iter().filter(|lease| state.done.get(*lease) == Some(&is_ack)).count() as u64;
        [of(true), of(false)]
    }
}

pub(crate) fn options() -> AckerOptions {
    let linger = if below(2) == 0 { Duration::ZERO } else { Duration::from_millis(50) };
    AckerOptions::new().linger(linger).buffer(1 + below(3) as usize).max_in_flight(1 + below(2) as usize)
}

pub(crate) fn lease_id(number: u32, attempts: u32) -> String {
    format!("lease-{number}-{attempts}")
}

pub(crate) fn lease_of(message: &Message) -> String {
    message.lease_id.expose_secret().into_owned()
}

/// The leases in a field of a request.
fn ids(body: &Value, field: &str) -> Vec<String> {
    let entries = body[field].as_array().into_iter().flatten();
    entries.map(|entry| entry["lease_id"].as_str().unwrap().to_owned()).collect()
}

/// The lease of a request that the service passes over, if any, and whether its response names it.
fn pass_over(faults: bool, leases: &[String]) -> (Option<&String>, bool) {
    (leases.first().filter(|_| faults && below(8) == 0), below(2) == 0)
}

fn warnings(passed_over: Option<&String>, is_warned: bool) -> HashMap<&String, &'static str> {
    passed_over.filter(|_| is_warned).map(|id| (id, "no")).into_iter().collect()
}

fn respond(status: Option<u16>, result: Value) -> Option<(u16, String)> {
    let status = status?;
    let envelope = match status {
        200 => json!({ "success": true, "errors": [], "messages": [], "result": result }),
        _ => {
            json!({ "success": false, "errors": [{ "code": 10250, "message": "no" }], "messages": [], "result": null })
        }
    };
    Some((status, envelope.to_string()))
}

/// The outcome, if it is there.
pub(crate) fn ready<F: Future + Unpin>(receipt: &mut F) -> Option<F::Output> {
    match Pin::new(receipt).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// Every task ends eventually once all handles are dropped.
pub(crate) async fn all_end() {
    let started = Instant::now();
    while tokio::task::alive() > 0 {
        assert!(started.elapsed() < Duration::from_secs(3600), "{} tasks do not end", tokio::task::alive());
        sleep(Duration::from_secs(10)).await;
    }
}

/// Stops the runtime at some moment, and waits for these tasks of another one and for every other task.
pub(crate) async fn stop_under(tasks: Vec<shuttle::future::JoinHandle<()>>) {
    for _ in 0..below(6) {
        wait().await;
    }
    tokio::runtime::stop();
    for task in tasks {
        task.await.unwrap();
    }
    all_end().await;
}

/// Polls a future once, and drops it if it is not done.
pub(crate) async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}
