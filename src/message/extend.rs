//! The outcome of extending leases.

use std::time::Instant;

use crate::{
    error::{Error, is_its_error},
    message::{
        confirmation::{Confirmation, Counts},
        lease::LeaseId,
        settlement::Lease,
        warning::Warning,
    },
};

/// How many leases a request extends, and what the service's responses say about them.
#[must_use = "the service may have extended less than requested: check is_complete()"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExtendOutcome {
    /// The leases to extend.
    pub extensions: Counts,
    /// The service's warnings. Those about leases that were all counted only inform. Errors that came with
    /// `success: true` are here as well.
    pub warnings: Vec<Warning<LeaseId>>,
    deadline: Option<Instant>,
}

impl ExtendOutcome {
    /// What the response to a request for these leases says. They then last until `until`.
    pub(crate) fn new(leases: &[Lease], count: Option<f64>, warnings: Vec<Warning<LeaseId>>, until: Instant) -> Self {
        let extensions = Counts::new(leases.iter().map(Lease::id), count, &warnings);
        Self { extensions, warnings, deadline: Some(until) }
    }

    /// Whether the service confirmed every lease, by its count.
    ///
    /// The service does not say which lease is missing from a count, so treat an incomplete request as not done.
    pub fn is_complete(&self) -> bool {
        self.extensions.is_complete()
    }

    /// The earliest time at which the leases expire: the visibility timeout, counted from before the first request was
    /// sent. `None` if the outcome is not complete: leases that are only accepted may end when they would have ended.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| self.is_complete())
    }

    /// What the only response says about each of its leases, in order.
    pub(crate) fn confirmations<'a>(&self, leases: impl Iterator<Item = &'a Lease> + Clone) -> Vec<Confirmation> {
        self.extensions.confirmations(leases.map(Lease::id), &self.warnings)
    }

    /// Adds the outcome of a later request.
    pub(crate) fn add(&mut self, later: Self) {
        self.extensions.add(later.extensions);
        self.warnings.extend(later.warnings);
        self.deadline = self.deadline.or(later.deadline);
    }
}

/// Why [`Queue::extend`](crate::Queue::extend) failed, with the leases that were not extended.
///
/// It displays as its [`error`](Self::error), has the same source, and converts into it with `?`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExtendError {
    /// The failure.
    pub error: Error,
    /// The outcome of the requests before the failure.
    pub outcome: ExtendOutcome,
    /// The leases of the request that failed, and of those that were not sent.
    pub unconfirmed: Vec<Lease>,
}

is_its_error!(ExtendError);

#[cfg(test)]
mod tests {
    use std::{error::Error as _, fmt, time::Duration};

    use super::*;
    use crate::error::kind::ErrorKind;

    #[test]
    fn the_first_request_sets_the_deadline_if_all_are_counted() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let leases = ["a", "b"].map(Lease::from);
        let outcome = |counts: [Option<f64>; 2]| {
            let mut outcome = ExtendOutcome::default();
            let responses = counts.into_iter().zip([now, now + second]);
            responses.for_each(|(count, until)| outcome.add(ExtendOutcome::new(&leases, count, Vec::new(), until)));
            (outcome.is_complete(), outcome.deadline(), outcome.extensions.confirmed, outcome.extensions.accepted)
        };
        assert_eq!(outcome([Some(2.0), Some(2.0)]), (true, Some(now), Some(4), 0));
        assert_eq!(outcome([Some(1.0), Some(2.0)]), (false, None, Some(3), 0));
        assert_eq!(outcome([Some(2.0), None]), (false, None, Some(2), 2));
    }

    #[test]
    fn a_failure_reads_as_its_error_and_has_its_source() {
        let error = Error::new(ErrorKind::Transport, "broken").with_source(fmt::Error, true);
        let text = error.to_string();
        let failed = ExtendError { error, outcome: ExtendOutcome::default(), unconfirmed: Vec::new() };
        assert_eq!(failed.to_string(), text);
        assert_eq!(failed.source().unwrap().to_string(), fmt::Error.to_string());
    }
}
