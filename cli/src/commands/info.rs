//! `info`: a queue's settings, consumers and backlog.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    time::{Duration, SystemTime},
};

use clap::Args;
use cloudflare_queues::{Error, Queue, manage::ConsumerDescription};
use serde::Serialize;

use crate::{
    common::{Common, queues},
    exit::Failure,
    output::{self, CLEAR, Format, aside, cell},
    record::time,
    signals::Signals,
    watch::watch,
};

/// Show a queue's settings, consumers and backlog
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  cf-queues info jobs --watch=10s")]
pub(crate) struct Info {
    /// The queue's name or id
    #[arg(add = queues())]
    queue: String,
    /// Refresh it, by default every 2 seconds
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "2s")]
    #[arg(value_parser = humantime::parse_duration)]
    watch: Option<Duration>,
}

#[derive(Serialize)]
struct Report {
    name: String,
    id: String,
    backlog_count: Option<u64>,
    backlog_bytes: Option<u64>,
    oldest_message: Option<String>,
    paused: Option<bool>,
    delivery_delay_seconds: Option<u64>,
    retention_seconds: Option<u64>,
    consumers: Vec<Consumer>,
    producers: Vec<String>,
    #[serde(skip)]
    oldest: Option<SystemTime>,
}

#[derive(Serialize)]
struct Consumer {
    kind: String,
    script: Option<String>,
    batch_size: Option<u32>,
    max_retries: Option<u32>,
    retry_delay_seconds: Option<u64>,
    visibility_timeout_ms: Option<u64>,
    dead_letter_queue: Option<String>,
}

impl Info {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let queue = common.account.queue(&self.queue).await?;
        let format = Format::or_fitting(common.output);
        let Some(interval) = self.watch else { return Ok(Report::of(&queue).await?.print(format, false)?) };
        let show = async |report: Report| aside(move || report.print(format, true)).await;
        let interval = interval.max(Duration::from_millis(100));
        tokio::select! {
            result = watch(interval, false, async || Report::of(&queue).await, show) => result,
            () = Signals::listen()?.told(1) => Ok(()),
        }
    }
}

impl Report {
    fn print(&self, format: Format, is_watched: bool) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        match format {
            Format::Ndjson => writeln!(out, "{}", output::json(self)?)?,
            Format::Table => {
                if is_watched && io::stdout().is_terminal() {
                    write!(out, "{CLEAR}")?;
                }
                write!(out, "{}", output::pairs(&self.pairs()))?;
            }
        }
        out.flush()
    }

    fn pairs(&self) -> Vec<(&'static str, String)> {
        let lasts = |seconds: Option<u64>| cell(seconds.map(|seconds| output::lasting(Duration::from_secs(seconds))));
        let age = self.oldest.map(|time| time.elapsed().unwrap_or_default().as_secs());
        let mut pairs = vec![
            ("Name", self.name.clone()),
            ("Id", self.id.clone()),
            ("Backlog", cell(self.backlog_count.map(output::messages))),
            ("Bytes", cell(self.backlog_bytes)),
            ("Oldest message", lasts(age)),
            ("Paused", cell(self.paused.map(|paused| if paused { "yes" } else { "no" }))),
            ("Delivery delay", lasts(self.delivery_delay_seconds)),
            ("Retention", lasts(self.retention_seconds)),
        ];
        pairs.extend(self.consumers.iter().map(|consumer| ("Consumer", consumer.to_string())));
        pairs.retain(|(_, value)| !value.is_empty());
        pairs.extend(self.producers.iter().map(|producer| ("Producer", producer.clone())));
        pairs
    }

    async fn of(queue: &Queue) -> Result<Self, Error> {
        let (described, consumers) = tokio::try_join!(queue.describe(), queue.consumers())?;
        let metrics = queue.metrics().await?;
        let producers = described.producers();
        let producers = producers.iter().map(|producer| {
            let name = producer.script().or_else(|| producer.bucket_name()).unwrap_or_default();
            format!("{} {name}", producer.kind().as_str()).trim_end().to_owned()
        });
        Ok(Self {
            name: described.name().to_owned(),
            id: queue.id().to_string(),
            backlog_count: metrics.backlog_count,
            backlog_bytes: metrics.backlog_bytes,
            oldest_message: metrics.oldest_message.map(time),
            paused: described.delivery_paused(),
            delivery_delay_seconds: seconds(described.delivery_delay()),
            retention_seconds: seconds(described.message_retention()),
            consumers: consumers.iter().map(Consumer::from).collect(),
            producers: producers.collect(),
            oldest: metrics.oldest_message,
        })
    }
}

fn seconds(duration: Option<Duration>) -> Option<u64> {
    duration.map(|duration| duration.as_secs())
}

impl From<&ConsumerDescription> for Consumer {
    fn from(consumer: &ConsumerDescription) -> Self {
        let dead_letters = consumer.dead_letter_queue().filter(|name| !name.is_empty());
        Self {
            kind: consumer.kind().as_str().to_owned(),
            script: consumer.script().map(str::to_owned),
            batch_size: consumer.batch_size(),
            max_retries: consumer.max_retries(),
            retry_delay_seconds: seconds(consumer.retry_delay()),
            visibility_timeout_ms: consumer
                .visibility_timeout()
                .and_then(|timeout| u64::try_from(timeout.as_millis()).ok()),
            dead_letter_queue: dead_letters.map(str::to_owned),
        }
    }
}

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        for (name, value) in [
            ("script", self.script.clone()),
            ("batch size", self.batch_size.map(|size| size.to_string())),
            ("retries", self.max_retries.map(|retries| retries.to_string())),
            ("dead letters", self.dead_letter_queue.clone()),
        ] {
            if let Some(value) = value {
                write!(f, ", {name} {value}")?;
            }
        }
        Ok(())
    }
}
