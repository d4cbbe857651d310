//! Pushes, pulls, acknowledges and hands back: on an embedded emulator, or on Cloudflare if the environment says where.
//!
//! Cloudflare is used when `CLOUDFLARE_API_TOKEN` (or `CLOUDFLARE_EMAIL` with `CLOUDFLARE_API_KEY`), `CLOUDFLARE_ACCOUNT_ID` and
//! `CLOUDFLARE_QUEUE_ID` are set.

use std::{env, time::Duration};

use cloudflare_queues::{AckRequest, Client, PullOptions, PushMessage, emulator::Emulator};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Job {
    number: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The emulator stops when it is dropped, so it has to outlive the queue.
    let emulator;
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let queue = match (variable("CLOUDFLARE_ACCOUNT_ID"), variable("CLOUDFLARE_QUEUE_ID")) {
        (Some(account_id), Some(queue_id)) => {
            println!("queue {queue_id}, as the environment says");
            Client::from_env()?.queue(account_id, queue_id)?
        }
        _ => {
            emulator = Emulator::start().await?;
            println!("queue {} on an embedded emulator", emulator.queue_id());
            emulator.queue()?
        }
    };

    let jobs = (1..=4).map(|number| PushMessage::json(&Job { number })).collect::<Result<Vec<_>, _>>()?;
    let pushed = queue.push_batch(&jobs).await?;
    println!("pushed {} messages; backlog {:?}", jobs.len(), pushed.metrics.and_then(|metrics| metrics.backlog_count));

    let batch = queue.pull(PullOptions { batch_size: 10, visibility_timeout: Duration::from_secs(60) }).await?;
    println!("pulled {} messages; backlog {:?}", batch.len(), batch.backlog_count);

    let mut request = AckRequest::new();
    for message in &batch {
        match message.json::<Job>() {
            Ok(job) if job.number % 2 == 0 => {
                println!("  job {}: done, at attempt {:?}", job.number, message.attempts);
                request.ack(&message.lease_id);
            }
            Ok(job) => {
                println!("  job {}: again in 10 s, at attempt {:?}", job.number, message.attempts);
                request.retry_after(&message.lease_id, Duration::from_secs(10));
            }
            Err(error) => {
                println!("  message {}: {error}", message.id);
                request.retry(&message.lease_id);
            }
        }
    }
    if request.is_empty() {
        println!("nothing to acknowledge: the queue has not delivered yet, so run this again");
        return Ok(());
    }

    let outcome = queue.ack(request).await?;
    println!(
        "acknowledged {:?} of {}, retried {:?} of {}; complete: {}; warnings: {:?}",
        outcome.ack_count,
        outcome.acks_requested,
        outcome.retry_count,
        outcome.retries_requested,
        outcome.is_complete(),
        outcome.warnings,
    );
    Ok(())
}
