//! Acknowledging: the request, its outcome, and the error with the leases that were not confirmed.

use std::{
    error::Error as StdError,
    fmt, slice,
    time::{Duration, Instant},
    vec,
};

use crate::{
    error::Error,
    message::{
        lease::LeaseId,
        settlement::{Lease, Settlement},
        warning::Warning,
    },
};

/// Leases to settle: each message is either acknowledged, and so deleted, or retried.
///
/// Adding leases cannot fail: [`Queue::ack`](crate::Queue::ack) checks the whole request before anything is sent. It
/// takes any number of leases, and sends them in requests of at most 100.
///
/// ```
/// use cloudflare_queues::{AckRequest, Settlement};
/// use std::time::Duration;
///
/// let mut request = AckRequest::new();
/// request.ack("lease-1").retry_in("lease-2", Duration::from_secs(30));
/// request.extend([Settlement::ack("lease-3")]);
/// assert_eq!(request.len(), 3);
///
/// // All messages of a batch: AckRequest::ack_all(&batch).
/// assert_eq!(AckRequest::ack_all(["lease-1", "lease-2"]).len(), 2);
/// ```
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

    /// An empty request with room for `leases`.
    pub fn with_capacity(leases: usize) -> Self {
        Self { settlements: Vec::with_capacity(leases), deadline: None }
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
    pub fn ack(&mut self, lease: impl Into<Lease>) -> &mut Self {
        self.push(Settlement::ack(lease))
    }

    /// Retries a message after the queue's retry delay.
    ///
    /// The delivery counts as an attempt: when the queue's `max_retries` are used up, the message goes to the
    /// dead-letter queue, or is deleted if there is none.
    pub fn retry(&mut self, lease: impl Into<Lease>) -> &mut Self {
        self.push(Settlement::retry(lease))
    }

    /// Retries a message after `delay`, which is sent in whole seconds, rounded up.
    ///
    /// At most 24 hours: [`Queue::ack`](crate::Queue::ack) refuses more.
    pub fn retry_in(&mut self, lease: impl Into<Lease>, delay: Duration) -> &mut Self {
        self.push(Settlement::retry_in(lease, delay))
    }

    /// Sets when to stop retrying the request.
    ///
    /// By default, a request of up to 100 leases is retried until the first of its leases expires. After its deadline,
    /// a request is still sent once, since the service accepts late acknowledgements. The client's [call
    /// timeout](crate::ClientBuilder::call_timeout) applies in any case.
    pub fn deadline(&mut self, deadline: Instant) -> &mut Self {
        self.deadline = Some(deadline);
        self
    }

    /// The number of leases in the request.
    pub fn len(&self) -> usize {
        self.settlements.len()
    }

    /// Whether the request has no leases. [`Queue::ack`](crate::Queue::ack) refuses to send an empty request.
    pub fn is_empty(&self) -> bool {
        self.settlements.is_empty()
    }

    /// The leases with their decisions, in the order in which they were added.
    pub fn iter(&self) -> slice::Iter<'_, Settlement> {
        self.settlements.iter()
    }

    /// The ids of the leases, in the same order.
    pub fn lease_ids(&self) -> impl ExactSizeIterator<Item = &LeaseId> {
        self.iter().map(|settlement| settlement.lease.id())
    }

    fn push(&mut self, settlement: Settlement) -> &mut Self {
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

impl IntoIterator for AckRequest {
    type Item = Settlement;
    type IntoIter = vec::IntoIter<Settlement>;

    fn into_iter(self) -> Self::IntoIter {
        self.settlements.into_iter()
    }
}

impl<'a> IntoIterator for &'a AckRequest {
    type Item = &'a Settlement;
    type IntoIter = slice::Iter<'a, Settlement>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What a request asked for, and what the service confirmed.
///
/// A successful response does not mean that every lease was settled; check [`is_complete`](Self::is_complete). If a
/// count is missing, not a number, or larger than requested, the outcome is not complete.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use cloudflare_queues::{AckRequest, emulator::Emulator};
///
/// let queue = Emulator::in_process().queue()?;
/// let outcome = queue.ack(AckRequest::ack_all(["a-lease-that-does-not-exist"])).await?;
/// assert!(!outcome.is_complete()); // the call succeeded, and acknowledged nothing
/// assert_eq!((outcome.acks_requested, outcome.ack_count), (1, Some(0)));
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the service may have confirmed less than requested: check is_complete()"]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AckOutcome {
    /// How many messages the request acknowledges.
    pub acks_requested: u64,
    /// How many messages the service acknowledged, by its count. `None` if it sent no count, which does not mean zero.
    pub ack_count: Option<u64>,
    /// How many messages the request retries.
    pub retries_requested: u64,
    /// How many messages the service will retry, by its count. `None` if it sent no count, which does not mean zero.
    pub retry_count: Option<u64>,
    /// The service's warnings about single leases. Errors that came with `success: true` are here as well.
    pub warnings: Vec<Warning<LeaseId>>,
    is_complete: bool,
}

impl AckOutcome {
    /// Nothing asked for, and nothing confirmed.
    pub(crate) fn nothing() -> Self {
        Self {
            acks_requested: 0,
            ack_count: None,
            retries_requested: 0,
            retry_count: None,
            warnings: Vec::new(),
            is_complete: true,
        }
    }

    /// Whether the service confirmed everything: in every response, both counts match the request, and there are no
    /// warnings.
    ///
    /// The service does not say which lease is missing from a count, so treat an incomplete request as not done.
    /// Messages that were not deleted are delivered again when their leases expire.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Adds the response to one of several requests.
    pub(crate) fn add<'a>(
        &mut self,
        settlements: impl ExactSizeIterator<Item = &'a Settlement>,
        ack_count: Option<u64>,
        retry_count: Option<u64>,
        warnings: Vec<Warning<LeaseId>>,
    ) {
        let requested = settlements.len() as u64;
        let acks = settlements.filter(|settlement| settlement.decision.is_ack()).count() as u64;
        let retries = requested - acks;
        let said = |requested, count| requested == 0 || count == Some(requested);
        self.is_complete &= said(acks, ack_count) && said(retries, retry_count) && warnings.is_empty();
        tally(&mut self.acks_requested, &mut self.ack_count, acks, ack_count);
        tally(&mut self.retries_requested, &mut self.retry_count, retries, retry_count);
        self.warnings.extend(warnings);
    }
}

