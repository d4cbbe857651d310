//! How many batches are in flight, how large they are, and when the next one begins.

use std::time::Duration;

use tokio::time::Instant;

use super::{BATCH, LEASE, Plan, cycle::Cycle};
use crate::patience::Failures;

/// The queue counts as empty after this many empty pulls in a row.
const EMPTY: u32 = 3;
/// The rest after such a pull.
const REST: Duration = Duration::from_millis(200);
/// How many batches are in flight at first, and how many more after each full one.
const FIRST: usize = 4;
const MORE: usize = 2;
/// What all batches in flight may hold.
const MOST_BYTES: f64 = 64e6;

pub(super) struct Pace {
    rate: f64,
    most: usize,
    /// How many batches should be in flight.
    wanted: usize,
    /// How many messages may still be asked for, if that is bounded.
    left: Option<u64>,
    next: Instant,
    /// A moving average of message sizes; the last batch has a weight of one fifth.
    bytes: f64,
    /// Until then, messages may be under leases whose response was lost.
    stranded: Instant,
    empty: u32,
    failures: Failures,
}

impl Pace {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            rate: plan.rate,
            most: plan.most_batches.max(1),
            wanted: FIRST,
            left: plan.limit,
            next: Instant::now(),
            bytes: 0.0,
            stranded: Instant::now(),
            empty: 0,
            failures: Failures::default(),
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.empty >= EMPTY
    }

    pub(super) fn may_start(&self, in_flight: usize) -> bool {
        // At what may be the end, one pull at a time.
        let wanted = if self.empty > 0 { 1 } else { self.wanted };
        in_flight < wanted && self.left != Some(0)
    }

    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// How many messages the batch that starts now is of. At a low rate, no more than a second's.
    pub(super) fn started(&mut self) -> u32 {
        let by_bytes = MOST_BYTES / self.wanted.max(1) as f64 / self.bytes.max(1.0);
        let asked = f64::from(BATCH).min(self.rate).min(by_bytes).max(1.0) as u32;
        let asked = self.left.map_or(asked, |left| asked.min(u32::try_from(left).unwrap_or(asked)));
        self.left = self.left.map(|left| left.saturating_sub(asked.into()));
        self.next = self.next.max(Instant::now()) + self.time(asked);
        asked
    }

    /// Takes a batch in. Returns whether pulls have failed for too long.
    pub(super) fn ended(&mut self, cycle: &Cycle, in_flight: usize) -> bool {
        let unused = cycle.asked.saturating_sub(cycle.pulled);
        self.next = self.next.checked_sub(self.time(unused)).unwrap_or(self.next);
        let untaken = u64::from(cycle.asked).saturating_sub(cycle.counts.taken);
        self.left = self.left.map(|left| left.saturating_add(untaken));
        let Some(error) = &cycle.pull_error else {
            self.failures = Failures::default();
            self.filled(cycle, in_flight);
            return false;
        };
        if error.may_have_arrived() {
            self.stranded = Instant::now() + LEASE;
        }
        self.wanted = (self.wanted / 2).max(1);
        let pause = self.failures.bounded_pause(error);
        self.next = self.next.max(Instant::now() + pause.unwrap_or_default());
        pause.is_none()
    }

    fn filled(&mut self, cycle: &Cycle, in_flight: usize) {
        if cycle.pulled == 0 {
            self.wanted = (self.wanted / 2).max(1);
            // Others may still bring something.
            let now = Instant::now();
            if in_flight == 0 && self.stranded <= now {
                self.empty = self.empty.saturating_add(1);
            }
            // Empty pulls are billed.
            let rest = if self.stranded > now { LEASE / 12 } else { REST };
            self.next = self.next.max(now + rest);
            return;
        }
        let average = cycle.bytes as f64 / f64::from(cycle.pulled);
        self.bytes = if self.bytes == 0.0 { average } else { self.bytes.mul_add(0.8, average * 0.2) };
        if cycle.fresh == 0 {
            // From now on, they are hidden for longer, so that the sweep ends.
            return;
        }
        self.empty = 0;
        if cycle.pulled >= cycle.asked {
            self.wanted = self.wanted.saturating_add(MORE).min(self.most);
        }
    }

    fn time(&self, messages: u32) -> Duration {
        Duration::try_from_secs_f64(f64::from(messages) / self.rate).unwrap_or(LEASE)
    }
}
