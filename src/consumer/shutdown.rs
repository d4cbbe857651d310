//! The end of a run, graceful or not.

use std::{mem, pin::pin, time::Duration};

use tokio::{runtime::Handle, time::sleep};

use super::{
    Report, Undecided,
    run::{Event, Run},
    work::size,
};
use crate::message::settlement::Settlement;

impl Run {
    /// Lets handlers finish, hands back what was not started, and waits for every outcome, each with its own timeout.
    pub(super) async fn shut_down(mut self) -> Report {
        self.finish(self.settings.shutdown_timeout, |run| !run.handled.is_empty() || run.pulls.in_flight() > 0).await;
        self.drop_handlers();
        self.acker.hurry();
        self.finish(self.settings.flush_timeout, |run| !run.settling.is_empty()).await;
        self.keep_all();
        self.gauge();
        Report { stats: self.recorder.stats(), unconfirmed: mem::take(&mut self.unconfirmed), error: self.error.take() }
    }

    /// Continues for a while, as long as there is something to wait for.
    async fn finish(&mut self, timeout: Duration, goes_on: impl Fn(&Self) -> bool) {
        let mut timeout = pin!(sleep(timeout));
        self.release();
        while goes_on(self) {
            self.gauge();
            match self.next(timeout.as_mut()).await {
                Event::Stop => break,
                event => self.take(event),
            }
            // A pull in flight may have finished.
            self.release();
        }
        self.take_ended();
    }

    /// What finished in time counts, even if it was not looked at before the timeout.
    fn take_ended(&mut self) {
        while let Some(joined) = self.handlers.try_join_next_with_id() {
            self.end(joined);
        }
        while let Some(joined) = self.settlements.try_join_next_with_id() {
            self.settled(joined);
        }
    }

    fn drop_handlers(&mut self) {
        self.handlers.abort_all();
        let dropped: Vec<_> = mem::take(&mut self.handled).into_values().flat_map(|handled| handled.messages).collect();
        let count = dropped.len() as u64;
        self.recorder.count(|stats| stats.left += count);
        dropped.into_iter().for_each(|held| self.forget(held.key, held.bytes));
    }

    fn release(&mut self) {
        for waiting in mem::take(&mut self.waiting) {
            self.forget(waiting.key, size(&waiting.message));
            match self.settings.undecided {
                Undecided::Retry => self.hand_back(&waiting.message),
                Undecided::Leave => self.recorder.count(|stats| stats.left += 1),
            }
        }
    }
}

impl Drop for Run {
    /// Decisions are still sent, and what was not started is handed back, as long as the runtime is running.
    fn drop(&mut self) {
        if Handle::try_current().is_ok() {
            self.take_ended();
        }
        self.drop_handlers();
        self.settlements.detach_all();
        self.keep_all();
        self.acker.hurry();
        for waiting in mem::take(&mut self.waiting) {
            // Dead letters that are being pushed keep the pulse alive.
            self.pulse.release(waiting.key);
            match self.settings.undecided {
                Undecided::Retry => {
                    self.recorder.count(|stats| stats.unconfirmed += 1);
                    self.acker.submit_detached(Settlement::retry_in(waiting.message, Duration::ZERO), None);
                }
                Undecided::Leave => self.recorder.count(|stats| stats.left += 1),
            }
        }
        if self.settings.undecided == Undecided::Retry {
            self.acker.hand_back(self.pulls.take());
        }
        self.gauge_nothing();
    }
}