/// A total is unknown as soon as one request that asked for something got no count.
fn tally(requested: &mut u64, total: &mut Option<u64>, more: u64, count: Option<u64>) {
    *total = match (*total, count) {
        (Some(total), Some(count)) => Some(total.saturating_add(count)),
        (None, Some(count)) if *requested == 0 => Some(count),
        (total, None) if more == 0 => total,
        _ => None,
    };
    *requested = requested.saturating_add(more);
}

/// Why [`Queue::ack`](crate::Queue::ack) failed, with the leases that were not confirmed.
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
    /// What the service confirmed in the requests that succeeded.
    pub confirmed: AckOutcome,
    /// The leases that were not confirmed, as a request that you can send again.
    pub unconfirmed: AckRequest,
}

impl fmt::Display for AckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl StdError for AckError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

impl From<AckError> for Error {
    fn from(failed: AckError) -> Self {
        failed.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_asks_for_nothing_of_a_kind_leaves_its_total() {
        let mut outcome = AckOutcome::nothing();
        let both = [Settlement::ack("a"), Settlement::retry("b")];
        outcome.add(both.iter(), Some(1), Some(1), Vec::new());
        outcome.add([Settlement::ack("c")].iter(), Some(1), None, Vec::new());
        assert_eq!((outcome.ack_count, outcome.retry_count, outcome.is_complete()), (Some(2), Some(1), true));
        outcome.add(both.iter(), Some(1), None, Vec::new());
        assert_eq!((outcome.ack_count, outcome.retry_count, outcome.is_complete()), (Some(3), None, false));
        assert_eq!((outcome.acks_requested, outcome.retries_requested), (3, 2));
    }
}
