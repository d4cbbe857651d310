//! The consumer, and the ways to run it.

use std::{error::Error as StdError, fmt, future::Future, sync::Arc};

use serde::de::DeserializeOwned;

use super::{
    decoding::{Decoded, Raw},
    handlers::{self, Handler},
    health::Health,
    recorder::Total,
    run::Running,
    settings::Settings,
    stats::{Report, Stats},
    stream::Deliveries,
    verdict::{IntoVerdict, IntoVerdicts, Verdict},
};
use crate::{
    error::{Error, kind::ErrorKind},
    message::{Message, body::Body},
    queue::Queue,
};

/// Pulls messages and runs a handler for each, concurrently, until it is told to stop.
///
/// Run as many consumers as you like, on any number of machines; they need no coordination. A message that one of them
/// received is hidden from the others for the visibility timeout, and is delivered again if it has not been
/// acknowledged by then. Delivery is at least once.
///
/// ```
/// # use cloudflare_queues::{Consumer, PushMessage, Verdict, emulator::Emulator};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let emulator = Emulator::start().await?;
/// # let queue = emulator.queue()?;
/// # queue.push(&PushMessage::text("hello")).await?;
/// let consumer = Consumer::new(queue).limit(1); // one message, for the sake of the example
/// let report = consumer
///     .run_until(tokio::signal::ctrl_c(), |message| async move {
///         println!("{:?}", message.body.text());
///         Verdict::Ack
///     })
///     .await?;
/// assert_eq!(report.stats.acknowledged, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Pulling
///
/// A message is pulled shortly before a handler can start it. Few are pulled ahead, since a message that is pulled and
/// not started loses one of its deliveries. Messages at their [last delivery](Self::max_retries) are started first.
/// [`max_bytes`](Self::max_bytes) limits how much memory messages take.
///
/// The number of pulls in flight adapts. While full batches arrive and handlers wait, it triples with each round trip.
/// When pulls fail or return little, it falls. Their rate starts at the 5,000 messages a second that Cloudflare
/// [allows](https://developers.cloudflare.com/queues/platform/limits/) for a queue. It grows while handlers wait,
/// slowly at first, and falls when a rate limit refuses pulls: so consumers that share a queue share its rate.
/// While the queue is empty, one pull is in flight at a time, with pauses that grow with the time since the last
/// message, up to [`max_idle`](Self::max_idle), since empty pulls are billed.
///
/// # Leases
///
/// The lease of a message is [extended](Self::max_lease) while the message waits and while a handler works on it. If
/// that fails, the handler can [find out](Message::lease). Its verdict is sent all the same, and counts as confirmed
/// only if the service confirms it. A retry waits until an extension that is under way has ended.
///
/// # When things fail
///
/// - A handler returns an error, panics, or takes longer than [`handler_timeout`](Self::handler_timeout): the message
///   is retried after [`retry_delay`](Self::retry_delay), or moved to the [dead letters](Self::dead_letters) after
///   [`max_attempts`](Self::max_attempts).
/// - More handlers fail than [`failure_threshold`](Self::failure_threshold): pulling slows down step by step, until
///   handlers succeed.
/// - A pull fails: fewer pulls are in flight, and pauses grow. A `Retry-After` is obeyed for up to five minutes. A page
///   of a proxy is a failed pull, whatever its status. The run ends if the credentials are refused or the queue
///   does not exist.
/// - An acknowledgement fails: it is retried until the lease expires. The run ends as above; otherwise pulling slows
///   down while none is confirmed.
///
/// All of this shows in the [stats](Self::stats), the [health](Self::health) and the log.
///
/// # Tracing
///
/// Spans, with OpenTelemetry's names:
///
/// - `receive`, a pull. Fields: `otel.kind` (`client`), `messaging.system`, `messaging.operation.name`,
///   `messaging.destination.name` (the queue's id), `messaging.batch.message_count`.
/// - `process`, a handler, which follows from its `receive`. Fields: `otel.kind` (`consumer`), `messaging.system`,
///   `messaging.operation.name`, `messaging.destination.name`, `messaging.message.id` and `attempts`, or
///   `messaging.batch.message_count` if it is given a batch; `otel.status_code` and `error.type` if it fails.
///
/// Events:
///
/// - `the handler failed`, a warning within `process`. Fields: `error`.
/// - `a handler panicked`, a warning. Fields: `messages`.
/// - `pulling fails`, a warning, at first and then at growing intervals. Fields: `failures`, `error`.
/// - `pulling works again`. Fields: `failures`.
/// - `requests are refused for their rate`, once until none is for 30 s. Fields: `what` (pulls or acknowledgements),
///   `per_second`, the messages or acknowledging requests a second at first.
/// - `acknowledgements are not confirmed: messages will be handled again`, a warning, at first and then at growing
///   intervals. Fields: `failures`.
/// - `acknowledgements are confirmed again`. Fields: `failures`.
/// - `pulling is slowed down`, a warning. Fields: `what`, `slowdown`, `failing`.
/// - `pulling at full speed again`. Fields: `what`.
/// - `leases could not be extended`, a warning. Fields: `error`, `leases`.
/// - `a handler outlasts the lease of its message: another consumer may receive it`, a warning.
/// - `leases are extended late: run blocking work with spawn_blocking`, a warning, at first and then at growing
///   intervals. Fields: `late` (seconds), `times`.
/// - `messages were pulled at their last delivery, and no handler saw them`, a warning, at the end, and when pulls in
///   flight return more of them after it. Fields: `unseen`.
/// - `it is not known which messages are at their last delivery`. Fields: `error`.
/// - `a dead letter could not be pushed`, a warning. Fields: `error`, `messaging.message.id`.
/// - `a message should go to the dead-letter queue, but none is set: it is retried`, a warning.
/// - `a message could not be decoded`, a warning. Fields: `error`, `messaging.message.id`.
/// - `the function for undecodable messages failed`, a warning, in a stream. Fields: `error`, `messaging.message.id`.
/// - `the function of the retry delay panicked`, a warning. Fields: `messaging.message.id`.
/// - `the function of the dead letter panicked`, a warning. Fields: `messaging.message.id`.
/// - `the function of the span panicked`, a warning. Fields: `messaging.message.id`.
///
/// None has a body, a lease id or a credential. The [acker](crate::Acker) and single calls have events of their own. To
/// continue a trace from a producer, put its context into the body, and create the [span](Self::span) from it.
///
/// # Metrics
///
/// With the feature `metrics`, each consumer records what it does through the crate of that name. Every metric has a
/// description and a unit, and is there at zero when a run starts. The labels are those of OpenTelemetry's conventions
/// for messaging, as Prometheus spells them: `messaging_system` and `messaging_destination_name` (the queue's id). Two
/// metrics have their names from there, and the label `messaging_operation_name`:
///
/// - `messaging_client_consumed_messages_total`: [`Stats::pulled`].
/// - `messaging_process_duration_seconds`: a histogram of [`Stats::handler_times`].
///
/// The others are named after a field of [`Stats`]: the counters `cloudflare_queues_consumer_*_total`, and the gauges
/// `cloudflare_queues_consumer_{pulls_in_flight, waiting, handlers_running, concurrency, slowdown}`, summed up over the
/// consumers of a process.
#[derive(Clone)]
#[must_use = "a consumer does nothing until it is run"]
pub struct Consumer<D = Raw> {
    pub(super) queue: Queue,
    pub(super) settings: Settings,
    pub(super) decoding: D,
    pub(super) total: Total,
}

