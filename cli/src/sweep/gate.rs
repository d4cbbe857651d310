//! How many messages may be taken, and when.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

pub(super) struct Gate {
    rate: f64,
    /// When the next message may be taken.
    next: Mutex<Instant>,
    /// How many more may be taken.
    left: AtomicU64,
}

impl Gate {
    pub(super) fn new(rate: f64, limit: Option<u64>) -> Self {
        Self { rate, next: Mutex::new(Instant::now()), left: limit.unwrap_or(u64::MAX).into() }
    }

    /// How many messages are taken together: no more than a second's.
    pub(super) fn most(&self) -> usize {
        self.rate.max(1.0) as usize
    }

    pub(super) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Reserves up to this many of the messages that may be taken.
    pub(super) fn reserve(&self, messages: usize) -> usize {
        let take = |left: u64| Some(left.saturating_sub(messages as u64));
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).unwrap_or_default();
        messages.min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// They were reserved, but not taken.
    pub(super) fn give_back(&self, messages: u64) {
        let add = |left: u64| Some(left.saturating_add(messages));
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// When this many messages may be taken, all at once.
    pub(super) fn at(&self, messages: usize) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now().max(*next);
        let takes = Duration::try_from_secs_f64(messages as f64 / self.rate).unwrap_or(Duration::ZERO);
        *next = at + takes;
        at
    }

    /// How long messages that are taken from now on wait.
    pub(super) fn debt(&self) -> Duration {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).saturating_duration_since(Instant::now())
    }

    /// When it is not more than a second behind.
    pub(super) fn is_near(&self) -> Instant {
        let next = *self.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.checked_sub(Duration::from_secs(1)).unwrap_or(next)
    }
}
