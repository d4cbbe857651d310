//! `redrive`: moves messages from one queue to others.

use std::io::{self, IsTerminal};

use clap::{ArgAction, ArgMatches, Args, Command, FromArgMatches, error::ErrorKind};
use cloudflare_queues::{Body, Error, Message, PushMessage, Queue, consumer::DeadLetter, manage::Queues};
use serde::Serialize;

use crate::{
    account::find,
    common::{Common, queues},
    exit::{Exit, Failure, tell},
    filter::{self, Condition, Filter},
    output::{self, Format, Row, plain},
    patience::Failures,
    progress::Progress,
    signals::Signals,
    sweep::{Counts, Held, Outcome, Plan, Sink, Sweep, Taken},
};

const HELP: &str = "\
Without TO and --to, messages go back to the queue that names FROM as its dead-letter queue.

A message is pushed before it is acknowledged in FROM, so redrive can be killed at any moment and run again. \
Messages that were in flight are delivered again after a minute, and may then be pushed twice. One loss cannot be \
avoided by any client: if redrive is killed, a message in flight at its last delivery goes to the dead-letter queue \
of FROM, or is deleted if there is none.

A dead letter that a consumer has wrapped with the reason is unwrapped: the message itself is pushed. Filters see \
the envelope, such as --filter /cloudflare_queues_dead_letter/reason=failed.

It ends when the messages that were there at the start are moved, and says how many arrived since. Its report counts \
messages: MOVED; SKIPPED, which no filter matched; UNFIT, which cannot be pushed over HTTP; LEFT, pulled and not \
moved; UNCONFIRMED, pushed but perhaps not deleted from FROM; UNAVAILABLE, leased by others, delayed or hidden; \
ARRIVED since the start. After a stop or a failure, what it had not reached is in none of them.

A message that stays is leased while redrive runs, which is one of its deliveries. It is available again when \
redrive ends or is told to stop. If redrive is killed, that takes a minute or, if more than 20,000 stay, a second \
for each 300 of them, up to an hour. A message that would not be delivered again is pushed as a new one. Where that \
is impossible (bytes, v8, bare JSON strings), redrive refuses to begin, or ends before it pulls the message, unless \
--raise-retries is given.

Examples:
  cf-queues redrive jobs-failed jobs --filter '/type=order' --rate 500
  cf-queues redrive jobs-failed --filter /reason=timeout --to jobs --filter /reason=parse --to retry";

/// Move messages from one queue to others, such as from a dead-letter queue back
#[derive(Args, Debug)]
#[command(after_help = format!("{}\n\n{HELP}", filter::HELP))]
pub(crate) struct Redrive {
    /// The queue's name or id; it needs a pull consumer
    #[arg(add = queues())]
    from: String,
    /// The name or id of the queue to push to
    #[arg(add = queues())]
    to: Option<String>,
    #[command(flatten)]
    routes: Routes,
    /// Move at most this many messages
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Maximum number of messages moved per second; the service allows 5000 for a queue
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
    /// Move messages that come meanwhile as well, until the queue is empty
    #[arg(long)]
    until_empty: bool,
    /// Raise max_retries of FROM's pull consumer while this runs, if a message would not be delivered again
    #[arg(long)]
    raise_retries: bool,
}

/// Conditions, and where messages go that meet them: each `--to` has the filters before it.
#[derive(Clone, Debug, Default)]
struct Routes {
    /// With a queue each.
    to: Vec<(Vec<Condition>, String)>,
    /// The filters after the last `--to`.
    rest: Vec<Condition>,
}

