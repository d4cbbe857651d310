//! The outcome of deleting messages by reference.

use std::collections::HashSet;

use crate::message::{confirmation::Counts, lease::MessageRef, warning::Warning};

/// How many messages a request deletes, and the service's objections.
///
/// The service sends no count here, so no message is [confirmed](Counts::confirmed). It names what it did not delete:
/// check [`is_complete`](Self::is_complete).
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
    /// The messages to delete. None of them is accepted if an error names no message.
    pub deletions: Counts,
    /// Why the service did not delete messages. Errors that came with `success: true` are here as well.
    pub errors: Vec<Warning<MessageRef>>,
    /// The service's warnings about single references.
    pub warnings: Vec<Warning<MessageRef>>,
}

impl DeleteOutcome {
    /// What the response to a request for these messages says.
    pub(crate) fn new(
        refs: &[MessageRef],
        errors: Vec<Warning<MessageRef>>,
        warnings: Vec<Warning<MessageRef>>,
    ) -> Self {
        let named: HashSet<_> = errors.iter().chain(&warnings).filter_map(|warning| warning.subject.as_ref()).collect();
        let is_known = errors.iter().all(|error| error.subject.is_some());
        let accepted = refs.iter().filter(|message_ref| is_known && !named.contains(message_ref)).count() as u64;
        let deletions = Counts { requested: refs.len() as u64, confirmed: None, accepted };
        Self { deletions, errors, warnings }
    }

    /// Whether the service reported no errors and no warnings.
    pub fn is_complete(&self) -> bool {
        self.errors.is_empty() && self.warnings.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_accepted_unless_an_error_or_warning_concerns_them() {
        let refs = ["a", "b", "c"].map(MessageRef::from);
        let list = |names: &[Option<&str>]| -> Vec<_> {
            let warning = |name: &Option<&str>| Warning { subject: name.map(Into::into), message: String::new() };
            names.iter().map(warning).collect()
        };
        let accepted = |errors: &[Option<&str>], warnings: &[Option<&str>]| {
            let counts = DeleteOutcome::new(&refs, list(errors), list(warnings)).deletions;
            assert_eq!((counts.requested, counts.confirmed), (3, None));
            counts.accepted
        };
        assert_eq!(accepted(&[], &[]), 3);
        assert_eq!(accepted(&[Some("a")], &[Some("a"), Some("b")]), 1);
        assert_eq!(accepted(&[], &[None, Some("other")]), 3);
        assert_eq!(accepted(&[None], &[]), 0);
    }
}
