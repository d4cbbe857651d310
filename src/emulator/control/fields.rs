//! The fields of a control request. Errors name the field.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Result;
use crate::emulator::{reply::Refusal, uri};

/// The fields that have not been read yet.
#[derive(Default)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// From a body, which may be empty.
    pub(super) fn of_body(body: &[u8]) -> Result<Self> {
        let body = if body.is_empty() { b"{}" } else { body };
        let fields = serde_json::from_slice(body).map_err(|_| Refusal::malformed("the body is no JSON object"))?;
        Ok(Self(fields))
    }

    /// From a query, whose values are JSON, or otherwise text.
    pub(super) fn of_query(query: &str) -> Self {
        let value = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self(uri::query(query).map(|(name, text)| (name.to_owned(), value(text))).collect())
    }

    /// `read` is one of the functions below. Null counts as absent.
    pub(super) fn optional<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Value) -> std::result::Result<T, &'static str>,
    ) -> Result<Option<T>> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(value).map(Some).map_err(|wanted| Refusal::malformed(format!("`{name}` is {wanted}"))),
        }
    }

    pub(super) fn required<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Value) -> std::result::Result<T, &'static str>,
    ) -> Result<T> {
        self.optional(name, read)?.ok_or_else(|| Refusal::malformed(format!("`{name}` is missing")))
    }

    /// Refuses fields that have not been read.
    pub(super) fn end(self) -> Result<()> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(Refusal::malformed("this is no field of this request").with_detail(format!("`{name}`"))),
        }
    }

    pub(super) fn duration(value: Value) -> std::result::Result<Duration, &'static str> {
        let duration = value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        duration.ok_or("a number of seconds that is not negative")
    }

    pub(super) fn text(value: Value) -> std::result::Result<String, &'static str> {
        match value {
            Value::String(text) => Ok(text),
            _ => Err("a string"),
        }
    }

    pub(super) fn object(value: Value) -> std::result::Result<Self, &'static str> {
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err("an object"),
        }
    }

    /// All fields that have not been read.
    pub(super) fn rest(self) -> Map<String, Value> {
        self.0
    }

    pub(super) fn truth(value: Value) -> std::result::Result<bool, &'static str> {
        value.as_bool().ok_or("true or false")
    }

    pub(super) fn whole(value: Value) -> std::result::Result<u64, &'static str> {
        value.as_u64().ok_or("a whole number that is not negative")
    }

    /// From 1 to 1000.
    pub(super) fn count(value: Value) -> std::result::Result<usize, &'static str> {
        let count = value.as_u64().filter(|count| (1..=1000).contains(count));
        count.and_then(|count| usize::try_from(count).ok()).ok_or("a whole number from 1 to 1000")
    }
}
