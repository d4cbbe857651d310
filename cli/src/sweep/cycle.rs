//! One batch: pulled, given to the sink, settled.

use std::{sync::Arc, time::Duration};

use cloudflare_queues::{Error, Message, PullOptions};

use super::{Counts, Held, Outcome, Sink, Sweep, Taken, settle::settle};
use crate::exit::{Exit, Failure};

/// What came of a batch.
#[derive(Default)]
pub(super) struct Cycle {
    pub(super) asked: u32,
    pub(super) pulled: u32,
    /// How many of them meet the conditions.
    pub(super) wanted: u32,
    pub(super) bytes: usize,
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
        let mut cycle = Cycle { asked, ..Cycle::default() };
        let options = PullOptions::new().batch_size(asked).visibility_timeout(self.kept.lease());
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
        let (mut wanted, mut others): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|message| self.plan.filter.matches(message));
        cycle.wanted = u32::try_from(wanted.len()).unwrap_or(asked);
        cycle.counts.skipped = others.len() as u64;
        let within_limit = self.gate.reserve(wanted.len());
        others.extend(wanted.drain(within_limit..));
        self.stay(&others.iter().collect::<Vec<_>>(), &mut leases, &mut cycle).await;
        for piece in wanted.chunks(self.gate.most()) {
            self.take(piece, &mut leases, &mut cycle).await;
        }
        self.gate.give_back((within_limit as u64).saturating_sub(cycle.counts.taken));
        cycle
    }

    /// Gives messages to the sink, when it is their turn, and settles them.
    async fn take(&self, messages: &[Message], leases: &mut Held<'_>, cycle: &mut Cycle) {
        let is_turn = cycle.failure.is_none()
            && tokio::select! {
                biased;
                () = self.is_stopping() => false,
                are_held = leases.wait_until(self.gate.at(messages.len())) => are_held,
            };
        let Taken { outcomes, failure } = match is_turn {
            true => self.sink.take(messages, leases).await,
            false => Taken { outcomes: vec![Outcome::Failed; messages.len()], failure: None },
        };
        cycle.failure = cycle.failure.take().or(failure);
        let (mut removed, mut stays, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for (message, outcome) in messages.iter().zip(outcomes) {
            match outcome {
                Outcome::Taken if self.plan.keep => stays.push(message),
                Outcome::Taken => removed.push(message),
                Outcome::Unfit => stays.push(message),
                Outcome::Failed => left.push(message),
            }
            let Counts { taken, unfit, left, .. } = &mut cycle.counts;
            *match outcome {
                Outcome::Taken => taken,
                Outcome::Unfit => unfit,
                Outcome::Failed => left,
            } += 1;
        }
        leases.during(self.settle(removed, None, cycle)).await;
        leases.release(
            messages.iter().filter(|message| !stays.iter().chain(&left).any(|kept| kept.lease_id == message.lease_id)),
        );
        self.stay(&stays, leases, cycle).await;
        self.hand_back(&left, leases, cycle).await;
    }

    /// Keeps the leases of messages that stay, until the sweep ends.
    async fn stay(&self, messages: &[&Message], leases: &mut Held<'_>, cycle: &mut Cycle) {
        let (last, kept): (Vec<&Message>, Vec<&Message>) = messages.iter().partition(|message| self.is_last(message));
        self.kept.keep(kept.iter().copied());
        leases.release(kept);
        let delay = if last.is_empty() { Duration::ZERO } else { self.delay() };
        let saved = self.save(&last, delay, leases, cycle).await;
        self.kept.keep(saved.iter().copied());
        leases.release(last);
    }

    /// Hands messages back that could not be taken, to be delivered at once.
    async fn hand_back(&self, messages: &[&Message], leases: &mut Held<'_>, cycle: &mut Cycle) {
        let (last, others): (Vec<&Message>, Vec<&Message>) = messages.iter().partition(|message| self.is_last(message));
        let saved = self.save(&last, Duration::ZERO, leases, cycle).await;
        let retried = others.into_iter().chain(saved);
        leases.during(self.settle(retried, Some(Duration::ZERO), cycle)).await;
        leases.release(messages.iter().copied());
    }

    /// Whether a message is not delivered again.
    fn is_last(&self, message: &Message) -> bool {
        !self.allowance.allows(message.attempts)
    }

    /// Saves messages at their last delivery: by raising `max_retries` if that is allowed; otherwise, each is pushed as
    /// a new one, with this delay, and acknowledged. Returns those that are delivered again.
    async fn save<'m>(
        &self,
        messages: &[&'m Message],
        delay: Duration,
        leases: &mut Held<'_>,
        cycle: &mut Cycle,
    ) -> Vec<&'m Message> {
        let Some(attempts) = messages.iter().map(|message| message.attempts).max() else { return Vec::new() };
        if self.allowance.may_raise {
            match leases.during(self.allowance.raise(attempts)).await {
                Ok(()) => {
                    self.tell_raised();
                    return messages.to_vec();
                }
                Err(failure) => self.progress.remark("raise", &failure.to_string()),
            }
        }
        let (mut copies, mut renewed, mut saved) = (Vec::new(), Vec::new(), Vec::new());
        for message in messages {
            match self.plan.copy(&message.body) {
                Some(copy) => {
                    copies.push(copy.delay(delay));
                    renewed.push(*message);
                }
                // Nothing else saves it.
                None => match leases.during(self.allowance.raise(message.attempts)).await {
                    Ok(()) => {
                        saved.push(*message);
                        cycle.failure = cycle.failure.take().or_else(|| Some(self.at_last_delivery(message)));
                    }
                    Err(failure) => self.lose(message, &failure.to_string(), cycle),
                },
            }
        }
        let pushed = match leases.during(self.queue.push_all(&copies)).await {
            Ok(_) => copies.len(),
            Err(failed) => {
                renewed
                    .iter()
                    .skip(failed.accepted)
                    .for_each(|message| self.lose(message, &failed.error.to_string(), cycle));
                failed.accepted
            }
        };
        cycle.counts.renewed += pushed as u64;
        leases.during(self.settle(renewed.into_iter().take(pushed), None, cycle)).await;
        saved
    }

    fn tell_raised(&self) {
        let (before, now) = (self.allowance.before(), self.allowance.retries());
        let what = format!("max_retries of the queue is raised from {before} to {now}; if this is killed, set it back");
        self.progress.remark("raised", &what);
    }

    fn at_last_delivery(&self, message: &Message) -> Failure {
        let (id, kind) = (&message.id, message.body.content_type());
        let what = format!(
            "message {id}, of the type {kind}, was at its last delivery, and cannot be pushed anew: max_retries was \
             raised to save it"
        );
        Failure::new(Exit::Refused, what).with_note("run it again with --raise-retries for the rest")
    }

    /// Its lease expires, and then it is gone.
    fn lose(&self, message: &Message, why: &str, cycle: &mut Cycle) {
        cycle.counts.left += 1;
        let (id, end) = (&message.id, self.allowance.end());
        self.progress
            .remark_on_message("last", &format!("message {id} is at its last delivery, and {end} in a minute: {why}"));
    }

    async fn settle<'m>(
        &self,
        messages: impl IntoIterator<Item = &'m Message>,
        retried: Option<Duration>,
        cycle: &mut Cycle,
    ) {
        let leases: Vec<_> = messages.into_iter().map(|message| message.lease_id.clone()).collect();
        let settled = settle(&self.acker, &leases, retried).await;
        cycle.counts.unconfirmed += settled.unconfirmed;
        // One lease that is refused does not keep others from being confirmed, now or in the next batch.
        if settled.unconfirmed == leases.len() as u64 {
            cycle.failure = cycle.failure.take().or(settled.error.map(Failure::from));
        }
    }
}
