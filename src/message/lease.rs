//! Lease ids and message references: secrets that are only passed on.

use std::{
    borrow::Cow,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, value::RawValue};

use crate::message::body::raw;

/// Identifies one delivery of one message. It is a secret: whoever has it can delete the message.
///
/// It comes with a [`Message`](crate::Message) and goes into an [`AckRequest`](crate::AckRequest). It keeps the JSON
/// text from the wire, so acknowledging it copies that text once and escapes nothing. Clones share the text. Its
/// `Debug` output is redacted, and it has no `Display`.
///
/// Its serde implementations work with JSON only, and read anything but a string as an empty lease, which is never
/// sent. To store a lease in another format, use [`expose_secret`](Self::expose_secret) and `LeaseId::from`.
///
/// ```
/// use cloudflare_queues::{AckRequest, LeaseId};
///
/// // Stored when the message was pulled, and read again after a restart.
/// let stored = String::from("a-lease");
/// let request = AckRequest::ack_all([LeaseId::from(stored)]);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct LeaseId(#[cfg_attr(feature = "schemars", schemars(with = "String"))] Arc<str>);

impl LeaseId {
    /// The lease id as plain text, to store it or to pass it to another process.
    pub fn expose_secret(&self) -> Cow<'_, str> {
        // Only text that can be unquoted was accepted as a lease.
        unquote(&self.0).unwrap_or_default()
    }

    /// As on the wire, in quotes.
    pub(crate) fn as_json(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        &*self.0 == "\"\""
    }
}

impl From<&str> for LeaseId {
    fn from(text: &str) -> Self {
        Self(quoted(text).into())
    }
}

impl From<String> for LeaseId {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&LeaseId> for LeaseId {
    fn from(lease_id: &LeaseId) -> Self {
        lease_id.clone()
    }
}

impl Hash for LeaseId {
    /// Leases are ciphertexts, which differ at their ends.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let json = self.0.as_bytes();
        json.last_chunk::<32>().map_or(json, |end| end).hash(state);
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseId(..)")
    }
}

impl Serialize for LeaseId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        raw::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for LeaseId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<str>::from(Box::<RawValue>::deserialize(deserializer)?);
        let is_string = json.starts_with('"');
        if is_string && !json.contains('\\') {
            return Ok(Self(json.into()));
        }
        // A string can be escaped in several ways: keep one form, so that equal leases compare equal. Refusing anything
        // but a valid string would lose the whole batch.
        let text = unquote(&json).filter(|_| is_string).unwrap_or_default();
        Ok(Self::from(text.as_ref()))
    }
}

/// Identifies one peeked message. It is a secret: whoever has it can delete the message.
///
/// It comes with a [`PeekedMessage`](crate::PeekedMessage) and goes into
/// [`Queue::delete_messages`](crate::Queue::delete_messages). It is stored and redacted like a [`LeaseId`], and its
/// serde implementations work with JSON only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct MessageRef(pub(crate) LeaseId);

impl MessageRef {
    /// The reference as plain text, to store it or to pass it to another process.
    pub fn expose_secret(&self) -> Cow<'_, str> {
        self.0.expose_secret()
    }
}

impl From<&str> for MessageRef {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for MessageRef {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&MessageRef> for MessageRef {
    fn from(message_ref: &MessageRef) -> Self {
        message_ref.clone()
    }
}

/// The string that a JSON text represents, without a copy if nothing is escaped; any other JSON as it is. `None` for an
/// invalid string, such as one with half of a surrogate pair.
pub(crate) fn unquote(json: &str) -> Option<Cow<'_, str>> {
    if !json.starts_with('"') {
        return Some(Cow::Borrowed(json));
    }
    serde_json::from_str(json).ok().map(|Text(text)| text)
}

/// The JSON of a text. `serde_json` looks at each byte, which costs seven times as much.
fn quoted(text: &str) -> String {
    // Without a branch, so that many bytes are compared at once.
    let is_special = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    if text.bytes().fold(false, |any, byte| any | is_special(byte)) {
        return Value::from(text).to_string();
    }
    let mut json = String::with_capacity(text.len().saturating_add(2));
    json.extend(["\"", text, "\""]);
    json
}

/// A `Cow` by itself is always read as its owned form.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_sent_as_received() {
        let lease: LeaseId = serde_json::from_str(r#""eyJ..a-b_c""#).unwrap();
        assert_eq!(serde_json::to_string(&lease).unwrap(), r#""eyJ..a-b_c""#);
        assert_eq!(lease.expose_secret(), "eyJ..a-b_c");
        assert!(matches!(lease.expose_secret(), Cow::Borrowed(_)));
    }

    #[test]
    fn the_same_lease_in_another_spelling_is_equal() {
        let escaped: LeaseId = serde_json::from_str(r#""a\/\u0062""#).unwrap();
        assert_eq!(escaped, LeaseId::from("a/b"));
    }

    #[test]
    fn a_lease_that_is_not_a_string_is_empty() {
        for json in ["7", "null", "{}", "[\"a\"]", r#""\ud800""#] {
            assert!(serde_json::from_str::<LeaseId>(json).unwrap().is_empty(), "{json}");
        }
    }

    #[test]
    fn a_clone_shares_the_text() {
        let lease = LeaseId::from("lease");
        assert!(Arc::ptr_eq(&lease.0, &LeaseId::from(&lease).0));
    }
}
