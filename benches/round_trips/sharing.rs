//! Ten consumers of one queue: how evenly they share it. And one whose queue was empty: how soon it notices a message.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use benches::Result;
use cloudflare_queues::{
    Consumer, PushMessage,
    emulator::{Emulator, Fault, Operation},
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, interval, sleep},
};

use crate::{CEILING, emulator, fill, is_wanted, on_paused_clock};

const CONSUMERS: usize = 10;
const WARM_UP: Duration = Duration::from_secs(60);
/// At 2.4 s, a consumer pulls some 25 times a minute: shares of a single minute would be chance.
const MEASURED: Duration = Duration::from_secs(300);

pub(crate) fn print() -> Result<()> {
    println!("\n{:<32} {:>10} {:>10} {:>6} {:>6} {:>7}", "case", "round trip", "messages/s", "least", "most", "429 %");
    for (name, is_trickle, concurrency) in [
        ("trickle, 1,000 handlers each", true, 1000),
        ("trickle, 10 handlers each", true, 10),
        ("share 5,000 a second", false, 1000),
    ] {
        for round_trip in [20, 200, 1200, 2400].map(Duration::from_millis).into_iter().filter(|_| is_wanted(name)) {
            on_paused_clock(share(name, round_trip, is_trickle, concurrency))?;
        }
    }
    println!("\n{:<32} {:>10}", "noticed after", "median");
    for idle in [5, 20, 60, 600, 3600].into_iter().filter(|_| is_wanted("noticed")) {
        println!("{:<32} {:>10.1?}", format!("{idle} s"), noticed(Duration::from_secs(idle))?);
    }
    Ok(())
}

fn slow(round_trip: Duration) -> Fault {
    Fault::Slow { before: round_trip / 2, after: round_trip / 2, fault: None }
}

/// Pulls and acknowledgements take their time: pulls from half to twice of it, since consumers whose pulls take the
/// same time keep their order for ever.
fn delay(emulator: &Emulator, round_trip: Duration) {
    emulator.inject(slow(Duration::ZERO).on(Operation::PushMessages).until_removed());
    emulator.inject(slow(round_trip).on(Operation::AckMessages).until_removed());
    emulator.inject(slow(round_trip).on(Operation::ListConsumers).until_removed());
    for number in 0..100_000_u32 {
        let percent = 50 + number.wrapping_mul(2_654_435_761) % 151;
        emulator.inject(slow(round_trip * percent / 100).on(Operation::PullMessages));
    }
}

/// What each of ten consumers handles after the warm-up, in parts of the mean: of a backlog, or of 1,000 messages a
/// second that arrive.
async fn share(name: &str, round_trip: Duration, is_trickle: bool, concurrency: usize) -> Result<()> {
    let (emulator, lasts) = (emulator(), WARM_UP + MEASURED);
    if !is_trickle {
        fill(&emulator, (lasts.as_secs() + 10) * u64::from(CEILING), 1).await?;
        emulator.configure(|behavior| behavior.messages_per_second(CEILING));
    }
    let direct = emulator.queue()?;
    delay(&emulator, round_trip);
    let (pulls, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (counting, refusing) = (Arc::clone(&pulls), Arc::clone(&refused));
    emulator.on_request(move |request| {
        let is_pull = request.operation == Some(Operation::PullMessages);
        counting.fetch_add(u64::from(is_pull), Relaxed);
        refusing.fetch_add(u64::from(is_pull && request.status == Some(429)), Relaxed);
    });
    let mut tasks = JoinSet::new();
    let mut consumers = Vec::new();
    for number in 0..CONSUMERS {
        let consumer = Consumer::new(emulator.queue()?).concurrency(concurrency);
        consumers.push(consumer.clone());
        tasks.spawn(async move {
            sleep(Duration::from_millis(37) * number as u32).await;
            let handler = |_| sleep(Duration::from_millis(10));
            consumer.run_until(sleep(lasts), handler).await.map(drop)
        });
    }
    if is_trickle {
        tasks.spawn(async move {
            let mut ticks = interval(Duration::from_millis(10));
            let until = Instant::now() + lasts;
            let mut pushes = JoinSet::new();
            while Instant::now() < until {
                ticks.tick().await;
                let queue = direct.clone();
                pushes.spawn(async move { queue.push_batch(&vec![PushMessage::text("x"); 10]).await.map(drop) });
                while pushes.try_join_next().is_some() {}
            }
            Ok(())
        });
    }
    let handled = |consumers: &[Consumer]| -> Vec<u64> {
        consumers.iter().map(|consumer| consumer.stats().acknowledged).collect()
    };
    sleep(WARM_UP).await;
    let before = handled(&consumers);
    sleep(MEASURED).await;
    let handled: Vec<u64> = handled(&consumers).iter().zip(before).map(|(after, before)| after - before).collect();
    let total: u64 = handled.iter().sum();
    let part = |handled: Option<&u64>| *handled.unwrap_or(&0) as f64 * CONSUMERS as f64 / total.max(1) as f64;
    println!(
        "{name:<32} {:>10} {:>10.0} {:>6.2} {:>6.2} {:>7.1}",
        format!("{round_trip:?}"),
        total as f64 / MEASURED.as_secs_f64(),
        part(handled.iter().min()),
        part(handled.iter().max()),
        refused.load(Relaxed) as f64 * 100.0 / pulls.load(Relaxed) as f64,
    );
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(())
}

/// How long it takes at the median until a message is handled that arrives so long after the last one.
fn noticed(idle: Duration) -> Result<Duration> {
    let mut times = Vec::new();
    for moment in 0..20 {
        times.push(on_paused_clock(async move {
            let emulator = emulator();
            let queue = emulator.queue()?;
            emulator.inject(slow(Duration::from_millis(20)).until_removed());
            let (handled, mut is_handled) = mpsc::unbounded_channel();
            let mut took = Duration::ZERO;
            queue.push(&PushMessage::text("x")).await?;
            let stop = async {
                is_handled.recv().await;
                sleep(idle + Duration::from_millis(500) * moment).await;
                let pushed = Instant::now();
                let _ = queue.push(&PushMessage::text("x")).await;
                is_handled.recv().await;
                took = pushed.elapsed();
            };
            let handler = move |_| {
                let _ = handled.send(());
                async {}
            };
            let _ = Consumer::new(emulator.queue()?).run_until(stop, handler).await?;
            Ok(took)
        })?);
    }
    times.sort();
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}
