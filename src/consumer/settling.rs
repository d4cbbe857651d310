//! What happens to messages after their handlers.

use std::time::Duration;

use tokio::task::{self, JoinError};

use super::{
    Verdict,
    fate::{Fate, bury},
    run::Run,
    work::{Handled, HeldMessage, Outcome, Settled, Settling},
};
use crate::{
    acker::Confirmation,
    error::Error,
    message::Message,
    queue::Queue,
    settlement::{Decision, Lease, Settlement},
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
        self.recorder.handled(took, panicked);
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
        if outcome.is_err() {
            self.recorder.count(|stats| stats.failed += 1);
        }
        let outcome = outcome.as_ref().map(|verdict| *verdict).map_err(Option::as_deref);
        match self.settings.fate(outcome, held.attempts, held.message.as_ref()) {
            Fate::Settle(decision) => self.submit(Settlement::new(held.lease(), decision)),
            Fate::Bury(queue, message) => self.submit_after(Settlement::ack(held.lease()), Some((queue, message))),
            Fate::Leave => self.recorder.count(|stats| stats.left += 1),
        }
    }

    pub(super) fn submit(&mut self, settlement: Settlement) {
        self.submit_after(settlement, None);
    }

    /// Settles a lease, after a dead letter was pushed if there is one.
    fn submit_after(&mut self, settlement: Settlement, dead_letter: Option<(Queue, Message)>) {
        let (acker, submitted, is_dead_letter) = (self.acker.clone(), settlement.clone(), dead_letter.is_some());
        let settle = async move {
            if let Some((queue, message)) = dead_letter
                && let Err(error) = bury(queue, message).await
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
            Settled::Said(Ok(Confirmation::Confirmed)) => self.confirmed(settlement.decision, is_dead_letter),
            Settled::Said(said) => self.not_confirmed(settlement, said.err().as_ref()),
            Settled::NotPushed(error) => {
                self.recorder.not_pushed(&error);
                self.acks.not_begun();
            }
        }
    }

    fn confirmed(&mut self, decision: Decision, is_dead_letter: bool) {
        self.recorder.confirmed(decision, is_dead_letter);
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
