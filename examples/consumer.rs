//! Works off a queue until ctrl-c, and prints what was done.
//!
//! It takes `CLOUDFLARE_API_TOKEN`, `CLOUDFLARE_ACCOUNT_ID` and `CLOUDFLARE_QUEUE_ID`; `cargo run --example emulator`
//! prints some to try.

use std::time::Duration;

use cloudflare_queues::{Consumer, Queue, RetryDelay};

#[derive(serde::Deserialize)]
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
    let queue = Queue::from_env()?;
    let consumer = Consumer::new(queue)
        .json::<Job>()
        .concurrency(50)
        .retry_delay(RetryDelay::exponential(Duration::from_secs(10), Duration::from_secs(600)));
    let report = consumer.run_until(tokio::signal::ctrl_c(), |job, _message| work(job)).await?;
    println!("{report:#?}");
    report.error.map_or(Ok(()), |error| Err(error.into()))
}
