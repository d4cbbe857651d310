//! How a consumer pulls, works and stops.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tracing::Span;

use super::{Consumer, RetryDelay, Undecided};
use crate::{acker::AckerOptions, message::Message, pull::PullOptions, queue::Queue};

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) pull: PullOptions,
    pub(super) concurrency: usize,
    pub(super) min_idle: Duration,
    pub(super) max_idle: Duration,
    pub(super) retry_delay: RetryDelay,
    pub(super) undecided: Undecided,
    pub(super) shutdown_timeout: Duration,
    pub(super) flush_timeout: Duration,
    pub(super) acker: AckerOptions,
    pub(super) max_pulls: usize,
    pub(super) max_bytes: usize,
    pub(super) heartbeat: Duration,
    pub(super) bearable_failures: f64,
    pub(super) dead_letters: Option<Queue>,
    pub(super) max_attempts: Option<u32>,
    pub(super) handler_batch: usize,
    pub(super) handler_linger: Duration,
    /// Whether a handler takes several messages: only then, the two settings above hold.
    pub(super) is_batched: bool,
    pub(super) span: Option<MakeSpan>,
}

/// Makes the span of a message.
#[derive(Clone)]
pub(super) struct MakeSpan(Arc<dyn Fn(&Message) -> Span + Send + Sync>);

impl MakeSpan {
    /// `None` if the user's function panics.
    pub(super) fn make(&self, message: &Message) -> Option<Span> {
        let made = catch_unwind(AssertUnwindSafe(|| (self.0)(message)));
        made.inspect_err(|_| tracing::warn!(messaging.message.id = message.id, "the function of the span panicked"))
            .ok()
    }
}

impl fmt::Debug for MakeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MakeSpan(..)")
    }
}

impl Settings {
    /// For handlers that take one message.
    pub(super) fn one_by_one(mut self) -> Self {
        (self.handler_batch, self.handler_linger, self.is_batched) = (1, Duration::ZERO, false);
        self
    }

    /// For handlers that take batches.
    pub(super) fn batched(mut self) -> Self {
        self.is_batched = true;
        self
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pull: PullOptions::new().batch_size(100).visibility_timeout(Duration::from_secs(60)),
            concurrency: 10,
            min_idle: Duration::from_millis(100),
            max_idle: Duration::from_secs(10),
            retry_delay: RetryDelay::default(),
            undecided: Undecided::default(),
            shutdown_timeout: Duration::from_secs(30),
            flush_timeout: Duration::from_secs(30),
            acker: AckerOptions::default(),
            max_pulls: 128,
            max_bytes: 64 << 20,
            heartbeat: Duration::from_secs(60 * 60),
            bearable_failures: 0.5,
            dead_letters: None,
            max_attempts: None,
            handler_batch: 100,
            handler_linger: Duration::from_secs(1),
            is_batched: false,
            span: None,
        }
    }
}

/// Settings.
impl<D> Consumer<D> {
    /// The most messages that one pull leases: 1 to 100, 100 by default.
    pub fn batch_size(mut self, messages: u32) -> Self {
        self.settings.pull = self.settings.pull.batch_size(messages);
        self
    }

    /// How long a lease lasts: 1 ms to 12 hours, 60 s by default.
    ///
    /// No more is pulled than handlers are expected to start on within half of it, by the time that they took so far.
    pub fn visibility_timeout(mut self, timeout: Duration) -> Self {
        self.settings.pull = self.settings.pull.visibility_timeout(timeout);
        self
    }

