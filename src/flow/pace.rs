//! How many requests a background worker has in flight, and what it logs about them.

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{
    error::Error,
    flow::{
        adaptive::{Adaptive, Setback},
        contained::lock,
        outage::Outage,
        rate::Rate,
    },
};

/// Enough for a nearby service, until it is known how long its responses take.
const AT_FIRST: usize = 4;
/// The first and the longest wait between two calls for the same content. Each call retries by itself.
pub(crate) const FIRST_WAIT: Duration = Duration::from_secs(1);
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often to try the service while it fails and the client's retries are used up.
const BETWEEN_TRIES: Duration = Duration::from_secs(5);

/// Completes at this time, or never without one.
pub(crate) async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

#[derive(Debug)]
pub(crate) struct Pace {
    pub(crate) rate: Arc<Rate>,
    /// What the requests do, in the plural.
    what: &'static str,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    in_flight: Adaptive,
    /// When requests last waited for others to finish.
    held_back_at: Option<Instant>,
    outage: Outage,
    /// The result of the last response.
    is_working: bool,
    tried_at: Option<Instant>,
}

impl Pace {
    /// The requests or messages a second are those of [`Rate::new`].
    pub(crate) fn new(what: &'static str, max_in_flight: usize, per_second: f64, least: f64) -> Self {
        let rate = Arc::new(Rate::new(what, per_second, least));
        let in_flight = Adaptive::new(AT_FIRST, max_in_flight);
        let outage = Outage::default();
        let state = State { in_flight, held_back_at: None, outage, is_working: true, tried_at: None };
        Self { what, rate, state: Mutex::new(state) }
    }

    pub(crate) fn limit(&self) -> usize {
        lock(&self.state).in_flight.limit()
    }

    /// Requests are waiting for others to finish.
    pub(crate) fn hold_back(&self) {
        lock(&self.state).held_back_at = Some(Instant::now());
    }

    /// A request succeeded. The limit grows if it has held others back since this one was sent, and falls if the
    /// service failed at first.
    pub(crate) fn succeeded(&self, sent_at: Instant, setback: Setback) {
        let mut state = lock(&self.state);
        state.is_working = true;
        let is_needed = state.held_back_at.is_some_and(|held_back_at| held_back_at >= sent_at);
        match setback {
            Setback::None => state.in_flight.on_success(is_needed),
            Setback::Failure => state.in_flight.on_failure(),
            // The rate was told.
            Setback::RateLimit => {}
        }
        let ended = state.outage.on_success();
        drop(state);
        if let Some(failures) = ended {
            tracing::info!(failures, "{} succeed again", self.what);
        }
    }

    pub(crate) fn failed(&self, error: &Error) {
        let (mut state, now) = (lock(&self.state), Instant::now());
        state.is_working = false;
        // The rate was told of the others.
        if Setback::of(error) != Setback::RateLimit {
            state.in_flight.on_failure();
        }
        let failures = state.outage.on_failure(now);
        drop(state);
        if let Some(failures) = failures {
            tracing::warn!(failures, %error, "{} fail", self.what);
        }
    }

    /// Whether a request may be repeated although the client's retries are used up. While the service works, they need
    /// not be limited; while it fails, an occasional request finds out when that ends.
    pub(crate) fn may_try(&self) -> bool {
        let (mut state, now) = (lock(&self.state), Instant::now());
        let is_time = state.tried_at.is_none_or(|tried_at| now.duration_since(tried_at) >= BETWEEN_TRIES);
        if !state.is_working && is_time {
            state.tried_at = Some(now);
        }
        state.is_working || is_time
    }

    /// The service refused a request because of its content, which says nothing about how many it can handle.
    pub(crate) fn refused(&self, error: &Error) {
        let failures = lock(&self.state).outage.on_failure(Instant::now());
        if let Some(failures) = failures {
            tracing::warn!(failures, %error, "{} are refused", self.what);
        }
    }
}
