//! The body of a message, and how it is decoded.

use std::{borrow::Cow, fmt, sync::Arc};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::{
    Value,
    error::Category,
    value::{RawValue, to_raw_value},
};

use crate::{error::Error, error_kind::ErrorKind, lease::unquote};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How a message's body is encoded, as its property `CF-Content-Type` says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "String")]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema), schemars(with = "String"))]
#[non_exhaustive]
pub enum ContentType {
    /// JSON. Also the type of a message without the property.
    Json,
    /// Plain text.
    Text,
    /// Binary data, sent as base64.
    Bytes,
    /// A JavaScript value, serialized by V8. It cannot be decoded outside Workers.
    V8,
    /// A type that this crate does not know.
    Other(String),
}

impl ContentType {
    /// The name of the type, as the service spells it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Bytes => "bytes",
            Self::V8 => "v8",
            Self::Other(name) => name,
        }
    }

    pub(crate) fn known(name: &str) -> Option<Self> {
        [Self::Json, Self::Text, Self::Bytes, Self::V8].into_iter().find(|known| known.as_str() == name)
    }
}

impl From<String> for ContentType {
    fn from(name: String) -> Self {
        Self::known(&name).unwrap_or(Self::Other(name))
    }
}

impl Serialize for ContentType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The body of a message that was pulled or peeked, or that will be pushed.
///
/// It is decoded on demand, so a body that cannot be decoded affects neither its lease nor the other messages of the
/// batch. Clones share the text. Its `Debug` output shows only the type and the size.
///
/// ```
/// use cloudflare_queues::{ContentType, PushMessage};
///
/// let message = PushMessage::json(&serde_json::json!({ "number": 7 }))?;
/// assert_eq!(message.body().content_type(), &ContentType::Json);
/// assert_eq!(message.body().json::<serde_json::Value>()?["number"], 7);
/// assert_eq!(message.body().text()?, r#"{"number":7}"#);
/// # Ok::<(), cloudflare_queues::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Body {
    raw: MessageBody,
    content_type: ContentType,
}

impl Body {
    pub(crate) fn new(raw: MessageBody, content_type: ContentType) -> Self {
        Self { raw, content_type }
    }

    /// How the body is encoded.
    pub fn content_type(&self) -> &ContentType {
        &self.content_type
    }

    /// The JSON text from the wire, whatever the content type. Use it to store a body that cannot be decoded.
    pub fn raw(&self) -> &str {
        self.raw.0.get()
    }

    /// The body, deserialized from JSON.
    ///
    /// A `json` body may arrive as JSON text or as base64 of it; both work. For any other type, the
    /// [`bytes`](Self::bytes) are parsed as JSON.
    ///
    /// # Errors
    ///
    /// [`UndecodableBody`](ErrorKind::UndecodableBody) if the body is not JSON, does not fit `T`, or is of type `v8`.
    /// The error says where in the body, but does not quote it.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        if self.content_type == ContentType::V8 {
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

    /// The body as text: a `text` body as it is, a `json` body as its JSON text.
    ///
    /// # Errors
    ///
    /// [`UndecodableBody`](ErrorKind::UndecodableBody) if [`bytes`](Self::bytes) fails or the bytes are not UTF-8.
    pub fn text(&self) -> Result<Cow<'_, str>, Error> {
        let not_utf8 = || undecodable("the body is not UTF-8");
        match self.bytes()? {
            Cow::Borrowed(bytes) => str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| not_utf8()),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| not_utf8()),
        }
    }

    /// The body as bytes. Base64 is decoded in a `bytes` body and, where it is used, in a `json` body; `text`, `v8` and
    /// unknown types are returned as received.
    ///
    /// # Errors
    ///
    /// [`UndecodableBody`](ErrorKind::UndecodableBody) if what should be base64 is not.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, Error> {
        let text = unquote(&self.raw.0).ok_or_else(|| undecodable("the body holds half of a character"))?;
        let encoded = match self.content_type {
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

    pub(crate) fn wire(&self) -> &MessageBody {
        &self.raw
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({}, {} bytes)", self.content_type, self.raw().len())
    }
}

fn undecodable(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::UndecodableBody, message)
}

/// JSON text and base64 of JSON text start with different characters: the latter with one of `C D I L M N O W Z b d e`.
fn begins_as_json(text: &str) -> bool {
    matches!(
        text.bytes().next(),
        Some(b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'-' | b'0'..=b'9' | b'[' | b'{' | b't' | b'f' | b'n')
    )
}

/// A message's body as JSON on the wire. Its `Debug` output shows only its size.
#[derive(Clone)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct MessageBody(Arc<Box<RawValue>>);

impl MessageBody {
    /// A JSON string.
    pub(crate) fn text(text: &str) -> Self {
        // Quoting a string cannot fail.
        Self::from(to_raw_value(text).unwrap_or_default())
    }
}

impl Default for MessageBody {
    fn default() -> Self {
        Self::from(RawValue::NULL.to_owned())
    }
}

impl PartialEq for MessageBody {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Eq for MessageBody {}

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
