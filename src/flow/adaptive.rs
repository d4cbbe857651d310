//! How many requests of one sort may be in flight, found by trying.

use crate::error::{Error, kind::ErrorKind};

/// The limit is counted in sixteenths, so that it can grow by less than one.
const ONE: usize = 16;
/// By how much each success lets the limit grow: at the start, and after too many failures.
const FAST: usize = 2 * ONE;
const SLOW: usize = ONE / 4;
/// The tolerated share of failures, the one that is as good as none, and the weight of the last request in the share.
const THRESHOLD: f64 = 0.2;
const FEW: f64 = THRESHOLD / 4.0;
const WEIGHT: f64 = 1.0 / 32.0;

/// A limit on requests in flight that grows while it holds work back and falls when requests fail.
///
/// It triples with each round trip until too many requests fail, and each failed request takes one off. Single failures
/// among many successes say nothing about how many requests the service can handle, so they do not affect the growth.
/// Once more than a fifth of the last requests have failed, as in an outage or under overload, it grows by a quarter
/// with each round trip. With that, it falls with one round trip to the number of requests that succeed, and stands as
/// long as at most a fifth of them fail. It triples again once fewer than a twentieth fail, or after an idle time.
/// Refusals by a rate limit do not count: see [`Rate`](super::rate::Rate).
#[derive(Clone, Debug)]
pub(crate) struct Adaptive {
    sixteenths: usize,
    max: usize,
    growth: usize,
    /// The share of the last requests that failed.
    failing: f64,
}

impl Adaptive {
    /// Starts with `start` requests, and allows at most `max`. Zero counts as one for both.
    pub(crate) fn new(start: usize, max: usize) -> Self {
        let sixteenths = |limit: usize| limit.max(1).saturating_mul(ONE);
        Self { sixteenths: sixteenths(start.min(max)), max: sixteenths(max), growth: FAST, failing: 0.0 }
    }

    /// How many requests may be in flight: at least one.
    pub(crate) fn limit(&self) -> usize {
        self.sixteenths / ONE
    }

    /// A request succeeded. The limit grows only if it `is_needed`: if it held other requests back meanwhile.
    pub(crate) fn on_success(&mut self, is_needed: bool) {
        self.failing -= self.failing * WEIGHT;
        if self.failing < FEW {
            self.growth = FAST;
        }
        let more = if is_needed { self.growth } else { 0 };
        self.sixteenths = self.sixteenths.saturating_add(more).min(self.max);
    }

    /// A request failed.
    pub(crate) fn on_failure(&mut self) {
        self.failing += (1.0 - self.failing) * WEIGHT;
        if self.failing > THRESHOLD {
            self.growth = SLOW;
        }
        self.take_one_off();
    }

    /// A request succeeded, but found less to do than it could have done: one fewer will do.
    pub(crate) fn on_slack(&mut self) {
        self.on_success(false);
        self.take_one_off();
    }

    fn take_one_off(&mut self) {
        self.sixteenths = self.sixteenths.saturating_sub(ONE).max(ONE);
    }

    /// There is nothing to do: one request at a time, and fast growth when there is again.
    pub(crate) fn on_idle(&mut self) {
        (self.sixteenths, self.growth, self.failing) = (ONE, FAST, 0.0);
    }
}

/// What a call ran into before it succeeded, from the least to the worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Setback {
    /// At most credentials that had to be renewed, which says nothing about how much the service can handle.
    #[default]
    None,
    Failure,
    RateLimit,
}

impl Setback {
    pub(crate) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Unauthorized => Self::None,
            // A quota that is used up, or a full queue, is not about the rate.
            ErrorKind::RateLimited if error.is_transient() => Self::RateLimit,
            _ => Self::Failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a round trip makes of a limit that is used up, if every `nth` request fails.
    fn round_trip(adaptive: &mut Adaptive, failing_nth: usize) {
        for request in 1..=adaptive.limit() {
            if request % failing_nth == 0 { adaptive.on_failure() } else { adaptive.on_success(true) }
        }
    }

    #[test]
    fn the_limit_triples_with_each_round_trip_while_no_request_fails() {
        let mut adaptive = Adaptive::new(1, 100);
        let limits = [1, 3, 9, 27, 81, 100, 100];
        for limit in limits {
            assert_eq!(adaptive.limit(), limit);
            round_trip(&mut adaptive, usize::MAX);
        }
    }

    #[test]
    fn the_limit_grows_slowly_once_a_fifth_of_the_last_requests_have_failed() {
        let mut adaptive = Adaptive::new(40, 100);
        (0..7).for_each(|_| adaptive.on_failure());
        assert_eq!(adaptive.growth, FAST, "seven may be chance");
        adaptive.on_failure();
        assert_eq!((adaptive.limit(), adaptive.growth), (32, SLOW));
        round_trip(&mut adaptive, usize::MAX);
        assert_eq!(adaptive.limit(), 40);
    }

    #[test]
    fn the_limit_grows_fast_again_once_few_requests_fail() {
        let mut adaptive = Adaptive::new(1, 100);
        (0..8).for_each(|_| adaptive.on_failure());
        (0..30).for_each(|_| adaptive.on_success(false));
        assert_eq!(adaptive.growth, SLOW, "a twelfth have failed");
        (0..30).for_each(|_| adaptive.on_success(false));
        assert_eq!(adaptive.growth, FAST);
    }

    #[test]
    fn single_failures_leave_the_growth_as_it_is() {
        let mut adaptive = Adaptive::new(10, 1000);
        (0..3).for_each(|_| round_trip(&mut adaptive, 10));
        // As many as 2.75 times with each round trip, instead of 3.
        assert_eq!(adaptive.limit(), 204);
    }

    #[test]
    fn a_limit_that_holds_nothing_back_does_not_grow() {
        let mut adaptive = Adaptive::new(4, 100);
        (0..100).for_each(|_| adaptive.on_success(false));
        assert_eq!(adaptive.limit(), 4);
    }

    #[test]
    fn the_limit_tolerates_few_failures_and_falls_to_one_when_all_fail() {
        let mut adaptive = Adaptive::new(64, 100);
        (0..20).for_each(|_| round_trip(&mut adaptive, 10));
        assert!(adaptive.limit() > 90, "{}", adaptive.limit());
        round_trip(&mut adaptive, 2);
        assert!(adaptive.limit() < 70, "{}", adaptive.limit());
        round_trip(&mut adaptive, 1);
        assert_eq!(adaptive.limit(), 1);
    }

    #[test]
    fn an_idle_limit_is_one_and_grows_fast_again() {
        let mut adaptive = Adaptive::new(64, 100);
        adaptive.on_failure();
        adaptive.on_idle();
        assert_eq!(adaptive.limit(), 1);
        adaptive.on_success(true);
        assert_eq!(adaptive.limit(), 3);
    }

    #[test]
    fn zero_and_the_largest_limit_are_fine() {
        assert_eq!(Adaptive::new(0, 0).limit(), 1);
        let mut adaptive = Adaptive::new(usize::MAX, usize::MAX);
        adaptive.on_success(true);
        adaptive.on_failure();
        assert!(adaptive.limit() > usize::MAX / 32);
    }
}
