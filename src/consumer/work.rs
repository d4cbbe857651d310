//! Messages on their way through a handler.

use std::vec;

use tokio::time::Instant;
use tracing::Span;

use super::{Verdict, pulls::MESSAGE_BYTES};
use crate::{
    acker::Confirmation,
    error::Error,
    message::{
        Message,
        held::HeldLease,
        lease::LeaseId,
        settlement::{Lease, Settlement},
    },
};

/// A handler's verdict on one message, or the text of its error.
pub(super) type Outcome = Result<Verdict, String>;

/// A message that was pulled and not started.
pub(super) struct Waiting {
    pub(super) message: Message,
    /// The key by which its lease is extended.
    pub(super) key: u64,
    pub(super) since: Instant,
    pub(super) pull: Span,
}

/// How many bytes a message takes.
pub(super) fn size(message: &Message) -> usize {
    message.body.len().saturating_add(MESSAGE_BYTES)
}

/// What a handler receives: one message, or more if it takes batches.
pub(super) struct Work {
    messages: vec::IntoIter<Waiting>,
    /// What the handler runs in.
    pub(super) span: Span,
}

impl Work {
    pub(super) fn new(work: Vec<Waiting>, span: Span) -> Self {
        Self { messages: work.into_iter(), span }
    }
}

impl Iterator for Work {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        self.messages.next().map(|waiting| waiting.message)
    }
}

/// What a handler works on.
pub(super) struct Handled {
    pub(super) messages: Vec<HeldMessage>,
    pub(super) since: Instant,
}

/// What is known about a message while a handler has it, or while it becomes a dead letter.
#[derive(Clone)]
pub(super) struct HeldMessage {
    pub(super) key: u64,
    pub(super) attempts: Option<u32>,
    pub(super) bytes: usize,
    /// If more than its lease is needed afterwards.
    pub(super) message: Option<Message>,
    lease_id: LeaseId,
    lease: HeldLease,
}

impl Handled {
    pub(super) fn new(work: &[Waiting], needs_messages: bool) -> Self {
        let held = |Waiting { message, key, .. }: &Waiting| HeldMessage {
            key: *key,
            attempts: message.attempts,
            bytes: size(message),
            message: needs_messages.then(|| message.clone()),
            lease_id: message.lease_id.clone(),
            lease: message.lease(),
        };
        Self { messages: work.iter().map(held).collect(), since: Instant::now() }
    }
}

impl HeldMessage {
    /// The lease, with its extensions so far.
    pub(super) fn lease(&self) -> Lease {
        Lease::new(&self.lease_id, self.lease.deadline())
    }
}

/// What is in flight for a message after its handler.
pub(super) enum Settling {
    Decided(Settlement),
    /// A dead letter, which is pushed and then acknowledged.
    Buried(HeldMessage),
}

impl Settling {
    /// The settlement, and whether it is that of a dead letter.
    pub(super) fn into_settlement(self) -> (Settlement, bool) {
        match self {
            Self::Decided(settlement) => (settlement, false),
            Self::Buried(held) => (Settlement::ack(held.lease()), true),
        }
    }
}

pub(super) enum Settled {
    Said(Result<Confirmation, Error>),
    /// The dead letter could not be pushed, so nothing was sent for the lease.
    NotPushed(Error),
}
