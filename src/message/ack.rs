//! Acknowledging: the request, its outcome, and the error with the leases that were not confirmed.

use std::time::{Duration, Instant};

use crate::{
    error::{Error, is_its_error},
    message::{
        confirmation::{Confirmation, Counts},
        lease::LeaseId,
        lists,
        settlement::{Lease, Settlement},
        warning::Warning,
    },
};

/// Leases to settle: each message is either acknowledged, and so deleted, or retried.
///
/// Adding leases cannot fail: [`Queue::ack`](crate::Queue::ack) checks the whole request before anything is sent. It
/// refuses an empty request, and sends any number of leases in requests of at most 100.
///
/// ```
/// use cloudflare_queues::{AckRequest, Settlement};
/// use std::time::Duration;
///
/// let mut request = AckRequest::new().ack("lease-1").retry_in("lease-2", Duration::from_secs(30));
/// request.extend([Settlement::ack("lease-3")]);
/// assert_eq!(request.len(), 3);
///
/// // All messages of a batch: AckRequest::ack_all(&batch).
/// assert_eq!(AckRequest::ack_all(["lease-1", "lease-2"]).len(), 2);
/// ```
#[must_use]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AckRequest {
    pub(crate) settlements: Vec<Settlement>,
    pub(crate) deadline: Option<Instant>,
}

impl AckRequest {
    /// An empty request.
    pub fn new() -> Self {
        Self::default()
    }

    /// A request that acknowledges all of these, such as the messages of a [`Batch`](crate::Batch).
    pub fn ack_all(leases: impl IntoIterator<Item = impl Into<Lease>>) -> Self {
        leases.into_iter().map(Settlement::ack).collect()
    }

    /// A request that retries all of these after the queue's retry delay.
    pub fn retry_all(leases: impl IntoIterator<Item = impl Into<Lease>>) -> Self {
        leases.into_iter().map(Settlement::retry).collect()
    }

    /// Acknowledges a message: the queue deletes it.
    pub fn ack(self, lease: impl Into<Lease>) -> Self {
        self.push(Settlement::ack(lease))
    }

    /// Retries a message after the queue's retry delay.
    ///
    /// The delivery counts as an attempt: when the queue's `max_retries` are used up, the message goes to the
    /// dead-letter queue, or is deleted if there is none.
    pub fn retry(self, lease: impl Into<Lease>) -> Self {
        self.push(Settlement::retry(lease))
    }

    /// Retries a message after `delay`, which is sent in whole seconds, rounded up.
    ///
    /// At most 24 hours: [`Queue::ack`](crate::Queue::ack) refuses more.
    pub fn retry_in(self, lease: impl Into<Lease>, delay: Duration) -> Self {
        self.push(Settlement::retry_in(lease, delay))
    }

    /// Sets when to stop retrying the request.
    ///
    /// By default, a request of up to 100 leases is retried until the first of its leases expires. An attempt that is
    /// under way then is not cut off, and a request whose deadline has passed is still sent once, since the service
    /// accepts late acknowledgements. The client's [timeouts](crate::ClientBuilder::request_timeout) apply in any case.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    fn push(mut self, settlement: Settlement) -> Self {
        self.settlements.push(settlement);
        self
    }
}

impl Extend<Settlement> for AckRequest {
    fn extend<I: IntoIterator<Item = Settlement>>(&mut self, settlements: I) {
        self.settlements.extend(settlements);
    }
}

impl FromIterator<Settlement> for AckRequest {
    fn from_iter<I: IntoIterator<Item = Settlement>>(settlements: I) -> Self {
        Self { settlements: settlements.into_iter().collect(), deadline: None }
    }
}

lists!(AckRequest, settlements: Settlement, "settlements");

