//! How long to repeat failed requests, in addition to the client's own retries.

use std::time::Duration;

use cloudflare_queues::Error;
use tokio::time::Instant;

/// The account's rate limit can hold for five minutes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
/// The longest `Retry-After` that is obeyed, as in the library: a proxy may ask for a day.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

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
        error.retry_after().unwrap_or_default().min(LONGEST_PAUSE).max(doubled)
    }

    /// The same; `None` if another try is useless, or would be too late.
    pub(crate) fn bounded_pause(&mut self, error: &Error) -> Option<Duration> {
        let pause = self.pause(error);
        let failing = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        (error.is_transient() && failing.saturating_add(pause) <= PATIENCE).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use cloudflare_queues::emulator::{EmulatedQueue, Emulator, Fault};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_retry_after_of_a_day_waits_five_minutes() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let emulator = Emulator::builder().queue(EmulatedQueue::new()).in_process();
        let queue = emulator.queue().unwrap();
        for (asked, obeyed) in [(86_400, 300), (299, 299), (0, 1)] {
            let retry_after = Some(Duration::from_secs(asked));
            emulator.inject(Fault::RateLimited { code: 971, retry_after }.until_removed());
            let error = queue.metrics().await.unwrap_err();
            assert_eq!(error.retry_after(), retry_after);
            assert_eq!(Failures::default().pause(&error), Duration::from_secs(obeyed), "{asked}");
            emulator.remove_faults();
        }
    }
}