impl Args for Routes {
    fn augment_args(command: Command) -> Command {
        let filter = clap::Arg::new("filter").long("filter").value_name("CONDITION").action(ArgAction::Append);
        let to = clap::Arg::new("to-queue").long("to").value_name("QUEUE").action(ArgAction::Append).add(queues());
        command
            .arg(
                filter
                    .value_parser(clap::value_parser!(Condition))
                    .help("Move only messages that meet this condition; repeat it for more"),
            )
            .arg(
                to.conflicts_with("to")
                    .help("Move messages that meet the filters before this to this queue; repeat both for more queues"),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Routes {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let positions = |name| matches.indices_of(name).into_iter().flatten();
        let filters = matches.get_many::<Condition>("filter").into_iter().flatten();
        let mut filters = positions("filter").zip(filters).peekable();
        let mut routes = Self::default();
        for (position, to) in positions("to-queue").zip(matches.get_many::<String>("to-queue").into_iter().flatten()) {
            let mut conditions = Vec::new();
            while let Some((_, condition)) = filters.next_if(|(before, _)| *before < position) {
                conditions.push(condition.clone());
            }
            routes.to.push((conditions, to.clone()));
        }
        routes.rest = filters.map(|(_, condition)| condition.clone()).collect();
        if !routes.to.is_empty() && !routes.rest.is_empty() {
            let what = "the filters after the last --to have no queue: give each group of filters a --to after it\n";
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, what));
        }
        Ok(routes)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
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
    unavailable: u64,
    arrived: u64,
}

impl Redrive {
    pub(crate) async fn run(mut self, common: &Common) -> Result<(), Failure> {
        let queues = common.account.queues()?;
        let from = find(&queues, &self.from).await?;
        let routes = self.routes(&queues, &from).await?;
        let (filter, names): (Vec<_>, Vec<_>) = routes.into_iter().unzip();
        let filter = Filter::any(filter);
        let mut to = Vec::new();
        for name in &names {
            let queue = find(&queues, name).await?;
            if from.id() == queue.id() {
                return Err(Failure::new(Exit::Input, format!("FROM and TO are the same queue, {name}")));
            }
            // Fails before any message is leased.
            queue.describe().await?;
            to.push(queue);
        }
        let format = Format::or_fitting(common.output);
        if self.dry_run {
            return look(&filter, self.limit, &names, &from, format).await;
        }
        let signals = Signals::listen()?;
        let progress = Progress::new();
        let plan = Plan {
            filter: filter.clone(),
            keep: self.keep,
            limit: self.limit,
            rate: self.rate.into(),
            most_batches: self.batches.into(),
            until_empty: self.until_empty,
            raise_retries: self.raise_retries,
            ..Plan::default()
        };
        let sink = Pushing { to, filter, progress: progress.clone() };
        let sweep = Sweep::prepare(from, sink, plan, progress.clone()).await?;
        let swept = tokio::select! {
            swept = sweep.run(signals.clone().told(1)) => swept,
            () = signals.told(2) => {
                progress.end();
                return Err(Failure::interrupted_with_leases(self.raise_retries));
            }
        };
        let Counts { taken, skipped, unfit, left, unconfirmed, .. } = swept.counts;
        let (unavailable, arrived) = (swept.unavailable, swept.arrived);
        let (from, to) = (self.from, names.join(", "));
        let summary = Summary { from, to, moved: taken, skipped, unfit, left, unconfirmed, unavailable, arrived };
        let printed = output::print(format, &[summary]);
        swept.result()?;
        Ok(printed?)
    }

    /// Conditions, and the queue for messages that meet them.
    async fn routes(&mut self, queues: &Queues, from: &Queue) -> Result<Vec<(Vec<Condition>, String)>, Failure> {
        if !self.routes.to.is_empty() {
            return Ok(std::mem::take(&mut self.routes.to));
        }
        let to = match self.to.take() {
            Some(to) => to,
            None => source(queues, from).await?,
        };
        Ok(vec![(std::mem::take(&mut self.routes.rest), to)])
    }
}

/// The queue whose dead letters are in this one.
async fn source(queues: &Queues, from: &Queue) -> Result<String, Failure> {
    let name = from.describe().await?.name().to_owned();
    let mut sources = Vec::new();
    for queue in queues.list().all().await? {
        if queue.consumers().iter().any(|consumer| consumer.dead_letter_queue() == Some(&name)) {
            sources.push(queue.name().to_owned());
        }
    }
    match &sources[..] {
        [one] => {
            tell(&format!("cf-queues: {name} is the dead-letter queue of {one}\n"));
            Ok(one.clone())
        }
        [] => Err(Failure::new(Exit::Input, format!("no queue names {name} as its dead-letter queue: give TO"))),
        several => choose(&name, several),
    }
}

fn choose(name: &str, sources: &[String]) -> Result<String, Failure> {
    let several = format!("{name} is the dead-letter queue of {}", sources.join(", "));
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::new(Exit::Input, format!("{several}: give TO")));
    }
    tell(&format!("{}. Which one? ", plain(&several)));
    let mut typed = String::new();
    io::stdin().read_line(&mut typed)?;
    let found = sources.iter().find(|source| *source == typed.trim());
    found.cloned().ok_or_else(|| Failure::new(Exit::Input, "nothing was moved: this is not one of them"))
}

