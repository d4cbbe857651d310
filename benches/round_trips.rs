//! Messages a second of a consumer at long round trips, on a paused clock: `cargo bench -p benches --bench
//! round_trips`.
//!
//! Every request takes a round trip. 1,000 handlers take 10 ms each; nothing else is set. The figures are exact, since
//! no real time is in them.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cloudflare_queues::{
    Consumer, PushMessage,
    emulator::{Emulator, Fault},
};
use tokio::time::{Instant, sleep};

/// Messages a second that are to be reached.
const WANTED: f64 = 4_750.0;

fn main() -> Result<(), Box<dyn Error>> {
    let backlog = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(100_000);
    println!(
        "{:>12} {:>12} {:>14} {:>12} {:>12}",
        "round trip", "messages/s", "round trips", "empty pulls", "ack requests"
    );
    for round_trip in [20, 50, 100, 200, 600, 1200, 2400].map(Duration::from_millis) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
        runtime.block_on(measure(round_trip, backlog))?;
    }
    Ok(())
}

async fn measure(round_trip: Duration, backlog: usize) -> Result<(), Box<dyn Error>> {
    let emulator = Emulator::in_process();
    let queue = emulator.queue()?;
    for _ in 0..backlog / 100 {
        let _ = queue.push_batch(&vec![PushMessage::text("x"); 100]).await?;
    }
    emulator.inject(Fault::Slow { before: round_trip / 2, after: round_trip / 2, fault: None }.until_removed());
    let (started, handled) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&handled);
    let consumer = Consumer::new(queue).concurrency(1000);
    let (stats, before) = (consumer.clone(), emulator.requests());
    let mut reached = None;
    let (mut last, mut best) = (0, 0.0_f64);
    let stop = async {
        while stats.stats().acknowledged < backlog as u64 {
            sleep(round_trip).await;
            let now = handled.load(Ordering::Relaxed);
            let rate = (now - last) as f64 / round_trip.as_secs_f64();
            last = now;
            best = best.max(rate);
            if rate >= WANTED {
                reached.get_or_insert(started.elapsed().as_secs_f64() / round_trip.as_secs_f64());
            }
        }
    };
    let report = consumer
        .run_until(stop, move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(10))
        })
        .await?;
    let stats = report.stats;
    let acks = emulator.requests() - before - stats.pulls;
    let reached = reached.map_or("never".to_owned(), |reached| format!("{reached:.0}"));
    println!("{round_trip:>12?} {best:>12.0} {reached:>14} {:>12} {acks:>12}", stats.empty_pulls);
    Ok(())
}
