//! The errors that the service lists in a response.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::error::codes;

/// The text of an error that stands for those that were not read.
pub(crate) const LEFT_OUT: &str = "more errors are left out";

/// One error that the service lists in a response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Value")]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema), schemars(!from, default))]
#[non_exhaustive]
pub struct ApiError {
    /// The service's code, or 0 if there is none.
    pub code: i64,
    /// The service's text, without secrets.
    pub message: String,
    /// A URL that explains the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documentation_url: Option<String>,
    /// The part of the request that caused the error, as a JSON pointer.
    #[serde(rename = "source", serialize_with = "as_source", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schemars", schemars(with = "Option<Source>"))]
    pub source_pointer: Option<String>,
    /// The causes of this error.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub error_chain: Vec<ApiError>,
}

/// What surrounds the pointer on the wire.
#[cfg(feature = "schemars")]
#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Source {
    pointer: Option<String>,
}

fn as_source<S: Serializer>(pointer: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map([("pointer", pointer)])
}

impl ApiError {
    /// An error with a code and a text, for tests with mocked responses.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), ..Self::default() }
    }

    pub(crate) fn has_any(&self, codes: &[i64]) -> bool {
        codes.contains(&self.code) || self.error_chain.iter().any(|cause| cause.has_any(codes))
    }

    /// Applies `edit` to every text and `more`, and to codes that are not known, which may be numbers of the request.
    /// All at once, since each time takes as long as the request is.
    pub(crate) fn edit_texts<'a>(
        errors: &'a mut [Self],
        more: Option<&'a mut String>,
        edit: impl FnOnce(Vec<&mut String>),
    ) {
        let (mut texts, mut codes): (Vec<_>, Vec<_>) = (more.into_iter().collect(), Vec::new());
        errors.iter_mut().for_each(|error| error.collect_texts(&mut texts, &mut codes));
        let mut numbers: Vec<_> = codes.iter().map(|code| code.to_string()).collect();
        texts.extend(&mut numbers);
        edit(texts);
        codes.into_iter().zip(numbers).for_each(|(code, number)| *code = number.parse().unwrap_or_default());
    }

    fn collect_texts<'a: 't, 't>(&'a mut self, texts: &mut Vec<&'t mut String>, codes: &mut Vec<&'a mut i64>) {
        let Self { code, message, documentation_url, source_pointer, error_chain } = self;
        if !codes::KNOWN.contains(code) {
            codes.push(code);
        }
        texts.extend([Some(message), documentation_url.as_mut(), source_pointer.as_mut()].into_iter().flatten());
        error_chain.iter_mut().for_each(|cause| cause.collect_texts(texts, codes));
    }
}

/// Takes what it can read: one malformed entry must not lose the others, or the status.
impl From<Value> for ApiError {
    fn from(value: Value) -> Self {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        Self {
            code: value.get("code").and_then(as_code).unwrap_or_default(),
            message: text("/message").or_else(|| value.as_str().map(str::to_owned)).unwrap_or_default(),
            documentation_url: text("/documentation_url"),
            source_pointer: text("/source/pointer"),
            error_chain: match value.get("error_chain") {
                Some(Value::Array(chain)) => chain.iter().cloned().map(Self::from).collect(),
                _ => Vec::new(),
            },
        }
    }
}

fn as_code(code: &Value) -> Option<i64> {
    code.as_i64().or_else(|| code.as_f64().map(|code| code as i64)).or_else(|| code.as_str()?.parse().ok())
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {}", self.code)?;
        if !self.message.is_empty() {
            write!(f, " \"{}\"", self.message.escape_debug())?;
        }
        for cause in &self.error_chain {
            write!(f, " because of {cause}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_entry_keeps_its_valid_fields() {
        let errors: Vec<ApiError> = serde_json::from_str(
            r#"[{"code": 100128, "message": "a", "source": {"pointer": "/acks/0"}, "error_chain": [{"code": 6111}]},
                "plain", {"code": "7003"}, {"code": 5.0, "message": null}, null, [1]]"#,
        )
        .unwrap();
        assert_eq!(errors.iter().map(|error| error.code).collect::<Vec<_>>(), [100128, 0, 7003, 5, 0, 0]);
        assert_eq!(errors[0].source_pointer.as_deref(), Some("/acks/0"));
        assert!(errors[0].has_any(&[6111]));
        assert_eq!(errors[1].message, "plain");
    }

    #[test]
    fn an_error_is_written_as_it_was_read() {
        let error =
            r#"{"code":7,"message":"a","source":{"pointer":"/acks/0"},"error_chain":[{"code":8,"message":"b"}]}"#;
        let read: ApiError = serde_json::from_str(error).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), error);
        assert_eq!(read.to_string(), r#"code 7 "a" because of code 8 "b""#);
    }
}
