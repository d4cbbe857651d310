//! A message in a queue, as a test sees it.

use serde_json::{Value, value::RawValue};

use super::{content::Content, ids::Sequence, queue::Stored};
use crate::message::body::{Body, ContentType};

/// A message in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueuedMessage {
    /// The message's id.
    pub id: String,
    /// What was pushed.
    pub body: Body,
    /// How often the message was delivered.
    pub attempts: u32,
    /// Whether a consumer has leased the message.
    pub is_leased: bool,
}

impl QueuedMessage {
    pub(super) fn new(sequence: Sequence, message: &Stored) -> Self {
        let Stored { content, attempts, is_leased, .. } = message;
        Self { id: message.id(sequence), body: body(content), attempts: *attempts, is_leased: *is_leased }
    }
}

fn body(content: &Content) -> Body {
    // The JSON text of a string would be taken for a string with that text.
    if content.content_type != ContentType::Json || content.body.starts_with('"') {
        return Body::new(Value::from(&*content.body).into(), content.content_type.clone());
    }
    // This is the JSON text that was pushed.
    let raw = RawValue::from_string((*content.body).to_owned()).unwrap_or_default();
    Body::new(raw.into(), ContentType::Json)
}
