//! The task behind an acker: sends due requests, as the limit in flight allows.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use tokio::time::Instant;

use super::{
    ledger::{Ledger, Pending, Work},
    request::Requests,
};
use crate::flow::{pace, tasks::Tasks};

pub(super) struct Worker {
    ledger: Arc<Ledger>,
    requests: Arc<Requests>,
    /// With how many leases were added before those of each request.
    in_flight: Tasks<u64, ()>,
}

impl Worker {
    pub(super) fn new(ledger: Arc<Ledger>, requests: Requests) -> Self {
        Self { ledger, requests: Arc::new(requests), in_flight: Tasks::new() }
    }

    /// Runs until every handle is dropped and every lease has its outcome.
    pub(super) async fn run(mut self) {
        loop {
            let pace = &self.requests.pace;
            let is_below = self.in_flight.len() < pace.limit();
            // Leases that become due meanwhile do not wait.
            let wait = if is_below && self.ledger.is_due() { pace.rate.wait() } else { None };
            let has_room = is_below && wait.is_none();
            let due = match self.ledger.take(has_room) {
                Work::Send(first, group) => {
                    self.send(first, group);
                    continue;
                }
                Work::Wait(due) => due,
                Work::Done if self.in_flight.len() == 0 => break,
                Work::Done => None,
            };
            self.ledger.tell_flushed(self.in_flight.known().copied().min());
            if !is_below && self.ledger.is_due() {
                self.requests.pace.hold_back();
            }
            self.next(due.or(wait)).await;
        }
    }

    fn send(&mut self, first: u64, group: Vec<Pending>) {
        let requests = Arc::clone(&self.requests);
        requests.pace.rate.request(1);
        self.in_flight.spawn(first, async move { requests.settle(group).await });
    }

    /// Waits until something changes, a request finishes, or leases are due.
    async fn next(&mut self, due: Option<Instant>) {
        let ledger = Arc::clone(&self.ledger);
        let mut changed = pin!(ledger.changed.notified());
        let mut timer = pin!(pace::due(due));
        poll_fn(|context| {
            let mut has_changed = changed.as_mut().poll(context).is_ready();
            while let Poll::Ready(Some(_)) = self.in_flight.poll_ended(context) {
                has_changed = true;
            }
            if has_changed { Poll::Ready(()) } else { timer.as_mut().poll(context) }
        })
        .await;
    }
}

/// The runtime stops, or there is nothing left to do.
impl Drop for Worker {
    fn drop(&mut self) {
        self.ledger.stop();
    }
}
