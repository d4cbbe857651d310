//! Decides which of many repeated failures to log.

use std::time::Duration;

use tokio::time::Instant;

const FIRST_INTERVAL: Duration = Duration::from_secs(10);
const LONGEST_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Decides which failures to log: the first one, then one at intervals that double, and the first success after a
/// logged failure.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    failures: u64,
    last: Option<Instant>,
    /// When the next failure is logged, and the length of the interval.
    quiet: Option<(Instant, Duration)>,
    is_logged: bool,
}

impl Outage {
    /// The number of failures so far, if this one should be logged.
    pub(crate) fn on_failure(&mut self, now: Instant) -> Option<u64> {
        let is_over = !self.is_logged;
        if is_over && self.last.zip(self.quiet).is_some_and(|(last, (_, interval))| now.duration_since(last) > interval)
        {
            *self = Self::default();
        }
        self.last = Some(now);
        self.failures = self.failures.saturating_add(1);
        let interval = match self.quiet {
            Some((until, _)) if now < until => return None,
            Some((_, interval)) => interval.saturating_mul(2).min(LONGEST_INTERVAL),
            None => FIRST_INTERVAL,
        };
        self.quiet = now.checked_add(interval).map(|until| (until, interval));
        self.is_logged = true;
        Some(self.failures)
    }

    /// The number of failures, if their end should be logged.
    pub(crate) fn on_success(&mut self) -> Option<u64> {
        std::mem::take(&mut self.is_logged).then_some(self.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_logged_at_growing_intervals_and_their_end_once() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        let logged: Vec<u64> =
            (0..100).filter(|second| outage.on_failure(start + Duration::from_secs(*second)).is_some()).collect();
        assert_eq!(logged, [0, 10, 30, 70]);
        assert_eq!(outage.on_success(), Some(100));
        assert_eq!(outage.on_success(), None);
    }

    #[test]
    fn a_long_outage_is_logged_every_ten_minutes() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        let logged = (0..3000).filter(|second| outage.on_failure(start + Duration::from_secs(*second)).is_some());
        assert_eq!(logged.skip(5).collect::<Vec<u64>>(), [310, 630, 1230, 1830, 2430]);
    }

    #[test]
    fn failures_that_come_and_go_are_not_logged_each_time() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        let mut lines = 0;
        for millis in 0..10_000 {
            lines += usize::from(outage.on_failure(start + Duration::from_millis(millis)).is_some());
            lines += usize::from(outage.on_success().is_some());
        }
        assert_eq!(lines, 2);
    }

    #[test]
    fn a_failure_after_a_quiet_time_is_a_new_one() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        assert_eq!(outage.on_failure(start), Some(1));
        assert_eq!(outage.on_success(), Some(1));
        assert_eq!(outage.on_failure(start + Duration::from_secs(60)), Some(1));
        // The end of an interval belongs to it.
        assert_eq!(outage.on_success(), Some(1));
        assert_eq!(outage.on_failure(start + Duration::from_secs(70)), Some(2));
    }
}
