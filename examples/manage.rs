//! From a queue's name to a message and back, on the emulator: `cargo run --example manage`. With `Client::from_env`
//! and the id of an account, it is the same on Cloudflare.

use cloudflare_queues::{AckRequest, PullOptions, PushMessage, emulator::Emulator, manage::ConsumerSettings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = Emulator::start().await?;
    let client = emulator.client()?;

    let queue = client.queues(emulator.account_id())?.get_or_create("jobs").await?;
    queue.enable_pull(ConsumerSettings::pull().max_retries(10).dead_letter_queue("jobs-failed")).await?;
    queue.push_all(&["one", "two", "three"].map(PushMessage::text)).await?;

    let batch = queue.pull(PullOptions::new()).await?;
    for message in &batch {
        println!("received {:?}", message.body.text()?);
    }
    println!("all acknowledged: {}", queue.ack(AckRequest::ack_all(&batch)).await?.is_complete());

    for queue in client.queues(emulator.account_id())?.list().all().await? {
        println!("the queue {:?} has {} consumers", queue.name(), queue.consumer_count().unwrap_or(0));
    }
    queue.delete().await?;
    client.queue_named(emulator.account_id(), "jobs-failed").await?.delete().await?;
    Ok(())
}
