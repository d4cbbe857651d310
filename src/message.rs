//! A message as it was pulled.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::{
    body::Body,
    held::{Extended, HeldLease},
    lease::LeaseId,
};

/// A message under a lease, as [`Queue::pull`](crate::Queue::pull) returns it.
///
/// Its `Debug` form shows neither body nor lease.
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
///     request.ack(message);
/// }
/// assert!(queue.ack(request).await?.is_complete());
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// The message's own id, the same at every delivery; empty if the service sent none.
    pub id: String,
    /// By this, the message is acknowledged or retried.
    pub lease_id: LeaseId,
    /// How often the message was delivered, this time included, if the service says.
    pub attempts: Option<u32>,
    /// When the message was pushed, if the service says.
    pub timestamp: Option<SystemTime>,
    /// The body.
    pub body: Body,
    /// The properties that came with the message, such as `CF-Content-Type`.
    pub metadata: Map<String, Value>,
    /// When the lease expires at the earliest: the visibility timeout, counted from before the pull was sent.
    ///
    /// After it, another consumer may receive the message. The service
    /// [still accepts](https://developers.cloudflare.com/queues/configuration/pull-consumers/) an acknowledgement then.
    pub lease_deadline: std::time::Instant,
    pub(crate) extended: Extended,
}

impl Message {
    /// The lease as it is held now: when it expires by the last extension of a [`Consumer`](crate::Consumer), and a
    /// future that is done once it is lost.
    pub fn lease(&self) -> HeldLease {
        self.extended.held(self.lease_deadline)
    }

    /// How long the lease lasts from now at the least; zero if it may have expired.
    ///
    /// It follows tokio's clock, so that it also holds while a test has paused that.
    pub fn lease_remaining(&self) -> Duration {
        Instant::from_std(self.lease().deadline()).saturating_duration_since(Instant::now())
    }
}
