//! What came of extending leases.

use std::{error::Error as StdError, fmt, time::Instant};

use crate::{error::Error, lease::LeaseId, settlement::Lease, warning::Warning};

/// How many leases were to be extended, beside how many the service confirmed.
#[must_use = "the service may have extended less than was asked for: check is_complete()"]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExtendOutcome {
    /// How many leases were to be extended.
    pub requested: u64,
    /// How many the service says it extended; `None` if it did not say, which is not zero.
    pub extend_count: Option<u64>,
    /// The service's warnings about single leases.
    pub warnings: Vec<Warning<LeaseId>>,
    is_complete: bool,
    deadline: Option<Instant>,
}

impl ExtendOutcome {
    /// Nothing asked for, and nothing confirmed.
    pub(crate) fn nothing() -> Self {
        Self { requested: 0, extend_count: Some(0), warnings: Vec::new(), is_complete: true, deadline: None }
    }

    /// Whether the service confirmed everything: in each response, the count is as requested, and no lease has a
    /// warning.
    ///
    /// The service does not say which lease a count falls short by, so take none of them to be extended if it does.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// When the leases expire at the earliest if the outcome is complete: the visibility timeout, counted from before
    /// the first request was sent. `None` if no lease was extended for certain.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| self.is_complete)
    }

    /// Adds the response to one of several requests, after which its leases last `until` then.
    pub(crate) fn add(&mut self, requested: u64, count: Option<u64>, warnings: Vec<Warning<LeaseId>>, until: Instant) {
        self.is_complete &= count == Some(requested) && warnings.is_empty();
        self.requested = self.requested.saturating_add(requested);
        self.extend_count = self.extend_count.zip(count).map(|(total, count)| total.saturating_add(count));
        self.deadline = Some(self.deadline.map_or(until, |deadline| deadline.min(until)));
        self.warnings.extend(warnings);
    }
}

/// Why [`Queue::extend`](crate::Queue::extend) did not extend every lease, with the leases that it did not.
///
/// Its `Display` form and its source are those of the [`error`](Self::error), and it converts into that one with `?`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExtendError {
    /// The failure.
    pub error: Error,
    /// What the service confirmed before the failure.
    pub confirmed: ExtendOutcome,
    /// The leases that were not confirmed.
    pub unconfirmed: Vec<Lease>,
}

impl fmt::Display for ExtendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl StdError for ExtendError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

impl From<ExtendError> for Error {
    fn from(failed: ExtendError) -> Self {
        failed.error
    }
}
