//! What a pull asks for, and the batch that it returns.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::time::Instant;

use crate::{
    flow::adaptive::Setback,
    message::{Message, lists},
};

/// How many messages to lease, and for how long.
///
/// Both are always sent and override the queue's own settings, so the client knows when the leases expire.
///
/// ```
/// use cloudflare_queues::PullOptions;
/// use std::time::Duration;
///
/// let options = PullOptions::new().batch_size(100).visibility_timeout(Duration::from_secs(60));
/// ```
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PullOptions {
    pub(crate) batch_size: u32,
    pub(crate) visibility_timeout: Duration,
}

impl PullOptions {
    /// The defaults: 5 messages for 30 seconds.
    pub const fn new() -> Self {
        Self { batch_size: 5, visibility_timeout: Duration::from_secs(30) }
    }

    /// The maximum number of messages to lease: 1 to 100, 5 by default. The service may return fewer although the queue
    /// has more. A loop that drains a queue sets 100, and one that handles a message for minutes sets 1.
    pub const fn batch_size(mut self, messages: u32) -> Self {
        self.batch_size = messages;
        self
    }

    /// How long no other consumer receives the messages: 1 ms to 12 hours, 30 seconds by default. Set it to more than
    /// all messages of the batch take: 10 minutes for 100 messages of 5 s each.
    ///
    /// Sent in whole milliseconds, rounded down, so that the client never assumes a lease to be longer than it is.
    pub const fn visibility_timeout(mut self, timeout: Duration) -> Self {
        self.visibility_timeout = timeout;
        self
    }
}

impl Default for PullOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// The messages that one pull leased, in no particular order.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use cloudflare_queues::{AckRequest, PullOptions, PushMessage, emulator::Emulator};
///
/// let queue = Emulator::in_process().queue()?;
/// queue.push(&PushMessage::text("hello")).await?;
/// let batch = queue.pull(PullOptions::new()).await?;
/// println!("{} messages, {:?} in the queue", batch.len(), batch.backlog_count);
/// assert!(queue.ack(AckRequest::ack_all(&batch)).await?.is_complete());
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the messages are leased: acknowledge or retry them"]
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Batch {
    /// The leased messages.
    pub messages: Vec<Message>,
    /// How many entries came without a lease id. They cannot be acknowledged, and are delivered again.
    pub without_lease: usize,
    /// How many entries had the same lease as another entry of the batch. The first one is kept.
    pub duplicates: usize,
    /// The service's estimate of how many messages in the queue are not acknowledged, if it sent one.
    pub backlog_count: Option<u64>,
    /// The queue's metrics, if the service sent them.
    pub metrics: Option<Metrics>,
    pub(crate) trip: Trip,
}

/// Ignored by `PartialEq`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trip {
    /// When the attempt that succeeded was sent, and the failures before it.
    pub(crate) sent_at: Option<Instant>,
    pub(crate) setback: Setback,
}

impl PartialEq for Trip {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

lists!(Batch, messages: Message, "messages");

/// A queue's state, as the service estimates it (schema `mq_queue-metrics` of Cloudflare's OpenAPI document).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Metrics {
    /// How many messages are not acknowledged.
    pub backlog_count: Option<u64>,
    /// Their size in bytes.
    pub backlog_bytes: Option<u64>,
    /// When the oldest of them was pushed.
    pub oldest_message: Option<SystemTime>,
}
