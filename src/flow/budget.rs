//! The retries that a client has left.

use std::sync::atomic::{AtomicU64, Ordering};

/// The retries that all calls on a client share, counted in tenths.
#[derive(Debug)]
pub(crate) struct Budget {
    left: AtomicU64,
    full: u64,
}

const RETRY: u64 = 10;

impl Budget {
    pub(crate) fn new(retries: u32) -> Self {
        let full = u64::from(retries) * RETRY;
        Self { left: AtomicU64::new(full), full }
    }

    /// For every call that is sent.
    pub(crate) fn deposit(&self) {
        let more = |left: u64| (left < self.full).then_some(left + 1);
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// For a retry, which must not be made if none is left.
    pub(crate) fn withdraw(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(RETRY)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_calls_earn_a_retry_up_to_the_budget() {
        let budget = Budget::new(2);
        let left = |budget: &Budget| (0..).take_while(|_| budget.withdraw()).count();
        assert_eq!(left(&budget), 2);
        (0..9).for_each(|_| budget.deposit());
        assert_eq!(left(&budget), 0);
        budget.deposit();
        assert_eq!(left(&budget), 1);
        (0..1000).for_each(|_| budget.deposit());
        assert_eq!(left(&budget), 2);
        (0..9).for_each(|_| budget.deposit());
        assert_eq!(left(&budget), 0, "not a tenth more was saved");
    }
}
