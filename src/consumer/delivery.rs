//! One message of a stream.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use super::{
    Undecided,
    decoding::Decided,
    fate::{Fate, bury},
    outcomes::Outcomes,
    pulse::Pulse,
    settings::Settings,
    work::Outcome,
};
use crate::{
    acker::{Acker, Receipt},
    error::Error,
    message::{
        Message,
        settlement::{Decision, Settlement},
    },
    queue::Queue,
};

/// A message of a stream, for you to decide on. If it is dropped undecided, it is retried or left, as
/// [`Consumer::undecided`](super::Consumer::undecided) says.
///
/// Its lease is [extended](super::Consumer::heartbeat) until then, even after the stream is dropped. If that fails, the
/// lease is lost, and another consumer may receive the message: see [`Message::lease`].
///
/// ```
/// # use cloudflare_queues::{Consumer, PushMessage, emulator::Emulator};
/// # use std::time::Duration;
/// # async fn work() {}
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let emulator = Emulator::start().await?;
/// # let queue = emulator.queue()?;
/// # queue.push(&PushMessage::text("hello")).await?;
/// # let mut deliveries = Consumer::new(queue).stream()?;
/// # let mut batch = deliveries.next_batch(1, Duration::ZERO).await.unwrap_or(Ok(vec![]))?;
/// # let delivery = batch.remove(0);
/// let lease = delivery.message().lease();
/// tokio::select! {
///     () = work() => drop(delivery.ack().await?),
///     () = lease.lost() => delivery.leave(),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Delivery<T = ()> {
    job: T,
    held: Held,
}

struct Held {
    message: Message,
    /// The key by which its lease is extended.
    key: u64,
    origin: Arc<Origin>,
    is_given_out: bool,
    is_decided: bool,
    /// It is decided on even if the acker is closed.
    is_late: bool,
    /// Its dead letter is being pushed.
    is_buried: bool,
}

/// What a stream shares with its deliveries, which may outlive it.
pub(super) struct Origin {
    pub(super) acker: Acker,
    pub(super) pulse: Pulse,
    pub(super) outcomes: Outcomes,
    pub(super) undecided: Undecided,
}

impl<T> Delivery<T> {
    pub(super) fn new(job: T, mut message: Message, origin: &Arc<Origin>) -> Self {
        let (key, origin) = (origin.pulse.hold(&mut message), Arc::clone(origin));
        let (is_given_out, is_decided, is_late, is_buried) = (false, false, false, false);
        Self { job, held: Held { message, key, origin, is_given_out, is_decided, is_late, is_buried } }
    }

    /// From here on, the stream no longer decides on it.
    pub(super) fn give_out(&mut self) {
        self.held.is_given_out = true;
        self.held.origin.pulse.work_on(self.held.key, true);
    }

