//! Asks an empty queue what Cloudflare's documents leave open.

mod leases;
mod raw;
mod requests;

use std::{
    io::{self, Write},
    time::{Duration, SystemTime},
};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use self::raw::{Raw, Reply};
use crate::{
    arguments::Common,
    exit::{Exit, Failure},
    output::{self, Format},
    progress::Progress,
    record::time,
};

/// How often to try to pull a message that was pushed.
const PULLS: u32 = 40;
const BETWEEN_PULLS: Duration = Duration::from_millis(500);

/// A question, what was asked, and what came.
#[derive(Serialize)]
struct Answer {
    topic: &'static str,
    asked: String,
    seen: String,
}

struct Probe {
    raw: Raw,
    /// How long leases last.
    lasts: Duration,
    /// When the last lease that was asked for began, at the earliest.
    leased_at: Instant,
    answers: Vec<Answer>,
    progress: Progress,
}

pub(super) async fn run(common: &Common, queue: &str, lease: Duration) -> Result<(), Failure> {
    let queue = common.account.queue(queue).await?;
    let backlog = queue.metrics().await?.backlog_count.unwrap_or_default();
    if backlog > 0 || !queue.peek(1).await?.is_empty() {
        return Err(Failure::new(Exit::Input, "the queue is not empty: take one that nothing else uses"));
    }
    let raw = Raw::new(&common.account, &queue)?;
    let mut probe =
        Probe { raw, lasts: lease, leased_at: Instant::now(), answers: Vec::new(), progress: Progress::new() };
    let result = probe.ask().await;
    let cleared = queue.purge_all().await;
    probe.progress.end();
    print(common.output, &probe.answers)?;
    result?;
    cleared?;
    Ok(())
}

/// A report in Markdown, unless something else is asked for.
fn print(format: Option<Format>, answers: &[Answer]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if format == Some(Format::Ndjson) {
        answers.iter().try_for_each(|answer| writeln!(out, "{}", output::json(answer)?))?;
        return out.flush();
    }
    writeln!(out, "# What a queue said\n\nBy cf-queues {}, {}.", env!("CARGO_PKG_VERSION"), time(SystemTime::now()))?;
    let mut topic = "";
    for answer in answers {
        if answer.topic != topic {
            topic = answer.topic;
            writeln!(out, "\n## {topic}\n")?;
        }
        writeln!(out, "- {}\n  `{}`", answer.asked, answer.seen.replace('`', "'"))?;
    }
    out.flush()
}

impl Probe {
    async fn ask(&mut self) -> Result<(), Failure> {
        self.form().await?;
        self.pushes().await?;
        self.pulls().await?;
        self.acknowledgements().await?;
        self.late().await?;
        self.extensions().await?;
        self.references().await
    }

    fn note(&mut self, topic: &'static str, asked: impl Into<String>, seen: impl Into<String>) {
        let answer = Answer { topic, asked: asked.into(), seen: seen.into() };
        self.progress.at(self.answers.len() as u64);
        self.answers.push(answer);
    }

    /// Asks one thing, and notes what came.
    async fn tell(&mut self, topic: &'static str, asked: &str, path: &str, body: &Value) -> Result<Reply, Failure> {
        let reply = self.raw.post(path, body).await?;
        self.note(topic, asked, &reply.shown);
        Ok(reply)
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.lasts.as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits until this many visibility timeouts have passed since the last lease began.
    async fn wait_until(&self, leases: f64) {
        sleep_until(self.leased_at + self.lasts.mul_f64(leases)).await;
    }

    /// Waits for so many times a lease.
    async fn wait(&self, leases: f64) {
        sleep(self.lasts.mul_f64(leases)).await;
    }

    /// The leases of so many new messages, in a queue without others.
    async fn leased(&mut self, messages: usize) -> Result<Vec<String>, Failure> {
        self.empty().await?;
        let pushed = vec![json!({ "body": "probe", "content_type": "text" }); messages];
        self.raw.post("/batch", &json!({ "messages": pushed })).await?;
        let mut leases = Vec::new();
        for _ in 0..PULLS {
            let asked = json!({ "batch_size": messages - leases.len(), "visibility_timeout_ms": self.lease_ms() });
            let reply = self.raw.post("/pull", &asked).await?;
            leases
                .extend(reply.messages().iter().filter_map(|message| message["lease_id"].as_str()).map(str::to_owned));
            if leases.len() >= messages {
                return Ok(leases);
            }
            sleep(BETWEEN_PULLS).await;
        }
        Err(Failure::new(Exit::Service, "what was pushed did not come: has the queue a pull consumer?"))
    }

    /// The lease of a new message.
    async fn lease(&mut self) -> Result<String, Failure> {
        Ok(self.leased(1).await?.pop().unwrap_or_default())
    }

    /// Whether the message is given out now, and if so its new lease.
    async fn given(&self) -> Result<Option<String>, Failure> {
        let asked = json!({ "batch_size": 1, "visibility_timeout_ms": self.lease_ms() });
        let reply = self.raw.post("/pull", &asked).await?;
        Ok(reply.messages().first().and_then(|message| message["lease_id"].as_str()).map(str::to_owned))
    }

    /// Deletes what can be had, and waits for what is leased.
    async fn empty(&self) -> Result<(), Failure> {
        for round in 0..2 {
            loop {
                let reply =
                    self.raw.post("/pull", &json!({ "batch_size": 100, "visibility_timeout_ms": 30_000 })).await?;
                let leases = reply.messages().iter().map(|message| json!({ "lease_id": message["lease_id"] }));
                let leases: Vec<_> = leases.collect();
                if leases.is_empty() {
                    break;
                }
                self.raw.post("/ack", &json!({ "acks": leases })).await?;
            }
            if round == 0 {
                self.wait(1.2).await;
            }
        }
        Ok(())
    }
}

fn entry(lease: &str) -> Value {
    json!({ "lease_id": lease })
}