impl<D: fmt::Debug> fmt::Debug for Consumer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queue, decoding, .. } = self;
        f.debug_struct("Consumer").field("queue", queue).field("decoding", decoding).finish_non_exhaustive()
    }
}

impl Consumer {
    /// Creates a consumer with the default settings.
    pub fn new(queue: Queue) -> Self {
        let total = Total::new(&queue);
        Self { queue, settings: Settings::default(), decoding: Raw, total }
    }

    /// Decodes each message's body as JSON, and passes it to the handler with the message.
    ///
    /// ```
    /// # use cloudflare_queues::{Consumer, PushMessage, emulator::Emulator};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let emulator = Emulator::start().await?;
    /// # let queue = emulator.queue()?;
    /// #[derive(serde::Deserialize)]
    /// struct Job {
    ///     number: u32,
    /// }
    ///
    /// queue.push(&PushMessage::json(&serde_json::json!({ "number": 7 }))?).await?;
    /// let (done, mut stop) = tokio::sync::mpsc::unbounded_channel();
    /// let handler = move |job: Job, _message| {
    ///     println!("job {}", job.number);
    ///     let _ = done.send(());
    ///     async { Ok::<_, std::io::Error>(()) }
    /// };
    /// let report = Consumer::new(queue).json().run_until(stop.recv(), handler).await?;
    /// assert_eq!(report.stats.acknowledged, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn json<T: DeserializeOwned + 'static>(self) -> Consumer<Decoded<T>> {
        self.decoded(Decoded::by(Body::json))
    }

    /// Decodes each message's body by a function, and passes the result to the handler with the message: MessagePack,
    /// protobuf, compressed data, or JSON with a check.
    ///
    /// What the function returns as an error is the [source](std::error::Error::source) of the error that
    /// [`on_undecodable`](Consumer::on_undecodable) receives, so that no part of the body is logged. A panic counts as
    /// an error.
    ///
    /// ```
    /// # use cloudflare_queues::{Consumer, PushMessage, emulator::Emulator};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let emulator = Emulator::start().await?;
    /// # let queue = emulator.queue()?;
    /// queue.push(&PushMessage::base64([0, 7])).await?;
    /// let consumer = Consumer::new(queue).decode(|body| {
    ///     // For example `rmp_serde::from_slice(&body.base64()?)?`.
    ///     Ok(u16::from_be_bytes(body.base64()?.as_slice().try_into()?))
    /// });
    /// let (done, mut stop) = tokio::sync::mpsc::unbounded_channel();
    /// let handler = move |number: u16, _message| {
    ///     println!("job {number}");
    ///     let _ = done.send(());
    ///     async {}
    /// };
    /// let report = consumer.run_until(stop.recv(), handler).await?;
    /// assert_eq!(report.stats.acknowledged, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decode<T: 'static>(
        self,
        read: impl Fn(&Body) -> Result<T, Box<dyn StdError + Send + Sync>> + Send + Sync + 'static,
    ) -> Consumer<Decoded<T>> {
        let undecodable = |error: Box<dyn StdError + Send + Sync>| match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) => Error::new(ErrorKind::UndecodableBody, "the body does not fit the requested type")
                .with_source(error, false),
        };
        self.decoded(Decoded::by(move |body| read(body).map_err(undecodable)))
    }

    fn decoded<T>(self, decoding: Decoded<T>) -> Consumer<Decoded<T>> {
        let Self { queue, settings, total, .. } = self;
        Consumer { queue, settings, decoding, total }
    }

    /// Runs until `stop` completes, or until a pull or an acknowledgement fails in a way that needs human intervention.
    ///
    /// Then it stops pulling, gives running handlers and pulls in flight up to
    /// [`shutdown_timeout`](Self::shutdown_timeout) to finish, retries messages that were not started, and waits up to
    /// [`flush_timeout`](Self::flush_timeout) for the outcome of every acknowledgement. If `stop` has completed at the
    /// start, nothing is sent. A handler that panics counts as failed.
    ///
    /// To stop immediately, for example at a second ctrl-c, drop the future. Running handlers are dropped, and their
    /// messages are delivered again when their leases expire. Decisions of earlier handlers are still sent, and
    /// messages that were not started are [handed back](Self::unsettled), in the background, as long as the tokio
    /// runtime is running.
    ///
    /// # Errors
    ///
    /// Refused before anything is sent: a batch size or a visibility timeout out of bounds, and a call outside a tokio
    /// runtime. A failure that ends a run later is in the [report](Report::error).
    pub async fn run_until<H, F>(&self, stop: impl Future, handler: H) -> Result<Report, Error>
    where
        H: Fn(Message) -> F + Send + Sync + 'static,
        F: Future<Output: IntoVerdict> + Send + 'static,
    {
        let handler = handlers::one(Decoded::nothing(), move |(), message| handler(message));
        Ok(self.run(false, handler)?.until(stop).await)
    }

    /// Like [`run_until`](Self::run_until), with a handler that receives several messages at once, for example for a
    /// bulk insert.
    ///
    /// It receives up to [`handler_batch_size`](Self::handler_batch_size) messages, or those that arrived within
    /// [`handler_linger`](Self::handler_linger). [`concurrency`](Self::concurrency) counts batches. It returns one
    /// verdict for all messages or one for each: see [`IntoVerdicts`].
    ///
    /// ```
    /// # use cloudflare_queues::{Consumer, Message, PushMessage, emulator::Emulator};
    /// # use std::time::Duration;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let emulator = Emulator::start().await?;
    /// # let queue = emulator.queue()?;
    /// queue.push_batch(&vec![PushMessage::text("a row"); 50]).await?;
    /// let (done, mut stop) = tokio::sync::mpsc::unbounded_channel();
    /// let insert = move |rows: Vec<Message>| {
    ///     println!("{} rows in one transaction", rows.len());
    ///     let _ = done.send(());
    ///     async { Ok::<_, std::io::Error>(()) }
    /// };
    /// let consumer = Consumer::new(queue).concurrency(1).handler_batch_size(50);
    /// let consumer = consumer.handler_linger(Duration::from_millis(10));
    /// let report = consumer.run_batches_until(stop.recv(), insert).await?;
    /// assert_eq!(report.stats.acknowledged, 50);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`run_until`](Self::run_until).
    pub async fn run_batches_until<H, F>(&self, stop: impl Future, handler: H) -> Result<Report, Error>
    where
        H: Fn(Vec<Message>) -> F + Send + Sync + 'static,
        F: Future<Output: IntoVerdicts> + Send + 'static,
    {
        let messages = |jobs: Vec<((), Message)>| jobs.into_iter().map(|((), message)| message).collect();
        let handler = handlers::many(Decoded::nothing(), move |jobs| handler(messages(jobs)));
        Ok(self.run(true, handler)?.until(stop).await)
    }
}

