//! One batch: pulled, given to the sink, settled.

use std::{sync::Arc, time::Duration};

use cloudflare_queues::{
    Error, Lease, Message, PullOptions, PushMessage,
    acker::{Confirmation, Receipt},
};
use tokio::time::Instant;

use super::{Counts, Fate, Held, LEASE, Sink, Sweep, Taken};
use crate::{exit::Failure, filter::matches, patience::PATIENCE};

/// What came of a batch.
#[derive(Default)]
pub(super) struct Cycle {
    pub(super) asked: u32,
    pub(super) pulled: u32,
    pub(super) bytes: usize,
    /// How many of the messages were not met before.
    pub(super) fresh: u32,
    pub(super) counts: Counts,
    pub(super) pull_error: Option<Error>,
    /// Why the sweep is to end.
    pub(super) failure: Option<Failure>,
}

impl Cycle {
    pub(super) fn ended(failure: Failure) -> Self {
        Self { failure: Some(failure), ..Self::default() }
    }
}

impl<S: Sink> Sweep<S> {
    pub(super) async fn cycle(self: Arc<Self>, asked: u32) -> Cycle {
        let (mut cycle, hold) = (Cycle { asked, ..Cycle::default() }, self.hold());
        let options = PullOptions::new().batch_size(asked).visibility_timeout(LEASE);
        let batch = match self.queue.pull(options).await {
            Ok(batch) => batch,
            Err(error) => {
                cycle.pull_error = Some(error);
                return cycle;
            }
        };
        let mut leases = Held::new(&self.queue, &batch);
        cycle.pulled = u32::try_from(batch.len()).unwrap_or(asked);
        cycle.bytes = batch.iter().map(|message| message.body.raw().len()).sum();
        let (wanted, others): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|message| matches(&self.plan.conditions, message));
        // Of those that stay, some may come a second time.
        let (wanted, again): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|message| !self.plan.keep || self.is_new(message));
        let skipped = others.iter().filter(|message| self.is_new(message)).count();
        (cycle.fresh, cycle.counts.skipped) = (skipped as u32, skipped as u64);
        let Taken { fates, failure } = self.sink.take(&wanted, &mut leases).await;
        cycle.failure = failure;

        let mut settled = Vec::new();
        let (mut stays, mut left) = (others.iter().chain(&again).collect::<Vec<_>>(), Vec::new());
        for (message, fate) in wanted.iter().zip(fates) {
            let is_first = fate != Fate::Unfit || self.plan.keep || self.is_new(message);
            cycle.fresh += u32::from(is_first);
            let (count, kept) = match fate {
                Fate::Taken => (&mut cycle.counts.taken, &mut stays),
                Fate::Unfit => (&mut cycle.counts.unfit, &mut stays),
                Fate::Failed => (&mut cycle.counts.left, &mut left),
            };
            *count += u64::from(is_first);
            if fate == Fate::Taken && !self.plan.keep { settled.push((message, None)) } else { kept.push(message) }
        }
        if cycle.fresh < cycle.pulled {
            self.hold_longer(hold);
        }
        let settle = async {
            cycle.counts.left += self.put_back(&stays, self.hold(), &mut settled).await;
            cycle.counts.left += self.put_back(&left, Duration::ZERO, &mut settled).await;
            self.settle(settled, &mut cycle).await;
        };
        leases.during(settle).await;
        cycle
    }

    /// Leaves messages in the queue. Those that would not be delivered again are pushed as new messages before they are
    /// acknowledged. Returns how many of these could not be pushed.
    async fn put_back<'a>(&self, stays: &[&'a Message], delay: Duration, settled: &mut Vec<Settled<'a>>) -> u64 {
        let (mut copies, mut renewed) = (Vec::new(), Vec::new());
        let mut failed: u64 = 0;
        for message in stays {
            if message.attempts.is_none_or(|attempts| attempts < self.deliveries) {
                settled.push((message, Some(delay)));
                continue;
            }
            match PushMessage::from_body(&message.body) {
                Ok(copy) => {
                    copies.push(copy.delay(delay));
                    renewed.push(*message);
                }
                Err(error) => {
                    failed += 1;
                    self.remark_on_last(message, &error);
                }
            }
        }
        let (pushed, error) = match self.queue.push_all(&copies).await {
            Ok(_) => (copies.len(), None),
            Err(failed) => (failed.pushed, Some(failed.error)),
        };
        settled.extend(renewed.iter().take(pushed).map(|message| (*message, None)));
        for (message, error) in renewed.iter().skip(pushed).zip(error.iter().cycle()) {
            failed += 1;
            self.remark_on_last(message, error);
        }
        failed
    }

    /// A message that goes to the dead-letter queue of its queue, or is deleted, when its lease expires.
    fn remark_on_last(&self, message: &Message, error: &Error) {
        let id = &message.id;
        self.progress.remark(&format!("message {id} is not delivered again, and could not be pushed anew: {error}"));
    }

    /// Acknowledges messages, or has them delivered again, and waits until the service has confirmed it.
    async fn settle(&self, settled: Vec<Settled<'_>>, cycle: &mut Cycle) {
        // They are extended, and late acknowledgements are accepted, too.
        let deadline = (Instant::now() + PATIENCE).into_std();
        let mut receipts = Vec::new();
        for (message, retried) in &settled {
            let lease = Lease::new(&message.lease_id, deadline);
            receipts.push(match retried {
                None => self.acker.ack(lease).await,
                Some(delay) => self.acker.retry_in(lease, *delay).await,
            });
        }
        let (mut unconfirmed, mut failed) = (0, None);
        for receipt in receipts {
            match confirmed(receipt).await {
                Ok(Confirmation::Confirmed) => {}
                Ok(_) => unconfirmed += 1,
                Err(error) => {
                    unconfirmed += 1;
                    failed = Some(error);
                }
            }
        }
        cycle.counts.unconfirmed += unconfirmed;
        // One lease that is refused does not keep others from being confirmed, now or in the next batch.
        if unconfirmed == settled.len() as u64 {
            cycle.failure = cycle.failure.take().or(failed.map(Failure::from));
        }
    }
}

/// A message to be acknowledged, or to be delivered again after this time.
type Settled<'a> = (&'a Message, Option<Duration>);

async fn confirmed(receipt: Result<Receipt, Error>) -> Result<Confirmation, Error> {
    receipt?.await
}
