//! The pull loop: bounded concurrency, acknowledgements beside the work, and a graceful end.

mod decoding;
mod puller;
mod run;
mod settings;
mod stats;
mod stream;
mod verdict;

use std::{
    future::Future,
    sync::{Arc, PoisonError},
};

use serde::de::DeserializeOwned;

pub use self::{
    decoding::{Json, Raw},
    stats::{HandlerTimes, Report, Stats},
    stream::{Deliveries, Delivery},
    verdict::{Failed, IntoVerdict, RetryDelay, Undecided, Verdict},
};
use self::{run::Run, settings::Settings, stats::Shared};
use crate::{error::Error, message::Message, queue::Queue};

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
#[must_use = "a consumer does nothing until it is run"]
pub struct Consumer<D = Raw> {
    queue: Queue,
    settings: Settings,
    decoding: D,
    stats: Arc<Shared>,
}

impl Consumer {
    /// A consumer with the default settings.
    pub fn new(queue: Queue) -> Self {
        Self { queue, settings: Settings::default(), decoding: Raw, stats: Arc::default() }
    }

    /// Gives the handler each message's body, read as JSON, beside the message.
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
    pub fn json<T: DeserializeOwned>(self) -> Consumer<Json<T>> {
        let Self { queue, settings, stats, .. } = self;
        Consumer { queue, settings, decoding: Json::new(), stats }
    }

    /// Runs until `stop` is done, or until a failure that only a person can mend.
    ///
    /// Then it pulls no more, gives running handlers [`shutdown_timeout`](Self::shutdown_timeout) to end, hands back what was not
    /// started, and waits for the outcome of every acknowledgement. A handler that panics is one that failed.
    ///
    /// # Errors
    ///
    /// Refused before anything is sent: a batch size or a visibility timeout out of its bounds, and a call outside a tokio runtime. What
    /// ends a run later is in the [report](Report::error).
    pub async fn run_until<H, F>(&self, stop: impl Future, handler: H) -> Result<Report, Error>
    where
        H: Fn(Message) -> F + Send + Sync + 'static,
        F: Future<Output: IntoVerdict> + Send + 'static,
    {
        let handler = move |message| {
            let handled = handler(message);
            async move { handled.await.into_verdict() }
        };
        Ok(self.run()?.until(stop, Arc::new(handler)).await)
    }
}

impl<T: DeserializeOwned + 'static> Consumer<Json<T>> {
    /// What to do with a message that cannot be decoded; the function is async and may fail, as a handler.
    ///
    /// By default it is left, so that it is delivered again until the queue's `max_retries` are used up, and then goes to the dead-letter
    /// queue. It is [counted](Stats::undecodable) in any case.
    pub fn on_undecodable<F>(mut self, decide: impl Fn(Message, Error) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output: IntoVerdict> + Send + 'static,
    {
        self.decoding = Json::deciding(decide);
        self
    }

    /// As [`run_until`](Consumer::run_until) of a consumer without decoding; the handler is given the body and the message.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn run_until<H, F>(&self, stop: impl Future, handler: H) -> Result<Report, Error>
    where
        H: Fn(T, Message) -> F + Send + Sync + 'static,
        F: Future<Output: IntoVerdict> + Send + 'static,
    {
        let (stats, decoding) = (Arc::clone(&self.stats), self.decoding.clone());
        let handler = move |message: Message| {
            let decoded = match message.body.json::<T>() {
                Ok(body) => Ok(handler(body, message)),
                Err(error) => {
                    stats.lock().unwrap_or_else(PoisonError::into_inner).undecodable += 1;
                    Err((decoding.undecodable)(message, error))
                }
            };
            async move {
                match decoded {
                    Ok(handled) => handled.await.into_verdict(),
                    Err(decided) => decided.await,
                }
            }
        };
        Ok(self.run()?.until(stop, Arc::new(handler)).await)
    }
}

impl<D> Consumer<D> {
    /// What this consumer and its clones have done so far, also while they run.
    pub fn stats(&self) -> Stats {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The messages as a stream, for a loop of your own. It ends after a failure that only a person can mend, which is its last item.
    ///
    /// # Errors
    ///
    /// As [`run_until`](Consumer::run_until).
    pub fn stream(&self) -> Result<Deliveries, Error> {
        Deliveries::new(self.queue.clone(), self.settings.clone())
    }

    fn run(&self) -> Result<Run, Error> {
        Run::new(self.queue.clone(), self.settings.clone(), Arc::clone(&self.stats))
    }
}
