//! A message as a line of JSON, whose body can be restored byte for byte, or as a row.

use std::{borrow::Cow, time::SystemTime};

use base64::{Engine, prelude::BASE64_STANDARD};
use cloudflare_queues::{Body, ContentType, Message, PeekedMessage};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    filter::attempts_before,
    output::{Row, cell},
};

pub(crate) const FORMAT: &str = "\
Each line is an object with id, timestamp, attempts (before this delivery),
content_type, bytes, and one of:
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
        let Message { id, timestamp, body, .. } = message;
        Self::new(id, *timestamp, attempts_before(message), body, true)
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

/// Outside strings, a line break is only white space, and inside, it is always escaped.
fn one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

pub(crate) fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// A time of this day, such as `14:05 UTC`.
pub(crate) fn clock_time(time: SystemTime) -> String {
    let time = humantime::format_rfc3339_seconds(time).to_string();
    format!("{} UTC", time.get(11..16).unwrap_or(&time))
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

#[cfg(test)]
mod tests {
    use cloudflare_queues::PushMessage;

    use super::*;
    use crate::parse::message;

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
}
