//! Records what a run does, in its own statistics and in those of its consumer.

use std::{
    mem,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tokio::time::Instant;

use super::stats::Stats;
use crate::{error::Error, queue::Queue};

#[cfg(feature = "metrics")]
use crate::ids::QueueId;

#[derive(Clone, Debug)]
pub(super) struct Shared {
    record: Arc<Mutex<Record>>,
    #[cfg(feature = "metrics")]
    queue_id: QueueId,
}

#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) stats: Stats,
    /// Runs and streams that have not ended.
    pub(super) running: u32,
    pub(super) last_pull: Option<Instant>,
    pub(super) started: Option<Instant>,
    /// Since when pulls fail, acknowledgements fail, and all handlers are busy without any finishing.
    pub(super) pulls_fail: Option<Instant>,
    pub(super) acks_fail: Option<Instant>,
    pub(super) slowed: Option<Instant>,
    pub(super) busy: Option<Instant>,
    pub(super) unsettled: Option<Instant>,
}

impl Shared {
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "its id is a label of metrics"))]
    pub(super) fn new(queue: &Queue) -> Self {
        Self {
            record: Arc::default(),
            #[cfg(feature = "metrics")]
            queue_id: queue.id().clone(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another record of the same queue.
    fn anew(&self) -> Self {
        let mut anew = self.clone();
        anew.record = Arc::default();
        anew
    }

    /// Changes the record of a run.
    fn change(&self, change: impl Fn(&mut Record)) {
        let mut record = self.lock();
        #[cfg(feature = "metrics")]
        let before = super::metrics::Before::of(&record.stats);
        change(&mut record);
        #[cfg(feature = "metrics")]
        before.record(&self.queue_id, &record.stats);
    }
}

/// The current state, in addition to the counts.
#[derive(Clone, Copy, Default, PartialEq)]
pub(super) struct Gauges {
    pub(super) pulls_in_flight: u64,
    pub(super) waiting: u64,
    pub(super) handlers_running: u64,
    pub(super) slowdown: u32,
    /// All handlers are busy.
    pub(super) is_full: bool,
    /// Acknowledgements are not confirmed.
    pub(super) acks_fail: bool,
    /// Since when some are waiting for confirmation, and none is confirmed.
    pub(super) unsettled: Option<Instant>,
}

/// Records what a run or a stream does while it lasts.
#[derive(Debug)]
pub(super) struct Recorder {
    counter: Counter,
    is_running: bool,
}

impl Recorder {
    /// For a run that starts.
    pub(super) fn new(total: &Shared) -> Self {
        let recorder = Self { counter: Counter { run: total.anew(), total: total.clone() }, is_running: true };
        recorder.update(|record| {
            record.running = record.running.saturating_add(1);
            record.started = Some(Instant::now());
        });
        recorder
    }

    /// For tasks that count independently of the run.
    pub(super) fn handle(&self) -> Counter {
        self.counter.clone()
    }

    pub(super) fn stats(&self) -> Stats {
        self.counter.run.lock().stats.clone()
    }

    /// The run is over, even if its statistics are still needed.
    pub(super) fn end(&mut self) {
        if mem::take(&mut self.is_running) {
            self.update(|record| record.running = record.running.saturating_sub(1));
        }
    }
}

impl Deref for Recorder {
    type Target = Counter;

    fn deref(&self) -> &Counter {
        &self.counter
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

/// Records without keeping a run alive.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    run: Shared,
    total: Shared,
}

impl Counter {
    pub(super) fn count(&self, change: impl Fn(&mut Stats)) {
        self.update(|record| change(&mut record.stats));
    }

    pub(super) fn failed(&self, error: &Error) {
        let text = error.to_string();
        self.count(|stats| stats.last_error = Some(text.clone()));
    }

    pub(super) fn update(&self, change: impl Fn(&mut Record)) {
        self.run.change(&change);
        change(&mut self.total.lock());
    }

    pub(super) fn pulled(&self) {
        let (now, clock) = (Instant::now(), SystemTime::now());
        self.update(|record| {
            record.last_pull = Some(now);
            record.pulls_fail = None;
            record.stats.last_pull = Some(clock);
        });
    }

    /// Replaces the previous state.
    pub(super) fn gauge(&self, before: Gauges, now: Gauges) {
        if before == now {
            return;
        }
        let moved = |total: &mut u64, before: u64, now: u64| *total = total.saturating_add(now).saturating_sub(before);
        self.update(|record| {
            let stats = &mut record.stats;
            moved(&mut stats.pulls_in_flight, before.pulls_in_flight, now.pulls_in_flight);
            moved(&mut stats.waiting, before.waiting, now.waiting);
            moved(&mut stats.handlers_running, before.handlers_running, now.handlers_running);
            stats.slowdown = now.slowdown;
            since(&mut record.slowed, now.slowdown > 0);
            since(&mut record.busy, now.is_full);
            since(&mut record.acks_fail, now.acks_fail);
            record.unsettled = now.unsettled;
        });
    }
}

/// Since when a condition holds.
pub(super) fn since(since: &mut Option<Instant>, holds: bool) {
    *since = holds.then(|| since.unwrap_or_else(Instant::now));
}
