//! What happens to messages after their handlers.

use std::{future::Future, mem, time::Duration};

use tokio::task::{self, JoinError};

use super::{
    Verdict,
    fate::{Fate, bury},
    pulls::MESSAGE_BYTES,
    run::Run,
    work::{Handled, HeldMessage, Outcome, Settled, Settling},
};
use crate::{
    acker::Confirmation,
    error::Error,
    message::{
        Message,
        settlement::{Decision, Lease, Settlement},
    },
    queue::Queue,
};

/// How many unconfirmed leases a report holds.
const MOST_UNCONFIRMED: usize = 10_000;

impl Run {
    /// A handler has finished.
    pub(super) fn end(&mut self, joined: Result<(task::Id, Vec<Outcome>), JoinError>) {
        let has_panicked = joined.is_err();
        let (id, outcomes) = match joined {
            Ok((id, outcomes)) => (id, outcomes.into_iter().map(|outcome| outcome.map_err(Some)).collect()),
            Err(error) => (error.id(), Vec::new()),
        };
        let Some(Handled { messages, since }) = self.handled.remove(&id) else { return };
        let took = since.elapsed();
        self.handler_time = Some(self.handler_time.map_or(took, |average| (average * 7 + took) / 8));
        let panicked = if has_panicked { messages.len() as u64 } else { 0 };
        self.recorder.handled(took, panicked);
        if has_panicked {
            tracing::warn!(messages = messages.len(), "a handler panicked");
        }
        let mut outcomes: std::vec::IntoIter<Result<Verdict, Option<String>>> = outcomes.into_iter();
        for held in messages {
            self.decide(held, outcomes.next().unwrap_or(Err(None)));
        }
    }

    fn decide(&mut self, held: HeldMessage, outcome: Result<Verdict, Option<String>>) {
        self.handlers_brake.record(outcome.is_err());
        if outcome.is_err() {
            self.recorder.count(|stats| stats.failed += 1);
        }
        let outcome = outcome.as_ref().map(|verdict| *verdict).map_err(Option::as_deref);
        let fate = self.settings.fate(outcome, held.attempts, held.message.as_ref());
        if !matches!(fate, Fate::Bury(..)) {
            self.forget(held.key, held.bytes);
        }
        match fate {
            Fate::Settle(decision) => self.submit(Settlement::new(held.lease(), decision)),
            Fate::Bury(queue, message) => self.bury(held, queue, message),
            Fate::Leave => self.recorder.count(|stats| stats.left += 1),
        }
    }

    pub(super) fn submit(&mut self, settlement: Settlement) {
        let (acker, submitted) = (self.acker.clone(), settlement.clone());
        let settle = async move { Settled::Said(async { acker.submit(submitted).await?.await }.await) };
        self.spawn(settle, Settling::Decided(settlement));
    }

    /// Pushes a dead letter, whose lease is extended in the meantime, and acknowledges the message.
    fn bury(&mut self, mut held: HeldMessage, queue: Queue, message: Message) {
        held.message = None;
        // From here on, what a message takes besides its body counts as that of an unsettled one.
        let body = held.bytes.saturating_sub(MESSAGE_BYTES);
        self.bytes = self.bytes.saturating_sub(mem::replace(&mut held.bytes, body).saturating_sub(body));
        let (acker, pulse, buried) = (self.acker.clone(), self.pulse.clone(), held.clone());
        let settle = async move {
            let pushed = bury(queue, message).await;
            pulse.release(buried.key);
            match pushed {
                Ok(()) => Settled::Said(async { acker.submit(Settlement::ack(buried.lease())).await?.await }.await),
                Err(error) => Settled::NotPushed(error),
            }
        };
        self.spawn(settle, Settling::Buried(held));
    }

    fn spawn(&mut self, settle: impl Future<Output = Settled> + Send + 'static, settling: Settling) {
        self.acks.begin();
        let task = self.settlements.spawn(settle);
        self.settling.insert(task.id(), settling);
    }

    /// The outcome of an acknowledgement or a retry is known.
    pub(super) fn settled(&mut self, joined: Result<(task::Id, Settled), JoinError>) {
        let (id, settled) = joined.map_or_else(|error| (error.id(), None), |(id, settled)| (id, Some(settled)));
        let Some(settling) = self.settling.remove(&id) else { return };
        self.acks.end();
        if let Settling::Buried(held) = &settling {
            self.forget(held.key, held.bytes);
        }
        let (settlement, is_dead_letter) = settling.into_settlement();
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
        for settling in mem::take(&mut self.settling).into_values() {
            let (settlement, is_dead_letter) = settling.into_settlement();
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
