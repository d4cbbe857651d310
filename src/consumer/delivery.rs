//! A message with what it needs until its outcome, whoever holds it.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use tokio::task::JoinHandle;

use super::{
    dead_letter::{Reason, letter},
    decoding::Decided,
    handlers::Handled,
    heartbeat::{Heartbeat, Hold},
    outcomes::Outcomes,
    pulls::MESSAGE_BYTES,
    recorder::Counter,
    settings::Settings,
    unseen::Unseen,
    verdict::{Unsettled, Verdict},
};
use crate::{
    acker::{Receipt, handle::Acker},
    error::Error,
    flow::contained::discard_error,
    message::{
        Message,
        ack::AckRequest,
        held::HeldLease,
        lease::LeaseId,
        limits,
        settlement::{Decision, Lease, Settlement},
    },
    queue::Queue,
};

/// A message of a stream, for you to decide on. If it is dropped unsettled, it is retried or left, as
/// [`Consumer::unsettled`](crate::Consumer::unsettled) says.
///
/// Its lease is [extended](crate::Consumer::max_lease) until then, even after the stream is dropped. If that fails, the
/// lease is lost, and another consumer may receive the message: see [`Message::lease`].
///
/// ```
/// # use cloudflare_queues::{Consumer, PushMessage, emulator::Emulator};
/// # async fn work() {}
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let emulator = Emulator::start().await?;
/// # let queue = emulator.queue()?;
/// # queue.push(&PushMessage::text("hello")).await?;
/// # let mut deliveries = Consumer::new(queue).stream()?;
/// # let Some(delivery) = deliveries.next().await.transpose()? else { return Ok(()) };
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
    message: Message,
    held: Held,
}

/// A message whose outcome is not known. If it is dropped, it is settled as its [stage](Stage) says.
pub(super) struct Held {
    /// By its key, the outcome is counted.
    hold: Hold,
    lease_id: LeaseId,
    lease: HeldLease,
    attempts: Option<u32>,
    /// The bytes that it holds.
    bytes: usize,
    origin: Arc<Origin>,
    stage: Stage,
    /// It is settled even if the acker is closed.
    is_late: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// Nobody works on it. Dropped, it is [unsettled](crate::Consumer::unsettled).
    Waiting,
    /// A caller of a stream has it. Dropped, it is unsettled as well, which is a failure of the caller.
    GivenOut,
    /// A handler of a run has it. Dropped, it is left.
    Handled,
    /// Its dead letter is being pushed. Dropped, it is left.
    DeadLetter,
    Done,
}

/// What a run or a stream shares with its messages, which may outlive it.
pub(super) struct Origin {
    pub(super) acker: Acker,
    pub(super) heartbeat: Heartbeat,
    pub(super) outcomes: Outcomes,
    pub(super) unseen: Unseen,
    pub(super) settings: Settings,
}

/// What remains to be done for a message whose outcome is known.
pub(super) enum Rest {
    Nothing,
    /// It is submitted once the acker has room.
    Submitting(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// Its dead letter is pushed, in a task of its own.
    Pushing(JoinHandle<()>),
}

impl Rest {
    pub(super) async fn finish(self) {
        match self {
            Self::Nothing => {}
            Self::Submitting(submitting) => submitting.await,
            Self::Pushing(pushing) => pushing.await.unwrap_or_else(discard_error),
        }
    }

    /// Lets a task do what cannot be done at once.
    pub(super) fn in_background(self) {
        if let Self::Submitting(mut submitting) = self
            && submitting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
        {
            drop(tokio::spawn(submitting));
        }
    }
}

impl Origin {
    /// The run has ended: what has no outcome yet is counted as left or as unconfirmed, and no lease of a message that
    /// a handler still has is extended. Returns the unconfirmed leases.
    pub(super) fn end(&self) -> AckRequest {
        let (unconfirmed, held) = self.outcomes.end_all();
        held.into_iter().for_each(|key| drop(self.heartbeat.release(key)));
        unconfirmed
    }
}

impl Delivery {
    /// A message of a pull, which holds its lease.
    pub(super) fn new(message: Message, hold: Hold, origin: &Arc<Origin>) -> Self {
        let key = hold.key;
        let held = Held {
            hold,
            lease_id: message.lease_id.clone(),
            lease: message.lease(),
            attempts: message.attempts,
            bytes: size(&message),
            origin: Arc::clone(origin),
            stage: Stage::Waiting,
            is_late: false,
        };
        origin.outcomes.open(key, held.bytes);
        Self { job: (), message, held }
    }

    /// A caller takes it from a stream.
    pub(super) fn give_out<T>(mut self, job: T) -> Delivery<T> {
        self.held.give_out();
        Delivery { job, message: self.message, held: self.held }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.held.lease.is_lost()
    }

