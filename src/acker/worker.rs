//! The task behind an acker: sends due requests, as the limit in flight allows.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use tokio::{
    task::{self, JoinSet},
    time::Instant,
};

use super::{
    ledger::{Ledger, Pending, Work},
    request::Requests,
};
use crate::flow::{contained::id_of, pace};

pub(super) struct Worker {
    ledger: Arc<Ledger>,
    requests: Arc<Requests>,
    in_flight: JoinSet<()>,
    /// How many leases were added before those of each request in flight.
    requested: HashMap<task::Id, u64>,
}

impl Worker {
    pub(super) fn new(ledger: Arc<Ledger>, requests: Requests) -> Self {
        Self { ledger, requests: Arc::new(requests), in_flight: JoinSet::new(), requested: HashMap::new() }
    }

    /// Runs until every handle is dropped and every lease has its outcome.
    pub(super) async fn run(mut self) {
        loop {
            let has_room = self.requested.len() < self.requests.pace.limit();
            let due = match self.ledger.take(has_room) {
                Work::Send(first, group) => {
                    self.send(first, group);
                    continue;
                }
                Work::Wait(due) => due,
                Work::Done if self.requested.is_empty() => break,
                Work::Done => None,
            };
            self.ledger.tell_flushed(self.requested.values().copied().min());
            if !has_room && self.ledger.is_due() {
                self.requests.pace.hold_back();
            }
            self.next(due).await;
        }
    }

    fn send(&mut self, first: u64, group: Vec<Pending>) {
        let (requests, now) = (Arc::clone(&self.requests), Instant::now());
        let request = self.in_flight.spawn(async move { requests.settle(group, now).await });
        self.requested.insert(request.id(), first);
    }

    /// Waits until something changes, a request finishes, or leases are due.
    async fn next(&mut self, due: Option<Instant>) {
        let ledger = Arc::clone(&self.ledger);
        let mut changed = pin!(ledger.changed.notified());
        let mut timer = pin!(pace::due(due));
        poll_fn(|context| {
            let mut has_ended = false;
            while let Poll::Ready(Some(joined)) = self.in_flight.poll_join_next_with_id(context) {
                self.requested.remove(&id_of(joined));
                has_ended = true;
            }
            let is_changed = changed.as_mut().poll(context).is_ready();
            match has_ended || is_changed || timer.as_mut().poll(context).is_ready() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
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
