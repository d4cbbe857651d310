//! Tests on an empty queue what Cloudflare's documentation leaves open.

mod leases;
mod raw;
mod recording;
mod report;
mod requests;

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use self::{
    raw::{Raw, Reply},
    recording::{EMPTYING, Recording},
    report::{Answer, Report},
};
use crate::{
    common::Common,
    exit::{Exit, Failure},
    progress::Progress,
    signals::Signals,
};

/// How often to pull before giving up on a message that was pushed.
const PULLS: u32 = 40;
/// The documented maximum of messages in a push and in a pull.
const BATCH: usize = 100;
const BETWEEN_PULLS: Duration = Duration::from_millis(500);

struct Probe {
    raw: Raw,
    /// How long leases last.
    lasts: Duration,
    /// When the last pull for leases was sent.
    leased_at: Instant,
    report: Report,
    progress: Progress,
}

pub(super) async fn run(common: &Common, queue: &str, lease: Duration, record: Option<PathBuf>) -> Result<(), Failure> {
    let queue = common.account.queue(queue).await?;
    let Some(backlog) = queue.metrics().await?.backlog_count else {
        // A peek shows neither leased nor delayed messages, and the probe would delete them.
        let what = "it is not known whether the queue is empty: the service does not count its messages";
        return Err(Failure::new(Exit::Input, what));
    };
    if backlog > 0 || !queue.peek(1).await?.is_empty() {
        return Err(Failure::new(Exit::Input, "the queue is not empty: take one that nothing else uses"));
    }
    let recording = match record {
        Some(folder) => Some((Recording::create(&folder)?, queue.describe().await?.name().to_owned())),
        None => None,
    };
    let raw = Raw::new(&common.account, &queue, recording)?;
    // On a terminal, the report shows the progress.
    let progress = if io::stdout().is_terminal() { Progress::hidden() } else { Progress::new() };
    progress.begin("answers", None);
    let report = Report::begin(common.output)?;
    let mut probe = Probe { raw, lasts: lease, leased_at: Instant::now(), report, progress };
    let signals = Signals::listen()?;
    let asked = tokio::select! {
        asked = probe.ask() => asked,
        () = signals.clone().told(1) => Err(Failure::new(Exit::Partly, "interrupted: the report is not complete")),
    };
    probe.progress.end();
    tokio::select! {
        cleared = queue.purge_all() => asked.and(cleared.map(drop).map_err(Failure::from)),
        () = signals.told(2) => Err(Failure::interrupted()),
    }
}

impl Probe {
    async fn ask(&mut self) -> Result<(), Failure> {
        self.form().await?;
        self.pushes().await?;
        self.pulls().await?;
        self.acknowledgements().await?;
        self.late().await?;
        self.extensions().await?;
        self.many().await?;
        self.references().await?;
        self.report.not_asked()
    }

    fn note(&mut self, topic: &'static str, asked: &str, seen: &str) -> Result<(), Failure> {
        self.progress.at(self.report.add(&Answer { topic, asked, seen })?);
        Ok(())
    }

    /// Sends one request, and reports the response.
    async fn tell(&mut self, topic: &'static str, asked: &str, path: &str, body: &Value) -> Result<Reply, Failure> {
        let reply = self.raw.ask(asked, path, body).await?;
        self.note(topic, asked, &reply.shown)?;
        Ok(reply)
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.lasts.as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits until this many visibility timeouts have passed since the last lease began.
    async fn wait_until(&self, leases: f64) {
        sleep_until(self.leased_at + self.lasts.mul_f64(leases)).await;
    }

    /// Waits for this many visibility timeouts.
    async fn wait(&self, leases: f64) {
        sleep(self.lasts.mul_f64(leases)).await;
    }

    /// Pushes this many messages to the emptied queue, and leases them for `times` visibility timeouts.
    async fn leased(&mut self, messages: usize, times: u64) -> Result<Vec<String>, Failure> {
        self.empty().await?;
        let pushed = vec![json!({ "body": "probe", "content_type": "text" }); messages];
        for batch in pushed.chunks(BATCH) {
            self.raw.post("/batch", &json!({ "messages": batch })).await?;
        }
        let mut leases = Vec::new();
        for _ in 0..PULLS {
            let left = (messages - leases.len()).min(BATCH);
            let asked = json!({ "batch_size": left, "visibility_timeout_ms": self.lease_ms().saturating_mul(times) });
            self.leased_at = Instant::now();
            let reply = self.raw.post("/pull", &asked).await?;
            leases
                .extend(reply.messages().iter().filter_map(|message| message["lease_id"].as_str()).map(str::to_owned));
            if leases.len() >= messages {
                return Ok(leases);
            }
            if reply.messages().is_empty() {
                sleep(BETWEEN_PULLS).await;
            }
        }
        Err(Failure::new(Exit::Service, "what was pushed was not delivered: does the queue have a pull consumer?"))
    }

    /// The lease of a new message.
    async fn lease(&mut self) -> Result<String, Failure> {
        Ok(self.leased(1, 1).await?.pop().unwrap_or_default())
    }

    /// Pulls once. Returns the new lease if the message is delivered.
    async fn given(&self) -> Result<Option<String>, Failure> {
        let asked = json!({ "batch_size": 1, "visibility_timeout_ms": self.lease_ms() });
        let reply = self.raw.ask("whether the message is given out", "/pull", &asked).await?;
        Ok(reply.messages().first().and_then(|message| message["lease_id"].as_str()).map(str::to_owned))
    }

    /// Deletes all available messages, and those whose leases expire meanwhile.
    async fn empty(&self) -> Result<(), Failure> {
        for round in 0..2 {
            loop {
                let asked = json!({ "batch_size": 100, "visibility_timeout_ms": 30_000 });
                let reply = self.raw.ask(EMPTYING, "/pull", &asked).await?;
                let leases = reply.messages().iter().map(|message| json!({ "lease_id": message["lease_id"] }));
                let leases: Vec<_> = leases.collect();
                if leases.is_empty() {
                    break;
                }
                self.raw.ask(EMPTYING, "/ack", &json!({ "acks": leases })).await?;
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
