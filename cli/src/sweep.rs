//! Iterates over the messages of a queue: leases each, passes it to a sink, and then deletes it, or keeps its lease
//! until the sweep ends.
//!
//! A message is acknowledged only after the sink has taken it, so a sweep can be killed at any time: messages in flight
//! are delivered again when their leases expire.

mod allowance;
mod cycle;
mod gate;
mod held;
mod kept;
mod pace;
mod settle;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    ops::AddAssign,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use cloudflare_queues::{Acker, Body, Error, Message, PeekedMessage, PushMessage, Queue};
use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
    time::{Instant, interval_at, sleep, sleep_until},
};

pub(crate) use self::held::Held;
use self::{allowance::Allowance, cycle::Cycle, gate::Gate, kept::Kept, pace::Pace};
use crate::{
    backlog,
    exit::{Exit, Failure},
    filter::Filter,
    output::{counted, messages},
    patience::Failures,
    progress::Progress,
    record::clock_time,
};

/// How long messages are leased; for longer work, the lease is extended.
pub(crate) const LEASE: Duration = Duration::from_secs(60);
/// The number of messages that one pull leases at most, and one peek returns.
const BATCH: u32 = 100;
/// The longest delay of a message that is pushed anew.
const LONGEST_DELAY: Duration = Duration::from_secs(12 * 60 * 60);
/// The same, where it does no harm that the sweep pulls the message again.
const SHORT_DELAY: Duration = Duration::from_secs(5 * 60);
/// How long a message is leased at its last delivery that nothing saves: all that a lease can last, but for the time
/// since the pull.
const HOLD: Duration = Duration::from_secs(11 * 60 * 60);
/// By how much the service's clock may differ from this one before messages that were there count as new.
const MOST_SKEW: Duration = Duration::from_secs(1);
/// How often it is shown that a sweep goes on, although nothing may change.
const BETWEEN_SIGNS: Duration = Duration::from_secs(10);
/// How many messages a second a sweep that has just begun is taken to pull.
const USUAL_RATE: f64 = 500.0;

/// The destination of the messages of a queue.
pub(crate) trait Sink: Send + Sync + 'static {
    /// Whether it can take a message with this body.
    fn fits(&self, body: &Body) -> bool;

    /// Takes messages. Calls of [`Held::keep`] extend their leases in the meantime.
    fn take(&self, messages: &[Message], leases: &mut Held<'_>) -> impl Future<Output = Taken> + Send;
}

/// The result of passing messages to a sink.
pub(crate) struct Taken {
    /// One for each message.
    pub(crate) outcomes: Vec<Outcome>,
    /// Why the sweep is to end.
    pub(crate) failure: Option<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
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
    /// They were at their last delivery, and pushed as new ones.
    pub(crate) renewed: u64,
    /// They were taken or pushed as new ones, and the service did not confirm that they are deleted.
    pub(crate) unconfirmed: u64,
    /// Those of them that were taken.
    pub(crate) undeleted: u64,
    /// They were handed back, and the service did not confirm it.
    pub(crate) unreturned: u64,
}

impl Counts {
    /// Those of the taken ones that are deleted.
    pub(crate) fn deleted(&self) -> u64 {
        self.taken.saturating_sub(self.undeleted)
    }

