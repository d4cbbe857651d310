//! The body of a message on the wire.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use crate::message::lease::unquote;

/// A message's body as JSON on the wire. Its `Debug` output shows only its size.
#[derive(Clone)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema), schemars(with = "Value"))]
pub struct MessageBody(Form);

#[derive(Clone)]
enum Form {
    /// JSON text from the wire, or as `serde_json` wrote it.
    Json(Arc<RawValue>),
    /// What a string stands for.
    Unquoted(Arc<str>),
}

impl MessageBody {
    /// JSON, to be sent.
    pub(crate) fn written<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Self> {
        to_raw_value(value).map(Self::from)
    }

    /// A string, without quotes and escapes.
    pub(crate) fn unquoted(text: &str) -> Self {
        Self(Form::Unquoted(text.into()))
    }

    pub(super) fn json(&self) -> Cow<'_, str> {
        match &self.0 {
            Form::Json(json) => Cow::Borrowed(json.get()),
            Form::Unquoted(text) => Cow::Owned(Value::from(&**text).to_string()),
        }
    }

    /// What a string stands for, and any other JSON as it is. `None` for a string with half of a surrogate pair.
    pub(super) fn text_or_json(&self) -> Option<Cow<'_, str>> {
        match &self.0 {
            Form::Json(json) => unquote(json.get()),
            Form::Unquoted(text) => Some(Cow::Borrowed(text)),
        }
    }

    /// In bytes.
    pub(super) fn len(&self) -> usize {
        match &self.0 {
            Form::Json(json) => json.get().len(),
            Form::Unquoted(text) => text.len(),
        }
    }

    pub(crate) fn is_string(&self) -> bool {
        match &self.0 {
            Form::Json(json) => json.get().starts_with('"'),
            Form::Unquoted(_) => true,
        }
    }
}

impl Default for MessageBody {
    fn default() -> Self {
        Self::from(RawValue::NULL.to_owned())
    }
}

impl PartialEq for MessageBody {
    fn eq(&self, other: &Self) -> bool {
        match (self.text_or_json(), other.text_or_json()) {
            (Some(one), Some(another)) => one == another && self.is_string() == other.is_string(),
            _ => self.json() == other.json(),
        }
    }
}

impl Eq for MessageBody {}

impl From<Box<RawValue>> for MessageBody {
    fn from(raw: Box<RawValue>) -> Self {
        Self(Form::Json(raw.into()))
    }
}

impl From<Value> for MessageBody {
    fn from(value: Value) -> Self {
        // Writing a `Value` cannot fail.
        Self::written(&value).unwrap_or_default()
    }
}

impl fmt::Debug for MessageBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageBody({} bytes)", self.len())
    }
}

impl Serialize for MessageBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Form::Json(json) => json.serialize(serializer),
            Form::Unquoted(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for MessageBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self::from)
    }
}
