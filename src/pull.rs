//! What a pull asks for, and the batch that it answers.

use std::{
    slice,
    time::{Duration, SystemTime},
    vec,
};

use crate::message::Message;

/// How many messages to lease, and for how long.
///
/// Both are always sent, whatever the queue's own settings are, so that the end of the leases is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullOptions {
    /// The most messages to lease: 1 to 100, 5 by default. Fewer may come although the queue holds more.
    pub batch_size: u32,
    /// How long no other consumer is given the messages: 1 ms to 12 hours, 30 s by default. Sent in whole milliseconds,
    /// rounded down, so that no lease is thought to be longer than it is by more than that.
    pub visibility_timeout: Duration,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self { batch_size: 5, visibility_timeout: Duration::from_secs(30) }
    }
}

/// The messages that one pull leased, in no particular order.
#[must_use = "the messages are leased: acknowledge them or hand them back"]
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Batch {
    /// The leased messages; none if the queue has none to give.
    pub messages: Vec<Message>,
    /// How many messages came without a lease id. They cannot be acknowledged, and come again.
    pub without_lease: usize,
    /// How many messages of the queue are not acknowledged, as the service estimates, if it says.
    pub backlog_count: Option<u64>,
    /// The queue's metrics, if the service sent them.
    pub metrics: Option<Metrics>,
}

impl Batch {
    /// How many messages the batch holds.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether the batch holds no message.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

impl IntoIterator for Batch {
    type Item = Message;
    type IntoIter = vec::IntoIter<Message>;

    fn into_iter(self) -> Self::IntoIter {
        self.messages.into_iter()
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = &'a Message;
    type IntoIter = slice::Iter<'a, Message>;

    fn into_iter(self) -> Self::IntoIter {
        self.messages.iter()
    }
}

/// A queue's state, as the service estimates it (schema `mq_queue-metrics` of Cloudflare's OpenAPI document).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// How many messages are not acknowledged.
    pub backlog_count: Option<u64>,
    /// Their size in bytes.
    pub backlog_bytes: Option<u64>,
    /// When the oldest of them was pushed.
    pub oldest_message: Option<SystemTime>,
}