    /// Those of them that are in the queue, if `is_removed` says whether taken ones are not.
    fn in_queue(&self, is_removed: bool) -> u64 {
        let taken = if is_removed { 0 } else { self.taken };
        [taken, self.skipped, self.unfit, self.left].into_iter().fold(0, u64::saturating_add)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        let Self { taken, skipped, unfit, left, renewed, unconfirmed, undeleted, unreturned } = self;
        for (sum, more) in [
            (taken, more.taken),
            (skipped, more.skipped),
            (unfit, more.unfit),
            (left, more.left),
            (renewed, more.renewed),
            (unconfirmed, more.unconfirmed),
            (undeleted, more.undeleted),
            (unreturned, more.unreturned),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// How a sweep ended.
#[derive(Default)]
pub(crate) struct Swept {
    pub(crate) counts: Counts,
    pub(crate) failure: Option<Failure>,
    /// Whether it was told to stop before the end.
    pub(crate) is_stopped: bool,
    /// Messages that are in the queue, and that no pull returned.
    pub(crate) unavailable: u64,
    /// Messages that arrived since the start.
    pub(crate) arrived: u64,
    /// Why it is not known how many messages are in the queue.
    unknown: Option<String>,
    /// Messages whose leases were lost: others, or the sweep itself, may have seen them as well.
    lost: u64,
}

impl Swept {
    /// Whether all that was asked for is done.
    pub(crate) fn result(self) -> Result<(), Failure> {
        let Counts { unfit, left, unconfirmed, unreturned, .. } = self.counts;
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if self.is_stopped {
            return Err(Failure::new(Exit::Partly, "stopped before the end; run it again for the rest"));
        }
        let parts = [
            (unfit, "that cannot be taken"),
            (left, "left"),
            (unconfirmed, "not confirmed as deleted"),
            (unreturned, "that stay, but may be hidden for a while"),
            (self.unavailable, "not available"),
            (self.lost, "that may have been delivered to others meanwhile"),
        ];
        let parts: Vec<_> =
            parts.iter().filter(|(count, _)| *count > 0).map(|(n, what)| format!("{what}: {n}")).collect();
        match (self.unknown, parts.is_empty()) {
            (None, true) => Ok(()),
            (Some(why), true) => {
                Err(Failure::new(Exit::Partly, format!("it is not known whether messages are left: {why}")))
            }
            _ => Err(Failure::new(Exit::Partly, format!("messages {}", parts.join(", ")))),
        }
    }
}

/// Which messages, and how fast.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) filter: Filter,
    /// Whether messages stay in the queue although they were taken.
    pub(crate) keep: bool,
    /// How many messages are taken at most.
    pub(crate) limit: Option<u64>,
    /// Messages taken a second at most.
    pub(crate) rate: f64,
    /// Batches in flight at most.
    pub(crate) most_batches: usize,
    /// Whether messages that come meanwhile are swept as well, until there are none.
    pub(crate) until_empty: bool,
    /// Whether `max_retries` of the queue may be raised for the time of the sweep.
    pub(crate) raise_retries: bool,
    /// Whether messages at their last delivery may be pushed as new ones.
    pub(crate) may_renew: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            filter: Vec::new().into(),
            keep: false,
            limit: None,
            rate: 5000.0,
            most_batches: 200,
            until_empty: false,
            raise_retries: false,
            may_renew: true,
        }
    }
}

impl Plan {
    /// A message that can be pushed as a new one.
    fn copy(&self, body: &Body) -> Option<PushMessage> {
        PushMessage::from_body(body).ok().filter(|_| self.may_renew)
    }

    fn may_stay(&self) -> bool {
        self.keep || self.limit.is_some() || !self.filter.is_all()
    }
}

pub(crate) struct Sweep<S> {
    queue: Queue,
    acker: Acker,
    sink: S,
    plan: Plan,
    gate: Gate,
    kept: Kept,
    allowance: Allowance,
    progress: Progress,
    /// How many messages were in the queue at the start.
    backlog: Option<u64>,
    /// How many were pulled, and how many of these were there at the start.
    pulled: AtomicU64,
    pulled_of_backlog: AtomicU64,
    /// Held while messages are looked at and then pulled.
    looking: Mutex<()>,
    /// Whether it was reported that messages are pushed anew.
    is_renewing: AtomicBool,
    started: (SystemTime, Instant),
    /// How many seconds after the start the last message is available again that was put back with a delay.
    hidden: AtomicU64,
    stopping: watch::Sender<bool>,
}

