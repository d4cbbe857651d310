//! The pull loop: bounded concurrency, acknowledgements beside the work, and a graceful end.

mod puller;
mod run;
mod stats;
mod stream;

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    sync::{Arc, PoisonError},
    time::Duration,
};

use serde::de::DeserializeOwned;

use self::{run::Run, stats::Shared};
pub use self::{
    stats::{HandlerTimes, Report, Stats},
    stream::{Deliveries, Delivery},
};
use crate::{acker::AckerOptions, error::Error, message::Message, pull::PullOptions, queue::Queue};

/// Pulls messages and gives them to a handler, as many at a time as allowed, until it is told to stop.
///
/// Any number of consumers, on any number of machines, can share a queue and need nothing else in common: a message that one of them
/// was given is hidden from the others for the visibility timeout, and comes again if it was not acknowledged by then. Delivery is at
/// least once: a handler that overruns its lease may work on a message that another one has been given too.
///
/// ```
/// # use cloudflare_queues::{Consumer, PushMessage, Verdict, emulator::Emulator};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let emulator = Emulator::start().await?;
/// # let queue = emulator.queue()?;
/// # queue.push(&PushMessage::text("hello")).await?;
/// let (done, stop) = tokio::sync::oneshot::channel::<()>();
/// let done = std::sync::Mutex::new(Some(done));
/// let report = Consumer::new(queue)
///     .run_until(stop, move |message| {
///         // Stops after the first message, for the sake of the example.
///         done.lock().unwrap().take();
///         async move {
///             println!("{:?}", message.body.text());
///             Verdict::Ack
///         }
///     })
///     .await?;
/// assert_eq!(report.stats.acknowledged, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Consumer {
    queue: Queue,
    options: ConsumerOptions,
    stats: Arc<Shared>,
}

/// How a [`Consumer`] pulls, works and stops.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// The largest batch and the visibility timeout. 100 messages and 60 s by default. No more is pulled than handlers are expected to
    /// start on within half of the visibility timeout, by the time that they took so far.
    pub pull: PullOptions,
    /// How many handlers work at the same time. 10 by default; zero counts as one.
    pub concurrency: usize,
    /// The wait after a pull that was empty, or that failed; it doubles with each one more. 100 ms by default.
    pub min_idle: Duration,
    /// The longest such wait. 10 s by default.
    pub max_idle: Duration,
    /// When a message comes again whose handler gave an error or panicked. After the queue's own delay by default.
    pub retry_delay: RetryDelay,
    /// What becomes of messages that were pulled, but not started, when the consumer stops. Handed back by default.
    pub undecided: Undecided,
    /// How long handlers may go on after the consumer is told to stop; those that do are dropped then. 30 s by default.
    pub shutdown_timeout: Duration,
    /// How long acknowledgements may go on after the last handler ended. 30 s by default.
    pub flush_timeout: Duration,
    /// How acknowledgements are grouped.
    pub acker: AckerOptions,
}

impl Default for ConsumerOptions {
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
        }
    }
}

/// What a handler makes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// It is done.
    Ack,
    /// It is to be delivered again, after the queue's own delay.
    Retry,
    /// It is to be delivered again, after a delay of at most 24 hours; a longer one is cut to that.
    RetryIn(Duration),
    /// Nothing is said: it comes again when its lease ends.
    Leave,
}

/// What a handler may return: a [`Verdict`], or a `Result` whose error means a retry by [`ConsumerOptions::retry_delay`].
pub trait IntoVerdict {
    /// The verdict, or `None` for a retry by the policy.
    fn into_verdict(self) -> Option<Verdict>;
}

impl IntoVerdict for Verdict {
    fn into_verdict(self) -> Option<Verdict> {
        Some(self)
    }
}

/// Done.
impl IntoVerdict for () {
    fn into_verdict(self) -> Option<Verdict> {
        Some(Verdict::Ack)
    }
}

impl<V: IntoVerdict, E> IntoVerdict for Result<V, E> {
    fn into_verdict(self) -> Option<Verdict> {
        self.ok().and_then(V::into_verdict)
    }
}

type DelayOf = dyn Fn(&Message) -> Option<Duration> + Send + Sync;

/// When a message comes again whose handler failed.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum RetryDelay {
    /// After the queue's own retry delay.
    #[default]
    Queue,
    /// After the same delay each time.
    Fixed(Duration),
    /// After a delay that doubles with each attempt.
    Exponential {
        /// The delay after the first attempt.
        initial: Duration,
        /// The longest delay.
        max: Duration,
    },
    /// After what a function says; `None` is the queue's own delay.
    By(Arc<DelayOf>),
}

