//! The leases of a batch, held for as long as it takes.

use std::{collections::HashSet, future::Future, pin::pin, time::Duration};

use cloudflare_queues::{Batch, Lease, LeaseId, Message, Queue};
use tokio::time::{Instant, sleep_until};

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

    /// These are no longer extended.
    pub(super) fn release<'m>(&mut self, messages: impl IntoIterator<Item = &'m Message>) {
        let released: HashSet<&LeaseId> = messages.into_iter().map(|message| &message.lease_id).collect();
        self.leases.retain(|lease| !released.contains(lease.id()));
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
        self.wait_until(Instant::now() + wait).await
    }

    /// The same, until then.
    pub(super) async fn wait_until(&mut self, end: Instant) -> bool {
        let mut are_held = self.until > Instant::now();
        while Instant::now() < end {
            sleep_until(end.min(Instant::now() + LEASE / 3)).await;
            are_held = self.keep().await;
        }
        are_held
    }

    /// Extends the leases if less than half of their time is left. Returns whether they are held for certain.
    pub(crate) async fn keep(&mut self) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        if left < LEASE / 2
            && !left.is_zero()
            && !self.leases.is_empty()
            && let Ok(outcome) = self.queue.extend(&self.leases, LEASE).await
            && let Some(until) = outcome.deadline()
        {
            self.until = self.until.max(until.into());
        }
        self.until > Instant::now()
    }
}
