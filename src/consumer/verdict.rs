//! What to do with a message: the handler's verdict, and the defaults where there is none.

use std::{
    fmt::{self, Display},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;

use crate::{
    flow::contained::caught,
    message::{Message, limits, settlement::Decision},
};

/// A handler's decision on a message.
///
/// ```
/// use cloudflare_queues::{Message, Verdict};
/// use std::time::Duration;
///
/// async fn handler(message: Message) -> Result<Verdict, std::io::Error> {
///     Ok(match message.body.text() {
///         Ok(text) if text == "later" => Verdict::RetryIn(Duration::from_secs(60)),
///         Ok(_) => Verdict::Ack,
///         Err(_) => Verdict::DeadLetter,
///     })
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// The message is acknowledged.
    Ack,
    /// The message is delivered again after the queue's retry delay.
    Retry,
    /// The message is delivered again after this delay. A delay of more than 24 hours is reduced to that.
    RetryIn(Duration),
    /// Nothing is sent: the message is delivered again when its lease expires.
    Leave,
    /// The message is pushed to the [dead-letter queue](crate::Consumer::dead_letters), byte for byte, and then
    /// acknowledged. If the push fails, the message is left, so it is delivered again. Without a dead-letter queue, it
    /// is retried as after an error.
    DeadLetter,
}

/// What a handler may return: `()` and [`Verdict`], or a `Result` of one of them, also within another `Result`, as
/// `spawn_blocking` returns it.
///
/// An `Err` is a failure: its text is logged as a warning in the message's span, and the message is retried after
/// [`Consumer::retry_delay`](crate::Consumer::retry_delay).
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "not a verdict on a message",
    note = "return `()`, a `Verdict`, or a `Result` of one of them whose error implements `Display`"
)]
pub trait IntoVerdict {
    /// Returns the verdict, or the text of the handler's error.
    ///
    /// # Errors
    ///
    /// If the handler failed.
    fn into_verdict(self) -> Result<Verdict, String>;
}

impl IntoVerdict for Verdict {
    fn into_verdict(self) -> Result<Verdict, String> {
        Ok(self)
    }
}

/// Acknowledges the message.
impl IntoVerdict for () {
    fn into_verdict(self) -> Result<Verdict, String> {
        Ok(Verdict::Ack)
    }
}

impl<V: IntoVerdict, E: Display> IntoVerdict for Result<V, E> {
    fn into_verdict(self) -> Result<Verdict, String> {
        // The alternate form, in which some error types also print their sources.
        self.map_err(|error| format!("{error:#}")).and_then(V::into_verdict)
    }
}

/// What a batch handler may return: `()` or one [`Verdict`] for all messages, a list with one for each message in the
/// same order, or a `Result` of these, whose error means that all failed.
///
/// A list of a different length is a failure of all messages, since it is unclear which entry is for which message.
#[diagnostic::on_unimplemented(
    message = "a handler of batches cannot return `{Self}`",
    label = "neither a verdict on all messages nor one on each",
    note = "return `()`, a `Verdict`, a `Vec<Verdict>`, or a `Result` of one of them whose error implements `Display`"
)]
pub trait IntoVerdicts {
    /// Returns the verdict on each of `messages` messages, or the text of the handler's error.
    fn into_verdicts(self, messages: usize) -> Vec<Result<Verdict, String>>;
}

impl IntoVerdicts for Verdict {
    fn into_verdicts(self, messages: usize) -> Vec<Result<Verdict, String>> {
        vec![Ok(self); messages]
    }
}

/// Acknowledges all messages.
impl IntoVerdicts for () {
    fn into_verdicts(self, messages: usize) -> Vec<Result<Verdict, String>> {
        vec![Ok(Verdict::Ack); messages]
    }
}

/// One verdict for each message.
impl<V: IntoVerdict> IntoVerdicts for Vec<V> {
    fn into_verdicts(self, messages: usize) -> Vec<Result<Verdict, String>> {
        if self.len() == messages {
            return self.into_iter().map(V::into_verdict).collect();
        }
        vec![Err(format!("the handler returned {} verdicts on {messages} messages", self.len())); messages]
    }
}