    /// The stream decides on it again.
    pub(super) fn take_back(&mut self) {
        self.held.is_given_out = false;
        self.held.origin.pulse.work_on(self.held.key, false);
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
    /// Waits while the acker's [buffer](crate::acker::AckerOptions::buffer) is full. If the future is dropped, the
    /// acknowledgement is still sent, unless too many are waiting already.
    ///
    /// # Errors
    ///
    /// As for [`Acker::ack`].
    pub fn ack(self) -> impl Future<Output = Result<Receipt, Error>> + Send + use<T> {
        self.held.decide(Decision::Ack)
    }

    /// Retries the message after the queue's retry delay. If the future is dropped, the retry is still sent.
    ///
    /// # Errors
    ///
    /// As for [`Acker::retry`].
    pub fn retry(self) -> impl Future<Output = Result<Receipt, Error>> + Send + use<T> {
        self.held.decide(Decision::Retry)
    }

    /// Retries the message after `delay`, at most 24 hours. If the future is dropped, the retry is still sent.
    ///
    /// # Errors
    ///
    /// As for [`Acker::retry_in`].
    pub fn retry_in(self, delay: Duration) -> impl Future<Output = Result<Receipt, Error>> + Send + use<T> {
        self.held.decide(Decision::RetryIn(delay))
    }

    /// Leaves the message: it is delivered again when its lease expires.
    pub fn leave(mut self) {
        self.held.origin.outcomes.decided(false);
        self.held.leave();
    }

    /// Releases the message without sending or counting anything.
    pub(super) fn forget(&mut self) {
        self.held.is_decided = true;
    }

    /// A function decides on it, since it could not be decoded. If the future is dropped, even if it was never polled,
    /// the message was dropped undecided.
    pub(super) fn undecodable(mut self, decided: Decided, settings: Settings) -> impl Future<Output = ()> + use<T> {
        self.give_out();
        self.held.is_late = true;
        async move {
            let outcome = decided.await;
            self.apply(outcome, &settings).await;
        }
    }

    async fn apply(mut self, outcome: Outcome, settings: &Settings) {
        self.held.is_given_out = false;
        let (message, outcomes) = (&self.held.message, &self.held.origin.outcomes);
        outcomes.decided(outcome.is_err());
        if let Err(error) = &outcome {
            outcomes.counter().count(|stats| stats.failed += 1);
            tracing::warn!(%error, messaging.message.id = message.id, "the function for undecodable messages failed");
        }
        let outcome = outcome.as_ref().map(|verdict| *verdict).map_err(|error| Some(error.as_str()));
        match settings.fate(outcome, message.attempts, Some(message)) {
            Fate::Settle(decision) => self.held.settle_late(decision, false).await,
            // In a task of its own, which goes on if this one is aborted. If it panics, its message was dropped.
            Fate::Bury(queue, message) => drop(tokio::spawn(self.held.bury(queue, message)).await),
            Fate::Leave => self.held.leave(),
        }
    }
}

impl Held {
    fn leave(&mut self) {
        self.is_decided = true;
        self.origin.outcomes.counter().count(|stats| stats.left += 1);
    }

    /// The decision stands, even if the future is never polled.
    fn decide(mut self, decision: Decision) -> impl Future<Output = Result<Receipt, Error>> + Send + use<> {
        self.origin.outcomes.decided(false);
        self.is_decided = true;
        let observer = self.origin.outcomes.observe(decision, false);
        self.origin.acker.settle(Settlement::new(&self.message, decision), observer)
    }

    /// Pushes a dead letter, and acknowledges the message. After that has begun, a retry could lead to a second push.
    async fn bury(mut self, queue: Queue, message: Message) {
        (self.is_decided, self.is_buried) = (true, true);
        self.origin.outcomes.burying();
        let pushed = bury(queue, message).await;
        self.is_buried = false;
        match pushed {
            Ok(()) => self.settle_late(Decision::Ack, true).await,
            Err(error) => self.origin.outcomes.not_pushed(Some(&error)),
        }
    }

    /// As [`decide`](Self::decide), even if the acker is closed. The outcome is counted when it is known.
    async fn settle_late(mut self, decision: Decision, is_dead_letter: bool) {
        self.is_decided = true;
        let observer = self.origin.outcomes.observe(decision, is_dead_letter);
        let _ = self.origin.acker.settle_late(Settlement::new(&self.message, decision), observer).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Origin { acker, pulse, outcomes, undecided } = &*self.origin;
        pulse.release(self.key);
        if self.is_buried {
            outcomes.not_pushed(None);
        }
        if self.is_decided {
            return;
        }
        if self.is_given_out {
            outcomes.decided(true);
        }
        match undecided {
            Undecided::Retry => {
                let decision = Decision::RetryIn(Duration::ZERO);
                let (settlement, observer) =
                    (Settlement::new(&self.message, decision), outcomes.observe(decision, false));
                match self.is_late {
                    true => acker.submit_detached_late(settlement, Some(observer)),
                    false => acker.submit_detached(settlement, Some(observer)),
                }
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
