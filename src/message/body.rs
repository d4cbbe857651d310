//! The body of a message, and how it is decoded.

#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
use std::sync::LazyLock;
use std::{borrow::Cow, fmt};

use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurposeConfig},
};
use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned};
use serde_json::error::Category;

pub use self::raw::MessageBody;
use crate::{
    document::fields::open_names,
    error::{Error, kind::ErrorKind},
};

pub(super) mod raw;

const CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// With vector instructions, where the processor has them. They take a sixth of the time.
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
static BASE64: LazyLock<base64::engine::Simd> = LazyLock::new(|| base64::engine::Simd::standard(CONFIG));
#[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon"))))]
static BASE64: base64::engine::GeneralPurpose =
    base64::engine::GeneralPurpose::new(&base64::alphabet::STANDARD, CONFIG);

open_names! {
    /// How a message's body is encoded, as its property `CF-Content-Type` says.
    #[derive(Deserialize)]
    #[serde(from = "String")]
    #[cfg_attr(feature = "schemars", derive(schemars::JsonSchema), schemars(with = "String"))]
    ContentType {
        /// JSON. Also the type of a message without the property.
        Json = "json",
        /// Plain text.
        Text = "text",
        /// Binary data, sent as base64.
        Bytes = "bytes",
        /// A JavaScript value, serialized by V8. It cannot be decoded outside Workers.
        V8 = "v8",
    }
}

impl From<String> for ContentType {
    fn from(name: String) -> Self {
        Self::from(name.as_str())
    }
}

impl Serialize for ContentType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
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

    /// The JSON text from the wire, whatever the content type; a string may be escaped differently. Use it to store a
    /// body that cannot be decoded.
    pub fn raw(&self) -> Cow<'_, str> {
        self.raw.json()
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
        let read = match self.content()? {
            Content::Text(text) => serde_json::from_str(&text),
            // To check all of it at once takes less than to check each string in it.
            Content::Decoded(bytes) => match str::from_utf8(&bytes) {
                Ok(text) => serde_json::from_str(text),
                Err(_) => serde_json::from_slice(&bytes),
            },
        };
        read.map_err(|error| {
            // The error's own text can quote the body.
            let what = match error.classify() {
                _ if is_too_deep(&error) => "is nested too deeply",
                Category::Data => "does not fit the requested type",
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
        match self.content()? {
            Content::Text(text) => Ok(text),
            Content::Decoded(bytes) => {
                String::from_utf8(bytes).map(Cow::Owned).map_err(|_| undecodable("the body is not UTF-8"))
            }
        }
    }

    /// The body as bytes. Base64 is decoded in a `bytes` body and, where it is used, in a `json` body; `text`, `v8` and
    /// unknown types are returned as received.
    ///
    /// # Errors
    ///
    /// [`UndecodableBody`](ErrorKind::UndecodableBody) if what should be base64 is not, or if a `text` or `bytes` body
    /// is no string on the wire.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, Error> {
        Ok(match self.content()? {
            Content::Text(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
            Content::Text(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
            Content::Decoded(bytes) => Cow::Owned(bytes),
        })
    }

    /// The bytes of a body that holds base64: of a message pushed as [`base64`](crate::PushMessage::base64), or of a
    /// `bytes` body, which only a Worker can push.
    ///
    /// # Errors
    ///
    /// [`UndecodableBody`](ErrorKind::UndecodableBody) if the body is not base64.
    pub fn base64(&self) -> Result<Vec<u8>, Error> {
        match self.content()? {
            Content::Text(text) => BASE64.decode(text.as_bytes()).map_err(|_| undecodable("the body is not base64")),
            Content::Decoded(bytes) => Ok(bytes),
        }
    }

    fn content(&self) -> Result<Content<'_>, Error> {
        // A body that is missing is null.
        if matches!(self.content_type, ContentType::Text | ContentType::Bytes) && !self.raw.is_string() {
            return Err(undecodable("the body is no string, as one of its content type is"));
        }
        let text = self.raw.text_or_json().ok_or_else(|| undecodable("the body has half of a surrogate pair"))?;
        let is_encoded = match self.content_type {
            ContentType::Bytes => true,
            ContentType::Json => !begins_as_json(&text),
            _ => false,
        };
        if !is_encoded {
            return Ok(Content::Text(text));
        }
        let decoded = BASE64.decode(text.as_bytes());
        decoded.map(Content::Decoded).map_err(|_| undecodable("the body is neither of its content type nor base64"))
    }

    /// How many bytes it takes.
    pub(crate) fn len(&self) -> usize {
        self.raw.len()
    }

    pub(crate) fn wire(&self) -> &MessageBody {
        &self.raw
    }
}

/// What a body holds.
enum Content<'a> {
    Text(Cow<'a, str>),
    /// What was base64.
    Decoded(Vec<u8>),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({}, {} bytes)", self.content_type, self.raw.len())
    }
}

