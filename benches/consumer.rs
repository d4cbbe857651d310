//! The acker compared with one request a message, and a consumer at the service's ceiling of 5,000 messages a second.
//!
//! `cargo bench -p benches --bench consumer`. CPU time and memory are read from `/proc`, and so are those of the client
//! alone: the emulator is a process of its own there.

use std::{
    env,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use benches::{Result, Served, address, cpu_time, status};
use cloudflare_queues::{AckRequest, Acker, Consumer, Message, PullOptions, PushMessage, Queue, emulator::Emulator};
use tokio::{sync::Notify, task::JoinSet};

const MESSAGES: usize = 10_000;
/// Messages a second that Cloudflare lets through a queue.
const CEILING: usize = 5_000;
const BACKLOGS: [usize; 2] = [25_000, 250_000];

fn main() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    if env::args().any(|argument| argument == "--serve") {
        return runtime.block_on(serve());
    }
    if let Some(backlog) = env::args().skip_while(|argument| argument != "--consume").nth(1) {
        return runtime.block_on(consume(backlog.parse()?));
    }
    println!("{MESSAGES} acknowledgements, 64 tasks, emulator in the same process");
    println!("{:<26} {:>9} {:>12} {:>9}", "", "requests", "messages/s", "ratio");
    let one_by_one = runtime.block_on(acknowledge(false))?;
    let grouped = runtime.block_on(acknowledge(true))?;
    for (name, (requests, rate)) in [("one request a message", one_by_one), ("acker", grouped)] {
        println!("{name:<26} {requests:>9} {rate:>12.0} {:>9.2}", rate / one_by_one.1);
    }
    println!("\nconsumer at {CEILING} messages a second, 1 KB each, acknowledged in groups");
    println!("{:<26} {:>12} {:>12} {:>12}", "backlog", "messages/s", "CPU of one", "peak memory");
    for backlog in BACKLOGS {
        // A process of its own, so that its peak memory is its own.
        Command::new(env::current_exe()?).args(["--consume", &backlog.to_string()]).status()?;
    }
    Ok(())
}

async fn fill(queue: &Queue, count: usize, body: &str) -> Result<()> {
    let batch = vec![PushMessage::text(body); 100];
    for _ in 0..count / 100 {
        queue.push_batch(&batch).await?;
    }
    Ok(())
}

/// The requests that it took to acknowledge all messages, and messages a second.
async fn acknowledge(grouped: bool) -> Result<(u64, f64)> {
    let emulator = Emulator::start().await?;
    let queue = emulator.queue()?;
    fill(&queue, MESSAGES, "x").await?;
    let mut messages = Vec::new();
    for _ in 0..MESSAGES / 100 {
        let options = PullOptions::new().batch_size(100).visibility_timeout(Duration::from_secs(600));
        messages.extend(queue.pull(options).await?);
    }
    let (requests, start) = (emulator.requests(), Instant::now());
    let acker = Acker::new(queue.clone())?;
    let mut tasks = JoinSet::new();
    for part in messages.chunks(MESSAGES / 64 + 1) {
        let (queue, acker, part) = (queue.clone(), acker.clone(), part.to_vec());
        tasks.spawn(async move { if grouped { by_acker(acker, part).await } else { by_request(queue, part).await } });
    }
    while let Some(joined) = tasks.join_next().await {
        joined??;
    }
    acker.close().await;
    let rate = MESSAGES as f64 / start.elapsed().as_secs_f64();
    Ok((emulator.requests() - requests, rate))
}

async fn by_acker(acker: Acker, messages: Vec<Message>) -> std::result::Result<(), cloudflare_queues::Error> {
    for message in &messages {
        acker.ack(message).await?;
    }
    Ok(())
}

async fn by_request(queue: Queue, messages: Vec<Message>) -> std::result::Result<(), cloudflare_queues::Error> {
    for message in messages {
        let request = AckRequest::new().ack(message.lease_id);
        let _ = queue.ack(request).await?;
    }
    Ok(())
}

/// Serves an emulator until the parent's end of the pipe closes.
async fn serve() -> Result<()> {
    let emulator = Emulator::builder().real_time().start().await?;
    println!("{}", address(&emulator));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(())
}

/// A consumer whose handlers let no more than the ceiling through, for ten seconds at most.
async fn consume(backlog: usize) -> Result<()> {
    let (_served, address) = Served::start("--serve")?;
    let queue = benches::queue(&address)?;
    fill(&queue, backlog, &"x".repeat(1000)).await?;

    let wanted = BACKLOGS[0];
    let (handled, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (start, stop, cpu) = (Instant::now(), Arc::clone(&done), cpu_time()?);
    let counter = Arc::clone(&handled);
    let report = Consumer::new(queue)
        .concurrency(200)
        .run_until(stop.notified(), move |_| {
            let number = counter.fetch_add(1, Ordering::Relaxed);
            if number + 1 == wanted {
                done.notify_one();
            }
            let due = start + Duration::from_secs_f64(number as f64 / CEILING as f64);
            async move { tokio::time::sleep_until(due.into()).await }
        })
        .await?;
    let (elapsed, cpu) = (start.elapsed(), cpu_time()? - cpu);
    let rate = report.stats.acknowledged as f64 / elapsed.as_secs_f64();
    let share = cpu.as_secs_f64() / elapsed.as_secs_f64() * 100.0;
    println!("{backlog:<26} {rate:>12.0} {share:>10.1} % {:>9.1} MB", status("self", "VmHWM")? as f64 / 1e3);
    Ok(())
}
