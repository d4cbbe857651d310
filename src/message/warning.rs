//! The service's warnings about single leases and references.

use std::{borrow::Cow, cmp::Reverse, fmt, iter};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    error::api::{ApiError, LEFT_OUT},
    message::lease::LeaseId,
};

/// How many remarks are read, since each is searched for each lease. A request has at most 100 leases.
const MAX_REMARKS: usize = 1000;
/// Longer texts of the service are cut off.
const MAX_TEXT: usize = 4096;

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

    /// The warnings, and the errors that came with a success, with the service's texts as they are: the caller removes
    /// secrets. A list names leases only inside its texts, or by pointers into the request, so they are found there.
    pub(crate) fn read<'a, T>(
        self,
        errors: &[ApiError],
        subjects: impl Iterator<Item = &'a LeaseId>,
        subject: impl Fn(LeaseId) -> T,
        entry_at: impl Fn(&str) -> Option<LeaseId>,
    ) -> Vec<Warning<T>> {
        let mut subjects: Vec<_> = subjects.map(|id| (id.expose_secret(), id)).collect();
        // The longest first, since one lease can be the prefix of another.
        subjects.sort_by_key(|(secret, _)| Reverse(secret.len()));
        let is_subject = |name: &String| subjects.iter().any(|(secret, _)| secret == name);
        let mut remarks: Vec<(Option<LeaseId>, String)> = Vec::new();
        // A single remark may stand for a list of them.
        let is_map = self.0.is_object() && self.0.get("message").is_none();
        let entries = match self.0 {
            Value::Null => Vec::new(),
            Value::Array(entries) => entries,
            other => vec![other],
        };
        for entry in entries {
            match entry {
                Value::Object(map) if is_map || map.keys().any(is_subject) => {
                    remarks.extend(map.into_iter().map(|(id, text)| (Some(id.into()), text_of(text))));
                }
                other => {
                    let pointer = other.pointer("/source/pointer").and_then(Value::as_str);
                    remarks.push((pointer.and_then(&entry_at), text_of(other)));
                }
            }
        }
        let of_error = |error: &ApiError| {
            let pointers = iter::once(error).chain(&error.error_chain).filter_map(|it| it.source_pointer.as_deref());
            (pointers.into_iter().find_map(&entry_at), error.to_string())
        };
        remarks.extend(errors.iter().map(of_error));
        let is_cut = remarks.len() > MAX_REMARKS || errors.iter().any(|error| error.message == LEFT_OUT);
        remarks.truncate(MAX_REMARKS);
        if is_cut {
            // They may be about any lease.
            let cut = |(_, id): &(_, &LeaseId)| (Some((*id).clone()), "more warnings are left out".to_owned());
            remarks.extend(subjects.iter().map(cut));
        }
        let mut warnings = Vec::new();
        for (named, mut message) in remarks {
            let mut rest = message.clone();
            let mentioned = |(secret, id): &(Cow<'_, str>, &LeaseId)| {
                let is_mentioned = mentions(&rest, secret);
                if is_mentioned {
                    rest = rest.replace(secret.as_ref(), " ");
                }
                is_mentioned.then(|| (*id).clone())
            };
            let ids: Vec<_> = match named {
                Some(id) => vec![id],
                None => subjects.iter().filter_map(mentioned).collect(),
            };
            message.truncate((0..=MAX_TEXT).rev().find(|at| message.is_char_boundary(*at)).unwrap_or_default());
            warnings
                .extend(ids.iter().map(|id| Warning { subject: Some(subject(id.clone())), message: message.clone() }));
            if ids.is_empty() {
                warnings.push(Warning { subject: None, message });
            }
        }
        warnings
    }
}

/// Whether a text has a lease or a reference in it, as a word of its own.
fn mentions(text: &str, secret: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '-' || letter == '_';
    let parts: Vec<_> = text.split(secret).collect();
    let mut ends = parts.iter().zip(parts.iter().skip(1));
    ends.any(|(before, after)| !before.ends_with(is_part) && !after.starts_with(is_part))
}

fn text_of(remark: Value) -> String {
    match remark {
        Value::String(text) => text,
        other => alone(&other).map_or_else(|| other.to_string(), str::to_owned),
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
            let read = Warnings(remarks).read(&[], [].into_iter(), |id| id, |_| None);
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

    #[test]
    fn a_lease_is_named_by_a_word_of_its_own() {
        for text in ["lease-1 is gone", "gone: \"lease-1\".", "[lease-1]", "lease-1", "of lease-1"] {
            assert!(mentions(text, "lease-1"), "{text}");
        }
        for text in ["lease-10", "a-lease-1", "lease-1_", "a lease", "", "lease-12 and lease-11"] {
            assert!(!mentions(text, "lease-1"), "{text}");
        }
        assert!(mentions("lease-10, lease-1", "lease-1") && !mentions("code 7 \"odd\"", "c"));
    }
}
