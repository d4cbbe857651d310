//! A line of JSON as a message. `fuzz/` builds this file, too.

use base64::{Engine, prelude::BASE64_STANDARD};
use cloudflare_queues::{ContentType, PushMessage};
use serde::{Deserialize, Deserializer};
use serde_json::{error::Category, value::RawValue};

/// A line that is to become a message.
#[derive(Deserialize)]
struct Line {
    content_type: Option<ContentType>,
    #[serde(default, deserialize_with = "present")]
    body: Option<Box<RawValue>>,
    body_base64: Option<String>,
}

/// A body of null is one, too.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// The message of a line that `export` wrote.
pub(crate) fn message(line: &[u8]) -> Result<PushMessage, String> {
    let Line { content_type, body, body_base64 } =
        serde_json::from_slice(line).map_err(|error| match error.classify() {
            // What serde_json says of a syntax error does not quote the line; what it says of a type does.
            Category::Data => {
                format!("is not a record of an export: a field is of the wrong type, at column {}", error.column())
            }
            _ => format!("is not a record of an export: {error}"),
        })?;
    let content_type = content_type.unwrap_or(ContentType::Json);
    let decoded = body_base64.map(|base64| {
        let bytes = BASE64_STANDARD.decode(base64).map_err(|_| "has a body_base64 that is not base64".to_owned())?;
        String::from_utf8(bytes).map_err(|_| "has a body that is not UTF-8".to_owned())
    });
    match (content_type, body, decoded) {
        (ContentType::Text, Some(body), None) => {
            let text: String = serde_json::from_str(body.get()).map_err(|_| "has a text body that is not a string")?;
            Ok(PushMessage::text(text))
        }
        (ContentType::Text, None, Some(text)) => Ok(PushMessage::text(text?)),
        (ContentType::Json, Some(body), None) => json(body.get()),
        (ContentType::Json, None, Some(text)) => json(&text?),
        (ContentType::Text | ContentType::Json, ..) => Err("has no body, or more than one".to_owned()),
        (other, ..) => Err(format!("is of type `{other}`; over HTTP, the service takes only `text` and `json`")),
    }
}

/// A message of this JSON text, byte for byte.
pub(crate) fn json(text: &str) -> Result<PushMessage, String> {
    let raw = RawValue::from_string(text.to_owned()).map_err(|error| format!("is not valid JSON: {error}"))?;
    // The library's advice is for programmers.
    PushMessage::json(&raw)
        .map_err(|error| format!("is refused: {error}").replacen(&format!("; {}", error.next_step()), "", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_wrong_is_told_without_its_body() {
        for line in [
            r#"{"content_type":"text","body":{"s3cret":1}}"#,
            r#"{"content_type":"json","body":"s3cret"}"#,
            r#"{"content_type":"bytes","body_base64":"s3cret=="}"#,
            r#"{"content_type":"text","body_base64":"s3cret=="}"#,
            r#"{"body":1,"body_base64":"s3cret"}"#,
            r#"["s3cret"]"#,
            "s3cret",
            r#"{"body_base64":53077}"#,
        ] {
            let told = message(line.as_bytes()).unwrap_err();
            assert!(!told.contains("s3cret") && !told.contains("53077"), "{told}");
        }
    }
}
