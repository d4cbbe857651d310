//! The service's warnings about single leases and references.

use std::{cmp::Reverse, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::message::lease::LeaseId;

/// A warning from the service about a lease, a reference, or the whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning<T> {
    /// The lease or reference that the warning is about, if the service names it.
    pub subject: Option<T>,
    /// The service's text, without secrets.
    pub message: String,
}

/// Warnings as they are on the wire: a map of lease id or reference to text, or a list of texts.
///
/// Anything else is kept as a warning as well, since the operation has been carried out.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Warnings(Value);

impl Warnings {
    pub(crate) fn is_empty(&self) -> bool {
        match &self.0 {
            Value::Null => true,
            Value::Array(texts) => texts.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        }
    }

    /// The warnings, with the service's texts as they are: the caller removes secrets. A list names leases only inside
    /// its texts, so they are found there.
    pub(crate) fn read<'a, T>(
        self,
        subjects: impl Iterator<Item = &'a LeaseId>,
        subject: impl Fn(LeaseId) -> T,
    ) -> Vec<Warning<T>> {
        let texts: Vec<(Option<LeaseId>, Value)> = match self.0 {
            Value::Null => return Vec::new(),
            Value::Array(texts) => texts.into_iter().map(|text| (None, text)).collect(),
            Value::Object(map) => map.into_iter().map(|(id, text)| (Some(id.into()), text)).collect(),
            other => vec![(None, other)],
        };
        let mut subjects: Vec<_> = subjects.map(|id| (id.expose_secret(), id)).collect();
        // The longest first, since one lease can be the prefix of another.
        subjects.sort_by_key(|(secret, _)| Reverse(secret.len()));
        let warnings = texts.into_iter().map(|(named, text)| {
            let message = match text {
                Value::String(text) => text,
                other => alone(&other).map_or_else(|| other.to_string(), str::to_owned),
            };
            let found = || subjects.iter().find(|(secret, _)| message.contains(secret.as_ref()));
            let id = named.or_else(|| found().map(|(_, id)| (*id).clone()));
            Warning { subject: id.map(&subject), message }
        });
        warnings.collect()
    }
}

/// The text of `{"message": text}`, the form of a purge's errors. If there are other fields, all of it is kept.
fn alone(remark: &Value) -> Option<&str> {
    let fields = remark.as_object().filter(|fields| fields.len() == 1)?;
    fields.get("message")?.as_str()
}

impl From<Value> for Warnings {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

impl fmt::Debug for Warnings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Warnings(..)")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn warnings_of_any_form_are_kept() {
        let texts = |remarks: Value| -> Vec<_> {
            let read = Warnings(remarks).read([].into_iter(), |id| id);
            read.into_iter().map(|warning| warning.message).collect()
        };
        for none in [json!(null), json!([]), json!({})] {
            assert!(Warnings(none.clone()).is_empty() && texts(none).is_empty());
        }
        for (remark, text) in [(json!("a"), "a"), (json!({"message": "a"}), "a"), (json!(7), "7")] {
            assert_eq!(texts(json!([remark])), [text]);
        }
        assert_eq!(texts(json!("of the whole")), ["of the whole"]);
        assert_eq!(texts(json!([{"message": "a", "more": 1}])), [r#"{"message":"a","more":1}"#]);
        assert!(!Warnings(json!(false)).is_empty());
    }
}
