//! Messages that were read without a lease.

use std::time::SystemTime;

use crate::message::{Metadata, body::Body, lease::MessageRef};

/// A message as [`Queue::peek`](crate::Queue::peek) returns it. It stays in the queue, and any consumer may pull it.
///
/// Its `Debug` output shows neither the body nor the reference.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use cloudflare_queues::{PushMessage, emulator::Emulator};
///
/// let queue = Emulator::in_process().queue()?;
/// queue.push(&PushMessage::text("hello")).await?;
/// for message in queue.peek(100).await? {
///     println!("{}: {}", message.id, message.body.text()?);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PeekedMessage {
    /// The id of the message, the same at every delivery. Empty if the service sent none.
    pub id: String,
    /// The reference by which the message can be [deleted](crate::Queue::delete_messages). `None` if the service sent
    /// none.
    pub message_ref: Option<MessageRef>,
    /// How often the message was delivered, if the service sent it.
    pub attempts: Option<u32>,
    /// When the message was pushed, if the service sent it.
    pub timestamp: Option<SystemTime>,
    /// The body.
    pub body: Body,
    /// The properties that came with the message, such as `CF-Content-Type`.
    pub metadata: Metadata,
}
