//! The queue, the faults of requests on their way to it, and what clients were told.

use std::{
    collections::HashSet,
    fmt::{Display, Write},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use cloudflare_queues::{
    Acker, Consumer, Credentials, Message, PushMessage, Queue, QueueId, RetryPolicy, Verdict,
    acker::AckerOptions,
    emulator::{
        Behavior, EmulatedQueue, Emulator, ExtendFrom, Fault, JsonBodies, ResultForm, UnknownLease, WarningsForm,
    },
};
use tokio::time::{Instant, sleep, timeout};

pub(super) const LEASE: Duration = Duration::from_secs(60);
/// Longer than any request, lease or delay lasts.
const LONG: Duration = Duration::from_secs(3600);
/// Messages of one seed.
pub(super) const ROUND: u32 = 1000;

/// A random number generator that is the same everywhere: SplitMix64.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn is(&mut self) -> bool {
        self.below(2) == 0
    }

    /// Mostly short, and sometimes longer than a timeout or a lease.
    fn wait(&mut self) -> Duration {
        let bound = [100_000, 3000, 3000, 3000, 50, 50, 50, 50, 50, 50, 50, 50][self.below(12) as usize];
        Duration::from_millis(self.below(bound))
    }

    pub(super) fn fault(&mut self) -> Fault {
        match self.below(10) {
            0 => Fault::RateLimited { code: [10250, 971, 10252][self.below(3) as usize], retry_after: None },
            1 => Fault::RateLimited { code: 10250, retry_after: Some(Duration::from_secs(self.below(5))) },
            2 => Fault::ServerError(502),
            3 => Fault::NotSuccess,
            4 => Fault::CutOff,
            5 => Fault::ResetBefore,
            6 => Fault::Forbidden,
            7 => Fault::ResetAfter,
            // The page of a proxy.
            _ => Fault::ServerError([200, 204, 302, 403, 404, 502][self.below(6) as usize]),
        }
    }

    /// A behavior, and whether the service names every lease that it did not settle, and no other.
    fn behavior(&mut self) -> (Behavior, bool) {
        let behavior = Behavior::new()
            .warnings(if self.is() { WarningsForm::Map } else { WarningsForm::List })
            .json_bodies(if self.is() { JsonBodies::Text } else { JsonBodies::Base64 });
        let unknown_leases = match self.below(4) {
            0 => UnknownLease::Ignore,
            1 => UnknownLease::Reject,
            _ => UnknownLease::Warn,
        };
        let behavior = behavior.unknown_leases(unknown_leases).late_acks(self.is()).late_retries(self.is());
        let from = if self.is() { ExtendFrom::Now } else { ExtendFrom::LeaseEnd };
        let behavior = behavior.acks_after_extend(self.below(4) > 0).repeated_extends(self.below(4) > 0);
        let behavior = behavior.late_extends(self.is()).shortening_extends(self.is()).extend_from(from);
        let counts = self.below(8) > 0;
        let results = match self.below(8) {
            0 => ResultForm::Empty,
            1 => ResultForm::Null,
            2 => ResultForm::Absent,
            _ => ResultForm::Full,
        };
        let informs = self.below(4) == 0;
        let says_all = counts && results == ResultForm::Full && unknown_leases == UnknownLease::Warn && !informs;
        (behavior.counts(counts).results(results).informing_warnings(informs), says_all)
    }

    fn policy(&mut self) -> RetryPolicy {
        let budget = if self.is() { u32::MAX } else { self.below(20) as u32 };
        RetryPolicy::new().max_attempts(1 + self.below(5) as u32).budget(budget)
    }
}

/// The token that the service accepts.
type Vault = Arc<Mutex<String>>;

/// Credentials from the vault, which may take long to open, or fail to.
fn from_vault(vault: &Vault, random: &Arc<Mutex<Random>>) -> Credentials {
    let (vault, random) = (Arc::clone(vault), Arc::clone(random));
    Credentials::from_provider(move || {
        let (vault, random) = (Arc::clone(&vault), Arc::clone(&random));
        async move {
            let wait = random.lock().unwrap().wait();
            sleep(wait).await;
            if random.lock().unwrap().below(16) == 0 {
                return Err("the vault is shut".into());
            }
            let token = vault.lock().unwrap().clone();
            Ok(Credentials::api_token(token)?)
        }
    })
}

/// Everything that happened.
pub(super) type Trace = Arc<Mutex<String>>;

pub(super) struct World {
    pub(super) emulator: Emulator,
    pub(super) queue: Queue,
    /// For clients that acknowledge messages one by one.
    pub(super) acker: Acker,
    /// Whether the service names every lease that it did not settle, and no other.
    pub(super) is_exact: bool,
    dead_letters: QueueId,
    /// Where consumers push their dead letters.
    pub(super) moved: Queue,
    random: Arc<Mutex<Random>>,
    vault: Vault,
    /// By how many seconds the clients' clock of the wall has jumped.
    jumped: Arc<AtomicI64>,
    told: Mutex<Told>,
    trace: Trace,
    started: Instant,
}

