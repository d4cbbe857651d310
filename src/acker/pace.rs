//! How many requests an acker has in flight, and what it logs about them.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    error::{Error, kind::ErrorKind},
    flow::{
        adaptive::{Adaptive, Setback},
        outage::Outage,
    },
    message::{ack::AckOutcome, warning::Warning},
};

/// Enough for a nearby service, until it is known how long its responses take.
const AT_FIRST: usize = 4;
/// How often to try the service while it fails and the client's retries are used up.
const BETWEEN_TRIES: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Pace(Mutex<State>);

#[derive(Debug)]
struct State {
    in_flight: Adaptive,
    /// When requests last waited for others to finish.
    held_back_at: Option<Instant>,
    outage: Outage,
    /// The result of the last response.
    is_working: bool,
    /// How many successful responses had warnings.
    warned: u64,
    tried_at: Option<Instant>,
}

impl Pace {
    pub(super) fn new(max_in_flight: usize) -> Self {
        let in_flight = Adaptive::new(AT_FIRST, max_in_flight);
        let outage = Outage::default();
        Self(Mutex::new(State { in_flight, held_back_at: None, outage, is_working: true, warned: 0, tried_at: None }))
    }

    pub(super) fn limit(&self) -> usize {
        self.state().in_flight.limit()
    }

    /// Requests are waiting for others to finish.
    pub(super) fn hold_back(&self) {
        self.state().held_back_at = Some(Instant::now());
    }

    /// A request succeeded for leases taken at `taken_at`. The limit grows if it has held others back since, and falls
    /// if the service failed at first.
    pub(super) fn succeeded(&self, taken_at: Instant, setback: Setback) {
        let mut state = self.state();
        state.is_working = true;
        let is_needed = state.held_back_at.is_some_and(|held_back_at| held_back_at >= taken_at);
        match setback {
            Setback::None => state.in_flight.on_success(is_needed),
            Setback::Failure => state.in_flight.on_failure(),
            Setback::RateLimit => state.in_flight.on_rate_limit(0),
        }
        let ended = state.outage.on_success();
        drop(state);
        if let Some(failures) = ended {
            tracing::info!(failures, "acknowledgements succeed again");
        }
    }

    /// A request succeeded. Warnings about leases that are confirmed all the same are logged at growing intervals.
    pub(super) fn warned(&self, outcome: &AckOutcome) {
        let Some(Warning { message, .. }) = outcome.warnings.first().filter(|_| outcome.is_complete()) else { return };
        let mut state = self.state();
        state.warned = state.warned.saturating_add(1);
        let responses = state.warned;
        drop(state);
        if responses.is_power_of_two() {
            tracing::info!(responses, %message, "acknowledgements are confirmed with warnings");
        }
    }

    pub(super) fn failed(&self, error: &Error) {
        let (mut state, now) = (self.state(), Instant::now());
        state.is_working = false;
        match error.kind() {
            ErrorKind::RateLimited => state.in_flight.on_rate_limit(0),
            _ => state.in_flight.on_failure(),
        }
        let failures = state.outage.on_failure(now);
        drop(state);
        if let Some(failures) = failures {
            tracing::warn!(failures, %error, "acknowledgements fail");
        }
    }

    /// Whether a request may be repeated although the client's retries are used up. While the service works, they need
    /// not be limited; while it fails, an occasional request finds out when that ends.
    pub(super) fn may_try(&self) -> bool {
        let (mut state, now) = (self.state(), Instant::now());
        let is_time = state.tried_at.is_none_or(|tried_at| now.duration_since(tried_at) >= BETWEEN_TRIES);
        if !state.is_working && is_time {
            state.tried_at = Some(now);
        }
        state.is_working || is_time
    }

    /// The service refused a request because of its content, which says nothing about how many it can handle.
    pub(super) fn refused(&self, error: &Error) {
        let failures = self.state().outage.on_failure(Instant::now());
        if let Some(failures) = failures {
            tracing::warn!(failures, %error, "acknowledgements are refused");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rate_limits_slow_down_growth_and_failures_do_not() {
        let pace = Pace::new(16);
        pace.failed(&Error::new(ErrorKind::ServiceFailure, ""));
        assert!(pace.state().in_flight.is_undisturbed());
        pace.failed(&Error::new(ErrorKind::RateLimited, ""));
        assert!(pace.state().in_flight.is_rate_limited());
    }
}
