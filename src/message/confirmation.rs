//! What a response to a request says about its leases.

use std::collections::HashMap;

use serde::Serialize;

use crate::message::{lease::LeaseId, warning::Warning};

/// What the service reported about one lease, in a response to a request that it carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Confirmation {
    /// The message was acknowledged, or will be retried. The service's count equals the number of leases in the request
    /// with the same decision.
    Confirmed,
    /// The response is a success, and nothing in it casts doubt on the lease: no warning names it, and there is no
    /// count, or the count equals the number of leases with the same decision that no warning names.
    Accepted,
    /// A warning names the lease, and the service did not count all leases with the same decision.
    Warned {
        /// The text of the warning.
        text: String,
        /// How many leases with the same decision the service counted. `None` if it sent no count: the warning may then
        /// only inform.
        counted: Option<u64>,
        /// How many leases with the same decision were in the request.
        requested: u64,
    },
    /// The service's count does not show whether it settled this lease.
    Unclear {
        /// How many leases with the same decision the service counted. A count that cannot be right, such as a negative
        /// one or one of more leases than requested, is a zero here.
        counted: u64,
        /// How many leases with the same decision were in the request.
        requested: u64,
    },
}

impl Confirmation {
    /// Whether a warning or a count casts doubt on the lease.
    pub fn is_doubtful(&self) -> bool {
        !matches!(self, Self::Confirmed | Self::Accepted)
    }

    /// Whether the service settled less than half of the leases of the request that have the same decision.
    pub(crate) fn is_failure(&self) -> bool {
        match self {
            Self::Confirmed | Self::Accepted | Self::Warned { counted: None, .. } => false,
            Self::Warned { counted: Some(counted), requested, .. } | Self::Unclear { counted, requested } => {
                counted.saturating_mul(2) < *requested
            }
        }
    }
}

/// How many messages a request is about, and what the service's responses say about them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// How many messages the request is about.
    pub requested: u64,
    /// How many of them the service counted. Only a count of all of them shows which ones. `None` if the service sent
    /// no count, which does not mean zero. A count that cannot be right, such as a negative one or one of more messages
    /// than requested, confirms none.
    pub confirmed: Option<u64>,
    /// How many of them the service accepted: the response is a success without a count, and no warning names these
    /// messages.
    pub accepted: u64,
}

impl Counts {
    /// What a response says about these leases. Its count may be any number.
    pub(crate) fn new<'a>(
        leases: impl Iterator<Item = &'a LeaseId>,
        count: Option<f64>,
        warnings: &[Warning<LeaseId>],
    ) -> Self {
        let warned = named(warnings);
        let (mut requested, mut unwarned) = (0, 0);
        for lease in leases {
            requested += 1;
            unwarned += u64::from(!warned.contains_key(lease));
        }
        let is_possible = |count: &f64| count.fract() == 0.0 && (0.0..=requested as f64).contains(count);
        let confirmed = count.map(|count| Some(count).filter(is_possible).unwrap_or_default() as u64);
        Self { requested, confirmed, accepted: if count.is_none() { unwarned } else { 0 } }
    }

    /// Whether the service confirmed every message, by its count.
    pub fn is_complete(&self) -> bool {
        self.requested == 0 || self.confirmed == Some(self.requested)
    }

    /// How many messages are neither confirmed nor accepted, because of a smaller count or a warning.
    pub fn doubtful(&self) -> u64 {
        self.requested.saturating_sub(self.confirmed.unwrap_or_default()).saturating_sub(self.accepted)
    }

    /// Adds what another response says about other messages.
    pub(crate) fn add(&mut self, other: Self) {
        self.requested = self.requested.saturating_add(other.requested);
        self.accepted = self.accepted.saturating_add(other.accepted);
        self.confirmed = match (self.confirmed, other.confirmed) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
    }

    /// What the only response says about each of its leases.
    ///
    /// Only a count of all leases confirms, with or without warnings. A count of exactly the leases that no warning
    /// names most likely means those, but this is not certain: a warning may be about a lease that was counted, and
    /// another lease may have been skipped without a warning.
    pub(crate) fn confirmations<'a>(
        &self,
        leases: impl Iterator<Item = &'a LeaseId> + Clone,
        warnings: &[Warning<LeaseId>],
    ) -> Vec<Confirmation> {
        let warned = named(warnings);
        let requested = self.requested;
        let unwarned = leases.clone().filter(|lease| !warned.contains_key(lease)).count() as u64;
        let confirmation = |lease| match (self.confirmed, warned.get(lease)) {
            (Some(counted), _) if counted == requested => Confirmation::Confirmed,
            (counted, Some(text)) => Confirmation::Warned { text: (*text).to_owned(), counted, requested },
            (Some(counted), None) if counted != unwarned => Confirmation::Unclear { counted, requested },
            (_, None) => Confirmation::Accepted,
        };
        leases.map(confirmation).collect()
    }
}

