//! Splits requests that the service refuses because of their content, so that one bad lease does not affect the others.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// How many requests are sent for the leases of a refused request, including that one. This is enough to isolate two
/// bad leases of 100.
const MAX_REQUESTS: usize = 32;

/// How many requests were sent for the leases of one request. Clones share the number.
#[derive(Clone, Debug)]
pub(crate) struct Splitting(Arc<AtomicUsize>);

impl Splitting {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(1)))
    }

    /// Takes half of the leases of a refused request, if both halves may be sent.
    pub(crate) fn split_off<T>(&self, leases: &mut Vec<T>) -> Option<Vec<T>> {
        let two_more = |sent: usize| sent.checked_add(2).filter(|sent| *sent <= MAX_REQUESTS);
        if leases.len() < 2 || self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, two_more).is_err() {
            return None;
        }
        Some(leases.split_off(leases.len() / 2))
    }
}
