//! The settings of an emulated queue.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Time;

/// A queue of an emulator, and its consumer: their settings, which are the service's defaults at first.
///
/// ```
/// use cloudflare_queues::emulator::EmulatedQueue;
///
/// let queue = EmulatedQueue::new().max_retries(10).dead_letter_queue("5e1b0a4c9f6d4e3b8a7c2d1f0e9b8a7c");
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use = "settings do nothing until they are passed to an emulator"]
pub struct EmulatedQueue {
    pub(super) max_retries: u32,
    pub(super) dead_letter_queue: Option<String>,
    pub(super) retry_delay: Duration,
    pub(super) delivery_delay: Duration,
    pub(super) visibility_timeout: Duration,
    pub(super) message_retention: Duration,
    pub(super) http_pull: bool,
    pub(super) delivery_paused: bool,
    /// When the HTTP pull consumer starts to work. Not kept, since a restart may set back the clock.
    #[serde(skip)]
    pub(super) pulls_from: Time,
}

impl Default for EmulatedQueue {
    fn default() -> Self {
        Self {
            max_retries: 3,
            dead_letter_queue: None,
            retry_delay: Duration::ZERO,
            delivery_delay: Duration::ZERO,
            visibility_timeout: Duration::from_secs(30),
            message_retention: Duration::from_secs(4 * 24 * 60 * 60),
            http_pull: true,
            delivery_paused: false,
            pulls_from: 0,
        }
    }
}

impl EmulatedQueue {
    /// The service's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How often a message is redelivered after its first delivery. 3 by default.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// The id of the dead-letter queue, which receives messages without retries left. By default, they are deleted.
    pub fn dead_letter_queue(mut self, queue_id: impl AsRef<str>) -> Self {
        self.dead_letter_queue = Some(queue_id.as_ref().to_owned());
        self
    }

    /// The delay of a retry without its own. Zero by default.
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.retry_delay = delay;
        self
    }

    /// The delay of a push without its own. Zero by default.
    pub fn delivery_delay(mut self, delay: Duration) -> Self {
        self.delivery_delay = delay;
        self
    }

    /// The visibility timeout of a pull without its own. 30 s by default.
    pub fn visibility_timeout(mut self, timeout: Duration) -> Self {
        self.visibility_timeout = timeout;
        self
    }

    /// How long a message is kept. Then it is deleted, even if it is leased. 4 days by default.
    pub fn message_retention(mut self, retention: Duration) -> Self {
        self.message_retention = retention;
        self
    }

    /// Whether the queue has an HTTP pull consumer. Without one, pulls are refused with status 405. `true` by default.
    pub fn http_pull(mut self, http_pull: bool) -> Self {
        self.http_pull = http_pull;
        self
    }

    /// Whether delivery is paused. If so, pulls are refused with status 409. `false` by default.
    pub fn delivery_paused(mut self, paused: bool) -> Self {
        self.delivery_paused = paused;
        self
    }

    /// As they are when a queue got another id.
    pub(super) fn with_renamed(self, old: &str, new: &str) -> Self {
        if self.dead_letter_queue.as_deref() == Some(old) { self.dead_letter_queue(new) } else { self }
    }
}
