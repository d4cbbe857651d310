//! A message as it was pulled.

pub(crate) mod ack;
pub(crate) mod body;
pub(crate) mod confirmation;
pub(crate) mod delete;
pub(crate) mod extend;
pub(crate) mod held;
pub(crate) mod lease;
pub(crate) mod limits;
pub(crate) mod peek;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod settlement;
pub(crate) mod warning;

use std::{
    fmt,
    ops::Deref,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::message::{
    body::Body,
    held::{Extended, HeldLease},
    lease::LeaseId,
};

/// A message under a lease, as [`Queue::pull`](crate::Queue::pull) returns it.
///
/// Its `Debug` output shows neither the body nor the lease.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use cloudflare_queues::{AckRequest, PullOptions, PushMessage, emulator::Emulator};
///
/// # let emulator = Emulator::start().await?;
/// # let queue = emulator.queue()?;
/// queue.push(&PushMessage::text("hello")).await?;
/// let mut request = AckRequest::new();
/// for message in queue.pull(PullOptions::new()).await? {
///     println!("{} at attempt {:?}: {}", message.id, message.attempts, message.body.text()?);
///     request = request.ack(message);
/// }
/// assert!(queue.ack(request).await?.is_complete());
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// The id of the message, the same at every delivery. Empty if the service sent none.
    pub id: String,
    /// The lease, by which the message is acknowledged or retried.
    pub lease_id: LeaseId,
    /// How often the message was delivered, including this time, if the service sent it.
    pub attempts: Option<u32>,
    /// When the message was pushed, if the service sent it.
    pub timestamp: Option<SystemTime>,
    /// The body.
    pub body: Body,
    /// The properties that came with the message, such as `CF-Content-Type`.
    pub metadata: Metadata,
    /// The earliest time at which the lease expires: the visibility timeout, counted from before the pull was sent.
    ///
    /// After it, another consumer may receive the message. The service
    /// [still accepts](https://developers.cloudflare.com/queues/configuration/pull-consumers/) an acknowledgement then.
    pub lease_deadline: std::time::Instant,
    pub(crate) extended: Extended,
}

impl Message {
    /// The current state of the lease, including extensions by a [`Consumer`](crate::Consumer), and a future that
    /// completes once it is lost.
    pub fn lease(&self) -> HeldLease {
        self.extended.held(self.lease_deadline)
    }

    /// How long the lease lasts at least, from now. Zero if it may have expired.
    ///
    /// This follows tokio's clock, also while a test has paused it. If the wall clock is ahead by more than a second,
    /// as after the machine was suspended, it follows that one.
    pub fn lease_remaining(&self) -> Duration {
        self.lease().remaining()
    }
}

/// What a public type has that is a list with more around it.
macro_rules! lists {
    ($name:ident, $field:ident: $entry:ty, $noun:literal) => {
        impl $name {
            #[doc = concat!("The number of ", $noun, ".")]
            pub fn len(&self) -> usize {
                self.$field.len()
            }

            #[doc = concat!("Whether there are no ", $noun, ".")]
            pub fn is_empty(&self) -> bool {
                self.$field.is_empty()
            }

            #[doc = concat!("The ", $noun, ", in order.")]
            pub fn iter(&self) -> std::slice::Iter<'_, $entry> {
                self.$field.iter()
            }
        }

        impl IntoIterator for $name {
            type Item = $entry;
            type IntoIter = std::vec::IntoIter<$entry>;

            fn into_iter(self) -> Self::IntoIter {
                self.$field.into_iter()
            }
        }

        impl<'a> IntoIterator for &'a $name {
            type Item = &'a $entry;
            type IntoIter = std::slice::Iter<'a, $entry>;

            fn into_iter(self) -> Self::IntoIter {
                self.iter()
            }
        }
    };
}

use lists;

/// The properties of a message: a JSON object. Messages of a batch with equal properties share them.
///
/// ```
/// use cloudflare_queues::{PushMessage, testing};
///
/// let message = testing::message(PushMessage::text("hello"));
/// assert_eq!(message.metadata["CF-Content-Type"], "text");
/// ```
#[derive(Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema), schemars(with = "Value"))]
pub struct Metadata(Arc<Map<String, Value>>);

/// Shows only the names, since the document does not say what the values are.
impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Deref for Metadata {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<Map<String, Value>> for Metadata {
    fn from(properties: Map<String, Value>) -> Self {
        Self(Arc::new(properties))
    }
}

/// Anything but an object is read as one without properties, since it must not affect the message.
impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::Object(properties) => properties.into(),
            _ => Self::default(),
        })
    }
}
