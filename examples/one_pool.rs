//! Three queues share a limit of handlers, the first queues before the others: `cargo run --example one_pool`.
//!
//! No consumer pulls messages for handlers that it does not have, so none waits while the others work.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cloudflare_queues::{
    Consumer, PushMessage,
    emulator::{EmulatedQueue, Emulator},
};
use tokio::{task::JoinSet, time::sleep};

const HANDLERS: usize = 30;

/// Gives handlers to the consumers that use theirs, the first ones first. Each has at least one.
async fn share(consumers: &[Consumer]) {
    let mut limits = vec![1; consumers.len()];
    loop {
        let running = consumers.iter().map(|consumer| consumer.stats().handlers_running as usize);
        let running: Vec<_> = running.collect();
        // Handlers that run are not dropped: what is taken from one consumer is given to others once it is free.
        let taken: usize = limits.iter().zip(&running).map(|(limit, running)| limit.max(running)).sum();
        let (mut free, mut left) = (HANDLERS.saturating_sub(taken), HANDLERS - consumers.len());
        for ((consumer, limit), running) in consumers.iter().zip(&mut limits).zip(running) {
            let wanted = if running >= *limit { 2 * *limit } else { running.max(1) };
            let granted = 1 + left.min(wanted - 1);
            left -= granted - 1;
            let more = free.min(granted.saturating_sub(*limit));
            free -= more;
            *limit = granted.min(*limit + more);
            consumer.set_concurrency(*limit);
        }
        sleep(Duration::from_millis(20)).await; // a second, for handlers that take seconds
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = Emulator::start().await?;
    let (queues, mut consumers) = (emulator.queue()?.queues(), Vec::new());
    for (name, messages) in [("urgent", 300), ("normal", 600), ("bulk", 600)] {
        let queue = queues.queue(emulator.create_queue(EmulatedQueue::new()))?;
        queue.push_all(&vec![PushMessage::text(name); messages]).await?;
        consumers.push(Consumer::new(queue).concurrency(1).until_empty(Duration::from_millis(500)));
    }

    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut runs = JoinSet::new();
    for consumer in consumers.clone() {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        let handler = move |_message| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                sleep(Duration::from_millis(20)).await;
                running.fetch_sub(1, Ordering::Relaxed);
            }
        };
        runs.spawn(async move { consumer.run_until(tokio::signal::ctrl_c(), handler).await });
    }
    let reports = tokio::select! {
        reports = runs.join_all() => reports,
        () = share(&consumers) => Vec::new(),
    };

    let acknowledged: u64 = reports.into_iter().flatten().map(|report| report.stats.acknowledged).sum();
    let most = most.load(Ordering::Relaxed);
    println!("{acknowledged} messages, by up to {most} handlers at once");
    assert!(acknowledged == 1500 && most <= HANDLERS);
    Ok(())
}
