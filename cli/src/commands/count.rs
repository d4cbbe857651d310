//! `count`: how many messages have which value of a field.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use clap::Args;
use cloudflare_queues::{Body, Message};
use serde::Serialize;

use crate::{
    common::{Common, queues},
    exit::{Failure, tell},
    filter::{self, Condition, Field, Filter, Subject},
    output::{self, Format, Row, cell},
    progress::Progress,
    signals::Signals,
    sweep::{Held, Outcome, Plan, Sink, Sweep, Taken},
};

/// How many different values are counted by themselves.
const MOST_VALUES: usize = 10_000;
/// Longer values are counted by what they begin with.
const MOST_LETTERS: usize = 200;

const HELP: &str = "\
It looks at the first 100 available messages, without leasing them. With --all, it leases each message once, which \
is one of its deliveries, and makes them available again when it ends. If a message would not be delivered again, it \
refuses to begin, unless --raise-retries is given.

Examples:
  cf-queues count jobs-failed --by /reason
  cf-queues count jobs-failed --by type --filter 'age>1h' --all";

/// Count messages by what is in them: the most frequent values of a field
#[derive(Args, Debug)]
#[command(after_help = format!("{}\n\n{HELP}", filter::HELP))]
pub(crate) struct Count {
    /// The queue's name or id
    #[arg(add = queues())]
    queue: String,
    /// The field to count by: type, attempts, age, id, body, or a path into the JSON of the body, such as /reason
    #[arg(long, value_name = "FIELD", default_value = "type")]
    by: Field,
    /// Count only messages that meet this condition; repeat it for more
    #[arg(long, value_name = "CONDITION")]
    filter: Vec<Condition>,
    /// How many values to show; the others are counted together
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 10)]
    top: usize,
    /// Look at every message, by leasing it; the queue needs a pull consumer
    #[arg(long)]
    all: bool,
    /// With --all, raise max_retries of the pull consumer meanwhile, if a message would not be delivered again
    #[arg(long, requires = "all")]
    raise_retries: bool,
}

impl Count {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let (queue, filter) = (common.account.queue(&self.queue).await?, Filter::from(self.filter));
        let tally = Tally { by: self.by, values: Arc::default() };
        let format = Format::or_fitting(common.output);
        if !self.all {
            let (messages, backlog) = (queue.peek(100).await?, queue.metrics().await?.backlog_count);
            messages.iter().filter(|message| filter.matches(*message)).for_each(|message| tally.count(message));
            output::print(format, &tally.rows(self.top))?;
            let (looked_at, of) = (messages.len(), output::backlog(backlog));
            tell(&format!("cf-queues: looked at {looked_at} of {of}; --all looks at every one\n"));
            return Ok(());
        }
        let (signals, progress, values) = (Signals::listen()?, Progress::new(), tally.clone());
        let raise_retries = self.raise_retries;
        // A look changes no message.
        let plan = Plan { filter, keep: true, raise_retries, may_renew: false, ..Plan::default() };
        let sweep = Sweep::prepare(queue, tally, plan, progress.clone()).await?;
        let swept = tokio::select! {
            swept = sweep.run(signals.clone().told(1)) => swept,
            () = signals.told(2) => {
                progress.end();
                return Err(Failure::interrupted_with_leases(raise_retries));
            }
        };
        let printed = output::print(format, &values.rows(self.top));
        let (counted, looked_at) = (swept.counts.taken, swept.counts.taken.saturating_add(swept.counts.skipped));
        tell_of_others(values.others());
        progress.say(&format!("looked at {}, and counted {counted}", output::messages(looked_at)));
        swept.result()?;
        Ok(printed?)
    }
}

/// Says where the numbers are not exact.
fn tell_of_others(others: u64) {
    if others > 0 {
        tell(&format!(
            "cf-queues: there are more than {MOST_VALUES} values: those of {} that were first seen later are counted \
             as other values, though these may be frequent\n",
            output::messages(others)
        ));
    }
}

/// Clones share it.
#[derive(Clone)]
struct Tally {
    by: Field,
    values: Arc<Mutex<Values>>,
}

#[derive(Default)]
struct Values {
    counts: HashMap<Option<String>, u64>,
    /// Of values that came when there were too many.
    others: u64,
}

impl Tally {
    fn count<'a>(&self, message: impl Into<Subject<'a>>) {
        let value = self.by.of(message).map(|value| value.chars().take(MOST_LETTERS).collect());
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        if values.counts.len() < MOST_VALUES || values.counts.contains_key(&value) {
            *values.counts.entry(value).or_default() += 1;
        } else {
            values.others += 1;
        }
    }

    fn others(&self) -> u64 {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).others
    }

    /// The most frequent values first, and then all others.
    fn rows(&self, top: usize) -> Vec<Counted> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counted: Vec<_> = values.counts.iter().collect();
        counted.sort_by_key(|(value, count)| (Reverse(**count), *value));
        let others = counted.iter().skip(top).map(|(_, count)| **count).fold(values.others, u64::saturating_add);
        let rows = counted.into_iter().take(top);
        let mut rows: Vec<_> =
            rows.map(|(value, count)| Counted { value: value.clone(), count: *count, is_rest: false }).collect();
        if others > 0 {
            rows.push(Counted { value: None, count: others, is_rest: true });
        }
        rows
    }
}

impl Sink for Tally {
    fn fits(&self, _: &Body) -> bool {
        true
    }

    async fn take(&self, messages: &[Message], _: &mut Held<'_>) -> Taken {
        messages.iter().for_each(|message| self.count(message));
        Taken { outcomes: vec![Outcome::Taken; messages.len()], failure: None }
    }
}

#[derive(Serialize)]
struct Counted {
    /// `None` if messages have no such value.
    value: Option<String>,
    count: u64,
    /// Whether these are all messages with other values than those before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_rest: bool,
}

impl Row for Counted {
    fn head(&self) -> Vec<&'static str> {
        vec!["COUNT", "VALUE"]
    }

    fn cells(&self) -> Vec<String> {
        let value = match self.is_rest {
            true => "(other values)".to_owned(),
            false => self.value.clone().unwrap_or_else(|| "(none)".to_owned()),
        };
        vec![cell(Some(self.count)), value]
    }
}
