//! A consumer: every request takes a round trip. 1,000 handlers take 10 ms each; nothing else is set.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use benches::Result;
use cloudflare_queues::{
    Consumer, Message,
    emulator::{Behavior, Emulator, Fault, Operation},
};
use tokio::time::{Instant, sleep};

use crate::{CEILING, WANTED, emulator, fill, is_wanted, on_paused_clock};

const ROUND_TRIPS: [u64; 7] = [20, 50, 100, 200, 600, 1200, 2400];

/// The network and the queue. Without a name, only the first columns are shown.
#[derive(Clone)]
struct Case {
    name: &'static str,
    round_trip: Duration,
    behavior: Behavior,
    /// Round trips are drawn from half to twice of it.
    jitters: bool,
    /// Every twentieth request.
    fails: bool,
    bytes: usize,
    backlog: u64,
}

/// What handlers and the sampler see.
#[derive(Default)]
struct Seen {
    handled: AtomicU64,
    duplicates: AtomicU64,
    late: AtomicU64,
    held: AtomicU64,
    /// Requests, including repeated attempts.
    pulls: AtomicU64,
    refused: AtomicU64,
}

pub(crate) fn print() -> Result<()> {
    println!(
        "{:<22} {:>10} {:>10} {:>8} {:>8} {:>7} {:>7} {:>7} {:>6} {:>6} {:>8} {:>8}",
        "case",
        "round trip",
        "messages/s",
        "reached",
        "empty",
        "pulls",
        "429 %",
        "failed",
        "late",
        "twice",
        "acks/100",
        "MB held"
    );
    let case = |name| Case {
        name,
        round_trip: Duration::ZERO,
        behavior: Behavior::new(),
        jitters: false,
        fails: false,
        bytes: 1,
        backlog: 100_000,
    };
    let limited = Behavior::new().messages_per_second(CEILING);
    let cases = [
        case("no bound"),
        Case { behavior: limited.clone(), backlog: 200_000, ..case("5,000 a second") },
        Case { jitters: true, ..case("jitter") },
        Case { behavior: Behavior::new().largest_pull(50), ..case("50 of 100") },
        Case { fails: true, ..case("5 % fail") },
        Case { behavior: limited, fails: true, jitters: true, backlog: 200_000, ..case("limit, jitter, fail") },
        Case { bytes: 1_000, ..case("1 KB") },
        Case { bytes: 128_000, backlog: 10_000, ..case("128 KB") },
    ];
    for case in cases.iter().filter(|case| is_wanted(case.name)) {
        for round_trip in ROUND_TRIPS.map(Duration::from_millis) {
            on_paused_clock(measure(Case { round_trip, ..case.clone() }))?;
        }
    }
    Ok(())
}

/// Makes requests take their time, and fail.
fn delay(emulator: &Emulator, case: &Case) {
    for number in 0..20_000_u32 {
        // From half to twice, in an order that looks like chance.
        let percent = if case.jitters { 50 + number.wrapping_mul(2_654_435_761) % 151 } else { 100 };
        let half = case.round_trip * percent / 200;
        let fault = (case.fails && number % 20 == 7).then(|| Box::new(Fault::ServerError(503)));
        emulator.inject(Fault::Slow { before: half, after: half, fault });
    }
}

async fn measure(case: Case) -> Result<()> {
    let emulator = emulator();
    emulator.configure(|_| case.behavior.clone());
    fill(&emulator, case.backlog, case.bytes).await?;
    let backlog = emulator.messages(emulator.queue_id()).len() as u64;
    delay(&emulator, &case);
    let (started, seen) = (Instant::now(), Arc::new(Seen::default()));
    let refused = Arc::clone(&seen);
    emulator.on_request(move |request| {
        let is_pull = request.operation == Some(Operation::PullMessages);
        refused.pulls.fetch_add(u64::from(is_pull), Relaxed);
        refused.refused.fetch_add(u64::from(is_pull && request.status == Some(429)), Relaxed);
    });
    let consumer = Consumer::new(emulator.queue()?).concurrency(1000);
    let (stats, before, sampled) = (consumer.clone(), emulator.requests(), Arc::clone(&seen));
    let (mut reached, mut rate) = (None, 0.0);
    let stop = async {
        // A bound on the rate may be used unevenly within a second.
        let window = case.round_trip.max(Duration::from_millis(100));
        let (mut samples, mut next) = (vec![0], started + window);
        while stats.stats().acknowledged < backlog {
            let now = stats.stats();
            sampled.held.fetch_max((now.waiting + now.handlers_running) * case.bytes as u64, Relaxed);
            sleep(Duration::from_millis(5)).await;
            if Instant::now() < next {
                continue;
            }
            next += window;
            samples.push(sampled.handled.load(Relaxed));
        }
        let handled_in = |from: usize, to: usize| {
            let handled = samples.get(to)?.checked_sub(*samples.get(from)?)?;
            Some(handled as f64 / (window.as_secs_f64() * (to - from) as f64))
        };
        let end = samples.iter().position(|handled| *handled == backlog).unwrap_or(samples.len()).max(1) - 1;
        let first = (0..end).find(|sample| handled_in(*sample, sample + 1).is_some_and(|rate| rate >= WANTED));
        reached = first.map(|sample| (window * (sample as u32 + 1)).div_duration_f64(case.round_trip));
        rate = handled_in(first.unwrap_or(end / 2), end).unwrap_or(backlog as f64 / started.elapsed().as_secs_f64());
    };
    let counting = Arc::clone(&seen);
    let handler = move |message: Message| {
        let seen = Arc::clone(&counting);
        async move {
            sleep(Duration::from_millis(10)).await;
            seen.handled.fetch_add(1, Relaxed);
            seen.late.fetch_add(u64::from(message.lease().is_lost()), Relaxed);
            seen.duplicates.fetch_add(u64::from(message.attempts != Some(1)), Relaxed);
        }
    };
    let report = consumer.run_until(stop, handler).await?;
    let stats = report.stats;
    let pulls = seen.pulls.load(Relaxed);
    let acks = (emulator.requests() - before).saturating_sub(pulls) as f64 * 100.0 / backlog as f64;
    let refused = seen.refused.load(Relaxed) as f64 * 100.0 / pulls as f64;
    println!(
        "{:<22} {:>10} {rate:>10.0} {:>8} {:>8} {pulls:>7} {refused:>7.1} {:>7} {:>6} {:>6} {acks:>8.2} {:>8.1}",
        case.name,
        format!("{:?}", case.round_trip),
        reached.map_or("never".to_owned(), |reached| format!("{reached:.0}")),
        stats.empty_pulls,
        stats.pull_failures,
        seen.late.load(Relaxed),
        seen.duplicates.load(Relaxed),
        seen.held.load(Relaxed) as f64 / 1e6,
    );
    Ok(())
}
