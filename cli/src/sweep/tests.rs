//! Redrives on tokio's paused clock, against an emulator in the same process.

use std::{collections::HashMap, future::pending};

use cloudflare_queues::{
    AckRequest, PushMessage, Settlement,
    emulator::{Emulator, Fault, Operation, QueueSettings, UnknownLease},
};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::commands::redrive::Pushing;

struct World {
    emulator: Emulator,
    from: Queue,
    to: Queue,
}

impl World {
    async fn with(messages: usize, max_retries: u32) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings = QueueSettings::new().max_retries(max_retries);
        let emulator = Emulator::builder().real_time().queue(settings).in_process();
        let to = emulator.create_queue(QueueSettings::new());
        let client = emulator.client().unwrap();
        let from = client.queue(emulator.account_id(), emulator.queue_id()).unwrap();
        let to = client.queue(emulator.account_id(), to).unwrap();
        let pushed: Vec<_> = (0..messages).map(|number| PushMessage::json(&number).unwrap()).collect();
        from.push_all(&pushed).await.unwrap();
        Self { emulator, from, to }
    }

    fn slow(&self, round_trip: u64) {
        let half = Duration::from_millis(round_trip / 2);
        self.emulator.inject(Fault::Slow { before: half, after: half, fault: None }.until_removed());
    }

    async fn sweep(&self, plan: Plan) -> Sweep<Pushing> {
        let sink = Pushing { to: self.to.clone(), progress: Progress::hidden() };
        Sweep::prepare(self.from.clone(), sink, plan, Progress::hidden()).await.unwrap()
    }

    async fn run(&self, plan: Plan) -> Swept {
        self.sweep(plan).await.run(pending()).await
    }

    /// How often each number is in a queue.
    fn numbers(&self, queue: &Queue) -> HashMap<usize, usize> {
        let mut numbers = HashMap::new();
        for message in self.emulator.messages(queue.id()) {
            *numbers.entry(message.body.json().unwrap()).or_default() += 1;
        }
        numbers
    }

    fn in_flight(&self) -> usize {
        self.emulator.messages(self.from.id()).iter().filter(|message| message.is_leased).count()
    }
}

fn plan() -> Plan {
    Plan { conditions: Vec::new(), keep: false, limit: None, rate: 5000.0, most_batches: 200 }
}

#[tokio::test(start_paused = true)]
async fn a_redrive_moves_4000_messages_a_second_at_200_ms() {
    let world = World::with(100_000, 3).await;
    world.slow(200);
    let started = Instant::now();
    let swept = world.run(plan()).await;
    assert_eq!(swept.counts, Counts { taken: 100_000, ..Counts::default() });
    let rate = 100_000.0 / started.elapsed().as_secs_f64();
    assert!(rate >= 4000.0, "{rate}");
    assert_eq!(world.numbers(&world.to).len(), 100_000);
}

