//! How a consumer pulls, works and stops.

use std::time::Duration;

use super::{Consumer, RetryDelay, Undecided};
use crate::{acker::AckerOptions, pull::PullOptions};

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) pull: PullOptions,
    pub(super) concurrency: usize,
    pub(super) min_idle: Duration,
    pub(super) max_idle: Duration,
    pub(super) retry_delay: RetryDelay,
    pub(super) undecided: Undecided,
    pub(super) shutdown_timeout: Duration,
    pub(super) flush_timeout: Duration,
    pub(super) acker: AckerOptions,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pull: PullOptions::new().batch_size(100).visibility_timeout(Duration::from_secs(60)),
            concurrency: 10,
            min_idle: Duration::from_millis(100),
            max_idle: Duration::from_secs(10),
            retry_delay: RetryDelay::default(),
            undecided: Undecided::default(),
            shutdown_timeout: Duration::from_secs(30),
            flush_timeout: Duration::from_secs(30),
            acker: AckerOptions::default(),
        }
    }
}

/// Settings.
impl<D> Consumer<D> {
    /// The most messages that one pull leases: 1 to 100, 100 by default.
    pub fn batch_size(mut self, messages: u32) -> Self {
        self.settings.pull = self.settings.pull.batch_size(messages);
        self
    }

    /// How long a lease lasts: 1 ms to 12 hours, 60 s by default.
    ///
    /// No more is pulled than handlers are expected to start on within half of it, by the time that they took so far.
    pub fn visibility_timeout(mut self, timeout: Duration) -> Self {
        self.settings.pull = self.settings.pull.visibility_timeout(timeout);
        self
    }

    /// How many handlers work at the same time. 10 by default; zero counts as one.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.settings.concurrency = handlers;
        self
    }

    /// The wait after a pull that was empty or failed; it doubles with each one more. 100 ms by default.
    pub fn min_idle(mut self, wait: Duration) -> Self {
        self.settings.min_idle = wait;
        self
    }

    /// The longest such wait, unless the service asks for a longer one. 10 s by default.
    pub fn max_idle(mut self, wait: Duration) -> Self {
        self.settings.max_idle = wait;
        self
    }

    /// When a message is delivered again whose handler failed. After the queue's own retry delay by default.
    pub fn retry_delay(mut self, delay: RetryDelay) -> Self {
        self.settings.retry_delay = delay;
        self
    }

    /// What becomes of messages that were pulled, but not started, when the consumer stops. Retried by default.
    pub fn undecided(mut self, undecided: Undecided) -> Self {
        self.settings.undecided = undecided;
        self
    }

    /// How long handlers and pulls that are under way may take once the consumer is told to stop. 30 s by default.
    ///
    /// Handlers that take longer are dropped, and their messages left.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.settings.shutdown_timeout = timeout;
        self
    }

    /// How long acknowledgements may take after the last handler ended. 30 s by default.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.settings.flush_timeout = timeout;
        self
    }

    /// How acknowledgements are grouped.
    pub fn acker(mut self, options: AckerOptions) -> Self {
        self.settings.acker = options;
        self
    }
}