    /// How many handlers work at the same time. 10 by default; zero counts as one.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.settings.concurrency = handlers;
        self
    }

    /// The wait after a pull that was empty or failed; it doubles with each one more. 100 ms by default.
    pub fn min_idle(mut self, wait: Duration) -> Self {
        self.settings.min_idle = wait;
        self
    }

    /// The longest such wait, unless the service asks for a longer one. 10 s by default.
    pub fn max_idle(mut self, wait: Duration) -> Self {
        self.settings.max_idle = wait;
        self
    }

    /// When a message is delivered again whose handler failed. After the queue's own retry delay by default.
    pub fn retry_delay(mut self, delay: RetryDelay) -> Self {
        self.settings.retry_delay = delay;
        self
    }

    /// What becomes of messages that were pulled, but not started, when the consumer stops. Retried by default.
    pub fn undecided(mut self, undecided: Undecided) -> Self {
        self.settings.undecided = undecided;
        self
    }

    /// How long handlers and pulls that are under way may take once the consumer is told to stop. 30 s by default.
    ///
    /// Handlers that take longer are dropped, and their messages left.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.settings.shutdown_timeout = timeout;
        self
    }

    /// How long acknowledgements may take after the last handler ended. 30 s by default.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.settings.flush_timeout = timeout;
        self
    }

    /// How acknowledgements are grouped.
    pub fn acker(mut self, options: AckerOptions) -> Self {
        self.settings.acker = options;
        self
    }

    /// How many pulls are in flight at most. 128 by default; zero counts as one.
    ///
    /// The number adapts: it doubles with each round trip while full batches come and handlers wait, falls when pulls
    /// fail or bring little, and is one at an empty queue. 128 pulls of 100 messages bring the 5,000 messages a second
    /// that the service allows for a queue at round trips of up to 2.5 s.
    pub fn max_pulls(mut self, pulls: usize) -> Self {
        self.settings.max_pulls = pulls;
        self
    }

    /// How many bytes of messages are held at most, by the sizes seen so far. 64 MiB by default.
    ///
    /// It bounds how much is pulled ahead; what was pulled stays until its handler ends. A message at a time is pulled
    /// in any case.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_bytes = bytes;
        self
    }

    /// For how long the lease of a message is extended while it waits or a handler works on it, counted from the pull.
    /// 60 minutes by default, at most until the lease has lasted for 12 hours; zero turns it off.
    ///
    /// A lease is extended when a third of the visibility timeout is left, together with others, by the visibility
    /// timeout each time. If the service refuses, or no extension comes through in time, the lease is lost:
    /// [`Message::lease`](crate::Message::lease) tells the handler. A stream extends leases in the same way, until a
    /// [`Delivery`](super::Delivery) is decided on or dropped.
    pub fn heartbeat(mut self, longest: Duration) -> Self {
        self.settings.heartbeat = longest;
        self
    }

    /// The share of handlers, from 0 to 1, that may fail before pulling is slowed down step by step. 0.5 by default; 1
    /// never slows down.
    ///
    /// With each step, the rest between pulls doubles, from [`min_idle`](Self::min_idle) to
    /// [`max_idle`](Self::max_idle), and batches halve. The steps are taken back as handlers succeed. Acknowledgements
    /// that are not confirmed slow pulling down in the same way.
    pub fn bearable_failures(mut self, share: f64) -> Self {
        self.settings.bearable_failures = share;
        self
    }

    /// The queue that takes messages whose verdict is [`DeadLetter`](super::Verdict::DeadLetter), byte for byte. None
    /// by default.
    ///
    /// It works beside the dead-letter queue that the service itself may have for the queue. Messages of the types
    /// `bytes` and `v8` cannot be pushed over HTTP, and are left. A crash between the push and the acknowledgement
    /// leads to a second push.
    pub fn dead_letters(mut self, queue: Queue) -> Self {
        self.settings.dead_letters = Some(queue);
        self
    }

    /// After how many attempts a message whose handler failed goes to the [dead-letter queue](Self::dead_letters).
    /// Without bound by default.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = Some(attempts);
        self
    }

    /// How many messages a handler of [`run_batches_until`](Consumer::run_batches_until) is given at most. 100 by
    /// default; zero counts as one.
    pub fn handler_batch_size(mut self, messages: usize) -> Self {
        self.settings.handler_batch = messages;
        self
    }

    /// How long a message waits at most for others to fill such a batch. 1 s by default.
    pub fn handler_linger(mut self, linger: Duration) -> Self {
        self.settings.handler_linger = linger;
        self
    }

    /// Makes the span that a handler runs in, in the place of the crate's own, for example with a parent from the
    /// message's body.
    ///
    /// The fields `otel.status_code` and `error.type` are recorded in it if it has them. If the function panics, the
    /// crate's own span takes its place.
    pub fn span(mut self, make: impl Fn(&Message) -> Span + Send + Sync + 'static) -> Self {
        self.settings.span = Some(MakeSpan(Arc::new(make)));
        self
    }
}