#[tokio::test(start_paused = true)]
async fn a_redrive_grows_with_the_round_trip() {
    // A batch takes three round trips, and it takes three batches until enough are in flight.
    for (round_trip, least) in [(20, 4000.0), (600, 1400.0), (2400, 390.0)] {
        let world = World::with(20_000, 3).await;
        world.slow(round_trip);
        let started = Instant::now();
        let swept = world.run(plan()).await;
        assert_eq!(swept.counts, Counts { taken: 20_000, ..Counts::default() });
        let rate = 20_000.0 / started.elapsed().as_secs_f64();
        assert!(rate >= least, "{rate} at {round_trip} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_redrive_that_is_killed_ten_times_loses_nothing() {
    const MESSAGES: usize = 40_000;
    let world = World::with(MESSAGES, 100).await;
    world.slow(200);
    let (mut in_flight, mut seed) = (0, 7_u64);
    for _ in 0..10 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = Duration::from_millis(400 + (seed >> 33) % 1200);
        let sweep = world.sweep(plan()).await;
        assert!(timeout(moment, sweep.run(pending())).await.is_err(), "it ended before it was killed");
        in_flight += world.in_flight();
        sleep(LEASE).await;
    }
    let swept = world.run(plan()).await;
    assert!(swept.failure.is_none());
    let there = world.numbers(&world.to);
    assert_eq!((there.len(), world.numbers(&world.from).len()), (MESSAGES, 0));
    let duplicates = there.values().sum::<usize>() - MESSAGES;
    assert!(duplicates <= in_flight, "{duplicates} of {in_flight}");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_match_stays_even_at_its_last_delivery() {
    let world = World::with(500, 0).await;
    for _ in 0..3 {
        let conditions = vec!["body=7".parse().unwrap()];
        let _ = world.run(Plan { conditions, ..plan() }).await;
        sleep(Duration::from_secs(200)).await;
    }
    assert_eq!(world.numbers(&world.to), HashMap::from([(7, 1)]));
    assert_eq!(world.numbers(&world.from).len(), 499);
    assert!(world.numbers(&world.from).values().all(|times| *times == 1));
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_limit_is_moved() {
    let world = World::with(1000, 3).await;
    let swept = world.run(Plan { limit: Some(250), ..plan() }).await;
    assert_eq!((swept.counts.taken, world.numbers(&world.to).len()), (250, 250));
    assert_eq!(world.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_kept() {
    let world = World::with(300, 3).await;
    let started = Instant::now();
    let swept = world.run(Plan { rate: 10.0, ..plan() }).await;
    assert_eq!(swept.counts.taken, 300);
    let took = started.elapsed();
    assert!((Duration::from_secs(29)..Duration::from_secs(33)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn kept_messages_are_copied_once() {
    let world = World::with(300, 100).await;
    let sweep = world.sweep(Plan { keep: true, rate: 5.0, ..plan() }).await;
    sweep.hold.store(10_000, Ordering::Relaxed);
    let swept = sweep.run(pending()).await;
    assert_eq!(swept.counts, Counts { taken: 300, ..Counts::default() });
    assert!(world.numbers(&world.to).values().all(|times| *times == 1));
    assert_eq!(world.numbers(&world.from).len(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_takes_nothing_ends_the_redrive_and_costs_no_message() {
    for max_retries in [0, 3] {
        let world = World::with(300, max_retries).await;
        world.to.delete().await.unwrap();
        let swept = world.run(plan()).await;
        assert_eq!((swept.counts.taken, swept.counts.left), (0, 100));
        assert_eq!(swept.failure.unwrap().exit(), Exit::NotFound);
        sleep(LEASE).await;
        assert_eq!(world.numbers(&world.from).len(), 300);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_retry_after_is_obeyed_and_costs_no_lease() {
    for operation in [Operation::PullMessages, Operation::PushMessages, Operation::AckMessages] {
        let world = World::with(100, 0).await;
        let wait = Duration::from_secs(300);
        world.emulator.inject(Fault::RateLimited { code: 971, retry_after: Some(wait) }.on(operation));
        let started = Instant::now();
        let swept = world.run(plan()).await;
        assert_eq!(swept.counts, Counts { taken: 100, ..Counts::default() }, "{operation:?}");
        assert!(started.elapsed() >= wait, "{operation:?}");
        assert_eq!(world.numbers(&world.to).values().sum::<usize>(), 100, "{operation:?}");
    }
}

/// Takes its time.
struct Slow;

impl Sink for Slow {
    async fn take(&self, messages: &[Message], leases: &mut Held<'_>) -> Taken {
        leases.during(sleep(Duration::from_secs(3600))).await;
        Taken { fates: vec![Fate::Taken; messages.len()], failure: None }
    }
}

#[tokio::test(start_paused = true)]
async fn leases_are_held_while_a_sink_takes_an_hour() {
    let world = World::with(100, 0).await;
    let sweep = Sweep::prepare(world.from.clone(), Slow, plan(), Progress::hidden()).await.unwrap();
    world.emulator.configure(|behavior| behavior.late_acks(false));
    let swept = sweep.run(pending()).await;
    assert_eq!(swept.counts, Counts { taken: 100, ..Counts::default() });
    assert!(world.numbers(&world.from).is_empty());
}

/// Takes messages after it has acknowledged the first one.
struct Stealing(Queue);

impl Sink for Stealing {
    async fn take(&self, messages: &[Message], _: &mut Held<'_>) -> Taken {
        let first = messages.iter().take(1).map(Settlement::ack).collect::<AckRequest>();
        if !first.is_empty() {
            assert!(self.0.ack(first).await.unwrap().is_complete());
        }
        Taken { fates: vec![Fate::Taken; messages.len()], failure: None }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_refused_ends_no_sweep_and_costs_no_other() {
    let world = World::with(300, 3).await;
    world.emulator.configure(|behavior| behavior.unknown_leases(UnknownLease::Reject));
    let sink = Stealing(world.from.clone());
    let sweep = Sweep::prepare(world.from.clone(), sink, plan(), Progress::hidden()).await.unwrap();
    let swept = sweep.run(pending()).await;
    assert_eq!(swept.counts, Counts { taken: 300, unconfirmed: 3, ..Counts::default() });
    assert!(swept.failure.is_none());
    assert!(world.numbers(&world.from).is_empty());
}

#[tokio::test(start_paused = true)]
async fn messages_whose_pull_was_lost_are_waited_for() {
    let world = World::with(100, 3).await;
    world.emulator.inject(Fault::ResetAfter.on(Operation::PullMessages));
    let swept = world.run(plan()).await;
    assert_eq!(swept.counts, Counts { taken: 100, ..Counts::default() });
    assert!(swept.failure.is_none());
}
