//! One batch: pulled, given to the sink, settled.

use std::{sync::Arc, time::Duration};

use cloudflare_queues::{AckOutcome, AckRequest, Error, Message, PullOptions, PushMessage};

use super::{Counts, Fate, Held, LEASE, Sink, Sweep, Taken, pace::backoff};
use crate::{
    exit::Failure,
    filter::{Subject, matches},
};

/// How often acknowledgements are sent that fail, beside the client's own retries.
const TRIES: u32 = 5;

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
        let (wanted, others): (Vec<_>, Vec<_>) = batch.into_iter().partition(|message| self.is_wanted(message));
        // Of those that stay, some may come a second time.
        let (wanted, again): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|message| !self.plan.keep || self.is_new(message));
        let skipped = others.iter().filter(|message| self.is_new(message)).count();
        (cycle.fresh, cycle.counts.skipped) = (skipped as u32, skipped as u64);
        let Taken { fates, failure } = self.sink.take(&wanted, &mut leases).await;
        cycle.failure = failure;

        let mut request = AckRequest::new();
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
            if fate == Fate::Taken && !self.plan.keep { _ = request.ack(message) } else { kept.push(message) }
        }
        if cycle.fresh < cycle.pulled {
            self.hold_longer(hold);
        }
        cycle.counts.left += self.put_back(&stays, self.hold(), &mut request).await;
        cycle.counts.left += self.put_back(&left, Duration::ZERO, &mut request).await;
        self.settle(request, &mut leases, &mut cycle).await;
        cycle
    }

    fn is_wanted(&self, message: &Message) -> bool {
        let Message { id, attempts, timestamp, body, .. } = message;
        matches(&self.plan.conditions, Subject { id, attempts: *attempts, timestamp: *timestamp, body })
    }

    /// Leaves messages in the queue. Those that would not be delivered again are pushed as new messages before they are
    /// acknowledged. Returns how many of these could not be pushed.
    async fn put_back(&self, stays: &[&Message], delay: Duration, request: &mut AckRequest) -> u64 {
        let (mut copies, mut renewed) = (Vec::new(), Vec::new());
        let mut failed: u64 = 0;
        for message in stays {
            if message.attempts.is_none_or(|attempts| attempts < self.deliveries) {
                request.retry_in(*message, delay);
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
        renewed.iter().take(pushed).for_each(|message| _ = request.ack(*message));
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

    async fn settle(&self, mut request: AckRequest, leases: &mut Held<'_>, cycle: &mut Cycle) {
        let mut tries = 0;
        while !request.is_empty() {
            match self.queue.ack(request).await {
                Ok(outcome) => {
                    cycle.counts.unconfirmed += missing(&outcome);
                    return;
                }
                Err(failed) => {
                    tries += 1;
                    cycle.counts.unconfirmed += missing(&failed.confirmed);
                    if !failed.error.is_transient() || tries >= TRIES {
                        cycle.counts.unconfirmed += failed.unconfirmed.len() as u64;
                        cycle.failure = cycle.failure.take().or(Some(failed.error.into()));
                        return;
                    }
                    // Late ones are accepted, too.
                    let _ = leases.wait(failed.error.retry_after().unwrap_or_default().max(backoff(tries))).await;
                    request = failed.unconfirmed;
                }
            }
        }
    }
}

/// How many leases the service did not confirm. It does not say which.
fn missing(outcome: &AckOutcome) -> u64 {
    if outcome.is_complete() {
        return 0;
    }
    let short = |asked: u64, count: Option<u64>| asked.saturating_sub(count.unwrap_or_default());
    let missing = short(outcome.acks_requested, outcome.ack_count)
        .saturating_add(short(outcome.retries_requested, outcome.retry_count));
    missing.max(outcome.warnings.len() as u64).max(1)
}
