//! Pushes a thousand messages, and continues after a failure: `cargo run --example push_in_bulk`.

use cloudflare_queues::{
    PushMessage,
    emulator::{Emulator, Fault, Operation},
};
use serde::Serialize;

#[derive(Serialize)]
struct Job {
    number: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = Emulator::start().await?;
    let queue = emulator.queue()?;
    let messages = (0..1000).map(|number| PushMessage::json(&Job { number })).collect::<Result<Vec<_>, _>>()?;

    emulator.inject(Fault::ServerError(503).on(Operation::PushMessages));
    let mut rest = messages.as_slice();
    while let Err(failed) = queue.push_all(rest).await {
        println!("after {} messages: {failed}", failed.accepted);
        if !failed.error.is_transient() {
            return Err(failed.into());
        }
        // If the failed request arrived after all, its messages are pushed twice. Skipping them could lose them.
        rest = rest.get(failed.accepted..).unwrap_or_default();
    }

    println!("the queue holds {:?} messages", queue.metrics().await?.backlog_count);
    assert_eq!(emulator.messages(emulator.queue_id()).len(), 1000);
    Ok(())
}
