//! The outcome of deleting messages by reference.

use crate::message::{lease::MessageRef, warning::Warning};

/// What a request deletes, and the service's objections.
///
/// The service sends no count here. It names what it did not delete: check [`is_complete`](Self::is_complete).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use cloudflare_queues::{PushMessage, emulator::Emulator};
///
/// let queue = Emulator::in_process().queue()?;
/// queue.push(&PushMessage::text("hello")).await?;
/// let refs = queue.peek(100).await?.into_iter().filter_map(|message| message.message_ref);
/// assert!(queue.delete_messages(refs).await?.is_complete());
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the service may have left messages where they are: check is_complete()"]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeleteOutcome {
    /// How many messages the request deletes.
    pub requested: u64,
    /// Why the service did not delete messages.
    pub errors: Vec<Warning<MessageRef>>,
    /// The service's warnings about single references.
    pub warnings: Vec<Warning<MessageRef>>,
}

impl DeleteOutcome {
    /// Whether the service reported no errors and no warnings.
    pub fn is_complete(&self) -> bool {
        self.errors.is_empty() && self.warnings.is_empty()
    }
}
