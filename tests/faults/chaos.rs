//! Nothing is lost, and nothing is reported that did not happen, whatever happens.

use std::{
    collections::{HashMap, HashSet},
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use cloudflare_queues::{
    AckRequest, Client, Consumer, ConsumerOptions, Message, PullOptions, PushMessage, Queue, RetryPolicy, Verdict,
    emulator::{Emulator, Fault, QueueSettings},
};
use tokio::{task::JoinSet, time::timeout};

use crate::support;

const LEASE: Duration = Duration::from_secs(60);
/// Longer than any check takes of the emulator's time.
const LONG: Duration = Duration::from_secs(12 * 3600);
/// Messages of one seed.
const ROUND: u32 = 1000;

/// A random number generator that is the same everywhere: SplitMix64.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn fault(&mut self) -> Fault {
        match self.below(8) {
            0 => Fault::RateLimited { code: [10250, 971, 10252][self.below(3) as usize], retry_after: None },
            1 => Fault::RateLimited { code: 10250, retry_after: Some(Duration::ZERO) },
            2 => Fault::ServerError(502),
            3 => Fault::NotSuccess,
            4 => Fault::Delay(Duration::from_millis(self.below(3))),
            5 => Fault::CutOff,
            6 => Fault::ResetBefore,
            _ => Fault::ResetAfter,
        }
    }
}

/// The queue, its dead letters, and what the clients were told.
struct World {
    emulator: Emulator,
    dead_letters: String,
    client: Client,
    random: Mutex<Random>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    /// Messages whose acknowledgement was confirmed.
    done: HashSet<u32>,
    /// Messages whose acknowledgement was sent, whatever came of it.
    asked: HashSet<u32>,
    /// Confirmed, unconfirmed, and dropped leases; faults.
    counts: [u64; 4],
}

impl World {
    async fn new(seed: u64) -> Arc<Self> {
        let emulator = Emulator::start().await.unwrap();
        let dead_letters = emulator.create_queue(QueueSettings::default());
        emulator.configure_queue(emulator.queue_id(), |settings| {
            settings.max_retries = 5;
            settings.dead_letter_queue = Some(dead_letters.clone());
        });
        let policy = RetryPolicy { budget: u32::MAX, ..support::quick(3) };
        let builder = Client::builder(emulator.credentials().unwrap()).base_url(emulator.base_url());
        let client = builder.retry(policy).build().unwrap();
        let queue = emulator.queue().unwrap();
        let messages: Vec<_> = (0..ROUND).map(|number| PushMessage::json(&number).unwrap()).collect();
        for messages in messages.chunks(100) {
            queue.push_batch(messages).await.unwrap();
        }
        let (random, told) = (Mutex::new(Random(seed)), Mutex::default());
        Arc::new(Self { emulator, dead_letters, client, random, told })
    }

    fn queue(&self, queue_id: &str) -> Queue {
        self.client.queue(self.emulator.account_id(), queue_id).unwrap()
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.lock().unwrap().below(bound)
    }

    /// Makes trouble, at times.
    fn trouble(&self) {
        if self.below(2) == 0 {
            let fault = self.random.lock().unwrap().fault();
            self.emulator.inject(fault);
            self.told.lock().unwrap().counts[3] += 1;
        }
        if self.below(20) == 0 {
            self.emulator.advance(LEASE);
        }
    }

    /// One client's life: it pulls, decides, and acknowledges, or dies at any point of that.
    async fn live(self: Arc<Self>, queue: Queue) {
        let (mut request, mut acks) = (AckRequest::new(), HashMap::new());
        for _ in 0..=self.below(3) {
            self.trouble();
            let batch_size = 1 + self.below(100) as u32;
            let Ok(batch) = queue.pull(PullOptions { batch_size, visibility_timeout: LEASE }).await else {
                continue;
            };
            for message in &batch {
                match self.below(10) {
                    0 => drop(request.retry(&message.lease_id)),
                    1 => {}
                    _ => {
                        acks.insert(message.lease_id.clone(), message.json::<u32>().unwrap());
                        request.ack(&message.lease_id);
                    }
                }
            }
        }
        if request.is_empty() {
            return;
        }
        self.told.lock().unwrap().asked.extend(acks.values());
        self.trouble();
        let asked: HashSet<_> = request.lease_ids().cloned().collect();
        let (outcome, mut open) = match queue.ack(request).await {
            Ok(outcome) => (Some(outcome), HashSet::new()),
            Err(error) => {
                let outcome = error.confirmed().cloned();
                (outcome, error.into_unconfirmed().unwrap().lease_ids().cloned().collect())
            }
        };
        assert!(open.is_subset(&asked));
        let requested = outcome.iter().map(|outcome| outcome.acks_requested + outcome.retries_requested).sum::<u64>();
        assert_eq!(asked.len() - open.len(), requested as usize);
        open.extend(
            outcome.iter().flat_map(|outcome| &outcome.warnings).filter_map(|warning| warning.lease_id.clone()),
        );
        let counts = outcome.iter().flat_map(|outcome| [outcome.ack_count, outcome.retry_count]);
        let confirmed = counts.flatten().sum::<u64>();
        assert_eq!(confirmed as usize, asked.len() - open.len(), "what has no warning and came not back is confirmed");
        let mut told = self.told.lock().unwrap();
        told.counts[0] += confirmed;
        told.counts[1] += open.len() as u64;
        told.done.extend(acks.iter().filter(|(lease, _)| !open.contains(*lease)).map(|(_, number)| number));
    }

