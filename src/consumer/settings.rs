//! The settings of a consumer.

use std::{sync::Arc, time::Duration};

use tracing::Span;

use super::{
    control::Control,
    dead_letter::{MakeLetter, Reason},
    handle::Consumer,
    verdict::{RetryDelay, Unsettled},
};
use crate::{
    acker::AckerOptions,
    error::Error,
    message::{Message, pull::PullOptions, push::PushMessage},
    queue::Queue,
};

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) pull: PullOptions,
    pub(super) concurrency: usize,
    /// The shortest pause after an empty or failed pull.
    pub(super) min_idle: Duration,
    pub(super) max_idle: Duration,
    pub(super) retry_delay: RetryDelay,
    pub(super) unsettled: Unsettled,
    pub(super) shutdown_timeout: Duration,
    pub(super) flush_timeout: Duration,
    pub(super) acker: AckerOptions,
    /// The maximum number of pulls in flight. 256 pulls of 100 messages are enough for the 5,000 messages a second that
    /// the service allows for a queue, with round trips of up to 5 s.
    pub(super) max_pulls: usize,
    pub(super) max_bytes: usize,
    pub(super) max_lease: Duration,
    pub(super) failure_threshold: f64,
    pub(super) dead_letters: Option<Queue>,
    pub(super) dead_letter_as: Option<Arc<MakeLetter>>,
    pub(super) max_attempts: Option<u32>,
    pub(super) handler_batch: usize,
    pub(super) handler_linger: Duration,
    pub(super) handler_timeout: Duration,
    /// Whether a handler takes several messages. Only then do the two settings above apply.
    pub(super) is_batched: bool,
    pub(super) span: Option<Arc<MakeSpan>>,
    pub(super) max_retries: Option<u32>,
    pub(super) limit: u64,
    pub(super) until_empty: Option<Duration>,
    pub(super) control: Control,
}

/// Makes the span of a message.
pub(super) type MakeSpan = dyn Fn(&Message) -> Span + Send + Sync;

impl Settings {
    /// For handlers that take batches, or one message each.
    pub(super) fn for_handlers(&self, is_batched: bool) -> Self {
        let mut settings = Self { is_batched, ..self.clone() };
        if !is_batched {
            (settings.handler_batch, settings.handler_linger) = (1, Duration::ZERO);
        }
        settings
    }

    /// How many handlers run at the same time.
    pub(super) fn handlers(&self) -> usize {
        self.control.concurrency().unwrap_or(self.concurrency).max(1)
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
            unsettled: Unsettled::default(),
            shutdown_timeout: Duration::from_secs(15),
            flush_timeout: Duration::from_secs(10),
            acker: AckerOptions::default(),
            max_pulls: 256,
            max_bytes: 64 << 20,
            max_lease: Duration::from_secs(60 * 60),
            failure_threshold: 0.5,
            dead_letters: None,
            dead_letter_as: None,
            max_attempts: None,
            handler_batch: 100,
            handler_linger: Duration::from_secs(1),
            handler_timeout: Duration::MAX,
            is_batched: false,
            span: None,
            max_retries: None,
            limit: u64::MAX,
            until_empty: None,
            control: Control::default(),
        }
    }
}

/// Settings.
impl<D> Consumer<D> {
    /// The maximum number of messages that one pull leases: 1 to 100, 100 by default.
    ///
    /// Lower it if messages are so large that a response with 100 of them takes too long.
    pub fn batch_size(mut self, messages: u32) -> Self {
        self.settings.pull = self.settings.pull.batch_size(messages);
        self
    }

    /// How long a lease lasts: 1 ms to 12 hours, 60 s by default.
    ///
    /// No more is pulled than handlers are expected to start within half of it, given how long they have taken so far.
    /// Set it to twice the time that nearly all handlers take. Long-running handlers need no longer one, since leases
    /// are [extended](Self::max_lease).
    pub fn visibility_timeout(mut self, timeout: Duration) -> Self {
        self.settings.pull = self.settings.pull.visibility_timeout(timeout);
        self
    }

