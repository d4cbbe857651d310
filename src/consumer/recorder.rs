//! Records what a run does, in its own statistics and in those of its consumer.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{acks::STALLED, stats::Stats};
use crate::{
    error::{Error, kind::ErrorKind},
    flow::{adaptive::Setback, contained::lock},
    message::{confirmation::Confirmation, pull::Batch, settlement::Decision},
    queue::Queue,
};

#[cfg(feature = "metrics")]
use crate::queue::ids::QueueId;

/// What a consumer and its clones do, in all their runs and streams.
#[derive(Clone, Debug)]
pub(super) struct Total {
    totals: Arc<Mutex<Totals>>,
    #[cfg(feature = "metrics")]
    queue_id: QueueId,
}

#[derive(Debug)]
struct Totals {
    stats: Stats,
    last_pull: Option<Instant>,
    /// Runs and streams that have not ended.
    running: Vec<Arc<Mutex<Record>>>,
    past: Past,
}

/// What is known of runs and streams that have ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    /// When each condition last ended with the run that it held in, or in it.
    pub(super) ended: [Option<Instant>; CONDITIONS],
    /// When the first one began, or the last one ended.
    pub(super) turned: Instant,
}

/// How many conditions of a run there are.
pub(super) const CONDITIONS: usize = 5;

/// One run or stream.
#[derive(Debug)]
struct Record {
    stats: Stats,
    state: State,
}

/// What a run or stream is now.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) pulls_fail: Since,
    pub(super) acks_fail: Since,
    pub(super) slowed: Since,
    /// All handlers are busy, and none has finished.
    pub(super) busy: Since,
    /// Acknowledgements wait for confirmation, and none is confirmed.
    pub(super) unsettled: Since,
    pub(super) paused: Since,
}

impl State {
    /// What can be wrong, from the worst; two of them are the same if there is one.
    pub(super) fn conditions(&self) -> [[Since; 2]; CONDITIONS] {
        [[self.pulls_fail; 2], [self.acks_fail, self.unsettled], [self.busy; 2], [self.slowed; 2], [self.paused; 2]]
    }
}

/// Since when a condition holds. It may count only once it has held for some time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since {
    since: Option<Instant>,
    counts_after: Duration,
    /// When it last ended, if it counted.
    pub(super) ended: Option<Instant>,
}

impl Since {
    fn new(counts_after: Duration) -> Self {
        Self { since: None, counts_after, ended: None }
    }

    /// It holds since then, or not at all.
    fn set(&mut self, since: Option<Instant>) {
        if self.since != since && self.counting().is_some() {
            self.ended = Some(Instant::now());
        }
        self.since = since;
    }

    fn hold(&mut self, holds: bool) {
        self.set(holds.then(|| self.since.unwrap_or_else(Instant::now)));
    }

    /// Since when it counts.
    pub(super) fn counting(&self) -> Option<Instant> {
        let from = self.since?.checked_add(self.counts_after)?;
        (self.counts_after.is_zero() || from < Instant::now()).then_some(from)
    }
}

impl Total {
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "its id is a label of metrics"))]
    pub(super) fn new(queue: &Queue) -> Self {
        let past = Past { ended: [None; CONDITIONS], turned: Instant::now() };
        let totals = Totals { stats: Stats::default(), last_pull: None, running: Vec::new(), past };
        Self {
            totals: Arc::new(Mutex::new(totals)),
            #[cfg(feature = "metrics")]
            queue_id: queue.id().clone(),
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let totals = lock(&self.totals);
        let slowdown = totals.running.iter().map(|run| lock(run).stats.slowdown).max();
        Stats { slowdown: slowdown.unwrap_or_default(), ..totals.stats.clone() }
    }

    /// The states of what is running.
    pub(super) fn states(&self) -> Vec<State> {
        lock(&self.totals).running.iter().map(|run| lock(run).state).collect()
    }

    pub(super) fn past(&self) -> Past {
        lock(&self.totals).past
    }

    pub(super) fn last_pull(&self) -> Option<Instant> {
        lock(&self.totals).last_pull
    }
}

/// The current state, in addition to the counts.
#[derive(Clone, Copy, Default, PartialEq)]
pub(super) struct Gauges {
    pub(super) pulls_in_flight: u64,
    pub(super) waiting: u64,
    pub(super) handlers_running: u64,
    pub(super) concurrency: u64,
    pub(super) slowdown: u32,
    /// All handlers are busy.
    pub(super) is_full: bool,
    pub(super) is_paused: bool,
    /// Acknowledgements are not confirmed.
    pub(super) acks_fail: bool,
    /// Since when some are waiting for confirmation, and none is confirmed.
    pub(super) unsettled: Option<Instant>,
}

/// Records what a run or a stream does. Its tasks have clones, which may outlast it.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    run: Arc<Mutex<Record>>,
    total: Total,
}

impl Counter {
    /// For a run that starts; [`end`](Self::end) says when it is over.
    pub(super) fn new(total: &Total, visibility_timeout: Duration) -> Self {
        #[cfg(feature = "metrics")]
        super::metrics::present(&total.queue_id);
        let at_once = Since::new(Duration::ZERO);
        let state = State {
            pulls_fail: at_once,
            acks_fail: at_once,
            slowed: at_once,
            busy: Since::new(visibility_timeout),
            unsettled: Since::new(STALLED),
            paused: at_once,
        };
        let run = Arc::new(Mutex::new(Record { stats: Stats::default(), state }));
        let mut totals = lock(&total.totals);
        if totals.running.is_empty() {
            totals.past.turned = Instant::now();
        }
        totals.running.push(Arc::clone(&run));
        drop(totals);
        Self { run, total: total.clone() }
    }

