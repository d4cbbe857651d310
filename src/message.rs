//! A message as it was pulled, and its body decoded by content type.

use std::{
    borrow::Cow,
    fmt,
    sync::Arc,
    time::{Instant, SystemTime},
};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::{
    Map, Value,
    error::Category,
    value::{RawValue, to_raw_value},
};

use crate::{
    error::{Error, ErrorKind},
    lease::{LeaseId, unquote},
};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A message under a lease, as [`Queue::pull`](crate::Queue::pull) hands it out.
///
/// Its body is decoded only when asked for, so that one that cannot be decoded costs neither the other messages of the batch
/// nor its own lease. Its `Debug` form shows neither body nor lease.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Message {
    /// The message's own id, the same at every delivery; empty if the service sent none.
    pub id: String,
    /// By this, the message is acknowledged or handed back.
    pub lease_id: LeaseId,
    /// How often the message was delivered, this time included, if the service says.
    pub attempts: Option<u32>,
    /// When the message was pushed, if the service says.
    pub timestamp: Option<SystemTime>,
    /// The properties that came with the message, such as `CF-Content-Type`.
    pub metadata: Map<String, Value>,
    /// When the lease ends at the earliest: the visibility timeout, counted from before the pull was sent.
    ///
    /// After it, another consumer may be given the message. An acknowledgement is
    /// [still accepted](https://developers.cloudflare.com/queues/configuration/pull-consumers/) then.
    pub lease_deadline: Instant,
    pub(crate) body: MessageBody,
}

/// How a message's body is encoded, by its property `CF-Content-Type`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContentType {
    /// JSON, which is also what a message without the property holds.
    Json,
    /// Plain text.
    Text,
    /// Binary data, which travels as base64.
    Bytes,
    /// A JavaScript value, serialized by V8; it cannot be decoded outside Workers.
    V8,
    /// A type that this crate does not know.
    Other(String),
}

impl Message {
    /// How the body is encoded.
    pub fn content_type(&self) -> ContentType {
        self.content().content_type()
    }

    /// The body as it stands in the service's answer, in JSON, whatever its content type: to keep one that cannot be decoded.
    pub fn raw_body(&self) -> &str {
        self.content().raw()
    }

    /// The body, read as JSON into a type of the caller's.
    ///
    /// A `json` body arrives as JSON text or as the base64 of one; both are understood. A body of another type is read as the
    /// JSON text that its [`bytes`](Self::bytes) are.
    ///
    /// # Errors
    ///
    /// [`UndecodableBody`](ErrorKind::UndecodableBody) if the body is no JSON, does not fit `T`, or is of type `v8`. The error says where,
    /// and never what.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.content().json()
    }

    /// The body as text: of a `text` body just that, of a `json` body its JSON text.
    ///
    /// # Errors
    ///
    /// [`UndecodableBody`](ErrorKind::UndecodableBody) if [`bytes`](Self::bytes) fails or they are not UTF-8.
    pub fn text(&self) -> Result<Cow<'_, str>, Error> {
        self.content().text()
    }

    /// The body as bytes: base64 is decoded in a `bytes` body and, if it is there, in a `json` body; `text`, `v8` and unknown types
    /// are given as they came.
    ///
    /// # Errors
    ///
    /// [`UndecodableBody`](ErrorKind::UndecodableBody) if what should be base64 is not.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, Error> {
        self.content().bytes()
    }

    fn content(&self) -> Content<'_> {
        Content { metadata: &self.metadata, body: &self.body }
    }
}

/// A body and what says how to read it, which pulled and peeked messages have alike.
pub(crate) struct Content<'a> {
    pub(crate) metadata: &'a Map<String, Value>,
    pub(crate) body: &'a MessageBody,
}

impl<'a> Content<'a> {
    pub(crate) fn content_type(&self) -> ContentType {
        match self.metadata.get("CF-Content-Type").and_then(Value::as_str) {
            None | Some("json") => ContentType::Json,
            Some("text") => ContentType::Text,
            Some("bytes") => ContentType::Bytes,
            Some("v8") => ContentType::V8,
            Some(other) => ContentType::Other(other.to_owned()),
        }
    }

    pub(crate) fn raw(&self) -> &'a str {
        self.body.0.get()
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        if self.content_type() == ContentType::V8 {
            return Err(undecodable("a `v8` body cannot be decoded outside Workers"));
        }
        serde_json::from_slice(&self.bytes()?).map_err(|error| {
            // The error's own text can quote the body.
            let what = match error.classify() {
                Category::Data => "does not fit the type asked for",
                Category::Syntax | Category::Eof | Category::Io => "is not JSON",
            };
            undecodable(format!("the body {what}, at line {} column {}", error.line(), error.column()))
        })
    }

    pub(crate) fn text(&self) -> Result<Cow<'a, str>, Error> {
        let not_utf8 = || undecodable("the body is not UTF-8");
        match self.bytes()? {
            Cow::Borrowed(bytes) => str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| not_utf8()),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| not_utf8()),
        }
    }

    pub(crate) fn bytes(&self) -> Result<Cow<'a, [u8]>, Error> {
        let text = unquote(&self.body.0).ok_or_else(|| undecodable("the body holds half of a character"))?;
        let encoded = match self.content_type() {
            ContentType::Bytes => true,
            ContentType::Json => !begins_as_json(&text),
            _ => false,
        };
        if encoded {
            let decoded = BASE64.decode(text.as_bytes());
            return decoded
                .map(Cow::Owned)
                .map_err(|_| undecodable("the body is neither of its content type nor base64"));
        }
        Ok(match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        })
    }
}

fn undecodable(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::UndecodableBody, message)
}

/// A JSON text and the base64 of one never begin alike: the latter begins with one of `C D I L M N O W Z b d e`.
fn begins_as_json(text: &str) -> bool {
    matches!(
        text.bytes().next(),
        Some(b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'-' | b'0'..=b'9' | b'[' | b'{' | b't' | b'f' | b'n')
    )
}

/// A message's body as JSON on the wire. Its `Debug` form shows only its size.
#[derive(Clone)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct MessageBody(Arc<Box<RawValue>>);

impl Default for MessageBody {
    fn default() -> Self {
        Self::from(RawValue::NULL.to_owned())
    }
}

impl From<Box<RawValue>> for MessageBody {
    fn from(raw: Box<RawValue>) -> Self {
        // An `Arc<RawValue>` would be a second copy.
        Self(Arc::new(raw))
    }
}

impl From<Value> for MessageBody {
    fn from(value: Value) -> Self {
        // Writing a `Value` cannot fail.
        Self::from(to_raw_value(&value).unwrap_or_default())
    }
}

impl fmt::Debug for MessageBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageBody({} bytes)", self.0.get().len())
    }
}

impl Serialize for MessageBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MessageBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self::from)
    }
}