impl<S: Sink> Sweep<S> {
    /// Asks the queue how often it delivers a message, and how many messages it has; the progress expects these.
    pub(crate) async fn prepare(queue: Queue, sink: S, plan: Plan, progress: Progress) -> Result<Self, Failure> {
        let allowance = Allowance::of(&queue, plan.raise_retries).await?;
        let backlog = queue.metrics().await?.backlog_count;
        let sweep = Self {
            acker: Acker::new(queue.clone())?,
            gate: Gate::new(plan.rate, plan.limit),
            kept: Kept::default(),
            allowance,
            backlog,
            pulled: AtomicU64::new(0),
            pulled_of_backlog: AtomicU64::new(0),
            looking: Mutex::default(),
            is_renewing: AtomicBool::new(false),
            started: (SystemTime::now(), Instant::now()),
            hidden: AtomicU64::new(0),
            stopping: watch::Sender::new(false),
            queue,
            sink,
            plan,
            progress,
        };
        if let Some(message) = sweep.endangered().await? {
            return Err(sweep.refusal("nothing was done", &message));
        }
        sweep.announce();
        let limit = sweep.plan.limit.filter(|_| sweep.plan.filter.is_all());
        sweep.progress.begin("messages", backlog.into_iter().chain(limit).min());
        Ok(sweep)
    }

    /// A message among the first available ones for which this pass would be the last delivery, that stays, and cannot
    /// be pushed anew.
    async fn endangered(&self) -> Result<Option<PeekedMessage>, Error> {
        if self.plan.raise_retries {
            return Ok(None);
        }
        for message in self.queue.peek(BATCH).await? {
            if message.attempts.is_none_or(|attempts| attempts < self.allowance.retries()) {
                continue;
            }
            self.allowance.note_scarcity();
            let is_taken = !self.plan.keep && self.plan.filter.matches(&message) && self.sink.fits(&message.body);
            if is_taken {
                continue;
            }
            if self.plan.copy(&message.body).is_none() {
                return Ok(Some(message));
            }
            if !self.is_renewing.swap(true, Ordering::Relaxed) {
                self.progress.say(
                    "some messages have one delivery left: those that stay are pushed as new ones, with new ids, and \
                     hidden until this has likely ended; --raise-retries avoids that",
                );
            }
        }
        Ok(None)
    }

    fn refusal(&self, start: &str, message: &PeekedMessage) -> Failure {
        let (id, kind) = (&message.id, message.body.content_type());
        let (retries, end) = (self.allowance.retries(), self.allowance.end());
        let why = if self.plan.may_renew { "cannot be pushed again over HTTP" } else { "is only looked at" };
        let what = format!(
            "{start}: message {id}, of the type {kind}, has one delivery left (max_retries is {retries}), stays, and \
             {why}; after this pass, it {end}"
        );
        let advice = "--raise-retries raises max_retries of the queue's pull consumer for the time of the pass";
        Failure::new(Exit::Refused, what).with_note(advice)
    }

    /// Says what the queue allows.
    fn announce(&self) {
        let (retries, end) = (self.allowance.retries(), self.allowance.end());
        if retries == 0 {
            self.progress.say(&format!(
                "the queue delivers each message once (max_retries is 0): if this is killed, a message in flight {end}"
            ));
        }
        if self.plan.may_stay() {
            let deliveries = u64::from(retries) + 1;
            self.progress.say(&format!(
                "each message that stays is leased while this runs, which uses one of its {deliveries} deliveries; \
                 after the last one, it {end}"
            ));
        }
    }

