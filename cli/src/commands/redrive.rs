//! `redrive`: moves messages from one queue to another.

use clap::Args;
use cloudflare_queues::{Error, Message, PushMessage, Queue};
use serde::Serialize;

use crate::{
    account::find,
    common::Common,
    exit::{Exit, Failure},
    filter::{self, Condition, matches},
    output::{self, Format, Row},
    patience::Failures,
    progress::Progress,
    signals::Signals,
    sweep::{Counts, Fate, Held, Plan, Sink, Sweep, Taken},
};

const HELP: &str = "\
A message is pushed to TO before it is acknowledged in FROM, so that redrive can be killed at any
moment and run again: what was in flight comes again after a minute, and may be in TO twice. There
is one exception, which no client can avoid: if it is killed, a message in flight at its last
delivery goes to the dead-letter queue of FROM, or is deleted if there is none.

Each message that stays in FROM is delivered once by that, which counts as an attempt, and is then
hidden until redrive has likely ended. One that would not be delivered again is pushed anew.

Example:
  cf-queues redrive jobs-failed jobs --filter '/type=order' --rate 500";

/// Move messages from one queue to another, such as from a dead-letter queue back
#[derive(Args, Debug)]
#[command(after_help = format!("{}\n\n{HELP}", filter::HELP))]
pub(crate) struct Redrive {
    /// The queue's name or id; it needs a pull consumer
    from: String,
    /// The name or id of the queue to push to
    to: String,
    /// Move only messages that meet this condition; repeat it for more
    #[arg(long, value_name = "CONDITION")]
    filter: Vec<Condition>,
    /// Move at most this many messages
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
    /// Maximum number of messages per second; the service allows 5000 for a queue
    #[arg(long, value_name = "NUMBER", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Maximum number of batches of up to 100 messages in flight
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..))]
    batches: u16,
    /// Show what would be moved, without changing anything
    #[arg(long)]
    dry_run: bool,
    /// Copy: keep the messages in FROM as well
    #[arg(long)]
    keep: bool,
}

#[derive(Serialize)]
struct Summary {
    from: String,
    to: String,
    moved: u64,
    skipped: u64,
    unfit: u64,
    left: u64,
    unconfirmed: u64,
}

impl Redrive {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let queues = common.account.queues()?;
        let (from, to) = (find(&queues, &self.from).await?, find(&queues, &self.to).await?);
        if from.id() == to.id() {
            return Err(Failure::new(Exit::Input, "FROM and TO are the same queue"));
        }
        let format = Format::or_fitting(common.output);
        if self.dry_run {
            return self.look(&from, format).await;
        }
        // Fails before any message is leased.
        to.describe().await?;
        let signals = Signals::listen()?;
        let progress = Progress::new();
        let plan = Plan {
            conditions: self.filter,
            keep: self.keep,
            limit: self.limit,
            rate: self.rate.into(),
            most_batches: self.batches.into(),
        };
        let sweep = Sweep::prepare(from, Pushing { to, progress: progress.clone() }, plan, progress.clone()).await?;
        let hold = sweep.hold();
        let swept = tokio::select! {
            swept = sweep.run(signals.clone().told(1)) => swept,
            () = signals.told(2) => return Err(Failure::interrupted()),
        };
        progress.end();
        if swept.counts.skipped > 0 || self.keep {
            progress.say(&format!("what stays is hidden for {}", humantime::format_duration(hold)));
        }
        let Counts { taken, skipped, unfit, left, unconfirmed } = swept.counts;
        let summary = Summary { from: self.from, to: self.to, moved: taken, skipped, unfit, left, unconfirmed };
        let printed = output::print(format, &[summary]);
        swept.result()?;
        Ok(printed?)
    }

    async fn look(&self, from: &Queue, format: Format) -> Result<(), Failure> {
        let (messages, backlog) = (from.peek(100).await?, from.metrics().await?.backlog_count);
        let met = messages.iter().filter(|message| matches(&self.filter, *message));
        let forecast = Forecast { backlog, looked_at: messages.len(), would_be_moved: met.count() };
        Ok(output::print(format, &[forecast])?)
    }
}

/// The result of a dry run.
#[derive(Serialize)]
struct Forecast {
    backlog: Option<u64>,
    looked_at: usize,
    would_be_moved: usize,
}

impl Row for Forecast {
    fn head(&self) -> Vec<&'static str> {
        vec!["BACKLOG", "LOOKED AT", "WOULD BE MOVED OF THESE"]
    }

    fn cells(&self) -> Vec<String> {
        vec![output::cell(self.backlog), self.looked_at.to_string(), self.would_be_moved.to_string()]
    }
}

impl Row for Summary {
    fn head(&self) -> Vec<&'static str> {
        vec!["FROM", "TO", "MOVED", "SKIPPED", "UNFIT", "LEFT", "UNCONFIRMED"]
    }

    fn cells(&self) -> Vec<String> {
        let Self { from, to, moved, skipped, unfit, left, unconfirmed } = self;
        let counts = [moved, skipped, unfit, left, unconfirmed].map(ToString::to_string);
        [from.clone(), to.clone()].into_iter().chain(counts).collect()
    }
}

/// Pushes messages to a queue.
pub(crate) struct Pushing {
    pub(crate) to: Queue,
    pub(crate) progress: Progress,
}

impl Sink for Pushing {
    async fn take(&self, messages: &[Message], leases: &mut Held<'_>) -> Taken {
        let mut fates = vec![Fate::Failed; messages.len()];
        let (mut copies, mut places) = (Vec::new(), Vec::new());
        for (message, fate) in messages.iter().zip(&mut fates) {
            match PushMessage::from_body(&message.body) {
                Ok(copy) => {
                    copies.push(copy);
                    places.push(fate);
                }
                Err(error) => {
                    *fate = Fate::Unfit;
                    self.progress.remark(&format!("message {} stays: {error}", message.id));
                }
            }
        }
        let mut places = places.into_iter();
        let mut failure = None;
        for batch in PushMessage::batches(&copies) {
            if let Err(error) = self.push(batch, leases).await {
                failure = error.map(Failure::from);
                break;
            }
            places.by_ref().take(batch.len()).for_each(|fate| *fate = Fate::Taken);
        }
        Taken { fates, failure }
    }
}

impl Pushing {
    /// Pushes a batch until the service confirms it, or until the leases are lost, which is the error `None`. A push
    /// that may have arrived is repeated, as the next run would repeat it.
    async fn push(&self, batch: &[PushMessage], leases: &mut Held<'_>) -> Result<(), Option<Error>> {
        let (mut failures, mut are_held) = (Failures::default(), leases.keep().await);
        while are_held {
            let error = match self.to.push_batch(batch).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let Some(pause) = failures.bounded_pause(&error) else { return Err(Some(error)) };
            self.progress.remark(&format!("a push failed, and is repeated: {error}"));
            are_held = leases.wait(pause).await;
        }
        self.progress.remark("leases were lost before their messages could be pushed");
        Err(None)
    }
}
