//! A pusher: 1,000 tasks push 100 messages of 200 bytes each, in one request after the other's receipt or all at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use benches::Result;
use cloudflare_queues::{
    PushMessage, Pusher,
    emulator::{Behavior, Fault, Operation},
};
use tokio::{task::JoinSet, time::Instant};

use crate::{CEILING, emulator, is_wanted, on_paused_clock};

const ROUND_TRIPS: [u64; 3] = [20, 200, 2400];
const TASKS: u64 = 1_000;
const EACH: u64 = 100;

pub(crate) fn print() -> Result<()> {
    println!("\n{:<32} {:>10} {:>10} {:>9} {:>7}", "case", "round trip", "messages/s", "requests", "429 %");
    for (name, each_waits, is_limited) in [
        ("push", false, false),
        ("push, 5,000 a second", false, true),
        ("push, one by one", true, false),
        ("push, one by one, 5,000 a second", true, true),
    ] {
        for round_trip in ROUND_TRIPS.map(Duration::from_millis).into_iter().filter(|_| is_wanted(name)) {
            on_paused_clock(measure(name, round_trip, each_waits, is_limited))?;
        }
    }
    Ok(())
}

/// If `each_waits`, a task pushes a message once the receipt of the one before has resolved.
async fn measure(name: &str, round_trip: Duration, each_waits: bool, is_limited: bool) -> Result<()> {
    let emulator = emulator();
    if is_limited {
        emulator.configure(|behavior: Behavior| behavior.pushes_per_second(CEILING));
    }
    let half = round_trip / 2;
    emulator.inject(Fault::Slow { before: half, after: half, fault: None }.until_removed());
    let (sent, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (counting, refusing) = (Arc::clone(&sent), Arc::clone(&refused));
    emulator.on_request(move |request| {
        let is_push = request.operation == Some(Operation::PushMessages);
        counting.fetch_add(u64::from(is_push), Relaxed);
        refusing.fetch_add(u64::from(is_push && request.status == Some(429)), Relaxed);
    });
    let (pusher, start, mut tasks) = (Pusher::new(emulator.queue()?)?, Instant::now(), JoinSet::new());
    for _ in 0..TASKS {
        let pusher = pusher.clone();
        tasks.spawn(async move {
            let mut receipts = Vec::new();
            for _ in 0..EACH {
                let receipt = pusher.push(PushMessage::text("x".repeat(200))).await?;
                if each_waits {
                    receipt.await?;
                } else {
                    receipts.push(receipt);
                }
            }
            for receipt in receipts {
                receipt.await?;
            }
            Result::Ok(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    let rate = (TASKS * EACH) as f64 / start.elapsed().as_secs_f64();
    let (sent, refused) = (sent.load(Relaxed), refused.load(Relaxed));
    let share = refused as f64 * 100.0 / sent as f64;
    println!("{name:<32} {:>10} {rate:>10.0} {sent:>9} {share:>7.1}", format!("{round_trip:?}"));
    Ok(())
}
