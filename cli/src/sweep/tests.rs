//! Redrives on tokio's paused clock, against an emulator in the same process.

use std::{collections::HashMap, future::pending};

use cloudflare_queues::{
    AckRequest, PullOptions, PushMessage, Settlement,
    emulator::{EmulatedQueue, Emulator, EmulatorBuilder, Fault, Injection, Operation, Seed, UnknownLease},
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
        Self::of(Emulator::builder().real_time(), messages, max_retries).await
    }

    async fn of(builder: EmulatorBuilder, messages: usize, max_retries: u32) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings = EmulatedQueue::new().max_retries(max_retries);
        let emulator = builder.queue(settings).in_process();
        let to = emulator.create_queue(EmulatedQueue::new());
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
        let sink = Pushing { to: vec![self.to.clone()], filter: plan.filter.clone(), progress: Progress::hidden() };
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

    fn numbers_left(&self) -> usize {
        self.emulator.messages(self.from.id()).len()
    }

    fn in_flight(&self) -> usize {
        self.emulator.messages(self.from.id()).iter().filter(|message| message.is_leased).count()
    }
}

fn plan() -> Plan {
    Plan::default()
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
async fn messages_that_do_not_match_stay_even_at_their_last_delivery() {
    let world = World::with(500, 0).await;
    for _ in 0..3 {
        let filter = vec!["body=7".parse().unwrap()].into();
        let _ = world.run(Plan { filter, ..plan() }).await;
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
    let swept = sweep.run(pending()).await;
    assert_eq!(swept.counts, Counts { taken: 300, ..Counts::default() });
    assert!(world.numbers(&world.to).values().all(|times| *times == 1));
    assert_eq!(world.numbers(&world.from).len(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_refusing_queue_ends_the_redrive_without_loss() {
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
    fn fits(&self, _: &Body) -> bool {
        true
    }

    async fn take(&self, messages: &[Message], leases: &mut Held<'_>) -> Taken {
        leases.during(sleep(Duration::from_secs(3600))).await;
        Taken { outcomes: vec![Outcome::Taken; messages.len()], failure: None }
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

#[tokio::test(start_paused = true)]
async fn messages_that_may_be_deleted_are_no_arrivals() {
    for until_empty in [false, true] {
        let world = World::with(100, 3).await;
        world.emulator.configure(|behavior| behavior.acks_after_extend(false));
        let plan = Plan { until_empty, ..plan() };
        let sweep = Sweep::prepare(world.from.clone(), Slow, plan, Progress::hidden()).await.unwrap();
        let swept = sweep.run(pending()).await;
        assert_eq!((swept.counts.taken, swept.counts.undeleted), (100, 100), "{until_empty}");
        // Whoever empties a queue learns of all that may still be there.
        assert_eq!((swept.unavailable, swept.arrived), (if until_empty { 100 } else { 0 }, 0), "{until_empty}");
    }
}

/// Takes messages after it has acknowledged the first one.
struct Stealing(Queue);

impl Sink for Stealing {
    fn fits(&self, _: &Body) -> bool {
        true
    }

    async fn take(&self, messages: &[Message], _: &mut Held<'_>) -> Taken {
        let first = messages.iter().take(1).map(Settlement::ack).collect::<AckRequest>();
        if !first.is_empty() {
            assert!(self.0.ack(first).await.unwrap().is_complete());
        }
        Taken { outcomes: vec![Outcome::Taken; messages.len()], failure: None }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_lease_ends_no_sweep() {
    let world = World::with(300, 3).await;
    world.emulator.configure(|behavior| behavior.unknown_leases(UnknownLease::Reject));
    let sink = Stealing(world.from.clone());
    let sweep = Sweep::prepare(world.from.clone(), sink, plan(), Progress::hidden()).await.unwrap();
    let swept = sweep.run(pending()).await;
    assert_eq!(swept.counts, Counts { taken: 300, unconfirmed: 3, undeleted: 3, ..Counts::default() });
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

fn only(conditions: &[&str]) -> Filter {
    conditions.iter().map(|condition| condition.parse().unwrap()).collect::<Vec<_>>().into()
}

#[tokio::test(start_paused = true)]
async fn messages_that_do_not_match_are_released_after_a_sweep() {
    // Some of their leases are kept in a file.
    let world = World::with(25_000, 3).await;
    world.slow(200);
    for (filter, moved) in [("body<10", 10), ("body>=24990", 10)] {
        let swept = world.run(Plan { filter: only(&[filter]), ..plan() }).await;
        assert_eq!((swept.counts.taken, swept.unavailable, world.in_flight()), (moved, 0, 0), "{filter}");
        assert!(swept.result().is_ok());
    }
    assert_eq!(world.from.peek(100).await.unwrap().len(), 100);
    assert!(world.emulator.messages(world.from.id()).iter().all(|message| message.attempts == 2));
}

#[tokio::test(start_paused = true)]
async fn messages_that_do_not_match_are_available_after_a_stop() {
    let world = World::with(20_000, 3).await;
    world.slow(200);
    let swept =
        world.sweep(Plan { filter: only(&["body=7"]), ..plan() }).await.run(sleep(Duration::from_secs(1))).await;
    assert!(swept.is_stopped && swept.counts.skipped > 1000, "{} {:?}", swept.is_stopped, swept.counts);
    assert_eq!(world.in_flight(), 0);
    let before = Instant::now();
    assert_eq!(world.run(plan()).await.counts.taken, 19_999);
    assert!(before.elapsed() < Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn leases_of_what_stays_are_extended_while_a_sweep_takes_long() {
    let world = World::with(3_000, 3).await;
    // The first messages stay, and the others take five minutes.
    let swept = world.run(Plan { filter: only(&["body>=1500"]), rate: 5.0, ..plan() }).await;
    assert_eq!((swept.counts.taken, swept.counts.skipped, swept.lost), (1500, 1500, 0));
    assert!(world.emulator.messages(world.from.id()).iter().all(|message| message.attempts == 1));
    assert_eq!(world.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn messages_that_cannot_be_extended_are_hidden_and_not_delivered_twice() {
    let world = World::with(500, 3).await;
    world.emulator.inject(Fault::NotSuccess.on(Operation::ExtendMessages).until_removed());
    let swept = world.run(Plan { filter: only(&["body>=400"]), rate: 2.0, ..plan() }).await;
    assert_eq!(swept.counts.taken, 100);
    let attempts: Vec<_> = world.emulator.messages(world.from.id()).iter().map(|message| message.attempts).collect();
    assert!(attempts.iter().all(|attempts| *attempts == 1), "{attempts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_sweep_ends_although_messages_keep_arriving() {
    let world = World::with(200, 3).await;
    world.slow(200);
    let from = world.from.clone();
    let arriving = tokio::spawn(async move {
        loop {
            from.push(&PushMessage::text("again")).await.unwrap();
        }
    });
    let swept = timeout(Duration::from_secs(60), world.run(Plan { rate: 50.0, ..plan() })).await.unwrap();
    arriving.abort();
    // Some came while it began.
    assert!((200..220).contains(&swept.counts.taken) && swept.unavailable == 0, "{:?}", swept.counts);
    assert!(swept.arrived > 0);
    assert!(swept.result().is_ok());
    let swept = world.run(Plan { until_empty: true, ..plan() }).await;
    assert!(swept.counts.taken > 0 && world.numbers_left() == 0);
}

#[tokio::test(start_paused = true)]
async fn messages_held_by_others_make_the_sweep_incomplete() {
    let world = World::with(100, 3).await;
    let pull = PullOptions::new().batch_size(30).visibility_timeout(Duration::from_secs(3600));
    assert_eq!(world.from.pull(pull).await.unwrap().len(), 30);
    let swept = world.run(plan()).await;
    assert_eq!((swept.counts.taken, swept.unavailable, swept.arrived), (70, 30, 0));
    assert_eq!(swept.result().unwrap_err().exit(), Exit::Partly);
}

#[tokio::test(start_paused = true)]
async fn a_rate_counts_what_is_moved() {
    let world = World::with(10_000, 3).await;
    world.slow(200);
    let started = Instant::now();
    let swept = world.run(Plan { filter: only(&["body<200"]), rate: 50.0, ..plan() }).await;
    assert_eq!(swept.counts.taken, 200);
    let took = started.elapsed();
    assert!((Duration::from_secs(3)..Duration::from_secs(25)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_of_what_is_moved() {
    let world = World::with(10_000, 3).await;
    let swept = world.run(Plan { filter: only(&["body>=9000"]), limit: Some(3), ..plan() }).await;
    assert_eq!((swept.counts.taken, world.in_flight()), (3, 0));
    assert_eq!(world.numbers(&world.from).len(), 9997);
}

#[tokio::test(start_paused = true)]
async fn retries_are_raised_for_the_time_of_a_sweep() {
    let world = World::with(500, 0).await;
    for round in 1..=3 {
        let swept = world.run(Plan { filter: only(&["body=7"]), raise_retries: true, ..plan() }).await;
        assert_eq!((swept.counts.renewed, swept.failure.is_none()), (0, true));
        let messages = world.emulator.messages(world.from.id());
        assert!(
            messages.len() == 499 && messages.iter().all(|message| message.attempts == round && !message.is_leased)
        );
        let retries = world.from.consumers().await.unwrap()[0].max_retries();
        assert_eq!(retries, Some(0));
    }
}

#[tokio::test(start_paused = true)]
async fn retries_are_set_back_only_if_they_may_be_raised() {
    for (fault, sent) in [(Fault::ResetAfter, 5), (Fault::Forbidden, 1)] {
        // One batch, for which they are raised once, with the client's own attempts.
        let world = World::with(100, 0).await;
        let changes = changes_of_consumers(&world);
        world.emulator.inject(Injection::from(fault).on(Operation::UpdateConsumer).times(4));
        world.run(Plan { filter: only(&["body=7"]), raise_retries: true, ..plan() }).await;
        assert_eq!(world.from.consumers().await.unwrap()[0].max_retries(), Some(0), "{sent}");
        assert_eq!(changes.load(Ordering::Relaxed), sent);
    }
}

/// How many messages are in the queue that cannot be pushed anew.
fn binary_left(world: &World) -> usize {
    let messages = world.emulator.messages(world.from.id());
    messages.iter().filter(|message| ["bytes", "v8"].contains(&message.body.content_type().as_str())).count()
}

fn changes_of_consumers(world: &World) -> Arc<AtomicU64> {
    let changes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&changes);
    world.emulator.on_request(move |request| {
        if request.operation == Some(Operation::UpdateConsumer) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    changes
}

#[tokio::test(start_paused = true)]
async fn no_pass_pulls_a_last_delivery_that_cannot_be_pushed_again() {
    let world = World::with(300, 2).await;
    let changes = changes_of_consumers(&world);
    // Behind what a look reaches.
    world.emulator.seed(world.from.id(), [Seed::bytes([0, 0xff]), Seed::v8([0xff, 0x0f])]).unwrap();
    for pass in 1..=4 {
        let plan = Plan { filter: only(&["body=7"]), ..plan() };
        let sink = Pushing { to: vec![world.to.clone()], filter: plan.filter.clone(), progress: Progress::hidden() };
        let failure = match Sweep::prepare(world.from.clone(), sink, plan, Progress::hidden()).await {
            Ok(sweep) => sweep.run(pending()).await.failure,
            Err(failure) => Some(failure),
        };
        let refused = failure.map(|failure| (failure.exit(), failure.to_string()));
        let is_refused = refused.as_ref().is_some_and(|(_, told)| told.contains("one delivery left"));
        assert_eq!((pass > 2, pass > 2), (refused.is_some(), is_refused), "{pass} {refused:?}");
        world.emulator.advance(Duration::from_secs(2 * 60 * 60));
        assert_eq!((binary_left(&world), world.numbers_left()), (2, 301), "{pass}");
    }
    assert_eq!(changes.load(Ordering::Relaxed), 0, "max_retries was changed");
}

#[tokio::test(start_paused = true)]
async fn an_unannounced_last_delivery_is_held_and_ends_the_sweep() {
    for keep in [false, true] {
        let world = World::with(300, 3).await;
        let changes = changes_of_consumers(&world);
        world.emulator.seed(world.from.id(), [Seed::v8([0xff, 0x0f]).attempts(3)]).unwrap();
        let swept = world.run(Plan { filter: only(&["body!=7"]), keep, ..plan() }).await;
        let failure = swept.failure.unwrap();
        assert_eq!(failure.exit(), Exit::Refused);
        assert!(failure.to_string().contains("messages are at their last delivery"), "{failure}");
        // Long enough to raise `max_retries`, which nobody else does.
        world.emulator.advance(Duration::from_secs(10 * 60 * 60));
        assert_eq!((binary_left(&world), changes.load(Ordering::Relaxed)), (1, 0));
        world.emulator.configure_queue(world.from.id(), |settings| settings.max_retries(4));
        world.emulator.advance(Duration::from_secs(2 * 60 * 60));
        assert_eq!(binary_left(&world), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn copies_that_cannot_be_pushed_cost_no_message() {
    let world = World::with(200, 0).await;
    world.emulator.inject(Fault::Forbidden.on(Operation::PushMessages).until_removed());
    let swept = world.run(Plan { filter: only(&["body=700"]), ..plan() }).await;
    assert_eq!(swept.failure.unwrap().exit(), Exit::Refused);
    world.emulator.advance(Duration::from_secs(10 * 60 * 60));
    assert_eq!(world.numbers(&world.from).len(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_with_an_unknown_rest_fails() {
    let world = World::with(10, 3).await;
    let sweep = world.sweep(plan()).await;
    world.emulator.inject(Fault::Forbidden.on(Operation::GetQueueMetrics).until_removed());
    let swept = sweep.run(pending()).await;
    assert_eq!(swept.counts.taken, 10);
    let failure = swept.result().unwrap_err();
    assert!(failure.exit() == Exit::Partly && failure.to_string().contains("not known whether messages are left"));
}

#[tokio::test(start_paused = true)]
async fn messages_that_came_do_not_stand_for_those_that_others_hold() {
    let world = World::with(100, 3).await;
    let pull = PullOptions::new().batch_size(30).visibility_timeout(Duration::from_secs(3600));
    assert_eq!(world.from.pull(pull).await.unwrap().len(), 30);
    let sweep = world.sweep(plan()).await;
    sleep(Duration::from_secs(2)).await;
    world.from.push_all(&vec![PushMessage::text("later"); 50]).await.unwrap();
    let swept = sweep.run(pending()).await;
    assert_eq!((swept.counts.taken, swept.unavailable, swept.arrived), (100, 30, 20));
    assert_eq!(swept.result().unwrap_err().exit(), Exit::Partly);
}

#[tokio::test(start_paused = true)]
async fn sweeps_end_although_new_messages_look_old() {
    // The service's clock stands still.
    let world = World::of(Emulator::builder(), 200, 3).await;
    world.slow(200);
    let from = world.from.clone();
    let arriving = tokio::spawn(async move {
        loop {
            from.push_all(&vec![PushMessage::text("again"); 20]).await.unwrap();
        }
    });
    let swept = timeout(Duration::from_secs(60), world.run(Plan { rate: 50.0, ..plan() })).await;
    arriving.abort();
    assert!(swept.expect("it goes on").counts.taken <= 400 + 100);
}

#[tokio::test(start_paused = true)]
async fn no_more_is_pulled_than_the_limit_if_everything_is_taken() {
    let world = World::with(1000, 3).await;
    world.slow(200);
    let swept = world.run(Plan { limit: Some(5), ..plan() }).await;
    assert_eq!(swept.counts.taken, 5);
    assert!(world.emulator.messages(world.from.id()).iter().all(|message| message.attempts == 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_pushed_anew_is_hidden_for_minutes_at_most() {
    let world = World::with(20_000, 0).await;
    let swept = world.run(Plan { filter: only(&["body<50"]), rate: 10.0, ..plan() }).await;
    assert_eq!((swept.counts.taken, swept.unavailable), (50, 0));
    world.emulator.advance(Duration::from_secs(301));
    let swept = world.run(plan()).await;
    assert_eq!((swept.counts.taken, swept.unavailable), (19_950, 0));
}
