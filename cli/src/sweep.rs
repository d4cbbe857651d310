//! Iterates over the messages of a queue: leases each, passes it to a sink, and then deletes it or puts it back.
//!
//! A message is acknowledged only after the sink has taken it, so a sweep can be killed at any time: messages in flight
//! are delivered again when their leases expire.

mod cycle;
mod held;
mod pace;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    future::Future,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    ops::AddAssign,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cloudflare_queues::{Acker, Message, Queue, manage::ConsumerKind};
use tokio::{task::JoinSet, time::sleep_until};

pub(crate) use self::held::Held;
use self::{cycle::Cycle, pace::Pace};
use crate::{
    exit::{Exit, Failure},
    filter::Condition,
    progress::Progress,
};

/// How long messages are leased; for longer work, the lease is extended.
pub(crate) const LEASE: Duration = Duration::from_secs(60);
/// The number of messages that one pull leases at most.
const BATCH: u32 = 100;
/// Deliveries of a message by a pull consumer that does not say how often it retries.
const DELIVERIES: u32 = 4;
/// How many messages that were put back are remembered.
const MOST_SEEN: usize = 1_000_000;
/// A retry can be delayed by 24 hours at most; a sweep takes no longer than half of that.
const MOST_HOLD_MS: u64 = 12 * 60 * 60 * 1000;

/// The destination of the messages of a queue.
pub(crate) trait Sink: Send + Sync + 'static {
    /// Takes messages. Calls of [`Held::keep`] extend their leases in the meantime.
    fn take(&self, messages: &[Message], leases: &mut Held<'_>) -> impl Future<Output = Taken> + Send;
}

/// The result of passing messages to a sink.
pub(crate) struct Taken {
    /// One for each message.
    pub(crate) fates: Vec<Fate>,
    /// Why the sweep is to end.
    pub(crate) failure: Option<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is where it should be.
    Taken,
    /// It can never be taken.
    Unfit,
    /// It may have been taken, or not.
    Failed,
}

/// What became of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// They were taken.
    pub(crate) taken: u64,
    /// They do not meet the conditions.
    pub(crate) skipped: u64,
    /// They can never be taken.
    pub(crate) unfit: u64,
    /// They are left for another run, since something failed.
    pub(crate) left: u64,
    /// They were taken, but the service did not confirm that it deleted them or put them back.
    pub(crate) unconfirmed: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        let Self { taken, skipped, unfit, left, unconfirmed } = self;
        for (sum, more) in [
            (taken, more.taken),
            (skipped, more.skipped),
            (unfit, more.unfit),
            (left, more.left),
            (unconfirmed, more.unconfirmed),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// How a sweep ended.
pub(crate) struct Swept {
    pub(crate) counts: Counts,
    pub(crate) failure: Option<Failure>,
    /// Whether it was told to stop before the end.
    pub(crate) is_stopped: bool,
}

impl Swept {
    /// Whether all that was asked for is done.
    pub(crate) fn result(self) -> Result<(), Failure> {
        let Counts { unfit, left, unconfirmed, .. } = self.counts;
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if self.is_stopped {
            return Err(Failure::new(Exit::Partly, "stopped before the end; run it again for the rest"));
        }
        if unfit + left + unconfirmed > 0 {
            let message = format!("{unfit} messages are unfit, {left} are left, {unconfirmed} are not confirmed");
            return Err(Failure::new(Exit::Partly, message));
        }
        Ok(())
    }
}

/// Which messages, and how fast.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) conditions: Vec<Condition>,
    /// Whether messages stay in the queue although they were taken.
    pub(crate) keep: bool,
    /// How many messages are taken at most.
    pub(crate) limit: Option<u64>,
    /// Messages a second at most.
    pub(crate) rate: f64,
    /// Batches in flight at most.
    pub(crate) most_batches: usize,
}

pub(crate) struct Sweep<S> {
    queue: Queue,
    acker: Acker,
    sink: S,
    plan: Plan,
    /// How often a message is delivered at most.
    deliveries: u32,
    /// For how many milliseconds messages that stay are hidden, so that each is seen only once. It grows if one is seen
    /// twice.
    hold: AtomicU64,
    progress: Progress,
    /// Hashes of the ids of messages that were put back.
    seen: Mutex<HashSet<u64>>,
}