    pub(super) fn stats(&self) -> Stats {
        lock(&self.run).stats.clone()
    }

    /// The run is over, even if its statistics are still needed.
    pub(super) fn end(&self) {
        let (mut totals, now) = (lock(&self.total.totals), Instant::now());
        let Some(at) = totals.running.iter().position(|run| Arc::ptr_eq(run, &self.run)) else { return };
        totals.running.remove(at);
        if totals.running.is_empty() {
            totals.past.turned = now;
        }
        let conditions = lock(&self.run).state.conditions();
        for (ended, conditions) in totals.past.ended.iter_mut().zip(conditions) {
            let end = |since: &Since| since.counting().map_or(since.ended, |_| Some(now));
            *ended = conditions.iter().map(end).fold(*ended, Option::max);
        }
    }

    pub(super) fn count(&self, change: impl Fn(&mut Stats)) {
        self.update(&change, |_| ());
        change(&mut lock(&self.total.totals).stats);
    }

    pub(super) fn failed(&self, error: &Error) {
        let text = error.to_string();
        self.count(|stats| stats.last_error = Some(text.clone()));
    }

    pub(super) fn pulled(&self, batch: &Batch) {
        let clock = SystemTime::now();
        self.count(|stats| {
            stats.pulls += 1;
            stats.empty_pulls += u64::from(batch.is_empty());
            stats.pulled += batch.len() as u64;
            stats.rate_limited_pulls += u64::from(batch.trip.setback == Setback::RateLimit);
            stats.without_lease += batch.without_lease as u64;
            stats.backlog_count = batch.backlog_count;
            stats.last_pull = Some(clock);
        });
        lock(&self.run).state.pulls_fail.hold(false);
        lock(&self.total.totals).last_pull = Some(Instant::now());
    }

    pub(super) fn pull_failed(&self, error: &Error) {
        self.count(|stats| {
            stats.pull_failures += 1;
            stats.rate_limited_pulls += u64::from(error.kind() == ErrorKind::RateLimited);
        });
        self.failed(error);
        lock(&self.run).state.pulls_fail.hold(true);
    }

    /// A handler has finished, or panicked with so many messages.
    pub(super) fn handled(&self, took: Duration, panicked: u64) {
        let record = |stats: &mut Stats| {
            stats.handler_times.record(took);
            stats.panicked += panicked;
        };
        self.update(record, |state| state.busy.set(state.busy.since.map(|_| Instant::now())));
        record(&mut lock(&self.total.totals).stats);
    }

    /// The service confirmed or accepted what was decided on a message.
    pub(super) fn settled(&self, decision: Decision, is_dead_letter: bool, confirmation: &Confirmation) {
        self.count(|stats| {
            let count = match (confirmation, is_dead_letter, decision.is_ack()) {
                (Confirmation::Accepted, ..) => &mut stats.accepted,
                (_, true, _) => &mut stats.dead_lettered,
                (_, false, true) => &mut stats.acknowledged,
                (_, false, false) => &mut stats.retried,
            };
            *count += 1;
        });
    }

    /// A dead letter could not be pushed, so its message is left.
    pub(super) fn not_pushed(&self, error: &Error) {
        self.count(|stats| {
            stats.left += 1;
            stats.dead_letter_failures += 1;
        });
        self.failed(error);
    }

    /// Replaces the previous state.
    pub(super) fn gauge(&self, before: Gauges, now: Gauges) {
        if before == now {
            return;
        }
        let moved = |total: &mut u64, before: u64, now: u64| *total = total.saturating_add(now).saturating_sub(before);
        let move_all = |stats: &mut Stats| {
            moved(&mut stats.pulls_in_flight, before.pulls_in_flight, now.pulls_in_flight);
            moved(&mut stats.waiting, before.waiting, now.waiting);
            moved(&mut stats.handlers_running, before.handlers_running, now.handlers_running);
            moved(&mut stats.concurrency, before.concurrency, now.concurrency);
            stats.slowdown = now.slowdown;
        };
        self.update(move_all, |state| {
            state.slowed.hold(now.slowdown > 0);
            state.busy.hold(now.is_full);
            state.paused.hold(now.is_paused);
            state.acks_fail.hold(now.acks_fail);
            state.unsettled.set(now.unsettled);
        });
        move_all(&mut lock(&self.total.totals).stats);
    }

    /// Changes the record of the run.
    fn update(&self, count: impl Fn(&mut Stats), change: impl FnOnce(&mut State)) {
        let mut record = lock(&self.run);
        #[cfg(feature = "metrics")]
        let before = super::metrics::Before::of(&record.stats);
        count(&mut record.stats);
        change(&mut record.state);
        #[cfg(feature = "metrics")]
        before.record(&self.total.queue_id, &record.stats);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::Emulator;

    #[test]
    fn the_slowdown_of_a_consumer_is_that_of_its_slowest_run() {
        let total = Total::new(&Emulator::in_process().queue().unwrap());
        let (slow, fast) = (Counter::new(&total, Duration::ZERO), Counter::new(&total, Duration::ZERO));
        let (none, slowed) = (Gauges::default(), Gauges { slowdown: 3, ..Gauges::default() });
        slow.gauge(none, slowed);
        fast.gauge(none, Gauges { waiting: 1, ..none });
        assert_eq!((total.stats().slowdown, fast.stats().slowdown), (3, 0));
        let is_slowed = || total.states().iter().map(|state| state.slowed.counting().is_some()).collect::<Vec<_>>();
        assert_eq!(is_slowed(), [true, false]);
        slow.gauge(slowed, none);
        assert_eq!((total.stats().slowdown, is_slowed()), (0, vec![false; 2]));
    }
}
