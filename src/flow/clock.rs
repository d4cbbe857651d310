//! A second clock for deadlines, which runs on while the machine is suspended.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// Clocks that differ by no more than this are taken for the same.
const NOISE: Duration = Duration::from_secs(1);

/// The wall clock, which tests replace.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    #[cfg(feature = "emulator")]
    pub(crate) fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(crate) fn now(&self) -> Moment {
        Moment { instant: tokio::time::Instant::now().into_std(), wall: (self.0)() }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self(Arc::new(SystemTime::now))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// A time by both clocks. The monotonic clock of Linux stands still while the machine is suspended, and the wall clock
/// may be set back, so whichever reaches a deadline first decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    wall: SystemTime,
}

impl Moment {
    /// The same time as `deadline`, which is later by the monotonic clock.
    pub(crate) fn at(self, deadline: Instant) -> Self {
        let wall = self.wall.checked_add(deadline.saturating_duration_since(self.instant));
        Self { instant: deadline, wall: wall.unwrap_or(self.wall) }
    }

    pub(crate) fn has_passed(self, clock: &Clock) -> bool {
        self.remaining(clock).is_zero()
    }

    /// How long it is until then.
    pub(crate) fn remaining(self, clock: &Clock) -> Duration {
        let now = clock.now();
        let left = self.instant.saturating_duration_since(now.instant);
        let by_wall = self.wall.duration_since(now.wall).unwrap_or_default();
        // The clocks never agree to the microsecond, and tests pause the monotonic one.
        if by_wall.is_zero() || left > by_wall.saturating_add(NOISE) { by_wall } else { left }
    }
}