impl<V: IntoVerdicts, E: Display> IntoVerdicts for Result<V, E> {
    fn into_verdicts(self, messages: usize) -> Vec<Result<Verdict, String>> {
        match self {
            Ok(verdicts) => verdicts.into_verdicts(messages),
            Err(error) => vec![Err(format!("{error:#}")); messages],
        }
    }
}

/// A message whose handler failed, as passed to the function of [`RetryDelay::by`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Failed<'a> {
    /// The message.
    pub message: &'a Message,
    /// The text of the handler's error, or `None` if it panicked.
    pub error: Option<&'a str>,
}

type DelayOf = dyn Fn(Failed<'_>) -> Option<Duration> + Send + Sync;

/// When to redeliver a message whose handler failed. By default, after the queue's retry delay.
///
/// ```
/// use cloudflare_queues::consumer::RetryDelay;
/// use std::time::Duration;
///
/// let doubling = RetryDelay::exponential(Duration::from_secs(10), Duration::from_secs(600));
/// let by_age = RetryDelay::by(|failed| (failed.message.attempts > Some(3)).then_some(Duration::from_secs(3600)));
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct RetryDelay(Rule);

#[derive(Clone, Default)]
enum Rule {
    #[default]
    Queue,
    Fixed(Duration),
    Exponential {
        initial: Duration,
        max: Duration,
    },
    By(Arc<DelayOf>),
}

impl RetryDelay {
    /// After the queue's retry delay.
    pub const fn queue() -> Self {
        Self(Rule::Queue)
    }

    /// After the same delay each time.
    pub const fn fixed(delay: Duration) -> Self {
        Self(Rule::Fixed(delay))
    }

    /// After a delay that starts at `initial`, doubles with each attempt, and is at most `max`.
    pub const fn exponential(initial: Duration, max: Duration) -> Self {
        Self(Rule::Exponential { initial, max })
    }

    /// After the delay that a function returns. `None` means the queue's retry delay.
    ///
    /// It is called only when a handler has failed. If it panics, the message is retried after the queue's retry delay.
    pub fn by(delay: impl Fn(Failed<'_>) -> Option<Duration> + Send + Sync + 'static) -> Self {
        Self(Rule::By(Arc::new(delay)))
    }

    /// Whether [`decision`](Self::decision) needs the whole message.
    pub(super) fn needs_message(&self) -> bool {
        matches!(self.0, Rule::By(_))
    }

    pub(super) fn decision(&self, attempts: Option<u32>, message: Option<&Message>, error: Option<&str>) -> Decision {
        let delay = match &self.0 {
            Rule::Queue => None,
            Rule::Fixed(delay) => Some(*delay),
            Rule::Exponential { initial, max } => {
                let doublings = attempts.unwrap_or(1).saturating_sub(1).min(31);
                Some(initial.saturating_mul(1 << doublings).min(*max))
            }
            Rule::By(delay) => message.and_then(|message| {
                caught(|| delay(Failed { message, error })).unwrap_or_else(|| {
                    tracing::warn!(messaging.message.id = message.id, "the function of the retry delay panicked");
                    None
                })
            }),
        };
        delay.map_or(Decision::Retry, |delay| Decision::RetryIn(delay.min(limits::MAX_DELAY)))
    }
}

impl fmt::Debug for RetryDelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rule::Queue => f.write_str("Queue"),
            Rule::Fixed(delay) => write!(f, "Fixed({delay:?})"),
            Rule::Exponential { initial, max } => write!(f, "Exponential({initial:?} to {max:?})"),
            Rule::By(_) => f.write_str("By(..)"),
        }
    }
}

/// What to do with an unsettled message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unsettled {
    /// Retry it at once. That counts as an attempt.
    #[default]
    Retry,
    /// Leave it: it is delivered again when its lease expires. That counts as an attempt as well.
    Leave,
}
