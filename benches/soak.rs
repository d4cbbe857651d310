//! One producer and one consumer for an hour at 2,000 messages a second, while requests fail: what the client and the
//! emulator hold has to stay the same.
//!
//! `cargo bench -p benches --bench soak`; `-- --minutes 6` for a shorter run. It prints a line a minute, and fails if
//! memory, descriptors, connections, tasks or the backlog are not flat, or if the rate is not reached. The emulator is
//! a process of its own.

use std::{
    env, fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use benches::{Result, Served, status};
use cloudflare_queues::{
    Consumer, Message, PushMessage, Queue,
    consumer::{Report, Stats},
    emulator::{EmulatedQueue, Emulator, Fault},
};
use tokio::{
    io::AsyncReadExt,
    runtime::Handle,
    sync::Notify,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

const RATE: u64 = 2000;
const BATCH: usize = 100;
const LEASE: Duration = Duration::from_secs(20);
/// One in so many requests fails.
const FAULT_EVERY: u64 = 20;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let after = |name: &str| env::args().skip_while(|argument| argument != name).nth(1);
    if env::args().any(|argument| argument == "--serve") {
        return runtime.block_on(serve());
    }
    let minutes = after("--minutes").map_or(Ok(60), |minutes| minutes.parse())?;
    runtime.block_on(soak(minutes))
}

/// Numbers that only have to differ.
struct Numbers(AtomicU64);

impl Numbers {
    fn below(&self, bound: u64) -> u64 {
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) % bound
    }
}

/// Serves an emulator with faults until the parent's end of the pipe closes.
async fn serve() -> Result<()> {
    let queue = EmulatedQueue::new().max_retries(100);
    let emulator = Emulator::builder().real_time().queue(queue).start().await?;
    println!("{}", benches::address(&emulator));
    let (numbers, mut input) = (Numbers(AtomicU64::new(1)), [0]);
    let mut stdin = tokio::io::stdin();
    let mut next = 0;
    let mut tick = interval(Duration::from_millis(20));
    loop {
        tokio::select! {
            read = stdin.read(&mut input) => {
                if read? == 0 {
                    return Ok(());
                }
                println!("{}", Handle::current().metrics().num_alive_tasks());
            }
            _ = tick.tick() => {
                while emulator.requests() >= next {
                    next += 1 + numbers.below(2 * FAULT_EVERY - 1);
                    emulator.inject(fault(&numbers));
                }
            }
        }
    }
}

fn fault(numbers: &Numbers) -> Fault {
    let wait = Duration::from_millis(numbers.below(2000));
    match numbers.below(9) {
        0 => Fault::RateLimited { code: 10250, retry_after: Some(Duration::from_secs(1)) },
        1 => Fault::ServerError(502),
        2 => Fault::NotSuccess,
        3 => Fault::CutOff,
        4 => Fault::ResetBefore,
        5 => Fault::ResetAfter,
        6 => Fault::Challenged,
        7 => Fault::Delay(wait),
        _ => Fault::Slow { before: wait, after: wait, fault: None },
    }
}

async fn soak(minutes: u64) -> Result<()> {
    let (mut served, address) = Served::start("--serve")?;
    let queue = benches::queue(&address)?;
    let (stop, handled) = (Arc::new(Notify::new()), Arc::new(AtomicU64::new(0)));
    let refused = Arc::new(AtomicU64::new(0));
    let producer = tokio::spawn(produce(queue.clone(), Arc::clone(&refused)));
    let consumer = Consumer::new(queue).concurrency(600).visibility_timeout(LEASE).max_idle(Duration::from_secs(1));
    let running = tokio::spawn(consume(consumer.clone(), Arc::clone(&stop), Arc::clone(&handled)));

    println!("{minutes} minutes at {RATE} messages a second; one in {FAULT_EVERY} requests fails. client | emulator");
    println!("{:>6}{} | messages/s", "minute", HELD.map(|(name, ..)| format!(" | {name:>11}")).concat());
    let (mut seen, mut before, started) = (Vec::new(), 0, Instant::now());
    for minute in 1..=minutes {
        sleep_until(started + Duration::from_secs(60 * minute)).await;
        let total = handled.load(Ordering::Relaxed);
        let now = held(&mut served, &consumer.stats())?;
        println!("{minute:>6}{} | {:>10}", now.map(|value| format!(" | {value:>11}")).concat(), (total - before) / 60);
        seen.push(now);
        before = total;
    }
    producer.abort();
    stop.notify_one();
    let report = running.await??;
    let rate = before / (60 * minutes);
    println!("{:?}, {} messages whose push failed", report.stats, refused.load(Ordering::Relaxed));
    account(&report)?;
    if rate < RATE * 95 / 100 {
        return Err(format!("only {rate} messages a second").into());
    }
    flat(&seen)
}

