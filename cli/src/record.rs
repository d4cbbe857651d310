//! A message as a line of JSON, whose body can be restored byte for byte, or as a row.

use std::{borrow::Cow, time::SystemTime};

use base64::{Engine, prelude::BASE64_STANDARD};
use cloudflare_queues::{Body, ContentType, Message, PeekedMessage, PushMessage};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::{
    exit::Failure,
    output::{Row, cell},
};

pub(crate) const FORMAT: &str = "\
Each line is an object with id, timestamp, attempts, content_type, bytes, and one of:
  body         the JSON value of a `json` body, or the text of a `text` body
  body_base64  a `bytes` body, or a `json` body with line breaks in it
  body_raw     any other body, as it is on the wire";

/// A message without its lease.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    id: String,
    timestamp: Option<String>,
    attempts: Option<u32>,
    content_type: String,
    bytes: usize,
    #[serde(flatten)]
    body: Option<Encoded>,
    #[serde(skip)]
    text: Option<String>,
}

/// A body within a line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Encoded {
    Body(Box<RawValue>),
    BodyBase64(String),
    BodyRaw(Box<RawValue>),
}

impl Record {
    pub(crate) fn of_peeked(message: &PeekedMessage, with_body: bool) -> Self {
        let PeekedMessage { id, timestamp, attempts, body, .. } = message;
        Self::new(id, *timestamp, *attempts, body, with_body)
    }

    pub(crate) fn of_pulled(message: &Message) -> Self {
        let Message { id, timestamp, attempts, body, .. } = message;
        Self::new(id, *timestamp, *attempts, body, true)
    }

    fn new(id: &str, timestamp: Option<SystemTime>, attempts: Option<u32>, body: &Body, with_body: bool) -> Self {
        Self {
            id: id.to_owned(),
            timestamp: timestamp.map(time),
            attempts,
            content_type: body.content_type().to_string(),
            bytes: body.bytes().map_or(body.raw().len(), |bytes| bytes.len()),
            body: with_body.then(|| Encoded::from(body)),
            text: with_body.then(|| body.text().map_or_else(|_| body.raw().into_owned(), Cow::into_owned)),
        }
    }
}

impl From<&Body> for Encoded {
    fn from(body: &Body) -> Self {
        let raw = || Self::BodyRaw(RawValue::from_string(one_line(&body.raw())).unwrap_or_default());
        match body.content_type() {
            ContentType::Text => body.text().ok().and_then(|text| quoted(&text)).map_or_else(raw, Self::Body),
            ContentType::Json => body.text().map_or_else(|_| raw(), |text| Self::json(&text)),
            ContentType::Bytes => body.bytes().map_or_else(|_| raw(), |bytes| Self::base64(&bytes)),
            _ => raw(),
        }
    }
}

impl Encoded {
    fn json(text: &str) -> Self {
        match RawValue::from_string(text.to_owned()) {
            Ok(json) if json.get() == text && !text.contains(['\n', '\r']) => Self::Body(json),
            _ => Self::base64(text.as_bytes()),
        }
    }

    fn base64(bytes: &[u8]) -> Self {
        Self::BodyBase64(BASE64_STANDARD.encode(bytes))
    }
}

fn quoted(text: &str) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(text).ok()
}

/// A line break outside a string is only white space, and a string contains none.
fn one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

pub(crate) fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

impl Row for Record {
    fn head(&self) -> Vec<&'static str> {
        let body = self.text.as_ref().map(|_| "BODY");
        ["ID", "TIME", "ATTEMPTS", "TYPE", "BYTES"].into_iter().chain(body).collect()
    }

    fn cells(&self) -> Vec<String> {
        let Self { id, timestamp, attempts, content_type, bytes, text, .. } = self;
        let cells = [id.clone(), cell(timestamp.as_ref()), cell(*attempts), content_type.clone(), bytes.to_string()];
        cells.into_iter().chain(text.clone()).collect()
    }
}

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
    // What serde_json says of a syntax error does not quote the line.
    let Line { content_type, body, body_base64 } =
        serde_json::from_slice(line).map_err(|error| format!("is not a record of an export: {error}"))?;
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
    PushMessage::json(&raw).map_err(|error| format!("is refused: {}", Failure::described(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_restores_its_body_byte_for_byte() {
        let texts = ["{\"a\":  1.0}", "{\n \"a\": [\r\n]}", " 1 ", "null", r#"{"\u0061": "\ud83d\ude00", "a": 1e999}"#];
        let pushed = texts.map(|text| PushMessage::json(&RawValue::from_string(text.to_owned()).unwrap()).unwrap());
        let pushed = pushed.into_iter().chain(["", "a\n\r\0\u{7f}\u{1f600}\"", "eyJhIjoxfQ=="].map(PushMessage::text));
        for pushed in pushed {
            let record = Record::new("id", None, None, pushed.body(), true);
            let line = serde_json::to_string(&record).unwrap();
            assert!(!line.contains(['\n', '\r']), "{line}");
            assert_eq!(message(line.as_bytes()).unwrap(), pushed, "{line}");
        }
    }

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
        ] {
            let told = message(line.as_bytes()).unwrap_err();
            assert!(!told.contains("s3cret"), "{told}");
        }
    }
}
