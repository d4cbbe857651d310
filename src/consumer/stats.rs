//! What a consumer did, counted.

use std::{fmt, sync::Mutex, time::Duration};

use serde::Serialize;

use crate::{ack::AckRequest, error::Error};

pub(super) type Shared = Mutex<Stats>;

/// What a consumer did so far.
///
/// Every message that was pulled is, when the consumer has stopped, in exactly one of `acknowledged`, `retried`, `left`, `expired` and
/// [`Report::unconfirmed`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Messages that were leased.
    pub pulled: u64,
    /// Messages whose acknowledgement the service confirmed.
    pub acknowledged: u64,
    /// Messages that were handed back, as the service confirmed.
    pub retried: u64,
    /// Messages that nothing was said of, by a handler's word or because it did not end in time.
    pub left: u64,
    /// Messages whose lease had run out before a handler could start on them.
    pub expired: u64,
    /// Handlers that took longer than the lease.
    pub overran: u64,
    /// Handlers that panicked.
    pub panicked: u64,
    /// Messages that could not be decoded.
    pub undecodable: u64,
    /// Messages that came without a lease id, and so could not be handled.
    pub without_lease: u64,
    /// Pulls that failed.
    pub pull_failures: u64,
    /// How many messages of the queue were not acknowledged at the last pull, as the service estimates.
    pub backlog_count: Option<u64>,
    /// How long handlers took.
    pub handler_times: HandlerTimes,
}

/// How a run ended.
#[must_use = "it holds the leases that were not confirmed"]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// What was done.
    pub stats: Stats,
    /// The leases whose acknowledgement or retry the service did not confirm, as a request that can be sent again.
    pub unconfirmed: AckRequest,
    /// The failure that ended the run, if it was not told to stop.
    pub error: Option<Error>,
}

const BUCKETS: usize = 32;

/// A histogram of times, each bucket twice as wide as the one before.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct HandlerTimes {
    /// Counts of times below 1, 2, 4, … milliseconds.
    buckets: [u64; BUCKETS],
}

impl HandlerTimes {
    pub(super) fn record(&mut self, time: Duration) {
        let bucket = (u128::BITS - time.as_millis().leading_zeros()) as usize;
        if let Some(count) = self.buckets.get_mut(bucket.min(BUCKETS - 1)) {
            *count += 1;
        }
    }

    /// How many times were recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// A time that the given share of the recorded times, from 0 to 1, stay below: the next power of two in milliseconds. Zero if nothing
    /// was recorded.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = share.clamp(0.0, 1.0) * self.count() as f64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if *count > 0 && seen as f64 >= wanted {
                return Duration::from_millis(1 << bucket);
            }
        }
        Duration::ZERO
    }
}

impl fmt::Debug for HandlerTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filled = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        f.debug_map().entries(filled.map(|(bucket, count)| (Duration::from_millis(1 << bucket), count))).finish()
    }
}
