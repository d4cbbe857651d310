//! The pusher that programs hold.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{
    Semaphore,
    mpsc::{self, error::SendError},
    oneshot, watch,
};

use super::{
    options::PusherOptions,
    receipt::{PushError, Receipt, Unpushed, stopped},
    worker::{Command, LARGEST, Pending, Worker},
};
use crate::{
    error::Error,
    http::transport,
    message::{limits, push::PushMessage},
    queue::Queue,
};

/// What a message takes besides its body while it waits.
pub(super) const MESSAGE_BYTES: usize = 512;

/// Pushes single messages from any number of tasks, and groups them into requests of up to 100 messages and 256 KB.
///
/// A request is sent when it is full, or when its oldest message has waited for [`linger`](PusherOptions::linger). The
/// number of requests in flight adapts: it grows while messages wait for requests to finish, up to 256, falls when
/// requests fail, and recovers slowly. Their rate starts at the 5,000 messages a second that Cloudflare
/// [allows](https://developers.cloudflare.com/queues/platform/limits/) for a queue, of which a second's worth may go at
/// once. It grows while messages wait, slowly at first, and falls when a rate limit refuses requests, which is logged
/// once until there is no such refusal for 30 s. Messages are in no order, as in the queue.
///
/// Each message has a [`Receipt`], which resolves to what happened to it, and which you can drop. A request that may
/// have arrived is never sent again, since that could duplicate its messages. One that did not arrive, or that a rate
/// limit refused, is sent again for as long as [`give_up_after`](PusherOptions::give_up_after) says, after waits that
/// double from 1 s to 30 s. A longer `Retry-After` replaces such a wait, for up to five minutes. Both this and the
/// client's own [retries](crate::RetryPolicy) use the [budget](crate::RetryPolicy::budget). While it is used up and the
/// service fails, the pusher tries one request every 5 s.
///
/// If the service refuses the content of a request (400, 413), the request is halved until the bad message is isolated,
/// in at most 32 requests. The others are not affected.
///
/// Clones share the same buffer. When the last one is dropped, waiting messages are still sent, as long as the tokio
/// runtime is running. To wait for that, call [`close`](Self::close). Failures of messages whose receipts were dropped
/// are logged, at first and then at growing intervals.
///
/// ```
/// # use cloudflare_queues::{PushMessage, Pusher, emulator::Emulator};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let emulator = Emulator::in_process();
/// # let queue = emulator.queue()?;
/// let pusher = Pusher::new(queue)?;
/// let receipt = pusher.push(PushMessage::text("hello")).await?;
/// match receipt.await {
///     Ok(()) => println!("pushed"),
///     Err(failed) => match failed.message {
///         Some(message) => println!("not sent, so {message:?} can be pushed again: {}", failed.error),
///         None => println!("it may be in the queue: {}", failed.error),
///     },
/// }
/// pusher.close().await;
/// # assert_eq!(emulator.messages(emulator.queue_id()).len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Pusher(Arc<Handle>);

/// State shared by the clones of a pusher. The worker ends after it is dropped.
struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    /// A permit for each byte of the messages that wait or are in flight.
    room: Arc<Semaphore>,
    max_bytes: usize,
    is_closed: AtomicBool,
    /// Its sender is dropped with the worker.
    ended: watch::Receiver<()>,
}

impl fmt::Debug for Pusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pusher").field("max_bytes", &self.0.max_bytes).finish_non_exhaustive()
    }
}

impl Pusher {
    /// Creates a pusher with the default options.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) outside a tokio runtime with timers.
    pub fn new(queue: Queue) -> Result<Self, Error> {
        Self::with_options(queue, PusherOptions::default())
    }

