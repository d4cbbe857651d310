//! How many requests of one sort may be in flight, found by trying.

use tokio::time::Instant;

/// The limit is counted in quarters, so that it can grow by less than one.
const ONE: usize = 4;

/// A limit on requests in flight that grows while it holds work back and falls when requests fail.
///
/// It doubles with each round trip until the first failure. From then on it grows by a quarter with each round trip, a
/// failed request takes one off, and a rate limit halves it. With that, it stands as long as at most a fifth of the
/// requests fail, and falls with one round trip by the share that failed.
#[derive(Clone, Debug)]
pub(crate) struct Adaptive {
    quarters: usize,
    max: usize,
    /// No request has failed since the start.
    is_starting: bool,
    halved_at: Option<Instant>,
}

impl Adaptive {
    /// Starts with `start` requests, and allows at most `max`. Zero counts as one for both.
    pub(crate) fn new(start: usize, max: usize) -> Self {
        let quarters = |limit: usize| limit.max(1).saturating_mul(ONE);
        Self { quarters: quarters(start.min(max)), max: quarters(max), is_starting: true, halved_at: None }
    }

    /// How many requests may be in flight: at least one.
    pub(crate) fn limit(&self) -> usize {
        self.quarters / ONE
    }

    /// A request succeeded. The limit grows only if it `is_needed`: if it held other requests back meanwhile.
    pub(crate) fn on_success(&mut self, is_needed: bool) {
        let more = match (is_needed, self.is_starting) {
            (false, _) => 0,
            (true, true) => ONE,
            (true, false) => 1,
        };
        self.quarters = self.quarters.saturating_add(more).min(self.max);
    }

    /// A request failed.
    pub(crate) fn on_failure(&mut self) {
        self.fall_to(self.quarters.saturating_sub(ONE));
    }

    /// A request that was sent at `sent_at` met a rate limit. Those that were sent before the limit was halved do not
    /// halve it again.
    pub(crate) fn on_rate_limit(&mut self, sent_at: Instant, now: Instant) {
        if self.halved_at.is_none_or(|halved_at| sent_at >= halved_at) {
            self.halved_at = Some(now);
            self.fall_to(self.quarters / 2);
        }
    }

    /// A request found less to do than it could have done: one fewer will do.
    pub(crate) fn on_slack(&mut self) {
        self.quarters = self.quarters.saturating_sub(ONE).max(ONE);
    }

    /// There is nothing to do: one request at a time, and fast growth when there is again.
    pub(crate) fn on_idle(&mut self) {
        self.quarters = ONE;
        self.is_starting = true;
    }

    fn fall_to(&mut self, quarters: usize) {
        self.quarters = quarters.max(ONE);
        self.is_starting = false;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What a round trip makes of a limit that is used up, if every `nth` request fails.
    fn round_trip(adaptive: &mut Adaptive, failing_nth: usize) {
        for request in 1..=adaptive.limit() {
            if request % failing_nth == 0 { adaptive.on_failure() } else { adaptive.on_success(true) }
        }
    }

    #[test]
    fn the_limit_doubles_with_each_round_trip_until_the_first_failure() {
        let mut adaptive = Adaptive::new(1, 100);
        let limits = [1, 2, 4, 8, 16, 32, 64, 100, 100];
        for limit in limits {
            assert_eq!(adaptive.limit(), limit);
            round_trip(&mut adaptive, usize::MAX);
        }
    }

    #[test]
    fn the_limit_grows_slowly_after_a_failure() {
        let mut adaptive = Adaptive::new(32, 100);
        adaptive.on_failure();
        assert_eq!(adaptive.limit(), 31);
        round_trip(&mut adaptive, usize::MAX);
        assert_eq!(adaptive.limit(), 38);
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
    fn a_rate_limit_halves_the_limit_once_for_all_in_flight() {
        let start = Instant::now();
        let mut adaptive = Adaptive::new(64, 100);
        let at = |seconds| start + Duration::from_secs(seconds);
        (0..64).for_each(|_| adaptive.on_rate_limit(at(0), at(1)));
        assert_eq!(adaptive.limit(), 32);
        adaptive.on_rate_limit(at(1), at(2));
        assert_eq!(adaptive.limit(), 16);
    }

    #[test]
    fn an_idle_limit_is_one_and_grows_fast_again() {
        let mut adaptive = Adaptive::new(64, 100);
        adaptive.on_failure();
        adaptive.on_idle();
        assert_eq!(adaptive.limit(), 1);
        adaptive.on_success(true);
        assert_eq!(adaptive.limit(), 2);
    }

    #[test]
    fn zero_and_the_largest_limit_are_fine() {
        assert_eq!(Adaptive::new(0, 0).limit(), 1);
        let mut adaptive = Adaptive::new(usize::MAX, usize::MAX);
        adaptive.on_success(true);
        adaptive.on_failure();
        assert!(adaptive.limit() > usize::MAX / 8);
    }
}