#[cfg(feature = "tower")]
impl Consumer {
    /// Like [`run_until`](Self::run_until), with a tower service as the handler, so that tower's timeouts, rate limits
    /// and concurrency limits can be used.
    ///
    /// Each message gets a clone of the service, which is called once it is ready. A message that waits for that counts
    /// towards [`concurrency`](Self::concurrency), and its lease is extended. An error of the service is a failure of
    /// the handler.
    ///
    /// # Errors
    ///
    /// As for [`run_until`](Self::run_until).
    pub async fn run_service_until<S>(&self, stop: impl Future, service: S) -> Result<Report, Error>
    where
        S: tower_service::Service<Message> + Clone + Send + 'static,
        S::Response: IntoVerdict,
        S::Error: std::fmt::Display,
        S::Future: Send,
    {
        // Not every service is `Sync`.
        let service = std::sync::Mutex::new(service);
        let handler = move |message| {
            let mut service = crate::flow::contained::lock(&service).clone();
            async move {
                std::future::poll_fn(|context| service.poll_ready(context)).await?;
                service.call(message).await
            }
        };
        self.run_until(stop, handler).await
    }
}

impl<T: 'static> Consumer<Decoded<T>> {
    /// Sets what to do with a message that cannot be decoded. Like a handler, the function is async and may fail.
    ///
    /// By default, the message is moved to the [dead-letter queue](Self::dead_letters) if one is set. Otherwise it is
    /// left, so it is delivered again until the queue's `max_retries` are used up. It is [counted](Stats::undecodable)
    /// in any case.
    ///
    /// In a run, each call may take as long as a [handler](Self::handler_timeout), and the other messages of a batch do
    /// not wait for it.
    ///
    /// Set it to keep what a bug of a producer made: to store the message and acknowledge it, say, or to retry it until
    /// a version that can read it runs.
    pub fn on_undecodable<F>(mut self, decide: impl Fn(Message, Error) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output: IntoVerdict> + Send + 'static,
    {
        self.decoding = self.decoding.deciding(decide);
        self
    }

    /// Like [`run_until`](Consumer::run_until) of a consumer without decoding. The handler receives the body and the
    /// message.
    ///
    /// # Errors
    ///
    /// As for that method.
    pub async fn run_until<H, F>(&self, stop: impl Future, handler: H) -> Result<Report, Error>
    where
        H: Fn(T, Message) -> F + Send + Sync + 'static,
        F: Future<Output: IntoVerdict> + Send + 'static,
    {
        let handler = handlers::one(self.decoding(), handler);
        Ok(self.run(false, handler)?.until(stop).await)
    }

    /// Like [`run_batches_until`](Consumer::run_batches_until) of a consumer without decoding. The handler receives
    /// bodies with their messages, without those that cannot be decoded.
    ///
    /// # Errors
    ///
    /// As for that method.
    pub async fn run_batches_until<H, F>(&self, stop: impl Future, handler: H) -> Result<Report, Error>
    where
        T: Send,
        H: Fn(Vec<(T, Message)>) -> F + Send + Sync + 'static,
        F: Future<Output: IntoVerdicts> + Send + 'static,
    {
        let handler = handlers::many(self.decoding(), handler);
        Ok(self.run(true, handler)?.until(stop).await)
    }

    /// Like [`stream`](Consumer::stream) of a consumer without decoding. Each delivery has the
    /// [decoded body](super::Delivery::body). Messages that cannot be decoded are handled as set, and skipped.
    ///
    /// # Errors
    ///
    /// As for that method.
    pub fn stream(&self) -> Result<Deliveries<T>, Error> {
        Deliveries::new(self.queue.clone(), self.settings.clone(), self.decoding(), &self.total)
    }

    /// By default, undecodable messages go to the dead-letter queue if there is one.
    fn decoding(&self) -> Decoded<T> {
        let default = if self.settings.dead_letters.is_some() { Verdict::DeadLetter } else { Verdict::Leave };
        self.decoding.clone().defaulting(default)
    }
}

