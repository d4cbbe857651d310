//! How long to repeat failed requests, in addition to the client's own retries.

use std::time::Duration;

use cloudflare_queues::Error;
use tokio::time::Instant;

/// The account's rate limit can hold for five minutes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// Failures in a row.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    since: Option<Instant>,
    count: u32,
}

impl Failures {
    /// Counts a failure. Returns how long to wait before the next try.
    pub(crate) fn pause(&mut self, error: &Error) -> Duration {
        self.since.get_or_insert_with(Instant::now);
        self.count = self.count.saturating_add(1);
        let doubled = Duration::from_millis(500).saturating_mul(1 << self.count.min(6));
        error.retry_after().unwrap_or_default().max(doubled)
    }

    /// The same; `None` if another try is useless, or would be too late.
    pub(crate) fn bounded_pause(&mut self, error: &Error) -> Option<Duration> {
        let pause = self.pause(error);
        let failing = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        (error.is_transient() && failing.saturating_add(pause) <= PATIENCE).then_some(pause)
    }
}
