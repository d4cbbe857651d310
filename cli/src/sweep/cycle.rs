//! One batch: pulled, given to the sink, settled.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use cloudflare_queues::{Batch, Error, Lease, Message, PullOptions};
use tokio::time::sleep;

use super::{
    BETWEEN_SIGNS, Counts, HOLD, Held, LEASE, LONGEST_DELAY, MOST_SKEW, Outcome, SHORT_DELAY, Sink, Sweep, Taken,
    settle::settle,
};
use crate::{
    exit::{Exit, Failure},
    output::counted,
    record::clock_time,
};

/// What came of a batch.
#[derive(Default)]
pub(super) struct Cycle {
    pub(super) asked: u32,
    pub(super) pulled: u32,
    /// How many of them were there when the sweep started.
    pub(super) of_backlog: u64,
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
        let batch = match self.pull_safely(asked).await {
            Ok(Ok(batch)) => batch,
            Ok(Err(failure)) => {
                cycle.failure = Some(failure);
                return cycle;
            }
            Err(error) => {
                cycle.pull_error = Some(error);
                return cycle;
            }
        };
        let mut leases = Held::new(&self.queue, &batch);
        cycle.pulled = u32::try_from(batch.len()).unwrap_or(asked);
        let was_there = |message: &&Message| self.was_there(message.timestamp, MOST_SKEW);
        cycle.of_backlog = batch.iter().filter(was_there).count() as u64;
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

    /// Pulls a batch. Where some messages are at their last delivery, these are looked at first, by one at a time.
    async fn pull_safely(&self, asked: u32) -> Result<Result<Batch, Failure>, Error> {
        let mut looking = None;
        if self.allowance.is_scarce() {
            looking = Some(self.looking.lock().await);
            if let Some(message) = self.endangered().await? {
                return Ok(Err(self.refusal("stopped before the end", &message)));
            }
        }
        let options = PullOptions::new().batch_size(asked).visibility_timeout(self.kept.lease());
        let batch = self.queue.pull(options).await?;
        drop(looking);
        if batch.iter().any(|message| self.is_last(message)) {
            self.allowance.note_scarcity();
        }
        Ok(Ok(batch))
    }

    /// Gives messages to the sink, when it is their turn, and settles them.
    async fn take(&self, messages: &[Message], leases: &mut Held<'_>, cycle: &mut Cycle) {
        // What is lost unless it is taken is taken at a stop as well.
        let is_endangered = |message: &Message| self.is_last(message) && self.plan.copy(&message.body).is_none();
        let may_wait = !messages.iter().any(is_endangered);
        let is_turn = cycle.failure.is_none()
            && tokio::select! {
                biased;
                () = self.is_stopping(), if may_wait => false,
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
        cycle.counts.undeleted += leases.during(self.settle(removed, None, cycle)).await;
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
        // A copy that is pulled again would be taken again if all are kept. Otherwise, it stays again.
        let most = if self.plan.keep { LONGEST_DELAY } else { SHORT_DELAY };
        let delay = if last.is_empty() { Duration::ZERO } else { self.delay(most) };
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
    /// a new one, with this delay, and acknowledged. Where nothing saves one, its lease is extended and the sweep ends.
    /// Returns those that are delivered again.
    async fn save<'m>(
        &self,
        messages: &[&'m Message],
        delay: Duration,
        leases: &mut Held<'_>,
        cycle: &mut Cycle,
    ) -> Vec<&'m Message> {
        let Some(attempts) = messages.iter().map(|message| message.attempts).max() else { return Vec::new() };
        if self.allowance.may_raise {
            match leases.during(self.allowance.raise(attempts, &self.progress)).await {
                Ok(()) => return messages.to_vec(),
                Err(failure) => self.progress.remark("raise", &failure.to_string()),
            }
        }
        let copy = |message: &&&Message| self.plan.copy(&message.body).is_some();
        let (renewed, lost): (Vec<&Message>, Vec<&Message>) = messages.iter().partition(copy);
        self.hold(&lost, "they cannot be pushed anew", leases, cycle).await;
        let copies: Vec<_> = renewed.iter().filter_map(|message| self.plan.copy(&message.body)).collect();
        let copies: Vec<_> = copies.into_iter().map(|copy| copy.delay(delay)).collect();
        let (pushed, error) = match leases.during(self.queue.push_all(&copies)).await {
            Ok(_) => (copies.len(), None),
            Err(failed) => (failed.accepted, Some(failed.error)),
        };
        cycle.counts.renewed += pushed as u64;
        let (pushed, lost) = renewed.split_at(pushed.min(renewed.len()));
        if let Some(error) = error {
            self.hold(lost, &format!("pushing them again failed: {error}"), leases, cycle).await;
        }
        leases.during(self.settle(pushed.iter().copied(), None, cycle)).await;
        Vec::new()
    }

    /// Leases messages for as long as that is possible that are gone when their leases end, and ends the sweep.
    async fn hold(&self, messages: &[&Message], why: &str, leases: &mut Held<'_>, cycle: &mut Cycle) {
        let Some(first) = messages.first() else { return };
        // Otherwise, they would be extended by less.
        leases.release(messages.iter().copied());
        let extended = self.queue.extend(messages.iter().map(|message| Lease::from(*message)), HOLD).await;
        let is_extended = extended.is_ok_and(|outcome| outcome.extensions.doubtful() == 0);
        let until = clock_time(SystemTime::now() + if is_extended { HOLD } else { LEASE });
        let (one, many) = ("message is at its last delivery", "messages are at their last delivery");
        let last = counted(messages.len() as u64, one, many);
        let (id, kind, end) = (&first.id, first.body.content_type(), self.allowance.end());
        let retries = self.allowance.retries();
        let what = format!(
            "{last}, and {why}, the first of them {id}, of the type {kind}: each is leased until about {until}, and \
             then {end}, unless max_retries of the queue's pull consumer is more than {retries} by then"
        );
        self.progress.remark_on_message("last", &what);
        let failure = Failure::new(Exit::Refused, "stopped before the end: messages are at their last delivery");
        let advice = "raise max_retries of the queue before their leases end; --raise-retries does that in time";
        cycle.failure = cycle.failure.take().or_else(|| Some(failure.with_note(advice)));
    }

    /// Returns for how many messages the service did not confirm it.
    async fn settle<'m>(
        &self,
        messages: impl IntoIterator<Item = &'m Message>,
        retried: Option<Duration>,
        cycle: &mut Cycle,
    ) -> u64 {
        let leases: Vec<_> = messages.into_iter().map(|message| message.lease_id.clone()).collect();
        let mut settling = pin!(settle(&self.acker, &leases, retried));
        let settled = loop {
            tokio::select! {
                settled = &mut settling => break settled,
                () = sleep(BETWEEN_SIGNS) => {
                    let what = "acknowledgements are not confirmed yet, and are retried";
                    self.progress.remark("settle", what);
                }
            }
        };
        let Counts { unconfirmed, unreturned, .. } = &mut cycle.counts;
        *if retried.is_some() { unreturned } else { unconfirmed } += settled.unconfirmed;
        // One lease that is refused does not keep others from being confirmed, now or in the next batch.
        if settled.unconfirmed == leases.len() as u64 {
            cycle.failure = cycle.failure.take().or(settled.error.map(Failure::from));
        }
        settled.unconfirmed
    }
}
