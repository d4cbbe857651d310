//! The leases of a batch, held for as long as it takes.

use cloudflare_queues::{Message, Queue};
use tokio::time::Instant;

use super::LEASE;

pub(crate) struct Held<'a> {
    queue: &'a Queue,
    messages: &'a [Message],
    until: Instant,
}

impl<'a> Held<'a> {
    pub(super) fn new(queue: &'a Queue, messages: &'a [Message]) -> Self {
        let first = messages.iter().map(|message| message.lease_deadline).min();
        Self { queue, messages, until: first.map_or_else(Instant::now, Instant::from) }
    }

    /// Extends the leases if less than half of their time is left. Returns whether they are held for certain.
    pub(crate) async fn keep(&mut self) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        if left < LEASE / 2
            && !left.is_zero()
            && let Ok(outcome) = self.queue.extend(self.messages, LEASE).await
            && let Some(until) = outcome.deadline()
        {
            self.until = self.until.max(until.into());
        }
        self.until > Instant::now()
    }
}