    /// A handler takes it.
    pub(super) fn handle(mut self) -> (Message, Held) {
        self.held.stage = Stage::Handled;
        self.held.hold.work_on(true);
        (self.message, self.held)
    }

    /// Its lease was lost before anyone worked on it. Another consumer may have the message, so nothing is sent.
    pub(super) fn expire(mut self) {
        self.held.origin.unseen.add(self.held.attempts);
        self.held.close(|stats| stats.expired += 1);
    }

    /// Whether the service will not deliver it again.
    pub(super) fn is_last(&self) -> bool {
        self.held.origin.unseen.is_last(self.held.attempts)
    }

    /// The function for undecodable messages works on it. If the future is dropped, even if it was never polled, the
    /// message was dropped unsettled.
    pub(super) fn undecodable(mut self, decided: Decided) -> impl Future<Output = ()> + Send + use<> {
        self.held.give_out();
        self.held.is_late = true;
        let Self { message, held, .. } = self;
        async move {
            let handled = decided.await;
            if let Err(error) = &handled.returned {
                let id = &message.id;
                tracing::warn!(%error, messaging.message.id = id, "the function for undecodable messages failed");
            }
            held.conclude(Some(handled), Some(message)).finish().await;
        }
    }
}

impl<T> Delivery<T> {
    /// It goes back to where it was taken from.
    pub(super) fn take_back(mut self) -> Delivery {
        self.held.stage = Stage::Waiting;
        self.held.hold.work_on(false);
        Delivery { job: (), message: self.message, held: self.held }
    }

    /// The message.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The body, if the consumer [decodes](crate::Consumer::json) it.
    pub fn body(&self) -> &T {
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
        self.held.settle_for_caller(Decision::Ack)
    }

    /// Retries the message after the queue's retry delay. If the future is dropped, the retry is still sent.
    ///
    /// # Errors
    ///
    /// As for [`Acker::retry`].
    pub fn retry(self) -> impl Future<Output = Result<Receipt, Error>> + Send + use<T> {
        self.held.settle_for_caller(Decision::Retry)
    }

    /// Retries the message after `delay`, at most 24 hours. If the future is dropped, the retry is still sent.
    ///
    /// # Errors
    ///
    /// As for [`Acker::retry_in`].
    pub fn retry_in(self, delay: Duration) -> impl Future<Output = Result<Receipt, Error>> + Send + use<T> {
        self.held.settle_for_caller(Decision::RetryIn(delay))
    }

    /// Leaves the message: it is delivered again when its lease expires.
    pub fn leave(self) {
        self.held.origin.outcomes.handled(false);
        self.held.leave();
    }
}

impl Held {
    fn give_out(&mut self) {
        self.stage = Stage::GivenOut;
        self.hold.work_on(true);
        self.origin.outcomes.free(mem::take(&mut self.bytes));
    }

    pub(super) fn counter(&self) -> &Counter {
        self.origin.outcomes.counter()
    }

    /// The lease, with its extensions so far.
    fn lease(&self) -> Lease {
        Lease::new(&self.lease_id, self.lease.deadline())
    }

    fn close(&mut self, count: impl Fn(&mut super::Stats)) {
        self.stage = Stage::Done;
        self.origin.outcomes.close(self.hold.key, count);
    }

    fn leave(mut self) {
        self.close(|stats| stats.left += 1);
    }

    fn settle_for_caller(self, decision: Decision) -> impl Future<Output = Result<Receipt, Error>> + Send + use<> {
        self.origin.outcomes.handled(false);
        self.settle(decision)
    }

    /// The decision stands, even if the future is never polled.
    fn settle(mut self, decision: Decision) -> impl Future<Output = Result<Receipt, Error>> + Send + use<> {
        self.stage = Stage::Done;
        let extended = self.hold.release();
        let settlement = Settlement::new(self.lease(), decision);
        let observer = self.origin.outcomes.settle(self.hold.key, settlement.clone());
        let acker = &self.origin.acker;
        match extended.filter(|_| !decision.is_ack()) {
            Some(extended) => SettledBy::Task(acker.settle_after(extended, settlement, observer)),
            None => SettledBy::Caller(acker.settle(settlement, observer, self.is_late)),
        }
        .receipt()
    }

