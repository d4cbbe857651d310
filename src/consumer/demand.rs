//! How many messages handlers take in a round trip.

use std::time::Duration;

use tokio::time::Instant;

/// Shorter times would be noise.
const SHORTEST: Duration = Duration::from_millis(1);

/// Counts the messages that handlers take, round trip by round trip.
#[derive(Debug)]
pub(super) struct Demand {
    since: Instant,
    taken: usize,
    /// How many were taken in the previous round trip.
    before: usize,
}

impl Demand {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), taken: 0, before: 0 }
    }

    /// A handler has taken so many messages.
    pub(super) fn take(&mut self, messages: usize, round_trip: Duration) {
        if self.since.elapsed() >= round_trip.max(SHORTEST) {
            (self.before, self.taken, self.since) = (self.recent(round_trip), 0, Instant::now());
        }
        self.taken = self.taken.saturating_add(messages);
    }

    /// The most that were taken within a round trip lately.
    pub(super) fn within(&self, round_trip: Duration) -> usize {
        let is_recent = self.since.elapsed() < 2 * round_trip.max(SHORTEST);
        self.recent(round_trip).max(if is_recent { self.before } else { 0 })
    }

    /// How many were taken within the last round trip, on average if the count goes back further.
    fn recent(&self, round_trip: Duration) -> usize {
        let part = round_trip.max(SHORTEST).div_duration_f64(self.since.elapsed());
        (self.taken as f64 * part.min(1.0)) as usize
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(100);

    #[tokio::test(start_paused = true)]
    async fn what_was_taken_in_the_last_round_trips_counts() {
        let mut demand = Demand::new();
        assert_eq!(demand.within(ROUND_TRIP), 0);
        demand.take(30, ROUND_TRIP);
        assert_eq!(demand.within(ROUND_TRIP), 30);
        sleep(ROUND_TRIP).await;
        demand.take(10, ROUND_TRIP);
        assert_eq!(demand.within(ROUND_TRIP), 30);
        sleep(ROUND_TRIP).await;
        demand.take(1, ROUND_TRIP);
        assert_eq!(demand.within(ROUND_TRIP), 10, "what was taken before is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_many_round_trips_counts_in_part() {
        let mut demand = Demand::new();
        demand.take(100, ROUND_TRIP);
        sleep(10 * ROUND_TRIP).await;
        assert_eq!((demand.within(ROUND_TRIP), demand.within(Duration::ZERO)), (10, 0));
    }
}