/// What the clients were told.
#[derive(Default)]
pub(super) struct Told {
    /// Messages whose acknowledgement was confirmed.
    pub(super) done: HashSet<u32>,
    /// Messages whose acknowledgement was sent, whatever the outcome.
    pub(super) asked: HashSet<u32>,
    pub(super) totals: Totals,
    /// Whether a fault awaits the request, for each request.
    faults: Vec<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Totals {
    messages: u64,
    requests: u64,
    faults: u64,
    /// Clients that died.
    pub(super) died: u64,
    /// Leases that were confirmed, and that were not.
    pub(super) confirmed: u64,
    pub(super) unconfirmed: u64,
    /// Acknowledgements of several requests of which some failed.
    pub(super) partly: u64,
    /// Changes of the credentials.
    pub(super) rotated: u64,
    /// Dead letters of consumers that were confirmed, and extensions of leases.
    pub(super) moved: u64,
    pub(super) extended: u64,
    /// Messages that are left at the end, and how many of them are in the dead-letter queue.
    left: u64,
    dead: u64,
}

impl Totals {
    pub(super) fn add(&mut self, other: Self) {
        let Self { messages, requests, faults, died, confirmed, unconfirmed, partly, rotated, moved, .. } = other;
        let Self { extended, left, dead, .. } = other;
        self.messages += messages;
        self.requests += requests;
        self.faults += faults;
        self.died += died;
        self.confirmed += confirmed;
        self.unconfirmed += unconfirmed;
        self.partly += partly;
        self.rotated += rotated;
        self.moved += moved;
        self.extended += extended;
        self.left += left;
        self.dead += dead;
    }
}

/// A queue, for a client that has no faults of its own.
fn emulator_queue(emulator: &Emulator, queue_id: &QueueId) -> Queue {
    emulator.client().unwrap().queue(emulator.account_id(), queue_id).unwrap()
}

impl World {
    pub(super) async fn new(seed: u64, trace: Trace) -> Arc<Self> {
        let started = Instant::now();
        let mut random = Random::new(seed);
        let (behavior, is_exact) = random.behavior();
        let emulator = Emulator::builder().real_time().behavior(behavior).start().await.unwrap();
        let dead_letters = emulator.create_queue(EmulatedQueue::default());
        let max_retries = 2 + random.below(8) as u32;
        let change =
            |settings: EmulatedQueue| settings.max_retries(max_retries).dead_letter_queue(dead_letters.as_str());
        emulator.configure_queue(emulator.queue_id(), change);
        let policy = random.policy();
        let (random, vault) = (Arc::new(Mutex::new(random)), Arc::new(Mutex::new(emulator.api_token())));
        let builder = emulator.in_process_builder().unwrap().credentials(from_vault(&vault, &random));
        let (jumped, epoch) = (Arc::new(AtomicI64::new(0)), SystemTime::UNIX_EPOCH + LONG * 500_000);
        let jumps = Arc::clone(&jumped);
        let wall = move || {
            let (now, seconds) = (epoch + started.elapsed(), jumps.load(Ordering::Relaxed));
            let by = Duration::from_secs(seconds.unsigned_abs());
            if seconds < 0 { now - by } else { now + by }
        };
        let builder =
            builder.wall_clock(wall).request_timeout(Duration::from_secs(5)).call_timeout(LEASE / 2).retry(policy);
        let client = builder.build().unwrap();
        let queue = client.queue(emulator.account_id(), emulator.queue_id()).unwrap();
        let moved = emulator.create_queue(EmulatedQueue::default());
        let moved = client.queue(emulator.account_id(), &moved).unwrap();
        let messages: Vec<_> = (0..ROUND).map(|number| PushMessage::json(&number).unwrap()).collect();
        for messages in messages.chunks(100) {
            emulator_queue(&emulator, emulator.queue_id()).push_batch(messages).await.unwrap();
        }
        let max_in_flight = 1 + random.lock().unwrap().below(4) as usize;
        let options = AckerOptions::new().max_in_flight(max_in_flight);
        let acker = Acker::with_options(queue.clone(), options).unwrap();
        let told = Told { faults: vec![false; emulator.requests() as usize], ..Told::default() };
        let told = Mutex::new(told);
        Arc::new(Self {
            emulator,
            queue,
            acker,
            is_exact,
            dead_letters,
            moved,
            random,
            vault,
            jumped,
            told,
            trace,
            started,
        })
    }

    /// Records what happened, when, and after how many requests.
    pub(super) fn note(&self, what: impl Display) {
        let (elapsed, requests) = (self.started.elapsed(), self.emulator.requests());
        writeln!(self.trace.lock().unwrap(), "{elapsed:?} {requests} {what}").unwrap();
    }

    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.random.lock().unwrap().below(bound)
    }