fn undecodable(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::UndecodableBody, message)
}

/// Bytes as base64 with padding.
pub(super) fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Whether `serde_json` gave up at its bound of nesting, which it reports as malformed JSON.
pub(crate) fn is_too_deep(error: &serde_json::Error) -> bool {
    error.is_syntax() && error.to_string().starts_with("recursion limit exceeded")
}

/// JSON text and base64 of JSON text start with different characters: the latter with one of `C D I L M N O W Z b d e`.
fn begins_as_json(text: &str) -> bool {
    matches!(
        text.bytes().next(),
        Some(b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'-' | b'0'..=b'9' | b'[' | b'{' | b't' | b'f' | b'n')
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> MessageBody {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn bodies_are_equal_if_they_stand_for_the_same() {
        assert_eq!(json(r#""\u0061""#), MessageBody::unquoted("a"));
        assert_ne!(json("1"), MessageBody::unquoted("1"));
        assert_ne!(json(r#""a""#), json(r#""b""#));
        // Half of a character stands for nothing.
        assert_eq!(json(r#""\ud800""#), json(r#""\ud800""#));
        assert_ne!(json(r#""\ud800""#), json(r#""\ud801""#));
        assert_ne!(json(r#""\ud800""#), MessageBody::unquoted("a"));
    }

    #[test]
    fn text_and_bytes_that_are_no_string_are_undecodable() {
        for raw in ["null", "true", "1234", "[7]"] {
            for content_type in [ContentType::Text, ContentType::Bytes] {
                let body = Body::new(json(raw), content_type);
                let read = [body.text().err(), body.bytes().err(), body.base64().err(), body.json::<()>().err()];
                let is_undecodable = |error: &Option<Error>| {
                    error.as_ref().is_some_and(|error| error.kind() == ErrorKind::UndecodableBody)
                };
                assert!(read.iter().all(is_undecodable), "{body:?} {raw}: {read:?}");
                assert_eq!(body.raw(), raw);
            }
        }
    }

    #[test]
    fn the_bytes_of_a_text_are_those_without_its_escapes() {
        assert_eq!(&*Body::new(json(r#""a\n""#), ContentType::Text).bytes().unwrap(), b"a\n");
    }

    #[test]
    fn json_after_white_space_is_not_taken_for_base64() {
        for text in [" 7", "\t7", "\n7", "\r\n7"] {
            assert_eq!(Body::new(MessageBody::unquoted(text), ContentType::Json).json::<u8>().unwrap(), 7, "{text:?}");
        }
    }

    #[test]
    fn bytes_of_http_producers_and_workers_are_read() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text = to_base64(&bytes);
        for content_type in [ContentType::Text, ContentType::Bytes] {
            assert_eq!(Body::new(MessageBody::unquoted(&text), content_type).base64().unwrap(), bytes);
        }
        // Padding may be missing.
        assert_eq!(Body::new(MessageBody::unquoted("AQ"), ContentType::Text).base64().unwrap(), [1]);
        let refused = Body::new(MessageBody::unquoted("a secret!"), ContentType::Text).base64().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UndecodableBody);
        assert!(!refused.to_string().contains("secret"));
    }

    #[test]
    fn a_body_takes_the_bytes_of_its_text() {
        for body in [json("[1,23]"), MessageBody::unquoted("é1234")] {
            assert_eq!(Body::new(body, ContentType::Json).len(), 6);
        }
    }

    #[test]
    fn a_content_type_displays_as_on_the_wire() {
        for name in ["json", "text", "bytes", "v8", "of tomorrow"] {
            assert_eq!(ContentType::from(name.to_owned()).to_string(), name);
        }
    }

    #[test]
    fn an_unescaped_string_is_written_unchanged() {
        let body = MessageBody::unquoted("\"a\n");
        assert_eq!(serde_json::to_string(&body).unwrap(), r#""\"a\n""#);
        assert_eq!(json(r#""\"a\n""#), body);
    }
}
