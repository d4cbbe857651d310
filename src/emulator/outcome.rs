//! The outcome of a request about leases or references.

use super::behavior::{Behavior, UnknownLease};

#[derive(Debug, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) acked: u64,
    pub(super) retried: u64,
    pub(super) extended: u64,
    pub(super) warnings: Vec<(String, &'static str)>,
}

/// An entry of the request is unknown, so the request is refused.
#[derive(Debug, PartialEq)]
pub(super) struct Unknown;

impl Outcome {
    /// For an entry that was counted.
    pub(super) fn inform(&mut self, behavior: &Behavior, subject: &str) {
        if behavior.informing_warnings {
            self.warnings.push((subject.to_owned(), "this was done, and is only mentioned"));
        }
    }

    pub(super) fn warn_of_lease(&mut self, behavior: &Behavior, lease_id: &str, has_expired: bool) {
        if has_expired {
            self.warnings.push((lease_id.to_owned(), "the lease has expired"));
        } else {
            self.warn(behavior, lease_id, "the lease is not known");
        }
    }

    /// For an unknown entry.
    pub(super) fn warn(&mut self, behavior: &Behavior, subject: &str, text: &'static str) {
        if behavior.unknown_leases == UnknownLease::Warn {
            self.warnings.push((subject.to_owned(), text));
        }
    }
}