    pub(super) fn wait(&self) -> Duration {
        self.random.lock().unwrap().wait()
    }

    /// Few, as many as possible, or any number in between.
    pub(super) fn batch_size(&self) -> u32 {
        match self.below(3) {
            0 => 1 + self.below(10) as u32,
            1 => 1 + self.below(100) as u32,
            _ => 100,
        }
    }

    /// Makes the service refuse the credentials so far, sometimes before the new ones can be had.
    pub(super) async fn rotate(&self) {
        let number = {
            let mut told = self.told();
            told.totals.rotated += 1;
            told.totals.rotated
        };
        let token = format!("token-{number}");
        self.note(format_args!("from now on, the service accepts only {token}"));
        self.emulator.set_api_token(&token);
        sleep(self.wait()).await;
        *self.vault.lock().unwrap() = token;
    }

    /// The clock of the service or that of the wall jumps, or both, as after the clients' machine was suspended.
    pub(super) fn jump(&self) {
        let (which, seconds) = (self.below(3), 1 + self.below(2 * LEASE.as_secs()));
        self.note(format_args!("clocks jump: {which}, {seconds} s"));
        if which != 0 {
            self.emulator.advance(Duration::from_secs(seconds));
        }
        if which != 1 {
            let is_back = which == 0 && self.below(2) == 0;
            let seconds = seconds as i64;
            self.jumped.fetch_add(if is_back { -seconds } else { seconds }, Ordering::Relaxed);
        }
    }

    pub(super) fn backlog(&self) -> usize {
        self.emulator.messages(self.emulator.queue_id()).len()
    }

    /// Decides on the faults of the next requests, whoever sends them.
    pub(super) fn foresee(&self) {
        let (mut random, mut told) = (self.random.lock().unwrap(), self.told());
        // Requests that came before their faults were decided on had none.
        let requests = (self.emulator.requests() as usize).max(told.faults.len());
        told.faults.resize(requests, false);
        while told.faults.len() < self.emulator.requests() as usize + 100 {
            let fault = (random.below(3) == 0).then(|| Box::new(random.fault()));
            told.faults.push(fault.is_some());
            self.emulator.inject(Fault::Slow { before: random.wait(), after: random.wait(), fault });
        }
    }

    /// What must be true of the queue at the end, whatever happened.
    pub(super) async fn check(&self) -> Totals {
        self.acker.close().await;
        let requests = self.emulator.requests() as usize;
        while (self.emulator.requests() as usize) < self.told().faults.len() {
            let _ = self.queue.peek(1).await;
        }
        sleep(LONG).await;
        self.emulator.configure(|_| Behavior::default());
        let left = self.drain(self.emulator.queue_id()).await;
        let dead = self.drain(&self.dead_letters).await;
        let moved: HashSet<_> = self.drain(self.moved.id()).await.into_iter().collect();
        let there: HashSet<_> = left.iter().chain(&dead).copied().collect();
        assert_eq!(there.len(), left.len() + dead.len(), "a message is there twice");
        let told = self.told();
        for number in 0..ROUND {
            let (is_there, is_done) = (there.contains(&number), told.done.contains(&number));
            assert!(!(is_done && is_there), "{number} was confirmed, and is there");
            let is_kept = is_there || moved.contains(&number);
            assert!(is_kept || told.asked.contains(&number), "{number} is gone, and nobody acknowledged it");
        }
        assert!(told.totals.moved <= moved.len() as u64, "a dead letter was confirmed that was not pushed");
        Totals {
            messages: u64::from(ROUND),
            requests: requests as u64,
            faults: told.faults.iter().take(requests).filter(|is_fault| **is_fault).count() as u64,
            left: there.len() as u64,
            dead: dead.len() as u64,
            ..told.totals
        }
    }

    /// Consumes the rest of a queue without faults: nothing is stuck, and everything is confirmed.
    async fn drain(&self, queue_id: &QueueId) -> Vec<u32> {
        self.emulator.configure_queue(queue_id, |settings| settings.max_retries(u32::MAX));
        let left = self.emulator.messages(queue_id).len();
        let queue = emulator_queue(&self.emulator, queue_id);
        let numbers = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&numbers);
        let handler = move |message: Message| {
            seen.lock().unwrap().push(message.body.json().unwrap());
            async { Verdict::Ack }
        };
        let is_empty = async {
            while !self.emulator.messages(queue_id).is_empty() {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let report = Consumer::new(queue).run_until(timeout(LONG, is_empty), handler).await.unwrap();
        assert_eq!((report.stats.acknowledged, report.unconfirmed.len()), (left as u64, 0), "{:?}", report.stats);
        let numbers = numbers.lock().unwrap().clone();
        assert_eq!(numbers.len(), left);
        numbers
    }
}
