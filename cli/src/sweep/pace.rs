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
    /// How many messages may still be asked for, if that is bounded: no more than were there at the start.
    left: Option<u64>,
    /// How many messages batches in flight may take: those that were asked for.
    asked: u64,
    next: Instant,
    /// The share of messages that meet the conditions; the last batch has a weight of one fifth.
    share: Option<f64>,
    /// A moving average of message sizes, with the same weight.
    bytes: f64,
    /// Until then, messages may be under leases whose response was lost.
    stranded: Instant,
    empty: u32,
    failures: Failures,
}

impl Pace {
    pub(super) fn new(plan: &Plan, left: Option<u64>) -> Self {
        Self {
            rate: plan.rate,
            most: plan.most_batches.max(1),
            wanted: FIRST,
            left,
            asked: 0,
            next: Instant::now(),
            share: None,
            bytes: 0.0,
            stranded: Instant::now(),
            empty: 0,
            failures: Failures::default(),
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.empty >= EMPTY
    }

    /// Whether to start a batch, if no more than `most` messages may be taken.
    pub(super) fn may_start(&self, in_flight: usize, most: u64) -> bool {
        // At what may be the end, one pull at a time.
        let wanted = if self.empty > 0 { 1 } else { self.wanted };
        in_flight < wanted && self.left != Some(0) && self.room(most) > 0.0
    }

    fn share(&self) -> f64 {
        self.share.unwrap_or(1.0).max(0.001)
    }

    /// How many more messages may be asked for until `most` are likely taken: what else is pulled stays, which costs it
    /// a delivery.
    fn room(&self, most: u64) -> f64 {
        (most as f64 / self.share() - self.asked as f64).max(0.0)
    }

    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// So many more messages may be asked for.
    pub(super) fn allow(&mut self, messages: u64) {
        self.left = self.left.map(|left| left.saturating_add(messages));
    }

    /// How many messages the batch that starts now is of, if no more than `most` may be taken. At a low rate, no more
    /// than a second's.
    pub(super) fn started(&mut self, most: u64) -> u32 {
        let share = self.share();
        let by_bytes = MOST_BYTES / self.wanted.max(1) as f64 / self.bytes.max(1.0);
        let by_limit = self.room(most).ceil();
        let asked = f64::from(BATCH).min(self.rate / share).min(by_bytes).min(by_limit).max(1.0) as u32;
        let asked = self.left.map_or(asked, |left| asked.min(u32::try_from(left).unwrap_or(asked)));
        self.left = self.left.map(|left| left.saturating_sub(asked.into()));
        self.asked = self.asked.saturating_add(asked.into());
        self.next = self.next.max(Instant::now()) + self.time(f64::from(asked) * share);
        asked
    }

    /// Takes a batch in. Returns whether pulls have failed for too long.
    pub(super) fn ended(&mut self, cycle: &Cycle, in_flight: usize) -> bool {
        let unused = f64::from(cycle.asked) * self.share.unwrap_or(1.0) - f64::from(cycle.wanted);
        self.next = self.next.checked_sub(self.time(unused.max(0.0))).unwrap_or(self.next);
        self.asked = self.asked.saturating_sub(cycle.asked.into());
        self.allow(cycle.asked.saturating_sub(cycle.pulled).into());
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
            // Others may still return messages.
            let now = Instant::now();
            if in_flight == 0 && self.stranded <= now {
                self.empty = self.empty.saturating_add(1);
            }
            // Empty pulls are billed.
            let rest = if self.stranded > now { LEASE / 12 } else { REST };
            self.next = self.next.max(now + rest);
            return;
        }
        let average = |before: f64, now: f64| before.mul_add(0.8, now * 0.2);
        let bytes = cycle.bytes as f64 / f64::from(cycle.pulled);
        self.bytes = if self.bytes == 0.0 { bytes } else { average(self.bytes, bytes) };
        let share = f64::from(cycle.wanted) / f64::from(cycle.pulled);
        self.share = Some(self.share.map_or(share, |before| average(before, share)));
        self.empty = 0;
        if cycle.pulled >= cycle.asked {
            self.wanted = self.wanted.saturating_add(MORE).min(self.most);
        }
    }

    fn time(&self, messages: f64) -> Duration {
        Duration::try_from_secs_f64(messages / self.rate).unwrap_or(LEASE)
    }
}
