//! Works off a queue in a loop of its own, message by message: `cargo run --example stream`.

use std::time::Duration;

use cloudflare_queues::{Consumer, PushMessage, emulator::Emulator};
use tokio::time::sleep;

async fn work(number: u32) -> Result<(), String> {
    sleep(Duration::from_millis(5)).await;
    if number == 7 { Err("7 fails".to_owned()) } else { Ok(()) }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = Emulator::start().await?;
    let queue = emulator.queue()?;
    let numbers = (1..=10_u32).map(|number| PushMessage::json(&number)).collect::<Result<Vec<_>, _>>()?;
    queue.push_all(&numbers).await?;

    // Without `until_empty`, the stream waits for further messages. A wait that is dropped loses none.
    let mut deliveries = Consumer::new(queue).json::<u32>().until_empty(Duration::from_millis(100)).stream()?;
    while let Some(delivery) = deliveries.next().await {
        let delivery = delivery?;
        match work(*delivery.body()).await {
            Ok(()) => delivery.ack().await?,
            Err(error) => {
                println!("{error}");
                delivery.retry_in(Duration::from_secs(60)).await?
            }
        };
    }

    // Waits until every decision is confirmed.
    deliveries.acker().close().await;
    let stats = deliveries.stats();
    println!("acknowledged {}, retried {}", stats.acknowledged, stats.retried);
    assert_eq!((stats.acknowledged, stats.retried), (9, 1));
    Ok(())
}
