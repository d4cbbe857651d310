//! The emulator's clock.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

/// Nanoseconds since the Unix epoch. In whole milliseconds, a lease could end up to one too early.
pub(super) type Time = u64;

/// Later than any time on the clock. Times that cannot be represented, beyond the year 2554, are reduced to this.
pub(super) const NEVER: Time = Time::MAX;

pub(super) fn nanos(duration: Duration) -> Time {
    duration.as_nanos().try_into().unwrap_or(NEVER)
}

pub(super) fn from_millis(millis: u64) -> Time {
    millis.saturating_mul(1_000_000)
}

/// Milliseconds since the Unix epoch.
pub(super) fn unix_millis(time: Time) -> u64 {
    time / 1_000_000
}

/// A time in RFC 3339, with milliseconds.
pub(super) fn timestamp(time: Time) -> String {
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_nanos(time)).to_string()
}

pub(super) fn from_secs(seconds: u64) -> Time {
    seconds.saturating_mul(1_000_000_000)
}

pub(super) struct Clock {
    /// `None` if the clock stands still.
    running_since: Option<Instant>,
    /// The time at the start, and by how much it was advanced since.
    advanced: AtomicU64,
}

impl Clock {
    pub(super) fn new(real_time: bool) -> Self {
        let start = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { running_since: real_time.then(Instant::now), advanced: AtomicU64::new(nanos(start)) }
    }

    pub(super) fn now(&self) -> Time {
        let run = self.running_since.map_or(0, |since| nanos(since.elapsed()));
        self.advanced.load(Ordering::Relaxed).saturating_add(run).min(NEVER - 1)
    }

    pub(super) fn advance(&self, duration: Duration) {
        let later = |advanced: Time| Some(advanced.saturating_add(nanos(duration)));
        // The closure always returns a value, so this cannot fail.
        let _ = self.advanced.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }
}
