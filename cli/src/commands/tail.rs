//! `tail`: follows a queue by peeking repeatedly.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use clap::Args;
use cloudflare_queues::{PeekedMessage, Queue};
use tokio::{sync::Notify, time::Instant};

use crate::{
    common::{Common, queues},
    exit::Failure,
    filter::{self, Condition, Filter},
    output::{Format, Lister, aside},
    progress::Progress,
    record::Record,
    signals::Signals,
    watch::watch,
};

/// The maximum number of messages of a peek.
const MOST: u32 = 100;
/// How many shown messages are remembered.
const MOST_SEEN: usize = 100_000;

const HELP: &str = "\
It looks at up to 100 messages each time and takes no lease, so consumers are not disturbed. It does not see a \
message that is consumed between two looks, nor those beyond the first 100. With --new, old messages beyond \
them are shown once those before them are consumed. With -n or --until-idle, it ends if requests fail for ten minutes.

Example:
  cf-queues tail jobs --bodies --filter '/type=order'";

/// Follow the messages of a queue without taking a lease
#[derive(Args, Debug)]
#[command(after_help = format!("{}\n\n{HELP}", filter::HELP))]
pub(crate) struct Tail {
    /// The queue's name or id
    #[arg(add = queues())]
    queue: String,
    /// Also show the bodies
    #[arg(long)]
    bodies: bool,
    /// Show only messages that meet this condition; repeat it for more
    #[arg(long, value_name = "CONDITION")]
    filter: Vec<Condition>,
    /// Do not show the messages (up to 100) that the first look finds
    #[arg(long)]
    new: bool,
    /// End when this many messages were shown
    #[arg(short = 'n', long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    number: Option<u64>,
    /// End when nothing new was seen for this long, by default for 5 seconds
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "5s")]
    #[arg(value_parser = humantime::parse_duration)]
    until_idle: Option<Duration>,
    /// The time between two peeks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    interval: Duration,
}

impl Tail {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let queue = common.account.queue(&self.queue).await?;
        let signals = Signals::listen()?;
        let end = Notify::new();
        tokio::select! {
            biased;
            () = end.notified() => Ok(()),
            result = self.follow(&queue, Format::or_fitting(common.output), &end) => result,
            () = signals.told(1) => Ok(()),
        }
    }

    async fn follow(&self, queue: &Queue, format: Format, end: &Notify) -> Result<(), Failure> {
        let filter = Filter::from(self.filter.clone());
        let (mut seen, mut lister) = (Seen::default(), Lister::new(format));
        let (mut is_first, mut is_told) = (true, false);
        let (mut left, mut seen_at) = (self.number.unwrap_or(u64::MAX), Instant::now());
        let show = async |messages: Vec<PeekedMessage>| {
            if messages.len() >= MOST as usize && !is_told {
                let what = "the queue has 100 messages or more: those behind the first 100 are not seen";
                Progress::hidden().say(what);
                is_told = true;
            }
            let fresh: Vec<_> = messages.iter().filter(|message| seen.is_new(&message.id)).collect();
            if !fresh.is_empty() {
                seen_at = Instant::now();
            }
            let shown = fresh.into_iter().filter(|message| !(is_first && self.new) && filter.matches(*message));
            let shown = shown.take(usize::try_from(left).unwrap_or(usize::MAX));
            let rows: Vec<_> = shown.map(|message| Record::of_peeked(message, self.bodies)).collect();
            left = left.saturating_sub(rows.len() as u64);
            lister = aside(move || lister.print(&rows).map(|()| lister)).await?;
            is_first = false;
            if left == 0 || self.until_idle.is_some_and(|idle| seen_at.elapsed() >= idle) {
                end.notify_one();
            }
            Ok(())
        };
        let (interval, ends) =
            (self.interval.max(Duration::from_millis(50)), self.until_idle.is_some() || self.number.is_some());
        watch(interval, ends, async || queue.peek(MOST).await, show).await
    }
}

/// The ids of the messages shown last.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Seen {
    fn is_new(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > MOST_SEEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}
