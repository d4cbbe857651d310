//! What is pushed, and what the service returns.

use std::{iter, time::Duration};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    document,
    error::{Error, is_its_error, kind::ErrorKind},
    message::{
        body::{self, Body, ContentType, MessageBody},
        pull::Metrics,
    },
};

/// The maximum number of messages that one request pushes.
pub(crate) const MAX_PUSHED: usize = document::PUSH_BATCH_PAYLOAD_MESSAGES_MAX_ITEMS as usize;
/// Their maximum total size in bytes.
pub(crate) const MAX_PUSHED_BYTES: usize = document::PUSH_BATCH_PAYLOAD_MESSAGES_MAX_BYTES as usize;

/// A message to push. Its `Debug` output does not show the body.
///
/// ```
/// use cloudflare_queues::PushMessage;
/// use std::time::Duration;
///
/// let job = PushMessage::json(&serde_json::json!({ "number": 7 }))?;
/// let later = PushMessage::text("hello").delay(Duration::from_secs(60));
/// assert_eq!(later.size(), 5);
/// # Ok::<(), cloudflare_queues::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushMessage {
    body: Body,
    pub(crate) delay: Option<Duration>,
}

impl PushMessage {
    /// The largest [`size`](Self::size) of a message that the service takes: 128 KB.
    pub const MAX_SIZE: usize = document::PUSH_PAYLOAD_BODY_MAX_BYTES as usize;

    /// A message of content type `text`.
    ///
    /// [`Queue::push`](crate::Queue::push) refuses more than 128 KB (128,000 bytes) of UTF-8.
    pub fn text(text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        Self { body: Body::new(MessageBody::unquoted(text), ContentType::Text), delay: None }
    }

    /// A message of content type `text` with bytes as base64 (RFC 4648, with padding), since the service takes no bytes
    /// over HTTP.
    ///
    /// Nothing marks it as such: producer and consumer agree on it. Read it with [`Body::base64`], or in a Worker with
    /// `Uint8Array.fromBase64(message.body)`. [`Queue::push`](crate::Queue::push) refuses more than 96,000 bytes, which
    /// are 128 KB of base64.
    ///
    /// ```
    /// use cloudflare_queues::PushMessage;
    ///
    /// let message = PushMessage::base64(b"\x82\xa1a\x01\xa1b\x02");
    /// assert_eq!(message.body().text()?, "gqFhAaFiAg==");
    /// assert_eq!(message.body().base64()?, b"\x82\xa1a\x01\xa1b\x02");
    /// # Ok::<(), cloudflare_queues::Error>(())
    /// ```
    pub fn base64(bytes: impl AsRef<[u8]>) -> Self {
        Self::text(body::to_base64(bytes.as_ref()))
    }