/// The leases that warnings name, with the texts.
fn named(warnings: &[Warning<LeaseId>]) -> HashMap<&LeaseId, &str> {
    warnings.iter().filter_map(|warning| Some((warning.subject.as_ref()?, warning.message.as_str()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(count: Option<f64>, warned: &[Option<&str>]) -> (Counts, Vec<Confirmation>) {
        let leases = ["a", "b", "c"].map(LeaseId::from);
        let warning = |name: &Option<&str>| Warning { subject: name.map(LeaseId::from), message: "hm".to_owned() };
        let warnings: Vec<_> = warned.iter().map(warning).collect();
        let counts = Counts::new(leases.iter(), count, &warnings);
        (counts, counts.confirmations(leases.iter(), &warnings))
    }

    fn counts(confirmed: Option<u64>, accepted: u64) -> Counts {
        Counts { requested: 3, confirmed, accepted }
    }

    #[test]
    fn a_count_of_all_leases_confirms_them_whatever_the_warnings() {
        for warned in [&[][..], &[None], &[Some("a")], &[Some("a"), Some("b"), Some("c")], &[Some("other")]] {
            assert_eq!(read(Some(3.0), warned), (counts(Some(3), 0), vec![Confirmation::Confirmed; 3]), "{warned:?}");
        }
    }

    #[test]
    fn a_missing_count_accepts_the_leases_that_no_warning_names() {
        let warned = Confirmation::Warned { text: "hm".to_owned(), counted: None, requested: 3 };
        for named in [&[][..], &[None], &[Some("other")]] {
            assert_eq!(read(None, named), (counts(None, 3), vec![Confirmation::Accepted; 3]), "{named:?}");
        }
        let rest = [Confirmation::Accepted, warned.clone(), Confirmation::Accepted];
        assert_eq!(read(None, &[Some("b"), None]), (counts(None, 2), rest.into()));
        assert_eq!(read(None, &[Some("a"), Some("b"), Some("c")]), (counts(None, 0), vec![warned; 3]));
    }

    #[test]
    fn a_smaller_count_confirms_nothing_and_may_accept() {
        let warned = |counted| Confirmation::Warned { text: "hm".to_owned(), counted: Some(counted), requested: 3 };
        // The warning may inform, and the service may have skipped another lease without a word.
        let named = [warned(2), Confirmation::Accepted, Confirmation::Accepted];
        assert_eq!(read(Some(2.0), &[Some("a")]), (counts(Some(2), 0), named.to_vec()));
        assert_eq!(read(Some(2.0), &[Some("a"), None]).1, named);
        let unclear = |counted| Confirmation::Unclear { counted, requested: 3 };
        assert_eq!(read(Some(2.0), &[]), (counts(Some(2), 0), vec![unclear(2); 3]));
        assert_eq!(read(Some(2.0), &[Some("other")]), (counts(Some(2), 0), vec![unclear(2); 3]));
        assert_eq!(read(Some(1.0), &[Some("a")]).1, [warned(1), unclear(1), unclear(1)]);
        assert_eq!(read(Some(2.0), &[Some("a"), Some("b"), Some("c")]).1, vec![warned(2); 3]);
        assert_eq!(read(Some(0.0), &[Some("a"), Some("b"), Some("c")]).1, vec![warned(0); 3]);
    }

    #[test]
    fn only_a_count_of_less_than_half_is_a_failure() {
        let failures =
            |count, warned: &[Option<&str>]| read(count, warned).1.iter().filter(|it| it.is_failure()).count();
        for warned in [&[][..], &[Some("a")], &[Some("a"), Some("b"), Some("c")]] {
            assert_eq!((failures(None, warned), failures(Some(3.0), warned)), (0, 0));
            assert_eq!((failures(Some(2.0), warned), failures(Some(0.0), warned)), (0, 3));
        }
    }

    #[test]
    fn an_impossible_count_confirms_nothing() {
        for count in [4.0, -1.0, 2.5, 3.5, -3.0, f64::MAX, f64::MIN] {
            let unclear = Confirmation::Unclear { counted: 0, requested: 3 };
            assert_eq!(read(Some(count), &[]), (counts(Some(0), 0), vec![unclear; 3]), "{count}");
        }
    }

    #[test]
    fn counts_add_up_and_a_missing_one_is_not_zero() {
        let mut total = Counts::default();
        assert!(total.is_complete());
        total.add(counts(Some(3), 0));
        assert!(total.is_complete());
        total.add(counts(None, 2));
        assert_eq!((total.confirmed, total.accepted, total.doubtful()), (Some(3), 2, 1));
        assert!(!total.is_complete());
        let mut uncounted = counts(None, 3);
        uncounted.add(counts(None, 3));
        assert_eq!((uncounted.confirmed, uncounted.accepted, uncounted.is_complete()), (None, 6, false));
    }
}
