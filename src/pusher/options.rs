//! When a pusher sends, how much it holds, and for how long it tries.

use std::time::Duration;

/// When a [`Pusher`](crate::Pusher) sends, how much it holds, and for how long it tries.
///
/// Every option accepts zero and the largest value of its type.
///
/// ```
/// use cloudflare_queues::pusher::PusherOptions;
/// use std::time::Duration;
///
/// let options = PusherOptions::new().linger(Duration::from_millis(250)).max_bytes(4 << 20);
/// ```
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PusherOptions {
    pub(super) linger: Duration,
    pub(super) max_bytes: usize,
    pub(super) give_up_after: Duration,
}

impl PusherOptions {
    /// The defaults.
    pub const fn new() -> Self {
        Self { linger: Duration::from_millis(50), max_bytes: 32 << 20, give_up_after: Duration::from_secs(120) }
    }

    /// How long a message waits for others to share its request. 50 ms by default.
    ///
    /// With zero, only messages submitted at the same moment share a request. With [`Duration::MAX`], a message waits
    /// until a request or the buffer is full, or until [`flush`](crate::Pusher::flush) or
    /// [`close`](crate::Pusher::close) is called.
    ///
    /// Pushes count towards the 1,200 requests that Cloudflare allows an account in 5 minutes. A linger of 250 ms keeps
    /// within that, even if messages trickle in all day.
    pub const fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// The maximum number of bytes of messages that wait or are in flight, before [`push`](crate::Pusher::push) waits
    /// as well. Each message counts as its size and 512 bytes. 32 MiB by default, which is enough for 5,000 messages a
    /// second of 2,000 bytes at a round trip of 2.4 s. Raise it for more than that, and lower it if memory is scarce.
    ///
    /// A message that is larger is held alone, so zero means one message at a time. While a request is in flight, its
    /// JSON takes as much again. Messages do not linger while there is room for less than 128,512 bytes, which the next
    /// one may need.
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// How long a message is tried that did not arrive, counted from when the last one in its request was submitted.
    /// 120 s by default. Set it to the longest outage that your producers are to wait for.
    ///
    /// With zero, there is one call, with the [retries](crate::RetryPolicy) of the client. With [`Duration::MAX`],
    /// messages are kept until the service takes them, and [`push`](crate::Pusher::push) waits meanwhile once the
    /// buffer is full.
    pub const fn give_up_after(mut self, time: Duration) -> Self {
        self.give_up_after = time;
        self
    }
}

impl Default for PusherOptions {
    fn default() -> Self {
        Self::new()
    }
}
