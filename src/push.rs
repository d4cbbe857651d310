//! What is pushed, and what the service says of it.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::{error::Error, message::MessageBody, pull::Metrics};

/// A message to push. Its `Debug` form does not show its body.
#[derive(Clone, Debug)]
pub struct PushMessage {
    pub(crate) body: MessageBody,
    pub(crate) is_json: bool,
    pub(crate) bytes: usize,
    pub(crate) delay: Option<Duration>,
}

impl PushMessage {
    /// A message of content type `text`.
    ///
    /// At most 128 KB (128,000 bytes) of UTF-8, which [`Queue::push`](crate::Queue::push) checks.
    pub fn text(text: impl AsRef<str>) -> Self {
        // Quoting a string cannot fail.
        let body = to_raw_value(text.as_ref()).unwrap_or_default().into();
        Self { body, is_json: false, bytes: text.as_ref().len(), delay: None }
    }

    /// A message of content type `json`.
    ///
    /// At most 128 KB (128,000 bytes) of JSON text, which [`Queue::push`](crate::Queue::push) checks.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the value does not serialize, or if it is a bare string, which the service
    /// refuses with code 10207: push that as [`text`](Self::text).
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        // The error's text could quote the value.
        let raw: Box<RawValue> =
            to_raw_value(value).map_err(|_| Error::invalid("body: the value does not serialize to JSON"))?;
        if raw.get().starts_with('"') {
            return Err(Error::invalid("body: the service takes no bare string as `json`: push it as `text`"));
        }
        let bytes = raw.get().len();
        Ok(Self { body: raw.into(), is_json: true, bytes, delay: None })
    }

    /// Delays the first delivery: at most 24 hours, sent in whole seconds, rounded up. Without it, the queue's own delay
    /// applies.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }
}

/// What the service says of a push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushOutcome {
    /// The queue's metrics, if the service sent them.
    pub metrics: Option<Metrics>,
}
