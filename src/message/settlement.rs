//! What to do with a leased message.

use std::time::{Duration, Instant};

use crate::message::{Message, lease::LeaseId};

/// The lease of one delivery of a message, and when it expires, if that is known.
///
/// Methods that take a lease accept `impl Into<Lease>`. A [`Message`], by reference or by value, has its deadline. A
/// bare [`LeaseId`] or a string has no deadline.
///
/// ```
/// use cloudflare_queues::{Lease, LeaseId};
///
/// let lease = Lease::from(LeaseId::from("a lease that was stored"));
/// assert_eq!(lease.deadline(), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    id: LeaseId,
    deadline: Option<Instant>,
}

impl Lease {
    /// A lease that expires at `deadline`. A failed request is not retried after that.
    pub fn new(lease_id: impl Into<LeaseId>, deadline: Instant) -> Self {
        Self { id: lease_id.into(), deadline: Some(deadline) }
    }

    /// The id of the lease.
    pub fn id(&self) -> &LeaseId {
        &self.id
    }

    /// The earliest time at which the lease expires, if that is known.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl From<&Message> for Lease {
    fn from(message: &Message) -> Self {
        Self::new(&message.lease_id, message.lease().deadline())
    }
}

impl From<Message> for Lease {
    fn from(message: Message) -> Self {
        Self { deadline: Some(message.lease().deadline()), id: message.lease_id }
    }
}

/// A lease id, or the text of one.
impl<T: Into<LeaseId>> From<T> for Lease {
    fn from(id: T) -> Self {
        Self { id: id.into(), deadline: None }
    }
}

impl From<&Lease> for Lease {
    fn from(lease: &Lease) -> Self {
        lease.clone()
    }
}

/// The deadline that leases set for a request that holds them: the first of those that have not passed, or one that has
/// if all have.
pub(crate) fn deadline<'a>(leases: impl Iterator<Item = &'a Lease>, now: Instant) -> Option<Instant> {
    let (mut next, mut passed) = (None, None);
    for deadline in leases.filter_map(Lease::deadline) {
        let first = if deadline > now { &mut next } else { &mut passed };
        *first = first.map_or(Some(deadline), |first: Instant| Some(first.min(deadline)));
    }
    next.or(passed)
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Decision {
    /// The message is done: the queue deletes it.
    Ack,
    /// The message is delivered again after the queue's own retry delay.
    Retry,
    /// The message is delivered again after this delay: at most 24 hours, sent in whole seconds, rounded up.
    RetryIn(Duration),
}

impl Decision {
    pub(crate) fn is_ack(self) -> bool {
        self == Self::Ack
    }
}

/// A lease, and the decision on its message.
///
/// An [`AckRequest`](crate::AckRequest) is a list of these, and what could not be confirmed comes back as these.
///
/// ```
/// use cloudflare_queues::{AckRequest, Settlement};
/// use std::time::Duration;
///
/// let results = [("lease-1", true), ("lease-2", false)];
/// let request: AckRequest = results
///     .into_iter()
///     .map(|(lease, is_done)| match is_done {
///         true => Settlement::ack(lease),
///         false => Settlement::retry_in(lease, Duration::from_secs(30)),
///     })
///     .collect();
/// assert_eq!(request.len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Settlement {
    /// The lease.
    pub lease: Lease,
    /// The decision on its message.
    pub decision: Decision,
}

impl Settlement {
    /// Settles a lease by a decision.
    pub fn new(lease: impl Into<Lease>, decision: Decision) -> Self {
        Self { lease: lease.into(), decision }
    }

    /// Acknowledges the message.
    pub fn ack(lease: impl Into<Lease>) -> Self {
        Self::new(lease, Decision::Ack)
    }

    /// Retries the message after the queue's own retry delay.
    pub fn retry(lease: impl Into<Lease>) -> Self {
        Self::new(lease, Decision::Retry)
    }

    /// Retries the message after `delay`.
    pub fn retry_in(lease: impl Into<Lease>, delay: Duration) -> Self {
        Self::new(lease, Decision::RetryIn(delay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_deadline_to_come_is_that_of_the_request() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let of = |deadlines: &[u64]| {
            let leases: Vec<_> = deadlines.iter().map(|seconds| Lease::new("lease", at(*seconds))).collect();
            deadline(leases.iter(), at(5))
        };
        assert_eq!(of(&[9, 3, 7, 5, 8]), Some(at(7)));
        assert_eq!(of(&[5, 4]), Some(at(4)), "all have passed");
        assert_eq!(of(&[]), None);
        assert_eq!(deadline([Lease::from("lease")].iter(), start), None);
    }
}