async fn look(filter: &Filter, limit: Option<u64>, to: &[String], from: &Queue, format: Format) -> Result<(), Failure> {
    let (messages, backlog_count) = (from.peek(100).await?, from.metrics().await?.backlog_count);
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let matching =
        messages.iter().filter_map(|message| Some((filter.group(message)?, original(&message.body).is_ok())));
    let (fitting, unfit): (Vec<_>, Vec<_>) = matching.partition(|(_, is_fitting)| *is_fitting);
    let groups: Vec<_> = fitting.into_iter().map(|(group, _)| group).take(limit).collect();
    let looked_at = messages.len();
    let forecasts = to.iter().enumerate().map(|(index, to)| {
        let would_be_moved = groups.iter().filter(|group| **group == index).count();
        Forecast { to: to.clone(), backlog_count, looked_at, would_be_moved }
    });
    output::print(format, &forecasts.collect::<Vec<_>>())?;
    let (of, unfit) = (output::backlog(backlog_count), unfit.len());
    let unfit = if unfit > 0 { format!("{unfit} of them match and cannot be pushed; ") } else { String::new() };
    tell(&format!("cf-queues: looked at {looked_at} of {of}; {unfit}nothing was changed\n"));
    Ok(())
}

/// The result of a dry run.
#[derive(Serialize)]
struct Forecast {
    to: String,
    backlog_count: Option<u64>,
    looked_at: usize,
    would_be_moved: usize,
}

impl Row for Forecast {
    fn head(&self) -> Vec<&'static str> {
        vec!["TO", "BACKLOG", "LOOKED AT", "WOULD BE MOVED OF THESE"]
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.to.clone(),
            output::cell(self.backlog_count),
            self.looked_at.to_string(),
            self.would_be_moved.to_string(),
        ]
    }
}

impl Row for Summary {
    fn head(&self) -> Vec<&'static str> {
        vec!["FROM", "TO", "MOVED", "SKIPPED", "UNFIT", "LEFT", "UNCONFIRMED", "UNAVAILABLE", "ARRIVED"]
    }

    fn cells(&self) -> Vec<String> {
        let Self { from, to, moved, skipped, unfit, left, unconfirmed, unavailable, arrived } = self;
        let counts = [moved, skipped, unfit, left, unconfirmed, unavailable, arrived].map(ToString::to_string);
        [from.clone(), to.clone()].into_iter().chain(counts).collect()
    }
}

/// Pushes messages to queues.
pub(crate) struct Pushing {
    /// One for each group of the filter.
    pub(crate) to: Vec<Queue>,
    pub(crate) filter: Filter,
    pub(crate) progress: Progress,
}

impl Sink for Pushing {
    fn fits(&self, body: &Body) -> bool {
        original(body).is_ok()
    }

    async fn take(&self, messages: &[Message], leases: &mut Held<'_>) -> Taken {
        let mut outcomes = vec![Outcome::Failed; messages.len()];
        let mut copies: Vec<(Vec<PushMessage>, Vec<usize>)> = vec![Default::default(); self.to.len()];
        for (position, message) in messages.iter().enumerate() {
            let route = self.filter.group(message).and_then(|group| copies.get_mut(group));
            match (original(&message.body), route) {
                (Ok(copy), Some((copies, positions))) => {
                    copies.push(copy);
                    positions.push(position);
                }
                (Ok(_), None) => {}
                (Err(error), _) => {
                    outcomes.get_mut(position).into_iter().for_each(|outcome| *outcome = Outcome::Unfit);
                    self.progress.remark_on_message(
                        "unfit",
                        &format!("message {} stays: {}", message.id, Failure::described(&error)),
                    );
                }
            }
        }
        for (to, (copies, positions)) in self.to.iter().zip(copies) {
            let mut positions = positions.into_iter();
            for batch in PushMessage::batches(&copies) {
                if let Err(error) = self.push(to, batch, leases).await {
                    return Taken { outcomes, failure: error.map(Failure::from) };
                }
                for position in positions.by_ref().take(batch.len()) {
                    outcomes.get_mut(position).into_iter().for_each(|outcome| *outcome = Outcome::Taken);
                }
            }
        }
        Taken { outcomes, failure: None }
    }
}

/// What is pushed: the message, or the one that a consumer has wrapped with the reason.
fn original(body: &Body) -> Result<PushMessage, Error> {
    DeadLetter::read(body).map_or_else(|| PushMessage::from_body(body), |letter| PushMessage::from_body(&letter.body))
}

impl Pushing {
    /// Pushes a batch until the service confirms it, or until the leases are lost, which is the error `None`. A push
    /// that may have arrived is retried, as the next run would.
    async fn push(&self, to: &Queue, batch: &[PushMessage], leases: &mut Held<'_>) -> Result<(), Option<Error>> {
        let (mut failures, mut are_held) = (Failures::default(), leases.keep().await);
        while are_held {
            let error = match to.push_batch(batch).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let Some(pause) = failures.bounded_pause(&error) else { return Err(Some(error)) };
            self.progress.remark("push", &format!("a push failed, and is retried: {error}"));
            are_held = leases.wait(pause).await;
        }
        self.progress.remark("lost", "leases were lost before their messages could be pushed");
        Err(None)
    }
}
