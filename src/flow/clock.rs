//! A second clock for deadlines, which runs on while the machine is suspended.

use std::{
    fmt,
    sync::Arc,
    time::{Instant, SystemTime},
};

/// The clock of the wall, which tests replace.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    pub(crate) fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(crate) fn now(&self) -> Moment {
        Moment { instant: tokio::time::Instant::now().into_std(), wall: (self.0)() }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(SystemTime::now)
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
    instant: Instant,
    wall: SystemTime,
}

impl Moment {
    /// The same time as `deadline`, which is later by the monotonic clock.
    pub(crate) fn at(self, deadline: Instant) -> Self {
        let wall = self.wall.checked_add(deadline.saturating_duration_since(self.instant));
        Self { instant: deadline, wall: wall.unwrap_or(self.wall) }
    }

    pub(crate) fn instant(self) -> Instant {
        self.instant
    }

    pub(crate) fn has_passed(self, clock: &Clock) -> bool {
        let now = clock.now();
        self.instant <= now.instant || self.wall <= now.wall
    }
}
