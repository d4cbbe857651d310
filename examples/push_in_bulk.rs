//! Pushes a thousand messages, and continues after a failure: `cargo run --example push_in_bulk`.

use cloudflare_queues::{
    PushMessage, Pusher,
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
    let pusher = Pusher::new(queue.clone())?;
    // It may be as long as a file: only what is being pushed is in memory.
    let mut messages: Box<dyn Iterator<Item = PushMessage>> = Box::new(messages.into_iter());
    while let Err(failed) = pusher.push_all(&mut messages).await {
        println!("after {} messages: {failed}", failed.pushed);
        if !failed.error.is_transient() {
            return Err(failed.into());
        }
        // What arrived after all is pushed twice. Skipping it could lose it.
        messages = Box::new(failed.may_have_arrived.into_iter().chain(failed.not_sent).chain(messages));
    }

    println!("the queue holds {:?} messages", queue.metrics().await?.backlog_count);
    assert_eq!(emulator.messages(emulator.queue_id()).len(), 1000);
    Ok(())
}
