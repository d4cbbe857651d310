//! The outcome of extending leases.

use std::{error::Error as StdError, fmt, time::Instant};

use crate::{
    error::Error,
    message::{lease::LeaseId, settlement::Lease, warning::Warning},
};

/// How many leases a request extends, and how many the service confirmed.
#[must_use = "the service may have extended less than requested: check is_complete()"]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExtendOutcome {
    /// How many leases the request extends.
    pub requested: u64,
    /// How many leases the service extended, by its count. `None` if it sent no count, which does not mean zero.
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

    /// Whether the service confirmed everything: in every response, the count matches the request, and there are no
    /// warnings.
    ///
    /// The service does not say which lease is missing from a count, so treat an incomplete request as not done.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The earliest time at which the leases expire: the visibility timeout, counted from before the first request was
    /// sent. `None` if the outcome is not complete.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| self.is_complete)
    }

    /// Adds the response to one of several requests, whose leases then last until `until`.
    pub(crate) fn add(&mut self, requested: u64, count: Option<u64>, warnings: Vec<Warning<LeaseId>>, until: Instant) {
        self.is_complete &= count == Some(requested) && warnings.is_empty();
        self.requested = self.requested.saturating_add(requested);
        self.extend_count = self.extend_count.zip(count).map(|(total, count)| total.saturating_add(count));
        self.deadline = Some(self.deadline.map_or(until, |deadline| deadline.min(until)));
        self.warnings.extend(warnings);
    }
}

/// Why [`Queue::extend`](crate::Queue::extend) failed, with the leases that were not extended for certain.
///
/// It displays as its [`error`](Self::error), has the same source, and converts into it with `?`.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::kind::ErrorKind;

    #[test]
    fn an_outcome_is_complete_only_if_every_response_counts_all_and_warns_of_none() {
        let (soon, now) = (Duration::from_secs(60), Instant::now());
        let warning = || vec![Warning { subject: None, message: "no".to_owned() }];
        let outcome = |responses: [(Option<u64>, Vec<Warning<LeaseId>>); 2]| {
            let mut outcome = ExtendOutcome::nothing();
            responses.into_iter().for_each(|(count, warnings)| outcome.add(2, count, warnings, now + soon));
            (outcome.is_complete(), outcome.deadline().is_some(), outcome.requested, outcome.extend_count)
        };
        assert_eq!(outcome([(Some(2), vec![]), (Some(2), vec![])]), (true, true, 4, Some(4)));
        assert_eq!(outcome([(Some(1), vec![]), (Some(2), vec![])]), (false, false, 4, Some(3)));
        assert_eq!(outcome([(Some(2), vec![]), (None, vec![])]), (false, false, 4, None));
        assert_eq!(outcome([(Some(2), warning()), (Some(2), vec![])]), (false, false, 4, Some(4)));
    }

    #[test]
    fn a_failure_reads_as_its_error_and_has_its_source() {
        let error = Error::new(ErrorKind::Transport, "broken").with_source(fmt::Error, true);
        let text = error.to_string();
        let failed = ExtendError { error, confirmed: ExtendOutcome::nothing(), unconfirmed: Vec::new() };
        assert_eq!(failed.to_string(), text);
        assert_eq!(failed.source().unwrap().to_string(), fmt::Error.to_string());
    }
}
