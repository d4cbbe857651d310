//! Looks at messages without leasing them, and deletes some: `cargo run --example peek_and_delete`.

use cloudflare_queues::{PushMessage, emulator::Emulator};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = Emulator::start().await?;
    let queue = emulator.queue()?;
    queue.push_all(&["order 1", "test", "order 2", "test"].map(PushMessage::text)).await?;

    let mut tests = Vec::new();
    for message in queue.peek(100).await? {
        println!("{}", message.body.text()?);
        if message.body.text()? == "test" {
            tests.extend(message.message_ref);
        }
    }

    // Consumers may work on a message at the same time: a message that is leased is deleted all the same.
    let outcome = queue.delete_messages(tests).await?;
    assert!(outcome.is_complete(), "{outcome:?}");
    println!("deleted {}", outcome.deletions.requested);
    assert_eq!(queue.peek(100).await?.len(), 2);
    Ok(())
}
