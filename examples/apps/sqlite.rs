//! Writes messages to SQLite, a batch in one transaction: `cargo run -p apps --bin sqlite`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cloudflare_queues::{Consumer, Message, PushMessage, emulator::Emulator};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use tokio::{task::spawn_blocking, time::sleep};

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
}

/// A message can be delivered more than once, so its id is the key.
fn insert(database: &mut Connection, orders: &[(Order, Message)]) -> rusqlite::Result<()> {
    let transaction = database.transaction()?;
    for (order, message) in orders {
        let row = (&message.id, &order.item);
        transaction.execute("INSERT INTO orders (id, item) VALUES (?1, ?2) ON CONFLICT DO NOTHING", row)?;
    }
    transaction.commit()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = Emulator::start().await?;
    let queue = emulator.queue()?;
    let order = PushMessage::json(&Order { item: "a book".to_owned() })?;
    queue.push_all(&vec![order; 1000]).await?;

    let database = Connection::open_in_memory()?;
    database.execute_batch("CREATE TABLE orders (id TEXT PRIMARY KEY, item TEXT NOT NULL)")?;
    let database = Arc::new(Mutex::new(database));

    let shared = Arc::clone(&database);
    let handler = move |orders: Vec<(Order, Message)>| {
        let database = Arc::clone(&shared);
        async move {
            // SQLite blocks its thread. An error retries the whole batch.
            let insert = move || insert(&mut database.lock().unwrap_or_else(PoisonError::into_inner), &orders);
            spawn_blocking(insert).await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
        }
    };
    // One writer at a time is all that SQLite takes.
    let consumer = Consumer::new(queue)
        .json::<Order>()
        .concurrency(1)
        .handler_batch_size(500)
        .handler_linger(Duration::from_millis(100));
    let report = consumer.run_batches_until(sleep(Duration::from_secs(1)), handler).await?;

    let database = database.lock().unwrap_or_else(PoisonError::into_inner);
    let rows: u32 = database.query_row("SELECT count(*) FROM orders", (), |row| row.get(0))?;
    println!("{rows} rows, {} messages acknowledged", report.stats.acknowledged);
    assert_eq!(rows, 1000);
    Ok(())
}