    /// How many handlers run at the same time. Zero counts as one. 10 by default.
    ///
    /// Set it to what the handlers' database or API can take, or to the number of processors if they compute. It can be
    /// [changed](Self::set_concurrency) later.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.settings.concurrency = handlers;
        self
    }

    /// The longest pause after empty or failed pulls, unless the service asks for a longer one. 10 s by default.
    ///
    /// After a pull that returns nothing, the pause is a sixteenth of the time since the last message, and at least
    /// 100 ms: a message that comes a minute after the last one is noticed within four seconds. An hour without
    /// messages takes up to 440 pulls, and ten seconds without one up to 46. Empty pulls are billed. Lower it if a
    /// message that arrives at a queue that was idle for longer has to be handled sooner, at the price of more pulls.
    ///
    /// After a failed pull, the pause is at least 100 ms, and each further one twice as long.
    pub fn max_idle(mut self, wait: Duration) -> Self {
        self.settings.max_idle = wait;
        self
    }

    /// When to redeliver a message whose handler failed. By default, after the queue's retry delay.
    ///
    /// Set it if handlers fail because of others, to a delay after which those may work again.
    pub fn retry_delay(mut self, delay: RetryDelay) -> Self {
        self.settings.retry_delay = delay;
        self
    }

    /// What to do with messages that nobody settled: those that were pulled but not started when the consumer stops,
    /// and deliveries that are dropped. Retry by default.
    ///
    /// Leave them if consumers are restarted often and the queue has few retries and no delay. A message that is left
    /// is delivered again only when its lease expires, so it does not use up its deliveries within one restart.
    pub fn unsettled(mut self, unsettled: Unsettled) -> Self {
        self.settings.unsettled = unsettled;
        self
    }

    /// How long running handlers and pulls in flight may take once the consumer is told to stop. 15 s by default.
    ///
    /// Together with [`flush_timeout`](Self::flush_timeout) that is 25 s, since Kubernetes kills a process 30 s after
    /// it told it to stop. Set both together to what your platform allows.
    ///
    /// Handlers that take longer are dropped, and their messages are left. After a stream has ended,
    /// [`Acker::close`](crate::Acker::close) gives decisions on messages that could not be decoded the same time.
    /// Messages without a decision are then [unsettled](Self::unsettled). A dead letter whose push has begun is still
    /// pushed, and then acknowledged.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.settings.shutdown_timeout = timeout;
        self
    }

    /// How long acknowledgements, and pushes of dead letters, may take after the last handler has finished. 10 s by
    /// default.
    ///
    /// Set it to what your platform allows after [`shutdown_timeout`](Self::shutdown_timeout).
    ///
    /// They go on after that, as long as the runtime is running. The report counts the messages as unconfirmed, or as
    /// [left](super::Stats::left) if their dead letters are still being pushed.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.settings.flush_timeout = timeout;
        self
    }

    /// How acknowledgements are grouped.
    ///
    /// Set a longer [`linger`](AckerOptions::linger) to send fewer requests.
    pub fn acker(mut self, options: AckerOptions) -> Self {
        self.settings.acker = options;
        self
    }

    /// The maximum number of bytes of messages to hold, estimated from the sizes seen so far. 64 MiB by default.
    ///
    /// Lower it if memory is scarce, and raise it if messages are large and round trips are long.
    ///
    /// This limits how much is prefetched. A message is held until its handler has finished, and a dead letter until
    /// its message is acknowledged; in a stream, until it is taken from it. At least one message at a time is pulled in
    /// any case.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_bytes = bytes;
        self
    }

    /// How long the lease of a message is extended at most, while the message waits or a handler works on it, counted
    /// from the pull. Zero turns extension off, and a lease lasts for at most 12 hours. 60 minutes by default.
    ///
    /// Set it to longer than the slowest handler takes. What takes longer is delivered to another consumer.
    ///
    /// When a third of the visibility timeout is left, the lease is extended by the visibility timeout, in one request
    /// with others. After a failure, that is tried up to seven more times until the lease expires. If the service
    /// refuses the content of a request (400, 413), the request is halved until the bad lease is isolated, in at most
    /// 32 requests for 100 leases; a lease that was refused alone is tried alone from then on. If no extension succeeds
    /// in time, the lease is lost. The handler can find out with [`Message::lease`](crate::Message::lease).
    ///
    /// The lease of a dead letter is extended until it is pushed. A stream extends leases in the same way, until a
    /// [`Delivery`](super::Delivery) is decided on or dropped.
    pub fn max_lease(mut self, time: Duration) -> Self {
        self.settings.max_lease = time;
        self
    }

    /// The share of handlers, from 0 to 1, that may fail before pulling slows down step by step. With 1, it never slows
    /// down. 0.5 by default.
    ///
    /// Set it to 1 if handlers fail often and cheaply.
    ///
    /// With each step, the pause between pulls doubles, from 100 ms to [`max_idle`](Self::max_idle), and batches halve.
    /// As handlers succeed, the steps are undone. Unconfirmed acknowledgements slow down pulling in the same way.
    pub fn failure_threshold(mut self, share: f64) -> Self {
        self.settings.failure_threshold = share;
        self
    }

    /// The queue that receives messages whose verdict is [`DeadLetter`](crate::Verdict::DeadLetter), byte for byte.
    /// None by default. The consumer's own queue is refused, since its messages would come back for ever.
    ///
    /// Set it to a queue where you look at failed messages, and from which `cf-queues redrive` moves them back.
    ///
    /// It works in addition to the service's own dead-letter queue. Messages of the types `bytes` and `v8`, bare
    /// strings of the type `json`, and bodies of the type `text` that are no string cannot be pushed over HTTP, and are
    /// left. After a crash between the push and the acknowledgement, the message is pushed twice.
    pub fn dead_letters(mut self, queue: Queue) -> Self {
        self.settings.dead_letters = Some(queue);
        self
    }

    /// Sets a function that makes the message that is pushed to the [dead-letter queue](Self::dead_letters), such as
    /// [`DeadLetter::wrap`](super::DeadLetter::wrap). By default, it is the message, byte for byte.
    ///
    /// Set it to that if whoever looks at a dead letter has to see why it is there.
    ///
    /// If the function returns an error, the message is left. If it panics, the message is pushed byte for byte.
    pub fn dead_letter_as(
        mut self,
        make: impl Fn(&Message, &Reason) -> Result<PushMessage, Error> + Send + Sync + 'static,
    ) -> Self {
        self.settings.dead_letter_as = Some(Arc::new(make));
        self
    }

    /// After how many attempts a message whose handler failed is moved to the [dead-letter queue](Self::dead_letters).
    /// Unlimited by default.
    ///
    /// Set it to at most the queue's `max_retries`, so that this consumer moves the message before the service does.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = Some(attempts);
        self
    }

    /// How often the queue redelivers a message before it goes to the queue's own dead-letter queue or is deleted: its
    /// `max_retries`. By default, the consumer asks the service when the first message arrives, and up to
    /// five times more if that fails in a way that may pass.
    ///
    /// Set it if the token may not list the queue's consumers. A message at its last delivery is started first, even
    /// during a shutdown if there is time. If `max_retries` is not known, no message counts as one at its last
    /// delivery.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.settings.max_retries = Some(retries);
        self
    }

    /// The maximum number of messages to pull. A run ends once they are settled, and a stream after the last one.
    /// Unlimited by default.
    ///
    /// Set it to try a handler on a few messages: no other message is leased, which would cost it one of its
    /// deliveries. Messages that are delivered again count again.
    pub fn limit(mut self, messages: u64) -> Self {
        self.settings.limit = messages;
        self
    }

    /// Ends a run or a stream once the queue is empty: every message that was pulled is settled, and for so long after
    /// that, pulls have returned nothing. By default, it waits for more messages.
    ///
    /// A few seconds are enough. A pull may return nothing although there are messages, so with zero, which ends it at
    /// the first such pull, some may be left. A failed pull counts for nothing: also stop after the time that the job
    /// may take.
    ///
    /// Delayed messages, and those under a lease of another consumer or left by a handler, are not waited for.
    /// [`backlog_count`](super::Stats::backlog_count) holds how many those were at the last pull, by the service's
    /// estimate, or `None` if it did not say.
    ///
    /// ```
    /// # use cloudflare_queues::{Consumer, PushMessage, emulator::Emulator};
    /// # use std::time::Duration;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let queue = Emulator::in_process().queue()?;
    /// # queue.push(&PushMessage::text("a job")).await?;
    /// # queue.push(&PushMessage::text("another job").delay(Duration::from_secs(60))).await?;
    /// # let at_most = Duration::from_secs(600);
    /// let consumer = Consumer::new(queue).until_empty(Duration::from_millis(200));
    /// let report = consumer.run_until(tokio::time::sleep(at_most), |_message| async {}).await?;
    /// match report.stats.backlog_count {
    ///     Some(0) => println!("{} messages, and none is left", report.stats.acknowledged),
    ///     Some(left) => println!("{left} messages are delayed, or leased by others"),
    ///     None => println!("it is not known how many messages are left"),
    /// }
    /// # assert_eq!((report.stats.acknowledged, report.stats.backlog_count), (1, Some(1)));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn until_empty(mut self, idle: Duration) -> Self {
        self.settings.until_empty = Some(idle);
        self
    }

    /// The maximum number of messages that a handler of [`run_batches_until`](Consumer::run_batches_until) receives.
    /// Zero counts as one. 100 by default.
    ///
    /// Set it to what one statement or one request to your database takes.
    pub fn handler_batch_size(mut self, messages: usize) -> Self {
        self.settings.handler_batch = messages;
        self
    }

    /// How long a message waits for others to fill such a batch. 1 s by default.
    ///
    /// It does not wait if no others can come: at the [`limit`](Self::limit), once [`until_empty`](Self::until_empty)
    /// finds the queue empty, and if [`max_bytes`](Self::max_bytes) has no room.
    ///
    /// Set it to as much delay as a message may have.
    pub fn handler_linger(mut self, linger: Duration) -> Self {
        self.settings.handler_linger = linger;
        self
    }

    /// How long a handler of a run may take. Unlimited by default.
    ///
    /// Set it if a handler may hang, to longer than the slowest one takes.
    ///
    /// One that takes longer is dropped, which is a failure with the text `the handler took longer than 20s`: its
    /// messages are retried after [`retry_delay`](Self::retry_delay), or moved after
    /// [`max_attempts`](Self::max_attempts). Work in `spawn_blocking` goes on. If a message that takes too long needs
    /// another verdict, use `tokio::time::timeout` in the handler and return it.
    pub fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.settings.handler_timeout = timeout;
        self
    }

    /// Sets a function that creates the span of a handler, replacing the crate's own, for example with a parent from
    /// the message's body: see the [guide](crate::guide::tracing).
    ///
    /// Set it to continue a producer's trace.
    ///
    /// If the span has the fields `otel.status_code` and `error.type`, they are recorded. If the function panics, the
    /// crate's own span is used. Handlers of batches always have the crate's own.
    pub fn span(mut self, make: impl Fn(&Message) -> Span + Send + Sync + 'static) -> Self {
        self.settings.span = Some(Arc::new(make));
        self
    }
}

/// What only tests set.
#[cfg(test)]
impl<D> Consumer<D> {
    pub(super) fn min_idle(mut self, wait: Duration) -> Self {
        self.settings.min_idle = wait;
        self
    }

    pub(super) fn max_pulls(mut self, pulls: usize) -> Self {
        self.settings.max_pulls = pulls;
        self
    }
}
