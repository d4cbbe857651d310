//! Acknowledges what is done, retries the rest later, and sends again what was not confirmed:
//! `cargo run --example acknowledge`.

use std::time::Duration;

use cloudflare_queues::{
    AckRequest, PullOptions, PushMessage,
    emulator::{Emulator, Fault, Operation},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = Emulator::start().await?;
    let queue = emulator.queue()?;
    queue.push_all(&["done", "later", "done"].map(PushMessage::text)).await?;

    let mut request = AckRequest::new();
    for message in queue.pull(PullOptions::new().batch_size(100)).await? {
        request = match message.body.text()?.as_ref() {
            "done" => request.ack(message),
            _ => request.retry_in(message, Duration::from_secs(30)),
        };
    }

    // The first request is refused, as if the token lacked the permission. The error holds the leases.
    emulator.inject(Fault::Forbidden.on(Operation::AckMessages));
    let outcome = match queue.ack(request).await {
        Ok(outcome) => outcome,
        Err(failed) => {
            println!("{failed}");
            queue.ack(failed.unconfirmed).await?
        }
    };

    // A successful response does not mean that every lease was acknowledged.
    assert!(outcome.is_complete(), "{outcome:?}");
    println!("acknowledged {}, retried {}", outcome.acks.requested, outcome.retries.requested);
    Ok(())
}
