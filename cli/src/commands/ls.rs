//! `ls`: the queues of the account.

use std::{cmp::Reverse, collections::HashMap, io, io::IsTerminal, time::Duration};

use clap::{Args, ValueEnum};
use cloudflare_queues::{
    Error,
    manage::{ConsumerDescription, QueueDescription, Queues},
};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::{
    common::Common,
    exit::{Exit, Failure},
    output::{self, CLEAR, Format, Row, aside, cell, counted, lasting, yes_or_no},
    progress::Progress,
    record::time,
    signals::Signals,
    watch::watch,
};

/// How many queues are asked for their backlog at the same time.
const MOST_IN_FLIGHT: usize = 16;

const HELP: &str = "\
The backlog of each queue takes a request, of which an account has 1200 in five minutes; --fast leaves them out. \
If one cannot be read, its cell is empty, and the exit code is 5.

Examples:
  cf-queues ls --sort backlog
  cf-queues ls --fast --output ndjson | jq -r .name";

/// List the queues of the account
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Ls {
    /// What comes first: the first name, the largest backlog, or the oldest message
    #[arg(long, value_name = "FIELD", default_value = "name")]
    sort: Sort,
    /// Do not ask for backlogs
    #[arg(long)]
    fast: bool,
    /// Refresh it, by default every 30 seconds
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "30s")]
    #[arg(value_parser = humantime::parse_duration)]
    watch: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sort {
    Name,
    Backlog,
    Age,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    id: Option<String>,
    consumers: Option<u64>,
    producers: Option<u64>,
    paused: Option<bool>,
    backlog_count: Option<u64>,
    oldest_message: Option<String>,
    dead_letter_queue: Option<String>,
    /// The queues whose dead letters are in this one.
    dead_letters_of: Vec<String>,
    #[serde(skip)]
    age: Option<Duration>,
}

impl Ls {
    pub(crate) async fn run(&self, common: &Common) -> Result<(), Failure> {
        let (queues, format) = (common.account.queues()?, Format::or_fitting(common.output));
        let Some(interval) = self.watch else {
            let (entries, unknown) = self.entries(&queues).await?;
            output::print(format, &entries)?;
            if unknown > 0 {
                let of = counted(unknown, "queue", "queues");
                return Err(Failure::new(Exit::Partly, format!("the backlogs of {of} are not known")));
            }
            return Ok(());
        };
        let show = async |(entries, _): (Vec<Entry>, u64)| {
            aside(move || {
                if format == Format::Table && io::stdout().is_terminal() {
                    output::write(CLEAR)?;
                }
                output::print(format, &entries)
            })
            .await
        };
        let interval = interval.max(Duration::from_millis(100));
        tokio::select! {
            result = watch(interval, false, async || self.entries(&queues).await, show) => result,
            () = Signals::listen()?.told(1) => Ok(()),
        }
    }

    /// With the number of those whose backlogs are not known.
    async fn entries(&self, queues: &Queues) -> Result<(Vec<Entry>, u64), Error> {
        let described = queues.list().all().await?;
        let mut entries: Vec<_> = described.iter().map(Entry::from).collect();
        let mut sources: HashMap<String, Vec<String>> = HashMap::new();
        for entry in &entries {
            if let Some(dead) = &entry.dead_letter_queue {
                sources.entry(dead.clone()).or_default().push(entry.name.clone());
            }
        }
        for entry in &mut entries {
            entry.dead_letters_of = sources.remove(&entry.name).unwrap_or_default();
        }
        let unknown = if self.fast { 0 } else { measure(queues, &mut entries).await };
        match self.sort {
            Sort::Name => entries.sort_by(|one, other| one.name.cmp(&other.name)),
            Sort::Backlog => entries.sort_by_key(|entry| Reverse(entry.backlog_count)),
            Sort::Age => entries.sort_by_key(|entry| Reverse(entry.age)),
        }
        Ok((entries, unknown))
    }
}

/// Asks each queue for its backlog. Returns how many are not known.
async fn measure(queues: &Queues, entries: &mut [Entry]) -> u64 {
    let (mut asked, mut unknown, progress) = (JoinSet::new(), 0_u64, Progress::hidden());
    let mut left = entries.iter().enumerate().filter_map(|(position, entry)| Some((position, entry.id.clone()?)));
    let mut metrics = Vec::new();
    loop {
        while asked.len() < MOST_IN_FLIGHT
            && let Some((position, id)) = left.next()
        {
            let queue = queues.queue(id);
            asked.spawn(async move { (position, async { queue?.metrics().await }.await) });
        }
        match asked.join_next().await {
            None => break,
            Some(Ok((position, Ok(found)))) => {
                unknown = unknown.saturating_add(u64::from(found.backlog_count.is_none()));
                metrics.push((position, found));
            }
            Some(Ok((_, Err(error)))) => {
                unknown = unknown.saturating_add(1);
                progress.remark("metrics", &format!("a backlog is not known: {error}"));
            }
            Some(Err(_)) => unknown = unknown.saturating_add(1),
        }
    }
    progress.end();
    for (position, found) in metrics {
        if let Some(entry) = entries.get_mut(position) {
            entry.backlog_count = found.backlog_count;
            entry.oldest_message = found.oldest_message.map(time);
            entry.age = found.oldest_message.map(|oldest| oldest.elapsed().unwrap_or_default());
        }
    }
    unknown
}

impl From<&QueueDescription> for Entry {
    fn from(queue: &QueueDescription) -> Self {
        let consumers = queue.consumers();
        let dead = consumers.iter().filter_map(ConsumerDescription::dead_letter_queue).find(|name| !name.is_empty());
        Self {
            name: queue.name().to_owned(),
            id: queue.id().ok().map(|id| id.to_string()),
            consumers: queue.consumer_count(),
            producers: queue.producer_count(),
            paused: queue.delivery_paused(),
            backlog_count: None,
            oldest_message: None,
            dead_letter_queue: dead.map(str::to_owned),
            dead_letters_of: Vec::new(),
            age: None,
        }
    }
}

impl Row for Entry {
    fn head(&self) -> Vec<&'static str> {
        vec![
            "NAME",
            "ID",
            "CONSUMERS",
            "PRODUCERS",
            "PAUSED",
            "BACKLOG",
            "OLDEST",
            "DEAD LETTERS TO",
            "DEAD LETTERS OF",
        ]
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            cell(self.id.as_ref()),
            cell(self.consumers),
            cell(self.producers),
            yes_or_no(self.paused),
            cell(self.backlog_count),
            cell(self.age.map(lasting)),
            cell(self.dead_letter_queue.as_ref()),
            self.dead_letters_of.join(", "),
        ]
    }
}
