//! Pushes, pulls, acknowledges and retries, on an embedded emulator: `cargo run --example quickstart`.
//!
//! With `-- --real`, it uses the queue on Cloudflare that `CLOUDFLARE_API_TOKEN`, `CLOUDFLARE_ACCOUNT_ID` and
//! `CLOUDFLARE_QUEUE_ID` name. Name an empty one: messages that look like a job are acknowledged.

use std::{env, time::Duration};

use cloudflare_queues::{AckRequest, PullOptions, PushMessage, Queue, emulator::Emulator};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Job {
    number: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The emulator stops when it is dropped, so it has to outlive the queue.
    let emulator;
    let queue = if env::args().any(|argument| argument == "--real") {
        let queue = Queue::from_env()?;
        println!("queue {}, as the environment says", queue.id());
        queue
    } else {
        emulator = Emulator::start().await?;
        println!("queue {} on an embedded emulator", emulator.queue_id());
        emulator.queue()?
    };

    let jobs = (1..=4).map(|number| PushMessage::json(&Job { number })).collect::<Result<Vec<_>, _>>()?;
    queue.push_all(&jobs).await?;
    println!("pushed {} messages", jobs.len());

    let options = PullOptions::new().batch_size(10).visibility_timeout(Duration::from_secs(60));
    let batch = queue.pull(options).await?;
    println!("pulled {} messages", batch.len());

    let mut request = AckRequest::new();
    for message in &batch {
        let attempt = message.attempts.unwrap_or(1);
        match message.body.json::<Job>() {
            Ok(job) if job.number % 2 == 0 => {
                println!("  job {}: done, at attempt {attempt}", job.number);
                request = request.ack(message);
            }
            Ok(job) => {
                println!("  job {}: again in 10 s, at attempt {attempt}", job.number);
                request = request.retry_in(message, Duration::from_secs(10));
            }
            Err(error) => {
                println!("  message {}: {error}", message.id);
                request = request.retry(message);
            }
        }
    }
    if request.is_empty() {
        println!("nothing to acknowledge: the queue has not delivered yet, so run this again");
        return Ok(());
    }

    let outcome = queue.ack(request).await?;
    if outcome.is_complete() {
        println!("acknowledged {} and retried {}", outcome.acks.requested, outcome.retries.requested);
    } else {
        println!("the service did not confirm everything: {outcome:?}");
    }
    Ok(())
}