impl<D> Consumer<D> {
    /// Returns what this consumer and its clones have done so far, in all their runs and streams, including current
    /// ones.
    pub fn stats(&self) -> Stats {
        self.total.stats()
    }

    /// Returns whether the consumer, or one of its clones, is working. If it has several runs or streams, it returns
    /// the worst status of them.
    ///
    /// ```
    /// # use cloudflare_queues::{Consumer, consumer::Status, emulator::Emulator};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let emulator = Emulator::start().await?;
    /// # let queue = emulator.queue()?;
    /// let consumer = Consumer::new(queue);
    /// let health = consumer.health(); // while a clone of it runs
    /// assert_eq!((health.status, health.is_healthy()), (Status::Stopped, false));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn health(&self) -> Health {
        Health::new(&self.total)
    }

    fn run(&self, is_batched: bool, handler: Arc<Handler>) -> Result<Running, Error> {
        Running::new(&self.queue, self.settings.for_handlers(is_batched), &self.total, handler)
    }
}

impl Consumer {
    /// Returns the messages as a stream, for a loop of your own.
    ///
    /// Failed pulls are retried. A failure that needs human intervention is the last item of the stream.
    ///
    /// # Errors
    ///
    /// As for [`run_until`](Self::run_until).
    pub fn stream(&self) -> Result<Deliveries, Error> {
        Deliveries::new(self.queue.clone(), self.settings.clone(), Decoded::nothing(), &self.total)
    }
}
