//! What consumers and pushers do at long round trips, on a paused clock: `cargo bench -p benches --bench round_trips`.
//!
//! The figures are exact, since no real time is in them. Names of cases choose among them.

mod consumer;
mod pusher;
mod sharing;

use std::env;

use benches::Result;
use cloudflare_queues::{
    PushMessage,
    emulator::{EmulatedQueue, Emulator},
};

/// Messages a second that are to be reached, of the 5,000 that the service allows for a queue.
const WANTED: f64 = 4_750.0;
const CEILING: u32 = 5_000;

fn main() -> Result<()> {
    consumer::print()?;
    pusher::print()?;
    sharing::print()
}

/// Whether a case was chosen, or none was.
fn is_wanted(name: &str) -> bool {
    let mut wanted = env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    wanted.peek().is_none() || wanted.any(|wanted| wanted == name)
}

/// Runs on a clock of its own.
fn on_paused_clock<T>(measured: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?.block_on(measured)
}

fn emulator() -> Emulator {
    Emulator::builder().real_time().queue(EmulatedQueue::new().max_retries(100)).in_process()
}

async fn fill(emulator: &Emulator, messages: u64, bytes: usize) -> Result<()> {
    let (queue, body, batch) = (emulator.queue()?, "x".repeat(bytes), (250_000 / bytes).min(100));
    for _ in 0..messages / batch as u64 {
        let _ = queue.push_batch(&vec![PushMessage::text(body.as_str()); batch]).await?;
    }
    Ok(())
}
