//! The acker that programs hold.

use std::{
    fmt,
    future::Future,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use tokio::{
    runtime,
    sync::{SemaphorePermit, oneshot},
};

use super::{
    ledger::{Ledger, Pending},
    options::AckerOptions,
    receipt::{Observer, Receipt, stopped},
    request::Requests,
    worker::Worker,
};
use crate::{
    error::Error,
    flow::pace::Pace,
    http::transport,
    message::{
        limits,
        settlement::{Lease, Settlement},
    },
    queue::Queue,
};

/// Requests a second, however often they are refused: leases expire meanwhile. No limit is known for them at first.
const LEAST_PER_SECOND: f64 = 10.0;

/// Acknowledges single leases from any number of tasks, and groups them into requests of up to 100.
///
/// A request is sent when 100 leases are waiting, or when the oldest of them has waited for
/// [`linger`](AckerOptions::linger). It is sent earlier if a lease is about to expire: 5 s before that, or halfway
/// through its remaining time if that is less than 10 s. The number of requests in flight
/// [adapts](AckerOptions::max_in_flight).
///
/// A failed request is retried until its leases expire, after waits that double from 1 s to 30 s. A longer
/// `Retry-After` replaces such a wait, for up to five minutes. Leases without a known deadline get the error of the
/// first call, which [retries](crate::RetryPolicy) by itself. Both kinds of retries use the
/// [budget](crate::RetryPolicy::budget). While it is used up and the service fails, the acker tries one request every
/// five seconds.
///
/// If the service refuses the content of a request (400, 413), the request is halved until the bad lease is isolated,
/// in at most 32 requests for 100 leases. Leases that are then still part of a refused request get the error. The
/// others are not affected.
///
/// Clones share the same buffer. When the last one is dropped, waiting leases are still sent, as long as the tokio
/// runtime is running. To wait for that, call [`close`](Self::close).
///
/// ```
/// # use cloudflare_queues::{Acker, PullOptions, PushMessage, acker::Confirmation, emulator::Emulator};
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
#[derive(Clone)]
pub struct Acker(pub(super) Arc<Handle>);

/// State shared by the clones of an acker. The worker ends after it is dropped.
pub(super) struct Handle {
    pub(super) ledger: Arc<Ledger>,
    linger: Duration,
    /// Where it was made.
    pub(super) runtime: runtime::Handle,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.ledger.abandon();
    }
}

impl fmt::Debug for Acker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acker").field("linger", &self.0.linger).finish_non_exhaustive()
    }
}

impl Acker {
    /// Creates an acker with the default options.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) outside a tokio runtime with timers.
    pub fn new(queue: Queue) -> Result<Self, Error> {
        Self::with_options(queue, AckerOptions::default())
    }

