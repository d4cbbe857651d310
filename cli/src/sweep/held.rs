//! The leases of a batch, held for as long as it takes.

use std::{future::Future, pin::pin, time::Duration};

use cloudflare_queues::{Batch, Lease, Queue};
use tokio::time::{Instant, sleep};

use super::LEASE;

pub(crate) struct Held<'a> {
    queue: &'a Queue,
    leases: Vec<Lease>,
    until: Instant,
}

impl<'a> Held<'a> {
    pub(super) fn new(queue: &'a Queue, batch: &Batch) -> Self {
        let first = batch.iter().map(|message| message.lease_deadline).min();
        Self {
            queue,
            leases: batch.iter().map(Lease::from).collect(),
            until: first.map_or_else(Instant::now, Instant::from),
        }
    }

    /// Does this, and extends the leases meanwhile.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = self.wait(LEASE / 3) => {}
            }
        }
    }

    /// Waits, and extends the leases meanwhile. Returns whether they are held for certain.
    pub(crate) async fn wait(&mut self, wait: Duration) -> bool {
        let (mut left, mut are_held) = (wait, true);
        while !left.is_zero() {
            let part = left.min(LEASE / 3);
            sleep(part).await;
            left = left.saturating_sub(part);
            are_held = self.keep().await;
        }
        are_held
    }

    /// Extends the leases if less than half of their time is left. Returns whether they are held for certain.
    pub(crate) async fn keep(&mut self) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        if left < LEASE / 2
            && !left.is_zero()
            && let Ok(outcome) = self.queue.extend(&self.leases, LEASE).await
            && let Some(until) = outcome.deadline()
        {
            self.until = self.until.max(until.into());
        }
        self.until > Instant::now()
    }
}
