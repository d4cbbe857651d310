//! Moves the messages of a dead-letter queue back to where they came from: `cargo run --example redrive`.

use cloudflare_queues::{
    AckRequest, PullOptions, PushMessage, Queue,
    emulator::{EmulatedQueue, Emulator},
};

/// Returns how many messages were moved.
async fn redrive(dead_letters: &Queue, queue: &Queue) -> Result<usize, Box<dyn std::error::Error>> {
    let mut moved = 0;
    loop {
        let batch = dead_letters.pull(PullOptions::new().batch_size(100)).await?;
        if batch.is_empty() {
            return Ok(moved);
        }
        let messages =
            batch.iter().map(|message| PushMessage::from_body(&message.body)).collect::<Result<Vec<_>, _>>()?;
        queue.push_all(&messages).await?;
        // Only after the push: if this fails, messages are duplicated, not lost.
        if !dead_letters.ack(AckRequest::ack_all(&batch)).await?.is_complete() {
            return Err("not every message was removed from the dead-letter queue".into());
        }
        moved += batch.len();
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = Emulator::start().await?;
    let queue = emulator.queue()?;
    let dead_letters = queue.queues().queue(emulator.create_queue(EmulatedQueue::new()))?;
    dead_letters.push_all(&vec![PushMessage::text("try me again"); 250]).await?;

    println!("moved {} messages", redrive(&dead_letters, &queue).await?);
    assert_eq!(emulator.messages(emulator.queue_id()).len(), 250);
    Ok(())
}
