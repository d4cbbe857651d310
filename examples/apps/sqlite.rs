//! Writes orders to SQLite, each exactly once, however often it is delivered, and whenever the process is killed:
//! `cargo run -p apps --bin sqlite`.
//!
//! It runs on an embedded emulator, with a database in memory. With `-- --real`, it consumes the queue on Cloudflare
//! that the environment names, into `orders.db`, until ctrl-c.

use std::{
    env,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cloudflare_queues::{Consumer, Error, Message, PushMessage, Queue, consumer::Report, emulator::Emulator};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use tokio::{signal::ctrl_c, task::spawn_blocking, time::sleep};

#[derive(Serialize, Deserialize)]
struct Order {
    /// Given by whoever creates the order. A message's id would not do: it changes when the message is pushed again or
    /// moved.
    key: String,
    item: String,
    pieces: u32,
}

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS handled (key TEXT PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS sales (item TEXT PRIMARY KEY, pieces INTEGER NOT NULL);
";

/// The work, and the note that it is done, in one transaction: either both are in the database or none.
fn apply(database: &mut Connection, orders: &[(Order, Message)]) -> rusqlite::Result<()> {
    let transaction = database.transaction()?;
    for (order, _) in orders {
        let note = "INSERT INTO handled (key) VALUES (?1) ON CONFLICT DO NOTHING";
        if transaction.execute(note, [&order.key])? == 0 {
            continue; // It was delivered before.
        }
        let sale = "INSERT INTO sales (item, pieces) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET pieces = pieces + ?2";
        transaction.execute(sale, (&order.item, order.pieces))?;
    }
    transaction.commit()
}

type Database = Arc<Mutex<Connection>>;

/// Messages are acknowledged after the commit. If the process dies in between, they are delivered again, and skipped.
async fn consume(queue: Queue, database: Database, stop: impl Future) -> Result<Report, Error> {
    let handler = move |orders: Vec<(Order, Message)>| {
        let database = Arc::clone(&database);
        async move {
            // SQLite blocks its thread. An error retries the whole batch.
            let apply = move || apply(&mut database.lock().unwrap_or_else(PoisonError::into_inner), &orders);
            spawn_blocking(apply).await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
        }
    };
    // One writer at a time is all that SQLite takes.
    let consumer = Consumer::new(queue)
        .json::<Order>()
        .concurrency(1)
        .handler_batch_size(500)
        .handler_linger(Duration::from_millis(100));
    consumer.run_batches_until(stop, handler).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let is_real = env::args().any(|argument| argument == "--real");
    let database = if is_real { Connection::open("orders.db")? } else { Connection::open_in_memory()? };
    database.execute_batch(TABLES)?;
    let database = Arc::new(Mutex::new(database));
    if is_real {
        let report = consume(Queue::from_env()?, database, ctrl_c()).await?;
        return report.error.map_or(Ok(()), |error| Err(error.into()));
    }

    let emulator = Emulator::start().await?;
    let queue = emulator.queue()?;
    let order =
        |number| PushMessage::json(&Order { key: format!("order-{number}"), item: "a book".to_owned(), pieces: 2 });
    let orders = (0..500).map(order).collect::<Result<Vec<_>, _>>()?;
    // The producer could not tell whether the first push arrived, so it pushes again.
    queue.push_all(&orders).await?;
    queue.push_all(&orders).await?;

    let emptied = async {
        while !emulator.messages(emulator.queue_id()).is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let report = consume(queue, Arc::clone(&database), emptied).await?;
    let database = database.lock().unwrap_or_else(PoisonError::into_inner);
    let pieces: u32 = database.query_row("SELECT sum(pieces) FROM sales", (), |row| row.get(0))?;
    println!("{} messages acknowledged, {pieces} pieces sold", report.stats.acknowledged);
    assert_eq!(pieces, 1000);
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::{
        os::unix::process::ExitStatusExt,
        path::PathBuf,
        process::{self, Child, Command},
        sync::atomic::{AtomicU32, Ordering},
    };

    use cloudflare_queues::emulator::{EmulatedQueue, Fault, Operation};
    use rusqlite::trace::{TraceEvent, TraceEventCodes};

    use super::*;

    const DATABASE: &str = "APPS_DATABASE";
    const KILL_AT: &str = "APPS_KILL_AT";
    const COMMITTED: &str = "committed";
    const NEVER: &str = "never";

    fn kill(process: u32) {
        assert!(Command::new("kill").args(["-9", &process.to_string()]).status().unwrap().success());
    }

    /// Kills this process before the statement of that number, or once the transaction is committed.
    fn die_in_time(event: TraceEvent<'_>) {
        static STATEMENTS: AtomicU32 = AtomicU32::new(0);
        let now = match event {
            TraceEvent::Stmt(..) => (STATEMENTS.fetch_add(1, Ordering::Relaxed) + 1).to_string(),
            TraceEvent::Profile(statement, _) if statement.sql() == "COMMIT" => COMMITTED.to_owned(),
            _ => return,
        };
        if env::var(KILL_AT).unwrap() == now {
            kill(process::id());
            loop {
                std::thread::park();
            }
        }
    }

    /// Consumes the queue that the environment names until there is nothing more to pull.
    #[tokio::test]
    #[ignore = "it is a process that the other tests start and kill"]
    async fn consumer_to_be_killed() {
        let database = Connection::open(env::var_os(DATABASE).unwrap()).unwrap();
        database.execute_batch(TABLES).unwrap();
        let events = TraceEventCodes::SQLITE_TRACE_STMT | TraceEventCodes::SQLITE_TRACE_PROFILE;
        database.trace_v2(events, Some(die_in_time));
        let queue = Queue::from_env().unwrap();
        let emptied = async {
            while queue.metrics().await.unwrap().backlog_count != Some(0) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let report = consume(queue.clone(), Arc::new(Mutex::new(database)), emptied).await.unwrap();
        assert!(report.error.is_none(), "{report:?}");
    }

    struct World {
        emulator: Emulator,
        database: PathBuf,
    }

    impl World {
        /// Three orders, one of which was pushed twice.
        async fn new(name: &str) -> Self {
            let settings = EmulatedQueue::new().max_retries(100);
            // A pull of the process that was killed may arrive after its end. Then its leases have to expire.
            let emulator = Emulator::builder().real_time().queue(settings).start().await.unwrap();
            for (key, pieces) in [("1", 1), ("2", 10), ("1", 1), ("3", 100)] {
                let order = Order { key: key.to_owned(), item: "a book".to_owned(), pieces };
                emulator.queue().unwrap().push(&PushMessage::json(&order).unwrap()).await.unwrap();
            }
            let database = env::temp_dir().join(format!("orders-{}-{name}.db", process::id()));
            Self { emulator, database }
        }

        fn consumer(&self, kill_at: &str) -> Child {
            let mut command = Command::new(env::current_exe().unwrap());
            command.args(["--exact", "tests::consumer_to_be_killed", "--ignored", "--quiet"]);
            command.env(DATABASE, &self.database).env(KILL_AT, kill_at);
            command.env("CLOUDFLARE_BASE_URL", self.emulator.base_url());
            command.env("CLOUDFLARE_API_TOKEN", self.emulator.api_token());
            command.env("CLOUDFLARE_ACCOUNT_ID", self.emulator.account_id().as_str());
            command.env("CLOUDFLARE_QUEUE_ID", self.emulator.queue_id().as_str());
            command.stdout(process::Stdio::null()).spawn().unwrap()
        }

        fn is_empty(&self) -> bool {
            self.emulator.messages(self.emulator.queue_id()).is_empty()
        }

        /// The next process finishes what the one that was killed has left.
        async fn assert_that_each_order_counts_once(self) {
            self.emulator.advance(Duration::from_secs(60));
            let mut consumer = self.consumer(NEVER);
            assert!(spawn_blocking(move || consumer.wait().unwrap()).await.unwrap().success());
            assert!(self.is_empty());
            let database = Connection::open(&self.database).unwrap();
            let pieces: u32 = database.query_row("SELECT sum(pieces) FROM sales", (), |row| row.get(0)).unwrap();
            assert_eq!(pieces, 111);
            drop(database);
            std::fs::remove_file(&self.database).unwrap();
        }
    }

    #[tokio::test]
    async fn an_order_counts_once_if_killed_within_the_transaction() {
        for statement in 1.. {
            let world = World::new(&statement.to_string()).await;
            let mut consumer = world.consumer(&statement.to_string());
            let ended = spawn_blocking(move || consumer.wait().unwrap()).await.unwrap();
            let was_killed = ended.signal() == Some(9);
            assert!(was_killed != ended.success(), "{ended}");
            assert_eq!(world.is_empty(), !was_killed);
            world.assert_that_each_order_counts_once().await;
            if !was_killed {
                // At least BEGIN, a note for each of four messages, a sale for each of three orders, and COMMIT.
                assert!(statement > 9, "{statement}");
                return;
            }
        }
    }

    #[tokio::test]
    async fn an_order_counts_once_if_killed_before_the_ack() {
        let world = World::new("before").await;
        let mut consumer = world.consumer(COMMITTED);
        let ended = spawn_blocking(move || consumer.wait().unwrap()).await.unwrap();
        assert_eq!(ended.signal(), Some(9));
        assert!(!world.is_empty());
        world.assert_that_each_order_counts_once().await;
    }

    #[tokio::test]
    async fn an_order_counts_once_if_killed_before_the_ack_returns() {
        let world = World::new("after").await;
        let never = Duration::from_secs(1_000_000);
        world.emulator.inject(Fault::Delay(never).on(Operation::AckMessages).until_removed());
        let mut consumer = world.consumer(NEVER);
        while !world.is_empty() {
            assert!(consumer.try_wait().unwrap().is_none());
            sleep(Duration::from_millis(10)).await;
        }
        kill(consumer.id());
        assert!(!consumer.wait().unwrap().success());
        world.emulator.remove_faults();
        // The producer pushes an order again, whose message has another id.
        let order = Order { key: "2".to_owned(), item: "a book".to_owned(), pieces: 10 };
        world.emulator.queue().unwrap().push(&PushMessage::json(&order).unwrap()).await.unwrap();
        world.assert_that_each_order_counts_once().await;
    }
}