/// Pushes by the clock, whatever becomes of it.
async fn produce(queue: Queue, refused: Arc<AtomicU64>) {
    let batch = Arc::new(vec![PushMessage::text("x".repeat(500)); BATCH]);
    let mut tick = interval(Duration::from_secs(1) * BATCH as u32 / RATE as u32);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut pushes = JoinSet::new();
    loop {
        tick.tick().await;
        let (queue, batch, refused) = (queue.clone(), Arc::clone(&batch), Arc::clone(&refused));
        pushes.spawn(async move {
            while queue.push_batch(&batch).await.is_err() {
                refused.fetch_add(BATCH as u64, Ordering::Relaxed);
                sleep(Duration::from_millis(500)).await;
            }
        });
        while pushes.try_join_next().is_some() {}
    }
}

/// Most handlers take 20 to 120 ms; some fail, and some outlast the lease.
async fn consume(
    consumer: Consumer,
    stop: Arc<Notify>,
    handled: Arc<AtomicU64>,
) -> std::result::Result<Report, cloudflare_queues::Error> {
    let numbers = Arc::new(Numbers(AtomicU64::new(2)));
    let handler = move |_: Message| {
        let (numbers, handled) = (Arc::clone(&numbers), Arc::clone(&handled));
        async move {
            let outlasts = numbers.below(2000) == 0;
            let millis = if outlasts { 30_000 } else { 20 + numbers.below(100) };
            sleep(Duration::from_millis(millis)).await;
            if numbers.below(200) == 0 {
                return Err("again");
            }
            handled.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    };
    consumer.run_until(async move { stop.notified().await }, handler).await
}

/// Every message is accounted for once.
fn account(report: &Report) -> Result<()> {
    let Stats { pulled, acknowledged, retried, left, expired, dead_lettered, accepted, unconfirmed, .. } =
        &report.stats;
    let known = acknowledged + retried + left + expired + dead_lettered + accepted + unconfirmed;
    if *pulled != known {
        return Err(format!("{pulled} messages were pulled, and {known} are accounted for").into());
    }
    Ok(())
}

/// What is held, whose it is, and by how much it may grow in addition to a tenth.
const HELD: [(&str, &str, u64); 9] = [
    ("memory kB", "client", 4000),
    ("descriptors", "client", 20),
    ("connections", "client", 20),
    ("tasks", "client", 200),
    ("memory kB", "emulator", 4000),
    ("descriptors", "emulator", 20),
    ("connections", "emulator", 20),
    ("tasks", "emulator", 50),
    ("backlog", "emulator", 4000),
];

type Held = [u64; HELD.len()];

fn held(served: &mut Served, stats: &Stats) -> Result<Held> {
    let [memory, descriptors, connections] = process("self")?;
    let tasks = Handle::current().metrics().num_alive_tasks() as u64;
    let [its_memory, its_descriptors, its_connections] = process(&served.process())?;
    let its_tasks = served.ask()?.trim().parse()?;
    let backlog = stats.backlog_count.unwrap_or_default();
    Ok([memory, descriptors, connections, tasks, its_memory, its_descriptors, its_connections, its_tasks, backlog])
}

/// Resident memory in kilobytes, open descriptors, and how many of those are sockets.
fn process(id: &str) -> Result<[u64; 3]> {
    let descriptors: Vec<_> = fs::read_dir(format!("/proc/{id}/fd"))?.flatten().collect();
    let is_socket = |target: std::path::PathBuf| target.to_string_lossy().starts_with("socket:");
    let sockets =
        descriptors.iter().filter_map(|entry| fs::read_link(entry.path()).ok()).filter(|t| is_socket(t.clone()));
    Ok([status(id, "VmRSS")?, descriptors.len() as u64, sockets.count() as u64])
}

/// Fails if the median of the last sixth exceeds the maximum of the second sixth by more than 10 % plus the slack.
fn flat(minutes: &[Held]) -> Result<()> {
    let sixth = (minutes.len() / 6).max(1);
    let mut growing = Vec::new();
    for (index, (name, whose, slack)) in HELD.iter().enumerate() {
        let value = |held: &Held| held.get(index).copied().unwrap_or_default();
        let most = minutes.iter().skip(sixth).take(sixth).map(value).max().unwrap_or_default();
        let mut last: Vec<_> = minutes.iter().rev().take(sixth).map(value).collect();
        last.sort_unstable();
        let median = last.get(last.len() / 2).copied().unwrap_or_default();
        if median > most + most / 10 + slack {
            growing.push(format!("{name} of the {whose}: {most}, later {median}"));
        }
    }
    if growing.is_empty() { Ok(()) } else { Err(growing.join("; ").into()) }
}