impl<S: Sink> Sweep<S> {
    /// Asks the queue how often it delivers a message, and how many messages it has; the progress expects these.
    pub(crate) async fn prepare(queue: Queue, sink: S, plan: Plan, progress: Progress) -> Result<Self, Failure> {
        let consumers = queue.consumers().await?;
        let pull = consumers.iter().find(|consumer| consumer.kind() == ConsumerKind::HttpPull);
        let retries = pull.and_then(cloudflare_queues::manage::ConsumerDescription::max_retries);
        if retries == Some(0) {
            progress.say(
                "the queue delivers each message once: if this is killed, messages in flight go to its dead-letter \
                 queue, or are deleted if it has none",
            );
        }
        let backlog = queue.metrics().await?.backlog_count;
        if let Some(expected) = backlog.into_iter().chain(plan.limit).min() {
            progress.expect(expected);
        }
        // Twice as long as it is likely to take.
        let ms = (backlog.unwrap_or_default() as f64 / plan.rate.min(1000.0) * 2e3) as u64;
        let hold = AtomicU64::new(ms.saturating_add(LEASE.as_millis() as u64).min(MOST_HOLD_MS));
        let deliveries = retries.map_or(DELIVERIES, |retries| retries.saturating_add(1));
        let acker = Acker::new(queue.clone())?;
        Ok(Self { queue, acker, sink, plan, deliveries, hold, progress, seen: Mutex::default() })
    }

    /// How long messages that stay are hidden from consumers.
    pub(crate) fn hold(&self) -> Duration {
        Duration::from_millis(self.hold.load(Ordering::Relaxed))
    }

    /// Messages were redelivered although they were hidden for this long. Doubles the time, so that they do not keep
    /// other messages from being delivered.
    fn hold_longer(&self, than: Duration) {
        let ms = u64::try_from(than.as_millis()).unwrap_or(MOST_HOLD_MS);
        self.hold.fetch_max(ms.saturating_mul(2).min(MOST_HOLD_MS), Ordering::Relaxed);
    }

    /// Runs until the queue returns no more messages, the limit is reached, a permanent failure occurs, or `stop`
    /// completes. Batches in flight are then completed.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) -> Swept {
        let sweep = Arc::new(self);
        let mut pace = Pace::new(&sweep.plan);
        let mut swept = Swept { counts: Counts::default(), failure: None, is_stopped: false };
        let (mut cycles, mut stop) = (JoinSet::new(), pin!(stop));
        loop {
            let is_ending = swept.failure.is_some() || swept.is_stopped || pace.is_drained();
            let may_start = !is_ending && pace.may_start(cycles.len());
            if cycles.is_empty() && !may_start {
                return swept;
            }
            tokio::select! {
                biased;
                () = &mut stop, if !swept.is_stopped => swept.is_stopped = true,
                Some(joined) = cycles.join_next(), if !cycles.is_empty() => {
                    let cycle = joined.unwrap_or_else(|_| Cycle::ended(Failure::new(Exit::Service, "a task panicked")));
                    swept.counts += cycle.counts;
                    sweep.progress.at(swept.counts.taken);
                    let given_up = pace.ended(&cycle, cycles.len());
                    if let Some(error) = cycle.pull_error.as_ref().filter(|_| !given_up) {
                        sweep.progress.remark(&format!("a pull failed, and is repeated: {error}"));
                    }
                    let failure = cycle.failure.or_else(|| given_up.then(|| cycle.pull_error.map(Failure::from))?);
                    swept.failure = swept.failure.take().or(failure);
                }
                () = sleep_until(pace.next()), if may_start => {
                    let asked = pace.started();
                    cycles.spawn(Arc::clone(&sweep).cycle(asked));
                }
            }
        }
    }

    /// Whether a message that stays is met for the first time.
    fn is_new(&self, message: &Message) -> bool {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&message.id);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        message.id.is_empty() || !seen.contains(&hash) && (seen.len() >= MOST_SEEN || seen.insert(hash))
    }
}