    /// Runs until all messages that were there at the start were pulled, the limit is reached, a permanent failure
    /// occurs, or `stop` completes. Batches in flight are then completed, and messages that stay are handed back.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) -> Swept {
        let sweep = Arc::new(self);
        let sweeping = async {
            let swept = Arc::clone(&sweep).pull(stop).await;
            sweep.kept.end();
            swept
        };
        let (mut swept, ()) =
            tokio::join!(sweeping, sweep.kept.extend(&sweep.queue, &sweep.acker, || sweep.delay(LONGEST_DELAY)));
        sweep.end(&mut swept).await;
        sweep.progress.end();
        swept
    }

    async fn pull(self: Arc<Self>, stop: impl Future<Output = ()>) -> Swept {
        // One pull at least: the count may lag behind.
        let bound = self.backlog.map(|backlog| backlog.max(1)).filter(|_| !self.plan.until_empty);
        let mut pace = Pace::new(&self.plan, bound);
        // Where clocks differ, all that comes meanwhile may look older than the start. This ends all the same.
        let mut further = bound.unwrap_or(u64::MAX);
        let mut swept = Swept::default();
        let (mut cycles, mut stop) = (JoinSet::new(), pin!(stop));
        let mut signs = interval_at(Instant::now() + BETWEEN_SIGNS, BETWEEN_SIGNS);
        loop {
            let is_ending = swept.failure.is_some() || swept.is_stopped || pace.is_drained() || self.gate.left() == 0;
            let may_start = !is_ending && pace.may_start(cycles.len(), self.gate.left());
            if cycles.is_empty() && is_ending {
                return swept;
            }
            if cycles.is_empty() && !may_start {
                // As many were pulled as there were, but others may have come first.
                match self.older().await.map(|older| older.min(further)) {
                    Ok(0) => return swept,
                    Ok(older) => {
                        further = further.saturating_sub(older);
                        pace.allow(older);
                    }
                    Err(failure) => swept.failure = Some(failure),
                }
                continue;
            }
            tokio::select! {
                biased;
                () = &mut stop, if !swept.is_stopped => {
                    swept.is_stopped = true;
                    self.stopping.send_replace(true);
                }
                Some(joined) = cycles.join_next(), if !cycles.is_empty() => {
                    let panicked = |_| Cycle::ended(Failure::new(Exit::Service, "a task panicked"));
                    let cycle: Cycle = joined.unwrap_or_else(panicked);
                    swept.counts += cycle.counts;
                    let pulled = self.pulled.fetch_add(cycle.pulled.into(), Ordering::Relaxed);
                    self.pulled_of_backlog.fetch_add(cycle.of_backlog, Ordering::Relaxed);
                    self.progress.at(pulled.saturating_add(cycle.pulled.into()));
                    let given_up = pace.ended(&cycle, cycles.len());
                    if let Some(error) = cycle.pull_error.as_ref().filter(|_| !given_up) {
                        self.progress.remark("pull", &format!("a pull failed, and is retried: {error}"));
                    }
                    let failure = cycle.failure.or_else(|| given_up.then(|| cycle.pull_error.map(Failure::from))?);
                    swept.failure = swept.failure.take().or(failure);
                }
                _ = signs.tick() => self.progress.at(self.pulled.load(Ordering::Relaxed)),
                () = sleep_until(pace.next().max(self.gate.is_near())), if may_start => {
                    let asked = pace.started(self.gate.left());
                    cycles.spawn(Arc::clone(&self).cycle(asked));
                }
            }
        }
    }

    /// How many of the first available messages were there at the start.
    async fn older(&self) -> Result<u64, Failure> {
        let mut failures = Failures::default();
        loop {
            let error = match self.queue.peek(BATCH).await {
                Ok(messages) => {
                    let older = messages.iter().filter(|message| self.was_there(message.timestamp, Duration::ZERO));
                    return Ok(older.count() as u64);
                }
                Err(error) => error,
            };
            sleep(failures.bounded_pause(&error).ok_or_else(|| Failure::from(error))?).await;
        }
    }

    /// Whether a message was there at the start, if the clocks differ by so much at most.
    fn was_there(&self, timestamp: Option<SystemTime>, skew: Duration) -> bool {
        timestamp.is_some_and(|timestamp| timestamp < self.started.0 + skew)
    }

    async fn is_stopping(&self) {
        // The sender lives as long as this does.
        let _ = self.stopping.subscribe().wait_for(|is_stopping| *is_stopping).await;
    }

    /// How long a message is hidden whose lease cannot be kept: a generous estimate of how long the sweep takes, but at
    /// most so long.
    fn delay(&self, most: Duration) -> Duration {
        let (pulled, took) = (self.pulled.load(Ordering::Relaxed), self.started.1.elapsed());
        // The rate is one of messages that are taken.
        let usual = if self.plan.filter.is_all() { USUAL_RATE.min(self.plan.rate) } else { USUAL_RATE };
        let rate = if took > LEASE / 12 { pulled as f64 / took.as_secs_f64() } else { usual };
        let left = self.backlog.unwrap_or_default().saturating_sub(pulled);
        let takes = Duration::try_from_secs_f64(2.0 * left as f64 / rate).unwrap_or(LONGEST_DELAY);
        let delay = takes.saturating_add(self.gate.debt()).saturating_add(LEASE).min(most);
        self.hidden.fetch_max(took.saturating_add(delay).as_secs(), Ordering::Relaxed);
        delay
    }

    /// Hands back what stays, and looks at what is in the queue.
    async fn end(&self, swept: &mut Swept) {
        let lease = self.kept.lease();
        let hidden = Duration::from_secs(self.hidden.load(Ordering::Relaxed));
        let hidden_until = clock_time(self.started.0 + hidden);
        let unreturned = self.kept.give_back(&self.acker, &self.progress).await;
        swept.counts.unreturned += unreturned;
        swept.lost = self.kept.lost();
        if let Err(failure) = self.allowance.restore().await {
            swept.failure = swept.failure.take().or(Some(failure));
        }
        if unreturned > 0 {
            let until = clock_time(SystemTime::now() + lease);
            let stay = counted(unreturned, "message that stays", "messages that stay");
            self.progress.say(&format!("{stay} may be hidden until about {until}"));
        }
        if self.kept.hidden() > 0 {
            let (one, many) =
                ("message whose lease could not be extended is", "messages whose leases could not be extended are");
            let hidden = counted(self.kept.hidden(), one, many);
            self.progress.say(&format!("{hidden} hidden until about {hidden_until}"));
        }
        if swept.counts.renewed > 0 {
            let one = "message was at its last delivery, and was pushed as a new one";
            let many = "messages were at their last delivery, and were pushed as new ones";
            self.progress.say(&format!(
                "{}; what stays is hidden until about {hidden_until} (--raise-retries avoids that)",
                counted(swept.counts.renewed, one, many)
            ));
        }
        if swept.failure.is_none() && !swept.is_stopped && self.gate.left() > 0 {
            let looked = self.look_back(swept).await;
            swept.unknown = looked.unwrap_or_else(|error| Some(error.to_string()));
        }
    }

    /// Counts what is in the queue and was not pulled. Returns why that is not known.
    async fn look_back(&self, swept: &mut Swept) -> Result<Option<String>, Error> {
        let (before, counts) = (self.backlog.unwrap_or_default(), swept.counts);
        let in_queue = counts.in_queue(!self.plan.keep);
        let removed = if self.plan.keep { 0 } else { counts.taken };
        let Some(now) = backlog::count(&self.queue, before.saturating_sub(removed)).await? else {
            return Ok(Some("the service does not count them".to_owned()));
        };
        let others = now.saturating_sub(in_queue);
        // Of those that were there, some may have come in place of others that were leased.
        let of_backlog = self.pulled_of_backlog.load(Ordering::Relaxed);
        let unpulled = self.backlog.map_or(u64::MAX, |backlog| backlog.saturating_sub(of_backlog));
        // Those that may not be deleted are counted, and did not arrive.
        let uncounted = others.saturating_sub(counts.unconfirmed);
        swept.unavailable = if self.plan.until_empty { others } else { others.min(unpulled) };
        swept.arrived = uncounted.saturating_sub(swept.unavailable);
        if swept.unavailable > 0 {
            let timeout = self.allowance.consumer().visibility_timeout();
            let timeout = timeout.unwrap_or(LEASE).clamp(LEASE, LONGEST_DELAY);
            let until = clock_time(SystemTime::now() + timeout);
            let (one, many) = ("message is in the queue and was", "messages are in the queue and were");
            let both = match counts.unconfirmed.min(swept.unavailable) {
                0 => String::new(),
                both => format!("; up to {both} of them may be those that are not confirmed as deleted"),
            };
            self.progress.say(&format!(
                "{} not available: leased, delayed or hidden; if leased for the queue's visibility timeout, until \
                 about {until}{both}",
                counted(swept.unavailable, one, many)
            ));
        }
        if swept.arrived > 0 {
            let arrived = messages(swept.arrived);
            self.progress
                .say(&format!("{arrived} arrived since the start (--until-empty takes such messages as well)"));
        }
        Ok(None)
    }
}
