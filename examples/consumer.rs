//! Works off a queue of JSON messages, some of which fail: `cargo run --example consumer`.
//!
//! A service that runs until SIGTERM, with health and metrics, is in `examples/apps/production.rs`.

use std::time::Duration;

use cloudflare_queues::{Consumer, PushMessage, consumer::RetryDelay, emulator::Emulator};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Job {
    number: u32,
}

async fn work(job: Job) -> Result<(), String> {
    if job.number.is_multiple_of(7) {
        return Err(format!("job {} fails", job.number));
    }
    println!("job {} is done", job.number);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = Emulator::start().await?;
    let queue = emulator.queue()?;
    let jobs = (1..=20).map(|number| PushMessage::json(&Job { number })).collect::<Result<Vec<_>, _>>()?;
    queue.push_all(&jobs).await?;

    let consumer = Consumer::new(queue)
        .json::<Job>()
        .concurrency(50)
        .retry_delay(RetryDelay::exponential(Duration::from_secs(10), Duration::from_secs(600)))
        // Without this, it waits for further messages.
        .until_empty(Duration::from_millis(100));
    let report = consumer.run_until(tokio::signal::ctrl_c(), |job, _message| work(job)).await?;

    println!("acknowledged {}, retried {}", report.stats.acknowledged, report.stats.retried);
    assert_eq!((report.stats.acknowledged, report.stats.retried), (18, 2));
    report.error.map_or(Ok(()), |error| Err(error.into()))
}