    /// The consumer's life, and its report.
    async fn consume(self: Arc<Self>, queue: Queue, life: Duration) {
        let options = ConsumerOptions {
            pull: PullOptions { batch_size: 50, visibility_timeout: LEASE },
            min_idle: Duration::from_millis(1),
            max_idle: Duration::from_millis(2),
            ..ConsumerOptions::default()
        };
        let world = Arc::clone(&self);
        let handler = move |message: Message| {
            world.trouble();
            let verdict = match world.below(10) {
                0 => Verdict::Retry,
                1 => Verdict::Leave,
                _ => {
                    world.told.lock().unwrap().asked.insert(message.json().unwrap());
                    Verdict::Ack
                }
            };
            async move { verdict }
        };
        let report = Consumer::with_options(queue, options).run_until(tokio::time::sleep(life), handler).await.unwrap();
        let (stats, unconfirmed) = (report.stats, report.unconfirmed.len() as u64);
        assert_eq!(
            stats.pulled,
            stats.acknowledged + stats.retried + stats.left + stats.expired + unconfirmed,
            "a report accounts for every message: {stats:?}"
        );
        let mut told = self.told.lock().unwrap();
        told.counts[0] += stats.acknowledged + stats.retried;
        told.counts[1] += unconfirmed;
    }

    /// What has to be true of the queue, whatever happened.
    async fn check(&self) {
        let mut there = HashSet::new();
        for queue_id in [self.emulator.queue_id(), &self.dead_letters] {
            self.emulator.configure_queue(queue_id, |settings| settings.max_retries = u32::MAX);
            let queue = self.queue(queue_id);
            let mut here = HashMap::new();
            // Again, if a client that died had sent a pull that arrived only now.
            for _ in 0..500 {
                if self.emulator.messages(queue_id).iter().all(|message| here.contains_key(&message.id)) {
                    break;
                }
                self.emulator.advance(LEASE);
                match queue.pull(PullOptions { batch_size: 100, visibility_timeout: LONG }).await {
                    Ok(batch) => here
                        .extend(batch.into_iter().map(|message| (message.id.clone(), message.json::<u32>().unwrap()))),
                    // A fault that is left over may have stranded the batch.
                    Err(_) => self.emulator.advance(LONG),
                }
            }
            there.extend(here.into_values());
        }
        let told = self.told.lock().unwrap();
        for number in 0..ROUND {
            let (is_there, is_done) = (there.contains(&number), told.done.contains(&number));
            assert!(!(is_done && is_there), "{number} was confirmed, and is there");
            assert!(is_there || told.asked.contains(&number), "{number} is gone, and nobody acknowledged it");
        }
    }
}

async fn run(seed: u64) -> [u64; 4] {
    let world = World::new(seed).await;
    let queue = world.queue(world.emulator.queue_id());
    // Some of them leave something behind.
    let enough = world.below(60) as usize;
    while world.emulator.messages(world.emulator.queue_id()).len() > enough {
        let mut lives = JoinSet::new();
        for _ in 0..4 {
            lives.spawn(Arc::clone(&world).live(queue.clone()));
        }
        if world.below(4) == 0 {
            let life = Duration::from_millis(world.below(20));
            lives.spawn(Arc::clone(&world).consume(queue.clone(), life));
        }
        // Some die wherever they are.
        let death = if world.below(3) == 0 { Duration::from_millis(world.below(8)) } else { LEASE };
        let all = async {
            while let Some(life) = lives.join_next().await {
                life.unwrap();
            }
        };
        if timeout(death, all).await.is_err() {
            world.told.lock().unwrap().counts[2] += lives.len() as u64;
        }
        world.emulator.advance(LEASE / 4);
    }
    world.check().await;
    let told = world.told.lock().unwrap();
    told.counts
}

/// `CHAOS_MESSAGES` sets how many messages, `CHAOS_SEED` where to begin: a failing seed, to see it again.
#[test]
fn no_message_is_lost_and_no_confirmation_untrue_in_chaos() {
    let number = |name: &str, default| env::var(name).map_or(default, |value| value.parse::<u64>().unwrap());
    let first = number("CHAOS_SEED", 1);
    let seeds = number("CHAOS_MESSAGES", 5000).div_ceil(u64::from(ROUND));
    let mut totals = [0; 4];
    for seed in first..first + seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let counts = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(seed))));
        let counts = counts.unwrap_or_else(|_| panic!("chaos with CHAOS_SEED={seed}"));
        totals.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
    }
    let [confirmed, unconfirmed, died, faults] = totals;
    let messages = seeds * u64::from(ROUND);
    println!(
        "{messages} messages: {confirmed} leases confirmed, {unconfirmed} not, {died} clients died, {faults} faults"
    );
}