    /// A message of content type `json`.
    ///
    /// [`Queue::push`](crate::Queue::push) refuses more than 128 KB (128,000 bytes) of JSON text.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the value cannot be serialized, or if it is a bare string,
    /// which the service refuses with code 10207. Push strings as [`text`](Self::text).
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        // The error's text could quote the value.
        let body = MessageBody::written(value);
        Self::of_json(body.map_err(|_| Error::invalid("body: the value does not serialize to JSON"))?)
    }

    /// A message with the body of another message, byte for byte. Use it to move a message to another queue.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # use cloudflare_queues::{AckRequest, PullOptions, PushMessage, emulator::Emulator};
    /// # let (from, to) = (Emulator::start().await?, Emulator::start().await?);
    /// # let (dead_letters, queue) = (from.queue()?, to.queue()?);
    /// # dead_letters.push(&PushMessage::text("again")).await?;
    /// for message in dead_letters.pull(PullOptions::new()).await? {
    ///     queue.push(&PushMessage::from_body(&message.body)?).await?;
    ///     // Only now: a duplicate is better than a lost message.
    ///     let _ = dead_letters.ack(AckRequest::ack_all([message])).await?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the body is neither `text` nor `json`, since the service
    /// accepts no other type over HTTP, or if it is a bare JSON string.
    /// [`UndecodableBody`](crate::ErrorKind::UndecodableBody) if the body does not match its type.
    pub fn from_body(body: &Body) -> Result<Self, Error> {
        match body.content_type() {
            ContentType::Text => Ok(Self::text(body.text()?)),
            ContentType::Json => {
                let not_json = |_| Error::new(ErrorKind::UndecodableBody, "the body is not JSON");
                Self::of_json(RawValue::from_string(body.text()?.into_owned()).map_err(not_json)?.into())
            }
            other => {
                let other = other.as_str().escape_debug();
                Err(Error::invalid(format!("content_type: must be `text` or `json` over HTTP, but is `{other}`")))
            }
        }
    }

    fn of_json(body: MessageBody) -> Result<Self, Error> {
        if body.is_string() {
            return Err(Error::invalid("body: the service takes no bare string as `json`; push it as `text`"));
        }
        Ok(Self { body: Body::new(body, ContentType::Json), delay: None })
    }

    /// Delays the first delivery by up to 24 hours, sent in whole seconds, rounded up. By default, the queue's own
    /// delay applies.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// The body.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The size of the body in bytes, as the service's limits count it: the length of the text, or of the JSON text.
    pub fn size(&self) -> usize {
        self.body.len()
    }

    /// Splits messages, in order, into batches that [`Queue::push_batch`](crate::Queue::push_batch) takes: of at most
    /// 100 messages and 256 KB, as [`Queue::push_all`](crate::Queue::push_all) sends them.
    ///
    /// ```
    /// use cloudflare_queues::PushMessage;
    ///
    /// let messages = vec![PushMessage::text("hello"); 250];
    /// assert_eq!(PushMessage::batches(&messages).map(<[_]>::len).collect::<Vec<_>>(), [100, 100, 50]);
    /// ```
    pub fn batches(messages: &[Self]) -> impl Iterator<Item = &[Self]> {
        let mut rest = messages;
        iter::from_fn(move || {
            let (batch, others) = rest.split_at_checked(fitting(rest.iter()))?;
            rest = others;
            Some(batch).filter(|batch| !batch.is_empty())
        })
    }
}

/// How many of these messages fit into one request: at least one, if there are any.
pub(crate) fn fitting<'a>(messages: impl Iterator<Item = &'a PushMessage>) -> usize {
    let (mut count, mut bytes): (usize, usize) = (0, 0);
    for message in messages.take(MAX_PUSHED) {
        bytes = bytes.saturating_add(message.size());
        if bytes > MAX_PUSHED_BYTES && count > 0 {
            break;
        }
        count = count.saturating_add(1);
    }
    count
}

/// The service's response to a push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct PushOutcome {
    /// The queue's metrics, if the service sent them.
    pub metrics: Option<Metrics>,
}

/// Why [`Queue::push_all`](crate::Queue::push_all) failed, and how many messages the service had accepted.
///
/// It displays as its [`error`](Self::error), has the same source, and converts into it with `?`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use cloudflare_queues::{PushMessage, emulator::{Emulator, Fault}};
///
/// let emulator = Emulator::in_process();
/// let queue = emulator.queue()?;
/// let messages = vec![PushMessage::text("hello"); 150];
/// emulator.inject(Fault::ServerError(502));
/// let failed = queue.push_all(&messages).await.unwrap_err();
/// assert_eq!((failed.accepted, failed.may_have_arrived), (0, 100));
/// queue.push_all(&messages[failed.accepted..]).await?; // may duplicate the 100 of the failed request
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PushAllError {
    /// The failure of the request that ended the call.
    pub error: Error,
    /// How many messages the service accepted: the first ones, in order.
    pub accepted: usize,
    /// How many messages after them may have been pushed as well: those of the request that failed, or none if nothing
    /// of it arrived. The others were not pushed.
    pub may_have_arrived: usize,
}

is_its_error!(PushAllError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_content_type_is_shown_in_one_line() {
        let body = Body::new(MessageBody::unquoted("a"), ContentType::from("x\ny"));
        assert!(PushMessage::from_body(&body).unwrap_err().to_string().contains(r"`x\ny`"));
    }
}