    /// Creates an acker with the given options.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn with_options(queue: Queue, options: AckerOptions) -> Result<Self, Error> {
        transport::require_runtime()?;
        let ledger = Arc::new(Ledger::new(options.buffer));
        let pace = Pace::new("acknowledgements", options.max_in_flight, f64::INFINITY, LEAST_PER_SECOND);
        let queue = queue.with_rate(Arc::clone(&pace.rate));
        let requests = Requests { queue, ledger: Arc::clone(&ledger), pace, warned: AtomicU64::new(0) };
        tokio::spawn(Worker::new(Arc::clone(&ledger), requests).run());
        Ok(Self(Arc::new(Handle { ledger, linger: options.linger, runtime: runtime::Handle::current() })))
    }

    /// Acknowledges a message.
    ///
    /// Waits while the [buffer](AckerOptions::buffer) is full. If the future is dropped before it completes, nothing is
    /// sent for the lease, and it can be submitted again.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the lease is empty, if it was submitted before and its
    /// outcome is not known yet, or if the acker is closed. [`Transport`](crate::ErrorKind::Transport) if the runtime
    /// in which the acker was created has stopped.
    pub async fn ack(&self, lease: impl Into<Lease>) -> Result<Receipt, Error> {
        self.submit(Settlement::ack(lease)).await
    }

    /// Retries a message after the queue's retry delay. Waits as [`ack`](Self::ack) does.
    ///
    /// # Errors
    ///
    /// As for [`ack`](Self::ack).
    pub async fn retry(&self, lease: impl Into<Lease>) -> Result<Receipt, Error> {
        self.submit(Settlement::retry(lease)).await
    }

    /// Retries a message after `delay`, of at most 24 hours. Waits as [`ack`](Self::ack) does.
    ///
    /// # Errors
    ///
    /// As for [`ack`](Self::ack), and if the delay is longer.
    pub async fn retry_in(&self, lease: impl Into<Lease>, delay: Duration) -> Result<Receipt, Error> {
        self.submit(Settlement::retry_in(lease, delay)).await
    }

    /// Sends waiting leases at once, and waits for the outcome of every lease submitted before.
    ///
    /// This includes everything dropped before: a [`Delivery`](crate::consumer::Delivery), or a whole
    /// [stream](crate::consumer::Deliveries) with the messages of its pulls in flight.
    pub async fn flush(&self) {
        let late = self.0.ledger.late();
        // The channel closes if the worker is gone, and has nothing left to send.
        let _ = self.0.ledger.flush().await;
        if let Some(late) = late {
            late.await;
            let _ = self.0.ledger.flush().await;
        }
    }

    /// Accepts no more leases, and waits for the outcome of every submitted lease, as [`flush`](Self::flush) does.
    pub async fn close(&self) {
        self.0.ledger.close();
        self.flush().await;
    }

    /// Submits a lease as [`ack`](Self::ack) does, but also if the future is dropped, even if it was never polled. One
    /// that `is_late` is submitted even if the acker is closed.
    pub(crate) fn settle(
        &self,
        settlement: Settlement,
        observer: Observer,
        is_late: bool,
    ) -> impl Future<Output = Result<Receipt, Error>> + Send + use<> {
        Unsubmitted::new(self, settlement, observer, is_late).submit()
    }

    /// Submits a lease immediately, without anyone waiting for the outcome. If the acker is closed and it is not
    /// `is_late`, or if the acker holds too many of these, the lease is left to expire.
    pub(crate) fn submit_detached(&self, settlement: Settlement, observer: Option<Observer>, is_late: bool) {
        let ledger = &self.0.ledger;
        if let Err(error) = ledger.add(Pending::new(settlement, self.0.linger, observer, None), is_late) {
            let leases = ledger.leave();
            if leases.is_power_of_two() {
                tracing::warn!(leases, %error, "leases that were dropped are left to expire");
            }
        }
    }

    /// Sends waiting leases at once, and lets nothing linger from now on.
    pub(crate) fn hurry(&self) {
        self.0.ledger.hurry();
    }

    pub(crate) async fn submit(&self, settlement: Settlement) -> Result<Receipt, Error> {
        // An invalid lease need not wait.
        limits::settlement(&settlement)?;
        self.add(self.permit().await?, settlement, None, false)
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.0.ledger.room.acquire().await.map_err(|_| stopped())
    }

    fn add(
        &self,
        permit: SemaphorePermit<'_>,
        settlement: Settlement,
        observer: Option<Observer>,
        is_late: bool,
    ) -> Result<Receipt, Error> {
        let (reply, receipt) = oneshot::channel();
        self.0.ledger.add(Pending::new(settlement, self.0.linger, observer, Some(reply)), is_late)?;
        permit.forget();
        Ok(Receipt(receipt))
    }
}

/// Submits its lease when dropped.
pub(super) struct Unsubmitted {
    acker: Acker,
    lease: Option<(Settlement, Observer)>,
    is_late: bool,
}

impl Unsubmitted {
    pub(super) fn new(acker: &Acker, settlement: Settlement, observer: Observer, is_late: bool) -> Self {
        Self { acker: acker.clone(), lease: Some((settlement, observer)), is_late }
    }

    pub(super) fn lasts_until(&mut self, deadline: Instant) {
        if let Some((Settlement { lease, .. }, _)) = &mut self.lease {
            *lease = Lease::new(lease.id(), lease.deadline().map_or(deadline, |before| before.max(deadline)));
        }
    }

    pub(super) async fn submit(mut self) -> Result<Receipt, Error> {
        let permit = self.acker.permit().await?;
        // From here on, the caller learns the outcome.
        let Some((settlement, observer)) = self.lease.take() else { return Err(stopped()) };
        self.acker.add(permit, settlement, Some(observer), self.is_late)
    }
}

impl Drop for Unsubmitted {
    fn drop(&mut self) {
        if let Some((settlement, observer)) = self.lease.take() {
            self.acker.submit_detached(settlement, Some(observer), self.is_late);
        }
    }
}
