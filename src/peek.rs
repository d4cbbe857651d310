//! Messages that were looked at without a lease, and what came of deleting them.

use std::{borrow::Cow, time::SystemTime};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    ack::Warnings,
    error::Error,
    lease::{LeaseId, MessageRef},
    message::{Content, ContentType, MessageBody},
    redact::Redactor,
};

/// A message as [`Queue::peek`](crate::Queue::peek) shows it: it stays where it is, and may be pulled by anybody.
///
/// Its `Debug` form shows neither body nor reference.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PeekedMessage {
    /// The message's own id, the same at every delivery; empty if the service sent none.
    pub id: String,
    /// By this, the message can be deleted; `None` if the service sent none.
    pub message_ref: Option<MessageRef>,
    /// How often the message was delivered, if the service says.
    pub attempts: Option<u32>,
    /// When the message was pushed, if the service says.
    pub timestamp: Option<SystemTime>,
    /// The properties that came with the message, such as `CF-Content-Type`.
    pub metadata: Map<String, Value>,
    pub(crate) body: MessageBody,
}

impl PeekedMessage {
    /// How the body is encoded.
    pub fn content_type(&self) -> ContentType {
        self.content().content_type()
    }

    /// The body as it stands in the service's answer, as by [`Message::raw_body`](crate::Message::raw_body).
    pub fn raw_body(&self) -> &str {
        self.content().raw()
    }

    /// The body, read as JSON into a type of the caller's, as by [`Message::json`](crate::Message::json).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.content().json()
    }

    /// The body as text, as by [`Message::text`](crate::Message::text).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn text(&self) -> Result<Cow<'_, str>, Error> {
        self.content().text()
    }

    /// The body as bytes, as by [`Message::bytes`](crate::Message::bytes).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, Error> {
        self.content().bytes()
    }

    fn content(&self) -> Content<'_> {
        Content { metadata: &self.metadata, body: &self.body }
    }
}

/// What was to be deleted, beside what the service had to say of it.
///
/// The service gives no count here: what it did not do, it names. Ask [`is_complete`](Self::is_complete).
#[must_use = "the service may have left messages where they are: ask is_complete()"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PurgeOutcome {
    /// How many messages were to be deleted.
    pub requested: u64,
    /// What kept the service from deleting messages, with references taken out.
    pub errors: Vec<PurgeRemark>,
    /// What the service has to say of single references.
    pub warnings: Vec<PurgeRemark>,
}

impl PurgeOutcome {
    /// Whether the service carried the purge out and named nothing that it left.
    pub fn is_complete(&self) -> bool {
        self.errors.is_empty() && self.warnings.is_empty()
    }

    pub(crate) fn new(
        refs: &[MessageRef],
        errors: Option<Warnings>,
        warnings: Option<Warnings>,
        redactor: impl Fn() -> Redactor,
    ) -> Self {
        let remarks = |remarks: Option<Warnings>| {
            let refs = refs.iter().map(|message_ref| &message_ref.0);
            let remarks = remarks.unwrap_or_default().into_remarks(refs, &redactor);
            remarks.into_iter().map(PurgeRemark::from).collect()
        };
        Self { requested: refs.len() as u64, errors: remarks(errors), warnings: remarks(warnings) }
    }
}

/// The service's remark on a message that was to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PurgeRemark {
    /// The reference that the remark is about, if the service names it.
    pub message_ref: Option<MessageRef>,
    /// The remark, with references taken out of it.
    pub message: String,
}

impl From<(Option<LeaseId>, String)> for PurgeRemark {
    fn from((named, message): (Option<LeaseId>, String)) -> Self {
        Self { message_ref: named.map(MessageRef), message }
    }
}