impl RetryDelay {
    fn verdict(&self, message: &Message) -> Verdict {
        let delay = match self {
            Self::Queue => None,
            Self::Fixed(delay) => Some(*delay),
            Self::Exponential { initial, max } => {
                let doublings = message.attempts.unwrap_or(1).saturating_sub(1).min(31);
                Some(initial.saturating_mul(1 << doublings).min(*max))
            }
            Self::By(delay) => delay(message),
        };
        delay.map_or(Verdict::Retry, Verdict::RetryIn)
    }
}

impl fmt::Debug for RetryDelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue => f.write_str("Queue"),
            Self::Fixed(delay) => write!(f, "Fixed({delay:?})"),
            Self::Exponential { initial, max } => write!(f, "Exponential({initial:?} to {max:?})"),
            Self::By(_) => f.write_str("By(..)"),
        }
    }
}

/// What becomes of a message that nobody decided on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Undecided {
    /// It is handed back at once, which counts as an attempt.
    #[default]
    Retry,
    /// It comes again when its lease ends, which counts as an attempt too.
    Leave,
}

impl Consumer {
    /// A consumer with the default options.
    pub fn new(queue: Queue) -> Self {
        Self::with_options(queue, ConsumerOptions::default())
    }

    /// A consumer with options of your own.
    pub fn with_options(queue: Queue, options: ConsumerOptions) -> Self {
        Self { queue, options, stats: Arc::default() }
    }

    /// What this consumer and its clones have done so far, also while they run.
    pub fn stats(&self) -> Stats {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs until `stop` is done, or until a failure that only a person can mend.
    ///
    /// Then it pulls no more, gives running handlers [`shutdown_timeout`](ConsumerOptions::shutdown_timeout) to end, hands back what was not
    /// started, and waits for the outcome of every acknowledgement. A handler that panics is one that gave an error.
    ///
    /// # Errors
    ///
    /// Refused before anything is sent: [pull options](PullOptions) out of their bounds, and a call outside a tokio runtime. What ends a
    /// run later is in the [report](Report::error).
    pub async fn run_until<H, F>(&self, stop: impl Future, handler: H) -> Result<Report, Error>
    where
        H: Fn(Message) -> F + Send + Sync + 'static,
        F: Future<Output: IntoVerdict> + Send + 'static,
    {
        let run = Run::new(self.queue.clone(), self.options.clone(), Arc::clone(&self.stats))?;
        Ok(run.until(stop, Arc::new(handler)).await)
    }

    /// A consumer whose handler is given each message's body, read as JSON, beside the message.
    pub fn json<T: DeserializeOwned>(&self) -> JsonConsumer<T> {
        JsonConsumer { consumer: self.clone(), undecodable: Arc::new(|_, _| Verdict::Leave), body: PhantomData }
    }

    /// The messages as a stream, for a loop of your own. It ends after a failure that only a person can mend, which is its last item.
    ///
    /// # Errors
    ///
    /// As [`run_until`](Self::run_until).
    pub fn stream(&self) -> Result<Deliveries, Error> {
        Deliveries::new(self.queue.clone(), self.options.clone())
    }
}

type OnUndecodable = dyn Fn(&Message, &Error) -> Verdict + Send + Sync;

/// A [`Consumer`] of messages that are JSON: see [`Consumer::json`].
pub struct JsonConsumer<T> {
    consumer: Consumer,
    undecodable: Arc<OnUndecodable>,
    body: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + 'static> JsonConsumer<T> {
    /// What to do with messages that cannot be decoded. By default they are left, so that they come again until the queue's `max_retries`
    /// are used up, and then go to the dead-letter queue. They are [counted](Stats::undecodable) in any case.
    pub fn on_undecodable(mut self, decide: impl Fn(&Message, &Error) -> Verdict + Send + Sync + 'static) -> Self {
        self.undecodable = Arc::new(decide);
        self
    }

    /// As [`Consumer::run_until`].
    ///
    /// # Errors
    ///
    /// As [`Consumer::run_until`].
    pub async fn run_until<H, F>(&self, stop: impl Future, handler: H) -> Result<Report, Error>
    where
        H: Fn(T, Message) -> F + Send + Sync + 'static,
        F: Future<Output: IntoVerdict> + Send + 'static,
    {
        let (stats, undecodable) = (Arc::clone(&self.consumer.stats), Arc::clone(&self.undecodable));
        let decode = move |message: Message| {
            let decoded = match message.body.json::<T>() {
                Ok(body) => Ok(handler(body, message)),
                Err(error) => {
                    stats.lock().unwrap_or_else(PoisonError::into_inner).undecodable += 1;
                    Err(undecodable(&message, &error))
                }
            };
            async move {
                match decoded {
                    Ok(handled) => handled.await.into_verdict().ok_or(()),
                    Err(verdict) => Ok(verdict),
                }
            }
        };
        self.consumer.run_until(stop, decode).await
    }
}

impl<T> fmt::Debug for JsonConsumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonConsumer").field("consumer", &self.consumer).finish_non_exhaustive()
    }
}
