//! A program without async: `cargo run --example blocking`.
//!
//! Calls run on tokio, so such a program keeps a runtime, and blocks on each call.

use cloudflare_queues::{AckRequest, PullOptions, PushMessage, emulator::Emulator};
use tokio::runtime::Builder;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let emulator = runtime.block_on(Emulator::start())?;
    let queue = emulator.queue()?;

    runtime.block_on(queue.push(&PushMessage::text("hello")))?;
    let batch = runtime.block_on(queue.pull(PullOptions::new()))?;
    for message in &batch {
        println!("received {}", message.body.text()?);
    }
    let outcome = runtime.block_on(queue.ack(AckRequest::ack_all(&batch)))?;
    assert!(outcome.is_complete());
    Ok(())
}
