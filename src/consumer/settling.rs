//! What happens to messages after their handlers.

use std::time::Duration;

use tokio::task::{self, JoinError};

use super::{
    Verdict,
    run::Run,
    work::{Handled, HeldMessage, Outcome, Settled, Settling},
};
use crate::{
    acker::Confirmation,
    error::Error,
    limits,
    push::PushMessage,
    queue::Queue,
    settlement::{Lease, Settlement},
};

/// How many unconfirmed leases a report holds.
const MOST_UNCONFIRMED: usize = 10_000;

impl Run {
    /// A handler has finished.
    pub(super) fn end(&mut self, joined: Result<(task::Id, Vec<Outcome>), JoinError>) {
        let (id, outcomes) = match joined {
            Ok((id, outcomes)) => (id, outcomes.into_iter().map(|outcome| outcome.map_err(Some)).collect()),
            Err(error) => (error.id(), Vec::new()),
        };
        let Some(Handled { messages, since }) = self.handled.remove(&id) else { return };
        let took = since.elapsed();
        self.handler_time = Some(self.handler_time.map_or(took, |average| (average * 7 + took) / 8));
        let has_panicked = outcomes.is_empty();
        let panicked = if has_panicked { messages.len() as u64 } else { 0 };
        self.recorder.count(|stats| {
            stats.handler_times.record(took);
            stats.panicked += panicked;
        });
        if has_panicked {
            tracing::warn!(messages = messages.len(), "a handler panicked");
        }
        let mut outcomes: std::vec::IntoIter<Result<Verdict, Option<String>>> = outcomes.into_iter();
        for held in messages {
            self.forget(held.key, held.bytes);
            self.decide(held, outcomes.next().unwrap_or(Err(None)));
        }
    }

    fn decide(&mut self, held: HeldMessage, outcome: Result<Verdict, Option<String>>) {
        self.handlers_brake.record(outcome.is_err());
        let verdict = match outcome {
            Ok(verdict) => verdict,
            Err(error) => {
                self.recorder.count(|stats| stats.failed += 1);
                self.after_failure(&held, error.as_deref())
            }
        };
        let lease = held.lease();
        match verdict {
            Verdict::Ack => self.submit(Settlement::ack(lease)),
            Verdict::Retry => self.submit(Settlement::retry(lease)),
            Verdict::RetryIn(delay) => self.submit(Settlement::retry_in(lease, delay.min(limits::MAX_DELAY))),
            Verdict::Leave => self.recorder.count(|stats| stats.left += 1),
            Verdict::DeadLetter => self.bury(held, lease),
        }
    }

    fn after_failure(&self, held: &HeldMessage, error: Option<&str>) -> Verdict {
        let is_last = |most| held.attempts.is_some_and(|attempts| attempts >= most);
        if self.settings.dead_letters.is_some() && self.settings.max_attempts.is_some_and(is_last) {
            return Verdict::DeadLetter;
        }
        self.settings.retry_delay.verdict(held.attempts, held.message.as_ref(), error)
    }

    /// Pushes a message to the dead-letter queue, and acknowledges it only after that.
    fn bury(&mut self, held: HeldMessage, lease: Lease) {
        let (Some(dead_letters), Some(message)) = (&self.settings.dead_letters, &held.message) else {
            tracing::warn!("a message should go to the dead-letter queue, but none is set: it is retried");
            return match self.settings.retry_delay.verdict(held.attempts, held.message.as_ref(), None) {
                Verdict::RetryIn(delay) => self.submit(Settlement::retry_in(lease, delay.min(limits::MAX_DELAY))),
                _ => self.submit(Settlement::retry(lease)),
            };
        };
        let (queue, push) = (dead_letters.clone(), PushMessage::from_body(&message.body));
        self.submit_after(Settlement::ack(lease), Some((queue, push)));
    }

    pub(super) fn submit(&mut self, settlement: Settlement) {
        self.submit_after(settlement, None);
    }

    fn submit_after(&mut self, settlement: Settlement, push: Option<(Queue, Result<PushMessage, Error>)>) {
        let (acker, submitted, is_dead_letter) = (self.acker.clone(), settlement.clone(), push.is_some());
        let settle = async move {
            if let Some((queue, message)) = push
                && let Err(error) = async { queue.push(&message?).await }.await
            {
                return Settled::NotPushed(error);
            }
            Settled::Said(async { acker.submit(submitted).await?.await }.await)
        };
        self.acks.begin();
        let task = self.settlements.spawn(settle);
        self.settling.insert(task.id(), Settling { settlement, is_dead_letter });
    }

    /// The outcome of an acknowledgement or a retry is known.
    pub(super) fn settled(&mut self, joined: Result<(task::Id, Settled), JoinError>) {
        let (id, settled) = joined.map_or_else(|error| (error.id(), None), |(id, settled)| (id, Some(settled)));
        let Some(Settling { settlement, is_dead_letter }) = self.settling.remove(&id) else { return };
        self.acks.end();
        // A task that did not finish did not report what it sent.
        let Some(settled) = settled else { return self.keep_unless_unpushed(settlement, is_dead_letter) };
        match settled {
            Settled::Said(Ok(Confirmation::Confirmed)) => self.confirmed(&settlement, is_dead_letter),
            Settled::Said(said) => self.not_confirmed(settlement, said.err().as_ref()),
            Settled::NotPushed(error) => {
                tracing::warn!(%error, "a dead letter could not be pushed");
                self.recorder.count(|stats| {
                    stats.left += 1;
                    stats.dead_letter_failures += 1;
                });
                self.acks.not_begun();
                self.recorder.failed(&error);
            }
        }
    }

    fn confirmed(&mut self, settlement: &Settlement, is_dead_letter: bool) {
        let is_ack = settlement.decision.is_ack();
        self.recorder.count(|stats| {
            let count = match (is_dead_letter, is_ack) {
                (true, _) => &mut stats.dead_lettered,
                (false, true) => &mut stats.acknowledged,
                (false, false) => &mut stats.retried,
            };
            *count += 1;
        });
        self.pulls.trust();
        self.acks.confirmed();
    }

    fn not_confirmed(&mut self, settlement: Settlement, error: Option<&Error>) {
        self.keep(settlement);
        self.acks.not_confirmed(error);
        if let Some(error) = error {
            self.recorder.failed(error);
        }
        self.error = self.error.take().or_else(|| self.acks.error());
    }

    /// Keeps an unconfirmed lease for the report, unless there are too many.
    pub(super) fn keep(&mut self, settlement: Settlement) {
        self.recorder.count(|stats| stats.unconfirmed += 1);
        if self.unconfirmed.len() < MOST_UNCONFIRMED {
            self.unconfirmed.extend([settlement]);
        }
    }

    /// Keeps what was still in flight at the end.
    pub(super) fn keep_all(&mut self) {
        for Settling { settlement, is_dead_letter } in std::mem::take(&mut self.settling).into_values() {
            self.keep_unless_unpushed(settlement, is_dead_letter);
        }
    }

    /// A dead letter that may not have been pushed must not be acknowledged when the report's leases are sent again.
    fn keep_unless_unpushed(&mut self, settlement: Settlement, is_dead_letter: bool) {
        match is_dead_letter {
            true => self.recorder.count(|stats| stats.left += 1),
            false => self.keep(settlement),
        }
    }

    /// An immediate retry of an undecided message.
    pub(super) fn hand_back(&mut self, lease: impl Into<Lease>) {
        self.submit(Settlement::retry_in(lease, Duration::ZERO));
    }
}
