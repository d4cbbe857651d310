//! Tests code of your own against failures, without waiting: `cargo run --example test_with_faults`.
//!
//! On tokio's paused clock, minutes pass in no time, and each run is the same. In a test, write
//! `#[tokio::test(start_paused = true)]`, which takes tokio's feature `test-util`.

use std::time::Duration;

use cloudflare_queues::{
    AckRequest, Error, PullOptions, PushMessage, Queue,
    emulator::{Emulator, Fault, Operation},
};
use tokio::time::{Instant, sleep};

/// The code under test. Returns how many messages it received.
async fn work_off(queue: &Queue) -> Result<usize, Error> {
    let batch = queue.pull(PullOptions::new()).await?;
    if !batch.is_empty() && !queue.ack(AckRequest::ack_all(&batch)).await?.is_complete() {
        println!("not everything was confirmed");
    }
    Ok(batch.len())
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = Emulator::in_process();
    let queue = emulator.queue()?;

    // The service acknowledges, but its response is lost: the client asks again, and nothing is left.
    queue.push(&PushMessage::text("hello")).await?;
    emulator.inject(Fault::ResetAfter.on(Operation::AckMessages));
    assert_eq!(work_off(&queue).await?, 1);
    assert!(emulator.messages(emulator.queue_id()).is_empty());

    // Acknowledging is not permitted: the message comes back once its lease has expired.
    queue.push(&PushMessage::text("hello again")).await?;
    emulator.inject(Fault::Forbidden.on(Operation::AckMessages).until_removed());
    assert!(work_off(&queue).await.is_err());
    emulator.remove_faults();
    assert_eq!(work_off(&queue).await?, 0, "still leased");
    sleep(Duration::from_secs(30)).await;
    assert_eq!(work_off(&queue).await?, 1);

    // A response takes a minute: the call gives up after its timeout of 30 seconds.
    emulator.inject(Fault::Delay(Duration::from_secs(60)));
    let started = Instant::now();
    let error = queue.push(&PushMessage::text("slow")).await.err().ok_or("no timeout")?;
    println!("after {:?}: {error}", started.elapsed());
    assert!(error.may_have_arrived());
    Ok(())
}
