//! `delete`: single messages, by id or by what is in them.

use std::collections::HashSet;

use clap::{ArgGroup, Args};
use cloudflare_queues::{Body, Message, PeekedMessage, Queue};
use serde::Serialize;

use crate::{
    common::{Common, queues},
    exit::{Exit, Failure},
    filter::{self, Condition, Filter},
    output::{self, Format, Row, cell, counted},
    progress::Progress,
    signals::Signals,
    sweep::{Counts, Held, Outcome, Plan, Sink, Sweep, Taken},
};

/// The maximum number of messages of a peek.
const MOST: u32 = 100;
/// How many deleted messages are remembered at most.
const MOST_TRIED: usize = 100_000;
const STOPPED: &str = "stopped before the end; a deletion that was in flight counts as unconfirmed";

const HELP: &str = "\
It looks at the first 100 available messages, without leasing them, deletes those that match, and looks again until \
none of the first 100 matches. It says how many messages it did not reach. UNCONFIRMED counts those that the service \
did not confirm as deleted. With --all, it leases each message once, which is one of its deliveries, and makes those \
that stay available again when it ends. Deleted messages cannot be restored: try --dry-run first.

Examples:
  cf-queues delete jobs --filter /order=4711 --dry-run
  cf-queues delete jobs --id 7c1e0d8f4b2a4c0f9d3b5a6e7f801234";

/// Delete single messages, by id or by what is in them
#[derive(Args, Debug)]
#[command(after_help = format!("{}\n\n{HELP}", filter::HELP))]
#[command(group = ArgGroup::new("which").required(true).multiple(true))]
pub(crate) struct Delete {
    /// The queue's name or id
    #[arg(add = queues())]
    queue: String,
    /// Delete messages that meet this condition; repeat it for more
    #[arg(long, value_name = "CONDITION", group = "which")]
    filter: Vec<Condition>,
    /// Delete the message with this id; repeat it for more
    #[arg(id = "message", long = "id", value_name = "ID", group = "which")]
    id: Vec<String>,
    /// Show what would be deleted of the first 100 messages, without changing anything
    #[arg(long, conflicts_with = "all")]
    dry_run: bool,
    /// Look at every message, by leasing it; the queue needs a pull consumer
    #[arg(long)]
    all: bool,
    /// With --all, raise max_retries of the pull consumer meanwhile, if a message would not be delivered again
    #[arg(long, requires = "all")]
    raise_retries: bool,
}

#[derive(Default, Serialize)]
struct Summary {
    deleted: u64,
    /// The service did not confirm that they are deleted.
    unconfirmed: u64,
    /// Messages that were looked at, deleted ones included.
    looked_at: u64,
    backlog_count: Option<u64>,
}

/// What would be deleted.
#[derive(Serialize)]
struct Forecast {
    id: String,
    content_type: String,
    attempts: Option<u32>,
}

impl Delete {
    pub(crate) async fn run(mut self, common: &Common) -> Result<(), Failure> {
        let (queue, format) = (common.account.queue(&self.queue).await?, Format::or_fitting(common.output));
        let progress = Progress::new();
        let (filter, wanted) = (self.filter()?, self.id.iter().cloned().collect::<HashSet<_>>());
        let (summary, result) = if self.dry_run {
            let (messages, backlog) = (queue.peek(MOST).await?, queue.metrics().await?.backlog_count);
            let found = messages.iter().filter(|message| filter.matches(*message));
            let found: Vec<_> = found.map(Forecast::from).collect();
            output::print(format, &found)?;
            let (looked_at, of) = (messages.len(), output::backlog(backlog));
            let matching = counted(found.len() as u64, "matches", "match");
            progress.say(&format!("looked at {looked_at} of {of}; nothing was deleted; {matching}"));
            return Ok(());
        } else if self.all {
            self.sweep(queue, filter, &progress).await?
        } else {
            let (mut summary, signals) = (Summary::default(), Signals::listen()?);
            // Once all that was named is deleted, what is behind does not matter.
            let most = if wanted.is_empty() { u64::MAX } else { wanted.len() as u64 };
            let result = tokio::select! {
                result = peeked(&queue, &filter, most, &mut summary, &progress) => result,
                () = signals.told(1) => Err(Failure::new(Exit::Partly, STOPPED)),
            };
            (summary, result)
        };
        progress.end();
        let (deleted, missing) = (summary.deleted, (wanted.len() as u64).saturating_sub(summary.deleted));
        let printed = output::print(format, &[summary]);
        result?;
        if !wanted.is_empty() && self.filter.is_empty() && missing > 0 {
            let wanted = counted(wanted.len() as u64, "message was", "messages were");
            let what = format!("{deleted} of {wanted} found; --all looks beyond the first 100");
            return Err(Failure::new(Exit::Partly, what));
        }
        Ok(printed?)
    }

    /// A message with one of the ids, which meets the conditions.
    fn filter(&mut self) -> Result<Filter, Failure> {
        if self.id.is_empty() {
            return Ok(self.filter.clone().into());
        }
        let group = |id: &String| {
            let id = format!("id={id}").parse().map_err(|error: String| Failure::new(Exit::Input, error))?;
            Ok::<_, Failure>(self.filter.iter().cloned().chain([id]).collect())
        };
        Ok(Filter::any(self.id.iter().map(group).collect::<Result<Vec<_>, _>>()?))
    }

