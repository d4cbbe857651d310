//! Groups single acknowledgements into few requests.

mod worker;

use std::{
    collections::HashSet,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use self::worker::{Command, Pending, Worker};
use crate::{
    error::Error,
    error_kind::ErrorKind,
    lease::LeaseId,
    limits,
    queue::Queue,
    settlement::{Lease, Settlement},
};

/// Acknowledges leases one by one, from any number of tasks, in requests that take up to 100 of them.
///
/// A request leaves when 100 leases wait, or when the oldest of them has waited for [`linger`](AckerOptions::linger), or earlier if a lease
/// is about to end. One that fails is sent again while its leases last. One that the service refuses is split until the lease at
/// fault stands alone, so that it does not keep the others from being confirmed.
///
/// A clone shares the work. When the last one is dropped, what waits is still sent, as long as the tokio runtime is there; to wait for that,
/// call [`close`](Self::close).
///
/// ```
/// # use cloudflare_queues::{Acker, Confirmation, PullOptions, PushMessage, emulator::Emulator};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let emulator = Emulator::start().await?;
/// # let queue = emulator.queue()?;
/// # queue.push(&PushMessage::text("hello")).await?;
/// let acker = Acker::new(queue.clone())?;
/// for message in queue.pull(PullOptions::new()).await? {
///     let receipt = acker.ack(&message).await?;
///     assert_eq!(receipt.await?, Confirmation::Confirmed);
/// }
/// acker.close().await;
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Acker {
    commands: mpsc::Sender<Command>,
    ledger: Arc<Ledger>,
}

/// When an [`Acker`] sends, and how much it holds.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AckerOptions {
    pub(crate) linger: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) buffer: usize,
}

impl AckerOptions {
    /// The defaults.
    pub const fn new() -> Self {
        Self { linger: Duration::from_millis(50), max_in_flight: 4, buffer: 1000 }
    }

    /// How long a lease waits at most for others to go with it. 50 ms by default.
    pub const fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// How many requests are under way at most; zero counts as one. 4 by default.
    pub const fn max_in_flight(mut self, requests: usize) -> Self {
        self.max_in_flight = requests;
        self
    }

    /// How many leases wait at most before [`Acker::ack`] waits, too, beside those that are under way; zero counts as one. 1000 by default.
    pub const fn buffer(mut self, leases: usize) -> Self {
        self.buffer = leases;
        self
    }
}

impl Default for AckerOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// What the service said of one lease, in the response to a request that it carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Confirmation {
    /// The message was acknowledged, or will be retried.
    Confirmed,
    /// The service has a warning about the lease, in these words.
    Warned(String),
    /// The service's count leaves open whether the lease is among those that it settled.
    Unclear {
        /// How many leases with the same decision the service counted, if it said.
        counted: Option<u64>,
        /// How many the request held.
        requested: u64,
    },
}

/// The outcome of one lease: a future, which can be ignored.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Result<Confirmation, Error>>);

impl Future for Receipt {
    type Output = Result<Confirmation, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let gone = |_| Err(Error::new(ErrorKind::Transport, "the runtime stopped before the lease was ended"));
        Pin::new(&mut self.0).poll(context).map(|outcome| outcome.unwrap_or_else(gone))
    }
}

/// The leases that wait or are under way, and whether more are taken.
#[derive(Debug, Default)]
struct Ledger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    claimed: HashSet<LeaseId>,
    is_closed: bool,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first word on a lease counts, until its outcome is known.
    fn claim(&self, lease_id: &LeaseId) -> Result<(), Error> {
        let mut entries = self.lock();
        if entries.is_closed {
            return Err(Error::invalid("acker: it is closed"));
        }
        if !entries.claimed.insert(lease_id.clone()) {
            return Err(Error::invalid("lease_id: the lease is being acknowledged or handed back already"));
        }
        Ok(())
    }
}

impl Acker {
    /// An acker with the default options.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) outside a tokio runtime.
    pub fn new(queue: Queue) -> Result<Self, Error> {
        Self::with_options(queue, AckerOptions::default())
    }

    /// An acker with options of your own. A `max_in_flight` or a `buffer` of zero counts as one.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_options(queue: Queue, options: AckerOptions) -> Result<Self, Error> {
        let runtime = Handle::try_current().map_err(|_| Error::invalid("acker: it needs a tokio runtime"))?;
        let (commands, receiver) = mpsc::channel(options.buffer.max(1));
        let ledger = Arc::new(Ledger::default());
        runtime.spawn(Worker::new(queue, options, Arc::clone(&ledger)).run(receiver));
        Ok(Self { commands, ledger })
    }

    /// Acknowledges a message. Waits while the buffer is full; dropping the future before it is done leaves the lease alone.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the lease is empty, if there was a word on it already whose outcome is not known yet, or if
    /// the acker is closed.
    pub async fn ack(&self, lease: impl Into<Lease>) -> Result<Receipt, Error> {
        self.submit(Settlement::ack(lease)).await
    }

    /// Hands a message back, to be delivered again after the queue's own retry delay.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub async fn retry(&self, lease: impl Into<Lease>) -> Result<Receipt, Error> {
        self.submit(Settlement::retry(lease)).await
    }

    /// Hands a message back, to be delivered again after `delay`, of at most 24 hours.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack), and if the delay is longer.
    pub async fn retry_in(&self, lease: impl Into<Lease>, delay: Duration) -> Result<Receipt, Error> {
        self.submit(Settlement::retry_in(lease, delay)).await
    }

    /// Sends what waits at once, and waits for the outcome of every lease that was submitted before.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        // A worker that is gone has nothing left to send.
        if self.commands.send(Command::Flush(done)).await.is_ok() {
            let _ = flushed.await;
        }
    }

    /// Takes no more leases, and waits for the outcome of every lease that was submitted.
    pub async fn close(&self) {
        self.ledger.lock().is_closed = true;
        self.flush().await;
    }

    /// Submits a lease whose outcome nobody waits for, from where nothing can be awaited.
    pub(crate) fn submit_detached(&self, settlement: Settlement) {
        let acker = self.clone();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { acker.submit(settlement).await });
        }
    }

    pub(crate) async fn submit(&self, settlement: Settlement) -> Result<Receipt, Error> {
        limits::settlement(&settlement)?;
        let stopped = |_| Error::new(ErrorKind::Transport, "the runtime that the acker was made in has stopped");
        let room = self.commands.reserve().await.map_err(stopped)?;
        // Nothing is awaited from here on, so that a claimed lease is surely sent.
        self.ledger.claim(settlement.lease.id())?;
        let (reply, receipt) = oneshot::channel();
        room.send(Command::Add(Pending::new(settlement, reply)));
        Ok(Receipt(receipt))
    }
}
