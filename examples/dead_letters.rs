//! Moves messages that cannot be handled to another queue: `cargo run --example dead_letters`.

use std::time::Duration;

use cloudflare_queues::{
    Consumer, PushMessage, Verdict,
    consumer::RetryDelay,
    emulator::{EmulatedQueue, Emulator},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = Emulator::start().await?;
    let queue = emulator.queue()?;
    let failed = emulator.create_queue(EmulatedQueue::new());
    let failed = queue.queues().queue(failed)?;
    queue.push_all(&["good", "hopeless", "unlucky"].map(PushMessage::text)).await?;

    let consumer = Consumer::new(queue)
        .dead_letters(failed.clone())
        .max_attempts(2)
        .retry_delay(RetryDelay::fixed(Duration::ZERO))
        .until_empty(Duration::from_millis(100));
    let report = consumer
        .run_until(tokio::signal::ctrl_c(), |message| async move {
            match message.body.text().as_deref() {
                Ok("good") => Ok(Verdict::Ack),
                // No further attempt can help.
                Ok("hopeless") => Ok(Verdict::DeadLetter),
                // Retried, and moved once its second attempt has failed.
                _ => Err("no luck"),
            }
        })
        .await?;

    for message in failed.peek(100).await? {
        println!("dead letter: {}", message.body.text()?);
    }
    assert_eq!((report.stats.acknowledged, report.stats.dead_lettered), (1, 2));
    Ok(())
}
