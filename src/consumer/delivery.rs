//! One message of a stream, to be decided on.

use std::{fmt, future::Future, time::Duration};

use super::{Undecided, Verdict, recorder::Counter, settings::Settings};
use crate::{
    acker::{Acker, Confirmation, Receipt},
    error::Error,
    limits,
    message::Message,
    push::PushMessage,
    settlement::{Decision, Settlement},
};

/// A message that is to be decided on. One that is dropped undecided is retried, or left, by
/// [`Consumer::undecided`](super::Consumer::undecided).
pub struct Delivery<T = ()> {
    job: T,
    held: Held,
}

struct Held {
    message: Message,
    acker: Acker,
    undecided: Undecided,
    counter: Counter,
    is_decided: bool,
}

impl<T> Delivery<T> {
    pub(super) fn new(job: T, message: Message, acker: Acker, undecided: Undecided, counter: Counter) -> Self {
        Self { job, held: Held { message, acker, undecided, counter, is_decided: false } }
    }

    /// The message.
    pub fn message(&self) -> &Message {
        &self.held.message
    }

    /// The body, if the consumer [decodes](super::Consumer::json) it.
    pub fn job(&self) -> &T {
        &self.job
    }

    /// Acknowledges the message.
    ///
    /// It waits while the acker's [buffer](crate::AckerOptions::buffer) is full. Dropping the future does not take the
    /// decision back: it is sent all the same, unless too many of them wait already.
    ///
    /// # Errors
    ///
    /// As [`Acker::ack`].
    pub fn ack(self) -> impl Future<Output = Result<Receipt, Error>> + Send + use<T> {
        self.held.decide(Decision::Ack)
    }

    /// Retries the message after the queue's own retry delay. Dropping the future does not take that back.
    ///
    /// # Errors
    ///
    /// As [`Acker::retry`].
    pub fn retry(self) -> impl Future<Output = Result<Receipt, Error>> + Send + use<T> {
        self.held.decide(Decision::Retry)
    }

    /// Retries the message after `delay`, of at most 24 hours. Dropping the future does not take that back.
    ///
    /// # Errors
    ///
    /// As [`Acker::retry_in`].
    pub fn retry_in(self, delay: Duration) -> impl Future<Output = Result<Receipt, Error>> + Send + use<T> {
        self.held.decide(Decision::RetryIn(delay))
    }

    /// Leaves the message: it is delivered again when its lease expires.
    pub fn leave(mut self) {
        self.held.leave();
    }

    /// Lets go of the message without a word, and without counting it.
    pub(super) fn forget(&mut self) {
        self.held.is_decided = true;
    }

    /// Does what is to become of a message that could not be decoded.
    pub(super) async fn apply(mut self, verdict: Result<Verdict, String>, settings: &Settings) {
        let message = &self.held.message;
        let verdict = verdict.unwrap_or_else(|error| {
            tracing::warn!(%error, messaging.message.id = message.id, "what decides on undecodable messages failed");
            settings.retry_delay.verdict(message.attempts, Some(message), Some(&error))
        });
        let decision = match (verdict, &settings.dead_letters) {
            (Verdict::Ack, _) => Decision::Ack,
            (Verdict::Retry, _) | (Verdict::DeadLetter, None) => Decision::Retry,
            (Verdict::RetryIn(delay), _) => Decision::RetryIn(delay.min(limits::MAX_DELAY)),
            (Verdict::Leave, _) => return self.held.leave(),
            (Verdict::DeadLetter, Some(dead_letters)) => {
                let pushed = async { dead_letters.push(&PushMessage::from_body(&message.body)?).await };
                if let Err(error) = pushed.await {
                    tracing::warn!(%error, messaging.message.id = message.id, "a dead letter could not be pushed");
                    self.held.counter.count(|stats| stats.dead_letter_failures += 1);
                    return self.held.leave();
                }
                Decision::Ack
            }
        };
        // The outcome is counted where it is known.
        let _ = self.held.decide(decision).await;
    }
}

impl Held {
    fn leave(&mut self) {
        self.is_decided = true;
        self.counter.count(|stats| stats.left += 1);
    }

    /// What was decided stays so, even if the future is never polled.
    fn decide(mut self, decision: Decision) -> impl Future<Output = Result<Receipt, Error>> + Send + use<> {
        self.is_decided = true;
        let counter = self.counter.clone();
        let observe = move |outcome: &Result<Confirmation, Error>| {
            let is_confirmed = matches!(outcome, Ok(Confirmation::Confirmed));
            counter.count(|stats| {
                let count = match (is_confirmed, decision) {
                    (false, _) => &mut stats.unconfirmed,
                    (true, Decision::Ack) => &mut stats.acknowledged,
                    (true, _) => &mut stats.retried,
                };
                *count += 1;
            });
        };
        self.acker.settle(Settlement::new(&self.message, decision), Box::new(observe))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.is_decided {
            return;
        }
        match self.undecided {
            Undecided::Retry => {
                // Nobody learns the outcome.
                let _ = self.acker.submit_detached(Settlement::retry_in(&self.message, Duration::ZERO));
                self.leave();
            }
            Undecided::Leave => self.leave(),
        }
    }
}

impl<T> fmt::Debug for Delivery<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("message", &self.held.message).finish_non_exhaustive()
    }
}