    /// Does what a handler, or the function for undecodable messages, decided. What cannot be done at once remains.
    ///
    /// `handled` is `None` if the handler panicked. `message` may be `None` only if neither dead letters nor the retry
    /// delay need it.
    pub(super) fn conclude(mut self, handled: Option<Handled>, message: Option<Message>) -> Rest {
        if !self.origin.outcomes.is_open(self.hold.key) {
            // The run has ended, and has reported the message as left.
            self.stage = Stage::Done;
            return Rest::Nothing;
        }
        self.is_late = true;
        let (outcome, undecodable) = match handled {
            Some(Handled { returned, undecodable }) => (returned.map_err(Some), undecodable),
            None => (Err(None), None),
        };
        self.origin.outcomes.handled(outcome.is_err());
        if outcome.is_err() {
            self.origin.outcomes.counter().count(|stats| stats.failed += 1);
        }
        let settings = &self.origin.settings;
        let is_last = |most| self.attempts.is_some_and(|attempts| attempts >= most);
        let verdict = match &outcome {
            Ok(verdict) => Some(*verdict),
            Err(_) if settings.dead_letters.is_some() && settings.max_attempts.is_some_and(is_last) => {
                Some(Verdict::DeadLetter)
            }
            Err(_) => None,
        };
        let decision = match (verdict, &settings.dead_letters, message) {
            (Some(Verdict::Leave), ..) => {
                self.leave();
                return Rest::Nothing;
            }
            (Some(Verdict::DeadLetter), Some(queue), Some(message)) => {
                let queue = queue.clone();
                let reason = match (undecodable, outcome) {
                    (Some(error), _) => Reason::Undecodable(error),
                    (None, Ok(_)) => Reason::Verdict,
                    (None, Err(Some(error))) => Reason::Failed(error),
                    (None, Err(None)) => Reason::Panicked,
                };
                self.stage = Stage::DeadLetter;
                self.origin.outcomes.dead_letter(self.hold.key);
                // In a task of its own, which goes on if this one is aborted.
                return Rest::Pushing(tokio::spawn(self.dead_letter(queue, message, reason)));
            }
            (Some(Verdict::Ack), ..) => Decision::Ack,
            (Some(Verdict::Retry), ..) => Decision::Retry,
            (Some(Verdict::RetryIn(delay)), ..) => Decision::RetryIn(delay.min(limits::MAX_DELAY)),
            (None | Some(Verdict::DeadLetter), _, message) => {
                if verdict.is_some() {
                    tracing::warn!("a message should go to the dead-letter queue, but none is set: it is retried");
                }
                let error = outcome.as_ref().err().and_then(Option::as_deref);
                settings.retry_delay.decision(self.attempts, message.as_ref(), error)
            }
        };
        let settled = self.settle(decision);
        Rest::Submitting(Box::pin(async move { drop(settled.await) }))
    }

    /// Pushes the message to the dead-letter queue, and acknowledges it after that. Once this has begun, a retry could
    /// lead to a second push.
    async fn dead_letter(mut self, queue: Queue, message: Message, reason: Reason) {
        // From here on, what a message takes besides its body counts as that of one that is being settled.
        let body = self.bytes.saturating_sub(MESSAGE_BYTES);
        self.origin.outcomes.free(self.bytes.saturating_sub(body));
        self.bytes = body;
        let letter = letter(self.origin.settings.dead_letter_as.as_deref(), &message, &reason);
        let pushed = async { queue.push(&letter?).await }.await;
        match pushed {
            Ok(_) => drop(self.settle(Decision::Ack).await),
            Err(error) => {
                tracing::warn!(%error, messaging.message.id = message.id, "a dead letter could not be pushed");
                self.stage = Stage::Done;
                self.origin.outcomes.not_pushed(self.hold.key, Some(&error));
            }
        }
    }
}

/// A retry could be carried out before an extension that is under way, which would undo its delay. It is submitted
/// after that, by a task.
enum SettledBy<C, T> {
    Caller(C),
    Task(T),
}

impl<R, C: Future<Output = R>, T: Future<Output = R>> SettledBy<C, T> {
    async fn receipt(self) -> R {
        match self {
            Self::Caller(receipt) => receipt.await,
            Self::Task(receipt) => receipt.await,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Origin { acker, outcomes, unseen, settings, .. } = &*self.origin;
        let extended = self.hold.release();
        outcomes.free(self.bytes);
        let is_waiting = self.stage == Stage::Waiting;
        if is_waiting {
            unseen.add(self.attempts);
        }
        match self.stage {
            Stage::Done => return,
            Stage::DeadLetter => return outcomes.not_pushed(self.hold.key, None),
            Stage::Handled => return outcomes.close(self.hold.key, |stats| stats.left += 1),
            Stage::GivenOut => outcomes.handled(true),
            Stage::Waiting => {}
        }
        match settings.unsettled {
            Unsettled::Retry => {
                let settlement = Settlement::retry_in(self.lease(), Duration::ZERO);
                let observer = outcomes.settle(self.hold.key, settlement.clone());
                match extended {
                    Some(extended) => drop(acker.settle_after(extended, settlement, observer)),
                    None => acker.submit_detached(settlement, Some(observer), self.is_late || is_waiting),
                }
            }
            Unsettled::Leave => outcomes.close(self.hold.key, |stats| stats.left += 1),
        }
    }
}

impl<T> fmt::Debug for Delivery<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("message", &self.message).finish_non_exhaustive()
    }
}

/// How many bytes a message takes.
fn size(message: &Message) -> usize {
    message.body.len().saturating_add(MESSAGE_BYTES)
}