    /// Creates a pusher with the given options.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn with_options(queue: Queue, options: PusherOptions) -> Result<Self, Error> {
        transport::require_runtime()?;
        // A message takes as many permits as a `u32` holds.
        let max_bytes = options.max_bytes.clamp(1, Semaphore::MAX_PERMITS);
        let room = Arc::new(Semaphore::new(max_bytes));
        let ((commands, received), (alive, ended)) = (mpsc::unbounded_channel(), watch::channel(()));
        tokio::spawn(Worker::new(queue, options, received, Arc::clone(&room), alive).run());
        Ok(Self(Arc::new(Handle { commands, room, max_bytes, is_closed: AtomicBool::new(false), ended })))
    }

    /// Submits a message. Waits while the pusher holds [`max_bytes`](PusherOptions::max_bytes).
    ///
    /// If the future is dropped before it completes, nothing is sent.
    ///
    /// # Errors
    ///
    /// The error returns the message. [`InvalidInput`](crate::ErrorKind::InvalidInput) if its body has more than 128 KB
    /// or its delay more than 24 hours, or if the pusher is closed. [`Transport`](crate::ErrorKind::Transport) if the
    /// runtime in which the pusher was created has stopped.
    pub async fn push(&self, message: PushMessage) -> Result<Receipt, PushError> {
        if let Err(error) = limits::push(&message) {
            return Err(PushError::new(error, message));
        }
        let bytes = bytes(&message).min(self.0.max_bytes);
        let room = Arc::clone(&self.0.room).acquire_many_owned(u32::try_from(bytes).unwrap_or(u32::MAX)).await;
        let Ok(room) = room else { return Err(PushError::new(self.refusal(), message)) };
        let (reply, receipt) = oneshot::channel();
        match self.0.commands.send(Command::Push(Pending::new(message, reply, room))) {
            Err(SendError(Command::Push(pending))) => Err(PushError::new(self.refusal(), pending.take_back())),
            _ => Ok(Receipt(receipt)),
        }
    }

    /// Pushes all messages of an iterator, with no more in memory than [`max_bytes`](PusherOptions::max_bytes), and
    /// waits for the outcome of each. Returns how many there were.
    ///
    /// The first failure ends it: no further message is taken from the iterator, and the outcomes of those that were
    /// taken are awaited. Pass `&mut iterator` to continue with the rest after that.
    ///
    /// If the future is dropped, messages that were taken are still sent.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use cloudflare_queues::{PushMessage, Pusher, emulator::{Emulator, Fault}};
    ///
    /// let emulator = Emulator::in_process();
    /// let pusher = Pusher::new(emulator.queue()?)?;
    /// let mut lines = (0..1000).map(|line| PushMessage::text(format!("line {line}")));
    /// emulator.inject(Fault::ServerError(502));
    /// let failed = pusher.push_all(&mut lines).await.unwrap_err();
    /// println!("{} are pushed, {} may be", failed.pushed, failed.may_have_arrived.len());
    /// // A duplicate is better than a lost message.
    /// pusher.push_all(failed.may_have_arrived.into_iter().chain(failed.not_sent).chain(lines)).await?;
    /// # assert_eq!(emulator.messages(emulator.queue_id()).len(), 1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Unpushed`] has the first error, the number of messages that are pushed, and all others that were taken.
    pub async fn push_all(&self, messages: impl IntoIterator<Item = PushMessage>) -> Result<usize, Unpushed> {
        let mut tally = Tally::default();
        for message in messages {
            // No more receipts than the pusher could hold messages, though the first one may take longest.
            let size = bytes(&message).min(LARGEST);
            while tally.bytes.saturating_add(size) > self.0.max_bytes && tally.next().await {}
            // The receipt does not return a message that may have arrived. Clones share the body.
            match self.push(message.clone()).await {
                Ok(receipt) => tally.wait_for(receipt, message),
                Err(failed) => tally.add(message, Err(failed)),
            }
            while tally.next_if_known() {}
            if tally.error.is_some() {
                break;
            }
        }
        self.flush().await;
        while tally.next().await {}
        tally.result()
    }

    /// Sends waiting messages at once, and waits for the outcome of every message submitted before.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        match self.0.commands.send(Command::Flush(done)) {
            // The channel closes if the worker ends, and has nothing left to send.
            Ok(()) => drop(flushed.await),
            Err(_) => self.ended().await,
        }
    }

    /// Accepts no more messages, also none that waits in [`push`](Self::push), and waits for the outcome of every
    /// submitted message, as [`flush`](Self::flush) does.
    pub async fn close(&self) {
        self.0.is_closed.store(true, Ordering::Release);
        self.0.room.close();
        // It fails only if the worker has ended.
        let _ = self.0.commands.send(Command::Close);
        self.ended().await;
    }

    async fn ended(&self) {
        // Nothing is ever sent.
        let _ = self.0.ended.clone().changed().await;
    }

    fn refusal(&self) -> Error {
        if self.0.is_closed.load(Ordering::Acquire) { Error::invalid("pusher: it is closed") } else { stopped() }
    }
}

/// The outcomes of the messages of an iterator.
#[derive(Default)]
struct Tally {
    waiting: VecDeque<(Receipt, PushMessage)>,
    /// What they take.
    bytes: usize,
    error: Option<Error>,
    pushed: usize,
    may_have_arrived: Vec<PushMessage>,
    not_sent: Vec<PushMessage>,
}

impl Tally {
    fn wait_for(&mut self, receipt: Receipt, message: PushMessage) {
        self.bytes = self.bytes.saturating_add(bytes(&message));
        self.waiting.push_back((receipt, message));
    }

    /// Waits for the first outcome. Returns whether there is one.
    async fn next(&mut self) -> bool {
        let Some((receipt, _)) = self.waiting.front_mut() else { return false };
        let outcome = receipt.await;
        self.take(outcome);
        true
    }

    fn next_if_known(&mut self) -> bool {
        let outcome = self.waiting.front_mut().and_then(|(receipt, _)| receipt.now());
        outcome.map(|outcome| self.take(outcome)).is_some()
    }

    fn take(&mut self, outcome: Result<(), PushError>) {
        if let Some((_, message)) = self.waiting.pop_front() {
            self.bytes = self.bytes.saturating_sub(bytes(&message));
            self.add(message, outcome);
        }
    }

    fn add(&mut self, message: PushMessage, outcome: Result<(), PushError>) {
        match outcome {
            Ok(()) => self.pushed = self.pushed.saturating_add(1),
            Err(PushError { error, .. }) => {
                let list = if error.may_have_arrived() { &mut self.may_have_arrived } else { &mut self.not_sent };
                list.push(message);
                self.error.get_or_insert(error);
            }
        }
    }

    fn result(self) -> Result<usize, Unpushed> {
        let Self { error, pushed, may_have_arrived, not_sent, .. } = self;
        let Some(error) = error else { return Ok(pushed) };
        let error = error.or_may_have_arrived(pushed > 0 || !may_have_arrived.is_empty());
        Err(Unpushed { error, pushed, may_have_arrived, not_sent })
    }
}

/// What a message takes.
fn bytes(message: &PushMessage) -> usize {
    message.size().saturating_add(MESSAGE_BYTES)
}