/// How many messages a request settles, and what the service's responses say about them.
///
/// A successful response does not mean that every lease was settled; check [`is_complete`](Self::is_complete). The
/// service may also leave out its counts: then the leases are [accepted](Counts::accepted).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use cloudflare_queues::{AckRequest, emulator::Emulator};
///
/// let queue = Emulator::in_process().queue()?;
/// let outcome = queue.ack(AckRequest::ack_all(["a-lease-that-does-not-exist"])).await?;
/// assert!(!outcome.is_complete()); // the call succeeded, and acknowledged nothing
/// assert_eq!((outcome.acks.requested, outcome.acks.confirmed), (1, Some(0)));
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the service may have confirmed less than requested: check is_complete()"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AckOutcome {
    /// The messages to acknowledge.
    pub acks: Counts,
    /// The messages to retry.
    pub retries: Counts,
    /// The service's warnings, and errors that came with `success: true`. If all leases were counted, the warnings only
    /// inform.
    pub warnings: Vec<Warning<LeaseId>>,
}

impl AckOutcome {
    /// What the response to one request says.
    pub(crate) fn new<'a>(
        settlements: impl Iterator<Item = &'a Settlement> + Clone,
        [acks, retries]: [Option<f64>; 2],
        warnings: Vec<Warning<LeaseId>>,
    ) -> Self {
        let counts = |is_ack, count| Counts::new(leases(settlements.clone(), is_ack), count, &warnings);
        Self { acks: counts(true, acks), retries: counts(false, retries), warnings }
    }

    /// Whether the service confirmed every lease, by its counts.
    ///
    /// The service does not say which lease is missing from a count. Messages that were not deleted are delivered again
    /// when their leases expire.
    pub fn is_complete(&self) -> bool {
        self.acks.is_complete() && self.retries.is_complete()
    }

    /// Adds the outcome of another request.
    pub(crate) fn add(&mut self, other: Self) {
        self.acks.add(other.acks);
        self.retries.add(other.retries);
        self.warnings.extend(other.warnings);
    }

    /// What the only response says about each of its leases, in order.
    pub(crate) fn confirmations<'a>(
        &self,
        settlements: impl Iterator<Item = &'a Settlement> + Clone,
    ) -> impl Iterator<Item = Confirmation> {
        let of_kind = |counts: &Counts, is_ack| {
            counts.confirmations(leases(settlements.clone(), is_ack), &self.warnings).into_iter()
        };
        let (mut acks, mut retries) = (of_kind(&self.acks, true), of_kind(&self.retries, false));
        settlements.filter_map(move |settlement| match settlement.decision.is_ack() {
            true => acks.next(),
            false => retries.next(),
        })
    }
}

/// The leases of a request that it acknowledges, or the others.
fn leases<'a>(
    settlements: impl Iterator<Item = &'a Settlement> + Clone,
    is_ack: bool,
) -> impl Iterator<Item = &'a LeaseId> + Clone {
    settlements.filter(move |settlement| settlement.decision.is_ack() == is_ack).map(|settlement| settlement.lease.id())
}

/// Why [`Queue::ack`](crate::Queue::ack) failed, with the leases of the requests that failed or were not sent.
///
/// It displays as its [`error`](Self::error), has the same source, and converts into it with `?`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use cloudflare_queues::{AckRequest, emulator::{Emulator, Fault}};
///
/// let emulator = Emulator::start().await?;
/// let queue = emulator.queue()?;
/// emulator.inject(Fault::Forbidden);
/// let failed = queue.ack(AckRequest::ack_all(["a-lease"])).await.unwrap_err();
/// assert_eq!(failed.error.status(), Some(403));
/// let again = failed.unconfirmed; // can be sent as it is
/// assert_eq!(again.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AckError {
    /// The failure. If several requests failed, this is the last failure, with the codes of all of them.
    pub error: Error,
    /// The outcome of the requests that succeeded.
    pub outcome: AckOutcome,
    /// The leases of the other requests, as a request that you can send again.
    pub unconfirmed: AckRequest,
}

is_its_error!(AckError);
