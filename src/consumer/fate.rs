//! What becomes of a message, by the verdict on it and the settings.

use super::{Verdict, settings::Settings};
use crate::{
    error::Error,
    message::{Message, limits, push::PushMessage, settlement::Decision},
    queue::Queue,
};

pub(super) enum Fate {
    Settle(Decision),
    /// It is pushed to this queue, and acknowledged only after that.
    Bury(Queue, Message),
    /// Nothing is sent for its lease.
    Leave,
}

impl Settings {
    /// The fate of a message after a verdict, or after a failure with this text, or none if the handler panicked.
    ///
    /// `message` may be `None` only if neither dead letters nor the retry delay need it.
    pub(super) fn fate(
        &self,
        outcome: Result<Verdict, Option<&str>>,
        attempts: Option<u32>,
        message: Option<&Message>,
    ) -> Fate {
        let retry = |error| Fate::Settle(self.retry_delay.decision(attempts, message, error));
        let is_last = |most| attempts.is_some_and(|attempts| attempts >= most);
        let verdict = match outcome {
            Ok(verdict) => verdict,
            Err(_) if self.dead_letters.is_some() && self.max_attempts.is_some_and(is_last) => Verdict::DeadLetter,
            Err(error) => return retry(error),
        };
        match (verdict, &self.dead_letters, message) {
            (Verdict::Ack, ..) => Fate::Settle(Decision::Ack),
            (Verdict::Retry, ..) => Fate::Settle(Decision::Retry),
            (Verdict::RetryIn(delay), ..) => Fate::Settle(Decision::RetryIn(delay.min(limits::MAX_DELAY))),
            (Verdict::Leave, ..) => Fate::Leave,
            (Verdict::DeadLetter, Some(queue), Some(message)) => Fate::Bury(queue.clone(), message.clone()),
            (Verdict::DeadLetter, ..) => {
                tracing::warn!("a message should go to the dead-letter queue, but none is set: it is retried");
                retry(None)
            }
        }
    }
}

/// Pushes a dead letter, byte for byte.
pub(super) async fn bury(queue: Queue, message: Message) -> Result<(), Error> {
    let pushed = async { queue.push(&PushMessage::from_body(&message.body)?).await }.await;
    let failed = |error: &Error| {
        tracing::warn!(%error, messaging.message.id = message.id, "a dead letter could not be pushed");
    };
    pushed.map(drop).inspect_err(failed)
}