    async fn sweep(
        &self,
        queue: Queue,
        filter: Filter,
        progress: &Progress,
    ) -> Result<(Summary, Result<(), Failure>), Failure> {
        let signals = Signals::listen()?;
        let backlog_count = queue.metrics().await?.backlog_count;
        // With all ids found, there is nothing more to look for.
        let wanted = self.id.iter().collect::<HashSet<_>>().len() as u64;
        let limit = (wanted > 0).then_some(wanted);
        let plan = Plan { filter, limit, raise_retries: self.raise_retries, ..Plan::default() };
        let sweep = Sweep::prepare(queue, Deleting, plan, progress.clone()).await?;
        let swept = tokio::select! {
            swept = sweep.run(signals.clone().told(1)) => swept,
            () = signals.told(2) => {
                progress.end();
                return Err(Failure::interrupted_with_leases(self.raise_retries));
            }
        };
        let Counts { taken, skipped, unconfirmed, .. } = swept.counts;
        let (deleted, looked_at) = (swept.counts.deleted(), taken.saturating_add(skipped));
        let summary = Summary { deleted, unconfirmed, looked_at, backlog_count };
        Ok((summary, swept.result()))
    }
}

/// Deletes what peeking reaches, until so many are deleted.
async fn peeked(
    queue: &Queue,
    filter: &Filter,
    most: u64,
    summary: &mut Summary,
    progress: &Progress,
) -> Result<(), Failure> {
    summary.backlog_count = queue.metrics().await?.backlog_count;
    let mut tried = HashSet::new();
    while summary.deleted < most {
        let mut messages = queue.peek(MOST).await?;
        // One that is still there may have been deleted a moment ago.
        messages.retain(|message| !tried.contains(&message.id));
        summary.looked_at = summary.deleted.saturating_add(messages.len() as u64);
        let found: Vec<_> = messages.iter().filter(|message| filter.matches(*message)).collect();
        let with_ref: Vec<_> =
            found.iter().filter_map(|found| Some((&found.id, found.message_ref.as_ref()?))).collect();
        if with_ref.is_empty() {
            return unseen(summary, found.len());
        }
        // A signal may come before the response.
        let count = with_ref.len() as u64;
        summary.unconfirmed = count;
        let outcome = queue.delete_messages(with_ref.iter().map(|(_, message_ref)| *message_ref)).await;
        let outcome = outcome.inspect_err(|error| {
            summary.unconfirmed = if error.may_have_arrived() { count } else { 0 };
        })?;
        let accepted = outcome.deletions.accepted;
        summary.deleted = summary.deleted.saturating_add(accepted);
        summary.unconfirmed = outcome.deletions.doubtful();
        if !outcome.is_complete() {
            let told: Vec<_> = outcome.errors.iter().chain(&outcome.warnings).map(|it| it.message.as_str()).collect();
            let deletions = counted(count, "deletion", "deletions");
            let what = format!("the service accepted {accepted} of {deletions}: {}", told.join("; "));
            return Err(Failure::new(Exit::Partly, what));
        }
        progress.at(summary.deleted);
        if tried.len() >= MOST_TRIED {
            tried.clear();
        }
        tried.extend(with_ref.iter().map(|(id, _)| (*id).clone()));
    }
    Ok(())
}

/// Whether there may be more than what was looked at.
fn unseen(summary: &Summary, without_reference: usize) -> Result<(), Failure> {
    if without_reference > 0 {
        let without = counted(without_reference as u64, "message has", "messages have");
        let what = format!("{without} no reference for a deletion; see --all");
        return Err(Failure::new(Exit::Partly, what));
    }
    let looked_at = summary.looked_at;
    // A peek does not show messages that are leased or delayed, so an unknown backlog may hold more.
    if summary.backlog_count.is_some_and(|backlog| backlog <= looked_at) {
        return Ok(());
    }
    let of = output::backlog(summary.backlog_count);
    Err(Failure::new(Exit::Partly, format!("looked at {looked_at} of {of}; --all leases and looks at every one")))
}

impl From<&PeekedMessage> for Forecast {
    fn from(message: &PeekedMessage) -> Self {
        let content_type = message.body.content_type().to_string();
        Self { id: message.id.clone(), content_type, attempts: message.attempts }
    }
}

impl Row for Forecast {
    fn head(&self) -> Vec<&'static str> {
        vec!["WOULD BE DELETED", "TYPE", "ATTEMPTS"]
    }

    fn cells(&self) -> Vec<String> {
        vec![self.id.clone(), self.content_type.clone(), cell(self.attempts)]
    }
}

impl Row for Summary {
    fn head(&self) -> Vec<&'static str> {
        vec!["DELETED", "UNCONFIRMED", "LOOKED AT", "BACKLOG BEFORE"]
    }

    fn cells(&self) -> Vec<String> {
        let counts = [self.deleted, self.unconfirmed, self.looked_at].map(|count| count.to_string());
        counts.into_iter().chain([cell(self.backlog_count)]).collect()
    }
}

/// What it takes, the sweep acknowledges.
struct Deleting;

impl Sink for Deleting {
    fn fits(&self, _: &Body) -> bool {
        true
    }

    async fn take(&self, messages: &[Message], _: &mut Held<'_>) -> Taken {
        Taken { outcomes: vec![Outcome::Taken; messages.len()], failure: None }
    }
}
